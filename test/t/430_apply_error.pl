# Goal: a change that cannot be applied stops its link visibly, is retried, is
# never skipped, and harms no other link; when its cause is gone the link goes
# on by itself.
#
# Method: three centers.  At oslo a constraint is stricter than elsewhere, then
# a unique key clashes, which is no error, then a trigger fails, a lock is held.
# The views must tell the whole story, rome must go on all the time, and what
# was stopped must arrive in order.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my ($lisbon, $oslo, $rome) = make_group([qw(lisbon oslo rome)], databases => 1,
	conf => "multicenter.on_apply_error = stop\n", setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v int);
	CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE);
	CREATE TABLE log (n int);
});
my $in = "direction = 'in' AND peer = 'lisbon'";

# Wait until oslo's link from lisbon is stalled with this error, and check what
# the views say of it.
sub stalled
{
	my ($name, $sqlstate, $relation, $message) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_stalled_by($oslo, $lisbon, $sqlstate, $name);
	is($oslo->sql("SELECT last_error_relation FROM multicenter.stat_links WHERE $in"), $relation, "$name: the relation is named");
	is($oslo->sql("SELECT last_error_lsn > '0/0' AND last_error_at > now() - interval '1 min' FROM multicenter.stat_links WHERE $in"), 't', "$name: position and time are told");
	like($oslo->sql("SELECT last_error FROM multicenter.stat_links WHERE $in"), $message, "$name: last_error tells the cause");
	like($oslo->sql("SELECT stall_reason FROM multicenter.lag WHERE $in"), $message, "$name: so does stall_reason");
	is($oslo->sql("SELECT status <> 'ok' FROM multicenter.lag WHERE $in"), 't', "$name: the status of the link is not ok");

	# It is tried again and again, but not in a loop without a pause.
	my $retries = "SELECT retries FROM multicenter.stat_links WHERE $in";
	my $before = $oslo->sql($retries);
	my $took = $oslo->wait_for_sql("SELECT ($retries) >= $before + 4");
	cmp_ok($took, '>', 0.8, "$name: retries are spread out");
	return;
}

# All other links flow.
my $n = 0;
sub others_flow
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$n++;
	comes_true("$name: all other links flow", sub {
			$lisbon->sql("INSERT INTO log VALUES ($n)");
			$rome->wait_for_sql("SELECT count(*) FROM log WHERE n = $n", '1', 10);
			$rome->sql("INSERT INTO log VALUES (-$n)");
			$oslo->sql("INSERT INTO log VALUES (1000 + $n)");
			$_->wait_for_sql("SELECT count(*) FROM log WHERE n = -$n", '1', 10) foreach $lisbon, $oslo;
			$_->wait_for_sql("SELECT count(*) FROM log WHERE n = 1000 + $n", '1', 10) foreach $lisbon, $rome;
		});
	is($oslo->sql("SELECT count(*) FROM log WHERE n = $n"), '0', "$name: what comes after the failure waits");
	return;
}

# Once the cause is gone.
sub goes_on
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	comes_true("$name: the link goes on by itself", sub {
			wait_streaming($lisbon, $oslo, $rome, 10);
			wait_all_applied($lisbon, $oslo, $rome);
		});
	is($oslo->sql("SELECT coalesce(stall_reason, '') FROM multicenter.lag WHERE $in"), '', "$name: and has no reason to stall any more");
	identical($lisbon, $oslo, $rome);
	return;
}

$oslo->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (v < 100)');
$lisbon->sql('INSERT INTO item VALUES (1, 1)');
$lisbon->sql('BEGIN; INSERT INTO item VALUES (2, 2); INSERT INTO item VALUES (3, 300); INSERT INTO log VALUES (-1000); END');
$lisbon->sql('UPDATE item SET v = 11 WHERE id = 1');
stalled('CHECK', '23514', 'public.item', qr/small/);
is($oslo->sql('SELECT id, v FROM item'), '1|1', 'CHECK: the transaction is applied not at all, what was before it is');
others_flow('CHECK');
$oslo->sql('ALTER TABLE item DROP CONSTRAINT small');
goes_on('CHECK');
is($oslo->sql('SELECT string_agg(id || \' \' || v, \', \' ORDER BY id) FROM item'), '1 11, 2 2, 3 300', 'CHECK: everything has arrived in order');

# NOT NULL, with an update.
$oslo->sql('ALTER TABLE item ALTER v SET NOT NULL');
$lisbon->sql('UPDATE item SET v = NULL WHERE id = 2');
stalled('NOT NULL', '23502', 'public.item', qr/null value/);
others_flow('NOT NULL');
$oslo->sql('ALTER TABLE item ALTER v DROP NOT NULL');
goes_on('NOT NULL');

# A unique key besides the primary key, taken on both sides at once, stalls no
# link: the older row is displaced on every center until the newer one is gone.
# See 240_unique.pl.
my @centers = ($lisbon, $oslo, $rome);
sub displaced
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_all_applied(@centers);
	foreach my $center (@centers)
	{
		comes_true("unique: $name at $center->{name}", sub {
				$center->wait_for_sql("SELECT coalesce(string_agg(format('%s %s by %s', relation, key, displaced_by), ', '), '') FROM multicenter.displaced", $expected, 10);
			});
	}
	return;
}
$oslo->sql("SELECT multicenter.link_pause(peer => 'lisbon')");
$lisbon->sql("SELECT multicenter.link_pause(peer => 'oslo')");
$oslo->wait_for_sql("SELECT count(*) FROM multicenter.workers WHERE role = 'receiver' AND peer = 'lisbon'", '0');
$lisbon->wait_for_sql("SELECT count(*) FROM multicenter.workers WHERE role = 'receiver' AND peer = 'oslo'", '0');
my $errors = 'SELECT string_agg(concat_ws($$ $$, peer, retries, last_error_at), $$, $$ ORDER BY peer) FROM multicenter.stat_links WHERE direction = $$in$$';
my @before = map { $_->sql($errors) } @centers;
$lisbon->sql("INSERT INTO person VALUES (1, 'x\@example.com')");
$oslo->sql("INSERT INTO person VALUES (2, 'x\@example.com')");
$oslo->sql("SELECT multicenter.link_resume(peer => 'lisbon')");
$lisbon->sql("SELECT multicenter.link_resume(peer => 'oslo')");
displaced('person {"id": "1"} by {"id": "2"}', 'the older row is displaced');
is($_->sql('SELECT id FROM person'), '2', "unique: the newer row stands at $_->{name}") foreach @centers;
$rome->sql('DELETE FROM person WHERE id = 2');
displaced('', 'nothing is displaced any more');
is($_->sql('SELECT id FROM person'), '1', "unique: the older row has come back at $_->{name}") foreach @centers;
is_deeply([ map { $_->sql($errors) } @centers ], \@before, 'unique: no link has failed');
$lisbon->sql('DELETE FROM person WHERE id = 1');
goes_on('unique');
is($oslo->sql('SELECT count(*) FROM person'), '0', 'unique: both rows were deleted');

# A trigger that fires for replicated rows and raises an error.
$oslo->sql(q{
	CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no, thank you' USING ERRCODE = 'P0042'; END $$;
	CREATE TRIGGER no BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION no();
	ALTER TABLE item ENABLE REPLICA TRIGGER no;
});
$lisbon->sql('INSERT INTO item VALUES (4, 4)');
stalled('trigger', 'P0042', 'public.item', qr/no, thank you/);
others_flow('trigger');
$oslo->sql('DROP TRIGGER no ON item');
goes_on('trigger');

# A lock is no error: the link waits, says so, and goes on.
my $session = $oslo->background_psql;
$session->query_safe('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
$lisbon->sql('INSERT INTO item VALUES (5, 5)');
others_flow('lock');
$oslo->wait_for_sql("SELECT state = 'stalled' AND stall_reason ~ 'lock' FROM multicenter.lag WHERE $in", 't', 20);
pass('lock: the link says that it waits for one');
$session->query_safe('COMMIT');
$session->quit;
goes_on('lock');

# Nor does a center stop because somebody has not committed what he has set for a
# link: its manager has heartbeats to write, without which this would not end.
$session = $rome->background_psql;
$session->query_safe(q{BEGIN; SELECT multicenter.link_alter('lisbon', '{"workers": 0}')});
foreach my $workers (1, 0)
{
	$rome->sql(qq{SELECT multicenter.link_alter('oslo', '{"workers": $workers}')});
	wait_streaming($lisbon, $oslo, $rome, $Multicenter::Cluster::timeout);
	wait_all_applied($lisbon, $oslo, $rome);
}
pass('what is set for a link and not committed stops no manager');
$session->query_safe('COMMIT');
$session->quit;

# A transaction that is large, and whose last row fails: nothing of it stays.
$oslo->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (id < 100000)');
$lisbon->sql('INSERT INTO item SELECT id, 0 FROM generate_series(1000, 30000) id UNION ALL SELECT 100000, 0');
stalled('large', '23514', 'public.item', qr/small/);
is($oslo->sql('SELECT count(*) FROM item WHERE id >= 1000'), '0', 'large: nothing of it is applied');
$oslo->sql('ALTER TABLE item DROP CONSTRAINT small');
goes_on('large');

unlike(PostgreSQL::Test::Utils::slurp_file($oslo->node->logfile), qr/was terminated by signal|PANIC|TRAP/, 'no process has crashed');
is($oslo->sql("SELECT string_agg(DISTINCT relation::text, ', ') FROM multicenter.conflicts WHERE error_message IS NULL"), 'person', 'an error is no conflict');
done_testing();
