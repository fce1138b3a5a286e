# Goal: health() and health_checks() compare what is with thresholds that can be
# set, tell since when and what to do, and say when it is over.
#
# Method: each check is brought over its thresholds for real, or its thresholds
# are brought under what is; both centers are asked.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Proxy;
use Multicenter::Truth;
use Test::More;

my $lisbon = new_center('lisbon', conf => truth_conf());
my $riga = new_center('riga', conf => truth_conf());
my $to_riga = Multicenter::Proxy->new($riga);
$riga->{dsn} = $to_riga->dsn;
$lisbon->sql(q{CREATE TABLE item (id int PRIMARY KEY, v text)});
is($lisbon->sql(q{SELECT multicenter.health()->>'status'}), 'unhealthy', 'a database in no group is not healthy');
is($lisbon->sql(q{SELECT count(*) FROM multicenter.health_checks()}), 0, 'and has no checks');
group_create($lisbon);
is($lisbon->sql(q{SELECT concat_ws(' ', h->>'status', h->>'group') FROM multicenter.health() h}), 'healthy test', 'a single center is healthy');
group_join($riga, $lisbon);
wait_ready($lisbon, $riga);

# A check as a hash.
sub check
{
	my ($center, $check, $object) = @_;
	my $and = defined $object ? "AND object = '$object'" : '';
	my $line = $center->sql(qq{SELECT concat_ws('|', status, coalesce(value_number::text, ''), coalesce(extract(epoch FROM clock_timestamp() - since)::text, ''),
		coalesce(message, ''), coalesce(hint, ''), coalesce(value, '')) FROM multicenter.health_checks() WHERE check_name = '$check' $and
		ORDER BY array_position('{critical,warning,unknown,ok}', status) LIMIT 1});
	my %check;
	@check{qw(status number since message hint value)} = split(/\|/, $line, 6);
	return \%check;
}

# Wait until a check has a status, a message and a hint; one test.
sub becomes
{
	my ($center, $check, $object, $status, $message, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $found;
	poll($name, sub {
			$found = check($center, $check, $object);
			my $fits = $found->{status} eq $status && $found->{message} =~ $message;
			return ($fits ? 1 : 0, join(' | ', map { $_ // '' } %$found));
		}, $seconds || 20, $center);
	ok($status eq 'ok' || $status eq 'unknown' || $found->{hint} ne '', "$name: $found->{status}, $found->{value}, $found->{message}");
	return $found;
}

# The status of a center as a whole.
sub overall { my ($center) = @_; return $center->sql(q{SELECT concat_ws(' ', h->>'status', h->>'serving') FROM multicenter.health() h}) }

#
# All is well
#
my @checks = qw(center_availability center_state clock_skew conflict_rate cross_center_latency dead_row_retention error_rate quarantine retained_wal slot_wal_status sync_lag);
foreach my $center ($lisbon, $riga)
{
	my $name = $center->name;
	poll("all checks of $name to be ok", sub {
			my $bad = $center->sql(q{SELECT string_agg(concat_ws(' ', check_name, object, status, message), '; ') FROM multicenter.health_checks() WHERE status <> 'ok'});
			return ($bad eq '' ? 1 : 0, $bad);
		}, 90, $center);
	is(overall($center), 'healthy true', "$name is healthy");
	is($center->sql(q{SELECT string_agg(DISTINCT check_name, ' ' ORDER BY check_name) FROM multicenter.health_checks()}), "@checks", "$name has all checks");
	is($center->sql(q{SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM jsonb_object_keys(multicenter.health()->'checks') k}), "@checks", "$name: and in the JSON");
	is($center->sql(q{SELECT bool_and(status = 'ok' AND value_number IS NOT NULL AND warn_at IS NOT NULL AND critical_at IS NOT NULL AND since <= now() AND hint IS NULL AND message <> '')
		FROM multicenter.health_checks()}), 't', "$name: each with value, thresholds, since and message");
	is($center->sql(q{SELECT h->>'center' || ' ' || (abs(extract(epoch FROM clock_timestamp() - (h->>'timestamp')::timestamptz)) < 5) FROM multicenter.health() h}),
		"$name true", "$name: center and timestamp");
}
is($lisbon->sql(q{SELECT string_agg(concat_ws(' ', check_name, warn_at, critical_at), ', ' ORDER BY check_name) FROM multicenter.thresholds WHERE check_name IN ('sync_lag', 'cross_center_latency')}),
	'cross_center_latency 100 ms 500 ms, sync_lag 60 s 300 s', 'the defaults');
my $since = $lisbon->sql(q{SELECT max(since) FROM multicenter.health_checks() WHERE check_name = 'sync_lag'});
is($lisbon->sql(qq{SELECT max(since) = '$since' FROM multicenter.health_checks() WHERE check_name = 'sync_lag'}), 't', 'since stays as long as the status does');

#
# Thresholds
#
$lisbon->sql(q{SELECT multicenter.threshold_set('sync_lag', '2 s', '6 s')});
is($lisbon->sql(q{SELECT concat_ws(' ', warn_at, critical_at, default_warn) FROM multicenter.thresholds WHERE check_name = 'sync_lag'}), '2 s 6 s 60 s', 'thresholds can be set');
foreach ([ q{'nothing', '1', '2'}, 'an unknown check' ], [ q{'sync_lag', 'soon', '2 s'}, 'no interval' ], [ q{'sync_lag', '3 s', '2 s'}, 'critical before it warns' ],
	[ q{'retained_wal', '1 GiB', NULL}, 'no size' ], [ q{'slot_wal_status', 'gone', 'lost'}, 'no status' ], [ q{'quarantine', '-1', '5'}, 'below zero' ],
	[ q{'quarantine', 'many', NULL}, 'no number' ])
{
	$lisbon->fails("SELECT multicenter.threshold_set($_->[0])", '22023', qr/check/, qr/checks are|default/, "threshold_set: $_->[1]");
}

#
# A lag that grows, and goes
#
my $session = $lisbon->background_psql();
$session->query_safe('BEGIN; LOCK TABLE item IN SHARE MODE');
$riga->sql(q{INSERT INTO item VALUES (1, 'one')});
my $found = becomes($lisbon, 'sync_lag', 'riga in', 'warning', qr/center "riga".*stalled.*waits for a lock.*blocked by process \d+/, 'a lag over the first threshold');
cmp_ok($found->{number}, '>=', 2, 'its value is over the threshold');
is(overall($lisbon), 'degraded true', 'the center is degraded');
is($lisbon->sql(q{SELECT status FROM multicenter.lag WHERE direction = 'in'}), 'warning', 'the view lag agrees');
$found = becomes($lisbon, 'sync_lag', 'riga in', 'critical', qr/stalled/, 'a lag over the second threshold');
is(overall($lisbon), 'unhealthy false', 'the center is unhealthy, and should not serve: its peer is there');
is($lisbon->sql(q{SELECT status FROM multicenter.lag WHERE direction = 'in'}), 'critical', 'the view lag agrees');
is($lisbon->sql(q{SELECT h->'checks'->'sync_lag'->>'object' || ' ' || (h->'checks'->'sync_lag'->>'status') FROM multicenter.health() h}), 'riga in critical', 'in the JSON, too');
is(check($lisbon, 'center_availability', 'riga')->{status}, 'ok', 'the peer is available all the same');
poll('since to be some seconds ago', sub { my $c = check($lisbon, 'sync_lag', 'riga in'); return ($c->{since} > 3 && $c->{since} < 6 ? 1 : 0, $c->{since}) }, 10);
pass('since when is known');
$session->query_safe('COMMIT');
becomes($lisbon, 'sync_lag', 'riga in', 'ok', qr/(?:streaming|idle)/, 'it is over');
poll('the center to be healthy', sub { my $o = overall($lisbon); return ($o eq 'healthy true' ? 1 : 0, $o) }, 10);
like(PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile), qr/this center is (?:degraded|unhealthy)\n.*sync_lag riga in/, 'the log has a line about it');

#
# A peer that is away: this center goes on
#
$lisbon->sql(q{SELECT multicenter.threshold_set('center_availability', '2 s', '5 s')});
$to_riga->black_hole;
becomes($lisbon, 'center_availability', 'riga', 'warning', qr/riga" was not heard of for \d+ s: no message/, 'a peer is away');
becomes($lisbon, 'center_availability', 'riga', 'critical', qr/riga" was not heard of/, 'for longer');
is(overall($lisbon), 'unhealthy true', 'that is critical, but this center should serve');
becomes($lisbon, 'cross_center_latency', 'riga', 'unknown', qr/not measured lately/, 'the way to it is not known any more', 90);
# Reset connections are an error, and are served again.
$lisbon->sql(q{SELECT multicenter.threshold_set('error_rate', '1', NULL)});
$to_riga->cut;
becomes($lisbon, 'center_availability', 'riga', 'ok', qr/riga" is there/, 'it is back', 30);
becomes($lisbon, 'error_rate', 'riga', 'warning', qr/errors per minute.*the last one: /, 'the errors meanwhile are counted');

#
# Conflicts, quarantine
#
$lisbon->sql(q{SELECT multicenter.threshold_set('conflict_rate', '2', '1000'), multicenter.threshold_set('quarantine', NULL, '1')});
hold_links(links_between($lisbon, $riga));
$_->sql(sprintf(q{INSERT INTO item SELECT n, '%s' FROM generate_series(10, 20) n}, $_->name)) foreach $lisbon, $riga;
release_links(links_between($lisbon, $riga));
becomes($lisbon, 'conflict_rate', 'riga', 'warning', qr/^\d+(?:\.\d+)? conflicts per minute/, 'conflicts', 10);
$lisbon->sql(q{ALTER TABLE item ADD CONSTRAINT small CHECK (id < 1000)});
$riga->sql(q{INSERT INTO item VALUES (1000, 'too great')});
$found = becomes($lisbon, 'quarantine', undef, 'critical', qr/^1 changes wait/, 'a change in quarantine', 30);
is($found->{number}, 1, 'one of them');
$lisbon->sql(q{ALTER TABLE item DROP CONSTRAINT small; SELECT multicenter.quarantine_retry()});
becomes($lisbon, 'quarantine', undef, 'ok', qr/^0 changes/, 'it is empty again');

#
# WAL, slots, dead rows
#
$lisbon->sql(q{SELECT multicenter.threshold_set('retained_wal', '1MB', '3MB'), multicenter.threshold_set('dead_row_retention', '3 s', '8 s')});
$riga->stop('fast');
$lisbon->sql(q{SELECT pg_logical_emit_message(false, 'filler', repeat('x', 5000000))});
becomes($lisbon, 'retained_wal', 'riga', 'critical', qr/[kMG]B of WAL are kept for center "riga"/, 'WAL for a peer that is away');
becomes($lisbon, 'dead_row_retention', undef, 'critical', qr/dead rows are kept for \d+ s/, 'dead rows for a peer that is away', 40);
$riga->start;
wait_streaming($lisbon, $riga, 20);
becomes($lisbon, 'dead_row_retention', undef, 'ok', qr/dead rows are kept/, 'they are let go', 40);
is(check($lisbon, 'slot_wal_status', 'riga')->{value}, 'reserved', 'the slot has all its WAL');
my $slot = $lisbon->slot_name($riga);
$riga->sql(q{SELECT multicenter.link_pause(peer => 'lisbon')});
$lisbon->wait_for_sql("SELECT NOT active FROM pg_replication_slots WHERE slot_name = '$slot'");
$lisbon->sql("SELECT pg_drop_replication_slot('$slot')");
becomes($lisbon, 'slot_wal_status', 'riga', 'critical', qr/no replication slot for center "riga"/, 'a slot is gone');

#
# 'off', and the defaults again
#
$lisbon->sql(q{SELECT multicenter.threshold_set('slot_wal_status', 'off', 'off')});
is(check($lisbon, 'slot_wal_status', 'riga')->{status}, 'ok', 'off is never');
$lisbon->sql(q{SELECT multicenter.threshold_set('slot_wal_status', NULL, NULL)});
is(check($lisbon, 'slot_wal_status', 'riga')->{status}, 'critical', 'null is the default');

done_testing();
