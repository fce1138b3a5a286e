# Goal: a row that has been displaced for multicenter.displaced_retention is
# deleted for good, by its author, on every center: it does not come back when
# the row in its place goes.  That is a write like any other: a newer one of the
# key wins, an older one loses, in whatever order they arrive; and in the end
# nothing is remembered of it.
#
# Method: three databases of one server, so that one clock decides what is
# later, and one setting is for all of them.  The retention is a day but for
# the moments in which rows are to be settled.  All schedules run at once, each
# on keys and values of its own, with all links held.  Then the links are
# released in one order or the other.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE, v text);
	CREATE TABLE deferred (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, v text);
	CREATE TABLE booking (id int PRIMARY KEY, u int4range, v text, EXCLUDE USING gist (u WITH &&));
	CREATE TABLE large (id int PRIMARY KEY, u int, g int GENERATED ALWAYS AS (u * 2) STORED UNIQUE, v text);
	ALTER TABLE large ALTER v SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
	CREATE TABLE gone (id int PRIMARY KEY, u int UNIQUE, v text) WITH (autovacuum_enabled = off);
});
my ($lisbon, $oslo, $riga) = @centers;
my %center = (a => $lisbon, b => $oslo, c => $riga);
my @links = links_between(@centers);

sub set_retention
{
	my ($time) = @_;
	$lisbon->sql("ALTER SYSTEM SET multicenter.displaced_retention = '$time'");
	$lisbon->reload;
	return;
}

# The managers look once in a second.
sub settled
{
	my ($what, $center, $sql, $expected) = @_;
	my $found;
	eval {
		Multicenter::Cluster::poll($what, sub { $found = $center->sql($sql); return ($found eq $expected, $found) }, 60);
		1;
	};
	return is($found, $expected, $what);
}

# What lisbon has displaced among its own rows is deleted for good, now.
sub settle_lisbon
{
	set_retention('1s');
	settled('displaced rows of lisbon are settled', $lisbon, q{SELECT count(*) FROM multicenter.displaced WHERE center = 'lisbon'}, 0);
	set_retention('1d');
	return;
}

is($lisbon->sql('SHOW multicenter.displaced_retention'), '1d', 'rows are kept for a day');

#
# Schedules.  a has inserted k1, and b k2 with the same value, so that k1 is
# displaced everywhere.  First the steps before a settles its row, then those
# after; what is visible in the end.
#
my %schedule = (
	'nothing else' => [ [], [], '2|b' ],
	'the winner goes after it' => [ [], ['b DELETE FROM item WHERE id = k2'], '' ],
	'the winner goes elsewhere after it' => [ [], ['c DELETE FROM item WHERE id = k2'], '' ],
	'the winner went before, elsewhere' => [ ['b DELETE FROM item WHERE id = k2'], [], '' ],
	'the winner gave its value up before, elsewhere' => [ ['b UPDATE item SET u = k2 WHERE id = k2'], [], '2|b' ],
	'it has come back elsewhere, and is updated' => [ [ 'b DELETE FROM item WHERE id = k2', 'b back' ], ['b UPDATE item SET v = $$b2$$ WHERE id = k1'], '1|b2' ],
	'it has come back elsewhere, and was updated before' => [ [ 'b DELETE FROM item WHERE id = k2', 'b back', 'b UPDATE item SET v = $$b2$$ WHERE id = k1' ], [], '' ],
	'a new row elsewhere' => [ [], ['c INSERT INTO item VALUES (k1, k3, $$c$$)'], "1|c\n2|b" ],
	'a new row elsewhere, before' => [ ['c INSERT INTO item VALUES (k1, k3, $$c$$)'], [], '2|b' ],
	'a new row with the value' => [ [], ['c DELETE FROM item WHERE id = k2; INSERT INTO item VALUES (k1, k1, $$c$$)'], '1|c' ],
	'a new row with the value, before' => [ ['c DELETE FROM item WHERE id = k2; INSERT INTO item VALUES (k1, k1, $$c$$)'], [], '' ],
	'a new row that is displaced itself' => [ [], [ 'c DELETE FROM item WHERE id = k2; INSERT INTO item VALUES (k1, k1, $$c$$)', 'b UPDATE item SET v = $$b2$$ WHERE id = k2' ], '2|b2' ],
	'a new row of its author' => [ [], ['a INSERT INTO item VALUES (k1, k3, $$a2$$)'], "1|a2\n2|b" ],
	'a new row of its author, before' => [ ['a INSERT INTO item VALUES (k1, k3, $$a2$$)'], [], "1|a2\n2|b" ],
	'the value is taken again' => [ [], ['c DELETE FROM item WHERE id = k2; INSERT INTO item VALUES (k4, k1, $$c$$)'], '4|c' ],
	'deleted elsewhere too' => [ [ 'b DELETE FROM item WHERE id = k2', 'b back', 'b DELETE FROM item WHERE id = k1' ], [], '' ],
);
my @names = sort keys %schedule;

# Carry out a step of a schedule.
sub run_step
{
	my ($step, $base) = @_;
	my ($at, $sql) = $step =~ /^(\w) (.*)$/s;
	if ($sql eq 'back')
	{
		$center{$at}->wait_for_sql("SELECT count(*) = 1 FROM item WHERE id = $base + 1");
		return;
	}
	$sql =~ s/\bk(\d)\b/$base + $1/ge;
	$center{$at}->sql("BEGIN; $sql; COMMIT");
	return;
}

my $next_base = 1000;
sub run_schedules
{
	my ($order, @opening) = @_;
	my %base;
	hold_links(@links);
	foreach my $name (@names)
	{
		my $k = $base{$name} = $next_base;
		$next_base += 100;
		$lisbon->sql("INSERT INTO item VALUES ($k + 1, $k + 1, 'a')");
		$oslo->sql("INSERT INTO item VALUES ($k + 2, $k + 1, 'b')");
	}
	release_links(@links);
	my ($first, $last) = ($base{ $names[0] }, $next_base);
	is( $_->sql("SELECT count(*) FROM multicenter.displaced WHERE (key ->> 'id')::int BETWEEN $first AND $last AND center = 'lisbon'"),
		scalar @names, "$order: rows of lisbon are displaced at $_->{name}") foreach @centers;

	hold_links(@links);
	foreach my $name (@names)
	{
		run_step($_, $base{$name}) foreach @{ $schedule{$name}[0] };
	}
	settle_lisbon();
	foreach my $name (@names)
	{
		run_step($_, $base{$name}) foreach @{ $schedule{$name}[1] };
	}
	release_links($_) foreach @opening;
	foreach my $name (@names)
	{
		my $k = $base{$name};
		settled("$order: $name, rows at $_->{name}", $_, "SELECT id - $k, v FROM item WHERE id BETWEEN $k AND $k + 99 ORDER BY 1", $schedule{$name}[2])
		  foreach @centers;
	}
	settled("$order: displaced at $_->{name}", $_, "SELECT key ->> 'id', row ->> 'v' FROM multicenter.displaced",
		($base{'a new row that is displaced itself'} + 1) . '|c') foreach @centers;

	# Nothing comes back when the winners go.
	$riga->sql("DELETE FROM item WHERE id BETWEEN $first AND $last");
	wait_all_applied(@centers);
	settled("$order: what comes back at $_->{name} was not settled", $_, "SELECT v FROM item WHERE id BETWEEN $first AND $last", 'c') foreach @centers;
	$riga->sql('DELETE FROM item');
	wait_all_applied(@centers);
	return;
}

run_schedules('in order', @links);
run_schedules('backwards', reverse @links);

# Each was recorded once more when it was settled, with its row.
is( $lisbon->sql(q{SELECT DISTINCT conflict_type, index_name, remote_center, remote_row ->> 'v', local_row ->> 'v', result_row ->> 'v', peer
		FROM multicenter.conflicts WHERE resolution = 'skip' AND relation = 'item'::regclass}),
	'insert_exists|item_u_key|lisbon|a|b|b|lisbon', 'the history has the row that was settled');

# But for those that had been put anew at their author.
is( $lisbon->sql(q{SELECT count(*), count(DISTINCT key ->> 'id') FROM multicenter.conflicts WHERE resolution = 'skip' AND relation = 'item'::regclass}),
	2 * (@names - 1) . '|' . 2 * (@names - 1), 'each one once');
is($_->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE resolution = 'skip' AND index_name IS NOT NULL}), 0, "not at $_->{name}") foreach $oslo, $riga;

#
# Tables of all kinds; one has a constraint by now that the row does not meet.
#
hold_links(@links);
$lisbon->sql(q{INSERT INTO deferred VALUES (1, 1, 'a'); INSERT INTO booking VALUES (1, '[1,5)', 'a');
	INSERT INTO large (id, u, v) SELECT 1, 1, string_agg(md5(i::text), '') FROM generate_series(1, 2000) i;
	INSERT INTO gone SELECT i, i, 'a' FROM generate_series(1, 1200) i});
$oslo->sql(q{INSERT INTO deferred VALUES (2, 1, 'b'); INSERT INTO booking VALUES (2, '[3,8)', 'b'); INSERT INTO large (id, u, v) VALUES (2, 1, 'b');
	INSERT INTO gone SELECT i + 5000, i, 'b' FROM generate_series(1, 1200) i});
release_links(@links);
is($_->sql('SELECT count(*) FROM multicenter.displaced'), 1203, "rows of all kinds are displaced at $_->{name}") foreach @centers;
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE deferred ADD CHECK (v <> ''a'')')});

# How long they have been is known after a restart, too.
my $since = $lisbon->sql('SELECT min(since), max(since) FROM multicenter.displaced');
$lisbon->restart;
is($lisbon->sql('SELECT min(since), max(since) FROM multicenter.displaced'), $since, 'since when rows are displaced survives a restart');
wait_streaming(@centers);
settle_lisbon();
wait_all_applied(@centers);
is($_->sql('SELECT count(*) FROM multicenter.displaced'), 0, "and are settled at $_->{name}") foreach @centers;
$riga->sql('DELETE FROM deferred; DELETE FROM booking; DELETE FROM large; DELETE FROM gone');
wait_all_applied(@centers);
is( $_->sql('SELECT (SELECT count(*) FROM deferred) + (SELECT count(*) FROM booking) + (SELECT count(*) FROM large) + (SELECT count(*) FROM gone)'),
	0, "none comes back at $_->{name}") foreach @centers;

#
# While one center hears of nothing: the row comes back there when it hears of
# the winner's end first, and goes with the news of its own.
#
hold_links(@links);
$lisbon->sql(q{INSERT INTO item VALUES (1, 1, 'a')});
$oslo->sql(q{INSERT INTO item VALUES (2, 1, 'b')});
release_links(@links);
hold_links([ $lisbon, $riga ], [ $oslo, $riga ]);
settle_lisbon();
wait_applied($lisbon, $oslo);
$oslo->sql('DELETE FROM item WHERE id = 2');
wait_applied($oslo, $lisbon);
release_links([ $oslo, $riga ]);
settled('a center that has not heard of it shows the row', $riga, 'SELECT id, v FROM item', '1|a');
release_links([ $lisbon, $riga ]);
is($_->sql('SELECT count(*) FROM item'), 0, "then it is gone at $_->{name}") foreach @centers;

#
# A session is inserting the key anew: its row stays.
#
hold_links(@links);
$lisbon->sql(q{INSERT INTO item VALUES (11, 11, 'a')});
$oslo->sql(q{INSERT INTO item VALUES (12, 11, 'b')});
release_links(@links);
my $log_position = -s $lisbon->node->logfile;
my $session = $lisbon->background_psql();
$session->query_safe(q{BEGIN; INSERT INTO item VALUES (11, 13, 'a2')});
set_retention('1s');
my $manager_waits = q{SELECT count(*) > 0 FROM pg_locks l JOIN multicenter.workers w USING (pid) WHERE w.role = 'manager' AND NOT l.granted};
$lisbon->wait_for_sql($manager_waits);
$lisbon->wait_for_sql($manager_waits, 'f');
pass('the manager does not wait until the session has ended');
$session->query_safe('COMMIT');
$session->quit;
settled("its old row is forgotten at $_->{name}", $_, 'SELECT count(*) FROM multicenter.displaced', 0) foreach @centers;
wait_all_applied(@centers);
is($_->sql('SELECT id, u, v FROM item ORDER BY 1'), "11|13|a2\n12|11|b", "a row that was being inserted stays at $_->{name}") foreach @centers;
unlike(PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile, $log_position), qr/ERROR/, 'nobody is told of an error');
set_retention('1d');

#
# A row is displaced, comes back, and is displaced again, at one center only.
# What is left of it from the first time is no delete.  A transaction keeps that
# from VACUUM, and with an id the dead-row horizon, too, so that why the row went
# must be remembered; with a snapshot only nothing is remembered.
#
my $k = 51;
my %kept_by = (
	'an id' => [ q{BEGIN; SELECT pg_current_xact_id()}, q{SELECT frontier > '%s'::timestamptz + interval '4 s' FROM multicenter.horizon} ],
	'a snapshot' => [ q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM item}, q{SELECT NOT EXISTS (SELECT FROM multicenter.key_note WHERE relation = 'item'::regclass AND kind = 'x')} ]);
foreach my $how (sort keys %kept_by)
{
	my ($begin, $until) = @{ $kept_by{$how} };
	my ($winner, $displaced) = ($k + 1, qq{SELECT count(*) FROM multicenter.displaced WHERE relation = 'item'::regclass AND key ->> 'id' = '$k'});
	my $keeper = $lisbon->background_psql;
	$keeper->query_safe($begin);
	hold_links(@links);
	$lisbon->sql(qq{INSERT INTO item VALUES ($k, $k, 'a')});
	$oslo->sql(qq{INSERT INTO item VALUES ($winner, $k, 'b')});
	release_links(@links);
	hold_links([ $lisbon, $oslo ], [ $lisbon, $riga ]);
	$lisbon->sql(qq{UPDATE item SET u = $winner WHERE id = $winner});
	$lisbon->wait_for_sql(qq{SELECT count(*) = 1 FROM item WHERE id = $k});
	$lisbon->wait_for_sql(sprintf($until, $lisbon->sql('SELECT clock_timestamp()')));
	$oslo->sql(qq{UPDATE item SET v = 'b2' WHERE id = $winner});
	wait_applied($oslo, $lisbon);
	is($lisbon->sql($displaced), 1, "with $how: a row that has come back is displaced again");
	$lisbon->wait_for_sql(sprintf(q{SELECT frontier > '%s' FROM multicenter.horizon}, $lisbon->sql(q{SELECT clock_timestamp() + interval '3 s'})));
	is($lisbon->sql($displaced), 1, "with $how: and is so still when the manager has looked");
	$keeper->query_safe('COMMIT');
	$keeper->quit;
	release_links([ $lisbon, $oslo ], [ $lisbon, $riga ]);
	is($_->sql($displaced), 1, "with $how: as at $_->{name}") foreach @centers;
	$riga->sql("DELETE FROM item WHERE id = $winner");
	wait_all_applied(@centers);
	settled("with $how: and comes back again at $_->{name}", $_, "SELECT id, u, v FROM item WHERE id IN ($k, $winner)", "$k|$k|a") foreach @centers;
	$k += 2;
}

#
# Random writes and links while rows are settled all the time: all centers end
# with the same rows.  MULTICENTER_SETTLED_SEED repeats one.
#
{
	my $seed = $ENV{MULTICENTER_SETTLED_SEED} || time;
	srand($seed);
	note("seed $seed");
	set_retention('1s');
	hold_links(@links);
	my $end = time + ($ENV{MULTICENTER_SETTLED_SECONDS} || 8);
	while (time < $end)
	{
		my $center = $centers[ int rand 3 ];
		my ($id, $u) = map { 100 + int rand $_ } 30, 10;
		my $sql = (
			"INSERT INTO item VALUES ($id, $u, '$center->{name}') ON CONFLICT (id) DO UPDATE SET u = excluded.u, v = excluded.v",
			"UPDATE item SET v = 'by $center->{name}' WHERE u = $u",
			"DELETE FROM item WHERE u = $u",
		)[ int rand 2.4 ];
		$center->psql($sql, on_error_die => 0);
		next if rand() > 0.2;
		my $link = $links[ int rand @links ];
		release_links($link);
		hold_links($link);
	}
	release_links(@links);
	set_retention('1d');
	wait_all_applied(@centers);
	cmp_ok( $lisbon->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE resolution = 'skip' AND (key ->> 'id')::int >= 100 AND relation = 'item'::regclass}),
		'>', 20, 'rows were settled among random writes');
	my $state = q{SELECT id, u, v FROM item UNION ALL SELECT (key ->> 'id')::int, NULL, "row" ->> 'v' FROM multicenter.displaced ORDER BY 1};
	my %state;
	eval {
		Multicenter::Cluster::poll('same rows', sub {
				$state{ $_->name } = $_->sql($state) foreach @centers;
				return ($state{lisbon} eq $state{oslo} && $state{lisbon} eq $state{riga}, join("\n--\n", values %state)) }, 60);
		1;
	};
	is($state{ $_->name }, $state{lisbon}, "random writes: $_->{name} is like lisbon") foreach $oslo, $riga;
	identical(@centers, 'item');
}

#
# An author that is none any more: the first of the others does it.
#
hold_links(@links);
$riga->sql(q{INSERT INTO item VALUES (21, 21, 'c')});
$oslo->sql(q{INSERT INTO item VALUES (22, 21, 'b')});
release_links(@links);
$lisbon->sql(q{SELECT multicenter.center_part(center_name => 'riga')});
set_retention('1s');
foreach my $center ($lisbon, $oslo)
{
	settled("the row of a parted center is settled at $center->{name}", $center, q{SELECT count(*) FROM multicenter.displaced}, 0);
}
is( $lisbon->sql(q{SELECT remote_row ->> 'v' FROM multicenter.conflicts WHERE resolution = 'skip' AND relation = 'item'::regclass AND key ->> 'id' = '21'}), 'c',
	'by the first center');
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE resolution = 'skip' AND relation = 'item'::regclass AND key ->> 'id' = '21'}), 0, 'and by it alone');
$oslo->sql('DELETE FROM item WHERE id = 22');
wait_all_applied($lisbon, $oslo);
is($_->sql('SELECT count(*) FROM item WHERE id = 21'), 0, "it does not come back at $_->{name}") foreach $lisbon, $oslo;

#
# Nothing is remembered in the end, and nothing is left behind.
#
foreach my $center ($lisbon, $oslo)
{
	# What gives a row its version stays as long as the row, in tables with
	# large values.
	$center->wait_for_sql(q{SELECT count(*) = 0 FROM multicenter.key_note WHERE kind <> 'v'});
	$center->wait_for_sql(q{VACUUM gone; SELECT pg_relation_size('gone') = 0});
	pass("notes and dead rows go at $center->{name}");
	is($center->sql(q{SELECT count(*) FROM multicenter.quarantine}), 0, "nothing is in quarantine at $center->{name}");
	is($center->sql(q{SELECT count(*) FROM multicenter.lag WHERE state = 'stalled'}), 0, "no link stopped at $center->{name}");
}
identical($lisbon, $oslo);

SKIP:
{
	skip 'no amcheck', 2 unless $lisbon->sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'");
	foreach my $center ($lisbon, $oslo)
	{
		$center->sql('CREATE EXTENSION amcheck');
		is( $center->sql(q{SELECT count(bt_index_parent_check(indexrelid::regclass, true)::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
				WHERE amname = 'btree' AND indrelid IN ('item'::regclass, 'deferred'::regclass, 'large'::regclass)}),
			6, "indexes at $center->{name} are sound");
	}
}

done_testing();
