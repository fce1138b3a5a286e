-- Changes of the schema.

CREATE FUNCTION multicenter.replicate_ddl(command text) RETURNS void
AS 'MODULE_PATHNAME', 'mc_replicate_ddl' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.replicate_ddl(text) IS
'Changes the schema here and, in its place among the changes of rows, on every other center, by a role of the same name and under the same search_path. A failure here undoes everything; a failure at a peer stops that link until it is corrected there.';
REVOKE ALL ON FUNCTION multicenter.replicate_ddl(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.replicate_ddl(text) TO multicenter_admin;

-- Fences around tables that are going to be rewritten; src/control/rewrite.c.
CREATE TABLE multicenter.table_fence (
	coordinator integer NOT NULL,
	token bigint NOT NULL,
	schema_name text NOT NULL,
	table_name text NOT NULL,
	fenced integer[] NOT NULL DEFAULT '{}',
	drained integer[] NOT NULL DEFAULT '{}',
	announced boolean NOT NULL DEFAULT false,
	PRIMARY KEY (coordinator, token)
);
COMMENT ON TABLE multicenter.table_fence IS 'Tables that no session may write to, because a rewrite is about to run on all centers; local.';
REVOKE ALL ON TABLE multicenter.table_fence FROM PUBLIC;

CREATE FUNCTION multicenter.refuse_rewrite() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'mc_refuse_rewrite' LANGUAGE C;
COMMENT ON FUNCTION multicenter.refuse_rewrite() IS
'Event trigger function that keeps replicated tables of a center from being rewritten but by multicenter.replicate_ddl(), which does so on all centers at once.';
REVOKE ALL ON FUNCTION multicenter.refuse_rewrite() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.refuse_rewrite() TO multicenter_admin;

CREATE EVENT TRIGGER multicenter_table_rewrite ON table_rewrite
	EXECUTE FUNCTION multicenter.refuse_rewrite();
ALTER EVENT TRIGGER multicenter_table_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER multicenter_table_rewrite IS 'Keeps the versions of replicated rows: see multicenter.refuse_rewrite().';
