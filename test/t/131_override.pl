# Goal: whoever may write to a table can decide a conflict anew, and what he
# chooses stands on every center.
#
# Method: three databases of one server.  lisbon and oslo write the same rows
# while the links between them are paused; at one of them the loser is chosen,
# or another row.  Then everything that cannot be chosen is tried, and what a
# role without rights may do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo rome)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text, n numeric, at timestamptz, tags text[], doc jsonb);
	CREATE TABLE "odd "" name" ("the key" uuid, "and" text, "the value" bytea, PRIMARY KEY ("and", "the key"));
	CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, twice text GENERATED ALWAYS AS (v || v) STORED);
	CREATE TABLE only_key (a int, b int, PRIMARY KEY (a, b));
	CREATE TABLE person (id int PRIMARY KEY, mail text UNIQUE);
	CREATE TABLE keyless (v text);
	ALTER TABLE keyless REPLICA IDENTITY FULL;
	CREATE TABLE gone (id int PRIMARY KEY, v text);
	CREATE TABLE part (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
	CREATE TABLE guarded (id int PRIMARY KEY, owner name, v text);
	INSERT INTO item SELECT i, 'old', i, '2026-01-02 03:04:05.678901+00', '{a,"b c"}', '{"k": [1, null]}' FROM generate_series(1, 20) i;
	INSERT INTO "odd "" name" VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'x', '\x00ff');
	INSERT INTO made (v) VALUES ('old');
	INSERT INTO person VALUES (1, 'a'), (2, 'b');
	INSERT INTO keyless VALUES ('old');
	INSERT INTO gone VALUES (1, 'old');
	INSERT INTO part VALUES (1, 'old');
	INSERT INTO guarded VALUES (1, 'lisa', 'old'), (2, 'otto', 'old');
});
my ($lisbon, $oslo, $rome) = @centers;
my @links = ([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
wait_all_applied(@centers);

# Both write, lisbon first.  Returns the number of the conflict at oslo.
sub collide
{
	my ($table, $first, $second) = @_;
	hold_links(@links);
	$lisbon->sql($first);
	$oslo->sql($second);
	release_links(@links);
	wait_all_applied(@centers);
	return $oslo->sql("SELECT max(conflict_id) FROM multicenter.conflicts WHERE relation = \$table\$$table\$table\$::regclass AND override_of IS NULL");
}

# Choose at oslo; the same row must stand everywhere.
sub chosen
{
	my ($id, $arguments, $query, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $new = $oslo->sql("SELECT multicenter.conflict_override($id, $arguments)");
	wait_all_applied(@centers);
	is($_->sql($query), $expected, "$name: $_->{name}") foreach @centers;
	is($oslo->sql("SELECT n.resolver, n.override_of = o.conflict_id, o.reviewed_at > o.detected_at, n.conflict_type = o.conflict_type, n.key = o.key
		FROM multicenter.conflicts o, multicenter.conflicts n WHERE o.conflict_id = $id AND n.conflict_id = $new"), 'override|t|t|t|t', "$name: the history says so");
	return $new;
}

# The row that lost, with everything in it.
my $row = 'SELECT row_to_json(t) FROM item t WHERE id = %d';
my $id = collide('item', q{UPDATE item SET v = 'lisbon', n = 1.50, at = 'infinity', tags = '{NULL,"x,y","\"q\""}', doc = '{"l": {"é": 1.0}}' WHERE id = 1}, q{UPDATE item SET v = 'oslo' WHERE id = 1});
my $loser = $oslo->sql("SELECT remote_row FROM multicenter.conflicts WHERE conflict_id = $id");
my $new = chosen($id, q{'remote'}, sprintf($row, 1), $loser, 'the row that lost');
is($oslo->sql("SELECT resolution, local_row ->> 'v', result_row::text = \$j\$$loser\$j\$, local_center FROM multicenter.conflicts WHERE conflict_id = $new"), 'apply_remote|oslo|t|oslo', 'the history has both rows');
chosen($id, q{'local'}, 'SELECT v FROM item WHERE id = 1', 'oslo', 'and back again');
chosen($id, q{'local', '{"v": "third"}'}, 'SELECT v, n FROM item WHERE id = 1', 'third|1', 'another row, of which only a part is said');
chosen($id, q{NULL, '{"id": 1, "v": "fourth", "n": 7}'}, 'SELECT v, n, at FROM item WHERE id = 1', 'fourth|7|2026-01-02 03:04:05.678901+00', 'without a choice');

# Deletes, both ways.
$id = collide('item', 'DELETE FROM item WHERE id = 2', q{UPDATE item SET v = 'oslo' WHERE id = 2});
chosen($id, q{'remote'}, 'SELECT count(*) FROM item WHERE id = 2', 0, 'a delete that lost');
chosen($id, q{'local'}, 'SELECT v FROM item WHERE id = 2', 'oslo', 'and the row again');
$id = collide('item', q{UPDATE item SET v = 'lisbon' WHERE id = 3}, 'DELETE FROM item WHERE id = 3');
chosen($id, q{'remote'}, 'SELECT v FROM item WHERE id = 3', 'lisbon', 'an update that lost to a delete');
chosen($id, q{'local'}, 'SELECT count(*) FROM item WHERE id = 3', 0, 'and the delete again');
chosen($id, q{'local'}, 'SELECT count(*) FROM item WHERE id = 3', 0, 'where nothing is there any more');
$id = collide('item', q{INSERT INTO item VALUES (30, 'lisbon')}, q{INSERT INTO item VALUES (30, 'oslo')});
chosen($id, q{'remote'}, 'SELECT v FROM item WHERE id = 30', 'lisbon', 'an insert');

# Other tables.
$id = collide('"odd "" name"', q{UPDATE "odd "" name" SET "the value" = '\x01'}, q{UPDATE "odd "" name" SET "the value" = NULL});
chosen($id, q{'remote'}, 'SELECT "the value" FROM "odd "" name"', '\x01', 'odd names');
$id = collide('made', q{UPDATE made SET v = 'lisbon'}, q{UPDATE made SET v = 'oslo'});
chosen($id, q{'remote'}, 'SELECT id, v, twice FROM made', '1|lisbon|lisbonlisbon', 'a generated column and an identity');
$oslo->sql('DELETE FROM made');
chosen($id, q{'local'}, 'SELECT id, v, twice FROM made', '1|oslo|oslooslo', 'and inserted again');
$id = collide('only_key', 'INSERT INTO only_key VALUES (1, 2)', 'INSERT INTO only_key VALUES (1, 2)');
chosen($id, q{'remote'}, 'SELECT * FROM only_key', '1|2', 'a row that is nothing but its key');
$id = collide('part_1', q{UPDATE part SET v = 'lisbon'}, q{UPDATE part SET v = 'oslo'});
chosen($id, q{'remote'}, 'SELECT * FROM part', '1|lisbon', 'a partition');
identical(@centers);

# What cannot be chosen.
$oslo->fails('SELECT multicenter.conflict_override(4711, $$local$$)', 'P0002', qr/there is no conflict 4711/, qr/conflict_retention/, 'no such conflict');
$oslo->fails('SELECT multicenter.conflict_override(NULL, $$local$$)', '22004', qr/conflict_id must not be null/, undef, 'null');
foreach my $arguments (q{'mine'}, 'NULL', q{'mine', '{"v": "x"}'})
{
	$oslo->fails("SELECT multicenter.conflict_override($id, $arguments)", '22023', qr/invalid value for choose/, qr/"local" and "remote"/, "choose: $arguments");
}
$id = collide('item', q{UPDATE item SET v = 'lisbon' WHERE id = 4}, q{UPDATE item SET v = 'oslo' WHERE id = 4});
$oslo->fails("SELECT multicenter.conflict_override($id, NULL, '[1]')", '22023', qr/new_row is not an object/, qr/columns by name/, 'new_row is no object');
$oslo->fails("SELECT multicenter.conflict_override($id, NULL, '{\"id\": 5, \"v\": \"x\"}')", '22023', qr/another key/, qr/Leave the key out/, 'new_row has another key');
$oslo->fails("SELECT multicenter.conflict_override($id, NULL, '{\"w\": \"x\"}')", '42703', qr/column "w" of table public.item does not exist/, qr/./, 'new_row has an unknown column');
$oslo->fails("SELECT multicenter.conflict_override($id, NULL, '{\"n\": \"x\"}')", '22P02', qr/invalid input syntax/, undef, 'new_row has a wrong value');
is($oslo->sql("SELECT reviewed_at IS NULL FROM multicenter.conflicts WHERE conflict_id = $id"), 't', 'a failure leaves no trace');

$oslo->append_conf('multicenter.conflict_max_row_bytes = 50');
$oslo->reload;
$oslo->wait_for_sql('SHOW multicenter.conflict_max_row_bytes', '50B');
$id = collide('item', q{UPDATE item SET v = repeat('l', 100) WHERE id = 5}, q{UPDATE item SET v = 'o', tags = NULL, doc = NULL WHERE id = 5});
$oslo->fails("SELECT multicenter.conflict_override($id, 'remote')", '55000', qr/remote row of conflict \d+ is not in the history/, qr/new_row/, 'a row that was too large');
chosen($id, q{NULL, '{"v": "by hand"}'}, 'SELECT v FROM item WHERE id = 5', 'by hand', 'a row that was too large, by hand');
$oslo->append_conf('multicenter.conflict_max_row_bytes = 16MB');
$oslo->reload;

$id = collide('gone', q{UPDATE gone SET v = 'lisbon'}, q{UPDATE gone SET v = 'oslo'});
$oslo->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE gone DROP COLUMN v; ALTER TABLE gone ADD COLUMN w text')});
$oslo->sql('DELETE FROM gone');
$oslo->fails("SELECT multicenter.conflict_override($id, 'remote')", '55000', qr/no value for column "w"/, qr/new_row/, 'a table that was changed since');
$oslo->sql(q{SELECT multicenter.replicate_ddl('DROP TABLE gone')});
$oslo->fails("SELECT multicenter.conflict_override($id, 'remote')", '42P01', qr/does not exist any more/, qr/multicenter.conflicts/, 'a table that is gone');

$id = collide('person', q{UPDATE person SET mail = 'c' WHERE id = 1}, q{UPDATE person SET mail = 'c' WHERE id = 2});
$oslo->fails("SELECT multicenter.conflict_override($id, 'local')", '0A000', qr/unique index or constraint "person_mail_key"/, qr/displaced/, 'a conflict about a unique value');
$oslo->sql('DELETE FROM person');
wait_all_applied(@centers);
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.displaced', 0);
$oslo->sql(q{INSERT INTO person VALUES (3, 'd')});
wait_all_applied(@centers);
$id = collide('person', q{UPDATE person SET mail = 'l' WHERE id = 3}, q{UPDATE person SET mail = 'o' WHERE id = 3});
hold_links(@links);
$lisbon->sql(q{INSERT INTO person VALUES (4, 'e')});
$oslo->sql(q{UPDATE person SET mail = 'e' WHERE id = 3});
$lisbon->sql(q{UPDATE person SET mail = 'e' WHERE id = 4});
release_links(@links);
$oslo->wait_for_sql(q{SELECT string_agg(key::text, ' ') FROM multicenter.displaced}, '{"id": "3"}');
$oslo->fails("SELECT multicenter.conflict_override($id, 'remote')", '55000', qr/is displaced/, qr/displaced/, 'a row that is displaced now');

# The rights of the caller.
$oslo->sql(q{CREATE ROLE lisa; CREATE ROLE judge IN ROLE multicenter_conflicts; CREATE ROLE stranger;
	GRANT SELECT ON item TO lisa; GRANT SELECT, UPDATE ON item, guarded TO judge;
	GRANT SELECT, UPDATE, INSERT, DELETE ON guarded TO lisa});
$id = collide('item', q{UPDATE item SET v = 'lisbon' WHERE id = 6}, q{UPDATE item SET v = 'oslo' WHERE id = 6});
$oslo->fails("SET ROLE stranger; SELECT multicenter.conflict_override($id, 'remote')", 'P0002', qr/there is no conflict/, undef, 'who may not read the table sees no conflict');
$oslo->fails("SET ROLE lisa; SELECT multicenter.conflict_override($id, 'remote')", '42501', qr/permission denied for table item/, undef, 'who may only read does not write');
$oslo->sql("SET ROLE judge; SELECT multicenter.conflict_override($id, 'remote')");
wait_all_applied(@centers);
is($rome->sql('SELECT v FROM item WHERE id = 6'), 'lisbon', 'who may write does');
my $guarded = collide('guarded', q{UPDATE guarded SET v = 'lisbon'}, q{UPDATE guarded SET v = 'oslo'});
my ($of_lisa, $of_otto) = map { $oslo->sql("SELECT conflict_id FROM multicenter.conflicts WHERE relation = 'guarded'::regclass AND key ->> 'id' = '$_'") } 1, 2;
$oslo->sql('CREATE POLICY mine ON guarded USING (owner = current_user); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT multicenter_conflicts TO lisa');
$oslo->fails("SET ROLE lisa; SELECT multicenter.conflict_override($of_otto, 'remote')", '42501', qr/row-level security|duplicate key/, undef, 'row-level security binds the caller');
$oslo->sql("SET ROLE lisa; SELECT multicenter.conflict_override($of_lisa, 'remote')");
wait_all_applied(@centers);
is($rome->sql('SELECT string_agg(v, $$ $$ ORDER BY id) FROM guarded'), 'lisbon oslo', 'and admits his rows');
$oslo->sql('ALTER TABLE guarded DISABLE ROW LEVEL SECURITY');

# An operator that somebody has put in the way is not called.
$oslo->sql(q{CREATE TABLE trap (id varchar PRIMARY KEY, v text); GRANT ALL ON trap TO PUBLIC});
$lisbon->sql(q{CREATE TABLE trap (id varchar PRIMARY KEY, v text)});
$rome->sql(q{CREATE TABLE trap (id varchar PRIMARY KEY, v text)});
$lisbon->sql(q{INSERT INTO trap VALUES ('x', 'old')});
wait_all_applied(@centers);
$id = collide('trap', q{UPDATE trap SET v = 'lisbon'}, q{UPDATE trap SET v = 'oslo'});
$oslo->sql(q{CREATE FUNCTION public.evil(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil runs as %', current_user; END $$;
	CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.evil)});
chosen($id, q{'remote'}, 'SELECT v FROM trap', 'lisbon', 'an operator in the way');
$oslo->sql('DROP OPERATOR public.= (varchar, varchar); DROP FUNCTION public.evil');

# Reviews.
my $reviewed = "SELECT reviewed_at IS NOT NULL FROM multicenter.conflicts WHERE conflict_id = $of_otto";
is($oslo->sql($reviewed), 'f', 'a conflict is not reviewed at first');
$oslo->sql("SET ROLE judge; SELECT multicenter.conflict_review($of_otto)");
is($oslo->sql($reviewed), 't', 'it can be marked');
$oslo->sql("SELECT multicenter.conflict_review($of_otto, false)");
is($oslo->sql($reviewed), 'f', 'and the mark be taken back');
$oslo->fails('SELECT multicenter.conflict_review(4711)', 'P0002', qr/there is no conflict/, qr/conflict_retention/, 'no such conflict to review');
$oslo->fails("SET ROLE stranger; SELECT multicenter.conflict_review($of_otto)", '42501', qr/permission denied/, undef, 'not everybody may mark it');

# An override is an ordinary change: a later write wins over it, and one at
# the same time is a conflict.
hold_links(@links);
$oslo->sql("SELECT multicenter.conflict_override($id, 'local')");
$lisbon->sql(q{UPDATE item SET v = 'later' WHERE id = 6});
release_links(@links);
wait_all_applied(@centers);
is($_->sql('SELECT v FROM item WHERE id = 6'), 'later', "a later write wins: $_->{name}") foreach @centers;
identical(@centers);

done_testing();
