# Goal: a transaction that fails again and again does not hold up its link: its
# changes, and later ones of the same rows, are kept aside, visibly, and are
# applied in their order once the cause is gone.
#
# Method: two databases of one server.  At oslo a constraint or a trigger does
# not admit what lisbon has written.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v int, big text);
	ALTER TABLE item ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE log (n int PRIMARY KEY);
	CREATE TABLE emptied (n int PRIMARY KEY);
	INSERT INTO item SELECT i, i, repeat('x', 9000) FROM generate_series(1, 9) i;
});
my ($lisbon, $oslo) = @centers;
wait_all_applied(@centers);
my $entries = q{SELECT string_agg(concat_ws(' ', operation, key ->> 'id', key ->> 'n', new_row ->> 'v', waits_for, blocks), ', ' ORDER BY quarantine_id) FROM multicenter.quarantine};

$oslo->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (v < 100)');
$lisbon->sql(q{BEGIN; INSERT INTO item VALUES (11, 11); UPDATE item SET v = 200 WHERE id = 2; DELETE FROM item WHERE id = 3;
	UPDATE item SET id = 14 WHERE id = 4; INSERT INTO log VALUES (1); COMMIT});
$oslo->wait_for_sql($entries, 'INSERT 11 11 retry 0, UPDATE 2 200 retry 0, DELETE 3 retry 0, DELETE 4 retry 0, INSERT 14 4 retry 0, INSERT 1 retry 0', 60);
pass('a transaction that fails again and again is in quarantine as a whole');
is($oslo->sql(q{SELECT DISTINCT peer, error_sqlstate, error_message LIKE '%violates check constraint "small"%', attempts > 0 FROM multicenter.quarantine}),
	'lisbon|23514|t|t', 'with its error');
is($oslo->sql('SELECT count(*) FROM log'), 0, 'nothing of it is applied');
cmp_ok($oslo->sql(q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in'}), '>=', 5, 'it was tried several times before');

# Later changes of the same rows wait, all others flow.
$lisbon->sql($_) foreach q{UPDATE item SET v = 12 WHERE id = 11}, q{UPDATE item SET v = 5 WHERE id = 5},
  q{UPDATE item SET v = 22 WHERE id = 2}, q{INSERT INTO item VALUES (3, 33, 'again')}, q{UPDATE item SET id = 24 WHERE id = 14}, q{INSERT INTO log VALUES (2)};
wait_applied($lisbon, $oslo);
is($oslo->sql('SELECT string_agg(n::text, $$ $$) FROM log'), '2', 'the link goes on');
is($oslo->sql(q{SELECT state <> 'stalled', status FROM multicenter.lag WHERE direction = 'in'}), 't|ok', 'and is not stalled');
is($oslo->sql($entries), join(', ', 'INSERT 11 11 retry 1', 'UPDATE 2 200 retry 1', 'DELETE 3 retry 1', 'DELETE 4 retry 0', 'INSERT 14 4 retry 1', 'INSERT 1 retry 0',
		'UPDATE 11 12 predecessor 0', 'UPDATE 2 22 predecessor 0', 'INSERT 3 33 predecessor 0', 'DELETE 14 predecessor 0'),
	'later changes of the same rows are held back');
is($oslo->sql('SELECT string_agg(concat_ws($$ $$, id, v), $$, $$ ORDER BY id) FROM item WHERE id < 5'), '1 1, 2 2, 3 3, 4 4', 'the rows are as before');

# A crash changes nothing, nor does another attempt.
$oslo->kill9;
$oslo->start;
is($oslo->sql('SELECT multicenter.quarantine_retry()'), 10, 'everything is still there after a crash');
my $attempts = 'SELECT min(attempts) FROM multicenter.quarantine WHERE waits_for = $$retry$$';
$oslo->wait_for_sql("SELECT ($attempts) > 0");
is($oslo->sql('SELECT count(*) FROM multicenter.quarantine'), 10, 'an attempt that fails leaves it there');

$oslo->sql('ALTER TABLE item DROP CONSTRAINT small');
$oslo->sql('SELECT multicenter.quarantine_retry()');
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0);
wait_streaming(@centers);
wait_all_applied(@centers);
identical(@centers, qw(item log));
is($oslo->sql('SELECT string_agg(concat_ws($$ $$, id, v, length(big)), $$, $$ ORDER BY id) FROM item WHERE id < 5 OR id > 10'),
	'1 1 9000, 2 22 9000, 3 33 5, 11 12, 24 4 9000', 'once the cause is gone all is applied, in its order');

# What oslo writes meanwhile is newer, and wins.
$oslo->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (v < 100)');
$lisbon->sql('UPDATE item SET v = 300 WHERE id = 6');
$oslo->wait_for_sql($entries, 'UPDATE 6 300 retry 0', 60);
$oslo->sql('UPDATE item SET v = 66 WHERE id = 6');
$oslo->sql('SELECT multicenter.quarantine_retry()');
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0);
wait_all_applied(@centers);
identical(@centers, 'item');
is($oslo->sql(q{SELECT conflict_type, resolution, remote_row ->> 'v' FROM multicenter.conflicts WHERE key ->> 'id' = '6' AND resolver = 'last_update_wins'}),
	'update_origin_differs|keep_local|300', 'and the loser is in the history');

# A change that is given up no longer holds back others.
$lisbon->sql($_) foreach 'UPDATE item SET v = 700 WHERE id = 7', 'UPDATE item SET v = 77 WHERE id = 7';
$oslo->wait_for_sql($entries, 'UPDATE 7 700 retry 1, UPDATE 7 77 predecessor 0', 60);
$oslo->sql(q{SELECT multicenter.quarantine_discard(quarantine_id, 'too much') FROM multicenter.quarantine WHERE waits_for = 'retry'});
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0);
wait_all_applied(@centers);
identical(@centers, 'item');

# A TRUNCATE cannot be kept aside: the link waits, and goes on by itself.
$oslo->sql(q{
	CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no, thank you'; END $$;
	CREATE TRIGGER no BEFORE TRUNCATE ON emptied EXECUTE FUNCTION no();
	ALTER TABLE emptied ENABLE REPLICA TRIGGER no;
});
$lisbon->sql('BEGIN; INSERT INTO emptied VALUES (1); TRUNCATE emptied; INSERT INTO emptied VALUES (2); END');
$oslo->wait_for_sql(q{SELECT last_error LIKE 'cannot put a transaction with a TRUNCATE%' FROM multicenter.stat_links WHERE direction = 'in'}, 't', 60);
$oslo->sql('DROP TRIGGER no ON emptied');
wait_all_applied(@centers);
identical(@centers, 'emptied');
is($oslo->sql('SELECT count(*) FROM multicenter.quarantine'), 0, 'a transaction with a TRUNCATE was not torn apart');

# Who wants it so lets the link wait.
$oslo->append_conf('multicenter.on_apply_error = stop');
$oslo->reload;
$lisbon->sql('UPDATE item SET v = 800 WHERE id = 8');
$oslo->wait_for_sql(q{SELECT state = 'stalled' AND retries > 8 FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction)
	WHERE direction = 'in' AND last_error_sqlstate = '23514'}, 't', 60);
is($oslo->sql('SELECT count(*) FROM multicenter.quarantine'), 0, 'with on_apply_error = stop nothing is kept aside');
$oslo->sql('ALTER TABLE item DROP CONSTRAINT small');
wait_all_applied(@centers);
identical(@centers, 'item');

# A change that makes the server crash is recognized, too.  It stays where it
# is: nobody tries it again unasked.
$oslo->append_conf('multicenter.on_apply_error = quarantine');
$oslo->sql(q{
	CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF new.n = 4 THEN
			EXECUTE format('COPY (SELECT) TO PROGRAM %L', 'kill -SEGV ' || pg_backend_pid());
		END IF;
		RETURN new;
	END $$;
	CREATE TRIGGER crash BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION crash();
	ALTER TABLE log ENABLE REPLICA TRIGGER crash;
});
$oslo->reload;
hold_links([ $lisbon, $oslo ]);
$lisbon->sql("INSERT INTO log VALUES ($_)") foreach 3, 4, 5;
$oslo->sql(q{SELECT multicenter.link_resume('lisbon')});
Multicenter::Cluster::poll('the transaction is in quarantine', sub {
	my ($rc, $out) = $oslo->psql(q{SELECT count(*) FROM multicenter.quarantine WHERE key ->> 'n' = '4' AND error_sqlstate = '57P02'}, on_error_die => 0);
	return ((defined $out && $out eq '1'), $out);
}, 90);
like($oslo->sql('SELECT error_message FROM multicenter.quarantine'), qr/the server has crashed \d+ times/, 'a transaction that makes the server crash is in quarantine');
wait_streaming(@centers);
$lisbon->sql('INSERT INTO log VALUES (6)');
wait_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT string_agg(n::text, ' ' ORDER BY n) FROM log WHERE n > 2}), '3 5 6', 'and the link goes on');
$oslo->sql('DROP TRIGGER crash ON log; SELECT multicenter.quarantine_retry()');
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0);
wait_all_applied(@centers);
identical(@centers, 'log');

done_testing();
