# Goal: while only its peers write, a center promises ahead of its clock that it
# commits nothing, so that what they delete goes at once; and it keeps that
# promise, whoever commits first, through a crash, too.
#
# Method: a load with deletes at lisbon, while oslo has nothing to do but to apply
# it.  VACUUM at lisbon must be close to its last transaction.  Then, again and
# again, oslo writes in a different way, and the timestamp must be past what lisbon
# had heard.  A third center joins while that is the future.  In the end both
# change and delete the same rows, after oslo has promised ahead and lisbon has
# forgotten what it has deleted.

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
		CREATE TABLE item (id int PRIMARY KEY, v text);
		CREATE TABLE pair (id int PRIMARY KEY, v text);
		CREATE TABLE rule (id int PRIMARY KEY, v text)});

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
set_ahead('2s');
$lisbon->wait_for_sql(q{SELECT frontier > clock_timestamp() + interval '1 s' FROM multicenter.horizon});
my $behind = vacuum_behind();
set_ahead('0');
wait_ahead(0);
cmp_ok($behind, '<', vacuum_behind() / 2, 'what lisbon deletes goes at once');
is($lisbon->sql('SELECT frontier > clock_timestamp() FROM multicenter.horizon'), 'f', 'oslo promises nothing ahead if it is not to');

# Each way to write at oslo.  It promises again once it has not written for a while.
my $id = 1000;
my $written = $lisbon->sql('SELECT clock_timestamp()');
my %way = (
	session => 'INSERT INTO item VALUES (%d)',
	prepared => q{BEGIN; INSERT INTO item VALUES (%d); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'},
	subtransaction => 'DO $$ BEGIN BEGIN INSERT INTO item VALUES (%d); EXCEPTION WHEN division_by_zero THEN NULL; END; END $$',
	many => 'INSERT INTO item VALUES (0) ON CONFLICT DO NOTHING; INSERT INTO item VALUES (%d)',
	crash => 'INSERT INTO item VALUES (%d)',
);
my $riga = new_center('riga');
set_ahead('10s');
foreach my $way (sort keys %way)
{
	$id++;
	$lisbon->wait_for_sql("SELECT frontier > GREATEST('$written', clock_timestamp()) + interval '0.5 s' FROM multicenter.horizon");
	$oslo->kill9 if $way eq 'crash';
	my $frontier = $lisbon->sql('SELECT frontier FROM multicenter.horizon');
	$oslo->start if $way eq 'crash';
	$oslo->sql(sprintf($way{$way}, $id));
	$written = $oslo->sql("SELECT pg_xact_commit_timestamp(xmin) FROM item WHERE id = $id");
	is($oslo->sql("SELECT '$written'::timestamptz > '$frontier'"), 't', "$way: oslo writes later than it has promised");
	wait_applied($oslo, $lisbon);
	is($lisbon->sql("SELECT pg_xact_commit_timestamp(xmin) FROM item WHERE id = $id"), $written, "$way: so it is known at lisbon");
}
finish_load($load);
wait_streaming($lisbon, $oslo);
wait_all_applied($lisbon, $oslo);

# A center that joins now is later than what it copies, though its clock is not.
is($lisbon->sql("SELECT '$written' > clock_timestamp()"), 't', 'what riga copies is ahead of its clock');
$riga->sql($riga->group_join_sql($lisbon) . ";\nUPDATE item SET v = 'riga' WHERE id = $id");
my @centers = ($lisbon, $oslo, $riga);
wait_ready(@centers);
is($riga->sql("SELECT pg_xact_commit_timestamp(xmin) > '$written' FROM item WHERE id = $id"), 't', 'riga writes later than what it has copied');
wait_all_applied(@centers);
is($_->sql("SELECT v FROM item WHERE id = $id"), 'riga', "which counts at $_->{name}") foreach @centers;
identical(@centers);
$lisbon->sql(q{SELECT multicenter.center_part('riga')});
$riga->stop;

# Let oslo promise ahead, and cut the links.  Everybody has the rows 1 to 5.
sub cut
{
	my ($table) = @_;
	set_ahead('0');
	wait_ahead(0);
	$lisbon->sql("INSERT INTO $table SELECT i, 'old' FROM generate_series(1, 5) i");
	my $deletes = start_deletes();
	set_ahead('10s');
	wait_ahead(1);
	finish_load($deletes);
	wait_all_applied($lisbon, $oslo);
	hold_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
	return;
}

# VACUUM at lisbon leaves nothing of what was deleted in a table but these rows.
sub forget
{
	my ($table, $remain) = @_;
	poll('VACUUM to remove all dead rows', sub {
			$lisbon->sql(q{DO $$ BEGIN FOR i IN 1 .. 40 LOOP INSERT INTO event (what) VALUES ('next'); COMMIT; END LOOP; END $$});
			my (undef, undef, $told) = $lisbon->psql("VACUUM (VERBOSE, PROCESS_TOAST false) $table");
			return (scalar($told =~ /tuples: \d+ removed, $remain remain, 0 are dead but not yet removable/), $told);
		});
	return is($lisbon->sql('SELECT frontier > clock_timestamp() FROM multicenter.horizon'), 't', "$table: lisbon has forgotten at once what it has deleted");
}

# What must be in the end.
sub meet
{
	my ($table, $expected, $what) = @_;
	release_links([ $lisbon, $oslo ], [ $oslo, $lisbon ]);
	wait_streaming($lisbon, $oslo);
	wait_all_applied($lisbon, $oslo);
	is($lisbon->sql("SELECT string_agg(id || v, ' ' ORDER BY id) FROM $table"), $expected, $what);
	return identical($lisbon, $oslo);
}

# Rows 1 and 3 are deleted at lisbon, 2 and 4 at oslo, which has promised ahead;
# 1 and 5 are changed at oslo, 3 and 4 at lisbon.  Oslo does so first, and nobody
# knows of the other.
cut('pair');
$oslo->sql(q{UPDATE pair SET v = 'oslo' WHERE id IN (1, 5); DELETE FROM pair WHERE id IN (2, 4)});
$lisbon->sql(q{DELETE FROM pair WHERE id IN (1, 3)});
forget('pair', 3);
$lisbon->sql(q{INSERT INTO pair VALUES (3, 'lisbon'); UPDATE pair SET v = 'lisbon' WHERE id = 4});
meet('pair', '1oslo 3lisbon 5oslo', 'who had promised to be later is later');

# Lisbon's delete is of a newer epoch, in which deletes win, though it is older.
cut('rule');
$lisbon->sql(q{DELETE FROM rule WHERE id = 2});
forget('rule', 4);
$lisbon->sql(q{DO $$ BEGIN
	PERFORM multicenter.conflict_policy_set('rule', 'update_deleted', 'skip');
	COMMIT;
	WHILE multicenter.internal_policy_own_epoch() < multicenter.internal_policy_newest() LOOP
		COMMIT;
	END LOOP;
	DELETE FROM rule WHERE id = 1;
	COMMIT;
	FOR i IN 1 .. 40 LOOP
		INSERT INTO event (what) VALUES ('next');
		COMMIT;
	END LOOP;
END $$});
my (undef, undef, $told) = $lisbon->psql('VACUUM (VERBOSE, PROCESS_TOAST false) rule');
like($told, qr/tuples: 0 removed, 4 remain, 1 are dead but not yet removable/, 'VACUUM leaves what a policy may need');
$oslo->sql(q{UPDATE rule SET v = 'oslo' WHERE id IN (1, 5)});
meet('rule', '3old 4old 5oslo', 'where a policy decides the delete is remembered');
done_testing();
