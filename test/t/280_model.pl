# Goal: whatever three centers do to a table, and in whatever order the links
# bring it to the others, in the end all hold the same, and what the merge
# rules say.
#
# Method: the model test in test/model, with random schedules from seeds: most
# on three databases of one server, some on three servers; a part of them with
# tables for which policies other than the last update are set, or whose columns
# are merged, or both, all the time or for a part of it, with appliers, and with
# changes that wait in quarantine meanwhile.  A seed that fails says how to run it alone, and the smallest
# schedule that fails is printed by that.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib", "$FindBin::RealBin/../model";
use Harness;
use Multicenter::Cluster qw(test_deadline);
use Test::More;

test_deadline(900);

# What the server cannot do yet.
my @without = ();
my $forgets = 1;

my %option = (events => 60, without => { map { ($_ => 1) } @without });
my @rest = @without ? '--without ' . join(',', @without) : ();

$Harness::report = sub { note(join('', @_)) };

# Run seeds, one assertion for each.
sub run_share
{
	my ($databases, $first, $last, %more) = @_;
	my $runner = Runner->new(databases => $databases, %more);
	my $what = join(', ', $databases ? 'three databases' : 'three servers', keys %more);
	my @rest = (@rest, map { $_ eq 'workers' ? "--workers $more{workers}" : "--$_" } keys %more);
	my $failed = 0;
	Harness::run_seeds($runner, $first, $last, { %option, %more }, sub {
			my ($entry, $pattern) = @_;
			return if ok(!@{ $entry->{problems} }, "$what, seed $entry->{seed}");
			diag('alone: ' . Harness::command($runner, $entry, @rest));
			diag($failed++ ? join("\n", @{ $entry->{problems} }) : $runner->story($entry, $pattern));
		});
	is(join("\n", $runner->check_forgotten), '', 'nothing is remembered longer than needed') if $forgets;
	my $count = $runner->{count};
	note(join(', ', map { "$count->{$_} $_" } sort keys %$count));
	$runner->abandon;
	return;
}

run_share(1, 0, 159);
run_share(0, 160, 199);
run_share(1, 0, 79, policies => 1);
run_share(0, 80, 99, policies => 1);
run_share(1, 0, 79, columns => 1);
run_share(0, 320, 359, columns => 1);
run_share(1, 0, 79, policies => 1, columns => 1, resets => 1);
run_share(1, 80, 119, policies => 1, columns => 1, late => 1, workers => 4);
run_share(1, 280, 319, columns => 1, blocks => 1);
run_share(0, 360, 399, workers => 4);
done_testing();
