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

void
mc_batch_add(RemoteTransaction *transaction, TargetTable *table)
{
	RowBatch   *batch = get_batch(table);
	TupleDesc	desc = table->write_row->tts_tupleDescriptor;
	MemoryContext old_context;
	TupleTableSlot **slot = &batch->slots[batch->nrows];
	HeapTuple	tuple;

	if (*slot == NULL)
	{
		old_context = MemoryContextSwitchTo(table->context);
		*slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old_context);
	}
	old_context = MemoryContextSwitchTo(batch->context);
	tuple = heap_form_tuple(desc, table->new_row.values, table->new_row.isnull);
	MemoryContextSwitchTo(old_context);
	ExecStoreHeapTuple(tuple, *slot, false);
	(*slot)->tts_tableOid = RelationGetRelid(table->rel);
	transaction->batched = table;
	batch->nrows++;
	batch->bytes += tuple->t_len;
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
