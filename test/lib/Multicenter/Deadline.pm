# Multicenter::Deadline: a test file that takes too long fails and says why.
#
# Multicenter::Cluster loads this.  A file in test/t may run for 600 seconds
# ($MULTICENTER_TEST_DEADLINE says another number, 0 none; a file that needs
# more calls test_deadline).  When they are over, the file fails with the place
# where it stood; what the sessions of its servers did and which locks they had
# is in its log; its servers are stopped as usual.
package Multicenter::Deadline;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use POSIX ();
use Test::More;

our @EXPORT_OK = qw(test_deadline);

# Seconds that the end may take, with servers that cannot be stopped.
my $grace = 60;

# The servers of this file: PostgreSQL::Test::Cluster.
my @servers;

my $owner = $$;

# Tell of a server that is to be looked at, and stopped.
sub add_server { my ($node) = @_; push(@servers, $node); return }

# What one asks a server that seems to hang.
my @questions = (
	q{SELECT pid, coalesce(datname, '') AS db, backend_type, application_name, state, wait_event_type, wait_event,
		pg_blocking_pids(pid) AS blocked_by, backend_xid, now() - xact_start AS in_transaction, left(query, 200) AS query
		FROM pg_stat_activity ORDER BY pid},
	q{SELECT pid, locktype, coalesce(relation::regclass::text, '') AS relation, virtualxid, transactionid, objid, mode, granted
		FROM pg_locks WHERE locktype <> 'virtualxid' OR NOT granted ORDER BY pid, granted},
	q{SELECT * FROM pg_prepared_xacts},
	q{SELECT slot_name, active_pid, xmin, catalog_xmin, confirmed_flush_lsn, wal_status FROM pg_replication_slots},
	q{SELECT * FROM multicenter.table_fence},
	q{SELECT * FROM multicenter.lag});

# Write down the state of a server, until it does not answer.
sub describe
{
	my ($node) = @_;
	my ($answered, $databases) = ask($node, 'postgres', 'SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate');
	foreach my $database ($answered ? split(/\n/, $databases) : ())
	{
		note('server ' . $node->name . ", database $database");
		foreach my $question (grep { $database eq 'postgres' || /multicenter/ } @questions)
		{
			($answered, my $answer) = ask($node, $database, $question, '-x');
			note($answer);
			last unless $answered;
		}
	}
	note('server ' . $node->name . ' does not answer') unless $answered;
	return;
}

# Has a server answered soon, and what?
sub ask
{
	my ($node, $database, $sql, @options) = @_;
	local $ENV{PGOPTIONS} = '-c statement_timeout=4s';
	open(my $output, '-|', 'sh', '-c', 'exec timeout -k 1 5 psql "$@" 2>&1', 'psql', '-XAtq', @options,
		'-h', $node->host, '-p', $node->port, '-d', $database, '-c', $sql) or return (0, "no psql: $!");
	my $text = join('', <$output>);
	return (close($output) || $text !~ /timeout|^$/, $text);
}

# The time is up.  An eval of the test may not catch this: it exits.
sub expire
{
	my ($seconds) = @_;
	exit(1) if $$ != $owner;
	my $stack = Carp::longmess('it stood');
	$SIG{ALRM} = \&give_up;
	alarm($grace);
	fail("the file ends within $seconds seconds");
	diag($stack);
	describe($_) foreach @servers;
	exit(1);
}

# Even the end hangs: nothing of ours may stay.
sub give_up
{
	kill('KILL', grep { defined } map { $_->{_pid} } @servers);
	diag("servers could not be stopped within $grace s");
	POSIX::_exit(1);
}

# From now on this file has so many seconds.
sub test_deadline
{
	my ($seconds) = @_;
	$SIG{ALRM} = sub { expire($seconds) };
	alarm($seconds);
	return;
}

# Programs that use our modules by hand, the model test for one, run for ever.
sub arm
{
	return unless $0 =~ m{(?:^|/)t/\d+_\w+\.pl$};
	my $seconds = $ENV{MULTICENTER_TEST_DEADLINE};
	test_deadline(defined $seconds ? $seconds : 600);
	return;
}

arm();

1;
