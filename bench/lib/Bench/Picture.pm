# Bench::Picture: ratios as a drawing.
package Bench::Picture;

use strict;
use warnings;

use Bench::Report;

my ($left, $bar, $width, $right) = (60, 14, 560, 60);
my %colour = (multicenter => '#2a6fb0', pglogical => '#b9b9b9');

# Bars of the CPU of sender and apply as a ratio to native, in SVG.
sub ratios
{
	my @drains = grep { $_->{kind} eq 'drain' && $_->{runs}{native} } @_;
	my @bars;
	my $y = 40;
	foreach my $workload (@drains)
	{
		push(@bars, sprintf('<text x="4" y="%d">%s</text>', $y + $bar, $workload->{name}));
		foreach my $system (grep { $workload->{runs}{$_} } qw(multicenter pglogical))
		{
			my $ratio = Bench::Report::median(Bench::Report::main_ratios($workload, $system));
			push(@bars, sprintf('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>', $left, $y, $ratio * $width / 2, $bar, $colour{$system}),
				sprintf('<text x="%.1f" y="%d">%.2f</text>', $left + 4 + $ratio * $width / 2, $y + $bar - 3, $ratio));
			$y += $bar + 2;
		}
		$y += 8;
	}
	my $one = $left + $width / 2;
	return join("\n",
		sprintf('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">', $left + $width + $right, $y + 10),
		'<rect width="100%" height="100%" fill="white"/>',
		qq{<text x="$left" y="16" fill="$colour{multicenter}">multicenter</text><text x="160" y="16" fill="#777">pglogical</text>},
		qq{<text x="250" y="16">CPU of sender and apply; native logical replication is 1</text>}, @bars,
		sprintf('<line x1="%d" y1="24" x2="%d" y2="%d" stroke="black"/>', $one, $one, $y), '</svg>', '');
}

1;
