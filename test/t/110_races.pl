# Goal: a remote change that meets an open local transaction waits for it,
# judges what it finds then, and is neither lost nor applied twice.
#
# Method: background sessions hold row locks, uncommitted rows and table locks
# at the target; the test goes on when the receiver is seen waiting for them in
# pg_locks.  Deadlocks are made with deadlock_timeout such that it is known who
# gives way.  Maintenance commands run beside a load.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $riga) = make_group([qw(lisbon riga)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE journal (id int, v text);
	INSERT INTO item SELECT i, 'old' FROM generate_series(1, 100) i;
});

# A session at Riga that stays open.
my $session = $riga->background_psql();

sub in_session
{
	my ($sql) = @_;
	return $session->query_safe($sql);
}

# Wait until the receiver at Riga waits for a lock of another transaction.
sub receiver_waits
{
	return $riga->wait_for_sql(
		q{SELECT count(*) > 0 FROM pg_locks l JOIN multicenter.workers w USING (pid)
		  WHERE w.role = 'receiver' AND NOT l.granted});
}

# One race: the session opens a transaction, a change arrives, the session
# ends.  Then both sides must have the expected row, and the remote
# transaction must have been applied once.
my $case = 0;
sub race
{
	my ($what, $id, $local, $remote, $end, $expected) = @_;
	my $journal = ++$case;

	in_session("BEGIN; $local");
	$lisbon->sql("BEGIN; INSERT INTO journal VALUES ($journal, 'before'); $remote; INSERT INTO journal VALUES ($journal, 'after'); COMMIT");
	receiver_waits();
	is($riga->sql("SELECT count(*) FROM journal WHERE id = $journal"), 0, "$what, $end: nothing is visible while it waits");
	in_session($end);
	wait_all_applied($lisbon, $riga);
	if (defined $expected)
	{
		is($_->sql("SELECT v FROM item WHERE id = $id"), $expected, "$what, $end: row at $_->{name}")
		  foreach ($lisbon, $riga);
		identical($lisbon, $riga, qw(item journal));
	}
	is($riga->sql("SELECT count(*) FROM journal WHERE id = $journal"), 2, "$what, $end: applied once");
	return;
}

#
# A row lock, an uncommitted change, an uncommitted row
#
race('a locked row', 1, 'SELECT * FROM item WHERE id = 1 FOR UPDATE',
	q{UPDATE item SET v = 'remote' WHERE id = 1}, 'COMMIT', 'remote');
race('an update of a row', 2, q{UPDATE item SET v = 'local' WHERE id = 2},
	q{UPDATE item SET v = 'remote' WHERE id = 2}, 'COMMIT', 'local');
race('an update of a row', 3, q{UPDATE item SET v = 'local' WHERE id = 3},
	q{UPDATE item SET v = 'remote' WHERE id = 3}, 'ROLLBACK', 'remote');
race('two updates of a row', 4, q{UPDATE item SET v = 'l' WHERE id = 4; UPDATE item SET v = 'local' WHERE id = 4},
	q{UPDATE item SET v = 'r' WHERE id = 4; UPDATE item SET v = 'remote' WHERE id = 4}, 'COMMIT', 'local');
race('a new row', 201, q{INSERT INTO item VALUES (201, 'local')},
	q{INSERT INTO item VALUES (201, 'remote')}, 'COMMIT', 'local');
race('a new row', 202, q{INSERT INTO item VALUES (202, 'local')},
	q{INSERT INTO item VALUES (202, 'remote')}, 'ROLLBACK', 'remote');
race('an update before a remote delete', 5, q{UPDATE item SET v = 'local' WHERE id = 5},
	q{DELETE FROM item WHERE id = 5}, 'COMMIT', 'local');
race('an update before a remote delete', 6, q{UPDATE item SET v = 'local' WHERE id = 6},
	q{DELETE FROM item WHERE id = 6}, 'ROLLBACK', '');
race('a delete before a remote update', 7, q{DELETE FROM item WHERE id = 7},
	q{UPDATE item SET v = 'remote' WHERE id = 7}, 'ROLLBACK', 'remote');
# Which of them wins in the end takes a tombstone.
race('a delete before a remote update', 8, q{DELETE FROM item WHERE id = 8},
	q{UPDATE item SET v = 'remote' WHERE id = 8}, 'COMMIT', undef);
$_->sql('DELETE FROM item WHERE id = 8') foreach ($lisbon, $riga);
race('a delete before a remote delete', 9, q{DELETE FROM item WHERE id = 9},
	q{DELETE FROM item WHERE id = 9}, 'COMMIT', '');
race('a delete before a remote delete', 10, q{DELETE FROM item WHERE id = 10},
	q{DELETE FROM item WHERE id = 10}, 'ROLLBACK', '');
race('a row deleted and made again', 11, q{DELETE FROM item WHERE id = 11; INSERT INTO item VALUES (11, 'local')},
	q{UPDATE item SET v = 'remote' WHERE id = 11}, 'COMMIT', 'local');
race('a key change to the key of a new row', 211, q{UPDATE item SET id = 211, v = 'local' WHERE id = 12},
	q{INSERT INTO item VALUES (211, 'remote')}, 'COMMIT', 'local');
race('a key change to the key of a new row', 213, q{UPDATE item SET id = 213 WHERE id = 13},
	q{INSERT INTO item VALUES (213, 'remote')}, 'ROLLBACK', 'remote');
race('a new row in the way of a remote key change', 214, q{INSERT INTO item VALUES (214, 'local')},
	q{UPDATE item SET id = 214, v = 'remote' WHERE id = 14}, 'COMMIT', 'local');
race('a new row in the way of a remote key change', 215, q{INSERT INTO item VALUES (215, 'local')},
	q{UPDATE item SET id = 215, v = 'remote' WHERE id = 15}, 'ROLLBACK', 'remote');
race('a savepoint', 16, q{SAVEPOINT s; UPDATE item SET v = 'local' WHERE id = 16},
	q{UPDATE item SET v = 'remote' WHERE id = 16}, 'ROLLBACK TO s; UPDATE item SET v = $$again$$ WHERE id = 17; COMMIT', 'remote');

#
# A table lock is visible as the reason of the stall
#
in_session('BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE');
$lisbon->sql(q{UPDATE item SET v = 'after the lock' WHERE id = 20});
receiver_waits();
$riga->wait_for_sql(
	q{SELECT state = 'stalled' AND stall_reason ~ 'lock' AND lag > '0' FROM multicenter.lag WHERE direction = 'in'});
in_session('COMMIT');
wait_applied($lisbon, $riga);
is($riga->sql('SELECT v FROM item WHERE id = 20'), 'after the lock', 'a table lock only delays');
wait_streaming($lisbon, $riga);

#
# Deadlocks: the local session looks for one late, so the receiver gives way
#
$riga->append_conf("deadlock_timeout = '1s'");
$riga->reload;
in_session(q{SET deadlock_timeout = '50s'});
in_session(q{BEGIN; UPDATE item SET v = 'local' WHERE id = 30});
my $retries = $riga->sql(q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in'});
$lisbon->sql(q{BEGIN; INSERT INTO journal VALUES (1000, 'x'); UPDATE item SET v = 'remote' WHERE id = 31;
	UPDATE item SET v = 'remote' WHERE id = 30; COMMIT});
receiver_waits();
in_session(q{UPDATE item SET v = 'local' WHERE id = 31; COMMIT});
wait_all_applied($lisbon, $riga);
is($riga->sql('SELECT v FROM item WHERE id IN (30, 31)'), "local\nlocal", 'deadlock: the later commit wins');
is($riga->sql('SELECT count(*) FROM journal WHERE id = 1000'), 1, 'deadlock: the remote transaction was applied once');
identical($lisbon, $riga, qw(item journal));
cmp_ok($riga->sql(q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in'}), '>', $retries,
	'deadlock: the receiver has given way');
is($riga->sql(q{SELECT last_error_sqlstate FROM multicenter.stat_links WHERE direction = 'in'}), '40P01',
	'deadlock: and says why');
wait_streaming($lisbon, $riga);

# Now the local session looks at once.
$riga->append_conf("deadlock_timeout = '50s'");
$riga->reload;
$riga->wait_for_sql('SHOW deadlock_timeout', '50s');
$session->quit;
$session = $riga->background_psql(on_error_stop => 0);
$session->query(q{SET deadlock_timeout = '10ms'});
$session->query(q{BEGIN; UPDATE item SET v = 'local' WHERE id = 32});
$lisbon->sql(q{BEGIN; INSERT INTO journal VALUES (1001, 'x'); UPDATE item SET v = 'remote' WHERE id = 33;
	UPDATE item SET v = 'remote' WHERE id = 32; COMMIT});
receiver_waits();
$session->query(q{UPDATE item SET v = 'local' WHERE id = 33});
like($session->{stderr}, qr/deadlock detected/, 'deadlock: the local session has given way');
$session->query('ROLLBACK');
wait_all_applied($lisbon, $riga);
is($riga->sql('SELECT v FROM item WHERE id IN (32, 33)'), "remote\nremote", 'deadlock: the remote transaction is whole');
is($riga->sql('SELECT count(*) FROM journal WHERE id = 1001'), 1, 'deadlock: and was applied once');
$session->quit;
$riga->append_conf("deadlock_timeout = '1s'");
$riga->reload;

#
# Local writers against a stream of remote ones
#
my $script = q{
	\set one random(40, 60)
	\set two random(40, 60)
	BEGIN;
	UPDATE item SET v = :client_id || ' ' || :one WHERE id = :one;
	DELETE FROM item WHERE id = 1000 + :client_id;
	INSERT INTO item VALUES (1000 + :client_id, 'again');
	UPDATE item SET id = 2000 + :client_id WHERE id = 1000 + :client_id;
	UPDATE item SET id = 1000 + :client_id WHERE id = 2000 + :client_id;
	INSERT INTO journal VALUES (2000, 'x');
	END;
};
my $load = start_load($lisbon, $script, clients => 2, transactions => 200);
foreach my $round (1 .. 4)
{
	$riga->sql('REINDEX TABLE CONCURRENTLY item');
	$riga->sql('VACUUM (FREEZE) item');
	$riga->sql('CREATE INDEX CONCURRENTLY item_v ON item (v)');
	$riga->sql('ANALYZE item');
	$riga->sql('DROP INDEX CONCURRENTLY item_v');
	$riga->sql('VACUUM FULL item');
	$riga->sql('CLUSTER item USING item_pkey');
	$riga->sql("BEGIN; UPDATE item SET v = v WHERE id BETWEEN 61 AND 70; SELECT * FROM item WHERE id = 50 FOR UPDATE; COMMIT");
}
like(finish_load($load), qr{actually processed: 400/400}, 'the load has run to its end');
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, qw(item journal));
is($riga->sql('SELECT count(*) FROM journal WHERE id = 2000'), 400, 'maintenance beside a load: each transaction was applied once');
like($riga->sql(q{SELECT state FROM multicenter.lag WHERE direction = 'in'}), qr{^(streaming|idle)$}, 'and the link streams');

done_testing();
