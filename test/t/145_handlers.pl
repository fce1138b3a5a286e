# Goal: whatever a conflict handler does, its answer is an action or an error
# as a value, and everything else is as it was before.
#
# Method: the function by which apply calls handlers is called from a session,
# with handlers of both forms in SQL, PL/pgSQL and C, good and bad ones; and in
# a receiver, from a trigger.  The examples of docs/conflicts.md are run, too.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Multicenter::Cluster;
use Multicenter::Handler;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my ($lisbon, $oslo) = make_group(2, databases => 1, conf => "multicenter.handler_timeout = 10s\n", setup => q{
	CREATE ROLE alice;
	CREATE ROLE mallory;
	CREATE TABLE t (gone int, id int PRIMARY KEY, v text NOT NULL, n numeric DEFAULT 0,
		g int GENERATED ALWAYS AS (id * 2) STORED, j jsonb, a int[]);
	ALTER TABLE t DROP COLUMN gone;
	INSERT INTO t (id, v, n, j, a) VALUES (1, 'one', 1.50, '{"x": 1}', '{1,2}'), (2, 'two', 2, NULL, NULL), (3, 'three', 3, NULL, NULL);
	CREATE TABLE other (id int PRIMARY KEY, v text);
	CREATE TABLE parent (id int, v text, PRIMARY KEY (id)) PARTITION BY LIST (id);
	CREATE TABLE leaf (v text, gone int, id int NOT NULL);
	ALTER TABLE leaf DROP COLUMN gone;
	ALTER TABLE parent ATTACH PARTITION leaf FOR VALUES IN (1);
	CREATE TABLE super (id int PRIMARY KEY);
	CREATE SEQUENCE s;
	GRANT ALL ON SEQUENCE s TO alice;
	ALTER TABLE t OWNER TO alice;
	ALTER TABLE other OWNER TO alice;
	GRANT CREATE, USAGE ON SCHEMA public TO alice, mallory;
	ALTER TABLE parent OWNER TO alice;
	ALTER TABLE leaf OWNER TO alice});
handler_install($lisbon);

# Make a handler of alice, in PL/pgSQL if the body begins with a word of it.
sub handler
{
	my ($name, $body, %options) = @_;
	my ($type, $owner, $attributes) = ($options{type} // 't', $options{owner} // 'alice', $options{as} // 'STABLE');
	my $language = $body =~ /^\s*(?:BEGIN|DECLARE)\b/ ? 'plpgsql' : 'sql';
	my $definition = $options{c} ? sprintf(q{LANGUAGE c AS '%s', '%s'}, handler_library(), $body)
	  : "LANGUAGE $language AS \$body\$$body\$body\$";
	$lisbon->sql(qq{SET check_function_bodies = off;
		CREATE FUNCTION $name(local_row $type, remote_row $type, info multicenter.conflict_info,
			OUT result_row $type, OUT action text) $attributes $definition;
		ALTER FUNCTION $name OWNER TO $owner});
	return $name;
}

my $local = q{{"id": "1", "v": "a", "n": "1.50", "j": {"x": 1}, "a": "{1,2}"}};
my $remote = q{{"id": "1", "v": "b", "n": "2", "j": null, "a": null}};

# The call of a handler, as SQL.
sub call
{
	my ($name, %options) = @_;
	my ($l, $r) = map { defined $_ ? "'$_'" : 'NULL' }
	  (exists $options{local} ? $options{local} : $local, exists $options{remote} ? $options{remote} : $remote);
	return sprintf(q{multicenter_test.handler('%s', '%s', %s, %s)}, $options{relation} // 't', $name, $l, $r);
}

# One test: what a handler answers, as "action|row" or "error".
sub answers
{
	my ($name, $expected, $what, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $answer = $lisbon->sql(sprintf(q{SELECT concat_ws('|', action, result, error) FROM %s}, call($name, %options)));
	return ref $expected ? like($answer, $expected, $what) : is($answer, $expected, $what);
}

# One test: a handler that is made of this body fails with this message.
my $nfailing = 0;
sub fails
{
	my ($what, $body, $expected, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $name = handler('failing' . ++$nfailing, $body, %options);
	return answers($name, qr/^quarantine\|conflict handler public\.$name $expected/, $what, %options);
}

#
# Good ones
#

my $with_n = sub { sprintf(q{{"a": %s, "j": %s, "n": "%s", "v": "%s", "id": "1"}}, @_) };
my @local_rest = (q{"{1,2}"}, q{"{\\"x\\": 1}"});

handler('greater', q{SELECT CASE WHEN local_row.n >= remote_row.n THEN local_row ELSE remote_row END, 'row'});
answers('greater', 'row|' . $with_n->('null', 'null', 2, 'b'), 'typed, SQL');
handler('total', q{BEGIN result_row := local_row; result_row.n := local_row.n + remote_row.n; action := 'row'; END});
answers('total', 'row|' . $with_n->(@local_rest, '3.50', 'a'), 'typed, PL/pgSQL');
handler('greater_json', q{SELECT local_row || jsonb_build_object('n', greatest((local_row->>'n')::numeric, (remote_row->>'n')::numeric),
	'j', jsonb_build_object('x', 2), 'a', '{3}', 'g', 77), 'row'}, type => 'jsonb');
answers('greater_json', 'row|' . $with_n->(q{"{3}"}, q{"{\\"x\\": 2}"}, 2, 'a'), 'jsonb, SQL, with numbers and objects as values');
handler('total_json', q{BEGIN result_row := local_row; result_row['n'] := to_jsonb((local_row->>'n')::numeric + (remote_row->>'n')::numeric);
	action := 'row'; END}, type => 'jsonb', as => 'IMMUTABLE');
answers('total_json', 'row|' . $with_n->(@local_rest, '3.50', 'a'), 'jsonb, PL/pgSQL, IMMUTABLE');
handler('c_remote', 'handler_remote', c => 1, owner => 'alice');
answers('c_remote', 'row|' . $with_n->('null', 'null', 2, 'b'), 'typed, C');
handler('c_remote_json', 'handler_remote', c => 1, type => 'jsonb');
answers('c_remote_json', 'row|' . $with_n->('null', 'null', 2, 'b'), 'jsonb, C');
handler('inherited', q{SELECT remote_row, 'row'}, type => 'parent');
answers('inherited', 'row|{"v": "y", "id": "1"}', 'a partition is given as a row of its parent',
	relation => 'leaf', local => '{"id": "1", "v": "x"}', remote => '{"id": "1", "v": "y"}');
foreach my $action (qw(keep_local apply_remote skip quarantine next))
{
	handler("only_$action", qq{SELECT local_row, '$action'});
	answers("only_$action", $action, "action $action");
}
handler('deleted', q{SELECT NULL::public.t, CASE WHEN local_row IS NULL THEN 'apply_remote' ELSE 'keep_local' END});
answers('deleted', 'apply_remote', 'a deleted row is null', local => undef);
handler('catches', q{BEGIN
	BEGIN action := (1 / (local_row.id - 1))::text; EXCEPTION WHEN division_by_zero THEN action := 'row'; END;
	result_row := remote_row; END});
answers('catches', 'row|' . $with_n->('null', 'null', 2, 'b'), 'a handler may catch errors of its own');

# What it is told, and what it is.
handler('told', q{BEGIN result_row := local_row; result_row.v := info::text; action := 'row'; END});
answers('told', qr/\(update_origin_differs,update,public\.t,,lisbon,\\"2026-01-01 00:00:01\+00\\",lisbon,\\"2026-01-01 00:00:02\+00\\",,t,\)/,
	'it is told about the conflict');
handler('who', q{BEGIN result_row := local_row; action := 'row';
	result_row.v := format('%s %s %s %s', current_user, current_setting('search_path'), current_setting('timezone'), coalesce(remote_row.g::text, '-')); END});
answers('who', qr/"v": "alice pg_catalog, pg_temp UTC -"/, 'it runs as the owner of the table, with its search_path pinned');
is($lisbon->sql(q{SET search_path = public, multicenter; SELECT action FROM } . call('greater') . q{;
	SELECT current_user || ' ' || current_setting('search_path') || ' ' || current_setting('transaction_read_only')}),
	"row\npostgres public, multicenter off", 'and nothing of that remains');

#
# Bad ones
#

my $failed = qr/failed: /;
fails('raises', q{BEGIN RAISE EXCEPTION 'no idea'; END}, qr/${failed}no idea$/);
fails('divides by zero', q{SELECT local_row, (1 / (local_row.id - 1))::text}, qr/${failed}division by zero$/);
fails('calls what is not on the search_path', q{SELECT greater(local_row, remote_row, info)}, qr/${failed}function greater\(.*\(SQLSTATE 42883\)$/);
fails('pretends that the server is shut down', q{BEGIN RAISE EXCEPTION 'down' USING ERRCODE = 'admin_shutdown'; END}, qr/${failed}down \(SQLSTATE 57P01\)$/);
fails('pretends to be canceled', q{BEGIN RAISE EXCEPTION 'off' USING ERRCODE = 'query_canceled'; END}, qr/${failed}off \(SQLSTATE 57014\)$/);
fails('pretends a deadlock', q{BEGIN RAISE EXCEPTION 'dead' USING ERRCODE = 'deadlock_detected'; END}, qr/${failed}dead \(SQLSTATE 40P01\)$/);
fails('raises a book', q{BEGIN RAISE EXCEPTION '%', repeat('Ä', 50000000); END}, qr/${failed}(?:Ä){1000}$/);
fails('recurses', q{BEGIN action := (SELECT f.action FROM public.failing8(local_row, remote_row, info) f); END},
	qr/${failed}stack depth limit exceeded \(SQLSTATE 54001\)$/);

fails('has no action', q{SELECT local_row, NULL}, qr/${failed}the action is null$/);
fails('knows another action', q{SELECT local_row, 'delete'}, qr/${failed}unknown action "delete"$/);
fails('has no row', q{SELECT NULL::public.t, 'row'}, qr/${failed}the action is "row", and the row is null$/);
fails('changes the key', q{BEGIN result_row := local_row; result_row.id := 7; action := 'row'; END}, qr/${failed}the row has another key$/);
fails('loses the key', q{BEGIN result_row := local_row; result_row.id := NULL; action := 'row'; END}, qr/${failed}the row has another key$/);
fails('changes the key, jsonb', q{SELECT local_row || '{"id": 7}', 'row'}, qr/${failed}the row has another key$/, type => 'jsonb');
fails('lacks a column', q{SELECT local_row - 'n', 'row'}, qr/${failed}the row lacks column "n"$/, type => 'jsonb');
fails('adds a column', q{SELECT local_row || '{"m": 1}', 'row'}, qr/${failed}the table has no column "m"$/, type => 'jsonb');
fails('adds a dropped column', q{SELECT local_row || '{"gone": 1}', 'row'}, qr/${failed}the table has no column "gone"$/, type => 'jsonb');
fails('adds a system column', q{SELECT local_row || '{"xmin": 1}', 'row'}, qr/${failed}the table has no column "xmin"$/, type => 'jsonb');
fails('gives an array', q{SELECT local_row || '{"a": [1, 2]}', 'row'}, qr/${failed}the value of column "a" is an array or an object$/, type => 'jsonb');
fails('gives a bad value', q{SELECT local_row || '{"n": "many"}', 'row'}, qr/${failed}invalid input syntax for type numeric: "many"$/, type => 'jsonb');
fails('gives no object', q{SELECT '[1]'::jsonb, 'row'}, qr/${failed}the row is not a jsonb object$/, type => 'jsonb');
fails('gives JSON null', q{SELECT 'null'::jsonb, 'row'}, qr/${failed}the row is not a jsonb object$/, type => 'jsonb');
fails('gives a huge row', q{BEGIN result_row := local_row; result_row.v := repeat('x', 150000000); action := 'row'; END},
	qr/${failed}the row is greater than 128 MB \(SQLSTATE 54000\)$/);
fails('returns another type, C', 'handler_swapped', qr/${failed}the answer is not a row and an action$/, c => 1);
fails('returns a row of another type, C', 'handler_info_as_row', qr/${failed}the row is of type multicenter\.conflict_info$/, c => 1);
fails('leaves subtransactions, C', 'handler_subtransactions', qr/${failed}left three subtransactions \(SQLSTATE XX000\)$/, c => 1);

# Those that write, or want to be somebody else.
$lisbon->sql(q{CREATE FUNCTION sneak(command text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE command; END'});
my $sneak = sub { my ($command) = @_; return "BEGIN PERFORM public.sneak(\$\$$command\$\$); action := 'skip'; END" };
fails('writes', q{BEGIN INSERT INTO public.other VALUES (1); action := 'skip'; END}, qr/${failed}INSERT is not allowed in a non-volatile function/);
fails('lets write', $sneak->('INSERT INTO public.other VALUES (1)'), qr/${failed}cannot execute INSERT in a read-only transaction/);
fails('lets write after a change of mind', $sneak->(q{SELECT set_config('transaction_read_only', 'off', true)}),
	qr/${failed}cannot set transaction read-write mode inside a read-only transaction/);
fails('takes a number of a sequence', $sneak->(q{SELECT nextval('public.s')}), qr/${failed}cannot execute nextval\(\) in a read-only transaction/);
fails('makes a table', $sneak->('CREATE TABLE public.x ()'), qr/${failed}cannot execute CREATE TABLE in a read-only transaction/);
fails('makes a temporary table', $sneak->('CREATE TEMP TABLE x ()'), qr/${failed}cannot execute CREATE TABLE in a read-only transaction/);
fails('locks rows', $sneak->('SELECT FROM public.t FOR UPDATE'), qr/${failed}cannot execute SELECT FOR UPDATE in a read-only transaction/);
fails('becomes another role', $sneak->(q{SET ROLE postgres}), qr/${failed}cannot set parameter "role" within security-restricted operation/);
fails('becomes another user', $sneak->(q{SET SESSION AUTHORIZATION postgres}), qr/${failed}cannot set parameter "session_authorization" within security-restricted operation/);
fails('kills', $sneak->('SELECT pg_terminate_backend(pg_backend_pid())'), qr/${failed}(?:must be .*superuser|permission denied to terminate)/);
fails('rolls back', $sneak->('ROLLBACK'), qr/${failed}.*(?:ROLLBACK|transaction)/);
is($lisbon->sql('SELECT count(*), (SELECT last_value FROM s), (SELECT is_called FROM s) FROM other'), '0|1|f', 'nothing was written');

handler('locks', $sneak->(q{SELECT pg_advisory_xact_lock(4711)}));
handler('sets', $sneak->(q{SELECT set_config('statement_timeout', '77', false), set_config('search_path', 'public', false)}));
is($lisbon->sql(sprintf(q{BEGIN; INSERT INTO other VALUES (1, 'before'); SELECT action FROM %s; SELECT action FROM %s; SELECT action FROM %s;
		INSERT INTO other VALUES (2, 'after'); SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711;
		SELECT current_setting('statement_timeout') || current_setting('search_path'); COMMIT},
		call('failing1'), call('locks'), call('sets'))),
	qq{quarantine\nskip\nskip\n0\n0"\$user", public}, 'locks and settings go with the call');
is($lisbon->sql(q{SELECT string_agg(v, ' ' ORDER BY id) FROM other}), 'before after', 'the transaction around it goes on');

handler('nested', q{BEGIN action := (SELECT h.action FROM multicenter_test.handler('public.super', 'public.nested', '{"id": 1}', '{"id": 1}') h); END},
	type => 'super', owner => 'postgres');
answers('nested', qr/^quarantine\|.*${failed}a conflict handler cannot call conflict handlers/, 'a handler cannot call handlers',
	relation => 'super', local => '{"id": 1}', remote => '{"id": 1}');
is($lisbon->sql(sprintf(q{SELECT action FROM %s; BEGIN; ALTER TABLE t ADD COLUMN m int; SELECT result->'m' FROM %s; SELECT result->'m' FROM %s; ROLLBACK;
		SELECT result ? 'm' FROM %s},
		call('total'), call('total'), call('greater_json', remote => '{"id": 1, "m": 5, "n": 7}', local => '{"id": 1, "m": 4, "n": 6, "v": "x"}'), call('total'))),
	qq{row\nnull\n"4"\nf}, 'the table may change in a session');

# Those that never end.
$lisbon->append_conf('multicenter.handler_timeout = 200ms');
$lisbon->reload();
$lisbon->wait_for_sql('SHOW multicenter.handler_timeout', '200ms');
my $took = qr/took longer than 200 ms$/;
my $begin = time();
fails('loops', q{BEGIN LOOP END LOOP; END}, $took);
fails('loops in SQL', q{SELECT local_row, count(*)::text FROM generate_series(1, 1000000000000)}, $took);
fails('sleeps', q{BEGIN PERFORM pg_sleep_for(interval '1 min'); END}, $took);
fails('loops, C', 'handler_loop', $took, c => 1);
fails('catches the end of its time', q{BEGIN PERFORM pg_sleep_for(interval '1 min'); EXCEPTION WHEN query_canceled THEN action := 'skip'; END}, $took);
fails('catches it again and again', q{BEGIN LOOP BEGIN PERFORM pg_sleep_for(interval '1 min'); EXCEPTION WHEN query_canceled THEN END; END LOOP; END}, $took);
fails('catches everything', q{BEGIN LOOP BEGIN LOOP BEGIN PERFORM pg_sleep_for(interval '1 min'); EXCEPTION WHEN query_canceled OR others THEN LOOP END LOOP; END; END LOOP;
	EXCEPTION WHEN query_canceled OR others THEN LOOP END LOOP; END; END LOOP; END}, $took);
cmp_ok(time() - $begin, '<', 7 * 2, 'all of them are ended soon');
$lisbon->fails(q{SET statement_timeout = '50ms'; SELECT action FROM } . call('failing' . ($nfailing - 4)), '57014',
	qr/statement timeout/, undef, 'the statement itself can be ended by others');
answers('greater', qr/^row/, 'and the next one has its full time');

#
# Registration
#

# One test: the check refuses a function.
sub refused
{
	my ($what, $name, $state, $detail, $hint, $relation) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $error = $lisbon->error_of(sprintf(q{SELECT multicenter.internal_handler_check(%s, '%s'::regproc::regprocedure)},
			$relation // q{'t'}, $name));
	return ok($error && $error->{sqlstate} eq $state && ($error->{detail} // '') =~ $detail && ($error->{hint} // '') =~ $hint,
		"refused: $what") || diag($error ? $error->{text} : 'not refused');
}

is($lisbon->sql(q{SELECT multicenter.internal_handler_check('t', 'greater'::regproc::regprocedure),
		multicenter.internal_handler_check('t', 'greater_json'::regproc::regprocedure),
		multicenter.internal_handler_check('leaf', 'inherited'::regproc::regprocedure),
		multicenter.internal_handler_check('parent', 'inherited'::regproc::regprocedure)}),
	'typed|jsonb|typed|typed', 'forms are told');

my $signature = qr/^Define it as f\(local_row t, remote_row t, info multicenter\.conflict_info, OUT result_row t, OUT action text\), or with jsonb/;
$lisbon->sql(q{
	CREATE FUNCTION two(t, t, OUT t, OUT text) LANGUAGE sql STABLE AS 'SELECT $1, $1.v';
	CREATE FUNCTION no_out(t, t, multicenter.conflict_info) RETURNS t LANGUAGE sql STABLE AS 'SELECT $1';
	CREATE FUNCTION no_info(t, t, text, OUT t, OUT text) LANGUAGE sql STABLE AS 'SELECT $1, $1.v';
	CREATE FUNCTION no_text(t, t, multicenter.conflict_info, OUT t, OUT int) LANGUAGE sql STABLE AS 'SELECT $1, 1';
	CREATE FUNCTION two_types(t, other, multicenter.conflict_info, OUT t, OUT text) LANGUAGE sql STABLE AS 'SELECT $1, $1.v';
	CREATE FUNCTION other_type(other, other, multicenter.conflict_info, OUT other, OUT text) LANGUAGE sql STABLE AS 'SELECT $1, $1.v';
	CREATE FUNCTION in_out(INOUT t, t, multicenter.conflict_info, OUT text) LANGUAGE sql STABLE AS 'SELECT $1, $1.v';
	CREATE FUNCTION many(t, t, multicenter.conflict_info, OUT t, OUT text) RETURNS SETOF record LANGUAGE sql STABLE AS 'SELECT $1, $1.v';
	CREATE PROCEDURE proc(t, t, multicenter.conflict_info, OUT t, OUT text) LANGUAGE sql AS 'SELECT $1, $1.v'});
refused('too few arguments', 'two', '42P13', qr/three arguments/, $signature);
refused('no OUT arguments', 'no_out', '42P13', qr/two that are OUT/, $signature);
refused('no conflict_info', 'no_info', '42P13', qr/third argument/, $signature);
refused('an action that is no text', 'no_text', '42P13', qr/action, is not of type text/, $signature);
refused('two types of rows', 'two_types', '42P13', qr/not of one type/, $signature);
refused('rows of another table', 'other_type', '42P13', qr/of type other, which is not the row type/, $signature);
refused('INOUT', 'in_out', '42P13', qr/two that are OUT/, $signature);
refused('a set', 'many', '42P13', qr/returns a set/, qr/one answer/);
refused('a procedure', 'proc', '42809', qr/not an ordinary function/, qr/CREATE FUNCTION/);
refused('VOLATILE', handler('volatile', q{SELECT local_row, 'row'}, as => 'VOLATILE'), '42P13', qr/VOLATILE/, qr/IMMUTABLE, or STABLE/);
refused('STRICT', handler('strict', q{SELECT local_row, 'row'}, as => 'STABLE STRICT'), '42P13', qr/STRICT/, qr/CALLED ON NULL INPUT/);
refused('SECURITY DEFINER of somebody else', handler('definer', q{SELECT local_row, 'row'}, as => 'STABLE SECURITY DEFINER', owner => 'postgres'),
	'42P13', qr/SECURITY DEFINER/, qr/SECURITY INVOKER/);
refused('a function of somebody else', handler('foreign_function', q{SELECT local_row, 'row'}, owner => 'mallory'),
	'42501', qr/belongs to role mallory, and would run as role alice/, qr/the owner of the function/);
handler('not_granted', q{SELECT local_row, 'row'}, owner => 'postgres');
is($lisbon->sql(q{SELECT multicenter.internal_handler_check('t', 'not_granted'::regproc::regprocedure)}), 'typed', "a superuser's function");
$lisbon->sql('REVOKE ALL ON FUNCTION not_granted FROM PUBLIC');
refused('one that the owner of the table may not call', 'not_granted', '42501', qr/Role alice.*may not execute it/, qr/Grant EXECUTE/);
refused('the typed form for all tables', 'not_granted', '42P13', qr/gets its rows as jsonb/, qr/local_row jsonb.*OUT action text\)\.$/, 'NULL');
refused('for all tables, one that is not of a superuser', 'greater_json', '42501', qr/not belong to a superuser/, qr/./, 'NULL');
handler('for_all', q{SELECT local_row, 'row'}, type => 'jsonb', owner => 'postgres');
is($lisbon->sql(q{SELECT multicenter.internal_handler_check(NULL, 'for_all'::regproc::regprocedure)}), 'jsonb', 'one for all tables');
answers('foreign_function', qr/belongs|cannot be a conflict handler \(SQLSTATE 42501\)$/, 'it is asked again at each call');
$lisbon->sql('ALTER FUNCTION greater VOLATILE');
answers('greater', qr/cannot be a conflict handler \(SQLSTATE 42P13\)$/, 'a handler that has become VOLATILE is not called');
$lisbon->sql('ALTER FUNCTION greater STABLE');

#
# The probe
#

sub problems
{
	my ($name, $expected, $what, $relation) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $problems = $lisbon->sql(sprintf(q{SELECT problem FROM multicenter.internal_handler_probe('%s', '%s'::regproc::regprocedure)},
			$relation // 't', $name));
	return ref $expected ? like($problems, $expected, $what) : is($problems, $expected, $what);
}

my $swapped = 'with the two rows exchanged column "%s" of its answer is different';
handler('balanced', q{BEGIN result_row := local_row; action := 'row';
	result_row.v := greatest(local_row.v, remote_row.v); result_row.n := local_row.n + remote_row.n;
	result_row.j := NULL; result_row.a := NULL; END});
problems('balanced', '', 'the probe finds nothing against a symmetric handler');
handler('last', q{SELECT NULL::public.t, CASE WHEN info.local_version < info.remote_version THEN 'apply_remote' ELSE 'keep_local' END});
problems('last', '', 'nor against one that goes by version');
problems('only_next', '', 'nor against one without an opinion');
problems('only_keep_local', sprintf($swapped, 'v'), 'it finds one that goes by position');
problems('total', sprintf($swapped, 'v'), 'and one that takes a column by position');
handler('average', q{BEGIN result_row := CASE WHEN local_row.v < remote_row.v THEN local_row ELSE remote_row END; action := 'row';
	result_row.n := (local_row.n + remote_row.n) / 2; result_row.j := NULL; result_row.a := NULL; END});
problems('average', 'of three rows column "n" of its answer depends on which two it gets first', 'and one that is not associative');
problems('failing1', 'conflict handler public.failing1 failed: no idea', 'and one that fails');
problems('failing39', qr/took longer than 200 ms$/, 'and one that never ends');
handler('other_handler', q{SELECT local_row, 'row'}, type => 'other');
$lisbon->sql('TRUNCATE other');
like(($lisbon->psql(q{SELECT * FROM multicenter.internal_handler_probe('other', 'other_handler'::regproc::regprocedure)}))[2],
	qr/NOTICE: .*public\.other_handler was not tried/, 'it says so where there are no rows to try it with');

#
# The examples of the user's guide
#

my $guide = PostgreSQL::Test::Utils::slurp_file(abs_path(dirname(__FILE__) . '/../..') . '/docs/conflicts.md');
my ($section) = $guide =~ /^## Writing a handler\n(.*?)^## /ms;
my @examples = $section =~ /^```sql\n(.*?)^```/msg;
is(scalar(@examples), 3, 'the guide has examples');
foreach my $example (@examples)
{
	my ($tables, $rest) = $example =~ /^(CREATE TABLE .*?;\n)(.*)\z/s;
	$_->sql($tables) foreach ($lisbon, $oslo);
	$lisbon->sql($rest);
}
wait_all_applied($lisbon, $oslo);
is($oslo->sql(q{SELECT count(*) FROM pg_proc WHERE proname IN ('merge_product', 'finished_wins', 'head_office_wins')}), 3, 'they are on both centers');
my @product = (relation => 'product', local => '{"id": 1, "price": 1.50, "stock": 3, "tags": "{red,new}"}',
	remote => '{"id": 1, "price": 2, "stock": 4, "tags": "{new,big}"}');
answers('merge_product', 'row|{"id": "1", "tags": "{big,new,red}", "price": "2", "stock": "3"}', 'example: a merge of columns', @product);
answers('finished_wins', "$_->[2]", "example: $_->[2]", relation => 'task', local => $_->[0], remote => $_->[1])
  foreach [ '{"id": "1", "status": "open"}', '{"id": "1", "status": "finished"}', 'apply_remote' ],
  [ '{"id": "1", "status": "finished"}', undef, 'keep_local' ],
  [ '{"id": "1", "status": "open"}', undef, 'next' ];
answers('head_office_wins', 'apply_remote', 'example: a center', relation => 'rate', local => '{"code": "x", "percent": 1}', remote => undef);
$lisbon->sql(q{INSERT INTO product VALUES (1, 1, 5, '{a,b}'), (2, 2, 2, '{c}'), (3, 3, 9, '{b,d}')});
problems('merge_product', sprintf($swapped, 'price'), 'what the guide says about its example', 'product');

# With the rights of others.
like(($lisbon->psql(q{SELECT multicenter.conflict_policy_set('product', NULL, 'handler', 'merge_product(product, product, multicenter.conflict_info)')}))[2],
	qr/WARNING: .*there are doubts\nDETAIL:  with the two rows exchanged column "price"/, 'who sets it is told what the probe has found');
$lisbon->sql('GRANT multicenter_admin TO alice, mallory');
is(($lisbon->psql(q{SET ROLE alice; SELECT multicenter.conflict_policy_set('t', NULL, 'handler', 'balanced(t, t, multicenter.conflict_info)')}))[0], 0,
	'the owner of a table sets a handler of his own');
$lisbon->fails(q{SET ROLE mallory; SELECT multicenter.conflict_policy_set('t', NULL, 'handler', 'foreign_function(t, t, multicenter.conflict_info)')},
	'42501', qr/cannot be a conflict handler/, qr/owner/, 'nobody gets rights of the owner by a function of his own');
$lisbon->fails(q{SET ROLE mallory; SELECT multicenter.internal_handler_probe('t', 'balanced(t, t, multicenter.conflict_info)')},
	'42501', qr/permission denied/, undef, 'nobody tries handlers by hand');
$lisbon->sql(q{SELECT multicenter.conflict_policy_reset('t')});

#
# In a receiver, from a trigger, which runs there as the owner of the table
#

wait_all_applied($lisbon, $oslo);
handler_install($oslo);
$oslo->sql(sprintf(q{SET check_function_bodies = off;
	%s
	GRANT USAGE ON SCHEMA multicenter, multicenter_test TO alice;
	GRANT EXECUTE ON FUNCTION multicenter.internal_handler_call TO alice;
	CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		SELECT string_agg(h.action || coalesce(h.error, ''), ' ' ORDER BY f.n) INTO NEW.v
		FROM (VALUES (1, 'public.loops'), (2, 'public.takes')) f(n, name),
			multicenter_test.handler('public.t', f.name::regproc, '{"id": "1", "v": "a"}', '{"id": "1", "v": "b"}') h;
		RETURN NEW;
	END $$;
	CREATE TRIGGER ask BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION ask();
	ALTER TABLE other ENABLE ALWAYS TRIGGER ask;},
	join("\n", map { sprintf(q{CREATE FUNCTION %s(t, t, multicenter.conflict_info, OUT t, OUT action text) STABLE LANGUAGE plpgsql AS $$ %s $$;
		ALTER FUNCTION %s OWNER TO alice;}, $_->[0], $_->[1], $_->[0]) }
	  [ 'loops', q{BEGIN LOOP BEGIN PERFORM pg_sleep_for(interval '1 min'); EXCEPTION WHEN query_canceled THEN END; END LOOP; END} ],
	  [ 'takes', q{BEGIN action := 'apply_remote'; END} ])));
my $receiver = $oslo->link_pid($lisbon);
$lisbon->sql(q{INSERT INTO other VALUES (1, 'x')});
wait_all_applied($lisbon, $oslo);
is($oslo->sql('SELECT v FROM other'), 'quarantineconflict handler public.loops took longer than 200 ms apply_remote',
	'a receiver ends an endless handler, and goes on');
is($oslo->link_pid($lisbon), $receiver, 'the receiver is the same');

#
# What many calls cost
#

my $many = sub {
	my ($name, $n, $memory) = @_;
	my $calls = call($name, local => q{%s}) =~ s/'%s'/'$local'::jsonb || jsonb_build_object('v', i)/r;
	my $start = time();
	my $grown = $lisbon->sql(qq{BEGIN;
		SELECT count(h.action) FROM generate_series(1, 1000) i, LATERAL $calls h;
		SELECT sum(total_bytes) AS before FROM pg_backend_memory_contexts \\gset
		SELECT count(h.action) FROM generate_series(1, $n) i, LATERAL $calls h;
		SELECT sum(total_bytes) - :before FROM pg_backend_memory_contexts;
		COMMIT});
	note(sprintf('%s: %.1f us a call', $name, (time() - $start) * 1e6 / ($n + 1000)));
	return $grown =~ /^1000\n$n\n(-?\d+)$/ ? $1 : die "$name was not called $n times: $grown";
};
cmp_ok($many->('balanced', 100000), '<', 1024 * 1024, '100,000 calls of PL/pgSQL in a transaction leave no memory behind');
cmp_ok($many->('c_remote', 10000), '<', 1024 * 1024, '10,000 calls of C');
cmp_ok($many->('greater', 10000), '<', 1024 * 1024, '10,000 calls of SQL');
cmp_ok($many->('greater_json', 10000), '<', 1024 * 1024, '10,000 calls of SQL with jsonb');
cmp_ok($many->('failing1', 10000), '<', 1024 * 1024, '10,000 calls that fail');
done_testing();
