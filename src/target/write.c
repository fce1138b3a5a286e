/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Write one row to a local table, as the executor would.
 *
 * NOTES
 *	  Concurrent inserts of one key: the key's index only reports a
 *	  duplicate, instead of raising an error.  The row is then deleted again
 *	  and the caller searches anew, waits for the other transaction and
 *	  decides by versions.  The index checks and inserts under one page lock,
 *	  so of two transactions only the later one sees the other: nobody waits
 *	  in a circle.
 *
 *	  Other unique indexes and exclusion constraints only report what may be
 *	  a clash, too: displace.c settles it before the commit.
 *
 *	  In a table without a key, whose rows cannot be displaced, they raise
 *	  errors.  Deferrable constraints are rechecked by a trigger in
 *	  PostgreSQL, which does not fire under session_replication_role =
 *	  replica.  So the places of the rows are kept here and checked before the
 *	  commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "optimizer/optimizer.h"
#include "replication/origin.h"
#include "rewrite/rewriteHandler.h"
#include "state/deletes.h"
#include "target/displace.h"
#include "target/write.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* A constraint that must be checked before the commit. */
typedef struct UniqueRecheck
{
	Oid			relid;
	Oid			index;
	Oid			owner;			/* of the table */
	ItemPointerData tid;
} UniqueRecheck;

/* Prepare the defaults of columns that the peer does not have. */
static void
prepare_defaults(TargetTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);

	table->default_attnums = palloc(sizeof(AttrNumber) * desc->natts);
	table->defaults = palloc(sizeof(ExprState *) * desc->natts);
	table->ndefaults = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Expr	   *expression;

		if (attribute->attisdropped || attribute->attgenerated ||
			table->map->remote_index[i] >= 0)
			continue;
		expression = (Expr *) build_column_default(table->rel, i + 1);
		if (expression == NULL)
			continue;
		table->default_attnums[table->ndefaults] = i + 1;
		table->defaults[table->ndefaults++] =
			ExecInitExpr(expression_planner(expression), NULL);
	}
	table->defaults_ready = true;
	MemoryContextSwitchTo(old_context);
}

void
mc_write_begin_record(TargetTable *table)
{
	if (table->fires_triggers)
		AfterTriggerBeginQuery();
	if (!table->plain)
		mc_deletes_keys_unknown();
}

void
mc_write_defaults(TargetTable *table)
{
	ExprContext *context = GetPerTupleExprContext(table->estate);

	if (!table->map->has_local_columns)
		return;
	if (!table->defaults_ready)
		prepare_defaults(table);
	for (int i = 0; i < table->ndefaults; i++)
	{
		int			attno = table->default_attnums[i] - 1;

		table->write_row->tts_values[attno] =
			ExecEvalExprSwitchContext(table->defaults[i], context,
									  &table->write_row->tts_isnull[attno]);
	}
}

/*
 * Compute generated columns and check the constraints of a row.  It always
 * counts as an INSERT for generated columns: all of them are computed.
 */
static void
check_row(TargetTable *table, TupleTableSlot *slot)
{
	Relation	rel = table->rel;
	TupleConstr *constraints = RelationGetDescr(rel)->constr;

	slot->tts_tableOid = RelationGetRelid(rel);
	if (constraints && constraints->has_generated_stored)
		ExecComputeStoredGenerated(table->relinfo, table->estate, slot,
								   CMD_INSERT);
	if (constraints)
		ExecConstraints(table->relinfo, slot, table->estate);
	if (rel->rd_rel->relispartition)
		ExecPartitionCheck(table->relinfo, slot, table->estate, true);
}

/*
 * Insert a row just written into the indexes.  Returns false if its key is
 * there already.  *deferred: constraints whose check was put off.
 */
static bool
insert_index_entries(RemoteTransaction *transaction, TargetTable *table,
					 TupleTableSlot *row, bool update, bool only_summarizing,
					 List **deferred)
{
	List	   *arbiters = table->displaces || update ? NIL : table->arbiters;
	bool		conflict = false;
	bool		key_conflict;
	List	   *indexes;

	indexes = ExecInsertIndexTuples_compat(table->relinfo, table->estate,
										   update, only_summarizing, row,
										   table->displaces || arbiters != NIL,
										   arbiters, &conflict);
	if (!table->displaces)
	{
		*deferred = indexes;
		return !conflict;
	}
	*deferred = NIL;
	if (indexes == NIL)
		return true;
	key_conflict = list_member_oid(indexes, table->map->index);
	if (!key_conflict)
		mc_displace_note(transaction, table, &row->tts_tid, update);
	list_free(indexes);
	return !key_conflict;
}

/* Remember constraints whose check was put off for a row just written. */
static void
note_deferred(RemoteTransaction *transaction, TargetTable *table,
			  const TupleTableSlot *row, List *indexes)
{
	MemoryContext old_context;
	ListCell   *cell;

	if (indexes == NIL)
		return;
	old_context = MemoryContextSwitchTo(transaction->context);
	foreach(cell, indexes)
	{
		UniqueRecheck *recheck = palloc(sizeof(UniqueRecheck));

		recheck->relid = RelationGetRelid(table->rel);
		recheck->index = lfirst_oid(cell);
		recheck->owner = table->map->owner;
		recheck->tid = row->tts_tid;
		transaction->rechecks = lappend(transaction->rechecks, recheck);
	}
	MemoryContextSwitchTo(old_context);
}

/* The command id of what is written next. */
static CommandId
begin_write(TargetTable *table)
{
	table->estate->es_output_cid = GetCurrentCommandId(true);
	return table->estate->es_output_cid;
}

/* What the outcome of an update, delete or lock means for the caller. */
static WriteResult
interpret_result(TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return WRITE_DONE;
		case TM_Updated:
		case TM_Deleted:
			return WRITE_RETRY;
		case TM_SelfModified:
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("row to be changed was already modified by a trigger of the same change")));
			break;
		default:
			elog(ERROR, "unexpected status of a row: %d", (int) result);
	}
	return WRITE_RETRY;
}

/*
 * Lock the row for a BEFORE trigger.  The trigger machinery would follow a
 * concurrent update to the new version of the row, which we have not judged.
 */
static WriteResult
lock_row(TargetTable *table, TupleTableSlot *found)
{
	TM_FailureData failure;
	ItemPointerData tid = found->tts_tid;

	return interpret_result(table_tuple_lock(table->rel, &tid,
											 table->estate->es_snapshot, found,
											 begin_write(table),
											 LockTupleExclusive, LockWaitBlock,
											 0, &failure));
}

/* Take back a row whose key another transaction has inserted first. */
static void
withdraw_row(TargetTable *table, TupleTableSlot *row)
{
	TM_FailureData failure;
	TM_Result	result;

	CommandCounterIncrement();
	result = table_tuple_delete_compat(table->rel, &row->tts_tid,
									   begin_write(table),
									   table->estate->es_snapshot, &failure);
	if (result != TM_Ok)
		elog(ERROR, "could not take back a row: %d", (int) result);
	CommandCounterIncrement();
}

/* Insert table->write_row; see mc_write_insert(). */
static WriteResult
insert_row(RemoteTransaction *transaction, TargetTable *table)
{
	ResultRelInfo *relinfo = table->relinfo;
	TriggerDesc *triggers = relinfo->ri_TrigDesc;
	TupleTableSlot *slot = table->write_row;
	List	   *deferred = NIL;

	begin_write(table);
	if (triggers && triggers->trig_insert_before_row &&
		!ExecBRInsertTriggers(table->estate, relinfo, slot))
		return WRITE_SUPPRESSED;
	check_row(table, slot);
	table_tuple_insert(table->rel, slot, begin_write(table), 0, NULL);
	if (relinfo->ri_NumIndices > 0 &&
		!insert_index_entries(transaction, table, slot, false, false, &deferred))
	{
		list_free(deferred);
		withdraw_row(table, slot);
		return WRITE_RETRY;
	}
	if (triggers)
		ExecARInsertTriggers(table->estate, relinfo, slot, deferred, NULL);
	note_deferred(transaction, table, slot, deferred);
	list_free(deferred);
	return WRITE_DONE;
}

/* Replace the row that was found by table->write_row. */
static WriteResult
update_row(RemoteTransaction *transaction, TargetTable *table,
		   TupleTableSlot *found)
{
	ResultRelInfo *relinfo = table->relinfo;
	TriggerDesc *triggers = relinfo->ri_TrigDesc;
	TupleTableSlot *slot = table->write_row;
	ItemPointerData tid = found->tts_tid;
	TU_UpdateIndexes update_indexes = TU_None;
	TM_FailureData failure;
	LockTupleMode lockmode;
	List	   *deferred = NIL;
	WriteResult result;

	if (triggers && triggers->trig_update_before_row)
	{
		/* What is written must not point into a row that is read again. */
		ExecMaterializeSlot(slot);
		result = lock_row(table, found);
		if (result != WRITE_DONE)
			return result;
		if (!ExecBRUpdateTriggers_compat(table->estate, &table->epqstate,
										 relinfo, &tid, slot))
			return WRITE_SUPPRESSED;
	}
	check_row(table, slot);
	result = interpret_result(table_tuple_update_compat(table->rel, &tid, slot,
														begin_write(table),
														table->estate->es_snapshot,
														&failure, &lockmode,
														&update_indexes));
	if (result != WRITE_DONE)
		return result;
	if (relinfo->ri_NumIndices > 0 && update_indexes != TU_None &&
		!insert_index_entries(transaction, table, slot, true,
							  update_indexes == TU_Summarizing, &deferred))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not change the key of a row of table \"%s.%s\", because another transaction has inserted the new key",
						table->map->schema, table->map->name)));
	if (triggers)
		ExecARUpdateTriggers(table->estate, relinfo, NULL, NULL, &tid, NULL,
							 slot, deferred, NULL, false);
	note_deferred(transaction, table, slot, deferred);
	list_free(deferred);
	return WRITE_DONE;
}

/* Delete the row that was found. */
static WriteResult
delete_row(TargetTable *table, TupleTableSlot *found)
{
	ResultRelInfo *relinfo = table->relinfo;
	TriggerDesc *triggers = relinfo->ri_TrigDesc;
	ItemPointerData tid = found->tts_tid;
	TM_FailureData failure;
	WriteResult result;

	if (triggers && triggers->trig_delete_before_row)
	{
		result = lock_row(table, found);
		if (result != WRITE_DONE)
			return result;
		if (!ExecBRDeleteTriggers_compat(table->estate, &table->epqstate,
										 relinfo, &tid))
			return WRITE_SUPPRESSED;
	}
	result = interpret_result(table_tuple_delete_compat(table->rel, &tid,
														begin_write(table),
														table->estate->es_snapshot,
														&failure));
	if (result == WRITE_DONE && triggers)
		ExecARDeleteTriggers(table->estate, relinfo, &tid, NULL, NULL, false);
	return result;
}

/*
 * The executor expects its own memory context to be the current one: there
 * it keeps what it will use again for the next row.
 */
WriteResult
mc_write_insert(RemoteTransaction *transaction, TargetTable *table)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);
	WriteResult result = insert_row(transaction, table);

	MemoryContextSwitchTo(old_context);
	return result;
}

/* Insert one of many rows into the indexes; false if it was taken back. */
static bool
index_row(RemoteTransaction *transaction, TargetTable *table,
		  TupleTableSlot *row)
{
	List	   *deferred = NIL;
	bool		done = table->relinfo->ri_NumIndices == 0 ||
	insert_index_entries(transaction, table, row, false, false, &deferred);

	if (done)
		note_deferred(transaction, table, row, deferred);
	else
		withdraw_row(table, row);
	list_free(deferred);
	return done;
}

void
mc_write_insert_many(RemoteTransaction *transaction, TargetTable *table,
					 TupleTableSlot **rows, int nrows, bool *inserted)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);

	for (int i = 0; i < nrows; i++)
		check_row(table, rows[i]);

	/* What it allocates is of no use afterwards. */
	MemoryContextSwitchTo(GetPerTupleMemoryContext(table->estate));
	table_multi_insert(table->rel, rows, nrows, begin_write(table), 0, NULL);
	MemoryContextSwitchTo(table->estate->es_query_cxt);
	for (int i = 0; i < nrows; i++)
	{
		inserted[i] = index_row(transaction, table, rows[i]);
		ResetPerTupleExprContext(table->estate);
	}
	MemoryContextSwitchTo(old_context);
}

void
mc_write_withdraw(TargetTable *table, TupleTableSlot *row)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);

	withdraw_row(table, row);
	MemoryContextSwitchTo(old_context);
}

WriteResult
mc_write_update(RemoteTransaction *transaction, TargetTable *table,
				TupleTableSlot *found)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);
	WriteResult result = update_row(transaction, table, found);

	MemoryContextSwitchTo(old_context);
	return result;
}

WriteResult
mc_write_delete(TargetTable *table, TupleTableSlot *found)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);
	WriteResult result = delete_row(table, found);

	MemoryContextSwitchTo(old_context);
	return result;
}

bool
mc_write_tombstone(TargetTable *table, bool tell)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);
	TimestampTz timestamp;
	uint16		origin = mc_session_origin(&timestamp);
	bool		conflict = false;
	bool		key_conflict;
	List	   *indexes;

	table_tuple_insert(table->rel, table->write_row, begin_write(table), 0, NULL);
	indexes = ExecInsertIndexTuples_compat(table->relinfo, table->estate, false,
										   false, table->write_row, true, NIL,
										   &conflict);
	key_conflict = list_member_oid(indexes, table->map->index);
	list_free(indexes);
	if (!key_conflict)
	{
		if (tell)
			mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
		withdraw_row(table, table->write_row);
		mc_session_origin_set(origin, InvalidXLogRecPtr, timestamp);
	}
	MemoryContextSwitchTo(old_context);
	return !key_conflict;
}

void
mc_write_end_record(TargetTable *table)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->estate->es_query_cxt);

	if (table->fires_triggers)
		AfterTriggerEndQuery(table->estate);
	MemoryContextSwitchTo(old_context);
	ResetPerTupleExprContext(table->estate);
}

/* Call PostgreSQL's own recheck, which is a trigger function. */
static void
recheck_unique(Relation rel, const UniqueRecheck *recheck)
{
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	function = {0};
	TriggerData trigger_data = {0};
	Trigger		trigger = {0};
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	slot->tts_tid = recheck->tid;
	trigger.tgconstrindid = recheck->index;
	trigger_data.type = T_TriggerData;
	trigger_data.tg_event = TRIGGER_EVENT_INSERT | TRIGGER_EVENT_ROW;
	trigger_data.tg_relation = rel;
	trigger_data.tg_trigger = &trigger;
	trigger_data.tg_trigslot = slot;
	InitFunctionCallInfoData(*fcinfo, &function, 0, InvalidOid,
							 (Node *) &trigger_data, NULL);
	(void) unique_key_recheck(fcinfo);
	ExecDropSingleTupleTableSlot(slot);
}

void
mc_write_check_deferred(RemoteTransaction *transaction)
{
	ListCell   *cell;

	if (transaction->rechecks == NIL)
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, transaction->rechecks)
	{
		UniqueRecheck *recheck = lfirst(cell);
		Relation	rel = table_open(recheck->relid, RowExclusiveLock);
		OwnerScope	scope;

		mc_owner_enter(recheck->owner, &scope);
		recheck_unique(rel, recheck);
		mc_owner_leave(&scope);
		table_close(rel, NoLock);
	}
	PopActiveSnapshot();
	list_free_deep(transaction->rechecks);
	transaction->rechecks = NIL;
}
