-- Tables.  Private: people read the views, C reads and writes through
-- src/state/registry.c and src/state/history.c.

-- The members of the group, and who has left.  Replicated, as are the policies
-- for conflicts; all other tables are local.
CREATE TABLE multicenter.center (
	center_id integer PRIMARY KEY CHECK (center_id BETWEEN 1 AND 1023),
	center_name name NOT NULL,
	center_uuid uuid NOT NULL,
	site text,
	kind text NOT NULL DEFAULT 'active' CHECK (kind IN ('active', 'read_only', 'witness')),
	state text NOT NULL CHECK (state IN ('joining', 'copying', 'catching_up', 'ready', 'parting', 'parted')),
	dsn text NOT NULL,
	epoch bigint NOT NULL DEFAULT 1,
	server_version integer NOT NULL,
	extension_version text NOT NULL,
	joined_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE multicenter.center IS 'Members of the group, past ones included; replicated to every center.';

-- Each call of conflict_policy_set() or conflict_policy_reset() makes an epoch:
-- rows of one transaction, which are never changed.  covers: what it builds on,
-- for each center the greatest epoch.  schema_name, table_name: null for the
-- default.  resolver: null if nothing is set any more.  site_ranks: rank * 1024
-- + center_id.  A row without a family joins epochs that were made at once.
-- former_schema, former_table: the name of the table in epochs before this one.
CREATE TABLE multicenter.conflict_policy (
	epoch bigint NOT NULL,
	item integer NOT NULL,
	covers bigint[] NOT NULL,
	schema_name text,
	table_name text,
	family text CHECK (family IN ('row', 'delete', 'missing', 'unique', 'apply')),
	resolver text,
	handler text,
	site_ranks integer[],
	options jsonb NOT NULL DEFAULT '{}',
	set_by text NOT NULL,
	set_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	set_at_center integer NOT NULL,
	former_schema text,
	former_table text,
	PRIMARY KEY (epoch, item)
);
COMMENT ON TABLE multicenter.conflict_policy IS 'Policies for conflicts, those of past epochs included; replicated to every center.';

-- From which time on an epoch holds for what a center commits: for versions
-- with a greater timestamp.  Written by src/control/policy_epoch.c.
CREATE TABLE multicenter.policy_epoch (
	center_id integer NOT NULL,
	epoch bigint NOT NULL,
	ts timestamptz NOT NULL,
	PRIMARY KEY (center_id, epoch)
);
COMMENT ON TABLE multicenter.policy_epoch IS 'When each center took over each epoch of the policies; replicated to every center.';

-- Columns that are merged; see src/state/column_policy.c, which knows the order
-- of the columns.  Written behind a fence around the table.
CREATE TABLE multicenter.column_policy (
	schema_name text NOT NULL,
	table_name text NOT NULL,
	column_name text NOT NULL,
	merge text NOT NULL CHECK (merge IN ('last_update_wins', 'delta', 'min', 'max', 'set_union', 'jsonb_merge', 'handler')),
	handler text,
	set_by text NOT NULL,
	set_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (schema_name, table_name, column_name)
);
COMMENT ON TABLE multicenter.column_policy IS 'Columns that are merged one by one; replicated to every center.';

-- Up to when changes of such columns may be kept no more, because every center
-- has seen them; at most one row.
CREATE TABLE multicenter.column_purge (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	ts timestamptz NOT NULL
);
COMMENT ON TABLE multicenter.column_purge IS 'Up to which time changes of merged columns are kept no more; local to this center.';

-- Who this database is; at most one row.  Local, never dumped.
CREATE TABLE multicenter.identity (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	group_name name NOT NULL,
	group_uuid uuid NOT NULL,
	center_id integer NOT NULL,
	center_uuid uuid NOT NULL,
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE multicenter.identity IS 'Which center this database is; empty where it is in no group.';

-- Options of this center for its links with one peer.  Local, never dumped:
-- the connection string may name a service or a passfile of this machine.
CREATE TABLE multicenter.link (
	peer_id integer PRIMARY KEY,
	dsn text,
	paused_in boolean NOT NULL DEFAULT false,
	paused_out boolean NOT NULL DEFAULT false,
	heard_ts timestamptz,
	confirmed_ts timestamptz,
	stopped text,
	attempt_lsn pg_lsn,
	attempts integer NOT NULL DEFAULT 0,
	compression text,
	logical_decoding_work_mem text,
	workers integer
);
COMMENT ON TABLE multicenter.link IS 'Options and last known times of the links with one peer; local to this center.';

-- The history of conflicts is written to one segment after the other, in a
-- circle; one whose rows are all too old is emptied at once.  See
-- src/state/history.c.  until is null for the one that is written to, since is
-- null for those that are empty.
CREATE TABLE multicenter.conflict_segment (
	segment smallint PRIMARY KEY,
	since timestamptz,
	until timestamptz
);
COMMENT ON TABLE multicenter.conflict_segment IS 'From when to when each segment of the conflict history was written to; local to this center.';
INSERT INTO multicenter.conflict_segment (segment, since)
SELECT n, CASE n WHEN 0 THEN pg_catalog.now() END FROM pg_catalog.generate_series(0, 15) AS n;

CREATE FUNCTION multicenter.internal_conflict_segment()
RETURNS smallint
AS 'MODULE_PATHNAME', 'mc_conflict_segment' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION multicenter.internal_conflict_segment() IS
'Internal. The segment of the conflict history to write to.';
REVOKE ALL ON FUNCTION multicenter.internal_conflict_segment() FROM PUBLIC;

-- src/state/history.c knows the order of the columns.  Whoever inserts a row by
-- SQL has its transaction id before: see src/control/announce.c.
CREATE SEQUENCE multicenter.conflict_history_conflict_id_seq;
CREATE TABLE multicenter.conflict_history (
	conflict_id bigint NOT NULL DEFAULT pg_catalog.nextval('multicenter.conflict_history_conflict_id_seq'),
	segment smallint NOT NULL DEFAULT multicenter.internal_conflict_segment(),
	written_xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	detected_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	peer_id integer NOT NULL,
	conflict_type text NOT NULL,
	resolver text NOT NULL,
	resolution text NOT NULL,
	relation oid NOT NULL,
	key jsonb,
	local_row json,
	remote_row json,
	result_row json,
	local_center_id integer,
	local_version timestamptz,
	remote_center_id integer,
	remote_version timestamptz,
	remote_lsn pg_lsn,
	remote_xid bigint,
	index_name text,
	policy_epoch bigint,
	reviewed_at timestamptz,
	override_of bigint,
	error_message text,
	PRIMARY KEY (conflict_id, segment)
) PARTITION BY LIST (segment);
COMMENT ON TABLE multicenter.conflict_history IS 'Conflicts decided here, with the losing row; see the view conflicts.';
CREATE INDEX conflict_history_detected_at ON multicenter.conflict_history USING brin (detected_at);
DO $$
BEGIN
	FOR n IN 0 .. 15 LOOP
		EXECUTE pg_catalog.format('CREATE TABLE multicenter.conflict_history_%s PARTITION OF multicenter.conflict_history FOR VALUES IN (%s) USING heap', n, n);
		EXECUTE pg_catalog.format('COMMENT ON TABLE multicenter.conflict_history_%s IS %L', n, 'Segment of multicenter.conflict_history.');
	END LOOP;
END $$;

-- What LISTEN multicenter_conflict has been told of; at most one row.
CREATE TABLE multicenter.conflict_announced (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	snapshot pg_snapshot NOT NULL,
	conflict_id bigint NOT NULL
);
COMMENT ON TABLE multicenter.conflict_announced IS 'The snapshot whose conflicts were announced by NOTIFY, and a number that all others are greater than; local to this center.';

-- What rows of tables cannot say themselves of a key; see src/target/note.h.
CREATE TABLE multicenter.key_note (
	note_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	relation oid NOT NULL,
	hash bigint NOT NULL,
	kind "char" NOT NULL CHECK (kind IN ('t', 'd', 'v', 'x', 's', 'c')),
	key jsonb NOT NULL,
	version timestamptz NOT NULL,
	center_id integer NOT NULL,
	xid xid,
	row_values jsonb,
	since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	displaced_by jsonb
);
COMMENT ON TABLE multicenter.key_note IS 'Deleted keys without a dead row (t), displaced rows (d), rows whose version is not that of their transaction (v), rows that were removed but not deleted (x), versions that no write has seen together (s), changes of columns that somebody may not have seen (c); local to this center.';
CREATE INDEX key_note_key ON multicenter.key_note (relation, hash);
CREATE INDEX key_note_displaced ON multicenter.key_note (relation) WHERE kind = 'd';

-- The newest TRUNCATE of each table that can still matter.  Without a version
-- it is that of the commit of the transaction that wrote the row.
CREATE TABLE multicenter.truncation (
	relation oid PRIMARY KEY,
	version timestamptz,
	center_id integer,
	CHECK ((version IS NULL) = (center_id IS NULL))
);
COMMENT ON TABLE multicenter.truncation IS 'The newest TRUNCATE of each table; local to this center.';

-- From which transaction on dead rows are kept; at most one row.
CREATE TABLE multicenter.dead_row_horizon (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	xid xid NOT NULL,
	ts timestamptz NOT NULL,
	forgotten timestamptz
);
COMMENT ON TABLE multicenter.dead_row_horizon IS 'From which transaction on dead rows are kept, the time that none before it exceeds, and up to when deletes may be forgotten too early; local to this center.';

-- Slots that keep WAL in which deletes stand; see src/control/kept.c.
CREATE TABLE multicenter.kept_wal (
	slot_name name PRIMARY KEY,
	floor timestamptz NOT NULL
);
COMMENT ON TABLE multicenter.kept_wal IS 'Slots that keep WAL from which deletes newer than this time can be remembered again; local to this center.';

-- Changes of peers that cannot be completed or decided yet; see
-- src/target/quarantine.h.
CREATE TABLE multicenter.quarantine_entry (
	quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	peer_id integer NOT NULL,
	remote_xid bigint NOT NULL,
	remote_lsn pg_lsn NOT NULL,
	end_lsn pg_lsn NOT NULL,
	version timestamptz NOT NULL,
	vector bytea NOT NULL,
	relation oid NOT NULL,
	hash bigint NOT NULL,
	operation text NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE')),
	key jsonb NOT NULL,
	new_row jsonb,
	old_row jsonb,
	causes text,
	key_changed boolean NOT NULL,
	seen text,
	held_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	seen_until timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00', -- the zero of timestamps: not known
	waits_for text NOT NULL CHECK (waits_for IN ('cause', 'refresh', 'retry', 'predecessor', 'decision')),
	error_message text,
	error_sqlstate text,
	attempts integer NOT NULL DEFAULT 0,
	first_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	last_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE multicenter.quarantine_entry IS 'Changes of peers that wait for what they need, or for a decision; see the view quarantine; local to this center.';
CREATE INDEX quarantine_entry_key ON multicenter.quarantine_entry (relation, hash);

REVOKE ALL ON ALL TABLES IN SCHEMA multicenter FROM PUBLIC;
