# Multicenter::Step: links that apply exactly so many transactions.
#
#   my @centers = make_group(3, databases => 1, conf => step_conf());
#   step_install(@centers);
#   step_pause($lisbon, $riga);     # riga applies nothing more of lisbon
#   step($lisbon, $riga, 2);        # but the next two transactions
#   step_drain($lisbon, $riga);     # and now everything, as it comes
#
#   my $held = step_hold_commits($riga, $lisbon, $oslo);
#   finish_sql($held);              # both links of riga were in a commit, or waited
#
# hold_links() of Multicenter::Cluster stops links as a whole.  With this one a
# test can say what comes between two transactions of one link.
package Multicenter::Step;

use strict;
use warnings;

use Exporter 'import';
use Multicenter::Cluster;

our @EXPORT = qw(step_conf step_install step_pause step step_drain step_hold_commits);

# The library that test servers preload.
sub library { return Multicenter::Cluster::build_module('step') }

# Configuration of a server with such links.
sub step_conf
{
	return "shared_preload_libraries = 'multicenter, " . library() . "'\n";
}

# Make the functions in these centers.
sub step_install
{
	my (@centers) = @_;
	my $file = library();
	$_->sql(qq{CREATE SCHEMA step;
		CREATE FUNCTION step.pause(text) RETURNS void AS '$file', 'step_pause' LANGUAGE c STRICT;
		CREATE FUNCTION step.step(text, int) RETURNS void AS '$file', 'step_pass' LANGUAGE c STRICT;
		CREATE FUNCTION step.drain(text) RETURNS void AS '$file', 'step_drain' LANGUAGE c STRICT;
		CREATE FUNCTION step.hold_commits(int, int) RETURNS void AS '$file', 'step_hold_commits' LANGUAGE c STRICT})
	  foreach @centers;
	return;
}

sub step_pause
{
	my ($from, $to) = @_;
	return $to->sql("SELECT step.pause('$from->{name}')");
}

sub step
{
	my ($from, $to, $n) = @_;
	return $to->sql(sprintf("SELECT step.step('$from->{name}', %d)", defined $n ? $n : 1));
}

sub step_drain
{
	my ($from, $to) = @_;
	return $to->sql("SELECT step.drain('$from->{name}')");
}

# Keep the commits of a center in their middle until its links from both peers
# wait for that, or for each other.  Returns what to give to finish_sql().
sub step_hold_commits
{
	my ($center, @peers) = @_;
	my $hold = start_sql($center, sprintf('SELECT step.hold_commits(%d, %d)', map { $center->link_pid($_) } @peers));
	$center->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT step.hold%' AND wait_event_type = 'Extension'}, '1');
	return $hold;
}

1;
