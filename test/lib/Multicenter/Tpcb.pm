# Multicenter::Tpcb: a TPC-B load at several centers while something happens to
# them, and what must hold afterwards.
#
#   my $round = tpcb_start($script, { clients => 3, seconds => 2 }, $lisbon, $oslo);
#   $oslo->kill9;
#   $oslo->start;
#   tpcb_check('kill -9', $round, $oslo);
#
# The test makes the tables branches (bbalance), tellers (tbalance), accounts
# (abalance) and history (center, run, client, n, delta), and the script writes
# them by :center (1 for the first one), :run, :client_id, :n, which begins with 0,
# and :delta.  Each center has rows of its own, so sums must come out exactly, and
# each transaction leaves a tag in history, which has no key.
package Multicenter::Tpcb;

use strict;
use warnings;

use Exporter 'import';
use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

our @EXPORT = qw(tpcb_start tpcb_check tpcb_no_crash);

my $run = 0;

# Start the load; when this returns all write, and all receive.  Options are those
# of start_load().
sub tpcb_start
{
	my ($script, $option, @centers) = @_;
	$run++;
	my @loads = map {
		start_load($centers[$_], $script, %$option, define => { center => $_ + 1, run => $run, n => 0 })
	} 0 .. $#centers;
	my $n = @centers;
	$_->wait_for_sql("SELECT count(DISTINCT center) = $n AND count(*) > 50 FROM history WHERE run = $run") foreach @centers;
	return { run => $run, loads => \@loads, clients => $option->{clients} };
}

# End the load.  Tests: what was committed is there, once, and is the same
# everywhere.  Of what was being committed at a victim pgbench knows no fate.
sub tpcb_check
{
	my ($name, $round, @victims) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @centers = map { $_->{center} } @{ $round->{loads} };
	my @committed = map { finish_load($_) =~ /number of transactions actually processed: (\d+)/ ? $1 : 0 } @{ $round->{loads} };

	wait_streaming(@centers, $Multicenter::Cluster::timeout);
	wait_all_applied(@centers);
	foreach my $i (0 .. $#centers)
	{
		my ($center, $known) = ($centers[$i], $committed[$i]);
		my $at = "$name: $center->{name}";
		my $rows = $center->sql(sprintf('SELECT count(*) FROM history WHERE run = %d AND center = %d', $round->{run}, $i + 1));
		my $unsure = (grep { $_ == $center } @victims) ? $round->{clients} : 0;
		ok($known > 0 && $rows >= $known && $rows <= $known + $unsure, "$at has what its clients have committed")
		  or diag("$rows rows, pgbench has committed $known");
		is($center->sql(q{
				SELECT count(DISTINCT total) FROM (
					SELECT sum(abalance) AS total FROM accounts
					UNION ALL SELECT sum(tbalance) FROM tellers
					UNION ALL SELECT sum(bbalance) FROM branches
					UNION ALL SELECT sum(delta) FROM history) s}),
			'1', "$at has exact sums");
		is($center->sql('SELECT count(*) FROM (SELECT FROM history GROUP BY center, run, client, n HAVING count(*) > 1) d'),
			'0', "$at has nothing twice");
	}
	return identical(@centers);
}

# Tests: whoever was killed was so by the test.
sub tpcb_no_crash
{
	my (@centers) = @_;
	unlike(PostgreSQL::Test::Utils::slurp_file($_->node->logfile), qr/PANIC|TRAP|signal 11|signal 6/,
		"nothing but our own blows has ended a process of $_->{name}") foreach @centers;
	return;
}

1;
