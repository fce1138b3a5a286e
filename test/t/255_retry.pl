# Goal: what waits in quarantine is tried until it can be written, whatever
# fails or takes long meanwhile, and a row that was written in this way keeps
# its version and its author for as long as it is there.
#
# Method: three databases of one server.  At one center a constraint refuses a
# change that is tried again, until it is dropped.  Then the author of a row is
# kept from telling that others have completed it wrongly, until nothing older
# can arrive there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo riga)], databases => 1, setup => q{
	CREATE TABLE doc (id int PRIMARY KEY, small text, big text);
	ALTER TABLE doc ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE named (name text PRIMARY KEY, small text, big text);
	ALTER TABLE named ALTER big SET STORAGE EXTERNAL;
});
my ($lisbon, $oslo, $riga) = @centers;
my @links = links_between(@centers);
my $rows  = q{SELECT id, small, left(big, 1) FROM doc ORDER BY id};

# Let a link through, for what has been committed until now.
sub let_through
{
	my ($from, $to) = @_;
	release_links([ $from, $to ]);
	hold_links([ $from, $to ]);
	return;
}

# A change that raises an error is tried again without any help from outside.
hold_links(@links);
$lisbon->sql(q{INSERT INTO doc VALUES (1, '0', repeat('A', 9000))});
let_through($lisbon, $oslo);
$oslo->sql(q{UPDATE doc SET small = 'b' WHERE id = 1});
let_through($oslo, $riga);
$riga->sql(q{ALTER TABLE doc ADD CONSTRAINT not_b CHECK (small <> 'b')});
let_through($lisbon, $riga);
my $failed = q{SELECT count(*) FROM multicenter.quarantine WHERE attempts >= %d AND error_sqlstate = '23514' AND error_message LIKE '%%not_b%%'};
$riga->wait_for_sql(sprintf($failed, 3), 1);
pass('a change that fails is tried again and again, and says why');
$riga->sql(q{ALTER TABLE doc DROP CONSTRAINT not_b});
$riga->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine}, 0);
is($riga->sql($rows), '1|b|A', 'when the cause is gone it is written');
release_links(@links);
wait_all_applied(@centers);

# Nor does a table that is no longer what it was harm the server.
hold_links(@links);
$lisbon->sql(q{INSERT INTO named VALUES ('one', '0', repeat('A', 9000))});
let_through($lisbon, $oslo);
$oslo->sql(q{UPDATE named SET small = 'b'});
let_through($oslo, $riga);
$riga->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine WHERE waits_for = 'cause'}, 1);
$riga->sql('ALTER TABLE named RENAME name TO called');
$riga->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine WHERE attempts >= 2 AND error_sqlstate = '55000'}, 1);
pass('a change that has lost its key waits');
$riga->sql('ALTER TABLE named RENAME called TO name');
release_links(@links);
$_->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine}, 0) foreach @centers;
is($_->sql('SELECT name, small, left(big, 1) FROM named'), 'one|b|A', "until it has it again, at $_->{name}") foreach @centers;

# Lisbon completes the row of riga with a value that riga had never seen, and
# riga is kept from saying so.
$lisbon->sql(q{INSERT INTO doc VALUES (2, '0', repeat('A', 9000))});
wait_all_applied(@centers);
hold_links(@links);
$lisbon->sql(q{UPDATE doc SET big = repeat('B', 9000) WHERE id = 2});
let_through($lisbon, $oslo);
$oslo->sql(q{UPDATE doc SET small = 'b' WHERE id = 2});
let_through($oslo, $riga);
$riga->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine WHERE waits_for = 'cause'}, 1);
my $busy = $riga->background_psql;
$riga->sql(q{UPDATE doc SET small = 'c' WHERE id = 2});
$busy->query_safe(q{BEGIN; UPDATE doc SET small = 'not to be' WHERE id = 2});
let_through($riga, $lisbon);
$lisbon->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine WHERE waits_for = 'cause'}, 1);
release_links([ $oslo, $lisbon ]);
$lisbon->wait_for_sql($rows, "1|b|A\n2|c|B");
release_links([ $riga, $lisbon ]);
my $completed = $lisbon->sql(q{SELECT pg_xact_commit_timestamp(xmin) FROM doc WHERE id = 2});
$lisbon->wait_for_sql(qq{SELECT frontier > '$completed' FROM multicenter.horizon}, 't');
$busy->query_safe('ROLLBACK');
$busy->quit;
release_links(@links);
$riga->wait_for_sql(q{SELECT count(*) FROM multicenter.quarantine}, 0);
$_->wait_for_sql($rows, "1|b|A\n2|c|A") foreach @centers;
pass('the author corrects a row that was completed long ago');
identical(@centers, 'doc');

# What says whose a row is goes with the row.
$lisbon->sql('DELETE FROM doc; DELETE FROM named');
$_->wait_for_sql(q{SELECT count(*) FROM multicenter.key_note}, 0) foreach @centers;
pass('no note is left');

done_testing();
