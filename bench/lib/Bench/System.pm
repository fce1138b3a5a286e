# Bench::System: what replicates between two servers.
#
# A class of a system has:
#   conf      lines for postgresql.conf of both servers
#   version   its version, by a server
#   connect   replicate all tables from one server to another; returns when
#             the other has them and changes stream
#   connect_back  the same in the other direction, where a system can
#   hold      nothing is sent any more
#   release   go on
#   appliers  pattern: processes that apply, by pg_stat_activity.backend_type
package Bench::System;

use strict;
use warnings;

my %class = (
	loaded      => 'Bench::System::Loaded',
	multicenter => 'Bench::System::Multicenter',
	native      => 'Bench::System::Native',
	pglogical   => 'Bench::System::Pglogical',
);

# More settings for servers with multicenter, to see what they do.
my $more = '';
sub configure { $more = join('', map { "$_\n" } @_); return }

# Lines for postgresql.conf.
sub conf_of
{
	my ($system) = @_;
	return $system->conf . ($system->conf =~ /multicenter/ ? $more : '');
}

# The class of a system by its name.
sub named
{
	my ($name) = @_;
	my $class = $class{$name} or die "there is no system $name; there are " . join(', ', sort keys %class) . "\n";
	eval "require $class; 1" or die $@;
	return $class;
}

1;
