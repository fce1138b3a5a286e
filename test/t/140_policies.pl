# Goal: policies for conflicts are checked when they are set, reach all centers
# and those that join, and every center knows of every version which epoch of
# the policies it is of.
#
# Method: three centers on two servers.  Each kind of mistake; then policies
# are set, at one center, at two at the same moment, under load and around
# restarts; the epochs of all rows that the load has written are compared.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE stock (id int PRIMARY KEY, n int);
	CREATE TABLE parted (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
	CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);
});
my $rome = $lisbon->add_database('rome');
group_join($rome, $lisbon);
wait_ready($lisbon, $oslo, $rome);
my @centers = ($lisbon, $oslo, $rome);

# What a center shows of a policy.
sub policy
{
	my ($center, $relation, $type) = @_;
	$relation = defined $relation ? "= '$relation'::regclass" : 'IS NULL';
	return $center->sql(qq{
		SELECT resolver, source, in_effect FROM multicenter.conflict_policies
		WHERE relation $relation AND conflict_type = '$type'});
}

# What apply would see there.
sub applied_policy
{
	my ($center, $relation, $family) = @_;
	return $center->sql(qq{
		SELECT multicenter.internal_policy_resolver('$relation', multicenter.internal_policy_own_epoch(), '$family')});
}

#
# What cannot be set
#
my @mistakes = (
	[ q{'item', 'no_such', 'skip'}, '22023', qr/invalid value for conflict_type: "no_such"/, qr/"insert_exists", "update_origin_differs"/ ],
	[ q{'item', NULL, 'no_such'}, '22023', qr/invalid value for resolver: "no_such"/, qr/"last_update_wins", "first_update_wins"/ ],
	[ q{'item', NULL, NULL}, '22023', qr/invalid value for resolver/, qr/"last_update_wins"/ ],
	[ q{'item', 'insert_exists', 'skip'}, '55000', qr/"skip" would let centers differ/, qr/allow_divergence/ ],
	[ q{'item', NULL, 'insert_or_skip'}, '55000', qr/"insert_or_skip" would let centers differ/, qr/allow_divergence/ ],
	[ q{'item', 'update_missing', 'skip'}, '55000', qr/"skip" would let centers differ/, qr/allow_divergence/ ],
	(map { [ qq{'item', NULL, '$_'}, '55000', qr/"$_" would let centers differ/, qr/allow_divergence/ ] }
		qw(apply_remote keep_local quarantine error)),
	[ q{'item', 'update_exists', 'first_update_wins'}, '0A000', qr/not supported for rows that clash/, qr/"last_update_wins"/ ],
	[ q{'item', 'apply_error', 'last_update_wins'}, '0A000', qr/not supported for changes that cannot be applied/, qr/"quarantine"/ ],
	[ q{'item', NULL, 'first_update_wins', options => '{"site": 1}'}, '22023', qr/unknown option "site"/, qr/"sites", "allow_divergence"/ ],
	[ q{'item', NULL, 'first_update_wins', options => '[]'}, '22023', qr/must be a JSON object/, qr/sites/ ],
	[ q{'item', NULL, 'first_update_wins', options => '{"allow_divergence": 1}'}, '22023', qr/"allow_divergence"/, qr/true, false/ ],
	[ q{'item', NULL, 'site_priority'}, '22023', qr/option "sites" belongs to/, qr/sites/ ],
	[ q{'item', NULL, 'first_update_wins', options => '{"sites": ["lisbon"]}'}, '22023', qr/option "sites" belongs to/, qr/sites/ ],
	[ q{'item', NULL, 'site_priority', options => '{"sites": []}'}, '22023', qr/invalid value for option "sites"/, qr/array of names/ ],
	[ q{'item', NULL, 'site_priority', options => '{"sites": ["lisbon", "paris"]}'}, '42704', qr/has site "paris"/, qr/"lisbon", "oslo", "rome"/ ],
	[ q{'item', NULL, 'handler'}, '22023', qr/a handler belongs to resolver "handler"/, qr/for example/i ],
	[ q{'item', NULL, 'skip', 'pg_catalog.now()'}, '55000', qr/would let centers differ/, qr/insert_or_skip|allow/ ],
	[ q{'scratch', NULL, 'first_update_wins'}, '55000', qr/no replicated table/, qr/multicenter.tables/ ]);
foreach my $mistake (@mistakes)
{
	my ($arguments, $state, $message, $hint) = @$mistake;
	$lisbon->fails("SELECT multicenter.conflict_policy_set($arguments)", $state, $message, $hint, "refused: $arguments");
}
$lisbon->fails(q{SELECT multicenter.conflict_policy_reset('item', 'no_such')}, '22023', qr/conflict_type/, qr/"insert_exists"/, 'reset of an unknown type');
is($lisbon->sql('SELECT count(*) FROM multicenter.conflict_policy'), 0, 'nothing was written');
is(policy($oslo, 'item', 'insert_exists'), 'last_update_wins|builtin|t', 'the last update wins where nothing is set');
is(policy($oslo, 'item', 'apply_error'), 'quarantine|builtin|t', 'what cannot be applied goes to quarantine');
is(applied_policy($oslo, 'item', 'row'), '', 'apply knows that there is nothing special');

# Forced, it can; and it counts.
my $force = q{options => '{"allow_divergence": true}'};
$lisbon->sql(qq{SELECT multicenter.conflict_policy_set('stock', 'update_missing', 'skip', $force)});
wait_policies(@centers);
is(policy($_, 'stock', 'delete_missing'), 'skip|table|t', 'forced, and for the whole family, at ' . $_->name) foreach @centers;
is(policy($oslo, 'stock', 'insert_exists'), 'last_update_wins|builtin|t', 'but for no other');

#
# Who may
#
$lisbon->sql(q{CREATE ROLE policy_owner; CREATE ROLE policy_other; GRANT USAGE ON SCHEMA multicenter TO policy_owner, policy_other;
	GRANT EXECUTE ON FUNCTION multicenter.conflict_policy_set TO policy_owner, policy_other});
$oslo->sql(q{CREATE ROLE policy_owner});
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE public.stock OWNER TO policy_owner')});
$lisbon->fails(q{SET ROLE policy_other; SELECT multicenter.conflict_policy_set('stock', NULL, 'first_update_wins')},
	'42501', qr/permission denied/, qr/owner/, 'not for others');
$lisbon->fails(q{SET ROLE policy_owner; SELECT multicenter.conflict_policy_set(NULL, NULL, 'first_update_wins')},
	'42501', qr/permission denied/, qr/multicenter_admin/, 'the default is not for owners');
$lisbon->fails(q{SET ROLE policy_other; SELECT multicenter.internal_policy_write('stock', '{row}', 'error', NULL, NULL, '{}', 'x')},
	'42501', qr/permission denied/, qr/^$|./, 'nor is there a way around');
$lisbon->sql(q{SET ROLE policy_owner; SELECT multicenter.conflict_policy_set('stock', 'insert_exists', 'first_update_wins')});
wait_policies(@centers);
is($rome->sql(q{SELECT set_by FROM multicenter.conflict_policies WHERE relation = 'stock'::regclass AND conflict_type = 'insert_exists'}),
	'policy_owner', 'the owner may');

#
# Default, table, partition, reset
#
is(policy($oslo, 'parted_1', 'insert_exists'), 'last_update_wins|builtin|t', 'nothing is set for the partition');
$oslo->sql(q{SELECT multicenter.conflict_policy_set(NULL, 'delete_origin_differs', 'insert_or_skip')});
$rome->sql(q{SELECT multicenter.conflict_policy_set('parted', NULL, 'site_priority', options => '{"sites": ["oslo", "lisbon"]}')});
wait_policies(@centers);
foreach my $center (@centers)
{
	my $name = $center->name;
	is(policy($center, 'item', 'update_deleted'), 'insert_or_skip|default|t', "the default holds at $name");
	is(policy($center, undef, 'update_deleted'), 'insert_or_skip|default|t', "and is shown at $name");
	is(policy($center, 'parted_1', 'insert_exists'), 'site_priority|table|t', "a partition has the policy of its table at $name");
	is(applied_policy($center, 'parted_1', 'row'), 'site_priority', "and apply sees it so at $name");
	is(applied_policy($center, 'parted_1', 'delete'), 'site_priority', "the table comes before the default at $name");
	is(applied_policy($center, 'item', 'delete'), 'insert_or_skip', "apply sees the default at $name");
}
is($rome->sql(q{SELECT DISTINCT site_ranks FROM multicenter.conflict_policy WHERE table_name = 'parted'}),
	'{' . (1024 + $oslo->id) . ',' . (2048 + $lisbon->id) . '}', 'sites are stored as ranks of centers');
$lisbon->sql(q{SELECT multicenter.conflict_policy_reset('parted', 'insert_exists')});
wait_policies(@centers);
is(policy($oslo, 'parted_1', 'update_origin_differs'), 'last_update_wins|builtin|t', 'reset for one family');
is(policy($oslo, 'parted_1', 'update_deleted'), 'site_priority|table|t', 'the other stays');
$lisbon->sql(q{SELECT multicenter.conflict_policy_reset('parted'); SELECT multicenter.conflict_policy_reset(NULL)});
wait_policies(@centers);
is(policy($oslo, 'parted_1', 'update_deleted'), 'last_update_wins|builtin|t', 'reset for all');

#
# Whole old rows
#
$_->sql('ALTER TABLE item REPLICA IDENTITY DEFAULT') foreach @centers;
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('item', NULL, 'first_update_wins')});
wait_policies(@centers);
is($_->sql(q{SELECT relreplident FROM pg_class WHERE relname = 'item'}), 'f', 'FULL was set at ' . $_->name) foreach @centers;
is($_->sql(q{SELECT relreplident FROM pg_class WHERE relname = 'stock'}), 'd', 'not where no value is out of line at ' . $_->name) foreach @centers;
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflict_policies WHERE problem IS NOT NULL}), 0, 'no problem');
$oslo->sql('ALTER TABLE item REPLICA IDENTITY DEFAULT');
is($oslo->sql(q{SELECT relreplident FROM pg_class WHERE relname = 'item'}), 'f', 'it cannot be taken away');
$oslo->sql(q{ALTER EVENT TRIGGER multicenter_complete_policies DISABLE; ALTER TABLE item REPLICA IDENTITY DEFAULT;
	ALTER EVENT TRIGGER multicenter_complete_policies ENABLE ALWAYS});
is($oslo->sql(q{SELECT DISTINCT relation, problem ~ 'FULL' FROM multicenter.conflict_policies WHERE problem IS NOT NULL}), 'item|t', 'it is told where it is missing');
$oslo->sql('ALTER TABLE item REPLICA IDENTITY FULL');

#
# Two centers at the same moment
#
hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ], [ $lisbon, $rome ], [ $oslo, $rome ]);
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('item', 'insert_exists', 'first_update_wins')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('stock', NULL, 'first_update_wins')});
$oslo->sql(q{SELECT multicenter.conflict_policy_set('item', 'insert_exists', 'site_priority', options => '{"sites": ["rome"]}')});
$oslo->sql(q{SELECT multicenter.conflict_policy_set('parted', NULL, 'site_priority', options => '{"sites": ["rome"]}')});
$_->wait_for_sql(q{SELECT bool_and(in_effect) FROM multicenter.conflict_policies}, 't') foreach ($lisbon, $oslo);
release_links([ $oslo, $rome ]);
wait_applied($oslo, $rome);
release_links([ $lisbon, $oslo ], [ $oslo, $lisbon ], [ $lisbon, $rome ]);
wait_policies(@centers);
foreach my $center (@centers)
{
	is($center->sql(q{
			SELECT string_agg(format('%s %s', relation, resolver), ', ' ORDER BY relation::text) FROM multicenter.conflict_policies
			WHERE relation IN ('item'::regclass, 'stock'::regclass, 'parted'::regclass) AND conflict_type = 'insert_exists'}),
		'item site_priority, parted site_priority, stock first_update_wins',
		'what both set holds at ' . $center->name);
	is(applied_policy($center, 'stock', 'row'), 'first_update_wins', 'for apply, too');
}
identical(@centers, 'multicenter.conflict_policy');
identical(@centers, 'multicenter.policy_epoch');

#
# A center whose policy only one other has heard of
#
hold_links([ $lisbon, $rome ]);
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('stock', 'delete_missing', 'skip', options => '{"allow_divergence": true}')});
my $newest = $lisbon->sql('SELECT multicenter.internal_policy_newest()');
$oslo->wait_for_sql('SELECT multicenter.internal_policy_own_epoch()', $newest);
$oslo->sql(q{INSERT INTO stock VALUES (1, 1)});
$rome->wait_for_sql(q{SELECT stall_reason LIKE 'causes: %' FROM multicenter.lag WHERE direction = 'in' AND peer = 'oslo'});
is($rome->sql('SELECT count(*) FROM stock WHERE id = 1'), 0, 'what was written with it waits for its causes');
release_links([ $lisbon, $rome ]);
wait_applied($oslo, $rome);
is($rome->sql(q{SELECT multicenter.version_epoch('oslo', pg_xact_commit_timestamp(xmin)) FROM stock WHERE id = 1}), $newest,
	'a third one learns the epoch with the first version of it');
$rome->wait_for_sql('SELECT multicenter.internal_policy_own_epoch()', $newest);
is(applied_policy($rome, 'stock', 'missing'), 'skip', 'and its policies');
wait_policies(@centers);
identical(@centers, 'multicenter.conflict_policy');

#
# Epochs of versions: under load, with policies that change
#
$lisbon->sql(q{SELECT multicenter.replicate_ddl(
	'CREATE SEQUENCE public.mark_n; CREATE TABLE public.mark (center text, n bigint, PRIMARY KEY (center, n))')});
wait_all_applied(@centers);
my %load = map {
	my $name = $_->name;
	$name => start_load($_, "INSERT INTO mark VALUES ('$name', nextval('mark_n'));\n", clients => 3, seconds => 8)
} @centers;
foreach my $round (1 .. 12)
{
	my $center = $centers[ $round % 3 ];
	my $resolver = $round % 2 ? 'first_update_wins' : 'last_update_wins';
	$center->sql("SELECT multicenter.conflict_policy_set('stock', NULL, '$resolver')");
	$center->wait_for_sql(q{SELECT bool_and(in_effect) FROM multicenter.conflict_policies}, 't');
	$oslo->restart if $round == 5;
	$oslo->kill9, $oslo->start if $round == 9;
}
foreach my $center (@centers)
{
	# Those of the server that was restarted were thrown out.
	eval { finish_load($load{ $center->name }) };
}
wait_policies(@centers);
identical(@centers, 'mark');
identical(@centers, 'multicenter.policy_epoch');
my $epochs = q{
	SELECT string_agg(e || ':' || n, ' ' ORDER BY e)
	FROM (SELECT m.center || ' ' || multicenter.version_epoch(m.center::name, pg_xact_commit_timestamp(m.xmin)) AS e, count(*) AS n
		  FROM mark m GROUP BY 1) q};
my $expected = $lisbon->sql($epochs);
note($expected);
cmp_ok(scalar(split(/ /, $expected)), '>', 24, 'the rows are of many epochs');
is($_->sql($epochs), $expected, 'the epochs of all rows at ' . $_->name) foreach ($oslo, $rome);

# The row that takes over an epoch was applied before every version of it.
foreach my $center (@centers)
{
	my $name = $center->name;
	is($_->sql(qq{
			SELECT count(*) FROM mark m, multicenter.policy_epoch e
			WHERE m.center = '$name' AND e.center_id = } . $center->id . q{
				AND e.ts < pg_xact_commit_timestamp(m.xmin) AND age(e.xmin) < age(m.xmin)}), 0, "$name took over before it wrote, as " . $_->name . ' sees it')
	  foreach grep { $_ != $center } @centers;
}

# What a restart does not change.
my $own = $oslo->sql('SELECT multicenter.internal_policy_own_epoch()');
$oslo->restart;
is($oslo->sql('SELECT multicenter.internal_policy_own_epoch()'), $own, 'a restart keeps the epoch');
is($oslo->sql($epochs), $expected, 'and those of all rows');
$oslo->fails(q{SELECT multicenter.version_epoch('paris', now())}, '42704', qr/no center "paris"/, qr/multicenter.centers/, 'epoch of an unknown center');

#
# Handlers
#
$lisbon->sql(q{SELECT multicenter.replicate_ddl($ddl$
	CREATE FUNCTION public."Sum (n)"(a public.stock, b public.stock, info multicenter.conflict_info, OUT result_row public.stock, OUT action text)
		LANGUAGE sql IMMUTABLE AS 'SELECT row((a).id, (a).n + (b).n)::public.stock, ''row''';
	CREATE FUNCTION public.greatest_n(a public.stock, b public.stock, info multicenter.conflict_info, OUT result_row public.stock, OUT action text)
		LANGUAGE sql IMMUTABLE AS 'SELECT row((a).id, greatest((a).n, (b).n))::public.stock, ''row''';
	CREATE FUNCTION public.volatile_n(a public.stock, b public.stock, info multicenter.conflict_info, OUT result_row public.stock, OUT action text)
		LANGUAGE sql VOLATILE AS 'SELECT a, ''row''';
	CREATE FUNCTION public.first_of_two(a public.stock, b public.stock, info multicenter.conflict_info, OUT result_row public.stock, OUT action text)
		LANGUAGE sql IMMUTABLE AS 'SELECT a, ''row''';
$ddl$)});
$lisbon->sql('INSERT INTO stock SELECT i, i FROM generate_series(2, 9) i');
wait_all_applied(@centers);
my $arguments = 'public.stock, public.stock, multicenter.conflict_info';
my $error = $lisbon->error_of(qq{SELECT multicenter.conflict_policy_set('stock', NULL, 'handler', 'public.volatile_n($arguments)')});
ok($error, 'a volatile handler is refused');
my (undef, undef, $warnings) = $lisbon->psql(qq{SELECT multicenter.conflict_policy_set('stock', NULL, 'handler', 'public.first_of_two($arguments)')});
like($warnings, qr/WARNING:  conflict handler .*first_of_two.* there are doubts/, 'of one that is not symmetric people are warned');
(undef, undef, $warnings) = $lisbon->psql(qq{SELECT multicenter.conflict_policy_set('stock', NULL, 'handler', 'public."Sum (n)"($arguments)')});
is($warnings, '', 'of one that is they are not');
wait_policies(@centers);
is($rome->sql(q{SELECT handler FROM multicenter.conflict_policies WHERE relation = 'stock'::regclass AND conflict_type = 'insert_exists'}),
	'public."Sum (n)"(public.stock,public.stock,multicenter.conflict_info)', 'the handler is shown by its signature');
is($_->sql(q{SELECT multicenter.internal_policy_handler_of('stock', multicenter.internal_policy_own_epoch(), 'row')}),
	'"Sum (n)"(stock,stock,multicenter.conflict_info)', 'and found at ' . $_->name) foreach @centers;

#
# What other policies would have made of past conflicts
#
$lisbon->sql(q{SELECT multicenter.conflict_policy_reset('stock')});
wait_policies(@centers);
hold_links(links_between($lisbon, $oslo));
$lisbon->sql('UPDATE stock SET n = 100 WHERE id = 2; UPDATE stock SET n = 100 WHERE id = 3; DELETE FROM stock WHERE id = 4');
$oslo->sql('UPDATE stock SET n = 200 WHERE id = 2; DELETE FROM stock WHERE id = 3; UPDATE stock SET n = 200 WHERE id = 4');
release_links(links_between($lisbon, $oslo));
wait_all_applied(@centers);
sub would_be
{
	my ($type, $resolver, $more) = @_;
	return $lisbon->sql(qq{
		SELECT string_agg(format('%s %s>%s %s', c.key ->> 'id', t.was, t.would_be, t.row_differs), ', ' ORDER BY c.key ->> 'id')
		FROM multicenter.conflict_policy_test('stock', $type, '$resolver', now() - interval '1 hour' $more) t
			JOIN multicenter.conflicts c USING (conflict_id) WHERE c.relation = 'stock'::regclass AND c.key ->> 'id' IN ('2', '3', '4')});
}
is(would_be('NULL', 'last_update_wins', ''), '2 apply_remote>apply_remote f, 3 apply_remote>apply_remote f, 4 apply_remote>apply_remote f', 'test of what is: last_update_wins');
is(would_be('NULL', 'first_update_wins', ''), '2 apply_remote>keep_local t, 3 apply_remote>keep_local t, 4 apply_remote>keep_local t', 'test of first_update_wins');
is(would_be(q{'insert_exists'}, 'first_update_wins', ''), '2 apply_remote>keep_local t', 'test of one family');
is(would_be(q{'update_deleted'}, 'insert_or_skip', ''), '3 apply_remote>keep_local t, 4 apply_remote>apply_remote f', 'test of insert_or_skip');
is(would_be(q{'update_deleted'}, 'skip', ''), '3 apply_remote>apply_remote f, 4 apply_remote>keep_local t', 'test of skip');
is(would_be(q{'update_deleted'}, 'quarantine', ''), '3 apply_remote>quarantine , 4 apply_remote>quarantine ', 'test of quarantine');
is(would_be(q{'insert_exists'}, 'site_priority', q{, options => '{"sites": ["lisbon"]}'}), '2 apply_remote>keep_local t', 'test of site_priority');
is(would_be(q{'insert_exists'}, 'site_priority', q{, options => '{"sites": ["rome", "oslo"]}'}), '2 apply_remote>apply_remote f', 'and the other way round');
is(would_be(q{'insert_exists'}, 'handler', qq{, handler => 'public."Sum (n)"($arguments)'}), '2 apply_remote>row t', 'test of a handler');
is(would_be(q{'insert_exists'}, 'handler', qq{, handler => 'public.greatest_n($arguments)'}), '2 apply_remote>row f', 'test of a handler that gives the same');
is($lisbon->sql(q{SELECT count(*) FROM multicenter.conflict_policy_test('stock', NULL, 'skip', now())}), 0, 'nothing before the given time');
$lisbon->fails(q{SELECT multicenter.conflict_policy_test('stock', NULL, 'skip_it')}, '22023', qr/resolver/, qr/"skip"/, 'test of an unknown resolver');
is($lisbon->sql('SELECT n FROM stock WHERE id = 2'), 200, 'a test changes nothing');

# Rows of arrays, rows and JSON, as the history has them.
$lisbon->sql(q{SELECT multicenter.replicate_ddl($ddl$
	CREATE TYPE public.pair AS (a int, b text);
	CREATE TABLE public.listed (id int PRIMARY KEY, tags text[], pair public.pair, pairs public.pair[], doc jsonb, at timestamptz, bytes bytea,
		twice int GENERATED ALWAYS AS (id * 2) STORED);
	CREATE FUNCTION public.all_tags(a public.listed, b public.listed, info multicenter.conflict_info, OUT result_row public.listed, OUT action text)
		LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
			result_row := b;
			result_row.tags := ARRAY(SELECT DISTINCT t COLLATE "C" FROM unnest(a.tags || b.tags) AS t ORDER BY 1);
			action := 'row';
		END $$;
$ddl$)});
$lisbon->sql(q{INSERT INTO listed VALUES (1, '{}', '(1,"x, y")', '{"(1,a)",NULL}', '{"k": [1, null]}', '2026-03-29 01:30:00+02', '\\x00ff')});
wait_all_applied(@centers);
hold_links(links_between($lisbon, $oslo));
$lisbon->sql(q{UPDATE listed SET tags = '{a,"b c",NULL}'});
$oslo->sql(q{UPDATE listed SET tags = '{"b c",d}'});
release_links(links_between($lisbon, $oslo));
wait_all_applied(@centers);
sub tried
{
	my ($handler) = @_;
	return $lisbon->sql(qq{
		SELECT was, would_be, row_differs FROM multicenter.conflict_policy_test('listed', NULL, 'handler', now() - interval '1 hour',
			'public.$handler(public.listed, public.listed, multicenter.conflict_info)')});
}
is(tried('all_tags'), 'apply_remote|row|t', 'test of a handler with arrays');
is($lisbon->sql(q{SELECT c.result_row FROM multicenter.conflict_history h, multicenter.internal_handler_call('listed',
		'public.all_tags(public.listed, public.listed, multicenter.conflict_info)'::regprocedure, h.conflict_type, 'update', h.local_row::jsonb, h.remote_row::jsonb) c
		WHERE h.relation = 'listed'::regclass AND c.error IS NULL}),
	$lisbon->sql(q{SELECT jsonb_build_object('id', '1', 'tags', '{a,"b c",d,NULL}', 'pair', '(1,"x, y")', 'pairs', '{"(1,a)",NULL}',
		'doc', '{"k": [1, null]}', 'at', '2026-03-28 23:30:00+00', 'bytes', '\\x00ff')}), 'and what it answers');

#
# A center that joins
#
my $riga = $oslo->add_database('riga');
group_join($riga, $oslo);
wait_ready(@centers, $riga);
push @centers, $riga;
is($riga->sql('SELECT multicenter.internal_policy_own_epoch() = multicenter.internal_policy_newest()'), 't', 'a new center has taken over');
identical(@centers, 'multicenter.conflict_policy');
wait_policies(@centers);
identical(@centers, 'multicenter.policy_epoch');
is(applied_policy($riga, 'parted_1', 'row'), 'site_priority', 'a new center has the policies');
is($riga->sql(q{SELECT multicenter.version_epoch('riga', now()) = multicenter.internal_policy_newest()}), 't', 'what it writes is of the newest epoch');

#
# Dropped, renamed, in quarantine of nobody
#
$lisbon->sql(q{SELECT multicenter.replicate_ddl('DROP TABLE public.stock CASCADE')});
wait_all_applied(@centers);
is($oslo->sql(q{SELECT count(*) FROM multicenter.conflict_policies WHERE relation::text ~ 'stock'}), 0, 'nothing is shown of a table that was dropped');
$lisbon->sql(q{SELECT multicenter.replicate_ddl('CREATE TABLE public.stock (id int PRIMARY KEY)')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('stock', NULL, 'first_update_wins')});
wait_policies(@centers);
is(applied_policy($oslo, 'stock', 'row'), 'first_update_wins', 'a new table of the name has a policy');
$lisbon->sql(q{SELECT multicenter.replicate_ddl('ALTER TABLE public.stock RENAME TO goods')});
wait_all_applied(@centers);
is(applied_policy($oslo, 'goods', 'row'), 'first_update_wins', 'a policy stays with a table that is renamed');

#
# Leaving
#
$lisbon->sql(q{SELECT multicenter.center_part('riga')});
is($riga->sql('SELECT (SELECT count(*) FROM multicenter.conflict_policy) + (SELECT count(*) FROM multicenter.policy_epoch)'), 0,
	'nothing is left at a center that has parted');
is(scalar(grep { $_->sql(q{SELECT count(*) FROM multicenter.policy_epoch WHERE center_id = } . 4) > 0 } @centers[ 0 .. 2 ]), 3,
	'the others remember when it took over what');

done_testing();
