# Bench::Kind::Local: what a session pays for its own writes: without the
# extension, and so with a subscriber of native logical replication; with the
# library loaded; and in a group with no, one, two peers.
#
# The section load is run by one session, which reads its own CPU time.
package Bench::Kind::Local;

use strict;
use warnings;

use Bench::Group;
use Bench::Processes;
use Bench::Profile;
use Bench::Server;

# Variant: [system, number of servers].
my %variant = (
	plain  => [ native => 1 ], 'native with a peer' => [ native => 2 ], loaded => [ loaded => 1 ],
	alone  => [ multicenter => 1 ], 'one peer' => [ multicenter => 2 ], 'two peers' => [ multicenter => 3 ],
);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	my ($system, $servers) = @{ $variant{$name} };
	return Bench::Group::with($workload, $system, $servers, sub { return measure($workload, $name, @_) }, %option);
}

sub measure
{
	my ($workload, $name, $system, $origin, @peers) = @_;
	Bench::Group::settle($origin, @peers) if @peers;
	my $cpu = Bench::Server::own_cpu();
	my $wal = $origin->sql('CHECKPOINT', 'SELECT pg_current_wal_insert_lsn()');
	my @all = map { $_->cpu } $origin, @peers;
	my $machine = Bench::Processes::machine_cpu();
	my @load = $workload->statements('load');
	my $session = $origin->start_sql('SET synchronous_commit = off', @load[ 0 .. $#load - 1 ], $cpu, $load[-1], $cpu);
	profile($origin, $name) if Bench::Profile::wanted();
	my @looks = map { /^([\d.]+)\|([\d.]+)$/ ? [ $1, $2 ] : () } split(/\n/, Bench::Server::finish_sql($session));
	Bench::Profile::stop();
	$machine = Bench::Processes::machine_cpu() - $machine;
	$machine -= $_->cpu - shift(@all) foreach $origin, @peers;
	my $transactions = $workload->number('transactions');
	return {
		version => $system->version($origin),
		cpu_us  => 1e6 * ($looks[-1][0] - $looks[0][0]) / $transactions,
		rate    => $transactions / ($looks[-1][1] - $looks[0][1]),
		wal_mb  => $origin->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal') / 1e6"),
		foreign_cpu_s => $machine,
	};
}

# Profile the session that writes, once it does.
sub profile
{
	my ($server, $name) = @_;
	$server->wait_for(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'DO %'});
	Bench::Profile::start('session-' . ($name =~ tr/ /-/r), $server->sql(q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %'}));
	return;
}

1;
