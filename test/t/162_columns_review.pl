# Goal: merged columns where something gets in the way: quarantine, a session
# that stays in its transaction, changes without the trigger, numbers that are
# none, new partitions, renames, rows that nobody has copied, rights.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $conf = "multicenter.heartbeat_interval = '100ms'\nmulticenter.displaced_retention = '1s'\n";
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => $conf, setup => q{
	CREATE TABLE account (id int PRIMARY KEY, balance numeric NOT NULL DEFAULT 100, best int DEFAULT 0, owner text);
	CREATE TABLE stuck (id int PRIMARY KEY);
});
my ($lisbon, $oslo, $riga) = @centers;

# One test: a value at all centers.
sub same
{
	my ($value, $what, $id, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join(' / ', map { $_->sql("SELECT coalesce((SELECT ($what)::text FROM account WHERE id = $id), 'none')") } @centers),
		join(' / ', ($value) x @centers), $name);
}

# Set policies, and wait for the end of the fence.
sub merge_columns
{
	my ($table, %merges) = @_;
	$lisbon->sql("SELECT multicenter.column_policy_set('$table', '$_', '$merges{$_}')") foreach sort keys %merges;
	wait_server_applied(@centers);
	$_->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence') foreach @centers;
	return;
}

sub retry
{
	my ($center) = @_;
	$center->sql('SELECT multicenter.quarantine_retry(quarantine_id) FROM multicenter.quarantine');
	$center->wait_for_sql('SELECT count(*) = 0 FROM multicenter.quarantine', 't', 60);
	return;
}

my $no_changes = q{SELECT count(*) = 0 FROM multicenter.key_note WHERE kind = 'c'};

$lisbon->sql(q{INSERT INTO account (id) SELECT generate_series(1, 9)});
merge_columns('account', balance => 'delta', best => 'max');

# ---- numbers ----

$lisbon->fails(q{UPDATE account SET balance = 'NaN' WHERE id = 1}, '22003', qr/cannot become NaN or infinite/, qr/.*/, 'what is no number cannot be added up');
$lisbon->sql(q{UPDATE account SET balance = 1.00 WHERE id = 2});
wait_server_applied(@centers);
same('1.00', 'balance', 2, 'a value without any competitor is what was written, to the last digit');

# ---- without the trigger ----

my @links = links_between(@centers);
hold_links(@links);
$lisbon->sql(q{SET session_replication_role = replica; UPDATE account SET owner = 'replica' WHERE id = 3});
$oslo->sql(q{UPDATE account SET balance = balance + 5 WHERE id = 3});
release_links(@links);
wait_server_applied(@centers);
is(join(' ', map { $_->sql('SELECT owner FROM account WHERE id = 3') } @centers), 'replica replica replica', 'a change without the trigger counts as an INSERT of the row');
identical(@centers, 'account');

# ---- quarantine ----

# Changes of one row wait one behind the other; when the first one has left the
# others follow at once, and not one in each look of the manager.
$lisbon->sql('INSERT INTO account (id) VALUES (200)');
wait_server_applied(@centers);
$riga->sql('ALTER TABLE account ADD CONSTRAINT no CHECK (best <> 778)');
$lisbon->sql('UPDATE account SET best = 778 WHERE id = 200');
$lisbon->sql(q{DO $$ BEGIN FOR i IN 1 .. 100 LOOP UPDATE account SET balance = balance + 1 WHERE id = 200; COMMIT; END LOOP; END $$});
$riga->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', '101', 60);
$riga->sql('ALTER TABLE account DROP CONSTRAINT no');
$riga->sql('SELECT multicenter.quarantine_retry(quarantine_id) FROM multicenter.quarantine');
$riga->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', '0', 25);
wait_server_applied(@centers);
same('200 778', q{balance || ' ' || best}, 200, 'a hundred changes of a row leave quarantine in seconds');

# What waits in quarantine was not seen there: nobody forgets what it competes
# with.  And a row may have a name at one center and none at another.
$riga->sql('ALTER TABLE stuck ADD CHECK (id <> 1)');
$oslo->sql('ALTER TABLE account ADD CONSTRAINT no CHECK (best <> 777)');
$lisbon->sql('INSERT INTO stuck VALUES (1)');
$lisbon->sql('UPDATE account SET best = 777 WHERE id = 5');
$_->wait_for_sql('SELECT count(*) = 1 FROM multicenter.quarantine', 't', 60) foreach $riga, $oslo;
$lisbon->sql('INSERT INTO account (id, balance) VALUES (100, 0)');
wait_server_applied(@centers);
$oslo->sql('UPDATE account SET best = 50 WHERE id = 5');
my @away = ([ $lisbon, $riga ], [ $riga, $lisbon ], [ $riga, $oslo ]);
hold_links(@away);
$lisbon->sql('UPDATE account SET balance = balance + 10 WHERE id = 100');
wait_applied($lisbon, $oslo);
$oslo->sql('UPDATE account SET balance = balance + 100 WHERE id = 100');
$riga->sql('UPDATE account SET balance = balance + 1 WHERE id = 100');
release_links(@away);
wait_server_applied(@centers);
same('111', 'balance', 100, 'all is added to a row that some centers know by another name');

# Nothing tells that the manager has looked, every 2 s, and found nothing to do.
foreach my $center (@centers)
{
	my $now = $center->sql('SELECT clock_timestamp()');
	$center->wait_for_sql("SELECT clock_timestamp() > '$now'::timestamptz + interval '3 s'", 't', 60);
	cmp_ok($center->sql(q{SELECT count(*) FROM multicenter.key_note WHERE kind = 'c'}), '>', 0, "changes are kept while one of them waits in quarantine elsewhere: $center->{name}");
}
$oslo->sql('ALTER TABLE account DROP CONSTRAINT no');
retry($oslo);
wait_server_applied(@centers);
same('777', 'best', 5, 'the greatest value after quarantine');
$riga->sql('ALTER TABLE stuck DROP CONSTRAINT stuck_id_check');
retry($riga);
$_->wait_for_sql($no_changes, 't', 60) foreach @centers;
pass('then nothing is kept any more');

$oslo->sql(q{CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'stays'; END$$;
	CREATE TRIGGER stay BEFORE DELETE ON account FOR EACH ROW EXECUTE FUNCTION stay(); ALTER TABLE account ENABLE ALWAYS TRIGGER stay});
$lisbon->sql('DELETE FROM account WHERE id = 6');
$oslo->wait_for_sql(q{SELECT count(*) = 1 FROM multicenter.quarantine WHERE operation = 'DELETE'}, 't', 60);
$oslo->sql('UPDATE account SET balance = balance + 1 WHERE id = 6');
wait_server_applied(@centers);
$oslo->sql('DROP TRIGGER stay ON account');
retry($oslo);
wait_server_applied(@centers);
same('none', 'id', 6, 'a delete stays one, although it has waited in quarantine');

# ---- a session that stays in its transaction ----

$lisbon->sql('UPDATE account SET balance = balance + 1 WHERE id IN (7, 8)');
my $session = $lisbon->background_psql;
$session->query_safe('BEGIN; UPDATE account SET balance = balance + 1 WHERE id = 7');
$lisbon->wait_for_sql(q{SELECT count(*) = 0 FROM multicenter.key_note WHERE kind = 'c' AND key ->> 'id' = '8'}, 't', 60);
pass('what a session has removed keeps nothing else from being forgotten');
$session->query_safe('COMMIT');
$session->quit;
wait_server_applied(@centers);
same('102', 'balance', 7, 'and its change counts');

# ---- a displaced row that goes for good ----

$lisbon->sql(q{SELECT multicenter.replicate_ddl('CREATE TABLE public.tag (id int PRIMARY KEY, name text UNIQUE, uses int NOT NULL DEFAULT 0)')});
merge_columns('tag', uses => 'delta');
hold_links(@links);
$lisbon->sql(q{INSERT INTO tag VALUES (1, 'same')});
$oslo->sql(q{INSERT INTO tag VALUES (2, 'same')});
release_links(@links);
wait_server_applied(@centers);
$_->wait_for_sql(q{SELECT count(*) = 0 FROM multicenter.displaced}, 't', 60) foreach @centers;
wait_server_applied(@centers);
identical(@centers, 'tag');
is($lisbon->sql('SELECT count(*) FROM tag'), 1, 'a displaced row goes after its time');
ok($_->sql('SELECT count(*) = 0 FROM multicenter.quarantine'), "nothing is in quarantine at $_->{name}") foreach @centers;

# ---- names ----

$lisbon->fails(qq{SELECT multicenter.replicate_ddl('ALTER TABLE public.account RENAME $_')}, '55000', qr/cannot rename/, qr/column_policy_reset/, "a merged column keeps its name: $_")
  foreach 'TO accounts', 'COLUMN best TO top';
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE public.account RENAME owner TO holder')});
wait_server_applied(@centers);
pass('another one need not');

# ---- what is kept when a policy goes ----

$lisbon->sql('UPDATE account SET balance = balance + 1 WHERE id = 8');
$lisbon->sql(q{SELECT multicenter.column_policy_reset('account')});
wait_server_applied(@centers);
$_->wait_for_sql($no_changes, 't', 60) foreach @centers;
pass('nothing is kept without policies');

# ---- rows that nobody has copied, partitions, and rights ----

my $porto = new_center('porto', conf => $conf);
my $bergen = $porto->add_database('bergen');
@centers = ($porto, $bergen);
$_->sql(q{
	CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL DEFAULT 100, score int DEFAULT 1);
	INSERT INTO account (id) VALUES (1), (2);
	CREATE TABLE stock (region text, id int, amount int NOT NULL, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
	CREATE TABLE stock_north PARTITION OF stock FOR VALUES IN ('north')}) foreach @centers;
group_create($porto);
group_join($bergen, $porto, copy => 'none');
wait_ready(@centers);
foreach my $column (q{'stock', 'amount'}, q{'account', 'balance'})
{
	$porto->sql(qq{SELECT multicenter.column_policy_set($column, 'delta')});
	wait_all_applied(@centers);
	$_->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence') foreach @centers;
}
$porto->sql('UPDATE account SET balance = balance + 1 WHERE id = 1');
$bergen->sql('UPDATE account SET balance = balance + 1 WHERE id = 1');
wait_all_applied(@centers);
same('102', 'balance', 1, q{added to a row that was there before, copy => 'none'});

# The same for a center that joins later.
my $faro = $porto->add_database('faro');
$faro->sql(q{CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL DEFAULT 100, score int DEFAULT 1);
	INSERT INTO account (id, balance) VALUES (1, 102), (2, 100);
	CREATE TABLE stock (region text, id int, amount int NOT NULL, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
	CREATE TABLE stock_north PARTITION OF stock FOR VALUES IN ('north');
	ALTER TABLE account REPLICA IDENTITY FULL;
	ALTER TABLE stock_north REPLICA IDENTITY FULL;
	CREATE TRIGGER "~multicenter_keep_change" BEFORE UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION multicenter.keep_change();
	CREATE TRIGGER "~multicenter_keep_change" BEFORE UPDATE OR DELETE ON stock FOR EACH ROW EXECUTE FUNCTION multicenter.keep_change()});
group_join($faro, $porto, copy => 'none');
push @centers, $faro;
wait_ready(@centers);
$faro->sql('UPDATE account SET balance = balance + 1');
wait_all_applied(@centers);
$porto->sql('UPDATE account SET balance = balance + 1');
wait_all_applied(@centers);
same('104', 'balance', 1, 'and by a center that has joined without a copy');
same('102', 'balance', 2, 'with a row that only centers from before have changed');

$_->sql(q{CREATE TABLE stock_south PARTITION OF stock FOR VALUES IN ('south')}) foreach @centers;
$porto->sql(q{INSERT INTO stock VALUES ('south', 1, 10)});
wait_all_applied(@centers);
$_->sql('UPDATE stock SET amount = amount + 1') foreach @centers;
is(join(' ', map { $_->sql(q{SELECT relreplident FROM pg_class WHERE relname = 'stock_south'}) } @centers), 'f f f', 'a new partition has whole old rows');
wait_all_applied(@centers);
is(join(' ', map { $_->sql('SELECT amount FROM stock') } @centers), '13 13 13', 'and its changes are added up');
is($porto->sql('SELECT count(*) FROM multicenter.column_policies WHERE problem IS NOT NULL'), 0, 'nothing is missing');
$porto->sql('ALTER TABLE stock_north REPLICA IDENTITY DEFAULT');
is($porto->sql(q{SELECT relreplident FROM pg_class WHERE relname = 'stock_north'}), 'f', 'nor can that be taken away');
$porto->sql(q{CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
	CREATE TRIGGER "~zz" BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION late()});
like($porto->sql(q{SELECT problem FROM multicenter.column_policies WHERE relation = 'account'::regclass}), qr/trigger "~zz" comes after/, 'also of a trigger that comes too late');
$porto->sql('DROP TRIGGER "~zz" ON account');

$_->sql(q{GRANT CREATE ON SCHEMA public TO PUBLIC}) foreach @centers;
$porto->sql('CREATE ROLE boss; GRANT multicenter_admin TO boss');
$_->sql(q{SET ROLE boss; CREATE FUNCTION public.steal(int, int) RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RAISE EXCEPTION 'runs as %', current_user; END$$}) foreach @centers;
$porto->fails(q{SET ROLE boss; SELECT multicenter.column_policy_set('public.account', 'score', 'handler', 'public.steal(int, int)')}, '42501', undef, undef,
	q{a function of somebody else does not run as the table's owner});

# A function that does not do is tried, with values of the column.
$porto->sql('INSERT INTO account (id) VALUES (3); UPDATE account SET score = id');
wait_all_applied(@centers);
$porto->sql($_) foreach
	'CREATE FUNCTION public.minus(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT $1 - $2$$',
	'CREATE FUNCTION public.mean(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT ($1 + 3 * $2) * ($2 + 3 * $1)$$',
	'CREATE FUNCTION public.fails(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT $1 / 0$$',
	'CREATE FUNCTION public.larger(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT greatest($1, $2)$$';
is($porto->sql("SELECT coalesce(multicenter.internal_column_probe('account', 'score', 'public.$_->[0](int, int)'), 'none')"), $_->[1], "the probe of $_->[0]")
  foreach [ minus => 'with two values exchanged its answer is different' ], [ mean => 'of three values its answer depends on which two it gets first' ],
  [ fails => 'conflict handler public.fails failed: division by zero' ], [ larger => 'none' ];

# It may become somebody else's afterwards.
$_->sql('ALTER FUNCTION public.steal(int, int) OWNER TO postgres') foreach @centers;
like(($porto->psql(q{SELECT multicenter.column_policy_set('public.account', 'score', 'handler', 'public.steal(int, int)')}))[2],
	qr/WARNING: .*public\.steal.*there are doubts\nDETAIL:  .*runs as/, 'who sets it is told what the probe has found');
wait_all_applied(@centers);
$_->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence') foreach @centers;
$_->sql('ALTER FUNCTION public.steal(int, int) OWNER TO boss') foreach @centers;
@links = links_between(@centers);
hold_links(@links);
$_->sql('UPDATE account SET score = score + 1 WHERE id = 2') foreach @centers;
release_links(@links);
$bergen->wait_for_sql('SELECT count(*) > 0 FROM multicenter.quarantine', 't', 60);
my $message = $bergen->sql('SELECT error_message FROM multicenter.quarantine LIMIT 1');
unlike($message, qr/runs as/, 'nor later');
note($message);
$_->sql('CREATE OR REPLACE FUNCTION public.steal(int, int) RETURNS int LANGUAGE sql STABLE AS $$SELECT greatest($1, $2)$$; ALTER FUNCTION public.steal(int, int) OWNER TO postgres') foreach @centers;
wait_all_applied(@centers);
retry($_) foreach @centers;
same('3', 'score', 2, 'a function that may be called decides then');
identical(@centers, 'account');

done_testing();
