# Goal: a row of a peer is inserted without a look for deletes of its key where
# nobody has deleted anything since the dead-row horizon.  So whatever way rows
# go, that must be noticed: an older row that arrives later stays away.
#
# Method: three databases of one server.  In a table for each way lisbon inserts
# a row, which nobody gets yet; the others insert the same key later and make
# it go.  Before that the horizon gets past everything older, so that the look
# is saved where it may be.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

# How the row 1 of t goes, at oslo unless it is said otherwise; what is left.
my %way = (
	delete => [q{DELETE FROM t}],
	with => [q{WITH d AS (DELETE FROM t RETURNING *) SELECT count(*) FROM d}],
	truncate => [q{TRUNCATE t}],
	key => [ q{UPDATE t SET id = 101}, '101|oslo' ],
	upsert => [ q{INSERT INTO t VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET id = 102}, '102|oslo' ],
	merge => [q{MERGE INTO t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN DELETE}],
	cascade => [q{DELETE FROM t_parent}],
	trigger => [q{INSERT INTO t_switch VALUES (1)}],
	savepoint => [q{BEGIN; SAVEPOINT s; DELETE FROM t; RELEASE s; COMMIT}],
	exception => [q{DO $$ BEGIN BEGIN DELETE FROM t; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$}],
	second_try => [q{BEGIN; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; DELETE FROM t; COMMIT}],
	prepared => [q{BEGIN; DELETE FROM t; PREPARE TRANSACTION 't'; COMMIT PREPARED 't'}],
	uncounted => [q{SET track_counts = off; DELETE FROM t; RESET track_counts}],
	uncounted_local => [q{BEGIN; SET LOCAL track_counts = off; DELETE FROM t; SET LOCAL track_counts = on; COMMIT}],
	applied => [ q{DELETE FROM t}, '', 'riga' ],
	applied_key => [ q{UPDATE t SET id = 103}, '103|riga', 'riga' ],
	applied_missing => [ q{DELETE FROM t}, '', 'riga', 'late' ],
);
my @ways = sort keys %way;

my $setup = join(';', map { "CREATE TABLE t_$_ (id int PRIMARY KEY, v text)" } grep { $_ ne 'cascade' } @ways);
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => 'max_prepared_transactions = 5', setup => $setup . q{;
	CREATE TABLE t_cascade_parent (id int PRIMARY KEY);
	CREATE TABLE t_cascade (id int PRIMARY KEY REFERENCES t_cascade_parent ON DELETE CASCADE, v text);
	CREATE TABLE t_trigger_switch (id int PRIMARY KEY);
	CREATE FUNCTION go() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM t_trigger; RETURN NULL; END';
	CREATE TRIGGER go AFTER INSERT ON t_trigger_switch FOR EACH ROW EXECUTE FUNCTION go();
	CREATE TABLE filler (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
});
my ($lisbon, $oslo, $riga) = @centers;
my %center = (oslo => $oslo, riga => $riga);
$lisbon->sql('INSERT INTO t_cascade_parent VALUES (1)');

# The same statement with the table of a way.
sub of_way
{
	my ($sql, $name) = @_;
	$sql =~ s/\bt(?=\b|_(?:parent|switch))/t_$name/g;
	return $sql;
}

# Each statement of a way by itself, so that the test may hold more than one.
sub run_way
{
	my ($center, $name, $sql) = @_;
	$sql = of_way($sql, $name) =~ s/'t_prepared'/'gone'/gr;
	my ($rc, $out, $err) = $center->psql(join("\n", map { "$_;" } $sql =~ /\$\$/ ? $sql : split(/; /, $sql)));
	is($rc, 0, "$name: the row goes") or diag($err);
	return;
}

# Let the horizon pass all that was done until now, everywhere.
sub let_horizon_pass
{
	my $xid = $oslo->sql('SELECT pg_current_xact_id()::xid');
	$lisbon->sql(q{DO $$ BEGIN FOR i IN 1..400 LOOP INSERT INTO filler DEFAULT VALUES; COMMIT; END LOOP; END $$});
	wait_all_applied(@centers);
	$_->wait_for_sql("SELECT age(horizon_xid) < age('$xid'::xid) - 300 FROM multicenter.horizon") foreach @centers;
	return;
}

foreach my $round (1, 2)
{
	let_horizon_pass();
	hold_links([ $lisbon, $oslo ], [ $lisbon, $riga ]);
	$lisbon->sql(join(';', map { "INSERT INTO t_$_ VALUES (1, 'lisbon')" } @ways));
	foreach my $name (@ways)
	{
		my ($sql, $left, $where, $late) = @{ $way{$name} };
		$where //= 'oslo';
		$center{$where}->sql("INSERT INTO t_$name VALUES (1, '$where')");
		wait_applied($riga, $oslo) if $where eq 'riga' && !$late;
		run_way($center{$where}, $name, $sql);
	}

	# Many transactions later it is still known.
	$oslo->sql(q{DO $$ BEGIN FOR i IN 1..400 LOOP INSERT INTO filler DEFAULT VALUES; COMMIT; END LOOP; END $$}) if $round == 2;
	wait_applied($riga, $oslo);
	wait_applied($oslo, $riga);
	release_links([ $lisbon, $oslo ], [ $lisbon, $riga ]);
	wait_all_applied(@centers);
	foreach my $name (@ways)
	{
		my $left = $way{$name}[1] // '';
		is($_->sql("SELECT id, v FROM t_$name ORDER BY id"), $left, "round $round, $name: older row stays away from " . $_->name) foreach @centers;
	}
	$lisbon->sql(join(';', map { "DELETE FROM t_$_" } grep { ($way{$_}[1] // '') ne '' } @ways));
	$lisbon->sql('DELETE FROM t_trigger_switch; INSERT INTO t_cascade_parent VALUES (1)');
	wait_all_applied(@centers);
}

done_testing();
