# Goal: where a policy decides, all centers show the same in the end, in whatever
# order the versions arrive, and it is what the policy says of those that nobody
# had seen together; a write that has seen others replaces them.
#
# Method: three databases of one server.  lisbon, oslo and riga write to the same
# keys at the same time; then the six links are released in each of several
# orders.  All combinations of update and delete, for each of the policies that
# do not depend on the center, stand in one table each; a tiny function says what
# each must show.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @policies = qw(last first site insert skip);
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n",
	setup => join('', map { "CREATE TABLE by_$_ (id int PRIMARY KEY, v text);" } @policies));
my ($lisbon, $oslo, $riga) = @centers;
my @links = links_between(@centers);

# The sites have the names of their centers; riga's is the best.
$_->sql("SELECT multicenter.center_alter('$_->{name}', site => '$_->{name}')") foreach @centers;
wait_server_applied(@centers);
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('by_first', NULL, 'first_update_wins')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('by_site', NULL, 'site_priority', options => '{"sites": ["riga", "lisbon"]}')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('by_insert', 'update_deleted', 'insert_or_skip')});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('by_skip', 'update_deleted', 'skip')});
my $epoch = $lisbon->sql('SELECT max(epoch) FROM multicenter.conflict_policy');
foreach my $center (@centers)
{
	$center->wait_for_sql("SELECT count(*) = 3 FROM multicenter.policy_epoch WHERE epoch = $epoch AND ts < clock_timestamp()");
}
is($_->sql(q{SELECT count(*) FROM pg_trigger WHERE tgname = 'multicenter_seen'}), 4, "$_->{name} tells what its writes replace") foreach @centers;

# What three writes that have not seen each other come to: each is [center,
# deleted], in the order of their times.
sub outcome
{
	my ($policy, @writes) = @_;
	my @puts = grep { !$_->[1] } @writes;
	return '' if !@puts;
	return $writes[-1][1] ? '' : $writes[-1][0] if $policy eq 'last';
	return $writes[0][1] ? '' : $writes[0][0] if $policy eq 'first';
	return @puts < @writes ? '' : $puts[-1][0] if $policy eq 'skip';
	return $puts[-1][0] if $policy eq 'insert';
	my %rank = (riga => 0, lisbon => 1, oslo => 2);
	my ($best) = sort { $rank{ $a->[0] } <=> $rank{ $b->[0] } } @writes;
	return $best->[1] ? '' : $best->[0];
}

# Bit i of an id: center i deletes, where it writes at all: ids 0 to 7 are
# written by all three, 8 to 11 not by lisbon, 12 to 15 not by oslo, and 16 to 19
# not by riga.
my %by;
foreach my $id (0 .. 19)
{
	my @who = grep { $id < 8 || $_ != int(($id - 8) / 4) } 0 .. 2;
	my $bits = $id < 8 ? $id : ($id - 8) % 4;
	$by{$id} = { map { ($who[$_] => ($bits >> $_) & 1) } 0 .. $#who };
}

sub write_at
{
	my ($i, $suffix) = @_;
	my $name = $centers[$i]{name};
	foreach my $policy (@policies)
	{
		my @delete = grep { defined $by{$_}{$i} && $by{$_}{$i} } keys %by;
		my @update = grep { defined $by{$_}{$i} && !$by{$_}{$i} } keys %by;
		$centers[$i]->sql(sprintf(q{BEGIN; DELETE FROM by_%1$s WHERE id IN (%2$s); UPDATE by_%1$s SET v = '%4$s' WHERE id IN (%3$s); COMMIT},
				$policy, join(',', @delete), join(',', @update), $name . ($suffix || '')));
	}
	return;
}

sub shows
{
	my ($center, $policy) = @_;
	my %row = map { split(/\|/, $_, 2) } split(/\n/, $center->sql("SELECT id, v FROM by_$policy ORDER BY id"));
	return join(' ', map { "$_:" . ($row{$_} // '') } sort { $a <=> $b } keys %by);
}

# The orders in which links are released: each is a list of numbers of @links.
my @orders = ([ 0 .. 5 ], [ reverse 0 .. 5 ], [ 2, 0, 4, 1, 5, 3 ], [ 3, 5, 1, 4, 0, 2 ], [ 4, 2, 0, 5, 3, 1 ], [ 1, 3, 5, 0, 2, 4 ]);
my $round = 0;
foreach my $order (@orders)
{
	my @time = ([ 0, 1, 2 ], [ 2, 1, 0 ], [ 1, 2, 0 ], [ 0, 2, 1 ], [ 2, 0, 1 ], [ 1, 0, 2 ])[$round]->@*;
	my $name = "round $round";
	foreach my $policy (@policies)
	{
		$lisbon->sql("DELETE FROM by_$policy; INSERT INTO by_$policy SELECT id, 'old' FROM generate_series(0, 19) id");
	}
	wait_server_applied(@centers);
	hold_links(@links);
	write_at($_) foreach @time;

	# Some links wait for what travels on others: release all, then wait.
	my @pairs = @links[@$order];
	foreach my $link (@pairs)
	{
		$link->[1]->sql("SELECT multicenter.link_resume('$link->[0]{name}')");
		$link->[1]->wait_for_sql("SELECT state <> 'paused' FROM multicenter.lag WHERE direction = 'in' AND peer = '$link->[0]{name}'");
	}
	wait_applied(@$_) foreach @pairs;
	wait_server_applied(@centers);
	foreach my $policy (@policies)
	{
		my $expected = join(' ', map { my $id = $_; "$id:" . outcome($policy,
				map { [ $centers[$_]{name}, $by{$id}{$_} ] } grep { defined $by{$id}{$_} } @time) } sort { $a <=> $b } keys %by);
		is(shows($_, $policy), $expected, "$name: $policy at $_->{name}") foreach @centers;
	}
	is($oslo->sql('SELECT count(*) FROM multicenter.siblings WHERE relation <> ALL (ARRAY[\'by_first\', \'by_site\', \'by_insert\', \'by_skip\']::regclass[])'),
		0, "$name: only policies have siblings");

	# One has seen them all: its write is greater than any policy.
	$oslo->sql("UPDATE by_$_ SET v = 'seen'") foreach @policies;
	wait_server_applied(@centers);
	foreach my $policy (@policies)
	{
		my $rows = $oslo->sql("SELECT count(*) FROM by_$policy");
		is($_->sql("SELECT count(*) FROM by_$policy WHERE v = 'seen'"), $rows, "$name: $policy, a write that has seen them all at $_->{name}")
		  foreach @centers;
	}
	$round++;
}

# The history says who has decided.
is($riga->sql(q{SELECT string_agg(DISTINCT resolver, ' ' ORDER BY resolver) FROM multicenter.conflicts}),
	'first_update_wins insert_or_skip last_update_wins site_priority skip', 'the history names the policies');

# The example of the user's guide.
my $guide = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../docs/conflicts.md");
my ($tables, $rest) = $guide =~ /^## Choosing who wins\n.*?^```sql\n(CREATE TABLE .*?;\n)(.*?)^```/ms;
my ($set, $view, $reset) = $rest =~ /^(.*)(^SELECT relation, .*?;\n)(.*)\z/ms;
$_->sql($tables) foreach @centers;
$lisbon->sql($set);
my $newest = $lisbon->sql('SELECT multicenter.internal_policy_newest()');
$_->wait_for_sql('SELECT multicenter.internal_policy_own_epoch()', $newest) foreach @centers;
is($oslo->sql("SELECT string_agg(resolver, ' ' ORDER BY resolver) FROM (" . ($view =~ s/;//r) . ") v WHERE conflict_type IN ('insert_exists', 'delete_origin_differs') AND in_effect"),
	'first_update_wins insert_or_skip', 'the example sets policies for whole families');
is($oslo->sql(q{SELECT relreplident FROM pg_class WHERE oid = 'account'::regclass}), 'f', 'and what they need');
$lisbon->sql($reset);

# In the end nothing is kept.
foreach my $center (@centers)
{
	$center->wait_for_sql('SELECT count(*) = 0 FROM multicenter.siblings');
	pass("siblings go at $center->{name}");
	is($center->sql('SELECT count(*) FROM multicenter.quarantine'), 0, "nothing is in quarantine at $center->{name}");
}
identical(@centers);

done_testing();
