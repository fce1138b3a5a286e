# Bench::Kind::Sustained: the most transactions in a second with which the
# other server keeps up.
#
# Numbers of the workload: start (a rate), seconds and steps of the search,
# lag_ms (what "keeps up" means: the last row is seen that soon).  The load has
# {rate} and {from}, the number of rows before it, and paces itself.
package Bench::Kind::Sustained;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Server;

sub run
{
	my ($class, $workload, $name, %option) = @_;
	return Bench::Group::with($workload, $name, 2, sub { return measure($workload, @_) }, %option);
}

sub measure
{
	my ($workload, $system, $origin, $target) = @_;
	Bench::Group::settle($origin, $target);
	my $best = { version => $system->version($origin), tps => 0, cpu_us => undef };
	my ($from, $rate, $low, $high) = (0, $workload->number('start'));
	my $machine = Bench::Processes::machine_cpu();
	my @all = ($origin->cpu, $target->cpu);
	foreach my $step (1 .. $workload->number('steps'))
	{
		my $found = try_rate($workload, $system, $origin, $target, $rate, $from, -$step);
		$from += $rate * $workload->number('seconds');
		if ($found)
		{
			$low = $rate;
			%$best = (%$best, %$found);
		}
		else
		{
			$high = $rate;
		}
		$rate = int($high ? $low ? sqrt($low * $high) : $high / 2 : $low * 2);
	}
	$best->{foreign_cpu_s} = Bench::Processes::machine_cpu() - $machine - ($origin->cpu - $all[0]) - ($target->cpu - $all[1]);
	return $best;
}

# Write at some rate; figures, unless writing or the other server was late.
sub try_rate
{
	my ($workload, $system, $origin, $target, $rate, $from, $marker) = @_;
	my @pids = ((Bench::Group::senders($origin))[0], Bench::Group::appliers($system, $target));
	my @before = map { Bench::Processes::cpu($_) } @pids;
	my $waiter = $target->start_sql(Bench::Server::marker_wait($marker));
	my $now = 'SELECT extract(epoch FROM clock_timestamp())';
	my ($begun, $written) = grep { /\S/ } split(/\n/, $origin->sql('SET synchronous_commit = off', $now, $workload->statements('load', rate => $rate, from => $from),
			$now, "INSERT INTO bench_marker VALUES ($marker)"));
	my $lag_ms = 1000 * (Bench::Server::finish_sql($waiter) - $written);
	my $seconds = $workload->number('seconds');
	return if $lag_ms > $workload->number('lag_ms') || $written - $begun > 1.05 * $seconds;
	my $cpu = 0;
	$cpu += Bench::Processes::cpu($pids[$_]) - $before[$_] foreach 0 .. $#pids;
	return { tps => $rate, lag_ms => $lag_ms, cpu_us => 1e6 * $cpu / ($rate * $seconds) };
}

1;
