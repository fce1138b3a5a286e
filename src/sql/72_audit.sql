-- The audit of access between centers.  src/state/audit.c knows the order of
-- the columns.

CREATE TABLE multicenter.audit_segment (
	segment smallint PRIMARY KEY,
	since timestamptz,
	until timestamptz
);
COMMENT ON TABLE multicenter.audit_segment IS 'From when to when each segment of the audit was written to; local to this center.';
INSERT INTO multicenter.audit_segment (segment, since)
SELECT n, CASE n WHEN 0 THEN pg_catalog.now() END FROM pg_catalog.generate_series(0, 9) AS n;

-- kind: rows (a minute of them, or a part of one), key, event.  peer_name: when
-- it was written, because the audit outlives the membership in a group.
CREATE TABLE multicenter.audit_log (
	segment smallint NOT NULL,
	at timestamptz NOT NULL,
	kind text NOT NULL,
	direction text NOT NULL,
	peer_id integer,
	schema_name text,
	table_name text,
	transactions bigint,
	inserts bigint,
	updates bigint,
	deletes bigint,
	truncates bigint,
	copied bigint,
	operation text,
	key jsonb,
	old_key jsonb,
	version timestamptz,
	remote_xid bigint,
	remote_lsn pg_lsn,
	user_name text,
	address text,
	detail text,
	peer_name text
) PARTITION BY LIST (segment);
COMMENT ON TABLE multicenter.audit_log IS 'Access between centers; see the views audit_summary, audit_keys and audit_connections.';
CREATE INDEX audit_log_at ON multicenter.audit_log USING brin (at);

-- What transactions have received, as they write it, and what was sent.  One of
-- the two is written to while the manager summarizes the other.
CREATE TABLE multicenter.audit_raw_0 (
	at timestamptz NOT NULL,
	direction text NOT NULL,
	peer_id integer NOT NULL,
	schema_name text,
	table_name text,
	transactions bigint NOT NULL,
	inserts bigint NOT NULL,
	updates bigint NOT NULL,
	deletes bigint NOT NULL,
	truncates bigint NOT NULL,
	copied bigint NOT NULL,
	peer_name text
) WITH (autovacuum_enabled = off);
COMMENT ON TABLE multicenter.audit_raw_0 IS 'Rows that were sent and received in the last minute, by transaction; local to this center.';
CREATE TABLE multicenter.audit_raw_1 (LIKE multicenter.audit_raw_0) WITH (autovacuum_enabled = off);
COMMENT ON TABLE multicenter.audit_raw_1 IS 'As audit_raw_0, which is written to in turns with this one; local to this center.';

-- Whoever may write to all tables, or owns many, still may not write to these.
CREATE FUNCTION multicenter.refuse_audit_change()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION 'the audit of access between centers cannot be changed' USING ERRCODE = 'insufficient_privilege';
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION multicenter.refuse_audit_change() IS
'Trigger function that keeps everybody but superusers from changing the audit. Errors: 42501.';
REVOKE ALL ON FUNCTION multicenter.refuse_audit_change() FROM PUBLIC;

DO $$
DECLARE
	relation text;
BEGIN
	FOR n IN 0 .. 9 LOOP
		EXECUTE pg_catalog.format('CREATE TABLE multicenter.audit_log_%s PARTITION OF multicenter.audit_log FOR VALUES IN (%s) USING heap', n, n);
		EXECUTE pg_catalog.format('COMMENT ON TABLE multicenter.audit_log_%s IS %L', n, 'Segment of multicenter.audit_log.');
	END LOOP;
	FOR relation IN
		SELECT c.relname FROM pg_catalog.pg_class AS c
		WHERE c.relnamespace OPERATOR(pg_catalog.=) 'multicenter'::pg_catalog.regnamespace
			AND c.relkind IN ('r', 'p') AND c.relname::pg_catalog.text OPERATOR(pg_catalog.~) '^audit_'
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON multicenter.%I FROM PUBLIC', relation);
		EXECUTE pg_catalog.format('CREATE TRIGGER refuse_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON multicenter.%I'
			' FOR EACH STATEMENT EXECUTE FUNCTION multicenter.refuse_audit_change()', relation);
		EXECUTE pg_catalog.format('ALTER TABLE multicenter.%I ENABLE ALWAYS TRIGGER refuse_change', relation);
	END LOOP;
END $$;

CREATE VIEW multicenter.audit_summary AS
SELECT r.minute,
	here.center_name AS center,
	r.direction,
	coalesce(r.peer_name, p.center_name)::name AS peer,
	r.schema_name,
	r.table_name,
	r.transactions,
	r.inserts,
	r.updates,
	r.deletes,
	r.truncates,
	r.copied
FROM (
	SELECT date_trunc('minute', l.at) AS minute, l.direction, l.peer_id, l.peer_name, l.schema_name, l.table_name,
		sum(l.transactions)::bigint AS transactions, sum(l.inserts)::bigint AS inserts, sum(l.updates)::bigint AS updates,
		sum(l.deletes)::bigint AS deletes, sum(l.truncates)::bigint AS truncates, sum(l.copied)::bigint AS copied
	FROM (
		SELECT at, direction, peer_id, peer_name, schema_name, table_name, transactions, inserts, updates, deletes, truncates, copied
		FROM multicenter.audit_log WHERE kind = 'rows'
		UNION ALL
		SELECT at, direction, peer_id, peer_name, schema_name, table_name, transactions, inserts, updates, deletes, truncates, copied
		FROM multicenter.audit_raw_0
		UNION ALL
		SELECT at, direction, peer_id, peer_name, schema_name, table_name, transactions, inserts, updates, deletes, truncates, copied
		FROM multicenter.audit_raw_1
	) AS l
	GROUP BY 1, 2, 3, 4, 5, 6
) AS r
	LEFT JOIN multicenter.identity AS i ON true
	LEFT JOIN multicenter.center AS here ON here.center_id = i.center_id
	LEFT JOIN multicenter.center AS p ON p.center_id = r.peer_id;
COMMENT ON VIEW multicenter.audit_summary IS 'Audit: how many rows of which table this center has sent to or received from which other one, by minute.';

CREATE VIEW multicenter.audit_keys AS
SELECT l.at,
	here.center_name AS center,
	coalesce(l.peer_name, p.center_name)::name AS peer,
	l.schema_name,
	l.table_name,
	l.operation,
	l.key,
	l.old_key,
	l.version,
	l.remote_xid,
	l.remote_lsn
FROM multicenter.audit_log AS l
	LEFT JOIN multicenter.identity AS i ON true
	LEFT JOIN multicenter.center AS here ON here.center_id = i.center_id
	LEFT JOIN multicenter.center AS p ON p.center_id = l.peer_id
WHERE l.kind = 'key';
COMMENT ON VIEW multicenter.audit_keys IS 'Audit: each change that this center has received while multicenter.audit was full, with the key of its row.';

CREATE VIEW multicenter.audit_connections AS
SELECT l.at,
	here.center_name AS center,
	l.direction,
	coalesce(l.peer_name, p.center_name)::name AS peer,
	l.operation AS event,
	l.user_name,
	l.address,
	l.detail
FROM multicenter.audit_log AS l
	LEFT JOIN multicenter.identity AS i ON true
	LEFT JOIN multicenter.center AS here ON here.center_id = i.center_id
	LEFT JOIN multicenter.center AS p ON p.center_id = l.peer_id
WHERE l.kind = 'event';
COMMENT ON VIEW multicenter.audit_connections IS 'Audit: when which center was connected, as which user and from where, and when the audit was switched on and off.';

GRANT SELECT ON multicenter.audit_summary, multicenter.audit_keys, multicenter.audit_connections TO multicenter_auditor;
