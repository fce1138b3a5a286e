# Links: holds and moves the links of a group for the model test.
package Links;

use strict;
use warnings;

use Carp;
use Multicenter::Cluster;
use Time::HiRes qw(time usleep);

sub new
{
	my ($class, @members) = @_;
	my $self = bless { members => \@members, pairs => [] }, $class;
	foreach my $from (0 .. $#members)
	{
		push(@{ $self->{pairs} }, map { [ $from, $_ ] } grep { $_ != $from } 0 .. $#members);
	}
	return $self;
}

sub hold
{
	my ($self, $from, $to) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	$target->{session}->run("SELECT FROM multicenter.link_pause('$origin->{name}');\n");
	poll('pause', sub {
			return $target->{session}->value(
				"SELECT pid IS NULL FROM multicenter.lag JOIN multicenter.link_status() s ON s.direction='in' AND s.peer_id = $origin->{id} where lag.direction = 'in' and lag.peer = '$origin->{name}' and lag.state='paused'"
			  ) eq 't'; });
	return;
}

sub free
{
	my ($self, $from, $to) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	$target->{session}->run("SELECT FROM multicenter.link_resume('$origin->{name}');\n");
	return;
}

# After a crash of a server.
sub hold_again { return }

sub hold_all { my ($self) = @_; $self->hold(@$_) foreach @{ $self->{pairs} }; return }
sub free_all { my ($self) = @_; $self->free(@$_) foreach @{ $self->{pairs} }; return }

# Let a link get to a position of its origin, and hold it there.
sub deliver
{
	my ($self, $from, $to, $lsn) = @_;
	$self->free($from, $to);
	$self->wait_position($from, $to, $lsn);
	$self->hold($from, $to);
	return;
}

sub wait_position
{
	my ($self, $from, $to, $lsn) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	my ($tried, $failures);
	poll("$target->{name} to apply $origin->{name} up to $lsn", sub {
			my ($line) = $target->{session}->run(
				"SELECT replay_lsn >= '$lsn', state, retries, replay_lsn, last_error_relation, last_error_sqlstate, last_error"
				  . " FROM multicenter.link_status() WHERE direction = 'in' AND peer_id = $origin->{id};\n");
			my ($done, $state, $retries) = split(/\|/, $line);
			$failures += $retries > $tried if defined $tried;
			$tried = $retries;
			croak "the link from $origin->{name} to $target->{name} fails: $line"
			  if $state eq 'stalled' && ($failures // 0) >= 2;
			return ($done eq 't', $line); });
	return;
}

# Wait until a receiver at this center waits for a lock, but not long: perhaps
# there is nothing to wait for.  Returns whether it does.
sub wait_blocked
{
	my ($self, $to) = @_;
	my $until = time + 0.15;
	while (time < $until)
	{
		next unless $self->{members}[$to]{session}->value(
			"SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
			  . " WHERE NOT l.granted AND a.backend_type LIKE 'multicenter%' AND a.datname = current_database()");
		return 1;
	}
	return 0;
}

# Wait until everything that was written anywhere is applied everywhere, and
# so is what that has caused.
sub wait_quiet
{
	my ($self) = @_;
	foreach my $round (1 .. 2)
	{
		my @ends = map { $_->{session}->value('SELECT pg_current_wal_insert_lsn()') } @{ $self->{members} };
		$self->wait_position(@$_, $ends[ $_->[0] ]) foreach @{ $self->{pairs} };
	}
	return;
}

1;
