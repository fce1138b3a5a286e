# Goal: the audit has each row that goes from center to center, exactly, also
# across crashes of the receiving server; who was connected and from where; and
# nobody but a superuser can change it.
#
# Method: known changes are compared with the views at both ends, with the audit
# off, in summary and in full; then a load during which the receiving server
# crashes; roles of all kinds try to change the tables.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $lisbon = new_center('lisbon');
my $oslo = new_center('oslo', conf => 'multicenter.audit = summary');
$lisbon->sql(q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE pair (a int, b text, v text, PRIMARY KEY (a, b));
	CREATE TABLE event (v text);
	INSERT INTO item SELECT n, 'before' FROM generate_series(1, 100) n});
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);

# Rows by table that a center has in its audit, of one direction.
sub summary
{
	my ($center, $direction, $where) = @_;
	return sprintf(q{SELECT string_agg(concat_ws(' ', peer, schema_name, table_name, transactions, inserts, updates, deletes, truncates, copied), E'\n' ORDER BY table_name)
		FROM (SELECT peer, schema_name, table_name, sum(transactions) AS transactions, sum(inserts) AS inserts, sum(updates) AS updates,
				sum(deletes) AS deletes, sum(truncates) AS truncates, sum(copied) AS copied
			FROM multicenter.audit_summary WHERE direction = '%s' AND center = '%s' AND %s GROUP BY 1, 2, 3) s}, $direction, $center->name, $where || 'true');
}

sub set_level
{
	my ($level, @at) = @_;
	foreach my $center (@at)
	{
		$center->sql("ALTER SYSTEM SET multicenter.audit = '$level'");
		$center->reload;
		$center->wait_for_sql('SHOW multicenter.audit', $level);
		$center->wait_for_sql(qq{SELECT detail LIKE '$level%' FROM multicenter.audit_connections WHERE event IN ('start', 'audit') ORDER BY at DESC LIMIT 1});
	}
	return;
}

# The join itself, and nothing at the center where the audit is off.
is($oslo->sql(summary($oslo, 'in')), "lisbon public event 1 0 0 0 0 0\nlisbon public item 1 0 0 0 0 100\nlisbon public pair 1 0 0 0 0 0", 'what a join copies is in the audit');
$lisbon->sql(q{INSERT INTO item VALUES (1001, 'x')});
wait_applied($lisbon, $oslo);
is($lisbon->sql('SELECT (SELECT count(*) FROM multicenter.audit_summary) + (SELECT count(*) FROM multicenter.audit_keys) + (SELECT count(*) FROM multicenter.audit_connections)'),
	0, 'off: nothing is recorded');

# Summary, on both sides.
set_level('summary', $lisbon);
my $changes = q{
	INSERT INTO item SELECT n, 'x' FROM generate_series(2001, 2010) n;
	BEGIN; UPDATE item SET v = 'y' WHERE id BETWEEN 2001 AND 2004; DELETE FROM item WHERE id = 2010; INSERT INTO pair VALUES (1, 'one', 'x'); COMMIT;
	BEGIN; INSERT INTO item VALUES (3000, 'never'); ROLLBACK;
	INSERT INTO event VALUES ('a'), ('b');
	TRUNCATE event;
};
$lisbon->sql($changes);
wait_applied($lisbon, $oslo);
my $expected = "public event 2 2 0 0 1 0\npublic item 2 10 4 1 0 0\npublic pair 1 1 0 0 0 0";
my $since = $oslo->sql(q{SELECT now()});
$lisbon->wait_for_sql(summary($lisbon, 'out'), $expected =~ s/public/oslo public/gr);
is($oslo->sql(summary($oslo, 'in')), "lisbon public event 3 2 0 0 1 0\nlisbon public item 4 11 4 1 0 100\nlisbon public pair 2 1 0 0 0 0", 'what was received is there as soon as it is applied');
is($oslo->sql(q{SELECT bool_and(minute = date_trunc('minute', minute) AND minute > now() - interval '10 min') FROM multicenter.audit_summary}), 't', 'by minute');
is($lisbon->sql(summary($lisbon, 'in')), '', 'nothing was received at the other end');
is($oslo->sql('SELECT count(*) FROM multicenter.audit_keys'), 0, 'no keys in a summary');

# Who was connected.
my $user = $lisbon->sql('SELECT current_user');
is($oslo->sql(q{SELECT DISTINCT concat_ws(' ', direction, peer, user_name) FROM multicenter.audit_connections WHERE event = 'connect' ORDER BY 1}),
	"in lisbon $user\nout lisbon $user", 'connections in both directions, with the user');
is($oslo->sql(q{SELECT count(*) FROM multicenter.audit_connections WHERE event = 'connect' AND address IS NULL}), 0, 'and the address');
$oslo->sql(q{SELECT multicenter.link_pause(peer => 'lisbon')});
$lisbon->wait_for_sql(q{SELECT count(*) > 0 FROM multicenter.audit_connections WHERE event = 'disconnect' AND direction = 'out' AND peer = 'oslo'});
$oslo->wait_for_sql(q{SELECT count(*) > 0 FROM multicenter.audit_connections WHERE event = 'disconnect' AND direction = 'in' AND peer = 'lisbon' AND detail IS NOT NULL AND user_name IS NOT NULL});
pass('the end of a connection is at both ends, with its reason');
$lisbon->sql(q{SELECT multicenter.peer_center_state(99, 'copying')});
$lisbon->wait_for_sql(q{SELECT concat_ws(' ', user_name, address IS NOT NULL) FROM multicenter.audit_connections WHERE event = 'copy'}, "$user t");
pass('the sponsor of a join notes who reads its tables');
$oslo->sql(q{SELECT multicenter.link_resume(peer => 'lisbon')});
wait_streaming($lisbon, $oslo);
$lisbon->wait_for_sql(q{SELECT count(*) > 0 FROM multicenter.audit_connections WHERE event = 'connect' AND direction = 'out' AND peer = 'oslo'});
pass('and the next one');

# Roles.
$oslo->sql(q{CREATE ROLE auditor LOGIN; GRANT multicenter_auditor TO auditor; CREATE ROLE other LOGIN; GRANT multicenter_admin, multicenter_monitor, multicenter_conflicts TO other;
	CREATE ROLE writer LOGIN; GRANT pg_read_all_data, pg_write_all_data, multicenter_admin TO writer});
foreach my $view (qw(audit_summary audit_keys audit_connections))
{
	like($oslo->sql("SET ROLE auditor; SELECT count(*) FROM multicenter.$view"), qr/^\d+$/, "an auditor reads $view");
	$oslo->fails("SET ROLE other; SELECT * FROM multicenter.$view", '42501', qr/permission denied/, undef, "administrators and monitors do not read $view");
}
foreach my $table (qw(audit_log audit_log_0 audit_raw_0 audit_raw_1 audit_segment))
{
	foreach my $role (qw(auditor other writer))
	{
		$oslo->fails("SET ROLE $role; $_", '42501', qr/permission denied|cannot be changed|must be owner/, undef, "$role: $_")
		  foreach "DELETE FROM multicenter.$table", "TRUNCATE multicenter.$table", "INSERT INTO multicenter.$table DEFAULT VALUES",
		  "ALTER TABLE multicenter.$table DISABLE TRIGGER refuse_change";
	}
}
$oslo->fails(q{SET ROLE writer; UPDATE multicenter.audit_log SET inserts = 0}, '42501', qr/cannot be changed/, undef, 'a role that may write to all tables does not change it');
$oslo->fails(q{SET ROLE other; SELECT multicenter.internal_audit_client(1, 'connect', '')}, '42501', qr/permission denied/, undef, 'nor does anybody invent connections');

# The examples of the guide.
my $guide = PostgreSQL::Test::Utils::slurp_file(abs_path(dirname(__FILE__) . '/../..') . '/docs/audit.md');
foreach my $statement (map { split(/(?<=;)\n/, $_) } $guide =~ /^```sql\n(.*?)^```/msg)
{
	my ($rc, $out, $err) = $oslo->psql("SET ROLE auditor; $statement");
	is("$rc $err", '0 ', 'runs: ' . substr($statement =~ s/\s+/ /gr, 0, 60));
}

# Full: key by key.
set_level('full', $oslo);
$since = $oslo->sql('SELECT clock_timestamp()');
$lisbon->sql(q{
	BEGIN;
	INSERT INTO pair VALUES (2, 'two', 'x');
	UPDATE pair SET v = 'y' WHERE a = 2;
	UPDATE pair SET b = 'zwei' WHERE a = 2;
	DELETE FROM pair WHERE a = 1;
	INSERT INTO event VALUES ('no key');
	COMMIT;
	INSERT INTO item SELECT n, 'x' FROM generate_series(5001, 5600) n});
wait_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT concat_ws(' ', center, peer, schema_name, table_name, operation, key, old_key) FROM multicenter.audit_keys WHERE table_name <> 'item' ORDER BY table_name DESC, at}),
	join("\n",
		'oslo lisbon public pair INSERT {"a": 2, "b": "two"}',
		'oslo lisbon public pair UPDATE {"a": 2, "b": "two"}',
		'oslo lisbon public pair UPDATE {"a": 2, "b": "zwei"} {"a": 2, "b": "two"}',
		'oslo lisbon public pair DELETE {"a": 1, "b": "one"}',
		'oslo lisbon public event INSERT'),
	'each change with its key');
is($oslo->sql(q{SELECT concat_ws(' ', count(*), count(DISTINCT key), count(DISTINCT remote_xid), min((key ->> 'id')::int), max((key ->> 'id')::int)) FROM multicenter.audit_keys WHERE table_name = 'item'}),
	'600 600 1 5001 5600', 'and of many');
is($oslo->sql(qq{SELECT bool_and(version > '$since' AND version <= at AND remote_lsn IS NOT NULL) FROM multicenter.audit_keys}), 't', 'with the time of their commit');
set_level('summary', $oslo);
$lisbon->sql(q{INSERT INTO pair VALUES (3, 'three', 'x')});
wait_applied($lisbon, $oslo);
is($oslo->sql('SELECT count(*) FROM multicenter.audit_keys'), 605, 'no more of them in a summary');

# Many transactions, so that they are summarized, and a crash of the receiving
# server in their middle: the audit has what was applied, no more, no less.
$lisbon->sql('CREATE TABLE load (id bigserial PRIMARY KEY, client int)');
$oslo->sql('CREATE TABLE load (id bigserial PRIMARY KEY, client int)');
my $load = start_load($lisbon, "INSERT INTO load (client) VALUES (:client_id);\n", clients => 2, transactions => 3500);
$oslo->wait_for_sql('SELECT count(*) > 1500 FROM load');
$oslo->stop('immediate');
$oslo->start;
finish_load($load);
wait_streaming($lisbon, $oslo, 30);
wait_applied($lisbon, $oslo);
my $rows = $oslo->sql('SELECT count(*) FROM load');
is($rows, 7000, 'all rows are there');
is($oslo->sql(summary($oslo, 'in', "table_name = 'load'")), 'lisbon public load 7000 7000 0 0 0 0', 'and in the audit, each once, across a crash');

# A manager that starts summarizes what is not written to, and begins anew.
my $raw = q{SELECT count(*) FROM (TABLE multicenter.audit_raw_0 UNION ALL TABLE multicenter.audit_raw_1) r WHERE table_name = 'load'};
poll('raw rows to be summarized', sub {
	my $pid = $oslo->worker_pid('manager');
	signal_pid(TERM => $pid) if $pid;
	$oslo->wait_for_sql(qq{SELECT count(*) = 1 FROM multicenter.workers WHERE role = 'manager' AND pid <> $pid});
	my $left = $oslo->sql($raw);
	return ($left == 0, $left);
}, 60);
is($oslo->sql(summary($oslo, 'in', "table_name = 'load'")), 'lisbon public load 7000 7000 0 0 0 0', 'nothing is lost by summarizing');
cmp_ok($oslo->sql(q{SELECT count(*) FROM multicenter.audit_log WHERE kind = 'rows' AND table_name = 'load'}), '<', 20, 'into a few rows');
like($oslo->sql(q{SELECT detail FROM multicenter.audit_connections WHERE event = 'start' ORDER BY at DESC LIMIT 1}), qr/^summary; the server had crashed/, 'the crash itself is in the audit');
$lisbon->wait_for_sql(q{SELECT sum(inserts) >= 7000 FROM multicenter.audit_summary WHERE direction = 'out' AND table_name = 'load'});
pass('the sender has sent at least as much');

# A restart of the sender loses nothing.
my $sent = q{SELECT sum(inserts) FROM multicenter.audit_summary WHERE direction = 'out' AND table_name = 'event'};
my $before = $lisbon->sql($sent);
$lisbon->sql(q{INSERT INTO event SELECT 'x' FROM generate_series(1, 10)});
$lisbon->stop('fast');
$lisbon->start;
wait_streaming($lisbon, $oslo, 30);
wait_applied($lisbon, $oslo);
$lisbon->wait_for_sql("SELECT ($sent) >= $before + 10");
pass('what was sent just before a shutdown is in the audit');

# Retention: a segment that is too old goes as a whole.
my $segments = q{SELECT string_agg(concat_ws(' ', segment, CASE WHEN until IS NULL THEN 'current' ELSE 'old' END), ', ' ORDER BY segment) FROM multicenter.audit_segment WHERE since IS NOT NULL};
is($oslo->sql($segments), '0 current', 'the first segment is written to');
$oslo->sql("UPDATE multicenter.audit_segment SET since = since - interval '20 days' WHERE segment = 0");
$oslo->wait_for_sql($segments, '0 old, 1 current');
is($oslo->sql('SELECT count(*) FROM multicenter.audit_keys'), 605, 'what is not too old stays');
$oslo->sql("UPDATE multicenter.audit_segment SET since = since - interval '91 days', until = until - interval '91 days' WHERE segment = 0");
$oslo->wait_for_sql($segments, '1 current');
is($oslo->sql('SELECT count(*) FROM multicenter.audit_keys'), 0, 'what is older than audit_retention is gone');

# Off again: that is the last record.
set_level('off', $oslo);
$lisbon->sql(q{INSERT INTO event VALUES ('not recorded')});
wait_applied($lisbon, $oslo);
my $count = 'SELECT (SELECT coalesce(sum(inserts), 0) FROM multicenter.audit_summary), (SELECT count(*) FROM multicenter.audit_connections)';
my $last = $oslo->sql($count);
$lisbon->sql(q{INSERT INTO event VALUES ('not recorded either')});
wait_applied($lisbon, $oslo);
is($oslo->sql($count), $last, 'off: nothing more is recorded');
like($oslo->sql(q{SELECT detail FROM multicenter.audit_connections WHERE event = 'audit' ORDER BY at DESC LIMIT 1}), qr/^off, was summary$/, 'and that it was switched off');
unlike($oslo->pg_dump, qr/audit_(log|raw)/, 'a dump has nothing of the audit');
identical($lisbon, $oslo);

# The audit outlives the group.
my $by_peer = q{SELECT string_agg(DISTINCT concat_ws(' ', direction, peer), ', ') FROM (SELECT direction, peer FROM multicenter.audit_summary UNION ALL SELECT direction, peer FROM multicenter.audit_connections WHERE peer IS NOT NULL) a};
$oslo->sql('SELECT multicenter.group_remove_local(force => true)');
like($oslo->sql($by_peer), qr/^in lisbon(, out lisbon)?$/, 'it knows the names of the centers after this one has left');

done_testing();
