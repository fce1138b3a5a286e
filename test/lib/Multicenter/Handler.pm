# Multicenter::Handler: call conflict handlers without a conflict.
#
#   handler_install($center);        # makes multicenter_test.handler()
#   handler_library()                # handlers in C: test/modules/handler
#
# multicenter_test.handler(relation, handler, local, remote) calls a handler as
# apply does, and returns (action, result, error).
package Multicenter::Handler;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use FindBin;
use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();

our @EXPORT = qw(handler_install handler_library);

my $library;

# Build the library with handlers in C, once.
sub handler_library
{
	return $library if $library;
	my $test = "$FindBin::RealBin/..";
	my $target = PostgreSQL::Test::Utils::tempdir() . '/handler.so';
	chomp(my $headers = `pg_config --includedir-server`);
	system('cc', '-O2', '-Wall', '-shared', '-fPIC', '-D_GNU_SOURCE', "-I$headers",
		'-o', $target, "$test/modules/handler/handler.c") == 0
	  or croak 'could not build test/modules/handler/handler.c';
	return $library = $target;
}

# Make the function in this center.
sub handler_install
{
	my ($center) = @_;
	$center->sql(q{CREATE SCHEMA multicenter_test;
		CREATE FUNCTION multicenter_test.handler(relation regclass, handler regproc, local jsonb, remote jsonb,
			OUT action text, OUT result jsonb, OUT error text)
		RETURN multicenter.internal_handler_call(relation, handler::regprocedure, 'update_origin_differs', 'update', local, remote,
			1, '2026-01-01 00:00:01+00', 1, '2026-01-01 00:00:02+00')});
	return;
}

1;
