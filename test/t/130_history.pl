# Goal: the history has each conflict once, in the transaction that decided it;
# it is cheap to write and to purge; whoever listens hears of each conflict.
#
# Method: two databases of one server.  Both directions are paused, both sides
# write as many rows as the test counts, and both are resumed.  For the purge
# the times of the segments are moved into the past.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my @centers = make_group([qw(lisbon oslo)], databases => 1, conf => "multicenter.log_conflicts_interval = 0\n", setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE "odd "" name" (id int PRIMARY KEY, v text);
	INSERT INTO item SELECT i, 'old' FROM generate_series(1, 3000) i;
	INSERT INTO "odd "" name" VALUES (1, 'old');
});
my ($lisbon, $oslo) = @centers;
my @links = links_between(@centers);
wait_all_applied(@centers);

# Rows that both sides change, so that each center decides one conflict each.
sub collide
{
	my ($table, $condition, $split) = @_;
	hold_links(@links);
	$lisbon->sql("UPDATE $table SET v = 'lisbon ' || clock_timestamp() WHERE $condition");
	$oslo->sql($split ? "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT id FROM $table WHERE $condition LOOP
		UPDATE $table SET v = 'oslo' WHERE id = r.id; COMMIT; END LOOP; END \$\$"
		: "UPDATE $table SET v = 'oslo' WHERE $condition");
	release_links(@links);
	return;
}

# As long as it says how many conflicts it has told of, and until it has told of all.
my @told;
my $listener = $lisbon->background_psql;
$listener->query_safe('LISTEN multicenter_conflict');
sub told
{
	my ($expected) = @_;
	Multicenter::Cluster::poll("notifications of $expected conflicts", sub {
			my $output = $listener->query('SELECT 1');
			push(@told, $1) while $output =~ /Asynchronous notification "multicenter_conflict" with payload "(.*)" received/g;
			my $n = 0;
			foreach my $payload (@told)
			{
				my $elements = $lisbon->sql(q{SELECT sum(coalesce((e ->> 'more')::int, 1)) FROM json_array_elements($json$} . $payload . q{$json$) e});
				$n += $elements;
			}
			return ($n == $expected, "$n: @told");
		});
	return;
}

# One conflict.
collide('item', 'id = 1');
told(1);
is($lisbon->sql("SELECT format('[{\"conflict_id\":%s,\"type\":\"update_origin_differs\",\"relation\":\"public.item\"}]', conflict_id) FROM multicenter.conflicts"), $told[0], 'the payload of a notification');
collide('"odd "" name"', 'id = 1');
told(2);
like($told[1], qr/"relation":"public\.\\"odd \\"\\" name\\""/, 'an odd name is valid JSON');

# Many in one transaction, and many transactions.
collide('item', 'id BETWEEN 1001 AND 2000');
told(1002);
my $history = 'SELECT count(*), count(DISTINCT conflict_id), count(DISTINCT key), min(resolver), count(policy_epoch), count(reviewed_at), count(override_of) FROM multicenter.conflicts WHERE relation = $$item$$::regclass';
is($lisbon->sql("$history AND (key ->> 'id')::int > 1000"), '1000|1000|1000|last_update_wins|0|0|0', 'each conflict of a transaction is there once');
is($oslo->sql("$history AND (key ->> 'id')::int > 1000"), '1000|1000|1000|last_update_wins|0|0|0', 'at the other center too');
collide('item', 'id BETWEEN 2001 AND 2300', 1);
told(1302);
is($lisbon->sql("$history AND (key ->> 'id')::int > 2000"), '300|300|300|last_update_wins|0|0|0', 'and of many transactions');
cmp_ok(scalar(@told), '<', 100, 'notifications are batched');
cmp_ok((sort { $b <=> $a } map { length } @told)[0], '<', 8000, 'and short');
is(scalar(grep { /lisbon|oslo|old/ } @told), 0, 'without row data');
is($lisbon->sql('SELECT count(*) FROM (SELECT conflict_id < lead(conflict_id) OVER (ORDER BY detected_at, conflict_id) AS up FROM multicenter.conflicts) t WHERE NOT up'), 0, 'numbers increase');

# A conflict that was committed while the manager did not live.
hold_links(@links);
$lisbon->sql("UPDATE item SET v = 'l' WHERE id = 3");
$oslo->sql("UPDATE item SET v = 'o' WHERE id = 3");
release_links(@links);
signal_pid('TERM', $lisbon->worker_pid('manager'));
told(1303);
$listener->quit;
@told = ();
$lisbon->restart;
wait_streaming(@centers);
$listener = $lisbon->background_psql;
$listener->query_safe('LISTEN multicenter_conflict');
collide('item', 'id = 4');
told(1);
pass('a restart tells of nothing twice');

# One whose number is older than many that were announced before.
my $late = $lisbon->background_psql;
$late->query_safe(q{BEGIN; SELECT multicenter.conflict_override(max(conflict_id), 'remote') FROM multicenter.conflicts WHERE relation = 'item'::regclass});
foreach my $id (11 .. 14)
{
	collide('item', "id = $id");
	told($id - 9);
}
$late->query_safe('COMMIT');
$late->quit;
told(6);
pass('and a conflict that was committed late is not missed');
$listener->quit;

my $log = PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile);
my @lines = $log =~ /LOG:  (\d+ conflicts? with changes of center \d+ in the last \d+ s)/g;
ok(@lines >= 3 && @lines < 100, 'the log has some lines') or diag("@lines");

# Rows that are too large.
$lisbon->append_conf('multicenter.conflict_max_row_bytes = 100');
$lisbon->reload;
$lisbon->wait_for_sql('SHOW multicenter.conflict_max_row_bytes', '100B');
hold_links(@links);
$lisbon->sql("UPDATE item SET v = repeat('x', 1000) WHERE id = 5");
$oslo->sql("UPDATE item SET v = 'short' WHERE id = 5");
release_links(@links);
is($lisbon->sql(q{SELECT local_row, remote_row FROM multicenter.conflicts WHERE key ->> 'id' = '5'}),
	'{"multicenter_omitted_bytes": 1004}|{"id":5,"v":"short"}', 'a row above conflict_max_row_bytes is only mentioned');

# The purge: a segment that is too old goes as a whole.
my $segments = q{SELECT string_agg(concat_ws(' ', segment, CASE WHEN until IS NULL THEN 'current' ELSE 'old' END), ', ' ORDER BY segment) FROM multicenter.conflict_segment WHERE since IS NOT NULL};
is($lisbon->sql($segments), '0 current', 'the first segment is written to');
my $before = $lisbon->sql('SELECT count(*) FROM multicenter.conflicts');
$lisbon->sql("UPDATE multicenter.conflict_segment SET since = since - interval '3 days' WHERE segment = 0");
$lisbon->wait_for_sql($segments, '0 old, 1 current');
is($lisbon->sql('SELECT count(*) FROM multicenter.conflicts'), $before, 'when a new one is begun the old one stays');
$lisbon->wait_for_sql("SELECT clock_timestamp() > until + interval '1.1 s' FROM multicenter.conflict_segment WHERE segment = 0");
collide('item', 'id = 6');
is($lisbon->sql('SELECT tableoid::regclass FROM multicenter.conflict_history ORDER BY conflict_id DESC LIMIT 1'), 'multicenter.conflict_history_1', 'new rows go to the new one');
my $session = $lisbon->background_psql;
$session->query_safe('BEGIN; SELECT count(*) FROM multicenter.conflicts');
$lisbon->sql("UPDATE multicenter.conflict_segment SET since = since - interval '31 days', until = until - interval '31 days' WHERE segment = 0");
$lisbon->wait_for_sql(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'multicenter manager' AND wait_event = 'relation'});
$session->query_safe('COMMIT');
$session->quit;
$lisbon->wait_for_sql('SELECT count(*) FROM multicenter.conflicts', 1);
is($lisbon->sql($segments), '1 current', 'one that is older than conflict_retention is emptied');
is($lisbon->sql(q{SELECT key FROM multicenter.conflicts}), '{"id": 6}', 'what is newer stays');
is($lisbon->sql("SELECT pg_relation_size('multicenter.conflict_history_0')"), 0, 'and its space is free');

# A segment that is still needed is not written to; the one before it grows.
$lisbon->sql("UPDATE multicenter.conflict_segment SET since = now(), until = now() WHERE segment = 2;
	UPDATE multicenter.conflict_segment SET since = since - interval '3 days' WHERE segment = 1");
$lisbon->sql("UPDATE multicenter.conflict_segment SET since = now() - interval '40 days', until = now() - interval '31 days' WHERE segment = 9");
$lisbon->wait_for_sql("$segments AND segment = 9", '');
is($lisbon->sql($segments), '1 current, 2 old', 'no segment is left while the next one is needed');

my $dump = $lisbon->pg_dump;
unlike($dump, qr/conflict_history/, 'a dump has nothing of the history');
identical(@centers, 'item');

# Rows are written as row_to_json() does, whatever is in them.
$lisbon->append_conf("multicenter.conflict_max_row_bytes = 1MB");
$lisbon->reload;
$lisbon->wait_for_sql("SHOW multicenter.conflict_max_row_bytes", "1MB");
$lisbon->sql(q{SELECT multicenter.replicate_ddl($ddl$
	CREATE DOMAIN positive AS int CHECK (VALUE > 0);
	CREATE TABLE kind (id int PRIMARY KEY, "a ""b\c" smallint, gone int, c bigint, d real, e double precision, f numeric, g numeric(20,4),
		h text, i varchar(10), j char(5), k uuid, l date, m timestamp, n timestamptz, o json, p jsonb, q boolean, r text);
	ALTER TABLE kind DROP gone;
	CREATE TABLE other_kind (id int PRIMARY KEY, a int[], b positive, c interval, d inet, r text);
	$ddl$)});
$lisbon->sql(q{
	INSERT INTO kind VALUES
		(1, 1, 2, 1.5, 2.5, 3.5, 4.5, 'text', 'v', 'c', '00000000-0000-0000-0000-000000000001', '2026-01-01', '2026-01-01 12:00', '2026-01-01 12:00+02', '{"a" : [1, 2]}', '{"a" : [1, 2]}', true),
		(2, -1, -9223372036854775808, 'NaN', 'NaN', 'NaN', '-0.0001', E'"\\\b\f\n\r\t\u0001\u20ac/<>', '', '', NULL, 'infinity', '-infinity', 'infinity', ' "x" ', 'null', false),
		(3, 32767, 9223372036854775807, '-Infinity', '1e300', 'Infinity', 0, '', 'ä', 'ä', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '0044-03-15 BC', '0044-03-15 BC', '294276-12-31 23:59:59.999999+00', '1e5', '1e5', NULL),
		(4, NULL, NULL, '-0', '-0', 1e20, 1e15, repeat(E'long \n', 1000), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
	INSERT INTO other_kind VALUES (1, '{1,NULL}', 3, '1 day', '::1'), (2, NULL, NULL, NULL, NULL)});
wait_all_applied(@centers);
hold_links(@links);
foreach my $center (@centers)
{
	$center->sql(sprintf(q{UPDATE kind SET r = '%1$s'; UPDATE other_kind SET r = '%1$s'}, $center->name));
	$center->sql('CREATE UNLOGGED TABLE mine AS SELECT id, row_to_json(whole)::text AS json FROM kind whole UNION ALL SELECT 100 + id, row_to_json(whole)::text FROM other_kind whole');
}
release_links(@links);
foreach my $center (@centers)
{
	my ($other) = grep { $_ != $center } @centers;
	my $conflicts = q{SELECT (key ->> 'id')::int + CASE relation::regclass::text WHEN 'kind' THEN 0 ELSE 100 END || %s FROM multicenter.conflict_history WHERE relation::regclass::text ~ 'kind$' ORDER BY 1};
	is($center->sql(sprintf($conflicts, 'local_row::text')), $center->sql('SELECT id || json FROM mine ORDER BY 1'), "rows of $center->{name} as JSON");
	is($center->sql(sprintf($conflicts, 'remote_row::text')), $other->sql('SELECT id || json FROM mine ORDER BY 1'), "what came to $center->{name} as JSON");
}

done_testing();
