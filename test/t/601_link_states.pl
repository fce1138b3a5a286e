# Goal: the states of a healthy link, and of one whose apply is slow or blocked,
# are told as they are at both ends, with the cause; lag is true, the time to
# catch up too.
#
# Method: one center writes the time into a table ten times a second; what has
# arrived at the other one is the truth that lag is compared with.  Default
# settings.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Truth;
use Test::More;
use Time::HiRes qw(time);

my ($lisbon, $riga) = truth_group(qw(lisbon riga));

#
# Streaming
#
my $ticker = ticker_start($lisbon);
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'streaming, in');
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'streaming, out');
lag_is_true($lisbon, $riga, 'streaming');
both_say('streaming', $lisbon, $riga);
check_is($riga, 'sync_lag', 'lisbon in', 'ok', 'streaming');
check_is($lisbon, 'sync_lag', 'riga out', 'ok', 'streaming');
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'out' ])
{
	my $what = "streaming, $end->[2]";
	$end->[0]->wait_for_sql(q{SELECT bool_and(round_trip IS NOT NULL AND apply_rate_bytes IS NOT NULL) FROM multicenter.lag});
	my $row = link_row(@$end);
	cmp_ok($row->{lag}, '<', 1, "$what: small lag");
	is($row->{status}, 'ok', "$what: ok");
	cmp_ok($row->{round_trip}, '>', 0, "$what: the way takes time");
	cmp_ok($row->{round_trip}, '<', 0.5, "$what: not much of it");
	cmp_ok(abs($row->{clock_offset}), '<=', 0.1, "$what: one machine has one clock");
	cmp_ok(abs($row->{clock_offset}), '<=', $row->{clock_error} + 0.001, "$what: within the bound that is given");
	is($row->{catchup_interval} + 0, 0, "$what: nothing to catch up");
	isnt($row->{$_}, '', "$what: $_ is known")
	  foreach qw(replay_lag_bytes sent_lag_bytes flush_lag_bytes origin_lsn sent_lsn received_lsn flush_lsn replay_lsn last_message_at state_since);
}
poll('rates to be those of the load', sub {
		my $in = link_row($riga, $lisbon, 'in');
		my $out = link_row($lisbon, $riga, 'out');
		return ($in->{apply_rate_xacts} > 5 && $in->{apply_rate_xacts} < 13
			  && $out->{apply_rate_xacts} > 5 && $out->{apply_rate_xacts} < 13
			  && $in->{apply_rate_bytes} > 0 && $out->{apply_rate_bytes} > 0,
			"in $in->{apply_rate_xacts}, out $out->{apply_rate_xacts}");
	}, 15);
pass('about ten transactions a second are counted as such at both ends');

#
# A lock
#
my $session = $riga->background_psql();
my $blocker = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe('BEGIN; LOCK TABLE item IN SHARE MODE');
$lisbon->sql(q{INSERT INTO item VALUES (1, 'one')});
my $since = time;
my $row = shows($riga, $lisbon, 'in', 'stalled', qr/waits for a lock.*lisbon.*blocked by process $blocker\b/, 'a lock of a table, in');
like($row->{stall_reason}, qr{at [0-9A-F]+/[0-9A-F]+ of center}, 'with the position');
shows($lisbon, $riga, 'out', 'stalled', qr{riga" is alive.*nothing beyond [0-9A-F]+/[0-9A-F]+.*waits for a lock}, 'a lock of a table, out');
lag_is_true($lisbon, $riga, 'a lock of a table');
poll('the lag to be more than four seconds', sub { my $lag = measured_lag($lisbon, $riga); return ($lag > 4, $lag) });
lag_is_true($lisbon, $riga, 'a lock of a table, later');
both_say('a lock', $lisbon, $riga);
$_->sql(q{SELECT multicenter.threshold_set('sync_lag', '3 s', '1 min')}) foreach $lisbon, $riga;
check_is($riga, 'sync_lag', 'lisbon in', 'warning', 'a lock');
check_is($lisbon, 'sync_lag', 'riga out', 'warning', 'a lock');
check_is($lisbon, 'center_availability', 'riga', 'ok', 'a lock');
$_->sql(q{SELECT multicenter.threshold_set('sync_lag', NULL, NULL)}) foreach $lisbon, $riga;
is(link_row($lisbon, $riga, 'in')->{state} =~ /^(?:streaming|idle)$/ ? 'well' : 'not', 'well', 'the other direction is well');
$session->query_safe('COMMIT');
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'the lock is gone, in');
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'the lock is gone, out');
lag_is_true($lisbon, $riga, 'the lock is gone');

# Of a row.
$session->query_safe('BEGIN; SELECT * FROM item FOR UPDATE');
$lisbon->sql(q{UPDATE item SET v = 'two'});
shows($riga, $lisbon, 'in', 'stalled', qr/blocked by process $blocker\b/, 'a lock of a row, in');
$session->query_safe('COMMIT');
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'it is gone');

#
# Catching up, for long enough to judge the estimate: rows are work at riga
#
$riga->sql(q{
	CREATE FUNCTION labour() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1 .. 10000 LOOP END LOOP; RETURN NULL; END $$;
	CREATE TRIGGER labour AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION labour();
	ALTER TABLE item ENABLE REPLICA TRIGGER labour});
$session->query_safe('BEGIN; LOCK TABLE item IN SHARE MODE');
my $load = start_load($lisbon, q{
\set id random(1, 2000000000)
INSERT INTO item VALUES (:id, repeat('x', 100)) ON CONFLICT DO NOTHING;
}, clients => 2);
poll('much to be held back', sub {
		my $bytes = $lisbon->sql(q{SELECT replay_lag_bytes FROM multicenter.lag WHERE direction = 'out'});
		return ($bytes > 60_000_000, $bytes);
	}, 60);
finish_load($load);
lag_is_true($lisbon, $riga, 'much is held back');
$session->query_safe('COMMIT');
$session->quit;
my $began = time;
my (@seen, %states, @lies);
poll('the drain to end', sub {
		my $age_before = measured_lag($lisbon, $riga);
		my $in = link_row($riga, $lisbon, 'in');
		my $out = link_row($lisbon, $riga, 'out');
		my $age = measured_lag($lisbon, $riga);
		my ($least, $greatest) = sort { $a <=> $b } $age_before, $age;
		$states{in}{ $in->{state} } = $states{out}{ $out->{state} } = 1;
		push(@seen, { at => time - $began, in => $in->{catchup_interval}, out => $out->{catchup_interval} });
		foreach ([ in => $in ], [ out => $out ])
		{
			push(@lies, "$_->[0] $_->[1]{lag}, measured $age_before to $age")
			  if $_->[1]{lag} eq '' || $_->[1]{lag} < $least - 2 || $_->[1]{lag} > $greatest + 2;
		}
		return ($age < 1, "lag $age");
	}, 120);
my $end = time - $began;
diag(sprintf('the drain took %.1f s; estimates: %s', $end, join(' ', map { sprintf('%.1f:%s/%s', $_->{at}, $_->{in}, $_->{out}) } @seen)));
is(join(', ', @lies), '', 'lag is true while the link catches up');
ok($states{in}{catching_up}, 'the receiving end says that it catches up');
ok($states{out}{catching_up}, 'so does the sending end');
foreach my $direction ('in', 'out')
{
	# Five seconds into it, and as long as there is something left to measure.
	my @judged = grep { $_->{at} > 5 && $_->{at} < $end - 2 } @seen;
	my @wrong = grep { $_->{$direction} eq '' || $_->{$direction} > 2 * ($end - $_->{at}) + 1 || $_->{$direction} < ($end - $_->{at}) / 2 - 1 } @judged;
	cmp_ok(scalar(@judged), '>', 10, "$direction: there is time to judge that");
	cmp_ok(scalar(@wrong), '<=', @judged / 5, "$direction: the time to catch up is within a factor of two");
}
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'caught up, in');
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'caught up, out');

#
# Idle
#
ticker_stop($ticker);
wait_all_applied($lisbon, $riga);
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'out' ])
{
	my $row = shows(@$end, 'idle', qr/^$/, "idle, $end->[2]", 20);
	cmp_ok($row->{lag}, '>', 0, 'lag is not zero');
	cmp_ok($row->{lag}, '<', 2, 'and does not grow while nothing happens');
	is($row->{status}, 'ok', 'ok');
	is($row->{catchup_interval} + 0, 0, 'nothing to catch up');
}
my $at = $riga->sql(q{SELECT replay_lsn FROM multicenter.lag WHERE direction = 'in'});
$riga->wait_for_sql(qq{SELECT replay_lsn > '$at' AND lag < '2 s' FROM multicenter.lag WHERE direction = 'in'});
pass('an idle link moves on');
both_say('idle', $lisbon, $riga);
is($_->sql(q{SELECT multicenter.health()->'serving'}), 'true', "idle: $_->{name} serves") foreach $lisbon, $riga;

#
# What the last minutes were like
#
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'out' ])
{
	my ($center, $peer, $direction) = @$end;

	# The last of them was seen between two samples, perhaps.
	$center->wait_for_sql(qq{SELECT count(*) > 0 FROM multicenter.lag_history WHERE direction = '$direction' AND state = 'idle'});
	is($center->sql(qq{SELECT string_agg(DISTINCT state, ',' ORDER BY state) FROM multicenter.lag_history WHERE direction = '$direction'
		AND state IN ('streaming', 'stalled', 'catching_up', 'idle')}), 'catching_up,idle,stalled,streaming',
		"$direction: the history knows the states that were");
	is($center->sql(qq{SELECT count(*) FILTER (WHERE gap NOT BETWEEN '0.2 s' AND '2.5 s') <= 2, count(*) > 20, max(lag) > '4 s'
		FROM (SELECT ts - lag(ts) OVER (ORDER BY ts) AS gap, lag FROM multicenter.lag_history WHERE direction = '$direction') h}),
		't|t|t', "$direction: one sample a second, and how great lag was");
}

#
# What it costs to look
#
my $ms = $lisbon->sql(q{
	CREATE FUNCTION pg_temp.cost() RETURNS float LANGUAGE plpgsql AS $$
	DECLARE t timestamptz; best float := 1000;
	BEGIN
		FOR i IN 1 .. 30 LOOP
			t := clock_timestamp();
			PERFORM * FROM multicenter.lag; PERFORM * FROM multicenter.stat_links;
			best := least(best, extract(epoch FROM clock_timestamp() - t) * 1000);
		END LOOP;
		RETURN best;
	END $$;
	SELECT pg_temp.cost()});
diag("lag and stat_links take $ms ms");
cmp_ok($ms, '<', 10, 'looking is cheap');

done_testing();
