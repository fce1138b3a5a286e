# Goal: a peer writes to many more tables than a receiver keeps half open, in
# turns, and memory does not grow with their number.
#
# Method: each of 600 tables is changed once in a transaction of its own, then
# again in the reverse order, so that tables are forgotten and come back; in
# between one of them gets another index, at one center only, and one another
# column.  A single transaction writes to all of them at last.  The
# receiver's own account of its memory tells if it grows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $tables = 600;
my $lisbon = new_center('lisbon', conf => 'max_locks_per_transaction = 256');
my $riga = new_center('riga', conf => 'max_locks_per_transaction = 256');

# Run a statement for each table; %s is its number.
sub for_each
{
	my ($center, $order, $statement, $commit) = @_;
	return $center->sql("DO \$do\$ DECLARE i int; BEGIN
		FOR i IN SELECT n FROM generate_series(1, $tables) n ORDER BY n $order LOOP
			EXECUTE format(\$sql\$$statement\$sql\$, i);
			$commit
		END LOOP;
	END \$do\$");
}

# Bytes of memory that the receiver has in all, by its own account.
sub memory_of_receiver
{
	my ($log, $position) = ($riga->node->logfile, -s $riga->node->logfile);
	my $pid = $riga->link_pid($lisbon);
	my $total;

	$riga->sql("SELECT pg_log_backend_memory_contexts($pid)");
	poll('the memory of the receiver in the log', sub {
		# It looks when it has something to do.
		$lisbon->sql('UPDATE item_1 SET v = v + 1');
		($total) = PostgreSQL::Test::Utils::slurp_file($log, $position) =~ /\[$pid\].* Grand total: (\d+)/;
		return $total;
	});
	return $total;
}

for_each($lisbon, 'ASC', 'CREATE TABLE item_%1$s (id int PRIMARY KEY, v int DEFAULT 0)', 'COMMIT;');
group_create($lisbon);
group_join($riga, $lisbon);
wait_ready($lisbon, $riga);

for_each($lisbon, 'ASC', 'INSERT INTO item_%1$s VALUES (1), (2)', 'COMMIT;');
wait_applied($lisbon, $riga);
my $before = memory_of_receiver();

$riga->sql('CREATE INDEX ON item_7 (v)');
$lisbon->sql("SELECT multicenter.replicate_ddl('ALTER TABLE public.item_8 ADD COLUMN note text')");
foreach my $round (1 .. 3)
{
	for_each($lisbon, $round % 2 ? 'DESC' : 'ASC', 'UPDATE item_%1$s SET v = v + %1$s WHERE id = 1', 'COMMIT;');
}
for_each($lisbon, 'ASC', 'DELETE FROM item_%1$s WHERE id = 2', '');
$lisbon->sql("UPDATE item_8 SET note = 'new'");
wait_applied($lisbon, $riga);

identical($lisbon, $riga, map { "item_$_" } 1, 7, 8, 300, $tables);
my $sums = "SELECT sum((xpath('/row/s/text()', query_to_xml('SELECT count(*) * 1000000 + sum(v) AS s FROM ' || relname, false, true, '')))[1]::text::bigint)
	FROM pg_class WHERE relkind = 'r' AND relname LIKE 'item%' AND relname <> 'item_1'";
is($riga->sql($sums), $lisbon->sql($sums), 'all tables are the same');
is($riga->sql('SELECT note FROM item_8'), 'new', 'a new column arrived');

my $after = memory_of_receiver();
cmp_ok($after, '<', 64e6, 'the receiver has less than 64 MB');
note("memory: $before after the first round, $after at the end");
done_testing();
