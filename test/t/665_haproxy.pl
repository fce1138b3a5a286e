# Goal: HAProxy with the configuration of monitoring/ takes a center out of
# rotation when its health() says that it should not serve, brings it back when
# that is over, and leaves a center alone that only misses a peer.
#
# Method: Debian's HAProxy before two centers; clients connect to it and ask
# where they are.  Its statistics tell what its checks have found.
use strict;
use warnings;

use Cwd qw(abs_path);
use Multicenter::Cluster;
use Multicenter::Monitoring;
use Multicenter::Truth;
use PostgreSQL::Test::Utils ();
use Test::More;

need_tools('haproxy');

my ($lisbon, $riga) = truth_group(qw(lisbon riga));
$_->sql('CREATE ROLE watcher LOGIN IN ROLE multicenter_monitor') foreach $lisbon, $riga;

# The files of the documentation, for this machine.
my ($port, $stats) = (free_port(), free_port());
my $bin = abs_path((PostgreSQL::Test::Utils::run_command([ 'pg_config', '--bindir' ]))[0]);
my $script = PostgreSQL::Test::Utils::slurp_file(source_file('monitoring/multicenter-serving'));
$script =~ s/dbname=shop/dbname=postgres/ or die 'the script has no database';
my $check = write_file('multicenter-serving', $script);
chmod(0755, $check);
my $config = PostgreSQL::Test::Utils::slurp_file(source_file('monitoring/haproxy.cfg'));
my %here = (
	'log /dev/log local0' => 'log stdout format raw local0',
	'bind :5000' => "bind 127.0.0.1:$port",
	'bind 127.0.0.1:8404' => "bind 127.0.0.1:$stats",
	'external-check command /etc/haproxy/multicenter-serving' => "external-check command $check",
	'external-check path "/usr/bin:/bin"' => qq{external-check path "$bin:/usr/bin:/bin"},
	'server lisbon lisbon:5432' => 'server lisbon 127.0.0.1:' . $lisbon->port,
	'server oslo oslo:5432 backup' => 'server riga 127.0.0.1:' . $riga->port . ' backup',
	'server tokyo tokyo:5432 backup' => '',
	'user haproxy' => '', 'group haproxy' => '', 'inter 2s' => 'inter 500ms');
foreach (sort { length($b) <=> length($a) } keys %here)
{
	$config =~ s/\Q$_\E/$here{$_}/ or die "the configuration has no '$_'";
}
my $file = write_file('haproxy.cfg', $config);
my $haproxy = run_tool('haproxy', [ '-db', '-f', $file ]);

# The name of the center where a client gets through HAProxy, or its error.
sub where
{
	my ($out, $err) = PostgreSQL::Test::Utils::run_command([ 'psql', '-XAtq', '-d', "host=127.0.0.1 port=$port dbname=postgres connect_timeout=10",
			'-c', 'SELECT center_name FROM multicenter.centers WHERE is_local' ]);
	return $out . $err;
}

# Wait until clients get to a center; one test.
sub leads_to
{
	my ($center, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll($name, sub { my $where = where(); return ($where eq $center->name ? 1 : 0, "$where; " . join(', ', map { "$_ " . server($_) } qw(lisbon riga))) }, 60);
	return pass($name);
}

# What HAProxy says of a server: "UP 0", its status and how often it went down.
sub server
{
	my ($name) = @_;
	my @lines = map { [ split(/,/, $_, -1) ] } split(/\n/, get("http://127.0.0.1:$stats/;csv") // '');
	my ($i, %column) = (0);
	$column{$_} = $i++ foreach @{ $lines[0] || [] };
	my ($line) = grep { $_->[0] eq 'multicenter' && $_->[1] eq $name } @lines;
	return $line ? "$line->[ $column{status} ] $line->[ $column{chkdown} ]" : 'unknown';
}

# Status and serving of health().
sub health { my ($center) = @_; return $center->sql(q{SELECT concat_ws(' ', h->>'status', h->>'serving') FROM multicenter.health() h}) }

leads_to($lisbon, 'clients get to the first center');
poll('both to be up', sub { my $s = server('lisbon') . ', ' . server('riga'); return ($s =~ /^UP \d+, UP \d+$/ ? 1 : 0, $s) });

#
# Late: out, and back
#
# A client that waits for nothing, connected.
my ($in, $out) = ('', '');
my $client = IPC::Run::start([ 'psql', '-XAtq', '-d', "host=127.0.0.1 port=$port dbname=postgres application_name=stays" ], '<', \$in, '>&', \$out);
my $stays = q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stays'};
$lisbon->wait_for_sql($stays, 1);
$lisbon->sql(q{SELECT multicenter.threshold_set('sync_lag', '1 s', '2 s')});
my $session = $lisbon->background_psql();
$session->query_safe('BEGIN; LOCK TABLE item IN SHARE MODE');
$riga->sql(q{INSERT INTO item VALUES (1, 'one')});
poll('the first center to be unhealthy', sub { my $h = health($lisbon); return ($h eq 'unhealthy false' ? 1 : 0, $h) }, 60);
leads_to($riga, 'a center that is late gets no clients');
like(server('lisbon'), qr/^DOWN /, 'HAProxy has taken it out');
$lisbon->wait_for_sql($stays, 0);
pass('sessions there have ended');
$client->kill_kill;
$session->query_safe('COMMIT');
$session->quit;
$lisbon->sql(q{SELECT multicenter.threshold_set('sync_lag', NULL, NULL)});
leads_to($lisbon, 'it gets them again when it has caught up');

#
# A peer that is away is no reason
#
my ($downs) = server('lisbon') =~ /(\d+)$/;
$lisbon->sql(q{SELECT multicenter.threshold_set('center_availability', '1 s', '2 s')});
$riga->stop('immediate');
poll('the first center to be unhealthy', sub { my $h = health($lisbon); return ($h eq 'unhealthy true' ? 1 : 0, $h) }, 60);
poll('HAProxy to see that the other one is away', sub { my $s = server('riga'); return ($s =~ /^DOWN / ? 1 : 0, $s) }, 60);
like(server('lisbon'), qr/^UP .*\b$downs$/, 'a center that misses a peer stays');
is(where(), 'lisbon', 'and has its clients');
$riga->start;
poll('the other one to be back', sub { my $s = server('riga'); return ($s =~ /^UP / ? 1 : 0, $s) }, 60);

#
# A server that is down
#
$lisbon->stop('immediate');
leads_to($riga, 'a center whose server is down gets no clients');
$lisbon->start;
leads_to($lisbon, 'and gets them again when it is back');
$haproxy->stop;

done_testing();
