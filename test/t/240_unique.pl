# Goal: rows of different centers that clash on another unique key than the one
# they are found by, or on an exclusion constraint, never stop a link and are
# never lost: on every center the same ones are visible, in whatever order they
# arrive, and a row that lost comes back when its value is free again.
#
# Method: three databases of one server, so that one clock decides what is
# later.  All links are paused while the centers write; then they are opened in
# one order or the other, and all centers must have the rows that the rule
# gives: from the newest to the oldest, a row is visible if it clashes with no
# visible newer one.  All schedules run at once, each on keys and values of its
# own.  Then local transactions race with the receivers, and random schedules
# are compared with an oracle.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @tables = qw(item deferred partial expression nulls booking);
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE, w int UNIQUE, v text);
	CREATE TABLE deferred (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, v text);
	CREATE TABLE partial (id int PRIMARY KEY, u int, active bool, v text);
	CREATE UNIQUE INDEX ON partial (u) WHERE active;
	CREATE TABLE expression (id int PRIMARY KEY, u text, v text);
	CREATE UNIQUE INDEX ON expression (lower(u));
	CREATE TABLE nulls (id int PRIMARY KEY, g int, u int, v text, UNIQUE NULLS NOT DISTINCT (g, u));
	CREATE TABLE booking (id int PRIMARY KEY, u int4range, v text, EXCLUDE USING gist (u WITH &&));
	CREATE TABLE random (id int PRIMARY KEY, u int UNIQUE, w int UNIQUE, v text);
});
my ($lisbon, $oslo, $riga) = @centers;
my %center = (a => $lisbon, b => $oslo, c => $riga);

my @links = links_between(@centers);

# No index may hold a value twice, whatever it says itself.
sub no_duplicates
{
	my ($what) = @_;
	foreach my $center (@centers)
	{
		is( $center->sql(q{SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off;
			SELECT count(*) FROM (
			SELECT FROM item GROUP BY u HAVING count(*) > 1 AND u IS NOT NULL
			UNION ALL SELECT FROM item GROUP BY w HAVING count(*) > 1 AND w IS NOT NULL
			UNION ALL SELECT FROM deferred GROUP BY u HAVING count(*) > 1 AND u IS NOT NULL
			UNION ALL SELECT FROM partial WHERE active GROUP BY u HAVING count(*) > 1 AND u IS NOT NULL
			UNION ALL SELECT FROM expression GROUP BY lower(u) HAVING count(*) > 1 AND lower(u) IS NOT NULL
			UNION ALL SELECT FROM nulls GROUP BY g, u HAVING count(*) > 1
			UNION ALL SELECT FROM random GROUP BY u HAVING count(*) > 1 AND u IS NOT NULL
			UNION ALL SELECT FROM random GROUP BY w HAVING count(*) > 1 AND w IS NOT NULL
			UNION ALL SELECT FROM booking x JOIN booking y ON x.id < y.id AND x.u && y.u) d}),
			0, "$what: nothing clashes at $center->{name}");
	}
	return;
}

# Every schedule: steps in the order of time, each at one center; what is
# visible in the end, as "id|v"; which keys are displaced.  KEY + n is written
# kn, and values are made from the same base, so that schedules do not meet.
# A step "free" opens all links, and closes them again.
my %schedule = (
	'two rows' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)' ],
		'2|b', '1' ],
	'two rows, the other way' => [ [ 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)' ],
		'1|a', '2' ],
	'three rows' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)',
			'c INSERT INTO item VALUES (k3, k1, NULL, $$c$$)' ],
		'3|c', "1\n2" ],
	'a winner that loses itself' => [ [ 'a INSERT INTO item VALUES (k1, k1, k1, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, k2, $$b$$)',
			'c INSERT INTO item VALUES (k3, k3, k2, $$c$$)' ],
		"1|a\n3|c", '2' ],
	'a chain of four' => [ [ 'a INSERT INTO item VALUES (k1, k1, k1, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, k2, $$b$$)',
			'c INSERT INTO item VALUES (k3, k3, k2, $$c$$)', 'a INSERT INTO item VALUES (k4, k3, k4, $$d$$)' ],
		"2|b\n4|d", "1\n3" ],
	'one row takes the values of two' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, NULL, k2, $$b$$)',
			'c INSERT INTO item VALUES (k3, k1, k2, $$c$$)' ],
		'3|c', "1\n2" ],
	'the winner was deleted before' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)',
			'b DELETE FROM item WHERE id = k2' ],
		'1|a', '' ],
	'the older one, deleted before' => [ [ 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)',
			'b DELETE FROM item WHERE id = k2' ],
		'1|a', '' ],
	'the winner gives the value up' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)',
			'b UPDATE item SET u = k2 WHERE id = k2' ],
		"1|a\n2|b", '' ],
	'the winner is deleted after they met' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'free',
			'c DELETE FROM item WHERE id = k2' ],
		'1|a', '' ],
	'the winner moves away after they met' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'free',
			'a UPDATE item SET u = k5 WHERE id = k2' ],
		"1|a\n2|b", '' ],
	'the value is taken again at once' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'free',
			'c DELETE FROM item WHERE id = k2; INSERT INTO item VALUES (k3, k1, NULL, $$c$$)' ],
		'3|c', '1' ],
	'the displaced row is inserted anew' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'free',
			'c INSERT INTO item VALUES (k1, k3, NULL, $$c$$)' ],
		"1|c\n2|b", '' ],
	'the displaced row is inserted and deleted' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)', 'free',
			'c INSERT INTO item VALUES (k1, k3, NULL, $$c$$)', 'c DELETE FROM item WHERE id = k1', 'a DELETE FROM item WHERE id = k2' ],
		'', '' ],
	'the displaced row is updated where it is visible' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)',
			'a UPDATE item SET v = $$a2$$ WHERE id = k1' ],
		'1|a2', '2' ],
	'the displaced row is deleted where it is visible' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)',
			'a DELETE FROM item WHERE id = k1' ],
		'2|b', '' ],
	'the displaced row moves to another key' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, k1, NULL, $$b$$)',
			'a UPDATE item SET id = k4, u = k4 WHERE id = k1' ],
		"2|b\n4|a", '' ],
	'a swap against an update' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$1$$), (k2, k2, NULL, $$2$$)', 'free',
			'a UPDATE item SET u = NULL WHERE id = k1; UPDATE item SET u = k1 WHERE id = k2; UPDATE item SET u = k2 WHERE id = k1',
			'b UPDATE item SET v = $$b$$ WHERE id = k1' ],
		'1|b', '2' ],
	'an update against a swap' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$1$$), (k2, k2, NULL, $$2$$)', 'free',
			'b UPDATE item SET v = $$b$$ WHERE id = k1',
			'a UPDATE item SET u = NULL WHERE id = k1; UPDATE item SET u = k1 WHERE id = k2; UPDATE item SET u = k2 WHERE id = k1' ],
		"1|1\n2|2", '' ],
	'update to one value' => [ [ 'a INSERT INTO item VALUES (k1, k1, NULL, $$1$$), (k2, k2, NULL, $$2$$)', 'free',
			'a UPDATE item SET u = k3, v = $$a$$ WHERE id = k1', 'b UPDATE item SET u = k3, v = $$b$$ WHERE id = k2' ],
		'2|b', '1' ],
	'one transaction, many rows' => [ [ 'a INSERT INTO item SELECT k + i, k + i, NULL, $$a$$ FROM generate_series(1, 4) i',
			'b INSERT INTO item SELECT k + i + 4, k + i, NULL, $$b$$ FROM generate_series(1, 4) i' ],
		"5|b\n6|b\n7|b\n8|b", "1\n2\n3\n4" ],
	'deferred' => [ [ 'a INSERT INTO deferred VALUES (k1, k1, $$a$$)', 'b INSERT INTO deferred VALUES (k2, k1, $$b$$)' ], '2|b', '1' ],
	'deferred, swapped' => [ [ 'a INSERT INTO deferred VALUES (k1, k1, $$1$$), (k2, k2, $$2$$)', 'free',
			'a UPDATE deferred SET u = 2 * k + 3 - u WHERE id IN (k1, k2)', 'b UPDATE deferred SET v = $$b$$ WHERE id = k2' ],
		'2|b', '1' ],
	'partial' => [ [ 'a INSERT INTO partial VALUES (k1, k1, true, $$a$$)', 'b INSERT INTO partial VALUES (k2, k1, true, $$b$$), (k3, k1, false, $$b$$)' ],
		"2|b\n3|b", '1' ],
	'partial, the winner retires' => [ [ 'a INSERT INTO partial VALUES (k1, k1, true, $$a$$)', 'b INSERT INTO partial VALUES (k2, k1, true, $$b$$)', 'free',
			'c UPDATE partial SET active = false WHERE id = k2' ],
		"1|a\n2|b", '' ],
	'expression' => [ [ 'a INSERT INTO expression VALUES (k1, $$Xk$$, $$a$$)', 'b INSERT INTO expression VALUES (k2, $$xk$$, $$b$$)' ], '2|b', '1' ],
	'nulls not distinct' => [ [ 'a INSERT INTO nulls VALUES (k1, k, NULL, $$a$$)', 'b INSERT INTO nulls VALUES (k2, k, NULL, $$b$$)' ], '2|b', '1' ],
	'nulls distinct' => [ [ 'a INSERT INTO item VALUES (k1, NULL, NULL, $$a$$)', 'b INSERT INTO item VALUES (k2, NULL, NULL, $$b$$)' ], "1|a\n2|b", '' ],
	'overlapping ranges' => [ [ 'a INSERT INTO booking VALUES (k1, int4range(k1, k5), $$a$$)', 'b INSERT INTO booking VALUES (k2, int4range(k3, k8), $$b$$)' ],
		'2|b', '1' ],
	'a range over two' => [ [ 'a INSERT INTO booking VALUES (k1, int4range(k1, k3), $$a$$), (k2, int4range(k3, k5), $$a$$)',
			'b INSERT INTO booking VALUES (k3, int4range(k2, k4), $$b$$)' ],
		'3|b', "1\n2" ],
	'a chain of ranges' => [ [ 'a INSERT INTO booking VALUES (k1, int4range(k1, k3), $$a$$)', 'b INSERT INTO booking VALUES (k2, int4range(k2, k5), $$b$$)',
			'c INSERT INTO booking VALUES (k3, int4range(k4, k8), $$c$$)' ],
		"1|a\n3|c", '2' ],
	'a range that is freed' => [ [ 'a INSERT INTO booking VALUES (k1, int4range(k1, k5), $$a$$)', 'b INSERT INTO booking VALUES (k2, int4range(k3, k8), $$b$$)', 'free',
			'c DELETE FROM booking WHERE id = k2' ],
		'1|a', '' ],
);

# Rows of a schedule at a center, and its displaced keys.
sub visible
{
	my ($center, $base) = @_;
	return $center->sql(join(' UNION ALL ', map { "SELECT id - $base, v FROM $_ WHERE id BETWEEN $base AND $base + 99" } @tables) . ' ORDER BY 1');
}

sub displaced
{
	my ($center, $base) = @_;
	return $center->sql("SELECT (key ->> 'id')::int - $base FROM multicenter.displaced
		WHERE (key ->> 'id')::int BETWEEN $base AND $base + 99 ORDER BY 1");
}

# What is in the end stays so: come-backs take up to a second.
sub settled
{
	my ($what, $look, $expected) = @_;
	my $found;
	eval {
		Multicenter::Cluster::poll($what, sub { $found = $look->(); return ($found eq $expected, $found) }, 10);
		1;
	};
	return is($found, $expected, $what);
}

# Run all schedules, with the links opened in an order.
my $next_base = 1000;
sub run_schedules
{
	my ($order, @opening) = @_;
	my (%base, %left);
	foreach my $name (sort keys %schedule)
	{
		$base{$name} = $next_base;
		$left{$name} = [ @{ $schedule{$name}[0] } ];
		$next_base += 100;
	}
	hold_links(@links);
	while (grep { @$_ } values %left)
	{
		foreach my $name (sort keys %left)
		{
			while (@{ $left{$name} })
			{
				my $step = shift @{ $left{$name} };
				last if $step eq 'free';
				my ($at, $sql) = $step =~ /^(\w) (.*)$/s;
				$sql =~ s/\bk(\d)\b/$base{$name} + $1/ge;
				$sql =~ s/\b(x?)k\b/$1$base{$name}/gi;
				$center{$at}->sql("BEGIN; $sql; COMMIT");
			}
		}
		release_links($_) foreach @opening;
		hold_links(@links) if grep { @$_ } values %left;
	}
	foreach my $name (sort keys %schedule)
	{
		foreach my $center (@centers)
		{
			settled("$order: $name, rows at $center->{name}", sub { visible($center, $base{$name}) }, $schedule{$name}[1]);
			settled("$order: $name, displaced at $center->{name}", sub { displaced($center, $base{$name}) }, $schedule{$name}[2]);
		}
	}
	no_duplicates($order);
	return;
}

run_schedules('in order', @links);
run_schedules('backwards', reverse @links);

# The history has both rows, and says which index.
is( $riga->sql(q{SELECT DISTINCT conflict_type, index_name FROM multicenter.conflicts
		WHERE relation IN ('item'::regclass, 'booking'::regclass) AND conflict_type IN ('insert_exists', 'exclusion_violation') AND index_name LIKE '%u_%' ORDER BY 1, 2}),
	"exclusion_violation|booking_u_excl\ninsert_exists|item_u_key", 'the history names types and indexes');
is( $riga->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE index_name IS NOT NULL AND (local_row IS NULL OR remote_row IS NULL OR result_row IS NULL)}),
	0, 'the history has both rows');
is( $riga->sql(q{SELECT relation, key, "row" ->> 'v', center, displaced_by, version IS NOT NULL, since IS NOT NULL FROM multicenter.displaced
		WHERE relation = 'expression'::regclass ORDER BY (key ->> 'id')::int LIMIT 1}) =~ /^expression\|\{"id": "\d+"\}\|a\|lisbon\|\{"id": "\d+"\}\|t\|t$/ ? 1 : 0,
	1, 'the view displaced tells who won');

# A local transaction that inserts the value while a receiver holds it, and the
# other way round: one waits for the other, and nothing is lost.
{
	my $session = $riga->background_psql();
	$session->query_safe("BEGIN; INSERT INTO item VALUES (11, 11, NULL, 'local')");
	$lisbon->sql("INSERT INTO item VALUES (12, 11, NULL, 'remote')");
	$riga->wait_for_sql(q{SELECT count(*) > 0 FROM pg_locks l JOIN multicenter.workers w USING (pid) WHERE w.role = 'receiver' AND NOT l.granted});
	$session->query_safe('COMMIT');
	wait_all_applied(@centers);
	foreach my $center (@centers)
	{
		settled("race with a local insert at $center->{name}", sub { $center->sql('SELECT id FROM item WHERE u = 11') }, 11);
	}
	is($_->sql("SELECT \"row\" ->> 'v' FROM multicenter.displaced WHERE key ->> 'id' = '12'"), 'remote', "its loser is kept at $_->{name}")
	  foreach @centers;

	$session->query_safe("BEGIN; INSERT INTO item VALUES (13, 13, NULL, 'local')");
	$lisbon->sql("INSERT INTO item VALUES (14, 13, NULL, 'remote')");
	$riga->wait_for_sql(q{SELECT count(*) > 0 FROM pg_locks l JOIN multicenter.workers w USING (pid) WHERE w.role = 'receiver' AND NOT l.granted});
	$session->query_safe('ROLLBACK');
	wait_all_applied(@centers);
	is($_->sql("SELECT id FROM item WHERE u = 13"), 14, "race with an insert that is rolled back at $_->{name}") foreach @centers;
	$session->quit;
}

# Two receivers apply the same values at the same time, in opposite order.
{
	foreach my $round (1 .. 3)
	{
		my $base = 20000 + 1000 * $round;
		hold_links(@links);
		$lisbon->sql("INSERT INTO item SELECT $base + i, $base + i, NULL, 'lisbon' FROM generate_series(1, 300) i ORDER BY i");
		$oslo->sql("INSERT INTO item SELECT $base + 300 + i, $base + i, NULL, 'oslo' FROM generate_series(1, 300) i ORDER BY i DESC");
		release_links([ $lisbon, $riga ], [ $oslo, $riga ]);
		release_links(@links);
		foreach my $center (@centers)
		{
			is( $center->sql("SELECT v, count(*), count(DISTINCT u) FROM item WHERE id BETWEEN $base AND $base + 999 GROUP BY v"),
				'oslo|300|300', "two receivers at once, round $round: rows at $center->{name}");
			is( $center->sql("SELECT \"row\" ->> 'v', count(*) FROM multicenter.displaced WHERE (key ->> 'id')::int BETWEEN $base AND $base + 999 GROUP BY 1"),
				'lisbon|300', "and their losers");
		}
		$riga->sql("DELETE FROM item WHERE id BETWEEN $base AND $base + 999");
		foreach my $center (@centers)
		{
			settled("and all come back at $center->{name}",
				sub { $center->sql("SELECT v, count(*) FROM item WHERE id BETWEEN $base AND $base + 999 GROUP BY v") }, 'lisbon|300');
		}
	}
	no_duplicates('two receivers at once');
}

# A value that a local transaction frees at the only center that knows it: the
# other row comes back everywhere, and nobody replicates that.
{
	my $before = $lisbon->sql("SELECT count(*) FROM item WHERE id = 12");
	$riga->sql('DELETE FROM item WHERE id = 11');
	foreach my $center (@centers)
	{
		settled("the loser comes back at $center->{name}", sub { $center->sql('SELECT id, v FROM item WHERE u = 11') }, '12|remote');
	}
	is($before, 0, 'which was not there before');
	$oslo->sql("UPDATE item SET v = 'again' WHERE id = 12");
	wait_all_applied(@centers);
	is($_->sql("SELECT v FROM item WHERE id = 12"), 'again', "it is a row like any other at $_->{name}") foreach @centers;
	identical(@centers, @tables);
}

# Random schedules.  The order of the statements is that of the versions, so
# the oracle only has to remember what each did, and to apply the rule.
sub oracle
{
	my ($log) = @_;
	my (%row, %taken, @visible);
	my $version = 0;
	foreach my $entry (@$log)
	{
		my ($id, $u, $w, $v) = @$entry;
		$row{$id} = defined $v ? { id => $id, u => $u, w => $w, v => $v, version => ++$version } : undef;
	}
	foreach my $row (sort { $b->{version} <=> $a->{version} } grep { defined } values %row)
	{
		next if ($row->{u} ne '' && $taken{"u$row->{u}"}) || ($row->{w} ne '' && $taken{"w$row->{w}"});
		$taken{"u$row->{u}"} = $taken{"w$row->{w}"} = 1;
		push(@visible, join('|', @$row{qw(id u w v)}));
	}
	return join("\n", sort @visible);
}

my $seeds = $ENV{MULTICENTER_UNIQUE_SEEDS} || 20;
my $first_seed = $ENV{MULTICENTER_UNIQUE_FIRST} || 1;
my $wrong = 0;
hold_links(@links);
my %open = map { ("@$_[0]->{name}-@$_[1]->{name}" => 0) } @links;
my @log;
my @story;
foreach my $seed ($first_seed .. $first_seed + $seeds - 1)
{
	srand($seed);
	my $base = 100 * $seed;
	foreach my $n (1 .. 12)
	{
		my $center = $centers[ int rand 3 ];
		my $id = $base + int rand 5;
		my ($u, $w) = map { rand() < 0.2 ? 'NULL' : $base + int rand 4 } 1 .. 2;
		my $sql = (
			"INSERT INTO random VALUES ($id, $u, $w, '$seed.$n') ON CONFLICT (id) DO UPDATE SET u = excluded.u, w = excluded.w, v = excluded.v RETURNING id, u, w, v",
			"UPDATE random SET u = $u, v = '$seed.$n' WHERE id = $id RETURNING id, u, w, v",
			"DELETE FROM random WHERE id = $id RETURNING id",
		)[ int rand 2.6 ];
		my ($rc, $out) = $center->psql($sql, on_error_die => 0);
		push(@story, "$seed at $center->{name}: $sql -> $rc $out");
		push(@log, map { [ split(/\|/, $_, -1) ] } grep { length } split(/\n/, $out)) if $rc == 0;
		next if rand() > 0.25;
		my $link = $links[ int rand @links ];
		release_links($link);
		hold_links($link);
		push(@story, "$seed: $link->[0]->{name} -> $link->[1]->{name}");
	}
}
release_links($_) foreach sort { rand() <=> 0.5 } @links;
my $expected = oracle(\@log);
foreach my $center (@centers)
{
	settled("$seeds random schedules at $center->{name}",
		sub { join("\n", sort split(/\n/, $center->sql('SELECT id, u, w, v FROM random'))) }, $expected) or $wrong++;
}
diag(join("\n", @story)) if $wrong;
no_duplicates('random schedules');

# The indexes are sound, if there is something to look with.
SKIP:
{
	skip 'no amcheck', 3 unless $lisbon->sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'");
	foreach my $center (@centers)
	{
		$center->sql('CREATE EXTENSION amcheck');
		is( $center->sql(q{SELECT count(bt_index_check(indexrelid::regclass, true)::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
				WHERE amname = 'btree' AND indrelid IN ('item'::regclass, 'random'::regclass, 'deferred'::regclass)}),
			8, "indexes at $center->{name} are sound");
	}
}
is( $_->sql(q{SELECT count(*) FROM multicenter.lag WHERE state = 'stalled'}), 0, "no link stopped at $_->{name}") foreach @centers;

done_testing();
