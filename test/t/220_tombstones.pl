# Goal: a delete is a write like any other.  Whatever changes of a row arrive
# in whatever order, the greatest version wins on every center: a delete is
# remembered as long as something older can still arrive, and no longer.
#
# Method: three databases of one server, so that one clock decides what is
# later.  Links are paused while the centers write; then one center gets the
# changes of the two others in either order.  All schedules run at once, each
# on a key of its own.  Then what could make a center forget: VACUUM, pruning,
# index clean-up, freezing, row locks, and a peer that is away for long.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE hot (id int PRIMARY KEY, v int, w int) WITH (fillfactor = 20, autovacuum_enabled = off);
	CREATE TABLE own (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
	CREATE TABLE odd (a numeric, b text COLLATE "C", v text, PRIMARY KEY (b, a));
});
my ($lisbon, $oslo, $riga) = @centers;
my %center = (a => $lisbon, b => $oslo, c => $riga);

# Every schedule: steps in the order of time, each at one center, and what is
# left in the end.  :k is its key, and there are rows with 'old' before.  With
# "seen", what a writes has arrived at b when b writes, but not at c, and the
# other way round.
my %schedule = (
	'a deletes, b updates later' => [ 'a DELETE', 'b SET b', '0|b' ],
	'b updates, a deletes later' => [ 'b SET b', 'a DELETE', '' ],
	'a deletes, b updates, a inserts again' => [ 'a DELETE', 'b SET b', 'a INSERT a', '0|a' ],
	'b deletes, a deletes and inserts' => [ 'b DELETE', 'a DELETE', 'a INSERT a', '0|a' ],
	'a deletes and inserts, b deletes later' => [ 'a DELETE', 'a INSERT a', 'b DELETE', '' ],
	'two deletes, an insert between them' => [ 'a DELETE', 'c DELETE', 'c INSERT c', 'b DELETE', '' ],
	'two deletes, an insert behind them' => [ 'a DELETE', 'b DELETE', 'c DELETE', 'c INSERT c', '0|c' ],
	'three deletes' => [ 'b DELETE', 'a DELETE', 'c DELETE', '' ],
	'a moves the key, b updates later' => [ 'a MOVE a', 'b SET b', "0|b\n1|a" ],
	'b updates, a moves the key later' => [ 'b SET b', 'a MOVE a', '1|a' ],
	'a deletes, b moves the key later' => [ 'a DELETE', 'b MOVE b', '1|b' ],
	'b moves the key, a deletes later' => [ 'b MOVE b', 'a DELETE', '1|b' ],
	'a moves to a key that b inserts and deletes later' => [ 'a MOVE a', 'b INSERT1 b', 'b DELETE1', '' ],
	'b inserts and deletes the key to which a moves later' => [ 'b INSERT1 b', 'b DELETE1', 'a MOVE a', '1|a' ],
	'a deletes and inserts twice, b updates between' => [ 'a DELETE', 'a INSERT a1', 'b SET b', 'a DELETE', 'a INSERT a2', '0|a2' ],
	'seen: a inserts, b updates' => [ 'a NEW a', 'b SET b', '0|b' ],
	'seen: a inserts, b deletes' => [ 'a NEW a', 'b DELETE', '' ],
	'seen: a inserts, b deletes, a inserts again' => [ 'a NEW a', 'b DELETE', 'a NEW a2', '0|a2' ],
	'seen: a inserts, b updates, a deletes' => [ 'a NEW a', 'b SET b', 'a DELETE', '' ],
	'seen: a inserts, b moves the key' => [ 'a NEW a', 'b MOVE b', '1|b' ],
	'seen: a updates, b deletes, a inserts again, b updates that' => [ 'a SET a', 'b DELETE', 'a INSERT a2', 'b SET b2', '0|b2' ],
	'seen: a moves the key there, b back' => [ 'a MOVE a', 'b BACK b', '0|b' ],
);
my %statement = (
	DELETE => 'DELETE FROM item WHERE id = :k',
	DELETE1 => 'DELETE FROM item WHERE id = :k + 1',
	SET => "UPDATE item SET v = ':v' WHERE id = :k",
	INSERT => "INSERT INTO item VALUES (:k, ':v')",
	INSERT1 => "INSERT INTO item VALUES (:k + 1, ':v')",
	NEW => "INSERT INTO item VALUES (:k, ':v')",
	MOVE => "UPDATE item SET id = :k + 1, v = ':v' WHERE id = :k",
	BACK => "UPDATE item SET id = :k, v = ':v' WHERE id = :k + 1",
);
my @names = sort keys %schedule;

# Run all schedules of a kind and deliver them to riga in this order.
my $base = 0;
sub run_schedules
{
	my ($seen, @order) = @_;
	my @kind = grep { /^seen/ ? $seen : !$seen } @names;
	my (%key, %rest);

	foreach my $name (@kind)
	{
		$key{$name} = ($base += 10);
		$rest{$name} = [ @{ $schedule{$name} } ];
		pop @{ $rest{$name} };
	}
	$lisbon->sql(join(';', map { "INSERT INTO item VALUES ($key{$_}, 'old')" }
		  grep { !grep { /NEW/ } @{ $schedule{$_} } } @kind));
	wait_all_applied(@centers);

	my @shut = ([ $lisbon, $riga ], [ $oslo, $riga ]);
	push(@shut, [ $lisbon, $oslo ], [ $oslo, $lisbon ], [ $riga, $lisbon ], [ $riga, $oslo ]) unless $seen;
	hold_links(@shut);

	# Step by step: of all schedules the first, then of all the second, ...
	while (grep { @$_ } values %rest)
	{
		foreach my $name (@kind)
		{
			next unless @{ $rest{$name} };
			my ($where, $what, $value) = split / /, shift @{ $rest{$name} };
			my $sql = $statement{$what};
			$sql =~ s/:k/$key{$name}/g;
			$sql =~ s/:v/$value/g;
			$center{$where}->sql($sql);
		}
		wait_all_applied($lisbon, $oslo) if $seen;
	}

	release_links([ $_, $riga ]) foreach @order;
	foreach my $link (@shut)
	{
		release_links($link) unless $link->[1] == $riga;
	}
	wait_all_applied(@centers);
	my $how = join(' before ', map { $_->name } @order);
	foreach my $name (@kind)
	{
		foreach my $center (@centers)
		{
			is( $center->sql("SELECT id - $key{$name}, v FROM item WHERE id BETWEEN $key{$name} AND $key{$name} + 9 ORDER BY 1"),
				$schedule{$name}[-1], "$name; $how: $center->{name}");
		}
	}
	identical(@centers, 'item');
	return;
}

foreach my $seen (0, 1)
{
	run_schedules($seen, $lisbon, $oslo);
	run_schedules($seen, $oslo, $lisbon);
}

# The late insert found a note, because there was never a row.
is($riga->sql(q{SELECT count(*) > 0 FROM multicenter.conflicts WHERE conflict_type = 'insert_deleted' AND resolution = 'keep_local'}),
	't', 'an insert that comes after the delete of its row is recorded');

#
# Keys that are equal but do not look so, and keys of several columns.
#
hold_links([ $lisbon, $riga ], [ $oslo, $riga ]);
$lisbon->sql(q{INSERT INTO odd VALUES (1.50, 'x', 'late'), (2, 'x', 'late'), (1.5, 'y', 'late')});
wait_applied($lisbon, $oslo);
$oslo->sql(q{UPDATE odd SET a = 1.5000 WHERE b = 'x' AND a = 1.5; DELETE FROM odd WHERE b = 'x'});
wait_applied($oslo, $lisbon);
release_links([ $oslo, $riga ]);
is( $riga->sql(q{SELECT kind, key ->> 'a', key ->> 'b' FROM multicenter.key_note WHERE relation = 'odd'::regclass}),
	't|2|x', 'a delete of a row that was never here is noted, one of a row that is here is not');
release_links([ $lisbon, $riga ]);
identical(@centers, 'odd');
is($riga->sql('SELECT a, b FROM odd'), '1.5|y', 'equal keys are one key');

#
# What could make a center forget.  riga's deletes must outlive all of it while
# lisbon's older updates wait: VACUUM, pruning, index entries marked as dead, a
# frozen table and commit timestamps cut off, locks of several transactions,
# chains of updates, a key that was used again, and a key change.
#
$lisbon->sql('INSERT INTO hot SELECT i, 0, 0 FROM generate_series(1, 8) i UNION ALL VALUES (10, 0, 0)');
wait_all_applied(@centers);
hold_links([ $lisbon, $riga ], [ $riga, $lisbon ]);
$lisbon->sql('UPDATE hot SET v = 1');
$riga->sql('UPDATE hot SET w = w + 1 WHERE id IN (5, 6, 10)') foreach 1 .. 5;

# A delete that has to pass a multixact of two lockers.
my $locker = $riga->background_psql();
$locker->query('BEGIN; SELECT FROM hot WHERE id = 5 FOR KEY SHARE');
$riga->sql('BEGIN; SELECT FROM hot WHERE id = 5 FOR KEY SHARE; UPDATE hot SET w = 100 WHERE id = 5; COMMIT');
$locker->query('COMMIT');
$locker->quit;
$riga->sql('DELETE FROM hot WHERE id < 8');
$riga->sql('INSERT INTO hot VALUES (7, 7, 7); DELETE FROM hot WHERE id = 7');
$riga->sql('UPDATE hot SET id = 80 WHERE id = 8');
$riga->sql('VACUUM hot');
$riga->sql('SET enable_seqscan = off; SELECT count(*) FROM hot WHERE id BETWEEN 1 AND 8') foreach 1 .. 3;
$riga->sql('VACUUM (FREEZE, INDEX_CLEANUP on) hot');
foreach my $database ($riga->sql('SELECT datname FROM pg_database WHERE datallowconn') =~ /(\S+)/g)
{
	$riga->node->safe_psql($database, 'VACUUM FREEZE');
}
$riga->sql('CHECKPOINT');
$lisbon->sql(q{INSERT INTO hot VALUES (9, 9, 9)});
release_links([ $lisbon, $riga ]);
is($riga->sql(q{SELECT string_agg(concat_ws(' ', id, v, w), ', ' ORDER BY id) FROM hot}), '9 9 9, 10 0 5, 80 0 0',
	'nothing makes riga forget a delete, nor how new a row is');
release_links([ $riga, $lisbon ]);
wait_all_applied(@centers);
identical(@centers, 'hot');

#
# The horizon follows the frontier: with healthy peers it is never older than
# 5 s under load, and notes are forgotten.
#
my $load = start_load($lisbon, q{
	\set id random(1000, 2000)
	INSERT INTO item VALUES (:id, 'load') ON CONFLICT (id) DO UPDATE SET v = 'again';
	DELETE FROM item WHERE id = :id;
}, clients => 2, seconds => 8);
my %oldest = map { $_->name => 0 } @centers;
my $began = time;
poll('the load to end', sub {
		foreach my $center (@centers)
		{
			my $age = $center->sql(q{SELECT extract(epoch FROM age) FROM multicenter.horizon});
			$oldest{ $center->name } = $age if $age > $oldest{ $center->name } && time - $began > 2;
		}
		$load->{run}->pump_nb;
		return !$load->{run}->pumpable;
	});
finish_load($load);
cmp_ok($oldest{ $_->name }, '>', 0, "the horizon of $_->{name} was looked at under load") foreach @centers;
cmp_ok($oldest{ $_->name }, '<', 5, "under load the horizon is never 5 s old: $_->{name}") foreach @centers;
wait_all_applied(@centers);
identical(@centers, 'item');
$_->wait_for_sql('SELECT notes = 0 AND NOT EXISTS (SELECT FROM multicenter.truncation) FROM multicenter.horizon') foreach @centers;
pass('notes are forgotten');

# What dies now is soon removed by VACUUM.
$lisbon->sql(q{INSERT INTO own SELECT generate_series(1, 100); DELETE FROM own;
	VACUUM own});
is($lisbon->sql(q{SELECT pg_relation_size('own') > 0}), 't', 'dead rows are kept from VACUUM');
$lisbon->wait_for_sql(q{VACUUM own; SELECT pg_relation_size('own') = 0});
pass('but not for long');

#
# A peer that is away: the horizon stops, says for whom, and is given up after
# the retention.
#
$riga->append_conf("multicenter.dead_row_retention = '3s'");
$riga->reload;
hold_links([ $lisbon, $riga ]);
$riga->sql('DELETE FROM item WHERE id = 10; UPDATE item SET v = v');
$riga->wait_for_sql(q{SELECT forgotten_until IS NOT NULL AND retention_ended FROM multicenter.horizon});
is($riga->sql(q{SELECT frontier < clock_timestamp() - interval '2 s' FROM multicenter.horizon}), 't',
	'the frontier waits for the peer that is away');
is($riga->sql('SELECT forgotten_until < clock_timestamp() FROM multicenter.horizon'), 't',
	'after the retention the horizon moves nevertheless');

# It is remembered by the server, as is the slot.
my $forgotten = $riga->sql('SELECT forgotten_until FROM multicenter.horizon');
$riga->restart;
$riga->wait_for_sql(qq{SELECT forgotten_until >= '$forgotten' FROM multicenter.horizon});
pass('what may be forgotten is known after a restart');
release_links([ $lisbon, $riga ]);
wait_streaming(@centers);
wait_all_applied(@centers);
$riga->wait_for_sql('SELECT NOT retention_ended AND waits_for IS NULL FROM multicenter.horizon');
pass('and does not matter any more when the peer has caught up');
identical(@centers, 'item');

# A slot that is gone is noticed.
my $slot = $riga->sql(q{SELECT slot_name FROM pg_replication_slots
	WHERE slot_name = (SELECT format('multicenter_%s_xmin', oid) FROM pg_database WHERE datname = current_database())});
$riga->sql("SELECT pg_drop_replication_slot('$slot')");
$riga->restart;
$riga->wait_for_sql(qq{SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = '$slot'});
$riga->wait_for_sql(qq{SELECT forgotten_until > '$forgotten' FROM multicenter.horizon});
pass('a slot that was dropped is made again, and what may be forgotten with it');

done_testing();
