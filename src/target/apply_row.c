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
 *	  An update may lack values that it left alone.  They are taken from the
 *	  local row if that is the one which was updated; otherwise the change, and
 *	  one that cannot be decided, waits in quarantine, where it is tried again
 *	  (retry.c) until it can be written or is void.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "state/deletes.h"
#include "target/apply_row.h"
#include "target/batch.h"
#include "target/causes.h"
#include "target/column_trigger.h"
#include "target/columns.h"
#include "target/conflict.h"
#include "target/lookup.h"
#include "target/marker.h"
#include "target/outcome.h"
#include "target/quarantine.h"
#include "target/rebuild.h"
#include "target/refresh.h"
#include "target/siblings.h"
#include "target/tuple.h"
#include "target/write.h"
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
	input.later = local->later || transaction->retried != NULL;
	input.concurrent = true;
	if (local->state.knowledge == LOCAL_NOTHING)
		input.forgotten = local->forgotten;

	/* Where policies decide older deletes matter, too. */
	if (OidIsValid(local->ranked) && transaction->since <= input.forgotten)
		input.forgotten = Max(input.forgotten, input.remote.commit_ts);
	decision = mc_merge_decide(&input);
	if (decision.verdict == VERDICT_QUARANTINE &&
		local->state.knowledge == LOCAL_NOTHING)
		mc_rebuild_check(transaction->since);
	if (decision.conflict == CONFLICT_NONE || is_concurrent(transaction, local))
		return decision;
	input.concurrent = false;
	return mc_merge_decide(&input);
}

/* Write the new row, if the verdict says so and it is complete. */
static WriteResult
write_put(RemoteTransaction *transaction, TargetTable *table, MergeOp op,
		  MergeDecision decision, LocalRow *local)
{
	switch (decision.verdict)
	{
		case VERDICT_QUARANTINE:
			(void) mc_quarantine_hold(transaction, table, op, WAITS_FOR_DECISION);
			return WRITE_SUPPRESSED;
		case VERDICT_KEEP_LOCAL:
			mc_outcome_fill(table, local);
			if (table->new_row.any_unchanged)
			{
				mc_refresh_owed(transaction, table, local);
				mc_marker_resend_moved(transaction, table, local);
			}
			return WRITE_DONE;
		default:
			if (!mc_marker_complete(transaction, table, op, local))
				return WRITE_SUPPRESSED;
			return mc_outcome_put(transaction, table, local);
	}
}

/*
 * Keep a change back if one that came before it under its key waits until its
 * transaction can be applied.
 */
static bool
is_held_back(RemoteTransaction *transaction, TargetTable *table, MergeOp op,
			 const RemoteRow *row)
{
	if (transaction->retried || row == NULL ||
		!mc_note_quarantine_possible(table) ||
		!mc_quarantine_holds_back(table, row))
		return false;
	(void) mc_quarantine_hold(transaction, table, op, WAITS_FOR_PREDECESSOR);
	return true;
}

/*
 * Is a change that is tried again void?  While we waited for its row somebody
 * may have written what came after it in its transaction.  After the lookup,
 * so that who does so later changes what was found.
 */
static bool
is_void(const RemoteTransaction *transaction)
{
	return transaction->retried && !mc_quarantine_exists(transaction->retried->id);
}

/*
 * Let a policy decide on a change, where there is one, or merge its columns.
 * Returns false if the merge table counts; *siblings is what it makes void when it writes.
 */
static bool
write_by_policy(RemoteTransaction *transaction, TargetTable *table, MergeOp op,
				const RemoteRow *key, LocalRow *local, MergeDecision decision,
				WriteResult *result, List **siblings)
{
	Resolution	resolution;

	if (mc_columns_possible(table))
	{
		*result = mc_columns_write(transaction, table, op, key, local);
		return true;
	}
	mc_siblings_resolve(transaction, table, op, key, local, decision, &resolution);
	*siblings = resolution.seen_all ? list_copy(local->notes) : NIL;
	if (!resolution.decided)
		return false;
	*result = mc_siblings_write(transaction, table, op, key, local, &resolution);
	return true;
}

/* May anything but the merge table decide on changes of a table? */
static bool
is_by_policy(RemoteTransaction *transaction, TargetTable *table)
{
	return mc_columns_possible(table) || mc_siblings_possible(transaction, table);
}

/*
 * Insert the new row without a look at its key, where that is needless and
 * nothing but the row itself would have to be taken back.  Returns false if it
 * has to be put as any other.
 */
static bool
insert_at_once(RemoteTransaction *transaction, TargetTable *table)
{
	LocalRow	nothing = {0};

	if (!table->parkable || table->map->group_catalog || transaction->retried ||
		table->new_row.any_unchanged ||
		!mc_lookup_is_needless(transaction, table, &table->new_row) ||
		mc_outcome_put(transaction, table, &nothing) != WRITE_DONE)
		return false;
	if (mc_lookup_is_needless(transaction, table, &table->new_row))
		return true;
	mc_write_withdraw(table, table->write_row);
	return false;
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
	bool		by_policy = key && is_by_policy(transaction, table);
	List	   *siblings = NIL;

	/* An INSERT need not be sure: the unique index finds what it misses. */
	bool		thorough = op != MERGE_OP_INSERT || by_policy;
	WriteResult result = WRITE_RETRY;

	if (is_held_back(transaction, table, op, key))
		return;
	if (!thorough && key && insert_at_once(transaction, table))
		return;
	while (result == WRITE_RETRY)
	{
		LocalRow	local;
		MergeDecision decision;
		bool		sure;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, key, slot, thorough, &local);
		if (is_void(transaction))
			return;
		decision = decide(transaction, op, &local);
		if (by_policy && write_by_policy(transaction, table, op, key, &local,
										 decision, &result, &siblings))
			continue;
		sure = thorough || local.found || decision.verdict == VERDICT_PUT;
		if (sure)
			result = write_put(transaction, table, op, decision, &local);
		if (result == WRITE_DONE)
		{
			mc_siblings_forget(siblings);
			mc_conflict_note(transaction, table, decision, &local,
							 key ? key : &table->new_row, table->write_row);
		}
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
	if (decision.verdict == VERDICT_QUARANTINE)
	{
		(void) mc_quarantine_hold(transaction, table, MERGE_OP_DELETE,
								  WAITS_FOR_DECISION);
		return WRITE_SUPPRESSED;
	}
	if (decision.verdict == VERDICT_KEEP_LOCAL)
		return WRITE_DONE;
	return mc_outcome_delete(transaction, table, local);
}

/* Apply a DELETE record. */
static void
apply_delete(RemoteTransaction *transaction, TargetTable *table)
{
	bool		by_policy = is_by_policy(transaction, table);
	List	   *siblings = NIL;
	WriteResult result = WRITE_RETRY;

	if (is_held_back(transaction, table, MERGE_OP_DELETE, &table->old_row))
		return;
	while (result == WRITE_RETRY)
	{
		LocalRow	local;
		MergeDecision decision;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, &table->old_row, table->local_row, true,
				  &local);
		if (is_void(transaction))
			return;
		decision = decide(transaction, MERGE_OP_DELETE, &local);
		if (by_policy && write_by_policy(transaction, table, MERGE_OP_DELETE,
										 &table->old_row, &local, decision, &result,
										 &siblings))
			continue;
		if (by_policy && !local.found && decision.verdict == VERDICT_RECORD_TOMBSTONE)
			mc_siblings_bar(table, &table->old_row, NULL);
		result = write_delete(transaction, table, decision, &local);
		if (result == WRITE_DONE)
		{
			mc_siblings_forget(siblings);
			mc_conflict_note(transaction, table, decision, &local,
							 &table->old_row, NULL);
		}
	}
}

/*
 * Delete the old key of a key change, where it cannot become an update.
 * complete: take values that were not sent from the row that goes.
 */
static WriteResult
delete_old_key(RemoteTransaction *transaction, TargetTable *table,
			   LocalRow *local, bool complete)
{
	MergeDecision decision = decide(transaction, MERGE_OP_DELETE, local);
	WriteResult result;

	if (complete && local->displaced)
		mc_outcome_complete(table, local->displaced);
	result = write_delete(transaction, table, decision, local);

	/* Without a row the put of the new key tells that story. */
	if (result == WRITE_DONE && local->state.knowledge == LOCAL_LIVE)
		mc_conflict_note(transaction, table, decision, local, &table->old_row,
						 NULL);

	/* The row is still in its page, and its large values are in theirs. */
	if (result != WRITE_RETRY && complete && local->found)
		mc_marker_from_local_row(table, local->slot);
	CommandCounterIncrement();
	return result;
}

/* Write a key change as one update: nothing is known of the new key. */
static WriteResult
move_row(RemoteTransaction *transaction, TargetTable *table,
		 MergeDecision decision, LocalRow *local, LocalRow *other)
{
	WriteResult result;

	mc_outcome_fill(table, local);
	mc_deletes_note(RelationGetRelid(table->rel));
	result = mc_write_update(transaction, table, table->local_row);
	if (result != WRITE_DONE)
		return result;
	mc_lookup_forget(other);
	mc_outcome_finish(transaction, table, &table->old_row);
	mc_outcome_finish(transaction, table, &table->new_row);
	mc_conflict_note(transaction, table, decision, local, &table->old_row,
					 table->write_row);
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

	table->new_row.moved = true;
	if (is_by_policy(transaction, table) ||
		(mc_note_quarantine_possible(table) &&
		 (mc_quarantine_holds_back(table, &table->old_row) ||
		  mc_quarantine_holds_back(table, &table->new_row))))
	{
		apply_delete(transaction, table);
		CommandCounterIncrement();
		put_row(transaction, table, MERGE_OP_INSERT, &table->new_row,
				table->other_row);
		return;
	}
	while (result == WRITE_RETRY)
	{
		LocalRow	other;
		MergeDecision decision;
		bool		complete;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, &table->old_row, table->local_row, true,
				  &local);
		mc_lookup(transaction, table, &table->new_row, table->other_row, true,
				  &other);
		decision = decide(transaction, MERGE_OP_UPDATE, &local);
		complete = decision.verdict == VERDICT_PUT &&
			mc_marker_fits_moved(transaction, table, &local);

		if (local.found && !other.found && !other.displaced && complete &&
			decide(transaction, MERGE_OP_INSERT, &other).verdict == VERDICT_PUT)
		{
			result = move_row(transaction, table, decision, &local, &other);
			if (result != WRITE_RETRY)
				return;
		}
		else
			result = delete_old_key(transaction, table, &local,
									complete && table->new_row.any_unchanged);
	}
	put_row(transaction, table,
			local.state.knowledge == LOCAL_LIVE ? MERGE_OP_INSERT : MERGE_OP_UPDATE,
			&table->new_row, table->other_row);
}

/* Apply an UPDATE record. */
static void
apply_update(RemoteTransaction *transaction, TargetTable *table,
			 const WireRecord *record)
{
	if (table->old_row.whole && table->new_row.any_unchanged)
		mc_marker_from_old_row(table);

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
	table->old_row.whole = record->old_kind == OLD_ROW_FULL;
	table->new_row.present = false;
	table->new_row.moved = false;
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

/*
 * Put the change into quarantine, because its transaction fails again and
 * again.
 */
static void
set_aside(RemoteTransaction *transaction, TargetTable *table,
		  const WireRecord *record)
{
	bool		moves = record->type == RECORD_UPDATE && table->old_row.present;

	if (table->index == NULL || table->map->group_catalog)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot put a change of table \"%s.%s\" into quarantine",
						table->map->schema, table->map->name),
				 errdetail("The table has no key, or is one of multicenter's own. Before that its transaction failed with: %s",
						   transaction->aside->message)));
	if (moves)
	{
		if (table->old_row.whole && table->new_row.any_unchanged)
			mc_marker_from_old_row(table);
		moves = !mc_table_same_key(table, &table->old_row, &table->new_row);
	}
	table->new_row.moved = moves;
	if (record->type == RECORD_DELETE || moves)
		(void) mc_quarantine_hold(transaction, table, MERGE_OP_DELETE,
								  WAITS_FOR_RETRY);
	if (record->type != RECORD_DELETE)
		(void) mc_quarantine_hold(transaction, table,
								  record->type == RECORD_INSERT || moves ?
								  MERGE_OP_INSERT : MERGE_OP_UPDATE,
								  WAITS_FOR_RETRY);
	mc_conflict_note_aside(transaction, table, record->type == RECORD_DELETE);
}

/* Decode, find, decide and write, as the table's owner. */
static void
apply_record(RemoteTransaction *transaction, TargetTable *table,
			 const WireRecord *record)
{
	decode_rows(table, record);
	if (transaction->aside)
	{
		set_aside(transaction, table, record);
		return;
	}
	switch (record->type)
	{
		case RECORD_INSERT:
			mc_apply_insert(transaction, table);
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

TargetTable *
mc_apply_begin(RemoteTransaction *transaction, RelationMap *map,
			   OwnerScope *scope)
{
	TargetTable *table;

	PushActiveSnapshot(GetTransactionSnapshot());
	table = mc_table_open(transaction, map);
	table->estate->es_snapshot = GetActiveSnapshot();
	mc_owner_enter(map->owner, scope);
	mc_write_begin_record(table);
	return table;
}

void
mc_apply_end(RemoteTransaction *transaction, TargetTable *table,
			 const OwnerScope *scope)
{
	mc_write_end_record(table);
	ExecClearTuple(table->local_row);
	ExecClearTuple(table->other_row);
	ExecClearTuple(table->write_row);
	mc_owner_leave(scope);
	table->estate->es_snapshot = InvalidSnapshot;
	PopActiveSnapshot();

	/* Later records of the transaction see what this one did. */
	CommandCounterIncrement();
	mc_conflict_flush(transaction);
}

void
mc_apply_insert(RemoteTransaction *transaction, TargetTable *table)
{
	put_row(transaction, table, MERGE_OP_INSERT,
			table->index ? &table->new_row : NULL, table->local_row);
}

/* Begin a batch only where more rows may follow. */
#define BATCH_MORE_BYTES	256

/* Take a row into the batch, if it is one for that. */
static bool
add_to_batch(RemoteTransaction *transaction, RelationMap *map,
			 const WireRecord *record)
{
	TargetTable *table;

	if (record->type != RECORD_INSERT || transaction->aside ||
		(transaction->batched ? transaction->batched->map != map :
		 transaction->more < BATCH_MORE_BYTES))
		return false;
	table = mc_table_open(transaction, map);
	if (!table->parkable || table->index == NULL || map->group_catalog ||
		is_by_policy(transaction, table) || mc_note_quarantine_possible(table))
		return false;
	mc_batch_make_room(transaction);
	if (map->image_is_row && record->new_row.format == TUPLE_RAW)
	{
		if (!mc_batch_add_image(transaction, table, &record->new_row))
			return false;
	}
	else
	{
		decode_rows(table, record);
		if (!mc_lookup_is_needless(transaction, table, &table->new_row))
			return false;
		mc_batch_add(transaction, table);
	}
	mc_column_told_used(transaction);
	transaction->counters.inserts++;
	return true;
}

void
mc_apply_row(RemoteTransaction *transaction, RelationMap *map,
			 const WireRecord *record)
{
	OwnerScope	scope;
	TargetTable *table;

	if (add_to_batch(transaction, map, record))
		return;
	mc_batch_flush(transaction);
	table = mc_apply_begin(transaction, map, &scope);

	apply_record(transaction, table, record);
	mc_column_told_used(transaction);
	mc_apply_end(transaction, table, &scope);
}

/*
 * Raise an error unless a row that came as jsonb has a key: after a schema
 * change here its columns may have other names.
 */
static void
check_key(TargetTable *table, const RemoteRow *row)
{
	if (table->index == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" has no key any more",
						table->map->schema, table->map->name)));
	if (mc_table_key_has_null(table, row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the change has no value for the key that table \"%s.%s\" has now",
						table->map->schema, table->map->name)));
}

/* Take from an entry what the frame of its transaction has said. */
static void
take_origin(RemoteTransaction *transaction, const QuarantineEntry *entry)
{
	transaction->vector = &entry->vector;
	transaction->commit_lsn = entry->commit_lsn;
	transaction->end_lsn = entry->end_lsn;
	transaction->remote_xid = entry->remote_xid;
	transaction->since = mc_causes_since(transaction);
}

/* And back to what the frame of the transaction itself has said. */
static void
take_frame(RemoteTransaction *transaction, const RemoteTransaction *frame)
{
	transaction->vector = frame->vector;
	transaction->commit_lsn = frame->commit_lsn;
	transaction->end_lsn = frame->end_lsn;
	transaction->remote_xid = frame->remote_xid;
	transaction->since = frame->since;
	transaction->overtook = frame->overtook;
	transaction->retried = frame->retried;
}

void
mc_apply_again(RemoteTransaction *transaction, RelationMap *map)
{
	const QuarantineEntry *entry = transaction->retried;
	OwnerScope	scope;
	TargetTable *table;

	take_origin(transaction, entry);
	table = mc_apply_begin(transaction, map, &scope);
	mc_note_row_from_jsonb(table, entry->key.values, &table->old_row);
	check_key(table, &table->old_row);
	if (entry->op == MERGE_OP_DELETE)
		apply_delete(transaction, table);
	else
	{
		if (entry->old_row)
			mc_note_row_from_jsonb(table, entry->old_row, &table->old_row);
		table->old_row.whole = entry->old_row != NULL;
		mc_note_row_from_jsonb(table, entry->new_row, &table->new_row);
		check_key(table, &table->new_row);
		table->new_row.any_unchanged &= entry->op == MERGE_OP_UPDATE || entry->key_changed;
		table->new_row.moved = entry->key_changed;
		put_row(transaction, table, entry->op, &table->new_row, table->local_row);
	}
	mc_apply_end(transaction, table, &scope);
}

/* Send our own rows among the siblings of a key. */
static void
send_own_siblings(RemoteTransaction *transaction, TargetTable *table,
				  const LocalRow *local)
{
	ListCell   *cell;

	foreach(cell, local->notes)
	{
		KeyNote    *note = lfirst(cell);
		LocalRow	own = {0};

		if (note->kind != NOTE_SIBLING || note->row == NULL ||
			note->version.center != transaction->our_id)
			continue;
		own.state.version = note->version;
		own.displaced = note;
		mc_refresh_send(transaction, table, &own);
	}
}

void
mc_apply_request(RemoteTransaction *transaction, RelationMap *map,
				 const Jsonb *key)
{
	OwnerScope	scope;
	TargetTable *table = mc_apply_begin(transaction, map, &scope);

	if (table->index)
	{
		LocalRow	local;

		mc_note_row_from_jsonb(table, key, &table->old_row);
		mc_lookup(transaction, table, &table->old_row, table->local_row, true,
				  &local);
		if (mc_siblings_hold(local.notes, local.state.version))
			send_own_siblings(transaction, table, &local);
		else if (mc_merge_answers_request(&local.state, transaction->our_id))
			mc_refresh_send(transaction, table, &local);
	}
	mc_apply_end(transaction, table, &scope);
}

/* A refresh completes what waits at its version: note that conflict now. */
static void
note_completed(RemoteTransaction *transaction, TargetTable *table,
			   List *entries, const LocalRow *local)
{
	ListCell   *cell;

	foreach(cell, entries)
	{
		const QuarantineEntry *entry = lfirst(cell);
		RemoteTransaction origin = *transaction;
		MergeDecision decision;

		if (mc_version_compare(entry->version, transaction->version) != 0)
			continue;
		take_origin(&origin, entry);
		decision = decide(&origin, entry->op, local);
		if (decision.verdict == VERDICT_PUT)
			mc_conflict_note(&origin, table, decision, local, &table->new_row,
							 table->write_row);
		transaction->conflicts = origin.conflicts;
		return;
	}
}

/*
 * A refresh where a policy decides: it completes what waits at its version, and
 * that is decided as ever.  Returns false if nothing waits.
 */
static bool
complete_waiting(RemoteTransaction *transaction, TargetTable *table)
{
	RemoteTransaction saved = *transaction;
	bool		found = false;
	CenterId	missing;
	ListCell   *cell;

	foreach(cell, mc_quarantine_find(table, &table->new_row))
	{
		QuarantineEntry *entry = lfirst(cell);

		if (mc_version_compare(entry->version, transaction->version) != 0 ||
			entry->op == MERGE_OP_DELETE)
			continue;
		found = true;
		take_origin(transaction, entry);
		transaction->retried = entry;
		transaction->overtook = !mc_vector_covered(&entry->vector, entry->peer,
												   transaction->our_id, &missing);
		put_row(transaction, table, entry->op, &table->new_row, table->local_row);
		if (!entry->held)
			mc_quarantine_remove(entry->id);
		CommandCounterIncrement();
	}
	take_frame(transaction, &saved);
	return found;
}

/* Apply a refresh to its key. */
static WriteResult
write_refresh(RemoteTransaction *transaction, TargetTable *table,
			  LocalRow *local)
{
	List	   *entries = mc_quarantine_find(table, &table->new_row);
	WriteResult result;

	/* One of several versions has been replaced, or is complete everywhere. */
	if (mc_siblings_possible(transaction, table) &&
		(mc_siblings_hold(local->notes, local->state.version) ||
		 mc_version_compare(local->state.version, transaction->version) != 0))
		return WRITE_DONE;
	if (mc_merge_refresh(transaction->version, &local->state,
						 entries != NIL) == REFRESH_DROP)
	{
		mc_refresh_owed(transaction, table, local);
		return WRITE_DONE;
	}
	result = mc_outcome_put(transaction, table, local);
	if (result == WRITE_DONE)
		note_completed(transaction, table, entries, local);
	return result;
}

void
mc_apply_refresh(RemoteTransaction *transaction, RelationMap *map,
				 const Jsonb *row)
{
	OwnerScope	scope;
	TargetTable *table = mc_apply_begin(transaction, map, &scope);
	WriteResult result = table->index ? WRITE_RETRY : WRITE_DONE;

	mc_note_row_from_jsonb(table, row, &table->new_row);
	if (table->index)
		check_key(table, &table->new_row);
	if (table->index && mc_siblings_possible(transaction, table) &&
		complete_waiting(transaction, table))
		result = WRITE_DONE;
	while (result == WRITE_RETRY)
	{
		LocalRow	local;

		CHECK_FOR_INTERRUPTS();
		mc_lookup(transaction, table, &table->new_row, table->local_row, true,
				  &local);
		result = write_refresh(transaction, table, &local);
	}
	mc_apply_end(transaction, table, &scope);
}
