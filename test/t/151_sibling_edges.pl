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

my @tables = qw(first skip parted);
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n",
	setup => join('', map { "CREATE TABLE $_ (id int PRIMARY KEY, v text);" } @tables));
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

# Everybody has taken over the newest policies.
sub wait_policies
{
	wait_all_applied(@centers);
	my $newest = $lisbon->sql('SELECT max(multicenter.internal_policy_newest())');
	$_->wait_for_sql('SELECT multicenter.internal_policy_own_epoch()', $newest) foreach @centers;
	return;
}

$lisbon->sql(q{SELECT multicenter.conflict_policy_set('first', NULL, 'first_update_wins')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('parted', NULL, 'first_update_wins')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('skip', 'update_deleted', 'skip')});
wait_policies();

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
