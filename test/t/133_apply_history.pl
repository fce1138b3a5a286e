# Goal: what cannot be applied is in the history, by the name of its cause.
#
# Method: two databases of one server.  At oslo a constraint or a trigger does
# not admit what lisbon has written, or the table is not the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my @centers = make_group([qw(lisbon oslo)], databases => 1, setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v int, doc jsonb, big text);
	ALTER TABLE item ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE gone (id int PRIMARY KEY, v text);
	CREATE TABLE narrow (id int PRIMARY KEY, v text);
	CREATE TABLE emptied (id int PRIMARY KEY);
	INSERT INTO item SELECT i, i, '{"k": 1}', repeat('x', 9000) FROM generate_series(1, 9) i;
});
my ($lisbon, $oslo) = @centers;
wait_all_applied(@centers);
my $history = q{SELECT concat_ws(' ', conflict_type, resolver, resolution, relation, key, remote_row, local_row IS NULL, remote_center, error_message) FROM multicenter.conflicts};

# In quarantine: each change of the transaction.
$oslo->sql('ALTER TABLE item ADD CONSTRAINT small CHECK (v < 100)');
$lisbon->sql(q{BEGIN; INSERT INTO item VALUES (11, 11, '{"a": [1, "x"]}'); UPDATE item SET v = 200 WHERE id = 2; DELETE FROM item WHERE id = 3; UPDATE item SET id = 14 WHERE id = 4; COMMIT});
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 5);
my $why = 'new row for relation "item" violates check constraint "small"';
is($oslo->sql("$history ORDER BY conflict_id"), join("\n",
		qq(check_violation quarantine quarantine item {"id": 11} {"id":11,"v":11,"doc":{"a": [1, "x"]},"big":null} t lisbon $why),
		qq(check_violation quarantine quarantine item {"id": 2} {"id":2,"v":200,"doc":{"k": 1}} t lisbon $why),
		qq(check_violation quarantine quarantine item {"id": 3} t lisbon $why),
		qq(check_violation quarantine quarantine item {"id": 14} {"id":14,"v":4,"doc":{"k": 1}} t lisbon $why)),
	'each change that is put aside is in the history');

# Such a change can be replaced by another one.
my %id = map { split(/\|/) } split(/\n/, $oslo->sql("SELECT key ->> 'id', conflict_id FROM multicenter.conflicts"));
$oslo->fails("SELECT multicenter.conflict_override($id{2}, 'local')", '55000', qr/no local row/, qr/quarantine_discard/, 'there is no local row to choose');
$oslo->fails("SELECT multicenter.conflict_override($id{2}, 'remote')", '23514', qr/small/, undef, 'nor does the constraint admit the remote one');
$oslo->fails("SELECT multicenter.conflict_override($id{14}, 'remote')", '55000', qr/no value for column "big"/, qr/new_row/, 'nor one that is not complete');
$oslo->sql("SELECT multicenter.conflict_override($id{2}, NULL, '{\"v\": 99}'); SELECT multicenter.conflict_override($id{11}, 'remote')");
$oslo->sql('ALTER TABLE item DROP CONSTRAINT small; SELECT multicenter.quarantine_retry()');
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 0);
wait_all_applied(@centers);
is($_->sql(q{SELECT string_agg(concat_ws(' ', id, v, doc, length(big)), ', ' ORDER BY id) FROM item WHERE id < 5 OR id > 10}),
	'1 1 {"k": 1} 9000, 2 99 {"k": 1} 9000, 11 11 {"a": [1, "x"]}, 14 4 {"k": 1} 9000', "what was chosen stands: $_->{name}") foreach @centers;
identical(@centers, 'item');

# Another error, and one that gives up.
$oslo->sql(q{CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.v = 55 THEN RAISE EXCEPTION 'no, thank you'; END IF; RETURN new; END $$;
	CREATE TRIGGER no BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE item ENABLE REPLICA TRIGGER no});
$lisbon->sql('UPDATE item SET v = 55 WHERE id = 5');
$oslo->wait_for_sql('SELECT count(*) FROM multicenter.quarantine', 1);
is($oslo->sql(q{SELECT conflict_type, resolver, error_message FROM multicenter.conflicts WHERE key ->> 'id' = '5'}), 'apply_error|quarantine|no, thank you', 'another error');
$oslo->sql(q{SELECT multicenter.quarantine_discard(quarantine_id, 'too much') FROM multicenter.quarantine});
like($oslo->sql(q{SELECT conflict_type, resolver, error_message FROM multicenter.conflicts ORDER BY conflict_id DESC LIMIT 1}), qr/^apply_error\|discarded by .*: too much\|no, thank you$/, 'which is given up');
$oslo->sql('DROP TRIGGER no ON item');
$lisbon->sql('UPDATE item SET v = 56 WHERE id = 5');

# A link that waits: one row for its transaction, also after a restart.
my $waits = "$history WHERE resolver = 'error' ORDER BY conflict_id DESC LIMIT 1";
my $number = q{SELECT count(*) FROM multicenter.conflicts WHERE resolver = 'error'};
$oslo->sql('DROP TABLE gone');
$lisbon->sql(q{INSERT INTO gone VALUES (1, 'x')});
$oslo->wait_for_sql($number, 1);
like($oslo->sql($waits), qr/^target_table_missing error error - t lisbon .*gone/, 'a table that is not here');
signal_pid('TERM', $oslo->worker_pid('manager'));
my $retries = q{SELECT retries FROM multicenter.stat_links WHERE direction = 'in'};
my $before = $oslo->sql($retries);
$oslo->wait_for_sql("SELECT ($retries) >= $before + 3");
is($oslo->sql($number), 1, 'is told of once');
$oslo->fails("SELECT multicenter.conflict_override(max(conflict_id), 'remote') FROM multicenter.conflicts", '42P01', qr/does not exist/, qr/conflicts/, 'and cannot be chosen');
$oslo->sql('CREATE TABLE gone (id int PRIMARY KEY, v text)');
wait_all_applied(@centers);
identical(@centers, 'gone');

$oslo->sql('ALTER TABLE narrow DROP COLUMN v');
$lisbon->sql(q{INSERT INTO narrow VALUES (1, 'x')});
$oslo->wait_for_sql($number, 2);
like($oslo->sql($waits), qr/^target_column_missing error error narrow t lisbon .*"v"/, 'a column that is not here');
$oslo->sql('ALTER TABLE narrow ADD COLUMN v text');
wait_all_applied(@centers);

$oslo->sql(q{CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;
	CREATE TRIGGER never BEFORE TRUNCATE ON emptied EXECUTE FUNCTION never(); ALTER TABLE emptied ENABLE REPLICA TRIGGER never});
$lisbon->sql('TRUNCATE emptied');
$oslo->wait_for_sql($number, 3);
like($oslo->sql($waits), qr/^apply_error error error (emptied|-) t lisbon (never|cannot put)/, 'what cannot be put aside');
$oslo->sql('DROP TRIGGER never ON emptied');
wait_all_applied(@centers);
identical(@centers, 'narrow', 'item', 'emptied');

done_testing();
