# Goal: a peer that means harm can spoil its own changes, but not the server: no
# process crashes, and whatever it sends, the link can go on afterwards.
#
# Method: the proxy between the centers changes one byte in the body of a frame
# and corrects the checksum, so that the frame is well formed as a whole; again
# and again, at random places, in frames with every kind of record and of
# column.  Most are refused, some change a value.  Afterwards the tables of the
# target are filled anew by the origin, and must be identical.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Proxy;
use PostgreSQL::Test::Utils ();
use Test::More;

my $seed = $ENV{MC_SEED} || int(rand(1_000_000));
note("MC_SEED=$seed");
srand($seed);

my $lisbon = new_center('lisbon');
my $oslo   = new_center('oslo');
my $proxy  = Multicenter::Proxy->new($lisbon);
$lisbon->{dsn} = $proxy->dsn;

# Raw images, columns in binary and as text, all record types.
$lisbon->sql(q{
	CREATE TYPE mood AS ENUM ('sad', 'happy');
	CREATE DOMAIN word AS text CHECK (VALUE <> '');
	CREATE TYPE pair AS (a int, b text);
	CREATE TABLE plain (id int PRIMARY KEY, n bigint, t text, d date, f float8, b bool, x bytea, u uuid, v numeric(20,4), j jsonb);
	CREATE INDEX ON plain USING gin (j);
	CREATE TABLE rich (id int PRIMARY KEY, j jsonb, a text[], r int4range, i inet, m mood, w word, p pair, tv tsvector, pt point, bt bit(7), iv interval);
	CREATE TABLE whole (k int, t text);
	ALTER TABLE whole REPLICA IDENTITY FULL;
	CREATE TABLE bare (n int, t text);
});
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);

my $in = "direction = 'in' AND peer = 'lisbon'";
my @work = (
	q{INSERT INTO plain SELECT %d, 1234567890123, repeat('text', 10), '2026-01-01', 1.5, true, '\x00ff', gen_random_uuid(), 123456.789, '{"a": [1, "two", null, {"b": -2.50}], "b": "x", "long key": {}}' ON CONFLICT (id) DO UPDATE SET n = excluded.n + 1},
	q{INSERT INTO rich VALUES (%d, '{"a": [1, "two", null]}', '{a,b,NULL}', '[1,5)', '10.0.0.1/8', 'sad', 'word', ROW(1, 'b'), 'a:1 b:2', '(1,2)', B'1010101', '1 day 02:03') ON CONFLICT (id) DO UPDATE SET j = excluded.j || '{"b": 1}', m = 'happy'},
	q{INSERT INTO whole VALUES (%d, 'x'), (-%1$d, NULL); UPDATE whole SET t = t || 'y' WHERE k = %1$d},
	q{INSERT INTO bare VALUES (%d, 'x'), (NULL, NULL)},
	q{DELETE FROM rich WHERE id = %d - 5; DELETE FROM plain WHERE id = %1$d - 5; DELETE FROM whole WHERE k = %1$d - 5},
	q{UPDATE plain SET id = -id WHERE id = %d - 3; UPDATE rich SET id = -id WHERE id = %1$d - 3},
	q{TRUNCATE bare},
);

# Every frame of a new session describes its tables first, so about half of the
# mutations hit those descriptions.
my ($refused, $n) = (0, 0);
my $rounds = $ENV{MC_MUTATIONS} || 70;
my $errors = "SELECT retries, last_error_at FROM multicenter.stat_links WHERE $in";
my %kinds;
foreach my $round (1 .. $rounds)
{
	my $faults = $proxy->stats->{faults};
	my $before = $oslo->sql($errors);
	$proxy->mutate(direction => 'down', after => "MCF1\1T", data => int(rand(4000)) . ' ' . (1 + int(rand(255))));
	$n++;
	# Each has something to send, whatever its condition finds.
	$lisbon->sql("BEGIN; INSERT INTO bare VALUES ($n); " . sprintf($work[ $round % @work ], $n) . '; END');
	my $lsn = $lisbon->sql('SELECT pg_current_wal_insert_lsn()');
	my $fine = eval {
		poll('the frame to be changed', sub { my $s = $proxy->stats; return ($s->{faults} > $faults, $s->{faults}) }, 20);
		# Refused and then taken as it was meant, or taken with another value.
		$oslo->wait_for_sql("SELECT replay_lsn >= '$lsn' FROM multicenter.lag WHERE $in", 't', 20);
		1;
	};
	next if $fine && $before eq $oslo->sql($errors);
	$refused++;
	my $error = $oslo->sql("SELECT last_error_sqlstate || ' ' || last_error FROM multicenter.stat_links WHERE $in");
	$kinds{ $error =~ s/\d+|".*?"/~/gr }++;
	next if $fine;

	# An earlier mutation has left rows here on which this change fails.
	note("stuck: $error");
	$proxy->pass;
	$oslo->sql("SELECT multicenter.link_pause(peer => 'lisbon')");
	$oslo->sql("SET session_replication_role = replica; TRUNCATE plain, rich, whole, bare");
	$oslo->sql("SELECT multicenter.link_resume(peer => 'lisbon')");
	last unless comes_true('goes on once the rows are gone', sub { $oslo->wait_for_sql("SELECT replay_lsn >= '$lsn' FROM multicenter.lag WHERE $in", 't', 20) });
}
note("$refused of $n refused:");
note("  $kinds{$_} x $_") foreach sort keys %kinds;
cmp_ok($refused, '>', $n / 4, 'many mutations are noticed');
$proxy->pass;

# Whatever was spoilt is written anew.
$lisbon->sql('TRUNCATE plain, rich, whole, bare');
$lisbon->sql(sprintf($work[ $_ % 4 ], 1000 + $_)) foreach 1 .. 20;
comes_true('the link goes on', sub { wait_streaming($lisbon, $oslo, 20); wait_all_applied($lisbon, $oslo) });
identical($lisbon, $oslo, 'rich', 'whole', 'bare', 'plain');
foreach my $center ($lisbon, $oslo)
{
	unlike(PostgreSQL::Test::Utils::slurp_file($center->node->logfile), qr/was terminated by signal|PANIC|TRAP/,
		"no process of $center->{name} has crashed");
}
done_testing();
