# Goal: centers that write the same few rows all the time end identical under
# every policy that converges, keep up with each other, and leave no siblings; the
# server's log does not grow with the conflicts, and the history has them all.
#
# Method: three databases of one server, a table for each policy with 50 rows,
# and pgbench at all three: updates, and where deletes matter deletes and
# INSERTs over them.  MULTICENTER_HOT_SECONDS makes it longer.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{MULTICENTER_HOT_SECONDS} || 8;
my @policies = qw(last first site handler keep skip);
my @tables = map { "hot_$_" } @policies;
my @centers = make_group([qw(lisbon oslo riga)], databases => 1,
	conf => "multicenter.heartbeat_interval = '200ms'\nlog_min_messages = log\n",
	setup => join(' ', map { "CREATE TABLE $_ (id int PRIMARY KEY, n int NOT NULL, who text NOT NULL); INSERT INTO $_ SELECT i, 0, 'nobody' FROM generate_series(1, 50) i;" } @tables));
my ($lisbon) = @centers;

$_->sql("SELECT multicenter.center_alter('$_->{name}', site => '$_->{name}')") foreach @centers;
wait_all_applied(@centers);
$lisbon->sql(q{SELECT multicenter.replicate_ddl($ddl$
	CREATE FUNCTION public.most(a public.hot_handler, b public.hot_handler, info multicenter.conflict_info, OUT result_row public.hot_handler, OUT action text)
		LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
			result_row := CASE WHEN (a.n, a.who COLLATE "C") > (b.n, b.who COLLATE "C") THEN a ELSE b END;
			action := CASE WHEN a IS NULL OR b IS NULL THEN 'next' ELSE 'row' END;
		END $$ $ddl$)});
$lisbon->sql(q{
	SELECT multicenter.conflict_policy_set('hot_first', NULL, 'first_update_wins');
	SELECT multicenter.conflict_policy_set('hot_site', NULL, 'site_priority', options => '{"sites": ["riga", "lisbon"]}');
	SELECT multicenter.conflict_policy_set('hot_handler', NULL, 'handler', 'public.most(public.hot_handler, public.hot_handler, multicenter.conflict_info)');
	SELECT multicenter.conflict_policy_set('hot_keep', 'update_deleted', 'insert_or_skip');
	SELECT multicenter.conflict_policy_set('hot_skip', 'update_deleted', 'skip')});
wait_policies(@centers);

# The write of one transaction; every sixth of those with deletes is one, and
# every third an INSERT.
sub script
{
	my ($name) = @_;
	my $text = "\\set which random(1, " . @policies . ")\n\\set id random(1, 50)\n\\set kind random(1, 6)\n";
	foreach my $i (1 .. @policies)
	{
		my $table = $tables[ $i - 1 ];
		my $update = "UPDATE $table SET n = n + 1, who = '$name' WHERE id = :id;\n";
		$text .= ($i == 1 ? '\if' : '\elif') . " :which = $i\n";
		$text .= $table =~ /keep|skip|last/ ? "\\if :kind = 1\nDELETE FROM $table WHERE id = :id;\n\\elif :kind < 4\n"
			. "INSERT INTO $table VALUES (:id, 0, '$name') ON CONFLICT (id) DO UPDATE SET n = $table.n + 1, who = excluded.who;\n\\else\n$update\\endif\n" : $update;
	}
	return "$text\\endif\n";
}
my $log_start = -s $lisbon->node->logfile;
my @loads = map { start_load($_, script($_->name), clients => 2, seconds => $seconds) } @centers;
my $transactions = 0;
foreach my $load (@loads)
{
	my $output = finish_load($load);
	like($output, qr/number of failed transactions: 0 /, 'no transaction has failed');
	$transactions += $1 if $output =~ /actually processed: (\d+)/;
}
my $start = time;
wait_all_applied(@centers);
my $quiesced = time - $start;
identical(@centers, $_) foreach @tables;
cmp_ok($quiesced, '<', 20 + $seconds, 'nobody is far behind when the load ends');
is($_->sql('SELECT count(*) FROM multicenter.quarantine'), 0, "nothing waits at $_->{name}") foreach @centers;
$start = time;
$_->wait_for_sql('SELECT count(*) FROM multicenter.siblings', 0) foreach @centers;
my $settled = time - $start;
identical(@centers, @tables);

my $conflicts = 0;
foreach my $center (@centers)
{
	my $found = $center->sql('SELECT count(*) FROM multicenter.conflicts');
	cmp_ok($found, '>', 0, "the history of $center->{name} has conflicts");
	is($center->sql(q{SELECT sum(conflicts) FROM multicenter.stat_links WHERE direction = 'in'}), $found, 'all of them');
	is($center->sql(q{SELECT count(DISTINCT relation) FROM multicenter.conflicts}), scalar(@tables), 'of every table');
	$conflicts += $found;
}
my $log = PostgreSQL::Test::Utils::slurp_file($lisbon->node->logfile, $log_start);
my $lines = () = $log =~ /\n/g;
cmp_ok($lines, '<', 200 + 5 * $seconds, 'the log is bounded');
unlike($log, qr/ERROR:  (?!canceling)/, 'and has no errors');
note(sprintf('%d transactions in %d s, %d conflicts, applied %.1f s and settled %.1f s later, %d lines of log',
		$transactions, $seconds, $conflicts, $quiesced, $settled, $lines));

done_testing();
