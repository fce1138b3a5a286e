# Bench::Workload: what is done, from a file of bench/workloads.
#
# Such a file is SQL with a head of "-- key: value" lines:
#   title     in a few words
#   kind      how it is run, a module below Bench::Kind (drain)
#   like      another workload, whose numbers and sections hold unless this
#             file has its own
#   compares  systems or variants of its own, instead of those that are asked for
#   only      those of the systems that can do it
#   ceiling   ratio above which bench/run --ceilings fails; generous
#   base      what the others are compared with (native)
#   most      largest size that is run where files are in memory
#   measure   figure by which they are compared (its kind's)
#   fit       figures that are fitted over the number in a variant's name
#   unit      what that number counts
#   link      options of multicenter's links, as link_alter() takes them
#   changes   number of changed rows, by which costs are divided
#   NAME      another number, that the SQL has as {NAME}
# Numbers are those of size 1; those that end in "!" do not depend on the size.
# The sections begin with "-- section NAME"; their statements are separated by
# lines with a ";" at the end, and run one by one.
package Bench::Workload;

use strict;
use warnings;

use File::Basename;

my $dir = dirname(__FILE__) . '/../../workloads';

# Names of all workloads.
sub all { return map { basename($_, '.sql') } sort glob("$dir/*.sql") }

# Read one, for a size; files are in memory, or on disk.
sub load
{
	my ($class, $name, $size, $disk) = @_;
	open(my $in, '<', "$dir/$name.sql") or die "there is no workload $name; there are " . join(', ', all()) . "\n";
	my $self = bless { name => $name, size => $size, kind => 'drain', number => {}, section => {} }, $class;
	my ($section, %own);
	while (my $line = <$in>)
	{
		if ($line =~ /^-- section (\w+)/) { $section = $1 }
		elsif (defined $section) { push(@{ $own{$section} }, $line) }
		elsif ($line =~ /^-- like: (\w+)$/) { $self->take_from($class->load($1, $size, $disk)) }
		elsif ($line =~ /^-- most: ([\d.]+)$/) { $self->{size} = $size = $1 if $size > $1 && !$disk }
		elsif ($line =~ /^-- (\w+): (\d+)(!?)$/) { $self->{number}{$1} = $3 ? $2 : int($2 * $size + 0.5) || 1 }
		elsif ($line =~ /^-- (\w+): (.*)/) { $self->{$1} = $2 }
	}
	close($in);
	$self->{section}{$_} = join('', @{ $own{$_} }) foreach keys %own;
	return $self;
}

# What a workload has from the one that it is like.
sub take_from
{
	my ($self, $other) = @_;
	$self->{$_} = { %{ $other->{$_} } } foreach qw(number section);
	return;
}

sub name    { return $_[0]->{name} }
sub title   { return $_[0]->{title} }
sub ceiling { return $_[0]->{ceiling} }
sub base    { return $_[0]->{base} }
sub kind    { return $_[0]->{kind} }
sub size    { return $_[0]->{size} }
sub changes { return $_[0]->{number}{changes} }
sub key     { my ($self, $name) = @_; return $self->{$name} }
sub number  { my ($self, $name) = @_; return $self->{number}{$name} }

# Give it a number that a variant's name says.
sub set
{
	my ($self, $name, $value) = @_;
	$self->{number}{$name} = $value;
	return;
}

# Statements of a section, with the numbers filled in; more of them can be
# given.
sub statements
{
	my ($self, $name, %more) = @_;
	my %number = (%{ $self->{number} }, %more);
	my $text = $self->{section}{$name};
	return unless defined $text;
	$text =~ s/\{(\w+)\}/exists $number{$1} ? $number{$1} : die "$self->{name}: no number $1\n"/ge;
	return grep { /\S/ } split(/;\n(?=(?!END|BEGIN)\S|\z)/, $text);
}

# Its kind's module.
sub runner
{
	my ($self) = @_;
	my $class = 'Bench::Kind::' . ucfirst($self->{kind});
	eval "require $class; 1" or die $@;
	return $class;
}

# What is compared: its own list, or those of these systems that can do it.
sub systems
{
	my ($self, @systems) = @_;
	return split(/,\s*/, $self->{compares}) if $self->{compares};
	return grep { my $system = $_; !$self->{only} || grep { $_ eq $system } split(/,\s*/, $self->{only}) } @systems;
}

# One run on fresh servers; returns figures.
sub run
{
	my ($self, $system, %option) = @_;
	return $self->runner->run($self, $system, %option);
}

1;
