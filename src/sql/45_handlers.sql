-- Functions of users that decide conflicts; src/target/handler.c.

CREATE TYPE multicenter.conflict_info AS (
	conflict_type text,
	operation text,
	relation regclass,
	key jsonb,
	local_center name,
	local_version timestamptz,
	remote_center name,
	remote_version timestamptz,
	remote_lsn pg_lsn,
	concurrent boolean,
	constraint_name name
);
COMMENT ON TYPE multicenter.conflict_info IS 'What a conflict handler is told besides the two rows.';

CREATE FUNCTION multicenter.internal_handler_check(relation regclass, handler regprocedure) RETURNS text
AS 'MODULE_PATHNAME', 'mc_sql_internal_handler_check' LANGUAGE C STABLE;
COMMENT ON FUNCTION multicenter.internal_handler_check(regclass, regprocedure) IS
'Form of a conflict handler, typed or jsonb; raises an error if the function cannot be one of this table, or of any if the table is null.';
REVOKE ALL ON FUNCTION multicenter.internal_handler_check(regclass, regprocedure) FROM PUBLIC;

-- With the settings that apply has, on which the texts of values depend.
CREATE FUNCTION multicenter.internal_handler_call(
	relation regclass, handler regprocedure, conflict_type text, operation text, local_row jsonb, remote_row jsonb,
	local_center integer DEFAULT NULL, local_version timestamptz DEFAULT NULL,
	remote_center integer DEFAULT NULL, remote_version timestamptz DEFAULT NULL,
	OUT action text, OUT result_row jsonb, OUT error text)
RETURNS record
AS 'MODULE_PATHNAME', 'mc_sql_internal_handler_call' LANGUAGE C VOLATILE
SET datestyle = 'ISO, YMD' SET intervalstyle = postgres SET timezone = 'UTC' SET bytea_output = hex SET extra_float_digits = 3
SET lc_monetary = 'C' SET lc_numeric = 'C' SET lc_time = 'C';
COMMENT ON FUNCTION multicenter.internal_handler_call(regclass, regprocedure, text, text, jsonb, jsonb, integer, timestamptz, integer, timestamptz) IS
'Calls a conflict handler as apply does, with rows as in the conflict history; the error if it fails. Nothing is written.';
REVOKE ALL ON FUNCTION multicenter.internal_handler_call(regclass, regprocedure, text, text, jsonb, jsonb, integer, timestamptz, integer, timestamptz) FROM PUBLIC;

CREATE FUNCTION multicenter.internal_handler_row(relation regclass, row_values jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'mc_sql_internal_handler_row' LANGUAGE C VOLATILE STRICT
SET datestyle = 'ISO, YMD' SET intervalstyle = postgres SET timezone = 'UTC' SET bytea_output = hex SET extra_float_digits = 3
SET lc_monetary = 'C' SET lc_numeric = 'C' SET lc_time = 'C';
COMMENT ON FUNCTION multicenter.internal_handler_row(regclass, jsonb) IS
'A row of the conflict history as conflict handlers answer with one.';
REVOKE ALL ON FUNCTION multicenter.internal_handler_row(regclass, jsonb) FROM PUBLIC;

CREATE FUNCTION multicenter.internal_handler_probe(relation regclass, handler regprocedure)
RETURNS TABLE (problem text)
AS 'MODULE_PATHNAME', 'mc_sql_internal_handler_probe' LANGUAGE C VOLATILE STRICT
SET datestyle = 'ISO, YMD' SET intervalstyle = postgres SET timezone = 'UTC' SET bytea_output = hex SET extra_float_digits = 3
SET lc_monetary = 'C' SET lc_numeric = 'C' SET lc_time = 'C';
COMMENT ON FUNCTION multicenter.internal_handler_probe(regclass, regprocedure) IS
'Calls a conflict handler with sample rows of the table in different orders, and tells where the answers differ or there is none.';
REVOKE ALL ON FUNCTION multicenter.internal_handler_probe(regclass, regprocedure) FROM PUBLIC;
