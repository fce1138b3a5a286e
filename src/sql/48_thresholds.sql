-- What health() compares with: the list of checks, and what was set for them.

CREATE TABLE multicenter.threshold (
	check_name text PRIMARY KEY,
	warn_at text,
	critical_at text
);
COMMENT ON TABLE multicenter.threshold IS 'Thresholds that were set by threshold_set(), null for a default; local to this center.';
REVOKE ALL ON TABLE multicenter.threshold FROM PUBLIC;

-- Numbers of a threshold, so that all checks compare alike: seconds, bytes, a
-- rank, or what it is; null: never.
CREATE FUNCTION multicenter.internal_threshold_number(unit text, setting text)
RETURNS numeric
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN setting IS NULL OR setting = 'off' THEN NULL
		WHEN unit = 's' THEN extract(epoch FROM setting::interval)
		WHEN unit = 'bytes' THEN pg_size_bytes(setting)
		WHEN unit = 'wal_status' THEN array_position(ARRAY['reserved', 'extended', 'unreserved', 'lost', 'missing'], setting)
		WHEN unit = 'state' THEN array_position(ARRAY['ready', 'catching_up', 'parting', 'copying', 'joining'], setting)
		ELSE setting::numeric
	END;
$$;
COMMENT ON FUNCTION multicenter.internal_threshold_number(text, text) IS
'Internal. A threshold as a number: seconds, bytes, a rank among words, or what it is. Null: never.';
REVOKE ALL ON FUNCTION multicenter.internal_threshold_number(text, text) FROM PUBLIC;

CREATE VIEW multicenter.thresholds AS
SELECT c.check_name,
	c.unit,
	coalesce(t.warn_at, c.default_warn) AS warn_at,
	coalesce(t.critical_at, c.default_critical) AS critical_at,
	c.default_warn,
	c.default_critical,
	c.description
FROM (VALUES
	('sync_lag', 's', '60 s', '300 s', 'lag of a link, in each direction'),
	('cross_center_latency', 's', '100 ms', '500 ms', 'the way to a center and back'),
	('conflict_rate', 'per minute', '60', '600', 'conflicts with changes of a center'),
	('quarantine', 'changes', '1', '100', 'changes that wait in quarantine'),
	('retained_wal', 'bytes', '1GB', '10GB', 'WAL that is kept for a center'),
	('clock_skew', 's', current_setting('multicenter.max_clock_skew', true), '60 s', 'difference between the clock of a center and ours'),
	('center_availability', 's', '10 s', '60 s', 'time since a center was heard of, if it is not connected or silent'),
	('dead_row_retention', 's', (extract(epoch FROM current_setting('multicenter.dead_row_retention', true)::interval) / 2)::integer || ' s',
		current_setting('multicenter.dead_row_retention', true), 'how long dead rows are kept from VACUUM already'),
	('slot_wal_status', 'wal_status', 'unreserved', 'lost', 'does the slot for a center have all the WAL that it needs?'),
	('error_rate', 'per minute', '5', '30', 'errors of the link from a center'),
	('center_state', 'state', 'catching_up', 'parting', 'state of this center in its group')
) AS c(check_name, unit, default_warn, default_critical, description)
	LEFT JOIN multicenter.threshold t ON t.check_name = c.check_name;
COMMENT ON VIEW multicenter.thresholds IS 'From which value on a check of health() warns, or is critical.';
GRANT SELECT ON multicenter.thresholds TO multicenter_monitor;

CREATE FUNCTION multicenter.threshold_set(check_name text, warn_at text, critical_at text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	known record;
	warn numeric;
	critical numeric;
BEGIN
	SELECT * INTO known FROM multicenter.thresholds t WHERE t.check_name = threshold_set.check_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no check "%"', check_name USING ERRCODE = 'invalid_parameter_value',
			HINT = format('The checks are %s.', (SELECT string_agg(t.check_name, ', ' ORDER BY t.check_name) FROM multicenter.thresholds t));
	END IF;
	-- An error in the text of a number is no more than that.
	BEGIN
		warn := multicenter.internal_threshold_number(known.unit, coalesce(threshold_set.warn_at, known.default_warn));
		critical := multicenter.internal_threshold_number(known.unit, coalesce(threshold_set.critical_at, known.default_critical));
	EXCEPTION WHEN data_exception OR invalid_parameter_value OR invalid_text_representation THEN
		RAISE EXCEPTION 'invalid threshold for check "%": %', check_name, SQLERRM USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It looks like the default, "%s" and "%s"; "off" is never.', known.default_warn, known.default_critical);
	END;
	IF (warn IS NULL AND coalesce(threshold_set.warn_at, '') NOT IN ('', 'off'))
		OR (critical IS NULL AND coalesce(threshold_set.critical_at, '') NOT IN ('', 'off')) OR warn < 0 OR critical < 0 THEN
		RAISE EXCEPTION 'invalid threshold for check "%"', check_name USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It looks like the default, "%s" and "%s"; "off" is never.', known.default_warn, known.default_critical);
	END IF;
	IF warn > critical THEN
		RAISE EXCEPTION 'check "%" would be critical before it warns', check_name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'critical_at must not be less than warn_at; a null stands for the default.';
	END IF;
	INSERT INTO multicenter.threshold AS t VALUES (threshold_set.check_name, threshold_set.warn_at, threshold_set.critical_at)
	ON CONFLICT ON CONSTRAINT threshold_pkey DO UPDATE SET warn_at = excluded.warn_at, critical_at = excluded.critical_at;
END $$;
COMMENT ON FUNCTION multicenter.threshold_set(text, text, text) IS
'Set from which value on a check of health() warns, and is critical, at this center. check_name: see the view thresholds; warn_at, critical_at: as the defaults there, null for the default, ''off'' for never. Errors: 22023 no such check, or values that do not fit.';
REVOKE ALL ON FUNCTION multicenter.threshold_set(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.threshold_set(text, text, text) TO multicenter_admin;
