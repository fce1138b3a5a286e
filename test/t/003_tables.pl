# Goal: every form of table replicates, or is refused and listed as design says.
#
# Method: two centers.  Some tables are made by one schema that the join copies;
# others are made by hand on both sides, in different forms.  Columns are
# dropped and added with data before and after.  After each group of changes in
# both directions both sides are compared by column name.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $schema = q{
	-- Columns dropped and added while rows are there.
	CREATE TABLE changed (gone1 int, id int PRIMARY KEY, gone2 text, v text, gone3 numeric);
	INSERT INTO changed SELECT i, i, 'x', 'v' || i, i FROM generate_series(1, 100) i;
	ALTER TABLE changed DROP COLUMN gone1, DROP COLUMN gone2;
	ALTER TABLE changed ADD COLUMN fast text DEFAULT 'fast default', ADD COLUMN n int;
	INSERT INTO changed SELECT i, 'v' || i FROM generate_series(101, 200) i;
	ALTER TABLE changed DROP COLUMN gone3;

	CREATE TABLE generated (id int PRIMARY KEY, a int, b int, sum int GENERATED ALWAYS AS (a + b) STORED);
	CREATE TABLE identities (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
	CREATE TABLE serials (id serial PRIMARY KEY, v text);

	CREATE TABLE parted (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE parted_eu PARTITION OF parted FOR VALUES IN ('eu') PARTITION BY RANGE (id);
	CREATE TABLE parted_eu_low PARTITION OF parted_eu FOR VALUES FROM (MINVALUE) TO (100);
	CREATE TABLE parted_eu_high PARTITION OF parted_eu FOR VALUES FROM (100) TO (MAXVALUE);
	CREATE TABLE parted_us PARTITION OF parted FOR VALUES IN ('us');
	CREATE TABLE parted_other PARTITION OF parted DEFAULT;

	CREATE TABLE by_index (a int, b int NOT NULL, c text);
	CREATE UNIQUE INDEX by_index_b ON by_index (b);
	ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_b;
	CREATE TABLE by_index_with_key (id int PRIMARY KEY, b int NOT NULL UNIQUE, c text);
	ALTER TABLE by_index_with_key REPLICA IDENTITY USING INDEX by_index_with_key_b_key;
	CREATE TABLE full_with_key (id int PRIMARY KEY, v text, w text);
	ALTER TABLE full_with_key REPLICA IDENTITY FULL;
	CREATE TABLE full_without_key (a int, b text, c numeric);
	ALTER TABLE full_without_key REPLICA IDENTITY FULL;
	CREATE TABLE no_key (a int, b text);
	CREATE TABLE no_identity (id int PRIMARY KEY, b text);
	ALTER TABLE no_identity REPLICA IDENTITY NOTHING;

	CREATE TABLE composite_key (a int, b text, c date, v text, PRIMARY KEY (c, a, b));
	CREATE TABLE only_key (id int PRIMARY KEY);
	CREATE TABLE no_columns ();
	CREATE SCHEMA "odd ""schema"", 'x'";
	CREATE TABLE "odd ""schema"", 'x'"."odd.table ""name""; --" ("select" int, "from ""where""" text, "" text, PRIMARY KEY ("select"));
	CREATE TABLE "odd ""schema"", 'x'".exactly_63_bytes_long_name_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (id int PRIMARY KEY, v text);
	CREATE TABLE toast (id int PRIMARY KEY, small int, big text, big2 text);
	ALTER TABLE toast ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE huge (id int PRIMARY KEY, t text, b bytea);
	ALTER TABLE huge ALTER b SET STORAGE EXTERNAL;
	CREATE TABLE many (id int PRIMARY KEY, v text);
	CREATE TABLE parent (id int PRIMARY KEY, v text);
	CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (parent);

	CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
	CREATE VIEW a_view AS SELECT * FROM only_key;
	CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM only_key;
};
$schema =~ s/, "" text/, "é" text/;

my ($lisbon, $riga) = make_group([qw(lisbon riga)],
	setup => $schema,
	init => { extra => [ '-E', 'UTF8', '--locale=C' ] });

# Run the same on both sides, with numbers of their own.
sub on_both
{
	my ($sql) = @_;
	my $base = 0;

	foreach my $center ($lisbon, $riga)
	{
		$center->sql($sql =~ s/:base/$base/gr);
		$base += 100_000;
	}
	wait_all_applied($lisbon, $riga);
	return;
}

# And with the rows of the other side.
sub on_other
{
	my ($sql) = @_;
	my $base = 100_000;

	foreach my $center ($lisbon, $riga)
	{
		$center->sql($sql =~ s/:base/$base/gr);
		$base -= 100_000;
	}
	wait_all_applied($lisbon, $riga);
	return;
}

#
# Dropped and added columns
#
identical($lisbon, $riga, 'changed');
is($riga->sql(q{SELECT count(*) FROM changed WHERE fast = 'fast default'}), 200, 'a fast default is copied');
on_both('INSERT INTO changed (id, v) SELECT :base + i, repeat(i::text, 10) FROM generate_series(1001, 1010) i');
on_other(q{UPDATE changed SET v = 'other', n = id WHERE id BETWEEN :base + 1001 AND :base + 1005});
$riga->sql('UPDATE changed SET n = 7 WHERE id BETWEEN 1 AND 50');
$riga->sql('DELETE FROM changed WHERE id BETWEEN 51 AND 60');
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, 'changed');

# Later changes of definition, made by hand on both sides while links stream.
foreach my $center ($lisbon, $riga)
{
	$center->sql(q{ALTER TABLE changed DROP COLUMN n, ADD COLUMN later int DEFAULT 42, ADD COLUMN empty text});
}
on_both(q{INSERT INTO changed (id, v, empty) VALUES (:base + 2001, 'new', 'x'), (:base + 2002, NULL, NULL)});
on_other(q{UPDATE changed SET later = 43 WHERE id IN (:base + 1001, :base + 2001)});
$lisbon->sql('UPDATE changed SET later = later + 1 WHERE id < 10');
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, 'changed');
is($riga->sql('SELECT DISTINCT later FROM changed ORDER BY 1'), "42\n43", 'rows older than a column keep its default');

#
# Generated and identity columns
#
on_both('INSERT INTO generated SELECT :base + i, i, 2 * i FROM generate_series(1, 10) i');
on_other('UPDATE generated SET a = 100 WHERE id <= :base + 5 AND id > :base');
identical($lisbon, $riga, 'generated');
is($riga->sql('SELECT sum FROM generated WHERE id = 1'), 102, 'a generated column is computed');
$lisbon->sql(q{INSERT INTO identities (v) VALUES ('l1'), ('l2')});
$riga->sql(q{INSERT INTO identities (id, v) OVERRIDING SYSTEM VALUE VALUES (1001, 'r1'), (1002, 'r2')});
wait_all_applied($lisbon, $riga);
$riga->sql(q{UPDATE identities SET v = 'r' WHERE id = 1; DELETE FROM identities WHERE id = 2});
$lisbon->sql(q{UPDATE identities SET v = 'l' WHERE id = 1001});
$lisbon->sql(q{INSERT INTO serials (v) VALUES ('a')});
$riga->sql(q{INSERT INTO serials VALUES (1001, 'b')});
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, qw(identities serials));
is($lisbon->sql(q{SELECT string_agg(id || v, ',' ORDER BY id) FROM identities}), '1r,1001l,1002r2',
	'identity columns keep the number they came with');

# Each side generates: other expressions are the affair of each side.
$lisbon->sql('CREATE TABLE generates (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a + 1) STORED)');
$riga->sql('CREATE TABLE generates (id int PRIMARY KEY, g int GENERATED ALWAYS AS (a + 2) STORED, a int)');
$lisbon->sql('INSERT INTO generates VALUES (1, 10), (2, 20)');
wait_applied($lisbon, $riga);
$lisbon->sql('UPDATE generates SET a = 30 WHERE id = 2');
$riga->sql('INSERT INTO generates (id, a) VALUES (3, 40)');
wait_all_applied($lisbon, $riga);
is($riga->sql('SELECT id, a, g FROM generates ORDER BY 1'), "1|10|12\n2|30|32\n3|40|42", 'generated on arrival, one way');
is($lisbon->sql('SELECT id, a, g FROM generates ORDER BY 1'), "1|10|11\n2|30|31\n3|40|41", 'generated on arrival, the other way');

#
# Schemas that differ
#
$lisbon->sql(
	q{CREATE TABLE differs (id int PRIMARY KEY, a text, b int, c timestamptz DEFAULT '2024-01-01 00:00:00+00', d int)});
$riga->sql(
	q{CREATE TABLE differs (gone int, d bigint, c timestamptz, only_here text DEFAULT 'default here',
		b bigint, seq serial, id int PRIMARY KEY, a varchar(100));
	  ALTER TABLE differs DROP COLUMN gone});
$lisbon->sql(q{INSERT INTO differs VALUES (1, 'one', 11, now(), -1), (2, NULL, NULL, NULL, 2147483647)});
wait_applied($lisbon, $riga);
$riga->sql(q{INSERT INTO differs (id, a, b) VALUES (3, 'three', 33)});
# A center that does not know a column cannot keep it: the link from Riga stops
# there, visibly, until the column is made.
$lisbon->wait_for_sql(
	q{SELECT state <> 'streaming' AND last_error LIKE '%only_here%'
	  FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction) WHERE direction = 'in'});
is( $lisbon->sql(q{SELECT last_error_sqlstate IS NOT NULL, last_error_relation, last_error_lsn IS NOT NULL, retries >= 0
		FROM multicenter.stat_links WHERE direction = 'in'}),
	't|public.differs|t|t', 'a column that is missing here stops the link and is named');
$lisbon->sql('ALTER TABLE differs ADD COLUMN only_here text, ADD COLUMN seq int');
wait_all_applied($lisbon, $riga);
is( $riga->sql(q{SELECT id, a, b, c IS NULL, d, only_here, seq FROM differs ORDER BY id}),
	"1|one|11|f|-1|default here|1\n2|||t|2147483647|default here|2\n3|three|33|t||default here|3",
	'columns are found by name; a local column gets its default; int becomes bigint');
$riga->sql(q{UPDATE differs SET b = b + 1, only_here = 'changed' WHERE id = 1; DELETE FROM differs WHERE id = 2});
wait_all_applied($lisbon, $riga);
$lisbon->sql(q{UPDATE differs SET a = 'uno' WHERE id = 1; UPDATE differs SET d = 5 WHERE id = 3});
wait_all_applied($lisbon, $riga);
is($lisbon->sql('SELECT id, a, b, d FROM differs ORDER BY id'),
	"1|uno|12|-1\n3|three|33|5", 'changes between tables of other column orders arrive, one way');
is($riga->sql('SELECT id, a, b, d, only_here FROM differs ORDER BY id'),
	"1|uno|12|-1|changed\n3|three|33|5|default here", 'and the other way');

# A value that the other side's type cannot hold stops the link; correcting the
# other side starts it again.
$riga->sql(q{UPDATE differs SET d = 9000000000 WHERE id = 3});
$lisbon->wait_for_sql(
	q{SELECT last_error_sqlstate = '22003' AND state <> 'streaming'
	  FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction) WHERE direction = 'in'});
$lisbon->sql('ALTER TABLE differs RENAME TO differs_old; CREATE TABLE differs (id int PRIMARY KEY, a text, b bigint, c timestamptz, d bigint, only_here text, seq int)');
wait_all_applied($lisbon, $riga);
is($lisbon->sql('SELECT d FROM differs WHERE id = 3'), '9000000000', 'a corrected table takes what had failed');

# A table that one side does not have.
$riga->sql('CREATE TABLE only_riga (id int PRIMARY KEY)');
$riga->sql('INSERT INTO only_riga VALUES (1)');
$lisbon->wait_for_sql(
	q{SELECT state <> 'streaming' AND last_error LIKE '%only_riga%'
	  FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction) WHERE direction = 'in'});
$lisbon->sql('CREATE TABLE only_riga (id int PRIMARY KEY)');
wait_all_applied($lisbon, $riga);
is($lisbon->sql('SELECT count(*) FROM only_riga'), 1, 'a table that was missing is filled when it is made');

#
# Partitions
#
on_both(
	q{INSERT INTO parted SELECT :base + i, (ARRAY['eu', 'us', 'asia'])[1 + i % 3], 'v' FROM generate_series(1, 300) i});
on_other(q{UPDATE parted SET v = 'other' WHERE id BETWEEN :base + 1 AND :base + 100});
on_other(q{UPDATE parted SET region = 'us' WHERE region = 'eu' AND id BETWEEN :base + 50 AND :base + 150});
on_other(q{DELETE FROM parted WHERE id BETWEEN :base + 200 AND :base + 250});
$lisbon->sql(q{UPDATE parted_eu SET id = 99 WHERE id = 153});
$lisbon->sql(q{INSERT INTO parted_us VALUES (-1, 'us', 'direct')});
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, qw(parted parted_eu_low parted_eu_high parted_us parted_other));
$lisbon->sql('TRUNCATE parted_us');
wait_all_applied($lisbon, $riga);
is($riga->sql('SELECT count(*) FROM parted_us'), 0, 'TRUNCATE of one partition');
cmp_ok($riga->sql('SELECT count(*) FROM parted'), '>', 100, 'leaves the others');
$riga->sql('TRUNCATE parted');
wait_all_applied($lisbon, $riga);
is($lisbon->sql('SELECT count(*) FROM parted'), 0, 'TRUNCATE of the partitioned table');
$riga->sql(q{INSERT INTO parted VALUES (1, 'eu', 'after')});
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, 'parted');

# One side may have it in one piece, or in other pieces.
$lisbon->sql(q{CREATE TABLE pieces (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
	CREATE TABLE pieces_0 PARTITION OF pieces FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE pieces_1 PARTITION OF pieces FOR VALUES WITH (MODULUS 2, REMAINDER 1)});
$riga->sql(q{CREATE TABLE pieces (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
	CREATE TABLE pieces_1 (v text, gone int, id int NOT NULL); ALTER TABLE pieces_1 DROP COLUMN gone;
	ALTER TABLE pieces ATTACH PARTITION pieces_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	CREATE TABLE pieces_0 PARTITION OF pieces FOR VALUES WITH (MODULUS 2, REMAINDER 0)});
on_both(q{INSERT INTO pieces SELECT :base + i, 'v' FROM generate_series(1, 100) i});
on_other(q{UPDATE pieces SET id = id + 1000, v = 'moved' WHERE id BETWEEN :base + 1 AND :base + 50});
on_other(q{DELETE FROM pieces WHERE id BETWEEN :base + 60 AND :base + 70});
identical($lisbon, $riga, 'pieces');

#
# Replica identities
#
on_both(q{INSERT INTO by_index SELECT i, :base + i, 'c' || i FROM generate_series(1, 20) i;
	INSERT INTO by_index_with_key SELECT :base + i, :base + 1000 - i, 'c' FROM generate_series(1, 20) i;
	INSERT INTO full_with_key SELECT :base + i, repeat('v', 3000), 'w' FROM generate_series(1, 20) i});
on_other(q{UPDATE by_index SET c = 'other', a = NULL WHERE b BETWEEN :base + 1 AND :base + 5;
	UPDATE by_index SET b = b + 500 WHERE b BETWEEN :base + 6 AND :base + 8;
	DELETE FROM by_index WHERE b = :base + 9;
	UPDATE by_index_with_key SET c = 'other' WHERE id BETWEEN :base + 1 AND :base + 5;
	UPDATE by_index_with_key SET id = id + 500 WHERE id BETWEEN :base + 6 AND :base + 7;
	UPDATE by_index_with_key SET b = b + 5000 WHERE id BETWEEN :base + 8 AND :base + 9;
	DELETE FROM by_index_with_key WHERE id = :base + 10;
	UPDATE full_with_key SET w = 'other' WHERE id BETWEEN :base + 1 AND :base + 5;
	UPDATE full_with_key SET v = NULL, id = id + 500 WHERE id BETWEEN :base + 6 AND :base + 7;
	DELETE FROM full_with_key WHERE id = :base + 8});
identical($lisbon, $riga, qw(by_index by_index_with_key full_with_key));
is($lisbon->sql('SELECT count(*) FROM by_index'), 38, 'by_index has the rows it should have');
is($lisbon->sql('SELECT count(*) FROM full_with_key'), 38, 'full_with_key has the rows it should have');

# A bag of rows: equal rows are changed one by one, nulls are equal, and
# one side writes.
$lisbon->sql(q{INSERT INTO full_without_key VALUES (1, 'a', 1.0), (1, 'a', 1.0), (1, 'a', 1.0), (NULL, NULL, NULL), (2, 'b', 'NaN'), (3, repeat('x', 5000), 0)});
wait_applied($lisbon, $riga);
identical($lisbon, $riga, 'full_without_key');
$lisbon->sql(q{DELETE FROM full_without_key WHERE ctid = (SELECT min(ctid) FROM full_without_key)});
$lisbon->sql(q{UPDATE full_without_key SET b = 'changed' WHERE ctid = (SELECT min(ctid) FROM full_without_key WHERE a = 1)});
$lisbon->sql(q{UPDATE full_without_key SET a = 7 WHERE a IS NULL});
$lisbon->sql(q{UPDATE full_without_key SET a = 8 WHERE a = 3});
$lisbon->sql(q{DELETE FROM full_without_key WHERE a = 2});
wait_applied($lisbon, $riga);
identical($lisbon, $riga, 'full_without_key');
is($riga->sql(q{SELECT a, left(b, 7) FROM full_without_key ORDER BY 1, 2}), "1|a\n1|changed\n7|\n8|xxxxxxx",
	'REPLICA IDENTITY FULL without a key works on a bag of rows');

# Without an identity only INSERT and TRUNCATE are replicated, so only they
# are allowed.
foreach my $table (qw(no_key no_identity))
{
	on_both("INSERT INTO $table VALUES (:base + 1, 'a'), (:base + 2, 'b')");
	identical($lisbon, $riga, $table);
	$lisbon->fails("UPDATE $table SET b = 'c'", '55000', qr/cannot update table "$table"/, qr/REPLICA IDENTITY/,
		"UPDATE of $table is refused, with a hint");
	$lisbon->fails("DELETE FROM $table", '55000', qr/cannot delete from table "$table"/, qr/REPLICA IDENTITY/,
		"DELETE from $table is refused, with a hint");
	$riga->fails("DELETE FROM $table WHERE false", '55000', qr/cannot delete/, qr/REPLICA IDENTITY/,
		"on the other side too: $table");
	is( $riga->sql("SELECT actions, problem ~ 'UPDATE' FROM multicenter.tables WHERE relation = '$table'::regclass"),
		'{insert,truncate}|t', "$table is listed with what is possible");
	is( $riga->sql("SELECT count(*) FROM multicenter.check_setup() WHERE status <> 'ok' AND object ~ '\\m$table\\M'"),
		1, "check_setup lists $table");
}
$riga->sql('TRUNCATE no_key');
wait_all_applied($lisbon, $riga);
is($lisbon->sql('SELECT count(*) FROM no_key'), 0, 'TRUNCATE of a table without a key');

is( $lisbon->sql(
		q{SELECT string_agg(table_name || ' ' || replica_identity, ', ' ORDER BY table_name) FROM multicenter.tables
		  WHERE table_name ~ '^(by_index|full_with|no_identity|only_key)'}),
	'by_index index, by_index_with_key index, full_with_key full, full_without_key full, no_identity nothing, only_key default',
	'tables shows the replica identities');

#
# Keys and names
#
on_both(q{INSERT INTO composite_key SELECT :base + i, 'b' || i % 3, '2024-01-01'::date + i, 'v' FROM generate_series(1, 50) i;
	INSERT INTO only_key SELECT :base + i FROM generate_series(1, 10) i;
	INSERT INTO "odd ""schema"", 'x'"."odd.table ""name""; --" VALUES (:base + 1, 'a', 'b'), (:base + 2, NULL, NULL);
	INSERT INTO "odd ""schema"", 'x'".exactly_63_bytes_long_name_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx VALUES (:base, 'a');
	INSERT INTO no_columns DEFAULT VALUES;
	INSERT INTO parent VALUES (:base + 1, 'p'); INSERT INTO child VALUES (:base + 2, 'c', 'e')});
on_other(q{UPDATE composite_key SET v = 'other' WHERE a BETWEEN :base + 1 AND :base + 10;
	UPDATE composite_key SET b = 'changed' WHERE a BETWEEN :base + 5 AND :base + 15;
	UPDATE composite_key SET a = a + 1000, b = 'x', c = c + 1 WHERE a BETWEEN :base + 20 AND :base + 25;
	DELETE FROM composite_key WHERE a BETWEEN :base + 30 AND :base + 35;
	UPDATE only_key SET id = id + 1000 WHERE id BETWEEN :base + 1 AND :base + 3;
	DELETE FROM only_key WHERE id = :base + 4;
	UPDATE "odd ""schema"", 'x'"."odd.table ""name""; --" SET "from ""where""" = 'x' WHERE "select" = :base + 1;
	DELETE FROM "odd ""schema"", 'x'"."odd.table ""name""; --" WHERE "select" = :base + 2;
	UPDATE parent SET v = 'x' WHERE id IN (:base + 1, :base + 2)});
identical($lisbon, $riga, qw(composite_key only_key parent child),
	q{"odd ""schema"", 'x'"."odd.table ""name""; --"},
	q{"odd ""schema"", 'x'".exactly_63_bytes_long_name_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx});
is($riga->sql('SELECT count(*) FROM no_columns'), 2, 'a table without columns');
is($lisbon->sql('SELECT count(*) FROM only_key'), 18, 'only_key has the rows it should have');

# Keys that move on to each other within one statement need a free number.
$lisbon->sql('CREATE TABLE shifted (id int PRIMARY KEY DEFERRABLE, v text)');
$riga->sql('CREATE TABLE shifted (id int PRIMARY KEY, v text)');
$lisbon->fails('INSERT INTO shifted VALUES (1); UPDATE shifted SET v = 1', '55000', qr/cannot update/, qr/REPLICA IDENTITY/,
	'a deferrable key is no replica identity');
$lisbon->sql('ALTER TABLE shifted DROP CONSTRAINT shifted_pkey, ADD PRIMARY KEY (id)');
$lisbon->sql(q{INSERT INTO shifted SELECT i, i FROM generate_series(2, 10) i});
$lisbon->sql(q{BEGIN;
	UPDATE shifted SET id = -1 WHERE id = 2; UPDATE shifted SET id = 2 WHERE id = 3;
	UPDATE shifted SET id = 3 WHERE id = -1; COMMIT});
$lisbon->sql(q{BEGIN; DELETE FROM shifted WHERE id = 4; UPDATE shifted SET id = 4 WHERE id = 5; COMMIT});
wait_applied($lisbon, $riga);
identical($lisbon, $riga, 'shifted');

#
# What is not replicated
#
$lisbon->sql(q{INSERT INTO unlogged VALUES (1);
	CREATE TEMP TABLE temporary (id int PRIMARY KEY); INSERT INTO temporary VALUES (1); UPDATE temporary SET id = 2;
	REFRESH MATERIALIZED VIEW a_matview});
wait_applied($lisbon, $riga);
is($riga->sql('SELECT count(*) FROM unlogged'), 0, 'an unlogged table is not replicated');
is($riga->sql(q{SELECT sets, actions, problem ~ 'unlogged' FROM multicenter.tables WHERE table_name = 'unlogged'}),
	'{}|{}|t', 'and is listed so');
is($riga->sql(q{SELECT count(*) FROM multicenter.tables WHERE table_name IN ('temporary', 'a_view', 'a_matview') OR schema_name = 'multicenter'}),
	0, 'views, temporary tables and our own tables are not listed');

# What was written to a table counts, even if the table is gone when its WAL is
# decoded, or was made and dropped in that very transaction.
$riga->sql('CREATE TABLE short_lived (id int PRIMARY KEY, v text)');
$lisbon->sql(q{CREATE TABLE short_lived (id int PRIMARY KEY, v text)});
$lisbon->sql(q{BEGIN; INSERT INTO short_lived VALUES (1, 'x'); DROP TABLE short_lived; COMMIT;
	BEGIN; CREATE TABLE short_lived (v text, id int PRIMARY KEY); INSERT INTO short_lived VALUES ('y', 2); DROP TABLE short_lived; COMMIT});
wait_applied($lisbon, $riga);
is($riga->sql('SELECT * FROM short_lived ORDER BY id'), "1|x\n2|y", 'rows of a table that was dropped');

#
# Large values and large transactions
#
foreach my $pair ([ $lisbon, $riga, 1 ], [ $riga, $lisbon, 2 ])
{
	my ($from, $to, $id) = @$pair;
	my $way = $from->name . ' to ' . $to->name;

	# 100 MB each: a text that compresses, bytes that do not.
	$from->sql(
		qq{INSERT INTO huge
		   SELECT $id, repeat('0123456789', 10 * 1024 * 1024), decode(repeat(string_agg(md5(i::text), ''), 1024 * 128), 'hex')
		   FROM generate_series(1, 50) i});
	wait_applied($from, $to, 180);
	my $sum = q{SELECT length(t), md5(t), length(b), md5(b) FROM huge WHERE id = } . $id;
	is($to->sql($sum), $from->sql($sum), "values of 100 MB, $way");
	like($to->sql($sum), qr/^104857600\|\w+\|104857600\|/, "and they are that large, $way");

	# Changes that leave the values alone keep them.
	$to->sql("UPDATE huge SET id = id + 10 WHERE id = $id");
	$to->sql("UPDATE huge SET t = 'short' WHERE id = $id + 10");
	wait_applied($to, $from, 180);
	$sum = "SELECT md5(t), length(b), md5(b) FROM huge WHERE id = $id + 10";
	is($from->sql($sum), $to->sql($sum), "unchanged value of 100 MB, $way back");
	like($from->sql($sum), qr/\|104857600\|/, "and it is still that large, $way back");
	$from->sql("DELETE FROM huge WHERE id = $id + 10");
	wait_applied($from, $to);
	is($to->sql('SELECT count(*) FROM huge'), 0, "DELETE of them, $way");
}

on_both(q{INSERT INTO toast SELECT :base + i, i, repeat(md5(i::text), 1000), (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j) FROM generate_series(1, 20) i});
on_other(q{UPDATE toast SET small = -small WHERE id BETWEEN :base + 1 AND :base + 5;
	UPDATE toast SET big = 'short' WHERE id BETWEEN :base + 4 AND :base + 8;
	UPDATE toast SET big2 = NULL WHERE id BETWEEN :base + 7 AND :base + 10;
	UPDATE toast SET id = id + 1000 WHERE id BETWEEN :base + 9 AND :base + 12;
	UPDATE toast SET big = big || 'x' WHERE id BETWEEN :base + 13 AND :base + 14;
	BEGIN; UPDATE toast SET big2 = repeat('new', 5000) WHERE id = :base + 15;
	UPDATE toast SET small = 0 WHERE id = :base + 15; COMMIT});
identical($lisbon, $riga, 'toast');

# 200,000 rows in many chunks; a third of them in subtransactions that abort.
foreach my $pair ([ $lisbon, $riga, 0 ], [ $riga, $lisbon, 1_000_000 ])
{
	my ($from, $to, $base) = @$pair;
	$from->sql(
		qq{
		BEGIN;
		INSERT INTO many SELECT $base + i, 'row ' || i FROM generate_series(1, 60000) i;
		SAVEPOINT one;
		INSERT INTO many SELECT $base + i, 'aborted' FROM generate_series(300001, 350000) i;
		UPDATE many SET v = 'aborted' WHERE id BETWEEN $base + 1 AND $base + 10000;
		ROLLBACK TO one;
		SAVEPOINT two;
		INSERT INTO many SELECT $base + i, 'row ' || i FROM generate_series(60001, 120000) i;
		SAVEPOINT three;
		DELETE FROM many WHERE id BETWEEN $base + 1 AND $base + 20000;
		ROLLBACK TO three;
		RELEASE two;
		INSERT INTO many SELECT $base + i, 'row ' || i FROM generate_series(120001, 200000) i;
		UPDATE many SET v = 'changed' WHERE id BETWEEN $base + 199001 AND $base + 200000;
		DELETE FROM many WHERE id BETWEEN $base + 1 AND $base + 1000;
		COMMIT;
	});
	wait_applied($from, $to, 180);
	is($to->sql("SELECT count(*), count(*) FILTER (WHERE v = 'changed'), count(*) FILTER (WHERE v = 'aborted') FROM many WHERE id >= $base"),
		'199000|1000|0', "200,000 rows in one transaction, $from->{name} to $to->{name}");
}
identical($lisbon, $riga, 'many');

# Nothing above was a conflict other than rows that went back and forth.
foreach my $center ($lisbon, $riga)
{
	is($center->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE conflict_type IN ('insert_exists', 'update_missing', 'delete_missing')
		AND table_name <> 'differs'}),
		0, "no row was missing or there twice at $center->{name}");
	is($center->sql(q{SELECT count(*) FROM multicenter.lag WHERE state <> 'streaming'}), 0, "all links of $center->{name} stream");
}

done_testing();
