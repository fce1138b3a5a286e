/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  Write what was decided for a key: a row, or that it is deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "target/note.h"
#include "target/outcome.h"
#include "target/place.h"
#include "target/quarantine.h"
#include "utils/rel.h"

#include "compat.h"

void
mc_outcome_fill(TargetTable *table, const LocalRow *local)
{
	RelationMap *map = table->map;
	RemoteRow  *row = &table->new_row;
	TupleTableSlot *slot = table->write_row;
	TupleTableSlot *source = NULL;

	if (local && local->found)
	{
		source = local->slot;
		slot_getallattrs(source);
	}
	ExecClearTuple(slot);
	for (int i = 0; i < map->natts; i++)
	{
		if (map->remote_index[i] >= 0 && !row->unchanged[i])
		{
			slot->tts_values[i] = row->values[i];
			slot->tts_isnull[i] = row->isnull[i];
		}
		else if (source)
		{
			slot->tts_values[i] = source->tts_values[i];
			slot->tts_isnull[i] = source->tts_isnull[i];
		}
		else
		{
			slot->tts_values[i] = (Datum) 0;
			slot->tts_isnull[i] = true;
		}
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(table->rel);
}

void
mc_outcome_complete(TargetTable *table, const KeyNote *displaced)
{
	RemoteRow  *row = &table->new_row;
	RemoteRow  *source = &table->spare_row;

	mc_note_row_from_jsonb(table, displaced->row, source);
	for (int i = 0; i < table->map->natts; i++)
	{
		if (!row->unchanged[i])
			continue;
		row->values[i] = source->values[i];
		row->isnull[i] = source->isnull[i];
		row->unchanged[i] = false;
	}
	row->any_unchanged = false;
}

void
mc_outcome_finish(RemoteTransaction *transaction, TargetTable *table,
				  const RemoteRow *row)
{
	if (transaction->restates)
		mc_note_restate(table, row, transaction->version);
	if (mc_note_quarantine_possible(table))
		mc_quarantine_settle(transaction, table, row);
}

/* Insert the peer's row: its key is not a deleted one any more. */
static WriteResult
insert_row(RemoteTransaction *transaction, TargetTable *table,
		   LocalRow *local)
{
	WriteResult result;

	if (table->new_row.any_unchanged && local->displaced)
		mc_outcome_complete(table, local->displaced);
	mc_outcome_fill(table, NULL);
	mc_write_defaults(table);
	result = mc_write_insert(transaction, table);
	if (result == WRITE_DONE)
		mc_lookup_forget(local);
	return result;
}

WriteResult
mc_outcome_put(RemoteTransaction *transaction, TargetTable *table,
			   LocalRow *local)
{
	WriteResult result;

	if (local->found)
	{
		mc_outcome_fill(table, local);
		result = mc_write_update(transaction, table, local->slot);
	}
	else
		result = insert_row(transaction, table, local);
	if (result != WRITE_DONE)
		return result;
	if (table->index)
		mc_place_note(table, &table->new_row, &table->write_row->tts_tid);
	mc_outcome_finish(transaction, table, &table->new_row);
	return WRITE_DONE;
}

WriteResult
mc_outcome_delete(RemoteTransaction *transaction, TargetTable *table,
				  LocalRow *local)
{
	WriteResult result = WRITE_DONE;

	if (local->found)
		result = mc_write_delete(table, local->slot);
	if (result != WRITE_DONE)
		return result;

	/* Where no row dies here that would say so a note has to. */
	if (!local->found || transaction->restates)
		mc_lookup_bury(transaction, table, &table->old_row, local);
	mc_outcome_finish(transaction, table, &table->old_row);
	return WRITE_DONE;
}
