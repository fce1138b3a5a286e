/*-------------------------------------------------------------------------
 *
 * apply_row.c
 *	  Find, decide and write one row of a peer.
 *
 * NOTES
 *	  Each change goes the same way:
 *
 *	  find		the local row of the key (table.c)
 *	  look		at its version: commit timestamp and author of its xmin
 *	  decide	by the merge table (core/merge.c), a pure function
 *	  write		if the verdict says so (write.c); if another transaction was
 *				faster, start again
 *	  note		the conflict, if it is one (conflict.c)
 *
 *	  A change of the key is a delete of the old key and a put of the new one.
 *	  It is written as one update where that has the same outcome.
 *
 *	  Not here yet: tombstones (LOCAL_TOMBSTONE is never reported, so that
 *	  LOCAL_NOTHING stands for it), dependency vectors, and refreshes for
 *	  out-of-line values that were not sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "state/registry.h"
#include "target/apply_row.h"
#include "target/conflict.h"
#include "target/tuple.h"
#include "target/write.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* Describe the row that was found in a slot, or that there is none. */
static void
look_at_local(RemoteTransaction *transaction, TupleTableSlot *slot,
			  bool found, LocalRow *local)
{
	Datum		xmin;
	bool		isnull;
	TimestampTz commit_ts;
	uint16		origin;

	memset(local, 0, sizeof(LocalRow));
	local->slot = slot;
	if (!found)
	{
		local->state.knowledge = LOCAL_NOTHING;
		return;
	}

	local->state.knowledge = LOCAL_LIVE;

	/* The raw xmin: freezing a row does not hide who wrote it. */
	xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);
	Assert(!isnull);
	if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin)))
	{
		/* Within one transaction the later change wins. */
		local->state.version = transaction->version;
		local->predecessor = true;
		return;
	}
	if (TransactionIdGetCommitTsData(DatumGetTransactionId(xmin), &commit_ts,
									 &origin))
	{
		local->state.version.center = mc_author_of_origin(origin,
														  transaction->our_id);
		if (local->state.version.center != MC_NO_CENTER)
			local->state.version.commit_ts = commit_ts;
	}

	/*
	 * An author's changes arrive in the order in which it made them, so that
	 * this one has seen the row even where the author's clock does not say
	 * so.  A row without an author has the base version, older than any.
	 */
	local->predecessor = local->state.version.center == transaction->peer ||
		local->state.version.center == MC_NO_CENTER;
}

/*
 * Had the change not seen the local version?  Without dependency vectors only
 * the author of the row can tell: a change by anybody else counts as
 * concurrent, although its author may well have seen the row.
 */
static bool
change_is_concurrent(const LocalRow *local)
{
	return !local->predecessor;
}

/* Decide on the change of a row. */
static MergeDecision
decide(RemoteTransaction *transaction, MergeOp op, const LocalRow *local)
{
	MergeInput	input = {0};

	input.op = op;
	input.remote = transaction->version;
	input.local = local->state;
	if (local->predecessor)
		memset(&input.local.version, 0, sizeof(RowVersion));
	input.concurrent = change_is_concurrent(local);
	return mc_merge_decide(&input);
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

	if (local && local->state.knowledge == LOCAL_LIVE)
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

/* Insert the peer's row. */
static WriteResult
insert_row(RemoteTransaction *transaction, TargetTable *table)
{
	check_complete(table);
	fill_write_row(table, NULL);
	mc_write_defaults(table);
	return mc_write_insert(transaction, table);
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
		bool		found;

		CHECK_FOR_INTERRUPTS();
		found = key && mc_table_find(table, key, slot, thorough);
		look_at_local(transaction, slot, found, &local);
		decision = decide(transaction, op, &local);

		if (decision.verdict == VERDICT_KEEP_LOCAL)
		{
			fill_write_row(table, &local);
			result = WRITE_DONE;
		}
		else if (found)
		{
			fill_write_row(table, &local);
			result = mc_write_update(transaction, table, slot);
		}
		else
			result = insert_row(transaction, table);

		if (result == WRITE_DONE)
			mc_conflict_note(transaction, table, decision, &local,
							 key ? key : &table->new_row, table->write_row);
		thorough = true;
	}
}

/*
 * Delete the row with the old key.  Returns WRITE_RETRY if it has changed
 * meanwhile; *local is what was found.
 */
static WriteResult
delete_row(RemoteTransaction *transaction, TargetTable *table,
		   const LocalRow *local)
{
	MergeDecision decision = decide(transaction, MERGE_OP_DELETE, local);
	WriteResult result = WRITE_DONE;

	/*
	 * VERDICT_RECORD_TOMBSTONE: here the tombstone will be remembered.  Until
	 * then an older put that arrives later brings the row back.
	 */
	if (decision.verdict == VERDICT_DELETE)
		result = mc_write_delete(table, local->slot);
	if (result == WRITE_DONE)
		mc_conflict_note(transaction, table, decision, local, &table->old_row,
						 NULL);
	return result;
}

/* Apply a DELETE record. */
static void
apply_delete(RemoteTransaction *transaction, TargetTable *table)
{
	WriteResult result = WRITE_RETRY;

	while (result == WRITE_RETRY)
	{
		LocalRow	local;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		found = mc_table_find(table, &table->old_row, table->local_row, true);
		look_at_local(transaction, table->local_row, found, &local);
		result = delete_row(transaction, table, &local);
	}
}

/*
 * Delete the old key of a key change, where it cannot become an update.
 * Values that were not sent are taken from the row that goes.
 */
static WriteResult
delete_old_key(RemoteTransaction *transaction, TargetTable *table,
			   const LocalRow *local)
{
	WriteResult result;

	/* No row: the put of the new key tells that story. */
	if (local->state.knowledge != LOCAL_LIVE)
		return WRITE_DONE;
	result = delete_row(transaction, table, local);

	/* The row is still in its page, and its large values are in theirs. */
	if (result != WRITE_RETRY && table->new_row.any_unchanged &&
		decide(transaction, MERGE_OP_DELETE, local).verdict == VERDICT_DELETE)
		complete_from_local_row(table, local->slot);
	CommandCounterIncrement();
	return result;
}

/* Apply an UPDATE record that changes the key. */
static void
apply_key_change(RemoteTransaction *transaction, TargetTable *table)
{
	WriteResult result = WRITE_RETRY;
	LocalRow	local;

	while (result == WRITE_RETRY)
	{
		bool		old_found;
		bool		new_found;
		MergeDecision decision;

		CHECK_FOR_INTERRUPTS();
		old_found = mc_table_find(table, &table->old_row, table->local_row,
								  true);
		new_found = mc_table_find(table, &table->new_row, table->other_row,
								  true);
		look_at_local(transaction, table->local_row, old_found, &local);
		decision = decide(transaction, MERGE_OP_UPDATE, &local);

		if (old_found && !new_found && decision.verdict == VERDICT_PUT)
		{
			fill_write_row(table, &local);
			result = mc_write_update(transaction, table, table->local_row);
			if (result == WRITE_DONE)
				mc_conflict_note(transaction, table, decision, &local,
								 &table->old_row, table->write_row);
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
