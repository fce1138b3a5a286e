# Goal: a row that is updated all the time, by sessions and by links at once,
# is found by every update: none is lost, and none makes a second row.
#
# Method: four sessions at oslo and one at lisbon update one row, 100,000 times
# together; most updates are HOT, every fourth moves the row in an index too.
# A dirty-snapshot scan of an index can miss such a row for a moment; a lookup
# that trusted it would take an update for one of a missing row.  Each version
# has a tag of its own, and a trigger that fires for local and replicated
# updates alike writes down what each has replaced.  So we can account for every
# version: who replaced it, or that it lost and is in the history.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $updates = 50_000;
my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE counter (id int PRIMARY KEY, tag bigint NOT NULL, filler text) WITH (fillfactor = 50);
	CREATE INDEX ON counter (filler);
	INSERT INTO counter VALUES (1, 0, '');
});
my ($lisbon, $oslo, $riga) = @centers;
my %first = (lisbon => 1_000_000, oslo => 2_000_000);

foreach my $center (@centers)
{
	my $start = $first{ $center->name } || 1;
	$center->sql(qq{
		CREATE SEQUENCE next_tag START $start;
		CREATE UNLOGGED TABLE replaced (old bigint, new bigint);
		CREATE FUNCTION note_replaced() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
			'BEGIN INSERT INTO replaced VALUES (old.tag, new.tag); RETURN NULL; END';
		CREATE TRIGGER note AFTER UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION note_replaced();
		ALTER TABLE counter ENABLE ALWAYS TRIGGER note});
}

my $update = q{UPDATE counter SET tag = nextval('next_tag'),
	filler = CASE WHEN tag % 4 = 0 THEN tag::text ELSE filler END WHERE id = 1;};
$update =~ s/\s+/ /g;
my @loads = (
	start_load($oslo, "$update\n" x 20, clients => 4, transactions => $updates / 80),
	start_load($lisbon, "$update\n" x 20, clients => 1, transactions => $updates / 20));
like(finish_load($_), qr{actually processed: (\d+)/\1\s}, 'a load of the hot row has run to its end') foreach @loads;
wait_all_applied(@centers);

identical(@centers, 'counter');
foreach my $center (@centers)
{
	is($center->sql('SELECT count(*) FROM counter'), 1, 'it is one row at ' . $center->name);
	is( $center->sql(q{SELECT coalesce(string_agg(DISTINCT conflict_type, ' '), '') FROM multicenter.conflicts}),
		'update_origin_differs', 'and was there for every update');
}

# What a center has seen: of each version the one that it replaced and the one
# that replaced it, and those that lost.
my %seen;
foreach my $center (@centers)
{
	my (%before, %after, %lost);
	foreach my $pair (split(/\n/, $center->sql('SELECT old, new FROM replaced')))
	{
		my ($old, $new) = split(/\|/, $pair);
		$before{$new} = $old;
		push(@{ $after{$old} }, $new);
	}
	$lost{$_}++ foreach split(/\n/, $center->sql(q{
		SELECT CASE resolution WHEN 'keep_local' THEN remote_row ->> 'tag' ELSE local_row ->> 'tag' END
		FROM multicenter.conflicts}));
	$seen{ $center->name } = { before => \%before, after => \%after, lost => \%lost };
}

# How many of these there are, and the first few of them, for a failure.
sub none_of
{
	my ($what, @tags) = @_;
	is(scalar @tags, 0, $what) or diag("such as @tags[0 .. ($#tags > 9 ? 9 : $#tags)]");
	return;
}

foreach my $center (@centers)
{
	my $name = $center->name;
	my ($before, $after, $lost) = @{ $seen{$name} }{qw(before after lost)};

	none_of("no version was replaced twice at $name", grep { @{ $after->{$_} } > 1 } keys %$after);
	none_of("each replaced one that was there at $name", grep { $_ != 0 && !exists $before->{$_} } values %$before);
	is(join(' ', grep { !$after->{$_} } keys %$before), $center->sql('SELECT tag FROM counter'), "one is left at $name");
}

# Each update of a session made a version, and each version that a writer made
# was put at the other, unless it lost there.  (At riga there are some that came
# behind their successors.)
foreach my $pair ([ $lisbon, $oslo ], [ $oslo, $lisbon ])
{
	my ($here, $there) = map { $seen{ $_->name } } @$pair;
	my ($from, $to) = map { $_->name } @$pair;
	my %own = map { $_ => 1 } grep { $_ >= $first{$from} && $_ < $first{$from} + 1_000_000 } keys %{ $here->{before} };

	is(scalar keys %own, $updates, "no update of a session was lost at $from");
	none_of("each version of $from was put at $to, or lost", grep { !exists $there->{before}{$_} && !$there->{lost}{$_} } keys %own);

	# A version that one of the other center replaced has lost to it, which the
	# history tells, or the other center had got it before.
	my @overwritten = grep { my $tag = $_; grep { !$own{$_} } @{ $here->{after}{$tag} || [] } } keys %own;
	none_of(sprintf('%d versions of %s were replaced by those of %s, none of them without a trace', scalar @overwritten, $from, $to),
		grep { !$here->{lost}{$_} && !exists $there->{before}{$_} && !$there->{lost}{$_} } @overwritten);
	cmp_ok(scalar @overwritten, '>', 10, 'the two have met');
}

done_testing();
