/*-------------------------------------------------------------------------
 *
 * horizon.c
 *	  Keep dead rows, and notes, as long as they can still decide something.
 *
 * NOTES
 *	  A delete must be remembered until no change can arrive that is older.
 *	  The deleted row itself remembers it, as long as VACUUM leaves it alone:
 *	  a physical replication slot of ours without a position in WAL holds the
 *	  xmin from which on it does.  With each heartbeat a sample is taken (the
 *	  oldest transaction that is running; the floor, which no transaction
 *	  before that exceeds).  When every peer has promised to commit nothing up
 *	  to the floor of a sample any more (mc_vector_frontier()), the horizon
 *	  moves to its transaction; author by author it may move earlier, see
 *	  sample.c.  Where conflict policies decide, a delete may
 *	  also matter to a newer change whose author had not seen it: there every
 *	  peer must have seen what was committed up to that time, by its own word
 *	  (mc_vector_seen_by_all()).  Before that the manager compares displaced
 *	  rows with what was done to their keys here: once the dead row is gone
 *	  that says so, a displaced row which was deleted would come back.
 *
 *	  For a peer that is away this stops after multicenter.dead_row_retention:
 *	  the horizon moves nevertheless, and up to which time deletes may be
 *	  forgotten then is written down.  Changes that are as old and whose key
 *	  is not known here cannot be decided, unless target/rebuild.c reads the
 *	  deletes back from WAL (kept.c) before.
 *
 *	  The row of multicenter.dead_row_horizon is written before the horizon
 *	  moves.  So whatever VACUUM removes because of the move comes behind it
 *	  in WAL, and a crash does not leave us with less than we need.
 *
 *	  Moving costs a transaction.  So that idle centers do not keep each other
 *	  busy, a small move waits for some seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "control/horizon.h"
#include "control/kept.h"
#include "control/operation.h"
#include "control/sample.h"
#include "core/merge.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "state/claim.h"
#include "state/clock.h"
#include "state/column_policy.h"
#include "state/fence.h"
#include "state/hold.h"
#include "state/policy.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "state/vector.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "target/displace.h"
#include "target/quarantine.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_horizon_status);

#define MAX_SAMPLES		256
#define SMALL_MOVE		32		/* transactions */
#define SMALL_MOVE_MS	10000
#define PURGE_MS		10000
#define PURGE_NEW_MS	2000	/* where somebody has written notes */

static bool begun = false;
static SharedDatabase *database;	/* this one */
static TransactionId current_xid;	/* of the slot */
static TimestampTz last_move;
static TimestampTz last_purge;
static Sample samples[MAX_SAMPLES];
static int	nsamples = 0;
static TimestampTz displaced_seen;	/* see mc_horizon_displaced_seen() */

/* Of the last look. */
static Promises promises;
static TimestampTz promised;	/* by all of them; the present without peers */

/* Write down where the horizon is going to be, and what is forgotten. */
static void
write_row(TransactionId xid, TimestampTz floor, TimestampTz forgotten)
{
	Oid			types[] = {XIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {TransactionIdGetDatum(xid),
	TimestampTzGetDatum(floor), TimestampTzGetDatum(forgotten)};
	char		nulls[] = {' ', ' ', forgotten ? ' ' : 'n'};

	mc_step_begin();
	mc_clock_private();
	SPI_execute_with_args("INSERT INTO multicenter.dead_row_horizon (xid, ts, forgotten)"
						  " VALUES ($1, $2, $3) ON CONFLICT (only_row) DO UPDATE SET"
						  " xid = excluded.xid, ts = excluded.ts, forgotten = excluded.forgotten",
						  3, types, values, nulls, false, 0);
	mc_step_end();
}

/* Read what was written; false if there is nothing yet. */
static bool
read_row(TransactionId *xid, TimestampTz *floor, TimestampTz *forgotten)
{
	bool		found;

	mc_step_begin();
	SPI_execute("SELECT xid, ts, forgotten FROM multicenter.dead_row_horizon",
				true, 1);
	found = SPI_processed == 1;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		value;

		*xid = DatumGetTransactionId(SPI_getbinval(row, desc, 1, &isnull));
		*floor = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &isnull));
		value = SPI_getbinval(row, desc, 3, &isnull);
		*forgotten = isnull ? 0 : DatumGetTimestampTz(value);
	}
	mc_step_end();
	return found;
}

/* Tell everybody.  The time goes first, see mc_shared_horizon(). */
static void
publish(TransactionId xid, TimestampTz floor, TimestampTz forgotten,
		TimestampTz at)
{
	pg_atomic_write_u64(&database->forgotten, (uint64) forgotten);
	pg_atomic_write_u64(&database->horizon_ts, (uint64) floor);
	pg_memory_barrier();
	pg_atomic_write_u32(&database->horizon_xid, xid);
	pg_atomic_write_u64(&database->horizon_at, (uint64) at);
}

/*
 * A center that has no slot, although it had one, is a standby that was
 * promoted, or somebody has dropped it: VACUUM may have removed anything.
 */
static void
begin_anew(const char *name, bool had_one)
{
	TimestampTz forgotten = 0;
	TransactionId xid;

	mc_hold_create();
	xid = mc_hold_find();
	if (had_one)
	{
		forgotten = mc_clock_newest();
		ereport(LOG,
				(errmsg("the replication slot \"%s\" was missing and is made again", name),
				 errdetail("Deletes before this moment may be forgotten; changes of peers that are as old may have to be put aside.")));
	}
	write_row(xid, forgotten, forgotten);
	publish(xid, forgotten, forgotten, GetCurrentTimestamp());
}

void
mc_horizon_begin(void)
{
	char		name[NAMEDATALEN];
	TransactionId xid = InvalidTransactionId;
	TimestampTz floor = 0;
	TimestampTz forgotten = 0;
	bool		had_one;

	if (begun)
		return;
	database = mc_shared_database(MyDatabaseId, true);
	mc_horizon_slot_name(name, MyDatabaseId);
	had_one = read_row(&xid, &floor, &forgotten);
	if (TransactionIdIsValid(mc_hold_find()) && had_one)
		publish(xid, floor, forgotten, GetCurrentTimestamp());
	else
	{
		/* Half made: what it was to hold was not written down. */
		if (SearchNamedReplicationSlot(name, true) != NULL)
			ReplicationSlotDrop(name, true);
		begin_anew(name, had_one);
	}
	current_xid = mc_hold_find();
	mc_hold_move(current_xid);
	last_move = GetCurrentTimestamp();
	mc_kept_begin();
	begun = true;
}

/* Forget samples up to this one. */
static void
drop_samples(int number)
{
	for (int i = 0; i <= number; i++)
		mc_sample_free(&samples[i]);
	nsamples -= number + 1;
	memmove(samples, samples + number + 1, sizeof(Sample) * nsamples);
}

/* A peer is away for long: keep every second sample. */
static void
thin_samples(void)
{
	for (int i = 0; i < MAX_SAMPLES; i++)
	{
		if (i % 2 == 0)
			samples[i / 2] = samples[i];
		else
			mc_sample_free(&samples[i]);
	}
	nsamples = MAX_SAMPLES / 2;
}

/* Take a sample. */
static void
take_sample(void)
{
	if (nsamples == MAX_SAMPLES)
		thin_samples();
	mc_sample_take(&samples[nsamples++]);
}

/* Is it time for something again?  The clock may have stepped back. */
static bool
is_due(TimestampTz last, TimestampTz now, int ms)
{
	return now < last || TimestampDifferenceExceeds(last, now, ms);
}

/* Is a move worth its transaction? */
static bool
move_is_due(TransactionId xid, TimestampTz now)
{
	int32		distance = (int32) (xid - current_xid);

	return distance > 0 &&
		(distance >= SMALL_MOVE || is_due(last_move, now, SMALL_MOVE_MS));
}

/*
 * Move the horizon to a sample.  What still arrives is newer than a row before
 * it if it is newer than this time.  given_up: a peer may still need what goes.
 */
static void
move_to(int number, TimestampTz time, bool given_up, TimestampTz now)
{
	Sample		sample = samples[number];
	TimestampTz forgotten = (TimestampTz) pg_atomic_read_u64(&database->forgotten);

	if (given_up)
		forgotten = Max(forgotten, sample.floor);
	if (time == sample.floor)
		pg_atomic_write_u64(&database->settled, (uint64) time);
	write_row(sample.xid, time, forgotten);

	publish(sample.xid, time, forgotten, sample.at);
	mc_hold_move(sample.xid);
	current_xid = sample.xid;
	last_move = now;
	drop_samples(number);
}

/*
 * The same where it is settled author by author only.  A row before it may be
 * newer than what a lagging peer sends next; but not if that is about the row,
 * so the promise of that peer does as a time.
 */
static void
move_by_author(int number, const Promises *promises, TimestampTz now)
{
	TimestampTz least = mc_promises_least(promises);
	TimestampTz before = (TimestampTz) pg_atomic_read_u64(&database->horizon_ts);

	move_to(number, Max(before, Min(samples[number].floor, least)), false, now);
}

/*
 * The newest sample up to a time, by its floor (all peers have promised that)
 * or by its age (it is too old to wait for them any longer); -1: none.
 */
static int
newest_sample(TimestampTz floor, TimestampTz at)
{
	int			number = -1;

	for (int i = 0; i < nsamples; i++)
	{
		RowVersion	version = {samples[i].floor, 0};

		if (mc_merge_may_forget(version, floor) || samples[i].at <= at)
			number = i;
	}
	return number;
}

/* The newest sample that is settled, author by author; -1: none. */
static int
newest_settled(const Promises *promises)
{
	int			number = -1;

	for (int i = 0; i < nsamples; i++)
		if (mc_sample_is_settled(&samples[i], promises))
			number = i;
	return number;
}

/*
 * Let the horizon follow the frontier; where nothing but the order of changes
 * decides also what is settled by these promises (NULL: not there); or time
 * where neither moves.
 */
static void
follow(TimestampTz frontier, const Promises *promises, TimestampTz now)
{
	int64		retention = (int64) mc_dead_row_retention_s * USECS_PER_SEC;
	int			by_time = newest_sample(frontier, 0);
	int			settled = promises ? newest_settled(promises) : -1;
	int			number = Max(by_time, settled);

	/* A sample that moves nothing must not keep the retention from ending. */
	if (number >= 0 && !TransactionIdPrecedes(current_xid, samples[number].xid))
	{
		pg_atomic_write_u64(&database->horizon_at, (uint64) samples[number].at);
		drop_samples(number);
		number = -1;
	}

	if (number >= 0)
	{
		if (!move_is_due(samples[number].xid, now))
			return;
		if (number == by_time)
			move_to(number, samples[number].floor, false, now);
		else
			move_by_author(number, promises, now);
	}
	else if (nsamples > 0 && samples[0].at < now - retention)
	{
		/* In steps, because each is written down. */
		number = newest_sample(0, now - retention + retention / 10);
		if (TransactionIdPrecedes(current_xid, samples[number].xid))
			move_to(number, samples[number].floor, true, now);
	}
}

/* The peer that was heard of least recently; MC_NO_CENTER if there is none. */
static CenterId
slowest_peer(void)
{
	CenterId	peer = MC_NO_CENTER;
	TimestampTz oldest = 0;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		const SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId ||
			(peer != MC_NO_CENTER && link->heard_ts >= oldest))
			continue;
		peer = link->peer;
		oldest = link->heard_ts;
	}
	return peer;
}

/*
 * Remove notes that nothing older than can come any more, and siblings that
 * everybody has seen: one write will replace them all.  What says that a row
 * has another version than its transaction, or was only displaced, is kept as
 * long as displaced rows of its table may be compared with it, and the last
 * such note of a key as long as that has siblings, which hold for that version;
 * in a table with large values the version is, for as long as the row (see
 * stale.c).  That a row was only displaced is needed until its dead one is
 * behind the horizon, because it may come back and be displaced again.  Nothing
 * is kept of tables that were dropped.  What somebody else is about to remove
 * is left to him: a TRUNCATE removes the notes of its tables in an order of its
 * own, and nobody is to wait in a circle for us.
 */
static void
purge_notes(TimestampTz frontier)
{
	Oid			types[] = {TIMESTAMPTZOID, XIDOID};
	Datum		values[] = {TimestampTzGetDatum(frontier), TransactionIdGetDatum(current_xid)};

	mc_step_begin();
	mc_clock_private();
	SPI_execute_with_args("WITH free AS MATERIALIZED (SELECT n.note_id FROM multicenter.key_note n WHERE"
						  " n.kind OPERATOR(pg_catalog.=) 't' AND n.version OPERATOR(pg_catalog.<=) $1"
						  " AND NOT EXISTS (SELECT FROM multicenter.key_note s"
						  "  WHERE s.relation OPERATOR(pg_catalog.=) n.relation AND s.hash OPERATOR(pg_catalog.=) n.hash"
						  "  AND s.kind OPERATOR(pg_catalog.=) 's')"
						  " OR n.kind OPERATOR(pg_catalog.=) 's' AND NOT EXISTS (SELECT FROM multicenter.key_note s"
						  "  WHERE s.relation OPERATOR(pg_catalog.=) n.relation AND s.hash OPERATOR(pg_catalog.=) n.hash"
						  "  AND s.kind OPERATOR(pg_catalog.=) 's' AND s.version OPERATOR(pg_catalog.>) $1)"
						  " OR n.kind OPERATOR(pg_catalog.=) ANY ('{v,x}'::pg_catalog.\"char\"[])"
						  " AND COALESCE(pg_catalog.pg_xact_commit_timestamp(n.xid), '-infinity') OPERATOR(pg_catalog.<=) $1"
						  " AND n.version OPERATOR(pg_catalog.<=) $1"
						  " AND n.since OPERATOR(pg_catalog.<=) $1"
						  " AND CASE WHEN n.kind OPERATOR(pg_catalog.=) 'x' THEN pg_catalog.age(n.xid) OPERATOR(pg_catalog.>) pg_catalog.age($2)"
						  "  ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_class l"
						  "   WHERE l.oid OPERATOR(pg_catalog.=) n.relation AND l.reltoastrelid OPERATOR(pg_catalog.<>) 0) END"
						  " AND NOT EXISTS (SELECT FROM multicenter.key_note d"
						  "  WHERE d.relation OPERATOR(pg_catalog.=) n.relation AND d.kind OPERATOR(pg_catalog.=) 'd')"
						  " AND (NOT EXISTS (SELECT FROM multicenter.key_note s"
						  "   WHERE s.relation OPERATOR(pg_catalog.=) n.relation AND s.hash OPERATOR(pg_catalog.=) n.hash"
						  "   AND s.kind OPERATOR(pg_catalog.=) 's')"
						  "  OR EXISTS (SELECT FROM multicenter.key_note l"
						  "   WHERE l.relation OPERATOR(pg_catalog.=) n.relation AND l.hash OPERATOR(pg_catalog.=) n.hash"
						  "   AND l.key OPERATOR(pg_catalog.=) n.key AND l.kind OPERATOR(pg_catalog.=) n.kind"
						  "   AND l.note_id OPERATOR(pg_catalog.>) n.note_id))"
						  " OR NOT EXISTS (SELECT FROM pg_catalog.pg_class c"
						  "  WHERE c.oid OPERATOR(pg_catalog.=) n.relation)"
						  "  FOR UPDATE OF n SKIP LOCKED)"
						  " DELETE FROM multicenter.key_note k USING free f"
						  " WHERE k.note_id OPERATOR(pg_catalog.=) f.note_id",
						  lengthof(types), types, values, NULL, false, 0);
	if (SPI_processed > 0)
		mc_notes_writing();
	SPI_execute_with_args("WITH free AS MATERIALIZED (SELECT t.relation FROM multicenter.truncation t WHERE"
						  " COALESCE(t.version, pg_catalog.pg_xact_commit_timestamp(t.xmin), '-infinity')"
						  " OPERATOR(pg_catalog.<=) $1 FOR UPDATE OF t SKIP LOCKED)"
						  " DELETE FROM multicenter.truncation k USING free f"
						  " WHERE k.relation OPERATOR(pg_catalog.=) f.relation",
						  1, types, values, NULL, false, 0);
	if (SPI_processed > 0)
		mc_notes_writing();
	mc_step_end();
}

/*
 * Remove changes of columns of keys where everybody has seen them all, and
 * nobody is about to remove any.  What a session says to have seen includes
 * them before they go.
 */
static void
purge_changes(TimestampTz frontier)
{
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(frontier)};

	mc_step_begin();
	mc_clock_private();
	SPI_execute("SELECT FROM multicenter.key_note WHERE kind OPERATOR(pg_catalog.=) 'c'", true, 1);
	if (SPI_processed > 0)
	{
		mc_column_purge(frontier);
		SPI_execute_with_args("WITH change AS (SELECT n.note_id, n.relation, n.hash,"
							  "  GREATEST(CASE n.center_id WHEN 0 THEN pg_catalog.pg_xact_commit_timestamp(n.xmin) ELSE n.version END,"
							  "   '2000-01-01 00:00:00+00'::pg_catalog.timestamptz OPERATOR(pg_catalog.+)"
							  "   ('1 us'::pg_catalog.interval OPERATOR(pg_catalog.*)"
							  "    pg_catalog.split_part(n.row_values OPERATOR(pg_catalog.->>) 'row', ' ', 1)::pg_catalog.float8)) AS version"
							  "  FROM multicenter.key_note n WHERE n.kind OPERATOR(pg_catalog.=) 'c'),"
							  " key AS MATERIALIZED (SELECT relation, hash, pg_catalog.count(*) AS notes"
							  "  FROM change GROUP BY relation, hash"
							  "  HAVING pg_catalog.max(version) OPERATOR(pg_catalog.<=) $1),"
							  " free AS MATERIALIZED (SELECT n.note_id, n.relation, n.hash, k.notes"
							  "  FROM multicenter.key_note n, key k WHERE n.kind OPERATOR(pg_catalog.=) 'c'"
							  "  AND n.relation OPERATOR(pg_catalog.=) k.relation AND n.hash OPERATOR(pg_catalog.=) k.hash"
							  "  FOR UPDATE OF n SKIP LOCKED),"
							  " whole AS (SELECT relation, hash FROM free GROUP BY relation, hash, notes"
							  "  HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) notes)"
							  " DELETE FROM multicenter.key_note n USING free f, whole w"
							  " WHERE f.note_id OPERATOR(pg_catalog.=) n.note_id"
							  " AND f.relation OPERATOR(pg_catalog.=) w.relation AND f.hash OPERATOR(pg_catalog.=) w.hash",
							  1, types, values, NULL, false, 0);
		if (SPI_processed > 0)
			mc_notes_writing();
	}
	mc_step_end();
}

/*
 * Up to when nothing that waits in quarantine can decide anything: all before
 * it is decided, and its authors had seen that.  Tells peers, if nobody is
 * writing there: what is not committed yet is not found, and is not to be
 * forgotten.  Never waits.
 */
static TimestampTz
look_into_quarantine(void)
{
	Oid			relid = get_relname_relid("quarantine_entry",
										  get_namespace_oid(MC_SCHEMA, false));
	bool		alone = ConditionalLockRelationOid(relid, ShareLock);
	TimestampTz seen_until;
	TimestampTz oldest = mc_quarantine_oldest(&seen_until);

	if (alone)
		mc_vector_set_quarantined(oldest);
	return oldest == 0 ? DT_NOEND : Min(oldest - 1, seen_until);
}

/*
 * Where policies decide, a delete matters, too, to a newer change that had not
 * seen it: *seen is what has been seen by all.
 */
static TimestampTz
decided_up_to(TimestampTz *seen)
{
	TimestampTz decided;

	StartTransactionCommand();
	decided = look_into_quarantine();
	*seen = mc_policies_any() || mc_column_policies_any() ?
		mc_vector_seen_by_all(MyDatabaseId) : DT_NOEND;
	CommitTransactionCommand();
	return Min(*seen, decided);
}

/* Rows that are in conflict all the time have very many notes. */
static bool
purge_is_due(TimestampTz now)
{
	static uint64 generation = 0;
	uint64		current = generation;
	bool		unchanged = mc_notes_unchanged(&current) && generation != 0;

	if (!is_due(last_purge, now, unchanged ? PURGE_MS : PURGE_NEW_MS))
		return false;
	generation = current;
	return true;
}

void
mc_horizon_look(bool alone)
{
	if (!begun)
		return;
	take_sample();
	mc_promises_read(&promises);
	promised = alone ? mc_clock_newest() : mc_vector_frontier(MyDatabaseId);
}

/*
 * After mc_horizon_look(): what waits in quarantine, or is displaced, when we
 * look for it is what may need a row that had died before the sample, and what
 * comes to wait later does so because of changes that are newer than the
 * promises say.
 */
void
mc_horizon_work(bool alone)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz frontier = promised;
	TimestampTz decided;
	TimestampTz seen;
	bool		none_displaced;
	bool		order_decides;

	if (!begun)
		return;
	decided = decided_up_to(&seen);
	mc_kept_work(Min(frontier, seen), alone);
	frontier = Min(frontier, decided);
	pg_atomic_write_u32(&database->slowest_peer, slowest_peer());
	pg_atomic_write_u64(&database->frontier, (uint64) frontier);
	none_displaced = mc_displace_none();

	/* Clocks of peers may be ahead: what comes after the sample is not seen. */
	if (none_displaced)
		displaced_seen = Min(frontier, samples[nsamples - 1].floor);
	frontier = Min(frontier, displaced_seen);
	order_decides = none_displaced && decided == DT_NOEND && seen == DT_NOEND;
	mc_hold_set_following(alone && none_displaced && decided == DT_NOEND ? HOLD_FOLLOWS_ALL :
						  seen == DT_NOEND ? HOLD_FOLLOWS_UPDATES : HOLD_STAYS,
						  order_decides && !alone && !mc_fence_any() ? promised : 0);
	follow(frontier, order_decides ? &promises : NULL, now);
	pfree(promises.peers);
	promises.peers = NULL;
	if (frontier > 0 && purge_is_due(now))
	{
		purge_notes(frontier);
		purge_changes(frontier);
		last_purge = now;
	}
}

/* Clocks of peers may be ahead: what is committed here from now on is not seen. */
TimestampTz
mc_horizon_frontier(void)
{
	TimestampTz frontier;
	TimestampTz before;

	if (!begun)
		return 0;
	frontier = (TimestampTz) pg_atomic_read_u64(&database->frontier);
	before = mc_clock_newest() - 1;
	return Min(frontier, before);
}

void
mc_horizon_displaced_seen(TimestampTz frontier)
{
	displaced_seen = frontier;
}

/* Set a time of the result; 0 is null. */
static void
set_time(Datum *value, bool *isnull, pg_atomic_uint64 *source)
{
	TimestampTz time = (TimestampTz) pg_atomic_read_u64(source);

	*value = TimestampTzGetDatum(time);
	*isnull = time == 0;
}

/* What shared memory knows of the horizon; the source of the view horizon. */
Datum
mc_horizon_status(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[6] = {0};
	bool		isnull[6];
	SharedDatabase *entry = mc_shared ? mc_shared_database(MyDatabaseId, false) : NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(isnull, true, sizeof(isnull));
	if (entry != NULL)
	{
		TransactionId xid = pg_atomic_read_u32(&entry->horizon_xid);
		uint32		peer = pg_atomic_read_u32(&entry->slowest_peer);

		values[0] = TransactionIdGetDatum(xid);
		isnull[0] = !TransactionIdIsValid(xid);
		set_time(&values[1], &isnull[1], &entry->horizon_ts);
		set_time(&values[2], &isnull[2], &entry->horizon_at);
		set_time(&values[3], &isnull[3], &entry->frontier);
		set_time(&values[4], &isnull[4], &entry->forgotten);
		values[5] = Int32GetDatum((int32) peer);
		isnull[5] = peer == MC_NO_CENTER;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, isnull)));
}
