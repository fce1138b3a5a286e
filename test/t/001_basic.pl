# Goal: two centers replicate in both directions, show it in their views, and
# can part again.
#
# Method: a table with rows is there before the second center joins; each kind
# of change is made on each side, waits are for progress, never for time.  The
# views must have the columns of the reference and say what was done.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $lisbon = new_center('lisbon', site => 'pt', conf => 'max_prepared_transactions = 5');
my $riga = new_center('riga', site => 'lv');

# No group, no work: views are empty, nothing is refused.
is($lisbon->sql('SELECT count(*) FROM multicenter.centers'), 0, 'no group yet: no center');
is($lisbon->sql('SELECT count(*) FROM multicenter.lag'), 0, 'no group yet: no link');
is($lisbon->worker_pid('manager'), 0, 'no group yet: no manager');

$lisbon->sql(
	q{
	CREATE TABLE city (id int PRIMARY KEY, name text NOT NULL, size int);
	CREATE TABLE visit (at timestamptz DEFAULT now(), city int REFERENCES city, note text);
	INSERT INTO city SELECT i, 'city ' || i, i * 10 FROM generate_series(1, 1000) i;
	INSERT INTO visit (city, note) VALUES (1, 'before the group');
});

is(group_create($lisbon, group => 'europe'), 1, 'the first center has number 1');
is($lisbon->sql('SELECT center_name, center_id, site, kind, state, is_local, fenced FROM multicenter.centers'),
	'lisbon|1|pt|active|ready|t|f', 'the first center is ready at once');
is($lisbon->sql("SELECT multicenter.wait_until_ready(timeout => '10 s')"), 't', 'and says so');
is(group_join($riga, $lisbon), 2, 'the second center has number 2');
is($riga->sql('SELECT multicenter.wait_until_ready()'), 't', 'the second center is ready');
wait_ready($lisbon, $riga);

# What was there before has been copied.
identical($lisbon, $riga, qw(city visit));
is($riga->sql('SELECT count(*) FROM city'), 1000, 'rows from before the group were copied');

# Each kind of change in each direction.
foreach my $pair ([ $lisbon, $riga, 0 ], [ $riga, $lisbon, 10000 ])
{
	my ($from, $to, $base) = @$pair;
	my $way = $from->name . ' to ' . $to->name;

	$from->sql("INSERT INTO city VALUES ($base + 2001, 'new', 1), ($base + 2002, 'new', 2)");
	wait_applied($from, $to);
	is($to->sql("SELECT count(*) FROM city WHERE id > $base + 2000 AND id < $base + 3000"), 2, "INSERT, $way");

	$from->sql("UPDATE city SET name = 'changed', size = NULL WHERE id = $base + 2001");
	wait_applied($from, $to);
	is($to->sql("SELECT name, size IS NULL FROM city WHERE id = $base + 2001"), 'changed|t', "UPDATE, $way");

	$from->sql("UPDATE city SET id = $base + 2003 WHERE id = $base + 2002");
	wait_applied($from, $to);
	is($to->sql("SELECT string_agg(id::text, ',') FROM city WHERE id IN ($base + 2002, $base + 2003)"),
		$base + 2003, "UPDATE of the key, $way");

	$from->sql("DELETE FROM city WHERE id = $base + 2003");
	wait_applied($from, $to);
	is($to->sql("SELECT count(*) FROM city WHERE id = $base + 2003"), 0, "DELETE, $way");

	# A transaction arrives whole, an aborted one never, savepoints as they ended.
	$from->sql(
		qq{
		BEGIN;
		INSERT INTO city VALUES ($base + 2010, 'kept', 1);
		SAVEPOINT one;
		INSERT INTO city VALUES ($base + 2011, 'dropped', 1);
		UPDATE city SET size = 99 WHERE id = $base + 2010;
		ROLLBACK TO one;
		INSERT INTO visit (city, note) VALUES ($base + 2010, 'from $from->{name}');
		COMMIT;
		BEGIN;
		INSERT INTO city VALUES ($base + 2012, 'aborted', 1);
		ROLLBACK;
	});
	wait_applied($from, $to);
	is($to->sql("SELECT string_agg(id || ' ' || size, ',') FROM city WHERE id BETWEEN $base + 2010 AND $base + 2012"),
		($base + 2010) . ' 1', "subtransactions, $way");

	# The later change of one row in one transaction wins.
	$from->sql(
		qq{
		BEGIN;
		INSERT INTO city VALUES ($base + 2020, 'a', 1);
		UPDATE city SET name = 'b' WHERE id = $base + 2020;
		DELETE FROM city WHERE id = $base + 2020;
		INSERT INTO city VALUES ($base + 2020, 'c', 2);
		UPDATE city SET id = $base + 2021 WHERE id = $base + 2020;
		INSERT INTO city VALUES ($base + 2020, 'd', 3);
		COMMIT;
	});
	wait_applied($from, $to);
	is($to->sql("SELECT string_agg(name, ',' ORDER BY id) FROM city WHERE id BETWEEN $base + 2020 AND $base + 2021"),
		'd,c', "several changes of one row in a transaction, $way");
	identical($lisbon, $riga, qw(city visit));

	$from->sql('TRUNCATE city CASCADE');
	wait_applied($from, $to);
	is($to->sql('SELECT (SELECT count(*) FROM city) + (SELECT count(*) FROM visit)'), 0, "TRUNCATE, $way");
	$from->sql("INSERT INTO city SELECT i, 'again', i FROM generate_series(1, 100) i");
	wait_applied($from, $to);
	identical($lisbon, $riga, qw(city visit));
}

# Tables made on both sides later replicate without a further step.
$_->sql('CREATE TABLE later (id int PRIMARY KEY, v text)') foreach ($lisbon, $riga);
$lisbon->sql("INSERT INTO later VALUES (1, 'lisbon')");
$riga->sql("INSERT INTO later VALUES (2, 'riga')");
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, 'later');
is($lisbon->sql('SELECT count(*) FROM later'), 2, 'a table made later replicates');

# A prepared transaction is replicated when it commits, and not before.
$lisbon->sql("BEGIN; INSERT INTO later VALUES (3, 'prepared'); PREPARE TRANSACTION 'p'");
$lisbon->sql("INSERT INTO later VALUES (4, 'beside')");
wait_applied($lisbon, $riga);
is($riga->sql('SELECT count(*) FROM later WHERE id = 3'), 0, 'PREPARE alone sends nothing');
$lisbon->sql("COMMIT PREPARED 'p'");
wait_applied($lisbon, $riga);
is($riga->sql('SELECT count(*) FROM later WHERE id = 3'), 1, 'COMMIT PREPARED does');

# The views have at least these columns, in whatever order.
my %columns = (
	centers => 'center_name center_id site kind state is_local fenced epoch server_version
		extension_version dsn joined_at',
	lag => 'peer direction state stall_reason state_since lag lag_basis replay_lag_bytes sent_lag_bytes
		flush_lag_bytes retained_wal_bytes apply_queue_bytes origin_lsn sent_lsn received_lsn flush_lsn
		replay_lsn last_message_at last_commit_at round_trip clock_offset apply_rate_bytes
		apply_rate_xacts catchup_interval status',
	stat_links => 'peer direction xacts inserts updates deletes truncates ddl conflicts quarantined retries
		bytes_sent bytes_raw last_error last_error_sqlstate last_error_relation last_error_lsn
		last_error_at connects stats_reset',
	conflicts => 'conflict_id detected_at center peer conflict_type resolver resolution relation schema_name
		table_name index_name key local_row remote_row result_row local_center local_version
		remote_center remote_version remote_lsn remote_xid policy_epoch reviewed_at override_of',
	conflict_summary => 'peer relation conflict_type resolution n last_at',
	workers => 'role pid peer',
	tables => 'relation schema_name table_name replica_identity sets actions problem');

foreach my $view (sort keys %columns)
{
	my $names = join ', ', map { "'$_'" } split ' ', $columns{$view};
	is( $lisbon->sql(
			"SELECT string_agg(n, ', ') FROM unnest(ARRAY[$names]) n
			 WHERE NOT EXISTS (SELECT FROM information_schema.columns
				WHERE table_schema = 'multicenter' AND table_name = '$view' AND column_name = n)"),
		'', "the view $view has its columns");
}

# What the views say.
is( $riga->sql('SELECT center_name, center_id, site, state, is_local FROM multicenter.centers ORDER BY 2'),
	"lisbon|1|pt|ready|f\nriga|2|lv|ready|t",
	'centers lists both');
is( $lisbon->sql('SELECT DISTINCT server_version / 10000, extension_version IS NOT NULL FROM multicenter.centers'),
	$lisbon->release . '|t',
	'centers knows versions');
is($lisbon->sql('SELECT peer, direction, state, status FROM multicenter.lag ORDER BY 2'),
	"riga|in|streaming|ok\nriga|out|streaming|ok",
	'lag has a row for each direction');
is( $riga->sql(
		q{SELECT xacts > 10, inserts > 100, updates >= 4, deletes >= 2, truncates >= 1, last_error IS NULL, connects >= 1
		  FROM multicenter.stat_links WHERE peer = 'lisbon' AND direction = 'in'}),
	't|t|t|t|t|t|t',
	'stat_links counts what came in');
is( $riga->sql(
		q{SELECT xacts > 10, bytes_sent > 1000 FROM multicenter.stat_links WHERE peer = 'lisbon' AND direction = 'out'}),
	't|t',
	'stat_links counts what went out');
is( $lisbon->sql('SELECT DISTINCT role FROM multicenter.workers ORDER BY 1'),
	"manager\nreceiver\nsupervisor\nwalsender",
	'workers lists every process');
is( $lisbon->sql(q{SELECT count(*) FROM multicenter.workers w
		WHERE NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = w.pid)}),
	0, 'each of them is a process of this server');
is( $lisbon->sql(q{SELECT DISTINCT peer FROM multicenter.workers WHERE role IN ('receiver', 'walsender')}),
	'riga', 'workers names the peer of a link');
is( $lisbon->sql(
		q{SELECT replica_identity, sets, actions, problem IS NULL FROM multicenter.tables WHERE table_name = 'city'}),
	'default|{default}|{insert,update,delete,truncate}|t',
	'tables: a table with a primary key');
is( $lisbon->sql(
		q{SELECT replica_identity, sets, actions, problem IS NOT NULL FROM multicenter.tables WHERE table_name = 'visit'}),
	'default|{default}|{insert,truncate}|t',
	'tables: a table without a key');

# No password, no traffic by loops: what one center applied is not sent back.
my $before = $riga->sql(q{SELECT xacts FROM multicenter.stat_links WHERE direction = 'in'});
my $back = $lisbon->sql(q{SELECT xacts FROM multicenter.stat_links WHERE direction = 'in'});
$lisbon->sql("INSERT INTO later VALUES (100 + $_, 'counted')") foreach 1 .. 7;
wait_applied($lisbon, $riga);
wait_applied($riga, $lisbon);
is($riga->sql(q{SELECT xacts FROM multicenter.stat_links WHERE direction = 'in'}) - $before,
	7, 'seven transactions are applied as seven');
is($lisbon->sql(q{SELECT xacts FROM multicenter.stat_links WHERE direction = 'in'}) - $back,
	0, 'and none comes back');

# Parting: the rest goes on, no trace is left behind.
$lisbon->sql("INSERT INTO later VALUES (200, 'last')");
$riga->sql("INSERT INTO later VALUES (201, 'last')");
$lisbon->sql(q{SELECT multicenter.center_part(center_name => 'riga')});
is($lisbon->sql(q{SELECT state FROM multicenter.centers WHERE center_name = 'riga'}),
	'parted', 'the center that left is listed as parted');
is($lisbon->sql('SELECT count(*) FROM later'), $riga->sql('SELECT count(*) FROM later'),
	'an orderly part leaves no change behind');
$lisbon->wait_for_sql(q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'multicenter'}, 0);
is($lisbon->sql('SELECT count(*) FROM multicenter.lag'), 0, 'no link is left where it was left');
$riga->sql('SELECT multicenter.group_remove_local(force => true)')
  if $riga->sql('SELECT count(*) FROM multicenter.identity') != 0;
is($riga->sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'multicenter%'}),
	0, 'no slot is left at the center that went');
is($riga->sql(q{SELECT count(*) FROM multicenter.centers}), 0, 'and no member is listed there');
$lisbon->sql("INSERT INTO later VALUES (300, 'alone')");
$riga->sql("INSERT INTO later VALUES (300, 'free')");
is($lisbon->sql('SELECT v FROM later WHERE id = 300'), 'alone', 'the center that stays goes on');
is($riga->sql('SELECT v FROM later WHERE id = 300'), 'free', 'the one that left is an ordinary database');

# It can come back, empty, under a new number.
$riga->sql('DROP TABLE visit, city, later');
is(group_join($riga, $lisbon), 3, 'a number is never used again');
wait_ready($lisbon, $riga);
$riga->sql("INSERT INTO later VALUES (400, 'back')");
wait_applied($riga, $lisbon);
identical($lisbon, $riga, qw(city visit later));

$lisbon->fails('DROP EXTENSION multicenter', '55006', qr/multicenter|center/, qr/group_remove_local/,
	'DROP EXTENSION of a center is refused and says the way out');

done_testing();
