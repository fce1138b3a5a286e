# Bench::System::Loaded: the library of multicenter is loaded, and no more.
package Bench::System::Loaded;

use strict;
use warnings;

use parent -norequire, 'Bench::System::Native';
use Bench::System::Native;

sub conf { return "shared_preload_libraries = 'multicenter'\n" }

1;
