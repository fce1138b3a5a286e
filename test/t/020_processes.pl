# Goal: pg_stat_activity tells what each process of multicenter is, which peer
# it serves and what it waits for.
#
# Method: an idle group is looked at, then a link whose changes wait for a lock
# and a caller that waits for another process.  Wait events of extensions have
# names since PostgreSQL 17; before they are all called Extension.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => 'CREATE TABLE t (id int PRIMARY KEY, v text)');
my $named = $lisbon->release >= 17;

# A pattern for the name of a wait event.
sub event { return $named ? "Multicenter$_[0]" : 'Extension' }

# Processes of this kind: database, application name, what they wait for.
sub processes
{
	my ($type) = @_;
	return sprintf(q{SELECT concat_ws(' ', coalesce(datname, '-'), application_name, wait_event_type, wait_event)
		FROM pg_stat_activity WHERE backend_type = '%s'}, $type);
}

wait_streaming($lisbon, $oslo);
$lisbon->sql(q{INSERT INTO t VALUES (1, 'one')});
wait_all_applied($lisbon, $oslo);
my $database = $lisbon->dbname;
my $oid = $lisbon->sql('SELECT oid FROM pg_database WHERE datname = current_database()');

# All of them sleep most of the time, but not always.
$lisbon->wait_for_sql(processes('multicenter supervisor'), '- multicenter supervisor Extension ' . event('SupervisorMain'));
$lisbon->wait_for_sql(processes('multicenter manager'), "$database multicenter manager of database $oid Extension " . event('ManagerMain'));
$lisbon->wait_for_sql(processes('multicenter receiver'), "$database multicenter receiver oslo Extension " . event('ReceiverMain'));
$lisbon->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'multicenter%'}, '3');
pass('each process says what it is and what it waits for');

# The same in our view, and in the process list of the peer.
$lisbon->wait_for_sql(q{SELECT concat_ws(' ', wait_event_type, wait_event) FROM multicenter.workers WHERE role = 'receiver' AND peer = 'oslo'},
	'Extension ' . event('ReceiverMain'));
is($lisbon->sql(q{SELECT application_name FROM pg_stat_replication}), $lisbon->slot_name($oslo), 'a walsender has the name of its slot');

# The names are listed where PostgreSQL lists such names.
SKIP:
{
	skip 'wait events have names since PostgreSQL 17', 1 unless $named;
	is($lisbon->sql(q{SELECT count(*) FROM pg_wait_events WHERE type = 'Extension' AND name LIKE 'Multicenter%'}), '18', 'pg_wait_events has all of them');
}

# While it applies, a receiver waits for what apply waits for.
my $session = $oslo->background_psql;
$session->query_safe('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
$lisbon->sql(q{INSERT INTO t VALUES (2, 'two')});
$oslo->wait_for_sql(q{SELECT concat_ws(' ', state, wait_event_type, wait_event) FROM multicenter.workers WHERE role = 'receiver'}, 'active Lock relation');
pass('a receiver that is blocked says so');
$session->query_safe('COMMIT');
$session->quit;
wait_all_applied($lisbon, $oslo);

# Somebody who waits for another process.
my $waiting = $oslo->background_psql;
$waiting->query_until(qr/begun/, sprintf("\\echo begun\nSELECT multicenter.peer_wait_applied(%d, '7FFFFFFF/0', 60000);\n", $lisbon->id));
$oslo->wait_for_sql(sprintf(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = '%s' AND query LIKE '%%peer_wait_applied%%' AND pid <> pg_backend_pid()},
		event('PeerApply')), '1');
pass('a session that waits says for what');
$oslo->sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%peer_wait_applied%' AND pid <> pg_backend_pid()});
eval { $waiting->quit };

done_testing();
