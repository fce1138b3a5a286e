-- Changes of the schema.

CREATE FUNCTION multicenter.replicate_ddl(command text) RETURNS void
AS 'MODULE_PATHNAME', 'mc_replicate_ddl' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.replicate_ddl(text) IS
'Changes the schema here and, in its place among the changes of rows, on every other center, by a role of the same name and under the same search_path. A failure here undoes everything; a failure at a peer stops that link until it is corrected there.';
REVOKE ALL ON FUNCTION multicenter.replicate_ddl(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.replicate_ddl(text) TO multicenter_admin;

CREATE FUNCTION multicenter.refuse_rewrite() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'mc_refuse_rewrite' LANGUAGE C;
COMMENT ON FUNCTION multicenter.refuse_rewrite() IS
'Event trigger function that keeps replicated tables of a center from being rewritten, which would destroy the versions of their rows.';
REVOKE ALL ON FUNCTION multicenter.refuse_rewrite() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.refuse_rewrite() TO multicenter_admin;

CREATE EVENT TRIGGER multicenter_table_rewrite ON table_rewrite
	EXECUTE FUNCTION multicenter.refuse_rewrite();
ALTER EVENT TRIGGER multicenter_table_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER multicenter_table_rewrite IS 'Keeps the versions of replicated rows: see multicenter.refuse_rewrite().';
