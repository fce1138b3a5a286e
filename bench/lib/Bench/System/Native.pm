# Bench::System::Native: logical replication of PostgreSQL, by its defaults.
package Bench::System::Native;

use strict;
use warnings;

# Whether rows are copied, which takes very long for thousands of tables.
my $copy = 'true';
sub copy { $copy = $_[1] ? 'true' : 'false'; return }

sub conf     { return '' }
sub appliers { return 'logical replication.*worker' }

sub version
{
	my ($class, $server) = @_;
	return 'PostgreSQL ' . $server->sql('SHOW server_version');
}

sub connect
{
	my ($class, $origin, @targets) = @_;
	$origin->sql('CREATE PUBLICATION bench FOR ALL TABLES');
	foreach my $target (@targets)
	{
		my $name = 'bench_' . $target->name;
		$target->sql("CREATE SUBSCRIPTION $name CONNECTION '" . $origin->dsn . "' PUBLICATION bench WITH (copy_data = $copy)");
		$target->wait_for(q{SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel});
	}
	return;
}

sub hold
{
	my ($class, $origin, $target) = @_;
	$target->sql('ALTER SUBSCRIPTION bench_' . $target->name . ' DISABLE');
	return;
}

sub release
{
	my ($class, $origin, $target) = @_;
	$target->sql('ALTER SUBSCRIPTION bench_' . $target->name . ' ENABLE');
	return;
}

1;
