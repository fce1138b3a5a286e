# Bench::Profile: where processes spend their time, by perf; only what they do
# outside of the kernel, which any user may look at.
package Bench::Profile;

use strict;
use warnings;

use Bench::Server;
use File::Temp;

my $folder;
my @running;

# Profile what start() is told of, into files of this folder.
sub enable { ($folder) = @_; return }

sub wanted { return defined $folder }

# Look at processes, until stop.
sub start
{
	my ($name, @pids) = @_;
	return unless $folder;
	my $data = File::Temp->new;
	my $pid = fork();
	die "could not fork: $!\n" unless defined $pid;
	if ($pid == 0)
	{
		open(STDOUT, '>', '/dev/null');
		open(STDERR, '>&', \*STDOUT);
		exec('perf', 'record', '-q', '-g', '-e', 'cpu-clock:u', '-F', '999', '-o', $data->filename, '-p', join(',', @pids)) or exit(1);
	}
	push(@running, { pid => $pid, name => $name, data => $data });
	return;
}

# Write what was seen: functions by their own time, and by all of it.
sub stop
{
	foreach my $perf (splice(@running))
	{
		kill('INT', $perf->{pid});
		waitpid($perf->{pid}, 0);
		foreach my $mode ('no-children', 'children')
		{
			my $text = eval { Bench::Server::command('perf', 'report', '-i', $perf->{data}->filename, '--stdio', "--$mode", '-g', 'none', '--sort', 'dso,symbol', '--percent-limit', '0.8') };
			open(my $out, '>', "$folder/profile.$perf->{name}.$mode") or die "could not write a profile: $!\n";
			print $out $text || $@;
			close($out);
		}
	}
	return;
}

1;
