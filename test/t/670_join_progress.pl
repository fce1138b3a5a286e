# Goal: multicenter.join_progress tells how far a join has got, in each phase
# that takes long, and is empty otherwise.
#
# Method: a center joins while locks hold it up: one while rows are copied, one
# while it catches up; at each of them the view is compared with what is known.
# Then a join is held up at the sponsor, and cancelled.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my $setup = q{
	CREATE TABLE a (id int PRIMARY KEY, v text);
	CREATE TABLE b (id int PRIMARY KEY, v text);
	CREATE TABLE c (id int PRIMARY KEY, v text);
};
my $lisbon = new_center('lisbon');
my $oslo = new_center('oslo');
$lisbon->sql($setup);
$lisbon->sql(q{INSERT INTO a SELECT n, 'row' FROM generate_series(1, 1000) n; INSERT INTO b SELECT n, 'row' FROM generate_series(1, 20) n; VACUUM ANALYZE a; VACUUM ANALYZE b; VACUUM ANALYZE c});
is($oslo->sql('SELECT count(*) FROM multicenter.join_progress'), 0, 'no group: nothing to show');
group_create($lisbon);
is($lisbon->sql('SELECT count(*) FROM multicenter.join_progress'), 0, 'the first center of a group does not join');

# A session that holds a lock.
sub hold
{
	my ($center, $lock) = @_;
	my $session = $center->background_psql;
	$session->query_safe("BEGIN; LOCK TABLE $lock");
	return $session;
}

# Let it go.
sub let_go
{
	my ($session) = @_;
	$session->query_safe('COMMIT');
	return $session->quit;
}

# A session that joins in the background.
sub join_in_background
{
	my ($center, $sponsor) = @_;
	my $session = $center->background_psql(on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\n" . $center->group_join_sql($sponsor) . ";\n");
	return $session;
}

# The tables are here already, so that one of them can hold the copy up.
$oslo->sql('CREATE ROLE watcher LOGIN; GRANT multicenter_monitor TO watcher');
$oslo->sql($setup);
my $started = $oslo->sql('SELECT clock_timestamp()');
my $lock = hold($oslo, 'b IN SHARE MODE');
my $joining = join_in_background($oslo, $lisbon);
$oslo->wait_for_sql(q{SELECT concat_ws(' ', phase, relation) FROM multicenter.join_progress}, 'copying rows public.b');
is($oslo->sql(q{SET ROLE watcher; SELECT concat_ws(' ', peer, tables_total, tables_copied, rows_total, rows_copied, replay_lag_bytes) FROM multicenter.join_progress}),
	'lisbon 3 1 1020 1000', 'one table of three is copied');
my $bytes = $oslo->sql('SELECT bytes_copied FROM multicenter.join_progress');
is($bytes, length(join('', map { "$_\trow\n" } 1 .. 1000)), 'bytes are those of COPY');
is($oslo->sql(qq{SELECT started_at BETWEEN '$started' AND phase_since AND phase_since < clock_timestamp() FROM multicenter.join_progress}), 't', 'times are in order');
is($oslo->sql(q{SELECT a.backend_type FROM multicenter.join_progress p JOIN pg_stat_activity a USING (pid)}), 'multicenter operation', 'the process is that of the join');
is($oslo->sql(q{SELECT state FROM multicenter.centers WHERE is_local}), 'joining', 'the center is not ready');

# What is written meanwhile waits for another lock when the copy is done.
$lisbon->sql(q{INSERT INTO a VALUES (2000, 'written during the copy')});
my $next = $oslo->background_psql;
$next->query_until(qr/begun/, "BEGIN;\n\\echo begun\nLOCK TABLE a IN SHARE MODE;\n");
$oslo->wait_for_sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'a'::regclass AND mode = 'ShareLock' AND NOT granted}, '1');
let_go($lock);
$oslo->wait_for_sql(q{SELECT concat_ws(' ', phase, peer, tables_copied, rows_copied) FROM multicenter.join_progress WHERE pid IS NULL}, 'catching up lisbon 3 1020');
is($oslo->sql(q{SELECT relation IS NULL FROM multicenter.join_progress}), 't', 'no table is copied any more');
$oslo->wait_for_sql(q{SELECT replay_lag_bytes > 0 FROM multicenter.join_progress});
pass('it tells how much there is to catch up with');
let_go($next);
is($oslo->sql('SELECT multicenter.wait_until_ready()'), 't', 'the center gets ready');
is($oslo->sql('SELECT count(*) FROM multicenter.join_progress'), 0, 'then there is nothing to show');
eval { $joining->quit };
is($lisbon->sql('SELECT count(*) FROM multicenter.join_progress'), 0, 'the sponsor shows nothing');

# A join that is held up before anything is known, and then fails.
my $porto = new_center('porto');
$lock = hold($lisbon, 'a IN ACCESS EXCLUSIVE MODE');
$joining = join_in_background($porto, $lisbon);
$porto->wait_for_sql(q{SELECT concat_ws(' ', phase, peer) FROM multicenter.join_progress}, 'checking tables lisbon');
is($porto->sql(q{SELECT num_nulls(relation, tables_total, tables_copied, rows_total, rows_copied, bytes_copied, replay_lag_bytes) FROM multicenter.join_progress}), '7',
	'what is not known yet is null');
$porto->sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%group_join%' AND pid <> pg_backend_pid()});
$porto->wait_for_sql('SELECT count(*) FROM multicenter.join_progress', '0');
eval { $joining->quit };
let_go($lock);
is($porto->sql('SELECT count(*) FROM multicenter.centers'), 0, 'a join that was cancelled leaves nothing');

# Without statistics of all tables at the sponsor the number of rows is unknown.
$lisbon->sql(q{CREATE TABLE d (id int PRIMARY KEY) WITH (autovacuum_enabled = off)});
$oslo->sql(q{CREATE TABLE d (id int PRIMARY KEY) WITH (autovacuum_enabled = off)});
$porto->sql("$setup CREATE TABLE d (id int PRIMARY KEY)");
$lock = hold($porto, 'd IN SHARE MODE');
$joining = join_in_background($porto, $lisbon);
$porto->wait_for_sql(q{SELECT concat_ws(' ', phase, relation, tables_total, tables_copied, rows_copied) FROM multicenter.join_progress}, 'copying rows public.d 4 3 1021');
is($porto->sql('SELECT rows_total IS NULL FROM multicenter.join_progress'), 't', 'without statistics the number of rows is not known');
let_go($lock);
$porto->wait_for_sql('SELECT count(*) FROM multicenter.join_progress', '0');
is($porto->sql('SELECT multicenter.wait_until_ready()'), 't', 'and the join ends well');
eval { $joining->quit };
identical($lisbon, $oslo, $porto);

done_testing();
