# Goal: replicate_ddl() changes the schema everywhere, in its place among the
# changes of rows; what it must not do is refused with a hint; a failure at a
# peer stops only that link, visibly, until it is repaired.
#
# Method: three centers on two servers.  Every common kind of schema change is
# made on one of them between changes of rows that only fit before or after it,
# under load too; then failures and refusals, one after the other.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	INSERT INTO item SELECT id, 'v' || id FROM generate_series(1, 100) id;
});
my $rome = $lisbon->add_database('rome');
group_join($rome, $lisbon);
wait_ready($lisbon, $oslo, $rome);
my @centers = ($lisbon, $oslo, $rome);

# The call, quoted for SQL.
sub ddl
{
	my ($command) = @_;
	return "SELECT multicenter.replicate_ddl(\$ddl\$$command\$ddl\$);";
}

# The schema as pg_dump sees it, without what differs by nature.
sub schema
{
	my ($center) = @_;
	my $dump = $center->pg_dump('--schema-only', '--no-comments', '--exclude-schema=multicenter');
	return join("\n", grep { !/^--|^$|^SET |^SELECT pg_catalog|EXTENSION/ } split(/\n/, $dump));
}

# One test: all centers have applied everything, and have the same schema.
sub same
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	comes_true("$name: applied everywhere", sub { wait_all_applied(@centers) });
	is(schema($_), schema($lisbon), "$name: $_->{name} has the same schema") foreach $oslo, $rome;
	return identical(@centers);
}

#
# Kinds of schema change, among rows
#

$lisbon->sql("INSERT INTO item VALUES (200, 'before'); "
	  . ddl('ALTER TABLE item ADD COLUMN w int DEFAULT 7')
	  . "INSERT INTO item VALUES (201, 'after', 1); UPDATE item SET w = 2 WHERE id = 200");
same('ADD COLUMN');
is($oslo->sql('SELECT string_agg(id || v || w, \' \' ORDER BY id) FROM item WHERE id >= 200'), '200before2 201after1', 'rows before and after it are right');

# Within one transaction, with rows on both sides of it, and a rollback.
$oslo->sql("BEGIN; INSERT INTO item VALUES (210, 'in one', 0); "
	  . ddl('CREATE TABLE made (id int PRIMARY KEY, t text)')
	  . "INSERT INTO made VALUES (1, 'one'); UPDATE item SET w = 9 WHERE id = 210; "
	  . ddl('ALTER TABLE made ADD COLUMN more int')
	  . 'UPDATE made SET more = 5; END');
same('CREATE TABLE and rows in one transaction');
$oslo->sql('BEGIN; ' . ddl('CREATE TABLE never (id int)') . ' ROLLBACK');
$oslo->sql('BEGIN; SAVEPOINT a; ' . ddl('CREATE TABLE never (id int)') . ' ROLLBACK TO a; ' . ddl("COMMENT ON TABLE made IS 'made here'") . 'COMMIT');
same('rolled back');
is($_->sql("SELECT to_regclass('never') IS NULL"), 't', "$_->{name} has nothing of what was rolled back") foreach @centers;

$rome->sql(ddl($_)) foreach (
	'CREATE INDEX made_t ON made (t)',
	'CREATE UNIQUE INDEX made_more ON made (more) WHERE more > 0',
	"CREATE TYPE mood AS ENUM ('sad', 'happy')",
	"ALTER TYPE mood ADD VALUE 'fine' BEFORE 'happy'",
	'CREATE DOMAIN positive AS int CHECK (VALUE > 0)',
	'CREATE TYPE pair AS (a int, b text)',
	"CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n'",
	'CREATE SCHEMA shop CREATE TABLE article (id int PRIMARY KEY, m mood, p positive, q pair)',
	'CREATE VIEW happy AS SELECT id FROM shop.article WHERE m = \'happy\'',
	'CREATE SEQUENCE numbers INCREMENT 10',
	"CREATE TABLE parted (id int, r text, PRIMARY KEY (id, r)) PARTITION BY LIST (r); CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a')",
	'ALTER TABLE made ADD CONSTRAINT t_not_empty CHECK (t <> \'\')',
	'ALTER TABLE made RENAME COLUMN more TO rest',
	'ALTER TABLE made ALTER t SET DEFAULT \'x\'',
	'CREATE TABLE child (id int PRIMARY KEY, made_id int REFERENCES made)');
$rome->sql(q{
	INSERT INTO shop.article VALUES (1, 'fine', 3, ROW(1, 'b'));
	INSERT INTO parted VALUES (1, 'a');
	INSERT INTO made (id) VALUES (2);
	INSERT INTO child VALUES (1, 2);
});
same('indexes, types, functions, schemas, views, partitions, constraints');
is($oslo->sql('SELECT twice(21)'), '42', 'a function that came works');
$lisbon->sql(ddl($_)) foreach (
	'DROP VIEW happy', 'DROP INDEX made_t', 'ALTER TABLE made DROP COLUMN rest', 'ALTER TABLE made RENAME TO made_again',
	'DROP TABLE child', 'DROP SCHEMA shop CASCADE', 'DROP FUNCTION twice(int)', 'DROP DOMAIN positive', 'DROP TYPE pair',
	'ALTER TABLE parted DETACH PARTITION parted_a', 'DROP TABLE parted, parted_a', 'DROP SEQUENCE numbers');
$lisbon->sql("INSERT INTO made_again VALUES (3, 'three')");
same('drops and renames');
is($oslo->sql("SELECT sum(ddl) > 10 FROM multicenter.stat_links WHERE direction = 'in'"), 't', 'they are counted');

# Several commands at once, and names that need quotes.
$lisbon->sql(ddl(q{CREATE TABLE "Odd ""name" ("Column" int PRIMARY KEY, "select" text); CREATE INDEX ON "Odd ""name" ("select")}));
$lisbon->sql(q{INSERT INTO "Odd ""name" VALUES (1, 'x')});
$lisbon->sql(ddl('CREATE SCHEMA elsewhere'));
$lisbon->sql('SET search_path = elsewhere, public; ' . ddl('CREATE TABLE here (id int PRIMARY KEY)'));
is($lisbon->sql("SELECT to_regclass('elsewhere.here')"), 'elsewhere.here', 'the search_path of the caller counts');
same('odd names and a search_path');

# Under load: rows of the old and of the new form, from all three.
my @loads;
my %number = (lisbon => 1, oslo => 2, rome => 3);
push(@loads, start_load($_, q{
\set id 1000000 * :center + :client_id * 100000 + random(1, 5000)
INSERT INTO item (id, v) VALUES (:id, 'load') ON CONFLICT (id) DO UPDATE SET v = item.v || '.';
\sleep 2 ms
}, clients => 2, define => { center => $number{ $_->name } })) foreach @centers;
$_->wait_for_sql("SELECT count(*) > 20 FROM item WHERE id > 3000000") foreach @centers;
$oslo->sql(ddl("ALTER TABLE item ADD COLUMN late_$_ text DEFAULT 'd$_'")) foreach 1 .. 3;
$oslo->sql(ddl('CREATE INDEX item_v ON item (v)'));
my $seen = $oslo->sql('SELECT count(*) FROM item');
$_->wait_for_sql("SELECT count(*) > $seen + 50 FROM item") foreach @centers;
finish_load($_) foreach @loads;
same('under load');

#
# A failure at a peer
#

my $in = "direction = 'in' AND peer = 'lisbon'";
sub stops_only_oslo
{
	my ($name, $sqlstate, $message, $repair) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_stalled_by($oslo, $lisbon, $sqlstate, $name);
	like($oslo->sql("SELECT last_error FROM multicenter.stat_links WHERE $in"), $message, "$name: last_error tells");
	$lisbon->sql("INSERT INTO item (id, v) VALUES (5000000, 'later')");
	$rome->wait_for_sql('SELECT count(*) FROM item WHERE id = 5000000', '1', 10);
	$oslo->sql("INSERT INTO item (id, v) VALUES (5000001, 'other way')");
	$lisbon->wait_for_sql('SELECT count(*) FROM item WHERE id = 5000001', '1', 10);
	is($oslo->sql('SELECT count(*) FROM item WHERE id = 5000000'), '0', "$name: what comes after it waits, all else flows");
	$oslo->sql($repair);
	same("$name, repaired");
	$lisbon->sql('DELETE FROM item WHERE id >= 5000000');
	wait_all_applied(@centers);
	return;
}

$oslo->sql('CREATE TABLE clash (id int)');
$lisbon->sql(ddl('CREATE TABLE clash (id int PRIMARY KEY)'));
stops_only_oslo('a table that is there already', '42P07', qr/"clash" already exists/, 'DROP TABLE clash');

$lisbon->sql('CREATE ROLE chief IN ROLE multicenter_admin; GRANT CREATE ON SCHEMA public TO chief');
$rome->sql('GRANT CREATE ON SCHEMA public TO chief');
$lisbon->sql('SET ROLE chief; ' . ddl('CREATE TABLE of_chief (id int PRIMARY KEY)'));
stops_only_oslo('a role that is missing there', '42704', qr/role "chief" does not exist/,
	'CREATE ROLE chief IN ROLE multicenter_admin; GRANT CREATE ON SCHEMA public TO chief');
is($_->sql("SELECT relowner::regrole FROM pg_class WHERE relname = 'of_chief'"), 'chief', "it ran as that role at $_->{name}") foreach @centers;
$lisbon->sql("INSERT INTO of_chief VALUES (1)");

$oslo->sql('REVOKE multicenter_admin FROM chief');
$lisbon->sql('SET ROLE chief; ' . ddl('ALTER TABLE of_chief ADD COLUMN x int'));
stops_only_oslo('a role that may not do it there', '42501', qr/chief/, 'GRANT multicenter_admin TO chief');

#
# Refused
#

sub refused
{
	my ($command, $hint, $sqlstate) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $lisbon->fails(ddl($command), $sqlstate || '0A000', qr/./, $hint, "refused: $command");
}
refused("INSERT INTO item VALUES (-1, 'x')", qr/Changes of rows replicate by themselves/);
refused("UPDATE item SET v = 'x'",           qr/Changes of rows/);
refused('DELETE FROM item',                  qr/Changes of rows/);
refused('TRUNCATE item',                     qr/Changes of rows/);
refused("SELECT set_config('a.b', 'c', false)", qr/Changes of rows/);
refused('DO $$ BEGIN END $$',                qr/Changes of rows/);
refused("COPY item FROM PROGRAM 'true'",     qr/Changes of rows/);
refused('CREATE INDEX CONCURRENTLY x ON item (v)', qr/transaction/);
refused('DROP INDEX CONCURRENTLY item_v',    qr/transaction/);
refused('CREATE DATABASE x',                 qr/whole server/);
refused("CREATE ROLE x PASSWORD 'secret'",   qr/whole server|password/);
refused('ALTER ROLE chief SUPERUSER',        qr/whole server|password/);
refused('GRANT multicenter_admin TO chief',  qr/whole server|password/);
refused("ALTER SYSTEM SET work_mem = '1GB'", qr/whole server/);
refused("CREATE TABLESPACE x LOCATION '/tmp'", qr/whole server/);
refused('CREATE PUBLICATION x',              qr/Publications/);
refused("CREATE SUBSCRIPTION x CONNECTION 'a' PUBLICATION b", qr/subscriptions/);
refused('CREATE TEMP TABLE x (id int)',      qr/temporary/);
refused('CREATE TABLE x AS SELECT 1',        qr/without data/);
refused('BEGIN',                             qr/transaction/);
refused('COMMIT',                            qr/transaction/);
refused('SET work_mem = 64',                 qr/run it on each center/);
refused('VACUUM item',                       qr/each center/);
refused('ALTER EXTENSION multicenter UPDATE', qr/multicenter/);
refused('ALTER TABLE multicenter.center ADD COLUMN x int', qr/multicenter/);
refused('CREATE TABLE multicenter.mine (id int)', qr/multicenter/);
refused('CREATE TABLE x (id int); DELETE FROM item', qr/Changes of rows/);
refused('', qr/schema changes/, '42601');
refused('SELECT 1; nonsense', undef, '42601');
foreach my $command ('DROP EXTENSION multicenter', 'DROP EXTENSION multicenter CASCADE', 'DROP SCHEMA multicenter CASCADE',
	'DROP TABLE multicenter.center CASCADE', 'DROP EVENT TRIGGER multicenter_table_rewrite', 'ALTER EVENT TRIGGER multicenter_table_rewrite DISABLE')
{
	my $error = $lisbon->error_of(ddl($command));
	ok($error, "refused: $command") and note($error->{text});
}

# What rewrites a table: only by replicate_ddl() (460_rewrite.pl), and only if
# every center computes the same.
foreach my $command ('ALTER TABLE item ADD COLUMN r float DEFAULT random()', 'ALTER TABLE item SET UNLOGGED')
{
	$lisbon->fails(ddl($command), '0A000', qr/cannot rewrite table "item"/, qr/new column/, "a rewrite is refused: $command");
}
foreach my $case ([ 'ALTER TABLE item ALTER id TYPE bigint', qr/replicate_ddl/ ], [ 'ALTER TABLE item ADD COLUMN r float DEFAULT random()', qr/new column/ ],
	[ 'ALTER TABLE item SET UNLOGGED', qr/new column/ ])
{
	my ($command, $hint) = @$case;
	$lisbon->fails($command, '0A000', qr/cannot rewrite table "item"/, $hint, "outside of replicate_ddl() a rewrite is refused: $command");
	$lisbon->fails("SET session_replication_role = replica; $command", '0A000', qr/cannot rewrite table "item"/, $hint, 'and under the replica role');
}
$lisbon->sql('VACUUM FULL item; CLUSTER item USING item_pkey; ALTER TABLE item SET WITHOUT CLUSTER');
pass('VACUUM FULL and CLUSTER are allowed');
$lisbon->sql('BEGIN; CREATE TEMP TABLE own (id int); ALTER TABLE own ALTER id TYPE bigint; COMMIT');
pass('a temporary table may be rewritten');

# Who may not call it.
$lisbon->sql('CREATE ROLE clerk');
$lisbon->fails('SET ROLE clerk; ' . ddl('CREATE TABLE x (id int)'), '42501', qr/permission denied for (?:schema|function)/, undef, 'an ordinary role may not call it');
$lisbon->fails('SET ROLE chief; ' . ddl('DROP TABLE item'), '42501', qr/must be owner/, undef, 'it gives no rights that the caller has not');

# No trace of what was refused, and everything still works.
$lisbon->sql(ddl('CREATE TABLE finally (id int PRIMARY KEY)'));
$lisbon->sql('INSERT INTO finally VALUES (1)');
same('the end');
my $none = new_center('alone');
$none->fails(ddl('CREATE TABLE x (id int)'), '55000', qr/in no group/, qr/Run the command directly/, 'without a group it is refused');

done_testing();
