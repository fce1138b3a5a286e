# Goal: versions respect what a writer has seen, whatever the clocks say; so
# the later of two writes that know each other wins on all centers, at once.
#
# Method: servers whose wall clocks the test moves (Multicenter::Clock): a
# minute ahead, some seconds apart, back in the middle, drifting.  In each case
# a write that has seen another one comes from a center whose clock is behind,
# and must win.  A small load runs beside it, and its rate is shown.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Clock;
use Multicenter::Cluster;
use Test::More;

my @clocks = map { Multicenter::Clock->new } 1 .. 3;
my @centers = map { new_center($_->[0], clock => $_->[1]) }
  [ lisbon => $clocks[0] ], [ oslo => $clocks[1] ], [ riga => $clocks[2] ];
my ($lisbon, $oslo, $riga) = @centers;
$lisbon->sql(q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE load (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
	INSERT INTO load SELECT i FROM generate_series(1, 50) i;
});
group_create($lisbon);
group_join($_, $lisbon) foreach $oslo, $riga;
wait_ready(@centers);

my $id = 0;

# The same rows everywhere, and this one row.
sub agree
{
	my ($row, $expected, $what) = @_;
	wait_all_applied(@centers);
	is($_->sql("SELECT v FROM item WHERE id = $row"), $expected, "$what: " . $_->name) foreach @centers;
	return;
}

# A write at one center, seen by another, which then writes too.
sub later_wins
{
	my ($first, $second, $what) = @_;
	my $row = ++$id;
	$first->sql("INSERT INTO item VALUES ($row, 'first')");
	wait_applied($first, $second);
	$second->sql("UPDATE item SET v = 'second' WHERE id = $row");
	agree($row, 'second', "$what, update");
	wait_all_applied(@centers);
	$first->sql("UPDATE item SET v = 'third' WHERE id = $row");
	wait_applied($first, $second);
	$second->sql("DELETE FROM item WHERE id = $row");
	agree($row, '', "$what, delete");
	$second->sql("INSERT INTO item VALUES ($row, 'again')");
	agree($row, 'again', "$what, insert again");
	return;
}

# A load at all centers while something is tried; its rate is shown.
sub under_load
{
	my ($what, $code) = @_;
	my @loads = map { start_load($_, q{
		\set id random(1, 50)
		UPDATE load SET n = n + 1 WHERE id = :id;
	}, clients => 2, seconds => 3) } @centers;
	$code->();
	foreach my $load (@loads)
	{
		my ($tps) = finish_load($load) =~ /tps = ([\d.]+)/;
		ok($tps && $tps > 20, "$what: " . $load->{center}->name . ' commits') and note(sprintf('%s: %s %.0f commits/s, worst lag %s', $what, $load->{center}->name, $tps, $load->{center}->sql('SELECT max(lag) FROM multicenter.lag')));
	}
	wait_all_applied(@centers);
	identical(@centers, 'load');
	return;
}

under_load('equal clocks', sub { later_wins($lisbon, $oslo, 'equal clocks') });

# ---- one clock a minute ahead ----

$clocks[0]->set(60);
under_load('a minute ahead', sub { later_wins($lisbon, $_, 'a minute ahead, then ' . $_->name) foreach $oslo, $riga });
cmp_ok($oslo->sql(q{SELECT extract(epoch FROM clock_offset) FROM multicenter.lag WHERE peer = 'lisbon' AND direction = 'in'}), '>', 50, 'the difference of the clocks is shown');
is($oslo->sql(q{SELECT status FROM multicenter.lag WHERE peer = 'lisbon' AND direction = 'in'}), 'warning', 'as a warning');

# The floor survives a restart, and a crash, of a center that has learnt it.
$lisbon->sql(q{INSERT INTO item VALUES (1001, 'ahead'), (1002, 'ahead')});
wait_all_applied(@centers);
$oslo->kill9;
$oslo->start;
$oslo->sql(q{UPDATE item SET v = 'after a crash' WHERE id = 1001});
$riga->restart;
$riga->sql(q{UPDATE item SET v = 'after a restart' WHERE id = 1002});
wait_streaming(@centers);
agree(1001, 'after a crash', 'the floor survives a crash');
agree(1002, 'after a restart', 'the floor survives a restart');

# Two-phase transactions are stamped at COMMIT PREPARED.
$lisbon->sql(q{INSERT INTO item VALUES (1003, 'ahead')});
wait_all_applied(@centers);
$oslo->sql(q{BEGIN; UPDATE item SET v = 'prepared' WHERE id = 1003; PREPARE TRANSACTION 'one'});
$oslo->sql(q{COMMIT PREPARED 'one'});
agree(1003, 'prepared', 'a prepared transaction');

# ---- ahead and behind ----

$clocks[0]->set(3);
$clocks[1]->set(-3);
under_load('3 s ahead and behind', sub {
	later_wins($lisbon, $oslo, 'ahead, then behind');
	later_wins($oslo, $lisbon, 'behind, then ahead');
	later_wins($riga, $oslo, 'in the middle, then behind');
});

# ---- a clock that steps back between two transactions ----

$clocks[0]->set(70);
$lisbon->sql(q{INSERT INTO item VALUES (2001, 'T1')});
$clocks[0]->set(60);
$lisbon->sql(q{UPDATE item SET v = 'T2' WHERE id = 2001});
under_load('a step back', sub { $oslo->sql(q{INSERT INTO item VALUES (2002, 'other')}) });
agree(2001, 'T2', 'after a step back the later transaction wins');

# ---- drift ----

under_load('drift', sub {
	foreach my $step (1 .. 20)
	{
		$clocks[1]->set(-3 + $step * 0.5);
		$clocks[2]->set(2 - $step * 0.3);
		later_wins($oslo, $riga, "drift $step") if $step % 10 == 0;
	}
});

# ---- back to normal ----

$_->set(61) foreach @clocks;
wait_all_applied(@centers);
my %before = map { $_->name => $_->sql('SELECT stamped FROM multicenter.clock') } @centers;
under_load('equal clocks again', sub { later_wins($oslo, $lisbon, 'equal clocks again') });
foreach my $center (@centers)
{
	my $stamped = $center->sql('SELECT stamped FROM multicenter.clock') - $before{ $center->name };
	note($center->name . " has stamped $stamped commits more");
}

# ---- beyond all reason ----

$clocks[2]->set(3 * 3600);
$riga->sql(q{INSERT INTO item VALUES (3001, 'too far')});
$oslo->wait_for_sql(q{SELECT state = 'stalled' AND stall_reason LIKE '%ahead by more than an hour%' FROM multicenter.lag WHERE peer = 'riga' AND direction = 'in'});
is($oslo->sql('SELECT count(*) FROM item WHERE id = 3001'), '0', 'a time three hours ahead is not applied, visibly');
$clocks[0]->set(3 * 3600);
$clocks[1]->set(3 * 3600);
wait_streaming(@centers);
agree(3001, 'too far', 'with clocks corrected the link goes on');
identical(@centers, 'item');

done_testing();
