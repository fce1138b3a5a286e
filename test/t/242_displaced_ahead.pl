# Goal: a displaced row that is put anew here, and deleted, is gone, also where
# the clocks of all peers are ahead, so that they have promised already to
# commit nothing at the time of that delete.
#
# Method: the clock of oslo is a minute ahead.  Each round displaces a row of
# lisbon, waits until the promises of oslo are later than every commit, and then
# puts the row and deletes it at lisbon, with many transactions behind it, so
# that the dead-row horizon may move before the manager looks at displaced rows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Clock;
use Multicenter::Cluster;
use Test::More;

my $ahead = Multicenter::Clock->new;
$ahead->set(60);
my ($lisbon, $oslo) = (new_center('lisbon'), new_center('oslo', clock => $ahead));
$lisbon->sql(q{CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE); CREATE TABLE filler (id uuid PRIMARY KEY DEFAULT gen_random_uuid())});
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);
my @links = links_between($lisbon, $oslo);

foreach my $round (1 .. 10)
{
	my ($loser, $winner) = (10 * $round, 10 * $round + 1);
	hold_links(@links);
	$lisbon->sql("INSERT INTO item VALUES ($loser, $loser)");
	$oslo->sql("INSERT INTO item VALUES ($winner, $loser)");
	release_links(@links);
	wait_all_applied($lisbon, $oslo);
	is($_->sql(q{SELECT string_agg(key ->> 'id', ' ') FROM multicenter.displaced}), $loser, "round $round: a row is displaced at " . $_->name) foreach $lisbon, $oslo;
	$lisbon->wait_for_sql(q{SELECT frontier > floor + interval '1 s' FROM multicenter.horizon, multicenter.clock});
	my ($rc) = $lisbon->psql(join("\n", "INSERT INTO item VALUES ($loser, $winner);", "DELETE FROM item WHERE id = $loser;",
			'DO $$ BEGIN FOR i IN 1..100 LOOP INSERT INTO filler DEFAULT VALUES; COMMIT; END LOOP; END $$;'));
	is($rc, 0, "round $round: it is put and deleted");
	$_->wait_for_sql('SELECT count(*) = 0 FROM multicenter.displaced') foreach $lisbon, $oslo;
}
$oslo->sql('DELETE FROM item');
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo);

done_testing();
