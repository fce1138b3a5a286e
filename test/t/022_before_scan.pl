# Goal: a center's tables are guarded from the start of the server, also before
# anybody has looked which databases are centers, whatever sessions do then, and
# as the tables are now.
#
# Method: the scanner cannot run as long as there is no place for one more
# background worker.  A rewrite then asks for a fence that nobody can give.  At the
# end a key comes and goes while a session is open.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my $lisbon = new_center('lisbon');
group_create($lisbon);
wait_ready($lisbon);
$lisbon->sql('CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE keyless (v int); INSERT INTO keyless VALUES (1)');

sub is_guarded
{
	my ($when) = @_;
	return $lisbon->fails('DELETE FROM keyless', '55000', qr/keyless/, undef, $when);
}

# The launcher of logical replication and our supervisor take the places.
my $places = $lisbon->sql('SHOW max_worker_processes');
is_guarded('a DELETE without a replica identity is refused');
$lisbon->append_conf("max_worker_processes = 2\n");
$lisbon->restart;
is($lisbon->sql(q{SELECT string_agg(backend_type, ', ' ORDER BY backend_type COLLATE "C") FROM pg_stat_activity WHERE backend_type ~ 'multicenter|replication'}),
	'logical replication launcher, multicenter supervisor', 'there is no place for the scanner');
is_guarded('so it is where nobody has looked which databases are centers');
my ($rc, undef, $err) = $lisbon->psql(q{SET statement_timeout = '1s'; SELECT multicenter.replicate_ddl('ALTER TABLE t ALTER v TYPE bigint')});
isnt($rc, 0, "a rewrite waits in vain: $err");
is_guarded('and so it is after that');

$lisbon->append_conf("max_worker_processes = $places\n");
$lisbon->restart;
wait_ready($lisbon);
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE t ALTER v TYPE bigint')});
is_guarded('and when all works again');

# A session that knows a table hears of its new definition.
my $session = $lisbon->background_psql(on_error_stop => 0);
$lisbon->sql('CREATE TABLE keyed (id int PRIMARY KEY); INSERT INTO keyed VALUES (1), (2)');
$session->query_safe('DELETE FROM keyed WHERE id = 1');
$lisbon->sql('ALTER TABLE keyed DROP CONSTRAINT keyed_pkey');
is(scalar $session->query('DELETE FROM keyed WHERE id = 2; SELECT count(*) FROM keyed'), '1', 'a DELETE of that session is refused once the key is gone');
$lisbon->sql('ALTER TABLE keyed ADD PRIMARY KEY (id)');
is(scalar $session->query('DELETE FROM keyed WHERE id = 2; SELECT count(*) FROM keyed'), '0', 'and done once there is one again');
$session->quit;
done_testing();
