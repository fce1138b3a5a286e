# Bench::Machine: what the figures were measured on.
package Bench::Machine;

use strict;
use warnings;

use POSIX ();

# First match of a pattern in a file, or ''.
sub find
{
	my ($file, $pattern) = @_;
	open(my $in, '<', $file) or return '';
	while (my $line = <$in>)
	{
		return $1 if $line =~ $pattern;
	}
	return '';
}

sub describe
{
	open(my $processors, '<', '/proc/cpuinfo') or die "could not read /proc/cpuinfo: $!\n";
	my $cpus = grep { /^processor\s*:/ } <$processors>;
	return {
		processor => find('/proc/cpuinfo', qr/^model name\s*: (.*)/),
		cpus      => $cpus,
		memory_gb => int(find('/proc/meminfo', qr/^MemTotal:\s+(\d+)/) / 1024 / 1024 + 0.5),
		kernel    => (POSIX::uname())[2],
		system    => find('/etc/os-release', qr/^PRETTY_NAME="(.*)"/),
		storage   => 'memory (tmpfs)',
	};
}

1;
