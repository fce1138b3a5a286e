# Goal: a large transaction needs little memory where it is applied, and while
# it is sent and applied feedback and keepalives flow, so that neither side
# takes the other for dead, however long it takes; other links and sessions do
# not notice it.
#
# Method: the walsender gives up after 5 s without a word, and a trigger makes
# each row slow, so that one chunk takes longer than that; then a transaction
# that is many times as large as the memory, as fast as it goes.  At last a
# backlog of transactions of all sizes and kinds, in both directions: a walsender
# that is behind decodes many records in one step.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my ($lisbon, $oslo, $riga) = make_group(3, setup => q{
	CREATE TABLE slow (id int PRIMARY KEY, v text);
	CREATE TABLE bulk (id int PRIMARY KEY, n bigint, v text);
	CREATE TABLE other (id int PRIMARY KEY, v text);
});
my $in  = "direction = 'in' AND peer = 'lisbon'";

# Anonymous memory of a process, in MB.
sub memory_of
{
	my ($pid) = @_;
	my $status = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status");
	return $status =~ /^RssAnon:\s+(\d+) kB/m ? $1 / 1024 : die "no RssAnon in /proc/$pid/status";
}

sub walsender_of { return $_[0]->sql("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '" . $_[0]->slot_name($_[1]) . "'") }

# The peer is to give up after 5 s.
my $dsn = $lisbon->dsn . q{ options='-c wal_sender_timeout=5s'};
$oslo->sql("SELECT multicenter.link_alter(peer => 'lisbon', options => jsonb_build_object('dsn', \$\$$dsn\$\$))");
$oslo->sql("SELECT multicenter.link_pause(peer => 'lisbon')");
$oslo->wait_for_sql("SELECT state FROM multicenter.lag WHERE $in", 'paused');
$oslo->sql("SELECT multicenter.link_resume(peer => 'lisbon')");
wait_streaming($lisbon, $oslo);

#
# Slow rows: a minute for the transaction, unless it is let go
#
$oslo->sql(q{
	CREATE UNLOGGED TABLE go ();
	CREATE FUNCTION drag() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT EXISTS (SELECT FROM public.go) THEN
			PERFORM pg_sleep_for(interval '10 ms');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER drag BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION drag();
	ALTER TABLE slow ENABLE REPLICA TRIGGER drag;
});
my $before = $oslo->sql("SELECT connects, retries FROM multicenter.stat_links WHERE $in");
my $receiver = $oslo->link_pid($lisbon);
my $sender = walsender_of($lisbon, $oslo);
my $replies = $lisbon->sql("SELECT reply_time FROM pg_stat_replication WHERE pid = $sender");
$lisbon->sql(q{INSERT INTO slow SELECT g, 'a row that takes its time' FROM generate_series(1, 6000) g});
$oslo->wait_for_sql("SELECT xact_start < clock_timestamp() - interval '1 s' FROM pg_stat_activity WHERE pid = $receiver", 't');

# Meanwhile others go on, here and on the other links.
$riga->sql(q{INSERT INTO other VALUES (1, 'from riga')});
$oslo->wait_for_sql('SELECT count(*) FROM other', '1');
$oslo->sql(q{INSERT INTO other VALUES (2, 'from oslo')});
$riga->wait_for_sql('SELECT count(*) FROM other', '2');
is($oslo->sql("SELECT count(*) FROM slow") , '0', 'other links and sessions go on while a slow transaction is applied');

# Longer than the timeout, within the one transaction, replies arrive.
$oslo->wait_for_sql("SELECT xact_start < clock_timestamp() - interval '6 s' FROM pg_stat_activity WHERE pid = $receiver", 't');
$lisbon->wait_for_sql("SELECT reply_time > '$replies'::timestamptz + interval '5 s' FROM pg_stat_replication WHERE pid = $sender", 't');
is($oslo->sql('SELECT count(*) FROM slow'), '0', 'feedback is sent within a chunk that takes longer than the timeout');
$oslo->sql('INSERT INTO go DEFAULT VALUES');
wait_all_applied($lisbon, $oslo);
is($oslo->sql('SELECT count(*) FROM slow'), '6000', 'it is applied');
is($oslo->sql("SELECT connects, retries FROM multicenter.stat_links WHERE $in"), $before, 'at the first attempt');

#
# Many rows: 100 MB in one transaction
#
$oslo->sql(q{SELECT multicenter.link_alter(peer => 'lisbon', options => '{"logical_decoding_work_mem": "16MB"}')});
$oslo->wait_for_sql("SELECT connects > split_part('$before', '|', 1)::int FROM multicenter.stat_links WHERE $in", 't');
wait_streaming($lisbon, $oslo);
($receiver, $sender) = ($oslo->link_pid($lisbon), walsender_of($lisbon, $oslo));
my ($receiver_before, $sender_before) = (memory_of($receiver), memory_of($sender));
my ($receiver_max, $sender_max) = (0, 0);
my $lsn = $lisbon->sql(q{INSERT INTO bulk SELECT g, g, repeat('v', 60) || g FROM generate_series(1, 400000) g; SELECT pg_current_wal_insert_lsn()});
poll('the large transaction', sub {
	my ($r, $s) = (memory_of($receiver), memory_of($sender));
	$receiver_max = $r if $r > $receiver_max;
	$sender_max = $s if $s > $sender_max;
	return ($oslo->sql("SELECT replay_lsn >= '$lsn' FROM multicenter.lag WHERE $in") eq 't', 'memory ' . int($r) . ' and ' . int($s) . ' MB');
});
note(sprintf('receiver %.1f to %.1f MB, walsender %.1f to %.1f MB', $receiver_before, $receiver_max, $sender_before, $sender_max));
cmp_ok($receiver_max, '<', 16, 'the receiver needs less than 16 MB for 400,000 rows');
cmp_ok($sender_max, '<', 16 + 64, 'the walsender no more than its work memory and 64 MB');
is($oslo->sql("SELECT retries FROM multicenter.stat_links WHERE $in"), (split(/\|/, $before))[1], 'no error on the way');
wait_all_applied($lisbon, $oslo, $riga);
identical($lisbon, $oslo, $riga);

#
# A backlog
#
$_->[0]->sql("SELECT multicenter.link_pause(peer => '" . $_->[1]->name . "')") foreach [ $lisbon, $oslo ], [ $oslo, $lisbon ];
foreach my $center ($lisbon, $oslo)
{
	my $first = $center == $lisbon ? 10_000 : 20_000;
	$center->sql(qq{
		DO \$\$ BEGIN
			FOR i IN $first .. $first + 999 LOOP
				INSERT INTO other VALUES (i, repeat('x', i % 300));
				IF i % 7 = 0 THEN
					BEGIN
						UPDATE bulk SET n = i WHERE id = i;
						IF i % 14 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
					EXCEPTION WHEN raise_exception THEN NULL;
					END;
				END IF;
				IF i % 11 = 0 THEN DELETE FROM other WHERE id = i - 5; END IF;
				IF i % 13 = 0 THEN PERFORM pg_logical_emit_message(true, 'somebody', 'else'); END IF;
				IF i % 100 = 0 THEN INSERT INTO bulk SELECT i * 100 + g, g, 'v' FROM generate_series(1000001, 1000050) g; END IF;
				COMMIT;
			END LOOP;
		END \$\$});
	$center->sql(qq{SELECT multicenter.replicate_ddl('ALTER TABLE other ADD COLUMN added_$first int')});
	$center->sql(qq{INSERT INTO other SELECT 100000 + $first + g, 'late', g FROM generate_series(1, 3000) g});
}
$_->[0]->sql("SELECT multicenter.link_resume(peer => '" . $_->[1]->name . "')") foreach [ $lisbon, $oslo ], [ $oslo, $lisbon ];
wait_streaming($lisbon, $oslo, $riga);
wait_all_applied($lisbon, $oslo, $riga);
identical($lisbon, $oslo, $riga);
done_testing();
