# Multicenter::Truth: does what the views say agree with what a test measures?
#
#   my ($lisbon, $riga) = truth_group(qw(lisbon riga));
#   my $ticker = ticker_start($lisbon);       # writes the time, ten times a second
#   is(link_row($riga, $lisbon, 'in')->{state}, 'streaming', '…');
#   lag_is_true($lisbon, $riga, 'streaming');
#   ticker_stop($ticker);
#
# Lag as the test measures it is the age of the newest time that has arrived in
# a table; both servers run by the clock of one machine.
package Multicenter::Truth;

use strict;
use warnings;

use Exporter 'import';
use Multicenter::Cluster;
use Test::More;

our @EXPORT = qw(truth_conf truth_group ticker_start ticker_stop measured_lag link_row lag_is_true shows both_say check_is);

# The defaults of a server, where our tests have others for the sake of speed.
sub truth_conf
{
	return "multicenter.heartbeat_interval = '1s'\nwal_sender_timeout = '60s'\n";
}

# What every center of such a group has.
my $setup = q{
	CREATE TABLE tick (center text PRIMARY KEY, at timestamptz NOT NULL);
	CREATE TABLE item (id int PRIMARY KEY, v text CHECK (v <> 'never'));
};

# A group of two centers with the defaults and the tables of these tests.
sub truth_group
{
	my (@names) = @_;
	return make_group(\@names, conf => truth_conf(), setup => $setup);
}

# Write the time at a center until ticker_stop().
sub ticker_start
{
	my ($center) = @_;
	$center->sql(sprintf(q{INSERT INTO tick VALUES ('%s', clock_timestamp())
		ON CONFLICT (center) DO UPDATE SET at = clock_timestamp()}, $center->name));
	return start_load($center, sprintf(q{UPDATE tick SET at = clock_timestamp() WHERE center = '%s';
\sleep 100 ms
}, $center->name), clients => 1);
}

sub ticker_stop { my ($ticker) = @_; return finish_load($ticker) }

# Age of what has arrived last at a center of what another one writes, seconds.
sub measured_lag
{
	my ($origin, $target) = @_;
	return $target->sql(sprintf(q{SELECT extract(epoch FROM clock_timestamp() - at) FROM tick WHERE center = '%s'},
			$origin->name));
}

# All that is shown of a link, as a hash; intervals in seconds, null is ''.
sub link_row
{
	my ($center, $peer, $direction) = @_;
	my $json = $center->sql(sprintf(q{
		SELECT string_agg(key || '=' || coalesce(CASE WHEN key IN ('lag', 'round_trip', 'clock_offset', 'clock_error', 'catchup_interval')
				THEN extract(epoch FROM value::interval)::text ELSE value END, ''), E'\n')
		FROM multicenter.lag l JOIN multicenter.stat_links s USING (peer, direction),
			json_each_text(to_json(l)) AS e
		WHERE peer = '%s' AND direction = '%s'
		UNION ALL
		SELECT string_agg('stat_' || key || '=' || coalesce(value, ''), E'\n')
		FROM multicenter.stat_links s, json_each_text(to_json(s)) AS e
		WHERE peer = '%s' AND direction = '%s'}, ($peer->name, $direction) x 2));
	return { map { /^(\w+)=(.*)$/s ? ($1, $2) : () } split(/\n/, $json) };
}

# One test: lag at both ends is within two seconds of what is measured, is there
# and is not zero.  Measured before and afterwards, since reading takes time.
sub lag_is_true
{
	my ($origin, $target, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @wrong;

	foreach my $end ([ $target, $origin, 'in' ], [ $origin, $target, 'out' ])
	{
		my ($center, $peer, $direction) = @$end;
		my $before = measured_lag($origin, $target);
		my $row = link_row($center, $peer, $direction);
		my $after = measured_lag($origin, $target);
		my $lag = $row->{lag};
		push(@wrong, "$direction at " . $center->name . ": lag $lag, measured $before to $after, state $row->{state}, $row->{stall_reason}")
		  unless $lag ne '' && $lag > 0 && $row->{lag_basis} =~ /^(?:heartbeat|commit)$/
		  && $lag > ($before < $after ? $before : $after) - 2 && $lag < ($before > $after ? $before : $after) + 2;
	}
	return is("@wrong", '', "$name: lag is true at both ends");
}

# Wait until a link has a state and a reason; one test.  Returns the row.
sub shows
{
	my ($center, $peer, $direction, $state, $reason, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $row;
	my $took = poll("$name", sub {
			$row = link_row($center, $peer, $direction);
			# In a list, a match that fails is nothing at all.
			my $fits = $row->{state} =~ /^(?:$state)$/ && $row->{stall_reason} =~ $reason;
			return ($fits ? 1 : 0, "$row->{state}: $row->{stall_reason}");
		}, $seconds || 10, $center);
	ok(1, sprintf('%s: %s, %s (%.1f s)', $name, $row->{state}, $row->{stall_reason}, $took));
	$row->{took} = $took;
	return $row;
}

# Wait until a check of health() has a status; one test.
sub check_is
{
	my ($center, $check, $object, $status, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $message = '';
	poll("$name: $check", sub {
			my $found = $center->sql(sprintf(q{SELECT status || ': ' || message FROM multicenter.health_checks()
				WHERE check_name = '%s' AND coalesce(object, '') = '%s'}, $check, $object));
			$message = $found;
			return ($found =~ /^(?:$status): / ? 1 : 0, $found);
		}, $seconds || 20, $center);
	return ok(1, "$name: $check is $message");
}

# The list of centers is the same whatever a link does; one test.
sub both_say
{
	my ($name, @centers) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $wanted = join("\n", sort map { $_->name . '|ready' } @centers);
	my @said = map { $_->sql('SELECT center_name, state FROM multicenter.centers ORDER BY center_name COLLATE "C"') } @centers;
	return is(join(';', @said), join(';', map { $wanted } @centers), "$name: centers lists all members");
}

1;
