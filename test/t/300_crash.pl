# Goal: no crash of any process or of a whole server loses a change, or applies
# one twice, on either side of a link.
#
# Method: two centers run a TPC-B load, each on branches, tellers and accounts
# of its own, so that sums must come out exactly; each transaction also leaves
# a tagged row in a table without any key, where a change that is applied twice
# would stay visible.  In the middle of the load one process is killed with
# SIGKILL, or a server is stopped in one of the ways there are.  After each
# blow the centers must be identical, the sums exact, no tag be there twice, and
# as many tags as pgbench says that it has committed.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Tpcb;
use Test::More;

my $accounts = 1000;
my $clients  = 2;
my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => qq{
	CREATE TABLE branches (bid int PRIMARY KEY, bbalance int NOT NULL);
	CREATE TABLE tellers (tid int PRIMARY KEY, bid int NOT NULL, tbalance int NOT NULL);
	CREATE TABLE accounts (aid int PRIMARY KEY, bid int NOT NULL, abalance int NOT NULL, filler char(84) NOT NULL DEFAULT '');
	CREATE TABLE history (center int, run int, client int, n int, tid int, bid int, aid int, delta int, mtime timestamptz);
	INSERT INTO branches SELECT b, 0 FROM generate_series(1, 2) b;
	INSERT INTO tellers SELECT t, (t - 1) / 10 + 1, 0 FROM generate_series(1, 20) t;
	INSERT INTO accounts SELECT a, (a - 1) / $accounts + 1, 0 FROM generate_series(1, 2 * $accounts) a;
});

my $script = qq{
\\set n :n + 1
\\set tid (:center - 1) * 10 + random(1, 10)
\\set aid (:center - 1) * $accounts + random(1, $accounts)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM accounts WHERE aid = :aid;
UPDATE tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE branches SET bbalance = bbalance + :delta WHERE bid = :center;
INSERT INTO history VALUES (:center, :run, :client_id, :n, :tid, :center, :aid, :delta, now());
END;
};

# The process ids of a server's workers; a server that has crashed and come
# back has others.
sub supervisor { my ($center) = @_; return $center->worker_pid('supervisor') }

# Wait until a server that has crashed, or was started, has its workers.
sub wait_back
{
	my ($center, $old) = @_;
	return poll("$center->{name} to be back", sub {
			my ($rc, $out, $err) = $center->psql(
				"SELECT pid FROM multicenter.workers WHERE role = 'supervisor'", on_error_die => 0);
			return ($rc == 0 && $out ne '' && $out != $old, "$out$err");
		});
}

# One round: load at both, the blow in the middle of it, and what must hold
# afterwards.  $blow gets the victims and returns when they have to come back.
sub crash
{
	my ($name, $blow, @victims) = @_;
	my %old = map { $_->name => supervisor($_) } @victims;
	my $round = tpcb_start($script, { clients => $clients, seconds => 2 }, $lisbon, $oslo);
	$blow->(@victims);
	wait_back($_, $old{ $_->name }) foreach @victims;
	return tpcb_check($name, $round, @victims);
}

foreach my $victim ($lisbon, $oslo)
{
	my $peer = $victim == $lisbon ? $oslo : $lisbon;
	foreach my $role ('receiver', 'walsender', 'manager', 'supervisor')
	{
		crash("kill -9 of the $role of $victim->{name}",
			sub { signal_pid('KILL', $victim->worker_pid($role, $role =~ /receiver|walsender/ ? $peer : undef)) },
			$victim);
	}
	crash("kill -9 of the postmaster of $victim->{name}",
		sub { $victim->kill9; $victim->start }, $victim);
	foreach my $mode ('immediate', 'fast')
	{
		crash("$mode shutdown of $victim->{name}",
			sub { $victim->stop($mode); $victim->start }, $victim);
	}
}

crash('kill -9 of both postmasters',
	sub { $_->kill9 foreach @_; $_->start foreach @_ }, $lisbon, $oslo);

tpcb_no_crash($lisbon, $oslo);
done_testing();
