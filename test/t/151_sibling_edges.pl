# Goal: the sets of siblings are the same at all centers in the cases where it is
# hard to know what a write had seen, or where a version is not what it seems: a
# center that parts, a target that has restarted, deletes that meet, an INSERT
# over a delete, epochs.
#
# Method: three databases of one server.  Each section holds links, writes, and
# releases them in an order that has once made centers differ.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @tables = qw(first skip parted epochs held handled);
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n",
	setup => join('', map { "CREATE TABLE $_ (id int PRIMARY KEY, v text);" } @tables)
	  . join('', map { "CREATE TABLE $_ (id int PRIMARY KEY, v text, big text); ALTER TABLE $_ ALTER big SET STORAGE EXTERNAL;" } 'large', map { ("late_$_", "other_$_") } 1 .. 3));
my ($lisbon, $oslo, $riga) = @centers;
my @links = links_between(@centers);

# What a center shows of a table.
sub show
{
	my ($center, $table) = @_;
	return $center->sql("SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM $table");
}

# Do all show the same, and this?
sub agree
{
	my ($table, $expected, $name, @where) = @_;
	@where = @centers if !@where;
	is(show($_, $table), $expected, "$name, at $_->{name}") foreach @where;
	return;
}

$lisbon->sql(q{SELECT multicenter.conflict_policy_set('first', NULL, 'first_update_wins')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('parted', NULL, 'first_update_wins')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('epochs', 'update_deleted', 'skip')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('skip', 'update_deleted', 'skip')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('held', NULL, 'quarantine', options => '{"allow_divergence": true}')});
$_->sql(q{CREATE FUNCTION public.longer(local_row handled, remote_row handled, info multicenter.conflict_info, OUT result_row handled, OUT action text)
	IMMUTABLE LANGUAGE sql AS $$ SELECT NULL::public.handled, CASE WHEN length((local_row).v) > length((remote_row).v) THEN 'keep_local' ELSE 'apply_remote' END $$}) foreach @centers;
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('handled', NULL, 'handler', 'longer(handled, handled, multicenter.conflict_info)')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('large', NULL, 'first_update_wins')});
wait_policies(@centers);

sub heartbeat
{
	my ($interval) = @_;
	$lisbon->append_conf("multicenter.heartbeat_interval = '$interval'");
	$lisbon->reload;
	return;
}

# An INSERT over a delete tells what it has seen: dependency vectors alone do not
# know it any more after a restart of the target.
$lisbon->sql(q{INSERT INTO skip VALUES (1, 'old'), (2, 'old'), (3, 'old')});
wait_all_applied(@centers);
heartbeat('10s');
hold_links([ $oslo, $riga ]);
$lisbon->sql(q{DELETE FROM skip});
wait_applied($lisbon, $oslo);
$oslo->sql(q{INSERT INTO skip VALUES (1, 'insert')});
$oslo->sql(q{INSERT INTO skip VALUES (20, 'moved')});
$oslo->sql(q{UPDATE skip SET id = 2 WHERE id = 20});
$oslo->sql(q{INSERT INTO skip VALUES (3, 'upsert') ON CONFLICT (id) DO UPDATE SET v = 'update'});
wait_applied($lisbon, $riga);
wait_applied($oslo, $lisbon);
heartbeat('100ms');
$lisbon->restart;
release_links([ $oslo, $riga ]);
wait_all_applied(@centers);
agree('skip', '1:insert 2:moved 3:upsert', 'rows over deletes, after a restart');

# A write of a greater epoch takes the place of a delete with a greater version,
# whose dead row stays and must not count any more.
$lisbon->sql(q{INSERT INTO epochs VALUES (1, 'old')});
wait_all_applied(@centers);
hold_links([ $oslo, $lisbon ], [ $riga, $lisbon ], [ $riga, $oslo ]);
$oslo->sql(q{SELECT multicenter.conflict_policy_set('epochs', 'update_deleted', 'skip')});
my $newest = $oslo->sql('SELECT multicenter.internal_policy_newest()');
$_->wait_for_sql('SELECT multicenter.internal_policy_own_epoch()', $newest) foreach $oslo, $riga;
$oslo->sql(q{UPDATE epochs SET v = 'greater epoch'});
wait_applied($oslo, $riga);
$riga->sql(q{DELETE FROM epochs});
$lisbon->sql(q{DELETE FROM epochs});
release_links([ $oslo, $lisbon ], [ $riga, $lisbon ]);
$oslo->sql(q{UPDATE epochs SET v = 'beside the delete'});
wait_applied($oslo, $lisbon);
release_links([ $riga, $oslo ]);
wait_all_applied(@centers);
agree('epochs', '', 'a delete of a lower epoch and a greater version');

# Where two deletes meet nobody inserts the row before that is committed: whether
# it had seen them must be known.
$lisbon->sql(q{INSERT INTO skip VALUES (10, 'old'), (11, 'old')});
wait_all_applied(@centers);
hold_links([ $riga, $oslo ], [ $lisbon, $riga ]);
$lisbon->sql(q{DELETE FROM skip WHERE id = 10});
wait_applied($lisbon, $oslo);
my $locker = $oslo->background_psql;
$locker->query_safe(q{BEGIN; SELECT FROM skip WHERE id = 11 FOR UPDATE});
$riga->sql(q{BEGIN; DELETE FROM skip WHERE id = 10; UPDATE skip SET v = 'new' WHERE id = 11; COMMIT});
release_links([ $lisbon, $riga ]);
$oslo->sql(q{SELECT multicenter.link_resume('riga')});
$oslo->wait_for_sql(q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted});
$oslo->fails(q{SET lock_timeout = '300ms'; INSERT INTO skip VALUES (10, 'at that moment')}, '55P03', qr/lock timeout/, undef, 'an INSERT waits');
$locker->query_safe(q{COMMIT});
$locker->quit;
release_links([ $riga, $oslo ]);
wait_all_applied(@centers);
$oslo->sql(q{INSERT INTO skip VALUES (10, 'after that')});
wait_all_applied(@centers);
agree('skip', '1:insert 2:moved 3:upsert 10:after that 11:new', 'an INSERT after two deletes');

# What a policy puts into quarantine is in the history, once.  A handler that is
# missing at one center keeps the change back there.
$lisbon->sql(q{INSERT INTO held VALUES (1, 'old'); INSERT INTO handled VALUES (1, 'old')});
wait_all_applied(@centers);
$riga->sql(q{ALTER FUNCTION public.longer RENAME TO other});
hold_links(@links);
$lisbon->sql(q{UPDATE held SET v = 'lisbon'; UPDATE handled SET v = 'lisbon'});
$oslo->sql(q{UPDATE held SET v = 'oslo'; UPDATE handled SET v = 'oslo'});
release_links(@links);
wait_all_applied(@centers);
is($oslo->sql(q{SELECT string_agg(concat_ws(' ', relation, operation, waits_for), ',') FROM multicenter.quarantine}), 'held UPDATE decision', 'the policy "quarantine"');
is($oslo->sql(q{SELECT string_agg(concat_ws(' ', resolver, resolution, remote_row ->> 'v'), ',') FROM multicenter.conflicts WHERE relation = 'held'::regclass}),
	'quarantine quarantine lisbon', 'is in the history');
is(show($_, 'handled'), '1:lisbon', "the handler at $_->{name}") foreach $lisbon, $oslo;
is($riga->sql(q{SELECT string_agg(concat_ws(' ', waits_for, error_message), ',') FROM multicenter.quarantine WHERE relation = 'handled'::regclass}),
	'retry the conflict handler of table "public.handled" does not exist in this center', 'a handler that is missing');
$riga->sql(q{ALTER FUNCTION public.other RENAME TO longer});
$riga->sql(q{SELECT multicenter.quarantine_retry(quarantine_id) FROM multicenter.quarantine WHERE relation = 'handled'::regclass});
$riga->wait_for_sql(q{SELECT v FROM handled}, 'lisbon');
agree('handled', '1:lisbon', 'when it is there again');
$_->sql(q{SELECT multicenter.quarantine_discard(quarantine_id, 'tested') FROM multicenter.quarantine}) foreach @centers;

# A change that waits in quarantine keeps what it has seen, over a restart, too.
# What was written here since it came counts as having seen it.
sub in_quarantine
{
	my ($count) = @_;
	$riga->wait_for_sql("SELECT count(*) = $count FROM multicenter.quarantine WHERE relation = 'first'::regclass");
	return;
}
$lisbon->sql(q{INSERT INTO first VALUES (1, 'old'), (2, 'old')});
wait_all_applied(@centers);
$riga->sql(q{ALTER TABLE first ADD CONSTRAINT strict CHECK (v <> 'bad')});
heartbeat('10s');
$lisbon->sql(q{UPDATE first SET v = 'before'});
wait_applied($lisbon, $oslo);
$oslo->sql(q{UPDATE first SET v = 'bad' WHERE id = 1});
in_quarantine(1);
heartbeat('100ms');
$lisbon->restart;
$oslo->sql(q{UPDATE first SET v = 'bad' WHERE id = 2});
in_quarantine(2);
$riga->sql(q{UPDATE first SET v = 'riga' WHERE id = 2});
$riga->sql(q{ALTER TABLE first DROP CONSTRAINT strict; SELECT multicenter.quarantine_retry(quarantine_id) FROM multicenter.quarantine});
in_quarantine(0);
wait_all_applied(@centers);
agree('first', '1:bad 2:riga', 'changes in quarantine');

# Updates that lack large values which they left alone: they wait for the row,
# unless they have seen everything.  The last row of riga is void before its
# first one is complete.
$_->sql(q{ALTER TABLE large REPLICA IDENTITY DEFAULT}) foreach @centers;
$lisbon->sql(q{INSERT INTO large SELECT i, 'old', repeat('old', 3000) FROM generate_series(1, 6) i});
wait_all_applied(@centers);
my @orders = ([ 0 .. 5 ], [ 3, 5, 1, 4, 0, 2 ], [ 4, 2, 0, 5, 3, 1 ]);
foreach my $round (0 .. $#orders)
{
	hold_links(@links);
	my @writers = map { $centers[ ($round + $_) % 3 ] } 0 .. 2;
	$writers[0]->sql(qq{UPDATE large SET v = 'first' WHERE id < 4; UPDATE large SET v = v || ' again' WHERE id = 3});
	$writers[1]->sql(qq{UPDATE large SET v = 'second', big = repeat('new', 3000) WHERE id <> 2});
	$writers[2]->sql(qq{BEGIN; UPDATE large SET v = 'third'; UPDATE large SET big = repeat('third', 2000) WHERE id = 6; COMMIT; DELETE FROM large WHERE id = 5});
	foreach my $link (@links[ @{ $orders[$round] } ])
	{
		$link->[1]->sql("SELECT multicenter.link_resume('$link->[0]{name}')");
		$link->[1]->wait_for_sql("SELECT state <> 'paused' FROM multicenter.lag WHERE direction = 'in' AND peer = '$link->[0]{name}'");
	}
	wait_all_applied(@centers);
	$_->wait_for_sql(q{SELECT count(*) = 0 FROM multicenter.quarantine}) foreach @centers;
	wait_all_applied(@centers);
	is($_->sql(q{SELECT string_agg(concat_ws(' ', id, v, left(big, 5), length(big)), ', ' ORDER BY id) FROM large}),
		'1 first oldol 9000, 2 first oldol 9000, 3 first again oldol 9000, 4 second newne 9000, 5 second newne 9000, 6 second newne 9000',
		"large values, round $round, at $_->{name}") foreach @centers;

	# One that has seen them all.
	$riga->sql(q{UPDATE large SET v = 'old', big = repeat('old', 3000); INSERT INTO large VALUES (5, 'old', repeat('old', 3000)) ON CONFLICT DO NOTHING});
	wait_all_applied(@centers);
}

# A table gets its first policy while versions of two epochs meet, of which only
# other tables have changed: who has met them before goes by their times, and so
# must who meets them after that.  A version that is not complete waits for no one.
my $late = 0;
foreach my $order ([ [ $lisbon, $riga ], [ $oslo, $riga ], [ $oslo, $lisbon ] ], [ [ $oslo, $riga ], [ $lisbon, $riga ], [ $oslo, $lisbon ] ],
	[ [ $oslo, $lisbon ], [ $oslo, $riga ], [ $lisbon, $riga ] ])
{
	my $table = 'late_' . ++$late;
	$lisbon->sql("INSERT INTO $table SELECT id, 'old', repeat('big', 1000) FROM generate_series(1, 5) id");
	wait_all_applied(@centers);
	hold_links(@links);
	$oslo->sql("UPDATE $table SET v = 'oslo' WHERE id = 4");
	$lisbon->sql("DELETE FROM $table WHERE id = 4");
	$lisbon->sql("SELECT multicenter.conflict_policy_set('other_$late', NULL, 'first_update_wins')");
	$lisbon->wait_for_sql('SELECT multicenter.internal_policy_own_epoch() = multicenter.internal_policy_newest()');
	$lisbon->sql("UPDATE $table SET v = 'lisbon' WHERE id IN (1, 2); DELETE FROM $table WHERE id IN (3, 5); INSERT INTO $table VALUES (6, 'lisbon')");
	$oslo->sql("BEGIN; UPDATE $table SET v = 'oslo' WHERE id IN (1, 3, 5); DELETE FROM $table WHERE id = 2; INSERT INTO $table VALUES (7, 'oslo'); COMMIT");
	release_links([ $lisbon, $oslo ]);
	wait_applied($lisbon, $oslo);
	hold_links([ $lisbon, $oslo ]);
	$lisbon->sql("SELECT multicenter.conflict_policy_set('$table', NULL, 'first_update_wins')");
	foreach my $link (@$order)
	{
		my ($from, $to) = @$link;
		$to->sql("SELECT multicenter.link_resume('$from->{name}')");
		$to->wait_for_sql("SELECT count(*) = 1 FROM $table WHERE v = '$from->{name}' AND id > 5");
	}
	release_links(grep { my $link = $_; !grep { "@$_" eq "@$link" } @$order } @links);
	wait_all_applied(@centers);
	$_->wait_for_sql('SELECT count(*) = 0 FROM multicenter.quarantine') foreach @centers;
	wait_all_applied(@centers);
	agree($table, '1:oslo 3:oslo 5:oslo 6:lisbon 7:oslo', "a first policy, round $late");
	is($_->sql("SELECT count(*) FROM $table WHERE id IN (1, 3, 5) AND length(big) = 3000"), 3, 'with their large values') foreach @centers;
}

# A center parts while a change is on its way that had not seen its last write.
$lisbon->sql(q{INSERT INTO parted VALUES (1, 'old')});
wait_all_applied(@centers);
hold_links([ $lisbon, $oslo ], [ $lisbon, $riga ], [ $riga, $lisbon ]);
$riga->sql(q{UPDATE parted SET v = 'riga'});
wait_applied($riga, $oslo);
$lisbon->sql(q{UPDATE parted SET v = 'lisbon'});
release_links([ $riga, $lisbon ]);
wait_applied($riga, $lisbon);
$riga->sql(q{SELECT multicenter.center_part(center_name => 'riga')});
$_->wait_for_sql(q{SELECT count(*) = 0 FROM multicenter.lag WHERE peer = 'riga'}) foreach $lisbon, $oslo;
release_links([ $lisbon, $oslo ]);
wait_applied($lisbon, $oslo);
agree('parted', '1:riga', 'a center that has parted', $lisbon, $oslo);

done_testing();
