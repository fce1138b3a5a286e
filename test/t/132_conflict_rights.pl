# Goal: a user sees the conflicts of tables that he may read as a whole, and
# no others; whatever he tries.
#
# Method: two databases of one server, a conflict in each of several tables,
# and roles with all kinds of rights on them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @tables = qw(open closed secured forced part_1 sub_1);
my @centers = make_group([qw(lisbon oslo)], databases => 1, setup => q{
	CREATE TABLE open (id int PRIMARY KEY, v text);
	CREATE TABLE closed (id int PRIMARY KEY, v text);
	CREATE TABLE secured (id int PRIMARY KEY, v text);
	CREATE TABLE forced (id int PRIMARY KEY, v text);
	CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
	CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
	CREATE TABLE sub_1 PARTITION OF part_2 FOR VALUES FROM (100) TO (150);
	INSERT INTO open VALUES (1, 'old');
	INSERT INTO closed VALUES (1, 'old');
	INSERT INTO secured VALUES (1, 'old');
	INSERT INTO forced VALUES (1, 'old');
	INSERT INTO part VALUES (1, 'old'), (101, 'old');
});
my ($lisbon, $oslo) = @centers;
my @links = links_between(@centers);
wait_all_applied(@centers);
hold_links(@links);
foreach my $center (@centers)
{
	my $name = $center->name;
	$center->sql(join('; ', map { "UPDATE $_ SET v = '$name'" } qw(open closed secured forced part)));
}
release_links(@links);

$oslo->sql(q{
	CREATE ROLE reader; CREATE ROLE columns; CREATE ROLE owner; CREATE ROLE bypass BYPASSRLS;
	CREATE ROLE parent; CREATE ROLE judge IN ROLE multicenter_conflicts; CREATE ROLE admin IN ROLE multicenter_admin;
	CREATE ROLE watcher IN ROLE pg_monitor; CREATE ROLE all_data IN ROLE pg_read_all_data; CREATE ROLE stranger;
	CREATE ROLE idle NOINHERIT IN ROLE multicenter_conflicts;
	GRANT SELECT ON open, secured, forced TO reader, bypass;
	GRANT SELECT (id) ON open TO columns; GRANT INSERT, UPDATE, DELETE ON open TO columns;
	GRANT SELECT ON part TO parent;
	ALTER TABLE secured OWNER TO owner; ALTER TABLE forced OWNER TO owner;
	CREATE POLICY p ON secured USING (v = 'mine'); ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
	CREATE POLICY p ON forced USING (v = 'mine'); ALTER TABLE forced ENABLE ROW LEVEL SECURITY; ALTER TABLE forced FORCE ROW LEVEL SECURITY;
});
my $all = join(' ', sort @tables);
my %sees = (reader => 'open', columns => '', owner => 'secured', bypass => 'forced open secured', parent => 'part_1 sub_1',
	judge => $all, admin => $all, watcher => '', all_data => 'closed open part_1 sub_1', stranger => '', idle => '');
foreach my $role (sort keys %sees)
{
	is($oslo->sql("SET ROLE $role; SELECT coalesce(string_agg(DISTINCT relation::text, ' ' ORDER BY relation::text), '') FROM multicenter.conflicts"),
		$sees{$role}, "$role sees conflicts of: $sees{$role}");
}
is($oslo->sql("SELECT string_agg(DISTINCT relation::text, ' ' ORDER BY relation::text) FROM multicenter.conflicts"), $all, 'a superuser sees all');
is($oslo->sql("SET ROLE idle; SET ROLE multicenter_conflicts; SELECT count(DISTINCT relation) FROM multicenter.conflicts"), scalar(@tables), 'so does the role itself');

# What a session may do does not depend on what was planned before.
is($oslo->sql(q{PREPARE p AS SELECT count(DISTINCT relation) FROM multicenter.conflicts; SET ROLE reader; EXECUTE p; SET ROLE judge; EXECUTE p; SET ROLE stranger; EXECUTE p}),
	"1\n6\n0", 'a prepared statement follows the role');

# A condition of the user that tells what it is given is asked only of rows
# that he may see.
$oslo->sql('GRANT CREATE ON SCHEMA public TO reader');
is($oslo->sql(q{SET ROLE reader; SET client_min_messages = error;
	CREATE FUNCTION spy(relation regclass, r json) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN INSERT INTO pg_temp.spied VALUES (relation); RETURN true; END $$;
	CREATE TEMP TABLE spied (relation regclass);
	SELECT count(*) FROM multicenter.conflicts WHERE public.spy(relation, local_row);
	SELECT string_agg(DISTINCT relation::text, ' ') FROM spied}), "1\nopen", 'a condition sees nothing else');
$oslo->sql('DROP FUNCTION spy');

# Numbers without rows are for a monitor, and nobody touches the tables.
is($oslo->sql('SET ROLE watcher; SELECT count(DISTINCT relation) FROM multicenter.conflict_summary'), scalar(@tables), 'a monitor sees numbers of all');
$oslo->fails('SET ROLE reader; SELECT * FROM multicenter.conflict_summary', '42501', qr/permission denied/, undef, 'others do not');
foreach my $table ('conflict_history', 'conflict_history_0', 'conflict_segment', 'conflict_announced')
{
	$oslo->fails("SET ROLE judge; SELECT * FROM multicenter.$table", '42501', qr/permission denied/, undef, "$table is private");
}
$oslo->fails("SET ROLE judge; UPDATE multicenter.conflicts SET reviewed_at = now()", '55000', qr/cannot update view/, undef, 'the view cannot be written');

# Of a table that is gone only those who see all see anything.
$oslo->sql(q{SELECT multicenter.replicate_ddl('DROP TABLE open')});
is($oslo->sql("SET ROLE reader; SELECT count(*) FROM multicenter.conflicts"), 0, 'a table that is gone: nothing');
is($oslo->sql("SET ROLE judge; SELECT count(*) FROM multicenter.conflicts"), scalar(@tables), 'but for those who see all');

done_testing();
