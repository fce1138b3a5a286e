# Goal: stamped commits are ordinary commits in everything but their time: they
# are ordered, replicated and recovered like others, exact ties included, and
# the pool of origins is never a reason for a failure.
#
# Method: the clock of one center is put ahead for one transaction and back
# again, so that all centers stamp.  Ties are made by committing at each center
# until all floors are the same, with all links paused.  Crashes happen while
# peers have not received what was stamped; the pool is made smaller meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Clock;
use Multicenter::Cluster;
use Test::More;

my $clock = Multicenter::Clock->new;
my ($lisbon, $oslo, $riga) = my @centers = map { new_center($_, $_ eq 'lisbon' ? (clock => $clock) : ()) } qw(lisbon oslo riga);
$lisbon->sql(q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE tie (id int PRIMARY KEY, v text);
	CREATE TABLE chain (id int PRIMARY KEY, n int NOT NULL, earlier xid);
	CREATE TABLE step (id bigint PRIMARY KEY, now xid, earlier xid);
	CREATE SEQUENCE step_id;
	INSERT INTO chain SELECT i, 0 FROM generate_series(1, 5) i;
});
group_create($lisbon);
group_join($_, $lisbon) foreach $oslo, $riga;
wait_ready(@centers);

# From now on all centers stamp, for so many seconds.
sub lead
{
	my ($seconds) = @_;
	$clock->set($seconds);
	$lisbon->sql(q{INSERT INTO item VALUES (0, 'lead') ON CONFLICT (id) DO UPDATE SET v = 'lead'});
	$clock->set(0);
	wait_all_applied(@centers);
	return;
}

# Pause or resume every link into these centers.
sub links
{
	my ($what, @into) = @_;
	foreach my $to (@into)
	{
		$to->sql(sprintf('SELECT multicenter.link_%s(%s)', $what, Multicenter::Cluster::quote($_->name)))
		  foreach grep { $_ != $to } @centers;
	}
	return;
}

# The floor of a center in microseconds.
sub floor_us { return $_[0]->sql(q{SELECT (extract(epoch FROM floor) * 1000000)::bigint FROM multicenter.clock}) }

# Commit at the centers until their floors are the same.
sub level_floors
{
	poll('floors that are the same',
		sub {
			my %floor = map { $_->name => floor_us($_) } @centers;
			my ($greatest) = sort { $b <=> $a } values %floor;
			foreach my $center (@centers)
			{
				my $behind = $greatest - $floor{ $center->name };
				$center->sql(join('', ('SELECT pg_current_xact_id();') x ($behind > 50 ? 50 : $behind))) if $behind;
			}
			my $same = !grep { $_ != $greatest } values %floor;
			return ($same, join(' ', %floor));
		});
	return;
}

# ---- exact ties ----

lead(120);
$lisbon->sql(q{INSERT INTO tie SELECT c * 100 + n, 'base' FROM generate_series(1, 3) c, generate_series(1, 40) n});
wait_all_applied(@centers);
links('pause', @centers);

# Managers commit something of their own every few seconds, which makes another
# time of it: then the case is tried again, with the next row.
my @ties;
foreach my $case (
	[ 'three updates', 1, map { "UPDATE tie SET v = '$_' WHERE id = " } qw(lisbon oslo riga) ],
	[ 'update, delete, update', 2, q{UPDATE tie SET v = 'lisbon' WHERE id = }, 'DELETE FROM tie WHERE id = ', q{UPDATE tie SET v = 'riga' WHERE id = } ],
	[ 'two updates and the delete of the last center', 3, q{UPDATE tie SET v = 'lisbon' WHERE id = }, q{UPDATE tie SET v = 'oslo' WHERE id = }, 'DELETE FROM tie WHERE id = ' ],
	[ 'three inserts', 4, map { "INSERT INTO tie (v, id) SELECT '$_', " } qw(lisbon oslo riga) ])
{
	my ($what, $number, @writes) = @$case;
	my ($after, $expected) = ('', 'another');
	foreach my $attempt (1 .. 40)
	{
		level_floors();
		my $id = $number * 100 + $attempt;
		$expected = join(' ', map { floor_us($_) + 1 } @centers);
		$centers[$_]->sql($writes[$_] . $id) foreach 0 .. 2;
		$after = join(' ', map { floor_us($_) } @centers);
		my %times = map { $_ => 1 } split(/ /, "$after $expected");
		next if keys %times > 1;
		push(@ties, $id);
		last;
	}
	is($after, $expected, "$what: one time at all three centers");
}
links('resume', @centers);
wait_streaming(@centers);
wait_all_applied(@centers);
identical(@centers, 'item', 'tie');
is($_->sql(sprintf('SELECT string_agg(id / 100 || v, $$ $$ ORDER BY id) FROM tie WHERE id IN (%s)', join(', ', @ties))),
	'1riga 2riga 4riga', 'the greatest center id wins a tie: ' . $_->name) foreach @centers;

# ---- everything that commits, while the floor is ahead ----

my $before = $oslo->sql('SELECT stamped FROM multicenter.clock');
$oslo->sql(q{
	BEGIN;
	INSERT INTO item VALUES (10, 'savepoint');
	SAVEPOINT a;
	INSERT INTO item VALUES (11, 'rolled back');
	ROLLBACK TO a;
	SAVEPOINT b;
	INSERT INTO item VALUES (12, 'released');
	RELEASE b;
	COMMIT;
	BEGIN; INSERT INTO item VALUES (13, 'rolled back'); ROLLBACK;
	DO $$ BEGIN FOR i IN 14 .. 16 LOOP INSERT INTO item VALUES (i, 'procedure'); COMMIT; END LOOP; END $$;
	BEGIN; INSERT INTO item VALUES (17, 'prepared'); PREPARE TRANSACTION 'commits';
	BEGIN; INSERT INTO item VALUES (18, 'prepared'); PREPARE TRANSACTION 'does not';
	COMMIT PREPARED 'commits';
	ROLLBACK PREPARED 'does not';
	BEGIN; NOTIFY something; INSERT INTO item VALUES (19, 'notify'); COMMIT;
});
cmp_ok($oslo->sql('SELECT stamped FROM multicenter.clock') - $before, '>=', 6, 'each was stamped');
is($oslo->sql(q{SELECT count(DISTINCT pg_xact_commit_timestamp(xmin)) FROM item WHERE id IN (10, 14, 15, 16, 17, 19)}), '6', 'with a time of its own');
$oslo->fails(q{COMMIT PREPARED 'there is none'}, '42704', qr/does not exist/, qr/^$/, 'a COMMIT PREPARED that fails');
wait_all_applied(@centers);
identical(@centers, 'item');
is($riga->sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM item WHERE id BETWEEN 10 AND 19'), '10 12 14 15 16 17 19', 'what was committed has arrived, and nothing else');

# What waits for a synchronous standby keeps nobody from promising.
$oslo->sql(q{BEGIN; INSERT INTO item VALUES (20, 'prepared'); PREPARE TRANSACTION 'waits'});
$oslo->append_conf("synchronous_standby_names = 'nobody'");
$oslo->reload;
my $waiting = $oslo->background_psql;
$waiting->query_until(qr/started/, "\\echo started\nCOMMIT PREPARED 'waits';\n");
$oslo->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}, '1');
ok(eval { $oslo->sql(q{SET statement_timeout = '10s'; SELECT multicenter.peer_marker()}) }, 'a promise is given while a COMMIT PREPARED waits for a standby') or diag($@);
$oslo->append_conf("synchronous_standby_names = ''");
$oslo->reload;
$waiting->quit;
wait_all_applied(@centers);
identical(@centers, 'item');

# A session that brings an origin and a time of its own, which is not
# replicated: what comes later is later.
$oslo->sql(q{
	CREATE TABLE fed (id int PRIMARY KEY, v text);
	SELECT pg_replication_origin_create('feed');
	SELECT pg_replication_origin_session_setup('feed');
	BEGIN;
	SELECT pg_replication_origin_xact_setup('0/1', now() + interval '200 s');
	INSERT INTO fed VALUES (20, 'fed');
	COMMIT;
});
ok($oslo->sql(q{SELECT floor >= (SELECT pg_xact_commit_timestamp(xmin) FROM fed WHERE id = 20) FROM multicenter.clock}) eq 't', 'the floor follows the time that a session has set');

# ---- a pool of one ----

$oslo->append_conf('multicenter.stamp_origins = 1');
links('pause', $lisbon, $riga);
$oslo->sql(q{INSERT INTO item SELECT i, 'not sent yet' FROM generate_series(100, 110) i});
my $floor = floor_us($oslo);
$oslo->kill9;
$oslo->start;
links('resume', $lisbon, $riga);
wait_streaming(@centers);
cmp_ok(floor_us($oslo), '>=', $floor, 'the floor is what it was before the crash');
wait_all_applied(@centers);
is($_->sql('SELECT count(*) FROM item WHERE id BETWEEN 100 AND 110'), '11', 'what was stamped by an origin that is not used any more arrives: ' . $_->name) foreach @centers;

# Every row of step tells which transaction overwrote which.
my $load = start_load($oslo, q{
	\set id random(1, 5)
	BEGIN;
	SELECT xmin::text AS earlier FROM chain WHERE id = :id FOR UPDATE \gset
	UPDATE chain SET n = n + 1, earlier = ':earlier'::xid WHERE id = :id;
	INSERT INTO step VALUES (nextval('step_id'), pg_current_xact_id()::xid, ':earlier'::xid);
	COMMIT;
}, clients => 8, seconds => 3);
my ($tps) = finish_load($load) =~ /tps = ([\d.]+)/;
note(sprintf('eight clients, a pool of one: %.0f commits/s, %s waits', $tps, $oslo->sql('SELECT waits FROM multicenter.clock')));
cmp_ok($oslo->sql('SELECT waits FROM multicenter.clock'), '>', 0, 'commits have waited for the one origin');
is($oslo->sql(q{SELECT count(*) FROM step WHERE pg_xact_commit_timestamp(now) <= pg_xact_commit_timestamp(earlier)}), '0', 'who overwrites is later');
cmp_ok($oslo->sql('SELECT count(*) FROM step'), '>', 50, 'among many');

# Commits that fail at the last moment, or are ended there, give it back.
my @sessions = map { $oslo->background_psql(on_error_stop => 0) } 1 .. 2;
$_->query_safe(q{BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM item WHERE id >= 1000}) foreach @sessions;
$sessions[$_]->query_safe("INSERT INTO item VALUES (1000 + $_, 'serializable')") foreach 0, 1;
$sessions[0]->query_safe('COMMIT');
$sessions[1]->query('COMMIT');
$_->quit foreach @sessions;
is($oslo->sql('SELECT count(*) FROM item WHERE id >= 1000'), '1', 'a serialization failure at commit');
$oslo->sql(q{INSERT INTO item VALUES (2000, 'after')});
wait_all_applied(@centers);
identical(@centers, 'item', 'chain', 'step');

# ---- a pool for which there is no place ----

$oslo->append_conf('multicenter.stamp_origins = 64');
$oslo->restart;
$oslo->sql(q{INSERT INTO item VALUES (2001, 'a smaller pool')});
ok($oslo->node->log_contains(qr/only \d+ local commits can be stamped at once, not 64/), 'the log says that the pool is smaller');
wait_streaming(@centers);
wait_all_applied(@centers);
identical(@centers, 'item');

# ---- past the floor again ----

$oslo->append_conf('multicenter.stamp_origins = 16');
$oslo->restart;
is($oslo->sql(q{SELECT count(*) = count(DISTINCT roname) AND count(*) < 64 FROM pg_replication_origin WHERE roname ~ '^multicenter_stamp_'}), 't', 'origins are made once');
$clock->set(400);
my $stamped = $lisbon->sql('SELECT stamped FROM multicenter.clock');
finish_load(start_load($lisbon, 'UPDATE chain SET n = n + 1 WHERE id = 1 + random() * 4;', clients => 1, transactions => 200));
cmp_ok($lisbon->sql('SELECT stamped FROM multicenter.clock') - $stamped, '<', 20, 'a clock that is past the floor is not stamped');
wait_all_applied(@centers);
identical(@centers, 'chain');

done_testing();
