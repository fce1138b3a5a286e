-- Goal: what would damage a center is refused with a hint, outside a group
-- nothing is; replicate_ddl() takes schema changes only, sends them in their
-- place, and gives nobody rights that he has not.
--
-- Method: a group of one center, so that what is sent can be read from a slot
-- with test_decoding.  What peers do with it is tested with real centers, by
-- test/t/450_ddl.pl.

\set SHOW_CONTEXT never
CREATE DATABASE regress_mc_ddl;
\c regress_mc_ddl
CREATE EXTENSION multicenter;
CREATE ROLE regress_mc_app IN ROLE multicenter_admin;
CREATE ROLE regress_mc_clerk;
GRANT ALL ON SCHEMA public TO regress_mc_app;
GRANT ALL ON DATABASE regress_mc_ddl TO regress_mc_app;

SET ROLE regress_mc_app;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, keyed_id int REFERENCES keyed ON DELETE CASCADE);
CREATE TABLE no_key (id int, v text);
CREATE TABLE no_key_child (keyed_id int REFERENCES keyed ON DELETE CASCADE);
CREATE TABLE nullable (id int UNIQUE, v text);
CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
ALTER TABLE parted_2 ADD PRIMARY KEY (id);
CREATE UNLOGGED TABLE unlogged (id int);

-- Without a group nothing is refused, and there is nobody to send to.
INSERT INTO no_key VALUES (1, 'a');
UPDATE no_key SET v = 'b';
DELETE FROM no_key;
ALTER TABLE no_key ALTER id TYPE bigint;
SELECT multicenter.replicate_ddl('CREATE TABLE x (id int)');
RESET ROLE;

SELECT multicenter.group_create('regress', 'alone',
	'host=' || :'HOST' || ' port=' || :'PORT' || ' dbname=regress_mc_ddl');
SET ROLE regress_mc_app;

-- Rows that no peer could find.
UPDATE no_key SET v = 'c';
DELETE FROM no_key WHERE false;
WITH gone AS (DELETE FROM no_key RETURNING id) SELECT count(*) FROM gone;
INSERT INTO nullable VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET v = 'b';
MERGE INTO nullable n USING (VALUES (1)) s (id) ON n.id = s.id WHEN MATCHED THEN DELETE;
DO $$ BEGIN UPDATE no_key SET v = 'c'; END $$;
UPDATE parted SET v = 'x';
UPDATE parted SET v = 'x' WHERE id < 10;

-- What is possible all the same.
INSERT INTO nullable VALUES (1, 'a') ON CONFLICT (id) DO NOTHING;
MERGE INTO nullable n USING (VALUES (2)) s (id) ON n.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id);
INSERT INTO no_key SELECT i FROM generate_series(1, 3) i;
EXPLAIN (COSTS OFF) UPDATE no_key SET v = 'c';
UPDATE parted SET v = 'x' WHERE id > 10;
UPDATE unlogged SET id = 1;
CREATE TEMP TABLE own (id int);
UPDATE own SET id = 1;
TRUNCATE no_key;

-- The rows of a foreign key's action, and a cached plan.
INSERT INTO keyed VALUES (1), (2);
INSERT INTO child VALUES (1, 1);
DELETE FROM keyed WHERE id = 1;
DROP TABLE no_key_child;
DELETE FROM keyed WHERE id = 1;
SELECT * FROM child;
PREPARE change AS UPDATE no_key SET v = 'd';
EXECUTE change;
ALTER TABLE no_key ADD PRIMARY KEY (id);
EXECUTE change;
ALTER TABLE no_key DROP CONSTRAINT no_key_pkey;
EXECUTE change;
ALTER TABLE no_key REPLICA IDENTITY FULL;
EXECUTE change;
SET session_replication_role = replica;
RESET ROLE;
SET session_replication_role = replica;
DELETE FROM nullable;
RESET session_replication_role;

-- Rewrites.
SET ROLE regress_mc_app;
ALTER TABLE keyed ALTER id TYPE bigint;
ALTER TABLE keyed ADD at timestamptz DEFAULT clock_timestamp();
ALTER TABLE no_key SET UNLOGGED;
SELECT multicenter.replicate_ddl('ALTER TABLE keyed ALTER id TYPE bigint');
RESET ROLE;
SET session_replication_role = replica;
ALTER TABLE keyed ALTER id TYPE int;
RESET session_replication_role;
SET ROLE regress_mc_app;
ALTER TABLE keyed ADD w int DEFAULT 7, ALTER v TYPE varchar;
ALTER TABLE own ALTER id TYPE bigint;
ALTER TABLE unlogged ALTER id TYPE bigint;
BEGIN;
CREATE TABLE young (id int);
ALTER TABLE young ALTER id TYPE bigint;
ROLLBACK;
VACUUM FULL keyed;
CLUSTER keyed USING keyed_pkey;
REINDEX TABLE keyed;
SELECT multicenter.refuse_rewrite();
RESET ROLE;

-- The ways out are the only ones.
DROP EXTENSION multicenter;
DROP SCHEMA multicenter CASCADE;
\c postgres
DROP DATABASE regress_mc_ddl;
DROP DATABASE regress_mc_ddl WITH (FORCE);
DROP DATABASE regress_mc_no_such;
\c regress_mc_ddl

-- replicate_ddl(): what is sent, in its place.
SELECT slot_name FROM pg_create_logical_replication_slot('regress_mc_ddl', 'test_decoding');
SET ROLE regress_mc_app;
BEGIN;
INSERT INTO keyed VALUES (10);
SELECT multicenter.replicate_ddl('ALTER TABLE keyed ADD x int; COMMENT ON TABLE keyed IS $$it''s$$');
INSERT INTO keyed (id, x) VALUES (11, 1);
SAVEPOINT a;
SELECT multicenter.replicate_ddl('CREATE TABLE never (id int)');
ROLLBACK TO a;
COMMIT;
BEGIN;
SELECT multicenter.replicate_ddl('CREATE TABLE never (id int)');
ROLLBACK;
CREATE SCHEMA app;
SET search_path = app, public;
SELECT multicenter.replicate_ddl('CREATE TABLE placed (id int PRIMARY KEY)');
SET search_path = '';
SELECT multicenter.replicate_ddl('CREATE TABLE app.named (id int PRIMARY KEY)');
SELECT multicenter.replicate_ddl('CREATE TABLE nowhere (id int PRIMARY KEY)');
RESET search_path;
SELECT tablename, schemaname, tableowner FROM pg_tables WHERE tablename IN ('placed', 'named', 'nowhere', 'never');

-- A temporary table does not stand in for the one that the peers have.
CREATE TEMP TABLE keyed (id int);
SELECT multicenter.replicate_ddl('ALTER TABLE keyed ADD y int');
DROP TABLE keyed;
SELECT y FROM keyed WHERE id = 10;
SHOW search_path;
RESET ROLE;
SELECT regexp_replace(encode(data, 'escape'), 'sz: .*(regress_mc_app\\000)', '\1') AS data
FROM pg_logical_slot_get_binary_changes('regress_mc_ddl', NULL, NULL)
WHERE encode(data, 'escape') ~ '^(table public.keyed|message: transactional: 1)';
SELECT pg_drop_replication_slot('regress_mc_ddl');

-- What is refused, and why.
CREATE FUNCTION attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	hint text;
BEGIN
	PERFORM multicenter.replicate_ddl(command);
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN state || ': ' || message || coalesce(E'\n   ' || nullif(hint, ''), '');
END $$;
\pset format unaligned
\pset tuples_only on
SELECT attempt('INSERT INTO keyed VALUES (1)');
SELECT attempt('UPDATE keyed SET id = 1');
SELECT attempt('DELETE FROM keyed');
SELECT attempt('MERGE INTO keyed USING child ON true WHEN MATCHED THEN DELETE');
SELECT attempt('SELECT 1');
SELECT attempt('WITH a AS (DELETE FROM keyed RETURNING *) SELECT * FROM a');
SELECT attempt('TRUNCATE keyed');
SELECT attempt('COPY keyed FROM PROGRAM ''true''');
SELECT attempt('DO ''BEGIN END''');
SELECT attempt('CALL nothing()');
SELECT attempt('BEGIN');
SELECT attempt('COMMIT');
SELECT attempt('ROLLBACK TO a');
SELECT attempt('CREATE TABLE x AS SELECT 1');
SELECT attempt('SELECT 1 AS a INTO x');
SELECT attempt('CREATE MATERIALIZED VIEW x AS SELECT 1');
SELECT attempt('REFRESH MATERIALIZED VIEW x');
SELECT attempt('CREATE TABLE x AS EXECUTE change');
SELECT attempt('CREATE INDEX CONCURRENTLY ON keyed (v)');
SELECT attempt('DROP INDEX CONCURRENTLY keyed_pkey');
SELECT attempt('ALTER TABLE parted DETACH PARTITION parted_1 CONCURRENTLY');
SELECT attempt('REINDEX TABLE keyed');
SELECT attempt('VACUUM keyed');
SELECT attempt('CLUSTER keyed');
SELECT attempt('ANALYZE keyed');
SELECT attempt('LOCK TABLE keyed');
SELECT attempt('SET work_mem = 64');
SELECT attempt('EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1');
SELECT attempt('PREPARE p AS SELECT 1');
SELECT attempt('EXECUTE change');
SELECT attempt('LISTEN x');
SELECT attempt('CREATE DATABASE x');
SELECT attempt('ALTER DATABASE x SET work_mem = 64');
SELECT attempt('ALTER DATABASE x RENAME TO y');
SELECT attempt('ALTER DATABASE x OWNER TO y');
SELECT attempt('DROP DATABASE x');
SELECT attempt('GRANT CONNECT ON DATABASE x TO y');
SELECT attempt('COMMENT ON DATABASE x IS ''y''');
SELECT attempt('CREATE TABLESPACE x LOCATION ''/x''');
SELECT attempt('DROP TABLESPACE x');
SELECT attempt('ALTER SYSTEM SET work_mem = 64');
SELECT attempt('CREATE ROLE x PASSWORD ''y''');
SELECT attempt('ALTER ROLE x SUPERUSER');
SELECT attempt('ALTER ROLE x RENAME TO y');
SELECT attempt('ALTER ROLE x SET work_mem = 64');
SELECT attempt('DROP ROLE x');
SELECT attempt('GRANT x TO y');
SELECT attempt('DROP OWNED BY x');
SELECT attempt('REASSIGN OWNED BY x TO y');
SELECT attempt('CREATE USER MAPPING FOR x SERVER y OPTIONS (password ''z'')');
SELECT attempt('CREATE PUBLICATION x');
SELECT attempt('DROP PUBLICATION x');
SELECT attempt('CREATE SUBSCRIPTION x CONNECTION ''y'' PUBLICATION z');
SELECT attempt('DROP SUBSCRIPTION x');
SELECT attempt('CREATE TEMP TABLE x (id int)');
SELECT attempt('CREATE TABLE pg_temp.x (id int)');
SELECT attempt('CREATE TEMP VIEW x AS SELECT 1');
SELECT attempt('CREATE SCHEMA x CREATE TEMP TABLE y (id int)');
SELECT attempt('CREATE EXTENSION multicenter');
SELECT attempt('ALTER EXTENSION multicenter UPDATE');
SELECT attempt('ALTER EXTENSION multicenter DROP VIEW multicenter.lag');
SELECT attempt('DROP EXTENSION multicenter CASCADE');
SELECT attempt('DROP SCHEMA multicenter CASCADE');
SELECT attempt('CREATE TABLE multicenter.x (id int)');
SELECT attempt('CREATE FUNCTION multicenter.x() RETURNS int LANGUAGE sql RETURN 1');
SELECT attempt('CREATE TYPE multicenter.x AS ENUM ()');
SELECT attempt('ALTER TABLE keyed SET SCHEMA multicenter');
SELECT attempt('ALTER TABLE multicenter.center ADD x int');
SELECT attempt('CREATE INDEX ON multicenter.center (site)');
SELECT attempt('ALTER FUNCTION multicenter.check_setup(text) COST 1');
SELECT attempt('ALTER VIEW multicenter.lag RENAME TO x');
SELECT attempt('ALTER EVENT TRIGGER multicenter_table_rewrite DISABLE');
SELECT attempt('SET search_path = multicenter; ALTER TABLE center ADD x int');
SELECT attempt('CREATE TABLE x (id int); DELETE FROM keyed');
SELECT attempt('');
SELECT attempt('-- nothing');
SELECT attempt('CREATE TABLE x (id int); nonsense');
SELECT attempt('CREATE TABLE keyed (id int)');
SELECT attempt('ALTER FUNCTION attempt(text) SET SCHEMA multicenter');
\pset tuples_only off
\pset format aligned
SET search_path = multicenter, public;
SELECT public.attempt('ALTER TABLE center ADD x int');
SELECT public.attempt('CREATE TABLE x (id int)');
SET search_path = public, multicenter;
SELECT public.attempt('ALTER TABLE center ADD x int');
SELECT public.attempt('ALTER TABLE center ALTER site SET DEFAULT 1');
SELECT public.attempt('ALTER TABLE center ADD CHECK (true)');
SELECT public.attempt('ALTER FUNCTION check_setup(text) COST 1');
SELECT public.attempt('DROP TABLE center');
RESET search_path;
BEGIN;
SET LOCAL search_path = pg_temp, public;
SELECT multicenter.replicate_ddl('CREATE TABLE x (id int)');
ROLLBACK;

-- An error shows where it is.
SELECT multicenter.replicate_ddl('ALTER TABEL keyed');
SELECT multicenter.replicate_ddl('ALTER TABLE keyed ADD zz no_such_type');

-- No rights beyond the caller's.
SET ROLE regress_mc_clerk;
SELECT multicenter.replicate_ddl('CREATE TABLE x (id int)');
RESET ROLE;
CREATE TABLE of_superuser (id int PRIMARY KEY);
SET ROLE regress_mc_app;
SELECT multicenter.replicate_ddl('DROP TABLE of_superuser');
RESET ROLE;
SELECT to_regclass('x') IS NULL AS no_trace, to_regclass('of_superuser') IS NOT NULL AS still_there;

-- A center that joins or leaves takes no writes.  Its own list of members is
-- always written: peers do that.
CREATE FUNCTION wait_for_gate(shut boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	give_up timestamptz := clock_timestamp() + interval '30 s';
BEGIN
	WHILE clock_timestamp() < give_up LOOP
		BEGIN
			INSERT INTO public.of_superuser SELECT coalesce(max(id), 0) + 1 FROM public.of_superuser;
			IF NOT shut THEN
				RETURN true;
			END IF;
		EXCEPTION WHEN read_only_sql_transaction THEN
			IF shut THEN
				RETURN true;
			END IF;
		END;
	END LOOP;
	RETURN false;
END $$;
BEGIN;
INSERT INTO of_superuser VALUES (-1);
PREPARE TRANSACTION 'it keeps the center from leaving';
SELECT multicenter.center_part('alone', wait => false);
SELECT wait_for_gate(true);
INSERT INTO keyed VALUES (20);
UPDATE keyed SET v = 'x' WHERE false;
WITH i AS (INSERT INTO keyed VALUES (20) RETURNING id) SELECT * FROM i;
TRUNCATE keyed CASCADE;
\copy keyed FROM /dev/null
CREATE TABLE x (id int);
ALTER TABLE keyed ADD z int;
DROP TABLE child;
SELECT multicenter.replicate_ddl('ALTER TABLE keyed ADD z int');
INSERT INTO unlogged VALUES (1);
CREATE TEMP TABLE mine (id int);
CREATE INDEX ON mine (id);
ALTER TABLE mine ALTER id TYPE bigint;
\copy mine FROM PROGRAM 'echo 1'
UPDATE mine SET id = 3;
TRUNCATE mine;
DROP TABLE mine;
SELECT count(*) FROM keyed;
VACUUM keyed;
ANALYZE keyed;
ALTER ROLE regress_mc_clerk NOLOGIN;
-- The operation dies: the manager makes the center a member again.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'multicenter operation';
SELECT wait_for_gate(false);
ROLLBACK PREPARED 'it keeps the center from leaving';

-- Out of the group everything is as before.
SELECT multicenter.group_remove_local();
DELETE FROM nullable;
ALTER TABLE keyed ALTER id TYPE int;
DROP EXTENSION multicenter;
\c postgres
DROP DATABASE regress_mc_ddl;
DROP ROLE regress_mc_app, regress_mc_clerk;
