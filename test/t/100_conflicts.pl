# Goal: of two concurrent writes of a row the one that committed later wins, on
# every center the same, and the other one is kept in the history.
#
# Method: both directions are paused, each side writes, in both orders, and
# both are resumed.  So each center gets the other's change when its own is
# committed.  The history of each side must name the type, the rows, the
# authors and what was done.
#
# Deletes count like any other write: see 220_tombstones.pl for more of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $riga) = make_group([qw(lisbon riga)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text, n numeric, big text);
	CREATE TABLE two_keys (a int, b text, v text, PRIMARY KEY (b, a));
	CREATE TABLE "odd ""name""" ("the key" uuid PRIMARY KEY, "the value" jsonb);
});

my @links = links_between($lisbon, $riga);

# What a center has recorded since it was last asked.
my %seen;
sub new_conflicts
{
	my ($center) = @_;
	my $after = $seen{ $center->name } || 0;
	my $rows = $center->sql(
		qq{SELECT conflict_type, resolution, key, coalesce(local_row ->> 'v', '-'), coalesce(remote_row ->> 'v', '-'),
			coalesce(result_row ->> 'v', '-'), coalesce(local_center, '-'), remote_center
		   FROM multicenter.conflicts WHERE conflict_id > $after ORDER BY conflict_id});
	$seen{ $center->name } = $center->sql('SELECT coalesce(max(conflict_id), 0) FROM multicenter.conflicts');
	return $rows;
}

# One case: the first center writes before the second one does.  Expected is
# what each of them has recorded, FIRST and SECOND standing for the names;
# and the rows in the end.
my $id = 0;
sub conflict
{
	my ($what, %case) = @_;

	foreach my $pair ([ $lisbon, $riga ], [ $riga, $lisbon ])
	{
		my ($first, $second) = @$pair;
		$id += 10;
		my $fill = sub {
			my ($text) = @_;
			$text =~ s/:id2/$id + 1/ge;
			$text =~ s/:id3/$id + 2/ge;
			$text =~ s/:id/$id/g;
			$text =~ s/FIRST/$first->{name}/g;
			$text =~ s/SECOND/$second->{name}/g;
			return $text;
		};
		my $name = "$what, $first->{name} before $second->{name}";

		$first->sql($fill->($case{before})) if $case{before};
		wait_all_applied($lisbon, $riga);
		hold_links(@links);
		$first->sql($fill->($case{first}));
		$second->sql($fill->($case{second}));
		release_links(@links);

		foreach my $side ([ $first, 'at_first' ], [ $second, 'at_second' ])
		{
			my ($center, $expected) = @$side;
			my $recorded = new_conflicts($center);
			is($recorded, $fill->($case{$expected}), "$name: history of $center->{name}")
			  if defined $case{$expected};
		}
		next unless defined $case{rows};
		foreach my $center ($first, $second)
		{
			is($center->sql("SELECT id - $id, v FROM item WHERE id BETWEEN $id AND $id + 9 ORDER BY 1"),
				$fill->($case{rows}), "$name: rows at $center->{name}");
		}
	}
	return;
}

my $insert = q{INSERT INTO item VALUES (:id, 'old')};

conflict('two inserts',
	first => q{INSERT INTO item VALUES (:id, 'FIRST')},
	second => q{INSERT INTO item VALUES (:id, 'SECOND')},
	at_first => q(insert_exists|apply_remote|{"id": :id}|FIRST|SECOND|SECOND|FIRST|SECOND),
	at_second => q(insert_exists|keep_local|{"id": :id}|SECOND|FIRST|SECOND|SECOND|FIRST),
	rows => '0|SECOND');

conflict('two updates',
	before => $insert,
	first => q{UPDATE item SET v = 'FIRST' WHERE id = :id},
	second => q{UPDATE item SET v = 'SECOND' WHERE id = :id},
	at_first => q(update_origin_differs|apply_remote|{"id": :id}|FIRST|SECOND|SECOND|FIRST|SECOND),
	at_second => q(update_origin_differs|keep_local|{"id": :id}|SECOND|FIRST|SECOND|SECOND|FIRST),
	rows => '0|SECOND');

# The later row wins as a whole: columns of two writers are not mixed.
conflict('updates of different columns',
	before => q{INSERT INTO item VALUES (:id, 'old', 1)},
	first => q{UPDATE item SET v = 'FIRST' WHERE id = :id},
	second => q{UPDATE item SET n = 2 WHERE id = :id},
	at_first => q(update_origin_differs|apply_remote|{"id": :id}|FIRST|old|old|FIRST|SECOND),
	at_second => q(update_origin_differs|keep_local|{"id": :id}|old|FIRST|old|SECOND|FIRST),
	rows => '0|old');

# Changes of a row that lost are no new row either.
conflict('an insert and an update on each side',
	first => q{INSERT INTO item VALUES (:id, 'FIRST'); UPDATE item SET v = 'FIRST 2' WHERE id = :id},
	second => q{INSERT INTO item VALUES (:id, 'SECOND'); UPDATE item SET v = 'SECOND 2' WHERE id = :id},
	at_first => qq(insert_exists|apply_remote|{"id": :id}|FIRST 2|SECOND|SECOND|FIRST|SECOND),
	at_second => qq(insert_exists|keep_local|{"id": :id}|SECOND 2|FIRST|SECOND 2|SECOND|FIRST\nupdate_origin_differs|keep_local|{"id": :id}|SECOND 2|FIRST 2|SECOND 2|SECOND|FIRST),
	rows => '0|SECOND 2');

# Several changes of one row in one transaction.
conflict('transactions that change a row twice',
	before => $insert,
	first => q{BEGIN; UPDATE item SET v = 'FIRST' WHERE id = :id; UPDATE item SET v = 'FIRST 2' WHERE id = :id; COMMIT},
	second => q{BEGIN; UPDATE item SET v = 'SECOND' WHERE id = :id; UPDATE item SET v = 'SECOND 2' WHERE id = :id; COMMIT},
	at_first => q(update_origin_differs|apply_remote|{"id": :id}|FIRST 2|SECOND|SECOND|FIRST|SECOND),
	at_second => qq(update_origin_differs|keep_local|{"id": :id}|SECOND 2|FIRST|SECOND 2|SECOND|FIRST\nupdate_origin_differs|keep_local|{"id": :id}|SECOND 2|FIRST 2|SECOND 2|SECOND|FIRST),
	rows => '0|SECOND 2');

conflict('a delete, then an update',
	before => $insert,
	first => q{DELETE FROM item WHERE id = :id},
	second => q{UPDATE item SET v = 'SECOND' WHERE id = :id},
	at_first => q(update_deleted|apply_remote|{"id": :id}|-|SECOND|SECOND|FIRST|SECOND),
	at_second => q(delete_recently_updated|keep_local|{"id": :id}|SECOND|-|SECOND|SECOND|FIRST),
	rows => '0|SECOND');

conflict('an update, then a delete',
	before => $insert,
	first => q{UPDATE item SET v = 'FIRST' WHERE id = :id},
	second => q{DELETE FROM item WHERE id = :id},
	at_first => q(delete_origin_differs|apply_remote|{"id": :id}|FIRST|-|-|FIRST|SECOND),
	at_second => q(update_deleted|keep_local|{"id": :id}|-|FIRST|-|SECOND|FIRST),
	rows => '');

# Nobody loses anything by two deletes.
conflict('two deletes',
	before => $insert,
	first => q{DELETE FROM item WHERE id = :id},
	second => q{DELETE FROM item WHERE id = :id},
	at_first => '',
	at_second => '',
	rows => '');

conflict('a delete, then another row with that key',
	before => $insert,
	first => q{DELETE FROM item WHERE id = :id},
	second => q{DELETE FROM item WHERE id = :id; INSERT INTO item VALUES (:id, 'SECOND')},
	at_first => '',
	at_second => q(delete_recently_updated|keep_local|{"id": :id}|SECOND|-|SECOND|SECOND|FIRST),
	rows => '0|SECOND');

conflict('a key change, then an update of the old key',
	before => $insert,
	first => q{UPDATE item SET id = :id2, v = 'FIRST' WHERE id = :id},
	second => q{UPDATE item SET v = 'SECOND' WHERE id = :id},
	at_first => q(update_deleted|apply_remote|{"id": :id}|-|SECOND|SECOND|FIRST|SECOND),
	rows => "0|SECOND\n1|FIRST");

conflict('a key change to a key that is inserted later',
	before => $insert,
	first => q{UPDATE item SET id = :id2, v = 'FIRST' WHERE id = :id},
	second => q{INSERT INTO item VALUES (:id2, 'SECOND')},
	at_first => q(insert_exists|apply_remote|{"id": :id2}|FIRST|SECOND|SECOND|FIRST|SECOND),
	rows => '1|SECOND');

conflict('an insert, then a key change to its key',
	before => $insert,
	first => q{INSERT INTO item VALUES (:id2, 'FIRST')},
	second => q{UPDATE item SET id = :id2, v = 'SECOND' WHERE id = :id},
	at_second => q(insert_exists|keep_local|{"id": :id2}|SECOND|FIRST|SECOND|SECOND|FIRST),
	rows => '1|SECOND');

conflict('two key changes of one row to two keys',
	before => $insert,
	first => q{UPDATE item SET id = :id2, v = 'FIRST' WHERE id = :id},
	second => q{UPDATE item SET id = :id3, v = 'SECOND' WHERE id = :id},
	rows => "1|FIRST\n2|SECOND");

conflict('two key changes of one row to the same key',
	before => $insert,
	first => q{UPDATE item SET id = :id2, v = 'FIRST' WHERE id = :id},
	second => q{UPDATE item SET id = :id2, v = 'SECOND' WHERE id = :id},
	rows => '1|SECOND');

# A row that passes from hand to hand without concurrency keeps its last value.
foreach my $round (1 .. 3)
{
	$lisbon->sql("INSERT INTO item VALUES (1, 'l') ON CONFLICT (id) DO UPDATE SET v = item.v || 'l'");
	wait_applied($lisbon, $riga);
	$riga->sql("UPDATE item SET v = v || 'r' WHERE id = 1");
	wait_applied($riga, $lisbon);
}
is($_->sql('SELECT v FROM item WHERE id = 1'), 'lrlrlr', "a row goes from hand to hand: $_->{name}") foreach ($lisbon, $riga);
identical($lisbon, $riga, 'item');

# Everything that a record holds.
$lisbon->sql(q{INSERT INTO two_keys VALUES (1, 'b', 'old');
	INSERT INTO "odd ""name""" VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}')});
wait_applied($lisbon, $riga);
hold_links(@links);
my $started = $lisbon->sql('SELECT clock_timestamp()');
$lisbon->sql(q{UPDATE two_keys SET v = 'lisbon'; UPDATE "odd ""name""" SET "the value" = '{"l": [1, null]}'});
my $xid = $riga->sql(q{BEGIN; UPDATE two_keys SET v = 'riga'; SELECT txid_current(); COMMIT});
$riga->sql(q{UPDATE "odd ""name""" SET "the value" = NULL});
my $lsn = $riga->sql('SELECT pg_current_wal_insert_lsn()');
release_links(@links);
is( $lisbon->sql(
		qq{SELECT center, peer, conflict_type, resolver, resolution, relation, schema_name, table_name, index_name IS NULL,
			key, local_row, remote_row, result_row, local_center, remote_center, remote_xid,
			local_version >= '$started', remote_version > local_version, remote_version <= detected_at,
			remote_lsn < '$lsn', remote_lsn > '0/0', reviewed_at IS NULL, override_of IS NULL
		   FROM multicenter.conflicts WHERE table_name = 'two_keys'}),
	'lisbon|riga|update_origin_differs|last_update_wins|apply_remote|two_keys|public|two_keys|t|'
	  . '{"a": 1, "b": "b"}|{"a":1,"b":"b","v":"lisbon"}|{"a":1,"b":"b","v":"riga"}|{"a":1,"b":"b","v":"riga"}|lisbon|riga|'
	  . "$xid|t|t|t|t|t|t|t",
	'a record names everything');
is( $riga->sql(
		q{SELECT resolution, key, local_row, remote_row ->> 'the value', table_name FROM multicenter.conflicts
		  WHERE relation = '"odd ""name"""'::regclass}),
	'keep_local|{"the key": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}|{"the key":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","the value":null}'
	  . '|{"l": [1, null]}|odd "name"',
	'odd names and values, and the loser can be read');
is( $lisbon->sql(
		q{SELECT (SELECT local_version FROM multicenter.conflicts WHERE table_name = 'two_keys') = ts
		  FROM (SELECT pg_xact_commit_timestamp(xmin) AS ts FROM two_keys) t}),
	'f', 'versions are those of the rows');
is( $riga->sql(
		q{SELECT remote_version < local_version, local_version = pg_xact_commit_timestamp(xmin)
		  FROM two_keys, multicenter.conflicts WHERE table_name = 'two_keys'}),
	't|t', 'the version of a row is its commit timestamp');
is($lisbon->sql('SELECT pg_xact_commit_timestamp(xmin) FROM two_keys'),
	$riga->sql('SELECT pg_xact_commit_timestamp(xmin) FROM two_keys'), 'and is the same on both sides');
identical($lisbon, $riga, 'item', 'two_keys', '"odd ""name"""');

# Values that the update did not touch and did not send are the local ones.
$lisbon->sql(q{INSERT INTO item SELECT 2, 'old', 0, string_agg(md5(i::text), '') FROM generate_series(1, 1000) i});
wait_applied($lisbon, $riga);
hold_links(@links);
$lisbon->sql(q{UPDATE item SET v = 'lisbon' WHERE id = 2});
$riga->sql(q{UPDATE item SET v = 'riga' WHERE id = 2});
release_links(@links);
identical($lisbon, $riga, 'item');
is($lisbon->sql('SELECT v, length(big) FROM item WHERE id = 2'), 'riga|32000', 'an unchanged large value stays');
is($riga->sql(q{SELECT length(remote_row ->> 'big') FROM multicenter.conflicts WHERE key = '{"id": 2}'}), 32000,
	'and is in the record');

# The summary counts by type, and the counter of the link agrees.
is( $lisbon->sql(
		q{SELECT string_agg(conflict_type, ', ' ORDER BY conflict_type) FROM
		  (SELECT DISTINCT conflict_type FROM multicenter.conflict_summary WHERE peer = 'riga') t}),
	'delete_origin_differs, delete_recently_updated, insert_exists, update_deleted, update_missing, update_origin_differs',
	'each type is listed');
is( $lisbon->sql(q{SELECT (SELECT sum(n) FROM multicenter.conflict_summary) = count(*),
		count(*) = (SELECT conflicts FROM multicenter.stat_links WHERE direction = 'in') FROM multicenter.conflicts}),
	't|t', 'summary, list and counter agree');
is($riga->sql('SELECT count(*) FROM multicenter.conflicts WHERE resolver <> $$last_update_wins$$'), 0, 'last update wins');

# Who may see rows of users.
$lisbon->sql('CREATE ROLE watcher IN ROLE pg_monitor; CREATE ROLE judge IN ROLE multicenter_conflicts');
is($lisbon->sql('SET ROLE watcher; SELECT count(*) > 0 FROM multicenter.conflict_summary'), 't', 'a monitor sees numbers');
is($lisbon->sql('SET ROLE watcher; SELECT count(*) FROM multicenter.conflicts'), 0, 'but no rows');
is($lisbon->sql('SET ROLE judge; SELECT count(*) > 0 FROM multicenter.conflicts'), 't', 'multicenter_conflicts sees rows');

done_testing();
