# Goal: while only its peers write, a center promises ahead of its clock that it
# commits nothing, so that what they delete goes at once; and it keeps that
# promise, whoever commits first, through a crash, too.
#
# Method: a load with deletes at lisbon, while oslo has nothing to do but to apply
# it.  VACUUM at lisbon must be close to its last transaction.  Then, again and
# again, oslo writes in a different way, and the timestamp must be past what lisbon
# had heard.  In the end both change and delete the same rows, after oslo has
# promised ahead.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], conf => "max_prepared_transactions = 5\nautovacuum = off\n",
	setup => q{
		CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
		INSERT INTO hot SELECT i FROM generate_series(1, 20) i;
		CREATE TABLE event (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, what text);
		CREATE TABLE item (id int PRIMARY KEY, v text)});

# Writes at lisbon all the time, and deletes.
sub start_deletes
{
	return start_load($lisbon, q{
		\set id random(1, 20)
		UPDATE hot SET n = n + 1 WHERE id = :id;
		INSERT INTO event (what) VALUES ('begun');
		DELETE FROM event WHERE id < (SELECT max(id) - 10 FROM event);
	}, clients => 1);
}

# What lisbon has heard is ahead of its clock, or not.
sub wait_ahead
{
	my ($ahead) = @_;
	return $lisbon->wait_for_sql(q{SELECT frontier > clock_timestamp() FROM multicenter.horizon}, $ahead ? 't' : 'f');
}

# How many transactions VACUUM stays behind lisbon's last, the median of some tries.
sub vacuum_behind
{
	my @ages = sort { $a <=> $b } map {
		my (undef, undef, $told) = $lisbon->psql('VACUUM (VERBOSE) hot');
		$told =~ /removable cutoff: \d+, which was (\d+) XIDs old/ ? $1 : die "VACUUM said: $told";
	} 1 .. 21;
	note("VACUUM stays behind by: @ages");
	return $ages[10];
}

sub set_ahead
{
	my ($value) = @_;
	$oslo->append_conf("multicenter.promise_ahead = '$value'\n");
	$oslo->reload;
	$oslo->wait_for_sql('SHOW multicenter.promise_ahead', $value);
	return;
}

my $load = start_deletes();
wait_ahead(1);
pass('oslo promises ahead');
cmp_ok(vacuum_behind(), '<=', 50, 'what lisbon deletes goes at once');
set_ahead('0');
wait_ahead(0);
vacuum_behind();
is($lisbon->sql('SELECT frontier > clock_timestamp() FROM multicenter.horizon'), 'f', 'oslo promises nothing ahead if it is not to');

# Each way to write at oslo, and what tells when that was.
set_ahead('3s');
my $id = 1000;
my %way = (
	session => 'INSERT INTO item VALUES (%d)',
	prepared => q{BEGIN; INSERT INTO item VALUES (%d); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'},
	subtransaction => 'DO $$ BEGIN BEGIN INSERT INTO item VALUES (%d); EXCEPTION WHEN division_by_zero THEN NULL; END; END $$',
	many => 'INSERT INTO item VALUES (0) ON CONFLICT DO NOTHING; INSERT INTO item VALUES (%d)',
	crash => 'INSERT INTO item VALUES (%d)',
);
foreach my $way (sort keys %way)
{
	$id++;
	wait_ahead(1);
	if ($way eq 'crash')
	{
		$oslo->kill9;
		$oslo->append_conf("multicenter.promise_ahead = '0'\n");
	}
	my $frontier = $lisbon->sql('SELECT frontier FROM multicenter.horizon');
	$oslo->start if $way eq 'crash';
	$oslo->sql(sprintf($way{$way}, $id));
	is($oslo->sql("SELECT pg_xact_commit_timestamp(xmin) > '$frontier' FROM item WHERE id = $id"), 't', "$way: oslo writes later than it has promised");
	note($oslo->sql("SELECT pg_xact_commit_timestamp(xmin) - '$frontier' FROM item WHERE id = $id"));
	wait_applied($oslo, $lisbon);
	is($lisbon->sql("SELECT pg_xact_commit_timestamp(xmin) > '$frontier' FROM item WHERE id = $id"), 't', "$way: so it does at lisbon");
}
finish_load($load);
wait_streaming($lisbon, $oslo);
wait_all_applied($lisbon, $oslo);

# Rows 1 and 3 are deleted at lisbon, 2 and 4 at oslo, which has promised ahead;
# 1 and 2 are changed at oslo, 3 and 4 at lisbon.  Nobody knows of the other.
wait_ahead(0);
set_ahead('5s');
$lisbon->sql(q{INSERT INTO item SELECT i, 'old' FROM generate_series(1, 5) i});
$load = start_deletes();
wait_all_applied($lisbon, $oslo);
wait_ahead(1);
finish_load($load);
wait_all_applied($lisbon, $oslo);
hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
$lisbon->sql('DELETE FROM item WHERE id IN (1, 3); VACUUM item');
is($lisbon->sql('SELECT frontier > clock_timestamp() FROM multicenter.horizon'), 't', 'lisbon has deleted what nothing older can come for');
$lisbon->sql(q{INSERT INTO item VALUES (3, 'lisbon'); UPDATE item SET v = 'lisbon' WHERE id = 4});
$oslo->sql(q{UPDATE item SET v = 'oslo' WHERE id IN (1, 5); DELETE FROM item WHERE id IN (2, 4)});
release_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
wait_streaming($lisbon, $oslo);
wait_all_applied($lisbon, $oslo);
is($lisbon->sql('SELECT id, v FROM item WHERE id BETWEEN 1 AND 5 ORDER BY id'), "1|oslo\n3|lisbon\n5|oslo", 'who had promised to be later is later');
identical($lisbon, $oslo);
done_testing();
