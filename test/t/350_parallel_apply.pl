# Goal: appliers apply transactions beside each other, and nobody can tell but
# by the time that it takes: commits stay in the order of the peer, keys that
# go from one transaction to the next arrive, and what fails or is in the way
# of an earlier transaction is applied again.
#
# Method: triggers that fire on apply wait for advisory locks that the test
# holds, so it is known which transaction waits where.  Then many small
# transactions race, while a session looks at each moment whether what it sees
# is a state that the origin had.

use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], conf => "multicenter.apply_workers = 8\n", setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE slow (id int PRIMARY KEY, v text);
	CREATE TABLE counter (id int PRIMARY KEY, n int);
	CREATE TABLE journal (n int, v text);
	CREATE TABLE owner (id int PRIMARY KEY, seat text UNIQUE);
	CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
	CREATE TABLE exact (id numeric PRIMARY KEY, v text);
	CREATE TABLE other (id int PRIMARY KEY CHECK (id > 0), v text);
	INSERT INTO counter VALUES (0, 0);
	INSERT INTO slow SELECT i, 'old' FROM generate_series(1, 40) i;
	INSERT INTO exact SELECT i, 'old' FROM generate_series(1, 4) i;
});

# Each row of "slow" waits for an advisory lock of its number; "other" counts.
$oslo->sql(q{
	CREATE FUNCTION wait_for_key() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(350, NEW.id);
		RETURN NULL;
	END $$;
	CREATE TRIGGER wait_for_key AFTER INSERT OR UPDATE ON slow FOR EACH ROW EXECUTE FUNCTION wait_for_key();
	ALTER TABLE slow ENABLE REPLICA TRIGGER wait_for_key;
	CREATE UNLOGGED TABLE applied (n int);
	INSERT INTO applied VALUES (0);
	CREATE FUNCTION count_row() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.v = 'first' THEN
			PERFORM pg_advisory_xact_lock_shared(350, 1000);
		END IF;
		UPDATE public.applied SET n = n + 1;
		RETURN NULL;
	END $$;
	CREATE TRIGGER count_row AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION count_row();
	ALTER TABLE other ENABLE REPLICA TRIGGER count_row;
});

my $holder = $oslo->background_psql();
sub hold { my (@keys) = @_; return $holder->query_safe('SELECT ' . join(', ', map { "pg_advisory_lock(350, $_)" } @keys)) }
sub let_go { my (@keys) = @_; return $holder->query_safe('SELECT ' . join(', ', map { "pg_advisory_unlock(350, $_)" } @keys)) }

# So many appliers wait for a lock of the test.
sub appliers_wait
{
	my ($count) = @_;
	return $oslo->wait_for_sql(
		q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND wait_event_type = 'Lock'}, $count);
}

# How many transactions were applied again.
sub redone { return $oslo->sql(q{SELECT sum(redone) FROM multicenter.workers}) }

# The first use of a table in a session is the receiver's.
sub warm_up
{
	$lisbon->sql("INSERT INTO $_ VALUES (900)") foreach qw(item slow counter owner parent child other);
	$lisbon->sql('INSERT INTO journal VALUES (0); INSERT INTO exact VALUES (900)');
	$lisbon->sql("DELETE FROM $_ WHERE id = 900") foreach qw(item slow counter owner child parent other exact);
	$lisbon->sql('DELETE FROM journal') if $_[0];
	return wait_all_applied($lisbon, $oslo);
}

$oslo->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND peer = 'lisbon'}, '8');
pass('there are as many appliers as multicenter.apply_workers says');
$lisbon->sql('ALTER TABLE journal REPLICA IDENTITY FULL');
$oslo->sql('ALTER TABLE journal REPLICA IDENTITY FULL');
warm_up(1);

#
# Beside each other, and in order
#
hold(1 .. 8);
$lisbon->sql("UPDATE slow SET v = 'new' WHERE id = $_") foreach 1 .. 8;
appliers_wait(8);
pass('eight transactions are applied at once');
let_go(2 .. 8);
appliers_wait(1);
is($oslo->sql(q{SELECT count(*) FROM slow WHERE v = 'new'}), 0, 'none is committed before the first');
cmp_ok($oslo->sql(q{SELECT sum(queued) FROM multicenter.workers}), '>=', 8, 'the view shows what is queued');
let_go(1);
wait_all_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT count(*) FROM slow WHERE v = 'new'}), 8, 'then all are');
identical($lisbon, $oslo);

# Others go on while two of them write the same row.
hold(11);
$lisbon->sql(q{UPDATE slow SET v = 'one' WHERE id = 11});
$lisbon->sql(q{UPDATE slow SET v = 'two' WHERE id = 11});
$lisbon->sql(q{DELETE FROM slow WHERE id = 11});
$lisbon->sql(q{INSERT INTO slow VALUES (11, 'three')});
$lisbon->sql(q{UPDATE slow SET id = 41 WHERE id = 11});
appliers_wait(1);
let_go(11);
wait_all_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT id, v FROM slow WHERE id IN (11, 41)}), '41|three', 'changes of one row come one after the other');
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflicts}), 0, 'and are no conflicts');

# Appliers know what the peer had seen, be it that a heartbeat has said so.
$lisbon->sql(q{INSERT INTO item VALUES (5, 'new')});
foreach my $i (1 .. 5)
{
	wait_all_applied($lisbon, $oslo);
	$oslo->sql("UPDATE item SET v = 'oslo $i' WHERE id = 5");
	wait_all_applied($lisbon, $oslo);
	$lisbon->sql("UPDATE item SET v = 'lisbon $i' WHERE id = 5");
}
wait_all_applied($lisbon, $oslo);
is($_->sql(q{SELECT count(*) FROM multicenter.conflicts}), 0, "no conflicts at $_->{name} where each center had seen what the other has written")
  foreach $lisbon, $oslo;

#
# One that is in the way of an earlier one
#
my $redone = redone();
hold(1000);
$lisbon->sql(q{INSERT INTO other VALUES (1, 'first')});
$lisbon->sql(q{INSERT INTO other VALUES (2, 'second')});
appliers_wait(1);
$oslo->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND state <> 'idle'}, '2');
let_go(1000);
wait_all_applied($lisbon, $oslo);
is($oslo->sql('SELECT n FROM applied'), $oslo->sql('SELECT count(*) + 1 FROM other'), 'both have counted');
cmp_ok(redone(), '>', $redone, 'the later one was applied again');
identical($lisbon, $oslo, 'other');

# The same through a session that stands between them.
hold(21, 22);
my $between = $oslo->background_psql();
$between->query_safe(q{BEGIN; UPDATE slow SET v = 'local' WHERE id = 24});
$lisbon->sql(q{BEGIN; UPDATE slow SET v = 'remote' WHERE id = 21; UPDATE slow SET v = 'remote' WHERE id = 24; COMMIT});
$lisbon->sql(q{UPDATE slow SET v = 'remote' WHERE id = 23});
appliers_wait(1);
$oslo->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND state <> 'idle'}, '2');
$between->query_until(qr/sent/, "\\echo sent\nUPDATE slow SET v = 'local' WHERE id = 23; COMMIT;\n");
let_go(21, 22);
wait_all_applied($lisbon, $oslo);
$between->query_safe('SELECT 1');
identical($lisbon, $oslo, 'slow');

# A session that waits for a fence needs what an applier behind its lock keeps up.
my $fencer = $oslo->background_psql(on_error_stop => 0);
$fencer->query_safe('BEGIN; LOCK TABLE counter IN SHARE MODE');
$lisbon->sql(q{INSERT INTO counter VALUES (10, 0)});
appliers_wait(1);
$fencer->query(q{SELECT multicenter.replicate_ddl('ALTER TABLE public.owner ALTER id TYPE bigint')});
like($fencer->{stderr}, qr/cannot fence table "owner" in this transaction/, 'a session that keeps an applier from its row gets no fence');
$fencer->quit;
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo, 'counter');

#
# An error that undoes a transaction leaves no memory behind
#
$oslo->sql(q{
	CREATE FUNCTION not_now() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 2000) THEN
			RAISE EXCEPTION 'not now';
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER not_now AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION not_now();
	ALTER TABLE item ENABLE REPLICA TRIGGER not_now;
});
$lisbon->sql(q{INSERT INTO item SELECT i FROM generate_series(101, 107) i});
warm_up(0);

# Seven appliers find out that it is not their turn yet.
sub seven_fail
{
	my $before = redone();
	hold(2000, 1);
	$lisbon->sql(q{UPDATE slow SET v = 'first' WHERE id = 1});
	appliers_wait(1);
	$lisbon->sql("UPDATE item SET v = v || 'x' WHERE id = $_") foreach 101 .. 107;
	$oslo->wait_for_sql('SELECT sum(redone) FROM multicenter.workers', $before + 7);
	let_go(2000, 1);
	return wait_all_applied($lisbon, $oslo);
}

# What appliers keep as long as they live, in bytes.
sub applier_bytes
{
	my $bytes = 0;
	foreach my $pid (split(/\n/, $oslo->sql(q{SELECT pid FROM multicenter.workers WHERE role = 'applier'})))
	{
		my $begin = -s $oslo->node->logfile;
		my $log;
		$oslo->sql("SELECT pg_log_backend_memory_contexts($pid)");
		poll("the memory of process $pid", sub {
				$log = PostgreSQL::Test::Utils::slurp_file($oslo->node->logfile, $begin);
				return ($log =~ /Grand total/, $log);
			});
		$bytes += $1 if $log =~ /; multicenter applier: .* (\d+) used/;
	}
	return $bytes;
}
seven_fail();
my $bytes = applier_bytes();
seven_fail() foreach 1 .. 4;
cmp_ok(applier_bytes() - $bytes, '<', 1400, 'what was applied again has left nothing in memory');
cmp_ok($bytes, '>', 1000, 'which can be seen');
$oslo->sql('DROP TRIGGER not_now ON item');
$lisbon->sql('DELETE FROM item WHERE id > 100');
wait_all_applied($lisbon, $oslo);

#
# Order: each snapshot at Oslo is a state that Lisbon had
#
$oslo->sql(q{
	CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep_for(random() * interval '4 ms');
		RETURN NULL;
	END $$;
	CREATE TRIGGER nap AFTER INSERT ON journal FOR EACH ROW EXECUTE FUNCTION nap();
	ALTER TABLE journal ENABLE REPLICA TRIGGER nap;
	CREATE TRIGGER nap AFTER INSERT ON parent FOR EACH ROW EXECUTE FUNCTION nap();
	ALTER TABLE parent ENABLE REPLICA TRIGGER nap;
});
warm_up(0);
my $n = 600;
my $watcher = start_sql($oslo, qq{
	DO \$\$
	DECLARE
		seen record;
	BEGIN
		LOOP
			SELECT count(*) AS number, coalesce(max(j.n), 0) AS last,
				(SELECT count(*) FROM child) AS children, (SELECT count(*) FROM child c LEFT JOIN parent p ON p.id = c.parent WHERE p.id IS NULL) AS orphans,
				(SELECT v.n FROM counter v WHERE v.id = 0) AS counter
			INTO seen FROM journal j WHERE j.n > 0;
			IF seen.number <> seen.last OR seen.orphans <> 0 OR seen.counter NOT IN (seen.last - 1, seen.last)
				OR seen.children NOT IN (seen.last - 1, seen.last) THEN
				RAISE EXCEPTION 'out of order: %', seen;
			END IF;
			EXIT WHEN seen.last = $n;
			COMMIT;
		END LOOP;
	END \$\$});
my $script = join("\n", map {
	"INSERT INTO parent VALUES ($_); INSERT INTO journal VALUES ($_); UPDATE counter SET n = $_ WHERE id = 0; INSERT INTO child VALUES ($_, $_);"
} 1 .. $n);
$lisbon->sql($script);
wait_all_applied($lisbon, $oslo);
my ($in_order, $output) = finish_sql($watcher);
ok($in_order, 'no snapshot has seen a later transaction without an earlier one') or diag($output);
identical($lisbon, $oslo, qw(parent journal counter child));

#
# A unique key that goes from hand to hand, and keys that are equal but not the same bytes
#
$lisbon->sql(q{INSERT INTO owner SELECT i, CASE i WHEN 1 THEN 'the seat' ELSE 'seat ' || i END FROM generate_series(1, 10) i});
$lisbon->sql(join("\n", map {
	my $from = ($_ - 1) % 10 + 1;
	my $to = $_ % 10 + 1;
	($_ % 7 ? "UPDATE owner SET seat = 'seat ' || $from WHERE id = $from;"
		: "DELETE FROM owner WHERE id = $from; INSERT INTO owner VALUES ($from, 'seat ' || $from);")
	. " UPDATE owner SET seat = 'the seat' WHERE id = $to;"
} 1 .. 200));
$lisbon->sql(q{UPDATE exact SET v = 'new' WHERE id = 1; UPDATE exact SET id = 1.0 WHERE id = 1; UPDATE exact SET v = 'newer' WHERE id = 1.00; DELETE FROM exact WHERE id = 2; INSERT INTO exact VALUES (2.000, 'again'); UPDATE exact SET v = 'last' WHERE id = 2});
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo, qw(owner exact));
is($oslo->sql('SELECT count(*) FROM multicenter.displaced'), 0, 'nothing was displaced');

#
# What fails, and what the receiver applies itself
#
$oslo->sql('ALTER TABLE other ADD CONSTRAINT odd CHECK (id <> 50)');
$lisbon->sql("INSERT INTO other VALUES ($_, 'x')") foreach 47 .. 53;
$lisbon->sql(q{INSERT INTO item VALUES (1, 'behind it')});
$oslo->wait_for_sql('SELECT count(*) FROM item WHERE id = 1', 1);
is($oslo->sql(q{SELECT count(*), min(key ->> 'id') FROM multicenter.quarantine}), '1|50', 'a transaction that fails goes into quarantine');
is($oslo->sql('SELECT count(*) FROM other WHERE id >= 47'), 6, 'and the others do not');
$oslo->sql('ALTER TABLE other DROP CONSTRAINT odd; SELECT multicenter.quarantine_retry()');
$oslo->wait_for_sql('SELECT count(*) FROM other WHERE id >= 47', 7);
$lisbon->sql('TRUNCATE item; INSERT INTO item SELECT i FROM generate_series(1, 20000) i; UPDATE item SET v = id');
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE public.item ADD COLUMN w int')});
$lisbon->sql("UPDATE item SET w = $_ WHERE id = $_") foreach 1 .. 50;
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo, qw(item other));

#
# The number of appliers can be changed at any time
#
foreach my $workers (3, 0, 'null')
{
	my $expected = $workers eq 'null' ? 8 : $workers;

	$oslo->sql("SELECT multicenter.link_alter('lisbon', '{\"workers\": $workers}')");
	$lisbon->sql("INSERT INTO journal SELECT 1000, '$workers'");
	$oslo->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier'}, $expected);
	pass("$expected appliers after link_alter() with $workers");
	wait_streaming($lisbon, $oslo, $Multicenter::Cluster::timeout);
	wait_all_applied($lisbon, $oslo);
}
$oslo->fails(qq{SELECT multicenter.link_alter('lisbon', '{"workers": $_}')}, '22023', qr/workers/, qr/from 0 to 16/, "workers: $_")
  foreach (17, -1, '"many"', 1.5);
identical($lisbon, $oslo);
$_->quit foreach $holder, $between;

#
# Appliers leave the places of receivers free
#
my ($lima, @others) = make_group([qw(lima cairo quito)], conf => "max_worker_processes = 7\n", setup => 'CREATE TABLE item (id int PRIMARY KEY)');
my @links = map { [ $_, $lima ] } @others;
hold_links($links[1]);
$lima->sql(q{SELECT multicenter.link_alter('cairo', '{"workers": 4}')});
$lima->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND peer = 'cairo'}, '1');
like(PostgreSQL::Test::Utils::slurp_file($lima->node->logfile), qr/only 1 appliers for center "cairo" could be started, not 4/, 'there are not more appliers than there is place for');
release_links($links[1]);
pass('a receiver that was not running finds its place');
done_testing();
