# Goal: centers that decide by a handler agree, also where it fails, and where
# it fails at one center only: then the change waits there, and is decided
# once the handler is corrected.
#
# Method: three centers write the same rows while no link is open.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo, $tokyo) = make_group(3, databases => 1, conf => "multicenter.handler_timeout = 300ms\n", setup => q{
	CREATE TABLE t (id int PRIMARY KEY, v text, n int);
	INSERT INTO t SELECT i, 'x', 0 FROM generate_series(1, 8) i});
my @centers = ($lisbon, $oslo, $tokyo);

# Make the handler, on all centers.
sub make_handler
{
	my ($body) = @_;
	$lisbon->sql(qq{SELECT multicenter.replicate_ddl(\$ddl\$
		CREATE OR REPLACE FUNCTION public.merge_t(l public.t, r public.t, info multicenter.conflict_info, OUT result_row public.t, OUT action text)
		LANGUAGE plpgsql STABLE AS \$\$
		BEGIN
			IF info.conflict_type <> 'update_origin_differs' THEN
				action := CASE WHEN l IS NULL THEN 'apply_remote' ELSE 'keep_local' END;
				RETURN;
			END IF;
			result_row := r;
			result_row.n := l.n + r.n;
			result_row.v := l.v || r.v;
			action := 'row';
			$body
		END \$\$ \$ddl\$)});
	wait_all_applied(@centers);
	return;
}

# All centers write the first rows, as if at the same time; the last one deletes one.
sub write_at_once
{
	my ($deletes) = @_;
	hold_links(links_between(@centers));
	foreach my $i (1 .. 3)
	{
		$centers[ $i - 1 ]->sql("UPDATE t SET n = $i, v = '$i' WHERE id <= 6");
		$centers[ $i - 1 ]->sql($i == 3 ? 'DELETE FROM t WHERE id = 7' : "UPDATE t SET n = $i, v = '$i' WHERE id = 7") if $deletes;
	}
	release_links(links_between(@centers));
	wait_all_applied(@centers);
	return;
}

sub rows
{
	my ($center) = @_;
	return $center->sql(q{SELECT string_agg(id || ':' || v || ':' || n, ' ' ORDER BY id) FROM t WHERE id <= 7});
}

make_handler('');
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('t', NULL, 'handler', 'merge_t(t, t, multicenter.conflict_info)')});
$_->wait_for_sql(q{
	SELECT max(p.ts) < clock_timestamp() FROM multicenter.policy_epoch p JOIN multicenter.identity i USING (center_id)
	WHERE p.epoch = (SELECT max(epoch) FROM multicenter.conflict_policy)}, 't') foreach @centers;

#
# What a handler makes of three writes
#

write_at_once(1);
is(rows($_), join(' ', map { "$_:123:6" } 1 .. 6) . ' 7:12:3', "$_->{name}: the merge of all, in the order of versions; and a delete that lost")
  foreach @centers;

#
# Handlers that fail: at all centers, and at one
#

$lisbon->sql("UPDATE t SET n = 0, v = 'x'");
wait_all_applied(@centers);
make_handler(q{
	IF l.id = 2 THEN RAISE EXCEPTION 'no'; END IF;
	IF l.id = 3 THEN PERFORM pg_sleep_for(interval '1 min'); END IF;
	IF l.id = 4 AND current_database() = 'oslo' THEN PERFORM pg_sleep_for(interval '1 min'); END IF;
	IF l.id = 5 THEN result_row.id := 77; END IF;});
write_at_once(0);
cmp_ok($_->sql(q{SELECT count(*) FROM multicenter.quarantine WHERE error_message LIKE 'conflict handler public.merge_t %'}), '>', 0,
	"$_->{name}: changes that were not decided wait") foreach @centers;
$lisbon->sql(q{INSERT INTO t VALUES (100, 'other', 1)});
wait_all_applied(@centers);
is($oslo->sql('SELECT v FROM t WHERE id = 100'), 'other', 'the links go on');

# What would fail again is not tried again before it goes into quarantine.
my $retries = q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in' AND peer = 'lisbon'};
make_handler(q{RAISE EXCEPTION 'never';});
my $before = $oslo->sql($retries);
hold_links(links_between(@centers));
$lisbon->sql("UPDATE t SET v = '1' WHERE id = 8");
$oslo->sql("UPDATE t SET v = '2' WHERE id = 8");
release_links(links_between(@centers));
wait_all_applied(@centers);
is($oslo->sql($retries) - $before, 1, 'a handler that raises an error stalls its link for one attempt');
is($oslo->sql(q{SELECT count(*) FROM multicenter.quarantine WHERE key ->> 'id' = '8' AND error_message ~ 'never'}), 1, 'and the change is in quarantine');

make_handler('');
$_->sql('SELECT multicenter.quarantine_retry()') foreach @centers;
$_->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0) foreach @centers;
wait_all_applied(@centers);
is(rows($_), join(' ', map { "$_:123:6" } 1 .. 6) . ' 7:x:0', "$_->{name}: decided with the corrected handler") foreach @centers;
identical(@centers, 't');

# What it makes of large rows is only mentioned.
$lisbon->append_conf("multicenter.conflict_max_row_bytes = 1000\n");
$lisbon->reload;
hold_links(links_between(@centers));
$lisbon->sql("UPDATE t SET v = repeat('1', 900) WHERE id = 8");
$oslo->sql("UPDATE t SET v = repeat('2', 900) WHERE id = 8");
release_links(links_between(@centers));
wait_all_applied(@centers);
is($tokyo->sql('SELECT v = repeat($$1$$, 900) || repeat($$2$$, 900) FROM t WHERE id = 8'), 't', 'large rows are merged');
is($_->sql(q{SELECT string_agg(DISTINCT regexp_replace(result_row::text, '\\d+', 'N', 'g'), ' ') FROM multicenter.conflicts
		WHERE key ->> 'id' = '8' AND resolution = 'row' AND (result_row ->> 'v' IS NULL OR length(result_row ->> 'v') > 1000)}),
	'{"multicenter_omitted_bytes": N}', "$_->{name}: but not kept in the history") foreach @centers;

done_testing();
