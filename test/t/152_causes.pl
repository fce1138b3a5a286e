# Goal: links that wait for each other's causes never wait in a circle.
#
# Method: three databases of one server, with a policy, so that links are causal.
# The vector of a transaction is found by reading WAL where a walsender starts
# between transactions: of a center of which nothing was applied before that, only
# the first one behind it tells how far it was.  So lisbon's WAL from before is
# out of reach, its heartbeats are rare, and it writes, then rome, which has seen
# that, while oslo hears neither.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo, $rome) = my @centers = make_group([qw(lisbon oslo rome)], databases => 1, setup => 'CREATE TABLE item (id int PRIMARY KEY, v text); CREATE TABLE filler (id int PRIMARY KEY)');
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('item', NULL, 'first_update_wins')});
wait_policies(@centers);
$_->sql(sprintf(q{INSERT INTO item VALUES (%d, 'old')}, ord $_->name)) foreach @centers;
wait_all_applied(@centers);

# No more heartbeats; then the slots move behind all that.
$lisbon->sql(q{ALTER SYSTEM SET multicenter.heartbeat_interval = '60s'});
$lisbon->sql('SELECT pg_reload_conf()');
my ($begin, $still) = ('', 0);
poll('the WAL to end', sub {
		my $lsn = $lisbon->sql('SELECT pg_current_wal_insert_lsn()');
		$still = $lsn eq $begin ? $still + 1 : 0;
		$begin = $lsn;
		return ($still >= 10, $lsn);
	}, 60);
my $n = 0;
poll('the slots to move', sub {
		$lisbon->sql('INSERT INTO filler VALUES (' . ++$n . ')');
		$lisbon->sql('CHECKPOINT');
		my $state = $lisbon->sql(qq{SELECT bool_and(restart_lsn > '$begin') FROM pg_replication_slots WHERE active AND database = current_database()});
		return ($state eq 't', $state);
	}, 60);

my @away = ([ $lisbon, $oslo ], [ $rome, $oslo ]);
hold_links(@away);
$lisbon->sql(q{UPDATE item SET v = 'lisbon'});
$rome->wait_for_sql(q{SELECT count(*) FROM item WHERE v = 'lisbon'}, 3);
$rome->sql(q{UPDATE item SET v = 'rome'});
$lisbon->wait_for_sql(q{SELECT count(*) FROM item WHERE v = 'rome'}, 3);
$oslo->sql("SELECT multicenter.link_resume('$_->[0]{name}')") foreach @away;
$oslo->wait_for_sql(q{SELECT count(*) FROM item WHERE v = 'rome'}, 3, 40);
pass('both arrive');
$lisbon->sql('ALTER SYSTEM RESET multicenter.heartbeat_interval');
$lisbon->sql('SELECT pg_reload_conf()');
wait_all_applied(@centers);
identical(@centers, 'item');
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE relation = 'item'::regclass}), 0, 'and what had seen the other is no conflict');

done_testing();
