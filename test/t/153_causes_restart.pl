# Goal: a center that restarts while a peer cannot be reached still knows what it
# has applied of that peer: nobody waits for what is there.
#
# Method: riga is behind a proxy that holds everything, so that who connects
# waits until its time is up.  Lisbon restarts then; oslo, which has seen all of
# riga, goes on to write: rows with large values, and where a policy decides.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Multicenter::Proxy;
use Test::More;

my ($lisbon, $oslo, $riga) = my @centers = map { new_center($_) } qw(lisbon oslo riga);
my $to_riga = Multicenter::Proxy->new($riga);
$riga->{dsn} = $to_riga->dsn;
$lisbon->sql(q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE large (id int PRIMARY KEY, n int, v text);
	ALTER TABLE large ALTER v SET STORAGE EXTERNAL;
	INSERT INTO large VALUES (1, 0, repeat('large', 10000))});
group_create($lisbon);
group_join($_, $lisbon) foreach $oslo, $riga;
wait_ready(@centers);

# Lisbon has restarted and oslo is there, but riga is not.
sub restart_alone
{
	$riga->sql(q{INSERT INTO item SELECT COALESCE(max(id), 0) + 1, 'riga' FROM item});
	wait_all_applied(@centers);
	$oslo->sql(q{UPDATE large SET n = n + 1});
	wait_all_applied(@centers);
	$to_riga->black_hole;
	$lisbon->restart;
	poll('lisbon to connect to riga', sub { my $pid = $lisbon->link_pid($riga); return ($pid, $pid) });
	return wait_streaming($lisbon, $oslo);
}

# Riga is back.
sub reunite
{
	$to_riga->pass;
	wait_streaming(@centers);
	return wait_all_applied(@centers);
}

# What lisbon has applied of what both write in turn, and how long that took.
sub write_in_turn
{
	my ($what) = @_;
	my $slowest = 0;
	foreach my $n (1 .. 5)
	{
		$lisbon->sql("UPDATE item SET v = 'lisbon $n' WHERE id = 1");
		$oslo->wait_for_sql('SELECT v FROM item WHERE id = 1', "lisbon $n");
		$oslo->sql("UPDATE large SET n = n + 1");
		my $expected = $oslo->sql('SELECT n FROM large');
		my $took = $lisbon->wait_for_sql('SELECT n FROM large', $expected);
		$slowest = $took if $took > $slowest;
	}
	note("$what: the slowest took $slowest s");
	return cmp_ok($slowest, '<', 8, "$what: what oslo writes comes at once");
}

restart_alone();
write_in_turn('large values');
is($lisbon->sql('SELECT count(*) FROM multicenter.quarantine_entry'), '0', 'nothing waits');
reunite();

$lisbon->sql(q{SELECT multicenter.conflict_policy_set('item', NULL, 'first_update_wins')});
$_->wait_for_sql('SELECT count(*) FROM multicenter.conflict_policies WHERE NOT in_effect OR waits_for IS NOT NULL', 0) foreach @centers;
restart_alone();
write_in_turn('a policy');
reunite();
identical(@centers);
done_testing();
