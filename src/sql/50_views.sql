-- Views: what people read.  They never dial out, never omit a known peer, and
-- show what is not known as null or 'unknown'.  Names in a view are resolved
-- when it is made, and CREATE EXTENSION pins the search_path for that.

CREATE FUNCTION multicenter.link_status(
	OUT peer_id integer, OUT direction text, OUT pid integer, OUT state text,
	OUT stall_reason text, OUT state_since timestamptz, OUT waits_for_lock integer,
	OUT lag interval, OUT lag_basis text, OUT replay_lag_bytes bigint,
	OUT last_message_at timestamptz, OUT last_commit_at timestamptz,
	OUT origin_lsn pg_lsn, OUT sent_lsn pg_lsn, OUT received_lsn pg_lsn,
	OUT flush_lsn pg_lsn, OUT replay_lsn pg_lsn,
	OUT round_trip interval, OUT clock_offset interval, OUT clock_error interval, OUT silent interval,
	OUT bytes_rate double precision, OUT xacts_rate double precision, OUT catchup interval,
	OUT conflict_rate double precision, OUT error_rate double precision,
	OUT xacts bigint, OUT inserts bigint, OUT updates bigint, OUT deletes bigint,
	OUT truncates bigint, OUT ddl bigint, OUT conflicts bigint, OUT quarantined bigint, OUT retries bigint,
	OUT connects bigint, OUT bytes bigint, OUT bytes_raw bigint,
	OUT last_error text, OUT last_error_sqlstate text, OUT last_error_relation text,
	OUT last_error_lsn pg_lsn, OUT last_error_at timestamptz, OUT stats_reset timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_link_status' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION multicenter.link_status() IS
'What this server''s shared memory knows of each link of this database: one row per peer and direction; the source of the views lag and stat_links. Null where something is not known. Rates are per second, those of conflicts and errors per minute; waits_for_lock is the process that applies, if it waits for a lock; silent (in) is how long the peer was not heard of, 0 if it is there.';
REVOKE ALL ON FUNCTION multicenter.link_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.link_status() TO multicenter_monitor;

CREATE FUNCTION multicenter.link_samples(
	OUT ts timestamptz, OUT peer_id integer, OUT direction text, OUT lag interval,
	OUT replay_lag_bytes bigint, OUT state text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_link_samples' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 14400;
COMMENT ON FUNCTION multicenter.link_samples() IS
'One sample a second of each link, for the last hour; the source of the view lag_history.';
REVOKE ALL ON FUNCTION multicenter.link_samples() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.link_samples() TO multicenter_monitor;

-- PostgreSQL shows processes to members of pg_read_all_stats only.  These are
-- ours, and nothing of what they run is shown.
CREATE FUNCTION multicenter.process_status(
	OUT pid integer, OUT backend_type text, OUT database name, OUT started_at timestamptz,
	OUT state text, OUT wait_event_type text, OUT wait_event text,
	OUT sent_lsn pg_lsn, OUT write_lsn pg_lsn, OUT flush_lsn pg_lsn, OUT replay_lsn pg_lsn,
	OUT replay_lag interval, OUT reply_time timestamptz)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.pid, a.backend_type, a.datname, a.backend_start, a.state, a.wait_event_type, a.wait_event,
		w.sent_lsn, w.write_lsn, w.flush_lsn, w.replay_lsn, w.replay_lag, w.reply_time
	FROM pg_stat_activity AS a LEFT JOIN pg_stat_replication AS w ON w.pid = a.pid
	WHERE (a.backend_type LIKE 'multicenter %' AND (a.datname IS NULL OR a.datname = current_database()))
		OR a.pid IN (SELECT r.active_pid FROM pg_replication_slots AS r
					 WHERE r.plugin = 'multicenter' AND r.database = current_database());
$$;
COMMENT ON FUNCTION multicenter.process_status() IS
'What PostgreSQL knows of our processes that serve this database, and of the walsenders of its links; the source of the view workers.';
REVOKE ALL ON FUNCTION multicenter.process_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.process_status() TO multicenter_monitor;

CREATE FUNCTION multicenter.table_route(relation regclass) RETURNS text
AS 'MODULE_PATHNAME', 'mc_table_route' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.table_route(regclass) IS
'How a table is replicated: ''keyed'' (by primary key or identity index), ''full'' (REPLICA IDENTITY FULL), ''insert_only'' (no usable replica identity) or ''none''.';
REVOKE ALL ON FUNCTION multicenter.table_route(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.table_route(regclass) TO multicenter_monitor;

CREATE VIEW multicenter.centers AS
SELECT c.center_name,
	c.center_id,
	c.site,
	c.kind,
	c.state,
	c.center_id = i.center_id AS is_local,
	false AS fenced,
	c.epoch,
	c.server_version,
	c.extension_version,
	c.dsn,
	c.joined_at
FROM multicenter.center c CROSS JOIN multicenter.identity i
ORDER BY c.center_id;
COMMENT ON VIEW multicenter.centers IS 'Members of the group, those that have parted included.  dsn holds no password: setup functions refuse one.';

CREATE VIEW multicenter.lag AS
-- LIMIT: the planner would think of many centers here, and compile the query.
WITH link AS (
	SELECT c.center_name AS peer,
		d.direction,
		s.state, s.stall_reason, s.state_since, s.waits_for_lock, s.lag, s.lag_basis, s.replay_lag_bytes,
		s.last_message_at, s.last_commit_at, s.origin_lsn, s.sent_lsn, s.received_lsn, s.flush_lsn, s.replay_lsn,
		s.round_trip, s.clock_offset, s.clock_error, s.bytes_rate, s.xacts_rate, s.catchup,
		-- Shared memory forgets with the server; the table link does not.
		CASE d.direction WHEN 'in' THEN l.heard_ts ELSE l.confirmed_ts END AS kept_ts,
		coalesce(CASE d.direction WHEN 'in' THEN l.paused_in ELSE l.paused_out END, false) AS paused,
		r.slot_name, r.restart_lsn, r.confirmed_flush_lsn, r.wal_status,
		w.sent_lsn AS walsender_sent, w.write_lsn AS walsender_write, w.replay_lsn AS walsender_replay,
		CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS wal_lsn
	FROM (SELECT * FROM multicenter.identity LIMIT 1) i
		JOIN multicenter.center c ON c.center_id <> i.center_id AND c.state <> 'parted'
		CROSS JOIN (VALUES ('in'), ('out')) d(direction)
		LEFT JOIN multicenter.link_status() s ON s.peer_id = c.center_id AND s.direction = d.direction
		LEFT JOIN multicenter.link l ON l.peer_id = c.center_id
		LEFT JOIN pg_replication_slots r
			ON d.direction = 'out' AND r.slot_name = format('multicenter_%s_%s', i.database_oid, c.center_id)::name
		LEFT JOIN multicenter.process_status() w ON d.direction = 'out' AND w.pid = r.active_pid
), judged AS (
	SELECT link.*,
		CASE
			WHEN paused THEN 'paused'
			WHEN state IS NOT NULL THEN state
			WHEN kept_ts IS NULL THEN 'never_connected'
			ELSE 'disconnected'
		END AS shown_state,
		CASE WHEN lag IS NULL AND kept_ts IS NOT NULL THEN greatest(clock_timestamp() - kept_ts, interval '1 us') ELSE lag END AS shown_lag
	FROM link
)
SELECT peer,
	direction,
	shown_state AS state,
	CASE
		WHEN paused THEN 'paused by link_pause()'
		WHEN direction = 'out' AND wal_status = 'lost'
			THEN format('replication slot "%s" is lost: WAL that center "%s" needs was removed; part it from the group and join it again', slot_name, peer)
		WHEN direction = 'out' AND slot_name IS NULL AND state IS NOT NULL AND replay_lsn IS NULL AND kept_ts IS NOT NULL
			THEN format('there is no replication slot for center "%s": part it from the group and join it again', peer)
		WHEN waits_for_lock IS NOT NULL AND pg_blocking_pids(waits_for_lock) <> '{}'
			THEN format('%s; blocked by process %s', stall_reason, array_to_string(pg_blocking_pids(waits_for_lock), ', '))
		WHEN state IS NOT NULL THEN stall_reason
		WHEN pg_is_in_recovery() THEN 'this server is a standby'
		ELSE 'the manager of this center has not started; the server log may say why'
	END AS stall_reason,
	state_since,
	shown_lag AS lag,
	CASE WHEN shown_lag IS NULL THEN 'unknown' ELSE coalesce(nullif(lag_basis, 'unknown'), 'heartbeat') END AS lag_basis,
	replay_lag_bytes,
	-- How much the peer has written is known only while it tells us.
	CASE
		WHEN direction = 'out' THEN pg_wal_lsn_diff(origin_lsn, walsender_sent)::bigint
		WHEN replay_lag_bytes IS NOT NULL THEN greatest(pg_wal_lsn_diff(origin_lsn, received_lsn)::bigint, 0)
	END AS sent_lag_bytes,
	CASE
		WHEN direction = 'out' THEN pg_wal_lsn_diff(origin_lsn, confirmed_flush_lsn)::bigint
		WHEN replay_lag_bytes IS NOT NULL THEN greatest(pg_wal_lsn_diff(origin_lsn, flush_lsn)::bigint, 0)
	END AS flush_lag_bytes,
	CASE WHEN direction = 'out' THEN pg_wal_lsn_diff(wal_lsn, restart_lsn)::bigint END AS retained_wal_bytes,
	CASE WHEN direction = 'in' AND replay_lag_bytes IS NOT NULL
		THEN greatest(pg_wal_lsn_diff(received_lsn, replay_lsn)::bigint, 0) END AS apply_queue_bytes,
	origin_lsn,
	CASE direction WHEN 'out' THEN coalesce(walsender_sent, sent_lsn) ELSE sent_lsn END AS sent_lsn,
	CASE direction WHEN 'out' THEN walsender_write ELSE received_lsn END AS received_lsn,
	CASE direction WHEN 'out' THEN confirmed_flush_lsn ELSE flush_lsn END AS flush_lsn,
	CASE direction WHEN 'out' THEN coalesce(walsender_replay, confirmed_flush_lsn) ELSE replay_lsn END AS replay_lsn,
	last_message_at,
	last_commit_at,
	round_trip,
	clock_offset,
	round(bytes_rate)::bigint AS apply_rate_bytes,
	xacts_rate AS apply_rate_xacts,
	catchup AS catchup_interval,
	CASE
		WHEN shown_lag IS NULL THEN 'unknown'
		WHEN shown_lag >= t.critical THEN 'critical'
		WHEN shown_lag >= t.warn OR shown_state NOT IN ('streaming', 'catching_up', 'idle') THEN 'warning'
		WHEN abs(extract(epoch FROM clock_offset)) > extract(epoch FROM current_setting('multicenter.max_clock_skew')::interval) THEN 'warning'
		ELSE 'ok'
	END AS status,
	clock_error
FROM judged j
	CROSS JOIN (SELECT nullif(warn_at, 'off')::interval AS warn, nullif(critical_at, 'off')::interval AS critical
				FROM multicenter.thresholds WHERE check_name = 'sync_lag' LIMIT 1) t
ORDER BY peer, direction;
COMMENT ON VIEW multicenter.lag IS 'Lag of every link, in both directions, a dead peer''s included: there it grows.';

CREATE VIEW multicenter.lag_history AS
SELECT s.ts,
	c.center_name AS peer,
	s.direction,
	s.lag,
	s.replay_lag_bytes,
	s.state
FROM multicenter.link_samples() s
	JOIN multicenter.center c ON c.center_id = s.peer_id AND c.state <> 'parted';
COMMENT ON VIEW multicenter.lag_history IS 'Lag and state of every link in the last hour, one sample a second, since the server was started.';

CREATE VIEW multicenter.stat_links AS
SELECT c.center_name AS peer,
	d.direction,
	s.xacts,
	s.inserts, s.updates, s.deletes, s.truncates, s.ddl,
	s.conflicts,
	s.quarantined,
	s.retries,
	s.bytes AS bytes_sent,
	s.bytes_raw,
	s.last_error, s.last_error_sqlstate, s.last_error_relation, s.last_error_lsn, s.last_error_at,
	s.connects,
	s.stats_reset
FROM (SELECT * FROM multicenter.identity LIMIT 1) i
	JOIN multicenter.center c ON c.center_id <> i.center_id
		AND c.state <> 'parted'
	CROSS JOIN (VALUES ('in'), ('out')) d(direction)
	LEFT JOIN multicenter.link_status() s
		ON s.peer_id = c.center_id AND s.direction = d.direction
ORDER BY 1, 2;
COMMENT ON VIEW multicenter.stat_links IS 'What each link has carried since stats_reset, and its last error.';

CREATE FUNCTION multicenter.link_conflicts(
	OUT peer_id integer, OUT conflict_type text, OUT n bigint, OUT stats_reset timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_link_conflicts' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION multicenter.link_conflicts() IS
'Conflicts counted by peer and type; the source of the view stat_conflicts.';
REVOKE ALL ON FUNCTION multicenter.link_conflicts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.link_conflicts() TO multicenter_monitor;

CREATE VIEW multicenter.stat_conflicts AS
SELECT c.center_name AS peer, s.conflict_type, s.n, s.stats_reset
FROM multicenter.link_conflicts() s
	JOIN multicenter.center c ON c.center_id = s.peer_id AND c.state <> 'parted'
ORDER BY 1, 2;
COMMENT ON VIEW multicenter.stat_conflicts IS 'Conflicts recorded with changes of each peer since stats_reset, by type; types that have not occurred are left out.';

CREATE FUNCTION multicenter.internal_stat_reset(peer_id integer) RETURNS void
AS 'MODULE_PATHNAME', 'mc_stat_reset' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION multicenter.internal_stat_reset(integer) IS
'Internal. Count the links with a peer anew; 0: with all of them.';
REVOKE ALL ON FUNCTION multicenter.internal_stat_reset(integer) FROM PUBLIC;

CREATE FUNCTION multicenter.stat_reset(peer name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id integer := 0;
BEGIN
	IF peer IS NOT NULL THEN
		SELECT c.center_id INTO id FROM multicenter.center c WHERE c.center_name = peer AND c.state <> 'parted';
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no center "%"', peer USING ERRCODE = 'undefined_object',
				HINT = 'See the view multicenter.centers.';
		END IF;
	END IF;
	PERFORM multicenter.internal_stat_reset(id);
END $$;
COMMENT ON FUNCTION multicenter.stat_reset(name) IS
'Count in the view stat_links anew, from zero; last errors stay. peer: name of a center, null for all. Errors: 42704 there is no such center.';
REVOKE ALL ON FUNCTION multicenter.stat_reset(name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.stat_reset(name) TO multicenter_admin;

CREATE FUNCTION multicenter.applier_status(
	OUT peer_id integer, OUT pid integer, OUT queued integer, OUT xacts bigint, OUT waits bigint, OUT redone bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_applier_status' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.applier_status() IS
'Internal: the appliers of links, as shared memory has them.';

REVOKE ALL ON FUNCTION multicenter.applier_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.applier_status() TO multicenter_monitor;

CREATE VIEW multicenter.workers AS
SELECT regexp_replace(a.backend_type, '^multicenter ', '') AS role,
	a.pid,
	a.database,
	c.center_name AS peer,
	a.started_at,
	a.state,
	a.wait_event_type,
	a.wait_event,
	p.queued,
	p.xacts,
	p.waits,
	p.redone
FROM multicenter.process_status() a
	LEFT JOIN multicenter.link_status() s ON s.pid = a.pid
	LEFT JOIN multicenter.applier_status() p ON p.pid = a.pid
	LEFT JOIN multicenter.center c ON c.center_id = coalesce(s.peer_id, p.peer_id)
ORDER BY 1, 2;
COMMENT ON VIEW multicenter.workers IS 'Processes of multicenter that serve this database, and the walsenders of its links. Of an applier also: transactions that it has to apply (queued) and that it has applied (xacts), how often it has waited for the commit of one before (waits), and transactions that it had to apply again, alone (redone).';

CREATE VIEW multicenter.tables AS
SELECT t.relation,
	t.schema_name,
	t.table_name,
	CASE t.relreplident WHEN 'd' THEN 'default' WHEN 'i' THEN 'index' WHEN 'f' THEN 'full' ELSE 'nothing' END AS replica_identity,
	CASE WHEN t.route = 'none' THEN '{}'::name[] ELSE '{default}'::name[] END AS sets,
	CASE t.route
		WHEN 'none' THEN '{}'::text[]
		WHEN 'insert_only' THEN '{insert,truncate}'::text[]
		ELSE '{insert,update,delete,truncate}'::text[]
	END AS actions,
	CASE t.route
		WHEN 'none' THEN 'not replicated: unlogged, foreign, or part of an extension'
		WHEN 'insert_only' THEN 'no usable replica identity: UPDATE and DELETE are refused'
	END AS problem
FROM (
	SELECT c.oid::regclass AS relation, n.nspname AS schema_name, c.relname AS table_name,
		c.relreplident, multicenter.table_route(c.oid) AS route
	FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'f')
		AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'multicenter')
		AND n.nspname NOT LIKE 'pg\_%'
) t
ORDER BY 2, 3;
COMMENT ON VIEW multicenter.tables IS 'Tables of this database and what of each is replicated.';

-- Everybody may ask for conflicts of tables that he may read as a whole, be it
-- through a table that they are partitions of.
CREATE VIEW multicenter.conflicts WITH (security_barrier) AS
SELECT h.conflict_id,
	h.detected_at,
	here.center_name AS center,
	p.center_name AS peer,
	h.conflict_type,
	h.resolver,
	h.resolution,
	h.relation::regclass AS relation,
	n.nspname AS schema_name,
	c.relname AS table_name,
	h.index_name::name AS index_name,
	h.key,
	h.local_row,
	h.remote_row,
	h.result_row,
	lc.center_name AS local_center,
	h.local_version,
	rc.center_name AS remote_center,
	h.remote_version,
	h.remote_lsn,
	h.remote_xid,
	h.policy_epoch,
	h.reviewed_at,
	h.override_of,
	h.error_message
FROM multicenter.conflict_history h
	LEFT JOIN multicenter.identity i ON true
	LEFT JOIN multicenter.center here ON here.center_id = i.center_id
	LEFT JOIN multicenter.center p ON p.center_id = h.peer_id
	LEFT JOIN multicenter.center lc ON lc.center_id = h.local_center_id
	LEFT JOIN multicenter.center rc ON rc.center_id = h.remote_center_id
	LEFT JOIN pg_catalog.pg_class c ON c.oid = h.relation
	LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE CASE
	WHEN (SELECT pg_has_role('multicenter_conflicts', 'USAGE')) THEN true
	WHEN has_table_privilege(h.relation, 'SELECT') AND NOT row_security_active(h.relation) THEN true
	ELSE EXISTS (SELECT FROM pg_partition_ancestors(h.relation) AS a(relation)
		WHERE has_table_privilege(a.relation, 'SELECT') AND NOT row_security_active(a.relation))
END;
COMMENT ON VIEW multicenter.conflicts IS 'Conflicts decided at this center, with both rows; the loser is never lost. A user sees those of tables that he may read, the role multicenter_conflicts all.';

CREATE FUNCTION multicenter.policy_status(
	OUT relation regclass, OUT conflict_type text, OUT resolver text, OUT handler text, OUT options jsonb,
	OUT source text, OUT epoch bigint, OUT set_by text, OUT set_at timestamptz,
	OUT family text, OUT in_effect boolean, OUT waits_for name[], OUT problem text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
	WITH epoch AS MATERIALIZED (
		SELECT multicenter.internal_policy_newest() AS newest, multicenter.internal_policy_own_epoch() AS own
	), policy AS MATERIALIZED (
		SELECT p.*, p.epoch IN (SELECT o.epoch FROM epoch oe, multicenter.internal_policy_at(oe.own) o) AS in_effect
		FROM epoch e, multicenter.internal_policy_at(e.newest) p
		WHERE p.resolver IS NOT NULL
	), tab AS (
		SELECT NULL::oid AS oid, NULL::text AS route
		UNION ALL
		SELECT t.oid, t.route
		FROM (SELECT c.oid, multicenter.table_route(c.oid) AS route
			  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			  WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'multicenter')
				AND n.nspname NOT LIKE 'pg\_%') t
		WHERE t.route <> 'none'
	), relevant AS (
		-- A table, then what it is a partition of, the nearest first.
		SELECT tab.oid, 0 AS distance, tab.oid AS named FROM tab WHERE tab.oid IS NOT NULL
		UNION ALL
		SELECT tab.oid, a.distance, a.relid FROM tab, pg_catalog.pg_partition_ancestors(tab.oid) WITH ORDINALITY a(relid, distance)
		WHERE a.relid <> tab.oid
	), merged AS MATERIALIZED (
		-- Where columns are merged nothing else decides between rows.
		SELECT DISTINCT r.oid
		FROM relevant r
			JOIN pg_catalog.pg_class c ON c.oid = r.named
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN multicenter.column_policy m ON m.schema_name = n.nspname AND m.table_name = c.relname
	), own AS (
		SELECT DISTINCT ON (r.oid, p.family) r.oid, p.*
		FROM relevant r
			JOIN pg_catalog.pg_class c ON c.oid = r.named
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN policy p ON p.schema_name = n.nspname AND p.table_name = c.relname
		ORDER BY r.oid, p.family, r.distance
	)
	(SELECT tab.oid::regclass AS relation,
		y.conflict_type,
		coalesce(o.resolver, d.resolver, CASE WHEN m.oid IS NOT NULL AND y.family IN ('row', 'delete', 'missing') THEN 'column_merge'
			WHEN y.family <> 'apply' THEN 'last_update_wins'
			WHEN current_setting('multicenter.on_apply_error') = 'stop' THEN 'error' ELSE 'quarantine' END) AS resolver,
		CASE WHEN o.resolver IS NULL THEN d.handler ELSE o.handler END AS handler,
		coalesce(o.options, d.options, '{}') AS options,
		CASE WHEN o.resolver IS NOT NULL THEN 'table' WHEN d.resolver IS NOT NULL THEN 'default'
			WHEN m.oid IS NOT NULL AND y.family IN ('row', 'delete', 'missing') THEN 'columns' ELSE 'builtin' END AS source,
		coalesce(o.epoch, d.epoch) AS epoch,
		coalesce(o.set_by, d.set_by) AS set_by,
		coalesce(o.set_at, d.set_at) AS set_at,
		y.family,
		coalesce(o.in_effect, d.in_effect, true) AS in_effect,
		(SELECT array_agg(c.center_name ORDER BY c.center_id)
		 FROM multicenter.center c
		 WHERE c.state <> 'parted' AND c.kind = 'active' AND coalesce(o.epoch, d.epoch) IS NOT NULL
			AND NOT EXISTS (SELECT FROM multicenter.policy_epoch e
							WHERE e.center_id = c.center_id AND e.epoch >= coalesce(o.epoch, d.epoch))) AS waits_for,
		CASE WHEN y.family NOT IN ('row', 'delete') OR coalesce(o.resolver, d.resolver, 'last_update_wins') = 'last_update_wins' THEN NULL
			WHEN tab.route = 'keyed' AND tab.oid IN (SELECT t FROM multicenter.internal_policy_tables(NULL, true) t)
			THEN 'needs REPLICA IDENTITY FULL on every center: set the policy again'
			WHEN tab.oid IN (SELECT t FROM multicenter.internal_policy_tables(NULL, false) t
				WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t AND g.tgfoid = 'multicenter.seen()'::regprocedure AND g.tgenabled <> 'D'))
			THEN 'needs trigger multicenter_seen on every center: set the policy again'
		END AS problem
	FROM tab
		CROSS JOIN multicenter.internal_conflict_types() y
		LEFT JOIN merged m ON m.oid = tab.oid
		LEFT JOIN own o ON o.oid = tab.oid AND o.family = y.family AND (m.oid IS NULL OR y.family IN ('unique', 'apply'))
		LEFT JOIN policy d ON d.schema_name IS NULL AND d.family = y.family AND (m.oid IS NULL OR y.family IN ('unique', 'apply'))
	ORDER BY tab.oid IS NOT NULL, 1, y.item)
	UNION ALL
	SELECT NULL, y.conflict_type, p.resolver, p.handler, p.options, 'table', p.epoch, p.set_by, p.set_at, y.family, p.in_effect, NULL,
		format('is for table %I.%I, which is not here', p.schema_name, p.table_name)
	FROM policy p
		JOIN multicenter.internal_conflict_types() y ON y.family = p.family
	WHERE p.schema_name IS NOT NULL
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
						WHERE n.nspname = p.schema_name AND c.relname = p.table_name);
$$;
COMMENT ON FUNCTION multicenter.policy_status() IS
'Which policy for conflicts holds for each conflict type, as default and for each replicated table; the source of the view conflict_policies.';
REVOKE ALL ON FUNCTION multicenter.policy_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.policy_status() TO multicenter_monitor;

CREATE VIEW multicenter.conflict_policies AS
SELECT relation, conflict_type, resolver, handler, options, source, epoch, set_by, set_at, family, in_effect, waits_for, problem
FROM multicenter.policy_status();
COMMENT ON VIEW multicenter.conflict_policies IS 'Which policy holds for each conflict type, as default (relation is null) and for each replicated table.';

CREATE VIEW multicenter.displaced AS
SELECT n.relation::regclass AS relation,
	n.key,
	n.row_values AS "row",
	n.version,
	c.center_name AS center,
	n.displaced_by,
	n.since
FROM multicenter.key_note n
	LEFT JOIN multicenter.center c ON c.center_id = n.center_id
WHERE n.kind = 'd';
COMMENT ON VIEW multicenter.displaced IS 'Rows that lost a unique key or exclusion constraint to another row, and are kept until that one goes.';

CREATE VIEW multicenter.siblings AS
SELECT n.relation::regclass AS relation,
	n.key,
	n.row_values AS "row",
	n.row_values IS NULL AS deleted,
	n.version,
	c.center_name AS center,
	n.since
FROM multicenter.key_note n
	LEFT JOIN multicenter.center c ON c.center_id = n.center_id
WHERE n.kind = 's';
COMMENT ON VIEW multicenter.siblings IS 'Concurrent versions of rows between which a policy has decided, at most one of each center; kept until a write has seen them all, or every center has.';

CREATE VIEW multicenter.quarantine AS
SELECT q.quarantine_id,
	c.center_name AS peer,
	q.remote_xid,
	q.remote_lsn,
	q.version,
	q.relation::regclass AS relation,
	q.operation,
	q.key,
	q.new_row,
	NULL::text AS ddl,
	q.error_message,
	q.error_sqlstate,
	q.attempts,
	q.first_at,
	q.last_at,
	q.waits_for,
	CASE WHEN q.waits_for IN ('retry', 'predecessor') THEN
		(SELECT count(*) FROM multicenter.quarantine_entry b
		WHERE b.waits_for = 'predecessor' AND b.relation = q.relation AND b.hash = q.hash AND b.key = q.key
			AND b.quarantine_id > q.quarantine_id)
	ELSE 0 END AS blocks
FROM multicenter.quarantine_entry q
	LEFT JOIN multicenter.center c ON c.center_id = q.peer_id;
COMMENT ON VIEW multicenter.quarantine IS 'Changes of peers that cannot be completed or decided yet: each waits for its causes (cause), for the whole row from its author (refresh), or for a decision (decision).';

CREATE FUNCTION multicenter.quarantine_retry(quarantine_id bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH retried AS (
		UPDATE multicenter.quarantine_entry q
		SET attempts = 0, waits_for = CASE q.waits_for WHEN 'refresh' THEN 'cause' ELSE q.waits_for END
		WHERE $1 IS NULL OR q.quarantine_id = $1
		RETURNING 1)
	SELECT count(*) FROM retried
$$;
COMMENT ON FUNCTION multicenter.quarantine_retry(bigint) IS
'Try a change in quarantine again at once, and ask its author for the row once more if it waits for that. quarantine_id: from the view quarantine, null for all. Returns how many are tried.';
REVOKE ALL ON FUNCTION multicenter.quarantine_retry(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.quarantine_retry(bigint) TO multicenter_admin;

CREATE FUNCTION multicenter.quarantine_discard(quarantine_id bigint, reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	entry multicenter.quarantine_entry;
BEGIN
	IF trim(reason) = '' THEN
		RAISE EXCEPTION 'a change is not discarded without a reason' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	DELETE FROM multicenter.quarantine_entry q WHERE q.quarantine_id = quarantine_discard.quarantine_id RETURNING * INTO entry;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no change % in quarantine', quarantine_id USING ERRCODE = 'no_data_found',
			HINT = 'It may have been completed meanwhile; see the view multicenter.quarantine.';
	END IF;
	-- The history says who did it and why: nothing leaves without a trace.
	INSERT INTO multicenter.conflict_history (peer_id, conflict_type, resolver, resolution, relation, key,
		remote_row, remote_center_id, remote_version, remote_lsn, remote_xid, error_message)
	VALUES (entry.peer_id, 'apply_error', format('discarded by %s: %s', session_user, reason), 'skip', entry.relation, entry.key,
		entry.new_row::json, entry.peer_id, entry.version, entry.remote_lsn, entry.remote_xid, entry.error_message);
END $$;
COMMENT ON FUNCTION multicenter.quarantine_discard(bigint, text) IS
'Give up a change in quarantine at this center; the view conflicts keeps it, with the reason. The centers may differ in this row until it is written again. quarantine_id: from the view quarantine. Errors: P0002 there is no such change; 22023 no reason is given.';
REVOKE ALL ON FUNCTION multicenter.quarantine_discard(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.quarantine_discard(bigint, text) TO multicenter_admin;

CREATE VIEW multicenter.conflict_summary AS
SELECT p.center_name AS peer,
	h.relation::regclass AS relation,
	h.conflict_type,
	h.resolution,
	count(*) AS n,
	max(h.detected_at) AS last_at
FROM multicenter.conflict_history h
	LEFT JOIN multicenter.center p ON p.center_id = h.peer_id
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4;
COMMENT ON VIEW multicenter.conflict_summary IS 'Conflicts counted by peer, table and outcome; no row data.';

CREATE FUNCTION multicenter.clock_status(
	OUT ready boolean, OUT floor timestamptz, OUT stamped bigint, OUT waits bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_clock_status_row' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION multicenter.clock_status() IS
'What shared memory knows of the clock of this server; the source of the view clock.';
REVOKE ALL ON FUNCTION multicenter.clock_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.clock_status() TO multicenter_monitor;

CREATE VIEW multicenter.clock AS
SELECT s.ready,
	s.floor,
	-- How long local commits will be stamped forward yet.
	greatest(s.floor - clock_timestamp(), interval '0') AS ahead,
	s.stamped,
	s.waits
FROM multicenter.clock_status() s;
COMMENT ON VIEW multicenter.clock IS 'The clock of this server: the floor that commits are stamped past.';

CREATE FUNCTION multicenter.horizon_status(
	OUT horizon_xid xid, OUT horizon_ts timestamptz, OUT horizon_at timestamptz,
	OUT frontier timestamptz, OUT forgotten_until timestamptz, OUT slowest_peer_id integer)
RETURNS record
AS 'MODULE_PATHNAME', 'mc_horizon_status' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION multicenter.horizon_status() IS
'What shared memory knows of the dead rows that are kept; the source of the view horizon. Null where nothing is known.';
REVOKE ALL ON FUNCTION multicenter.horizon_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.horizon_status() TO multicenter_monitor;

CREATE VIEW multicenter.horizon AS
SELECT here.center_name AS center,
	h.horizon_xid,
	clock_timestamp() - h.horizon_at AS age,
	h.frontier,
	CASE WHEN h.horizon_at < clock_timestamp() - interval '15 s' THEN p.center_name END AS waits_for,
	CASE
		WHEN h.horizon_at IS NULL THEN 'the manager of this center has not started'
		WHEN h.horizon_at >= clock_timestamp() - interval '15 s' THEN NULL
		WHEN EXISTS (SELECT FROM pg_prepared_xacts) AND h.frontier > clock_timestamp() - interval '15 s'
			THEN 'a prepared transaction'
		WHEN h.frontier > clock_timestamp() - interval '15 s' THEN 'a long transaction'
		ELSE format('center %s has not told for this long that it commits nothing older', p.center_name)
	END AS reason,
	h.forgotten_until,
	coalesce(h.forgotten_until > h.frontier OR (h.forgotten_until IS NOT NULL AND h.frontier IS NULL), false) AS retention_ended,
	(SELECT min(k.floor) FROM multicenter.kept_wal k) AS deletes_kept_from,
	(SELECT sum(s.n_dead_tup)::bigint FROM pg_stat_user_tables s) AS dead_rows,
	(SELECT count(*) FROM multicenter.key_note) AS notes
FROM multicenter.identity i
	CROSS JOIN multicenter.horizon_status() h
	LEFT JOIN multicenter.center here ON here.center_id = i.center_id
	LEFT JOIN multicenter.center p ON p.center_id = h.slowest_peer_id;
COMMENT ON VIEW multicenter.horizon IS 'From when on this center keeps dead rows, to decide on changes that are still under way; why that is long ago; and what it costs.';

GRANT SELECT ON multicenter.centers, multicenter.lag, multicenter.lag_history, multicenter.stat_links, multicenter.stat_conflicts, multicenter.workers,
	multicenter.tables, multicenter.conflict_policies, multicenter.conflict_summary, multicenter.horizon,
	multicenter.clock TO multicenter_monitor;
GRANT SELECT ON multicenter.displaced, multicenter.siblings, multicenter.quarantine TO multicenter_conflicts;
GRANT SELECT ON multicenter.conflicts TO PUBLIC;
