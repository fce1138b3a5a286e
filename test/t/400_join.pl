# Goal: a center can join while the others take writes, and no change is lost
# or doubled by that, however the copy and the streams meet.
#
# Method: two centers, databases of one server, take writes without a pause,
# each of its own keys: inserts, updates, deletes, key changes, long values, and
# rows in a table without a key.  Twenty times a third center joins, takes some
# of the stream, and is compared with the others; then it parts, and its
# database is dropped.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my $joins = $ENV{MC_JOINS} || 20;
my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, long text, fix text DEFAULT 'same');
	CREATE INDEX item_n ON item (n);
	CREATE TABLE event (center int, run int, client int, n int);
	CREATE TABLE part (id int, region text, v int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
	CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b');
	INSERT INTO item SELECT id, 0, repeat(md5(id::text), 100) FROM generate_series(100001, 101000) id;
	INSERT INTO item SELECT id, 0, NULL FROM generate_series(200001, 201000) id;
});

my $script = q{
\set n :n + 1
\set base :center * 100000 + :client_id * 2000
\set id :base + random(1, 1500)
\set other :base + random(1501, 1600)
\set gone :base + random(1, 1500)
BEGIN;
INSERT INTO item VALUES (:id, :n, repeat(:n::text, 20)) ON CONFLICT (id) DO UPDATE SET n = excluded.n;
DELETE FROM item WHERE id = :other;
UPDATE item SET id = :other WHERE id = :gone;
INSERT INTO event VALUES (:center, :run, :client_id, :n);
INSERT INTO part VALUES (:id, chr(97 + :n % 2), :n) ON CONFLICT (id, region) DO UPDATE SET v = excluded.v;
END;
\sleep 4 ms
};

# Transactions that are open for a while, and so across every step of a join.
my $slow = q{
\set n :n + 1
\set id :center * 100000 + 90000 + random(1, 50)
BEGIN;
INSERT INTO event VALUES (:center, :run, 99, :n);
\sleep 200 ms
INSERT INTO item VALUES (:id, :n, NULL) ON CONFLICT (id) DO UPDATE SET n = excluded.n;
\sleep 200 ms
SAVEPOINT s;
INSERT INTO event VALUES (:center, :run, 98, :n);
END;
};

foreach my $join (1 .. $joins)
{
	my @loads = map {
		my %define = (center => $_->[1], run => $join, n => 0);
		my @both = (start_load($_->[0], $script, clients => 2, define => \%define));
		# These make a join slow, since each slot waits for them.
		push(@both, start_load($_->[0], $slow, clients => 1, define => \%define)) if $join % 5 == 0;
		@both;
	} ([ $lisbon, 1 ], [ $oslo, 2 ]);
	$_->wait_for_sql("SELECT count(DISTINCT center) = 2 FROM event WHERE run = $join") foreach $lisbon, $oslo;

	# Either of them may be the sponsor.
	my $rome = $lisbon->add_database("rome$join");
	my $id = group_join($rome, $join % 2 ? $lisbon : $oslo);
	is($id, $join + 2, "join $join: an id that was never used before");
	is($rome->sql("SELECT string_agg(state, ' ') FROM multicenter.centers WHERE state <> 'parted'"),
		'ready ready ready', "join $join: ready, when the call returns");

	# Some more of the stream, and some from the new one.
	my $seen = $rome->sql('SELECT count(*) FROM event');
	$rome->wait_for_sql("SELECT count(*) > $seen + 100 FROM event");
	$rome->sql("INSERT INTO event SELECT 3, $join, 0, n FROM generate_series(1, 10) n");
	finish_load($_) foreach @loads;
	wait_all_applied($lisbon, $oslo, $rome);
	identical($lisbon, $oslo, $rome);
	is($rome->sql('SELECT count(*) - count(DISTINCT (center, run, client, n)) FROM event'),
		'0', "join $join: nothing is there twice");

	$lisbon->sql("SELECT multicenter.center_part(center_name => 'rome$join')");
	$rome->sql('SELECT multicenter.group_remove_local()');
	$lisbon->node->safe_psql('postgres', "DROP DATABASE rome$join");
	$lisbon->sql('TRUNCATE event') if $join % 5 == 0;
	wait_all_applied($lisbon, $oslo);
}

foreach my $center ($lisbon, $oslo)
{
	is($center->sql(q{SELECT count(*) FROM multicenter.lag}), '2', "$center->{name} has links with one peer");
}
is($lisbon->sql(q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'multicenter' AND slot_name !~ '_kept_'}), '2', 'no slot is left over');

done_testing();
