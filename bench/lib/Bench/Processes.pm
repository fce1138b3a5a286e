# Bench::Processes: what processes have used, from /proc.
package Bench::Processes;

use strict;
use warnings;

use POSIX ();

my $ticks = 100;

# First line of a file, or nothing.
sub line_of
{
	my ($file) = @_;
	open(my $in, '<', $file) or return;
	return scalar <$in>;
}

# CPU seconds of one process; undef if it is gone.  schedstat counts
# nanoseconds, where the kernel has it; stat hundredths of a second.
sub cpu
{
	my ($pid) = @_;
	my $line = line_of("/proc/$pid/schedstat");
	return $1 / 1e9 if defined $line && $line =~ /^(\d+) / && $1 > 0;
	my @fields = stat_fields($pid) or return;
	return ($fields[11] + $fields[12]) / $ticks;
}

# Fields of /proc/PID/stat behind the name: [0] is the state.
sub stat_fields
{
	my ($pid) = @_;
	my $line = line_of("/proc/$pid/stat");
	return unless defined $line;
	$line =~ s/^.*\) //;
	return split(/ /, $line);
}

# CPU seconds of a process, its children, and those that have ended.
sub tree_cpu
{
	my ($parent) = @_;
	my @fields = stat_fields($parent) or return 0;
	my $sum = ($fields[11] + $fields[12] + $fields[13] + $fields[14]) / $ticks;
	foreach my $pid (map { m{(\d+)$} } glob('/proc/[0-9]*'))
	{
		my @child = stat_fields($pid);
		$sum += cpu($pid) || 0 if @child && $child[1] == $parent;
	}
	return $sum;
}

# A process that keeps a processor busy as long as the object that is returned
# lives.
sub busy
{
	my $parent = $$;
	my $pid = fork() // die "could not fork: $!\n";
	if ($pid == 0)
	{
		1 while getppid() == $parent;
		POSIX::_exit(0);
	}
	return bless { pid => $pid }, 'Bench::Processes::Busy';
}

sub Bench::Processes::Busy::DESTROY
{
	my ($busy) = @_;
	local $?;
	kill('KILL', $busy->{pid});
	waitpid($busy->{pid}, 0);
	return;
}

# Anonymous memory of a process in MB, without shared buffers.
sub anonymous_mb
{
	my ($pid) = @_;
	open(my $in, '<', "/proc/$pid/status") or return 0;
	my ($kb) = map { /^RssAnon:\s+(\d+)/ } <$in>;
	return ($kb || 0) / 1024;
}

# CPU seconds that the whole machine has used, without being idle or waiting.
sub machine_cpu
{
	my ($name, @fields) = split(' ', line_of('/proc/stat'));
	return ($fields[0] + $fields[1] + $fields[2] + $fields[5] + $fields[6]) / $ticks;
}

1;
