# Goal: membership functions that are called at the same time do not damage
# each other: one wins, the others succeed later or get a clear error.
#
# Method: one server, databases as centers; each call runs in a psql of its
# own, started together, and all are waited for.  A load runs while links are
# paused and resumed over and over.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my $lisbon = new_center('lisbon', dbname => 'lisbon');
my @others = map { $lisbon->add_database($_) } qw(oslo riga rome);
my ($oslo, $riga, $rome) = @others;
my $clear = qr/already (?:in|a member of) (?:the )?group|is running|is (?:joining|copying)|has not finished|another operation/;

# Run statements at once, each of them [center, SQL].  Returns for each of them
# what it has printed, errors included.
sub at_once
{
	my @calls = @_;
	my @running = map { start_sql(@$_) } @calls;
	return map { (finish_sql($_))[1] } @running;
}

# Is each output the expected one or a clear error?
sub clear_or
{
	my ($expected, @outputs) = @_;
	my @unclear = grep { $_ !~ $expected && $_ !~ $clear } @outputs;
	return join("\n", @unclear);
}

#
# One database, one group
#
my $create = sprintf(q{SELECT multicenter.group_create('%s', 'lisbon', '%s')}, 'GROUP', $lisbon->dsn);
my @outputs = at_once(map { [ $lisbon, $create =~ s/GROUP/group$_/r ] } 1 .. 4);
is(scalar(grep { $_ eq '1' } @outputs), 1, 'of four groups at once one is created') or diag(join "\n", @outputs);
is(clear_or(qr/^1$/, @outputs), '', 'and the others get a clear error');
is($lisbon->sql('SELECT center_name, state FROM multicenter.centers'), 'lisbon|ready', 'there is one center');
is($lisbon->sql('SELECT count(*) FROM multicenter.identity'), 1, 'with one identity');
$lisbon->sql(q{CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item SELECT i, 'before' FROM generate_series(1, 1000) i});

#
# The same database joins twice at once
#
@outputs = at_once(map { [ $oslo, $oslo->group_join_sql($lisbon) ] } 1 .. 3);
is(scalar(grep { /^\d+$/ } @outputs), 1, 'of three joins of one database one succeeds') or diag(join "\n", @outputs);
is(clear_or(qr/^\d+$/, @outputs), '', 'and the others get a clear error');
wait_ready($lisbon, $oslo);
identical($lisbon, $oslo, 'item');

#
# Two databases join at once, through different sponsors
#
@outputs = at_once([ $riga, $riga->group_join_sql($lisbon) ], [ $rome, $rome->group_join_sql($oslo) ]);
is(clear_or(qr/^\d+$/, @outputs), '', 'two joins at once succeed or get a clear error');
cmp_ok(scalar(grep { /^\d+$/ } @outputs), '>=', 1, 'at least one has succeeded');
foreach my $i (0 .. 1)
{
	my ($center, $sponsor) = $i == 0 ? ($riga, $lisbon) : ($rome, $oslo);
	next if $outputs[$i] =~ /^\d+$/;
	note("$center->{name}: $outputs[$i]");
	is($center->sql('SELECT count(*) FROM multicenter.centers'), 0, "$center->{name} is no half member");
	group_join($center, $sponsor);
}
my @centers = ($lisbon, @others);
wait_ready(@centers);
foreach my $center (@centers)
{
	is($center->sql('SELECT count(DISTINCT center_id), count(DISTINCT center_name) FROM multicenter.centers'), '4|4',
		"$center->{name} knows four centers");
	is($center->sql(q{SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name !~ '_kept_'}), 3,
		"$center->{name} has a slot for each of its peers");
}
my $id = 2000;
$_->sql('INSERT INTO item VALUES (' . ++$id . ", '" . $_->name . "')") foreach @centers;
wait_all_applied(@centers);
identical(@centers, 'item');

#
# Links are paused and resumed beside a load
#
my @loads = map {
	start_load($_, q{
		\set id random(1, 1000)
		UPDATE item SET v = :number || ' ' || :client_id WHERE id = :id;
	}, clients => 1, transactions => 2000, define => { number => $_->id })
} ($lisbon, $oslo);
foreach my $round (1 .. 5)
{
	at_once(map {
		my $peer = $_ == $lisbon ? 'oslo' : 'lisbon';
		my $direction = $round % 2 ? 'in' : 'out';
		([ $_, "SELECT multicenter.link_pause('$peer', '$direction')" ],
			[ $_, "SELECT multicenter.link_pause('riga')" ])
	} ($lisbon, $oslo));
	at_once(map {
		my $peer = $_ == $lisbon ? 'oslo' : 'lisbon';
		my $direction = $round % 2 ? 'in' : 'out';
		([ $_, "SELECT multicenter.link_resume('$peer', '$direction')" ],
			[ $_, "SELECT multicenter.link_resume('riga')" ])
	} ($lisbon, $oslo));
}
finish_load($_) foreach @loads;
wait_streaming(@centers);
wait_all_applied(@centers);
identical(@centers, 'item');

#
# Two centers leave at once
#
@outputs = at_once([ $riga, q{SELECT multicenter.center_part('riga')} ], [ $rome, q{SELECT multicenter.center_part('rome')} ]);
note(join "\n", @outputs);
foreach my $center ($riga, $rome)
{
	# A center that was told to wait leaves when it is asked again.
	next if $center->sql('SELECT count(*) FROM multicenter.identity') == 0
	  || $lisbon->sql("SELECT state FROM multicenter.centers WHERE center_name = '$center->{name}'") eq 'parted';
	$center->sql("SELECT multicenter.center_part('$center->{name}')");
}
foreach my $center ($lisbon, $oslo)
{
	$center->wait_for_sql(q{SELECT string_agg(center_name || ' ' || state, ', ' ORDER BY center_id) FROM multicenter.centers
			WHERE state <> 'parted'}, 'lisbon ready, oslo ready');
	$center->wait_for_sql(q{SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name !~ '_kept_'}, 1);
	pass("$center->{name} has one peer left");
}
$lisbon->sql(q{INSERT INTO item VALUES (3000, 'after')});
$oslo->sql(q{INSERT INTO item VALUES (3001, 'after')});
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo, 'item');

done_testing();
