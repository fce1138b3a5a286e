/*-------------------------------------------------------------------------
 *
 * apply_row.c
 *	  Find, decide and write one row of a peer.
 *
 * NOTES
 *	  Each change goes the same way:
 *
 *	  look		at what is known of the key: its row and the version of that,
 *				dead rows, notes (lookup.c)
 *	  decide	by the merge table (core/merge.c), a pure function
 *	  write		if the verdict says so (write.c); if another transaction was
 *				faster, start again
 *	  note		the conflict, if it is one (conflict.c)
 *
 *	  A change of the key is a delete of the old key and a put of the new one.
 *	  It is written as one update where that has the same outcome.
 *
 *	  Not here yet: refreshes for out-of-line values that were not sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "target/apply_row.h"
#include "target/conflict.h"
#include "target/lookup.h"
#include "target/rebuild.h"
#include "target/tuple.h"
#include "target/write.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/*
 * Is the change concurrent with what is known here?  It is not, whatever the
 * verdict, if its author had seen that, or if the author of that had seen the
 * change, which was overtaken on its way.  Nor is it if the key is not known
 * because the cause of the change was overtaken.
 */
static bool
is_concurrent(const RemoteTransaction *transaction, const LocalRow *local)
{
	RowVersion	version = local->state.version;

	if (local->state.knowledge == LOCAL_NOTHING)
		return !transaction->overtook;
	if (local->later || version.center == transaction->peer ||
		version.center == MC_NO_CENTER)
		return false;
	return !mc_vector_saw(transaction->vector, transaction->peer,
						  transaction->our_id, version) &&
		!mc_vector_was_seen(version, transaction->peer, transaction->our_id,
							transaction->end_lsn);
}

/* Decide on the change of a row. */
static MergeDecision
decide(RemoteTransaction *transaction, MergeOp op, const LocalRow *local)
{
	MergeInput	input = {0};
	MergeDecision decision;

	input.op = op;
	input.remote = transaction->version;
	input.local = local->state;
	input.later = local->later;
	input.concurrent = true;
	if (local->state.knowledge == LOCAL_NOTHING)
		input.forgotten = local->forgotten;
	decision = mc_merge_decide(&input);
	if (decision.verdict == VERDICT_QUARANTINE &&
		local->state.knowledge == LOCAL_NOTHING)
		mc_rebuild_check(input.remote.commit_ts);
	if (decision.conflict == CONFLICT_NONE || is_concurrent(transaction, local))
		return decision;
	input.concurrent = false;
	return mc_merge_decide(&input);
}

/* A change that cannot be decided stops its link, until it can be put aside. */
static void
check_decidable(TargetTable *table, MergeDecision decision)
{
	if (decision.verdict == VERDICT_QUARANTINE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot decide on a change of table \"%s.%s\"",
						table->map->schema, table->map->name),
				 errdetail("It is older than what this center remembers of deleted rows, or of the time at which rows were written."),
				 errhint("The peer was away for longer than multicenter.dead_row_retention. Let it leave the group and join again.")));
}

/*
 * Put together the row that is written: the peer's values, and the local
 * row's in columns that the peer has not or did not send.
 */
static void
fill_write_row(TargetTable *table, const LocalRow *local)
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

/*
 * Take values that were not sent from the old row of the record: with REPLICA
 * IDENTITY FULL it has them all.
 */
static void
complete_from_old_row(TargetTable *table)
{
	RemoteRow  *row = &table->new_row;

	for (int i = 0; i < table->map->natts; i++)
	{
		if (!row->unchanged[i] || table->old_row.unchanged[i])
			continue;
		row->values[i] = table->old_row.values[i];
		row->isnull[i] = table->old_row.isnull[i];
		row->unchanged[i] = false;
	}
	row->any_unchanged = false;
}

/* Take values that were not sent from a local row that was deleted. */
static void
complete_from_local_row(TargetTable *table, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	RemoteRow  *row = &table->new_row;

	slot_getallattrs(slot);
	for (int i = 0; i < table->map->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Datum		value = slot->tts_values[i];

		if (!row->unchanged[i])
			continue;
		row->unchanged[i] = false;
		row->isnull[i] = slot->tts_isnull[i];
		if (row->isnull[i])
			continue;

		/* Copies must not point to a row that is dead. */
		row->values[i] = attribute->attlen == -1 ?
			PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
			datumCopy(value, attribute->attbyval, attribute->attlen);
	}
	row->any_unchanged = false;
}

/* Take values that were not sent from the displaced row of the key. */
static void
complete_from_displaced(TargetTable *table, const KeyNote *displaced)
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

/*
 * The row cannot be written, because values that the update left alone were
 * not sent and are not here either.  A later version of the protocol asks
 * their author for them; until then the link stops, visibly.
 */
static void
check_complete(TargetTable *table)
{
	if (table->new_row.any_unchanged)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("cannot complete a row of table \"%s.%s\", which does not exist in this center",
						table->map->schema, table->map->name),
				 errdetail("The update left large values alone; they are not sent, and there is no row here to take them from."),
				 errhint("Write the row again in its center of origin, with all its columns, or use REPLICA IDENTITY FULL.")));
}

/* Insert the peer's row: its key is not a deleted one any more. */
static WriteResult
insert_row(RemoteTransaction *transaction, TargetTable *table,
		   LocalRow *local)
{
	WriteResult result;

	if (table->new_row.any_unchanged && local->displaced)
		complete_from_displaced(table, local->displaced);
	check_complete(table);
	fill_write_row(table, NULL);
	mc_write_defaults(table);
	result = mc_write_insert(transaction, table);
	if (result == WRITE_DONE)
		mc_lookup_forget(local);
	return result;
}

/* Write the new row, if the verdict says so. */
static WriteResult
write_put(RemoteTransaction *transaction, TargetTable *table,
		  MergeDecision decision, LocalRow *local)
{
	check_decidable(table, decision);
	if (decision.verdict == VERDICT_KEEP_LOCAL)
	{
		fill_write_row(table, local);
		return WRITE_DONE;
	}
	if (!local->found)
		return insert_row(transaction, table, local);
	fill_write_row(table, local);
	return mc_write_update(transaction, table, local->slot);
}

/*
 * Put the new row.  key is what the local row is found by: the new row itself,
 * an equal old row in a table without a key, or NULL if there is nothing to
 * look for.
 */
static void
put_row(RemoteTransaction *transaction, TargetTable *table, MergeOp op,
		const RemoteRow *key, TupleTableSlot *slot)
{
	/* An INSERT need not be sure: the unique index finds what it misses. */
	bool		thorough = op != MERGE_OP_INSERT;
	WriteResult result = WRITE_RETRY;

	while (result == WRITE_RETRY)
	{
		LocalRow	local;
		MergeDecision decision;
		bool		sure;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, key, slot, thorough, &local);
		decision = decide(transaction, op, &local);
		sure = thorough || local.found || decision.verdict == VERDICT_PUT;
		if (sure)
			result = write_put(transaction, table, decision, &local);
		if (result == WRITE_DONE)
			mc_conflict_note(transaction, table, decision, &local,
							 key ? key : &table->new_row, table->write_row);
		thorough = true;
	}
}

/*
 * Delete the old key, whatever is known of it.  Returns WRITE_RETRY if its row
 * has changed meanwhile.
 */
static WriteResult
write_delete(RemoteTransaction *transaction, TargetTable *table,
			 MergeDecision decision, LocalRow *local)
{
	check_decidable(table, decision);
	if (decision.verdict == VERDICT_DELETE && local->found)
		return mc_write_delete(table, local->slot);

	/* No row dies here that would say so: it takes a note. */
	if (decision.verdict == VERDICT_RECORD_TOMBSTONE ||
		decision.verdict == VERDICT_DELETE)
		mc_lookup_bury(transaction, table, &table->old_row, local);
	return WRITE_DONE;
}

/* Apply a DELETE record. */
static void
apply_delete(RemoteTransaction *transaction, TargetTable *table)
{
	WriteResult result = WRITE_RETRY;

	while (result == WRITE_RETRY)
	{
		LocalRow	local;
		MergeDecision decision;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, &table->old_row, table->local_row, true,
				  &local);
		decision = decide(transaction, MERGE_OP_DELETE, &local);
		result = write_delete(transaction, table, decision, &local);
		if (result == WRITE_DONE)
			mc_conflict_note(transaction, table, decision, &local,
							 &table->old_row, NULL);
	}
}

/*
 * Delete the old key of a key change, where it cannot become an update.
 * Values that were not sent are taken from the row that goes.
 */
static WriteResult
delete_old_key(RemoteTransaction *transaction, TargetTable *table,
			   LocalRow *local)
{
	MergeDecision decision = decide(transaction, MERGE_OP_DELETE, local);
	WriteResult result;

	if (table->new_row.any_unchanged && decision.verdict == VERDICT_DELETE &&
		local->displaced)
		complete_from_displaced(table, local->displaced);
	result = write_delete(transaction, table, decision, local);

	/* Without a row the put of the new key tells that story. */
	if (result == WRITE_DONE && local->state.knowledge == LOCAL_LIVE)
		mc_conflict_note(transaction, table, decision, local, &table->old_row,
						 NULL);

	/* The row is still in its page, and its large values are in theirs. */
	if (result != WRITE_RETRY && table->new_row.any_unchanged &&
		decision.verdict == VERDICT_DELETE && local->found)
		complete_from_local_row(table, local->slot);
	CommandCounterIncrement();
	return result;
}

/*
 * Apply an UPDATE record that changes the key: the old key is deleted, the new
 * one is put, and each is decided by what is known of it.
 */
static void
apply_key_change(RemoteTransaction *transaction, TargetTable *table)
{
	WriteResult result = WRITE_RETRY;
	LocalRow	local;

	while (result == WRITE_RETRY)
	{
		LocalRow	other;
		MergeDecision decision;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, &table->old_row, table->local_row, true,
				  &local);
		mc_lookup(transaction, table, &table->new_row, table->other_row, true,
				  &other);
		decision = decide(transaction, MERGE_OP_UPDATE, &local);

		if (local.found && !other.found && !other.displaced &&
			decision.verdict == VERDICT_PUT &&
			decide(transaction, MERGE_OP_INSERT, &other).verdict == VERDICT_PUT)
		{
			fill_write_row(table, &local);
			result = mc_write_update(transaction, table, table->local_row);
			if (result == WRITE_DONE)
			{
				mc_lookup_forget(&other);
				mc_conflict_note(transaction, table, decision, &local,
								 &table->old_row, table->write_row);
			}
			if (result != WRITE_RETRY)
				return;
		}
		else
			result = delete_old_key(transaction, table, &local);
	}

	/*
	 * The row that is here under the new key, if any, is another row than the
	 * one that was updated: values that were not sent are not to be found
	 * there.
	 */
	check_complete(table);
	put_row(transaction, table,
			local.state.knowledge == LOCAL_LIVE ? MERGE_OP_INSERT : MERGE_OP_UPDATE,
			&table->new_row, table->other_row);
}

/* Apply an UPDATE record. */
static void
apply_update(RemoteTransaction *transaction, TargetTable *table,
			 const WireRecord *record)
{
	if (record->old_kind == OLD_ROW_FULL && table->new_row.any_unchanged)
		complete_from_old_row(table);

	if (table->index == NULL)
		put_row(transaction, table, MERGE_OP_UPDATE, &table->old_row,
				table->local_row);
	else if (table->old_row.present &&
			 !mc_table_same_key(table, &table->old_row, &table->new_row))
		apply_key_change(transaction, table);
	else
		put_row(transaction, table, MERGE_OP_UPDATE, &table->new_row,
				table->local_row);
}

/* Raise an error unless rows of the peer can be found in this table. */
static void
check_findable(TargetTable *table, const WireRecord *record)
{
	RelationMap *map = table->map;

	if (table->index == NULL && record->old_kind != OLD_ROW_FULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" has no key in this center by which a row of the peer can be found",
						map->schema, map->name),
				 errhint("Create the primary key that the table has in the other centers; the link then goes on by itself.")));
	if (record->type == RECORD_DELETE && record->old_kind == OLD_ROW_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a DELETE of table \"%s.%s\" does not say which row",
						map->schema, map->name)));
}

/* Decode the rows of a record. */
static void
decode_rows(TargetTable *table, const WireRecord *record)
{
	table->old_row.present = false;
	table->new_row.present = false;
	if (record->type != RECORD_INSERT)
	{
		check_findable(table, record);
		if (record->old_kind != OLD_ROW_NONE)
			mc_tuple_decode(table, &record->old_row, false, &table->old_row);
	}
	if (record->type != RECORD_DELETE)
		mc_tuple_decode(table, &record->new_row,
						record->type == RECORD_UPDATE, &table->new_row);
}

/* Decode, find, decide and write, as the table's owner. */
static void
apply_record(RemoteTransaction *transaction, TargetTable *table,
			 const WireRecord *record)
{
	decode_rows(table, record);
	switch (record->type)
	{
		case RECORD_INSERT:
			put_row(transaction, table, MERGE_OP_INSERT,
					table->index ? &table->new_row : NULL, table->local_row);
			transaction->counters.inserts++;
			break;
		case RECORD_UPDATE:
			apply_update(transaction, table, record);
			transaction->counters.updates++;
			break;
		case RECORD_DELETE:
			apply_delete(transaction, table);
			transaction->counters.deletes++;
			break;
		default:
			elog(ERROR, "record of type %d is no row", (int) record->type);
	}
}

void
mc_apply_row(RemoteTransaction *transaction, RelationMap *map,
			 const WireRecord *record)
{
	TargetTable *table;
	OwnerScope	scope;

	PushActiveSnapshot(GetTransactionSnapshot());
	table = mc_table_open(transaction, map);
	table->estate->es_snapshot = GetActiveSnapshot();
	mc_owner_enter(map->owner, &scope);
	mc_write_begin_record(table);
	apply_record(transaction, table, record);
	mc_write_end_record(table);
	ExecClearTuple(table->local_row);
	ExecClearTuple(table->other_row);
	ExecClearTuple(table->write_row);
	mc_owner_leave(&scope);
	table->estate->es_snapshot = InvalidSnapshot;
	PopActiveSnapshot();

	/* Later records of the transaction see what this one did. */
	CommandCounterIncrement();
	mc_conflict_flush(transaction);
}
