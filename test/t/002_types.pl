# Goal: a value of every ordinary type arrives as it was, in both directions,
# whichever format its row travels in.
#
# Method: two centers whose schemas are made by hand (so that enums, domains and
# composites have different oids, and one enum another order), and whose
# databases differ in every setting that changes the text of a value.  For each
# type a table of its own, for the portable ones among them a wide one (raw
# images), and one with everything (column format).  Half of the rows are
# written on each side; then each side updates and deletes rows of the other.
# Both sides must be the same, byte for byte, in pg_dump and in ordered COPY,
# and must be what one of them got when the same values were typed in locally.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

# Name, type, values.  The values are SQL expressions; a plain literal is cast
# to the type.  'raw' marks the types that may travel in a raw image.
my $long_text = "repeat('h\xc3\xa9llo \xe2\x82\xac ', 2000)";
my $random_hex =
  "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i)";
my @types = (
	[ raw => int2 => 'smallint', qw(0 1 -1 32767 -32768) ],
	[ raw => int4 => 'integer', qw(0 1 -1 2147483647 -2147483648) ],
	[
		raw => int8 => 'bigint',
		qw(0 1 -1 9223372036854775807 -9223372036854775808)
	],
	[
		raw => float4 => 'real',
		qw(0 -0 NaN Infinity -Infinity 1e-45 3.4028235e38 0.1 -1.5)
	],
	[
		raw => float8 => 'double precision',
		qw(0 -0 NaN Infinity -Infinity 5e-324 1.7976931348623157e308 0.1 0.30000000000000004)
	],
	[
		raw => numeric => 'numeric',
		qw(0 0.000 1 -1 NaN Infinity -Infinity 1e-16383 1.10 -123456789.987654321),
		'(' . q(repeat('9', 131072) || '.' || repeat('7', 1000)) . ')',
		'(' . q('-' || repeat('12340000', 5000)) . ')'
	],
	[
		raw => numeric_10_2 => 'numeric(10,2)',
		qw(0 0.01 -99999999.99 99999999.99 12.30 NaN)
	],
	[ raw => numeric_5_0 => 'numeric(5,0)', qw(0 99999 -1) ],
	[ col => numeric_negative => 'numeric(3,-2)', qw(0 12300 -99900) ],
	[ raw => money => 'money', qw(0 -1.01 92233720368547758.07 12.3) ],
	[ raw => bool => 'boolean', qw(true false) ],
	[ raw => char_1 => '"char"', 'a', '', "''''", "'\\377'" ],
	[ raw => bpchar_5 => 'char(5)', '', 'a', 'abcde', "'\xe2\x82\xac\xc3\xa9'" ],
	[ raw => bpchar => 'bpchar', '', "'abc  '" ],
	[ raw => varchar => 'varchar', '', 'a', "' b '" ],
	[ raw => varchar_3 => 'varchar(3)', '', 'abc', "'\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac'" ],
	[
		raw => text => 'text',
		'', 'a',
		"E'tab\\tnewline\\n\\\\backslash\\\\N return\\r'",
		"'\xf0\x9f\x98\x80'", "($long_text)", "($random_hex)",
		"(repeat('x', 1000000))", "'\\N'"
	],
	[ raw => name => 'name', '', 'a', "(repeat('n', 63))" ],
	[
		raw => bytea => 'bytea',
		"'\\x'", "'\\x00'", "'\\xdeadbeef00ff5c'", "(decode($random_hex, 'hex'))",
		"(decode(repeat('00', 200000), 'hex'))"
	],
	[
		raw => date => 'date',
		qw(2000-01-01 infinity -infinity 5874897-12-31),
		"'4713-01-01 BC'", "'2024-02-29'"
	],
	[ raw => time => 'time', qw(00:00:00 24:00:00 12:34:56.789012) ],
	[ raw => time_0 => 'time(0)', qw(00:00:00 23:59:59) ],
	[
		col => timetz => 'timetz',
		qw(00:00:00+00 24:00:00-12 12:34:56.789012+05:45 23:59:60+15:59:59)
	],
	[
		raw => timestamp => 'timestamp',
		qw(infinity -infinity),
		"'2000-01-01 00:00:00'", "'294276-12-31 23:59:59.999999'",
		"'4713-01-01 00:00:00 BC'"
	],
	[ raw => timestamp_3 => 'timestamp(3)', "'2024-02-29 12:34:56.789'" ],
	[
		raw => timestamptz => 'timestamptz',
		qw(infinity -infinity),
		"'2000-01-01 00:00:00+00'", "'2024-03-31 02:30:00.000001+01'",
		"'4713-01-01 00:00:00+00 BC'"
	],
	[
		raw => interval => 'interval',
		'0',
		"'1 mon -1 day'",
		"'-178000000 years'",
		"'1 year 2 mons 3 days 04:05:06.789012'",
		"'-1 mon +2 days -03:00:00.000001'"
	],
	[ col => interval_day => 'interval day to second(2)', "'3 04:05:06.78'" ],
	[ raw => uuid => 'uuid', '00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ],
	[ raw => oid => 'oid', qw(0 1 4294967295) ],
	[
		col => json => 'json',
		"'{}'", "'  [1, 2 ,3]'", q('{"a": 1, "a": 2, "b": "\u00e9\n"}'),
		"(json_build_object('long', $long_text))"
	],
	[
		raw => jsonb => 'jsonb',
		"'{}'", "'null'", q('{"a": [1, 2.50, {"b": null}], "": "\u00e9"}'),
		"(jsonb_build_object('long', $long_text, 'hex', $random_hex))"
	],
	[ col => jsonpath => 'jsonpath', q('$.a[*] ? (@ > 1)') ],
	[ col => xml => 'xml', q('<a b="c">text<!-- x --></a>'), q('plain <b/> content') ],
	[ col => inet => 'inet', qw(10.0.0.1 10.1.2.3/8 ::1 fe80::1/64 0.0.0.0/0) ],
	[ col => cidr => 'cidr', qw(10.0.0.0/8 2001:db8::/32 0.0.0.0/0) ],
	[ col => macaddr => 'macaddr', qw(08:00:2b:01:02:03 ff:ff:ff:ff:ff:ff) ],
	[ col => macaddr8 => 'macaddr8', qw(08:00:2b:01:02:03:04:05) ],
	[ col => bit_3 => 'bit(3)', qw(000 101) ],
	[ col => varbit => 'varbit', '', qw(1 0101010101), "(repeat('10', 5000)::varbit)" ],
	[ col => point => 'point', "'(0,0)'", "'(-1.5,1e300)'", "'(NaN,Infinity)'" ],
	[ col => line => 'line', "'{1,-1,0.1}'" ],
	[ col => lseg => 'lseg', "'[(0,0),(1,0.1)]'" ],
	[ col => box => 'box', "'(1,1),(0,-0.1)'" ],
	[ col => path => 'path', "'[(0,0),(1,1),(2,0)]'", "'((0,0),(1,1),(2,0))'" ],
	[ col => polygon => 'polygon', "'((0,0),(1,1),(2,0.1))'" ],
	[ col => circle => 'circle', "'<(0,0.1),5>'" ],
	[ col => tsvector => 'tsvector', '', "'a:1A fat:2B,4C cat:5D'", q('''it''s'':1') ],
	[ col => tsquery => 'tsquery', '', "'fat & (rat | !cat:AB) <2> x:*'" ],
	[ col => pg_lsn => 'pg_lsn', qw(0/0 FFFFFFFF/FFFFFFFF 16/B374D848) ],
	[ col => txid_snapshot => 'txid_snapshot', '10:20:10,14,15' ],
	[ col => pg_snapshot => 'pg_snapshot', '10:20:10,14,15' ],
	[ col => xid8 => 'xid8', qw(0 18446744073709551615) ],
	[ col => xid => 'xid', qw(0 4294967295) ],
	[ col => cid => 'cid', qw(0 7) ],
	[ col => tid => 'tid', "'(0,1)'", "'(4294967295,65535)'" ],
	[ col => regclass => 'regclass', 'pg_class', '-', 'odd."Weird Table"' ],
	[ col => regtype => 'regtype', 'integer', 'odd.color', "'odd.pair[]'" ],
	[ col => regproc => 'regproc', 'pg_sleep' ],
	[ col => regprocedure => 'regprocedure', "'pg_sleep(double precision)'", "'odd.positive(integer)'" ],
	[ col => regoper => 'regoper', "'||/'" ],
	[ col => regoperator => 'regoperator', "'+(integer,integer)'" ],
	[ col => regnamespace => 'regnamespace', 'pg_catalog', 'odd' ],
	[ col => regrole => 'regrole', 'odd_role' ],
	[ col => regconfig => 'regconfig', 'english' ],
	[ col => regdictionary => 'regdictionary', 'simple' ],
	[ col => regcollation => 'regcollation', q('"C"') ],
	[ col => oidvector => 'oidvector', '', "'1 2 3'" ],
	[ col => int2vector => 'int2vector', "'1 -2 3'" ],
	[ col => aclitem => 'aclitem', "'odd_role=r/odd_role'" ],
	[ col => int_array => 'integer[]', "'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[2:3][-1:0]={{1,2},{3,4}}'", '(array_agg_of(5000))' ],
	[ col => text_array => 'text[]', q('{a,NULL,"NULL","","with \"quote\" and \\\\"}'), "(ARRAY[$long_text, NULL, $random_hex])" ],
	[ col => numeric_array => 'numeric(6,2)[]', "'{1.10,NaN,-5}'" ],
	[ col => timestamptz_array => 'timestamptz[]', q('{"2024-03-31 02:30:00.000001+01",infinity}') ],
	[ col => enum => 'odd.color', qw(red green blue) ],
	[ col => enum_array => 'odd.color[]', "'{red,NULL,blue}'", "'{{red,green},{blue,red}}'" ],
	[ col => domain_int => 'odd.positive_int', qw(1 2147483647) ],
	[ col => domain_text => 'odd.short_text', 'a', "'q''uote'" ],
	[ col => domain_array => 'odd.int_list', "'{1,2}'", "'{}'" ],
	[ col => domain_enum => 'odd.warm_color', 'red' ],
	[ col => domain_domain => 'odd.small_int', qw(1 9) ],
	[ col => composite => 'odd.pair', q('(1,"a ""b"" c")'), "'(,)'" ],
	[ col => composite_nested => 'odd.nested', q('("(1,x)","{red,blue}",7)'), "'(,,)'" ],
	[ col => composite_array => 'odd.pair[]', q('{"(1,a)","(2,\"b c\")",NULL}'), "'{}'" ],
	[ col => composite_domain => 'odd.good_pair', q('(1,a)') ],
	[ col => composite_array_2d => 'odd.nested[]', q(ARRAY[[ROW(ROW(1,'x'),'{red}',1)::odd.nested],[NULL]]) ],
	[ col => int4range => 'int4range', 'empty', "'[1,5)'", "'(,)'", "'[5,)'" ],
	[ col => int8range => 'int8range', "'[1,9223372036854775807)'" ],
	[ col => numrange => 'numrange', "'(1.10,2.5]'", "'[NaN,NaN]'" ],
	[ col => daterange => 'daterange', "'[2024-01-01,infinity)'" ],
	[ col => tsrange => 'tsrange', q|'["2024-01-01 00:00:00","2024-01-02 00:00:00.000001")'| ],
	[ col => tstzrange => 'tstzrange', q|'["2024-01-01 00:00:00+01",)'| ],
	[ col => int4multirange => 'int4multirange', "'{}'", "'{[1,3),[5,7)}'" ],
	[ col => tstzmultirange => 'tstzmultirange', q|'{["2024-01-01 00:00:00+01","2024-01-02 00:00:00+01")}'| ],
	[ col => user_range => 'odd.color_range', "'[red,green]'", 'empty' ],
	[ col => user_multirange => 'odd.color_multirange', "'{[red,green]}'" ],
	[ col => float_range => 'odd.float_range', "'[0.1,0.30000000000000004)'" ],
	[ col => range_array => 'int4range[]', q|'{"[1,5)",empty,NULL}'| ],);

# Expressions of the values of a type, NULL among them.
sub values_of
{
	my ($kind, $name, $type, @values) = @_;
	my @expressions;

	foreach my $value (@values)
	{
		$value = "'$value'" unless $value =~ /^['(]|^E'|^ARRAY/;
		$value =~ s/^\(array_agg_of\((\d+)\)\)$/(SELECT array_agg(i) FROM generate_series(1, $1) i)/;
		push @expressions, "CAST($value AS $type)";
	}
	return (@expressions, 'NULL');
}

# What makes oids and orders differ: only on the second center.
my $junk = q{
	CREATE SCHEMA junk;
	CREATE TYPE junk.color AS ENUM ('violet', 'red');
	CREATE TYPE junk.pair AS (a int, b int, c int);
	CREATE DOMAIN junk.a_domain AS text CHECK (VALUE <> 'x');
	CREATE TABLE junk.dropped (a int);
	DROP TABLE junk.dropped;
	CREATE TYPE junk.a_range AS RANGE (subtype = text);
};

# One type has its labels made in another order, and so other oids; another
# has them sorted in another order.
my %enums = (
	first => q{
		CREATE TYPE odd.color AS ENUM ('red', 'green', 'blue');
		CREATE TYPE odd.size AS ENUM ('small', 'medium', 'large');},
	second => q{
		CREATE TYPE odd.color AS ENUM ('blue');
		ALTER TYPE odd.color ADD VALUE 'green' BEFORE 'blue';
		ALTER TYPE odd.color ADD VALUE 'red' BEFORE 'green';
		CREATE TYPE odd.size AS ENUM ('large', 'small', 'medium', 'huge');});

my $schema = q{
	CREATE TABLE odd."Weird Table" (a int PRIMARY KEY);
	CREATE FUNCTION odd.positive(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
	CREATE DOMAIN odd.positive_int AS int CHECK (odd.positive(VALUE));
	CREATE DOMAIN odd.small_int AS odd.positive_int CHECK (VALUE < 10);
	CREATE DOMAIN odd.short_text AS text CHECK (length(VALUE) < 10);
	CREATE DOMAIN odd.int_list AS int[] CHECK (cardinality(VALUE) < 3);
	CREATE DOMAIN odd.warm_color AS odd.color CHECK (VALUE <> 'blue');
	CREATE TYPE odd.pair AS (a int, b text);
	CREATE TYPE odd.nested AS (p odd.pair, c odd.color[], n odd.positive_int);
	CREATE DOMAIN odd.good_pair AS odd.pair CHECK ((VALUE).a > 0);
	CREATE TYPE odd.color_range AS RANGE (subtype = odd.color, multirange_type_name = odd.color_multirange);
	CREATE TYPE odd.float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
	CREATE TABLE sizes (id int PRIMARY KEY, v odd.size);
};

my @tables;

my ($lisbon, $riga) =
  map { new_center($_, init => { extra => [ '-E', 'UTF8', '--locale=C' ] }) } qw(lisbon riga);
$_->sql('CREATE ROLE odd_role; CREATE SCHEMA odd;') foreach ($lisbon, $riga);

# A server may be built without libxml.
@types = grep { $_->[1] ne 'xml' } @types
  if ($lisbon->psql(q{SELECT '<a/>'::xml}))[0] != 0;

$riga->sql($junk);
$lisbon->sql($enums{first});
$riga->sql($_) foreach grep { /\S/ } split /;/, $enums{second};

foreach my $type (@types)
{
	my ($kind, $name, $declaration) = @$type;
	$schema .= "CREATE TABLE t_$name (id int PRIMARY KEY, v $declaration);\n";
	push @tables, "t_$name";
}

# Rows of several columns: every raw type, and every type.
my @raw = grep { $_->[0] eq 'raw' } @types;
$schema .= "CREATE TABLE wide_raw (id int PRIMARY KEY, "
  . join(', ', map { "c_$_->[1] $_->[2]" } @raw) . ");\n";
$schema .= "CREATE TABLE wide_mixed (id int PRIMARY KEY, "
  . join(', ', map { "c_$_->[1] $_->[2]" } @types) . ");\n";
push @tables, qw(wide_raw wide_mixed sizes);
$_->sql($schema) foreach ($lisbon, $riga);

# Apply must not depend on settings of the database it runs in.
$riga->sql('ALTER DATABASE postgres SET standard_conforming_strings = off')
  if $riga->release < 19;
$riga->sql(
	q{
	ALTER DATABASE postgres SET datestyle = 'German, DMY';
	ALTER DATABASE postgres SET intervalstyle = 'sql_standard';
	ALTER DATABASE postgres SET timezone = 'Asia/Kathmandu';
	ALTER DATABASE postgres SET extra_float_digits = -3;
	ALTER DATABASE postgres SET bytea_output = 'escape';
	ALTER DATABASE postgres SET xmloption = 'document';
	ALTER DATABASE postgres SET search_path = 'junk, odd, public';
	ALTER DATABASE postgres SET array_nulls = off;
	ALTER DATABASE postgres SET row_security = off;
	ALTER DATABASE postgres SET check_function_bodies = off;
	ALTER DATABASE postgres SET default_transaction_read_only = off;
	ALTER DATABASE postgres SET lock_timeout = '1d';
});

group_create($lisbon);
group_join($riga, $lisbon, copy => 'none');
wait_ready($lisbon, $riga);

# Tests write with the settings of the initdb; the settings above are for apply.
$ENV{PGOPTIONS} = join ' ', map { "-c $_" } (
	'datestyle=ISO,YMD', 'intervalstyle=postgres',
	'timezone=UTC', 'extra_float_digits=1',
	'bytea_output=hex', 'xmloption=content',
	'search_path=public', 'array_nulls=on',
	'standard_conforming_strings=on');

# Everything in both databases, to be compared.
sub contents
{
	my ($node) = @_;
	my %contents;

	foreach my $table (@tables)
	{
		$contents{$table} =
		  $node->sql("COPY (SELECT * FROM $table ORDER BY id) TO STDOUT");
	}
	return \%contents;
}

sub dump_of
{
	my ($node) = @_;
	my $dump = $node->pg_dump('--data-only', '--inserts', '--schema=public');

	# Rows stand in the order in which they were written.
	return join "\n", sort grep { !/^--/ } split /\n/, $dump;
}

sub same_everywhere
{
	my ($step) = @_;

	wait_all_applied($lisbon, $riga);
	my ($here, $there) = (contents($lisbon), contents($riga));
	my @different = grep { $here->{$_} ne $there->{$_} } @tables;

	is("@different", '', "$step: COPY of every table is the same on both sides");
	foreach my $table (@different)
	{
		diag("$table on lisbon: ", substr($here->{$table}, 0, 600));
		diag("$table on riga:   ", substr($there->{$table}, 0, 600));
	}
	my ($here_dump, $there_dump) = (dump_of($lisbon), dump_of($riga));
	ok($here_dump eq $there_dump && length $here_dump > 1_000_000,
		"$step: pg_dump of both sides is the same");
	return $here;
}

# Writes the rows of one parity of a table, so that each side writes half of
# them; shift rotates the values among the rows.
sub statements
{
	my ($parity, $shift, $verb) = @_;
	my $sql = '';

	foreach my $type (@types)
	{
		my @values = values_of(@$type);
		my $table = "t_$type->[1]";

		foreach my $i (0 .. 2 * @values - 1)
		{
			next if $i % 2 != $parity;
			my $value = $values[ ($i + $shift) % @values ];
			my $id = $i + 1;
			$sql .= $verb eq 'insert'
			  ? "INSERT INTO $table VALUES ($id, $value);\n"
			  : "UPDATE $table SET v = $value WHERE id = $id;\n";
		}
	}
	foreach my $wide ([ wide_raw => @raw ], [ wide_mixed => @types ])
	{
		my ($table, @columns) = @$wide;

		foreach my $i (0 .. 11)
		{
			next if $i % 2 != $parity;
			my @row = map {
				my @values = values_of(@$_);
				$values[ ($i + $shift) % @values ]
			} @columns;
			my $id = $i + 1;
			$sql .= $verb eq 'insert'
			  ? "INSERT INTO $table VALUES ($id, " . join(', ', @row) . ");\n"
			  : "UPDATE $table SET ("
			  . join(', ', map { "c_$_->[1]" } @columns)
			  . ") = ROW(" . join(', ', @row) . ") WHERE id = $id;\n";
		}
	}
	return $sql;
}

$lisbon->sql("BEGIN;\n" . statements(0, 0, 'insert') . 'COMMIT;');
$riga->sql(statements(1, 0, 'insert'));
$lisbon->sql("INSERT INTO sizes VALUES (1, 'small'), (2, 'large')");
$riga->sql("INSERT INTO sizes VALUES (3, 'medium'), (4, NULL)");
my $inserted = same_everywhere('INSERT');

# Values must not only be equal on both sides, but what was written.
my $wrong = 0;
foreach my $type (@types)
{
	my @values = values_of(@$type);
	my $expected = $lisbon->sql("COPY (SELECT * FROM (VALUES "
		  . join(', ', map { "(" . ($_ + 1) . ", $values[$_ % @values])" } 0 .. 2 * @values - 1)
		  . ") v ORDER BY 1) TO STDOUT");
	next if $inserted->{"t_$type->[1]"} eq $expected;
	$wrong++;
	diag("$type->[1]: ", substr($inserted->{"t_$type->[1]"}, 0, 600), "\nexpected: ", substr($expected, 0, 600));
}
is($wrong, 0, 'every value is the one that was written');

# Each side changes the rows that came from the other.
$lisbon->sql(statements(1, 1, 'update'));
$riga->sql("BEGIN;\n" . statements(0, 1, 'update') . 'COMMIT;');
$riga->sql("UPDATE sizes SET v = 'small' WHERE id IN (1, 2)");
same_everywhere('UPDATE');

# Values that a change leaves alone stay, those out of line among them.
$_->sql("ALTER TABLE wide_mixed ADD COLUMN extra int; ALTER TABLE wide_raw ADD COLUMN extra int")
  foreach ($lisbon, $riga);
$lisbon->sql("UPDATE $_ SET extra = id WHERE id % 2 = 0") foreach qw(wide_mixed wide_raw);
$riga->sql("UPDATE $_ SET extra = -id WHERE id % 2 = 1") foreach qw(wide_mixed wide_raw);
same_everywhere('UPDATE of another column');

foreach my $table (grep { $_ ne 'sizes' } @tables)
{
	$lisbon->sql("DELETE FROM $table WHERE id % 4 = 2");
	$riga->sql("DELETE FROM $table WHERE id % 4 = 1");
}
my $remaining = same_everywhere('DELETE');
is($remaining->{t_int4} =~ tr/\n// + 1, 6, 'half of the rows are left');

is($lisbon->sql('SELECT count(*) FROM multicenter.conflicts WHERE conflict_type IN (\'update_missing\', \'delete_missing\', \'insert_exists\')'),
	0, 'no row was missing or there twice at the first center');
is($riga->sql('SELECT count(*) FROM multicenter.conflicts WHERE conflict_type IN (\'update_missing\', \'delete_missing\', \'insert_exists\')'),
	0, 'no row was missing or there twice at the second center');

done_testing();
