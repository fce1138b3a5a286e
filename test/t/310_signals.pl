# Goal: whatever ends or disturbs a worker, the link streams again within five
# seconds, and nothing is lost or applied twice.
#
# Method: each type of worker gets each of SIGTERM, SIGKILL, SIGINT,
# pg_terminate_backend and pg_cancel_backend, while the peer takes writes into
# a table without a key.  Then a new change is made on both sides, and must
# arrive at the other within the deadline; after SIGKILL, which makes the
# server restart itself, the deadline counts from the moment at which it takes
# connections again.  At the end the rows are counted.  The same deadline holds
# for a peer that comes back after having been away.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => q{
	CREATE TABLE mark (text text);
	CREATE TABLE tag (client int, n int);
});
my $deadline = $Multicenter::Cluster::recovery_timeout;

# Insert a mark at one center, and wait for it at the other.
sub mark
{
	my ($from, $to, $text, $seconds) = @_;
	$from->sql("INSERT INTO mark VALUES ('$text')");
	return $to->wait_for_sql("SELECT count(*) > 0 FROM mark WHERE text = '$text'", 't', $seconds);
}

# Changes must travel in both directions before the deadline, which counts
# from $since, and all workers must be there again.
sub heals
{
	my ($name, $since) = @_;
	my $left = sub { my $left = $deadline - (time - $since); return $left > 0.1 ? $left : 0.1 };
	my $healed = eval {
		mark($lisbon, $oslo, "$name, from lisbon", $left->());
		mark($oslo, $lisbon, "$name, from oslo", $left->());
		foreach my $center ($lisbon, $oslo)
		{
			$center->wait_for_sql(q{SELECT string_agg(DISTINCT role, ' ' ORDER BY role) FROM multicenter.workers},
				'manager receiver supervisor walsender', $left->());
		}
		1;
	};
	diag($@) unless $healed;
	ok($healed, sprintf('%s: streams again', $name));
	note(sprintf('%s: %.2f s', $name, time - $since));

	# One cell that fails must not spoil the next one.
	wait_streaming($lisbon, $oslo, $Multicenter::Cluster::timeout) unless $healed;
	return;
}

# Wait until a process has gone.
sub wait_gone
{
	my ($pid) = @_;
	return poll("process $pid to end", sub { return !kill(0, $pid) });
}

# Wait until the server takes connections.
sub wait_up
{
	my ($center) = @_;
	return poll("$center->{name} to take connections", sub {
			my ($rc, $out, $err) = $center->psql('SELECT 1', on_error_die => 0);
			return ($rc == 0, $err);
		});
}

my %act = (
	SIGTERM => sub { signal_pid('TERM', $_[0]) },
	SIGKILL => sub { signal_pid('KILL', $_[0]) },
	SIGINT  => sub { signal_pid('INT',  $_[0]) },
	pg_terminate_backend => sub { $lisbon->sql("SELECT pg_terminate_backend($_[0])") },
	pg_cancel_backend    => sub { $lisbon->sql("SELECT pg_cancel_backend($_[0])") },
);

# oslo is never hurt, so what it has committed is known exactly.
my $load = start_load($oslo, q{
\set n :n + 1
INSERT INTO tag VALUES (:client_id, :n);
\sleep 10 ms
}, clients => 2, define => { n => 0 });

foreach my $role ('supervisor', 'manager', 'receiver', 'walsender')
{
	foreach my $signal ('SIGTERM', 'SIGKILL', 'SIGINT', 'pg_terminate_backend', 'pg_cancel_backend')
	{
		my $pid = $lisbon->worker_pid($role, $role =~ /receiver|walsender/ ? $oslo : undef);
		my $since = time;
		$act{$signal}->($pid);
		wait_gone($pid) if $signal =~ /TERM|KILL|terminate/;
		if ($signal eq 'SIGKILL')
		{
			wait_up($lisbon);
			$since = time;
		}
		heals("$role, $signal", $since);
	}
}
finish_load($load);

# Again and again: restarts must not become slower with their number.
foreach my $n (1 .. 8)
{
	my $pid = $lisbon->link_pid($oslo) or next;
	signal_pid('TERM', $pid);
	wait_gone($pid);
	$lisbon->wait_for_sql("SELECT count(*) FROM multicenter.workers WHERE role = 'receiver'", '1', $deadline);
}
heals('receiver, SIGTERM eight times', time);

# In the middle of a large transaction, which begins again each time.
$oslo->sql("INSERT INTO tag SELECT 1000, n FROM generate_series(1, 150000) n");
foreach my $n (1 .. 3)
{
	my $size = $lisbon->sql("SELECT pg_relation_size('tag')");
	$lisbon->wait_for_sql("SELECT pg_relation_size('tag') > $size OR (SELECT count(*) > 0 FROM tag WHERE client = 1000)");
	my $pid = $lisbon->link_pid($oslo);
	signal_pid('TERM', $pid) if $pid;
}
$lisbon->wait_for_sql('SELECT count(*) FROM tag WHERE client = 1000', '150000');
is($lisbon->sql('SELECT count(*) - count(DISTINCT n) FROM tag WHERE client = 1000'), '0', 'a large transaction that was interrupted is there once');

# A peer that has been away for so long that all retries are at their slowest.
foreach my $mode ('fast', 'immediate')
{
	my $retries = "SELECT coalesce(sum(retries), 0) FROM multicenter.stat_links WHERE direction = 'in'";
	my $before = $lisbon->sql($retries);
	$oslo->stop($mode);
	$lisbon->wait_for_sql("SELECT state = 'disconnected' AND lag IS NOT NULL FROM multicenter.lag WHERE direction = 'in'");
	$lisbon->sql("INSERT INTO mark VALUES ('while oslo was away, $mode')");
	$lisbon->wait_for_sql("SELECT ($retries) >= $before + 5");
	is($lisbon->sql("SELECT count(*) FROM multicenter.stat_links WHERE direction = 'in' AND last_error IS NOT NULL"),
		'1', "$mode: the link says why it does not stream");
	$oslo->start;
	heals("oslo comes back after a stop, $mode", time);
	is($oslo->sql("SELECT count(*) FROM mark WHERE text = 'while oslo was away, $mode'"),
		'1', "$mode: what was written meanwhile has arrived");
}

wait_all_applied($lisbon, $oslo);
is($oslo->sql('SELECT count(*) - count(DISTINCT (client, n)) FROM tag'), '0', 'no tag was written twice at its origin');
is($lisbon->sql('SELECT count(*) - count(DISTINCT (client, n)) FROM tag'), '0', 'no tag was applied twice');
is($lisbon->sql('SELECT count(*) - count(DISTINCT text) FROM mark'), '0', 'no mark is at lisbon twice');
is($oslo->sql('SELECT count(*) - count(DISTINCT text) FROM mark'), '0', 'no mark is at oslo twice');
identical($lisbon, $oslo);

done_testing();
