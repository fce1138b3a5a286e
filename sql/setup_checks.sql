-- Goal: check_setup() finds what keeps a database from being a center or would
-- surprise later, each with the line that corrects it, works before a group
-- exists, and tells each role only what it may know.
--
-- Method: one finding of each kind is made, seen, and corrected by the fix.
-- What differs between releases and machines is not shown.

CREATE DATABASE regress_mc_setup;
\c regress_mc_setup
CREATE EXTENSION multicenter;
\pset format unaligned
\pset footer off
\pset fieldsep ' | '

-- A database without anything: every check has its row.
SELECT check_name, status FROM multicenter.check_setup()
WHERE check_name <> 'idle_replication_slot_timeout';

-- The list of output plugins, and the trap of one quoted name.
SELECT status, object, problem, fix FROM multicenter.check_setup()
WHERE check_name = 'output_plugin_libraries';
ALTER DATABASE regress_mc_setup SET output_plugin_libraries = 'pgoutput, test_decoding';
SELECT status, object, problem, fix FROM multicenter.check_setup()
WHERE check_name = 'output_plugin_libraries';
SELECT fix FROM multicenter.check_setup() WHERE check_name = 'output_plugin_libraries' \gexec
SELECT status, object, problem, fix FROM multicenter.check_setup()
WHERE check_name = 'output_plugin_libraries';

-- The settings of this session are not those of a new walsender.
ALTER DATABASE regress_mc_setup RESET output_plugin_libraries;
SET output_plugin_libraries = multicenter;
SELECT status, object FROM multicenter.check_setup()
WHERE check_name = 'output_plugin_libraries';
RESET output_plugin_libraries;
ALTER DATABASE regress_mc_setup SET output_plugin_libraries = multicenter;
SELECT status, object FROM multicenter.check_setup()
WHERE check_name = 'output_plugin_libraries';

-- Tables.  Those of a superuser first, then those of an ordinary role.
CREATE ROLE regress_mc_super SUPERUSER;
CREATE ROLE regress_mc_owner;
CREATE SCHEMA app AUTHORIZATION regress_mc_owner;
CREATE TABLE super_one (id int PRIMARY KEY);
ALTER TABLE super_one OWNER TO regress_mc_super;
CREATE TABLE super_two (id int PRIMARY KEY);
ALTER TABLE super_two OWNER TO regress_mc_super;
SELECT * FROM multicenter.check_setup() WHERE check_name = 'table_owner';
DROP TABLE super_one, super_two;

SET ROLE regress_mc_owner;
SET search_path = app;
CREATE TABLE keyed (id int PRIMARY KEY);
CREATE TABLE full_identity (id int);
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE "no key" (id int UNIQUE);
CREATE TABLE by_index (a int, b int NOT NULL, c int NOT NULL, UNIQUE (b, c), UNIQUE (a));
CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TEMP TABLE temporary (id int);
RESET ROLE;
SELECT * FROM multicenter.check_setup() WHERE check_name = 'replica_identity';
SELECT fix FROM multicenter.check_setup() WHERE object = 'app.by_index' \gexec
ALTER TABLE "no key" ADD PRIMARY KEY (id);
ALTER TABLE parted ADD PRIMARY KEY (id);
DROP TABLE deferrable_key;
SELECT * FROM multicenter.check_setup() WHERE check_name = 'replica_identity';

-- Triggers, row-level security, sequences, what is not replicated at all.
CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER harmless AFTER INSERT ON keyed DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION app.nothing();
CREATE CONSTRAINT TRIGGER harmful AFTER INSERT ON keyed DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION app.nothing();
ALTER TABLE keyed ENABLE ALWAYS TRIGGER harmful;
ALTER TABLE keyed FORCE ROW LEVEL SECURITY;
ALTER TABLE full_identity ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE UNLOGGED TABLE unlogged (id int);
CREATE FOREIGN DATA WRAPPER regress_mc_fdw;
CREATE SERVER regress_mc_server FOREIGN DATA WRAPPER regress_mc_fdw;
CREATE FOREIGN TABLE far_away (id int) SERVER regress_mc_server;
SET ROLE regress_mc_owner;
ALTER TABLE keyed ADD a serial, ADD b int GENERATED ALWAYS AS IDENTITY;
CREATE SEQUENCE of_nothing;
CREATE SEQUENCE arranged INCREMENT 16 OWNED BY keyed.a;
RESET ROLE;
SELECT * FROM multicenter.check_setup()
WHERE check_name IN ('deferred_trigger', 'row_security', 'sequence', 'not_replicated');
SELECT fix FROM multicenter.check_setup()
WHERE check_name IN ('deferred_trigger', 'row_security', 'not_replicated') \gexec
SELECT check_name, status, object FROM multicenter.check_setup()
WHERE check_name IN ('deferred_trigger', 'row_security', 'sequence', 'not_replicated');
DROP FOREIGN DATA WRAPPER regress_mc_fdw CASCADE;

-- Slots of other software.
ALTER DATABASE regress_mc_setup SET output_plugin_libraries = multicenter, pgoutput, test_decoding;
\c
SET search_path = app;
SELECT slot_name FROM pg_create_logical_replication_slot('regress_mc_native', 'pgoutput');
SELECT slot_name FROM pg_create_logical_replication_slot('regress_mc_other', 'test_decoding');
SELECT * FROM multicenter.check_setup() WHERE check_name = 'foreign_slot';
SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name ~ '^regress_mc';

-- The search_path and the operators of the caller play no part.
CREATE SCHEMA evil;
CREATE FUNCTION evil.equal(name, name) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''called''; END';
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.equal);
SET search_path = evil, pg_catalog;
SELECT count(*) > 10 FROM multicenter.check_setup();
RESET search_path;
DROP SCHEMA evil CASCADE;

-- Who may call it.
CREATE ROLE regress_mc_nobody;
CREATE ROLE regress_mc_monitor IN ROLE multicenter_monitor;
CREATE ROLE regress_mc_admin IN ROLE multicenter_admin;
SET ROLE regress_mc_nobody;
SELECT * FROM multicenter.check_setup();
SET ROLE regress_mc_monitor;
SELECT count(*) > 10 FROM multicenter.check_setup();
SELECT * FROM multicenter.check_setup('host=/nowhere');
SET ROLE regress_mc_admin;
SELECT check_name, status FROM multicenter.check_setup('host=/nowhere') WHERE check_name ~ '^peer';
RESET ROLE;

-- A peer: the connection string, the connection, what it is.
SELECT 'host=' || :'HOST' || ' port=' || :'PORT' || ' dbname=' AS server \gset
SELECT * FROM multicenter.check_setup('nonsense') WHERE check_name ~ '^peer';
SELECT * FROM multicenter.check_setup('host=/nowhere password=secret') WHERE check_name ~ '^peer';
SELECT check_name, status, fix FROM multicenter.check_setup(:'server' || 'regress_mc_none') WHERE check_name ~ '^peer';
SELECT check_name, status, problem, fix FROM multicenter.check_setup(:'server' || 'regress_mc_setup')
WHERE check_name ~ '^peer' AND check_name <> 'peer_version';

-- A role that may not do what a link needs.
CREATE ROLE regress_mc_link LOGIN;
SELECT check_name, status, object, problem, fix FROM multicenter.check_setup(:'server' || 'regress_mc_setup user=regress_mc_link')
WHERE check_name ~ '^peer' AND check_name <> 'peer_replication';
ALTER ROLE regress_mc_link REPLICATION;
GRANT multicenter_peer, pg_read_all_data TO regress_mc_link;
SELECT check_name, status, problem FROM multicenter.check_setup(:'server' || 'regress_mc_setup user=regress_mc_link')
WHERE check_name ~ '^peer' AND check_name <> 'peer_version';

-- A database without the extension.
SELECT check_name, status, problem, fix FROM multicenter.check_setup(:'server' || 'template1')
WHERE check_name ~ '^peer';

\c postgres
DROP DATABASE regress_mc_setup;
DROP ROLE regress_mc_super, regress_mc_owner, regress_mc_nobody, regress_mc_monitor, regress_mc_admin, regress_mc_link;
