# Goal: a role that is a member of multicenter_monitor and nothing else sees all
# of monitoring, and no row of anybody; metrics are what Prometheus reads; the
# view routing says where to send clients; looking is cheap with many links.
#
# Method: a login role of its own; metrics_text() is parsed by the rules of the
# exposition format and compared with the views; a center gets sixteen peers
# that do not exist.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Truth;
use PostgreSQL::Test::Utils ();
use Test::More;

my $lisbon = new_center('lisbon', conf => truth_conf(), site => 'west');
my $riga = new_center('riga', conf => truth_conf(), site => 'east "1"');
$lisbon->sql(q{CREATE TABLE item (id int PRIMARY KEY, v text); GRANT SELECT ON item TO pg_monitor; REVOKE ALL ON item FROM pg_monitor});
group_create($lisbon);
group_join($riga, $lisbon);
wait_ready($lisbon, $riga);

# Something to count, conflicts included.
hold_links(links_between($lisbon, $riga));
$_->sql(sprintf(q{INSERT INTO item SELECT n, 'secret %s' FROM generate_series(1, 5) n}, $_->name)) foreach $lisbon, $riga;
release_links(links_between($lisbon, $riga));
$lisbon->sql(q{UPDATE item SET v = 'secret' WHERE id = 1});
wait_all_applied($lisbon, $riga);

#
# A role that has nothing else
#
$riga->sql('CREATE ROLE watcher LOGIN IN ROLE multicenter_monitor; CREATE ROLE stranger LOGIN');
my @views = qw(centers lag lag_history stat_links stat_tables stat_conflicts workers slots tables thresholds routing conflict_summary conflict_policies clock horizon);
foreach my $view (@views)
{
	my $rows = $riga->sql("SET ROLE watcher; SELECT count(*) FROM multicenter.$view");
	cmp_ok($rows, '>=', 1, "multicenter_monitor reads $view");
	$riga->fails("SET ROLE stranger; SELECT count(*) FROM multicenter.$view", '42501', qr/permission denied/, undef, "others do not read $view");
}
foreach my $call ('health()', 'health_checks()', 'metrics_text()')
{
	isnt($riga->sql("SET ROLE watcher; SELECT * FROM multicenter.$call"), '', "multicenter_monitor calls $call");
	$riga->fails("SET ROLE stranger; SELECT multicenter.$call", '42501', qr/permission denied/, undef, "others do not call $call");
}
foreach my $hidden (qw(quarantine displaced siblings conflict_history key_note quarantine_entry link center identity threshold))
{
	$riga->fails("SET ROLE watcher; SELECT * FROM multicenter.$hidden", '42501', qr/permission denied/, undef, "multicenter_monitor does not read $hidden");
}
is($riga->sql('SET ROLE watcher; SELECT count(*) FROM multicenter.conflicts'), 0, 'nor conflicts of tables that it may not read');
$riga->fails('SET ROLE watcher; SELECT * FROM item', '42501', qr/permission denied/, undef, 'nor tables');
$riga->fails("SET ROLE watcher; SELECT multicenter.$_", '42501', qr/permission denied/, undef, "multicenter_monitor may not call $_")
  foreach q{threshold_set('sync_lag', '1 s', '2 s')}, 'stat_reset()', q{link_pause('lisbon')};
foreach my $view (@views)
{
	unlike($riga->sql("SET ROLE watcher; SELECT * FROM multicenter.$view"), qr/secret/, "no row data in $view");
}
unlike($riga->sql('SET ROLE watcher; SELECT multicenter.health(), multicenter.metrics_text()'), qr/secret/, 'nor in health and metrics');
is($riga->sql(q{SET ROLE watcher; SELECT string_agg(concat_ws(' ', direction, lag IS NOT NULL, replay_lsn IS NOT NULL, retained_wal_bytes IS NOT NULL), ',' ORDER BY direction) FROM multicenter.lag}),
	$riga->sql(q{SELECT string_agg(concat_ws(' ', direction, lag IS NOT NULL, replay_lsn IS NOT NULL, retained_wal_bytes IS NOT NULL), ',' ORDER BY direction) FROM multicenter.lag}),
	'it sees what a superuser sees');
like($riga->sql(q{SELECT string_agg(conflict_type || ' ' || n, ',') FROM multicenter.stat_conflicts}), qr/^insert_exists 5$/, 'conflicts are counted by type');

#
# Slots
#
like($lisbon->sql(q{SELECT string_agg(purpose || ' ' || coalesce(peer, ''), ',' ORDER BY purpose, peer) FROM multicenter.slots}), qr/^dead rows ,.*link riga$/, 'slots say what they are for');

#
# Metrics
#
# A hash of {name}{labels} => value; dies where the format is violated.
sub metrics
{
	my ($center) = @_;
	my (%value, %type, %help);
	my $last = '';
	my $label = qr/[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"/;
	foreach my $line (split(/\n/, $center->sql('SELECT multicenter.metrics_text()')))
	{
		if ($line =~ /^# HELP (\w+) (.+)$/) { die "twice: $line" if $help{$1}; $help{$1} = $2 }
		elsif ($line =~ /^# TYPE (\w+) (gauge|counter)$/) { die "no help: $line" unless $help{$1}; $type{$1} = $2; $last = $1 }
		elsif ($line =~ /^(multicenter_\w+)\{($label(?:,$label)*)\} (-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)$/)
		{
			my ($name, $labels, $value) = ($1, $2, $3);
			die "not with its type: $line" unless $name eq $last;
			die "a counter's name: $line" if ($type{$name} eq 'counter') != ($name =~ /_total$/ ? 1 : 0);
			die "twice: $line" if exists $value{$name}{$labels};
			$value{$name}{$labels} = $value;
		}
		else { die "not of the format: $line" }
	}
	return \%value;
}
my $metrics = eval { metrics($riga) } || {};
is($@, '', 'the text is of the exposition format');
my ($in, $out) = map { qq{center="riga",peer="lisbon",direction="$_"} } 'in', 'out';
my @names = qw(center_info health_status serving check_status check_value check_warn_at check_critical_at group_members clock_ahead_seconds clock_stamped_total link_state_current link_up link_lag_seconds
  link_replay_lag_bytes link_sent_lag_bytes link_flush_lag_bytes link_retained_wal_bytes link_round_trip_seconds link_clock_offset_seconds
  link_catchup_seconds link_last_message_timestamp_seconds link_state_since_timestamp_seconds link_transactions_total link_rows_total
  link_conflicts_by_type_total link_truncates_total link_ddl_total link_conflicts_total link_quarantined_total link_errors_total link_connects_total link_bytes_total
  link_raw_bytes_total);
is(join(' ', grep { !$metrics->{"multicenter_$_"} } @names), '', 'all metrics are there');
is(join(' ', grep { my $n = $_; !grep { "multicenter_$_" eq $n } @names } sort keys %$metrics), '', 'and no others');
is($metrics->{multicenter_link_up}{$in}, 1, 'the link is up');
cmp_ok($metrics->{multicenter_link_lag_seconds}{$_}, '>', 0, 'lag is there') foreach $in, $out;
cmp_ok($metrics->{multicenter_link_lag_seconds}{$_}, '<', 3, 'and small') foreach $in, $out;
is($metrics->{multicenter_link_rows_total}{qq{$in,operation="insert"}}, $riga->sql(q{SELECT inserts FROM multicenter.stat_links WHERE direction = 'in'}), 'rows are those of the view');
is($metrics->{multicenter_link_conflicts_by_type_total}{qq{$in,type="insert_exists"}}, 5, 'conflicts by type');
is($metrics->{multicenter_health_status}{'center="riga"'}, 0, 'healthy');
is($metrics->{"multicenter_check_$_->[0]"}{'center="riga",check="sync_lag",object="lisbon in"'}, $_->[1], "$_->[0]: the threshold as a number") foreach [ 'warn_at', 60 ], [ 'critical_at', 300 ];
like((keys %{ $metrics->{multicenter_center_info} })[0], qr/site="east \\"1\\""/, 'labels are escaped');
my %state = map { /state="(\w+)"/; ($1 => $metrics->{multicenter_link_state_current}{$_}) } grep { /^\Q$in\E/ } keys %{ $metrics->{multicenter_link_state_current} };
is(scalar(keys %state), 7, 'all states');
is(join(' ', grep { $state{$_} } sort keys %state), $riga->sql(q{SELECT state FROM multicenter.lag WHERE direction = 'in'}), 'one of them is the state');

#
# Routing
#
is($riga->sql(q{SELECT string_agg(concat_ws(' ', peer, site, status, is_local, weight BETWEEN 50 AND 100, round_trip < '1 s'), ', ' ORDER BY is_local DESC) FROM multicenter.routing}),
	'riga east "1" up t t t, lisbon west up f t t', 'both centers take clients');
$lisbon->stop('immediate');
$riga->sql(q{SELECT multicenter.threshold_set('center_availability', '1 s', '3 s')});
$riga->wait_for_sql(q{SELECT string_agg(concat_ws(' ', peer, status, weight > 0), ', ' ORDER BY is_local DESC) FROM multicenter.routing}, 'riga degraded t, lisbon down f', 20);
pass('a center that is away gets none, and this one goes on');
$metrics = eval { metrics($riga) } || {};
is($@, '', 'the format is right with a peer that is away, too');
is($metrics->{multicenter_link_up}{$in}, 0, 'the link is not up');
cmp_ok($metrics->{multicenter_link_lag_seconds}{$in}, '>', 1, 'lag is still there');
is($metrics->{multicenter_health_status}{'center="riga"'}, 2, 'unhealthy');
is($metrics->{multicenter_serving}{'center="riga"'}, 1, 'but serving');
$lisbon->start;
$riga->wait_for_sql(q{SELECT status || ' ' || (weight > 0) FROM multicenter.routing WHERE peer = 'lisbon'}, 'up true', 20);
pass('it is back');
$_->stop('immediate') foreach $lisbon, $riga;

#
# Sixteen peers
#
my $porto = new_center('porto', conf => truth_conf() . "max_worker_processes = 40\n");
group_create($porto);
my $nowhere = 'host=127.0.0.1 port=' . free_port() . ' dbname=postgres';
$porto->sql(qq{INSERT INTO multicenter.center (center_id, center_name, center_uuid, state, dsn, server_version, extension_version)
	SELECT n, 'peer' || n, gen_random_uuid(), 'ready', '$nowhere', 150000, '1.0' FROM generate_series(2, 17) n});
$porto->wait_for_sql(q{SELECT count(*) = 32 AND bool_and(state = 'never_connected') AND bool_and(stall_reason IS NOT NULL) FROM multicenter.lag});
pass('sixteen peers in two directions');
$porto->wait_for_sql('SELECT count(*) >= 96 FROM multicenter.lag_history');
$porto->sql(q{
	CREATE FUNCTION cost(query text) RETURNS float LANGUAGE plpgsql AS $$
	DECLARE t timestamptz; best float := 1000;
	BEGIN
		FOR i IN 1 .. 40 LOOP
			t := clock_timestamp();
			EXECUTE query;
			best := least(best, extract(epoch FROM clock_timestamp() - t) * 1000);
		END LOOP;
		RETURN best;
	END $$});
foreach my $query (map({ "SELECT * FROM multicenter.$_" } qw(lag stat_links centers workers thresholds slots stat_conflicts health_checks() health() metrics_text() routing)),
	'SELECT * FROM multicenter.lag_history')
{
	my $ms = $porto->sql("SELECT cost('$query')");
	diag(sprintf('%5.2f ms  %s', $ms, $query));
	# Twice the limit, for slow machines; metrics_text() is no view.
	cmp_ok($ms, '<', $query =~ /metrics_text|history/ ? 60 : 10, "cheap with sixteen peers: $query");
}

done_testing();
