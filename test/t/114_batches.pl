# Goal: rows that are inserted many at once are what they would be one by one:
# keys that are there already are conflicts, the audit names each row, and code
# of users runs as the owner of the table.
#
# Method: two databases of one server; transactions of some hundred to thousand rows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], databases => 1, conf => 'multicenter.audit = full', setup => q{
	CREATE TABLE item (id text PRIMARY KEY, v text NOT NULL, n int UNIQUE);
	CREATE TABLE odd (id int PRIMARY KEY, v int);
});

# A few of the keys, and one of the other unique values, are there: older and newer.
hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
$oslo->sql(q{INSERT INTO item SELECT 'key ' || g, 'older', g FROM generate_series(100, 3000, 100) g});
$lisbon->sql(q{INSERT INTO item SELECT 'key ' || g, 'lisbon', g FROM generate_series(1, 3000) g});
$oslo->sql(q{INSERT INTO item SELECT 'key ' || g, 'newer', g FROM generate_series(50, 3000, 100) g});
$oslo->sql(q{INSERT INTO item VALUES ('other', 'newer', 77)});
release_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
wait_all_applied($lisbon, $oslo);
is($_->sql(q{SELECT v, count(*) FROM item GROUP BY v ORDER BY v}), "lisbon|2969\nnewer|31", 'each key has its greatest version at ' . $_->name) foreach $lisbon, $oslo;
identical($lisbon, $oslo, 'item');
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE conflict_type = 'insert_exists'}), 61, 'keys, and one other value, that were there are conflicts');
$oslo->wait_for_sql(q{SELECT count(*) = 3000 AND count(DISTINCT key ->> 'id') = 3000 FROM multicenter.audit_keys WHERE peer = 'lisbon' AND table_name = 'item' AND operation = 'INSERT'});

# A row, and what follows it in its transaction.
$lisbon->sql(q{BEGIN;
	INSERT INTO odd SELECT g, 1 FROM generate_series(1, 2000) g;
	UPDATE odd SET v = 2 WHERE id % 2 = 0;
	DELETE FROM odd WHERE id % 3 = 0;
	INSERT INTO odd SELECT g, 3 FROM generate_series(3, 300, 3) g;
	COMMIT});
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo, 'odd');

# A domain that only oslo has: its check runs as the owner, never as us.
$oslo->sql(q{
	CREATE ROLE clerk;
	CREATE TABLE who (name name);
	GRANT INSERT ON who TO clerk;
	CREATE FUNCTION look(int) RETURNS bool LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.who VALUES (current_user); RETURN true; END$$;
	CREATE DOMAIN number AS int CHECK (public.look(VALUE));
	CREATE TABLE checked (id int PRIMARY KEY, v number);
	ALTER TABLE checked OWNER TO clerk;
});
$lisbon->sql(q{CREATE TABLE checked (id int PRIMARY KEY, v int)});
$lisbon->sql(q{INSERT INTO checked SELECT g, g FROM generate_series(1, 500) g});
wait_applied($lisbon, $oslo);
is($oslo->sql('SELECT count(*) FROM checked'), 500, 'rows with a domain are there');
is($oslo->sql('SELECT DISTINCT name FROM who'), 'clerk', 'the check of a domain runs as the owner of the table');

# Rows that came as images are written as they are, but where columns here are
# not the same, in order, or a value is too large to stay in its row here.
my @others = qw(turned more limited bounded wider dropped);
my %columns = (
	same    => [ ('id int PRIMARY KEY, a bool, b numeric(9,2), c text, d date, e bigint, f bool, g text, h jsonb') x 2 ],
	large   => [ 'id int PRIMARY KEY, c text STORAGE PLAIN', 'id int PRIMARY KEY, c text' ],
	turned  => [ 'id int PRIMARY KEY, c text, e int', 'id int PRIMARY KEY, e int, c text' ],
	more    => [ 'id int PRIMARY KEY, c text, e int', q{id int PRIMARY KEY, c text, e int, x text DEFAULT 'here'} ],
	limited => [ 'id int PRIMARY KEY, c text, e numeric', 'id int PRIMARY KEY, c varchar(20), e numeric(9,1)' ],
	bounded => [ 'id int PRIMARY KEY, c text, e numeric', 'id int PRIMARY KEY, c text, e numeric(9,1)' ],
	wider   => [ 'id int PRIMARY KEY, c text, e int', 'id int PRIMARY KEY, c text, e bigint' ],
	dropped => [ 'id int PRIMARY KEY, c text, e int', 'id int PRIMARY KEY, x int, c text, e int' ],
);
foreach my $table (sort keys %columns)
{
	foreach my $i (0, 1)
	{
		my ($plain) = $columns{$table}[$i] =~ /(\w+) text STORAGE PLAIN/;
		($lisbon, $oslo)[$i]->sql("CREATE TABLE $table (" . $columns{$table}[$i] =~ s/ STORAGE PLAIN//r . ')');
		($lisbon, $oslo)[$i]->sql("ALTER TABLE $table ALTER $plain SET STORAGE PLAIN") if $plain;
	}
}
$oslo->sql('ALTER TABLE dropped DROP x');
$lisbon->sql(q{
	INSERT INTO same SELECT g, g % 2 = 0, g / 3.0, nullif(repeat(chr(228), g % 200), $$$$), NULL, g, NULL, g, jsonb_build_object('n', g) FROM generate_series(1, 500) g;
	INSERT INTO same (id) SELECT g FROM generate_series(501, 1000) g;
	INSERT INTO same SELECT g, true, g, g, current_date, g, false, g, '[]' FROM generate_series(1001, 1500) g;
	INSERT INTO large SELECT g, repeat('large', 10 * g) FROM generate_series(1, 150) g});
$lisbon->sql("INSERT INTO $_ SELECT g, 'text ' || g, g FROM generate_series(1, 500) g") foreach @others;
wait_applied($lisbon, $oslo);
identical($lisbon, $oslo, 'same');
identical($lisbon, $oslo, 'large');
my $rows = q{SELECT count(*), sum(e)::int, md5(string_agg(c, ',' ORDER BY id)) FROM };
is($oslo->sql($rows . $_), $lisbon->sql($rows . $_), "$_ has the values of the rows") foreach @others;
is($oslo->sql('SELECT string_agg(DISTINCT scale(e)::text, $$ $$) FROM bounded'), '1', 'values are what the columns here allow');
is($oslo->sql('SELECT DISTINCT x FROM more'), 'here', 'a column that is only here has its default');
cmp_ok($lisbon->sql('SELECT max(pg_column_size(c)) FROM large'), '>', 7000, 'a large value came in an image');
cmp_ok($oslo->sql('SELECT max(pg_column_size(c)) FROM large'), '<', 2050, 'a large value is kept as the table here keeps it');
SKIP:
{
	skip 'no amcheck', 1 unless $oslo->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'});
	$oslo->sql('CREATE EXTENSION amcheck');
	is($oslo->sql("SELECT count(*) FROM (VALUES ('" . join("'), ('", sort keys %columns) . q{')) t (name), verify_heapam(name)}), 0, 'their tables are sound');
}

done_testing();
