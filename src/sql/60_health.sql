-- Health: what is compared with thresholds, since when it is so, and what to do.

CREATE FUNCTION multicenter.internal_check_since(check_name text, object text, status text)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'mc_check_since' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION multicenter.internal_check_since(text, text, text) IS
'Internal. Since when a check has had this status, as far as somebody has looked; the manager looks every two seconds.';
REVOKE ALL ON FUNCTION multicenter.internal_check_since(text, text, text) FROM PUBLIC;

-- In plpgsql, which keeps the plan for the next call: the manager looks often.
CREATE FUNCTION multicenter.health_checks(
	OUT check_name text, OUT object text, OUT status text, OUT value text,
	OUT warn_at text, OUT critical_at text, OUT since timestamptz, OUT message text, OUT hint text,
	OUT value_number double precision, OUT unit text, OUT warn_number double precision, OUT critical_number double precision)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE ROWS 30 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH lag AS MATERIALIZED (
		SELECT * FROM multicenter.lag
	), link AS MATERIALIZED (
		SELECT c.center_name AS peer, s.*
		FROM multicenter.link_status() s JOIN multicenter.center c ON c.center_id = s.peer_id
		WHERE c.state <> 'parted' AND s.direction = 'in'
	), slot AS MATERIALIZED (
		SELECT c.center_name AS peer, coalesce(r.wal_status, 'missing') AS wal_status
		FROM (SELECT * FROM multicenter.identity LIMIT 1) i
			JOIN multicenter.center c ON c.center_id <> i.center_id AND c.state IN ('catching_up', 'ready', 'parting')
			LEFT JOIN pg_replication_slots r ON r.slot_name = format('multicenter_%s_%s', i.database_oid, c.center_id)::name
	), found(check_name, object, number, message, hint) AS (
		SELECT 'sync_lag', format('%s %s', peer, direction), extract(epoch FROM lag)::double precision,
			CASE direction WHEN 'in' THEN format('changes of center "%s" are applied here with a lag of ', peer)
				ELSE format('center "%s" confirms changes of this center with a lag of ', peer) END
				|| coalesce(round(extract(epoch FROM lag), 1) || ' s', 'unknown length')
				|| format(' (%s)', state) || coalesce(': ' || stall_reason, ''),
			'Look at stall_reason in multicenter.lag and at last_error in multicenter.stat_links, here and on the peer.'
		FROM lag
		UNION ALL
		SELECT 'cross_center_latency', peer, extract(epoch FROM round_trip)::double precision,
			CASE WHEN round_trip IS NOT NULL THEN format('the way to center "%s" and back takes %s ms', peer, round(extract(epoch FROM round_trip) * 1000, 1))
				ELSE format('the way to center "%s" and back was not measured lately', peer) END,
			'Look at the network between the two centers, and whether one of them is short of CPU.'
		FROM lag WHERE direction = 'in'
		UNION ALL
		SELECT 'conflict_rate', peer, conflict_rate,
			CASE WHEN conflict_rate IS NOT NULL THEN format('%s conflicts per minute with changes of center "%s"', round(conflict_rate::numeric, 1), peer)
				ELSE format('conflicts with changes of center "%s" were not counted for long enough', peer) END,
			'Look at multicenter.conflict_summary, which tables they are of; let each row be written at one center, or set a policy.'
		FROM link
		UNION ALL
		SELECT 'quarantine', NULL, n, format('%s changes wait in quarantine', CASE WHEN n > 10000 THEN 'more than 10000' ELSE n::text END),
			'Look at error_message and waits_for in multicenter.quarantine; remove the cause, then call multicenter.quarantine_retry().'
		FROM (SELECT count(*) AS n FROM (SELECT FROM multicenter.quarantine_entry LIMIT 10001) q) q
		WHERE EXISTS (SELECT FROM multicenter.identity)
		UNION ALL
		SELECT 'retained_wal', peer, retained_wal_bytes,
			CASE WHEN retained_wal_bytes IS NOT NULL THEN format('%s of WAL are kept for center "%s"', pg_size_pretty(retained_wal_bytes), peer)
				ELSE format('no WAL is kept for center "%s"', peer) END,
			'Let the center come back, or part it from the group: multicenter.center_part(center_name, force => true). max_slot_wal_keep_size limits it, but a center that is away for longer must join again then.'
		FROM lag WHERE direction = 'out'
		UNION ALL
		SELECT 'clock_skew', peer, abs(extract(epoch FROM clock_offset))::double precision,
			CASE WHEN clock_offset IS NOT NULL THEN format('the clock of center "%s" differs from ours by %s s', peer, round(extract(epoch FROM clock_offset), 3))
				ELSE format('the clock of center "%s" is not known', peer) END,
			'Let both servers be synchronized by NTP, and correct the one that is wrong slowly.'
		FROM lag WHERE direction = 'in'
		UNION ALL
		SELECT 'center_availability', link.peer, extract(epoch FROM link.silent)::double precision,
			CASE WHEN link.silent = interval '0' THEN format('center "%s" is there', link.peer)
				ELSE format('center "%s" was not heard of for %s s', link.peer, round(extract(epoch FROM link.silent))) || coalesce(': ' || lag.stall_reason, '') END,
			'Look whether its server and the network run. If it never comes back, part it from the group: multicenter.center_part(center_name, force => true).'
		FROM link JOIN lag ON lag.peer = link.peer AND lag.direction = 'in'
		UNION ALL
		SELECT 'dead_row_retention', NULL, extract(epoch FROM age)::double precision,
			coalesce('dead rows are kept for ' || round(extract(epoch FROM age)) || ' s', 'how long dead rows are kept is not known')
				|| CASE WHEN retention_ended THEN ', and some deletes were let go before every center had seen them' ELSE '' END
				|| coalesce(': ' || reason, ''),
			'Let the center that it waits for come back, or end the long transaction; see multicenter.horizon.'
		FROM multicenter.horizon
		UNION ALL
		SELECT 'slot_wal_status', peer, multicenter.internal_threshold_number('wal_status', wal_status),
			CASE wal_status
				WHEN 'missing' THEN format('there is no replication slot for center "%s"', peer)
				ELSE format('the WAL for center "%s" is %s', peer, wal_status) END,
			CASE WHEN wal_status IN ('lost', 'missing') THEN 'Part that center from the group and let it join again.'
				ELSE 'Raise max_slot_wal_keep_size at once, or let the center come back before the next checkpoint.' END
		FROM slot
		UNION ALL
		SELECT 'error_rate', peer, error_rate,
			CASE WHEN error_rate IS NOT NULL THEN format('%s errors per minute on the link from center "%s"', round(error_rate::numeric, 1), peer)
				ELSE format('errors on the link from center "%s" were not counted for long enough', peer) END
				|| CASE WHEN error_rate > 0 THEN coalesce(', the last one: ' || last_error, '') ELSE '' END,
			'Look at last_error in multicenter.stat_links and at the log of the server.'
		FROM link
		UNION ALL
		SELECT 'center_state', NULL, multicenter.internal_threshold_number('state', c.state), format('this center is %s', replace(c.state, '_', ' ')),
			'A center that joins or parts serves no writes; see multicenter.centers, and the log if it takes long.'
		FROM multicenter.center c JOIN (SELECT * FROM multicenter.identity LIMIT 1) i ON i.center_id = c.center_id
	), threshold AS MATERIALIZED (
		SELECT t.check_name, t.unit, t.warn_at, t.critical_at,
			multicenter.internal_threshold_number(t.unit, t.warn_at)::double precision AS warn,
			multicenter.internal_threshold_number(t.unit, t.critical_at)::double precision AS critical
		FROM multicenter.thresholds t
	), judged AS (
		SELECT f.check_name, f.object, f.number, f.message, f.hint, t.unit, t.warn_at, t.critical_at, t.warn, t.critical,
			CASE
				WHEN f.number IS NULL THEN 'unknown'
				WHEN f.number >= t.critical THEN 'critical'
				WHEN f.number >= t.warn THEN 'warning'
				ELSE 'ok'
			END AS status
		FROM found f JOIN threshold t ON t.check_name = f.check_name
	)
	SELECT j.check_name,
		j.object,
		j.status,
		CASE
			WHEN j.number IS NULL THEN NULL
			WHEN j.unit = 's' THEN round(j.number::numeric, 4)::double precision || ' s'
			WHEN j.unit = 'bytes' THEN pg_size_pretty(j.number::bigint)
			WHEN j.unit = 'wal_status' THEN (ARRAY['reserved', 'extended', 'unreserved', 'lost', 'missing'])[j.number::integer]
			WHEN j.unit = 'state' THEN (ARRAY['ready', 'catching_up', 'parting', 'copying', 'joining'])[j.number::integer]
			ELSE round(j.number::numeric, 2)::double precision || ''
		END,
		j.warn_at,
		j.critical_at,
		multicenter.internal_check_since(j.check_name, coalesce(j.object, ''), j.status),
		j.message,
		CASE WHEN j.status IN ('warning', 'critical') THEN j.hint END,
		j.number,
		j.unit,
		j.warn,
		j.critical
	FROM judged j
	ORDER BY array_position(ARRAY['critical', 'warning', 'unknown', 'ok'], j.status), j.check_name, j.object;
END $$;
COMMENT ON FUNCTION multicenter.health_checks() IS
'All checks of this center, the worst first: what is compared with the thresholds, since when it is so, and what to do. No rows where the database is in no group.';
REVOKE ALL ON FUNCTION multicenter.health_checks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.health_checks() TO multicenter_monitor;

CREATE FUNCTION multicenter.serves(checks text[])
RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT NOT ('center_state  critical' = ANY (checks))
		AND NOT EXISTS (SELECT FROM unnest(checks) AS c(line)
						WHERE format('center_availability %s ok', substring(line FROM '^sync_lag (.*) in critical$')) = ANY (checks));
$$;
COMMENT ON FUNCTION multicenter.serves(text[]) IS
'Should clients be sent here? By the checks, each as "name object status": the center is ready, and not late behind a peer that is there.';
REVOKE ALL ON FUNCTION multicenter.serves(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.serves(text[]) TO multicenter_monitor;

CREATE FUNCTION multicenter.health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	center name := (SELECT c.center_name FROM multicenter.center c JOIN multicenter.identity i ON i.center_id = c.center_id);
	group_name name := (SELECT i.group_name FROM multicenter.identity i);
	checks jsonb;
	worst text;
	here boolean;
BEGIN
	IF center IS NULL THEN
		RETURN jsonb_build_object('status', 'unhealthy', 'center', NULL, 'group', NULL, 'timestamp', clock_timestamp(), 'serving', false,
			'message', 'this database is in no group', 'checks', '{}'::jsonb);
	END IF;
	WITH found AS MATERIALIZED (
		SELECT *, array_position(ARRAY['critical', 'warning', 'unknown', 'ok'], h.status) AS rank FROM multicenter.health_checks() h
	), one AS (
		-- Of each check the object that is worst.
		SELECT DISTINCT ON (f.check_name) f.* FROM found f ORDER BY f.check_name, f.rank, f.value_number DESC NULLS LAST
	)
	SELECT jsonb_object_agg(o.check_name, jsonb_build_object('status', o.status, 'object', o.object,
			'value', CASE WHEN o.unit IN ('wal_status', 'state') THEN to_jsonb(o.value) ELSE to_jsonb(o.value_number) END, 'unit', o.unit,
			'warn', o.warn_at, 'critical', o.critical_at, 'since', o.since, 'message', o.message, 'hint', o.hint)),
		CASE min(o.rank) WHEN 1 THEN 'unhealthy' WHEN 2 THEN 'degraded' ELSE 'healthy' END,
		(SELECT multicenter.serves(array_agg(format('%s %s %s', f.check_name, f.object, f.status))) FROM found f)
	INTO checks, worst, here
	FROM one o;
	RETURN jsonb_build_object('status', worst, 'center', center, 'group', group_name, 'timestamp', clock_timestamp(), 'serving', here, 'checks', checks);
END $$;
COMMENT ON FUNCTION multicenter.health() IS
'Health of this center as JSON: status (healthy; degraded: a check warns; unhealthy: one is critical), whether the center should serve (it is ready, and not late behind a peer that is there), and of each check the worst object, with value, thresholds, since when, message and hint.';
REVOKE ALL ON FUNCTION multicenter.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.health() TO multicenter_monitor;
