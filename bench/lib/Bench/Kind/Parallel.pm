# Bench::Kind::Parallel: a drain by a receiver alone and with appliers beside it,
# "multicenter 0" and "multicenter 8".
package Bench::Kind::Parallel;

use strict;
use warnings;

use parent 'Bench::Kind::Drain';

# Make a system its variant.
sub vary
{
	my ($class, $system, $origin, $target, $workers) = @_;
	return $system->alter_link($origin, $target, qq({"workers": $workers}));
}

1;
