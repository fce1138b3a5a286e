# Bench::Kind::Drain: a backlog is written while nothing is sent; then it is
# sent and applied, as fast as that goes.
#
# Sections of the workload: seed (before replication is set up) and load (the
# backlog).  What is old by then is out of the way of decoding before the
# backlog is written, or it would be decoded again and counted.
package Bench::Kind::Drain;

use strict;
use warnings;

use Bench::Processes;
use Bench::Server;
use Bench::System;
use JSON::PP ();
use Time::HiRes qw(time usleep);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	my $system = Bench::System::named($name);
	my @servers = map { Bench::Server->new($_, %option, conf => $system->conf) } qw(lisbon oslo);
	my $figures = eval { measure($workload, $system, @servers) };
	my $error = $@;
	$_->remove foreach @servers;
	die "$name: $error" unless $figures;
	return $figures;
}

sub measure
{
	my ($workload, $system, $origin, $target) = @_;
	$origin->sql('CREATE TABLE bench_marker (id int PRIMARY KEY)');
	my @tables = prepare($workload, $system, $origin, $target);
	$system->connect($origin, $target);
	my $slot = settle($origin, $target);
	$system->hold($origin, $target);
	$origin->wait_for("SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = '$slot'");

	my $wal = $origin->sql('SELECT pg_current_wal_insert_lsn()');
	$origin->sql('SET synchronous_commit = off', $workload->statements('load'), 'INSERT INTO bench_marker VALUES (0)');
	my %figures = (version => $system->version($origin),
		origin_wal_mb => $origin->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal') / 1e6"));
	$_->sql('CHECKPOINT') foreach $origin, $target;
	drain($system, $origin, $target, $slot, \%figures);
	$figures{identical} = identical($origin, $target, @tables);
	$figures{cpu_s} = $figures{sender_cpu_s} + $figures{apply_cpu_s};
	return \%figures;
}

# Make the tables with their rows; pglogical and native logical replication
# need them at the target too.  Returns their names.
sub prepare
{
	my ($workload, $system, $origin, $target) = @_;
	$origin->sql($workload->statements('seed'));
	my $schema = Bench::Server::command('pg_dump', '-s', '-n', 'public', $origin->dsn);
	if ($system ne 'Bench::System::Multicenter')
	{
		my $file = "/tmp/bench-schema.$$";
		open(my $out, '>', $file) or die "could not write $file: $!\n";
		print $out $schema =~ s/^CREATE SCHEMA public;$//mr =~ s/^\\(?:un)?restrict .*\n//mgr;
		close($out);
		Bench::Server::command($target->psql, '-f', $file);
		unlink($file);
	}
	$origin->sql('VACUUM ANALYZE');
	return split(/\n/, $origin->sql(q{SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace}));
}

# Wait until the slot starts behind all that is old.  Returns its name.
sub settle
{
	my ($origin, $target) = @_;
	my $slot = $origin->sql(q{SELECT slot_name FROM pg_replication_slots WHERE active_pid IS NOT NULL});
	my $old = $origin->sql('SELECT pg_current_wal_insert_lsn()');
	foreach my $i (1 .. 100)
	{
		$origin->sql('CHECKPOINT', "INSERT INTO bench_marker VALUES ($i)");
		$target->sql(Bench::Server::marker_wait($i));
		return $slot if $origin->sql("SELECT restart_lsn > '$old' FROM pg_replication_slots WHERE slot_name = '$slot'") eq 't';
		usleep(100_000);
	}
	die "the slot does not get over old WAL\n";
}

# Let go, and measure until the last change is visible.
sub drain
{
	my ($system, $origin, $target, $slot, $figures) = @_;
	my $waiter = $target->start_sql(Bench::Server::marker_wait(0));
	my $wal = $target->sql('SELECT pg_current_wal_insert_lsn()');
	my @before = ($origin->cpu, $target->cpu, Bench::Processes::machine_cpu());
	$system->release($origin, $target);

	my (%pids, %memory);
	my $select = '';
	vec($select, fileno($waiter->{out}), 1) = 1;
	until (select(my $ready = $select, undef, undef, 0.05))
	{
		%pids = find_processes($system, $origin, $target, $slot) unless $pids{sender} && @{ $pids{apply} };
		look_at_memory(\%pids, \%memory);
	}
	my $seen = Bench::Server::finish_sql($waiter);

	%pids = find_processes($system, $origin, $target, $slot);
	look_at_memory(\%pids, \%memory);
	my @after = ($origin->cpu, $target->cpu, Bench::Processes::machine_cpu());
	my ($begun, $port) = split(/\|/, $origin->sql(
			"SELECT extract(epoch FROM backend_start), client_port FROM pg_stat_activity WHERE pid = $pids{sender}"));
	$figures->{wall_s} = $seen - $begun;
	$figures->{sender_cpu_s} = Bench::Processes::cpu($pids{sender});
	$figures->{apply_cpu_s} = 0;
	$figures->{apply_cpu_s} += Bench::Processes::cpu($_) foreach @{ $pids{apply} };
	$figures->{reverse_cpu_s} = $pids{reverse} ? Bench::Processes::cpu($pids{reverse}) - $pids{reverse_before} : 0;
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

# Who sends, who applies, and who sends back.
sub find_processes
{
	my ($system, $origin, $target, $slot) = @_;
	my $sender = $origin->sql("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '$slot'");
	my @apply = split(/\n/, $target->sql("SELECT pid FROM pg_stat_activity WHERE backend_type ~ '^(" . $system->appliers . ")'"));
	my $reverse = $target->sql('SELECT max(active_pid) FROM pg_replication_slots');
	return (sender => $sender, apply => \@apply, reverse => $reverse, reverse_before => 0);
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

# Are the tables the same on both sides?
sub identical
{
	my ($origin, $target, @tables) = @_;
	my $sql = join(' UNION ALL ', map { "SELECT '$_', count(*), sum(hashtextextended(t::text, 0)::numeric) FROM $_ AS t" } sort @tables);
	return $origin->sql($sql) eq $target->sql($sql) ? JSON::PP::true : JSON::PP::false;
}

1;
