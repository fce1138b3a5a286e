-- Configuration: what is missing, with the line that adds it.

CREATE FUNCTION multicenter.check_setup(
	peer_dsn text DEFAULT NULL,
	OUT check_name text, OUT status text, OUT object text, OUT problem text, OUT fix text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_check_setup' LANGUAGE C VOLATILE CALLED ON NULL INPUT;
COMMENT ON FUNCTION multicenter.check_setup(text) IS
'What keeps this database from being a center (status ''error''), or would surprise later (''warning''), each with the line for postgresql.conf or the SQL that corrects it. Works before anything is configured. peer_dsn: also whether this database could join through that peer; members of multicenter_admin only.';
REVOKE ALL ON FUNCTION multicenter.check_setup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.check_setup(text) TO multicenter_admin, multicenter_monitor;
