/*-------------------------------------------------------------------------
 *
 * history.c
 *	  The conflict history: one row for each conflict that was decided.
 *
 * NOTES
 *	  A row must cost apply as little as possible: a million conflicts in a
 *	  minute are one in 60 microseconds.  So rows are collected within their
 *	  transaction and written many at a time, as COPY would, without the
 *	  executor.
 *
 *	  It is written to one segment after the other, see segment.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "state/history.h"
#include "state/own.h"
#include "state/registry.h"
#include "state/segment.h"
#include "state/settings.h"
#include "state/shared.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_conflict_segment);

/* Columns of multicenter.conflict_history, in their order. */
typedef enum HistoryColumn
{
	HISTORY_CONFLICT_ID,
	HISTORY_SEGMENT,
	HISTORY_WRITTEN_XID,
	HISTORY_DETECTED_AT,
	HISTORY_PEER_ID,
	HISTORY_CONFLICT_TYPE,
	HISTORY_RESOLVER,
	HISTORY_RESOLUTION,
	HISTORY_RELATION,
	HISTORY_KEY,
	HISTORY_LOCAL_ROW,
	HISTORY_REMOTE_ROW,
	HISTORY_RESULT_ROW,
	HISTORY_LOCAL_CENTER_ID,
	HISTORY_LOCAL_VERSION,
	HISTORY_REMOTE_CENTER_ID,
	HISTORY_REMOTE_VERSION,
	HISTORY_REMOTE_LSN,
	HISTORY_REMOTE_XID,
	HISTORY_INDEX_NAME,
	HISTORY_POLICY_EPOCH,
	HISTORY_REVIEWED_AT,
	HISTORY_OVERRIDE_OF,
	HISTORY_ERROR_MESSAGE,
} HistoryColumn;

#define HISTORY_COLUMNS	(HISTORY_ERROR_MESSAGE + 1)

#define SEGMENTS			16	/* as in 10_tables.sql */

/* Rows are written when there are so many, or so many bytes, of them. */
#define BATCH_ROWS			256
#define BATCH_BYTES			(1024 * 1024)

typedef struct HistoryRow
{
	Datum		values[HISTORY_COLUMNS];
	bool		isnull[HISTORY_COLUMNS];
} HistoryRow;

struct HistoryBatch
{
	MemoryContext context;
	int			nrows;
	Size		bytes;			/* of the texts in it, about */
	HistoryRow	rows[BATCH_ROWS];
};

/* Where it is kept. */
static SegmentedTable segments = {"conflict_history", "conflict_segment", SEGMENTS};

/* Has this transaction written to the history? */
static bool wrote = false;

/* The transaction has ended: the manager announces what it has written. */
static void
transaction_ended(XactEvent event, void *arg)
{
	if (!wrote)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			mc_shared_set_conflicts();
			wrote = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wrote = false;
			break;
		default:
			break;
	}
}

/* This transaction writes to the history. */
static void
note_writing(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(transaction_ended, NULL);
	registered = true;
	wrote = true;
}

/* internal_conflict_segment(): for rows that are written by SQL. */
Datum
mc_conflict_segment(PG_FUNCTION_ARGS)
{
	note_writing();
	PG_RETURN_INT16(mc_segment_current(&segments));
}

/* Set a column. */
static void
set_value(HistoryRow *row, HistoryColumn column, Datum value)
{
	row->values[column] = value;
	row->isnull[column] = false;
}

/* Set a column of type text or json; null for NULL. */
static void
set_text(HistoryBatch *batch, HistoryRow *row, HistoryColumn column,
		 const char *value)
{
	if (value == NULL)
		return;
	set_value(row, column, CStringGetTextDatum(value));
	batch->bytes += strlen(value);
}

/* Set author and commit time of a version; null where it is not known. */
static void
set_version(HistoryRow *row, HistoryColumn center_column,
			HistoryColumn version_column, RowVersion version)
{
	if (version.center != MC_NO_CENTER)
		set_value(row, center_column, Int32GetDatum(version.center));
	if (version.commit_ts != 0)
		set_value(row, version_column, TimestampTzGetDatum(version.commit_ts));
}

/* Copy a conflict into a row, in the context of the batch. */
static void
fill_row(HistoryBatch *batch, HistoryRow *row, const ConflictRecord *conflict)
{
	memset(row->values, 0, sizeof(row->values));
	memset(row->isnull, true, sizeof(row->isnull));
	set_value(row, HISTORY_DETECTED_AT,
			  TimestampTzGetDatum(GetCurrentTimestamp()));
	set_value(row, HISTORY_PEER_ID, Int32GetDatum(conflict->peer));
	set_text(batch, row, HISTORY_CONFLICT_TYPE,
			 mc_conflict_type_name(conflict->type));
	set_text(batch, row, HISTORY_RESOLVER,
			 conflict->resolver ? conflict->resolver : "last_update_wins");
	set_text(batch, row, HISTORY_RESOLUTION, conflict->resolution);
	set_value(row, HISTORY_RELATION, ObjectIdGetDatum(conflict->relid));
	if (conflict->key_json)
		set_value(row, HISTORY_KEY,
				  DirectFunctionCall1(jsonb_in, CStringGetDatum(conflict->key_json)));
	set_text(batch, row, HISTORY_LOCAL_ROW, conflict->local_row_json);
	set_text(batch, row, HISTORY_REMOTE_ROW, conflict->remote_row_json);
	set_text(batch, row, HISTORY_RESULT_ROW, conflict->result_row_json);
	set_version(row, HISTORY_LOCAL_CENTER_ID, HISTORY_LOCAL_VERSION,
				conflict->local);
	set_version(row, HISTORY_REMOTE_CENTER_ID, HISTORY_REMOTE_VERSION,
				conflict->remote);
	if (conflict->remote_lsn.value != InvalidXLogRecPtr)
		set_value(row, HISTORY_REMOTE_LSN, LSNGetDatum(conflict->remote_lsn.value));
	if (conflict->remote_xid != InvalidTransactionId)
		set_value(row, HISTORY_REMOTE_XID, Int64GetDatum(conflict->remote_xid));
	set_text(batch, row, HISTORY_INDEX_NAME, conflict->index_name);
	if (conflict->policy_epoch != 0)
		set_value(row, HISTORY_POLICY_EPOCH, Int64GetDatum(conflict->policy_epoch));
	if (conflict->override_of != 0)
		set_value(row, HISTORY_OVERRIDE_OF, Int64GetDatum(conflict->override_of));
	set_text(batch, row, HISTORY_ERROR_MESSAGE, conflict->error_message);
}

/* Give the rows what they lack, and put them into slots of the table. */
static TupleTableSlot **
make_slots(HistoryBatch *batch, Relation rel, int16 segment, int64 *last_id)
{
	TupleDesc	desc = RelationGetDescr(rel);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * batch->nrows);
	Oid			sequence = mc_own_relation("conflict_history_conflict_id_seq");
	FullTransactionId xid = GetTopFullTransactionId();

	for (int i = 0; i < batch->nrows; i++)
	{
		HistoryRow *row = &batch->rows[i];
		TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);

		*last_id = nextval_internal(sequence, false);
		set_value(row, HISTORY_CONFLICT_ID, Int64GetDatum(*last_id));
		set_value(row, HISTORY_SEGMENT, Int16GetDatum(segment));
		set_value(row, HISTORY_WRITTEN_XID, FullTransactionIdGetDatum(xid));

		/* A later release may have more columns. */
		memset(slot->tts_isnull, true, sizeof(bool) * desc->natts);
		memcpy(slot->tts_values, row->values, sizeof(row->values));
		memcpy(slot->tts_isnull, row->isnull, sizeof(row->isnull));
		slots[i] = ExecStoreVirtualTuple(slot);
	}
	return slots;
}

/* Write the rows of a batch; they stay in it. */
static int64
write_rows(HistoryBatch *batch)
{
	int16		segment = mc_segment_current(&segments);
	int64		last_id = 0;
	TupleTableSlot **slots;
	Relation	rel;

	note_writing();
	rel = table_open(mc_own_relation(psprintf("conflict_history_%d", segment)),
					 RowExclusiveLock);
	slots = make_slots(batch, rel, segment, &last_id);
	mc_own_insert(rel, slots, batch->nrows);

	/* The lock stays, so that nobody empties the segment before the commit. */
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return last_id;
}

void
mc_history_add(HistoryBatch **batch, MemoryContext context,
			   const ConflictRecord *conflict)
{
	MemoryContext old_context;

	if (*batch == NULL)
	{
		MemoryContext batch_context = AllocSetContextCreate(context,
															"multicenter conflicts",
															ALLOCSET_DEFAULT_SIZES);

		*batch = MemoryContextAlloc(batch_context, sizeof(HistoryBatch));
		(*batch)->context = batch_context;
		(*batch)->nrows = 0;
		(*batch)->bytes = 0;
	}
	old_context = MemoryContextSwitchTo((*batch)->context);
	fill_row(*batch, &(*batch)->rows[(*batch)->nrows++], conflict);
	MemoryContextSwitchTo(old_context);
	if ((*batch)->nrows == BATCH_ROWS || (*batch)->bytes >= BATCH_BYTES)
		(void) mc_history_flush(batch);
}

int64
mc_history_flush(HistoryBatch **batch)
{
	MemoryContext context;
	MemoryContext old_context;
	int64		last_id;

	if (*batch == NULL)
		return 0;
	context = (*batch)->context;
	old_context = MemoryContextSwitchTo(context);
	last_id = write_rows(*batch);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	*batch = NULL;
	return last_id;
}

void
mc_history_rotate(void)
{
	mc_segment_rotate(&segments, (int64) mc_conflict_retention_min *
					  SECS_PER_MINUTE * USECS_PER_SEC);
}
