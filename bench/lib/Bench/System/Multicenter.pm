# Bench::System::Multicenter: a group of centers; all links in both directions
# work, as they do in real life.
package Bench::System::Multicenter;

use strict;
use warnings;

sub conf     { return "shared_preload_libraries = 'multicenter'\n" }
sub appliers { return 'multicenter (receiver|applier)' }

sub version
{
	my ($class, $server) = @_;
	return 'multicenter ' . $server->sql(q{SELECT extversion FROM pg_extension WHERE extname = 'multicenter'});
}

sub connect
{
	my ($class, $origin, @targets) = @_;
	$_->sql('CREATE EXTENSION multicenter') foreach $origin, @targets;
	$origin->sql(sprintf(q{SELECT multicenter.group_create('bench', '%s', '%s')}, $origin->name, $origin->dsn));
	foreach my $target (@targets)
	{
		$target->sql(sprintf(q{SELECT multicenter.group_join('%s', '%s', '%s')}, $target->name, $target->dsn, $origin->dsn));
	}
	foreach my $center ($origin, @targets)
	{
		$center->wait_for('SELECT count(*) = ' . (@targets + 1) . q{ FROM multicenter.centers WHERE state = 'ready'});
	}
	return;
}

# Options of the link from one to the other, as JSON.
sub alter_link
{
	my ($class, $origin, $target, $options) = @_;
	$target->sql(sprintf(q{SELECT multicenter.link_alter('%s', '%s')}, $origin->name, $options));
	return;
}

# What goes from one to the other is compressed from now on.
sub compress
{
	my ($class, $origin, $target, $method) = @_;
	return $class->alter_link($origin, $target, qq({"compression": "$method"}));
}

# Links work both ways.
sub connect_back { return }

sub hold
{
	my ($class, $origin, $target) = @_;
	$target->sql(sprintf(q{SELECT multicenter.link_pause('%s')}, $origin->name));
	return;
}

sub release
{
	my ($class, $origin, $target) = @_;
	$target->sql(sprintf(q{SELECT multicenter.link_resume('%s')}, $origin->name));
	return;
}

1;
