# Goal: transaction ids that start again from 3 change nothing: deletes are
# remembered, notes and locks of keys are found, and the horizon goes on, as does
# VACUUM.
#
# Method: pg_resetwal brings a server, step by step, to the last few thousand
# transaction ids of an epoch, where its group is made.  Centers write on one
# side of the end, and what is older arrives on the other.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $lisbon = new_center('lisbon', no_extension => 1, conf => "track_commit_timestamp = off\nautovacuum = off\n");
my $data = $lisbon->node->data_dir;
$lisbon->sql('UPDATE pg_database SET datallowconn = true');

# Let the server go on at this transaction id.  No step may be longer than two
# billion, and all rows must be frozen before the next.
sub go_on_at
{
	my ($xid) = @_;
	PostgreSQL::Test::Utils::system_or_bail('vacuumdb', '--all', '--freeze', '-q',
		'-h', $lisbon->node->host, '-p', $lisbon->port);
	$lisbon->sql('CHECKPOINT');
	$lisbon->stop;
	PostgreSQL::Test::Utils::system_or_bail('pg_resetwal', '-x', $xid, '-D', $data);
	my $segment = sprintf("$data/pg_xact/%04X", $xid >> 20);
	open(my $out, '>', $segment) or die "could not write $segment: $!";
	print $out "\0" x 262144;
	close($out);
	$lisbon->start;
	return;
}

go_on_at($_) foreach 1_400_000_000, 2_800_000_000, 2**32 - 8000;
$lisbon->append_conf("track_commit_timestamp = on\nautovacuum = on\n");
$lisbon->restart;

$lisbon->sql(q{CREATE EXTENSION multicenter;
	CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE, v text);
	INSERT INTO item SELECT i, i, 'old' FROM generate_series(1, 8) i});
group_create($lisbon);
my @centers = ($lisbon, map { $lisbon->add_database($_) } qw(oslo riga));
my ($oslo, $riga) = @centers[ 1, 2 ];
group_join($_, $lisbon) foreach $oslo, $riga;
wait_ready(@centers);
cmp_ok($lisbon->sql('SELECT pg_current_xact_id()::text::numeric'), '<', 2**32, 'the group is made before the end of the epoch');

# While nobody is heard of, and nobody deletes, VACUUM follows what is updated.
my @links = links_between(@centers);
my $update = q{DO $$ BEGIN FOR i IN 1..500 LOOP UPDATE item SET v = v WHERE id = 8; COMMIT; END LOOP; END $$};
$lisbon->sql($update);
$_->wait_for_sql('SELECT age(horizon_xid) < 200 FROM multicenter.horizon') foreach @centers;
hold_links(@links);
$lisbon->sql($update);
cmp_ok($lisbon->sql('SELECT age(horizon_xid) FROM multicenter.horizon'), '>', 400, 'the horizon waits for peers');
my (undef, undef, $told) = $lisbon->psql('VACUUM (VERBOSE) item');
like($told, qr/which was \d\d? XIDs old/, 'VACUUM does not');

# Everything that is decided by what is known here of a key: lisbon writes what
# arrives last, all others what is newer.
$lisbon->sql(q{UPDATE item SET v = 'lisbon'; INSERT INTO item VALUES (21, 21, 'lisbon'), (22, 22, 'lisbon'), (23, 51, 'lisbon')});
$oslo->sql(q{DELETE FROM item WHERE id = 1; INSERT INTO item VALUES (22, 52, 'oslo'), (31, 31, 'oslo')});
release_links([ $lisbon, $oslo ]);
$oslo->sql('DELETE FROM item WHERE id IN (21, 3)');
release_links([ $oslo, $riga ]);
$riga->sql(q{DELETE FROM item WHERE id = 2; UPDATE item SET v = 'riga' WHERE id = 4; DELETE FROM item WHERE id = 31;
	INSERT INTO item VALUES (24, 51, 'riga'); UPDATE item SET id = 25 WHERE id = 5});

# Not one by one: each in a transaction of its own, until the epoch ends.
$oslo->sql(q{DO $$ BEGIN
	WHILE pg_current_xact_id()::text::numeric < 4294967296 + 1000 LOOP
		COMMIT;
	END LOOP;
END $$});
cmp_ok($lisbon->sql('SELECT pg_current_xact_id()::text::numeric'), '>', 2**32, 'the epoch has ended');
$riga->sql(q{UPDATE item SET v = 'riga, later' WHERE id = 6; DELETE FROM item WHERE id = 7});
foreach my $database (split(/\n/, $riga->sql('SELECT datname FROM pg_database WHERE datallowconn')))
{
	$riga->node->safe_psql($database, 'VACUUM FREEZE');
}
release_links($_) foreach @links;
wait_all_applied(@centers);
foreach my $center (@centers)
{
	$center->wait_for_sql(q{SELECT string_agg(format('%s %s', id, v), ', ' ORDER BY id) FROM item},
		'4 riga, 6 riga, later, 8 lisbon, 22 oslo, 24 riga, 25 old');
	is($center->sql(q{SELECT string_agg(key ->> 'id', ' ') FROM multicenter.displaced}), '23', 'everything is decided as ever at ' . $center->name);
}
identical(@centers);

# What was displaced before the end comes back, and all is forgotten in time.
$oslo->sql('DELETE FROM item WHERE id = 24');
$_->wait_for_sql('SELECT v FROM item WHERE id = 23', 'lisbon') foreach @centers;
$lisbon->sql(q{UPDATE item SET v = v || ' again'});
wait_all_applied(@centers);
identical(@centers);
foreach my $center (@centers)
{
	$center->wait_for_sql(q{SELECT age(horizon_xid) < 1000 AND age < interval '5 s' FROM multicenter.horizon});
	$center->wait_for_sql('SELECT notes = 0 FROM multicenter.horizon');
}
pass('the horizon goes on');
foreach my $database (split(/\n/, $riga->sql('SELECT datname FROM pg_database WHERE datallowconn')))
{
	$riga->node->safe_psql($database, 'VACUUM FREEZE');
}
$riga->sql(q{UPDATE item SET v = 'end' WHERE id = 6; DELETE FROM item WHERE id = 8});
wait_all_applied(@centers);
identical(@centers);
is($lisbon->sql(q{SELECT v FROM item WHERE id = 6}), 'end', 'and frozen rows lose to what is newer');

done_testing();
