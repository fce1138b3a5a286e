# Goal: three centers that write at the same time end identical, each
# transaction is applied once by each of the others, and none goes in circles.
#
# Method: pgbench at all three at once, a fixed number of transactions each, so
# that a table without a key and the counters of stat_links can be counted
# exactly.  First keys of their own, then the same keys, then TPC-B, whose
# branches each center writes alone while it fights for the tellers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], setup => q{
	CREATE TABLE account (id int PRIMARY KEY, owner text, balance int NOT NULL DEFAULT 0, changes int NOT NULL DEFAULT 0);
	INSERT INTO account SELECT i, 'before', 0 FROM generate_series(1, 100) i;
	-- Every transaction of the load leaves one row here.
	CREATE TABLE journal (center text, client int, what text, id int);
	CREATE SEQUENCE own_key;
	CREATE TABLE own (id int PRIMARY KEY, center text, v text);
	CREATE TABLE branch (id int PRIMARY KEY, balance bigint NOT NULL);
	CREATE TABLE teller (id int PRIMARY KEY, balance bigint NOT NULL);
	CREATE TABLE history (branch int, teller int, delta bigint, at timestamptz DEFAULT now());
	INSERT INTO branch SELECT i, 0 FROM generate_series(1, 3) i;
	INSERT INTO teller SELECT i, 0 FROM generate_series(1, 10) i;
});
my ($lisbon, $oslo, $riga) = @centers;
my %number = map { $centers[$_]->name => $_ + 1 } 0 .. $#centers;
identical(@centers, qw(account own branch teller));

# Transactions that each center has applied, by peer.
sub applied
{
	my %applied;
	foreach my $center (@centers)
	{
		foreach my $row (split /\n/, $center->sql(
				q{SELECT peer, xacts FROM multicenter.stat_links WHERE direction = 'in'}))
		{
			my ($peer, $xacts) = split /\|/, $row;
			$applied{ $center->name . " from $peer" } = $xacts;
		}
	}
	return \%applied;
}

# Run a script at all centers at once and wait until all is applied
# everywhere.  Checks that each transaction was applied once at each center.
sub load_everywhere
{
	my ($what, $script, $clients, $transactions) = @_;
	my $before = applied();
	my @loads = map {
		start_load($_, $script, clients => $clients, transactions => $transactions,
			define => { number => $number{ $_->name } })
	} @centers;
	my $finished = 0;

	foreach my $load (@loads)
	{
		my $output = finish_load($load);
		$finished++ if $output =~ m{actually processed: (\d+)/\1\s} && $output !~ /failed transactions: [1-9]/;
	}
	is($finished, 3, "$what: every load has run to its end");
	wait_all_applied(@centers);

	my $after = applied();
	my $expected = $clients * $transactions;
	foreach my $link (sort keys %$after)
	{
		is($after->{$link} - $before->{$link}, $expected,
			"$what: $link: each of $expected transactions was applied once");
	}
	foreach my $center (@centers)
	{
		is( $center->sql("SELECT count(*) FROM journal WHERE what = '$what'"), 3 * $expected,
			"$what: $center->{name} has each row of a table without a key once");
	}
	identical(@centers, qw(account own branch teller journal history));
	return;
}

#
# Keys of their own
#
load_everywhere('disjoint', q{
	\set id random(1, 30)
	\set gone random(1, 30)
	BEGIN;
	INSERT INTO own VALUES (:number * 1000 + :client_id * 100 + :id, 'center ' || :number, 'v')
		ON CONFLICT (id) DO UPDATE SET v = own.v || 'x';
	DELETE FROM own WHERE id = :number * 1000 + :client_id * 100 + :gone AND :gone <> :id;
	INSERT INTO journal VALUES (:number::text, :client_id, 'disjoint', :id);
	END;
}, 2, 150);
is($riga->sql('SELECT count(*) FROM multicenter.conflicts'), 0, 'disjoint keys have no conflicts');

#
# The same keys
#
load_everywhere('same', q{
	\set one random(1, 20)
	\set two random(21, 40)
	BEGIN;
	UPDATE account SET owner = 'center ' || :number, balance = balance + 1, changes = changes + 1 WHERE id = :one;
	UPDATE account SET owner = 'center ' || :number, balance = balance - 1, changes = changes + 1 WHERE id = :two;
	INSERT INTO journal VALUES (:number::text, :client_id, 'same', :one);
	END;
}, 2, 150);
foreach my $center (@centers)
{
	cmp_ok($center->sql(q{SELECT count(*) FROM multicenter.conflicts WHERE conflict_type = 'update_origin_differs'}),
		'>', 0, "$center->{name} has seen conflicts");
	is( $center->sql(q{SELECT sum(conflicts) = (SELECT count(*) FROM multicenter.conflicts) FROM multicenter.stat_links
			WHERE direction = 'in'}),
		't', "$center->{name} counts what it lists");
}

# Of the rows themselves all may end with the center whose load ended last.
my %resolution;
$resolution{$_}++ foreach map { split /\n/, $_->sql('SELECT DISTINCT resolution FROM multicenter.conflicts') } @centers;
cmp_ok(scalar(keys %resolution), '>', 1, 'more than one center has won') or diag(join(', ', %resolution));
is($lisbon->sql(q{SELECT count(*) FROM account WHERE id > 40 AND owner <> 'before'}), 0, 'other rows were left alone');

#
# TPC-B: each center writes its own branch, all write the tellers
#
load_everywhere('tpcb', q{
	\set teller random(1, 10)
	\set delta random(-5000, 5000)
	BEGIN;
	UPDATE teller SET balance = balance + :delta WHERE id = :teller;
	UPDATE branch SET balance = balance + :delta WHERE id = :number;
	INSERT INTO history (branch, teller, delta) VALUES (:number, :teller, :delta);
	INSERT INTO journal VALUES (:number::text, :client_id, 'tpcb', :teller);
	END;
}, 2, 150);
foreach my $center (@centers)
{
	is( $center->sql('SELECT count(*) FROM branch b WHERE balance = (SELECT sum(delta) FROM history WHERE branch = b.id)'),
		3, "$center->{name}: the balance of a branch is the sum of its history");
}

# Lost increments of the tellers are in the history, none without a trace: the
# tellers may differ from the history only where there were conflicts.
is( $lisbon->sql(
		q{SELECT count(*) FROM teller t WHERE balance <> (SELECT coalesce(sum(delta), 0) FROM history WHERE teller = t.id)
		  AND NOT EXISTS (SELECT FROM multicenter.conflicts WHERE table_name = 'teller' AND (key ->> 'id')::int = t.id)})
	  + 0,
	0, 'a superseded increment is listed as a conflict');

# Nothing goes in circles: with no load nothing is applied.
my $before = applied();
wait_all_applied(@centers);
is_deeply(applied(), $before, 'an idle group is idle');

# Every link has worked without an error.
foreach my $center (@centers)
{
	is($center->sql(q{SELECT count(*) FROM multicenter.lag WHERE state IN ('streaming', 'idle')}), 4, "$center->{name} streams with both peers");
	is($center->sql(q{SELECT string_agg(last_error, ', ') FROM multicenter.stat_links}), '', "no link of $center->{name} has failed");
}

done_testing();
