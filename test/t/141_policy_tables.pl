# Goal: a policy holds for tables and partitions that are made after it was set,
# and stays with a table that gets another name.
#
# Method: two databases of one server, a default policy, tables made in all the
# ways there are; conflicts on them.  Then tables are renamed in all the ways.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n", setup => q{
	CREATE TABLE parent (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE moved (id int PRIMARY KEY, v text);
	CREATE TABLE other (id int PRIMARY KEY, v text);
	CREATE TABLE merged (id int PRIMARY KEY, v text);
	CREATE SCHEMA far;
});
my ($lisbon, $oslo) = @centers;
my @links = links_between(@centers);

sub ddl
{
	my ($command) = @_;
	$lisbon->sql(qq{SELECT multicenter.replicate_ddl(\$ddl\$$command\$ddl\$)});
	wait_all_applied(@centers);
	return;
}

sub policy
{
	my ($center, $relation) = @_;
	return $center->sql(qq{
		SELECT resolver || ' ' || source || ' ' || multicenter.internal_policy_resolver('$relation', multicenter.internal_policy_own_epoch(), 'row')
		FROM multicenter.conflict_policies WHERE relation = '$relation'::regclass AND conflict_type = 'insert_exists'});
}

# What is wrong with a table at both centers.
sub problems
{
	my ($relation) = @_;
	return join ' ', map { $_->sql(qq{SELECT coalesce(string_agg(DISTINCT problem, ', '), 'none') FROM multicenter.conflict_policies WHERE relation = '$relation'::regclass}) } @centers;
}

# Nothing is set, so nothing is missing.
$_->sql('CREATE TABLE unset (id int PRIMARY KEY, v text)') foreach @centers;
is(problems('unset'), 'none none', 'a table without a policy has no problem');

#
# Tables that are made later
#
$lisbon->sql(q{SELECT multicenter.conflict_policy_set(NULL, NULL, 'first_update_wins')});
wait_policies(@centers);
ddl('CREATE TABLE public.later (id int PRIMARY KEY, v text)');
is(problems('later'), 'none none', 'a replicated CREATE TABLE');
is($_->sql(q{SELECT relreplident FROM pg_class WHERE relname = 'later'}), 'f', 'whole rows at ' . $_->name) foreach @centers;
$_->sql('CREATE TABLE by_hand (id int PRIMARY KEY, v text)') foreach @centers;
is(problems('by_hand'), 'none none', 'one that is made on each center');
$lisbon->sql('CREATE ROLE maker; GRANT CREATE ON SCHEMA public TO maker');
$oslo->sql('GRANT CREATE ON SCHEMA public TO maker');
$_->sql('SET ROLE maker; CREATE TABLE of_maker (id int PRIMARY KEY, v text)') foreach @centers;
is(problems('of_maker'), 'none none', 'one of another role');
ddl('CREATE SCHEMA made CREATE TABLE t (id int PRIMARY KEY, v text)');
is(problems('made.t'), 'none none', 'one within CREATE SCHEMA');
ddl('CREATE TABLE public.keyless (id int NOT NULL, v text)');
ddl('ALTER TABLE public.keyless ADD PRIMARY KEY (id)');
is(problems('keyless'), 'none none', 'one that gets its key later');
ddl('CREATE TABLE public.parent_1 PARTITION OF public.parent FOR VALUES FROM (0) TO (10)');
ddl('CREATE TABLE public.parent_2 (id int PRIMARY KEY, v text)');
ddl('ALTER TABLE public.parent ATTACH PARTITION public.parent_2 FOR VALUES FROM (10) TO (20)');
is(problems('parent_1'), 'none none', 'a partition');
is(problems('parent_2'), 'none none', 'a table that becomes one');
$lisbon->sql('CREATE TEMP TABLE not_replicated (id int PRIMARY KEY)');
is($oslo->sql(q{DROP TRIGGER multicenter_seen ON later; ALTER TABLE later REPLICA IDENTITY DEFAULT;
	SELECT count(*) FROM multicenter.conflict_policies WHERE relation = 'later'::regclass AND problem ~ 'multicenter_seen'}),
	0, 'what is dropped comes back with the next change of the table');
$oslo->sql('DROP TRIGGER multicenter_seen ON later');
like(problems('later'), qr/^none needs trigger multicenter_seen/, 'or is shown until then');
ddl('ALTER TABLE public.later ADD COLUMN note text');
is(problems('later'), 'none none', 'and is repaired by that');

my @late = qw(later by_hand of_maker made.t keyless parent);
$lisbon->sql("INSERT INTO $_ (id, v) VALUES (1, 'base')") foreach @late;
wait_all_applied(@centers);
hold_links(@links);
$lisbon->sql("UPDATE $_ SET v = 'first' WHERE id = 1") foreach @late;
$oslo->sql("UPDATE $_ SET v = 'second' WHERE id = 1") foreach @late;
release_links(@links);
wait_all_applied(@centers);
is($oslo->sql("SELECT v FROM $_"), 'first', "the policy decides in $_") foreach @late;
identical(@centers, @late);

#
# Tables that get another name
#
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('moved', NULL, 'last_update_wins')});
wait_policies(@centers);
$lisbon->sql(q{INSERT INTO moved VALUES (1, 'base'), (2, 'base'); INSERT INTO merged VALUES (1, 'base'), (2, 'base')});
ddl(q{CREATE FUNCTION public.merge_both(a public.merged, b public.merged, info multicenter.conflict_info, OUT result_row public.merged, OUT action text)
	LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		result_row := a;
		result_row.v := least(a.v COLLATE "C", b.v) || greatest(a.v COLLATE "C", b.v);
		action := 'row';
	END $$});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('merged', NULL, 'handler', 'merge_both(merged, merged, multicenter.conflict_info)')});
wait_policies(@centers);

my $old_epoch = $lisbon->sql('SELECT multicenter.internal_policy_own_epoch()');
ddl('ALTER TABLE public.moved RENAME TO gone_far; ALTER TABLE public.gone_far SET SCHEMA far; ALTER TABLE public.merged RENAME TO mixed');
wait_policies(@centers);
is(policy($_, 'far.gone_far'), 'last_update_wins table last_update_wins', 'the policy went with the table at ' . $_->name) foreach @centers;
is(policy($_, 'mixed'), 'handler table handler', 'that with a handler, too, at ' . $_->name) foreach @centers;
is($_->sql(qq{SELECT multicenter.internal_policy_resolver('far.gone_far', $old_epoch, 'row')}), 'last_update_wins',
	'writes from before are decided by it at ' . $_->name) foreach @centers;
is($_->sql(qq{SELECT multicenter.internal_policy_handler_of('mixed', $old_epoch, 'row')}), 'merge_both(mixed,mixed,multicenter.conflict_info)',
	'and by the handler at ' . $_->name) foreach @centers;
hold_links(@links);
$lisbon->sql(q{UPDATE mixed SET v = 'a' WHERE id = 2});
$oslo->sql(q{UPDATE mixed SET v = 'b' WHERE id = 2});
release_links(@links);
wait_all_applied(@centers);
is($_->sql(q{SELECT v FROM mixed WHERE id = 2}), 'ab', 'and writes from after at ' . $_->name) foreach @centers;

ddl('ALTER SCHEMA far RENAME TO farther');
wait_policies(@centers);
is(policy($_, 'farther.gone_far'), 'last_update_wins table last_update_wins', 'a schema is renamed at ' . $_->name) foreach @centers;
ddl('CREATE TABLE public.moved (id int PRIMARY KEY, v text)');
is(policy($_, 'moved'), 'first_update_wins default first_update_wins', 'a new table of the old name has the default at ' . $_->name) foreach @centers;

# Two tables change their names.
ddl('ALTER TABLE farther.gone_far RENAME TO between; ALTER TABLE public.other SET SCHEMA farther; ALTER TABLE farther.other RENAME TO gone_far');
wait_policies(@centers);
is(policy($_, 'farther.between'), 'last_update_wins table last_update_wins', 'it goes on with the table at ' . $_->name) foreach @centers;
is(policy($_, 'farther.gone_far'), 'first_update_wins default first_update_wins', 'and the other has none at ' . $_->name) foreach @centers;

# What is dropped leaves nothing behind; what is renamed by hand, is shown.
ddl('DROP TABLE farther.between');
wait_policies(@centers);
is($oslo->sql(q{SELECT count(*) FROM multicenter.internal_policy_at(multicenter.internal_policy_newest()) WHERE table_name = 'between' AND resolver IS NOT NULL}), 0,
	'nothing is set for a table that was dropped');
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflict_policies WHERE problem IS NOT NULL}), 0, 'no problem');
$_->sql('ALTER TABLE mixed RENAME TO lost') foreach @centers;
is($oslo->sql(q{SELECT DISTINCT source, resolver, problem FROM multicenter.conflict_policies WHERE problem IS NOT NULL}),
	'table|handler|is for table public.mixed, which is not here', 'a policy whose table is not there');

#
# Where columns are merged no policy counts, but it does again when that ends
#
ddl('CREATE TABLE public.merged (id int PRIMARY KEY, n int NOT NULL, v text) PARTITION BY RANGE (id); CREATE TABLE public.merged_1 PARTITION OF public.merged FOR VALUES FROM (0) TO (100)');
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('merged', NULL, 'first_update_wins')});
wait_policies(@centers);
is(policy($_, 'merged_1'), 'first_update_wins table first_update_wins', "the policy of a partition at $_->{name}") foreach @centers;
$lisbon->sql(q{SELECT multicenter.column_policy_set('merged', 'n', 'delta')});
wait_all_applied(@centers);
ddl('CREATE TABLE public.merged_2 PARTITION OF public.merged FOR VALUES FROM (100) TO (200)');
foreach my $partition ('merged_1', 'merged_2')
{
	is(policy($_, $partition), 'column_merge columns first_update_wins', "$partition at $_->{name} while columns are merged") foreach @centers;
	is(problems($partition), 'none none', 'without a problem');
}
$lisbon->sql(q{SELECT multicenter.column_policy_reset('merged')});
wait_all_applied(@centers);
foreach my $partition ('merged_1', 'merged_2')
{
	is(policy($_, $partition), 'first_update_wins table first_update_wins', "$partition at $_->{name} after that") foreach @centers;
	is(problems($partition), 'none none', 'and nothing is missing');
}

identical(@centers, 'multicenter.conflict_policy');

done_testing();
