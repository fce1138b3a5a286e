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
	my $cpus = () = glob('/sys/devices/system/cpu/cpu[0-9]*');
	return {
		processor => find('/proc/cpuinfo', qr/^model name\s*: (.*)/),
		cpus      => $cpus + 0,
		memory_gb => int(find('/proc/meminfo', qr/^MemTotal:\s+(\d+)/) / 1024 / 1024 + 0.5),
		kernel    => (POSIX::uname())[2],
		system    => find('/etc/os-release', qr/^PRETTY_NAME="(.*)"/),
		storage   => 'memory (tmpfs)',
	};
}

1;
