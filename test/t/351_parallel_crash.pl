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
use PostgreSQL::Test::Utils ();
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
my %number = (lisbon => 1, oslo => 2);
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

my $run = 0;

# One round: load at both, a blow at Oslo in the middle of it, and what must
# hold afterwards.  $crashes: clients of Oslo do not know the fate of what they
# were committing.
sub round
{
	my ($name, $workers, $crashes, $blow) = @_;
	$run++;
	$_->[0]->sql("SELECT multicenter.link_alter('$_->[1]', '{\"workers\": $workers}')")
	  foreach [ $lisbon, 'oslo' ], [ $oslo, 'lisbon' ];
	wait_streaming($lisbon, $oslo, $Multicenter::Cluster::timeout);
	$_->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier' AND xacts IS NOT NULL}, $workers)
	  foreach $lisbon, $oslo;
	my $supervisor = $oslo->worker_pid('supervisor');
	my %load = map {
		($_->name => start_load($_, $script, clients => $clients, seconds => 1,
				define => { center => $number{ $_->name }, run => $run, n => 0 }))
	} $lisbon, $oslo;

	$_->wait_for_sql("SELECT count(DISTINCT center) = 2 AND count(*) > 50 FROM history WHERE run = $run")
	  foreach $lisbon, $oslo;
	$oslo->wait_for_sql(q{SELECT sum(xacts) > 20 FROM multicenter.workers});
	$blow->();
	poll('oslo to be back', sub {
			my ($rc, $out, $err) = $oslo->psql(
				"SELECT pid FROM multicenter.workers WHERE role = 'supervisor'", on_error_die => 0);
			return ($rc == 0 && $out ne '' && ($out != $supervisor || !$crashes), "$out$err");
		});
	my %count;
	foreach my $center (keys %load)
	{
		my $output = finish_load($load{$center});
		$count{$center} = $output =~ /number of transactions actually processed: (\d+)/ ? $1 : -1;
	}
	wait_streaming($lisbon, $oslo, $Multicenter::Cluster::timeout);
	wait_all_applied($lisbon, $oslo);
	foreach my $center ($lisbon, $oslo)
	{
		my $rows = $center->sql("SELECT count(*) FROM history WHERE run = $run AND center = $number{$center->{name}}");
		my $unsure = $crashes && $center == $oslo ? $clients : 0;
		ok($count{ $center->name } > 0 && $rows >= $count{ $center->name } && $rows <= $count{ $center->name } + $unsure,
			"$name: what the clients of $center->{name} have committed is there")
		  or diag("$rows rows, pgbench has committed $count{$center->name}");
		is($center->sql(q{
				SELECT count(DISTINCT total) FROM (
					SELECT sum(abalance) AS total FROM accounts
					UNION ALL SELECT sum(tbalance) FROM tellers
					UNION ALL SELECT sum(bbalance) FROM branches
					UNION ALL SELECT sum(delta) FROM history) s}),
			'1', "$name: the sums at $center->{name} are exact");
		is($center->sql('SELECT count(*) FROM (SELECT FROM history GROUP BY center, run, client, n HAVING count(*) > 1) d'),
			'0', "$name: nothing is at $center->{name} twice");
		is($center->sql('SELECT count(*) FROM multicenter.conflicts'), '0', "$name: there was no conflict at $center->{name}");
	}
	return identical($lisbon, $oslo);
}

sub applier { return (split(/\n/, $oslo->sql(q{SELECT pid FROM multicenter.workers WHERE role = 'applier' ORDER BY pid})))[0] }

round('4 appliers, one ends', 4, 0, sub { signal_pid('TERM', applier()) });
round('2 appliers, the receiver ends', 2, 0, sub { signal_pid('TERM', $oslo->link_pid($lisbon)) });
round('1 applier, kill -9 of it', 1, 1, sub { signal_pid('KILL', applier()) });
round('8 appliers, kill -9 of the postmaster', 8, 1, sub { $oslo->kill9; $oslo->start });

foreach my $center ($lisbon, $oslo)
{
	my $log = PostgreSQL::Test::Utils::slurp_file($center->node->logfile);
	unlike($log, qr/PANIC|TRAP|signal 11|signal 6/, "nothing but our own blows has ended a process of $center->{name}");
}

done_testing();
