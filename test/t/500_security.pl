# Goal: nobody gains a right by replication: the owner of a table, a role with
# some of our roles, a reader of views and logs.
#
# Method: two servers, linked by a role that is no superuser and has its
# password in a passfile.  At oslo an ordinary role, mallory, owns tables, and
# hides code in everything that runs while a row is written: triggers, index
# expressions, checks, domains, generated columns, defaults, casts.  The code
# tries to become more than mallory, and notes as whom it ran and what came of
# it.  Then the rights on every function, table and view are checked, and that
# the password is nowhere to be read.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $secret = 'Sesame-4711-open';
my $dir    = PostgreSQL::Test::Utils::tempdir();
open(my $out, '>', "$dir/passfile") or die $!;
print $out "*:*:*:link:$secret\n";
close($out);
chmod(0600, "$dir/passfile");

# Statements are not logged, so that whatever of the password is in the log
# would be our doing.
my $conf = "log_statement = none\nlog_min_error_statement = panic\nlog_min_messages = debug1\n";

# A server whose links need the password.
sub secure_center
{
	my ($name) = @_;
	my $center = new_center($name, conf => $conf);
	$center->sql(qq{
		SET password_encryption = 'scram-sha-256';
		CREATE ROLE link LOGIN REPLICATION PASSWORD '$secret';
		GRANT multicenter_peer, pg_read_all_data TO link;
		CREATE ROLE mallory LOGIN;
		CREATE ROLE nobody LOGIN;
	});
	my $hba = $center->node->data_dir . '/pg_hba.conf';
	my $old = PostgreSQL::Test::Utils::slurp_file($hba);
	open(my $file, '>', $hba) or die $!;
	print $file "host all link 127.0.0.1/32 scram-sha-256\nhost replication link 127.0.0.1/32 scram-sha-256\n$old";
	close($file);
	$center->reload;
	$center->{dsn} = sprintf('host=127.0.0.1 port=%d dbname=postgres user=link passfile=%s', $center->port, "$dir/passfile");
	return $center;
}

my ($lisbon, $oslo) = map { secure_center($_) } ('lisbon', 'oslo');
$lisbon->sql(q{
	CREATE SCHEMA m AUTHORIZATION mallory;
	SET ROLE mallory;
	CREATE TYPE m.mood AS ENUM ('sad', 'happy');
	CREATE DOMAIN m.small AS int;
	CREATE TABLE m.trig (id int PRIMARY KEY, v text);
	CREATE TABLE m.expr (id int PRIMARY KEY, v text);
	CREATE TABLE m.chk (id int PRIMARY KEY, v text);
	CREATE TABLE m.dom (id int PRIMARY KEY, v m.small);
	CREATE TABLE m.gen (id int PRIMARY KEY, v text);
	CREATE TABLE m.def (id int PRIMARY KEY, v text);
	CREATE TABLE m.cst (id m.mood PRIMARY KEY, v m.mood);
	CREATE TABLE m.rls (id int PRIMARY KEY, v text);
	CREATE TABLE m.late (id int PRIMARY KEY, v text);
	CREATE TABLE m.trunc (id int PRIMARY KEY);
	CREATE TABLE m.dates (id int PRIMARY KEY, d date, t timestamptz, i interval, f float8, b bytea);
});
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);

is($oslo->sql("SELECT string_agg(DISTINCT usename, ' ') FROM pg_stat_replication"), 'link', 'the links use their role');
is($oslo->sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'link'"), 'f', 'which is no superuser');
is($oslo->sql("SELECT string_agg(check_name || ': ' || coalesce(problem, ''), '; ') FROM multicenter.check_setup('" . $lisbon->dsn . "') WHERE status = 'error'"),
	'', 'check_setup asks for no more');

#
# Code of a table's owner
#

$oslo->sql('CREATE UNLOGGED TABLE secret (word text); INSERT INTO secret VALUES (\'xyzzy\')');
$oslo->sql(q{
	SET ROLE mallory;
	CREATE UNLOGGED TABLE m.attempt (way text, what text, outcome text, who name, settings text);
	CREATE FUNCTION m.attack(way text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		what text;
		outcome text;
		settings text := concat_ws('|', current_setting('datestyle'), current_setting('search_path'),
			current_setting('session_replication_role'), current_setting('statement_timeout'), current_setting('timezone'));
	BEGIN
		FOREACH what IN ARRAY ARRAY[
			'ALTER ROLE mallory SUPERUSER',
			'CREATE ROLE evil SUPERUSER',
			'GRANT pg_execute_server_program TO mallory',
			'SELECT word FROM public.secret',
			'INSERT INTO public.secret VALUES (1)',
			'SELECT * FROM pg_catalog.pg_authid',
			'SELECT * FROM multicenter.link',
			'SELECT multicenter.group_remove_local(force => true)',
			'UPDATE multicenter.center SET dsn = $x$host=evil$x$',
			'SET ROLE ' || pg_catalog.quote_ident(session_user),
			'SET ROLE none; ALTER ROLE mallory SUPERUSER',
			'RESET ROLE; ALTER ROLE mallory SUPERUSER',
			'SET SESSION AUTHORIZATION DEFAULT; ALTER ROLE mallory SUPERUSER',
			'SET SESSION AUTHORIZATION ' || pg_catalog.quote_ident(session_user),
			'SET session_replication_role = origin',
			'COPY (SELECT 1) TO PROGRAM $x$true$x$',
			'SELECT pg_catalog.pg_read_file($x$PG_VERSION$x$)',
			'SELECT pg_catalog.pg_replication_origin_session_reset()',
			'CREATE TEMP TABLE trap (id int)',
			'DECLARE trap CURSOR WITH HOLD FOR SELECT m.attack2()']
		LOOP
			BEGIN
				EXECUTE what;
				outcome := 'worked';
			EXCEPTION WHEN OTHERS THEN
				outcome := SQLSTATE || ' ' || SQLERRM;
			END;
			INSERT INTO m.attempt VALUES (way, what, outcome, current_user, settings);
		END LOOP;
		-- Allowed to anybody, but it must not outlive the row.
		PERFORM pg_catalog.set_config('datestyle', 'SQL, DMY', false), pg_catalog.set_config('search_path', 'm, evil', false),
			pg_catalog.set_config('statement_timeout', '1', false), pg_catalog.set_config('timezone', 'Asia/Tokyo', false),
			pg_catalog.set_config('default_transaction_read_only', 'on', false), pg_catalog.set_config('intervalstyle', 'sql_standard', false),
			pg_catalog.set_config('extra_float_digits', '-15', false), pg_catalog.set_config('bytea_output', 'escape', false);
		RETURN true;
	END $$;
	CREATE FUNCTION m.attack2() RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT m.attack('with hold') $$;

	CREATE FUNCTION m.on_row() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM m.attack(TG_NAME);
		RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
	END $$;
	CREATE TRIGGER before_replica BEFORE INSERT OR UPDATE OR DELETE ON m.trig FOR EACH ROW EXECUTE FUNCTION m.on_row();
	CREATE TRIGGER after_always AFTER INSERT OR UPDATE OR DELETE ON m.trig FOR EACH ROW EXECUTE FUNCTION m.on_row();
	CREATE TRIGGER ordinary BEFORE INSERT ON m.trig FOR EACH ROW EXECUTE FUNCTION m.on_row();
	ALTER TABLE m.trig ENABLE REPLICA TRIGGER before_replica;
	ALTER TABLE m.trig ENABLE ALWAYS TRIGGER after_always;
	CREATE TRIGGER on_truncate BEFORE TRUNCATE ON m.trunc EXECUTE FUNCTION m.on_row();
	ALTER TABLE m.trunc ENABLE ALWAYS TRIGGER on_truncate;

	CREATE FUNCTION m.of_index(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.attack('index expression'); RETURN v; END $$;
	CREATE INDEX evil ON m.expr (m.of_index(v));
	CREATE FUNCTION m.of_predicate(v text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.attack('index predicate'); RETURN true; END $$;
	CREATE UNIQUE INDEX evil2 ON m.expr (v) WHERE m.of_predicate(v);

	CREATE FUNCTION m.of_check(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN m.attack('check constraint'); END $$;
	ALTER TABLE m.chk ADD CONSTRAINT evil CHECK (m.of_check(v));

	CREATE FUNCTION m.of_domain(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN m.attack('domain check'); END $$;
	ALTER DOMAIN m.small ADD CONSTRAINT evil CHECK (m.of_domain(VALUE));

	CREATE FUNCTION m.of_generated(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.attack('generated column'); RETURN v; END $$;
	DROP TABLE m.gen;
	CREATE TABLE m.gen (id int PRIMARY KEY, v text, g text GENERATED ALWAYS AS (m.of_generated(v)) STORED);

	CREATE FUNCTION m.of_default() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('default'); RETURN 'x'; END $$;
	ALTER TABLE m.def ADD COLUMN more text;
	ALTER TABLE m.def ALTER more SET DEFAULT m.of_default();

	CREATE FUNCTION m.of_cast(v m.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM m.attack('cast to json'); RETURN '"x"'; END $$;
	CREATE CAST (m.mood AS json) WITH FUNCTION m.of_cast(m.mood);
});

# As whom it would run otherwise is not our concern: at lisbon it is harmless.
$lisbon->sql(q{
	INSERT INTO m.trig VALUES (1, 'a'), (2, 'b'); UPDATE m.trig SET v = 'c' WHERE id = 1; DELETE FROM m.trig WHERE id = 2;
	INSERT INTO m.expr VALUES (1, 'a'); UPDATE m.expr SET v = 'b';
	INSERT INTO m.chk VALUES (1, 'a'); UPDATE m.chk SET v = 'b';
	INSERT INTO m.dom VALUES (1, 1); UPDATE m.dom SET v = 2;
	INSERT INTO m.gen VALUES (1, 'a'); UPDATE m.gen SET v = 'b';
	INSERT INTO m.def VALUES (1, 'a');
	INSERT INTO m.trunc VALUES (1);
	TRUNCATE m.trunc;
	INSERT INTO m.dates VALUES (1, '2026-02-03', '2026-02-03 04:05:06.789+00', '1 year 2 days 03:04:05.6', 0.1 + 0.2, '\x00ff');
});
# A conflict writes both rows into the history, as JSON.
hold_links([ $lisbon, $oslo ]);
$lisbon->sql("INSERT INTO m.cst VALUES ('sad', 'happy')");
$oslo->sql("INSERT INTO m.cst VALUES ('sad', 'sad')");
release_links([ $lisbon, $oslo ]);
wait_all_applied($lisbon, $oslo);
wait_conflicts($oslo, 1);

my %expected = map { $_ => 1 } ('before_replica', 'after_always', 'on_truncate', 'index expression', 'index predicate',
	'check constraint', 'domain check', 'generated column', 'default', 'cast to json');
my %seen = map { $_ => 1 } split(/\n/, $oslo->sql('SELECT DISTINCT way FROM m.attempt'));
foreach my $way (sort keys %expected)
{
	ok($seen{$way}, "$way: the code ran");
	is($oslo->sql("SELECT string_agg(DISTINCT who::text, ' ') FROM m.attempt WHERE way = '$way'"), 'mallory', "$way: as the owner of the table");
	is($oslo->sql("SELECT string_agg(DISTINCT what || ' -> ' || outcome, E'\\n') FROM m.attempt WHERE way = '$way' AND outcome = 'worked'"), '', "$way: nothing that it tried worked");
}
ok(!$seen{ordinary}, 'an ordinary trigger does not fire');
ok(!$seen{'with hold'}, 'nothing runs after the transaction');
is($oslo->sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 'f', 'mallory is no superuser');
is($oslo->sql("SELECT count(*) FROM pg_roles WHERE rolname = 'evil'"), '0', 'and has made none');
is($oslo->sql('SELECT count(*) FROM secret'), '1', 'nor written where he may not');
# Of several pieces of his code for one row the later ones see what the first
# has set, which is his own affair.
my $first = "WHERE way NOT IN ('after_always', 'index predicate', 'cast to json')";
is($oslo->sql("SELECT count(DISTINCT settings) FROM m.attempt $first"), '1', 'settings that the code has changed do not outlive the row')
  or diag($oslo->sql('SELECT DISTINCT way, settings FROM m.attempt'));
unlike($oslo->sql("SELECT DISTINCT settings FROM m.attempt $first"), qr/evil|public|DMY|Tokyo/, 'and they are the pinned ones');
identical($lisbon, $oslo, 'm.trig', 'm.expr', 'm.chk', 'm.dom', 'm.trunc', 'm.dates', 'm.cst');
is($oslo->sql("SELECT state || status FROM multicenter.lag WHERE direction = 'in'"), 'streamingok', 'the link is well');
is($lisbon->sql("SELECT state || status FROM multicenter.lag WHERE direction = 'in'"), 'streamingok', 'the other one, too');

# The progress of the link stands although the code caught errors: after a
# restart nothing is applied again.
my $attempts = $oslo->sql('SELECT count(*) FROM m.attempt');
signal_pid('TERM', $oslo->link_pid($lisbon));
$lisbon->sql("INSERT INTO m.rls VALUES (1, 'first')");
$oslo->wait_for_sql('SELECT count(*) FROM m.rls', '1');
is($oslo->sql('SELECT count(*) FROM m.attempt'), $attempts, 'errors that were caught do not lose the progress');

# A trigger that waits for the end of the transaction.
$oslo->sql(q{
	SET ROLE mallory;
	CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON m.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION m.on_row();
	ALTER TABLE m.late ENABLE ALWAYS TRIGGER deferred;
});
like($oslo->sql("SELECT check_name || ' ' || object FROM multicenter.check_setup() WHERE check_name = 'deferred_trigger' AND status = 'error'"),
	qr/m\.late/, 'check_setup lists a deferred trigger');
$lisbon->sql("INSERT INTO m.late VALUES (1, 'x')");
$oslo->wait_for_sql("SELECT state FROM multicenter.lag WHERE direction = 'in'", 'stalled');
like($oslo->sql("SELECT last_error || last_error_relation FROM multicenter.stat_links WHERE direction = 'in'"), qr/deferred trigger.*m\.late/, 'a deferred trigger stops the link');
is($oslo->sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 'f', 'mallory is still no superuser');
$oslo->sql('DROP TRIGGER deferred ON m.late');
$oslo->wait_for_sql('SELECT count(*) FROM m.late', '1', 10);

# Row-level security that binds the owner.
$oslo->sql('SET ROLE mallory; CREATE POLICY p ON m.rls USING (m.attack(\'policy\')); ALTER TABLE m.rls ENABLE ROW LEVEL SECURITY');
$lisbon->sql("INSERT INTO m.rls VALUES (2, 'not forced')");
$oslo->wait_for_sql('SELECT count(*) FROM m.rls', '2', 10);
pass('row-level security that does not bind the owner is no hindrance');
$oslo->sql('ALTER TABLE m.rls FORCE ROW LEVEL SECURITY');
like($oslo->sql("SELECT object FROM multicenter.check_setup() WHERE check_name = 'row_security' AND status = 'error'"), qr/m\.rls/, 'check_setup lists forced row-level security');
$lisbon->sql("INSERT INTO m.rls VALUES (3, 'forced')");
$oslo->wait_for_sql("SELECT state FROM multicenter.lag WHERE direction = 'in'", 'stalled');
like($oslo->sql("SELECT last_error || ' ' || last_error_relation FROM multicenter.stat_links WHERE direction = 'in'"), qr/row.level security.*m\.rls/i, 'forced row-level security stops the link');
$oslo->sql('ALTER TABLE m.rls NO FORCE ROW LEVEL SECURITY');
$oslo->wait_for_sql('SELECT count(*) FROM m.rls', '3', 10);
is($oslo->sql("SELECT count(*) FROM m.attempt WHERE way = 'policy'"), '0', 'no policy ran');

# The same code while a third center copies the tables.
my $turin = secure_center('turin');
$turin->fails($turin->group_join_sql($oslo), '42501', qr/does not see all rows/, qr/BYPASSRLS/, 'rows that the role of the link does not see are not left out silently');
$oslo->sql('ALTER TABLE m.rls DISABLE ROW LEVEL SECURITY');
my $join = $turin->error_of($turin->group_join_sql($oslo));
ok(!$join, 'a center joins through oslo') or diag($join->{text});
is($turin->sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 'f', 'join: mallory is no superuser there');
is($turin->sql("SELECT count(*) FROM pg_roles WHERE rolname = 'evil'"), '0', 'join: and has made none');
isnt($turin->sql('SELECT count(*) FROM m.attempt'), '0', 'join: his code ran');
is($turin->sql("SELECT count(*) FROM m.attempt WHERE who <> 'mallory'"), '0', 'join: no code of his ran as somebody else')
  or diag($turin->sql("SELECT DISTINCT way, who FROM m.attempt WHERE who <> 'mallory'"));
is($turin->sql("SELECT count(*) FROM m.attempt WHERE outcome = 'worked'"), '0', 'join: nothing that it tried worked');

#
# Rights
#

is($oslo->sql(q{
		SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
		WHERE pronamespace = 'multicenter'::regnamespace AND has_function_privilege('nobody', p.oid, 'EXECUTE')}),
	'multicenter.conflict_override(bigint,text,jsonb)', 'everybody may call only what has the rights of its caller');
is($oslo->sql("SELECT prosecdef FROM pg_proc WHERE oid = 'multicenter.conflict_override'::regproc"), 'f', 'which that function has');
is($oslo->sql(q{
		SELECT string_agg(c.oid::regclass || ' ' || r, ', ') FROM pg_class c, unnest(ARRAY['nobody', 'multicenter_admin', 'multicenter_monitor', 'multicenter_conflicts', 'multicenter_auditor', 'multicenter_peer']) r
		WHERE relnamespace = 'multicenter'::regnamespace AND relkind IN ('r', 'S')
			AND CASE relkind WHEN 'S' THEN has_sequence_privilege(r, c.oid, 'USAGE, SELECT, UPDATE')
				ELSE has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') OR has_any_column_privilege(r, c.oid, 'SELECT, INSERT, UPDATE') END}),
	'', 'no role may touch a table of ours');
is($oslo->sql(q{
		SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
		WHERE pronamespace = 'multicenter'::regnamespace AND prosecdef
			AND NOT coalesce((SELECT bool_or(c LIKE 'search\_path=%') FROM unnest(proconfig) c), false)}),
	'', 'every SECURITY DEFINER function pins its search_path');
is($oslo->sql(q{
		SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
		WHERE pronamespace = 'multicenter'::regnamespace AND proname LIKE 'internal\_%'
			AND (has_function_privilege('multicenter_admin', p.oid, 'EXECUTE') OR has_function_privilege('multicenter_peer', p.oid, 'EXECUTE')
				OR has_function_privilege('multicenter_monitor', p.oid, 'EXECUTE'))}),
	'', 'nobody may call an internal function');
is($oslo->sql("SELECT pg_has_role('pg_monitor', 'multicenter_monitor', 'USAGE')"), 't', 'pg_monitor may look');

# What each role can do: by doing it.
$oslo->sql("CREATE ROLE r_$_ LOGIN IN ROLE multicenter_$_") foreach ('admin', 'monitor', 'conflicts', 'auditor', 'peer');
my @views = split(/\n/, $oslo->sql("SELECT relname FROM pg_class WHERE relnamespace = 'multicenter'::regnamespace AND relkind = 'v' ORDER BY 1"));
my %may_read = (r_admin => sub { $_[0] !~ /^audit_/ }, r_monitor => sub { $_[0] !~ /^(displaced|siblings|quarantine|audit_.*)$/ },
	r_auditor => sub { $_[0] =~ /^(conflicts|audit_.*)$/ },
	r_conflicts => sub { $_[0] =~ /^(conflicts|displaced|siblings|quarantine)$/ },
	r_peer => sub { $_[0] eq 'conflicts' }, nobody => sub { $_[0] eq 'conflicts' });
foreach my $role (sort keys %may_read)
{
	my (@wrong);
	foreach my $view (@views)
	{
		my ($rc, $stdout, $stderr) = $oslo->psql("SET ROLE $role; SELECT count(*) FROM multicenter.$view");
		my $allowed = $rc == 0 ? 1 : 0;
		push(@wrong, "$view: " . ($allowed ? 'allowed' : $stderr)) if $allowed != ($may_read{$role}->($view) ? 1 : 0);
	}
	is(join("\n", @wrong), '', "$role reads the views that are meant for it");
}
# Of conflicts everybody sees those of his tables.
my %sees = (r_admin => 1, r_conflicts => 1, mallory => 1, r_monitor => 0, r_peer => 0, nobody => 0);
foreach my $role (sort keys %sees)
{
	is($oslo->sql("SET ROLE $role; SELECT count(*) FROM multicenter.conflicts WHERE table_name = 'cst'"), $sees{$role}, "$role sees $sees{$role} conflict");
}
my %calls = (
	'count(multicenter.conflict_review(conflict_id)) FROM multicenter.conflicts' => [ 'r_admin', 'r_conflicts' ],
	"multicenter.link_pause(peer => 'turin')" => ['r_admin'],
	"multicenter.link_resume(peer => 'turin')" => ['r_admin'],
	q{multicenter.link_alter(peer => 'turin', options => '{"dsn": null}')} => ['r_admin'],
	'count(*) FROM multicenter.check_setup()' => [ 'r_admin', 'r_monitor' ],
	"multicenter.wait_until_ready(timeout => '1 s')" => ['r_admin'],
	"multicenter.group_create(group_name => 'x', center_name => 'x', dsn => 'host=x')" => [],
	"multicenter.center_part(center_name => 'atlantis')" => [],
	'multicenter.group_remove_local()' => [],
	"multicenter.replicate_ddl('VACUUM')" => [],
);
foreach my $call (sort keys %calls)
{
	my @wrong;
	foreach my $role ('r_admin', 'r_monitor', 'r_conflicts', 'r_peer', 'nobody')
	{
		my $error = $oslo->error_of("SET ROLE $role; SELECT $call");
		my $denied = $error && $error->{text} =~ /42501: permission denied for (?:function|schema)/ ? 1 : 0;
		# An admin gets past the door everywhere, to another error perhaps.
		my $may = $role eq 'r_admin' || grep { $_ eq $role } @{ $calls{$call} };
		push(@wrong, "$role: " . ($error ? $error->{text} : 'allowed')) if $denied == ($may ? 1 : 0);
		push(@wrong, "$role: $error->{text}") if $error && grep { $_ eq $role } @{ $calls{$call} };
	}
	is(join("\n", @wrong), '', "who may call $call");
}
$oslo->fails("SET ROLE r_monitor; SELECT count(*) FROM multicenter.check_setup('host=127.0.0.1 port=1')", '42501', qr/permission denied to connect to a peer/, qr/multicenter_admin/, 'a monitor does not make the server dial out');
$oslo->sql('CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend');
foreach my $role ('receiver', 'manager')
{
	my $pid = $oslo->worker_pid($role);
	$oslo->fails("SET ROLE signaller; SELECT pg_terminate_backend($pid)", '42501', qr/./, undef, "pg_signal_backend does not reach the $role");
}
$oslo->fails("SET ROLE r_peer; SELECT * FROM multicenter.identity", '42501', qr/permission denied/, undef, 'the role of a link reads no table of ours');

# An admin who is no superuser runs a center.
$turin->sql("SELECT multicenter.center_part(center_name => 'turin')");
$turin->sql('DROP SCHEMA m CASCADE');
$turin->sql('CREATE ROLE boss LOGIN IN ROLE multicenter_admin; GRANT CREATE ON DATABASE postgres TO boss');
my $as_boss = $turin->error_of('SET ROLE boss; ' . $turin->group_join_sql($lisbon, copy => 'none'));
ok(!$as_boss, 'an admin who is no superuser can join') or diag($as_boss->{text});
$as_boss = $turin->error_of("SET ROLE boss; SELECT multicenter.center_part(center_name => 'turin')");
ok(!$as_boss, 'and part') or diag($as_boss->{text});

#
# The password
#

foreach my $call (
	"SELECT multicenter.link_alter(peer => 'lisbon', options => '{\"dsn\": \"host=x password=$secret\"}')",
	"SELECT multicenter.link_alter(peer => 'lisbon', options => '{\"dsn\": \"postgresql://u:$secret\@[bad\"}')",
	"SELECT multicenter.link_alter(peer => 'lisbon', options => '{\"dsn\": \"host=x password=''$secret\"}')",
	"SELECT * FROM multicenter.check_setup('host=127.0.0.1 port=1 password=$secret')",
	"SELECT * FROM multicenter.check_setup('host=127.0.0.1 port=1 passwort=$secret')")
{
	my ($rc, $stdout, $stderr) = $oslo->psql($call);
	isnt($stdout . $stderr, '', 'a wrong dsn is reported');
	unlike($stdout . $stderr, qr/\Q$secret\E/, 'an error does not repeat a password');
}
foreach my $call ("group_create(group_name => 'x', center_name => 'x', dsn => 'host=x password=$secret')",
	"group_join(center_name => 'x', dsn => 'host=x', join_dsn => 'host=x sslpassword=$secret')")
{
	my ($rc, $stdout, $stderr) = $turin->psql("SELECT multicenter.$call");
	isnt($rc, 0, 'a dsn with a password is refused');
	unlike($stdout . $stderr, qr/\Q$secret\E/, 'and not repeated');
}
foreach my $center ($lisbon, $oslo, $turin)
{
	my $name = $center->name;
	my $text = join('', map { $center->sql("SELECT * FROM multicenter.$_") } @views);
	unlike($text, qr/\Q$secret\E/, "the password is in no view of $name");
	unlike($center->sql('SELECT * FROM pg_stat_activity'), qr/\Q$secret\E/, "nor in pg_stat_activity of $name");
	my $dump = $center->pg_dump;
	unlike($dump, qr/\Q$secret\E/, "nor in a dump of $name");
	unlike($dump, qr/COPY multicenter\.|INSERT INTO multicenter\./, "a dump of $name has no rows of ours");
	unlike(PostgreSQL::Test::Utils::slurp_file($center->node->logfile), qr/\Q$secret\E/, "nor in the log of $name");
	unlike(PostgreSQL::Test::Utils::slurp_file($center->node->logfile), qr/was terminated by signal|PANIC|TRAP/, "no process of $name has crashed");
}
my $command_lines = `ps -eo args`;
unlike($command_lines, qr/\Q$secret\E/, 'nor on a command line');

#
# Names that are traps
#

my $odd = $lisbon->add_database(q{o'd"d}, dbname => 'odd; name');
$odd->{dsn} = sprintf(q{host=127.0.0.1 port=%d dbname='odd; name' user=%s}, $odd->port, scalar getpwuid($<));
my $other = $lisbon->add_database(q{%s$$'; DROP TABLE x; --}, dbname => q{x'y});
$other->{dsn} = sprintf(q{host=127.0.0.1 port=%d dbname='x\'y' user=%s}, $other->port, scalar getpwuid($<));
my $odd_group = eval {
	$odd->sql(q{CREATE TABLE "t'""x" (id int PRIMARY KEY)});
	group_create($odd, group => q{g'"\\});
	group_join($other, $odd);
	1;
};
ok($odd_group, 'centers with odd names make a group') or diag($@);
SKIP:
{
	skip 'no group', 2 unless $odd_group;
	$odd->sql(q{INSERT INTO "t'""x" VALUES (1)});
	$other->wait_for_sql(q{SELECT count(*) FROM "t'""x"}, '1');
	pass('and replicate');
	is($odd->sql('SELECT count(*) FROM multicenter.lag'), '2', 'and are in the views');
}

done_testing();
