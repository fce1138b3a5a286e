# Goal: an update without the large values that it left alone is completed with
# the values that its author had, on every center and in whatever order changes
# arrive; where that takes time the change is to be seen in quarantine, and no
# link stops for it.
#
# Method: three databases of one server, so that one clock decides what is
# later.  All links are held while the centers write; a step "pass xy" lets the
# link from x to y through.  Then the links are released in one order or
# another, and all centers must have the rows that last-update-wins gives,
# where a row is always the whole row of its author.  Then a change that waits
# meets a crash, a retry and somebody who discards it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use List::Util qw(shuffle);
use Multicenter::Cluster;
use Test::More;

test_deadline(900);

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE doc (id int PRIMARY KEY, small text, big text, u int UNIQUE);
	ALTER TABLE doc ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE emptied (id int PRIMARY KEY, small text, big text);
	ALTER TABLE emptied ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE full_identity (id int PRIMARY KEY, small text, big text);
	ALTER TABLE full_identity ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
});
my ($lisbon, $oslo, $riga) = @centers;
my %center = (a => $lisbon, b => $oslo, c => $riga);
my @links  = links_between(@centers);

# Steps in the order of time, each at one center; what is there in the end.
# !X is a large value of Xs.  A step "free" releases all links for a moment.
my $start = 'a INSERT INTO doc VALUES (k1, $$0$$, !A)';
my %schedule = (
	'a large value, later a small one' => [ [ $start, 'free', 'a UPDATE doc SET big = !B WHERE id = k1', 'b UPDATE doc SET small = $$b$$ WHERE id = k1' ], '1|b|A' ],
	'a small value, later a large one' => [ [ $start, 'free', 'b UPDATE doc SET small = $$b$$ WHERE id = k1', 'a UPDATE doc SET big = !B WHERE id = k1' ], '1|0|B' ],
	'two small ones' => [ [ $start, 'free', 'a UPDATE doc SET small = $$a$$ WHERE id = k1', 'b UPDATE doc SET small = $$b$$ WHERE id = k1' ], '1|b|A' ],
	'three small ones after a large one' => [ [ $start, 'free', 'a UPDATE doc SET big = !B WHERE id = k1', 'a UPDATE doc SET small = $$a$$ WHERE id = k1',
			'b UPDATE doc SET small = $$b$$ WHERE id = k1', 'c UPDATE doc SET small = $$c$$ WHERE id = k1' ], '1|c|A' ],
	'the cause is overtaken' => [ [ $start, 'free', 'a UPDATE doc SET big = !B WHERE id = k1', 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1' ], '1|b|B' ],
	'the insert is overtaken' => [ [ $start, 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1' ], '1|b|A' ],
	'the insert is overtaken, twice' => [ [ $start, 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1', 'b UPDATE doc SET small = $$c$$ WHERE id = k1' ], '1|c|A' ],
	'a delete, later a small update' => [ [ $start, 'free', 'a DELETE FROM doc WHERE id = k1', 'b UPDATE doc SET small = $$b$$ WHERE id = k1' ], '1|b|A' ],
	'a small update, later a delete' => [ [ $start, 'free', 'b UPDATE doc SET small = $$b$$ WHERE id = k1', 'a DELETE FROM doc WHERE id = k1' ], '' ],
	'a delete between two updates' => [ [ $start, 'free', 'b UPDATE doc SET small = $$b$$ WHERE id = k1', 'a DELETE FROM doc WHERE id = k1',
			'c UPDATE doc SET small = $$c$$ WHERE id = k1' ], '1|c|A' ],
	'deleted, and put again by another' => [ [ $start, 'free', 'a DELETE FROM doc WHERE id = k1', 'pass ac', 'c INSERT INTO doc VALUES (k1, $$c$$, !C)',
			'b UPDATE doc SET small = $$b$$ WHERE id = k1' ], '1|b|A' ],
	'a new key' => [ [ $start, 'free', 'b UPDATE doc SET id = k2 WHERE id = k1' ], '2|0|A' ],
	'a new key, and back' => [ [ $start, 'free', 'b UPDATE doc SET id = k2 WHERE id = k1', 'b UPDATE doc SET id = k1, small = $$b$$ WHERE id = k2' ], '1|b|A' ],
	'a new key, and deleted' => [ [ $start, 'free', 'b UPDATE doc SET id = k2 WHERE id = k1', 'b DELETE FROM doc WHERE id = k2' ], '' ],
	'the old key is taken by another' => [ [ 'b INSERT INTO doc VALUES (k1, $$0$$, !A)', 'b UPDATE doc SET id = k2 WHERE id = k1', 'c INSERT INTO doc VALUES (k1, $$c$$, !C)' ], "1|c|C\n2|0|A" ],
	'a new key against an update of the old one' => [ [ $start, 'free', 'b UPDATE doc SET id = k2 WHERE id = k1', 'a UPDATE doc SET small = $$a$$ WHERE id = k1' ], "1|a|A\n2|0|A" ],
	'the new key is taken by another' => [ [ $start, 'free', 'c INSERT INTO doc VALUES (k2, $$c$$, !C)', 'b UPDATE doc SET id = k2 WHERE id = k1' ], '2|0|A' ],
	'two keys are swapped' => [ [ $start, 'a INSERT INTO doc VALUES (k2, $$1$$, !B)', 'free',
			'b UPDATE doc SET id = k3 WHERE id = k1; UPDATE doc SET id = k1 WHERE id = k2; UPDATE doc SET id = k2 WHERE id = k3' ], "1|1|B\n2|0|A" ],
	'inserted and updated in one transaction' => [ [ 'a INSERT INTO doc VALUES (k1, $$0$$, !A); UPDATE doc SET small = $$a$$ WHERE id = k1' ], '1|a|A' ],
	'updated and deleted in one transaction' => [ [ $start, 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1; DELETE FROM doc WHERE id = k1' ], '' ],
	'updated small and large in one transaction' => [ [ $start, 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1; UPDATE doc SET big = !B WHERE id = k1' ], '1|b|B' ],
	# The vector of the last write covers what only waits at its center.
	'a local write over one that waits' => [ [ $start, 'free', 'a UPDATE doc SET big = !B WHERE id = k1', 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1',
			'pass bc', 'c UPDATE doc SET small = $$c$$ WHERE id = k1' ], '1|c|A' ],
	'a key change over one that waits' => [ [ $start, 'free', 'a UPDATE doc SET big = !B WHERE id = k1', 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1',
			'pass bc', 'c UPDATE doc SET id = k2 WHERE id = k1' ], '2|0|A' ],
	'a delete over one that waits' => [ [ $start, 'free', 'a UPDATE doc SET big = !B WHERE id = k1', 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1',
			'pass bc', 'c DELETE FROM doc WHERE id = k1' ], '' ],
	'a displaced row is completed' => [ [ 'a INSERT INTO doc VALUES (k1, $$0$$, !A, k1)', 'pass ac', 'b INSERT INTO doc VALUES (k2, $$0$$, !B, k1)', 'pass bc',
			'a UPDATE doc SET small = $$a$$ WHERE id = k1' ], '1|a|A' ],
	'all columns are in the record' => [ [ 'a INSERT INTO full_identity VALUES (k1, $$0$$, !A)', 'free', 'a DELETE FROM full_identity WHERE id = k1',
			'b UPDATE full_identity SET small = $$b$$ WHERE id = k1' ], '1|b|A' ],
);

sub rows
{
	my ($center, $base) = @_;
	return $center->sql(join(' UNION ALL ', map { qq{
		SELECT id - $base, small, left(big, 1) || CASE WHEN length(big) = 9000 THEN '' ELSE ' is ' || length(big) END
		FROM $_ WHERE id BETWEEN $base AND $base + 99} } qw(doc full_identity)) . ' ORDER BY 1');
}

# Everything has arrived, and nothing waits any more.
sub settle
{
	wait_all_applied(@centers);
	foreach my $round (1 .. 2)
	{
		$_->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', '0') foreach @centers;
		wait_all_applied(@centers);
	}
	return;
}

# One step of a schedule.
sub run_step
{
	my ($step, $base) = @_;
	if (my ($from, $to) = $step =~ /^pass (\w)(\w)$/)
	{
		my $link = [ @center{ $from, $to } ];
		release_links($link);
		hold_links($link);
		return;
	}
	my ($at, $sql) = $step =~ /^(\w) (.*)$/s;
	$sql =~ s/\bk(\d)\b/$base + $1/ge;
	$sql =~ s/!(\w)/repeat('$1', 9000)/g;
	$center{$at}->sql("BEGIN; $sql; COMMIT");
	return;
}

# Run schedules that agree in what passes and when, with the links released in
# an order.
my $next_base = 1000;
sub run_schedules
{
	my ($order, @opening) = @_;
	my %alike;
	foreach my $name (sort keys %schedule)
	{
		my $shape = join(',', grep { /^(pass|free)/ } @{ $schedule{$name}[0] });
		push(@{ $alike{$shape} }, $name);
	}
	foreach my $shape (sort keys %alike)
	{
		my (%base, %left);
		foreach my $name (@{ $alike{$shape} })
		{
			$base{$name} = $next_base;
			$left{$name} = [ @{ $schedule{$name}[0] } ];
			$next_base += 100;
		}
		hold_links(@links);
		foreach my $common (split(/,/, $shape), 'free')
		{
			foreach my $name (@{ $alike{$shape} })
			{
				run_step(shift @{ $left{$name} }, $base{$name}) while @{ $left{$name} } && $left{$name}[0] !~ /^(pass|free)/;
				shift @{ $left{$name} };
			}
			if ($common ne 'free') { run_step($common); next; }
			release_links($_) foreach @opening;
			settle();
			hold_links(@links) if grep { @$_ } values %left;
		}
		foreach my $name (@{ $alike{$shape} })
		{
			is(rows($_, $base{$name}), $schedule{$name}[1], "$order: $name, at $_->{name}") foreach @centers;
		}
	}
	return;
}

my @orders = ([ 'in order', @links ], [ 'backwards', reverse @links ]);
srand(5);
push(@orders, [ "order $_", shuffle(@links) ]) foreach 1 .. 2;
run_schedules(@$_) foreach @orders;
identical(@centers, qw(doc full_identity));

# A TRUNCATE that is newer than what waits, and one that is older.
hold_links(@links);
run_step($_, 0) foreach 'a INSERT INTO emptied VALUES (k1, $$0$$, !A), (k2, $$0$$, !A)', 'pass ab',
  'b UPDATE emptied SET small = $$b$$ WHERE id = k1', 'pass bc', 'c TRUNCATE emptied',
  'b UPDATE emptied SET small = $$b$$ WHERE id = k2';
release_links($_) foreach reverse @links;
settle();
is($_->sql('SELECT id, small, left(big, 1), length(big) FROM emptied'), '2|b|A|9000', "a TRUNCATE over what waits, at $_->{name}") foreach @centers;

# What waits is to be seen, counted, and survives a crash of author and target.
hold_links(@links);
run_step($_, 500) foreach 'a INSERT INTO doc VALUES (k1, $$0$$, !A)', 'pass ab', 'b UPDATE doc SET small = $$b$$ WHERE id = k1', 'pass bc';
my $entry = q{SELECT peer, relation, operation, key, new_row ->> 'small', new_row ? 'big', waits_for, version IS NOT NULL, remote_lsn IS NOT NULL FROM multicenter.quarantine};
is($riga->sql($entry), 'oslo|doc|UPDATE|{"id": "501"}|b|f|cause|t|t', 'a change whose cause is on its way is in quarantine');
cmp_ok($riga->sql(q{SELECT sum(quarantined) FROM multicenter.stat_links WHERE direction = 'in' AND peer = 'oslo'}), '>', 0, 'it was counted');
is($riga->sql(q{SELECT state FROM multicenter.lag WHERE direction = 'in' AND peer = 'oslo'}), 'paused', 'its link is not stalled');
$lisbon->kill9;
$lisbon->start;
$_->wait_for_sql('SELECT count(*) > 0 FROM multicenter.workers') foreach @centers;
is($riga->sql($entry), 'oslo|doc|UPDATE|{"id": "501"}|b|f|cause|t|t', 'a crash does not lose it');
release_links([ $lisbon, $riga ]);
$riga->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0);
is(rows($riga, 500), '1|b|A', 'its cause completes it');
release_links(@links);

# Without a row the author is asked, who may be away for some time.
hold_links(@links);
run_step($_, 600) foreach 'a INSERT INTO doc VALUES (k1, $$0$$, !A), (k2, $$0$$, !A), (k3, $$0$$, !A)', 'pass ab', 'pass ac',
  'c DELETE FROM doc WHERE id BETWEEN k1 AND k3', 'b UPDATE doc SET small = $$b$$ WHERE id BETWEEN k1 AND k3', 'pass bc';
$riga->wait_for_sql(q{SELECT count(*) = 3 AND bool_and(waits_for = 'refresh') FROM multicenter.quarantine});
pass('changes that cannot be completed here wait for their author');
is($riga->sql('SELECT multicenter.quarantine_retry()'), 3, 'all can be tried again');
my ($id) = $riga->sql(q{SELECT quarantine_id FROM multicenter.quarantine WHERE key ->> 'id' = '602'});
is($riga->sql("SELECT multicenter.quarantine_retry($id)"), 1, 'or one of them');
$lisbon->kill9;
$lisbon->start;
$_->wait_for_sql('SELECT count(*) > 0 FROM multicenter.workers') foreach @centers;
($id) = $riga->sql(q{SELECT quarantine_id FROM multicenter.quarantine WHERE key ->> 'id' = '603'});
$riga->sql("SELECT multicenter.quarantine_discard($id, 'only a test')");
is($riga->sql(q{SELECT count(*) FROM multicenter.quarantine}), 2, 'one was discarded');
is($riga->sql(q{SELECT resolution, remote_row ->> 'small', remote_center, resolver LIKE 'discarded by %: only a test' FROM multicenter.conflicts WHERE key ->> 'id' = '603'}),
	'skip|b|oslo|t', 'the history has it, and why');
$riga->fails("SELECT multicenter.quarantine_discard($id, 'again')", 'P0002', qr/there is no change $id in quarantine/, qr/view multicenter.quarantine/, 'it cannot be discarded twice');
$riga->fails("SELECT multicenter.quarantine_discard($id, ' ')", '22023', qr/without a reason/, undef, 'nor anything without a reason');
release_links(@links);
settle();
is(rows($_, 600) =~ /^1\|b\|A\n2\|b\|A/ ? 1 : rows($_, 600), 1, "refreshed rows are at $_->{name}") foreach @centers;
is($riga->sql('SELECT count(*) FROM multicenter.quarantine'), 0, 'nothing waits any more');

# Notes that give rows their versions go with the rows, the others when nothing
# older can arrive; those of a table with displaced rows go with them.
$lisbon->sql('DELETE FROM doc; DELETE FROM emptied; DELETE FROM full_identity');
$_->wait_for_sql('SELECT count(*) FROM multicenter.displaced', 0) foreach @centers;
wait_all_applied(@centers);
$lisbon->sql('DELETE FROM doc');
$_->wait_for_sql(q{SELECT count(*) FROM multicenter.key_note}, 0) foreach @centers;
pass('no note is left');

done_testing();
