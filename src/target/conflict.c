/*-------------------------------------------------------------------------
 *
 * conflict.c
 *	  The effects of a verdict: what goes into the conflict history.
 *
 * NOTES
 *	  Both rows are always in the record, so that nobody loses a row without
 *	  a trace: what lost can be read there, and written again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "state/settings.h"
#include "target/conflict.h"
#include "target/row_json.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"

Size
mc_conflict_row_bytes(TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	Size		bytes = 0;

	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!slot->tts_isnull[i] && !attribute->attisdropped &&
			attribute->attlen == -1)
			bytes += toast_raw_datum_size(slot->tts_values[i]);
	}
	return bytes;
}

/* What stands for a row that is too large. */
static char *
omitted_json(Size bytes)
{
	return psprintf("{\"" MC_OMITTED_ROW "\": %zu}", bytes);
}

/* The image of a row as JSON text. */
static char *
row_json(TupleTableSlot *slot)
{
	Size		bytes = mc_conflict_row_bytes(slot);

	return bytes > (Size) mc_conflict_max_row_bytes ? omitted_json(bytes) :
		mc_row_json(slot->tts_tupleDescriptor, slot->tts_values,
					slot->tts_isnull, NULL, 0);
}

/* Some columns of a row as JSON text. */
static char *
columns_json(TargetTable *table, const RemoteRow *row,
			 const AttrNumber *attnums, int ncolumns)
{
	return mc_row_json(RelationGetDescr(table->rel), row->values, row->isnull,
					   attnums, ncolumns);
}

char *
mc_conflict_key_json(TargetTable *table, const RemoteRow *row)
{
	RelationMap *map = table->map;

	return map->nkeys == 0 ? NULL :
		columns_json(table, row, map->key_attnums, map->nkeys);
}

/* A row as it came, as JSON text, without what was not sent. */
static char *
change_json(TargetTable *table, const RemoteRow *row)
{
	RelationMap *map = table->map;
	AttrNumber *attnums = palloc(sizeof(AttrNumber) * Max(map->natts, 1));
	int			ncolumns = 0;
	Size		bytes = 0;

	for (int i = 0; i < map->natts; i++)
	{
		if (map->remote_index[i] < 0 || row->unchanged[i])
			continue;
		attnums[ncolumns++] = i + 1;
		if (!row->isnull[i] &&
			TupleDescAttr(RelationGetDescr(table->rel), i)->attlen == -1)
			bytes += toast_raw_datum_size(row->values[i]);
	}
	return bytes > (Size) mc_conflict_max_row_bytes ? omitted_json(bytes) :
		columns_json(table, row, attnums, ncolumns);
}

char *
mc_conflict_jsonb_row(const Jsonb *row)
{
	if (row == NULL)
		return NULL;
	return VARSIZE(row) > (Size) mc_conflict_max_row_bytes ? omitted_json(VARSIZE(row)) :
		JsonbToCString(NULL, unconstify(JsonbContainer *, &row->root), VARSIZE(row));
}

/* What was done, in the words of the view. */
static const char *
resolution_name(MergeDecision decision)
{
	switch (decision.verdict)
	{
		case VERDICT_PUT:
		case VERDICT_DELETE:
			return "apply_remote";
		case VERDICT_KEEP_LOCAL:
			return "keep_local";
		case VERDICT_RECORD_TOMBSTONE:
			return "skip";
		case VERDICT_QUARANTINE:
			return "quarantine";
	}
	return "skip";
}

void
mc_conflict_note(RemoteTransaction *transaction, TargetTable *table,
				 MergeDecision decision, const LocalRow *local,
				 const RemoteRow *key, TupleTableSlot *remote_row)
{
	ConflictRecord *conflict;
	MemoryContext old_context;

	/* Nobody resolves conflicts about the list of centers by hand. */
	if (decision.conflict == CONFLICT_NONE || table->map->group_catalog)
		return;

	old_context = MemoryContextSwitchTo(transaction->change_context);
	conflict = palloc0(sizeof(ConflictRecord));
	conflict->type = decision.conflict;
	conflict->resolution = resolution_name(decision);
	conflict->peer = transaction->peer;
	conflict->relid = RelationGetRelid(table->rel);
	conflict->key_json = mc_conflict_key_json(table, key);
	if (local->found)
		conflict->local_row_json = row_json(local->slot);
	else if (local->displaced)
		conflict->local_row_json = JsonbToCString(NULL,
												  &local->displaced->row->root,
												  VARSIZE(local->displaced->row));

	/* Of a row whose version is lost only a bound is known. */
	if (local->state.knowledge != LOCAL_VERSION_LOST)
		conflict->local = local->state.version;
	if (remote_row)
		conflict->remote_row_json = row_json(remote_row);
	if (decision.verdict == VERDICT_PUT)
		conflict->result_row_json = conflict->remote_row_json;
	else if (decision.verdict == VERDICT_KEEP_LOCAL)
		conflict->result_row_json = conflict->local_row_json;
	conflict->remote = transaction->version;
	conflict->remote_lsn = transaction->commit_lsn;
	conflict->remote_xid = transaction->remote_xid;
	transaction->conflicts = lappend(transaction->conflicts, conflict);
	MemoryContextSwitchTo(old_context);
}

McConflictType
mc_conflict_type_of_error(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_UNDEFINED_TABLE:
			return CONFLICT_TARGET_TABLE_MISSING;
		case ERRCODE_UNDEFINED_COLUMN:
			return CONFLICT_TARGET_COLUMN_MISSING;
		case ERRCODE_FOREIGN_KEY_VIOLATION:
			return CONFLICT_FOREIGN_KEY_VIOLATION;
		case ERRCODE_EXCLUSION_VIOLATION:
			return CONFLICT_EXCLUSION_VIOLATION;
		case ERRCODE_CHECK_VIOLATION:
			return CONFLICT_CHECK_VIOLATION;
	}
	return CONFLICT_APPLY_ERROR;
}

void
mc_conflict_note_aside(RemoteTransaction *transaction, TargetTable *table,
					   bool deletes)
{
	MemoryContext old_context = MemoryContextSwitchTo(transaction->change_context);
	ConflictRecord *conflict = palloc0(sizeof(ConflictRecord));
	const RemoteRow *row = deletes ? &table->old_row : &table->new_row;

	conflict->type = mc_conflict_type_of_error(transaction->aside->sqlstate);
	conflict->resolution = "quarantine";
	conflict->resolver = "quarantine";
	conflict->peer = transaction->peer;
	conflict->relid = RelationGetRelid(table->rel);
	conflict->key_json = mc_conflict_key_json(table, row);
	if (!deletes)
		conflict->remote_row_json = change_json(table, row);
	conflict->remote = transaction->version;
	conflict->remote_lsn = transaction->commit_lsn;
	conflict->remote_xid = transaction->remote_xid;
	conflict->error_message = transaction->aside->message;
	transaction->conflicts = lappend(transaction->conflicts, conflict);
	MemoryContextSwitchTo(old_context);
}

void
mc_conflict_flush(RemoteTransaction *transaction)
{
	ListCell   *cell;

	foreach(cell, transaction->conflicts)
	{
		ConflictRecord *entry = lfirst(cell);

		mc_history_add(&transaction->history, transaction->context, entry);
		transaction->counters.conflicts++;
		transaction->counters.conflicts_of[entry->type]++;
	}
	transaction->conflicts = NIL;
}
