# Bench::Kind::Join: an empty server gets what another one has, until changes
# stream.
package Bench::Kind::Join;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Time::HiRes qw(time);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	return Bench::Group::with($workload, $name, 2, sub { return measure(@_) }, %option, unconnected => 1);
}

sub measure
{
	my ($system, $origin, $target) = @_;
	$_->sql('CHECKPOINT') foreach $origin, $target;
	my $size = $origin->sql('SELECT pg_database_size(current_database()) / 1e6');
	my $wal = $target->sql('SELECT pg_current_wal_insert_lsn()');
	my @before = ($origin->cpu, $target->cpu, Bench::Processes::machine_cpu());
	my $begun = time;
	$system->connect($origin, $target);
	my %figures = (wall_s => time - $begun, database_mb => $size);
	my @used = map { $_ - shift(@before) } $origin->cpu, $target->cpu, Bench::Processes::machine_cpu();
	@figures{qw(origin_cpu_s target_cpu_s)} = @used;
	$figures{cpu_s} = $used[0] + $used[1];
	$figures{foreign_cpu_s} = $used[2] - $figures{cpu_s};
	$figures{target_wal_mb} = $target->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal') / 1e6");
	Bench::Group::settle($origin, $target);
	$figures{identical} = Bench::Group::identical($origin, $target);
	$figures{version} = $system->version($origin);
	return \%figures;
}

1;
