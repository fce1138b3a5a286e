# Goal: it does not matter what comes between two transactions of one link.
# After each transaction a center shows what the greatest versions of those that
# have come say, and nothing else; in the end all centers are the same.
#
# Method: lisbon commits three transactions and oslo two, in an order of time;
# riga applies them one by one, in each of the ten orders that keep those of a
# center, and writes something itself on the way.  Each transaction does
# something else to each of many rows: all combinations of put, update, delete,
# or of claiming and giving up a unique value, are there.  A tiny model says
# what must be seen after each step.  First lisbon and oslo see nothing of each
# other, then each sees at once what the other did, which riga may get first.
#
# MULTICENTER_ORDERS=all goes through all orders of time as well.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Multicenter::Step;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => step_conf() . "multicenter.heartbeat_interval = '100ms'\n", setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE uniq (id int PRIMARY KEY, u int UNIQUE, v text);
});
my ($lisbon, $oslo, $riga) = @centers;
my %center = (l => $lisbon, o => $oslo, r => $riga);
step_install(@centers);

# What each of the transactions, and riga's own, does to which row: a row of
# item is there before or not; of uniq lisbon writes the even rows, oslo the odd
# ones, and both want the number of their pair.
my @columns = qw(l1 l2 l3 o1 o2 r1);
$_->sql(q{
	CREATE UNLOGGED TABLE item_plan AS
		SELECT id, id % 2 = 1 AS before, id / 2 % 3 AS l1, id / 6 % 3 AS l2, id / 18 % 3 AS l3,
			id / 54 % 3 AS o1, id / 162 % 3 AS o2, id / 486 % 3 AS r1
		FROM generate_series(0, 1457) id;
	CREATE UNLOGGED TABLE uniq_plan AS
		SELECT 2 * k AS id, k, k % 3 AS l1, k / 3 % 3 AS l2, k / 9 % 3 AS l3, NULL::int AS o1, NULL::int AS o2 FROM generate_series(0, 242) k
		UNION ALL
		SELECT 2 * k + 1, k, NULL, NULL, NULL, k / 27 % 3, k / 81 % 3 FROM generate_series(0, 242) k}) foreach @centers;
my @item_plan = map { my $id = $_; { id => $id, before => $id % 2, map { $columns[$_] => int($id / 2 / 3**$_) % 3 } 0 .. 5 } } 0 .. 1457;
my @uniq_plan = map { my $k = $_; (
		{ id => 2 * $k, map { $columns[$_] => int($k / 3**$_) % 3 } 0 .. 2 },
		{ id => 2 * $k + 1, map { $columns[$_] => int($k / 3**$_) % 3 } 3 .. 4 }) } 0 .. 242;

# The statements of a transaction: 0 puts, 1 updates, 2 deletes; or 0 claims,
# 1 gives up, 2 deletes.
sub write_sql
{
	my ($name, $with_uniq) = @_;
	my $sql = qq{
		INSERT INTO item SELECT id, '$name' FROM item_plan WHERE $name = 0 ON CONFLICT (id) DO UPDATE SET v = excluded.v;
		UPDATE item i SET v = '$name' FROM item_plan p WHERE p.id = i.id AND $name = 1;
		DELETE FROM item i USING item_plan p WHERE p.id = i.id AND $name = 2;};
	$sql .= qq{
		INSERT INTO uniq SELECT id, k, '$name' FROM uniq_plan WHERE $name = 0
			ON CONFLICT (id) DO UPDATE SET u = excluded.u, v = excluded.v;
		UPDATE uniq i SET u = NULL, v = '$name' FROM uniq_plan p WHERE p.id = i.id AND $name = 1;
		DELETE FROM uniq i USING uniq_plan p WHERE p.id = i.id AND $name = 2;} if $with_uniq;
	return "BEGIN; $sql COMMIT";
}

# The model: what a center knows is for each key the greatest version, with its
# value, or none if it is deleted.  Returns what a transaction writes.
sub model_write
{
	my ($known, $name, $version) = @_;
	my %written;
	foreach my $table ([ item => \@item_plan ], [ uniq => \@uniq_plan ])
	{
		my ($which, $plan) = @$table;
		foreach my $row (grep { defined $_->{$name} } @$plan)
		{
			my ($key, $what) = ("$which $row->{id}", $row->{$name});
			my $there = $known->{$key} && defined $known->{$key}{v};
			next unless $what == 0 || $there;
			$written{$key} = { version => $version, v => $what == 2 ? undef : $name, claims => $what == 0 };
		}
	}
	return \%written;
}

sub model_apply
{
	my ($known, $written) = @_;
	foreach my $key (keys %$written)
	{
		$known->{$key} = $written->{$key}
		  if !$known->{$key} || $known->{$key}{version} < $written->{$key}{version};
	}
	return;
}

# What shows of it: of two rows that claim a number the newer one.
sub model_shows
{
	my ($known, $with_uniq) = @_;
	my @shown = map { [ $_->{id}, $known->{"item $_->{id}"} ] } @item_plan;
	my @text = map { "item $_->[0] $_->[1]{v}" } grep { $_->[1] && defined $_->[1]{v} } @shown;
	return join("\n", @text) unless $with_uniq;

	foreach my $row (@uniq_plan)
	{
		my ($one, $other) = map { $known->{"uniq $_"} } $row->{id}, $row->{id} ^ 1;
		next unless $one && defined $one->{v};
		next if $one->{claims} && $other && defined $other->{v} && $other->{claims} && $other->{version} > $one->{version};
		push(@text, "uniq $row->{id} $one->{v}");
	}
	return join("\n", @text);
}

sub shows
{
	my ($center) = @_;
	return $center->sql(q{
		SELECT format('%s %s %s', t, id, v) FROM (SELECT 'item' AS t, id, v FROM item UNION ALL SELECT 'uniq', id, v FROM uniq) x
		ORDER BY t, id});
}

# One test: a center shows what the model says.
sub agrees
{
	my ($center, $known, $with_uniq, $name) = @_;
	my ($got, $expected) = (shows($center), model_shows($known, $with_uniq));
	my %sign;
	$sign{$_}-- foreach split(/\n/, $expected);
	$sign{$_}++ foreach split(/\n/, $got);
	my @differences = sort grep { $sign{$_} } keys %sign;
	ok(!@differences, $name)
	  or diag(map { ($sign{$_} > 0 ? 'got' : 'expected') . " $_\n" } @differences[ 0 .. ($#differences > 19 ? 19 : $#differences) ]);
	return;
}

# All orders of three l and two o.
sub orders
{
	my ($l, $o, $sofar) = @_;
	return ($sofar) unless $l || $o;
	return ($l ? orders($l - 1, $o, $sofar . 'l') : (), $o ? orders($l, $o - 1, $sofar . 'o') : ());
}
my @orders = orders(3, 2, '');

my @between = links_between($lisbon, $oslo);
my @into_riga = ([ $lisbon, $riga ], [ $oslo, $riga ]);
my @from_riga = ([ $riga, $lisbon ], [ $riga, $oslo ]);

# All is committed on one server, so one position tells when all have all.
# One round: commit in this order of time, bring to riga in that order.
sub run_round
{
	my ($seen, $time, $arrival, $riga_writes_after) = @_;
	my $name = ($seen ? 'seen' : 'concurrent') . ", committed $time, arrived $arrival";
	my %known = map { $_ => { map { $_->{before} ? ("item $_->{id}" => { version => 0, v => 'old' }) : () } @item_plan } } qw(l o r);
	my (%written, $version, %n);

	$lisbon->sql(q{TRUNCATE uniq; DELETE FROM item; INSERT INTO item SELECT id, 'old' FROM item_plan WHERE before});
	wait_server_applied(@centers);
	step_pause(@$_) foreach @into_riga, @from_riga, $seen ? () : @between;

	foreach my $who (split(//, $time))
	{
		my ($other) = grep { $_ ne $who } qw(l o);
		my $what = $who . ++$n{$who};
		$center{$who}->sql(write_sql($what, !$seen));
		$written{$what} = model_write($known{$who}, $what, ++$version);
		model_apply($known{$_}, $written{$what}) foreach $who, $seen ? $other : ();
		wait_applied($center{$who}, $center{$other}) if $seen;
	}

	%n = ();
	my $steps = 0;
	foreach my $who (split(//, $arrival))
	{
		my $what = $who . ++$n{$who};
		step($center{$who}, $riga);
		model_apply($known{r}, $written{$what});
		agrees($riga, $known{r}, !$seen, "$name: after $what");
		next if ++$steps != $riga_writes_after;

		$riga->sql(write_sql('r1', 0));
		$written{r1} = model_write($known{r}, 'r1', ++$version);
		model_apply($known{r}, $written{r1});
		agrees($riga, $known{r}, !$seen, "$name: after r1");
	}
	step_drain(@$_) foreach @between, @into_riga, @from_riga;
	wait_server_applied(@centers);
	agrees($_, $known{r}, !$seen, "$name: in the end at $_->{name}") foreach @centers;
	return;
}

my $all = ($ENV{MULTICENTER_ORDERS} || '') eq 'all';
foreach my $seen (0, 1)
{
	foreach my $i (0 .. $#orders)
	{
		# Without "all" each order of arrival meets one order of time.
		foreach my $j ($all ? (0 .. $#orders) : ((3 * $i + 4) % @orders))
		{
			run_round($seen, $orders[$j], $orders[$i], ($i + $j) % 4 + 1);
		}
	}
}
identical(@centers);
is($_->sql("SELECT count(*) FROM multicenter.lag WHERE state = 'stalled'"), 0, "no link of $_->{name} has stopped") foreach @centers;
$_->wait_for_sql('SELECT notes = 0 FROM multicenter.horizon') foreach @centers;
pass('nothing is remembered for ever');

done_testing();
