# Bench::Kind::Heal: two servers change the same rows while no link works
# between them; then both directions are let go, and conflicts are decided.
package Bench::Kind::Heal;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Server;
use Time::HiRes qw(time);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	return Bench::Group::with($workload, $name, 2, sub { return measure($workload, @_) }, %option);
}

# Size of the logs of servers in MB.
sub log_mb
{
	my $sum = 0;
	$sum += -s $_->{log} foreach @_;
	return $sum / 1e6;
}

sub measure
{
	my ($workload, $system, @both) = @_;
	my ($lisbon, $oslo) = @both;
	$system->connect_back($lisbon, $oslo);
	Bench::Group::settle($lisbon, $oslo);
	Bench::Group::settle($oslo, $lisbon);
	$system->hold($lisbon, $oslo);
	$system->hold($oslo, $lisbon);
	$_->wait_for('SELECT count(*) = 0 FROM pg_replication_slots WHERE active_pid IS NOT NULL') foreach @both;
	my @markers = (-1, -2);
	my @sessions = map { $both[$_]->start_sql('SET synchronous_commit = off', $workload->statements('load'), "INSERT INTO bench_marker VALUES ($markers[$_])") } 0, 1;
	Bench::Server::finish_sql($_) foreach @sessions;
	$_->sql('CHECKPOINT') foreach @both;

	my %figures = (version => $system->version($lisbon), log_mb => -log_mb(@both));
	my @waiters = map { $both[$_]->start_sql(Bench::Server::marker_wait($markers[ 1 - $_ ])) } 0, 1;
	my @before = ($lisbon->cpu + $oslo->cpu, Bench::Processes::machine_cpu());
	my $begun = time;
	$system->release($lisbon, $oslo);
	$system->release($oslo, $lisbon);
	my ($seen) = sort { $b <=> $a } map { Bench::Server::finish_sql($_) } @waiters;
	$figures{wall_s} = $seen - $begun;
	$figures{rate} = $workload->changes / $figures{wall_s};
	$figures{foreign_cpu_s} = Bench::Processes::machine_cpu() - $before[1] - ($lisbon->cpu + $oslo->cpu - $before[0]);
	$figures{sender_cpu_s} = $figures{apply_cpu_s} = 0;
	foreach my $server (@both)
	{
		$figures{sender_cpu_s} += Bench::Processes::cpu($_) foreach Bench::Group::senders($server);
		$figures{apply_cpu_s} += Bench::Processes::cpu($_) foreach Bench::Group::appliers($system, $server);
	}
	$figures{cpu_s} = $figures{sender_cpu_s} + $figures{apply_cpu_s};
	$figures{log_mb} += log_mb(@both);
	$figures{identical} = Bench::Group::identical(@both);
	return \%figures;
}

1;
