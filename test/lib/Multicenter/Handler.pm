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

use Exporter 'import';
use Multicenter::Cluster;

our @EXPORT = qw(handler_install handler_library);

# The library with handlers in C.
sub handler_library { return Multicenter::Cluster::build_module('handler') }

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
