# Goal: a center that was restored from a backup without leaving its group is
# noticed by itself and by its peers, and the links stay stopped when its WAL
# has grown beyond the lost positions, at which it would be too late.
#
# Method: the data directory of one center is copied while it is stopped; both
# write, and the copy takes the place of the original.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use Test::More;

my ($lisbon, $oslo) = make_group([qw(lisbon oslo)], setup => 'CREATE TABLE t (id int PRIMARY KEY, v text)');
$lisbon->sql(q{INSERT INTO t VALUES (1, 'old'), (2, 'old')});
wait_all_applied($lisbon, $oslo);

my $data   = $oslo->node->data_dir;
my $backup = "$data.backup";
$oslo->stop('fast');
PostgreSQL::Test::RecursiveCopy::copypath($data, $backup);
$oslo->start;
$lisbon->sql(q{UPDATE t SET v = 'lost at oslo' WHERE id = 1});
$oslo->sql(q{INSERT INTO t SELECT i, 'written before the restore' FROM generate_series(3, 5000) i});
wait_all_applied($lisbon, $oslo);

$oslo->stop('immediate');
rename($data, "$data.lost") && rename($backup, $data) or die "rename: $!";
chmod 0700, $data;
$oslo->start;

my $error = q{SELECT last_error ~ 'gone back in time' AND last_error_sqlstate = '55000' FROM multicenter.stat_links WHERE direction = 'in'};
$lisbon->wait_for_sql($error, 't');
pass('the peer notices');
$oslo->wait_for_sql($error, 't');
pass('the restored center notices');

# Far beyond what was lost; each receiver has tried again since.
$oslo->sql(q{SELECT pg_switch_wal(); SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000))});
$oslo->restart;
my $stopped = q{SELECT count(*) FROM multicenter.link WHERE stopped ~ 'gone back in time'};
is($_->sql($stopped), 1, 'written down at ' . $_->name) for ($lisbon, $oslo);
$oslo->wait_for_sql($error, 't');
$lisbon->wait_for_sql($error, 't');
$_->wait_for_sql(q{SELECT string_agg(DISTINCT state, ',') FROM multicenter.lag WHERE direction = 'in'}, 'stalled') for ($lisbon, $oslo);
is($oslo->sql('SELECT v FROM t WHERE id = 1'), 'old', 'nothing goes on as if nothing had happened');

done_testing();
