# Links: holds and moves the links of a group for the model test.  The first
# session of a center may be in a transaction: we use the second one.
package Links;

use strict;
use warnings;

use Carp;
use Multicenter::Cluster;
use Time::HiRes qw(time);

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

# Every transaction of the test begins with a row of the table model_gate,
# which names its author and the round in which it was written.  A trigger at
# the target lets the transaction wait there until its round may pass, and
# counts those that have.  Where a transaction goes into quarantine its row does, too.
my $gate = q{
	CREATE TABLE model_gate (center int, round int, n bigserial, PRIMARY KEY (center, n));
	CREATE UNLOGGED TABLE model_limit (center int, round int);
	CREATE TABLE model_passed (center int PRIMARY KEY, n int);
	CREATE FUNCTION model_wait() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
	BEGIN
		LOOP
			EXIT WHEN new.round <= (SELECT max(round) FROM model_limit WHERE center = new.center);
			PERFORM pg_sleep(0.002);
		END LOOP;
		INSERT INTO model_passed AS p VALUES (new.center, 1) ON CONFLICT (center) DO UPDATE SET n = p.n + 1;
		RETURN NULL;
	END $$;
	CREATE TRIGGER wait BEFORE INSERT ON model_gate FOR EACH ROW EXECUTE FUNCTION model_wait();
	ALTER TABLE model_gate ENABLE REPLICA TRIGGER wait;
};
my $no_limit = 2147483647;

sub set_up
{
	my ($self) = @_;
	$_->{session}->run($gate) foreach @{ $self->{members} };
	return;
}

# The first statement of a transaction.
sub gate_sql
{
	my ($self, $center, $round) = @_;
	return "INSERT INTO model_gate VALUES ($self->{members}[$center]{id}, $round)";
}

# The number of transactions of a center that have passed, in SQL.
sub passed_sql
{
	my ($id) = @_;
	return "(coalesce((SELECT max(n) FROM model_passed WHERE center = $id), 0)"
	  . " + (SELECT count(*) FROM multicenter.quarantine_entry WHERE relation = 'model_gate'::regclass AND peer_id = $id))";
}

sub set_limit
{
	my ($self, $from, $to, $round) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	$self->{limit}{"$from $to"} = $round;
	$target->{sessions}[1]->run("DELETE FROM model_limit WHERE center = $origin->{id};\n"
		  . "INSERT INTO model_limit VALUES ($origin->{id}, $round);\n");
	return;
}

sub hold
{
	my ($self, $from, $to) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	$target->{sessions}[1]->run("SELECT FROM multicenter.link_pause('$origin->{name}');\n");
	poll("the link from $origin->{name} to $target->{name} to be paused", sub {
			return $target->{sessions}[1]->value("SELECT pid IS NULL FROM multicenter.link_status()"
				  . " WHERE direction = 'in' AND peer_id = $origin->{id}") eq 't'; });
	return;
}

sub resume
{
	my ($self, $from, $to) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	$target->{sessions}[1]->run("SELECT FROM multicenter.link_resume('$origin->{name}');\n");
	return;
}

sub free
{
	my ($self, $from, $to) = @_;
	$self->set_limit($from, $to, $no_limit);
	return $self->resume($from, $to);
}

# After a crash of a server: its limits are lost.
sub set_limits_again
{
	my ($self) = @_;
	$self->set_limit(split(/ /, $_), $self->{limit}{$_}) foreach keys %{ $self->{limit} };
	return;
}

sub hold_all { my ($self) = @_; $self->hold(@$_) foreach @{ $self->{pairs} }; return }
sub free_all { my ($self) = @_; $self->free(@$_) foreach @{ $self->{pairs} }; return }

# Let a link bring what its origin wrote until a round, and hold it there:
# these are so many transactions since the group was made.
sub deliver
{
	my ($self, $from, $to, $round, $count) = @_;
	$self->set_limit($from, $to, $round);
	$self->resume($from, $to);
	my $passed = passed_sql($self->{members}[$from]{id});
	# With policies what it brings may have causes that another link holds.
	$self->wait_link($from, $to, "($passed >= $count"
			. " OR coalesce(stall_reason, '') ~ '^(causes|waiting for changes)')",
		"transaction $count in round $round");
	$self->hold($from, $to);
	return;
}

sub wait_position
{
	my ($self, $from, $to, $lsn) = @_;
	return $self->wait_link($from, $to, "replay_lsn >= '$lsn'", $lsn);
}

# Wait until a link has come so far, unless it keeps failing in one place.
sub wait_link
{
	my ($self, $from, $to, $condition, $what) = @_;
	my ($origin, $target) = @{ $self->{members} }[ $from, $to ];
	my ($tried, $at, $failures);
	poll("$target->{name} to apply $origin->{name} up to $what", sub {
			my ($line) = $target->{sessions}[1]->run(
				"SELECT $condition, state, retries, replay_lsn, last_error_relation, last_error_sqlstate, last_error"
				  . " FROM multicenter.link_status() WHERE direction = 'in' AND peer_id = $origin->{id};\n");
			my ($done, $state, $retries, $lsn) = split(/\|/, $line);
			$failures = 0 if $lsn ne ($at // '');
			$failures += $retries > $tried if defined $tried;
			($tried, $at) = ($retries, $lsn);
			croak "the link from $origin->{name} to $target->{name} fails: $line"
			  if $state eq 'stalled' && ($failures // 0) >= 2;
			return ($done eq 't', $line); });
	return;
}

# Wait until a receiver at this center waits for a lock, or until links from
# these origins have brought everything.  Returns whether one waits.
sub wait_blocked
{
	my ($self, $to, @from) = @_;
	my $session = $self->{members}[$to]{sessions}[1];
	my $all = join(' AND ', map {
			my $origin = $self->{members}[$_];
			passed_sql($origin->{id}) . " >= $origin->{commits}" } @from);
	my $until = time + 2;
	while (time < $until)
	{
		my ($blocked, $done) = split(/\|/, $session->value(
				"SELECT count(*) > 0, $all FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
				  . " WHERE NOT l.granted AND a.backend_type LIKE 'multicenter%' AND a.datname = current_database()"));
		return 1 if $blocked eq 't';
		return 0 if $done eq 't';
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
