# Goal: docs/monitoring.md has a section for each check, and each of its queries
# runs, for a monitor where it says so.
#
# Method: its SQL is run block by block on a center with a peer called oslo, a
# change in quarantine and a session that blocks the receiver.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Multicenter::Cluster;
use Multicenter::Truth;
use PostgreSQL::Test::Utils ();
use Test::More;

my $guide = PostgreSQL::Test::Utils::slurp_file(abs_path(dirname(__FILE__) . '/../..') . '/docs/monitoring.md');
my ($lisbon, $oslo) = truth_group(qw(lisbon oslo));

# Something of all kinds.
$lisbon->sql(q{ALTER TABLE item ADD CONSTRAINT small CHECK (id < 1000)});
$oslo->sql(q{INSERT INTO item VALUES (1000, 'too great')});
$lisbon->wait_for_sql('SELECT count(*) = 1 FROM multicenter.quarantine', 't', 30);
$lisbon->sql(q{ALTER TABLE item DROP CONSTRAINT small});
my $blocker = $lisbon->background_psql(on_error_stop => 0);
$blocker->query_safe('BEGIN; LOCK TABLE item IN SHARE MODE');
$oslo->sql(q{INSERT INTO item VALUES (1, 'one')});
shows($lisbon, $oslo, 'in', 'stalled', qr/blocked by process/, 'a session blocks the receiver');

my @checks = split(/\n/, $lisbon->sql('SELECT check_name FROM multicenter.thresholds ORDER BY 1'));
my ($runbook) = $guide =~ /^## Runbook\n(.*)/ms;
is(join(' ', sort($runbook =~ /^### `(\w+)`$/mg)), "@checks", 'the runbook has all checks, and no others');
foreach my $section (split(/^(?=### )/m, $runbook))
{
	next unless $section =~ /^### `(\w+)`/;
	my $check = $1;
	my ($warn, $critical) = split(/\|/, $lisbon->sql("SELECT default_warn, default_critical FROM multicenter.thresholds WHERE check_name = '$check'"));
	s/^(\d+)GB$/$1 GB/ foreach $warn, $critical;
	like($section, qr/```sql/, "$check: how to look");
	next if $check =~ /dead_row_retention|clock_skew|center_state/;
	like($section, qr/\b\Q$warn\E\b/, "$check: says when it warns");
	like($section, qr/\b\Q$critical\E\b/, "$check: and when it is critical");
}

# All SQL of the guide, in its order.
my @blocks = $guide =~ /^```sql\n(.*?)^```/msg;
cmp_ok(scalar(@blocks), '>=', 20, 'the guide has SQL');
my $changes = qr/CREATE ROLE|threshold_set|link_resume|quarantine|pg_terminate_backend|check_setup/;
foreach my $statement (map { split(/(?<=;)\n/, $_) } @blocks)
{
	my $head = substr($statement =~ s/\s+/ /gr, 0, 90);
	my ($rc, $out, $err) = $lisbon->psql($statement, on_error_stop => 1);
	is("$rc $err", '0 ', "runs: $head");
	next if $statement =~ $changes;
	($rc, $out, $err) = $lisbon->psql("SET ROLE watcher; $statement", on_error_stop => 1);
	is("$rc $err", '0 ', "and for a monitor");
}
shows($lisbon, $oslo, 'in', 'streaming|idle', qr/^$/, 'the session that was blocking was ended', 15);
$lisbon->wait_for_sql('SELECT count(*) = 0 FROM multicenter.quarantine', 't', 20);
pass('the change in quarantine was tried again');
wait_all_applied($lisbon, $oslo);
identical($lisbon, $oslo, 'item');
eval { $blocker->quit };

# Links to other documents, and within it.
foreach my $link ($guide =~ /\]\(([^)]+)\)/g)
{
	my ($file, $anchor) = split(/#/, $link);
	my $text = PostgreSQL::Test::Utils::slurp_file(abs_path(dirname(__FILE__) . '/../..') . "/docs/$file");
	my @anchors = map { lc($_) =~ s/[^\w\- ]//gr =~ s/ /-/gr } $text =~ /^#+ (.+)$/mg;
	ok(!defined $anchor || grep({ $_ eq $anchor } @anchors), "link $link");
}

done_testing();
