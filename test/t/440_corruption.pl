# Goal: bytes that were changed, lost or held on their way stop a link with an
# error that names the peer, never harm the server, and the link heals by
# itself.
#
# Method: oslo reaches lisbon by way of a proxy.  While lisbon takes writes, the
# proxy flips bytes at many places of a frame, puts in others, ends the stream
# in the middle of a frame and of a large transaction, resets connections, and
# swallows everything without a word.  After each blow the centers must become
# identical, in a table without a key too, and no process may have crashed.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Proxy;
use PostgreSQL::Test::Utils ();
use Test::More;

my $lisbon = new_center('lisbon');
my $oslo   = new_center('oslo');
my $proxy  = Multicenter::Proxy->new($lisbon);
$lisbon->{dsn} = $proxy->dsn;
$lisbon->sql(q{
	CREATE TABLE item (id int PRIMARY KEY, n bigint, v text, j jsonb, a int[]);
	CREATE TABLE event (run int, client int, n int, v text);
});
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);

my $script = q{
\set n :n + 1
\set id :client_id * 1000 + random(1, 200)
BEGIN;
INSERT INTO item VALUES (:id, :n, repeat('v', :n % 500), '{"a": [1, "two"]}', ARRAY[1, :n])
	ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v, a = excluded.a;
INSERT INTO event VALUES (:run, :client_id, :n, md5(:n::text));
END;
\sleep 3 ms
};
my $run = 0;
my $in  = "direction = 'in' AND peer = 'lisbon'";
my $errors = "SELECT coalesce(max(last_error_at)::text, '') FROM multicenter.stat_links WHERE $in";

sub faults { return $proxy->stats->{faults} }

# Everything has arrived, once.
sub whole
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	comes_true("$name: the link heals by itself", sub {
			wait_streaming($lisbon, $oslo, 30);
			wait_all_applied($lisbon, $oslo);
		});
	return identical($lisbon, $oslo);
}

# One fault under load: it must happen and be noticed, and new changes must
# arrive while the load goes on.
sub strike
{
	my ($name, $kind, %fault) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = faults();
	my $last = $oslo->sql($errors);
	my $connects = $oslo->sql("SELECT connects FROM multicenter.stat_links WHERE $in");
	$proxy->fault($kind, direction => 'down', after => "MCF1\1T", %fault);
	comes_true("$name: noticed, and the link goes on", sub {
			poll("$name to happen", sub { my $n = faults(); return ($n > $before, $n) });
			$oslo->wait_for_sql("SELECT ($errors) <> '$last'", 't', 50);
			$oslo->wait_for_sql("SELECT connects > $connects FROM multicenter.stat_links WHERE $in", 't', 30);
			my $rows = $oslo->sql('SELECT count(*) FROM event');
			$oslo->wait_for_sql("SELECT count(*) > $rows FROM event", 't', 30);
		});
	my $error = $oslo->sql("SELECT last_error FROM multicenter.stat_links WHERE $in");
	like($error, qr/lisbon/, "$name: the error names the peer");
	note($error);
	return;
}

$run++;
my $load = start_load($lisbon, $script, clients => 2, define => { run => $run, n => 0 });
$oslo->wait_for_sql("SELECT count(*) > 0 FROM event WHERE run = $run");

# The header first, then records.
strike("flipped byte $_", 'flip', at => $_) foreach (4, 5, 7, 9, 13, 18, 25, 33, 41, 49, 57, 58, 60, 75, 90, 110, 120);

# Behind a heartbeat, whose length is known: the length of the next message.
# Where it is much too great the rest never comes, though bytes do.
strike('length of a message that is impossible', 'flip', after => "MCF1\1H", at => 57);
strike('length of a message that is too great', 'flip', after => "MCF1\1H", at => 58);
strike('bytes in between', 'insert', at => 40, data => "\0\1\2\3");
strike("stream that ends after $_ bytes of a frame", 'truncate', at => $_) foreach (0, 30, 90);

# What is wrong in a frame is told with the position of it.
is($oslo->sql("SELECT count(*) FROM multicenter.stat_links WHERE $in AND last_error IS NOT NULL AND last_error_sqlstate IS NOT NULL"), '1', 'the last error has a SQLSTATE');
$proxy->flip(direction => 'down', after => 'MCF1', at => 30);
$oslo->wait_for_sql("SELECT last_error ~* 'frame|checksum|CRC' AND last_error_lsn > '0/0' FROM multicenter.stat_links WHERE $in", 't', 20);
pass('a corrupted frame is told with a position');

# Connections that are reset, one after the other.
foreach my $i (1 .. 5)
{
	my $connects = $oslo->sql("SELECT connects FROM multicenter.stat_links WHERE $in");
	$proxy->cut;
	$oslo->wait_for_sql("SELECT connects > $connects FROM multicenter.stat_links WHERE $in", 't', 10);
}
pass('a connection that is reset is made again');

# Nobody answers at all.
$proxy->refuse;
$oslo->wait_for_sql("SELECT state <> 'streaming' AND stall_reason IS NOT NULL AND lag > interval '2 s' FROM multicenter.lag WHERE $in", 't', 30);
like($oslo->sql("SELECT last_error FROM multicenter.stat_links WHERE $in"), qr/lisbon/, 'a peer that refuses is named');
$proxy->pass;
wait_streaming($lisbon, $oslo);
pass('streams again within the deadline once the peer answers');

# Everything is swallowed, without an end of the connection.
$proxy->black_hole;
$oslo->wait_for_sql("SELECT state <> 'streaming' AND stall_reason IS NOT NULL FROM multicenter.lag WHERE $in", 't', 30);
pass('silence is noticed');
$lisbon->wait_for_sql("SELECT count(*) FROM pg_stat_replication WHERE application_name LIKE 'multicenter%'", '0', 30);
pass('by the sender, too');
$proxy->cut;
wait_streaming($lisbon, $oslo, 10);
finish_load($load);
whole('all faults so far');
is($oslo->sql('SELECT count(*) - count(DISTINCT (run, client, n)) FROM event'), '0', 'nothing was applied twice');

# A large transaction, and the connection goes in the middle of it; and again.
my $size = 20000;
foreach my $cut (200_000, 1_500_000, 4_000_000)
{
	$run++;
	my $before = faults();
	$proxy->truncate(direction => 'down', after => 'MCF1', at => $cut);
	$lisbon->sql("INSERT INTO event SELECT $run, 0, n, repeat('x', 300) FROM generate_series(1, $size) n");
	poll("the cut after $cut bytes", sub { my $n = faults(); return ($n > $before, $n) });
	my ($rows) = $oslo->sql("SELECT count(*) FROM event WHERE run = $run");
	ok($rows == 0 || $rows == $size, "cut after $cut bytes of a large transaction: all of it or nothing");
	$oslo->wait_for_sql("SELECT count(*) FROM event WHERE run = $run", $size);
}
whole('large transactions that were cut');

# Flipped, stalled and swallowed in the middle of one.
$run++;
$proxy->flip(direction => 'down', after => 'MCF1', at => 3_000_000);
$lisbon->sql("INSERT INTO event SELECT $run, 0, n, repeat('y', 300) FROM generate_series(1, $size) n");
$oslo->wait_for_sql("SELECT count(*) FROM event WHERE run = $run", $size);
$run++;
my $before = faults();
$proxy->stall(direction => 'down', after => 'MCF1', at => 2_000_000);
$lisbon->sql("INSERT INTO event SELECT $run, 0, n, repeat('z', 300) FROM generate_series(1, $size) n");
poll('the stall', sub { my $n = faults(); return ($n > $before, $n) });
$oslo->wait_for_sql("SELECT state <> 'streaming' FROM multicenter.lag WHERE $in", 't', 30);
is($oslo->sql("SELECT count(*) FROM event WHERE run = $run"), '0', 'nothing of a transaction is seen while its rest is missing');
# It is for the link to notice, and to take another connection.
$oslo->wait_for_sql("SELECT count(*) FROM event WHERE run = $run", $size);
whole('a large transaction that was flipped, and one that was held');

# Towards the origin: what the receiver reports is not trusted either.
foreach my $at (200, 260, 330)
{
	my $connects = $oslo->sql("SELECT connects FROM multicenter.stat_links WHERE $in");
	my $faults = faults();
	$proxy->flip(direction => 'up', after => 'START_REPLICATION', at => $at);
	$proxy->cut;
	poll('the byte to be flipped', sub { my $n = faults(); return ($n > $faults, $n) });
	$proxy->pass;
	$lisbon->sql("INSERT INTO event VALUES (0, 0, -$at)");
	$oslo->wait_for_sql("SELECT count(*) FROM event WHERE n = -$at", '1', 40);
}
whole('flipped bytes on the way to the origin');

foreach my $center ($lisbon, $oslo)
{
	unlike(PostgreSQL::Test::Utils::slurp_file($center->node->logfile), qr/was terminated by signal|PANIC|TRAP/,
		"no process of $center->{name} has crashed");
}
done_testing();
