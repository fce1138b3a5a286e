# Goal: stat_tables counts what each link has carried of each table, on both
# sides, exactly; it survives a restart and can be reset.
#
# Method: known changes of several tables, a partitioned one too, are compared
# with the view at both ends; then more tables than there is room for.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => q{
	CREATE SCHEMA shop;
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE shop.item (id int PRIMARY KEY, v text);
	CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
	CREATE TABLE event (at timestamptz DEFAULT now(), v text)});

# What one end says of a link.
sub stats
{
	my ($center, $peer, $direction) = @_;
	return $center->sql(sprintf(q{SELECT concat_ws(' ', relation, schema_name, table_name, xacts, inserts, updates, deletes, truncates)
		FROM multicenter.stat_tables WHERE peer = '%s' AND direction = '%s' ORDER BY schema_name, table_name}, $peer->name, $direction));
}

is(stats($lisbon, $oslo, 'out') . stats($oslo, $lisbon, 'in'), '', 'nothing was carried yet, and the catalog of the group does not count');
$lisbon->sql(q{INSERT INTO item SELECT n, 'x' FROM generate_series(1, 100) n});
$lisbon->sql(q{BEGIN; UPDATE item SET v = 'y' WHERE id <= 10; DELETE FROM item WHERE id = 1; INSERT INTO shop.item VALUES (1, 'x'); SAVEPOINT s; INSERT INTO shop.item VALUES (2, 'x'); ROLLBACK TO s; COMMIT});
$lisbon->sql(q{BEGIN; INSERT INTO item VALUES (1000, 'never'); ROLLBACK});
$lisbon->sql(q{INSERT INTO part VALUES (1, 'x'); INSERT INTO event (v) VALUES ('a'), ('b')});
$lisbon->sql(q{TRUNCATE shop.item});
wait_applied($lisbon, $oslo);
my $expected = join("\n", 'event public event 1 2 0 0 0', 'item public item 2 100 10 1 0', 'part_1 public part_1 1 1 0 0 0', 'shop.item shop item 2 1 0 0 1');
is(stats($oslo, $lisbon, 'in'), $expected, 'what was received is counted by table');
is(stats($lisbon, $oslo, 'out'), $expected, 'and so is what was sent');
is(stats($oslo, $lisbon, 'out'), '', 'what came from there is not sent back');
is($oslo->sql(q{SELECT bool_and(last_at > now() - interval '1 min' AND stats_reset < last_at) FROM multicenter.stat_tables}), 't', 'and when that was');
is($oslo->sql(q{SELECT bool_and(bytes_raw = bytes_sent) FROM multicenter.stat_links}), 't', 'without compression as many bytes are sent as there are');

# Another name.
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE event RENAME TO happening')});
$lisbon->sql(q{INSERT INTO happening (v) VALUES ('c')});
wait_applied($lisbon, $oslo);
$expected =~ s/event public event 1 2/happening public happening 2 3/;
is(join("\n", sort split(/\n/, stats($_->[0], $_->[1], $_->[2]))), join("\n", sort split(/\n/, $expected)), "a new name, $_->[2]") foreach [ $oslo, $lisbon, 'in' ], [ $lisbon, $oslo, 'out' ];

# A restart of both, and a crash.
my $before = stats($oslo, $lisbon, 'in');
$_->restart foreach $oslo, $lisbon;
wait_streaming($lisbon, $oslo);
is(stats($oslo, $lisbon, 'in'), $before, 'counters survive a restart, in');
is(stats($lisbon, $oslo, 'out'), $before, 'and out');
$lisbon->sql(q{INSERT INTO item VALUES (500, 'x')});
wait_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT inserts FROM multicenter.stat_tables WHERE relation = 'item'::regclass AND direction = 'in'}), 101, 'and are counted on');
$oslo->sql(q{SELECT multicenter.stat_reset()});
is($oslo->sql(q{SELECT coalesce(sum(xacts + inserts + updates + deletes + truncates), 0) FROM multicenter.stat_tables}), 0, 'a reset sets them to zero');
$lisbon->sql(q{INSERT INTO item VALUES (501, 'x')});
wait_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT inserts FROM multicenter.stat_tables WHERE relation = 'item'::regclass AND direction = 'in'}), 1, 'from there on');
$oslo->stop('immediate');
$oslo->start;
wait_streaming($lisbon, $oslo, 20);
is($oslo->sql(q{SELECT coalesce(sum(xacts), 0) FROM multicenter.stat_tables}), 0, 'a crash, too');

# More tables than there is room for: the others share a row.  Without keys and
# without a look at their policies they are made quickly.
foreach my $center ($lisbon, $oslo)
{
	$center->sql(q{ALTER EVENT TRIGGER multicenter_complete_policies DISABLE});
	$center->sql("DO \$\$ BEGIN FOR n IN $_ * 100 + 1 .. $_ * 100 + 100 LOOP EXECUTE format('CREATE TABLE many_%s (id int)', n); END LOOP; END \$\$") foreach 0 .. 18;
}
$lisbon->sql(q{DO $$ BEGIN FOR n IN 1 .. 1900 LOOP EXECUTE format('INSERT INTO many_%s VALUES (1)', n); END LOOP; END $$});
wait_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT sum(inserts) FROM multicenter.stat_tables WHERE direction = 'in'}), 1900, 'all rows are counted');
is($oslo->sql(q{SELECT inserts > 0 AND inserts < 1900 FROM multicenter.stat_tables WHERE relation IS NULL AND direction = 'in'}), 't', 'those of tables that found no place in a row of their own');

done_testing();
