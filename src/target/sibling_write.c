/*-------------------------------------------------------------------------
 *
 * sibling_write.c
 *	  Write what a policy has decided about concurrent versions of a key.
 *
 * NOTES
 *	  What is written has the greatest version of the set, and not that of the
 *	  change which is being applied: notes say so (see siblings.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "target/conflict.h"
#include "target/outcome.h"
#include "target/quarantine.h"
#include "target/refresh.h"
#include "target/siblings.h"
#include "utils/rel.h"

#include "compat.h"

bool
mc_siblings_hold(const List *notes, RowVersion version)
{
	RowVersion	newest = {0};
	const ListCell *cell;

	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_SIBLING &&
			mc_version_compare(note->version, newest) > 0)
			newest = note->version;
	}
	return newest.commit_ts != 0 && mc_version_compare(newest, version) == 0;
}

void
mc_siblings_forget(const List *notes)
{
	const ListCell *cell;

	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_SIBLING)
			mc_note_remove(note->id);
	}
	mc_note_forget_restated(notes);
}

void
mc_siblings_remember(TargetTable *table, const RemoteRow *key,
					 const Resolution *resolution)
{
	KeyNote		note = {0};
	ListCell   *cell;

	if (list_length(resolution->siblings) < 2)
		return;
	mc_note_key(table, key, &note.key);
	note.kind = NOTE_SIBLING;
	foreach(cell, resolution->siblings)
	{
		const SiblingRow *row = lfirst(cell);

		note.version = row->sibling.version;
		note.row = row->row;
		mc_note_add(&note);
	}
}

RemoteRow
mc_siblings_make_row(TargetTable *table, const Jsonb *values)
{
	int			natts = Max(table->map->natts, 1);
	RemoteRow	row = {0};

	row.values = palloc0(sizeof(Datum) * natts);
	row.isnull = palloc0(sizeof(bool) * natts);
	row.unchanged = palloc0(sizeof(bool) * natts);
	mc_note_row_from_jsonb(table, values, &row);
	return row;
}

void
mc_siblings_bar(TargetTable *table, const RemoteRow *key, const Jsonb *row)
{
	RemoteRow	saved = table->new_row;
	bool		free_of_others;
	RowKey		row_key;

	if (row == NULL)
	{
		mc_note_key(table, key, &row_key);
		row = row_key.values;
	}
	table->new_row = mc_siblings_make_row(table, row);
	mc_outcome_fill(table, NULL);
	mc_write_defaults(table);
	free_of_others = mc_write_tombstone(table, false);
	table->new_row = saved;
	if (!free_of_others)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another transaction is inserting a row while a conflict about its key is decided")));
}

WriteResult
mc_siblings_write_outcome(RemoteTransaction *transaction, TargetTable *table,
						  const RemoteRow *key, LocalRow *local,
						  const Resolution *resolution)
{
	RowVersion	version = transaction->version;
	RemoteRow	new_row = table->new_row;
	RemoteRow	old_row = table->old_row;
	bool		restates = transaction->restates;
	WriteResult result;

	mc_note_forget_restated(local->notes);
	transaction->settles = &version;
	transaction->version = resolution->version;
	transaction->restates = true;
	if (resolution->row)
	{
		table->new_row = mc_siblings_make_row(table, resolution->row);
		result = mc_outcome_put(transaction, table, local);
	}
	else
	{
		table->old_row = *key;
		if (!local->found)
			mc_siblings_bar(table, &table->old_row, resolution->any_row);
		result = mc_outcome_delete(transaction, table, local);
	}
	transaction->version = version;
	transaction->settles = NULL;
	transaction->restates = restates;
	table->new_row = new_row;
	table->old_row = old_row;
	return result;
}

/* Put the conflict into the history. */
static void
note_conflict(RemoteTransaction *transaction, TargetTable *table, MergeOp op,
			  const RemoteRow *key, const LocalRow *local,
			  const Resolution *resolution)
{
	ConflictRecord *record;

	if (op != MERGE_OP_DELETE)
		mc_outcome_fill(table, local);
	mc_conflict_note(transaction, table, resolution->decision, local, key,
					 op == MERGE_OP_DELETE ? NULL : table->write_row);
	record = llast(transaction->conflicts);
	record->resolver = resolution->resolver;
	record->policy_epoch = resolution->epoch;
	record->resolution = resolution->resolution;
	if (strcmp(resolution->resolution, "keep_local") == 0)
		record->result_row_json = record->local_row_json;
	else if (strcmp(resolution->resolution, "row") == 0)
		record->result_row_json = mc_conflict_jsonb_row(resolution->row);
}

WriteResult
mc_siblings_write(RemoteTransaction *transaction, TargetTable *table,
				  MergeOp op, const RemoteRow *key, LocalRow *local,
				  Resolution *resolution)
{
	switch (resolution->decision.verdict)
	{
		case VERDICT_QUARANTINE:
			if (resolution->incomplete)
			{
				if (mc_quarantine_hold(transaction, table, op, WAITS_FOR_REFRESH))
					mc_refresh_request(transaction, table);
				return WRITE_SUPPRESSED;
			}
			if (mc_quarantine_hold(transaction, table, op, WAITS_FOR_DECISION))
				note_conflict(transaction, table, op, key, local, resolution);
			return WRITE_SUPPRESSED;
		case VERDICT_KEEP_LOCAL:
			break;
		default:
			{
				List	   *notes = list_copy(local->notes);
				WriteResult result =
				mc_siblings_write_outcome(transaction, table,
										  key, local, resolution);

				if (result != WRITE_DONE)
					return result;
				mc_siblings_forget(notes);
				mc_siblings_remember(table, key, resolution);
			}
	}
	note_conflict(transaction, table, op, key, local, resolution);
	return WRITE_DONE;
}
