# Goal: TRUNCATE is a tombstone of the whole table at its version.  Rows that
# are older go wherever and whenever they arrive, newer ones stay, and all
# centers end with the same rows; likewise a change of a key is a delete of the
# old key and a put of the new one, each against what is known of that key.
#
# Method: three databases of one server are three centers.  All links are shut,
# each center writes, in an order that the case gives; then the links are opened
# one after the other, in each order in which what one center has sent can
# reach another.  Every case names the rows that must be left, everywhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo, $riga) = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE t (id int PRIMARY KEY, v text, big text);
	CREATE TABLE parent (id int PRIMARY KEY, v text);
	CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, v text);
	CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
	CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
	CREATE TABLE counted (id serial PRIMARY KEY, v text);
});
my @centers = ($lisbon, $oslo, $riga);
my %by_name = map { $_->name => $_ } @centers;
my @links = links_between(@centers);

# All rows of a table, in one line.
sub rows
{
	my ($center, $table) = @_;
	return join ' ', split /\n/, $center->sql("SELECT * FROM $table ORDER BY 1");
}

# One case: setup is written by lisbon and is everywhere before the rest; steps
# are [center, SQL], and each but the first may come after some deliveries:
# [from, to].  Then the rest arrives, once for each order of the links into
# every center.  tables: what must be left.
sub converges
{
	my ($name, %case) = @_;

	foreach my $forward (1, 0)
	{
		my @order = $forward ? @links : reverse @links;

		$lisbon->sql($case{setup});
		wait_all_applied(@centers);
		hold_links(@links);
		foreach my $step (@{ $case{steps} })
		{
			my ($from, $what) = @$step;
			if ($by_name{$what})
			{
				my $pair = [ $by_name{$from}, $by_name{$what} ];
				release_links($pair);
				hold_links($pair);
			}
			else
			{
				$by_name{$from}->sql($what);
			}
		}
		release_links($_) foreach @order;
		wait_all_applied(@centers);
		foreach my $table (sort keys %{ $case{left} })
		{
			is(join(' | ', map { $_->name . ': ' . rows($_, $table) } @centers),
				join(' | ', map { $_->name . ': ' . $case{left}{$table} } @centers),
				"$name: rows of $table, order " . ($forward ? 1 : 2));
		}
	}
	return;
}

my $fresh = q{TRUNCATE t, parent, child, parted, counted; INSERT INTO t VALUES (1, 'old', 'b1'), (2, 'old', 'b2')};

converges('a newer insert and a newer update stay, older rows go',
	setup => $fresh,
	steps => [
		[ oslo => "INSERT INTO t VALUES (3, 'older')" ],
		[ lisbon => 'TRUNCATE t' ],
		[ riga => "INSERT INTO t VALUES (4, 'newer')" ],
		[ riga => "UPDATE t SET v = 'newer', big = 'all' WHERE id = 2" ],
	],
	left => { t => '2|newer|all 4|newer|' });

converges('an older delete and a newer delete',
	setup => $fresh,
	steps => [
		[ oslo => 'DELETE FROM t WHERE id = 1' ],
		[ lisbon => 'TRUNCATE t' ],
		[ riga => 'DELETE FROM t WHERE id = 2' ],
		[ oslo => "INSERT INTO t VALUES (1, 'again')" ],
	],
	left => { t => '1|again|' });

converges('two of them, with an insert between',
	setup => $fresh,
	steps => [
		[ lisbon => 'TRUNCATE t' ],
		[ riga => "INSERT INTO t VALUES (5, 'between')" ],
		[ oslo => 'TRUNCATE t' ],
		[ lisbon => "INSERT INTO t VALUES (6, 'after')" ],
	],
	left => { t => '6|after|' });

converges('one that had seen a row which comes later than it',
	setup => $fresh,
	steps => [
		[ oslo => "INSERT INTO t VALUES (7, 'seen')" ],
		[ oslo => 'lisbon' ],
		[ lisbon => 'TRUNCATE t' ],
		[ lisbon => 'riga' ],
		[ riga => "INSERT INTO t VALUES (8, 'after it')" ],
	],
	left => { t => '8|after it|' });

converges('INSERT, TRUNCATE and INSERT in one transaction, over older and newer rows',
	setup => $fresh,
	steps => [
		[ oslo => "INSERT INTO t VALUES (10, 'older'), (11, 'older')" ],
		[ lisbon => "BEGIN; INSERT INTO t VALUES (10, 'before'), (12, 'before'); TRUNCATE t;
			INSERT INTO t VALUES (11, 'after'), (13, 'after'); COMMIT" ],
		[ riga => "INSERT INTO t VALUES (12, 'newer')" ],
	],
	left => { t => '11|after| 12|newer| 13|after|' });

converges('several tables in one statement, one with newer rows, by CASCADE',
	setup => "$fresh; INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 1, 'c')",
	steps => [
		[ lisbon => 'TRUNCATE parent CASCADE' ],
		[ riga => "INSERT INTO parent VALUES (2, 'newer'); INSERT INTO child VALUES (2, 2, 'newer')" ],
	],
	left => { parent => '2|newer', child => '2|2|newer' });

converges('a partitioned table, and one partition of it',
	setup => "$fresh; INSERT INTO parted VALUES (1, 'low'), (101, 'high')",
	steps => [
		[ oslo => "INSERT INTO parted VALUES (2, 'older'), (102, 'older')" ],
		[ lisbon => 'TRUNCATE parted' ],
		[ riga => "INSERT INTO parted VALUES (3, 'newer'), (103, 'newer')" ],
		[ oslo => 'TRUNCATE parted_high' ],
	],
	left => { parted => '3|newer' });

converges('one that was rolled back, or whose savepoint was',
	setup => $fresh,
	steps => [
		[ lisbon => 'BEGIN; TRUNCATE t; ROLLBACK' ],
		[ lisbon => "BEGIN; SAVEPOINT s; TRUNCATE t; ROLLBACK TO s; UPDATE t SET v = 'kept' WHERE id = 1; COMMIT" ],
		[ oslo => "INSERT INTO t VALUES (20, 'kept')" ],
	],
	left => { t => '1|kept|b1 2|old|b2 20|kept|' });

converges('one that was prepared',
	setup => $fresh,
	steps => [
		[ oslo => "INSERT INTO t VALUES (21, 'older')" ],
		[ lisbon => "BEGIN; TRUNCATE t; INSERT INTO t VALUES (22, 'with it'); PREPARE TRANSACTION 'truncate'" ],
		[ oslo => "INSERT INTO t VALUES (23, 'older than the commit')" ],
		[ lisbon => "COMMIT PREPARED 'truncate'" ],
		[ riga => "INSERT INTO t VALUES (24, 'newer')" ],
	],
	left => { t => '22|with it| 24|newer|' });

# Rows without a key, and triggers.
foreach my $center (@centers)
{
	$center->sql(q{
		CREATE TABLE keyless (v text);
		ALTER TABLE keyless REPLICA IDENTITY FULL;
		CREATE UNLOGGED TABLE fired (what text);
		CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS
			$$BEGIN INSERT INTO public.fired VALUES (lower(TG_WHEN)); RETURN NULL; END$$;
		CREATE TRIGGER before BEFORE TRUNCATE ON keyless EXECUTE FUNCTION fire();
		CREATE TRIGGER after AFTER TRUNCATE ON keyless EXECUTE FUNCTION fire();
		ALTER TABLE keyless ENABLE ALWAYS TRIGGER before;
		ALTER TABLE keyless ENABLE REPLICA TRIGGER after;
	});
}
converges('a table without a key',
	setup => "TRUNCATE keyless; INSERT INTO keyless VALUES ('old')",
	steps => [
		[ lisbon => 'DELETE FROM fired; TRUNCATE keyless' ],
		[ oslo => 'DELETE FROM fired' ],
		[ riga => "DELETE FROM fired; INSERT INTO keyless VALUES ('newer')" ],
	],
	left => { keyless => 'newer' });
is(join(' | ', map { $_->sql("SELECT string_agg(what, ',') FROM fired") } @centers),
	'before | before,after | before,after', 'triggers of TRUNCATE fire, in whichever way it is carried out');

# Changes of keys.
converges('a key change against an older and a newer update of the old key',
	setup => "TRUNCATE t; INSERT INTO t VALUES (1, 'one', 'b'), (2, 'two', 'b')",
	steps => [
		[ oslo => "UPDATE t SET v = 'older', big = 'older' WHERE id = 1" ],
		[ lisbon => 'UPDATE t SET id = id + 10' ],
		[ riga => "UPDATE t SET v = 'newer', big = 'newer' WHERE id = 2" ],
	],
	left => { t => '2|newer|newer 11|one|b 12|two|b' });

converges('a key change against older and newer inserts of the new key',
	setup => "TRUNCATE t; INSERT INTO t VALUES (1, 'one', 'b'), (2, 'two', 'b')",
	steps => [
		[ oslo => "INSERT INTO t VALUES (11, 'older')" ],
		[ lisbon => 'UPDATE t SET id = id + 10' ],
		[ riga => "INSERT INTO t VALUES (12, 'newer')" ],
	],
	left => { t => '11|one|b 12|newer|' });

converges('a key change against deletes of the old key',
	setup => "TRUNCATE t; INSERT INTO t VALUES (1, 'one', 'b'), (2, 'two', 'b')",
	steps => [
		[ oslo => 'DELETE FROM t WHERE id = 1' ],
		[ lisbon => 'UPDATE t SET id = id + 10' ],
		[ riga => 'DELETE FROM t WHERE id = 2' ],
	],
	left => { t => '11|one|b 12|two|b' });

converges('two key changes of one row',
	setup => "TRUNCATE t; INSERT INTO t VALUES (1, 'one', 'b')",
	steps => [
		[ oslo => 'UPDATE t SET id = 11' ],
		[ lisbon => 'UPDATE t SET id = 12' ],
		[ riga => 'UPDATE t SET id = 11' ],
	],
	left => { t => '11|one|b 12|one|b' });

converges('a swap of keys within a transaction, against an update of each',
	setup => "TRUNCATE t; INSERT INTO t VALUES (1, 'one', 'b1'), (2, 'two', 'b2')",
	steps => [
		[ oslo => "UPDATE t SET v = 'older', big = 'older' WHERE id = 1" ],
		[ lisbon => 'BEGIN; UPDATE t SET id = 3 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 3; COMMIT' ],
		[ riga => "UPDATE t SET v = 'newer', big = 'newer' WHERE id = 2" ],
	],
	left => { t => '1|two|b2 2|newer|newer' });

# What is remembered of a TRUNCATE cannot be written by users.
$lisbon->sql(q{CREATE ROLE clerk; GRANT USAGE ON SCHEMA multicenter TO clerk});
foreach my $sql ('SELECT * FROM multicenter.truncation', 'DELETE FROM multicenter.truncation',
	'INSERT INTO multicenter.truncation VALUES (1, now(), 1)')
{
	$lisbon->fails("SET ROLE clerk; $sql", '42501', qr/permission denied/, undef, "an ordinary user may not: $sql");
}

# Sequences restart everywhere, with a newer row too.
$lisbon->sql("INSERT INTO counted (v) SELECT 'old' FROM generate_series(1, 5)");
wait_all_applied(@centers);
$riga->sql("SELECT setval('counted_id_seq', 100)");
hold_links(@links);
$lisbon->sql('TRUNCATE counted RESTART IDENTITY');
$riga->sql("INSERT INTO counted (v) VALUES ('newer')");
release_links(@links);
wait_all_applied(@centers);
is(rows($_, 'counted'), '101|newer', 'the newer row is left in ' . $_->name) foreach @centers;
is($riga->sql("SELECT nextval('counted_id_seq')"), 1, 'the sequence has restarted, although a row has stayed');

# Statements of all centers race with each other and with the links.
my @loads = map {
	my $n = $_;
	start_load($centers[$n], q{
		\set key random(1, 60)
		INSERT INTO t VALUES (:key, 'load', repeat('x', 50)) ON CONFLICT (id) DO UPDATE SET v = t.v || '+';
	}, clients => 2, transactions => 400);
} 0 .. 2;
foreach my $round (1 .. 24)
{
	my $center = $centers[ $round % 3 ];
	$center->sql($round % 4 ? 'TRUNCATE t' : "BEGIN; INSERT INTO t VALUES (1000, 'before') ON CONFLICT DO NOTHING;
		TRUNCATE t; INSERT INTO t VALUES (1001, 'after'); COMMIT");
}
like(finish_load($_), qr{actually processed: 800/800}, 'a load beside TRUNCATE has run to its end') foreach @loads;
wait_all_applied(@centers);
identical($lisbon, $oslo, 't');
identical($lisbon, $riga, 't');
is($lisbon->sql('SELECT count(*) FROM t WHERE id = 1000'), 0, 'no row is left from before a TRUNCATE of its own transaction');

# A trigger of TRUNCATE may run another one that fails: each is remembered, or
# not, for itself.
$lisbon->sql(q{
	CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no, thank you'; END $$;
	CREATE TRIGGER no BEFORE TRUNCATE ON counted FOR EACH STATEMENT EXECUTE FUNCTION no();
	CREATE FUNCTION too() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN TRUNCATE counted; RETURN NULL; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;
	CREATE TRIGGER too BEFORE TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION too();
	DELETE FROM multicenter.truncation;
	TRUNCATE t;
});
is($lisbon->sql('SELECT string_agg(relation::regclass::text, $$ $$) FROM multicenter.truncation'), 't', 'the TRUNCATE whose trigger catches the error of another one is remembered');

# The manager forgets what nobody needs, but never waits for who has it in hand,
# because a TRUNCATE could wait for the manager in turn.
my $holder = $lisbon->background_psql;
$holder->query_safe('TRUNCATE t');
$holder->query_safe('BEGIN');
is($holder->query_safe(q{SELECT count(*) FROM (SELECT FROM multicenter.truncation WHERE relation = 't'::regclass FOR UPDATE) l}), 1, 'somebody has a note in hand');
my $since = $lisbon->sql('SELECT clock_timestamp()');
$lisbon->wait_for_sql("SELECT frontier > '$since'::timestamptz + interval '4 s' FROM multicenter.horizon");
is($lisbon->sql(q{SELECT count(*) FROM multicenter.truncation WHERE relation = 't'::regclass}), 1, 'the manager goes on without it');
$holder->query_safe('COMMIT');
$holder->quit;
$lisbon->wait_for_sql(q{SELECT NOT EXISTS (SELECT FROM multicenter.truncation)});

done_testing();
