# Harness: which seeds run together, what is printed, and how a failing
# schedule is made small.
package Harness;

use strict;
use warnings;

use Getopt::Long qw(GetOptionsFromArray);
use Runner;
use Schedule;
use Time::HiRes qw(time);

# So many seeds share a pattern: seed N belongs to batch N / $batch_size.
our $batch_size = 40;

our $not_judged = 'not judged, because the batch has failed';

# Prints text, whole lines.
our $report = sub { print @_ };
sub report { my (@text) = @_; return $report->(@text) }

my $usage = <<"END";
usage: test/model/run [--clusters | --databases] [OPTION...]

  --clusters           three servers (default)
  --databases          three databases of one server
  --seeds FROM-TO      run these seeds (1-200)
  --seed N             run one
  --events N           how many events a schedule has at most (60)
  --weights KIND=N,... how often a kind of operation is drawn
  --without FEATURE,.. leave out: @Schedule::features
  --policies           tables with policies other than last_update_wins
  --columns            tables whose columns are merged one by one
  --resets             columns are merged for a part of the time only
  --late               policies and merged columns are set on the way only
  --blocks             handlers of policies and columns fail now and then
  --workers N          so many processes apply what comes from each peer (0)
  --restarts N         let servers crash, with this weight (write events: 40)
  --shrink             make each failing schedule as small as possible
  --copies N           run each seed so many times at once (1)
  --verbose            print the whole story of each failing seed
END

sub main
{
	my (@arguments) = @_;
	my %option = (events => 60, seeds => '1-200', copies => 1);
	GetOptionsFromArray(\@arguments, \%option, 'clusters', 'databases', 'seeds=s', 'seed=i', 'events=i',
		'weights=s', 'without=s', 'shrink', 'copies=i', 'verbose', 'settle=i', 'restarts=i', 'policies', 'columns', 'resets', 'late', 'blocks', 'workers=i')
	  && !@arguments or die $usage;
	$option{seeds} = $option{seed} if defined $option{seed};
	$option{seeds} =~ /^(\d+)(?:-(\d+))?$/ or die $usage;
	my ($first, $last) = ($1, $2 // $1);
	my @rest = map { "--$_ $option{$_}" } grep { defined $option{$_} } qw(weights without restarts);
	push(@rest, "--events $option{events}") if $option{events} != 60;
	push(@rest, map { "--$_" } grep { $option{$_} } qw(policies columns resets late blocks));
	push(@rest, "--workers $option{workers}") if $option{workers};
	$option{weights} = { map { split(/=/, $_, 2) } split(/,/, $option{weights} // '') };
	$option{without} = { map { ($_ => 1) } split(/,/, $option{without} // '') };

	my $runner = Runner->new(map { ($_ => $option{$_}) } grep { $option{$_} } qw(databases policies columns late blocks workers settle));
	my @failed;
	my $started = time;
	run_seeds($runner, $first, $last, \%option, sub {
			my ($entry, $pattern) = @_;
			return unless @{ $entry->{problems} };
			push(@failed, $entry);
			return if $entry->{problems}[0] eq $not_judged;
			report("FAILED: seed $entry->{seed}; alone: " . command($runner, $entry, @rest) . "\n");
			report($option{verbose} ? $runner->story($entry, $pattern)
				: map { "    $_\n" } first_of(6, map { split(/\n/, $_) } @{ $entry->{problems} }));
			shrink($runner, $entry, $pattern) if $option{shrink};
		});
	my $count = $runner->{count};
	report(sprintf("%d seeds, %d failed, %.0f s: %d transactions (%d rolled back), %d checks of %d rows, %d displaced; %d races; %d groups\n",
		$last - $first + 1, scalar @failed, time - $started, @$count{qw(transactions failed checks rows displaced races)}, $runner->{groups}));
	my @left = $runner->check_forgotten;
	report(map { "not forgotten: $_\n" } @left);
	$runner->abandon;
	return @failed || @left ? 1 : 0;
}

# How to run an entry alone.
sub command
{
	my ($runner, $entry, @rest) = @_;
	return join(' ', 'test/model/run', $runner->{databases} ? '--databases' : '--clusters',
		"--seed $entry->{seed}", @rest, '--shrink');
}

sub first_of { my ($n, @list) = @_; return @list > $n ? (@list[ 0 .. $n - 1 ], '...') : @list }

# Run seeds in their batches; $finished->(entry, pattern) is called for each.
# It has failed if its list of problems is not empty.
sub run_seeds
{
	my ($runner, $first, $last, $option, $finished) = @_;
	for (my $seed = $first; $seed <= $last;)
	{
		my $batch = int($seed / $batch_size);
		my $end = ($batch + 1) * $batch_size - 1;
		$end = $last if $end > $last;
		my $pattern = Schedule::pattern($batch, %$option);
		my @entries = map { entry($_, $pattern, $option) } map { ($_) x ($option->{copies} || 1) } $seed .. $end;
		my $started = time;
		run_batch($runner, $pattern, \@entries);
		report(sprintf("batch %d, seeds %d to %d: %.1f s\n", $batch, $seed, $end, time - $started));
		$finished->($_, $pattern) foreach @entries;
		$seed = $end + 1;
	}
	return;
}

# Run a batch.  A seed that stops a link for good would hide what becomes of
# the others: so they run again without it.
sub run_batch
{
	my ($runner, $pattern, $entries) = @_;
	my @rest = @$entries;
	for (my $attempt = 1; @rest; $attempt++)
	{
		my @trouble = $runner->run_batch($pattern, \@rest) or return;
		my $text = join("\n", @trouble);
		# The link says at which table it stopped, which tells the seed.
		my ($culprit) = grep { my $table = $_->{table}; $text =~ /\Q$table\E(?!\d)/ } @rest;
		my @blamed = $culprit && $attempt < 6 ? $culprit : @rest;
		push(@{ $_->{problems} }, $_ == $blamed[0] ? $text : $not_judged) foreach @blamed;
		my %blamed = map { ($_ => 1) } @blamed;
		@rest = grep { !$blamed{$_} } @rest;
	}
	return;
}

sub entry
{
	my ($seed, $pattern, $option) = @_;
	my $shape = Schedule::shape($seed, %$option);
	return { seed => $seed, shape => $shape, transactions => Schedule::transactions($shape, $pattern, %$option) };
}

# An entry with some of the transactions of another one.
sub variant
{
	my ($entry, @transactions) = @_;
	return { seed => $entry->{seed}, shape => $entry->{shape}, transactions => \@transactions };
}

# The kinds of an entry's problems: what is made small must stay the same.
sub kinds_of
{
	my ($entry) = @_;
	my $text = join("\n", @{ $entry->{problems} });
	return map { $text =~ /$_/ ? $_ : () } 'unexpected error', 'key \d+: has', 'view displaced',
	  'index check', 'the run has failed', 'two rows';
}

# Which of these variants of an entry fail?  All run at once, each of them
# twice.
sub failing
{
	my ($runner, $original, $pattern, @variants) = @_;
	my ($kind) = kinds_of($original);
	my @entries = map { ($_, variant($_, @{ $_->{transactions} })) } @variants;
	my @trouble = $runner->run_batch($pattern, \@entries);
	if (@trouble)
	{
		# A broken link does not report whose fault it was: one at a time.
		return $variants[0] if @variants == 1;
		return map { failing($runner, $original, $pattern, $_) } @variants;
	}
	my @failing;
	foreach my $i (0 .. $#variants)
	{
		my ($found) = grep { my $entry = $_; grep { $_ eq $kind } kinds_of($entry) } @entries[ 2 * $i, 2 * $i + 1 ];
		push(@failing, $found) if $found;
	}
	return @failing;
}

# Make a failing schedule small: leave out transactions, then statements, then
# events, as long as it fails.  Prints the smallest one.
sub shrink
{
	my ($runner, $entry, $pattern) = @_;
	local $runner->{settle} = 2;
	my $best = $entry;
	for (my $part = @{ $best->{transactions} } / 2; ;)
	{
		my @all = @{ $best->{transactions} };
		my $size = $part < 1 ? 1 : int($part);
		my @variants = map { my $from = $_;
			variant($best, @all[ grep { $_ < $from || $_ >= $from + $size } 0 .. $#all ]) }
		  grep { $_ % $size == 0 } 0 .. $#all;
		report("shrinking: ", scalar @all, " transactions\n");
		my ($smaller) = @all > 1 ? failing($runner, $best, $pattern, @variants) : ();
		$best = $smaller if $smaller;
		last if !$smaller && $size == 1;
		$part /= 2 unless $smaller;
	}
	$best = shrink_statements($runner, $best, $pattern);
	($best, $pattern) = shrink_pattern($runner, $best, $pattern);
	report("the smallest schedule that fails:\n", $runner->story($best, $pattern));
	return;
}

sub shrink_statements
{
	my ($runner, $best, $pattern) = @_;
	while (1)
	{
		my @variants;
		my @all = @{ $best->{transactions} };
		foreach my $i (0 .. $#all)
		{
			my @statements = @{ $all[$i]{statements} };
			next if @statements < 2;
			foreach my $j (0 .. $#statements)
			{
				# A savepoint goes with its end, and with what was undone.
				my ($first, $last) = ($j, $j);
				if ($statements[$j]{kind} eq 'none')
				{
					next unless $statements[$j]{sql} =~ /^SAVEPOINT/;
					$last++ until $statements[$last]{sql} =~ /^(?:RELEASE|ROLLBACK)/;
				}
				my %out = map { ($_ => 1) } $first, $last;
				%out = map { ($_ => 1) } $first .. $last if $statements[$last]{sql} =~ /^ROLLBACK/;
				my @kept = @statements[ grep { !$out{$_} } 0 .. $#statements ];
				next unless @kept;
				my @copy = @all;
				$copy[$i] = { %{ $all[$i] }, statements => \@kept };
				push(@variants, variant($best, @copy));
			}
		}
		my ($smaller) = @variants ? failing($runner, $best, $pattern, @variants) : ();
		return $best unless $smaller;
		$best = $smaller;
	}
}

sub shrink_pattern
{
	my ($runner, $best, $pattern) = @_;
	# Events at which nothing is left to do go first.
	my %written = map { ($_->{event} => 1) } @{ $best->{transactions} };
	my @events = grep { !$_->{centers} || $written{ $_->{id} } } @$pattern;
	for (my $part = @events; $part >= 1; $part = int($part / 2))
	{
		for (my $from = 0; $from < @events; $from += $part)
		{
			my @fewer = grep { $events[$_]{centers} || $_ < $from || $_ >= $from + $part } 0 .. $#events;
			next if @fewer == @events;
			my @kept = @events[@fewer];
			my ($found) = failing($runner, $best, \@kept, variant($best, @{ $best->{transactions} }));
			next unless $found;
			($best, @events) = ($found, @kept);
			$from -= $part;
		}
	}
	return ($best, \@events);
}

1;
