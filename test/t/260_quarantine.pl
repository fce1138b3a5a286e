# Goal: a change that cannot be decided is neither guessed nor lost, and holds
# nobody up: it waits in quarantine, to be seen, until something newer decides
# or somebody gives it up.
#
# Method: two databases of one server.  Links are held while both write; then
# the server runs for a while without commit timestamps, so that nobody knows
# any more whether a row is older than what arrives.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	INSERT INTO item SELECT i, 'old' FROM generate_series(1, 9) i;
});
my ($lisbon, $oslo) = @centers;
my @links = links_between(@centers);
wait_all_applied(@centers);
$lisbon->wait_for_sql('SELECT horizon_xid IS NOT NULL FROM multicenter.horizon');

hold_links(@links);
$oslo->sql($_) foreach q{UPDATE item SET v = 'oslo' WHERE id <= 3}, q{DELETE FROM item WHERE id = 4};
foreach my $setting ('off', 'on')
{
	$lisbon->append_conf("track_commit_timestamp = $setting");
	$lisbon->restart;
	$lisbon->sql(q{UPDATE item SET v = 'lisbon' WHERE id <= 4}) if $setting eq 'off';
}
is($lisbon->sql(q{SELECT count(*) FROM item WHERE v = 'lisbon'}), 4, 'rows were written without a timestamp');
$lisbon->sql(q{INSERT INTO item VALUES (20, 'before')});
$oslo->sql(q{INSERT INTO item VALUES (21, 'behind')});
release_links(@links);

is($lisbon->sql(q{SELECT id, v FROM item WHERE id IN (1, 2, 3, 4, 20, 21) ORDER BY id}),
	"1|lisbon\n2|lisbon\n3|lisbon\n4|lisbon\n20|before\n21|behind", 'what cannot be decided changes nothing, and what comes behind it is applied');
is($lisbon->sql(q{SELECT peer, operation, key ->> 'id', new_row ->> 'v', waits_for, error_message IS NULL FROM multicenter.quarantine ORDER BY (key ->> 'id')::int}),
	join("\n", map({ "oslo|UPDATE|$_|oslo|decision|t" } 1 .. 3), 'oslo|DELETE|4||decision|t'), 'it is in quarantine');
is($lisbon->sql(q{SELECT count(*) FROM multicenter.lag WHERE state = 'stalled'}), 0, 'no link is stalled');
is($lisbon->sql(q{SELECT quarantined FROM multicenter.stat_links WHERE direction = 'in'}), 4, 'the changes were counted');

# A crash does not lose them, and trying again does not help.
$lisbon->kill9;
$lisbon->start;
is($lisbon->sql('SELECT multicenter.quarantine_retry()'), 4, 'they are still there after a crash, and can be tried again');
wait_streaming(@centers);
wait_all_applied(@centers);
is($lisbon->sql(q{SELECT count(*) FROM multicenter.quarantine}), 4, 'they cannot be decided now either');

# Newer versions decide, from wherever they come.
$oslo->sql(q{UPDATE item SET v = 'newer' WHERE id = 1});
$lisbon->sql(q{UPDATE item SET v = 'newer still' WHERE id = 2});
my $waiting = q{SELECT string_agg(key ->> 'id', ' ' ORDER BY key ->> 'id') FROM multicenter.quarantine};
$lisbon->wait_for_sql($waiting, '3 4');
pass('a newer version decides');
is($lisbon->sql(q{SELECT string_agg(DISTINCT key ->> 'id', ' ') FROM multicenter.conflicts WHERE remote_row ->> 'v' = 'oslo' AND resolution = 'keep_local'}),
	'2', 'what has lost against a concurrent one is in the history');

# Or people do.
my $discard = q{SELECT multicenter.quarantine_discard(quarantine_id, 'decided by hand') FROM multicenter.quarantine WHERE key ->> 'id' = '%s'};
$lisbon->sql(sprintf($discard, 3));
is($lisbon->sql($waiting), '4', 'a change can be discarded');
is($lisbon->sql(q{SELECT remote_row ->> 'v', resolution, resolver LIKE '%: decided by hand' FROM multicenter.conflicts WHERE key ->> 'id' = '3'}),
	'oslo|skip|t', 'the history has it');
$oslo->sql(q{INSERT INTO item VALUES (4, 'again') ON CONFLICT (id) DO UPDATE SET v = excluded.v});
is($lisbon->sql('SELECT v FROM item WHERE id = 3'), 'lisbon', 'the row stays as it was until it is written again');
$oslo->sql(q{UPDATE item SET v = 'settled' WHERE id = 3});
$_->wait_for_sql($waiting, '') foreach @centers;
wait_all_applied(@centers);
identical(@centers, 'item');

# Only those may read and decide who are to.
$lisbon->sql('CREATE ROLE watcher; GRANT multicenter_monitor TO watcher');
$lisbon->fails("SET ROLE watcher; $waiting", '42501', qr/permission denied/, undef, 'rows in quarantine are not for everybody');
$lisbon->fails('SET ROLE watcher; SELECT multicenter.quarantine_retry()', '42501', qr/permission denied/, undef, 'nor is a retry');

done_testing();
