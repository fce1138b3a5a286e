# Goal: a command that rewrites a replicated table runs on all centers as one
# version, whatever they write before, during and after; and a fence that is
# not needed any more goes, whoever has died.
#
# Method: three centers update the same rows while the type of a column is
# changed, once and again.  Sessions that meet the fence get a retryable error,
# which the load counts.  Then the fence is broken off: by lock_timeout while a
# center is away, by a rollback, by a crash of the coordinator; and it must
# survive the crash of a center that only keeps it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, amount int NOT NULL, note text NOT NULL);
	INSERT INTO item SELECT i, i, 'x' FROM generate_series(1, 200) i;
	CREATE TABLE part (id int PRIMARY KEY, amount int) PARTITION BY RANGE (id);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
	CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);
	INSERT INTO part SELECT i, i FROM generate_series(1, 150) i;
	CREATE TABLE refused (center text, at timestamptz DEFAULT clock_timestamp());
	CREATE FUNCTION attempt(command text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE command;
	EXCEPTION WHEN lock_not_available THEN
		NULL;
	END $$;
});
my ($lisbon, $oslo, $riga) = @centers;

sub ddl { my ($command) = @_; return "SELECT multicenter.replicate_ddl(\$\$$command\$\$)"; }

sub column_type
{
	my ($center, $table) = @_;
	return $center->sql("SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
		  . " WHERE attrelid = '$table'::regclass AND attname = 'amount'");
}

# No link had an error, and nothing is left of any fence.
sub clean
{
	my ($what) = @_;
	foreach my $center (@centers)
	{
		$center->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence');
		is($center->sql("SELECT string_agg(peer || ': ' || last_error, ', ') FROM multicenter.stat_links WHERE last_error_sqlstate NOT LIKE '08%' AND last_error_sqlstate NOT LIKE '57%'"),
			'', "$what: no link has failed at " . $center->name);
	}
}

# ---- competing writes from all centers ----

my @types = (['bigint', 'amount * 2'], ['numeric', 'amount'], ['int', '(amount % 1000)::int']);
my @loads = map {
	start_load($_, q{
		\set id random(1, 200)
		SELECT attempt('UPDATE item SET amount = (amount + 1) % 10000, note = ''} . $_->name . q{'' WHERE id = ' || :id);
	}, clients => 2)
} @centers;
for my $i (0 .. 5)
{
	my ($type, $using) = @{ $types[ $i % 3 ] };
	my $center = $centers[ $i % 3 ];
	$center->sql(ddl("ALTER TABLE item ALTER amount TYPE $type USING $using"));
	is(column_type($center, 'item'), $type eq 'int' ? 'integer' : $type, "rewrite $i to $type has run at its coordinator");
}
finish_load($_) foreach @loads;
wait_all_applied(@centers);
is(column_type($_, 'item'), 'integer', 'the last type is everywhere: ' . $_->name) foreach @centers;
identical(@centers, 'item');
clean('under load');

# Each row has the version of its last write: it still wins or loses rightly.
$oslo->sql(q{UPDATE item SET note = 'after' WHERE id = 1});
wait_all_applied(@centers);
identical(@centers, 'item');
is($lisbon->sql('SELECT note FROM item WHERE id = 1'), 'after', 'a write after the rewrite arrives');

# Partitions are fenced and rewritten with their table.
$riga->sql(ddl('ALTER TABLE part ALTER amount TYPE bigint'));
wait_all_applied(@centers);
is(column_type($_, 'part_2'), 'bigint', 'partitions too: ' . $_->name) foreach @centers;
identical(@centers, 'part');
clean('partitions');

# ---- two coordinators at once ----

# One is first and the other is told so; or they come one after the other.
for my $round (1 .. 5)
{
	my @running = map {
		my ($center, $type) = @$_;
		start_sql($center, ddl("ALTER TABLE item ALTER amount TYPE $type USING amount::$type"));
	} [ $lisbon, 'bigint' ], [ $oslo, 'numeric' ];
	my @ends = map { [ finish_sql($_) ] } @running;
	note("round $round: " . grep({ $_->[0] } @ends) . ' of two rewrites at once');
	unlike(join('', map { $_->[1] } @ends), qr/ERROR(?!:  another center is rewriting|:  another table is being)/, 'who does not, is told to try again');
	wait_all_applied(@centers);
	my %types = map { column_type($_, 'item') => 1 } @centers;
	is(scalar(keys %types), 1, 'all centers have the same type: ' . join(', ', keys %types));
}
identical(@centers, 'item');
clean('two coordinators');
$lisbon->sql(ddl('ALTER TABLE item ALTER amount TYPE int'));
clean('one after them');
$lisbon->sql(ddl('ALTER TABLE item ALTER amount TYPE bigint') . '; UPDATE item SET amount = amount + 1 WHERE id = 1; ' . ddl('ALTER TABLE item ALTER amount TYPE int'));
pass('who has rewritten a table can write to it at once');
clean('three in a session');

# The second one has the lock on the table for a moment, when it tries the
# command.  If the first one's fence comes just then, neither may wait for the
# other.  An open transaction of riga keeps the first one from ending; the
# savepoint stands for the attempt.
sub meet
{
	my ($type, $before, @then) = @_;
	my $writer = $riga->background_psql;
	$writer->query_safe(q{BEGIN; UPDATE item SET note = 'open' WHERE id = 2});
	my $second = $oslo->background_psql(on_error_stop => 0);
	$second->query_safe($before);
	my $first = start_sql($lisbon, ddl('ALTER TABLE item ALTER amount TYPE bigint'));
	$_->wait_for_sql(q{SELECT count(*) = 1 FROM multicenter.table_fence WHERE announced}) foreach @centers;
	$second->query_until(qr/waits/, "\\set VERBOSITY verbose\n" . join('', map { "$_;\n" } @then) . "\\echo waits\n"
		  . ddl("ALTER TABLE item ALTER amount TYPE $type") . ";\nCOMMIT;\n");
	$lisbon->wait_for_sql(q{SELECT fenced @> ARRAY[2] FROM multicenter.table_fence});
	pass('the first one does not wait for one that waits for it');
	$oslo->wait_for_sql(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND wait_event_type = 'Extension' AND query ~ 'replicate_ddl'});
	$writer->query_safe('COMMIT');
	$writer->quit;
	my ($succeeded, $output) = finish_sql($first);
	ok($succeeded, 'the first one succeeds') or diag($output);
	$second->query('SELECT 1');
	my $error = $second->{stderr};
	$second->quit;
	wait_all_applied(@centers);
	return $error;
}
is(meet('numeric', 'BEGIN; SAVEPOINT attempt; LOCK TABLE item IN ROW EXCLUSIVE MODE', 'ROLLBACK TO attempt'), '', 'the second one too');
is(column_type($_, 'item'), 'numeric', 'after the first one: ' . $_->name) foreach @centers;
like(meet('int', 'BEGIN; SELECT FROM item WHERE id = 1'), qr/ERROR:  40P01: cannot fence table "item" in this transaction.*HINT:  Run the command in a transaction of its own/s,
	'a second one that keeps the table from apply gets an error');
is(column_type($_, 'item'), 'bigint', 'only the first one has run: ' . $_->name) foreach @centers;
identical(@centers, 'item');
clean('a lock before the fence');
$lisbon->sql(ddl('ALTER TABLE item ALTER amount TYPE int'));
clean('and back again');

# What a center says of a fence may arrive before the fence: streams of two
# centers are in no order.
$riga->sql(q{SELECT multicenter.link_pause('oslo')});
$riga->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'receiver' AND peer = 'oslo'}, '0');
my $early = start_sql($oslo, "SET lock_timeout = '30s'", ddl('ALTER TABLE item ALTER amount TYPE bigint'));
$riga->wait_for_sql(q{SELECT fenced = '{1}' AND NOT announced FROM multicenter.table_fence});
$riga->sql(q{UPDATE item SET amount = 6 WHERE id = 6});
$riga->sql(q{SELECT multicenter.link_resume('oslo')});
my ($early_succeeded, $early_output) = finish_sql($early);
ok($early_succeeded, 'a rewrite whose fence is announced late') or diag($early_output);
wait_all_applied(@centers);
identical(@centers, 'item');
clean('announced late');
$oslo->sql(ddl('ALTER TABLE item ALTER amount TYPE int'));
clean('and back');

# ---- what is refused ----

$lisbon->fails(q{BEGIN; INSERT INTO refused VALUES ('x'); } . ddl('ALTER TABLE item ALTER amount TYPE bigint'), '25001', qr/has written before/, qr/transaction of its own/, 'a transaction that has written cannot rewrite');

$lisbon->fails(ddl('ALTER TABLE item ALTER amount TYPE float USING random()'), '0A000', qr/not immutable/, qr/immutable functions/, 'a volatile conversion is refused');
$lisbon->fails('ALTER TABLE item ALTER amount TYPE bigint', '0A000', qr/cannot rewrite/, qr/replicate_ddl/, 'outside of replicate_ddl() it is refused');

my $join = $lisbon->background_psql;
$join->query_safe('SELECT multicenter.peer_lock()');
$lisbon->fails(ddl('ALTER TABLE item ALTER amount TYPE bigint'), '55006', qr/while a center joins/, qr/again/, 'a center that joins gets a rewrite as a whole or not at all');
$join->quit;

# ---- a session that meets the fence ----

my $writer = $oslo->background_psql;
$writer->query_safe(q{BEGIN; UPDATE item SET amount = 5 WHERE id = 2});
my $coordinator = $lisbon->background_psql;
$coordinator->query_until(qr/started/, "\\echo started\nBEGIN;\n" . ddl('ALTER TABLE item ALTER amount TYPE bigint') . ";\nCOMMIT;\n");
$oslo->wait_for_sql(q{SELECT count(*) = 1 FROM multicenter.table_fence});
$riga->wait_for_sql(q{SELECT count(*) = 1 FROM multicenter.table_fence WHERE fenced @> ARRAY[3]});
$riga->fails(q{UPDATE item SET amount = 7 WHERE id = 3}, '55P03', qr/cannot write to table "item" while it is being rewritten/, qr/again/, 'a session that meets the fence gets an error');
$riga->sql(q{INSERT INTO refused (center) VALUES ('riga')});
pass('other tables are not fenced');
$riga->kill9;
$riga->start;
$riga->fails(q{UPDATE item SET amount = 7 WHERE id = 3}, '55P03', qr/cannot write to table/, qr/again/, 'the fence survives a crash of the center');
is(column_type($lisbon, 'item'), 'integer', 'the rewrite waits for an open transaction of another center');
$writer->query_safe('COMMIT');
$writer->quit;
$coordinator->quit;
wait_all_applied(@centers);
is(column_type($_, 'item'), 'bigint', 'then it runs: ' . $_->name) foreach @centers;
is($lisbon->sql('SELECT amount FROM item WHERE id = 2'), '5', 'and the change that it waited for is there');
identical(@centers, 'item');
clean('an open transaction');

# ---- a fence that is given up ----

$riga->stop;
$lisbon->fails(q{SET lock_timeout = '1s'; } . ddl('ALTER TABLE item ALTER amount TYPE int'), '55P03', qr/could not fence table "item"/, qr/multicenter.lag/, 'without every center there is no rewrite');
$oslo->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence');
$oslo->sql(q{UPDATE item SET amount = 8 WHERE id = 4});
$riga->start;
wait_all_applied(@centers);
$lisbon->sql('BEGIN; ' . ddl('ALTER TABLE item ALTER amount TYPE int') . '; ROLLBACK');
clean('after a rollback');
is(column_type($_, 'item'), 'bigint', 'nothing has changed: ' . $_->name) foreach @centers;

# The coordinator dies while its transaction is open.
$coordinator = $lisbon->background_psql;
$coordinator->query_safe('BEGIN; ' . ddl('ALTER TABLE item ALTER amount TYPE int'));
$oslo->fails(q{DELETE FROM item WHERE id = 5}, '55P03', qr/cannot write to table/, undef, 'the fence stands until the coordinator commits');
$lisbon->kill9;
eval { $coordinator->quit };
$lisbon->start;
wait_streaming(@centers);
clean('after a crash of the coordinator');
$oslo->sql(q{DELETE FROM item WHERE id = 5});
wait_all_applied(@centers);
is(column_type($_, 'item'), 'bigint', 'the rewrite was rolled back everywhere: ' . $_->name) foreach @centers;
identical(@centers, 'item');

# What waits in quarantine would be made void by a rewrite, here only.
$oslo->sql(q{INSERT INTO multicenter.quarantine_entry (peer_id, remote_xid, remote_lsn, end_lsn, version, vector,
		relation, hash, operation, key, new_row, key_changed, waits_for)
	SELECT center_id, 1, '0/1', '0/1', now(), '', 'item'::regclass, 0, 'UPDATE', '{"id": "9000"}', '{"id": "9000"}', true, 'cause'
	FROM multicenter.centers WHERE center_name = 'riga'});
$lisbon->fails(q{SET lock_timeout = '1s'; } . ddl('ALTER TABLE item ALTER amount TYPE int'), '55P03', qr/could not fence table "item"/, qr/multicenter.quarantine/,
	'no rewrite while a change of the table is in quarantine');
$oslo->sql(q{SELECT multicenter.quarantine_discard(quarantine_id, 'made up') FROM multicenter.quarantine});
clean('after a change in quarantine');
$lisbon->sql(ddl('ALTER TABLE item ALTER amount TYPE int'));
wait_all_applied(@centers);
is(column_type($_, 'item'), 'integer', 'then it is rewritten: ' . $_->name) foreach @centers;
identical(@centers, 'item');

done_testing();
