# Bench::Report: results for people.
package Bench::Report;

use strict;
use warnings;

# What a table of a kind has: key of the figure, head, digits.
my %columns = (
	drain => [
		[ cpu_s => 'sender + apply CPU s', 2 ], [ sender_cpu_s => 'sender', 2 ], [ apply_cpu_s => 'apply', 2 ],
		[ reverse_cpu_s => 'sender back', 2 ], [ target_cpu_s => 'whole target', 2 ], [ wall_s => 'drained in s', 2 ],
		[ sender_rss_mb => 'sender MB', 0 ], [ apply_rss_mb => 'apply MB', 0 ], [ spill_mb => 'spilled MB', 0 ],
		[ wire_mb => 'sent MB', 1 ], [ target_wal_mb => 'target WAL MB', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
);

# By what systems are compared.
my %measure = (drain => 'cpu_s');

my @order = qw(multicenter native pglogical);

sub sorted { return sort { $a <=> $b } @_ }

sub median
{
	my @values = sorted(@_) or return;
	return @values % 2 ? $values[ $#values / 2 ] : ($values[ @values / 2 - 1 ] + $values[ @values / 2 ]) / 2;
}

# Median, and the range where there is one.
sub spread
{
	my ($digits, @values) = @_;
	@values = grep { defined } @values or return '-';
	my ($low, $high) = (sorted(@values))[ 0, -1 ];
	my $text = sprintf("%.${digits}f", median(@values));
	return $text if @values == 1 || $digits == 0;
	return sprintf("%s (%.${digits}f-%.${digits}f)", $text, $low, $high);
}

# One run in a line.
sub line
{
	my ($run) = @_;
	return join(', ', map { "$_ " . (ref $run->{$_} ? $run->{$_} ? 'yes' : 'NO' : defined $run->{$_} ? sprintf('%.2f', $run->{$_}) : '-') }
		grep { $_ ne 'version' } sort keys %$run);
}

# Systems of a workload in their order.
sub systems
{
	my ($workload) = @_;
	my %known = map { $order[$_] => $_ } 0 .. $#order;
	return sort { ($known{$a} // 99) <=> ($known{$b} // 99) || $a cmp $b } keys %{ $workload->{runs} };
}

# Ratios of a figure to that of another system, run by run.
sub ratios
{
	my ($workload, $system, $base, $key) = @_;
	my @ours = @{ $workload->{runs}{$system} || [] };
	my @theirs = @{ $workload->{runs}{$base} || [] };
	return map { $theirs[$_]{$key} ? $ours[$_]{$key} / $theirs[$_]{$key} : () }
	  grep { $_ <= $#theirs && defined $ours[$_]{$key} } 0 .. $#ours;
}

# All figures of a workload as a table in Markdown.
sub table
{
	my ($workload) = @_;
	my $kind = $workload->{kind};
	my @columns = @{ $columns{$kind} };
	my $key = $measure{$kind};
	my $text = "**$workload->{name}: $workload->{title}**\n\n| system | ratio | " . join(' | ', map { $_->[1] } @columns) . " |\n"
	  . '|---' x (@columns + 2) . "|\n";
	foreach my $system (systems($workload))
	{
		my @runs = @{ $workload->{runs}{$system} };
		$text .= join(' | ', "| $system", $system eq 'native' ? '1' : spread(2, ratios($workload, $system, 'native', $key)),
			map { my $column = $_; spread($column->[2], map { $_->{ $column->[0] } } @runs) } @columns) . " |\n";
		$text .= "\n$system: the tables differ at the end of a run\n\n" if grep { exists $_->{identical} && !$_->{identical} } @runs;
	}
	return $text;
}

1;
