# Goal: what becomes of a change that cannot be applied is decided by the policy
# of its table, then by the default policy, then by the setting of the center.
#
# Method: two databases of one server.  At oslo constraints do not admit what
# lisbon has written; links must wait, or go on with the change in quarantine.
use strict;
use warnings;

use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo)], databases => 1, conf => "multicenter.heartbeat_interval = '100ms'\n", setup => q{
	CREATE SCHEMA "a.b";
	CREATE TABLE strict (id int PRIMARY KEY, v int);
	CREATE TABLE lax (id int PRIMARY KEY, v int);
	CREATE TABLE "a.b"."c.d" (id int PRIMARY KEY, v int);
	CREATE TABLE parent (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
	CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (1000);
	CREATE TABLE other (id int PRIMARY KEY);
});
my ($lisbon, $oslo) = @centers;
my @tables = ('strict', 'lax', '"a.b"."c.d"', 'child');
$oslo->sql("ALTER TABLE $_ ADD CONSTRAINT small CHECK (v < 100)") foreach @tables;
my $n = 0;

sub policy
{
	my ($table, $resolver) = @_;
	$table = defined $table ? "'$table'" : 'NULL';
	$lisbon->sql(defined $resolver ?
		  "SELECT multicenter.conflict_policy_set($table, 'check_violation', '$resolver')" :
		  "SELECT multicenter.conflict_policy_reset($table, 'check_violation')");
	wait_policies(@centers);
	return;
}

# A change that oslo does not admit.
sub fails_at_oslo
{
	my ($table) = @_;
	$n++;
	$lisbon->sql("INSERT INTO $table VALUES ($n, 1000); INSERT INTO other VALUES ($n)");
	return;
}

sub waits
{
	my ($table, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	fails_at_oslo($table);

	# The sixth attempt would have been to put it aside.
	my $retries = q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in'};
	my $before = $oslo->sql($retries);
	$oslo->wait_for_sql("SELECT ($retries) >= $before + 6");
	is($oslo->sql('SELECT count(*) FROM multicenter.quarantine'), 0, "$name: not in quarantine");
	is($oslo->sql("SELECT count(*) FROM other WHERE id = $n"), 0, "$name: the link waits");
	$oslo->sql("ALTER TABLE $table DROP CONSTRAINT small");
	wait_all_applied(@centers);
	$lisbon->sql("DELETE FROM $table");
	wait_all_applied(@centers);
	$oslo->sql("ALTER TABLE $table ADD CONSTRAINT small CHECK (v < 100)");
	return;
}

sub goes_aside
{
	my ($table, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	fails_at_oslo($table);
	$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 1);
	$oslo->wait_for_sql("SELECT count(*) FROM other WHERE id = $n", 1);
	is($oslo->sql('SELECT relation FROM multicenter.quarantine'), $table, "$name: in quarantine, and the link goes on");
	$oslo->sql(q{SELECT multicenter.quarantine_discard(quarantine_id, 'test') FROM multicenter.quarantine});
	$lisbon->sql("DELETE FROM $table");
	wait_all_applied(@centers);
	return;
}

goes_aside('lax', 'the setting is quarantine');
policy($_, 'error') foreach 'strict', '"a.b"."c.d"', 'parent';
is($oslo->sql(q{SELECT resolver, source FROM multicenter.conflict_policies WHERE relation = 'strict'::regclass AND conflict_type = 'apply_error'}), 'error|table', 'the policy is shown');
is($oslo->sql(q{SELECT count(*) FROM pg_trigger WHERE tgname = 'multicenter_seen'}), 0, 'and needs no trigger');
waits('"a.b"."c.d"', 'with a name that needs quotes');
waits('child', 'by the partitioned table');
goes_aside('lax', 'nothing is set for it');

policy(undef, 'error');
policy('lax', 'quarantine');
goes_aside('lax', 'the policy of the table comes before the default');
policy('strict', undef);
waits('strict', 'by default');
policy(undef, undef);
$oslo->append_conf("multicenter.on_apply_error = stop\n");
$oslo->reload;
goes_aside('lax', 'its policy comes before the setting');

identical(@centers, 'other');
done_testing();
