# Goal: on a server that has used more than four billion transaction ids, where
# a frozen row does not tell any more who wrote it, changes of peers are still
# decided, and the same everywhere.
#
# Method: pg_resetwal raises the epoch of a server before its group is made.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $lisbon = new_center('lisbon');
$lisbon->sql(q{CREATE TABLE old (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
	INSERT INTO old SELECT i, 'old' FROM generate_series(1, 4) i});
$lisbon->sql('VACUUM FREEZE old');
$lisbon->stop;
PostgreSQL::Test::Utils::system_or_bail('pg_resetwal', '-e', '1', '-D', $lisbon->node->data_dir);
$lisbon->start;
cmp_ok($lisbon->sql('SELECT pg_current_xact_id()::text::numeric'), '>', 2**32, 'the server is old');

my $riga = $lisbon->add_database('riga');
group_create($lisbon);
group_join($riga, $lisbon);
wait_ready($lisbon, $riga);
identical($lisbon, $riga, 'old');

# Frozen rows, old ones and those of the group, lose to what is newer.
$riga->sql(q{UPDATE old SET v = 'riga' WHERE id = 1; DELETE FROM old WHERE id = 2});
$lisbon->sql(q{UPDATE old SET v = 'lisbon' WHERE id = 3});
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, 'old');
foreach my $center ($lisbon, $riga)
{
	$center->wait_for_sql(q{SELECT horizon_xid IS NOT NULL AND age < interval '5 s' FROM multicenter.horizon});
	$center->sql('VACUUM FREEZE old');
}
$lisbon->sql(q{UPDATE old SET v = v || ' again' WHERE id IN (1, 3)});
wait_all_applied($lisbon, $riga);
$riga->sql(q{UPDATE old SET v = v || ' and again'; INSERT INTO old VALUES (2, 'new')});
wait_all_applied($lisbon, $riga);
identical($lisbon, $riga, 'old');
is($lisbon->sql('SELECT string_agg(v, $$, $$ ORDER BY id) FROM old'),
	'riga again and again, new, lisbon again and again, old and again', 'nothing is lost');

done_testing();
