# Goal: what UPDATEs leave behind goes at once, also while a peer is away; what
# a delete leaves, or a change of a key, is kept as long as it may matter, in
# whatever way the key changes.
#
# Method: three servers, since one keeps dead rows for all its databases.  A row
# is updated many times while nothing is heard of a peer, and its table does not
# grow.  Then, for each way, lisbon inserts a row that nobody gets yet, oslo (or
# riga) inserts the same key later and changes it; much is written, VACUUM runs,
# and lisbon's row arrives.  Nothing else is deleted, so that only the change of
# the key keeps dead rows.  Oslo has appliers, lisbon and riga have not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

# How the key 1 of t is changed, and where if not at oslo.
my %way = (
	update => ['UPDATE t SET id = 101'],
	with => ['WITH u AS (UPDATE t SET id = 101 RETURNING *) SELECT count(*) FROM u'],
	upsert => [q{INSERT INTO t VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET id = 101}],
	merge => ['MERGE INTO t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET id = 101'],
	statement => ['PREPARE p AS UPDATE t SET id = $1; EXECUTE p(101)'],
	block => ['DO $$ BEGIN BEGIN UPDATE t SET id = 101; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$'],
	prepared => [q{BEGIN; UPDATE t SET id = 101; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}],
	uncounted => ['SET track_counts = off; UPDATE t SET id = 101'],
	uncounted_for_a_while => ['BEGIN; SET LOCAL track_counts = off; UPDATE t SET id = 101; SET LOCAL track_counts = on; COMMIT'],
	view => ['UPDATE t_view SET number = 101'],
	by_trigger => [q{UPDATE t SET v = v}],
	by_other_trigger => ['INSERT INTO t_switch VALUES (1)'],
	generated => ['UPDATE t SET a = 101'],
	cascade => ['UPDATE t_parent SET id = 101'],
	partition => ['UPDATE t SET id = 101'],
	same_partition => ['UPDATE t SET id = 101'],
	full => ['UPDATE t SET id = 101'],
	applied => [ 'UPDATE t SET id = 101', 'riga' ],
);
my @ways = sort keys %way;
my %special = (
	generated => q{CREATE TABLE t (a int, v text, id int GENERATED ALWAYS AS (a) STORED PRIMARY KEY)},
	cascade => q{CREATE TABLE t_parent (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY REFERENCES t_parent ON UPDATE CASCADE, v text)},
	partition => q{CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
		CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (100); CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (100) TO (200)},
	same_partition => q{CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t_all PARTITION OF t FOR VALUES FROM (0) TO (200)},
	full => q{CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t REPLICA IDENTITY FULL},
);
my %more = (
	view => q{CREATE VIEW t_view AS SELECT id AS number FROM t},
	by_trigger => q{CREATE FUNCTION t_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := 101; RETURN NEW; END';
		CREATE TRIGGER change BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION t_change()},
	by_other_trigger => q{CREATE TABLE t_switch (id int PRIMARY KEY);
		CREATE FUNCTION t_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE t SET id = 101; RETURN NULL; END';
		CREATE TRIGGER change AFTER INSERT ON t_switch FOR EACH ROW EXECUTE FUNCTION t_change()},
);

# The same SQL with the table of a way.
sub of_way
{
	my ($sql, $name) = @_;
	return $sql =~ s/\bt(?=\b(?!')|_(?:parent|switch|view|change|low|high|all)\b)/t_$name/gr;
}

my @centers = make_group([qw(lisbon oslo riga)], conf => "max_prepared_transactions = 5\nautovacuum = off", setup => join(';',
		(map { of_way(join('; ', $special{$_} // 'CREATE TABLE t (id int PRIMARY KEY, v text)', $more{$_} // ()), $_) } @ways),
		'CREATE TABLE hot (id int PRIMARY KEY, n int, big text)',
		'CREATE TABLE clash (id int PRIMARY KEY, u int UNIQUE)',
		'CREATE TABLE filler (id uuid PRIMARY KEY DEFAULT gen_random_uuid())'));
my ($lisbon, $oslo, $riga) = @centers;
my %center = (oslo => $oslo, riga => $riga);
my @from_lisbon = ([ $lisbon, $oslo ], [ $lisbon, $riga ]);
$oslo->sql(qq{SELECT multicenter.link_alter('$_->{name}', '{"workers": 2}')}) foreach $lisbon, $riga;
$oslo->wait_for_sql(q{SELECT count(*) FROM multicenter.workers WHERE role = 'applier'}, '4');
wait_streaming(@centers);

# Many small transactions.
sub write_much
{
	my ($center, $count) = @_;
	$center->sql("DO \$\$ BEGIN FOR i IN 1..$count LOOP INSERT INTO filler DEFAULT VALUES; COMMIT; END LOOP; END \$\$");
	return;
}

# Let the horizon pass all that was done until now, everywhere.
sub let_horizon_pass
{
	my $xid = $oslo->sql('SELECT pg_current_xact_id()::xid');
	write_much($lisbon, 400);
	wait_all_applied(@centers);
	$_->wait_for_sql("SELECT age(horizon_xid) < age('$xid'::xid) - 300 FROM multicenter.horizon") foreach @centers;
	return;
}

#
# UPDATEs, while riga is silent.  Large values are deleted where they are kept.
#
$lisbon->sql(q{INSERT INTO hot VALUES (1, 0, ''), (2, 0, ''); ALTER TABLE hot ALTER big SET STORAGE EXTERNAL});
let_horizon_pass();
hold_links([ $riga, $lisbon ], [ $riga, $oslo ]);
my $update = q{DO $$ BEGIN FOR i IN 1..%d LOOP UPDATE hot SET n = n + 1, big = CASE WHEN i %% 100 = 0 THEN repeat('x', 3000) ELSE big END WHERE id = 1; COMMIT; END LOOP; END $$};
$lisbon->sql(sprintf($update, 5000));
wait_applied($lisbon, $oslo);
foreach my $center ($lisbon, $oslo)
{
	cmp_ok($center->sql('SELECT age(horizon_xid) FROM multicenter.horizon'), '>', 5000, 'the horizon waits for riga at ' . $center->name);
	cmp_ok($center->sql(q{SELECT pg_relation_size('hot') / 8192}), '<=', 20, 'but a table of two rows hardly grows at ' . $center->name);
}

# From a delete on, everything is kept.
$riga->sql(q{UPDATE hot SET n = 1000 WHERE id = 2});
$lisbon->sql(q{DELETE FROM hot WHERE id = 2});
wait_applied($lisbon, $oslo);
$lisbon->sql(sprintf($update, 2000));
wait_applied($lisbon, $oslo);
foreach my $center ($lisbon, $oslo)
{
	cmp_ok($center->sql(q{SELECT pg_relation_size('hot') / 8192}), '>', 6, 'after a delete dead rows are kept at ' . $center->name);
	$center->sql('VACUUM hot');
}
release_links([ $riga, $lisbon ], [ $riga, $oslo ]);
wait_all_applied(@centers);
is($_->sql('SELECT string_agg(id::text, $$,$$) FROM hot'), '1', 'a row that was deleted stays away from ' . $_->name) foreach @centers;

#
# Changes of keys
#
foreach my $name (@ways)
{
	my ($sql, $where) = @{ $way{$name} };
	my $center = $center{ $where // 'oslo' };
	my $values = $name eq 'generated' ? '(a, v)' : '';
	if ($name eq 'cascade')
	{
		$lisbon->sql('INSERT INTO t_cascade_parent VALUES (1)');
		wait_all_applied(@centers);
	}
	let_horizon_pass();
	hold_links(@from_lisbon);
	$lisbon->sql(of_way("INSERT INTO t $values VALUES (1, 'lisbon')", $name));
	$center->sql(of_way("INSERT INTO t $values VALUES (1, 'later')", $name));
	wait_applied($riga, $oslo) if $where;
	my ($rc, undef, $err) = $center->psql(join("\n", map { "$_;" } $sql =~ /\$\$/ ? of_way($sql, $name) : split(/; /, of_way($sql, $name))));
	is($rc, 0, "$name: the key is changed") or diag($err);
	wait_applied($riga, $oslo) if $where;
	write_much($oslo, 100);
	$oslo->sql(of_way('VACUUM t', $name));
	release_links(@from_lisbon);
	wait_all_applied(@centers);
	is($_->sql(of_way('SELECT id, v FROM t ORDER BY id', $name)), '101|later', "$name: the older row stays away from " . $_->name) foreach @centers;
}

#
# Without peers nothing is kept, but what is displaced may need a delete.
#
my @links = links_between(@centers);
hold_links(@links);
$lisbon->sql('INSERT INTO clash VALUES (1, 1)');
$oslo->sql('INSERT INTO clash VALUES (2, 1)');
release_links(@links);
wait_all_applied(@centers);
$lisbon->sql("SELECT multicenter.center_part(center_name => '$_')") foreach qw(oslo riga);
$lisbon->wait_for_sql(q{SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'logical')});
is($lisbon->sql('SELECT count(*) FROM multicenter.displaced'), 1, 'a row is displaced');
$lisbon->psql(join("\n", 'INSERT INTO clash VALUES (1, 3);', 'DELETE FROM clash WHERE id = 1;',
		'DO $$ BEGIN FOR i IN 1..100 LOOP INSERT INTO filler DEFAULT VALUES; COMMIT; END LOOP; END $$;', 'VACUUM clash;'));
$lisbon->wait_for_sql('SELECT count(*) = 0 FROM multicenter.displaced');
$lisbon->sql('DELETE FROM clash WHERE id = 2');
is($lisbon->sql('SELECT count(*) FROM clash'), 0, 'and goes when it was deleted');

done_testing();
