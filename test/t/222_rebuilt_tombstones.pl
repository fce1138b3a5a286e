# Goal: a peer that was away for longer than multicenter.dead_row_retention
# brings changes that are older than deletes which VACUUM has removed meanwhile.
# They are decided as if it had not: the deletes are read back from the WAL of
# the center before.
#
# Method: three databases of one server.  riga keeps dead rows for a second only.
# oslo is cut off from riga, or all from all; deletes at riga, and at lisbon,
# compete with what oslo writes, in both orders of time.  VACUUM removes the
# dead rows, then the links are opened.  The reading is stopped in its middle by
# a lock, and the server killed.  Where the WAL is not there the change waits,
# as ever.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
	CREATE TABLE whole (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
	ALTER TABLE whole REPLICA IDENTITY FULL;
	CREATE TABLE "Old Name" (a text, b int, v text, PRIMARY KEY (b, a)) WITH (autovacuum_enabled = off);
	CREATE TABLE cut (id int PRIMARY KEY, v text);
	CREATE TABLE one (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
	CREATE TABLE uniq (id int PRIMARY KEY, u text UNIQUE) WITH (autovacuum_enabled = off);
	CREATE TABLE doomed (id int PRIMARY KEY, v text);
});
my ($lisbon, $oslo, $riga) = @centers;

# Shut or open the link from one center to another.
sub pause
{
	my ($from, $to) = @_;
	$to->sql("SELECT multicenter.link_pause('$from->{name}')");
	$to->wait_for_sql("SELECT state = 'paused' AND NOT EXISTS (SELECT FROM multicenter.workers
		WHERE role = 'receiver' AND peer = '$from->{name}') FROM multicenter.lag
		WHERE direction = 'in' AND peer = '$from->{name}'");
	return;
}

sub resume
{
	my ($from, $to) = @_;
	$to->sql("SELECT multicenter.link_resume('$from->{name}')");
	return;
}

# VACUUM has removed every dead row of tables, because a peer is away for long.
sub forget_dead_rows
{
	my ($center, @tables) = @_;

	foreach my $table (@tables)
	{
		$center->wait_for_sql(qq{VACUUM (INDEX_CLEANUP on) $table;
			SELECT n_dead_tup = 0 FROM pg_stat_user_tables WHERE relid = '$table'::regclass});
	}
	is($center->sql('SELECT retention_ended FROM multicenter.horizon'), 't', "$center->{name} has given up");
	return;
}

# How many changes were not decided so far.
sub undecided
{
	my ($center) = @_;
	my $errors = () = slurp_file($center->node->logfile) =~ /ERROR:  cannot decide on a change/g;

	$errors += $center->sql('SELECT count(*) FROM multicenter.quarantine')
	  if $center->sql(q{SELECT to_regclass('multicenter.quarantine') IS NOT NULL}) eq 't';
	return $errors;
}

# Nothing is undecided, and all centers hold the same.
sub settled
{
	my ($name, @tables) = @_;

	wait_streaming(@centers);
	wait_all_applied(@centers);
	identical(@centers, $_) foreach @tables;
	is(undecided($_), 0, "$name: everything was decided at $_->{name}") foreach @centers;
	$riga->wait_for_sql('SELECT NOT retention_ended FROM multicenter.horizon');
	return;
}

$riga->append_conf("multicenter.dead_row_retention = '1s'");
$riga->reload;
$_->wait_for_sql('SELECT count(*) > 0 FROM multicenter.kept_wal') foreach @centers;
pass('every center keeps WAL');

#
# oslo is cut off from everybody; lisbon's deletes reach riga.
#
$lisbon->sql(q{
	INSERT INTO item SELECT i, 'old' FROM generate_series(1, 40) i;
	INSERT INTO whole SELECT i, 'old' FROM generate_series(1, 40) i;
	INSERT INTO "Old Name" SELECT 'it''s ' || i, i, 'old' FROM generate_series(1, 40) i;
	INSERT INTO cut SELECT i, 'old' FROM generate_series(1, 10) i;
	INSERT INTO one VALUES (1, 'old'), (2, 'old');
	INSERT INTO doomed SELECT i, 'old' FROM generate_series(1, 10) i});
wait_all_applied(@centers);
my @all = ([ $oslo, $lisbon ], [ $oslo, $riga ], [ $lisbon, $oslo ], [ $riga, $oslo ]);
pause(@$_) foreach @all;

# Older than the deletes, and new rows of which nobody knows.
$oslo->sql(qq{UPDATE $_ SET v = 'late' WHERE v = 'old'}) foreach 'item', 'whole', '"Old Name"', 'cut';
$oslo->sql(q{INSERT INTO item SELECT i, 'new' FROM generate_series(101, 110) i});
$oslo->sql(q{UPDATE item SET v = 'behind' WHERE id = 9});

# Deletes, key changes, a row that comes back, and rows that go in pieces.
foreach my $table ('item', 'whole')
{
	$riga->sql("DELETE FROM $table WHERE id BETWEEN 1 AND 4");
	$lisbon->sql("DELETE FROM $table WHERE id BETWEEN 11 AND 14");
	$riga->sql("UPDATE $table SET id = id + 1000 WHERE id IN (5, 6)");
	$lisbon->sql("UPDATE $table SET id = id + 1000 WHERE id IN (15, 16)");
	$riga->sql("DELETE FROM $table WHERE id = 7; INSERT INTO $table VALUES (7, 'again')");
	$riga->sql("UPDATE $table SET v = 'riga' WHERE id IN (8, 31)");
	$riga->sql("BEGIN; SAVEPOINT s; DELETE FROM $table WHERE id = 21; RELEASE s; SAVEPOINT s; DELETE FROM $table WHERE id = 22; ROLLBACK TO s; COMMIT");
}
$riga->sql(q{DELETE FROM "Old Name" WHERE b <= 10; UPDATE "Old Name" SET a = 'moved' WHERE b = 11});
$riga->sql('ALTER TABLE "Old Name" RENAME TO renamed');
$riga->sql('ALTER TABLE renamed RENAME TO "Old Name"');
$riga->sql('TRUNCATE cut');
$riga->sql('DELETE FROM doomed');

# Newer than the deletes: these win.
wait_applied($lisbon, $riga);
wait_applied($riga, $lisbon);
$oslo->sql(q{UPDATE item SET v = 'newer' WHERE id IN (2, 12, 6)});
$oslo->sql(q{UPDATE whole SET v = 'newer' WHERE id IN (2, 12, 6)});
forget_dead_rows($riga, 'item', 'whole', '"Old Name"', 'doomed');
is($riga->sql('SELECT count(*) FROM multicenter.key_note'), 0, 'and remembers nothing in notes');

resume(@$_) foreach @all;
settled('oslo was away', 'item', 'whole', '"Old Name"', 'cut', 'doomed');
foreach my $center (@centers)
{
	is($center->sql(q{SELECT string_agg(id || v, ' ' ORDER BY id) FROM item WHERE id <= 22 OR id > 1000}),
		'2newer 6newer 7again 8riga 9behind 10late 12newer 17late 18late 19late 20late 22late 1005old 1006old 1015old 1016old',
		"$center->{name} has what the merge table says");
	is($center->sql('SELECT count(*) FROM item WHERE id BETWEEN 101 AND 110'), 10, 'and the new rows');
	is($center->sql(q{SELECT string_agg(id || v, ' ' ORDER BY id) FROM whole WHERE id <= 22 OR id > 1000}),
		'2newer 6newer 7again 8riga 9late 10late 12newer 17late 18late 19late 20late 22late 1005old 1006old 1015old 1016old',
		'with REPLICA IDENTITY FULL too');
	is($center->sql(q{SELECT count(*), count(*) FILTER (WHERE a = 'moved') FROM "Old Name"}), '30|1', 'with a key of several columns too');
}
like(slurp_file($riga->node->logfile), qr/read \d+ deletes and key changes back, of which \d+ are remembered again/, 'riga has read deletes back');

#
# Only one direction is broken: oslo gets all of riga's changes, so that riga's
# slot for it moves on.
#
pause($oslo, $riga);
$oslo->sql(q{INSERT INTO item SELECT i, 'new' FROM generate_series(201, 220) i});
wait_applied($oslo, $lisbon);
wait_applied($lisbon, $riga);
$lisbon->sql(q{UPDATE item SET v = 'lisbon' WHERE id BETWEEN 201 AND 210});
$riga->wait_for_sql(q{SELECT count(*) = 10 FROM item WHERE id BETWEEN 201 AND 210});
$riga->sql('DELETE FROM item WHERE id BETWEEN 206 AND 210');
wait_applied($riga, $oslo);
forget_dead_rows($riga, 'item');
resume($oslo, $riga);
settled('one direction', 'item');
is($riga->sql(q{SELECT count(*) FROM item WHERE id BETWEEN 201 AND 220}), 15, 'what oslo had inserted before the deletes does not come back');

#
# A row that was displaced has left its table, but was not deleted.
#
pause(@$_) foreach @all, [ $riga, $lisbon ], [ $lisbon, $riga ];
$lisbon->sql(q{INSERT INTO uniq VALUES (1, 'x'), (2, 'y')});
$riga->sql(q{INSERT INTO uniq VALUES (3, 'x'), (4, 'y')});
resume($lisbon, $riga);
resume($riga, $lisbon);
wait_applied($lisbon, $riga);
wait_applied($riga, $lisbon);
is($lisbon->sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM uniq'), '3 4', 'the older rows are displaced');
$riga->sql('DELETE FROM uniq WHERE id = 3');
$_->wait_for_sql('SELECT count(*) = 2 FROM uniq WHERE id IN (1, 4)') foreach $lisbon, $riga;
$oslo->sql(q{INSERT INTO uniq VALUES (5, 'z')});
forget_dead_rows($lisbon, 'uniq');
resume(@$_) foreach @all;
settled('displaced rows', 'uniq');
$oslo->sql('DELETE FROM uniq WHERE id = 4');
$_->wait_for_sql(q{SELECT string_agg(id || u, ' ' ORDER BY id) = '1x 2y 5z' FROM uniq}) foreach @centers;
pass('displaced rows come back after deletes were read back');

#
# The reading is a state that people see, and may die at any point.  riga needs
# a table that a session has locked, when it has read those of another one.
#
pause(@$_) foreach @all;
$oslo->sql(q{UPDATE item SET v = 'late2' WHERE id BETWEEN 23 AND 30; UPDATE whole SET v = 'late2' WHERE id BETWEEN 23 AND 30});
$riga->sql('DELETE FROM item WHERE id BETWEEN 23 AND 28');
$riga->sql('DELETE FROM whole WHERE id BETWEEN 23 AND 28');
wait_applied($riga, $lisbon);
forget_dead_rows($riga, 'item', 'whole');
my $locker = $riga->background_psql();
$locker->query('BEGIN; LOCK TABLE whole IN SHARE MODE');
resume($oslo, $riga);
$riga->wait_for_sql(q{SELECT state = 'catching_up' AND stall_reason LIKE 'reading deletes back%' FROM multicenter.lag
	WHERE direction = 'in' AND peer = 'oslo'});
$riga->wait_for_sql(q{SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'whole'::regclass)});
pass('the reading is visible, and waits for a table');
is($riga->sql(q{SELECT count(*) FROM item WHERE v = 'late2'}), 0, 'nothing late is applied before it is over');
$riga->kill9;
$riga->start;
eval { $locker->quit };
$riga->wait_for_sql(q{SELECT count(*) = 2 FROM item WHERE v = 'late2'});
resume(@$_) foreach grep { $_->[1] != $riga } @all;
settled('after crashes', 'item', 'whole');
is($riga->sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM item WHERE id BETWEEN 23 AND 30'), '29 30', 'the deletes are remembered after crashes too');
is($riga->sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM whole WHERE id BETWEEN 23 AND 30'), '29 30', 'in both tables');
is($riga->sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ 'rebuild'}), 0, 'no slot is left over');

#
# What cannot be rebuilt is not guessed: the slot that keeps the WAL is gone, or
# the key of the table was another one when they were read.
#
wait_all_applied(@centers);
foreach my $case ([ 'the WAL is gone', $lisbon, 1 ], [ 'the key has changed', $riga, 2 ])
{
	my ($name, $center, $id) = @$case;
	my $before = undecided($center);

	pause($oslo, $center);
	$oslo->sql("UPDATE one SET v = 'late' WHERE id = $id");
	$center->sql("DELETE FROM one WHERE id = $id");
	$center->sql('ALTER TABLE one DROP CONSTRAINT one_pkey, ADD PRIMARY KEY (id, v)') if $id == 2;
	forget_dead_rows($center, 'one');
	$center->sql(q{SELECT pg_drop_replication_slot(slot_name) FROM multicenter.kept_wal}) if $id == 1;
	resume($oslo, $center);
	if ($id == 2)
	{
		$center->wait_for_sql(q{SELECT state = 'stalled' FROM multicenter.lag WHERE direction = 'in' AND peer = 'oslo'});
		$center->sql('ALTER TABLE one DROP CONSTRAINT one_pkey, ADD PRIMARY KEY (id)');
	}
	poll('an undecided change', sub { return undecided($center) > $before });
	is($center->sql("SELECT count(*) FROM one WHERE id = $id"), 0, "$name: the change is not applied by a guess");
	pause($oslo, $center);
}

done_testing();
