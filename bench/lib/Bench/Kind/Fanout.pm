# Bench::Kind::Fanout: what the origin pays for each more peer that gets the
# same backlog.
package Bench::Kind::Fanout;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Server;

# name: system and number of peers, such as "native 2".
sub run
{
	my ($class, $workload, $name, %option) = @_;
	my ($system, $peers) = split(/ /, $name);
	return Bench::Group::with($workload, $system, $peers + 1, sub { return measure($workload, @_) }, %option);
}

sub measure
{
	my ($workload, $system, $origin, @targets) = @_;
	Bench::Group::settle($origin, @targets);
	Bench::Group::hold($system, $origin, @targets);
	$origin->sql('SET synchronous_commit = off', $workload->statements('load'), 'INSERT INTO bench_marker VALUES (0)', 'CHECKPOINT');
	my @waiters = map { $_->start_sql(Bench::Server::marker_wait(0)) } @targets;
	my $cpu = $origin->cpu;
	my $machine = Bench::Processes::machine_cpu();
	my @before = map { $_->cpu } @targets;
	$system->release($origin, $_) foreach @targets;
	my ($seen) = sort { $b <=> $a } map { Bench::Server::finish_sql($_) } @waiters;
	my @senders = Bench::Group::senders($origin);
	my %figures = (version => $system->version($origin), origin_cpu_s => $origin->cpu - $cpu, cpu_s => 0);
	$figures{foreign_cpu_s} = Bench::Processes::machine_cpu() - $machine - $figures{origin_cpu_s};
	$figures{foreign_cpu_s} -= $targets[$_]->cpu - $before[$_] foreach 0 .. $#targets;
	$figures{cpu_s} += Bench::Processes::cpu($_) foreach @senders;
	my $begun = $origin->sql('SELECT extract(epoch FROM min(backend_start)) FROM pg_stat_replication');
	$figures{wall_s} = $seen - $begun;
	$figures{identical} = Bench::Group::identical($origin, @targets);
	return \%figures;
}

1;
