/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Rows of a peer that are inserted many at once.
 *
 * NOTES
 *	  The rows go into the table in one call, which fills page after page and
 *	  writes one WAL record for each; then their index entries follow.  A row
 *	  whose key is there already is taken back, and put in the ordinary way:
 *	  it is a conflict, or another transaction is at work.  The same with all
 *	  rows if somebody has deleted rows of the table meanwhile, see
 *	  mc_lookup_is_needless().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "target/apply_row.h"
#include "target/batch.h"
#include "target/lookup.h"
#include "target/tuple.h"
#include "target/write.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* A batch is written when it has got so large. */
#define BATCH_ROWS		1000
#define BATCH_BYTES		(64 * 1024)

struct RowBatch
{
	MemoryContext context;		/* of the rows */
	int			nrows;
	Size		bytes;
	TupleTableSlot *slots[BATCH_ROWS];	/* NULL: not made yet */
	bool		inserted[BATCH_ROWS];
};

/* The batch of a table, which lives as long as that is open or parked. */
static RowBatch *
get_batch(TargetTable *table)
{
	if (table->batch == NULL)
	{
		table->batch = MemoryContextAllocZero(table->context, sizeof(RowBatch));
		table->batch->context = AllocSetContextCreate(table->context,
													  "multicenter batch of rows",
													  ALLOCSET_DEFAULT_SIZES);
	}
	return table->batch;
}

/* Put a tuple, which is in the batch's context, into its next slot. */
static TupleTableSlot *
store_tuple(TargetTable *table, HeapTuple tuple)
{
	TupleTableSlot **slot = &table->batch->slots[table->batch->nrows];

	if (*slot == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(table->context);

		*slot = MakeSingleTupleTableSlot(table->write_row->tts_tupleDescriptor,
										 &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old_context);
	}
	ExecStoreHeapTuple(tuple, *slot, false);
	(*slot)->tts_tableOid = RelationGetRelid(table->rel);
	return *slot;
}

/* The tuple in the next slot belongs to the batch. */
static void
count_tuple(RemoteTransaction *transaction, TargetTable *table, HeapTuple tuple)
{
	transaction->batched = table;
	table->batch->nrows++;
	table->batch->bytes += tuple->t_len;
}

void
mc_batch_add(RemoteTransaction *transaction, TargetTable *table)
{
	RowBatch   *batch = get_batch(table);
	MemoryContext old_context = MemoryContextSwitchTo(batch->context);
	HeapTuple	tuple;

	tuple = heap_form_tuple(table->write_row->tts_tupleDescriptor,
							table->new_row.values, table->new_row.isnull);
	MemoryContextSwitchTo(old_context);
	(void) store_tuple(table, tuple);
	count_tuple(transaction, table, tuple);
}

/* Let the new row have the key of a row, and nothing else. */
static void
load_key(TargetTable *table, TupleTableSlot *slot)
{
	const RelationMap *map = table->map;
	RemoteRow  *row = &table->new_row;

	memset(row->isnull, true, sizeof(bool) * map->natts);
	memset(row->unchanged, false, sizeof(bool) * map->natts);
	for (int i = 0; i < map->nkeys; i++)
	{
		AttrNumber	attnum = map->key_attnums[i];

		row->values[attnum - 1] = slot_getattr(slot, attnum, &row->isnull[attnum - 1]);
	}
	row->present = true;
	row->any_unchanged = false;
	row->moved = false;
	table->old_row.present = false;
	table->old_row.whole = false;
}

bool
mc_batch_add_image(RemoteTransaction *transaction, TargetTable *table,
				   const WireTuple *image)
{
	RowBatch   *batch = get_batch(table);
	MemoryContext old_context = MemoryContextSwitchTo(batch->context);
	HeapTuple	tuple = mc_tuple_from_image(table, image);
	TupleTableSlot *slot;

	MemoryContextSwitchTo(old_context);
	slot = store_tuple(table, tuple);
	load_key(table, slot);
	if (!mc_lookup_is_needless(transaction, table, &table->new_row))
	{
		ExecClearTuple(slot);
		heap_freetuple(tuple);
		return false;
	}
	count_tuple(transaction, table, tuple);
	return true;
}

void
mc_batch_make_room(RemoteTransaction *transaction)
{
	const TargetTable *table = transaction->batched;

	if (table != NULL && (table->batch->nrows == BATCH_ROWS ||
						  table->batch->bytes >= BATCH_BYTES))
		mc_batch_flush(transaction);
}

/* A row of the batch is to be put in the ordinary way: make it the new row. */
static void
load_row(TargetTable *table, TupleTableSlot *slot)
{
	RemoteRow  *row = &table->new_row;
	int			natts = table->map->natts;

	slot_getallattrs(slot);
	memcpy(row->values, slot->tts_values, sizeof(Datum) * natts);
	memcpy(row->isnull, slot->tts_isnull, sizeof(bool) * natts);
	memset(row->unchanged, false, sizeof(bool) * natts);
	row->present = true;
	row->any_unchanged = false;
	row->moved = false;
	table->old_row.present = false;
	table->old_row.whole = false;
}

/*
 * Write the rows, and put those that could not be inserted in the ordinary way.
 * As the table's owner.
 */
static void
write_rows(RemoteTransaction *transaction, TargetTable *table)
{
	RowBatch   *batch = table->batch;
	bool		needless;

	mc_write_insert_many(transaction, table, batch->slots, batch->nrows,
						 batch->inserted);
	load_row(table, batch->slots[0]);
	needless = mc_lookup_is_needless(transaction, table, &table->new_row);
	for (int i = 0; i < batch->nrows; i++)
	{
		if (batch->inserted[i] && needless)
			continue;
		if (batch->inserted[i])
			mc_write_withdraw(table, batch->slots[i]);
		load_row(table, batch->slots[i]);
		mc_apply_insert(transaction, table);
		CommandCounterIncrement();
	}
}

void
mc_batch_flush(RemoteTransaction *transaction)
{
	TargetTable *table = transaction->batched;
	RowBatch   *batch;
	OwnerScope	scope;

	if (table == NULL)
		return;
	transaction->batched = NULL;
	batch = table->batch;
	(void) mc_apply_begin(transaction, table->map, &scope);
	write_rows(transaction, table);
	mc_apply_end(transaction, table, &scope);
	for (int i = 0; i < batch->nrows; i++)
		ExecClearTuple(batch->slots[i]);
	batch->nrows = 0;
	batch->bytes = 0;
	MemoryContextReset(batch->context);
}
