# Bench::Group: fresh servers that replicate a workload's tables.
package Bench::Group;

use strict;
use warnings;

use Bench::Server;
use Bench::System;
use JSON::PP ();
use Time::HiRes qw(usleep);

my @names = qw(lisbon oslo riga tokyo lima cairo delhi quito);

# Make servers, the first of them with the tables and rows of the workload,
# which replicate, unless the option unconnected leaves that to the code; run
# code with (system, servers); remove them.  Returns what the code returned.
sub with
{
	my ($workload, $name, $count, $code, %option) = @_;
	my $system = Bench::System::named($name);
	my $conf = join("\n", Bench::System::conf_of($system), $workload->key('conf') || '', '');
	my @servers;
	my $figures = eval {
		push(@servers, Bench::Server->new($_, %option, conf => $conf)) foreach @names[ 0 .. $count - 1 ];
		prepare($workload, $system, @servers);
		$system->connect(@servers) if !$option{unconnected} && (@servers > 1 || $system eq 'Bench::System::Multicenter');
		$code->($system, @servers);
	};
	my $error = $@;
	$_->remove foreach @servers;
	die "$name: $error" unless $figures;
	return $figures;
}

# Make the tables with their rows; pglogical and native logical replication
# need them at the targets too.
sub prepare
{
	my ($workload, $system, $origin, @targets) = @_;
	$origin->sql('CREATE TABLE bench_marker (id int PRIMARY KEY)', $workload->statements('seed'));
	my $schema = Bench::Server::command('pg_dump', '-s', '-n', 'public', $origin->dsn);
	$schema =~ s/^CREATE SCHEMA public;$|^\\(?:un)?restrict .*$//mg;
	if ($system ne 'Bench::System::Multicenter')
	{
		my $file = Bench::Server::file_with($schema);
		Bench::Server::command($_->psql, '-f', $file->filename) foreach @targets;
	}
	$origin->sql('VACUUM ANALYZE');
	return;
}

# Give tables that were copied the same layout, whoever has copied them: one
# system makes indexes after the rows, so that they are denser, others before.
sub even
{
	my (@targets) = @_;
	$_->sql('REINDEX SCHEMA public', 'VACUUM ANALYZE') foreach @targets;
	return;
}

# Wait until the slots of a server start behind all that is old, or it would be
# decoded again and counted.
sub settle
{
	my ($origin, @targets) = @_;
	my $old = $origin->sql('SELECT pg_current_wal_insert_lsn()');
	foreach my $i (1 .. 100)
	{
		my $id = $origin->sql('CHECKPOINT', q{INSERT INTO bench_marker SELECT coalesce(max(id), 0) + 1 FROM bench_marker RETURNING id});
		$_->sql(Bench::Server::marker_wait($id)) foreach @targets;
		return if $origin->sql("SELECT bool_and(restart_lsn > '$old') FROM pg_replication_slots WHERE active_pid IS NOT NULL") eq 't';
		usleep(100_000);
	}
	die "a slot does not get over old WAL\n";
}

# The slot from which the only target is served.
sub slot
{
	my ($origin) = @_;
	return $origin->sql('SELECT slot_name FROM pg_replication_slots WHERE active_pid IS NOT NULL');
}

# Hold what goes from a server to others, until nobody sends any more.
sub hold
{
	my ($system, $origin, @targets) = @_;
	$system->hold($origin, $_) foreach @targets;
	$origin->wait_for('SELECT count(*) = 0 FROM pg_replication_slots WHERE active_pid IS NOT NULL');
	return;
}

# Processes that apply at a server.
sub appliers
{
	my ($system, $server) = @_;
	return split(/\n/, $server->sql("SELECT pid FROM pg_stat_activity WHERE backend_type ~ '^(" . $system->appliers . ")'"));
}

# Processes that send from a server.
sub senders
{
	my ($server) = @_;
	return split(/\n/, $server->sql('SELECT active_pid FROM pg_replication_slots WHERE active_pid IS NOT NULL'));
}

# Are the tables the same everywhere?
sub identical
{
	my ($origin, @others) = @_;
	my @tables = split(/\n/, $origin->sql(q{SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1}));
	my $sql = join(' UNION ALL ', map { "SELECT '$_', count(*), sum(hashtextextended(t::text, 0)::numeric) FROM $_ AS t" } @tables) . ' ORDER BY 1';
	my %state = map { $_->name => $_->sql($sql) } $origin, @others;
	my @different = grep { $state{$_} ne $state{ $origin->name } } sort keys %state;
	print("different:\n", map { "$_:\n$state{$_}\n" } $origin->name, @different) if @different;
	return @different ? JSON::PP::false : JSON::PP::true;
}

1;
