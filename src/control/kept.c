/*-------------------------------------------------------------------------
 *
 * kept.c
 *	  Keep the WAL from which deletes can be remembered again.
 *
 * NOTES
 *	  Dead rows are kept for peers that are late only for so long (horizon.c).
 *	  What they said stands in our WAL, and target/rebuild.c reads it back
 *	  before changes are applied that may need it.  This file sees to it that
 *	  the WAL goes back far enough.
 *
 *	  A logical slot is kept that nobody reads, with the greatest commit
 *	  timestamp, its "floor", that anything before its position can have.  A
 *	  change that a delete before that position can compete with is not newer
 *	  than the floor.  Once the frontier has passed the floor none such can
 *	  arrive, and what the slot has is all that is needed.  (Where conflict
 *	  policies decide, the frontier is that of what all have seen.)
 *
 *	  So that WAL does not pile up a second slot is made after some time, a
 *	  copy of one that serves a peer, which costs a few small files and no
 *	  decoding.  When the frontier has passed the floor of the second one the
 *	  first one goes.  Neither does while a peer is late.
 *
 *	  multicenter.kept_wal has a row for each of them.  It is written after the
 *	  slot was made and removed before the slot is dropped: a slot without a
 *	  row, of which nobody knows the floor, is a leftover.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "control/kept.h"
#include "control/operation.h"
#include "core/merge.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "state/claim.h"
#include "state/clock.h"
#include "state/registry.h"
#include "state/shared.h"
#include "target/connection.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"

#define MAX_KEPT		2
#define ROLL_MS			30000	/* a later position is looked for so often */
#define RETRY_MS		1000	/* where there is none yet */

/* Leave room for a join, and for the slot that reads. */
#define SPARE_SLOTS		2

typedef struct Kept
{
	char		slot[NAMEDATALEN];
	TimestampTz floor;
} Kept;

/* The slots of which the table has rows, the older one first. */
static Kept kept[MAX_KEPT];
static int	nkept = 0;
static int64 next_roll_ms = 0;

/*
 * The table as it is now, with what this transaction has written, and the
 * oldest slot for everybody.
 */
static void
read_table(void)
{
	SPI_execute("SELECT slot_name, floor FROM multicenter.kept_wal ORDER BY floor",
				false, MAX_KEPT);
	nkept = (int) SPI_processed;
	for (int i = 0; i < nkept; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		value = SPI_getbinval(row, desc, 1, &isnull);

		strlcpy(kept[i].slot, NameStr(*DatumGetName(value)), NAMEDATALEN);
		value = SPI_getbinval(row, desc, 2, &isnull);
		kept[i].floor = DatumGetTimestampTz(value);
	}
	mc_shared_set_kept_floor(nkept > 0 ? kept[0].floor : 0);
}

/*
 * Run a command that changes the table, and drop slots that have no row then.
 * The change is made durable first: a row must not come back after a crash,
 * when a new slot may have the name.
 */
static void
change_table(const char *sql, const char *slot, TimestampTz floor)
{
	Oid			types[] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[] = {(Datum) 0, TimestampTzGetDatum(floor)};

	mc_step_begin();
	mc_clock_private();
	values[0] = CStringGetTextDatum(slot);
	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL,
							  false, 0) < 0)
		elog(ERROR, "could not change multicenter.kept_wal");
	read_table();
	ForceSyncCommit();
	mc_step_end();

	mc_step_begin();
	mc_step_sql("SELECT multicenter.internal_kept_drop_unknown()", 0, NULL);
	mc_step_end();
}

/* Forget slots that are gone or have lost their WAL, and drop unknown ones. */
static void
tidy(void)
{
	change_table("DELETE FROM multicenter.kept_wal k WHERE NOT EXISTS"
				 " (SELECT FROM pg_catalog.pg_replication_slots s"
				 "  WHERE s.slot_name OPERATOR(pg_catalog.=) k.slot_name"
				 "  AND s.wal_status OPERATOR(pg_catalog.<>) 'lost')", "", 0);
}

/* Forget the slots whose floor is less than this, and drop them. */
static void
forget_older(TimestampTz floor)
{
	change_table("DELETE FROM multicenter.kept_wal k"
				 " WHERE k.floor OPERATOR(pg_catalog.<) $2", "", floor);
}

/* A slot that is being made. */
typedef struct NewSlot
{
	char		name[NAMEDATALEN];
	bool		made;
} NewSlot;

/* Make a slot from that of the peer that is the furthest. */
static void
copy_slot(void *arg)
{
	NewSlot    *slot = arg;
	const char *params[] = {slot->name, psprintf("%d", SPARE_SLOTS)};

	mc_step_begin();
	slot->made = mc_step_sql("SELECT multicenter.internal_kept_make($1::pg_catalog.name, $2::pg_catalog.int4)",
							 2, params) != NULL;
	mc_step_end();
}

/*
 * Keep WAL from about now on.  Whatever stands before the position of the slot
 * is not newer than the floor, which is read later.
 */
static void
make_slot(void)
{
	NewSlot		slot = {{0}};
	ErrorData  *error;

	for (char suffix = 'a'; suffix < 'a' + MAX_KEPT; suffix++)
	{
		mc_kept_slot_name(slot.name, MyDatabaseId, suffix);
		if (nkept == 0 || strcmp(slot.name, kept[0].slot) != 0)
			break;
	}
	error = mc_operation_try(copy_slot, &slot);

	/* The end of a transaction does not give a slot back. */
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	if (error != NULL)
		ereport(LOG,
				(errmsg("could not make replication slot \"%s\": %s",
						slot.name, error->message)));
	if (slot.made && error == NULL)
		change_table("INSERT INTO multicenter.kept_wal (slot_name, floor)"
					 " VALUES ($1::pg_catalog.name, $2)", slot.name,
					 mc_clock_newest());
}

void
mc_kept_begin(void)
{
	tidy();
	next_roll_ms = mc_monotonic_ms();
}

/* Is the first of two slots not needed any more? */
static bool
may_forget_first(TimestampTz frontier)
{
	RowVersion	version = {0};

	if (nkept < MAX_KEPT)
		return false;
	version.commit_ts = kept[1].floor;
	return mc_merge_may_forget(version, frontier);
}

void
mc_kept_work(TimestampTz frontier, bool alone)
{
	int64		now_ms = mc_monotonic_ms();
	bool		forget = alone ? nkept > 0 : may_forget_first(frontier);
	bool		roll = !alone && now_ms >= next_roll_ms;

	if (!(forget || roll) || !mc_rebuild_lock(false))
		return;
	if (forget)
		forget_older(alone ? DT_NOEND : kept[1].floor);
	if (roll)
	{
		tidy();
		if (nkept < MAX_KEPT)
			make_slot();
		next_roll_ms = now_ms + (nkept > 0 ? ROLL_MS : RETRY_MS);
	}
	mc_rebuild_unlock();
}
