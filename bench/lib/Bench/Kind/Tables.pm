# Bench::Kind::Tables: what a table costs, of many.
#
# A variant is a system and a number of tables.  One server joins; then each
# table is changed once and once more; servers are idle; the target is started
# again; views are read.  Native logical replication is not asked to copy where
# it would take minutes: 20 ms for a table, even an empty one.
package Bench::Kind::Tables;

use strict;
use warnings;

use Bench::Group;
use Bench::Kind::Idle;
use Bench::Processes;
use Bench::Server;
use JSON::PP ();
use Time::HiRes qw(time);

sub run
{
	my ($class, $workload, $name, %option) = @_;
	my ($system, $tables) = split(/ /, $name);
	$workload->set(tables => $tables);
	return Bench::Group::with($workload, $system, 2, sub { return measure($workload, @_) }, %option, unconnected => 1);
}

sub measure
{
	my ($workload, $system, @both) = @_;
	my ($origin, $target) = @both;
	my $tables = $workload->number('tables');
	my $copies = $system->can('copy') && $tables > 2000 ? 0 : 1;
	$system->copy($copies) if $system->can('copy');
	my $begun = time;
	my $cpu = $origin->cpu + $target->cpu;
	$system->connect(@both);
	my %figures = (version => $system->version($origin));
	@figures{qw(join_s join_cpu_s)} = (time - $begun, $origin->cpu + $target->cpu - $cpu) if $copies;
	$system->copy(1) if $system->can('copy');
	Bench::Group::settle(@both);

	my @pids = ((Bench::Group::senders($origin))[0], Bench::Group::appliers($system, $target));
	foreach my $round (1, 2)
	{
		my ($sender, $apply) = map { 1e6 * $_ / $tables } touch($workload, $round, \@pids, @both);
		@figures{qw(first_sender_us first_apply_us first_cpu_us)} = ($sender, $apply, $sender + $apply) if $round == 1;
		$figures{next_cpu_us} = $sender + $apply if $round == 2;
	}
	my ($sender, @apply) = map { Bench::Processes::anonymous_mb($_) } @pids;
	$figures{sender_mb} = $sender;
	$figures{apply_mb} += $_ foreach @apply;

	Bench::Kind::Idle::watch($workload->number('calm'), @both);
	$figures{idle_ms} = Bench::Kind::Idle::watch($workload->number('seconds'), @both)->{cpu_ms};
	look_at_views($origin, \%figures) if $system->can('compress');
	start_again($origin, $target, \%figures);
	$figures{identical} = same_counts(@both);
	return \%figures;
}

# One change of each table, a transaction each; CPU seconds of who sends and
# who applies.
sub touch
{
	my ($workload, $round, $pids, $origin, $target) = @_;
	my @before = map { Bench::Processes::cpu($_) } @$pids;
	my $waiter = $target->start_sql(Bench::Server::marker_wait(-$round));
	$origin->sql('SET synchronous_commit = off', $workload->statements('touch', id => $round), "INSERT INTO bench_marker VALUES (-$round)");
	Bench::Server::finish_sql($waiter);
	my ($sender, @apply) = map { Bench::Processes::cpu($_) - shift(@before) } @$pids;
	my $apply = 0;
	$apply += $_ foreach @apply;
	return ($sender, $apply);
}

# How long health() takes, and the slowest of the views that the extension has.
sub look_at_views
{
	my ($server, $figures) = @_;
	($figures->{health_ms}) = grep { /\S/ } split(/\n/, $server->sql(q{SELECT multicenter.health() ->> 'x'},
		q{SELECT 1000 * extract(epoch FROM clock_timestamp() - begun) FROM (SELECT clock_timestamp() AS begun, multicenter.health() OFFSET 0) AS h}));
	my @slow = split(/\|/, $server->sql('CREATE TEMP TABLE took (name name, ms float8)', q{
		DO $$ DECLARE
			v name; begun timestamptz;
		BEGIN
			FOR v IN SELECT viewname FROM pg_views WHERE schemaname = 'multicenter' LOOP
				begun := clock_timestamp();
				EXECUTE format('SELECT count(*) FROM (SELECT * FROM multicenter.%I OFFSET 0) AS v', v);
				INSERT INTO took VALUES (v, 1000 * extract(epoch FROM clock_timestamp() - begun));
			END LOOP;
		END $$}, 'SELECT name, ms FROM took ORDER BY ms DESC LIMIT 1'));
	@$figures{qw(view views_ms)} = @slow;
	return;
}

# Start the target again; until what is written then has come.
sub start_again
{
	my ($origin, $target, $figures) = @_;
	$target->stop;
	$origin->sql('INSERT INTO bench_marker VALUES (-9)');
	my $begun = time;
	$target->start;
	Bench::Server::finish_sql($target->start_sql(Bench::Server::marker_wait(-9)));
	$figures->{start_s} = time - $begun;
	$figures->{start_cpu_s} = $target->cpu;
	return;
}

# Have all tables as many rows on both servers?
sub same_counts
{
	my @states = map { $_->sql(q{
		SELECT sum((xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %I', relname), false, true, '')))[1]::text::int)
		FROM pg_class WHERE relkind = 'r' AND relname LIKE 'item%'}) } @_;
	return $states[0] eq $states[1] ? JSON::PP::true : JSON::PP::false;
}

1;
