# Bench::Kind::Copy: what applying a backlog costs, beside COPY of the same rows,
# in binary format, into the same table of a server that replicates nothing.
package Bench::Kind::Copy;

use strict;
use warnings;

use parent 'Bench::Kind::Drain';

use Bench::Group;
use Bench::Processes;
use Bench::Server;

sub run
{
	my ($class, $workload, $name, %option) = @_;
	return $class->SUPER::run($workload, $name, %option) if $name ne 'COPY';
	return Bench::Group::with($workload, 'native', 2, sub { return copy($workload, $option{data}, @_) }, %option, unconnected => 1);
}

sub copy
{
	my ($workload, $dir, $system, $origin, $target) = @_;
	my $file = "$dir/copied";
	my $table = $workload->key('table');
	$origin->sql($workload->statements('load'), "COPY $table TO '$file' (FORMAT binary)");
	$target->sql('CHECKPOINT');
	my ($wal, $machine, $cpu) = ($target->sql('SELECT pg_current_wal_insert_lsn()'), Bench::Processes::machine_cpu(), $target->cpu);
	my ($begun, $ended) = split(/\n/, $target->sql('SET synchronous_commit = off', Bench::Server::own_cpu(), "COPY $table FROM '$file' (FORMAT binary)", Bench::Server::own_cpu()));
	unlink($file);
	my @cpu = map { (split(/\|/))[0] } $begun, $ended;
	my @time = map { (split(/\|/))[1] } $begun, $ended;
	my $server_cpu = $target->cpu - $cpu;
	return {
		version => $system->version($origin),
		apply_cpu_s => $cpu[1] - $cpu[0], wall_s => $time[1] - $time[0],
		target_wal_mb => $target->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal') / 1e6"),
		foreign_cpu_s => Bench::Processes::machine_cpu() - $machine - $server_cpu,
		identical => Bench::Group::identical($origin, $target),
	};
}

1;
