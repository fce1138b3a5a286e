# Multicenter::Proxy: a TCP proxy in front of a center, whose faults a test
# controls.
#
#   my $proxy = Multicenter::Proxy->new($oslo);
#   $oslo->{dsn} = $proxy->dsn;          # before it joins: peers go through it
#   $proxy->flip(direction => 'down', after => 'MCF1', at => 40);
#   $proxy->stats->{faults};             # 1 once it has happened
#
# Direction 'up' is from the client to the server, 'down' from the server to
# the client: frames of the center behind the proxy travel down.
#
# The proxy is a process of its own that ends with the test.
package Multicenter::Proxy;

use strict;
use warnings;

use Carp;
use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Select;
use IO::Socket::INET;
use Multicenter::Cluster ();
use POSIX ();
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY);

# Bytes that are held for a side that does not read.
my $max_queue = 1024 * 1024;

#
# The test's side
#

# A proxy in front of a center, or of a port of 127.0.0.1.
sub new
{
	my ($class, $target) = @_;
	my $self = bless { target => $target, port => Multicenter::Cluster::free_port() }, $class;
	my $target_port = ref $target ? $target->port : $target;

	my $listener = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1', LocalPort => $self->{port},
		Listen => 20, ReuseAddr => 1, Blocking => 0)
	  or croak "could not listen on port $self->{port}: $!";
	socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
	  or croak "could not make a socket pair: $!";
	$ours->autoflush(1);
	$theirs->autoflush(1);

	$self->{pid} = fork();
	croak "could not fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		close($ours);
		# No END block of the test may run here.
		eval { serve($listener, $theirs, $target_port); 1 } or warn "proxy: $@";
		POSIX::_exit(0);
	}
	close($theirs);
	close($listener);
	$self->{control} = $ours;
	return $self;
}

sub port { return $_[0]->{port} }

# The center's connection string, by way of the proxy; unencrypted, so that
# patterns are found.
sub dsn
{
	my ($self) = @_;
	local $self->{target}{dsn} = undef;
	my $dsn = $self->{target}->dsn;
	$dsn =~ s/port=\d+/port=$self->{port}/;
	return "$dsn sslmode=disable gssencmode=disable";
}

# Forward everything, and forget all faults.
sub pass { return $_[0]->command('pass') }

# Hold everything: connections stay open, nothing moves, nothing is lost.
sub black_hole { return $_[0]->command('hold') }

# Reset all connections; new ones are still served.
sub cut { return $_[0]->command('cut') }

# Reset all connections and every new one.
sub refuse { return $_[0]->command('refuse') }

# Faults of one direction, at a byte offset: from the beginning of the
# connection, or of the first occurrence of the bytes "after".  Each happens
# once.  Only replication connections are meant, unless any => 1.
#   truncate   forwards what is before the offset, then ends the connection
#   stall      forwards what is before the offset, then holds the direction
#   flip       inverts all bits of the byte at the offset
#   insert     puts the bytes "data" before the offset
#   mutate     changes one byte of the frame that begins at the offset, and its
#              checksum with it: data is "POSITION XOR", the position counted in
#              the body of the frame, modulo its length
sub truncate { my ($self, %f) = @_; return $self->fault('truncate', %f) }
sub stall    { my ($self, %f) = @_; return $self->fault('stall',    %f) }
sub flip     { my ($self, %f) = @_; return $self->fault('flip',     %f) }
sub insert   { my ($self, %f) = @_; return $self->fault('insert',   %f) }
sub mutate   { my ($self, %f) = @_; return $self->fault('mutate',   %f) }

# A hash of what happened: connections, replication (connections of that
# kind), up, down (bytes), faults.
sub stats
{
	my ($self) = @_;
	return { split(/[= ]/, $self->command('stats')) };
}

sub fault
{
	my ($self, $kind, %fault) = @_;
	return $self->command(join(' ', 'fault', $kind, $fault{direction} || 'down',
			$fault{at} || 0, $fault{any} ? 1 : 0,
			unpack('H*', defined $fault{after} ? $fault{after} : '') || '-',
			unpack('H*', defined $fault{data} ? $fault{data} : '') || '-'));
}

# Send a command to the proxy and wait for its answer.
sub command
{
	my ($self, $command) = @_;
	my $control = $self->{control};
	print $control "$command\n";
	my $answer = <$control>;
	croak "the proxy has gone" unless defined $answer;
	chomp($answer);
	croak "the proxy does not know \"$command\"" if $answer eq 'unknown';
	return $answer;
}

# End the proxy.
sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	close(delete $self->{control});
	local ($?, $!);
	waitpid($pid, 0);
	return;
}

sub DESTROY { my ($self) = @_; $self->stop if $self->{pid} && $self->{control}; return }

#
# The proxy's side
#

# A connection is a hash of two flows, up and down, and whether it is known to
# be a replication connection.  A flow is a hash: from, to (sockets), queue
# (bytes to be forwarded), offset (of the queue's first byte), tail (the last
# bytes forwarded, in which a pattern may begin), found (offsets of patterns),
# ended (no more to read), held.
my (@connections, @faults, %count);
my $mode = 'pass';

# The loop of the proxy; returns when the test has gone.
sub serve
{
	my ($listener, $control, $target_port) = @_;
	local $SIG{PIPE} = 'IGNORE';
	local $SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	%count = map { $_ => 0 } qw(connections replication up down faults);

	while (1)
	{
		my $readers = IO::Select->new($listener, $control);
		my $writers = IO::Select->new;
		foreach my $flow (flows())
		{
			next if $mode eq 'hold' || $flow->{held};
			$readers->add($flow->{from}) if !$flow->{ended} && length($flow->{queue}) < $max_queue;
			$writers->add($flow->{to}) if length($flow->{queue});
		}
		my ($readable, $writable) = IO::Select->select($readers, $writers, undef, undef);
		my %ready = map { fileno($_) => 1 } @{ $readable || [] };
		my %room  = map { fileno($_) => 1 } @{ $writable || [] };

		if ($ready{ fileno($control) })
		{
			my $line = <$control>;
			return unless defined $line;
			chomp($line);
			print $control obey(split(/ /, $line)) . "\n";
			next;
		}
		accept_connection($listener, $target_port) if $ready{ fileno($listener) };
		foreach my $connection (@connections)
		{
			foreach my $direction ('up', 'down')
			{
				my $flow = $connection->{$direction};
				take($connection, $flow) if $ready{ fileno($flow->{from}) || -1 };
				give($connection, $direction) if $room{ fileno($flow->{to}) || -1 };
			}
		}
		reap();
	}
}

sub flows { return map { ($_->{up}, $_->{down}) } @connections }

# Carry out a command of the test, and answer.
sub obey
{
	my ($verb, @rest) = @_;
	if ($verb eq 'pass')
	{
		$mode = 'pass';
		@faults = ();
		$_->{held} = 0 foreach flows();
	}
	elsif ($verb eq 'hold')
	{
		$mode = 'hold';
	}
	elsif ($verb eq 'cut' || $verb eq 'refuse')
	{
		$mode = $verb eq 'refuse' ? 'refuse' : 'pass';
		reset_connection($_) foreach @connections;
		@connections = ();
	}
	elsif ($verb eq 'fault')
	{
		my ($kind, $direction, $at, $any, $after, $data) = @rest;
		push(@faults, {
				kind => $kind, direction => $direction, at => $at, any => $any,
				after => $after eq '-' ? '' : pack('H*', $after),
				data => $data eq '-' ? '' : pack('H*', $data) });
	}
	elsif ($verb eq 'stats')
	{
		return join(' ', map { "$_=$count{$_}" } sort keys %count);
	}
	else
	{
		return 'unknown';
	}
	return 'done';
}

sub accept_connection
{
	my ($listener, $target_port) = @_;
	my $client = $listener->accept or return;
	my $server;
	$server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target_port)
	  if $mode ne 'refuse';
	if (!$server)
	{
		reset_socket($client);
		return;
	}
	$count{connections}++;
	foreach my $socket ($client, $server)
	{
		$socket->blocking(0);
		setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
	}
	my %flow = (queue => '', offset => 0, tail => '', ended => 0, held => 0);
	push(@connections, {
			up   => { %flow, from => $client, to => $server },
			down => { %flow, from => $server, to => $client } });
	return;
}

# Read what has come; the client's first bytes tell what it wants.
sub take
{
	my ($connection, $flow) = @_;
	my $n = sysread($flow->{from}, my $bytes, 65536);
	if (!defined $n)
	{
		return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
		$connection->{broken} = 1;
		return;
	}
	$flow->{ended} = 1 if $n == 0;
	if ($flow == $connection->{up} && !$connection->{started} && $n > 0)
	{
		$connection->{started} = 1;
		$connection->{replication} = $bytes =~ /replication\0/ ? 1 : 0;
		$count{replication}++ if $connection->{replication};
	}
	$flow->{queue} .= $bytes if $n > 0;
	return;
}

# Forward what may be forwarded; a fault whose offset is in reach happens.
sub give
{
	my ($connection, $direction) = @_;
	my $flow = $connection->{$direction};
	my $length = length($flow->{queue});

	foreach my $fault (@faults)
	{
		next if $fault->{direction} ne $direction || $fault->{done};
		next unless $fault->{any} || $connection->{replication};
		my $at = fault_offset($fault, $flow);
		next unless defined $at && $at < $length;
		if ($at > 0)
		{
			# First what is before it.
			$length = $at if $at < $length;
			next;
		}
		# A frame is changed when all of it is here.
		return if $fault->{kind} eq 'mutate' && !mutate_frame($fault, $flow);
		$fault->{done} = 1;
		$count{faults}++;
		if ($fault->{kind} eq 'flip')
		{
			substr($flow->{queue}, 0, 1) ^= "\xFF";
		}
		elsif ($fault->{kind} eq 'insert')
		{
			$flow->{queue} = $fault->{data} . $flow->{queue};
		}
		elsif ($fault->{kind} eq 'mutate')
		{
			next;
		}
		elsif ($fault->{kind} eq 'stall')
		{
			$flow->{held} = 1;
			return;
		}
		else
		{
			$connection->{broken} = 1;
			return;
		}
		$length = 1;
	}

	my $n = syswrite($flow->{to}, $flow->{queue}, $length);
	if (!defined $n)
	{
		$connection->{broken} = 1 unless $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
		return;
	}
	$count{$direction} += $n;
	$flow->{tail} = substr($flow->{tail} . substr($flow->{queue}, 0, $n), -64);
	substr($flow->{queue}, 0, $n, '');
	$flow->{offset} += $n;
	return;
}

# The header of a frame: its size, and where length and checksum are.
my ($header_bytes, $length_at, $crc_at) = (56, 8, 12);

# CRC-32C, as PostgreSQL has it.
my @crc_table = map {
	my $crc = $_;
	$crc = $crc & 1 ? ($crc >> 1) ^ 0x82F63B78 : $crc >> 1 foreach 1 .. 8;
	$crc;
} 0 .. 255;

sub crc32c
{
	my ($bytes) = @_;
	my $crc = 0xFFFFFFFF;
	$crc = $crc_table[ ($crc ^ $_) & 0xFF ] ^ ($crc >> 8) foreach unpack('C*', $bytes);
	return $crc ^ 0xFFFFFFFF;
}

# Change a byte of the frame at the beginning of the queue; false if some of it
# has not come yet.
sub mutate_frame
{
	my ($fault, $flow) = @_;
	my ($position, $xor) = split(/ /, $fault->{data});

	return 0 if length($flow->{queue}) < $header_bytes;
	my $length = unpack('N', substr($flow->{queue}, $length_at, 4));
	return 0 if length($flow->{queue}) < $length;
	my $frame = substr($flow->{queue}, 0, $length);
	if ($length > $header_bytes)
	{
		my $at = $header_bytes + $position % ($length - $header_bytes);
		substr($frame, $at, 1) = chr(ord(substr($frame, $at, 1)) ^ $xor);
	}
	substr($frame, $crc_at, 4) = pack('N', 0);
	substr($frame, $crc_at, 4) = pack('N', crc32c($frame));
	substr($flow->{queue}, 0, $length) = $frame;
	return 1;
}

# Offset of a fault in the queue of a flow; undefined if it is not there yet.
# A pattern may have begun in what was forwarded before.
sub fault_offset
{
	my ($fault, $flow) = @_;
	if ($fault->{after} eq '')
	{
		my $at = $fault->{at} - $flow->{offset};
		return $at < 0 ? undef : $at;
	}
	my $found = $flow->{found}{$fault};
	if (!defined $found)
	{
		my $tail = $flow->{tail};
		my $keep = length($fault->{after}) - 1;
		$tail = $keep > 0 ? substr($tail, length($tail) > $keep ? -$keep : 0) : '';
		my $index = index($tail . $flow->{queue}, $fault->{after});
		return undef if $index < 0;
		$found = $flow->{found}{$fault} = $flow->{offset} - length($tail) + $index;
	}
	my $at = $found + $fault->{at} - $flow->{offset};
	return $at < 0 ? 0 : $at;
}

# Drop connections that have ended, with what they still had to say.
sub reap
{
	my @alive;
	foreach my $connection (@connections)
	{
		my $over = 0;
		foreach my $flow ($connection->{up}, $connection->{down})
		{
			next unless $flow->{ended} && $flow->{queue} eq '';
			shutdown($flow->{to}, 1) unless $flow->{shut}++;
			$over++;
		}
		if ($connection->{broken})
		{
			reset_connection($connection);
		}
		elsif ($over == 2)
		{
			close($_->{from}) foreach $connection->{up}, $connection->{down};
		}
		else
		{
			push(@alive, $connection);
		}
	}
	@connections = @alive;
	return;
}

sub reset_connection
{
	my ($connection) = @_;
	reset_socket($_->{from}) foreach $connection->{up}, $connection->{down};
	return;
}

# Close with a reset instead of an orderly end.
sub reset_socket
{
	my ($socket) = @_;
	setsockopt($socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
	close($socket);
	return;
}

1;
