# Goal: with 1, 2, 4 and 8 appliers no crash of any process or of a whole server
# loses a change, or applies one twice, and an applier that ends is replaced.
#
# Method: as in 300_crash.pl: both centers run a TPC-B load, each on rows of its
# own and with tags in a table without a key, while a process is killed or a
# server is; then sums, tags and rows are compared.  Triggers that sleep keep
# many transactions between their beginning and their turn.

use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Tpcb;
use Test::More;

my $clients = 3;
my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => q{
	CREATE TABLE branches (bid int PRIMARY KEY, bbalance int NOT NULL);
	CREATE TABLE tellers (tid int PRIMARY KEY, bid int NOT NULL, tbalance int NOT NULL);
	CREATE TABLE accounts (aid int PRIMARY KEY, abalance int NOT NULL);
	CREATE TABLE history (center int, run int, client int, n int, delta int);
	INSERT INTO branches SELECT b, 0 FROM generate_series(1, 20) b;
	INSERT INTO tellers SELECT t, (t - 1) / 10 + 1, 0 FROM generate_series(1, 200) t;
	INSERT INTO accounts SELECT a, 0 FROM generate_series(1, 2000) a;
});
foreach my $center ($lisbon, $oslo)
{
	$center->sql(q{
		CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep_for(random() * interval '2 ms');
			RETURN NULL;
		END $$;
		CREATE TRIGGER nap AFTER UPDATE ON tellers FOR EACH ROW EXECUTE FUNCTION nap();
		ALTER TABLE tellers ENABLE REPLICA TRIGGER nap});
}

my $script = q{
\set n :n + 1
\set bid (:center - 1) * 10 + random(1, 10)
\set tid (:center - 1) * 100 + random(1, 100)
\set aid (:center - 1) * 1000 + random(1, 1000)
\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO history VALUES (:center, :run, :client_id, :n, :delta);
END;
};

# One round: load at both, a blow at Oslo in the middle of it, and what must
# hold afterwards.  $crashes: clients of Oslo do not know the fate of what they
# were committing.
sub round
{
	my ($name, $workers, $crashes, $blow) = @_;
	$_->[0]->sql("SELECT multicenter.link_alter('$_->[1]', '{\"workers\": $workers}')")
	  foreach [ $lisbon, 'oslo' ], [ $oslo, 'lisbon' ];
	wait_streaming($lisbon, $oslo, $Multicenter::Cluster::timeout);
	$_->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND xacts IS NOT NULL}, $workers)
	  foreach $lisbon, $oslo;
	my $supervisor = $oslo->worker_pid('supervisor');
	my $round = tpcb_start($script, { clients => $clients, seconds => 1 }, $lisbon, $oslo);
	$oslo->wait_for_sql(q{SELECT sum(xacts) > 20 FROM multicenter.workers});
	$blow->();
	poll('oslo to be back', sub {
			my ($rc, $out, $err) = $oslo->psql(
				"SELECT pid FROM multicenter.workers WHERE role = 'supervisor'", on_error_die => 0);
			return ($rc == 0 && $out ne '' && ($out != $supervisor || !$crashes), "$out$err");
		});
	tpcb_check($name, $round, $crashes ? $oslo : ());
	is($_->sql('SELECT count(*) FROM multicenter.conflicts'), '0', "$name: there was no conflict at $_->{name}") foreach $lisbon, $oslo;
	return;
}

sub applier { return (split(/\n/, $oslo->sql(q{SELECT pid FROM multicenter.workers WHERE role = 'applier' ORDER BY pid})))[0] }

round('4 appliers, one ends', 4, 0, sub { signal_pid('TERM', applier()) });
round('2 appliers, the receiver ends', 2, 0, sub { signal_pid('TERM', $oslo->link_pid($lisbon)) });
round('1 applier, kill -9 of it', 1, 1, sub { signal_pid('KILL', applier()) });
round('8 appliers, kill -9 of the postmaster', 8, 1, sub { $oslo->kill9; $oslo->start });

tpcb_no_crash($lisbon, $oslo);
done_testing();
