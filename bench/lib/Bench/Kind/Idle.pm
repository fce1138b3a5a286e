# Bench::Kind::Idle: what centers cost while nobody writes.
#
# A variant is a system and the number of peers of each server.  Figures are
# those of one server, which all have the same to do: their mean.
package Bench::Kind::Idle;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Time::HiRes qw(time);

# What a process belongs to, by its type.
my @roles = ([ sender => qr/^walsender/ ], [ receiver => qr/receiver|applier|logical replication .*worker/ ], [ manager => qr/manager/ ]);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	my ($system, $peers) = split(/ /, $name);
	return Bench::Group::with($workload, $system, $peers + 1, sub { return measure($workload, @_) }, %option, unconnected => 1);
}

sub measure
{
	my ($workload, $system, @servers) = @_;
	my $begun = time;
	$system->connect(@servers);
	my %figures = (version => $system->version($servers[0]), join_s => time - $begun);
	Bench::Group::settle(@servers);
	# What connecting has left to be done is no idling.
	watch($workload->number('calm'), @servers);
	%figures = (%figures, %{ watch($workload->number('seconds'), @servers) });
	return \%figures;
}

# Watch servers for some seconds; mean figures of one.
sub watch
{
	my ($seconds, @servers) = @_;
	my @before = map { look($_) } @servers;
	my $begun = time;
	select(undef, undef, undef, $seconds);
	my @after = map { look_again($servers[$_], $before[$_]) } 0 .. $#servers;
	my %sum;
	foreach my $i (0 .. $#servers)
	{
		$sum{$_} += $after[$i]{$_} / @servers foreach keys %{ $after[$i] };
	}
	my $elapsed = time - $begun;
	$sum{$_} = $sum{$_} / $elapsed foreach grep { /_(?:ms|kb)$/ } keys %sum;
	$sum{other_ms} = $sum{cpu_ms} - $sum{sender_ms} - $sum{receiver_ms} - $sum{manager_ms};
	$sum{link_ms} = ($sum{sender_ms} + $sum{receiver_ms}) / (@servers - 1) if @servers > 1;
	return \%sum;
}

# The state of a server before: WAL, processes with their CPU, bytes.
sub look
{
	my ($server) = @_;
	my %type = map { split(/\|/, $_, 2) } split(/\n/, $server->sql('SELECT pid, backend_type FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));
	return {
		wal => $server->sql('SELECT pg_current_wal_insert_lsn()'), type => \%type,
		cpu => { map { $_ => Bench::Processes::cpu($_) } keys %type }, sent => sent($server), all => $server->cpu,
	};
}

# What it has used since then.
sub look_again
{
	my ($server, $before) = @_;
	my %figures = (cpu_ms => 1000 * ($server->cpu - $before->{all}));
	foreach my $role (@roles)
	{
		my ($name, $pattern) = @$role;
		my @pids = grep { $before->{type}{$_} =~ $pattern } keys %{ $before->{type} };
		$figures{"${name}_ms"} = $figures{"${name}_mb"} = 0;
		foreach my $pid (@pids)
		{
			$figures{"${name}_ms"} += 1000 * ((Bench::Processes::cpu($pid) || 0) - $before->{cpu}{$pid});
			$figures{"${name}_mb"} += Bench::Processes::anonymous_mb($pid) / @pids;
		}
	}
	my $sent = sent($server);
	$figures{wire_kb} = 0;
	$figures{wire_kb} += ($sent->{$_} - ($before->{sent}{$_} || 0)) / 1e3 foreach keys %$sent;
	$figures{wal_kb} = $server->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$before->{wal}') / 1e3");
	return \%figures;
}

# Bytes that a server has sent, by connection.
sub sent
{
	my ($server) = @_;
	my %sent;
	foreach my $line (split(/\n/, qx{ss -tinHO "( sport = :@{[ $server->port ]} )"}))
	{
		my ($peer, $bytes) = $line =~ /\S+:\d+\s+\S+:(\d+)\s.*?bytes_sent:(\d+)/ or next;
		$sent{$peer} = $bytes;
	}
	return \%sent;
}

1;
