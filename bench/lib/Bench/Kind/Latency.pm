# Bench::Kind::Latency: how long after its commit a row is seen at the target,
# under a light load.
#
# Numbers of the workload: rate (transactions in a second), seconds.  A session
# at the target looks again and again, every 0.3 ms or so.
package Bench::Kind::Latency;

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

# Statements that look for rows until the last one is there, and then tell
# their numbers and times.
sub watch
{
	my ($last) = @_;
	return ('CREATE TEMP TABLE seen (ids int[], ats timestamptz[])', qq{
		DO \$\$ DECLARE
			ids int[]; ats timestamptz[]; top int := 0; n int;
		BEGIN
			WHILE top < $last LOOP
				SELECT max(id) INTO n FROM bench_latency;
				IF n > top THEN
					ids := ids || n; ats := ats || clock_timestamp(); top := n;
				END IF;
				PERFORM pg_sleep(0.0002);
				COMMIT;
			END LOOP;
			INSERT INTO seen VALUES (ids, ats);
		END \$\$}, 'SELECT i, extract(epoch FROM a) FROM seen, unnest(ids, ats) AS u(i, a)');
}

sub measure
{
	my ($workload, $system, $origin, $target) = @_;
	Bench::Group::settle($origin, $target);
	my $count = $workload->number('rate') * $workload->number('seconds');
	my $script = Bench::Server::file_with(join(";\n", $workload->statements('load')));

	my @pids = (Bench::Group::senders($origin))[0];
	push(@pids, Bench::Group::appliers($system, $target));
	my @cpu = map { Bench::Processes::cpu($_) } @pids;
	my $machine = Bench::Processes::machine_cpu();
	my @all = ($origin->cpu, $target->cpu);
	my $waiter = $target->start_sql(watch($count));
	Bench::Server::command('pgbench', '-n', '-M', 'prepared', '-f', $script->filename, '-c', 1, '-t', $count, '-R', $workload->number('rate'),
		'-h', '/tmp', '-p', $origin->port, '-U', 'postgres', 'postgres');
	my %seen = map { split(/\|/) } split(/\n/, Bench::Server::finish_sql($waiter));
	@cpu = map { Bench::Processes::cpu($pids[$_]) - $cpu[$_] } 0 .. $#pids;
	my %figures = (version => $system->version($origin), sender_cpu_s => shift @cpu, apply_cpu_s => 0);
	$figures{apply_cpu_s} += $_ foreach @cpu;
	$figures{foreign_cpu_s} = Bench::Processes::machine_cpu() - $machine - ($origin->cpu - $all[0]) - ($target->cpu - $all[1]);

	my %committed = map { split(/\|/) } split(/\n/, $origin->sql('SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM bench_latency'));
	add_percentiles(\%figures, \%committed, \%seen);
	return \%figures;
}

# Rows that arrived between two looks were seen together with the last of them.
sub add_percentiles
{
	my ($figures, $committed, $seen) = @_;
	my ($at, @delays);
	foreach my $id (sort { $b <=> $a } keys %$committed)
	{
		$at = $seen->{$id} if defined $seen->{$id};
		push(@delays, 1000 * ($at - $committed->{$id})) if defined $at;
	}
	@delays = sort { $a <=> $b } @delays;
	$figures->{"p${_}_ms"} = $delays[ int(@delays * $_ / 100) ] foreach 50, 95, 99;
	$figures->{max_ms} = $delays[-1];
	return;
}

1;
