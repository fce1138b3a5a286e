# Bench::Results: the file of results.
#
# {machine, workloads: {NAME: {title, kind, base, measure, fit, unit, order, date,
#  processor, storage (where it is not the machine's), size, changes, versions, runs: {SYSTEM: [{FIGURE: value}]}}}}
package Bench::Results;

use strict;
use warnings;

use JSON::PP;
use POSIX qw(strftime);

my $json = JSON::PP->new->canonical->pretty->indent_length(1);

# The results in a file; it need not exist.
sub new
{
	my ($class, $file) = @_;
	my $self = bless { file => $file, all => { workloads => {} } }, $class;
	if (open(my $in, '<', $file))
	{
		local $/;
		$self->{all} = $json->decode(scalar <$in>);
	}
	return $self;
}

sub machine { my ($self, $machine) = @_; $self->{all}{machine} = $machine if $machine; return $self->{all}{machine} }
sub of      { my ($self, $name) = @_; return $self->{all}{workloads}{$name} }
sub names   { my ($self) = @_; return sort keys %{ $self->{all}{workloads} } }

# Results of a workload, in place of what there was.
sub add
{
	my ($self, $workload, $runs, $storage) = @_;
	my %versions = map { $_ => $runs->{$_}[0]{version} } keys %$runs;
	$self->{all}{workloads}{ $workload->name } = {
		name => $workload->name, title => $workload->title, kind => $workload->kind, base => $workload->base,
		(map { $_ => $workload->key($_) } qw(measure fit unit)),
		order => [ $workload->systems ],
		processor => $self->machine->{processor}, storage => $storage, date => strftime('%Y-%m-%d %H:%M', gmtime), size => $workload->size + 0, changes => $workload->changes,
		versions => \%versions, runs => $runs,
	};
	return;
}

sub save
{
	my ($self) = @_;
	open(my $out, '>', $self->{file}) or die "could not write $self->{file}: $!\n";
	print $out $json->encode($self->{all});
	close($out);
	return;
}

1;
