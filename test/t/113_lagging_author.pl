# Goal: while the changes of a center come late, what it has deleted itself need
# not be kept for it, and goes; what others have deleted meanwhile is kept, and
# late changes of those rows stay void, whatever VACUUM does.
#
# Method: three servers, because one server has one horizon.  riga applies what
# lisbon has written up to a table that a session at riga has locked, and is
# looked at there; then its link from lisbon is held.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
	CREATE TABLE hot (id int PRIMARY KEY, v int) WITH (autovacuum_enabled = off);
	CREATE TABLE gate (id int PRIMARY KEY, v int);
	INSERT INTO item SELECT g, 'old' FROM generate_series(1, 300) g;
	INSERT INTO hot VALUES (1, 0);
	INSERT INTO gate VALUES (1, 0);
});
my ($lisbon, $oslo, $riga) = @centers;
wait_all_applied(@centers);

# Where the horizon of riga is, as against a transaction there: how many
# transactions behind it.
sub behind
{
	my ($xid) = @_;
	return "age(horizon_xid) - age('$xid'::xid)";
}

# Now, as a transaction of riga.
sub now_at_riga { return $riga->sql('SELECT pg_current_xact_id()::xid') }

# Heartbeats of oslo come and go, and what riga does about them.
sub let_heartbeats_pass
{
	foreach (1 .. 3)
	{
		my $time = $riga->sql('SELECT clock_timestamp()');
		wait_applied($oslo, $riga);
		$riga->wait_for_sql(qq{SELECT last_message_at > '$time' FROM multicenter.lag WHERE direction = 'in' AND peer = 'oslo'});
	}
	return;
}

# lisbon deletes, and updates a row often; then comes the gate.
my $session = $riga->background_psql;
$session->query_safe('BEGIN');
$session->query_safe('LOCK TABLE gate IN SHARE MODE');
hold_links([ $lisbon, $oslo ]);
my $first = now_at_riga();
$lisbon->sql(q{DELETE FROM item WHERE id <= 100});
$lisbon->sql(q{DO $$ BEGIN FOR i IN 1..500 LOOP UPDATE hot SET v = v + 1; COMMIT; END LOOP; END $$});
$lisbon->sql(q{UPDATE gate SET v = 1});
$riga->wait_for_sql('SELECT v = 500 FROM hot');
# The promise of lisbon is older than that all, but it is lisbon's own.
$riga->wait_for_sql('SELECT ' . behind($first) . ' < -400 FROM multicenter.horizon');
$session->query_safe('COMMIT');
$session->quit;
wait_applied($lisbon, $riga);

# Updates of rows that the others delete later, but earlier here.
hold_links([ $lisbon, $riga ]);
$lisbon->sql(q{UPDATE item SET v = 'lisbon' WHERE id > 100});
my $second = now_at_riga();
$oslo->sql(q{DELETE FROM item WHERE id BETWEEN 101 AND 200});
wait_applied($oslo, $riga);
$riga->sql(q{DELETE FROM item WHERE id BETWEEN 201 AND 250});
$riga->sql(q{DO $$ BEGIN FOR i IN 1..100 LOOP INSERT INTO gate VALUES (1000 + i, 0); COMMIT; END LOOP; END $$});
let_heartbeats_pass();
cmp_ok($riga->sql('SELECT ' . behind($second) . ' FROM multicenter.horizon'), '>=', 0, 'what the others have deleted is kept');
$riga->sql('VACUUM item');
release_links([ $lisbon, $oslo ], [ $lisbon, $riga ]);
wait_all_applied(@centers);
identical(@centers, 'item');
identical(@centers, 'hot');
identical(@centers, 'gate');
is($_->sql('SELECT count(*), min(id) FROM item'), '50|251', 'deleted rows stay deleted at ' . $_->name) foreach @centers;

done_testing();
