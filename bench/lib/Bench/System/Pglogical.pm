# Bench::System::Pglogical: the extension pglogical, by its defaults.
package Bench::System::Pglogical;

use strict;
use warnings;

sub conf     { return "shared_preload_libraries = 'pglogical'\n" }
sub appliers { return 'pglogical apply' }

sub version
{
	my ($class, $server) = @_;
	return 'pglogical ' . $server->sql(q{SELECT extversion FROM pg_extension WHERE extname = 'pglogical'});
}

sub connect
{
	my ($class, $origin, @targets) = @_;
	foreach my $server ($origin, @targets)
	{
		$server->sql('CREATE EXTENSION pglogical');
		$server->sql(sprintf(q{SELECT pglogical.create_node('%s', '%s')}, $server->name, $server->dsn));
	}
	$origin->sql(q{SELECT pglogical.replication_set_add_all_tables('default', ARRAY['public'])});
	foreach my $target (@targets)
	{
		$target->sql(sprintf(q{SELECT pglogical.create_subscription('bench_%s', '%s', forward_origins := '{}')}, $target->name, $origin->dsn));
		$target->wait_for(q{SELECT count(*) > 0 AND bool_and(sync_status IN ('r', 'y')) FROM pglogical.local_sync_status
			WHERE EXISTS (SELECT FROM pglogical.local_sync_status WHERE sync_relname IS NULL AND sync_status = 'r')});
	}
	return;
}

# The other direction too, of a pair that has the same rows; without what came
# from there.  The last update wins, as in the other system that can do this.
sub connect_back
{
	my ($class, $origin, $target) = @_;
	$_->sql(q{ALTER DATABASE postgres SET pglogical.conflict_resolution = 'last_update_wins'}) foreach $origin, $target;
	$target->sql(q{SELECT pglogical.replication_set_add_all_tables('default', ARRAY['public'])});
	$origin->sql(sprintf(q{SELECT pglogical.create_subscription('bench_%s', '%s', synchronize_structure := false,
		synchronize_data := false, forward_origins := '{}')}, $origin->name, $target->dsn));
	$origin->wait_for(q{SELECT bool_and(status = 'replicating') FROM pglogical.show_subscription_status()});
	return;
}

sub hold
{
	my ($class, $origin, $target) = @_;
	$target->sql(sprintf(q{SELECT pglogical.alter_subscription_disable('bench_%s', true)}, $target->name));
	return;
}

sub release
{
	my ($class, $origin, $target) = @_;
	$target->sql(sprintf(q{SELECT pglogical.alter_subscription_enable('bench_%s', true)}, $target->name));
	return;
}

1;
