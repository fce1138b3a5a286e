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
#     constraint, is displaced.
package Model;

use strict;
use warnings;

# Sort by version; one center's transactions of equal time by their order.
sub by_version
{
	my ($a, $b) = @_;
	return $a->{time} <=> $b->{time}
	  || $a->{center} <=> $b->{center}
	  || $a->{sequence} <=> $b->{sequence};
}

# The map after all transactions: key => { row, version }.  An operation is
# [ 'put', key, row ], [ 'delete', key ] or [ 'truncate' ].
sub replay
{
	my (@transactions) = @_;
	my %map;
	foreach my $transaction (sort { by_version($a, $b) } @transactions)
	{
		foreach my $operation (@{ $transaction->{operations} })
		{
			my ($kind, $key, $row) = @$operation;
			if    ($kind eq 'put')    { $map{$key} = { row => $row, version => $transaction } }
			elsif ($kind eq 'delete') { delete $map{$key} }
			else                      { %map = () }
		}
	}
	return \%map;
}

# Split the map into visible and displaced rows.  $clash->(row, row) says
# whether two rows cannot both be in the table.
sub final
{
	my ($clash, @transactions) = @_;
	my $map = replay(@transactions);
	my (%visible, %displaced);
	foreach my $key (
		sort { by_version($map->{$b}{version}, $map->{$a}{version}) || $a cmp $b } keys %$map)
	{
		my $row = $map->{$key}{row};
		if (grep { $clash->($row, $_) } values %visible)
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
