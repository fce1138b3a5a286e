-- Membership: what an administrator calls, what centers ask each other
-- (peer_*), and what our own workers call (internal_*).
--
-- All run with the owner's rights on a pinned search_path, because the tables
-- are private.

-- ---- for administrators ----

CREATE FUNCTION multicenter.group_create(group_name name, center_name name, dsn text, site text DEFAULT NULL)
RETURNS integer
AS 'MODULE_PATHNAME', 'mc_sql_group_create' LANGUAGE C VOLATILE CALLED ON NULL INPUT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.group_create(name, name, text, text) IS
'Makes this database the first center of a new group; returns its id, 1. group_name, center_name: not empty. dsn: connection string with which the other centers will reach this database; must lead here, for replication too, and hold no password. site: free text. Errors: 22023 dsn is wrong; 08001 it cannot be connected to; 55000 the server is not configured (the hint has the line to add) or the database is in a group; 25001 in a transaction that has written.';

CREATE FUNCTION multicenter.group_join(center_name name, dsn text, join_dsn text, site text DEFAULT NULL,
	copy text DEFAULT 'data', kind text DEFAULT 'active', wait boolean DEFAULT true, timeout interval DEFAULT NULL)
RETURNS integer
AS 'MODULE_PATHNAME', 'mc_sql_group_join' LANGUAGE C VOLATILE CALLED ON NULL INPUT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.group_join(name, text, text, text, text, text, boolean, interval) IS
'Makes this database a center of an existing group, which goes on working; returns its id. center_name: not used by another center. dsn: as for group_create(). join_dsn: connection string to a center of the group, the sponsor; no password. site: free text. copy: ''data'' copies schema and rows (the tables must be absent here, or present and empty), ''none'' expects that they are the same already. kind: ''active''. wait: until this center is ready. timeout: of that wait; null waits for ever. A failure or a cancel undoes everything. Errors: 22023 a connection string is wrong; 08001 a center cannot be connected to; 42710 the name is used; 55000 configuration, tables, or the group do not allow it; 55006 another center is joining; 54000 no id is left; 57014 not ready in time (the join goes on); 25001 in a transaction that has written.';

CREATE FUNCTION multicenter.wait_until_ready(timeout interval DEFAULT '10 min')
RETURNS boolean
AS 'MODULE_PATHNAME', 'mc_sql_wait_until_ready' LANGUAGE C VOLATILE CALLED ON NULL INPUT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.wait_until_ready(interval) IS
'Waits until this center is ready, that is, has caught up with every other. timeout: how long; null waits for ever. Returns false if the time is over. Errors: 55000 the database is in no group.';

CREATE FUNCTION multicenter.center_part(center_name name, force boolean DEFAULT false, wait boolean DEFAULT true)
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_center_part' LANGUAGE C VOLATILE CALLED ON NULL INPUT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.center_part(name, boolean, boolean) IS
'Takes a center out of the group. In order: it refuses writes, hands over its last changes to every center, and removes its slots, origins and membership rows; its tables stay. center_name: this or another center. force: remove another center that is lost, without asking it (most of those that stay must be reachable), or leave without handing over. wait: false returns when it has begun; then errors are in the server log only. Errors: 42704 no such center; 55000 a center does not confirm, or the majority cannot be reached; 55006 transactions are open; 08001 the center cannot be reached; 25001 in a transaction that has written.';

CREATE FUNCTION multicenter.group_remove_local(force boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_group_remove_local' LANGUAGE C VOLATILE CALLED ON NULL INPUT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.group_remove_local(boolean) IS
'Removes every trace of a group from this database: slots, replication origins, membership, the history of conflicts; the user''s tables stay. Tells nobody. force: also where this database is still a center among others; they go on waiting for it until center_part(..., force => true) there. Errors: 55000 it is still a center; 55006 a slot or worker could not be ended; 25001 in a transaction that has written.';

-- ---- for our own workers ----

CREATE FUNCTION multicenter.internal_links_changed(peer_id integer DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'mc_sql_links_changed' LANGUAGE C VOLATILE CALLED ON NULL INPUT;
COMMENT ON FUNCTION multicenter.internal_links_changed(integer) IS
'Internal. When this transaction commits, the manager reads the registry again, and the walsender for peer_id, if not null, ends and looks at its options again.';

CREATE FUNCTION multicenter.internal_dsn_check(dsn text)
RETURNS void AS 'MODULE_PATHNAME', 'mc_sql_dsn_check' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_dsn_check(text) IS
'Internal. Errors: 22023 dsn is no connection string, or holds a password.';

CREATE FUNCTION multicenter.internal_compression_check(method text)
RETURNS void AS 'MODULE_PATHNAME', 'mc_sql_compression_check' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_compression_check(text) IS
'Internal. Errors: 22023 there is no such method of compression; 0A000 this server was built without it.';

CREATE FUNCTION multicenter.internal_slot_name(center_id integer)
RETURNS name AS 'MODULE_PATHNAME', 'mc_sql_slot_name' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_slot_name(integer) IS
'Internal. The name of this database''s slot for another center.';

CREATE FUNCTION multicenter.internal_origin_name(center_id integer)
RETURNS name AS 'MODULE_PATHNAME', 'mc_sql_origin_name' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_origin_name(integer) IS
'Internal. The name of this database''s replication origin for another center.';

CREATE FUNCTION multicenter.internal_protocol(OUT protocol_min integer, OUT protocol_max integer)
AS 'MODULE_PATHNAME', 'mc_sql_protocol' LANGUAGE C IMMUTABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_protocol() IS
'Internal. The protocol versions that this build speaks.';

CREATE FUNCTION multicenter.internal_identity_write(group_name name, group_uuid uuid, center_id integer, center_uuid uuid)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO multicenter.identity (group_name, group_uuid, center_id, center_uuid, system_identifier, database_oid)
	SELECT $1, $2, $3, $4, s.system_identifier, d.oid
	FROM pg_control_system() AS s, pg_database AS d
	WHERE d.datname = current_database();
$$;
COMMENT ON FUNCTION multicenter.internal_identity_write(name, uuid, integer, uuid) IS
'Internal. Writes which center this database is. Errors: 23505 it is one already.';

CREATE FUNCTION multicenter.internal_center_row(center_id integer, center_name name, center_uuid uuid,
	site text, kind text, state text, dsn text)
RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_build_object(
		'center_id', $1, 'center_name', $2, 'center_uuid', $3, 'site', $4, 'kind', $5,
		'state', $6, 'dsn', $7, 'epoch', 1,
		'server_version', current_setting('server_version_num')::integer,
		'extension_version', (SELECT extversion FROM pg_extension WHERE extname = 'multicenter'),
		'joined_at', now());
$$;
COMMENT ON FUNCTION multicenter.internal_center_row(integer, name, uuid, text, text, text, text) IS
'Internal. A row of the list of centers for this database, as centers pass it on.';

CREATE FUNCTION multicenter.internal_forget_centers()
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	DELETE FROM multicenter.center;
$$;
COMMENT ON FUNCTION multicenter.internal_forget_centers() IS
'Internal. Empties the list of centers, before it is replaced.';

CREATE FUNCTION multicenter.internal_forget_group()
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	DELETE FROM multicenter.identity;
	DELETE FROM multicenter.link;
	DELETE FROM multicenter.center;
	DELETE FROM multicenter.conflict_policy;
	DELETE FROM multicenter.policy_epoch;
	DELETE FROM multicenter.column_policy;
	DELETE FROM multicenter.column_purge;
	DELETE FROM multicenter.key_note;
	DELETE FROM multicenter.truncation;
	DELETE FROM multicenter.dead_row_horizon;
	DELETE FROM multicenter.kept_wal;
$$;
COMMENT ON FUNCTION multicenter.internal_forget_group() IS
'Internal. Deletes what makes this database a center.';

CREATE FUNCTION multicenter.internal_forget_history()
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	DELETE FROM multicenter.conflict_history;
$$;
COMMENT ON FUNCTION multicenter.internal_forget_history() IS
'Internal. Deletes the history of conflicts.';

-- One slot: 0 if it is gone now, 1 if it is still there because it is in use.
CREATE FUNCTION multicenter.internal_drop_slot(slot name)
RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	pid integer;
BEGIN
	SELECT s.active_pid INTO pid FROM pg_replication_slots AS s WHERE s.slot_name = slot;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	IF pid IS NOT NULL THEN
		PERFORM pg_terminate_backend(pid);
		RETURN 1;
	END IF;
	PERFORM pg_drop_replication_slot(slot);
	RETURN 0;
EXCEPTION
	WHEN object_in_use THEN
		RETURN 1;
	WHEN undefined_object THEN
		RETURN 0;
END $$;
COMMENT ON FUNCTION multicenter.internal_drop_slot(name) IS
'Internal. Drops a slot, or ends the process that uses it; returns how many are left, 0 or 1.';

CREATE FUNCTION multicenter.internal_drop_slots()
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(multicenter.internal_drop_slot(s.slot_name)), 0)
	FROM pg_replication_slots AS s
	WHERE s.plugin = 'multicenter' AND s.database = current_database()
		OR s.slot_name = (SELECT format('multicenter_%s_xmin', d.oid) FROM pg_database AS d WHERE d.datname = current_database());
$$;
COMMENT ON FUNCTION multicenter.internal_drop_slots() IS
'Internal. Drops the slots of this database that use our plugin, and the one that keeps dead rows; returns how many are left, because they are in use.';

-- A copy of the slot of the peer that is the furthest; null if there is none, or
-- no room for it.
CREATE FUNCTION multicenter.internal_kept_make(slot name, spare integer)
RETURNS name LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT p.slot_name
	FROM (SELECT s.slot_name AS source
		  FROM pg_replication_slots AS s
		  WHERE s.slot_name IN (SELECT multicenter.internal_slot_name(c.center_id)
								FROM multicenter.center AS c WHERE c.state <> 'parted')
			  AND s.wal_status <> 'lost' AND s.confirmed_flush_lsn IS NOT NULL
			  AND (SELECT count(*) FROM pg_replication_slots) + spare < current_setting('max_replication_slots')::integer
		  ORDER BY s.confirmed_flush_lsn DESC
		  LIMIT 1) AS f,
		pg_copy_logical_replication_slot(f.source, slot, false) AS p;
$$;
COMMENT ON FUNCTION multicenter.internal_kept_make(name, integer) IS
'Internal. Makes a slot that keeps WAL from about now on; returns its name, null if that is not possible or fewer than so many slots would stay free.';

CREATE FUNCTION multicenter.internal_kept_drop_unknown()
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(multicenter.internal_drop_slot(s.slot_name)), 0)
	FROM pg_replication_slots AS s
	WHERE s.database = current_database() AND s.plugin = 'multicenter'
		AND s.slot_name ~ '^multicenter_[0-9]+_kept_[a-z]$'
		AND NOT EXISTS (SELECT FROM multicenter.kept_wal AS k WHERE k.slot_name = s.slot_name);
$$;
COMMENT ON FUNCTION multicenter.internal_kept_drop_unknown() IS
'Internal. Drops slots that keep WAL of which nobody knows what is in it; returns how many are left, because they are in use.';

CREATE FUNCTION multicenter.internal_departed_drop_slots()
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(multicenter.internal_drop_slot(s.slot_name)), 0)
	FROM pg_replication_slots AS s
	WHERE s.slot_name IN (SELECT multicenter.internal_slot_name(c.center_id)
						  FROM multicenter.center AS c WHERE c.state = 'parted');
$$;
COMMENT ON FUNCTION multicenter.internal_departed_drop_slots() IS
'Internal. Drops the slots for centers that have parted; returns how many are left, because they are in use.';

CREATE FUNCTION multicenter.internal_departed_origins()
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT string_agg(c.center_id::text, ' ')
	FROM multicenter.center AS c
		JOIN pg_replication_origin AS o ON o.roname = multicenter.internal_origin_name(c.center_id)::text
		JOIN pg_show_replication_origin_status() AS s ON s.local_id = o.roident
	WHERE c.state = 'parted';
$$;
COMMENT ON FUNCTION multicenter.internal_departed_origins() IS
'Internal. Ids of centers that have parted and whose progress is still kept; null: none.';

CREATE FUNCTION multicenter.internal_find_peer(peer name)
RETURNS integer LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	peer_id integer;
	names text;
BEGIN
	SELECT c.center_id INTO peer_id
	FROM multicenter.center AS c
	WHERE c.center_name = peer AND c.state <> 'parted'
		AND c.center_id <> (SELECT i.center_id FROM multicenter.identity AS i);
	IF NOT FOUND THEN
		SELECT string_agg(format('"%s"', c.center_name), ', ' ORDER BY c.center_id) INTO names
		FROM multicenter.center AS c
		WHERE c.state <> 'parted' AND c.center_id <> (SELECT i.center_id FROM multicenter.identity AS i);
		RAISE EXCEPTION 'center "%" is no peer of this center', peer
			USING ERRCODE = 'undefined_object',
				HINT = coalesce(format('Its peers are %s.', names), 'It has no peers.');
	END IF;
	RETURN peer_id;
END $$;
COMMENT ON FUNCTION multicenter.internal_find_peer(name) IS
'Internal. The id of a peer by its name. Errors: 42704 there is none.';

-- ---- for administrators again: what needs no worker ----

CREATE FUNCTION multicenter.internal_link_pause(peer name, direction text, paused boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id integer := multicenter.internal_find_peer(peer);
BEGIN
	IF direction = 'in' THEN
		INSERT INTO multicenter.link AS l (peer_id, paused_in) VALUES (id, paused)
		ON CONFLICT (peer_id) DO UPDATE SET paused_in = excluded.paused_in;
		PERFORM multicenter.internal_links_changed();
	ELSIF direction = 'out' THEN
		INSERT INTO multicenter.link AS l (peer_id, paused_out) VALUES (id, paused)
		ON CONFLICT (peer_id) DO UPDATE SET paused_out = excluded.paused_out;
		PERFORM multicenter.internal_links_changed(id);
	ELSE
		RAISE EXCEPTION 'invalid value for direction: "%"', direction
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Allowed values are "in", "out".';
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_link_pause(name, text, boolean) IS
'Internal. Carries out link_pause() and link_resume().';

CREATE FUNCTION multicenter.link_pause(peer name, direction text DEFAULT 'in')
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT multicenter.internal_link_pause($1, $2, true);
$$;
COMMENT ON FUNCTION multicenter.link_pause(name, text) IS
'Pauses one direction of the link with a peer, when this transaction commits; nothing is lost, the origin keeps its WAL meanwhile. peer: name of a center. direction: ''in'' (from the peer to here) or ''out''. Errors: 42704 no such peer; 22023 another direction.';

CREATE FUNCTION multicenter.link_resume(peer name, direction text DEFAULT 'in')
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT multicenter.internal_link_pause($1, $2, false);
$$;
COMMENT ON FUNCTION multicenter.link_resume(name, text) IS
'Lets a paused direction of the link with a peer go on, when this transaction commits. peer: name of a center. direction: ''in'' or ''out''. Errors: 42704 no such peer; 22023 another direction.';

CREATE FUNCTION multicenter.link_alter(peer name, options jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id integer := multicenter.internal_find_peer(peer);
	option text;
	work_mem text := current_setting('logical_decoding_work_mem');
	most_workers integer := (SELECT max_val::integer FROM pg_settings WHERE name = 'multicenter.apply_workers');
BEGIN
	IF options IS NULL OR jsonb_typeof(options) <> 'object' THEN
		RAISE EXCEPTION 'options must be a JSON object'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'For example {"dsn": "service=lisbon"}.';
	END IF;
	FOR option IN SELECT jsonb_object_keys(options) LOOP
		IF option NOT IN ('dsn', 'compression', 'logical_decoding_work_mem', 'workers') THEN
			RAISE EXCEPTION 'unknown option "%" of a link', option
				USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Allowed options are "dsn", "compression", "logical_decoding_work_mem", "workers".';
		END IF;
		IF option = 'workers' THEN
			IF NOT coalesce(options ->> option ~ '^[0-9]{1,9}$' AND (options ->> option)::integer <= most_workers,
							jsonb_typeof(options -> option) = 'null') THEN
				RAISE EXCEPTION 'invalid value for option "workers" of a link'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = format('It must be a number from 0 to %s, or null for the default.', most_workers);
			END IF;
		ELSIF jsonb_typeof(options -> option) NOT IN ('string', 'null') THEN
			RAISE EXCEPTION 'invalid value for option "%" of a link', option
				USING ERRCODE = 'invalid_parameter_value',
					HINT = 'It must be a string, or null for the default.';
		END IF;
	END LOOP;
	PERFORM multicenter.internal_dsn_check(options ->> 'dsn');
	PERFORM multicenter.internal_compression_check(options ->> 'compression');
	IF options ->> 'logical_decoding_work_mem' IS NOT NULL THEN
		-- PostgreSQL knows best what it would take.
		PERFORM set_config('logical_decoding_work_mem', options ->> 'logical_decoding_work_mem', true);
		PERFORM set_config('logical_decoding_work_mem', work_mem, true);
	END IF;
	INSERT INTO multicenter.link (peer_id) VALUES (id) ON CONFLICT (peer_id) DO NOTHING;
	UPDATE multicenter.link AS l
	SET dsn = CASE WHEN options ? 'dsn' THEN options ->> 'dsn' ELSE l.dsn END,
		compression = CASE WHEN options ? 'compression' THEN options ->> 'compression' ELSE l.compression END,
		logical_decoding_work_mem = CASE WHEN options ? 'logical_decoding_work_mem'
			THEN options ->> 'logical_decoding_work_mem' ELSE l.logical_decoding_work_mem END,
		workers = CASE WHEN options ? 'workers' THEN (options ->> 'workers')::integer ELSE l.workers END
	WHERE l.peer_id = id;
	PERFORM multicenter.internal_links_changed();
END $$;
COMMENT ON FUNCTION multicenter.link_alter(name, jsonb) IS
'Changes options of the link with a peer, for this center only. peer: name of a center. options: an object, of which what is named is changed, and null means the default. dsn: the connection string to use instead of the peer''s own, without a password, at the next connect. compression: "none", "lz4" or "zstd", of what the peer sends; null: multicenter.compression. logical_decoding_work_mem: of the peer''s walsender, such as "256MB"; null: as it is set there. workers: how many processes apply what comes beside the receiver; null: multicenter.apply_workers. After a change of the last three the stream starts again. Errors: 42704 no such peer; 22023 an unknown option or a wrong value; 0A000 this server was built without that compression.';

CREATE FUNCTION multicenter.center_alter(center_name name, dsn text DEFAULT NULL, site text DEFAULT NULL, kind text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	names text;
BEGIN
	IF center_alter.kind <> 'active' THEN
		RAISE EXCEPTION 'invalid value for kind: "%"', center_alter.kind
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Allowed values are "active".';
	END IF;
	PERFORM multicenter.internal_dsn_check(center_alter.dsn);
	UPDATE multicenter.center AS c
	SET dsn = coalesce(center_alter.dsn, c.dsn),
		site = coalesce(center_alter.site, c.site),
		kind = coalesce(center_alter.kind, c.kind),
		epoch = (SELECT max(e.epoch) + 1 FROM multicenter.center AS e)
	WHERE c.center_name = center_alter.center_name AND c.state <> 'parted';
	IF NOT FOUND THEN
		SELECT string_agg(format('"%s"', c.center_name), ', ' ORDER BY c.center_id) INTO names
		FROM multicenter.center AS c WHERE c.state <> 'parted';
		RAISE EXCEPTION 'the group has no center "%"', center_alter.center_name
			USING ERRCODE = 'undefined_object',
				HINT = coalesce(format('Its centers are %s.', names), 'This database is in no group.');
	END IF;
	PERFORM multicenter.internal_links_changed();
END $$;
COMMENT ON FUNCTION multicenter.center_alter(name, text, text, text) IS
'Changes properties of a center; replicated, so it may be called on any center. center_name: which. dsn: connection string with which the others reach it, without a password. site: free text. kind: ''active''. What is null stays. Errors: 42704 no such center; 22023 a wrong value.';

-- ---- for other centers ----

CREATE FUNCTION multicenter.peer_hello(
	OUT group_uuid uuid, OUT group_name name, OUT center_id integer, OUT center_name name, OUT state text,
	OUT system_identifier bigint, OUT database_oid oid, OUT server_version_num integer, OUT encoding name,
	OUT extension_version text, OUT protocol_min integer, OUT protocol_max integer, OUT last_center_id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT i.group_uuid, i.group_name, i.center_id, c.center_name,
		CASE WHEN i.system_identifier <> s.system_identifier OR i.database_oid <> d.oid
			THEN 'detached' ELSE c.state END,
		s.system_identifier, d.oid, current_setting('server_version_num')::integer,
		pg_encoding_to_char(d.encoding), e.extversion, p.protocol_min, p.protocol_max,
		coalesce((SELECT max(m.center_id) FROM multicenter.center AS m), 0)
	FROM pg_control_system() AS s
		CROSS JOIN multicenter.internal_protocol() AS p
		CROSS JOIN pg_database AS d
		CROSS JOIN pg_extension AS e
		LEFT JOIN multicenter.identity AS i ON true
		LEFT JOIN multicenter.center AS c ON c.center_id = i.center_id
	WHERE d.datname = current_database() AND e.extname = 'multicenter';
$$;
COMMENT ON FUNCTION multicenter.peer_hello() IS
'For other centers: who this database is and what it speaks. Group and center are null where it is in no group; last_center_id is the greatest id ever seen here.';

CREATE FUNCTION multicenter.peer_centers(
	OUT center_id integer, OUT center_name name, OUT state text, OUT dsn text, OUT center_row jsonb)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.center_id, c.center_name, c.state, c.dsn, to_jsonb(c)
	FROM multicenter.center AS c ORDER BY c.center_id;
$$;
COMMENT ON FUNCTION multicenter.peer_centers() IS
'For other centers: the list of centers, those included that have parted.';

CREATE FUNCTION multicenter.peer_lock()
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
	PERFORM pg_advisory_lock(1296254513, 1);
EXCEPTION WHEN lock_not_available THEN
	RAISE EXCEPTION 'another center is joining the group, or a table is being rewritten'
		USING ERRCODE = 'lock_not_available', HINT = 'Try again when that has finished.';
END $$;
COMMENT ON FUNCTION multicenter.peer_lock() IS
'For other centers: keeps others from joining until peer_unlock() or the end of the session. Errors: 55P03 another center has held it for 10 s.';

CREATE FUNCTION multicenter.peer_unlock()
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT pg_advisory_unlock(1296254513, 1);
$$;
COMMENT ON FUNCTION multicenter.peer_unlock() IS
'For other centers: ends peer_lock().';

CREATE FUNCTION multicenter.peer_center_add(center_row jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	new_row multicenter.center := jsonb_populate_record(NULL::multicenter.center, center_row);
BEGIN
	-- The stream from another center, which was told first, may have been quicker.
	INSERT INTO multicenter.center SELECT new_row.* ON CONFLICT (center_id) DO NOTHING;
	IF NOT FOUND AND NOT EXISTS (SELECT FROM multicenter.center AS c
			WHERE c.center_id = new_row.center_id AND c.center_uuid = new_row.center_uuid) THEN
		RAISE EXCEPTION 'center id % is used by another center', new_row.center_id
			USING ERRCODE = 'unique_violation', HINT = 'Try again.';
	END IF;
	PERFORM multicenter.internal_links_changed();
END $$;
COMMENT ON FUNCTION multicenter.peer_center_add(jsonb) IS
'For other centers: adds a center to the list, unless it is there. Errors: 23505 its id is used by another.';

CREATE FUNCTION multicenter.internal_audit_client(peer_id integer, event text, detail text)
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_audit_client' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.internal_audit_client(integer, text, text) IS
'Internal. Notes in the audit what the client of this session does as a center.';
REVOKE ALL ON FUNCTION multicenter.internal_audit_client(integer, text, text) FROM PUBLIC;

CREATE FUNCTION multicenter.peer_center_state(center_id integer, state text)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE multicenter.center AS c
	SET state = $2, epoch = (SELECT max(e.epoch) + 1 FROM multicenter.center AS e)
	WHERE c.center_id = $1 AND c.state NOT IN ($2, 'parted')
		-- A center that is told late must not take back what the stream has brought.
		AND NOT ($2 = 'catching_up' AND c.state IN ('ready', 'parting'));
	SELECT multicenter.internal_audit_client($1, 'copy', 'reads all tables of the group, to join it') WHERE $2 = 'copying';
	SELECT multicenter.internal_links_changed();
$$;
COMMENT ON FUNCTION multicenter.peer_center_state(integer, text) IS
'For other centers: changes the state of a center in the list; one that has parted stays so. Errors: 23514 no such state.';

CREATE FUNCTION multicenter.peer_slot_drop(center_id integer)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM multicenter.center AS c WHERE c.center_id = peer_slot_drop.center_id
				AND c.state IN ('catching_up', 'ready', 'parting')) THEN
		RAISE EXCEPTION 'cannot drop the slot for center %, it is a member of the group', center_id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Use center_part().';
	END IF;
	FOR i IN 1 .. 100 LOOP
		IF multicenter.internal_drop_slot(multicenter.internal_slot_name(center_id)) = 0 THEN
			RETURN;
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
	RAISE EXCEPTION 'could not drop the slot for center %, it is in use', center_id
		USING ERRCODE = 'object_in_use';
END $$;
COMMENT ON FUNCTION multicenter.peer_slot_drop(integer) IS
'For other centers: drops the slot for a center whose join has failed. Errors: 55000 the center is a member; 55006 the slot stayed in use for 5 s.';

CREATE FUNCTION multicenter.peer_marker()
RETURNS pg_lsn AS 'MODULE_PATHNAME', 'mc_sql_peer_marker' LANGUAGE C VOLATILE STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_marker() IS
'For other centers: writes a heartbeat. Returns a position in the WAL here that a target has passed once it has received it.';

CREATE FUNCTION multicenter.peer_wait_applied(center_id integer, lsn pg_lsn, wait_ms integer)
RETURNS pg_lsn AS 'MODULE_PATHNAME', 'mc_sql_peer_wait_applied' LANGUAGE C VOLATILE STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_wait_applied(integer, pg_lsn, integer) IS
'For other centers: waits until the changes of a center before lsn, in its WAL, are applied here, at most wait_ms milliseconds. Returns the position that is applied, null if there is no link.';

CREATE FUNCTION multicenter.peer_progress(OUT center_id integer, OUT applied_lsn pg_lsn)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'mc_sql_peer_progress' LANGUAGE C VOLATILE STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_progress() IS
'For other centers: how far the changes of each center are visible in the snapshot of this transaction; null: nothing of it was applied. Errors: 55000 the snapshot is too old to tell.';

CREATE FUNCTION multicenter.peer_applied(center_id integer)
RETURNS pg_lsn
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT pg_replication_origin_progress(o.roname, false)
	FROM pg_replication_origin AS o
	WHERE o.roname = multicenter.internal_origin_name($1)::text
$$;
COMMENT ON FUNCTION multicenter.peer_applied(integer) IS
'For other centers: how far the changes of a center are applied here; null: nothing was. By it a center that was restored from a backup notices that it was.';

CREATE FUNCTION multicenter.peer_replicates(relation oid)
RETURNS boolean AS 'MODULE_PATHNAME', 'mc_sql_peer_replicates' LANGUAGE C VOLATILE STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_replicates(oid) IS
'For other centers: is anything of this relation replicated? Locks it against changes of its definition until the end of the transaction.';

CREATE FUNCTION multicenter.peer_tables(
	OUT schema_name name, OUT table_name name, OUT owner name, OUT columns text, OUT readable boolean, OUT filtered boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner),
		coalesce((SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum)
				FROM pg_attribute AS a
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), ''),
		has_table_privilege(session_user, c.oid, 'SELECT') AND has_schema_privilege(session_user, n.oid, 'USAGE'),
		c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
			AND (c.relforcerowsecurity OR NOT pg_has_role(session_user, c.relowner, 'USAGE'))
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_roles AS r ON r.rolname = session_user
	WHERE c.relkind = 'r' AND n.nspname <> 'multicenter' AND multicenter.peer_replicates(c.oid)
	ORDER BY 1, 2;
$$;
COMMENT ON FUNCTION multicenter.peer_tables() IS
'For other centers: the tables with replicated rows. columns: those to copy, quoted and comma-separated; readable: whether the role of this session may; filtered: whether row-level security hides rows from it.';

CREATE FUNCTION multicenter.internal_key_state(
	relation oid, frontier timestamptz, noted xid[], OUT kind "char", OUT key jsonb, OUT version timestamptz, OUT center_id integer, OUT xid xid)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mc_sql_internal_key_state' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.internal_key_state(oid, timestamptz, xid[]) IS
'Versions of the rows (v) and of removed rows (t) of a table that changes in flight can still compete with, and the transactions that wrote or removed them; under the snapshot of the caller. noted: transactions whose rows are told in any case.';

CREATE FUNCTION multicenter.peer_quarantined() RETURNS bigint
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(*) FROM multicenter.quarantine_entry
$$;
COMMENT ON FUNCTION multicenter.peer_quarantined() IS
'For other centers: how many changes are in quarantine here, as of the snapshot.';

CREATE FUNCTION multicenter.peer_columns_purged() RETURNS timestamptz
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce((SELECT ts FROM multicenter.column_purge), '-infinity')
$$;
COMMENT ON FUNCTION multicenter.peer_columns_purged() IS
'For other centers: up to when changes of merged columns are kept no more here, as of the snapshot.';

CREATE FUNCTION multicenter.peer_frontier() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'mc_sql_peer_frontier' LANGUAGE C VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_frontier() IS
'For other centers: no transaction of any center that is not applied here has this or a smaller commit timestamp. Null: not known.';

CREATE FUNCTION multicenter.peer_clock() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'mc_sql_peer_clock' LANGUAGE C VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_clock() IS
'For other centers: no transaction that was committed or applied here has a greater commit timestamp than this.';

CREATE FUNCTION multicenter.peer_key_state(
	schema_name name, table_name name, frontier timestamptz,
	OUT kind "char", OUT key jsonb, OUT version timestamptz, OUT center_id integer, OUT row_values jsonb)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET timezone = 'UTC' SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C' AS $$
	WITH relation AS MATERIALIZED (
		SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = schema_name AND c.relname = table_name
	), note AS MATERIALIZED (
		SELECT k.*, k.xmin AS writer FROM multicenter.key_note AS k JOIN relation AS r ON k.relation = r.oid
	), needed AS MATERIALIZED (
		-- What stands in the place of a displaced row must be newer there, too.
		SELECT least(frontier, min(n.version) - interval '1 us') AS after FROM note AS n WHERE n.kind = 'd'
	), tuple AS MATERIALIZED (
		SELECT s.*, s.version > m.after AS late
		FROM relation AS r, needed AS m,
			multicenter.internal_key_state(r.oid, m.after, ARRAY(SELECT DISTINCT n.xid FROM note AS n WHERE n.kind = 'v')) AS s
	)
	-- A version that a note has put in the place of the transaction's.
	SELECT t.kind, t.key, coalesce(n.version, t.version), coalesce(n.center_id, t.center_id), NULL::jsonb
	FROM tuple AS t LEFT JOIN note AS n ON n.kind = 'v' AND n.xid = t.xid AND n.key = t.key
	WHERE t.kind = 'v' AND (t.late OR n.xid IS NOT NULL)
	UNION ALL
	-- What was displaced was not deleted.
	SELECT t.kind, t.key, t.version, t.center_id, NULL
	FROM tuple AS t
	WHERE t.kind = 't' AND NOT EXISTS (SELECT FROM note AS n WHERE n.kind = 'x' AND n.xid = t.xid AND n.key = t.key)
	UNION ALL
	SELECT n.kind, n.key, n.version, n.center_id, n.row_values FROM note AS n WHERE n.kind IN ('t', 'd', 's')
	UNION ALL
	-- What was changed here says nothing of its version.
	SELECT n.kind, n.key,
		CASE n.center_id WHEN 0 THEN pg_xact_commit_timestamp(n.writer) ELSE n.version END,
		CASE n.center_id WHEN 0 THEN (SELECT i.center_id FROM multicenter.identity AS i) ELSE n.center_id END, n.row_values
	FROM note AS n WHERE n.kind = 'c'
	UNION ALL
	SELECT 'T', NULL, coalesce(t.version, x."timestamp"),
		coalesce(t.center_id, (SELECT i.center_id FROM multicenter.identity AS i)), NULL
	FROM multicenter.truncation AS t JOIN relation AS r ON t.relation = r.oid,
		pg_xact_commit_timestamp_origin(t.xmin) AS x
	WHERE coalesce(t.version, x."timestamp") IS NOT NULL;
$$;
COMMENT ON FUNCTION multicenter.peer_key_state(name, name, timestamptz) IS
'For other centers: what this center knows of the keys of a table besides its rows, as of the snapshot, and later than a frontier of before the snapshot: versions of rows (v), tombstones (t), displaced rows (d), siblings (s), changes of merged columns (c), the newest TRUNCATE (T, without a key).';

CREATE FUNCTION multicenter.peer_sequences(OUT sequence_name text, OUT last_value bigint, OUT is_called boolean)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	FOR sequence_name IN
		SELECT format('%I.%I', n.nspname, c.relname)
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind = 'S' AND c.relpersistence = 'p'
			AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'multicenter')
			AND NOT EXISTS (SELECT FROM pg_depend AS d
							WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	LOOP
		EXECUTE format('SELECT s.last_value, s.is_called FROM %s AS s', sequence_name)
			INTO last_value, is_called;
		RETURN NEXT;
	END LOOP;
END $$;
COMMENT ON FUNCTION multicenter.peer_sequences() IS
'For other centers: the sequences of this database and where they stand now.';

CREATE FUNCTION multicenter.peer_part()
RETURNS void AS 'MODULE_PATHNAME', 'mc_sql_peer_part' LANGUAGE C VOLATILE STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION multicenter.peer_part() IS
'For other centers: this center leaves the group in order, as by center_part(). Errors: as there.';

-- ---- who may call them ----

DO $$
DECLARE
	fn regprocedure;
	fn_name name;
BEGIN
	FOR fn, fn_name IN
		SELECT p.oid, p.proname
		FROM pg_catalog.pg_proc AS p
		WHERE p.pronamespace OPERATOR(pg_catalog.=) 'multicenter'::pg_catalog.regnamespace
			AND (p.proname::pg_catalog.text OPERATOR(pg_catalog.~) '^(internal|peer)_'
				OR p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['group_create', 'group_join',
					'wait_until_ready', 'center_part', 'group_remove_local', 'link_pause', 'link_resume',
					'link_alter', 'center_alter']))
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', fn);
		IF fn_name::pg_catalog.text OPERATOR(pg_catalog.~) '^peer_' THEN
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO multicenter_peer, multicenter_admin', fn);
		ELSIF fn_name::pg_catalog.text OPERATOR(pg_catalog.!~) '^internal_' THEN
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO multicenter_admin', fn);
		END IF;
	END LOOP;
END $$;
