# Multicenter::Model: what three centers must hold when everything is applied.
#
# An independent implementation of the merge rules, small enough to be seen to
# be right.  It knows nothing of servers, links or arrival order: its input is
# the set of transactions that were committed anywhere, each with its version
# (commit timestamp, center) and the rows that its statements wrote, deleted
# or truncated, as the author saw them.
#
# The rules (docs/architecture.md, versions and the merge table):
#   - Each key has the last put or tombstone by (timestamp, center).  Within a
#     transaction the later change wins.  TRUNCATE kills the puts of lower
#     versions, and those that are earlier in its own transaction.  A change
#     of the key is a tombstone of the old and a put of the new one.
#     All of this is what a replay in the order of versions gives.
#   - Of the rows that are left the greater versions are visible first: a row
#     that clashes with a visible greater one, on a unique key or an exclusion
#     constraint, is displaced.  Rows of one version, which only a policy can
#     make clash, go by their keys, the greatest first.
package Model;

use strict;
use warnings;

use Columns;

# Sort by version; one center's transactions of equal time by their order.
sub by_version
{
	my ($a, $b) = @_;
	return $a->{time} <=> $b->{time}
	  || $a->{center} <=> $b->{center}
	  || $a->{sequence} <=> $b->{sequence};
}

# The map after all transactions, if it was this before: key => { row, version }.
# An operation is [ 'put', key, row ], [ 'delete', key ] or [ 'truncate', keys ].
sub replay
{
	my ($before, @transactions) = @_;
	my %map = %$before;
	foreach my $transaction (sort { by_version($a, $b) } @transactions)
	{
		foreach my $operation (@{ $transaction->{operations} })
		{
			my ($kind, $key, $row) = @$operation;
			if    ($kind eq 'put')    { $map{$key} = { row => $row, version => $transaction } }
			elsif ($kind eq 'delete') { delete $map{$key} }
			else                      { delete @map{@$key} }
		}
	}
	return \%map;
}

# Where a policy decides: had the author of a transaction seen another one?
# "seen" says, for each other center, up to where its commits were applied.
sub saw
{
	my ($transaction, $other) = @_;
	return $transaction->{sequence} > $other->{sequence} if $transaction->{center} == $other->{center};
	return ($transaction->{seen}{ $other->{center} } // 0) > $other->{lsn};
}

# Has a transaction truncated the table, or the partition, that a key is in?
sub truncates
{
	my ($transaction, $key) = @_;
	my @keys = map { $_->[0] eq 'truncate' ? @{ $_->[1] } : () } @{ $transaction->{operations} };
	return scalar grep { $_ == $key } @keys;
}

# Is a change older than a TRUNCATE by somebody else?  Newer policies count as
# newer than older ones.
sub is_truncated
{
	my ($change, $truncate) = @_;
	return $change != $truncate
	  && ($change->{level} <=> $truncate->{level} || by_version($change, $truncate)) < 0;
}

# What each transaction leaves of each key that it has changed: a row, or undef.
# What is deleted after a TRUNCATE has only been put since that.
sub net_effects
{
	my ($transaction) = @_;
	my (%net, %truncated);
	foreach my $operation (@{ $transaction->{operations} })
	{
		my ($kind, $key, $row) = @$operation;
		if ($kind eq 'truncate')
		{
			delete @net{@$key};
			@truncated{@$key} = (1) x @$key;
		}
		elsif ($truncated{$key} && $kind eq 'delete') { delete $net{$key} }
		else                                          { $net{$key} = $kind eq 'put' ? $row : undef }
	}
	return \%net;
}

# Which of some siblings, by ascending version, does the policy show?  Returns
# its row, or undef.
my %rank = (3 => 0, 1 => 1, 2 => 2);

sub resolve
{
	my ($policy, @siblings) = @_;
	my @puts = grep { $_->{row} } @siblings;
	return undef if !@puts;
	if ($policy eq 'handler')
	{
		my ($best) = shift(@puts);
		$best = $_->{row}{v} gt $best->{row}{v} ? $_ : $best foreach @puts;
		return $best->{row};
	}
	return $siblings[-1]{row} if $policy eq 'last';
	return $puts[-1]{row} if $policy eq 'insert';
	return @puts < @siblings ? undef : $puts[-1]{row} if $policy eq 'skip';
	return $siblings[0]{row} if $policy eq 'first';
	my ($best) = sort { $rank{ $a->{version}{center} } <=> $rank{ $b->{version}{center} } } @siblings;
	return $best->{row};
}

# The map where a policy decides: of the changes of a key that no TRUNCATE has
# killed, and that no change has seen, the policy chooses; what it shows has the
# greatest of their versions.  Only those count that were made under the newest
# of the policies.
sub decide
{
	my ($policies, $before, @transactions) = @_;
	my %changes = map { ($_ => [ $before->{$_} ]) } keys %$before;
	my %map;
	foreach my $transaction (sort { by_version($a, $b) } @transactions)
	{
		my $net = net_effects($transaction);
		push(@{ $changes{$_} }, { version => $transaction, row => $net->{$_} }) foreach keys %$net;
	}
	foreach my $key (keys %changes)
	{
		my @all = @{ $changes{$key} };
		my @truncates = grep { truncates($_, $key) } @transactions;
		my @siblings = grep {
			my $one = $_;
			!(grep { is_truncated($one->{version}, $_) } @truncates)
			  && !(grep { $_ != $one && saw($_->{version}, $one->{version}) } @all)
		} @all;
		my ($level) = sort { $b <=> $a } map { $_->{version}{level} } @siblings;
		@siblings = grep { $_->{version}{level} == $level } @siblings;
		my $row = @siblings ? resolve($policies->[$level], @siblings) : undef;
		$map{$key} = { row => $row, version => $siblings[-1]{version} } if $row;
	}
	return \%map;
}

# Split the map into visible and displaced rows.  $clash->(row, row, key, key)
# says whether two rows cannot both be in the table.  The shape says what decides:
# policies, by level, or those of columns; or else the last update.  Columns are
# merged in some segments of time only: when one begins all centers have all that
# was written before.
sub final
{
	my ($clash, $shape, @transactions) = @_;
	my (@segments, %visible, %displaced);
	my $map = {};
	push(@{ $segments[ $_->{segment} ] }, $_) foreach @transactions;
	foreach my $segment (grep { $_ } @segments)
	{
		$map = $segment->[0]{merge} ? Columns::merge($shape->{columns}, $map, @$segment)
		  : $shape->{policies} ? decide($shape->{policies}, $map, @$segment) : replay($map, @$segment);
	}
	foreach my $key (
		sort { by_version($map->{$b}{version}, $map->{$a}{version}) || $b cmp $a } keys %$map)
	{
		my $row = $map->{$key}{row};
		if (grep { $clash->($row, $visible{$_}, $key, $_) } keys %visible)
		{
			$displaced{$key} = $row;
		}
		else
		{
			$visible{$key} = $row;
		}
	}
	return (\%visible, \%displaced);
}

1;
