# Goal: very many conflicts at once do not stop apply, fill the server's log, or
# make the history slow.
#
# Method: two databases of one server update all rows of two tables while no
# link is open, one of them with a policy.  Applying that is watched; then the
# log and the WAL are read.  MULTICENTER_CONFLICTS makes it larger.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my $rows = ($ENV{MULTICENTER_CONFLICTS} || 40_000) / 4;
my $per_transaction = 500;
my @centers = make_group([qw(lisbon oslo)], databases => 1,
	conf => "multicenter.log_conflicts_interval = '1s'\nmulticenter.heartbeat_interval = '200ms'\nmax_wal_size = '8GB'\nwal_keep_size = '4GB'\n",
	setup => 'CREATE TABLE last (id int PRIMARY KEY, v text) WITH (fillfactor = 60); CREATE TABLE first (id int PRIMARY KEY, v text) WITH (fillfactor = 60); CREATE TABLE other (id int PRIMARY KEY)');
my ($lisbon, $oslo) = @centers;
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('first', NULL, 'first_update_wins')});
$lisbon->sql("INSERT INTO $_ SELECT i, 'base' FROM generate_series(1, $rows) i") foreach qw(last first);
wait_all_applied(@centers);
$_->wait_for_sql(q{SELECT bool_and(in_effect) FROM multicenter.conflict_policies}, 't') foreach @centers;

hold_links(links_between(@centers));
foreach my $center (@centers)
{
	my $name = $center->name;
	$center->sql(qq{DO \$\$ BEGIN
		FOR i IN 0 .. ($rows - 1) / $per_transaction LOOP
			UPDATE last SET v = '$name' WHERE id BETWEEN i * $per_transaction + 1 AND (i + 1) * $per_transaction;
			UPDATE first SET v = '$name' WHERE id BETWEEN i * $per_transaction + 1 AND (i + 1) * $per_transaction;
			COMMIT;
		END LOOP;
	END \$\$});
}
$lisbon->sql('INSERT INTO other VALUES (1)');
my $log_start = -s $lisbon->node->logfile;
my $wal_start = $lisbon->sql('SELECT pg_current_wal_insert_lsn()');
my $start = time;
release_links(links_between(@centers));

# What is committed while that is applied comes through, too.
$lisbon->wait_for_sql('SELECT sum(conflicts) > 0 FROM multicenter.stat_links', 't');
$oslo->sql('INSERT INTO other VALUES (2)');
foreach my $round (0 .. 4 * $rows / 100_000)
{
	last if eval { wait_all_applied(@centers); 1 };
}
wait_all_applied(@centers);
my $took = time - $start;
my $wal_end = $lisbon->sql('SELECT pg_current_wal_insert_lsn()');
identical(@centers, qw(last first other));
foreach my $center (@centers)
{
	my $name = $center->name;
	is($center->sql('SELECT count(*), count(DISTINCT v), min(v) FROM last'), "$rows|1|oslo", "the last update won at $name");
	is($center->sql('SELECT count(*), count(DISTINCT v), min(v) FROM first'), "$rows|1|lisbon", "the first where that is the policy, at $name");
	is($center->sql('SELECT count(*) FROM multicenter.conflict_history'), 2 * $rows, "the history of $name has each conflict once");
	is($center->sql(q{SELECT sum(retries) FROM multicenter.stat_links}), 0, "apply never stopped at $name");
}

my $log = PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile, $log_start);
my $lines = () = $log =~ /\n/g;
cmp_ok($lines, '<', 50 + 4 * $took, 'the log has few lines, however many conflicts there are');

# In batches: one record of WAL for many rows of the history.
my %history = map { $_ => 1 } map { split /\n/, $_->sql(q{
	SELECT pg_relation_filenode(c.oid) FROM pg_class c WHERE c.relname LIKE 'conflict\_history%' AND c.relkind = 'r'}) } @centers;
my ($single, $batches) = (0, 0);
open(my $dump, '-|', 'pg_waldump', '-p', $lisbon->node->data_dir . '/pg_wal', '-s', $wal_start, '-e', $wal_end) or die "pg_waldump: $!";
while (my $record = <$dump>)
{
	next unless $record =~ /INSERT.*rel \d+\/\d+\/(\d+)/ && $history{$1};
	$record =~ /MULTI_INSERT/ ? $batches++ : $single++;
}
close($dump);
cmp_ok($batches, '>', 0, 'the history is written in batches');
cmp_ok($single + $batches, '<', 4 * $rows / 10, 'of many rows');
note(sprintf('%d conflicts in %.1f s: %d per second at each center; %d lines of log; %d batches', 4 * $rows, $took, 2 * $rows / $took, $lines, $batches));

done_testing();
