# Goal: rows that are inserted many at once are what they would be one by one:
# keys that are there already are conflicts, the audit names each row, and code
# of users runs as the owner of the table.
#
# Method: two databases of one server; transactions of some thousand rows.

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

done_testing();
