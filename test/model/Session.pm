# Session: a psql that stays open and runs scripts, at one center.
#
# A script is written to a file that psql includes, so that neither side can
# block the other however long it is.  run() waits for its end; start() and
# finish() allow scripts to run at several centers at the same time.
package Session;

use strict;
use warnings;

use Carp;
use IO::Select;
use IPC::Open3;
use Time::HiRes qw(time);

# $connstr: how to connect; $prefix: path for our files.
sub new
{
	my ($class, $connstr, $prefix) = @_;
	my $self = bless { script => "$prefix.sql", number => 0, rest => '', name => $prefix }, $class;
	open(my $errors, '>>', "$prefix.err") or croak "could not write $prefix.err: $!";
	$self->{pid} = open3($self->{in}, $self->{out}, '>&' . fileno($errors),
		'psql', '-X', '-q', '-A', '-t', '-F', '|', '-P', 'null=~', '-d', $connstr);
	close($errors);
	$self->{in}->autoflush(1);
	$self->run("SET client_min_messages = error;\n");
	return $self;
}

# Begin to run a script.
sub start
{
	my ($self, $script) = @_;
	$self->{number}++;
	open(my $out, '>', $self->{script}) or croak "could not write $self->{script}: $!";
	print $out $script;
	close($out);
	local $SIG{PIPE} = 'IGNORE';
	print { $self->{in} } "\\i $self->{script}\n\\echo end of script $self->{number}\n"
	  or croak "$self->{name}: psql has ended";
	return;
}

# Wait for its end; returns the lines of its output.
sub finish
{
	my ($self, $seconds) = @_;
	my $deadline = time + ($seconds || 120);
	my $select = IO::Select->new($self->{out});
	while (1)
	{
		my ($output) = $self->{rest} =~ /\A(.*?)^end of script $self->{number}\n\z/sm;
		if (defined $output)
		{
			$self->{rest} = '';
			return split(/\n/, $output);
		}
		my $left = $deadline - time;
		croak "$self->{name}: no end of a script in time" if $left <= 0;
		next unless $select->can_read($left);
		my $got = sysread($self->{out}, $self->{rest}, 65536, length($self->{rest}));
		croak "$self->{name}: the session has ended" unless $got;
	}
	return;
}

sub run
{
	my ($self, $script, $seconds) = @_;
	$self->start($script);
	return $self->finish($seconds);
}

# The only value of a query.
sub value
{
	my ($self, $sql) = @_;
	my ($line) = $self->run("$sql;\n");
	return $line;
}

sub end
{
	my ($self) = @_;
	return unless $self->{pid};
	close($self->{in});
	close($self->{out});
	waitpid($self->{pid}, 0);
	delete $self->{pid};
	return;
}

1;
