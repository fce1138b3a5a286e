# Goal: a center that joins decides on changes in flight as the others do: it
# has the versions, tombstones and truncates that can still compete.
#
# Method: changes of oslo are held on their way to the sponsor, lisbon, which
# writes later ones of the same keys; then the copy is made.  The new center
# gets the older changes from oslo's stream, and must decide as lisbon will.
# Then two centers write the same few keys at once, without a pause, and a third
# one joins in the middle.  Rows that nobody competes for have no note.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $joins = $ENV{MC_JOINS} || 3;
my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, v text);
	CREATE TABLE emptied (id numeric PRIMARY KEY, v text);
	CREATE TABLE uniq (id int PRIMARY KEY, u int UNIQUE);
	CREATE TABLE still (id int PRIMARY KEY);
	INSERT INTO still SELECT generate_series(1, 5000);
});
# A row that is displaced for long: nothing about it is in flight any more.
hold_links(links_between($lisbon, $oslo));
$lisbon->sql('INSERT INTO uniq VALUES (1, 1)');
$oslo->sql('INSERT INTO uniq VALUES (2, 1)');
release_links($_) foreach links_between($lisbon, $oslo);
wait_all_applied($lisbon, $oslo);
$lisbon->wait_for_sql(q{SELECT h.frontier > max(k.version) FROM multicenter.horizon AS h, multicenter.key_note AS k WHERE k.kind = 'd' GROUP BY h.frontier});

# The sponsor's snapshot waits for this transaction.
my $open = $lisbon->background_psql;
$open->query_safe(q{BEGIN; INSERT INTO item VALUES (999, 0, 'open')});
my $tokyo = $lisbon->add_database('tokyo');
my $join = start_sql($tokyo, $tokyo->group_join_sql($lisbon));
$oslo->wait_for_sql(q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'multicenter' AND confirmed_flush_lsn IS NOT NULL AND slot_name NOT LIKE '%kept%'}, 2);
$lisbon->wait_for_sql(q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'});
$lisbon->sql(q{SELECT multicenter.link_pause('oslo')});
$oslo->sql($_) foreach q{INSERT INTO item SELECT i, 0, 'oslo' FROM generate_series(201, 205) i},
  q{INSERT INTO emptied VALUES (201.5, 'oslo')};
$lisbon->sql(q{INSERT INTO item SELECT i, 1, 'lisbon' FROM generate_series(201, 205) i});
$lisbon->sql($_) foreach q{DELETE FROM item WHERE id = 202}, q{UPDATE item SET id = 303 WHERE id = 203}, 'TRUNCATE emptied';
$open->query_safe('COMMIT');
$open->quit;
$tokyo->wait_for_sql(q{SELECT count(*) = 4 FROM item WHERE v = 'lisbon'});
$lisbon->sql(q{SELECT multicenter.link_resume('oslo')});
my ($joined, $output) = finish_sql($join);
ok($joined, 'the join has succeeded') or diag($output);
wait_ready($lisbon, $oslo, $tokyo);
wait_all_applied($lisbon, $oslo, $tokyo);
identical($lisbon, $oslo, $tokyo, qw(item emptied));
is($tokyo->sql(q{SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM item WHERE id BETWEEN 200 AND 310}),
	'201 lisbon, 204 lisbon, 205 lisbon, 303 lisbon', 'what was older and on its way has lost at the new center too');
is($tokyo->sql('SELECT count(*) FROM emptied'), '0', 'also against a TRUNCATE');
is($_->sql('SELECT id FROM uniq'), '2', 'a displaced row stays where it is: ' . $_->name) foreach $lisbon, $oslo, $tokyo;
$oslo->sql('DELETE FROM uniq WHERE id = 2');
$_->wait_for_sql('SELECT string_agg(id::text, $$ $$) FROM uniq', '1') foreach $lisbon, $oslo, $tokyo;
$oslo->sql('DELETE FROM uniq');
$tokyo->sql(q{SELECT multicenter.center_part(center_name => 'tokyo')});
$_->wait_for_sql(q{SELECT state = 'parted' FROM multicenter.centers WHERE center_name = 'tokyo'}) foreach $lisbon, $oslo;

my $script = q{
\set id random(1, 15)
\set other random(1, 15)
\set what random(1, 10)
\if :what <= 4
INSERT INTO item VALUES (:id, 1, 'from ' || :center) ON CONFLICT (id) DO UPDATE SET n = item.n + 1, v = excluded.v;
\elif :what <= 7
DELETE FROM item WHERE id = :id;
\elif :what = 8
UPDATE item SET id = :other + 100 WHERE id = :id AND NOT EXISTS (SELECT FROM item WHERE id = :other + 100);
\else
INSERT INTO emptied VALUES (:id + random() / 10, 'from ' || :center) ON CONFLICT DO NOTHING;
\endif
};

foreach my $join (1 .. $joins)
{
	my @loads = map { start_load($_, $script, clients => 1, define => { center => $_->id }) } $lisbon, $oslo;
	my $truncate = start_load($lisbon, "TRUNCATE emptied;\n\\sleep 150 ms\n", clients => 1);
	my $riga = $lisbon->add_database("riga$join");
	group_join($riga, $lisbon);
	finish_load($_) foreach @loads, $truncate;
	wait_ready($lisbon, $oslo, $riga);
	wait_all_applied($lisbon, $oslo, $riga);
	identical($lisbon, $oslo, $riga, qw(item emptied));
	is($riga->sql(q{SELECT count(*) FROM multicenter.key_note WHERE relation = 'still'::regclass}), '0', 'rows that nobody competes for have no note');

	# What it was given is let go when nothing older can arrive any more.
	$riga->wait_for_sql('SELECT count(*) = 0 FROM multicenter.key_note') if $join == $joins;
	$riga->sql("SELECT multicenter.center_part(center_name => 'riga$join')");
	$_->wait_for_sql("SELECT state = 'parted' FROM multicenter.centers WHERE center_name = 'riga$join'") foreach $lisbon, $oslo;
	$lisbon->sql(qq{DROP DATABASE "riga$join"});
}

# What waits in quarantine is in no row that could be copied.
my $lima = $lisbon->add_database('lima');
$lisbon->sql(q{INSERT INTO multicenter.quarantine_entry (peer_id, remote_xid, remote_lsn, end_lsn, version, vector,
		relation, hash, operation, key, new_row, key_changed, waits_for)
	SELECT center_id, 1, '0/1', '0/1', now(), '', 'item'::regclass, 0, 'UPDATE', '{"id": "5000"}', '{"id": "5000"}', true, 'cause'
	FROM multicenter.centers WHERE center_name = 'oslo'});
$lima->fails($lima->group_join_sql($lisbon), '55000', qr/has 1 changes in quarantine/, qr/view multicenter.quarantine is empty/, 'a center with changes in quarantine is not copied');

done_testing();
