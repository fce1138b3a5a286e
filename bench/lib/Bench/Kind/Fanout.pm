# Bench::Kind::Fanout: what the origin pays for each more peer that gets the
# same backlog; or, where the workload says "live", that gets it while it is
# written, so that the origin's CPU is that of its sessions too.
package Bench::Kind::Fanout;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Server;
use Time::HiRes qw(time);

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
	my @load = ('SET synchronous_commit = off', $workload->statements('load'), 'INSERT INTO bench_marker VALUES (0)');
	my $live = $workload->key('live');
	if (!$live)
	{
		Bench::Group::hold($system, $origin, @targets);
		$origin->sql(@load, 'CHECKPOINT');
	}
	my @waiters = map { $_->start_sql(Bench::Server::marker_wait(0)) } @targets;
	my %sent = map { $_ => Bench::Processes::cpu($_) } Bench::Group::senders($origin);
	my $cpu = $origin->cpu;
	my $begun = time;
	my $machine = Bench::Processes::machine_cpu();
	my @before = map { $_->cpu } @targets;
	if ($live) { $origin->sql(@load) }
	else       { $system->release($origin, $_) foreach @targets }
	my ($seen) = sort { $b <=> $a } map { Bench::Server::finish_sql($_) } @waiters;
	my @senders = Bench::Group::senders($origin);
	my %figures = (version => $system->version($origin), origin_cpu_s => $origin->cpu - $cpu, cpu_s => 0);
	$figures{foreign_cpu_s} = Bench::Processes::machine_cpu() - $machine - $figures{origin_cpu_s};
	$figures{foreign_cpu_s} -= $targets[$_]->cpu - $before[$_] foreach 0 .. $#targets;
	$figures{cpu_s} += Bench::Processes::cpu($_) - ($sent{$_} || 0) foreach @senders;
	$figures{share} = $figures{cpu_s} / $figures{origin_cpu_s};
	$begun = $origin->sql('SELECT extract(epoch FROM min(backend_start)) FROM pg_stat_replication') unless $live;
	$figures{wall_s} = $seen - $begun;
	$figures{identical} = Bench::Group::identical($origin, @targets);
	return \%figures;
}

1;
