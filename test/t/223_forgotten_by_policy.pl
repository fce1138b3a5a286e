# Goal: a peer that was away for longer than multicenter.dead_row_retention brings
# changes that are newer than deletes which VACUUM has removed meanwhile, but had
# not seen them.  Where a policy lets deletes win they count nevertheless: they
# are read back from WAL before; or the change waits, if they cannot be.
#
# Method: three databases of one server.  riga keeps dead rows for a second only.
# oslo is cut off; lisbon and riga delete rows, VACUUM
# removes the dead rows, and oslo writes them after that; then the links are
# opened.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $oslo, $riga) = my @centers = make_group([qw(lisbon oslo riga)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n",
	setup => q{
	CREATE TABLE skip (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
	CREATE TABLE last (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
});
$lisbon->sql(q{SELECT multicenter.conflict_policy_set('skip', 'update_deleted', 'skip')});
wait_all_applied(@centers);
my $newest = $lisbon->sql('SELECT multicenter.internal_policy_newest()');
$_->wait_for_sql('SELECT multicenter.internal_policy_own_epoch()', $newest) foreach @centers;
$riga->append_conf("multicenter.dead_row_retention = '1s'");
$riga->reload;
$_->wait_for_sql('SELECT count(*) > 0 FROM multicenter.kept_wal') foreach @centers;
pass('every center keeps WAL');

$lisbon->sql(qq{INSERT INTO $_ SELECT i, 'old' FROM generate_series(1, 4) i}) foreach qw(skip last);
wait_all_applied(@centers);
my @links = grep { $_->[0] == $oslo || $_->[1] == $oslo } links_between(@centers);
hold_links(@links);
$riga->sql(qq{DELETE FROM $_ WHERE id = 1}) foreach qw(skip last);
$lisbon->sql(qq{DELETE FROM $_ WHERE id = 2}) foreach qw(skip last);
wait_applied($lisbon, $riga);
wait_applied($riga, $lisbon);
foreach my $table (qw(skip last))
{
	$riga->wait_for_sql(qq{VACUUM (INDEX_CLEANUP on) $table;
		SELECT n_dead_tup = 0 FROM pg_stat_user_tables WHERE relid = '$table'::regclass});
}
is($riga->sql('SELECT retention_ended FROM multicenter.horizon'), 't', 'riga has given up');
is($riga->sql('SELECT count(*) FROM multicenter.key_note'), 0, 'and remembers nothing in notes');

# Newer than all that was forgotten.
$oslo->sql(qq{UPDATE $_ SET v = 'newer' WHERE id < 4; INSERT INTO $_ VALUES (5, 'new')}) foreach qw(skip last);
release_links(@links);
wait_all_applied(@centers);
foreach my $center (@centers)
{
	is($center->sql(q{SELECT string_agg(id || v, ' ' ORDER BY id) FROM skip}), '3newer 4old 5new', "the deletes count at $center->{name}");
	is($center->sql(q{SELECT string_agg(id || v, ' ' ORDER BY id) FROM last}), '1newer 2newer 3newer 4old 5new', 'and not for the last update');
	is($center->sql('SELECT count(*) FROM multicenter.quarantine'), 0, 'and nothing is left to decide');
}
done_testing();
