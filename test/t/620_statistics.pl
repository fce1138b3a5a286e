# Goal: cumulative statistics survive what those of PostgreSQL survive: an
# orderly restart, but not a crash; and they can be reset, for one peer or all.
#
# Method: three centers; what a link has carried is compared with what was
# written, before and after restarts of all kinds.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my ($lisbon, $riga, $oslo) = make_group([qw(lisbon riga oslo)], setup => 'CREATE TABLE item (id int PRIMARY KEY, v text)');

# Counters of a link, in a line.
sub counters
{
	my ($center, $peer, $direction) = @_;
	return $center->sql(sprintf(q{SELECT concat_ws(' ', xacts, inserts, updates, deletes, truncates, conflicts, quarantined, retries)
		FROM multicenter.stat_links WHERE peer = '%s' AND direction = '%s'}, $peer->name, $direction));
}

# One value of a link.
sub value
{
	my ($center, $peer, $direction, $column) = @_;
	return $center->sql(sprintf(q{SELECT %s FROM multicenter.stat_links WHERE peer = '%s' AND direction = '%s'}, $column, $peer->name, $direction));
}

$lisbon->sql(q{SELECT multicenter.stat_reset()});
$riga->sql(q{SELECT multicenter.stat_reset()});
is(counters($riga, $lisbon, 'in'), '0 0 0 0 0 0 0 0', 'all is zero after a reset, in');
is(counters($lisbon, $riga, 'out'), '0', 'all is zero after a reset, out');
is($riga->sql(q{SELECT bool_and(stats_reset > now() - interval '1 min') FROM multicenter.stat_links}), 't', 'and it is known when that was');
wait_streaming($lisbon, $riga, $oslo);
$lisbon->sql(q{INSERT INTO item SELECT n, 'x' FROM generate_series(1, 10) n});
$lisbon->sql(q{UPDATE item SET v = 'y' WHERE id <= 4});
$lisbon->sql(q{DELETE FROM item WHERE id = 1});
$lisbon->sql(q{TRUNCATE item});
wait_all_applied($lisbon, $riga, $oslo);
is(counters($riga, $lisbon, 'in'), '4 10 4 1 1 0 0 0', 'what was applied is counted');
is(value($lisbon, $riga, 'out', 'xacts'), 4, 'what was sent is counted');

# An orderly restart.
my $before = counters($riga, $lisbon, 'in');
my ($reset, $connects, $bytes) = map { value($riga, $lisbon, 'in', $_) } qw(stats_reset connects bytes_sent);
foreach my $how ('fast', 'smart')
{
	$riga->stop($how);
	$riga->start;
	$riga->wait_for_sql(q{SELECT count(*) = 4 AND bool_and(xacts IS NOT NULL) FROM multicenter.stat_links});
	wait_streaming($lisbon, $riga, $oslo);
	like(counters($riga, $lisbon, 'in'), qr/^4 10 4 1 1 0 0 \d+$/, "$how restart: counters survive");
	is(value($riga, $lisbon, 'in', 'stats_reset'), $reset, "$how restart: so does the time of the reset");
	cmp_ok(value($riga, $lisbon, 'in', 'connects'), '>', $connects, "$how restart: connections are counted on");
	cmp_ok(value($riga, $lisbon, 'in', 'bytes_sent'), '>', $bytes, "$how restart: bytes are counted on");
	ok(!-e $riga->node->data_dir . '/pg_stat/multicenter.stat', "$how restart: the file is gone while the server runs");
}
cmp_ok(value($lisbon, $riga, 'out', 'connects'), '>=', 2, 'the other end has counted the connections');

# The last error survives, too.
$riga->append_conf("multicenter.on_apply_error = stop");
$riga->reload;
$riga->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (id < 1000)');
$lisbon->sql(q{INSERT INTO item VALUES (1000, 'too great')});
$riga->wait_for_sql(q{SELECT last_error_sqlstate = '23514' FROM multicenter.stat_links WHERE peer = 'lisbon' AND direction = 'in'});
my $error_at = value($riga, $lisbon, 'in', 'last_error_at');
$riga->stop('fast');
$lisbon->stop('fast');
ok(-e $riga->node->data_dir . '/pg_stat/multicenter.stat', 'the file is there while the server does not run');
$riga->start;
$riga->wait_for_sql(q{SELECT bool_and(xacts IS NOT NULL) FROM multicenter.stat_links});
like($riga->sql(q{SELECT last_error_at IS NOT NULL FROM multicenter.stat_links WHERE peer = 'lisbon' AND direction = 'in'}), qr/t/, 'the last error survives');
$riga->sql('ALTER TABLE item DROP CONSTRAINT small');
$lisbon->start;
wait_streaming($lisbon, $riga, $oslo, 20);
wait_all_applied($lisbon, $riga, $oslo);

# A crash: of the server, and of one process of it.
cmp_ok(value($riga, $lisbon, 'in', 'xacts'), '>', 0, 'there is something to forget');
$riga->stop('immediate');
$riga->start;
$riga->wait_for_sql(q{SELECT bool_and(xacts IS NOT NULL) FROM multicenter.stat_links});
is(value($riga, $lisbon, 'in', 'inserts'), 0, 'after a crash they begin anew');
cmp_ok($riga->sql(qq{SELECT stats_reset > '$reset' FROM multicenter.stat_links WHERE peer = 'lisbon' AND direction = 'in'}), 'eq', 't', 'as stats_reset says');
wait_streaming($lisbon, $riga, $oslo, 20);
$lisbon->sql(q{INSERT INTO item VALUES (1, 'one')});
wait_applied($lisbon, $riga);
is(value($riga, $lisbon, 'in', 'inserts'), 1, 'and count');
my $started = $riga->sql('SELECT pg_postmaster_start_time()');
my ($rc) = $riga->psql('SELECT pg_backend_pid()', on_error_stop => 0);
my $backend = $riga->background_psql(on_error_stop => 0);
my $pid = $backend->query('SELECT pg_backend_pid()');
signal_pid(KILL => $pid);
eval { $backend->quit };
$riga->wait_for_sql(q{SELECT bool_and(xacts IS NOT NULL) FROM multicenter.stat_links});
is($riga->sql('SELECT pg_postmaster_start_time()'), $started, 'a process has crashed, not the postmaster');
is(value($riga, $lisbon, 'in', 'inserts'), 0, 'they begin anew, too');

# A file that is damaged is none.
wait_streaming($lisbon, $riga, $oslo, 20);
$riga->stop('fast');
my $file = $riga->node->data_dir . '/pg_stat/multicenter.stat';
open(my $out, '+<', $file) or die;
seek($out, 100, 0);
print $out 'damage';
close($out);
$riga->start;
$riga->wait_for_sql(q{SELECT bool_and(xacts IS NOT NULL) FROM multicenter.stat_links});
like(PostgreSQL::Test::Utils::slurp_file($riga->node->logfile), qr/ignored invalid statistics file/, 'a damaged file is ignored, and that is said');

# Reset of one peer.
wait_streaming($lisbon, $riga, $oslo, 20);
$_->sql(sprintf(q{INSERT INTO item VALUES (%d, 'two')}, $_ == $lisbon ? 2 : 3)) foreach $lisbon, $oslo;
wait_all_applied($lisbon, $riga, $oslo);
my $others = counters($riga, $oslo, 'in');
$riga->sql(q{SELECT multicenter.stat_reset(peer => 'lisbon')});
is(counters($riga, $lisbon, 'in'), '0 0 0 0 0 0 0 0', 'one peer is reset');
is(counters($riga, $oslo, 'in'), $others, 'another one is not');
$riga->fails(q{SELECT multicenter.stat_reset(peer => 'atlantis')}, '42704', qr/atlantis/, qr/centers/, 'an unknown peer');

done_testing();
