# Goal: whatever keeps changes from being applied is named at both ends, with
# the error, the position and the table; lag is true meanwhile.
#
# Method: each trouble is brought about for real: a transaction that cannot be
# applied, with and without quarantine; a peer whose clock is two hours ahead; a
# policy that has not arrived; pauses; a slot that is gone or invalid.
use strict;
use warnings;

use Multicenter::Clock;
use Multicenter::Cluster;
use Multicenter::Truth;
use Test::More;

my ($lisbon, $riga, $oslo) = truth_group(qw(lisbon riga oslo));
my $ticker = ticker_start($lisbon);

#
# An error that repeats
#
$riga->append_conf("multicenter.on_apply_error = stop");
$riga->reload;
$riga->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (id < 1000)');
$lisbon->sql(q{INSERT INTO item VALUES (1000, 'too great')});
my $row = shows($riga, $lisbon, 'in', 'stalled', qr/violates check constraint "small".*table public\.item.*failed \d+ times/,
	'an error that repeats, in');
like($row->{stall_reason}, qr{transaction at [0-9A-F]+/[0-9A-F]+ of center "lisbon"}, 'with the position');
is($row->{stat_last_error_sqlstate}, '23514', 'its code');
is($row->{stat_last_error_relation}, 'public.item', 'its table');
isnt($row->{stat_last_error_lsn}, '', 'its position');
cmp_ok($row->{stat_retries}, '>', 1, 'attempts are counted');
shows($lisbon, $riga, 'out', 'stalled|disconnected', qr/riga" is (?:alive|connected)|nothing beyond/, 'an error that repeats, out');
poll('the lag to be more than three seconds', sub { my $lag = measured_lag($lisbon, $riga); return ($lag > 3, $lag) });
lag_is_true($lisbon, $riga, 'an error that repeats');
isnt(link_row($riga, $lisbon, 'in')->{status}, 'ok', 'not ok');
both_say('an error that repeats', $lisbon, $riga, $oslo);
check_is($riga, 'error_rate', 'lisbon', 'warning|critical', 'an error that repeats');
check_is($riga, 'center_availability', 'lisbon', 'ok', 'an error that repeats');
is(link_row($oslo, $lisbon, 'in')->{state}, 'streaming', 'another peer is well');
my $retries = $row->{stat_retries};

#
# Quarantine
#
$riga->append_conf("multicenter.on_apply_error = quarantine");
$riga->reload;
$row = shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'with quarantine the link goes on, in', 20);
cmp_ok($row->{stat_quarantined}, '>=', 1, 'the change is counted');
cmp_ok($row->{stat_retries}, '>=', $retries, 'so were the attempts');
is($riga->sql('SELECT count(*) FROM multicenter.quarantine'), 1, 'and it is in quarantine');
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'with quarantine the link goes on, out');
lag_is_true($lisbon, $riga, 'with quarantine');
check_is($riga, 'quarantine', '', 'warning', 'with quarantine');
check_is($lisbon, 'quarantine', '', 'ok', 'with quarantine, at the origin');
$riga->sql('ALTER TABLE item DROP CONSTRAINT small; SELECT multicenter.quarantine_retry()');
$riga->wait_for_sql('SELECT count(*) = 0 FROM multicenter.quarantine');

#
# Pauses
#
$riga->sql(q{SELECT multicenter.link_pause(peer => 'lisbon')});
shows($riga, $lisbon, 'in', 'paused', qr/paused by link_pause/, 'paused in, in');
shows($lisbon, $riga, 'out', 'disconnected', qr/riga" is alive, but is not connected.*paused there/, 'paused in, out');
poll('the lag to be more than three seconds', sub { my $lag = measured_lag($lisbon, $riga); return ($lag > 3, $lag) });
lag_is_true($lisbon, $riga, 'paused in');
check_is($_->[0], 'center_availability', $_->[1], 'ok|unknown', 'paused in') foreach [ $riga, 'lisbon' ], [ $lisbon, 'riga' ];
$riga->sql(q{SELECT multicenter.link_resume(peer => 'lisbon')});
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'resumed, in');
lag_is_true($lisbon, $riga, 'resumed');

$lisbon->sql(q{SELECT multicenter.link_pause(peer => 'riga', direction => 'out')});
shows($lisbon, $riga, 'out', 'paused', qr/paused by link_pause/, 'paused out, out');
shows($riga, $lisbon, 'in', 'stalled', qr/link to center "riga" is paused at the origin/, 'paused out, in');
poll('the lag to be more than three seconds', sub { my $lag = measured_lag($lisbon, $riga); return ($lag > 3, $lag) });
lag_is_true($lisbon, $riga, 'paused out');
$lisbon->wait_for_sql(q{SELECT state FROM multicenter.lag_history WHERE peer = 'riga' AND direction = 'out' ORDER BY ts DESC LIMIT 1}, 'paused');
$lisbon->sql(q{SELECT multicenter.link_resume(peer => 'riga', direction => 'out')});
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'resumed, in');
shows($lisbon, $riga, 'out', 'streaming', qr/^$/, 'resumed, out');

#
# A policy that has not arrived: oslo sets one, and riga does not hear oslo
#
$riga->sql(q{SELECT multicenter.link_pause(peer => 'oslo')});
$oslo->sql(q{SELECT multicenter.conflict_policy_set('item', 'update_origin_differs', 'first_update_wins')});
$row = shows($riga, $lisbon, 'in', 'stalled', qr/^(?:causes: |policy_epoch$)|waiting for (?:conflict policies|changes of center "oslo")/, 'a policy that has not arrived, in', 20);
like($row->{stall_reason}, qr/^policy_epoch$|conflict policies|of center "oslo"/, 'it says what is missing');
shows($lisbon, $riga, 'out', 'stalled|disconnected', qr/riga" is alive|confirmed nothing/, 'a policy that has not arrived, out');
poll('the lag to be more than three seconds', sub { my $lag = measured_lag($lisbon, $riga); return ($lag > 3, $lag) });
lag_is_true($lisbon, $riga, 'a policy that has not arrived');
both_say('a policy that has not arrived', $lisbon, $riga, $oslo);
$riga->sql(q{SELECT multicenter.link_resume(peer => 'oslo')});
shows($riga, $lisbon, 'in', 'streaming', qr/^$/, 'the policy has arrived, in', 20);
lag_is_true($lisbon, $riga, 'the policy has arrived');
ticker_stop($ticker);
wait_all_applied($lisbon, $riga, $oslo);

#
# A slot that is gone, and one whose WAL is gone
#
sub lose_slot
{
	my ($how, $name) = @_;
	$riga->sql(q{SELECT multicenter.link_pause(peer => 'lisbon')});
	$lisbon->wait_for_sql(sprintf(q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = '%s'}, $name));
	$how->();
	$riga->sql(q{SELECT multicenter.link_resume(peer => 'lisbon')});
	return;
}
my $slot = $lisbon->slot_name($riga);
lose_slot(sub {
		$lisbon->append_conf("max_slot_wal_keep_size = '1MB'\nmax_wal_size = '32MB'");
		$lisbon->reload;
		$lisbon->sql(q{CREATE TABLE filler AS SELECT repeat('x', 1000) AS v FROM generate_series(1, 1000)});
		poll('the slot to be lost', sub {
				$lisbon->sql(q{INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 5000)});
				$lisbon->sql('SELECT pg_switch_wal()');
				$lisbon->sql('CHECKPOINT');
				my $status = $lisbon->sql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '$slot'");
				return ($status eq 'lost', $status);
			}, 60);
	}, $slot);
shows($riga, $lisbon, 'in', 'stalled', qr/lisbon" has removed WAL that this center still needs/, 'WAL is gone, in');
shows($lisbon, $riga, 'out', 'disconnected', qr/slot "$slot" is lost.*riga.*join it again/, 'WAL is gone, out');
check_is($lisbon, 'slot_wal_status', 'riga', 'critical', 'WAL is gone');
check_is($riga, 'error_rate', 'lisbon', 'warning|critical', 'WAL is gone');
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'out' ])
{
	my $before = link_row(@$end)->{lag};
	cmp_ok($before, '>', 0, "$end->[2]: lag is there");
	poll("$end->[2]: lag to grow", sub { my $lag = link_row(@$end)->{lag}; return ($lag > $before + 1, $lag) });
	isnt(link_row(@$end)->{status}, 'ok', "$end->[2]: not ok");
}
$lisbon->sql("SELECT pg_drop_replication_slot('$slot')");
shows($riga, $lisbon, 'in', 'stalled', qr/lisbon" has no replication slot "$slot"/, 'the slot is gone, in');
shows($lisbon, $riga, 'out', 'disconnected', qr/no replication slot for center "riga".*join it again/, 'the slot is gone, out');
foreach my $end ([ $riga, $lisbon, 'in' ], [ $lisbon, $riga, 'out' ])
{
	my $before = link_row(@$end)->{lag};
	cmp_ok($before, '>', 0, "$end->[2]: lag is there");
	poll("$end->[2]: lag to grow", sub { my $lag = link_row(@$end)->{lag}; return ($lag > $before + 1, $lag) });
}
both_say('a slot is gone', $lisbon, $riga, $oslo);
$_->stop('immediate') foreach $lisbon, $riga, $oslo;

#
# Clocks
#
my $clock = Multicenter::Clock->new;
my $porto = new_center('porto', conf => truth_conf());
my $turin = new_center('turin', conf => truth_conf(), clock => $clock);
$porto->sql('CREATE TABLE tick (center text PRIMARY KEY, at timestamptz NOT NULL); CREATE TABLE item (id int PRIMARY KEY)');
group_create($porto);
group_join($turin, $porto);
wait_ready($porto, $turin);

# Half a minute ahead: applied, lag and clocks are told as they are.
$clock->set(30);
foreach my $end ([ $porto, $turin, 'in' ], [ $turin, $porto, 'in' ])
{
	my ($center, $peer) = @$end;
	my $ahead = $center == $porto ? 30 : -30;
	poll("$center->{name} to know the clock of $peer->{name}", sub {
			my $row = link_row(@$end);
			return ($row->{clock_offset} ne '' && abs($row->{clock_offset} - $ahead) < 0.5, "offset $row->{clock_offset}");
		}, 40, $center);
	my $row = link_row(@$end);
	cmp_ok(abs($row->{clock_offset} - $ahead), '<=', $row->{clock_error} + 0.01, "$center->{name}: the offset is within its bound");
	cmp_ok($row->{lag}, '>', 0, "$center->{name}: lag is not zero");
	cmp_ok($row->{lag}, '<', 2, "$center->{name}: nor has it the clocks in it");
	is($row->{status}, 'warning', "$center->{name}: different clocks are worth a warning");
	check_is($center, 'clock_skew', $peer->name, 'warning', $center->name);
}

# Two hours: not applied any more.
$clock->set(7200);
$turin->sql('INSERT INTO item VALUES (1)');
$row = shows($porto, $turin, 'in', 'stalled', qr/clock of center "turin" is ahead by more than an hour/, 'a clock two hours ahead, in', 20);
is($row->{stat_last_error_sqlstate}, '22008', 'its code');
shows($turin, $porto, 'out', 'stalled|disconnected', qr/porto" is alive|confirmed nothing/, 'a clock two hours ahead, out', 20);
foreach my $end ([ $porto, $turin, 'in' ], [ $turin, $porto, 'out' ])
{
	my $before = link_row(@$end)->{lag};
	cmp_ok($before, '>', 0, "$end->[2]: lag is there");
	poll("$end->[2]: lag to grow", sub { my $lag = link_row(@$end)->{lag}; return ($lag > $before + 1, $lag) });
}
both_say('a clock two hours ahead', $porto, $turin);
check_is($porto, 'error_rate', 'turin', 'warning|critical', 'a clock two hours ahead');

done_testing();
