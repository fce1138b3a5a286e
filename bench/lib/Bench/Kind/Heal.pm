# Bench::Kind::Heal: two servers change the same rows while no link works
# between them; then both directions are let go, and conflicts are decided.
# With "cut: no" in the workload's head links work all the time.
package Bench::Kind::Heal;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Profile;
use Bench::Server;
use Time::HiRes qw(time usleep);

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

# CPU seconds of those who send and apply at a server, by pid.
sub workers
{
	my ($system, $server) = @_;
	return map { $_ => Bench::Processes::cpu($_) } Bench::Group::senders($server), Bench::Group::appliers($system, $server);
}

# Profile those who work at one of them, where that is wanted.
sub profile
{
	my ($system, $server) = @_;
	return unless Bench::Profile::wanted();
	my @appliers;
	usleep(20_000) until @appliers = Bench::Group::appliers($system, $server);
	my ($name) = lc($system) =~ /(\w+)$/;
	Bench::Profile::start("$name-sender", Bench::Group::senders($server));
	Bench::Profile::start("$name-apply", @appliers);
	return;
}

# Change rows on both servers at the same time.
sub change
{
	my ($workload, $markers, @both) = @_;
	my @sessions = map { $both[$_]->start_sql('SET synchronous_commit = off', $workload->statements('load'), "INSERT INTO bench_marker VALUES ($markers->[$_])") } 0, 1;
	Bench::Server::finish_sql($_) foreach @sessions;
	return;
}

sub measure
{
	my ($workload, $system, @both) = @_;
	my ($lisbon, $oslo) = @both;
	$system->connect_back($lisbon, $oslo);
	Bench::Group::settle($lisbon, $oslo);
	Bench::Group::settle($oslo, $lisbon);
	my $cut = ($workload->key('cut') || 'yes') ne 'no';
	my @markers = (-1, -2);
	if ($cut)
	{
		$system->hold($lisbon, $oslo);
		$system->hold($oslo, $lisbon);
		$_->wait_for('SELECT count(*) = 0 FROM pg_replication_slots WHERE active_pid IS NOT NULL') foreach @both;
		change($workload, \@markers, @both);
		$_->sql('CHECKPOINT') foreach @both;
	}

	my %figures = (version => $system->version($lisbon), log_mb => -log_mb(@both));
	my @waiters = map { $both[$_]->start_sql(Bench::Server::marker_wait($markers[ 1 - $_ ])) } 0, 1;
	my %cpu = map { $_ => { workers($system, $_) } } @both;
	my @before = ($lisbon->cpu + $oslo->cpu, Bench::Processes::machine_cpu());
	my $begun = time;
	if ($cut)
	{
		$system->release($lisbon, $oslo);
		$system->release($oslo, $lisbon);
		profile($system, $oslo);
	}
	else
	{
		profile($system, $oslo);
		change($workload, \@markers, @both);
	}
	my ($seen) = sort { $b <=> $a } map { Bench::Server::finish_sql($_) } @waiters;
	Bench::Profile::stop();
	$figures{wall_s} = $seen - $begun;
	$figures{rate} = $workload->changes / $figures{wall_s};
	$figures{foreign_cpu_s} = Bench::Processes::machine_cpu() - $before[1] - ($lisbon->cpu + $oslo->cpu - $before[0]);
	$figures{sender_cpu_s} = $figures{apply_cpu_s} = 0;
	foreach my $server (@both)
	{
		my %old = %{ $cpu{$server} };
		$figures{sender_cpu_s} += Bench::Processes::cpu($_) - ($old{$_} || 0) foreach Bench::Group::senders($server);
		$figures{apply_cpu_s} += Bench::Processes::cpu($_) - ($old{$_} || 0) foreach Bench::Group::appliers($system, $server);
	}
	$figures{cpu_s} = $figures{sender_cpu_s} + $figures{apply_cpu_s};
	$figures{log_mb} += log_mb(@both);
	$figures{identical} = Bench::Group::identical(@both);
	return \%figures;
}

1;
