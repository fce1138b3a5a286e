# Multicenter::Clock: the wall clock of a test server, which a test can move.
#
#   my $clock = Multicenter::Clock->new;
#   my $lisbon = new_center('lisbon', clock => $clock);
#   $clock->set(60);                # seconds ahead of the machine, at once
package Multicenter::Clock;

use strict;
use warnings;

use Carp;
use FindBin;
use PostgreSQL::Test::Utils ();

my $library;

# Build the library that test servers preload, once.
sub library
{
	return $library if $library;
	my $source = "$FindBin::RealBin/../modules/skew/skew.c";
	my $target = PostgreSQL::Test::Utils::tempdir() . '/skew.so';
	system('cc', '-O2', '-shared', '-fPIC', '-o', $target, $source) == 0
	  or croak "could not build $source";
	return $library = $target;
}

sub new
{
	my ($class) = @_;
	my $self = bless { file => PostgreSQL::Test::Utils::tempdir() . '/clock' }, $class;
	library();
	$self->set(0);
	return $self;
}

# Set the clock to so many seconds ahead of the machine's.
sub set
{
	my ($self, $seconds) = @_;
	open(my $out, '+>', $self->{file}) or croak "could not write $self->{file}: $!"
	  unless -e $self->{file};
	open($out, '+<', $self->{file}) or croak "could not write $self->{file}: $!";
	binmode($out);
	syswrite($out, pack('q', int($seconds * 1_000_000))) == 8 or croak "could not write $self->{file}: $!";
	close($out);
	return;
}

# Run code, the start of a server, under this clock.
sub under
{
	my ($self, $code) = @_;
	local $ENV{SKEW_FILE} = $self->{file};
	local $ENV{LD_PRELOAD} = library();
	return $code->();
}

1;
