# Goal: whoever is away, and however he went, is told as that within ten seconds
# with default settings, at both ends where there are two; lag is true.
#
# Method: a receiver is killed; a peer is stopped with SIGSTOP, cut off by a
# network that drops everything without a word (a proxy that forwards nothing),
# and killed; a peer is never reached at all.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Proxy;
use Multicenter::Truth;
use Test::More;
use Time::HiRes qw(time);

my $lisbon = new_center('lisbon', conf => truth_conf());
my $riga = new_center('riga', conf => truth_conf());
my $to_lisbon = Multicenter::Proxy->new($lisbon);
my $to_riga = Multicenter::Proxy->new($riga);
$lisbon->{dsn} = $to_lisbon->dsn;
$riga->{dsn} = $to_riga->dsn;
$lisbon->sql(q{
	CREATE TABLE tick (center text PRIMARY KEY, at timestamptz NOT NULL);
	CREATE TABLE item (id int PRIMARY KEY, v text)});
group_create($lisbon);
group_join($riga, $lisbon);
wait_ready($lisbon, $riga);
my $ticker = ticker_start($lisbon);
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'streaming');

# Lag of a link whose other end nobody can ask is the age of what came last.
sub grows
{
	my ($center, $peer, $direction, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($began, $first, @bad) = (time);
	poll("$name: lag to grow", sub {
			my $row = link_row($center, $peer, $direction);
			$first = $row->{lag} unless defined $first;
			push(@bad, "$row->{lag} after " . (time - $began)) if $row->{lag} eq '' || abs($row->{lag} - $first - (time - $began)) > 1.5;
			return (time - $began > 2 ? 1 : 0, $row->{lag});
		}, 20);
	return is("@bad", '', "$name: lag grows as time passes");
}

#
# The receiver is killed
#
my $connects = link_row($riga, $lisbon, 'in')->{stat_connects};
my $out_connects = link_row($lisbon, $riga, 'out')->{stat_connects};
my $pid = $riga->link_pid($lisbon);
signal_pid(TERM => $pid);
poll('another receiver', sub { my $now = $riga->link_pid($lisbon); return ($now && $now != $pid ? 1 : 0, $now) }, 5);
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'the receiver was killed, in', 5);
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'the receiver was killed, out', 5);
cmp_ok(link_row($riga, $lisbon, 'in')->{stat_connects}, '>', $connects, 'the new connection is counted, in');
cmp_ok(link_row($lisbon, $riga, 'out')->{stat_connects}, '>', $out_connects, 'the new connection is counted, out');
lag_is_true($lisbon, $riga, 'the receiver was killed');

# While it cannot be started again.
$to_lisbon->refuse;
shows($riga, $lisbon, 'in', 'disconnected', qr/could not connect to center "lisbon".*failed \d+ times/, 'connections are refused, in');
shows($lisbon, $riga, 'out', 'disconnected', qr/riga" is alive, but is not connected/, 'connections are refused, out');
poll('the lag to be more than three seconds', sub { my $lag = measured_lag($lisbon, $riga); return ($lag > 3, $lag) });
lag_is_true($lisbon, $riga, 'connections are refused');
$to_lisbon->pass;
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'they are served again', 5);
lag_is_true($lisbon, $riga, 'they are served again');

#
# The network drops everything, in both directions
#
my $applied = $riga->sql(q{SELECT extract(epoch FROM at) FROM tick});
my $began = time;
$_->black_hole foreach $to_lisbon, $to_riga;
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'in' ], [ $riga, $lisbon, 'out' ], [ $lisbon, $riga, 'out' ])
{
	my ($center, $peer, $direction) = @$end;
	shows($center, $peer, $direction, 'stalled|disconnected',
		qr/no message from center "$peer->{name}"|could not|lost the connection|$peer->{name}" is (?:not )?connected.*(?:sends nothing|no message|$)/,
		"black hole, $direction at $center->{name}", 10);
}
cmp_ok(time - $began, '<', 10, 'detected within ten seconds, at both ends and in both directions');
lag_is_true($lisbon, $riga, 'black hole');
both_say('black hole', $lisbon, $riga);
check_is($_->[0], 'center_availability', $_->[1], 'warning|critical', 'black hole') foreach [ $riga, 'lisbon' ], [ $lisbon, 'riga' ];
grows($riga, $lisbon, 'in', 'black hole, in');
grows($lisbon, $riga, 'out', 'black hole, out');
poll('the receiver to give the connection up', sub {
		my $row = link_row($riga, $lisbon, 'in');
		return ($row->{state} eq 'disconnected' ? 1 : 0, "$row->{state}: $row->{stall_reason}");
	}, 30);
lag_is_true($lisbon, $riga, 'black hole, later');
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'out' ])
{
	my $row = link_row(@$end);
	isnt($row->{status}, 'ok', "black hole, $end->[2]: not ok");
	isnt($row->{stall_reason}, '', "black hole, $end->[2]: with a reason");
}
$_->pass foreach $to_lisbon, $to_riga;
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'the network is back, in', 15);
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'the network is back, out', 15);
lag_is_true($lisbon, $riga, 'the network is back');
check_is($_->[0], 'center_availability', $_->[1], 'ok', 'the network is back') foreach [ $riga, 'lisbon' ], [ $lisbon, 'riga' ];

#
# The peer is stopped: its system acknowledges, but nobody is there
#
my $postmaster = $riga->node->{_pid};
my @processes = ($postmaster, grep { (Multicenter::Cluster::process_state($_))[1] eq $postmaster } map { m{(\d+)$} } glob('/proc/[0-9]*'));
$began = time;
kill('STOP', @processes);
shows($lisbon, $riga, 'in', 'stalled|disconnected', qr/no message from center "riga"|could not connect to center "riga"/, 'a peer is stopped, in', 10);
shows($lisbon, $riga, 'out', 'stalled|disconnected', qr/riga" is (?:not )?connected/, 'a peer is stopped, out', 10);
cmp_ok(time - $began, '<', 10, 'detected within ten seconds');
grows($lisbon, $riga, 'in', 'a peer is stopped, in');
grows($lisbon, $riga, 'out', 'a peer is stopped, out');
check_is($lisbon, 'center_availability', 'riga', 'warning', 'a peer is stopped');
is($lisbon->sql(q{SELECT multicenter.health()->'serving'}), 'true', 'the center that is there serves');
is($lisbon->sql('SELECT string_agg(center_name, \' \' ORDER BY center_name) FROM multicenter.centers'), 'lisbon riga', 'centers lists it');
kill('CONT', @processes);
shows($lisbon, $riga, 'in', 'streaming|idle', qr/^$/, 'it goes on, in', 20);
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'it goes on, out', 20);
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'and says so itself', 20);
lag_is_true($lisbon, $riga, 'it goes on');

#
# The peer is dead
#
$began = time;
$riga->kill9;
shows($lisbon, $riga, 'in', 'disconnected', qr/could not connect to center "riga"|lost the connection to center "riga"/, 'a peer is dead, in', 10);
shows($lisbon, $riga, 'out', 'disconnected', qr/riga" is not connected/, 'a peer is dead, out', 10);
cmp_ok(time - $began, '<', 10, 'detected within ten seconds');
grows($lisbon, $riga, 'in', 'a peer is dead, in');
grows($lisbon, $riga, 'out', 'a peer is dead, out');
my $lag = link_row($lisbon, $riga, 'in')->{lag};
is($lisbon->sql('SELECT count(*) FROM multicenter.lag'), 2, 'a dead peer stays listed');
check_is($lisbon, 'center_availability', 'riga', 'warning', 'a peer is dead');
is($lisbon->sql('SELECT string_agg(center_name || state, \' \' ORDER BY center_name) FROM multicenter.centers'), 'lisbonready rigaready', 'and in centers');

# And after a restart of the one that lives, by a kill and in order.
foreach my $how ('fast', 'immediate')
{
	ticker_stop($ticker) if $how eq 'fast';
	$lisbon->restart if $how eq 'fast';
	if ($how eq 'immediate') { $lisbon->stop('immediate'); $lisbon->start }
	foreach my $direction ('in', 'out')
	{
		my $row = link_row($lisbon, $riga, $direction);
		cmp_ok($row->{lag}, '>', $lag, "$how restart, $direction: lag goes on");
		is($row->{state}, 'disconnected', "$how restart, $direction: disconnected");
		isnt($row->{stall_reason}, '', "$how restart, $direction: with a reason");
	}
}
$riga->start;
shows($lisbon, $riga, 'in', 'streaming|idle', qr/^$/, 'it is back, in');
shows($lisbon, $riga, 'out', 'streaming|idle', qr/^$/, 'it is back, out');
$ticker = ticker_start($lisbon);
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'it is back, and says so');
lag_is_true($lisbon, $riga, 'it is back');
ticker_stop($ticker);

#
# A peer that this center never reached: oslo joins, and each of the two has a
# connection string for the other that leads nowhere.
#
my $oslo = new_center('oslo', conf => truth_conf());
my $nowhere = Multicenter::Cluster::quote('host=127.0.0.1 port=' . free_port() . ' dbname=postgres');
$riga->sql("INSERT INTO multicenter.link (peer_id, dsn) VALUES (3, $nowhere)");
$oslo->sql("INSERT INTO multicenter.link (peer_id, dsn) VALUES (2, $nowhere)");
$oslo->sql($oslo->group_join_sql($lisbon, wait => 'false'));
my $row = shows($riga, $oslo, 'in', 'never_connected', qr/could not connect to center "oslo"/, "never reached, in", 15);
is($row->{lag}, '', "never reached, in: lag is not known");
is($row->{lag_basis}, 'unknown', "never reached, in: and that is said");
is($row->{status}, 'unknown', "never reached, in: status unknown");
$row = shows($riga, $oslo, 'out', 'never_connected', qr/oslo" has not connected yet/, "never reached, out", 15);
grows($riga, $oslo, 'out', 'never reached, out: since its slot was made');
foreach my $direction ('in', 'out')
{
	$row = link_row($riga, $oslo, $direction);
	is($row->{round_trip} . $row->{clock_offset}, '', "never reached, $direction: no way was measured, nor a clock");
	is($row->{stat_xacts}, 0, "never reached, $direction: nothing was carried");
}
is($riga->sql('SELECT count(*) FROM multicenter.lag'), 4, 'it is listed all the same');
check_is($riga, 'center_availability', 'oslo', 'warning|critical', 'never reached');
check_is($riga, 'sync_lag', 'oslo in', 'unknown', 'never reached');
like($riga->sql(q{SELECT state FROM multicenter.centers WHERE center_name = 'oslo'}), qr/catching_up/, 'and in centers, as not ready');

done_testing();
