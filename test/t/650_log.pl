# Goal: the log has a line when something changes, and is silent while the same
# thing repeats.
#
# Method: a peer is away, and a transaction fails again and again; lines are
# counted.  MULTICENTER_AWAY=300 keeps the peer away for 300 seconds.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Truth;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my ($lisbon, $riga) = truth_group(qw(lisbon riga));

# Lines of the log from an offset on, without those of the test's own sessions.
sub lines
{
	my ($center, $offset) = @_;
	return grep { !/\[unknown\]/ && /multicenter|ERROR|FATAL|LOG|WARNING/ }
	  split(/\n/, PostgreSQL::Test::Utils::slurp_file($center->node->logfile, $offset));
}

# Wait for so many attempts of a link.
sub attempts
{
	my ($center, $peer, $number) = @_;
	my $query = sprintf(q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in' AND peer = '%s'}, $peer->name);
	my $before = $center->sql($query);
	poll("$number attempts", sub { my $now = $center->sql($query); return ($now >= $before + $number ? 1 : 0, $now) }, 60, $center);
	return;
}

#
# A peer that is away
#
my $offset = -s $lisbon->node->logfile;
$riga->stop('fast');
attempts($lisbon, $riga, 6);
my @first = lines($lisbon, $offset);
cmp_ok(scalar(@first), '>', 0, 'the log says that a peer is away');
like(join("\n", @first), qr/could not connect to center "riga"|lost the connection to center "riga"|closed the connection/, 'and why');
cmp_ok(scalar(@first), '<', 20, 'in a few lines') or diag(join("\n", @first));
$offset = -s $lisbon->node->logfile;
attempts($lisbon, $riga, 8);
my $back_at = time + ($ENV{MULTICENTER_AWAY} // 0);
poll('the peer to be away for long', sub { return (time >= $back_at ? 1 : 0, '') }, ($ENV{MULTICENTER_AWAY} // 0) + 10);
my @repeated = grep { !/this center is|DETAIL|HINT|checkpoint/ } lines($lisbon, $offset);
is(join("\n", @repeated), '', 'while it stays away the log is silent');
$riga->start;
wait_streaming($lisbon, $riga, 20);
poll('the log to say that the peer is back', sub {
		my $log = join("\n", lines($lisbon, $offset));
		return ($log =~ /replication from center "riga" is running/ ? 1 : 0, $log);
	}, 10);
pass('the log says that it is back');
my $running = () = join("\n", lines($lisbon, $offset)) =~ /replication from center "riga" is running/g;
is($running, 1, 'once');

# The next time is news again.
$offset = -s $lisbon->node->logfile;
$riga->stop('fast');
attempts($lisbon, $riga, 3);
like(join("\n", lines($lisbon, $offset)), qr/could not connect to center "riga"|lost the connection to center "riga"/, 'the next time it is logged again');
$riga->start;
wait_streaming($lisbon, $riga, 20);

#
# A transaction that fails
#
$lisbon->append_conf("multicenter.on_apply_error = stop");
$lisbon->reload;
$lisbon->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (id < 1000)');
$offset = -s $lisbon->node->logfile;
$riga->sql(q{INSERT INTO item VALUES (1000, 'too great')});
attempts($lisbon, $riga, 6);
my $errors = () = PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile, $offset) =~ /ERROR: .*check constraint "small"/g;
is($errors, 1, 'a transaction that fails again and again is logged once');
like(PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile, $offset), qr/applying INSERT to table "public\.item" from center "riga", transaction \d+, origin LSN/, 'with all that is known');
$lisbon->sql('ALTER TABLE item DROP CONSTRAINT small');
wait_applied($riga, $lisbon);
wait_streaming($lisbon, $riga);
identical($lisbon, $riga, 'item');

done_testing();
