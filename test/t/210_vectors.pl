# Goal: what a writer had seen is known exactly: a write over a row that it had
# seen is no conflict, however the row got there and whatever was restarted in
# between; a write that had not seen the other one is a conflict.
#
# Method: three servers.  Links are paused so that the order in which changes
# arrive is known, then rows are written; what counts is the history.  For the
# vector at the start of a session there is one case that fails if it is too
# small (a false conflict) and one that fails if it is too great (a conflict
# that is missing), with everything restarted in turn.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Clock;
use Multicenter::Cluster;
use Test::More;

my $clock = Multicenter::Clock->new;
my $lisbon = new_center('lisbon', clock => $clock);
my @centers = ($lisbon, map { new_center($_) } qw(oslo riga));
my ($oslo, $riga) = @centers[ 1, 2 ];
$lisbon->sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
group_create($lisbon);
group_join($_, $lisbon) foreach $oslo, $riga;
wait_ready(@centers);
my $id = 0;

# Wait until a row has this value.
sub wait_row
{
	my ($center, $key, $value) = @_;
	$center->wait_for_sql("SELECT v FROM t WHERE id = $key", $value);
	return;
}

# Entries in the history of a center since it was last asked.
my %known;
sub conflicts
{
	my ($center) = @_;
	my $after = $known{ $center->name } || 0;
	$known{ $center->name } = $center->sql('SELECT coalesce(max(conflict_id), 0) FROM multicenter.conflicts');
	return $center->sql(qq{SELECT coalesce(string_agg(format('%s %s %s->%s %s', conflict_type, key, remote_center,
		coalesce(local_center, '-'), resolution), ', ' ORDER BY conflict_id), '')
		FROM multicenter.conflicts WHERE conflict_id > $after});
}

sub none
{
	my ($what) = @_;
	is(join('', map { conflicts($_) } @centers), '', $what);
	return;
}

# Wait until every center has promises of all others that are younger than now.
sub promises
{
	my $now = $lisbon->sql('SELECT clock_timestamp()');
	$_->wait_for_sql("SELECT frontier > '$now' FROM multicenter.horizon_status()") foreach @centers;
	return;
}

# Every center has heard heartbeats that tell of such promises.
sub settle
{
	promises();
	promises();
	wait_all_applied(@centers);
	return;
}

# What can happen to a link between two sessions.  from: the origin.
my %events = (
	'a pause' => sub { },
	'a restart of the origin' => sub { $_[0]->restart },
	'a crash of the origin' => sub { $_[0]->kill9; $_[0]->start },
	'a restart of the target' => sub { $_[1]->restart },
	'a crash of the target' => sub { $_[1]->kill9; $_[1]->start });

#
# Rows change hands
#

# Each center writes over what the one before has written.
sub hand_over
{
	my ($from, $to, $end) = @_;
	foreach my $round ($from .. $to)
	{
		my $writer = $centers[ $round % 3 ];
		my $next = $centers[ ($round + 1) % 3 ];
		$writer->sql("BEGIN; INSERT INTO t VALUES (0, '$round') ON CONFLICT (id) DO UPDATE SET v = excluded.v; " .
			  ($round % 5 ? 'COMMIT' : "PREPARE TRANSACTION 'two'; COMMIT PREPARED 'two'"));
		wait_row($next, 0, $round);

		# A session that begins at once has to know what the one before knew.
		if ($end && $round % 6 == 3)
		{
			$next->sql(q{SELECT pg_terminate_backend(pid) FROM multicenter.workers WHERE role = 'receiver'});
		}
		elsif ($end && $round % 6 == 0)
		{
			$next->sql(q{SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE plugin = 'multicenter' AND active});
		}
	}
	return;
}

hand_over(1, 30, 1);
wait_streaming(@centers);
wait_all_applied(@centers);
none('a row that changes hands is no conflict, although receivers and walsenders are ended meanwhile');
identical(@centers, 't');

#
# Concurrent writes
#

$id++;
$lisbon->sql("INSERT INTO t VALUES ($id, 'first')");
wait_all_applied(@centers);
hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
$lisbon->sql("UPDATE t SET v = 'lisbon' WHERE id = $id");
$oslo->sql("UPDATE t SET v = 'oslo' WHERE id = $id");
wait_row($riga, $id, 'oslo');
release_links([ $lisbon, $oslo ]);
release_links([ $oslo, $lisbon ]);
wait_all_applied(@centers);
is(conflicts($lisbon), qq(update_origin_differs {"id": $id} oslo->lisbon apply_remote), 'concurrent updates conflict at the one writer');
is(conflicts($oslo), qq(update_origin_differs {"id": $id} lisbon->oslo keep_local), 'and at the other');
like(conflicts($riga), qr/^update_origin_differs \{"id": $id\} (oslo->lisbon apply_remote|lisbon->oslo keep_local)$/, 'and at the third center');
identical(@centers, 't');

# The next write has seen both, on either side.
$lisbon->sql("UPDATE t SET v = 'after' WHERE id = $id");
wait_row($oslo, $id, 'after');
wait_row($riga, $id, 'after');
none('a write that has seen both is no conflict');

#
# A change overtakes its cause
#

hold_links([ $oslo, $riga ]);
$id++;
my ($updated, $deleted, $again) = ($id++, $id++, $id);
$oslo->sql("INSERT INTO t SELECT i, 'oslo' FROM generate_series($updated, $again) i");
wait_row($lisbon, $again, 'oslo');
$lisbon->sql("UPDATE t SET v = 'lisbon' WHERE id = $updated");
$lisbon->sql("DELETE FROM t WHERE id = $deleted");
$lisbon->sql("DELETE FROM t WHERE id = $again");
$lisbon->sql("INSERT INTO t VALUES ($again, 'again')");
wait_applied($lisbon, $riga);
is($riga->sql("SELECT id, v FROM t WHERE id BETWEEN $updated AND $again ORDER BY id"), "$updated|lisbon\n$again|again",
	'changes are applied before their causes');
none('which is no conflict');
release_links([ $oslo, $riga ]);
wait_all_applied(@centers);
none('nor is it when the causes arrive');
identical(@centers, 't');

# A cause that the one which overtook had not seen is a conflict all the same.
hold_links([ $oslo, $riga ], [ $oslo, $lisbon ]);
$id++;
$oslo->sql("INSERT INTO t VALUES ($id, 'oslo')");
hold_links([ $lisbon, $oslo ]);
$lisbon->sql("INSERT INTO t VALUES ($id, 'lisbon')");
wait_row($riga, $id, 'lisbon');
release_links([ $oslo, $lisbon ]);
release_links([ $lisbon, $oslo ]);
release_links([ $oslo, $riga ]);
wait_all_applied(@centers);
is(conflicts($riga), qq(insert_exists {"id": $id} oslo->lisbon keep_local), 'what was not seen is a conflict');
conflicts($_) foreach $lisbon, $oslo;

#
# The start of a session
#

foreach my $event (sort keys %events)
{
	# Seen, and applied at the origin before the session starts.
	$id++;
	my $before = $id++;
	my $within = $id++;
	my $mark = $id++;
	$oslo->sql("INSERT INTO t VALUES ($before, 'oslo')");
	wait_row($lisbon, $before, 'oslo');
	wait_row($riga, $before, 'oslo');
	$lisbon->sql("INSERT INTO t VALUES ($mark, 'mark')");
	wait_row($riga, $mark, 'mark');
	settle() if $event =~ /target/;
	hold_links([ $lisbon, $riga ]);
	$lisbon->sql("UPDATE t SET v = 'lisbon' WHERE id = $before");

	# Seen, and applied behind its start.
	$oslo->sql("INSERT INTO t VALUES ($within, 'oslo')");
	wait_row($lisbon, $within, 'oslo');
	wait_row($riga, $within, 'oslo');
	$lisbon->sql("UPDATE t SET v = 'lisbon' WHERE id = $within") if $event !~ /target/;
	$events{$event}->($lisbon, $riga);
	release_links([ $lisbon, $riga ]);
	wait_streaming(@centers);
	wait_all_applied(@centers);
	none("what was seen is no conflict after $event");

	# Not seen, but applied at the origin before the session starts.
	hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ], [ $lisbon, $riga ]);
	my $row = $id++;
	$lisbon->sql("INSERT INTO t VALUES ($row, 'lisbon')");
	$oslo->sql("INSERT INTO t VALUES ($row, 'oslo')");
	wait_row($riga, $row, 'oslo');
	release_links([ $oslo, $lisbon ]);
	wait_row($lisbon, $row, 'oslo');
	my $now = $lisbon->sql('SELECT clock_timestamp()');
	$lisbon->wait_for_sql("SELECT frontier > '$now' FROM multicenter.horizon_status()");
	$events{$event}->($lisbon, $riga);
	release_links([ $lisbon, $oslo ]);
	release_links([ $lisbon, $riga ]);
	wait_streaming(@centers);
	wait_all_applied(@centers);
	is(conflicts($riga), qq(insert_exists {"id": $row} lisbon->oslo keep_local), "what was not seen is a conflict after $event");
	conflicts($_) foreach $lisbon, $oslo;
	identical(@centers, 't');
}

#
# A backlog in which rows have changed hands
#

my ($low, $high) = ($id + 1, $id + 300);
$id = $high;
hold_links([ $lisbon, $riga ]);
$oslo->sql("INSERT INTO t SELECT i, 'oslo' FROM generate_series($low, $high) i");
wait_row($lisbon, $high, 'oslo');
$lisbon->sql("DO \$\$ BEGIN FOR i IN $low .. $high LOOP UPDATE t SET v = 'lisbon' WHERE id = i; COMMIT; END LOOP; END \$\$");
wait_row($oslo, $high, 'lisbon');
$oslo->sql("DO \$\$ BEGIN FOR i IN $low .. $high LOOP UPDATE t SET v = 'back' WHERE id = i; COMMIT; END LOOP; END \$\$");
wait_row($riga, $high, 'back');
promises_of_two();
release_links([ $lisbon, $riga ]);
wait_all_applied(@centers);
none('a backlog of rows that have changed hands has no conflict');
identical(@centers, 't');

# Wait for heartbeats between the two whose links are open.
sub promises_of_two
{
	my $now = $lisbon->sql('SELECT clock_timestamp()');
	$_->wait_for_sql("SELECT frontier > '$now' FROM multicenter.horizon_status()") foreach $lisbon, $oslo;
	return;
}

#
# The frontier
#

foreach my $center (@centers)
{
	my $now = $center->sql('SELECT clock_timestamp()');
	my $took = $center->wait_for_sql("SELECT frontier >= '$now' FROM multicenter.horizon_status()");
	cmp_ok($took, '<', 4, 'the frontier of ' . $center->name . ' passes now within a few heartbeats');
}
hold_links([ $oslo, $riga ]);
my $stopped = $riga->sql('SELECT frontier FROM multicenter.horizon_status()');
$lisbon->wait_for_sql("SELECT frontier > '$stopped'::timestamptz + interval '3 s' FROM multicenter.horizon_status()");
my $later = $riga->sql('SELECT frontier FROM multicenter.horizon_status()');
$riga->wait_for_sql("SELECT frontier >= '$later' FROM multicenter.horizon_status()");
cmp_ok($riga->sql("SELECT extract(epoch FROM frontier - '$stopped') FROM multicenter.horizon_status()"), '<', 1.5,
	'the frontier does not pass a peer that is cut off');
release_links([ $oslo, $riga ]);
$riga->wait_for_sql("SELECT frontier > '$stopped'::timestamptz + interval '3 s' FROM multicenter.horizon_status()");
pass('and goes on when it is back');

#
# Stamped commits
#

$clock->set(5);
hand_over(31, 60);
wait_all_applied(@centers);
none('a row that changes hands between centers with different clocks is no conflict either');
hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
$lisbon->sql("UPDATE t SET v = 'lisbon' WHERE id = 0");
$oslo->sql("UPDATE t SET v = 'oslo' WHERE id = 0");
release_links([ $lisbon, $oslo ]);
release_links([ $oslo, $lisbon ]);
wait_all_applied(@centers);
like(conflicts($_), qr/^update_origin_differs \{"id": 0\} [^,]+$/, 'concurrent writes are a conflict at ' . $_->name) foreach @centers;
identical(@centers, 't');

done_testing();
