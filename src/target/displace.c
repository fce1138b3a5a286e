/*-------------------------------------------------------------------------
 *
 * displace.c
 *	  Rows that clash on another unique key than the one they are found by.
 *
 * NOTES
 *	  Two centers may give one unique value to two rows.  Both rows exist, but
 *	  only one can be in the table; which one is a function of the rows alone:
 *
 *		taken from the greatest version to the least (ties by key), a row is
 *		visible if it clashes with no visible greater row.
 *
 *	  The others are displaced: kept as notes (note.h), at their versions, for
 *	  lookups to find.  Every center comes to the same end, in whatever order
 *	  the rows arrive, and nothing need be sent.
 *
 *	  While a transaction is applied, indexes only report what may be a clash
 *	  (write.c), so that values may be swapped.  Before the commit the rows in
 *	  question and all displaced rows of the table are decided on in one pass,
 *	  by descending version.  That is exact: when a row's turn comes all
 *	  greater ones are decided, and a row that is not looked at can only be
 *	  displaced by one that is.
 *
 *	  Others cannot commit a clashing row meanwhile: ours is in the index
 *	  before it is looked for clashes, so they wait for us, or we find theirs
 *	  and wait for them, and begin anew.
 *
 *	  Rows also come back when a local transaction frees a value: the manager
 *	  looks for that once in a second.  What is in progress then is left for
 *	  the next time.  Its commit is tagged so that nobody replicates it.
 *
 *	  A row that goes or comes in this way keeps its version: NOTE_REMOVED and
 *	  NOTE_VERSION say so of the transaction that did it.  It is a change of
 *	  place only, so no trigger fires and no foreign key is checked.
 *
 *	  What is displaced for multicenter.displaced_retention its author deletes
 *	  for good, or the first center that is ready if the author is none any
 *	  more: by an ordinary DELETE of the key, at the version of an ordinary
 *	  commit.  So nothing else need know of it: the delete competes, travels
 *	  and is remembered as every other.  For that the row is written once more
 *	  and deleted at once, and only the second is sent (mc_write_tombstone()).
 *	  How long a row has been displaced is known from its note, so a restart
 *	  does not begin the time anew.
 *
 *	  The history has each row when it is displaced, and once more when it is
 *	  deleted for good.  Whoever drops a note because something newer is known
 *	  of the key need not record that again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "state/claim.h"
#include "state/fence.h"
#include "state/registry.h"
#include "state/settings.h"
#include "storage/lmgr.h"
#include "target/attempt.h"
#include "target/clash.h"
#include "target/column_trigger.h"
#include "target/columns.h"
#include "target/conflict.h"
#include "target/displace.h"
#include "target/local_map.h"
#include "target/lookup.h"
#include "target/quarantine.h"
#include "target/write.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* So many rows are deleted for good in one transaction. */
#define RETIRE_LIMIT	1000

/* What the work on a table is for. */
typedef enum SettleMode
{
	SETTLE_CLASHES,				/* rows that clash: one of them must go */
	SETTLE_ALL,					/* and who can come back, does */
	SETTLE_LOOK,				/* the manager's look at who can: never wait */
	SETTLE_RETIRE,				/* the manager deletes old ones for good */
} SettleMode;

/* A row just written that may clash. */
typedef struct Suspect
{
	Oid			relid;
	ItemPointerData tid;		/* as the indexes have it */
	bool		update;
} Suspect;

/* The work on one table. */
typedef struct Settlement
{
	RemoteTransaction *transaction;
	TargetTable *table;
	SettleMode	mode;
	ClashSearch search;
	List	   *history;		/* ConflictRecord * */
	List	   *centers;		/* to retire rows: Center * */
} Settlement;

bool
mc_displace_possible(TargetTable *table)
{
	ResultRelInfo *relinfo = table->relinfo;

	if (table->index == NULL || table->map->group_catalog)
		return false;
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
	{
		IndexInfo  *info = relinfo->ri_IndexRelationInfo[i];

		if (RelationGetRelid(relinfo->ri_IndexRelationDescs[i]) != table->map->index &&
			(info->ii_Unique || info->ii_ExclusionOps))
			return true;
	}
	return false;
}

void
mc_displace_note(RemoteTransaction *transaction, TargetTable *table,
				 const ItemPointerData *tid, bool update)
{
	MemoryContext old_context = MemoryContextSwitchTo(transaction->context);
	Suspect    *suspect = palloc(sizeof(Suspect));

	suspect->relid = RelationGetRelid(table->rel);
	suspect->tid = *tid;
	suspect->update = update;
	transaction->clashes = lappend(transaction->clashes, suspect);
	MemoryContextSwitchTo(old_context);
}

void
mc_displace_touch(RemoteTransaction *transaction, Oid relid)
{
	MemoryContext old_context = MemoryContextSwitchTo(transaction->context);

	transaction->touched = list_append_unique_oid(transaction->touched, relid);
	MemoryContextSwitchTo(old_context);
}

void
mc_displace_closing(RemoteTransaction *transaction, TargetTable *table)
{
	if (table->displaces && mc_note_possible(table))
		mc_displace_touch(transaction, RelationGetRelid(table->rel));
}

/* The greatest first. */
static int
compare_cells(const ListCell *a, const ListCell *b)
{
	return mc_clash_compare(lfirst(b), lfirst(a));
}

/* Put the values of a displaced row into table->write_row. */
static void
load_displaced(TargetTable *table, const ClashRow *row)
{
	TupleTableSlot *slot = table->write_row;

	mc_note_row_from_jsonb(table, row->values, &table->new_row);
	ExecClearTuple(slot);
	for (int i = 0; i < table->map->natts; i++)
	{
		slot->tts_values[i] = table->new_row.values[i];
		slot->tts_isnull[i] = table->new_row.isnull[i];
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(table->rel);

	/* Generated columns may belong to an index. */
	if (RelationGetDescr(table->rel)->constr &&
		RelationGetDescr(table->rel)->constr->has_generated_stored)
		ExecComputeStoredGenerated(table->relinfo, table->estate, slot,
								   CMD_INSERT);
}

/* ---- effects ---- */

/* The text of a jsonb value. */
static char *
jsonb_text(const Jsonb *value)
{
	return JsonbToCString(NULL, (JsonbContainer *) &value->root, VARSIZE(value));
}

/*
 * Tell the history.  clash is the one of both rows that was found by an index;
 * suspect is the other one.  The row of the transaction is the remote one.
 */
static void
note_history(Settlement *settlement, const ClashRow *loser,
			 const ClashRow *winner, const ClashRow *clash)
{
	RemoteTransaction *transaction = settlement->transaction;
	const ClashRow *suspect = clash == loser ? winner : loser;
	MemoryContext old_context = MemoryContextSwitchTo(transaction->context);
	ConflictRecord *record = palloc0(sizeof(ConflictRecord));

	if (settlement->mode == SETTLE_RETIRE)
		record->resolution = "skip";
	else
		record->resolution = suspect == winner ? "apply_remote" : "keep_local";
	if (clash->exclusion)
		record->type = CONFLICT_EXCLUSION_VIOLATION;
	else if (clash->several)
		record->type = CONFLICT_MULTIPLE_UNIQUE;
	else
		record->type = suspect->update ? CONFLICT_UPDATE_EXISTS : CONFLICT_INSERT_EXISTS;
	record->peer = settlement->mode >= SETTLE_LOOK ?
		suspect->version.center : transaction->peer;
	record->relid = suspect->key.relid;
	record->key_json = jsonb_text(suspect->key.values);
	record->remote_row_json = mc_conflict_jsonb_row(suspect->values);
	record->local_row_json = mc_conflict_jsonb_row(clash->values);
	record->result_row_json = mc_conflict_jsonb_row(winner->values);
	record->local = clash->version;
	record->remote = suspect->version;
	record->remote_lsn = transaction->commit_lsn;
	record->remote_xid = transaction->remote_xid;
	record->index_name = get_rel_name(clash->index);
	settlement->history = lappend(settlement->history, record);
	MemoryContextSwitchTo(old_context);
}

/* Remove notes of a key that a new one replaces. */
static void
remove_old_notes(List *notes)
{
	ListCell   *cell;

	foreach(cell, notes)
	{
		KeyNote    *note = lfirst(cell);

		if (note->kind == NOTE_DISPLACED || note->kind == NOTE_TOMBSTONE)
			mc_note_remove(note->id);
	}
}

/* Write a note about a row that goes or comes in this transaction. */
static void
add_note(NoteKind kind, const ClashRow *row, const ClashRow *winner)
{
	KeyNote		note = {0};

	note.kind = kind;
	note.key = row->key;
	note.version = row->version;
	if (kind == NOTE_DISPLACED)
	{
		note.row = row->values;
		note.displaced_by = winner->key.values;
	}
	else
		note.xid = GetCurrentTransactionId();
	mc_note_add(&note);
}

/*
 * Take a row out of the table.  Returns false if another transaction has
 * changed it meanwhile.
 */
static bool
displace_row(Settlement *settlement, ClashRow *row, const ClashRow *winner)
{
	TM_FailureData failure;
	TM_Result	result;

	CommandCounterIncrement();
	result = table_tuple_delete_compat(settlement->table->rel, &row->tid,
									   GetCurrentCommandId(true),
									   GetActiveSnapshot(), &failure);
	if (result != TM_Ok)
		return false;
	CommandCounterIncrement();
	remove_old_notes(row->notes);
	add_note(NOTE_DISPLACED, row, winner);
	add_note(NOTE_REMOVED, row, NULL);
	return true;
}

/* Displace the rows that a visible one clashes with. */
static bool
displace_losers(Settlement *settlement, List *losers, const ClashRow *winner)
{
	ListCell   *cell;

	foreach(cell, losers)
	{
		ClashRow   *loser = lfirst(cell);

		if (!displace_row(settlement, loser, winner))
			return false;
		note_history(settlement, loser, winner, loser);
	}
	return true;
}

/* ---- decisions ---- */

/*
 * Is a displaced row still what is known of its key?  Otherwise somebody has
 * put the key again, or deleted it, and the note goes.  Claims the key.
 */
static bool
still_displaced(Settlement *settlement, ClashRow *row)
{
	TargetTable *table = settlement->table;
	LocalRow	local;

	mc_note_row_from_jsonb(table, row->values, &table->new_row);
	mc_lookup(settlement->transaction, table, &table->new_row,
			  table->local_row, true, &local);
	if (local.displaced == NULL && !local.found)
		return false;
	if (!local.found && local.displaced->id == row->displaced->id &&
		mc_version_compare(local.state.version, row->version) == 0)
		return true;
	remove_old_notes(list_make1(row->displaced));
	return false;
}

/* Is there a row in the table under the key of a displaced one? */
static bool
is_replaced(Settlement *settlement, ClashRow *row)
{
	TargetTable *table = settlement->table;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		found;

	mc_note_row_from_jsonb(table, row->values, &table->new_row);
	found = mc_table_find_visible(table, &table->new_row, table->local_row,
								  snapshot);
	UnregisterSnapshot(snapshot);
	ExecClearTuple(table->local_row);
	return found;
}

/*
 * Let a displaced row come back if it clashes with no greater one.  Nothing
 * waits for that: what is in progress is seen to later.  Returns false to
 * begin anew.
 */
static bool
decide_displaced(Settlement *settlement, ClashRow *row)
{
	TargetTable *table = settlement->table;
	List	   *clashes;

	/*
	 * A local transaction may have put the key, and perhaps deleted it again.
	 * The note must go while the dead row still says so: the horizon waits
	 * for the manager's look.
	 */
	if ((settlement->mode == SETTLE_LOOK || is_replaced(settlement, row)) &&
		!still_displaced(settlement, row))
		return true;
	load_displaced(table, row);
	if (mc_clash_find(&settlement->search, table->write_row, NULL, &clashes) == CLASH_BUSY ||
		mc_clash_winner(clashes, row) != NULL)
		return true;
	if (!still_displaced(settlement, row))
		return true;
	if (!displace_losers(settlement, clashes, row))
		return false;
	load_displaced(table, row);
	if (mc_write_insert(settlement->transaction, table) != WRITE_DONE)
		return false;
	remove_old_notes(list_make1(row->displaced));
	add_note(NOTE_VERSION, row, NULL);
	CommandCounterIncrement();
	return true;
}

/* Find a row by its place in the indexes; false if it is dead. */
static bool
fetch_suspect(TargetTable *table, const Suspect *suspect, TupleTableSlot *slot)
{
	IndexFetchTableData *fetch = table_index_fetch_begin_compat(table->rel);
	ItemPointerData tid = suspect->tid;
	bool		call_again = false;
	bool		found;

	found = table_index_fetch_tuple(fetch, &tid, SnapshotSelf, slot,
									&call_again, NULL);
	if (found)
		ExecMaterializeSlot(slot);
	table_index_fetch_end(fetch);
	return found;
}

/* Fetch a row of the table by its own place; false if it is dead. */
static bool
fetch_row(Settlement *settlement, const ClashRow *row)
{
	TargetTable *table = settlement->table;

	return table_tuple_fetch_row_version(table->rel,
										 unconstify(ItemPointerData *, &row->tid),
										 SnapshotSelf, table->local_row);
}

/*
 * Decide on a row of this transaction: either it goes, or those that it
 * clashes with.  Returns false to begin anew, perhaps after waiting.
 */
static bool
decide_suspect(Settlement *settlement, ClashRow *row)
{
	ClashRow   *winner;
	List	   *clashes;

	/* A greater row may have displaced it. */
	if (!fetch_row(settlement, row))
		return true;
	if (mc_clash_find(&settlement->search, settlement->table->local_row, &row->tid,
					  &clashes) == CLASH_BUSY)
		return false;
	winner = mc_clash_winner(clashes, row);
	if (winner == NULL)
		return displace_losers(settlement, clashes, row);
	if (!displace_row(settlement, row, winner))
		return false;
	note_history(settlement, row, winner, winner);
	return true;
}

/* ---- deleted for good ---- */

/*
 * Is it up to this center to delete the displaced rows of an author?  Should
 * two centers think so, while the list of centers changes, no harm is done.
 */
static bool
is_ours_to_retire(List *centers, CenterId our_id, CenterId author)
{
	CenterId	first = MC_NO_CENTER;
	ListCell   *cell;

	foreach(cell, centers)
	{
		const Center *center = lfirst(cell);

		if (center->id == author)
			return author == our_id && center->state == CENTER_READY;
		if (first == MC_NO_CENTER && center->state == CENTER_READY)
			first = center->id;
	}
	return first == our_id;
}

/* What the other centers need to know of the delete beforehand. */
static void
tell_delete(Settlement *settlement, const ClashRow *row)
{
	TimestampTz timestamp;
	uint16		origin;

	if (!mc_columns_possible(settlement->table))
		return;
	origin = mc_session_origin(&timestamp);
	mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
	mc_column_keep_delete(settlement->transaction, settlement->table, &row->key,
						  mc_note_find(settlement->table, &row->key), row->version);
	mc_session_origin_set(origin, InvalidXLogRecPtr, timestamp);
}

/*
 * Delete a displaced row for good.  Returns false if it is left alone: it is
 * about to come back, or a change of it waits in quarantine.  The transaction
 * fails if somebody is inserting the key: that is for the next time.
 */
static bool
retire_row(Settlement *settlement, ClashRow *row)
{
	TargetTable *table = settlement->table;
	ClashRow   *winner;
	List	   *clashes;

	if (is_replaced(settlement, row))
		return false;
	load_displaced(table, row);
	if (mc_clash_find(&settlement->search, table->write_row, NULL, &clashes) == CLASH_BUSY)
		return false;
	winner = mc_clash_winner(clashes, row);
	if (winner == NULL || !still_displaced(settlement, row))
		return false;
	load_displaced(table, row);
	if (mc_note_quarantine_possible(table) &&
		mc_quarantine_find(table, &table->new_row) != NIL)
		return false;
	tell_delete(settlement, row);
	if (!mc_write_tombstone(table, true))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another transaction is inserting the key of a displaced row")));
	remove_old_notes(list_make1(row->displaced));
	note_history(settlement, row, winner, winner);
	settlement->transaction->derived = true;
	CommandCounterIncrement();
	return true;
}

/* Delete the rows of a table for good that have been displaced for long. */
static void
retire_rows(Settlement *settlement)
{
	TargetTable *table = settlement->table;
	TimestampTz due = GetCurrentTimestamp() -
	mc_displaced_retention_s * USECS_PER_SEC;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, mc_note_list(RelationGetRelid(table->rel), NOTE_DISPLACED))
	{
		KeyNote    *note = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (note->since <= due &&
			is_ours_to_retire(settlement->centers,
							  settlement->transaction->our_id,
							  note->version.center) &&
			retire_row(settlement, mc_clash_of_note(note)) &&
			++count >= RETIRE_LIMIT)
			break;
		ResetPerTupleExprContext(table->estate);
	}
}

/* ---- all rows of a table ---- */

/* The rows to be decided on, the greatest first. */
static List *
collect_rows(Settlement *settlement)
{
	TargetTable *table = settlement->table;
	Oid			relid = RelationGetRelid(table->rel);
	List	   *rows = NIL;
	ListCell   *cell;

	foreach(cell, settlement->transaction->clashes)
	{
		Suspect    *suspect = lfirst(cell);
		ClashRow   *row;

		if (suspect->relid != relid ||
			!fetch_suspect(table, suspect, table->local_row))
			continue;
		row = mc_clash_of_row(&settlement->search, table->local_row);
		row->update = suspect->update;
		rows = lappend(rows, row);
	}
	if (settlement->mode != SETTLE_CLASHES)
	{
		foreach(cell, mc_note_list(relid, NOTE_DISPLACED))
			rows = lappend(rows, mc_clash_of_note(lfirst(cell)));
	}
	list_sort(rows, compare_cells);
	return rows;
}

/* One pass over the rows of a table; false to begin anew. */
static bool
decide_all(Settlement *settlement)
{
	ListCell   *cell;

	foreach(cell, collect_rows(settlement))
	{
		ClashRow   *row = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (row->displaced ? !decide_displaced(settlement, row) :
			!decide_suspect(settlement, row))
			return false;
		ResetPerTupleExprContext(settlement->table->estate);
	}
	return true;
}

/* Wait for the transaction that was in the way. */
static void
wait_for_other(Settlement *settlement)
{
	TransactionId xid = settlement->search.wait_for;

	settlement->search.wait_for = InvalidTransactionId;
	if (!TransactionIdIsValid(xid))
		return;
	if (settlement->search.wait_token != 0)
		SpeculativeInsertionWait(xid, settlement->search.wait_token);
	else
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

/* ---- tables ---- */

/*
 * Open a table of ours by its OID; NULL if nothing can be displaced there.
 * local: in the manager, which waits for nobody.
 */
static TargetTable *
open_table(RemoteTransaction *transaction, Oid relid, bool local)
{
	TargetTable *table;
	RelationMap *map;
	Relation	rel;

	if (local && !ConditionalLockRelationOid(relid, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the table with OID %u is locked", relid)));
	rel = try_relation_open(relid, local ? NoLock : RowExclusiveLock);
	if (rel == NULL)
		return NULL;
	map = mc_local_map(rel);
	relation_close(rel, NoLock);
	if (map == NULL)
		return NULL;
	table = mc_table_open(transaction, map);

	/* Rows only change their place: no trigger fires. */
	table->fires_triggers = false;
	table->relinfo->ri_TrigDesc = NULL;
	if (table->displaces)
		return table;
	mc_table_close(transaction, table);
	return NULL;
}

/* Close it, and do not take that for a change. */
static void
close_table(RemoteTransaction *transaction, TargetTable *table)
{
	table->displaces = false;
	mc_table_close(transaction, table);
}

/* Forget the rows of one table that may clash. */
static void
forget_suspects(RemoteTransaction *transaction, Oid relid)
{
	ListCell   *cell;

	foreach(cell, transaction->clashes)
	{
		if (((Suspect *) lfirst(cell))->relid == relid)
			transaction->clashes = foreach_delete_current(transaction->clashes, cell);
	}
}

/* Decide until nothing is in the way any more. */
static void
decide_table(Settlement *settlement)
{
	RemoteTransaction *transaction = settlement->transaction;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "multicenter displace",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	OwnerScope	scope;
	bool		done = settlement->mode == SETTLE_RETIRE;

	/* Index expressions and the input of types may run code of users. */
	mc_owner_enter(settlement->table->map->owner, &scope);
	if (done)
		retire_rows(settlement);
	while (!done)
	{
		int			before = list_length(transaction->clashes);

		CHECK_FOR_INTERRUPTS();
		done = decide_all(settlement) &&
			list_length(transaction->clashes) == before;
		if (!done)
			wait_for_other(settlement);
		CommandCounterIncrement();
		MemoryContextReset(context);
	}
	mc_owner_leave(&scope);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
}

/* Settle one table. */
static void
settle_table(RemoteTransaction *transaction, Oid relid, SettleMode mode)
{
	Settlement	settlement = {.transaction = transaction,.mode = mode};
	TargetTable *table;
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	table = open_table(transaction, relid, mode >= SETTLE_LOOK);
	if (table)
	{
		settlement.table = table;
		settlement.search.transaction = transaction;
		settlement.search.table = table;
		settlement.search.found = table_slot_create(table->rel, NULL);
		table->estate->es_snapshot = GetActiveSnapshot();
		if (mode == SETTLE_RETIRE)
			settlement.centers = mc_registry_centers();
		decide_table(&settlement);
		table->estate->es_snapshot = InvalidSnapshot;
		ExecDropSingleTupleTableSlot(settlement.search.found);
		close_table(transaction, table);
	}
	PopActiveSnapshot();
	forget_suspects(transaction, relid);
	foreach(cell, settlement.history)
	{
		ConflictRecord *entry = lfirst(cell);

		mc_history_add(&transaction->history, transaction->context, entry);
		transaction->counters.conflicts++;
		transaction->counters.conflicts_of[entry->type]++;
	}
}

void
mc_displace_settle(RemoteTransaction *transaction, bool final)
{
	if (transaction->clashes == NIL &&
		(!final || transaction->touched == NIL))
		return;
	CommandCounterIncrement();
	while (transaction->clashes != NIL)
	{
		Oid			relid = ((Suspect *) linitial(transaction->clashes))->relid;

		settle_table(transaction, relid, final ? SETTLE_ALL : SETTLE_CLASHES);
		if (final)
			transaction->touched = list_delete_oid(transaction->touched, relid);
		else
			mc_displace_touch(transaction, relid);
	}
	while (final && transaction->touched != NIL)
	{
		settle_table(transaction, linitial_oid(transaction->touched), SETTLE_ALL);
		transaction->touched = list_delete_first(transaction->touched);
	}
}

/* ---- the manager's look ---- */

/* A table that has displaced rows. */
typedef struct DisplacedTable
{
	Oid			relid;
	TimestampTz since;			/* the first of them */
} DisplacedTable;

/* The tables that have displaced rows, in the current memory context. */
static List *
find_tables(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *tables = NIL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	SPI_execute("SELECT relation, pg_catalog.min(since) FROM multicenter.key_note"
				" WHERE kind OPERATOR(pg_catalog.=) 'd' GROUP BY relation", true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		DisplacedTable *table = palloc(sizeof(DisplacedTable));
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;

		table->relid = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc,
													  1, &isnull));
		table->since = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc,
														 2, &isnull));
		tables = lappend(tables, table);
		MemoryContextSwitchTo(old_context);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return tables;
}

/* Let rows of one table come back; for mc_attempt(). */
static void
look_at_table(RemoteTransaction *transaction, void *arg)
{
	settle_table(transaction, *(Oid *) arg, SETTLE_LOOK);
}

/*
 * Delete old rows of one table for good; for mc_attempt().  A transaction of
 * its own, because unlike that of a look it has a version.
 */
static void
retire_in_table(RemoteTransaction *transaction, void *arg)
{
	settle_table(transaction, *(Oid *) arg, SETTLE_RETIRE);
}

/* What the last look has found: no displaced rows, among these notes. */
static uint64 looked_at = 0;
static bool found_none = false;

bool
mc_displace_none(void)
{
	uint64		generation = looked_at;

	return mc_notes_unchanged(&generation) && looked_at != 0 && found_none;
}

AttemptResult
mc_displace_look(CenterId our_id)
{
	uint64		generation = looked_at;
	TimestampTz due;
	AttemptResult result = ATTEMPT_DONE;
	List	   *tables;
	ListCell   *cell;

	if (mc_displace_none())
		return ATTEMPT_DONE;
	(void) mc_notes_unchanged(&generation);
	tables = find_tables();
	found_none = tables == NIL;
	looked_at = generation;
	due = GetCurrentTimestamp() - mc_displaced_retention_s * USECS_PER_SEC;
	foreach(cell, tables)
	{
		DisplacedTable *table = lfirst(cell);
		AttemptResult found = mc_attempt(our_id, look_at_table, &table->relid, NULL);

		result = Max(result, found);

		/* Only the manager changes what is fenced: nothing is now, or later. */
		if (table->since <= due && mc_fence(table->relid) == FENCE_NONE)
		{
			found = mc_attempt(our_id, retire_in_table, &table->relid, NULL);
			result = Max(result, found);
		}
	}
	list_free_deep(tables);
	return result;
}
