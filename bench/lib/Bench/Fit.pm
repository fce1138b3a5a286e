# Bench::Fit: how a figure grows.
package Bench::Fit;

use strict;
use warnings;

# Head of the table whose rows are those of row().
sub heads
{
	my ($unit) = @_;
	return "| growth with $unit | at | least squares | R2 | last step | |\n|---|---|---|---|---|---|\n";
}

# Intercept, slope and coefficient of determination of points [x, y], by
# ordinary least squares.
sub line
{
	my (@points) = @_;
	my ($sx, $sy, $sxx, $sxy, $syy) = (0) x 5;
	foreach my $point (@points)
	{
		my ($x, $y) = @$point;
		$sx += $x; $sy += $y; $sxx += $x * $x; $sxy += $x * $y; $syy += $y * $y;
	}
	my $n = @points;
	my ($vx, $vy, $cov) = ($n * $sxx - $sx**2, $n * $syy - $sy**2, $n * $sxy - $sx * $sy);
	my $slope = $vx > 0 ? $cov / $vx : 0;
	return (($sy - $slope * $sx) / $n, $slope, $vx > 0 && $vy > 0 ? $cov**2 / ($vx * $vy) : 1);
}

# The power of x with which y grows between two points; a part that does not
# grow makes it less, never more.
sub power
{
	my ($from, $to) = @_;
	return 0 if $from->[1] <= 0 || $to->[1] <= 0;
	return log($to->[1] / $from->[1]) / log($to->[0] / $from->[0]);
}

# Cells of a table: the points, the line, the power of the last step, and what
# it means.
sub row
{
	my @points = sort { $a->[0] <=> $b->[0] } @_;
	my ($start, $slope, $r2) = line(@points);
	my $power = power(@points[ -2, -1 ]);
	return join(' | ', join(', ', map { sprintf('%d: %.4g', @$_) } @points), sprintf('%.4g %s %.4g x', $start, $slope < 0 ? '-' : '+', abs($slope)),
		sprintf('%.2f', $r2), sprintf('x^%.2f', $power), $power < 0.3 ? 'flat' : $power <= 1.2 ? 'linear' : '**faster than linear**');
}

1;
