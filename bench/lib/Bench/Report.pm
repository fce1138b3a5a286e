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
		[ wire_mb => 'sent MB', 1 ], [ target_wal_mb => 'target WAL MB', 1 ], [ load_s => 'written in s', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	latency => [
		[ p50_ms => 'p50 ms', 2 ], [ p95_ms => 'p95 ms', 2 ], [ p99_ms => 'p99 ms', 2 ], [ max_ms => 'max ms', 1 ],
		[ sender_cpu_s => 'sender CPU s', 2 ], [ apply_cpu_s => 'apply CPU s', 2 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	local => [
		[ cpu_us => 'CPU us per transaction', 1 ], [ rate => 'transactions/s', 0 ], [ wal_mb => 'WAL MB', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	fanout => [
		[ cpu_s => 'CPU s of all senders', 2 ], [ origin_cpu_s => 'whole origin', 2 ], [ wall_s => 'drained in s', 2 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	heal => [
		[ cpu_s => 'senders + apply CPU s', 2 ], [ sender_cpu_s => 'senders', 2 ], [ apply_cpu_s => 'apply', 2 ],
		[ wall_s => 'healed in s', 2 ], [ rate => 'transactions/s each way', 0 ], [ log_mb => 'server log MB', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
);

# By what systems are compared, and with which one unless the workload says.
my %measure = (drain => 'cpu_s', latency => 'p50_ms', local => 'cpu_us', fanout => 'cpu_s', heal => 'cpu_s');

my @order = qw(multicenter native pglogical);

sub base { my ($workload) = @_; return $workload->{base} || 'native' }

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
	my @first = (@{ $workload->{order} || [] }, @order);
	my %known = map { $first[$_] => $_ } 0 .. $#first;
	return sort { ($known{$a} // 99) <=> ($known{$b} // 99) || $a cmp $b } keys %{ $workload->{runs} };
}

# Ratios of a figure to that of another system, run by run.
sub ratios
{
	my ($workload, $system, $base, $key) = @_;
	my @ours = @{ $workload->{runs}{$system} || [] };
	my @theirs = @{ $workload->{runs}{$base} || [] };
	return map { $ours[$_]{$key} / $theirs[$_]{$key} }
	  grep { $_ <= $#theirs && $theirs[$_]{$key} && defined $ours[$_]{$key} } 0 .. $#ours;
}

# All figures of a workload as a table in Markdown.
sub table
{
	my ($workload) = @_;
	my $kind = $workload->{kind};
	my @columns = @{ $columns{$kind} };
	my $key = $measure{$kind};
	my $text = "**$workload->{name}: $workload->{title}** (size $workload->{size})\n\n| system | ratio | " . join(' | ', map { $_->[1] } @columns) . " |\n"
	  . '|---' x (@columns + 2) . "|\n";
	foreach my $system (systems($workload))
	{
		my @runs = @{ $workload->{runs}{$system} };
		$text .= join(' | ', "| $system", $system eq base($workload) ? '1' : spread(2, ratios($workload, $system, base($workload), $key)),
			map { my $column = $_; spread($column->[2], map { $_->{ $column->[0] } } @runs) } @columns) . " |\n";
		$text .= "\n$system: the tables differ at the end of a run\n\n" if grep { exists $_->{identical} && !$_->{identical} } @runs;
	}
	return $text;
}

# The ratio by which a workload's systems are compared, run by run.
sub main_ratios
{
	my ($workload, $system) = @_;
	return ratios($workload, $system, base($workload), $measure{ $workload->{kind} });
}

# What the summary says of a drain, beside its ratio: ratios of other figures.
sub drain_row
{
	my ($workload) = @_;
	my @other = map { spread(2, main_ratios($workload, $_)) } grep { $workload->{runs}{$_} } 'pglogical';
	my $runs = $workload->{runs}{multicenter};
	my $of = sub { my ($key) = @_; return spread(2, median(ratios($workload, 'multicenter', 'native', $key))) };
	my $cost = sub { my ($key) = @_; return sprintf('%.1f', 1e6 * median(map { $_->{$key} } @$runs) / $workload->{changes}) };
	return join(' | ', "| $workload->{name}: $workload->{title}", $workload->{size}, '**' . spread(2, main_ratios($workload, 'multicenter')) . '**', @other ? @other : '-',
		$of->('sender_cpu_s'), $of->('apply_cpu_s'), $of->('wall_s'), $of->('wire_mb'),
		$cost->('sender_cpu_s'), $cost->('apply_cpu_s'), $cost->('reverse_cpu_s'),
		spread(0, map { $_->{sender_rss_mb} } @$runs), spread(0, map { $_->{apply_rss_mb} } @$runs)) . " |\n";
}

# The summary for docs/performance.md.
sub summary
{
	my ($machine, @workloads) = @_;
	my %versions = map { %{ $_->{versions} } } @workloads;
	my ($first, $last) = (sort map { $_->{date} } @workloads)[ 0, -1 ];
	my $text = "Measured from $first to $last UTC, by the machine's clock: $machine->{processor}, $machine->{cpus} processors, $machine->{memory_gb} GB, "
	  . "$machine->{system}, Linux $machine->{kernel}, files in $machine->{storage}. "
	  . join(', ', map { $versions{$_} } grep { $versions{$_} } @order) . ". Medians; ranges in brackets. Size 1 is what the title says.\n\n";
	my @drains = grep { $_->{kind} eq 'drain' && $_->{runs}{multicenter} && $_->{runs}{native} } @workloads;
	$text .= "| workload | size | **CPU** | pglogical's CPU | sender CPU | apply CPU | time | bytes sent | sender us per change | apply us | sender back us | sender MB | apply MB |\n"
	  . '|---' x 13 . "|\n" . join('', map { drain_row($_) } @drains) . "\n" if @drains;
	$text .= table($_) . "\n" foreach grep { $_->{kind} ne 'drain' } @workloads;
	return $text;
}

1;
