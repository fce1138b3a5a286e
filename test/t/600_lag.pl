# Goal: the lag view tells the truth about every known peer, most of all about
# one that is not there: listed in both directions, disconnected, growing,
# never zero and never missing.
#
# Method: two centers; one is stopped, the other restarted meanwhile, links are
# paused.  While a peer is away the view is sampled until lag has grown by
# seconds, and every sample must be sane.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $riga) = make_group([qw(lisbon riga)], setup => q{
	CREATE TABLE item (id serial PRIMARY KEY, v text);
	INSERT INTO item (v) SELECT 'x' FROM generate_series(1, 10);
});

# A row of the view as a hash; lag in seconds.
sub lag
{
	my ($center, $direction) = @_;
	my @columns = qw(peer state lag lag_basis status stall_reason replay_lsn replay_lag_bytes retained_wal_bytes state_since);
	my @values = split /\|/, $center->sql(
		"SELECT peer, state, extract(epoch FROM lag)::numeric, lag_basis, status, stall_reason, replay_lsn,
			replay_lag_bytes, retained_wal_bytes, state_since FROM multicenter.lag WHERE direction = '$direction'"), -1;
	my %lag;
	@lag{@columns} = @values;
	return \%lag;
}

# Sample a direction until its lag has grown by some seconds.  Every sample
# must show the peer, a state that is expected, and a lag that is there, is not
# zero and does not shrink.
sub grows
{
	my ($center, $direction, $states, $seconds, $name) = @_;
	my ($first, $last, @bad);

	poll("$name: lag to grow", sub {
			my $lag = lag($center, $direction);
			push @bad, join(' ', map { "$_=" . ($lag->{$_} // 'null') } sort keys %$lag)
			  if ($lag->{peer} // '') eq ''
			  || $lag->{state} !~ /^(?:$states)$/
			  || $lag->{lag} eq ''
			  || $lag->{lag} <= 0
			  || (defined $last && $lag->{lag} < $last);
			$first = $lag->{lag} unless defined $first;
			$last = $lag->{lag};
			return (@bad || $last - $first >= $seconds, "lag $last");
		}, 30, $center);
	is("@bad", '', "$name: each sample is sane, lag grows");
	return $last;
}

#
# Streaming
#
foreach my $center ($lisbon, $riga)
{
	foreach my $direction (qw(in out))
	{
		$center->wait_for_sql(
			"SELECT state = 'streaming' AND lag < '3 s' AND lag >= '0' AND status = 'ok' AND lag_basis <> 'unknown'
				AND stall_reason IS NULL AND replay_lsn IS NOT NULL AND replay_lag_bytes >= 0
			 FROM multicenter.lag WHERE direction = '$direction'");
		pass("$center->{name}, $direction: small lag");
	}
}
is($lisbon->sql('SELECT count(*) FROM multicenter.lag'), 2, 'one row per peer and direction');

# Idle is not lag: heartbeats carry the position on without a commit.
my $position = $riga->sql(q{SELECT replay_lsn FROM multicenter.lag WHERE direction = 'in'});
$riga->wait_for_sql(qq{SELECT replay_lsn > '$position' AND lag < '3 s' FROM multicenter.lag WHERE direction = 'in'});
pass('an idle link moves on');

# A commit is seen by position.
$lisbon->sql(q{INSERT INTO item (v) VALUES ('y')});
wait_applied($lisbon, $riga);
is($riga->sql(q{SELECT last_commit_at > now() - interval '1 min' FROM multicenter.lag WHERE direction = 'in'}), 't',
	'the last commit is dated');

#
# Who may look
#
$lisbon->sql('CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE nobody LOGIN');
foreach my $view (qw(lag centers stat_links workers tables conflict_summary))
{
	cmp_ok($lisbon->sql("SET ROLE watcher; SELECT count(*) FROM multicenter.$view"), '>=',
		$view eq 'conflict_summary' ? 0 : 1, "a member of pg_monitor reads $view");
	$lisbon->fails("SET ROLE nobody; SELECT count(*) FROM multicenter.$view", '42501', qr/permission denied/, undef,
		"others do not read $view");
}
is( $lisbon->sql(q{SET ROLE watcher; SELECT direction, state, lag IS NOT NULL, replay_lsn IS NOT NULL, replay_lag_bytes IS NOT NULL
		FROM multicenter.lag ORDER BY 1}),
	"in|streaming|t|t|t\nout|streaming|t|t|t",
	'a monitor sees all columns that a superuser sees');
$lisbon->fails("SET ROLE watcher; SELECT * FROM multicenter.$_", '42501', qr/permission denied/, undef,
	"a member of pg_monitor does not read $_") foreach qw(conflict_history link identity center);
is($lisbon->sql("SET ROLE watcher; SELECT count(*) FROM multicenter.conflicts"), 0, "nor any conflict");

#
# A peer that is stopped
#
my $applied = $lisbon->sql(q{SELECT replay_lsn FROM multicenter.lag WHERE direction = 'in'});
$riga->stop('fast');
$lisbon->wait_for_sql(q{SELECT string_agg(state, ',') FROM multicenter.lag}, 'disconnected,disconnected');
pass('a stopped peer is disconnected in both directions');
my $in = grows($lisbon, 'in', 'disconnected', 2, 'stopped peer, in');
my $out = grows($lisbon, 'out', 'disconnected', 2, 'stopped peer, out');
my $lag = lag($lisbon, 'in');
cmp_ok($lisbon->sql("SELECT '$lag->{replay_lsn}'::pg_lsn >= '$applied'"), 'eq', 't', 'the position of a dead peer stays');
isnt($lag->{stall_reason}, '', 'a reason is given, in');
isnt(lag($lisbon, 'out')->{stall_reason}, '', 'a reason is given, out');
isnt($lag->{status}, 'ok', 'a dead peer is not ok, in');
isnt(lag($lisbon, 'out')->{status}, 'ok', 'a dead peer is not ok, out');
my $behind = lag($lisbon, 'out')->{replay_lag_bytes};
$lisbon->sql(q{INSERT INTO item (v) SELECT repeat('z', 1000) FROM generate_series(1, 1000)});
cmp_ok(lag($lisbon, 'out')->{replay_lag_bytes}, '>', $behind + 500_000, 'what a dead peer misses is counted in bytes');
cmp_ok(lag($lisbon, 'out')->{retained_wal_bytes}, '>', 500_000, 'and the WAL that is kept for it');
is(lag($lisbon, 'in')->{replay_lsn}, $lag->{replay_lsn}, 'its position does not move');
my $errors = $lisbon->sql(q{SELECT last_error FROM multicenter.stat_links WHERE direction = 'in'});
isnt($errors, '', 'the failure to connect is in last_error');
cmp_ok($lisbon->sql(q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in'}), '>', 0, 'attempts are counted');

# The same after our own restart, with the peer still away.
$lisbon->restart;
my $again = lag($lisbon, 'in');
is($again->{peer}, 'riga', 'after a restart a dead peer is still listed');
cmp_ok(grows($lisbon, 'in', 'disconnected|never_connected', 1, 'after a restart, in'), '>', $in,
	'after a restart lag goes on from where it was, in');
cmp_ok(grows($lisbon, 'out', 'disconnected|never_connected', 1, 'after a restart, out'), '>', $out,
	'after a restart lag goes on from where it was, out');
is($lisbon->sql(q{SELECT count(*) FROM multicenter.lag WHERE state = 'disconnected'}), 2,
	'after a restart a dead peer is disconnected, not unknown');

# A crash of ours is no different.
$lisbon->kill9;
$lisbon->start;
cmp_ok(lag($lisbon, 'in')->{lag}, '>', $in, 'after a crash lag is still there');
$lisbon->sql(q{INSERT INTO item (v) VALUES ('while away')});

$riga->start;
wait_streaming($lisbon, $riga);
wait_all_applied($lisbon, $riga);
foreach my $center ($lisbon, $riga)
{
	foreach my $direction (qw(in out))
	{
		$center->wait_for_sql(
			"SELECT state = 'streaming' AND lag < '3 s' AND status = 'ok' FROM multicenter.lag WHERE direction = '$direction'");
		pass("$center->{name}, $direction: small lag again");
	}
}
identical($lisbon, $riga, 'item');

#
# Paused links
#
$lisbon->sql(q{SELECT multicenter.link_pause(peer => 'riga')});
$lisbon->wait_for_sql(q{SELECT state FROM multicenter.lag WHERE direction = 'in'}, 'paused');
my $before = $lisbon->sql('SELECT count(*) FROM item');
$riga->sql(q{INSERT INTO item VALUES (100001, 'paused')});
grows($lisbon, 'in', 'paused', 2, 'paused in');
is($lisbon->sql(q{SELECT count(*) FROM item}), $before, 'nothing is applied while the link is paused');
is(lag($lisbon, 'out')->{state}, 'streaming', 'the other direction goes on');
like(lag($lisbon, 'in')->{stall_reason}, qr/paused/, 'the reason is the pause');
isnt(lag($riga, 'out')->{state}, 'streaming', 'the peer sees that nobody fetches');
grows($riga, 'out', '(?!streaming)\w+', 1, 'the other end of a paused link');

# A pause outlives a restart.
$lisbon->restart;
$lisbon->wait_for_sql(q{SELECT state FROM multicenter.lag WHERE direction = 'in'}, 'paused');
wait_applied($lisbon, $riga);
is($lisbon->sql(q{SELECT count(*) FROM item}), $before, 'a pause outlives a restart');
$lisbon->sql(q{SELECT multicenter.link_resume(peer => 'riga')});
wait_streaming($lisbon, $riga);
wait_applied($riga, $lisbon);
is($lisbon->sql(q{SELECT count(*) FROM item}), $before + 1, 'a resumed link catches up');

# The sending side can pause as well.
$lisbon->sql(q{SELECT multicenter.link_pause(peer => 'riga', direction => 'out')});
$lisbon->wait_for_sql(q{SELECT state FROM multicenter.lag WHERE direction = 'out'}, 'paused');
$lisbon->sql(q{INSERT INTO item VALUES (100002, 'paused out')});
grows($lisbon, 'out', 'paused', 2, 'paused out');
is($riga->sql('SELECT count(*) FROM item WHERE id = 100002'), 0, 'nothing is sent while the link is paused');
isnt(lag($riga, 'in')->{state}, 'streaming', 'the receiving side knows');
$lisbon->sql(q{SELECT multicenter.link_resume(peer => 'riga', direction => 'out')});
wait_streaming($lisbon, $riga);
wait_applied($lisbon, $riga);
identical($lisbon, $riga, 'item');

# Pausing what is unknown is an error.
$lisbon->fails(q{SELECT multicenter.link_pause(peer => 'atlantis')}, '42704', qr/atlantis/, undef, 'an unknown peer');
$lisbon->fails(q{SELECT multicenter.link_pause(peer => 'riga', direction => 'up')}, '22023', qr/up/, qr/in.*out/s,
	'an unknown direction');

#
# A stalled link
#
my $session = $riga->background_psql();
$session->query_safe('BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE');
$lisbon->sql(q{INSERT INTO item (v) VALUES ('locked out')});
$riga->wait_for_sql(q{SELECT state = 'stalled' AND stall_reason IS NOT NULL FROM multicenter.lag WHERE direction = 'in'});
grows($riga, 'in', 'stalled', 1, 'stalled link');
# The other end of a stalled link cannot look well either.
$lisbon->wait_for_sql(q{SELECT lag > '3 s' FROM multicenter.lag WHERE direction = 'out'});
pass('the sender of a stalled link sees its lag');
$session->query_safe('COMMIT');
$session->quit;
wait_applied($lisbon, $riga);
wait_streaming($lisbon, $riga);
identical($lisbon, $riga, 'item');

done_testing();
