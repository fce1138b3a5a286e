# Goal: remote changes fire the triggers that are made for them, once each, and
# no others; nothing that a trigger does can break the progress of the link.
#
# Method: tables with ordinary, ENABLE REPLICA and ENABLE ALWAYS triggers, row
# and statement level, which count their calls in a local table.  Triggers with
# EXCEPTION blocks, which reset the origin of the session, are followed by a
# restart of the receiver: nothing may come twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Multicenter::Cluster;
use Test::More;

my ($lisbon, $riga) = make_group([qw(lisbon riga)], setup => q{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE event (what text, id int);
	CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
});

# What fired, counted at each center for itself.
foreach my $center ($lisbon, $riga)
{
	$center->sql(
		q{
		CREATE UNLOGGED TABLE fired (name text, op text, level text, id int, session_role text, who name);
		CREATE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.fired VALUES (TG_NAME, TG_OP, TG_LEVEL,
				CASE WHEN TG_LEVEL = 'STATEMENT' OR TG_OP = 'TRUNCATE' THEN NULL
					WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END,
				current_setting('session_replication_role'), current_user);
			RETURN CASE WHEN TG_LEVEL = 'STATEMENT' THEN NULL WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
		END $$;
		CREATE TRIGGER a_origin AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_call();
		CREATE TRIGGER a_replica AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_call();
		CREATE TRIGGER a_always AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_call();
		CREATE TRIGGER a_disabled AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_call();
		CREATE TRIGGER b_before BEFORE INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note_call();
		CREATE TRIGGER t_truncate AFTER TRUNCATE ON item EXECUTE FUNCTION note_call();
		CREATE TRIGGER t_truncate_origin AFTER TRUNCATE ON item EXECUTE FUNCTION note_call();
		ALTER TABLE item ENABLE REPLICA TRIGGER a_replica, ENABLE ALWAYS TRIGGER a_always,
			DISABLE TRIGGER a_disabled, ENABLE REPLICA TRIGGER b_before, ENABLE ALWAYS TRIGGER t_truncate;
		CREATE RULE noted AS ON INSERT TO event DO ALSO INSERT INTO fired VALUES ('rule');
	});
}

sub fired
{
	my ($center) = @_;
	my $fired = $center->sql('SELECT name, op, id, count(*) FROM fired GROUP BY 1, 2, 3 ORDER BY 1, 2, 3');
	$center->sql('TRUNCATE fired');
	return $fired;
}

#
# Which triggers fire
#
foreach my $pair ([ $lisbon, $riga, 1 ], [ $riga, $lisbon, 2 ])
{
	my ($from, $to, $id) = @$pair;
	my $way = $from->name . ' to ' . $to->name;

	$from->sql("INSERT INTO item VALUES ($id, 'a')");
	wait_applied($from, $to);
	is(fired($from), "a_always|INSERT|$id|1\na_origin|INSERT|$id|1", "local INSERT, $way");
	is(fired($to), "a_always|INSERT|$id|1\na_replica|INSERT|$id|1\nb_before|INSERT|$id|1", "remote INSERT, $way");

	$from->sql("UPDATE item SET v = 'b' WHERE id = $id");
	wait_applied($from, $to);
	fired($from);
	is(fired($to), "a_always|UPDATE|$id|1\na_replica|UPDATE|$id|1\nb_before|UPDATE|$id|1", "remote UPDATE, $way");

	$from->sql("DELETE FROM item WHERE id = $id");
	wait_applied($from, $to);
	fired($from);
	is(fired($to), "a_always|DELETE|$id|1\na_replica|DELETE|$id|1\nb_before|DELETE|$id|1", "remote DELETE, $way");

	$from->sql("TRUNCATE item");
	wait_applied($from, $to);
	is(fired($from), "t_truncate|TRUNCATE||1\nt_truncate_origin|TRUNCATE||1", "local TRUNCATE, $way");
	is(fired($to), 't_truncate|TRUNCATE||1', "remote TRUNCATE, $way");

	# Many rows in one transaction fire once each, too.
	$from->sql("INSERT INTO item SELECT $id * 1000 + i, 'many' FROM generate_series(1, 500) i");
	wait_applied($from, $to);
	$from->sql('TRUNCATE fired');
	is($to->sql('SELECT name, count(*), count(DISTINCT id), min(session_role) FROM fired GROUP BY 1 ORDER BY 1'),
		"a_always|500|500|replica\na_replica|500|500|replica\nb_before|500|500|replica", "500 rows, $way");
	$to->sql('TRUNCATE fired');

	# Rules are no triggers.
	$from->sql("INSERT INTO event VALUES ('rule', $id)");
	wait_applied($from, $to);
	is(fired($to), '', "a rule does not act on remote rows, $way");
	fired($from);
}
identical($lisbon, $riga, qw(item event));

#
# A trigger of a table's owner runs as that owner
#
foreach my $center ($lisbon, $riga)
{
	$center->sql(q{CREATE ROLE keeper; CREATE TABLE owned (id int PRIMARY KEY); ALTER TABLE owned OWNER TO keeper;
		CREATE TRIGGER noted AFTER INSERT ON owned FOR EACH ROW EXECUTE FUNCTION note_call();
		ALTER TABLE owned ENABLE ALWAYS TRIGGER noted; GRANT INSERT ON fired TO keeper});
}
$lisbon->sql('INSERT INTO owned VALUES (1)');
wait_applied($lisbon, $riga);
is($riga->sql('SELECT who FROM fired'), 'keeper', 'a trigger runs as the owner of the table');
$_->sql('TRUNCATE fired') foreach ($lisbon, $riga);

#
# What a trigger can change
#
$riga->sql(
	q{
	CREATE FUNCTION change_row() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.v = 'skip' THEN RETURN NULL; END IF;
		NEW.v := NEW.v || ' changed';
		RETURN NEW;
	END $$;
	CREATE TRIGGER c_change BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION change_row();
	ALTER TABLE item ENABLE REPLICA TRIGGER c_change;
});
$lisbon->sql(q{INSERT INTO item VALUES (1, 'a'), (2, 'skip'), (3, 'b')});
wait_applied($lisbon, $riga);
is($riga->sql('SELECT id, v FROM item WHERE id < 10 ORDER BY 1'), "1|a changed\n3|b changed",
	'a BEFORE trigger can change and skip a row');
is($lisbon->sql('SELECT id, v FROM item WHERE id < 10 ORDER BY 1'), "1|a\n2|skip\n3|b",
	'and what it did stays where it ran');
$riga->sql('DROP TRIGGER c_change ON item; TRUNCATE fired');

#
# Exceptions inside triggers
#
foreach my $center ($lisbon, $riga)
{
	$center->sql(
		q{
		CREATE TABLE noted (center text, id int);
		CREATE FUNCTION catch_errors() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			BEGIN
				INSERT INTO public.fired VALUES ('rolled back', TG_OP, TG_LEVEL, NEW.id);
				PERFORM 1 / (NEW.id - NEW.id);
			EXCEPTION WHEN division_by_zero THEN
				INSERT INTO public.fired VALUES ('caught', TG_OP, TG_LEVEL, NEW.id);
			END;
			BEGIN
				PERFORM NULL::int FROM public.no_such_table;
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
			RETURN NEW;
		END $$;
		CREATE TABLE risky (id int PRIMARY KEY, v text);
		CREATE TABLE counted (id int, v text);
		CREATE TRIGGER caught BEFORE INSERT OR UPDATE ON risky FOR EACH ROW EXECUTE FUNCTION catch_errors();
		CREATE TRIGGER caught_after AFTER INSERT ON counted FOR EACH ROW EXECUTE FUNCTION catch_errors();
		ALTER TABLE risky ENABLE ALWAYS TRIGGER caught;
		ALTER TABLE counted ENABLE ALWAYS TRIGGER caught_after;
	});
}
wait_all_applied($lisbon, $riga);
my $came_back = $lisbon->sql(q{SELECT xacts FROM multicenter.stat_links WHERE direction = 'in'});
foreach my $round (1 .. 3)
{
	my $base = $round * 100;
	$lisbon->sql("BEGIN; INSERT INTO counted VALUES ($base, 'x'); INSERT INTO risky SELECT $base + i, 'x' FROM generate_series(1, 5) i;
		UPDATE risky SET v = 'y' WHERE id = $base + 1; INSERT INTO counted VALUES ($base + 1, 'x'); COMMIT");
	wait_applied($lisbon, $riga);
	my $progress = $riga->sql(q{SELECT replay_lsn FROM multicenter.lag WHERE direction = 'in'});

	# A new receiver starts where the old one has committed.
	my $pid = $riga->link_pid($lisbon);
	$riga->sql("SELECT pg_terminate_backend($pid)");
	poll('a new receiver', sub { my $now = $riga->link_pid($lisbon); return ($now && $now != $pid, "pid $now") });
	wait_streaming($lisbon, $riga);
	cmp_ok($riga->sql(qq{SELECT replay_lsn >= '$progress'::pg_lsn FROM multicenter.lag WHERE direction = 'in'}), 'eq', 't',
		"round $round: progress does not go back");
	$lisbon->sql("INSERT INTO counted VALUES ($base + 2, 'after')");
	wait_applied($lisbon, $riga);
}
identical($lisbon, $riga, qw(risky counted));
is($riga->sql('SELECT count(*) FROM counted'), 9, 'nothing came twice');
is($riga->sql(q{SELECT name, count(*) FROM fired GROUP BY 1 ORDER BY 1}), 'caught|27',
	'each EXCEPTION block ran once for each row');
is($riga->sql(q{SELECT count(*) FROM counted WHERE v = 'after'}), 3, 'the link goes on after them');

# Such rows are still remote: nothing was sent back.
wait_applied($riga, $lisbon);
is($lisbon->sql(q{SELECT xacts FROM multicenter.stat_links WHERE direction = 'in'}), $came_back,
	'and none of it came back');

# What a trigger writes belongs to the remote transaction: it is not sent on.
$riga->sql(
	q{
	CREATE TABLE derived (id int PRIMARY KEY, v text);
	CREATE FUNCTION derive() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END;
		INSERT INTO public.derived VALUES (NEW.id, 'derived');
		RETURN NULL;
	END $$;
	CREATE TRIGGER d_derive AFTER INSERT ON risky FOR EACH ROW EXECUTE FUNCTION derive();
	ALTER TABLE risky ENABLE REPLICA TRIGGER d_derive;
});
$lisbon->sql('CREATE TABLE derived (id int PRIMARY KEY, v text)');
$lisbon->sql(q{INSERT INTO risky VALUES (1, 'x')});
wait_all_applied($lisbon, $riga);
is($riga->sql('SELECT * FROM derived'), '1|derived', 'a trigger may write other tables');
is($lisbon->sql('SELECT count(*) FROM derived'), 0, 'which stays at the center where it ran');

# A trigger that fails stops the link, visibly, and nothing is skipped.
$riga->sql(
	q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = 'P0042'; END $$;
	CREATE TRIGGER e_refuse AFTER INSERT ON counted FOR EACH ROW EXECUTE FUNCTION refuse();
	ALTER TABLE counted ENABLE ALWAYS TRIGGER e_refuse;
});
$lisbon->sql(q{BEGIN; INSERT INTO risky VALUES (2, 'before'); INSERT INTO counted VALUES (1000, 'refused'); COMMIT});
$riga->wait_for_sql(q{SELECT last_error_sqlstate = 'P0042' AND last_error ~ 'not today' AND last_error_relation = 'public.counted'
	AND state <> 'streaming' AND stall_reason <> '' FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction) WHERE direction = 'in'});
is($riga->sql('SELECT count(*) FROM risky WHERE id = 2'), 0, 'a failing trigger stops the whole transaction');
$riga->sql('DROP TRIGGER e_refuse ON counted');
wait_applied($lisbon, $riga);
identical($lisbon, $riga, qw(risky counted));

#
# Foreign keys are checked where a row is written, not where it arrives
#
$lisbon->fails('INSERT INTO child VALUES (1, 99)', '23503', qr/foreign key/, undef, 'a local row needs its parent');
$lisbon->sql('INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)');
wait_applied($lisbon, $riga);
$riga->sql('SET session_replication_role = replica; DELETE FROM parent WHERE id = 1; DELETE FROM child WHERE id = 2');
wait_applied($riga, $lisbon);
is($lisbon->sql('SELECT (SELECT string_agg(id::text, $$,$$) FROM parent) || $$ $$ || (SELECT string_agg(id::text, $$,$$) FROM child)'),
	'2 1', 'a remote delete of a parent neither fails nor cascades');
$lisbon->sql('INSERT INTO parent VALUES (3); INSERT INTO child VALUES (3, 3)');
wait_applied($lisbon, $riga);
$lisbon->sql('DELETE FROM parent WHERE id = 3');
wait_applied($lisbon, $riga);
is($riga->sql('SELECT count(*) FROM child WHERE id = 3'), 0, 'a cascade is replicated as what it did');
identical($lisbon, $riga, qw(parent child));

done_testing();
