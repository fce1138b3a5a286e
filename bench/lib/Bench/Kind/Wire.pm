# Bench::Kind::Wire: a drain that is compared by what goes over the wire.
package Bench::Kind::Wire;

use strict;
use warnings;

use parent 'Bench::Kind::Drain';

1;
