# Goal: what a peer sends is compressed as the center that receives wants it,
# by lz4 and by zstd, and can be switched while changes flow; a frame that lies
# about itself stops the link with an error that names peer and position, never
# the server.
#
# Method: oslo reaches lisbon by way of a proxy and switches methods under
# load; the counters of both ends tell what was saved.  Then the proxy changes
# bytes of compressed frames, with the checksum made right.
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
	CREATE TABLE item (id int PRIMARY KEY, n bigint, v text, j jsonb);
	CREATE TABLE event (run int, client int, n int, v text);
});
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);

my $in  = "direction = 'in' AND peer = 'lisbon'";
my $out = "direction = 'out' AND peer = 'oslo'";
my $run = 0;

sub alter
{
	my ($value) = @_;
	my $option = defined $value ? qq{"$value"} : 'null';
	$oslo->sql(qq{SELECT multicenter.link_alter(peer => 'lisbon', options => '{"compression": $option}')});
	return;
}

# What the link has carried at one of its ends, in a hash.
sub carried
{
	my ($center, $where) = @_;
	my %c;
	@c{qw(sent raw connects)} = split(/\|/, $center->sql("SELECT bytes_sent, bytes_raw, connects FROM multicenter.stat_links WHERE $where"));
	return \%c;
}

# Ship rows that are easy or impossible to compress; how much of them is sent, at
# both ends.
sub share_of
{
	my ($value) = @_;
	$run++;
	my @before = (carried($lisbon, $out), carried($oslo, $in));
	$lisbon->sql("INSERT INTO event SELECT $run, 0, g, $value FROM generate_series(1, 5000) g");
	wait_all_applied($lisbon, $oslo);
	# The receiver publishes what it has counted when it has applied a batch.
	my @share;
	foreach my $end ([ $lisbon, $out, $before[0] ], [ $oslo, $in, $before[1] ])
	{
		my ($center, $where, $before) = @$end;
		poll('the counters', sub { my $raw = carried($center, $where)->{raw} - $before->{raw}; return ($raw > 500_000, $raw) });
		my $after = carried($center, $where);
		push(@share, ($after->{sent} - $before->{sent}) / ($after->{raw} - $before->{raw}));
	}
	return @share;
}

my $easy = q{repeat('a rather long text ', 8) || g};
my $hard = q{(SELECT string_agg(chr(33 + (random() * 90)::int), '') FROM generate_series(1, 100 + g * 0))};

is(join(' ', map { sprintf('%.2f', $_) } share_of($easy)), '1.00 1.00', 'nothing is compressed unless that is asked for');

#
# Bad options
#
$oslo->fails(q{SELECT multicenter.link_alter(peer => 'lisbon', options => '{"compression": "gzip"}')}, '22023', qr/gzip/, qr/lz4/, 'an unknown method');
$oslo->fails(q{SELECT multicenter.link_alter(peer => 'lisbon', options => '{"compression": 1}')}, '22023', qr/compression/, qr/string/, 'a method that is no string');
$oslo->fails(q{SELECT multicenter.link_alter(peer => 'lisbon', options => '{"logical_decoding_work_mem": "much"}')}, '22023', qr/logical_decoding_work_mem/, undef, 'a setting that PostgreSQL does not take');
is($oslo->sql('SELECT count(*) FROM multicenter.link WHERE compression IS NOT NULL OR logical_decoding_work_mem IS NOT NULL'), '0', 'nothing of that is kept');

# The work memory is set in the session of the walsender; that of others is not.
$oslo->sql(q{SELECT multicenter.link_alter(peer => 'lisbon', options => '{"logical_decoding_work_mem": "200MB"}')});
is($oslo->sql(q{SELECT logical_decoding_work_mem || ' ' || current_setting('logical_decoding_work_mem') FROM multicenter.link WHERE dsn IS NULL}), '200MB 64MB', 'work memory of the walsender is an option of the link, and no setting here');

#
# Both methods, switched under load
#
my $script = q{
\set n :n + 1
\set id :client_id * 1000 + random(1, 200)
BEGIN;
INSERT INTO item VALUES (:id, :n, repeat('v', :n % 500), '{"a": [1, "two"]}')
	ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v;
INSERT INTO event VALUES (:run, :client_id, :n, md5(:n::text));
END;
\sleep 3 ms
};

my @methods;
foreach my $method ('lz4', 'zstd')
{
	my $error = $oslo->error_of("SELECT multicenter.internal_compression_check('$method')");
	if ($error && $error->{sqlstate} eq '0A000')
	{
		note("this server was built without $method");
		next;
	}
	push(@methods, $method);
}
foreach my $method (@methods)
{
	$run++;
	my $load = start_load($lisbon, $script, clients => 2, define => { run => $run, n => 0 });
	$oslo->wait_for_sql("SELECT count(*) > 0 FROM event WHERE run = $run");
	my $connects = carried($oslo, $in)->{connects};
	alter($method);
	$oslo->wait_for_sql("SELECT connects > $connects AND bytes_raw > bytes_sent FROM multicenter.stat_links WHERE $in", 't');
	my $saved = $oslo->sql("SELECT bytes_raw - bytes_sent FROM multicenter.stat_links WHERE $in");
	$oslo->wait_for_sql("SELECT bytes_raw - bytes_sent > $saved FROM multicenter.stat_links WHERE $in", 't');
	finish_load($load);
	wait_all_applied($lisbon, $oslo);
	identical($lisbon, $oslo);

	my @share = share_of($easy);
	cmp_ok($share[$_], '<', 0.3, "$method: rows that are easy to compress become small (" . ('sender', 'receiver')[$_] . ')') foreach 0, 1;
	@share = share_of($hard);
	cmp_ok($share[$_], '<=', 1.01, "$method: others do not become larger") foreach 0, 1;

	# One row above the limit, one below it.
	$lisbon->sql(q{INSERT INTO item VALUES (-1, 1, repeat('x', 17000000)), (-2, 1, repeat('y', 9000000)) ON CONFLICT (id) DO UPDATE SET n = item.n + 1});
	wait_all_applied($lisbon, $oslo);
	identical($lisbon, $oslo);
}

#
# The setting, and what comes before it
#
my $connects = carried($oslo, $in)->{connects};
alter('none');
$oslo->wait_for_sql("SELECT connects > $connects FROM multicenter.stat_links WHERE $in", 't');
is(sprintf('%.2f', (share_of($easy))[0]), '1.00', 'switched off');
$oslo->append_conf("multicenter.compression = $methods[0]");
$oslo->reload;
is(sprintf('%.2f', (share_of($easy))[0]), '1.00', "the link's option comes before the setting");
$connects = carried($oslo, $in)->{connects};
alter(undef);
$oslo->wait_for_sql("SELECT connects > $connects FROM multicenter.stat_links WHERE $in", 't');
cmp_ok((share_of($easy))[0], '<', 0.3, 'without an option the setting counts');
cmp_ok($lisbon->sql("SELECT sum(bytes_raw - bytes_sent) FROM multicenter.stat_links WHERE direction = 'in'"), '==', 0, 'the other direction is a link of its own');
like($oslo->sql('SELECT multicenter.metrics_text()'), qr/^multicenter_link_raw_bytes_total\{center="oslo",peer="lisbon",direction="in"\} \d+/m, 'bytes before compression are a metric');

#
# Frames that lie.  The checksum is right; what is changed are the method, the
# reserved bytes, the length and what follows.
#
my @lies = (
	[ 0, 3,   qr/not agreed on/ ],
	[ 2, 1,   qr/reserved bytes/ ],
	[ 4, 127, qr/longer than is allowed/ ],
	[ 7, 1,   qr/damaged, or not as long/ ],
	[ 9, 255, undef ], (map { [ 8 + int(rand(3000)), 1 + int(rand(255)), undef ] } 1 .. 3));
foreach my $method (@methods)
{
	# The first one is in use already.
	$connects = carried($oslo, $in)->{connects} - ($method eq $methods[0]);
	alter($method);
	$oslo->wait_for_sql("SELECT connects > $connects FROM multicenter.stat_links WHERE $in", 't');
	wait_streaming($lisbon, $oslo);
	foreach my $lie (@lies)
	{
		my ($at, $xor, $message) = @$lie;
		my $faults = $proxy->stats->{faults};
		my $before = $oslo->sql("SELECT retries FROM multicenter.stat_links WHERE $in");
		$run++;
		$proxy->mutate(direction => 'down', after => "MCF1\1T\0\7", data => "$at $xor");
		poll('the frame to be changed', sub {
			$lisbon->sql("INSERT INTO event SELECT $run, 0, g, $easy FROM generate_series(1, 20) g");
			my $n = $proxy->stats->{faults};
			return ($n > $faults, $n);
		});
		next unless defined $message;
		$oslo->wait_for_sql("SELECT retries > $before FROM multicenter.stat_links WHERE $in", 't');
		like($oslo->sql("SELECT last_error_sqlstate || last_error || (last_error_lsn > '0/0')::text FROM multicenter.stat_links WHERE $in"),
			qr/^08P01malformed message from center "lisbon" at .*${message}.*true/, "$method: byte $at");
	}
	$proxy->pass;
	# A change of the bytes may have come through as another value.
	comes_true("$method: the link goes on", sub { wait_streaming($lisbon, $oslo); wait_all_applied($lisbon, $oslo) });
	$lisbon->sql('TRUNCATE event');
	wait_all_applied($lisbon, $oslo);
	identical($lisbon, $oslo);
}
foreach my $center ($lisbon, $oslo)
{
	unlike(PostgreSQL::Test::Utils::slurp_file($center->node->logfile), qr/was terminated by signal|PANIC|TRAP/,
		"no process of $center->{name} has crashed");
}
done_testing();
