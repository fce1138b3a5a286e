# Bench::Kind::Drain: a backlog is written while nothing is sent; then it is
# sent and applied, as fast as that goes.
#
# Sections of the workload: seed (before replication is set up), target (there,
# once it is) and load (the backlog).  A variant of a system is what vary() makes
# of it; here it is compressed in some way: "multicenter lz4".
package Bench::Kind::Drain;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Profile;
use Bench::Server;
use Time::HiRes qw(time);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	my ($system, $variant) = split(/ /, $name);
	return Bench::Group::with($workload, $system, 2, sub { return $class->measure($workload, $variant, @_) }, %option);
}

# Make a system its variant.
sub vary
{
	my ($class, $system, $origin, $target, $method) = @_;
	return $system->compress($origin, $target, $method);
}

sub measure
{
	my ($class, $workload, $variant, $system, $origin, $target) = @_;
	$class->vary($system, $origin, $target, $variant) if defined $variant;
	my @prepare = $workload->statements('target');
	$target->sql(@prepare) if @prepare;
	$system->alter_link($origin, $target, $workload->key('link')) if defined $workload->key('link') && $system->can('alter_link');
	Bench::Group::even($target);
	Bench::Group::settle($origin, $target);
	my $slot = Bench::Group::slot($origin);
	Bench::Group::hold($system, $origin, $target);

	my $wal = $origin->sql('SELECT pg_current_wal_insert_lsn()');
	my $begun = time;
	$origin->sql('SET synchronous_commit = off', $workload->statements('load'), 'INSERT INTO bench_marker VALUES (0)');
	my %figures = (version => $system->version($origin), load_s => time - $begun,
		origin_wal_mb => $origin->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal') / 1e6"));
	$_->sql('CHECKPOINT') foreach $origin, $target;
	my @busy = map { Bench::Processes::busy() } 1 .. $workload->number('busy') || 0;
	drain($system, $origin, $target, $slot, \%figures);
	$figures{identical} = Bench::Group::identical($origin, $target);
	$figures{cpu_s} = $figures{sender_cpu_s} + $figures{apply_cpu_s};
	$figures{mb_per_million} = 1e6 * $figures{wire_mb} / $workload->changes if defined $figures{wire_mb};
	return \%figures;
}

# Let go, and measure until the last change is visible.
sub drain
{
	my ($system, $origin, $target, $slot, $figures) = @_;
	my $waiter = $target->start_sql(Bench::Server::marker_wait(0));
	my $wal = $target->sql('SELECT pg_current_wal_insert_lsn()');
	my ($reverse) = Bench::Group::senders($target);
	my $reverse_before = $reverse ? Bench::Processes::cpu($reverse) : 0;
	my @before = ($origin->cpu, $target->cpu, Bench::Processes::machine_cpu());
	$system->release($origin, $target);

	my (%pids, %memory);
	my $select = '';
	vec($select, fileno($waiter->{out}), 1) = 1;
	until (select(my $ready = $select, undef, undef, 0.05))
	{
		if (!$pids{sender} || !@{ $pids{apply} })
		{
			%pids = find_processes($system, $origin, $target, $slot);
			profile($system, %pids) if $pids{sender} && @{ $pids{apply} };
		}
		look_at_memory(\%pids, \%memory);
	}
	my $seen = Bench::Server::finish_sql($waiter);
	Bench::Profile::stop();

	%pids = find_processes($system, $origin, $target, $slot);
	look_at_memory(\%pids, \%memory);
	my @after = ($origin->cpu, $target->cpu, Bench::Processes::machine_cpu());
	my ($begun, $port) = split(/\|/, $origin->sql(
			"SELECT extract(epoch FROM backend_start), client_port FROM pg_stat_activity WHERE pid = $pids{sender}"));
	$figures->{wall_s} = $seen - $begun;
	$figures->{sender_cpu_s} = Bench::Processes::cpu($pids{sender});
	$figures->{apply_cpu_s} = 0;
	$figures->{apply_cpu_s} += Bench::Processes::cpu($_) foreach @{ $pids{apply} };
	$figures->{reverse_cpu_s} = $reverse ? Bench::Processes::cpu($reverse) - $reverse_before : 0;
	$figures->{origin_cpu_s} = $after[0] - $before[0];
	$figures->{target_cpu_s} = $after[1] - $before[1];
	$figures->{foreign_cpu_s} = $after[2] - $before[2] - $figures->{origin_cpu_s} - $figures->{target_cpu_s};
	$figures->{target_wal_mb} = $target->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal') / 1e6");
	$figures->{wire_mb} = wire_mb($origin->port, $port);
	$figures->{spill_mb} = $origin->sql("SELECT coalesce(sum(spill_bytes), 0) / 1e6 FROM pg_stat_replication_slots WHERE slot_name = '$slot'");
	$figures->{sender_rss_mb} = $memory{sender};
	$figures->{apply_rss_mb} = $memory{apply};
	return;
}

# Who sends, and who applies.
sub find_processes
{
	my ($system, $origin, $target, $slot) = @_;
	my $sender = $origin->sql("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '$slot'");
	my @apply = Bench::Group::appliers($system, $target);
	return (sender => $sender, apply => \@apply);
}

# Profile them, where that is wanted.
sub profile
{
	my ($system, %pids) = @_;
	my ($name) = $system =~ /(\w+)$/;
	Bench::Profile::start(lc("$name-sender"), $pids{sender});
	Bench::Profile::start(lc("$name-apply"), @{ $pids{apply} });
	return;
}

# Keep the largest memory that was seen.
sub look_at_memory
{
	my ($pids, $memory) = @_;
	my %now = (sender => $pids->{sender} ? Bench::Processes::anonymous_mb($pids->{sender}) : 0, apply => 0);
	$now{apply} += Bench::Processes::anonymous_mb($_) foreach @{ $pids->{apply} || [] };
	foreach my $who (keys %now)
	{
		$memory->{$who} = $now{$who} if !defined $memory->{$who} || $now{$who} > $memory->{$who};
	}
	return;
}

# Bytes that a server has sent over one TCP connection.
sub wire_mb
{
	my ($server_port, $client_port) = @_;
	my $text = qx{ss -tinH "( sport = :$server_port and dport = :$client_port )" 2> /dev/null};
	return $text =~ /bytes_sent:(\d+)/ ? $1 / 1e6 : undef;
}

1;
