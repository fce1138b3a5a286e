# Goal: the history has each conflict and nothing else: rows that change hands
# between centers, each having seen the last write, cause none; concurrent
# writes cause exactly as many as there are.
#
# Method: 1,000 rows on two centers.  First the centers write in turn, each
# after it has applied what the other wrote.  Then the same writes are made
# while the links are held back, so that it can be counted which of them the
# other center had not seen: each pair of writes is decided once at each center,
# where the write that arrives meets the row.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $rows = 1000;
my $rounds = 4;

my @centers = make_group([qw(lisbon oslo)], databases => 1, setup => qq{
	CREATE TABLE ball (id int PRIMARY KEY, v int, last text);
	INSERT INTO ball SELECT i, 0, 'nobody' FROM generate_series(1, $rows) i;
});
my ($lisbon, $oslo) = @centers;
my @links = links_between(@centers);
wait_all_applied(@centers);

# A transaction for each row, or one for all of them.
sub hit
{
	my ($center, $condition, $each) = @_;
	my $name = $center->name;
	$center->sql($each ? "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT id FROM ball WHERE $condition LOOP
			UPDATE ball SET v = v + 1, last = '$name' WHERE id = r.id; COMMIT; END LOOP; END \$\$"
		: "UPDATE ball SET v = v + 1, last = '$name' WHERE $condition");
	return;
}

sub conflicts
{
	my ($center) = @_;
	return $center->sql('SELECT count(*) FROM multicenter.conflicts');
}

# In turn.
foreach my $round (1 .. $rounds)
{
	hit($lisbon, 'true', $round % 2);
	wait_applied($lisbon, $oslo);
	hit($oslo, 'true', $round % 2);
	wait_applied($oslo, $lisbon);
}
is($_->sql('SELECT sum(v), min(last), max(last) FROM ball'), 2 * $rounds * $rows . '|oslo|oslo', "no write is lost in turn: $_->{name}") foreach @centers;
is(conflicts($_), 0, "and none is a conflict: $_->{name}") || diag($_->sql('SELECT * FROM multicenter.conflicts')) foreach @centers;

# Half of the rows at each center, at once: nothing concurrent on one row.
hold_links(@links);
hit($lisbon, 'id % 2 = 0', 1);
hit($oslo, 'id % 2 = 1', 1);
release_links(@links);
is(conflicts($_), 0, "nor writes of different rows at once: $_->{name}") foreach @centers;
identical(@centers, 'ball');

# All rows at both at once: one conflict for each row at each center.
hold_links(@links);
hit($lisbon, 'true', 1);
hit($oslo, 'true', 1);
release_links(@links);
is(conflicts($_), $rows, "writes of all rows at once: $_->{name}") foreach @centers;
is($_->sql('SELECT min(n), max(n), count(*) FROM (SELECT count(*) AS n FROM multicenter.conflicts GROUP BY key::text) t'), "1|1|$rows", "one for each row: $_->{name}") foreach @centers;
is($lisbon->sql('SELECT DISTINCT conflict_type, resolution, local_center, remote_center FROM multicenter.conflicts'), 'update_origin_differs|apply_remote|lisbon|oslo', 'what the first has decided');
is($oslo->sql('SELECT DISTINCT conflict_type, resolution, local_center, remote_center FROM multicenter.conflicts'), 'update_origin_differs|keep_local|oslo|lisbon', 'what the second has decided');
identical(@centers, 'ball');

# Some rows at both, in several rounds.
my $expected = $rows;
foreach my $round (1 .. $rounds)
{
	my ($from, $to) = (100 * $round, 100 * $round + 10 * $round - 1);
	hold_links(@links);
	hit($lisbon, "id BETWEEN $from AND $to + 50", $round % 2);
	hit($oslo, "id BETWEEN $from - 50 AND $to", $round % 2);
	release_links(@links);
	$expected += $to - $from + 1;
	is(conflicts($_), $expected, "round $round, those rows that both have written: $_->{name}") foreach @centers;

	# Whoever has seen both goes on without a conflict.
	hit($lisbon, "id BETWEEN $from AND $to", 1);
	wait_applied($lisbon, $oslo);
}
is(conflicts($_), $expected, "none by whoever has seen both: $_->{name}") foreach @centers;
is($_->sql('SELECT sum(n) FROM multicenter.conflict_summary'), $expected, "the summary counts the same: $_->{name}") foreach @centers;
is($_->sql(q{SELECT conflicts FROM multicenter.stat_links WHERE direction = 'in'}), $expected, "so does the link: $_->{name}") foreach @centers;
identical(@centers, 'ball');

# One direction only is held: who has seen the other's write is no conflict
# where it arrives, although it arrives late.
hold_links([ $lisbon, $oslo ]);
hit($oslo, 'id <= 300', 1);
wait_applied($oslo, $lisbon);
hit($lisbon, 'id <= 300', 1);
release_links([ $lisbon, $oslo ]);
is(conflicts($_), $expected, "one direction held, in turn: $_->{name}") foreach @centers;
hold_links([ $lisbon, $oslo ]);
hit($lisbon, 'id <= 200', 1);
wait_applied($oslo, $lisbon);
hit($oslo, 'id BETWEEN 101 AND 250', 1);
wait_applied($oslo, $lisbon);
release_links([ $lisbon, $oslo ]);
is(conflicts($_), $expected + 100, "one direction held, at once: $_->{name}") foreach @centers;
identical(@centers, 'ball');

done_testing();
