# Bench::Report: results for people.
package Bench::Report;

use strict;
use warnings;

use Bench::Fit;

# What a table of a kind has: key of the figure, head, digits.
my %columns = (
	drain => [
		[ cpu_s => 'sender + apply CPU s', 2 ], [ sender_cpu_s => 'sender', 2 ], [ apply_cpu_s => 'apply', 2 ],
		[ reverse_cpu_s => 'sender back', 2 ], [ target_cpu_s => 'whole target', 2 ], [ wall_s => 'drained in s', 2 ],
		[ sender_rss_mb => 'sender MB', 0 ], [ apply_rss_mb => 'apply MB', 0 ], [ spill_mb => 'spilled MB', 0 ],
		[ wire_mb => 'sent MB', 1 ], [ target_wal_mb => 'target WAL MB', 1 ], [ load_s => 'written in s', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	parallel => [
		[ wall_s => 'drained in s', 2 ], [ apply_cpu_s => 'apply CPU s', 2 ], [ sender_cpu_s => 'sender CPU s', 2 ], [ apply_rss_mb => 'apply MB', 0 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	copy => [
		[ apply_cpu_s => 'apply CPU s', 2 ], [ wall_s => 'done in s', 2 ], [ target_wal_mb => 'target WAL MB', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	latency => [
		[ p50_ms => 'p50 ms', 2 ], [ p95_ms => 'p95 ms', 2 ], [ p99_ms => 'p99 ms', 2 ], [ max_ms => 'max ms', 1 ],
		[ sender_cpu_s => 'sender CPU s', 2 ], [ apply_cpu_s => 'apply CPU s', 2 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	local => [
		[ cpu_us => 'CPU us per transaction', 1 ], [ rate => 'transactions/s', 0 ], [ wal_mb => 'WAL MB', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	wire => [
		[ mb_per_million => 'MB for a million changes', 1 ], [ wire_mb => 'sent MB', 2 ], [ sender_cpu_s => 'sender CPU s', 2 ], [ apply_cpu_s => 'apply CPU s', 2 ],
		[ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	join => [
		[ cpu_s => 'CPU s of both servers', 2 ], [ origin_cpu_s => 'origin', 2 ], [ target_cpu_s => 'target', 2 ], [ wall_s => 'joined in s', 1 ],
		[ database_mb => 'database MB', 0 ], [ target_wal_mb => 'target WAL MB', 0 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	sustained => [
		[ tps => 'transactions/s', 0 ], [ lag_ms => 'last one seen after ms', 0 ], [ cpu_us => 'sender + apply CPU us per transaction', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	idle => [
		[ cpu_ms => 'CPU ms/s of a center', 2 ], [ sender_ms => 'walsenders', 2 ], [ receiver_ms => 'receivers', 2 ], [ manager_ms => 'manager', 2 ], [ other_ms => 'the rest', 2 ],
		[ link_ms => 'CPU ms/s of a link, both ends', 2 ], [ wire_kb => 'sent kB/s', 2 ], [ wal_kb => 'WAL kB/s', 2 ],
		[ sender_mb => 'a walsender MB', 1 ], [ receiver_mb => 'a receiver MB', 1 ], [ manager_mb => 'manager MB', 1 ], [ join_s => 'all have joined in s', 1 ],
	],
	tables => [
		[ first_cpu_us => 'first change of each table: CPU us', 0 ], [ first_sender_us => 'sender', 0 ], [ first_apply_us => 'apply', 0 ], [ next_cpu_us => 'the next one: CPU us', 0 ],
		[ sender_mb => 'sender MB', 1 ], [ apply_mb => 'apply MB', 1 ], [ join_s => 'joined in s', 1 ], [ join_cpu_s => 'CPU s of both', 1 ],
		[ start_s => 'streams after a restart in s', 2 ], [ start_cpu_s => 'CPU s of that', 2 ], [ idle_ms => 'idle: CPU ms/s of a server', 2 ],
		[ health_ms => 'health() ms', 0 ], [ views_ms => 'slowest view ms', 0 ],
	],
	fanout => [
		[ cpu_s => 'CPU s of all senders', 2 ], [ origin_cpu_s => 'whole origin', 2 ], [ share => 'share of senders', 2 ], [ wall_s => 'drained in s', 2 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
	heal => [
		[ cpu_s => 'senders + apply CPU s', 2 ], [ sender_cpu_s => 'senders', 2 ], [ apply_cpu_s => 'apply', 2 ],
		[ wall_s => 'healed in s', 2 ], [ rate => 'transactions/s each way', 0 ], [ log_mb => 'server log MB', 1 ], [ foreign_cpu_s => 'foreign CPU s', 1 ],
	],
);

# By what systems are compared, and with which one unless the workload says.
my %measure = (drain => 'cpu_s', latency => 'p50_ms', local => 'cpu_us', fanout => 'cpu_s', heal => 'cpu_s',
	wire => 'wire_mb', parallel => 'wall_s', copy => 'apply_cpu_s', join => 'cpu_s', sustained => 'tps', idle => 'cpu_ms', tables => 'first_cpu_us');

my @order = qw(multicenter native pglogical);

sub base    { my ($workload) = @_; return $workload->{base} || 'native' }
sub measure { my ($workload) = @_; return $workload->{measure} || $measure{ $workload->{kind} } }

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
		grep { $_ ne 'version' && $_ ne 'view' } sort keys %$run);
}

# Systems of a workload in their order.
sub systems
{
	my ($workload) = @_;
	my @first = (@{ $workload->{order} || [] }, @order);
	my %known = map { $first[$_] => $_ } reverse 0 .. $#first;
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
	my $key = measure($workload);
	my $text = "**$workload->{name}: $workload->{title}** (size $workload->{size}" . ($workload->{storage} ? ", files on $workload->{storage}" : '') . ")\n\n| system | ratio | " . join(' | ', map { $_->[1] } @columns) . " |\n"
	  . '|---' x (@columns + 2) . "|\n";
	my @notes;
	foreach my $system (systems($workload))
	{
		my @runs = @{ $workload->{runs}{$system} };
		$text .= join(' | ', "| $system", $system eq base($workload) ? '1' : spread(2, ratios($workload, $system, base($workload), $key)),
			map { my $column = $_; spread($column->[2], map { $_->{ $column->[0] } } @runs) } @columns) . " |\n";
		push(@notes, "$system: the tables differ at the end of a run") if grep { exists $_->{identical} && !$_->{identical} } @runs;
	}
	return $text . join('', map { "\n$_\n" } @notes) . growth($workload);
}

# How figures grow with the number in a variant's name: a straight line through
# the medians, by least squares, and by which power the last step goes.
sub growth
{
	my ($workload) = @_;
	return '' unless $workload->{fit};
	my %points;
	foreach my $variant (systems($workload))
	{
		my ($system, $x) = split(/ /, $variant);
		push(@{ $points{$system} }, [ $x, $workload->{runs}{$variant} ]) if defined $x && $x > 0;
	}
	my $heads = Bench::Fit::heads($workload->{unit});
	my @rows;
	my %head = map { $_->[0] => $_->[1] } @{ $columns{ $workload->{kind} } };
	foreach my $key (split(/,\s*/, $workload->{fit}))
	{
		foreach my $system (sort keys %points)
		{
			my @at = grep { defined $_->[1] } map { [ $_->[0], median(grep { defined } map { $_->{$key} } @{ $_->[1] }) ] } @{ $points{$system} };
			push(@rows, "| $system: $head{$key} | " . Bench::Fit::row(@at) . " |\n") if @at > 2;
		}
	}
	return @rows ? "\n" . $heads . join('', @rows) : '';
}

# The ratio by which a workload's systems are compared, run by run.
sub main_ratios
{
	my ($workload, $system) = @_;
	return ratios($workload, $system, base($workload), measure($workload));
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

# Processors on which workloads were measured, each with their names if there
# are several.
sub processors
{
	my (@workloads) = @_;
	my %names;
	push(@{ $names{ $_->{processor} } }, $_->{name}) foreach @workloads;
	return keys %names if keys %names == 1;
	return join(', ', map { "$_ (" . join(', ', @{ $names{$_} }) . ')' } sort keys %names);
}

# The summary for docs/performance.md.
sub summary
{
	my ($machine, @workloads) = @_;
	my %versions = map { %{ $_->{versions} } } @workloads;
	my ($first, $last) = (sort map { $_->{date} } @workloads)[ 0, -1 ];
	my $text = "Measured from $first to $last UTC, by the machine's clock: " . join('', processors(@workloads)) . ", $machine->{cpus} processors, $machine->{memory_gb} GB, "
	  . "$machine->{system}, Linux $machine->{kernel}, files in $machine->{storage}. "
	  . join(', ', map { $versions{$_} } grep { $versions{$_} } @order) . ". Medians; ranges in brackets. Size 1 is what the title says.\n\n";
	my @drains = grep { $_->{kind} eq 'drain' && $_->{runs}{multicenter} && $_->{runs}{native} } @workloads;
	$text .= "| workload | size | **CPU** | pglogical's CPU | sender CPU | apply CPU | time | bytes sent | sender us per change | apply us | sender back us | sender MB | apply MB |\n"
	  . '|---' x 13 . "|\n" . join('', map { drain_row($_) } @drains) . "\n" if @drains;
	$text .= table($_) . "\n" foreach grep { $_->{kind} ne 'drain' } @workloads;
	return $text;
}

1;
