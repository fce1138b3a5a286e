# Goal: what monitoring/ has for Prometheus and Grafana works with Debian's
# Prometheus and prometheus-postgres-exporter: all metrics arrive, as the role
# multicenter_monitor; alerts fire and clear; each query of the dashboard has a
# result.
#
# Method: promtool runs the unit tests of the rules.  Then each of two centers
# gets an exporter, a Prometheus scrapes them, and things happen at the centers;
# what Prometheus has recorded is asked for by its API.
use strict;
use warnings;

use JSON::PP ();
use Multicenter::Cluster;
use Multicenter::Monitoring;
use Multicenter::Truth;
use PostgreSQL::Test::Utils ();
use Test::More;

need_tools(qw(prometheus promtool prometheus-postgres-exporter));

my $rules = PostgreSQL::Test::Utils::slurp_file(source_file('monitoring/prometheus-rules.yml'));
my $guide = PostgreSQL::Test::Utils::slurp_file(source_file('docs/monitoring.md'));

#
# The rules by themselves
#
foreach ([ 'check', 'config', 'prometheus.yml' ], [ 'test', 'rules', 'prometheus-rules-test.yml' ])
{
	my ($verb, $what, $file) = @$_;
	my $output = '';
	local $ENV{GOMAXPROCS} = 1;
	my $fine = IPC::Run::run([ tool('promtool'), $verb, $what, source_file("monitoring/$file") ], '>&', \$output);
	ok($fine && $output =~ /SUCCESS/ && $output !~ /FAILED/, "promtool $verb $what $file") or diag($output);
}
my $unit_tests = PostgreSQL::Test::Utils::slurp_file(source_file('monitoring/prometheus-rules-test.yml'));
my @anchors = map { lc($_) =~ s/[^\w\- ]//gr =~ s/ /-/gr } $guide =~ /^#+ (.+)$/mg;
my %alert;
foreach my $rule (split(/^ +- (?=alert:|record:)/m, $rules))
{
	next unless $rule =~ /^alert: (\w+)/;
	my $name = $1;
	my ($check) = $rule =~ /check="(\w+)"/;
	my ($severity) = $rule =~ /severity: (\w+)/;
	my ($anchor) = $rule =~ /runbook: docs\/monitoring\.md#(\S+)/;
	ok(defined $anchor && grep({ $_ eq $anchor } @anchors), "$name ($severity) has its entry in the runbook");
	like($unit_tests, qr/alertname: $name\b/, "$name has a unit test");
	next unless $check;
	is($anchor, $check, "$name: the one of its check");
	$alert{$check} = join(' ', $alert{$check} || (), $severity);
}

#
# A group, an exporter for each center, Prometheus
#
my ($lisbon, $riga) = truth_group(qw(lisbon riga));
is(join(', ', map { "$_: $alert{$_}" } sort keys %alert),
	$lisbon->sql(q{SELECT string_agg(check_name || ': warning critical', ', ' ORDER BY check_name COLLATE "C") FROM multicenter.thresholds}),
	'each check has an alert for a warning, and one that is critical');

my %port = map { $_ => free_port() } qw(lisbon riga prometheus);
my %exporter;
foreach my $center ($lisbon, $riga)
{
	$center->sql('CREATE ROLE watcher LOGIN IN ROLE multicenter_monitor');
	$exporter{ $center->name } = run_tool('prometheus-postgres-exporter',
		[ '--extend.query-path=' . source_file('monitoring/postgres-exporter.yml'), '--disable-default-metrics', '--disable-settings-metrics',
			'--no-collector.database', '--no-collector.bgwriter', '--web.listen-address=127.0.0.1:' . $port{ $center->name } ],
		DATA_SOURCE_NAME => sprintf('host=127.0.0.1 port=%d user=watcher dbname=postgres sslmode=disable', $center->port));
}

# The configuration of the documentation, in a hurry.
my $config = PostgreSQL::Test::Utils::slurp_file(source_file('monitoring/prometheus.yml'));
my $rule_file = source_file('monitoring/prometheus-rules.yml');
$config =~ s/interval: 15s/interval: 1s/g;
$config =~ s/- prometheus-rules\.yml/- $rule_file/;
$config =~ s/\[.*:9187.*\]/['127.0.0.1:$port{lisbon}', '127.0.0.1:$port{riga}']/;
my $prometheus = run_tool('prometheus',
	[ '--config.file=' . write_file('prometheus.yml', $config), '--storage.tsdb.path=' . PostgreSQL::Test::Utils::tempdir() . '/prometheus',
		"--web.listen-address=127.0.0.1:$port{prometheus}" ]);
my $api = "http://127.0.0.1:$port{prometheus}/api/v1";
my $started = time;

# Result of a query now: a hash of "label=value,…" => value, without the labels
# that say by whom it was scraped.
sub query
{
	my ($query) = @_;
	my $data = get_json("$api/query", query => $query) || { result => [] };
	return { map { (labels($_->{metric}) => $_->{value}[1]) } @{ $data->{result} } };
}

sub labels
{
	my ($metric) = @_;
	return join(',', map { qq{$_="$metric->{$_}"} } grep { !/^(?:instance|job|server)$/ } sort keys %$metric);
}

# Wait until a query has a result with this value (or a pattern); one test.
sub becomes
{
	my ($query, $value, $name) = @_;
	poll($name, sub {
			my $result = query($query);
			my @fits = grep { ref $value ? $_ =~ $value : $_ eq $value } values %$result;
			return (@fits ? 1 : 0, join(' ', %$result));
		}, 60);
	return pass($name);
}

# The alerts of this name: "state severity object".
sub alerts
{
	my ($name) = @_;
	my $data = get_json("$api/alerts") || { alerts => [] };
	return join(', ', sort map { join(' ', $_->{state}, $_->{labels}{severity}, $_->{labels}{center} // '', $_->{labels}{object} // '', $_->{annotations}{runbook}) }
		grep { $_->{labels}{alertname} eq $name } @{ $data->{alerts} });
}

#
# Something of everything, while Prometheus looks
#
hold_links(links_between($lisbon, $riga));
$_->sql(sprintf(q{INSERT INTO item SELECT n, '%s' FROM generate_series(1, 5) n}, $_->name)) foreach $lisbon, $riga;
release_links(links_between($lisbon, $riga));
$lisbon->sql(q{ALTER TABLE item ADD CONSTRAINT small CHECK (id < 1000)});
$riga->sql(q{INSERT INTO item VALUES (1000, 'too great')});
$lisbon->wait_for_sql('SELECT count(*) = 1 FROM multicenter.quarantine', 't', 30);

becomes('min(up{job="multicenter"}) + count(up{job="multicenter"})', 3, 'Prometheus scrapes both exporters');
becomes('multicenter_check_value{center="lisbon",check="quarantine"}', 1, 'a change in quarantine is seen');
poll('the alert of it', sub { my $a = alerts('MulticenterQuarantine'); return ($a eq 'firing warning lisbon  docs/monitoring.md#quarantine' ? 1 : 0, $a) }, 60);
pass('and its alert fires');
$lisbon->sql(q{ALTER TABLE item DROP CONSTRAINT small; SELECT multicenter.quarantine_retry()});

#
# Lag over its threshold alerts, and no longer when it is over
#
$lisbon->sql(q{SELECT multicenter.threshold_set('sync_lag', '3 s', '1 h')});
becomes('multicenter_check_warn_at{center="lisbon",check="sync_lag",object="riga in"}', 3, 'a threshold that was set is seen');
poll('no alert of lag yet', sub { my $a = alerts('MulticenterSyncLag'); return ($a eq '' ? 1 : 0, $a) }, 60);
my $session = $lisbon->background_psql();
$session->query_safe('BEGIN; LOCK TABLE item IN SHARE MODE');
$riga->sql(q{INSERT INTO item VALUES (11, 'eleven')});
# The other direction may be late by as much: what lisbon knows of it comes in
# through the link that waits.
poll('the alert of lag', sub { my $a = alerts('MulticenterSyncLag'); return ($a =~ m{firing warning lisbon riga in docs/monitoring\.md#sync_lag} ? 1 : 0, $a) }, 60);
pass('lag over its threshold alerts');
becomes('multicenter:link_lag_seconds:max{origin="riga",target="lisbon"} >= 3', qr/\d/, 'the recorded lag says the same');
becomes('multicenter:link_lag_seconds:max{origin="lisbon",target="riga"}', qr/\d/, 'the other direction is recorded by itself');
$session->query_safe('COMMIT');
$session->quit;
poll('no alert of lag', sub { my $a = alerts('MulticenterSyncLag'); return ($a eq '' ? 1 : 0, $a) }, 60);
pass('it clears when the lag is over');
poll('no alert of the quarantine', sub { my $a = alerts('MulticenterQuarantine'); return ($a eq '' ? 1 : 0, $a) }, 60);
pass('so does that of the quarantine');

#
# All metrics, the same as those of metrics_text()
#
# What metrics_text() tells to a monitor: its series, and types by name.
sub told
{
	my ($center) = @_;
	my (%told, %type);
	foreach my $line (split(/\n/, $center->sql('SET ROLE watcher; SELECT multicenter.metrics_text()')))
	{
		if ($line =~ /^# TYPE (\w+) (\w+)/) { $type{$1} = $2 }
		elsif ($line =~ /^(\w+)\{(.*)\} \S+$/)
		{
			my ($metric, $labels) = ($1, $2);
			my %label = (__name__ => $metric, $labels =~ /(\w+)="([^"]*)"/g);
			$told{ labels({ map { $label{$_} ne '' ? ($_ => $label{$_}) : () } keys %label }) } = 1;
		}
	}
	return (\%told, \%type);
}

wait_all_applied($lisbon, $riga);
foreach my $center ($lisbon, $riga)
{
	my $name = $center->name;
	my $rows = $center->sql(q{SELECT sum(inserts) FROM multicenter.stat_links WHERE direction = 'in'});
	becomes(qq{sum(multicenter_link_rows_total{center="$name",direction="in",operation="insert"})}, $rows, "$name: all $rows rows were counted");
	my ($told, $type, $differences);
	poll("$name: the same series", sub {
			($told, $type) = told($center);
			my $scraped = query(qq({__name__=~"multicenter_.+",center="$name"}));
			# How long catching up will take comes and goes.
			my @differences = ((map { "not scraped: $_" } grep { !exists $scraped->{$_} } sort keys %$told),
				map { "not told: $_" } grep { !$told->{$_} && $scraped->{$_} ne 'NaN' && $_ !~ /link_catchup_seconds/ } sort keys %$scraped);
			return (!@differences, join("\n", @differences));
		});
	cmp_ok(scalar(keys %$told), '>', 100, sprintf('%s: the %d series of metrics_text() were scraped, and no others', $name, scalar(keys %$told)));
	my $metadata = get_json("$api/metadata") || {};
	is(join(' ', grep { ($metadata->{$_}[0]{type} || '') ne $type->{$_} } sort keys %$type), '', "$name: types are right");
	unlike($exporter{$name}->log, qr/pq:/, "$name: the exporter has no complaints");
}
is(join(' ', map { my $m = $_; $m =~ s/.*type="(\w+)".*/$1/r } keys %{ query('multicenter_link_conflicts_by_type_total{center="riga"}') }), 'insert_exists', 'conflicts by type');

#
# Every query of the dashboard
#
my $dashboard = JSON::PP->new->utf8->decode(PostgreSQL::Test::Utils::slurp_file(source_file('monitoring/grafana.json')));
my @queries = map { my $panel = $_; map { [ $panel->{title}, $_->{expr} ] } @{ $panel->{targets} } } @{ $dashboard->{panels} };
push(@queries, map { [ "annotation $_->{name}", $_->{expr} ] } @{ $dashboard->{annotations}{list} });
cmp_ok(scalar(@queries), '>=', 20, 'the dashboard has queries');
foreach (@queries)
{
	my ($title, $query) = @$_;
	$query =~ s/\$(?:center|peer)\b/.*/g;
	$query =~ s/\$__rate_interval/10s/g;
	unlike($query, qr/\$/, "$title: no unknown variable");
	my $data = get_json("$api/query_range", query => $query, start => $started, end => time, step => 1) || { result => [] };
	my @values = map { map { $_->[1] } @{ $_->{values} } } @{ $data->{result} };
	# No link may have had to catch up: then it is known that it is unknown.
	my @known = $query =~ /catchup/ ? @values : grep { $_ ne 'NaN' } @values;
	cmp_ok(scalar(@known), '>=', 1, sprintf('%s: %d values from %s', $title, scalar(@known), $query));
}
foreach my $variable (@{ $dashboard->{templating}{list} })
{
	next unless ($variable->{definition} || '') =~ /^label_values\((.*), (\w+)\)$/;
	my ($series, $label) = ($1, $2);
	my $data = get_json("$api/label/$label/values", 'match[]' => $series) || [];
	is("@$data", 'lisbon riga', "variable $variable->{name}");
}
is(join(' ', map { $_->{type} } grep { $_->{name} eq 'datasource' } @{ $dashboard->{templating}{list} }), 'datasource', 'the data source is a variable');

#
# A server that is down
#
$riga->stop('immediate');
# It tries again for longer than our scrapes may take, or says that it failed.
becomes('min(up{job="multicenter"}) * min(pg_up)', 0, 'the exporter does not get through to it');
poll('an alert to wait', sub { my $a = alerts('MulticenterNotMonitored'); return ($a =~ /^(?:pending|firing) critical / ? 1 : 0, $a) }, 60);
pass('and soon an alert does, too');
cmp_ok(scalar(values %{ query('multicenter:link_lag_seconds:max') }), '==', 2, 'lag is still known from the other center');
unlike($prometheus->log, qr/level=(?:error|warn).*rule/i, 'Prometheus has no complaints about rules');

done_testing();
