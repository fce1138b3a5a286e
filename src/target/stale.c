/*-------------------------------------------------------------------------
 *
 * stale.c
 *	  Remove notes about rows that are there no more.
 *
 * NOTES
 *	  A row that was completed or refreshed has its version, and its author,
 *	  by a note (NOTE_VERSION).  In a table with large values that note lasts
 *	  as long as the row: nothing older than the frontier is still to be
 *	  decided, but an answer of the row's author may come at any time, and is
 *	  compared with it; and only the author may send the row to others.
 *
 *	  What another transaction has put in the place of the row has another
 *	  version, so the note says nothing any more.
 *
 *	  Rows that came with a join have the base version once nothing older can
 *	  arrive: there may be many of them, and looking for notes is not free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "state/registry.h"
#include "state/shared.h"
#include "storage/lmgr.h"
#include "target/attempt.h"
#include "target/local_map.h"
#include "target/note.h"
#include "target/stale.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* So many notes of a table are looked at in one go. */
#define STALE_LIMIT		1000

/* Is the row there that a note is about? */
static bool
row_is_there(TargetTable *table, const KeyNote *note, Snapshot snapshot)
{
	TupleTableSlot *slot = table->local_row;
	TransactionId xmin;
	bool		isnull;

	mc_note_row_from_jsonb(table, note->key.values, &table->old_row);

	/* Its columns have other names now. */
	if (mc_table_key_has_null(table, &table->old_row))
		return true;
	if (!mc_table_find_visible(table, &table->old_row, slot, snapshot))
		return false;
	xmin = DatumGetTransactionId(slot_getsysattr(slot,
												 MinTransactionIdAttributeNumber,
												 &isnull));
	ExecClearTuple(slot);
	return xmin == note->xid;
}

/* Is the note about a row that came with a join, and not needed any more? */
static bool
was_copied(const KeyNote *note, CenterId our_id)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);
	TimestampTz commit_ts;
	TimestampTz frontier;
	uint16		origin;

	if (database == NULL ||
		!TransactionIdGetCommitTsData(note->xid, &commit_ts, &origin) ||
		mc_author_of_origin(origin, our_id) != MC_NO_CENTER)
		return false;
	frontier = (TimestampTz) pg_atomic_read_u64(&database->frontier);
	return note->version.commit_ts <= frontier && commit_ts <= frontier &&
		note->since <= frontier;
}

/* Look at notes of a table that is open; as its owner. */
static void
look_at_notes(TargetTable *table, CenterId our_id)
{
	static uint32 start = 0;
	List	   *notes = mc_note_list(table->map->relid, NOTE_VERSION);
	int			number = list_length(notes);
	bool		displaced = mc_note_list(table->map->relid, NOTE_DISPLACED) != NIL;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	/* Displaced rows are compared with whatever is there. */
	for (int i = 0; i < Min(number, STALE_LIMIT); i++)
	{
		const KeyNote *note = list_nth(notes, (start + i) % number);

		CHECK_FOR_INTERRUPTS();
		if ((!displaced && was_copied(note, our_id)) || !row_is_there(table, note, snapshot))
			mc_note_remove(note->id);
	}
	start += STALE_LIMIT;
	UnregisterSnapshot(snapshot);
}

/* Look at notes of one table; for mc_attempt(). */
static void
look_at_table(RemoteTransaction *transaction, void *arg)
{
	Relation	rel = try_relation_open(*(Oid *) arg, RowExclusiveLock);
	RelationMap *map = rel ? mc_local_map(rel) : NULL;
	TargetTable *table;
	OwnerScope	scope;

	if (rel)
		relation_close(rel, NoLock);
	if (map == NULL)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	table = mc_table_open(transaction, map);

	/* Nothing is written, so no displaced row has to be looked at. */
	table->displaces = false;
	mc_owner_enter(map->owner, &scope);
	if (table->index)
		look_at_notes(table, transaction->our_id);
	mc_owner_leave(&scope);
	mc_table_close(transaction, table);
	PopActiveSnapshot();
}

/* The tables that have such notes, in the current memory context. */
static List *
find_tables(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *relids = NIL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	SPI_execute("SELECT DISTINCT relation FROM multicenter.key_note"
				" WHERE kind OPERATOR(pg_catalog.=) 'v'", true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		bool		isnull;

		relids = lappend_oid(relids,
							 DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															SPI_tuptable->tupdesc,
															1, &isnull)));
		MemoryContextSwitchTo(old_context);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return relids;
}

void
mc_stale_look(CenterId our_id)
{
	List	   *relids = find_tables();
	ListCell   *cell;

	foreach(cell, relids)
	{
		Oid			relid = lfirst_oid(cell);

		(void) mc_attempt(our_id, look_at_table, &relid, NULL);
	}
	list_free(relids);
}
