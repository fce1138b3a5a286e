# Goal: the catalogue of schedules on which systems of this kind diverge, or
# stop: on every one of them all centers end with the rows that the catalogue
# asks for, whatever arrives first, no link stops, and what lost is in the
# history of every center.
#
# Method: three databases of one server, so that one clock decides what is
# later.  The links are held while the centers write; then every center gets
# what the two others wrote in the one order, and in a second round in the
# other.  What peers of ours are known to fail on, and what three centers do to
# one row, runs in all orders of all links; whatever two centers can do, with
# two of them first.  All schedules of a kind run at once, each in a table of
# its own, or on keys of its own.  What needs wrong clocks is in 200 and 205,
# frozen rows are in 221, columns and types that differ between centers in 002
# to 004, and 220 to 240 go on with deletes, TRUNCATE and unique keys.  Orders
# within one link are in 275.   s20 and s21, rows with an unchanged TOAST value,
# are in 250, with every other order of such changes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], databases => 1, setup => q{
	CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE uniq (id int PRIMARY KEY, u int UNIQUE, v text);
	CREATE TABLE two (id int PRIMARY KEY, x int UNIQUE, y int UNIQUE, v text);
	CREATE TABLE deferred (id int PRIMARY KEY, u int UNIQUE DEFERRABLE, v text);
	CREATE TABLE booking (id int PRIMARY KEY, u int4range, v text, EXCLUDE USING gist (u WITH &&));
	CREATE TABLE emptied (id int PRIMARY KEY, v text);
	CREATE TABLE emptied_late (id int PRIMARY KEY, v text);
	CREATE TABLE checked (id int PRIMARY KEY, a int, b int, v text, CHECK (a + b <= 10));
	CREATE TABLE account (id int PRIMARY KEY, n int, v text);
	CREATE TABLE numbered (k int, id serial, v text, PRIMARY KEY (k, id));
	CREATE TABLE zero (k int, f float8, v text, PRIMARY KEY (k, f));
	CREATE TABLE named (k int, name text COLLATE nocase, v text, PRIMARY KEY (k, name));
	CREATE TABLE parent (id int PRIMARY KEY, v text);
	CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, v text);
	CREATE TABLE cascaded (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, v text);
	CREATE TABLE multi (id int PRIMARY KEY, n int, who text);
	INSERT INTO multi SELECT id, 0, 'nobody' FROM generate_series(1, 50) id;
});
my @centers = ($lisbon, $oslo);
my %center = (a => $lisbon, b => $oslo);

# Every schedule: what is there before, the writes in the order of time, each
# at one center, what is left, of which rows that lost the history must tell,
# and which keys are displaced.  KEY + n is written :kn, values are made from
# it too.  With "seen", what lisbon writes has arrived at oslo when oslo writes
# next, and the other way round, while riga has seen nothing of either.
my %row = (
	before => "INSERT INTO item VALUES (:k1, 'old:k')",
	show => 'SELECT * FROM item WHERE id BETWEEN :k1 AND :k9 ORDER BY id');
my $set = "UPDATE item SET v = '%s:k' WHERE id = :k1";
my $delete = 'DELETE FROM item WHERE id = :k1';
my $renew = "BEGIN; $delete; INSERT INTO item VALUES (:k1, 'a:k'); COMMIT";
my %unique = (show => 'SELECT * FROM uniq WHERE id BETWEEN :k1 AND :k9 ORDER BY id');
my $swap = q{BEGIN; UPDATE uniq SET u = NULL WHERE id = :k1; UPDATE uniq SET u = :k1 WHERE id = :k2;
	UPDATE uniq SET u = :k2 WHERE id = :k1; COMMIT};
my %pair = (%unique, before => "INSERT INTO uniq VALUES (:k1, :k1, 'old:k'), (:k2, :k2, 'old:k')");
my %family = (before => "INSERT INTO parent VALUES (:k1, 'p')");

my %schedule = (
	's01: two inserts of one key' => { %row, before => '',
		steps => [ a => "INSERT INTO item VALUES (:k1, 'a:k')", b => "INSERT INTO item VALUES (:k1, 'b:k')" ],
		left => ':k1|b:k', lost => [ 'a:k' ] },
	's02: two rows with one unique value' => { %unique,
		steps => [ a => "INSERT INTO uniq VALUES (:k1, :k1, 'a:k')", b => "INSERT INTO uniq VALUES (:k2, :k1, 'b:k')" ],
		left => ':k2|:k1|b:k', displaced => ':k1' },
	's02: two updates to one unique value' => { %pair,
		steps => [ a => "UPDATE uniq SET u = :k5, v = 'a:k' WHERE id = :k1", b => "UPDATE uniq SET u = :k5, v = 'b:k' WHERE id = :k2" ],
		left => ':k2|:k5|b:k', displaced => ':k1' },
	's02: two updates to one unique value, the other way' => { %pair,
		steps => [ b => "UPDATE uniq SET u = :k5, v = 'b:k' WHERE id = :k2", a => "UPDATE uniq SET u = :k5, v = 'a:k' WHERE id = :k1" ],
		left => ':k1|:k5|a:k', displaced => ':k2' },
	's03: three rows, two unique keys' => {
		steps => [ a => "INSERT INTO two VALUES (:k1, :k1, :k1, 'a:k')", b => "INSERT INTO two VALUES (:k2, :k1, :k2, 'b:k')",
			c => "INSERT INTO two VALUES (:k1, :k2, :k2, 'c:k')" ],
		show => 'SELECT * FROM two WHERE id BETWEEN :k1 AND :k9 ORDER BY id',
		left => ':k1|:k2|:k2|c:k', displaced => ':k2' },
	's35: a deferrable unique key' => {
		steps => [ a => "INSERT INTO deferred VALUES (:k1, :k1, 'a:k')", b => "INSERT INTO deferred VALUES (:k2, :k1, 'b:k')" ],
		show => 'SELECT * FROM deferred WHERE id BETWEEN :k1 AND :k9 ORDER BY id',
		left => ':k2|:k1|b:k', displaced => ':k1' },
	's23: ranges that overlap' => {
		steps => [ a => "INSERT INTO booking VALUES (:k1, int4range(:k1, :k5), 'a:k')", b => "INSERT INTO booking VALUES (:k2, int4range(:k4, :k9), 'b:k')" ],
		show => 'SELECT id, v FROM booking WHERE id BETWEEN :k1 AND :k9 ORDER BY id',
		left => ':k2|b:k', displaced => ':k1' },
	's04: three updates' => { %row,
		steps => [ map { $_ => sprintf($set, $_) } qw(a b c) ], left => ':k1|c:k', lost => [ 'a:k', 'b:k' ] },
	's05: a delete, a newer update' => { %row,
		steps => [ a => $delete, b => sprintf($set, 'b') ], left => ':k1|b:k' },
	's05: the same, by others' => { %row,
		steps => [ c => $delete, a => sprintf($set, 'a') ], left => ':k1|a:k' },
	's06: an update, a newer delete' => { %row,
		steps => [ b => sprintf($set, 'b'), a => $delete ], left => '', lost => [ 'b:k' ] },
	's07: a delete, an update, an insert again' => { %row,
		steps => [ a => $delete, b => sprintf($set, 'b'), a => "INSERT INTO item VALUES (:k1, 'new:k')" ],
		left => ':k1|new:k', lost => [ 'b:k' ] },
	's08: two deletes, one with an insert behind it' => { %row,
		steps => [ b => $delete, a => $delete, a => "INSERT INTO item VALUES (:k1, 'new:k')" ], left => ':k1|new:k' },
	's09: a key change, an update of the old key' => { %row,
		steps => [ a => 'UPDATE item SET id = :k2 WHERE id = :k1', b => sprintf($set, 'b') ],
		left => ":k1|b:k\n:k2|old:k" },
	's09: an update, a newer change of the key' => { %row,
		steps => [ b => sprintf($set, 'b'), a => 'UPDATE item SET id = :k2 WHERE id = :k1' ],
		left => ':k2|old:k', lost => [ 'b:k' ] },
	's10: two key changes of one row' => { %row,
		steps => [ a => 'UPDATE item SET id = :k2 WHERE id = :k1', b => 'UPDATE item SET id = :k3 WHERE id = :k1' ],
		left => ":k2|old:k\n:k3|old:k" },
	's12: a swap, a newer update' => { %pair,
		steps => [ a => $swap, b => "UPDATE uniq SET v = 'b:k' WHERE id = :k1" ],
		left => ':k1|:k1|b:k', displaced => ':k2' },
	's12: an update, a newer swap' => { %pair,
		steps => [ b => "UPDATE uniq SET v = 'b:k' WHERE id = :k1", a => $swap ],
		left => ":k1|:k2|old:k\n:k2|:k1|old:k", lost => [ 'b:k' ] },
	'seen s16: an insert, its update' => { %row, before => '',
		steps => [ a => "INSERT INTO item VALUES (:k1, 'a:k')", b => sprintf($set, 'b') ], left => ':k1|b:k' },
	'seen s17: an insert, its delete' => { %row, before => '',
		steps => [ a => "INSERT INTO item VALUES (:k1, 'a:k')", b => $delete ], left => '' },
	's19: TRUNCATE, a newer insert' => {
		before => "INSERT INTO emptied VALUES (:k1, 'old:k')",
		steps => [ a => 'TRUNCATE emptied', b => "INSERT INTO emptied VALUES (:k2, 'b:k')" ],
		show => 'SELECT * FROM emptied', left => ':k2|b:k' },
	's19: an insert, a newer TRUNCATE' => {
		before => "INSERT INTO emptied_late VALUES (:k1, 'old:k')",
		steps => [ b => "INSERT INTO emptied_late VALUES (:k2, 'b:k')", a => 'TRUNCATE emptied_late' ],
		show => 'SELECT * FROM emptied_late', left => '' },
	's22: a CHECK on two columns, each updated elsewhere' => {
		before => "INSERT INTO checked VALUES (:k1, 1, 1, 'old:k')",
		steps => [ a => "UPDATE checked SET a = 8, v = 'a:k' WHERE id = :k1", b => "UPDATE checked SET b = 8, v = 'b:k' WHERE id = :k1" ],
		show => 'SELECT * FROM checked WHERE id = :k1', left => ':k1|1|8|b:k', lost => [ 'a:k' ] },
	's24: a counter, whose last writer wins' => {
		before => "INSERT INTO account VALUES (:k1, 0, 'old:k')",
		steps => [ a => "UPDATE account SET n = n + 10, v = 'a:k' WHERE id = :k1", b => "UPDATE account SET n = n + 5, v = 'b:k' WHERE id = :k1",
			c => "UPDATE account SET n = n + 3, v = 'c:k' WHERE id = :k1" ],
		show => 'SELECT * FROM account WHERE id = :k1', left => ':k1|3|c:k', lost => [ 'a:k', 'b:k' ] },
	'u49: two transfers that share an account' => {
		before => "INSERT INTO account VALUES (:k1, 100, 'old:k'), (:k2, 100, 'old:k'), (:k3, 100, 'old:k')",
		steps => [ a => "UPDATE account SET n = n + CASE id WHEN :k1 THEN -50 ELSE 50 END, v = 'a:k' WHERE id IN (:k1, :k2)",
			b => "UPDATE account SET n = n + CASE id WHEN :k2 THEN -30 ELSE 30 END, v = 'b:k' WHERE id IN (:k2, :k3)" ],
		show => 'SELECT * FROM account WHERE id BETWEEN :k1 AND :k9 ORDER BY id',
		left => ":k1|50|a:k\n:k2|70|b:k\n:k3|130|b:k", lost => [ 'a:k' ] },
	's26: two transactions that share a row' => {
		%row, before => "INSERT INTO item VALUES (:k1, 'old:k'), (:k2, 'old:k'), (:k3, 'old:k')",
		steps => [ a => "UPDATE item SET v = 'a:k' WHERE id IN (:k1, :k2)", b => "UPDATE item SET v = 'b:k' WHERE id IN (:k2, :k3)" ],
		left => ":k1|a:k\n:k2|b:k\n:k3|b:k", lost => [ 'a:k' ] },
	's25: serial keys on three centers' => {
		steps => [ map { $_ => "INSERT INTO numbered (k, v) SELECT :k, '$_:k' FROM generate_series(1, 5)" } qw(a b c) ],
		show => 'SELECT v, count(*) FROM numbered WHERE k = :k GROUP BY v ORDER BY v', left => 'c:k|5', lost => [ ('a:k', 'b:k') x 5 ] },
	's28: -0 and 0' => {
		steps => [ a => "INSERT INTO zero VALUES (:k, '0', 'a:k')", b => "INSERT INTO zero VALUES (:k, '-0', 'b:k')" ],
		show => 'SELECT * FROM zero WHERE k = :k', left => ':k|-0|b:k', lost => [ 'a:k' ] },
	's29: Key and KEY' => {
		steps => [ a => "INSERT INTO named VALUES (:k, 'Key', 'a:k')", b => "INSERT INTO named VALUES (:k, 'KEY', 'b:k')" ],
		show => 'SELECT * FROM named WHERE k = :k', left => ':k|KEY|b:k', lost => [ 'a:k' ] },
	's14: the delete of a parent, an insert of a child' => { %family,
		steps => [ a => 'DELETE FROM parent WHERE id = :k1', b => "INSERT INTO child VALUES (:k1, :k1, 'b:k')" ],
		show => 'SELECT id, NULL FROM parent WHERE id = :k1 UNION ALL SELECT id, v FROM child WHERE id = :k1', left => ':k1|b:k' },
	's15: the same with ON DELETE CASCADE' => { %family,
		steps => [ a => 'DELETE FROM parent WHERE id = :k1', b => "INSERT INTO cascaded VALUES (:k1, :k1, 'b:k')" ],
		show => 'SELECT id, NULL FROM parent WHERE id = :k1 UNION ALL SELECT id, v FROM cascaded WHERE id = :k1', left => ':k1|b:k' },
	'seen s18: a parent, its child' => {
		steps => [ a => "INSERT INTO parent VALUES (:k1, 'a:k')", b => "INSERT INTO child VALUES (:k1, :k1, 'b:k')" ],
		show => 'SELECT p.v, c.v FROM parent p JOIN child c ON c.parent = p.id WHERE p.id = :k1', left => 'a:k|b:k' },
);

# One row is inserted anew, updated and deleted by three centers, in all orders
# of time.
my %write = (
	insert => [ a => $renew, ':k1|a:k' ],
	update => [ b => sprintf($set, 'b'), ':k1|b:k' ],
	delete => [ c => $delete, '' ]);
foreach my $order ([qw(insert update delete)], [qw(insert delete update)], [qw(update insert delete)],
	[qw(update delete insert)], [qw(delete insert update)], [qw(delete update insert)])
{
	$schedule{ 'three writers: ' . join(', ', @$order) } = { %row,
		steps => [ map { @{ $write{$_} }[ 0, 1 ] } @$order ], left => $write{ $order->[2] }[2] };
}

# Fill the key in.
sub filled
{
	my ($pattern, $base) = @_;
	$pattern =~ s/:k(\d?)/$base + ($1 || 0)/ge;
	return $pattern;
}

# One test: the query returns this at once or, where the manager has to look
# again, a little later.
sub shows
{
	my ($center, $query, $expected, $name) = @_;
	my $got = '';

	eval { poll($name, sub { $got = $center->sql($query); return ($got eq $expected, $got) }, 5) };
	return is($got, $expected, $name);
}

# What one schedule must leave behind at a center.
sub check_schedule
{
	my ($center, $name, $base, $how) = @_;
	my $case = $schedule{$name};
	my $where = "$name; $how: $center->{name}";
	my %count;

	shows($center, filled($case->{show}, $base), filled($case->{left}, $base), $where);
	$count{$_}++ foreach @{ $case->{lost} };
	foreach my $lost (sort keys %count)
	{
		my $v = filled($lost, $base);
		is( $center->sql("SELECT count(DISTINCT key) FROM multicenter.conflicts
			WHERE '$v' IN (local_row ->> 'v', remote_row ->> 'v')"),
			$count{$lost}, "$where: $v is in the history");
	}
	shows($center, "SELECT key ->> 'id' FROM multicenter.displaced
		WHERE CAST(key ->> 'id' AS int) BETWEEN $base + 1 AND $base + 9 ORDER BY 1",
		filled($case->{displaced}, $base), "$where: what is displaced")
	  if $case->{displaced};
	return;
}

# Run these schedules.  Links are opened in this order: if it is turned round,
# every center gets the two others in the other order.
my $base = 1000;
sub run_schedules
{
	my ($how, $names, @order) = @_;
	my $seen = grep { /^seen/ } @$names;
	my @shut = grep { !$seen || grep { $_ != $lisbon && $_ != $oslo } @$_ } @order;
	my (%base, %rest);

	foreach my $name (@$names)
	{
		$base{$name} = ($base += 10);
		$rest{$name} = [ @{ $schedule{$name}{steps} } ];
	}
	$lisbon->sql(join(';', map { filled($schedule{$_}{before} // '', $base{$_}) } @$names));
	wait_all_applied(@centers);
	hold_links(@shut);

	# Step by step: of all schedules the first, then of all the second, ...
	while (grep { @$_ } values %rest)
	{
		foreach my $name (grep { @{ $rest{$_} } } @$names)
		{
			my ($where, $sql) = splice(@{ $rest{$name} }, 0, 2);
			$center{$where}->sql(filled($sql, $base{$name}));
		}
		wait_all_applied($lisbon, $oslo) if $seen;
	}

	release_links($_) foreach @shut;
	wait_all_applied(@centers);
	foreach my $name (@$names)
	{
		check_schedule($_, $name, $base{$name}, $how) foreach @centers;
	}
	is($_->sql("SELECT count(*) FROM multicenter.lag WHERE direction = 'in' AND state IN ('streaming', 'catching_up', 'idle')"),
		$#centers, "$how: no link of $_->{name} has stopped")
	  foreach @centers;
	return;
}

# With two centers: the one gets the other's changes first, or the other way.
my @concurrent = grep { !/^seen/ } sort keys %schedule;
my @of_two = grep { my %step = @{ $schedule{$_}{steps} }; !$step{c} } @concurrent;
my @links = links_between(@centers);
run_schedules('two centers, one order', \@of_two, @links);
run_schedules('two centers, the other order', \@of_two, reverse @links);
identical(@centers);

# With three.  A child without its parent, which s14 and s15 leave, would stop
# the copy of the tables.
$lisbon->sql('DELETE FROM child; DELETE FROM cascaded');
wait_all_applied(@centers);
my $riga = $lisbon->add_database('riga');
group_join($riga, $lisbon);
push(@centers, $riga);
wait_ready(@centers);
$center{c} = $riga;
identical(@centers);
@links = links_between(@centers);
foreach my $kind ([ 'concurrent', @concurrent ], [ 'seen', grep { /^seen/ } sort keys %schedule ])
{
	my ($what, @names) = @$kind;
	run_schedules("$what, one order", \@names, @links);
	run_schedules("$what, the other order", \@names, reverse @links);
}

# Each center gets the two others in either order, whatever the rest gets.
my @delicate = grep { /^(?:s02|s05|three writers)/ } @concurrent;
foreach my $orders (1 .. 6)
{
	my @order = map { my $to = $centers[$_]; my @in = grep { $_->[1] == $to } @links; $orders >> $_ & 1 ? reverse @in : @in } 0 .. 2;
	run_schedules("order $orders of all links", \@delicate, @order);
}

# A transaction is applied as a whole: whoever reads sees all of its rows or
# none, although some of them lose, while another link applies too.  Lisbon
# writes its number into 40 rows at once; riga puts its name on some of them.  A
# row of riga's is newer than what it hides, so that those of lisbon all have
# one number, that of its last transaction here, whenever one looks.
$lisbon->sql('CREATE SEQUENCE number');
my @loads = (
	start_load($lisbon, q{SELECT nextval('number') AS n \gset
		UPDATE multi SET n = :n, who = 'lisbon' WHERE id <= 40;}, clients => 1, transactions => 500),
	start_load($oslo, 'UPDATE multi SET n = n - 1 WHERE id > 40;', clients => 1, transactions => 500),
	start_load($riga, q{\set id random(1, 20)
		UPDATE multi SET who = 'riga' WHERE id = :id;}, clients => 1));
is( $riga->sql(q{
	CREATE TEMP TABLE look (numbers int, others int, number int, hidden int);
	DO $$ BEGIN
		FOR i IN 1 .. 1000000 LOOP
			INSERT INTO look SELECT count(DISTINCT n) FILTER (WHERE who = 'lisbon'), count(DISTINCT n) FILTER (WHERE id > 40),
				min(n) FILTER (WHERE id = 40), count(*) FILTER (WHERE who = 'riga') FROM public.multi;
			EXIT WHEN (SELECT n = 500 FROM public.multi WHERE id = 40) AND (SELECT n = -500 FROM public.multi WHERE id = 41);
		END LOOP;
	END $$;
	SELECT count(*) FILTER (WHERE numbers > 1 OR others > 1), count(DISTINCT number) > 100, max(hidden) > 5 FROM look}),
	'0|t|t', 'who reads sees whole transactions, but for rows that have lost');
finish_load($_) foreach @loads;
wait_all_applied(@centers);
foreach my $center (identical(@centers) ? () : @centers)
{
	diag("what $center->{name} knows of uniq, and its rows with their transactions:");
	diag($center->sql(q{SELECT kind, key, version, center_id, xid, since FROM multicenter.key_note WHERE relation = 'uniq'::regclass ORDER BY note_id;
		SELECT id, u, v, xmin, pg_xact_commit_timestamp(xmin) FROM uniq ORDER BY id}));
}
is( $riga->sql(q{SELECT count(*) > 0 FROM (SELECT FROM multicenter.conflicts WHERE table_name = 'multi' AND resolution = 'keep_local'
		AND remote_center = 'lisbon' GROUP BY remote_xid HAVING count(*) BETWEEN 1 AND 20) t}),
	't', 'some rows have lost, never a whole transaction');

done_testing();
