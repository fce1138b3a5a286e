# Goal: what a center says of a fence counts at a center where the fence's
# announcement is just being committed.
#
# Method: at lisbon commits stop in their middle, with the announcement of
# riga's fence among them, until what oslo says of that fence has come, too.
# A rewrite then waits for ever if that does not count.  The same at riga itself,
# whose WAL has the announcement before anybody there sees it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Multicenter::Step;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], conf => step_conf(), setup => q{
	CREATE TABLE item (id int PRIMARY KEY, amount int NOT NULL);
	INSERT INTO item SELECT i, i FROM generate_series(1, 20) i;
});
my ($lisbon, $oslo, $riga) = @centers;
step_install($lisbon, $riga);

foreach my $type (qw(bigint int bigint))
{
	my $held = step_hold_commits($lisbon, $riga, $oslo);
	my ($rc, undef, $error) = $riga->psql(qq{SET lock_timeout = '20s'; SELECT multicenter.replicate_ddl('ALTER TABLE item ALTER amount TYPE $type')});
	is($rc, 0, "a rewrite to $type ends") or diag($error);
	my ($succeeded, $output) = finish_sql($held);
	ok($succeeded, 'both links of lisbon had something to commit') or diag($output);
	wait_all_applied(@centers);
	$_->wait_for_sql('SELECT count(*) FROM multicenter.table_fence', '0') foreach @centers;
}

foreach my $type (qw(int bigint))
{
	my $held = step_hold_commits($riga, $lisbon, $oslo);
	my $rewrite = start_sql($riga, qq{SET lock_timeout = '20s'; SELECT multicenter.replicate_ddl('ALTER TABLE item ALTER amount TYPE $type')});
	$riga->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity a JOIN multicenter.workers w USING (pid) JOIN pg_locks l USING (pid)
		WHERE w.role = 'manager' AND a.wait_event = 'CommitTs' AND l.mode = 'RowExclusiveLock' AND l.relation = 'multicenter.table_fence'::regclass}, '1');

	# This makes durable, and so sends, what there is.
	$riga->sql('SELECT pg_switch_wal()');
	my ($succeeded, $output) = finish_sql($held);
	ok($succeeded, 'both links of riga had something to commit') or diag($output);
	($succeeded, $output) = finish_sql($rewrite);
	ok($succeeded, "a rewrite to $type at riga ends") or diag($output);
	wait_all_applied(@centers);
	$_->wait_for_sql('SELECT count(*) FROM multicenter.table_fence', '0') foreach @centers;
}
identical(@centers, 'item');

done_testing();
