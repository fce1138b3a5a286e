-- multicenter: active-active replication between PostgreSQL servers.
-- The install script is the concatenation of src/sql/NN_*.sql.
\echo Use "CREATE EXTENSION multicenter" to load this file. \quit

COMMENT ON SCHEMA multicenter IS 'Active-active replication between centers: functions and views; the tables are private.';

-- Roles belong to the whole cluster: another database may have made them.
DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['multicenter_admin', 'multicenter_monitor',
									 'multicenter_conflicts', 'multicenter_auditor', 'multicenter_peer'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
		END IF;
	END LOOP;
END $$;

GRANT multicenter_monitor TO pg_monitor;
GRANT multicenter_monitor, multicenter_conflicts TO multicenter_admin;
-- Everybody may look for conflicts of his tables; the rest is granted one by one.
GRANT USAGE ON SCHEMA multicenter TO PUBLIC;
