# Goal: where columns are merged, all centers show the same in the end, in
# whatever order changes arrive: changes of different columns are all kept, and
# what several centers do to one column is merged as its policy says.
#
# Method: three databases of one server.  lisbon, oslo and riga change the same
# rows at the same time, each row in another way; then the six links are
# released in several orders.  What each row must show is written down as a
# function of the order of the three writers' times.  A table with partitions
# goes through the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n", setup => q{
	CREATE TABLE account (id int PRIMARY KEY, owner text, note text, balance numeric(12, 2) NOT NULL DEFAULT 100, stock int NOT NULL DEFAULT 10,
		low int DEFAULT 50, high timestamptz DEFAULT '2020-01-01', tags text[] DEFAULT '{old}', doc jsonb DEFAULT '{"a": 1, "b": 1, "c": 1}', score int DEFAULT 1);
	CREATE TABLE parted (LIKE account INCLUDING ALL) PARTITION BY RANGE (id);
	CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (1000);
	CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (1000) TO (MAXVALUE);
	CREATE FUNCTION product(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * $2';
});
my ($lisbon, $oslo, $riga) = @centers;
my @links = links_between(@centers);
my @tables = qw(account parted);

# ---- policies ----

sub error { my ($center, $sql) = @_; return ($center->psql($sql, on_error_die => 0))[2]; }

my %wrong = (
	q{'account', 'owner', 'sum'} => qr/invalid value for merge: "sum".*Allowed values are "last_update_wins"/s,
	q{'account', 'nobody', 'delta'} => qr/column "nobody" of relation public.account does not exist/,
	q{'account', 'id', 'delta'} => qr/column "id" of relation public.account cannot be merged/,
	q{'account', 'low', 'delta'} => qr/cannot be added up.*NOT NULL/s,
	q{'account', 'doc', 'set_union'} => qr/is no array of an ordered type/,
	q{'account', 'tags', 'jsonb_merge'} => qr/is not of type jsonb/,
	q{'account', 'score', 'handler'} => qr/a handler belongs to merge "handler"/,
	q{'account', 'score', 'handler', 'pg_catalog.int8mul(int8, int8)'} => qr/It must be a function \(integer, integer\) returning integer/,
	q{'pg_class', 'relname', 'last_update_wins'} => qr/relation pg_class is no replicated table/,
);
like(error($lisbon, "SELECT multicenter.column_policy_set($_)"), $wrong{$_}, "column_policy_set($_) is refused") foreach sort keys %wrong;

my %merge = (owner => 'last_update_wins', balance => 'delta', stock => 'delta', low => 'min', high => 'max', tags => 'set_union', doc => 'jsonb_merge');
foreach my $table (@tables)
{
	$lisbon->sql("SELECT multicenter.column_policy_set('$table', '$_', '$merge{$_}')") foreach sort keys %merge;
	$oslo->sql("SELECT multicenter.column_policy_set('$table', 'score', 'handler', 'product(int, int)')");
}
wait_server_applied(@centers);
foreach my $center (@centers)
{
	is($center->sql('SELECT count(*), count(problem) FROM multicenter.column_policies'), '16|0', "$center->{name} has all policies");
	is($center->sql(q{SELECT relreplident FROM pg_class WHERE relname IN ('account', 'parted_low', 'parted_high')}), "f\nf\nf", 'and whole old rows');
	$center->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence');
}

# ---- what each row goes through ----

# For each id: what each writer does, and what must be shown, given the names of
# the writers in the order of their times.
sub set { my ($list) = @_; return sub { my ($id) = @_; return "UPDATE account SET $list WHERE id = $id;"; }; }
my $delete = sub { return "DELETE FROM account WHERE id = $_[0];"; };
my %number = (lisbon => 1, oslo => 2, riga => 3);
my @cases = (
	['different columns', { lisbon => set(q{owner = 'lisbon'}), oslo => set(q{note = 'oslo'}), riga => set('balance = balance + 5') },
		'owner, note, balance', sub { return 'lisbon|oslo|105.00'; }],
	['one column', { map { $_ => set("owner = '$_', note = '$_'") } keys %number }, 'owner, note', sub { return "$_[2]|$_[2]"; }],
	['amounts', { lisbon => set('balance = balance + 1.25, stock = stock - 1'), oslo => set('balance = balance - 10, stock = stock + 5'), riga => set('balance = 2 * balance') },
		'balance, stock', sub { return '191.25|14'; }],
	['extremes', { map { $_ => set("low = @{[60 - 5 * $number{$_}]}, high = '2020-02-0$number{$_}'") } keys %number },
		'low, high::date', sub { return '45|2020-02-03'; }],
	['lowered by who has seen it', { lisbon => set(q{high = '2020-03-01'}), oslo => sub { return set(q{high = '2030-01-01'})->(@_) . set(q{high = '2010-01-01'})->(@_) } },
		'high::date', sub { return '2020-03-01'; }],
	['sets', { lisbon => set(q{tags = tags || '{l, both}'::text[]}), oslo => set(q{tags = tags || '{o, both}'::text[]}), riga => set(q{tags = '{}'}) },
		'tags', sub { return '{both,l,o,old}'; }],
	['a set and a null', { lisbon => set('tags = NULL'), oslo => set(q{tags = '{z, b, z}'}), riga => set(q{tags = '{c}'}) },
		'tags', sub { return '{b,c,z}'; }],
	['members', { lisbon => set(q{doc = doc || '{"a": "lisbon"}'}), oslo => set(q{doc = (doc - 'b') || '{"x": "oslo"}'}), riga => set(q{doc = doc || '{"c": "riga", "x": "riga"}'}) },
		'doc', sub { my %at = map { $_[$_] => $_ } 0 .. 2; my $x = $at{oslo} > $at{riga} ? 'oslo' : 'riga'; return qq({"a": "lisbon", "c": "riga", "x": "$x"}); }],
	['a whole value', { lisbon => set(q{doc = '7'}), oslo => set(q{doc = doc - 'b'}), riga => set(q{doc = doc || '{"x": 1}'}) },
		'doc', sub { my %at = map { $_[$_] => $_ } 0 .. 2;
			return $at{lisbon} == 2 ? '7' : $at{lisbon} == 0 ? '{"x": 1}' : $at{oslo} == 0 ? '{"x": 1}' : '{}'; }],
	['a member that comes and goes', { lisbon => sub { return set(q{doc = doc || '{"x": "lisbon"}'})->(@_) . set(q{doc = doc - 'x'})->(@_) }, oslo => set(q{doc = doc || '{"x": "oslo"}'}) },
		'doc', sub { my %at = map { $_[$_] => $_ } 0 .. 2; return '{"a": 1, "b": 1, "c": 1' . ($at{oslo} > $at{lisbon} ? ', "x": "oslo"}' : '}'); }],
	['a whole value that comes back', { lisbon => sub { return set(q{doc = '7'})->(@_) . set(q{doc = '{"a": 1, "b": 1, "c": 1}'})->(@_) }, oslo => set(q{doc = doc || '{"x": "oslo"}'}) },
		'doc', sub { my %at = map { $_[$_] => $_ } 0 .. 2; return '{"a": 1, "b": 1, "c": 1' . ($at{oslo} > $at{lisbon} ? ', "x": "oslo"}' : '}'); }],
	['a function', { lisbon => set('score = 2'), oslo => sub { return set('score = 4')->(@_) . set('score = 3')->(@_) }, riga => set('score = 5') },
		'score', sub { return 30; }],
	['a delete', { lisbon => $delete, oslo => set('balance = balance + 5'), riga => set(q{owner = 'riga'}) }, 'owner', sub { return ''; }],
	['another row of the key', { lisbon => sub { return $delete->(@_) . "INSERT INTO account (id, owner) VALUES ($_[0], 'new'); UPDATE account SET balance = balance + 1 WHERE id = $_[0];" },
			oslo => set('balance = balance + 5'), riga => set(q{owner = 'riga'}) }, 'owner, balance', sub { return 'new|101.00'; }],
	['rows that come twice', { map { my $name = $_; $name => sub { return $delete->(@_) . "INSERT INTO account (id, owner, stock) VALUES ($_[0], '$name', $number{$name}); "
					  . "UPDATE account SET stock = stock + 10 WHERE id = $_[0];" } } keys %number },
		'owner, stock', sub { return "$_[2]|1$number{$_[2]}"; }],
	['the same value', { lisbon => set(q{owner = 'same'}), oslo => set(q{owner = 'same'}), riga => set(q{owner = 'other'}) },
		'owner', sub { return $_[2] eq 'riga' ? 'other' : 'same'; }],
	['nothing', { lisbon => set('owner = owner'), oslo => set(q{owner = 'oslo'}), riga => set('stock = stock') }, 'owner', sub { return 'oslo'; }],
	['several in a row', { lisbon => sub { return join('', map { set("balance = balance + $_, owner = 'l$_'")->(@_) } 1 .. 3) },
			oslo => sub { return join('', map { set("stock = stock + $_, note = 'o$_'")->(@_) } 1 .. 3) }, riga => set(q{note = 'r', owner = 'r'}) },
		'balance, stock, owner, note', sub { my %at = map { $_[$_] => $_ } 0 .. 2;
			return join('|', '106.00', 16, $at{riga} > $at{lisbon} ? 'r' : 'l3', $at{riga} > $at{oslo} ? 'r' : 'o3'); }],
	['a key that moves after an update, and another row of it', { lisbon => sub { return $delete->(@_) . "INSERT INTO account (id, owner) VALUES ($_[0], 'new');" },
			oslo => sub { return set('balance = balance + 5')->(@_) . "UPDATE account SET id = id + 1000 WHERE id = $_[0];" } }, 'owner, balance', sub { return 'new|100.00'; }],
	['a key that moves', { lisbon => sub { return "UPDATE account SET id = id + 1000 WHERE id = $_[0];" }, oslo => set('balance = balance + 5'), riga => set(q{owner = 'riga'}) },
		'owner', sub { return ''; }],
);

sub shows { my ($center, $table, $id) = @_; return $center->sql("SELECT $cases[$id][2] FROM $table WHERE id = $id"); }

my @orders = ([ 0 .. 5 ], [ reverse 0 .. 5 ], [ 2, 0, 4, 1, 5, 3 ], [ 3, 5, 1, 4, 0, 2 ], [ 4, 2, 0, 5, 3, 1 ], [ 1, 3, 5, 0, 2, 4 ]);
my $round = 0;
foreach my $order (@orders)
{
	my @time = @{ ([ 0, 1, 2 ], [ 2, 1, 0 ], [ 1, 2, 0 ], [ 0, 2, 1 ], [ 2, 0, 1 ], [ 1, 0, 2 ])[$round] };
	my @names = map { $centers[$_]{name} } @time;

	$lisbon->sql("DELETE FROM $_; INSERT INTO $_ (id, owner) SELECT id, 'old' FROM generate_series(0, $#cases) id") foreach @tables;
	wait_server_applied(@centers);
	hold_links(@links);
	foreach my $name (@names)
	{
		my ($center) = grep { $_->{name} eq $name } @centers;
		my $sql = join("\n", map { $cases[$_][1]{$name} ? $cases[$_][1]{$name}->($_) : () } 0 .. $#cases);
		$center->sql($sql =~ s/\baccount\b/$_/gr) foreach @tables;
	}
	foreach my $link (@links[@$order])
	{
		$link->[1]->sql("SELECT multicenter.link_resume('$link->[0]{name}')");
		$link->[1]->wait_for_sql("SELECT state <> 'paused' FROM multicenter.lag WHERE direction = 'in' AND peer = '$link->[0]{name}'");
	}
	wait_applied(@$_) foreach @links;
	wait_server_applied(@centers);
	foreach my $id (0 .. $#cases)
	{
		foreach my $table (@tables)
		{
			is(shows($_, $table, $id), $cases[$id][3]->(@names), "round $round (@names): $cases[$id][0] in $table at $_->{name}") foreach @centers;
		}
	}
	identical(@centers);
	$round++;
}

# ---- who has seen them all ----

$oslo->sql(q{UPDATE account SET tags = '{end}', low = 99, doc = '{"end": 1}', score = 8});
wait_server_applied(@centers);
is($_->sql(q{SELECT count(*) FROM account WHERE tags <> '{end}' OR low <> 99 OR doc <> '{"end": 1}' OR score <> 8}), 0,
	"a write that has seen all replaces them at $_->{name}") foreach @centers;

# A function that fails: nobody goes on without its answer.
hold_links(@links);
$lisbon->sql('UPDATE account SET score = 2000000000 WHERE id = 0');
$oslo->sql('UPDATE account SET score = 3, note = $$late$$ WHERE id = 0');
release_links(@links);
$_->wait_for_sql(q{SELECT count(*) > 0 FROM multicenter.quarantine WHERE error_message LIKE '%public.product failed: integer out of range%'}, 't', 60) foreach @centers;
$riga->sql('UPDATE account SET owner = $$after$$ WHERE id = 1');
wait_server_applied(@centers);
is($_->sql('SELECT owner FROM account WHERE id = 1'), 'after', "other rows go on at $_->{name}") foreach @centers;
$lisbon->sql(q{SELECT multicenter.replicate_ddl('CREATE OR REPLACE FUNCTION public.product(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT greatest($1, $2) - 1$$')});
wait_server_applied(@centers);
foreach my $center (@centers)
{
	$center->sql('SELECT multicenter.quarantine_retry(quarantine_id) FROM multicenter.quarantine');
	$center->wait_for_sql('SELECT count(*) = 0 FROM multicenter.quarantine', 't', 60);
}
is($_->sql('SELECT score, note FROM account WHERE id = 0'), '1999999999|late', "and what was kept aside is merged by the better function at $_->{name}") foreach @centers;
identical(@centers);

# In the end nothing is kept.
foreach my $center (@centers)
{
	$center->wait_for_sql(q{SELECT count(*) = 0 FROM multicenter.key_note WHERE kind = 'c'}, 't', 60);
	pass("kept changes go at $center->{name}");
	is($center->sql('SELECT count(*) FROM multicenter.quarantine'), 0, "nothing is in quarantine at $center->{name}");
}
is($riga->sql(q{SELECT string_agg(DISTINCT resolver, ' ') FROM multicenter.conflicts}), 'column_merge quarantine', 'the history says what has decided');

# ---- and back ----

like(error($lisbon, q{SELECT multicenter.column_policy_reset('account', 'note')}), qr/no column of relation public.account is merged/, 'one that is not merged');
$lisbon->sql("SELECT multicenter.column_policy_reset('$_')") foreach @tables;
wait_server_applied(@centers);
foreach my $center (@centers)
{
	is($center->sql('SELECT count(*) FROM multicenter.column_policies'), 0, "nothing is set at $center->{name}");
	is($center->sql(q{SELECT count(*) FROM pg_trigger WHERE tgfoid = 'multicenter.keep_change()'::regprocedure}), 0, 'and no trigger is left');
	$center->wait_for_sql('SELECT count(*) = 0 FROM multicenter.table_fence');
}
hold_links(@links);
$lisbon->sql(q{UPDATE account SET owner = 'again' WHERE id = 0});
$oslo->sql(q{UPDATE account SET note = 'late' WHERE id = 0});
release_links(@links);
wait_server_applied(@centers);
is($_->sql('SELECT owner, note FROM account WHERE id = 0'), 'lisbon|late', "rows are decided on as a whole at $_->{name}") foreach @centers;
identical(@centers);

# The example of the user's guide.
my $guide = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../docs/conflicts.md");
my ($table, $set, $view) = $guide =~ /^## Merging columns\n.*?^```sql\n(CREATE TABLE .*?;\n)(.*?)(^SELECT column_name, .*?;)\n```/ms;
$_->sql($table) foreach @centers;
$lisbon->sql($set);
wait_server_applied(@centers);
is($oslo->sql($view =~ s/;\z/ ORDER BY 1/r), "labels|set_union|\nname|last_update_wins|\nprice_seen|max|\nsettings|jsonb_merge|\nstock|delta|", 'the example runs');

done_testing();
