-- For programs: where to send clients, and metrics.

CREATE VIEW multicenter.routing AS
WITH checks AS MATERIALIZED (
	SELECT check_name, object, status, value_number FROM multicenter.health_checks()
), here AS (
	SELECT multicenter.serves(array_agg(format('%s %s %s', check_name, object, status))) AS serving,
		bool_or(status IN ('warning', 'critical')) AS degraded
	FROM checks
), judged AS (
	SELECT c.center_name AS peer,
		c.site,
		c.is_local,
		CASE WHEN c.is_local THEN interval '0' ELSE make_interval(secs => w.value_number) END AS round_trip,
		CASE
			WHEN c.is_local AND NOT here.serving THEN 'down'
			WHEN c.is_local AND here.degraded THEN 'degraded'
			WHEN c.is_local THEN 'up'
			WHEN c.state <> 'ready' OR a.status = 'critical' THEN 'down'
			WHEN coalesce(a.status, 'unknown') = 'unknown' THEN 'unknown'
			WHEN a.status = 'warning' OR l.status <> 'ok' OR w.status <> 'ok' THEN 'degraded'
			ELSE 'up'
		END AS status
	FROM multicenter.centers c
		CROSS JOIN here
		LEFT JOIN checks a ON a.check_name = 'center_availability' AND a.object = c.center_name
		LEFT JOIN checks w ON w.check_name = 'cross_center_latency' AND w.object = c.center_name
		LEFT JOIN checks l ON l.check_name = 'sync_lag' AND l.object = c.center_name || ' out'
	WHERE c.state <> 'parted' AND c.kind <> 'witness'
)
SELECT peer,
	site,
	round_trip,
	status,
	-- Half at a way of 10 ms, a tenth at 90 ms; a quarter of that if degraded.
	CASE
		WHEN status IN ('down', 'unknown') THEN 0
		ELSE greatest(1, round(CASE status WHEN 'up' THEN 100 ELSE 25 END * 0.01 / (0.01 + coalesce(extract(epoch FROM round_trip), 0.1))))::integer
	END AS weight,
	is_local
FROM judged
ORDER BY is_local DESC, peer;
COMMENT ON VIEW multicenter.routing IS 'Where to send clients, as this center sees it: all centers, this one first, with the way to them, status and a weight.';
GRANT SELECT ON multicenter.routing TO multicenter_monitor;

CREATE VIEW multicenter.slots AS
SELECT r.slot_name,
	CASE
		WHEN c.center_id IS NOT NULL THEN 'link'
		WHEN r.slot_name LIKE '%\_xmin' THEN 'dead rows'
		WHEN r.slot_name LIKE '%\_kept\__' THEN 'deletes'
		ELSE 'other'
	END AS purpose,
	c.center_name AS peer,
	r.active,
	r.active_pid,
	r.wal_status,
	r.restart_lsn,
	r.confirmed_flush_lsn,
	pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, r.restart_lsn)::bigint AS retained_wal_bytes,
	r.safe_wal_size
FROM (SELECT * FROM multicenter.identity LIMIT 1) i
	JOIN pg_replication_slots r ON r.slot_name LIKE format('multicenter\_%s\_%%', i.database_oid)
	LEFT JOIN multicenter.center c ON r.slot_name = format('multicenter_%s_%s', i.database_oid, c.center_id)::name
ORDER BY r.slot_name;
COMMENT ON VIEW multicenter.slots IS 'Replication slots of this center: what each is for, and how much WAL it keeps.';
GRANT SELECT ON multicenter.slots TO multicenter_monitor;

CREATE FUNCTION multicenter.internal_metric_label(value text)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '"' || replace(replace(replace(coalesce(value, ''), '\', '\\'), '"', '\"'), E'\n', '\n') || '"';
$$;
COMMENT ON FUNCTION multicenter.internal_metric_label(text) IS
'Internal. The value of a label in the exposition format of Prometheus.';
REVOKE ALL ON FUNCTION multicenter.internal_metric_label(text) FROM PUBLIC;

-- In plpgsql, which keeps the plan for the next scrape of the same session.
CREATE FUNCTION multicenter.metrics_text()
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
	here text := multicenter.internal_metric_label((SELECT c.center_name FROM multicenter.center c JOIN multicenter.identity i ON i.center_id = c.center_id));
	metrics text;
BEGIN
	IF here = '""' THEN
		RETURN E'# This database is in no multicenter group.\n';
	END IF;
	WITH checks AS MATERIALIZED (
		SELECT * FROM multicenter.health_checks()
	), link AS MATERIALIZED (
		SELECT format('center=%s,peer=%s,direction="%s"', here, multicenter.internal_metric_label(peer), direction) AS labels, *
		FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction)
	), sample(number, name, kind, help, labels, value) AS (
		SELECT 1, 'center_info', 'gauge', 'Always 1; group, versions.',
			format('center=%s,group=%s,site=%s,extension_version=%s,server_version="%s"', here, multicenter.internal_metric_label(i.group_name),
				multicenter.internal_metric_label(c.site), multicenter.internal_metric_label(c.extension_version), current_setting('server_version_num')), 1::double precision
		FROM multicenter.identity i JOIN multicenter.center c ON c.center_id = i.center_id
		UNION ALL
		SELECT 2, 'health_status', 'gauge', 'Health of this center: 0 healthy, 1 degraded, 2 unhealthy.', format('center=%s', here),
			CASE WHEN bool_or(status = 'critical') THEN 2 WHEN bool_or(status = 'warning') THEN 1 ELSE 0 END
		FROM checks
		UNION ALL
		SELECT 3, 'serving', 'gauge', '1 if clients should be sent to this center.', format('center=%s', here), multicenter.serves(array_agg(format('%s %s %s', check_name, object, status)))::integer
		FROM checks
		UNION ALL
		SELECT 4, 'check_status', 'gauge', 'Status of a check: 0 ok, 1 warning, 2 critical, -1 unknown.',
			format('center=%s,check="%s",object=%s', here, check_name, multicenter.internal_metric_label(object)),
			array_position(ARRAY['unknown', 'ok', 'warning', 'critical'], status) - 2
		FROM checks
		UNION ALL
		SELECT m.number, m.name, 'gauge', m.help, format('center=%s,check="%s",object=%s', here, check_name, multicenter.internal_metric_label(object)), m.value
		FROM checks, LATERAL (VALUES
			(5, 'check_value', 'Value of a check: seconds, bytes, a number, or the rank of a state.', value_number),
			(9, 'check_warn_at', 'From which value on a check warns.', warn_number),
			(10, 'check_critical_at', 'From which value on a check is critical.', critical_number)
		) AS m(number, name, help, value)
		UNION ALL
		SELECT 6, 'group_members', 'gauge', 'Members of the group by state.', format('center=%s,state="%s"', here, state), count(*)
		FROM multicenter.center WHERE state <> 'parted' GROUP BY state
		UNION ALL
		SELECT 7, 'clock_ahead_seconds', 'gauge', 'How long local commits will be stamped with a later time than that of the clock.', format('center=%s', here), extract(epoch FROM ahead)
		FROM multicenter.clock
		UNION ALL
		SELECT 8, 'clock_stamped_total', 'counter', 'Local commits that were stamped with a later time.', format('center=%s', here), stamped FROM multicenter.clock
		UNION ALL
		SELECT 20, 'link_state_current', 'gauge', '1 for the state that the link is in.',
			format('%s,state="%s"', labels, s), (s = state)::integer
		FROM link, unnest(ARRAY['streaming', 'catching_up', 'idle', 'stalled', 'disconnected', 'paused', 'never_connected']) s
		UNION ALL
		SELECT m.number, m.name, m.kind, m.help, link.labels, m.value
		FROM link, LATERAL (VALUES
			(21, 'link_up', 'gauge', '1 if the link is connected and moves.', (state IN ('streaming', 'catching_up', 'idle'))::integer::double precision),
			(22, 'link_lag_seconds', 'gauge', 'Age of the newest change up to which all are applied at the target.', extract(epoch FROM lag)::double precision),
			(23, 'link_replay_lag_bytes', 'gauge', 'WAL of the origin that is not applied at the target yet.', replay_lag_bytes),
			(24, 'link_sent_lag_bytes', 'gauge', 'WAL of the origin that is not sent yet.', sent_lag_bytes),
			(25, 'link_flush_lag_bytes', 'gauge', 'WAL of the origin that is not durable at the target yet.', flush_lag_bytes),
			(26, 'link_retained_wal_bytes', 'gauge', 'WAL that is kept for the peer.', retained_wal_bytes),
			(27, 'link_round_trip_seconds', 'gauge', 'The way to the peer and back.', extract(epoch FROM round_trip)),
			(28, 'link_clock_offset_seconds', 'gauge', 'How far the clock of the peer is ahead.', extract(epoch FROM clock_offset)),
			(29, 'link_catchup_seconds', 'gauge', 'How long it will take to catch up.', extract(epoch FROM catchup_interval)),
			(30, 'link_last_message_timestamp_seconds', 'gauge', 'When the peer was heard of last.', extract(epoch FROM last_message_at)),
			(31, 'link_state_since_timestamp_seconds', 'gauge', 'Since when the link has its state.', extract(epoch FROM state_since)),
			(32, 'link_transactions_total', 'counter', 'Transactions applied (in) or sent (out).', xacts),
			(36, 'link_truncates_total', 'counter', 'TRUNCATEs applied.', truncates),
			(37, 'link_ddl_total', 'counter', 'Schema changes applied.', ddl),
			(38, 'link_conflicts_total', 'counter', 'Conflicts recorded.', conflicts),
			(39, 'link_quarantined_total', 'counter', 'Changes that had to wait in quarantine.', quarantined),
			(40, 'link_errors_total', 'counter', 'Errors of the link, each followed by another attempt.', retries),
			(41, 'link_connects_total', 'counter', 'Streams that were opened.', connects),
			(42, 'link_bytes_total', 'counter', 'Bytes received (in) or sent (out).', bytes_sent),
			(43, 'link_raw_bytes_total', 'counter', 'The same before compression.', bytes_raw)
		) AS m(number, name, kind, help, value)
		UNION ALL
		SELECT 33, 'link_rows_total', 'counter', 'Rows applied.', format('%s,operation="%s"', link.labels, m.operation), m.value
		FROM link, LATERAL (VALUES ('insert', inserts), ('update', updates), ('delete', deletes)) AS m(operation, value)
		UNION ALL
		SELECT 34, 'link_conflicts_by_type_total', 'counter', 'Conflicts recorded, by type.',
			format('center=%s,peer=%s,direction="in",type="%s"', here, multicenter.internal_metric_label(peer), conflict_type), n
		FROM multicenter.stat_conflicts
	), named AS (
		-- What is not known is left out.
		SELECT number, 'multicenter_' || name AS name, kind, help,
			string_agg(format('multicenter_%s{%s} %s', name, labels, value), E'\n' ORDER BY labels COLLATE "C") AS lines
		FROM sample WHERE value IS NOT NULL
		GROUP BY number, name, kind, help
	)
	SELECT string_agg(format(E'# HELP %s %s\n# TYPE %s %s\n%s\n', name, help, name, kind, lines), '' ORDER BY number) INTO metrics FROM named;
	RETURN metrics;
END $$;
COMMENT ON FUNCTION multicenter.metrics_text() IS
'Metrics of this center in the exposition format of Prometheus; what is not known is left out.';
REVOKE ALL ON FUNCTION multicenter.metrics_text() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.metrics_text() TO multicenter_monitor;

-- ---- joins ----

CREATE FUNCTION multicenter.internal_join_status(
	OUT phase text, OUT pid integer, OUT peer name, OUT started_at timestamptz, OUT phase_since timestamptz,
	OUT relation text, OUT tables_total integer, OUT tables_copied integer,
	OUT rows_total bigint, OUT rows_copied bigint, OUT bytes_copied bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_join_status' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION multicenter.internal_join_status() IS
'Internal. What shared memory knows of the join of this database, if there is one.';
REVOKE ALL ON FUNCTION multicenter.internal_join_status() FROM PUBLIC;

CREATE FUNCTION multicenter.join_status(
	OUT phase text, OUT pid integer, OUT peer name, OUT started_at timestamptz, OUT phase_since timestamptz,
	OUT relation text, OUT tables_total integer, OUT tables_copied integer,
	OUT rows_total bigint, OUT rows_copied bigint, OUT bytes_copied bigint, OUT replay_lag_bytes bigint)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
	SELECT coalesce(s.phase, 'catching up'), s.pid, s.peer, coalesce(s.started_at, c.joined_at), s.phase_since,
		s.relation, s.tables_total, s.tables_copied, s.rows_total,
		s.rows_copied + coalesce((SELECT sum(p.tuples_processed)::bigint FROM pg_stat_progress_copy AS p WHERE p.pid = s.pid), 0),
		s.bytes_copied,
		CASE WHEN coalesce(s.phase, 'catching up') = 'catching up' THEN
			(SELECT CASE WHEN bool_and(l.replay_lag_bytes IS NOT NULL) THEN sum(l.replay_lag_bytes)::bigint END
			 FROM multicenter.link_status() AS l WHERE l.direction = 'in') END
	FROM (SELECT) AS one
		LEFT JOIN multicenter.internal_join_status() AS s ON true
		LEFT JOIN (SELECT o.state, o.joined_at FROM multicenter.identity AS i JOIN multicenter.center AS o ON o.center_id = i.center_id) AS c ON true
	WHERE s.phase <> 'catching up' OR c.state = 'catching_up';
$$;
COMMENT ON FUNCTION multicenter.join_status() IS
'How far the join of this center has got; the source of the view join_progress.';
REVOKE ALL ON FUNCTION multicenter.join_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.join_status() TO multicenter_monitor;

CREATE VIEW multicenter.join_progress AS
SELECT phase, peer, started_at, phase_since, pid, relation, tables_total, tables_copied, rows_total, rows_copied, bytes_copied, replay_lag_bytes
FROM multicenter.join_status();
COMMENT ON VIEW multicenter.join_progress IS 'How far the join of this center has got: one row from the call of group_join() until the center is ready.';
GRANT SELECT ON multicenter.join_progress TO multicenter_monitor;

-- ---- tables ----

CREATE FUNCTION multicenter.table_stats(
	OUT peer_id integer, OUT direction text, OUT relation oid, OUT schema_name name, OUT table_name name,
	OUT xacts bigint, OUT inserts bigint, OUT updates bigint, OUT deletes bigint, OUT truncates bigint, OUT last_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_table_stats' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION multicenter.table_stats() IS
'What each link has carried of each table; the source of the view stat_tables.';
REVOKE ALL ON FUNCTION multicenter.table_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.table_stats() TO multicenter_monitor;

CREATE VIEW multicenter.stat_tables AS
SELECT t.relation::regclass AS relation, t.schema_name, t.table_name,
	c.center_name AS peer, t.direction,
	t.xacts, t.inserts, t.updates, t.deletes, t.truncates, t.last_at,
	s.stats_reset
FROM multicenter.table_stats() AS t
	JOIN multicenter.center AS c ON c.center_id = t.peer_id AND c.state <> 'parted'
	LEFT JOIN multicenter.link_status() AS s ON s.peer_id = t.peer_id AND s.direction = t.direction
ORDER BY t.schema_name, t.table_name, c.center_name, t.direction;
COMMENT ON VIEW multicenter.stat_tables IS 'What each link has carried of each table since stats_reset; one row with no name for all tables that found no place in shared memory.';
GRANT SELECT ON multicenter.stat_tables TO multicenter_monitor;
