/*-------------------------------------------------------------------------
 *
 * column_trigger.c
 *	  What a local change had seen of its key, kept here and told to peers.
 *
 * NOTES
 *	  The row is locked when a BEFORE trigger of an UPDATE or DELETE fires, and
 *	  apply writes the row with each change of it: so what is kept of the key
 *	  at that moment is what the change has seen.
 *
 *	  A message is text, the causes as column_log.c writes them.  The change
 *	  follows it immediately: so it says nothing of the key, and one is
 *	  remembered.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "origin/message.h"
#include "state/own.h"
#include "state/registry.h"
#include "target/column_log.h"
#include "target/column_trigger.h"
#include "target/local_map.h"
#include "target/lookup.h"
#include "target/quarantine.h"
#include "target/seen.h"
#include "utils/guc.h"
#include "utils/numeric.h"
#include "utils/rel.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_keep_change);

/* ---- where a change is made ---- */

/* Take a row apart. */
static void
read_row(TargetTable *table, HeapTuple tuple, RemoteRow *row)
{
	heap_deform_tuple(tuple, RelationGetDescr(table->rel), row->values, row->isnull);
	memset(row->unchanged, 0, sizeof(bool) * table->map->natts);
	row->present = true;
	row->any_unchanged = false;
}

/* The version of the row that is about to be changed. */
static RowVersion
version_of(const RemoteTransaction *transaction, HeapTuple tuple, const List *notes)
{
	TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	RowVersion	version = {0};
	uint16		origin;
	const ListCell *cell;

	if (TransactionIdIsCurrentTransactionId(xmin))
		return transaction->version;
	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_VERSION && note->xid == xmin)
			return note->version;
	}
	if (!mc_lookup_may_be_alias(tuple) &&
		TransactionIdGetCommitTsData(xmin, &version.commit_ts, &origin))
		version.center = mc_author_of_origin(origin, transaction->our_id);

	/* A copied row, or one of before the group: the base version. */
	if (version.center == MC_NO_CENTER)
		version.commit_ts = 0;
	return version;
}

/* Raise an error where what is to be added up is no finite number. */
static void
check_numbers(TargetTable *table, const ColumnPolicies *policies, const RemoteRow *row)
{
	for (int i = 0; i < policies->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table->rel), i);

		if (policies->merge[i] != COLUMN_DELTA || row->isnull[i] ||
			attribute->atttypid != NUMERICOID)
			continue;
		if (numeric_is_nan(DatumGetNumeric(row->values[i])) ||
			numeric_is_inf(DatumGetNumeric(row->values[i])))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("column \"%s\" of table \"%s\" cannot become NaN or infinite",
							NameStr(attribute->attname), RelationGetRelationName(table->rel)),
					 errdetail("Concurrent changes of it are added up.")));
	}
}

/* Write the message. */
static void
tell(const LoggedChange *logged)
{
	StringInfoData message;

	initStringInfo(&message);
	mc_column_causes_write(&message, &logged->change.causes, logged->change.version);
	(void) mc_message_emit(MC_COLUMNS_PREFIX, true, message.data, (uint32) message.len);
	pfree(message.data);
}

/* A change of a row that is made here, and what is kept of its key. */
typedef struct OwnChange
{
	RowKey		key;
	ColumnLog	log;
	LoggedChange logged;
} OwnChange;

/* Find out what a change of a row with this version has seen. */
static void
begin_change(RemoteTransaction *transaction, TargetTable *table, const RowKey *key,
			 const List *notes, RowVersion version, OwnChange *change)
{
	/* Greater than any until it is known. */
	RowVersion	own = {DT_NOEND, transaction->our_id};

	memset(change, 0, sizeof(OwnChange));
	change->key = *key;
	mc_column_log_read(transaction, table, notes, &version, &change->log);
	change->logged.change.version = change->logged.change.row = own;
	change->logged.change.causes = mc_column_log_causes(&change->log, transaction->our_id);
}

/* Keep it, and tell the peers what it has seen. */
static void
end_change(OwnChange *change)
{
	tell(&change->logged);
	mc_column_log_add(&change->key, &change->log, &change->logged, true);
}

/* Keep a change, and tell what it has seen.  new_tuple: NULL for a DELETE. */
static void
keep(RemoteTransaction *transaction, TargetTable *table, HeapTuple old_tuple,
	 HeapTuple new_tuple)
{
	const ColumnPolicies *policies = mc_column_policies(table->map->relid);
	OwnChange	change;
	RowKey		key;
	List	   *notes;

	read_row(table, old_tuple, &table->old_row);
	mc_note_key(table, &table->old_row, &key);
	notes = mc_note_find(table, &key);
	begin_change(transaction, table, &key, notes,
				 version_of(transaction, old_tuple, notes), &change);
	change.logged.change.deleted = new_tuple == NULL;
	if (new_tuple)
	{
		read_row(table, new_tuple, &table->new_row);
		check_numbers(table, policies, &table->new_row);
		change.logged.change.deleted = !mc_table_same_key(table, &table->old_row, &table->new_row);
	}
	if (!change.logged.change.deleted)
		change.logged.columns = mc_column_log_compare(table, policies, &table->old_row,
													  &table->new_row);
	end_change(&change);
}

/*
 * Does an UPDATE take its row to another partition?  Then it goes on as a DELETE
 * here, whose trigger keeps the change, and an INSERT there.
 */
static bool
moves_away(TargetTable *table, HeapTuple new_tuple)
{
	bool		stays;

	if (!table->rel->rd_rel->relispartition)
		return false;
	ExecForceStoreHeapTuple(new_tuple, table->local_row, false);
	stays = ExecPartitionCheck(table->relinfo, table->local_row, table->estate, false);
	ExecClearTuple(table->local_row);
	return !stays;
}

void
mc_column_keep_delete(RemoteTransaction *transaction, TargetTable *table,
					  const RowKey *key, const List *notes, RowVersion version)
{
	OwnChange	change;

	begin_change(transaction, table, key, notes, version, &change);
	change.logged.change.deleted = true;
	end_change(&change);
}

/* The trigger function multicenter.keep_change(). */
Datum
mc_keep_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	RemoteTransaction transaction = {0};
	RelationMap *map;
	TargetTable *table;
	OwnerScope	scope;
	HeapTuple	new_tuple = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("multicenter.keep_change() must be fired before UPDATE or DELETE, for each row")));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		new_tuple = trigger->tg_newtuple;
	transaction.our_id = transaction.peer = mc_seen_our_id();
	map = transaction.our_id == MC_NO_CENTER ? NULL : mc_local_map(trigger->tg_relation);
	if (map != NULL && mc_column_policies(RelationGetRelid(trigger->tg_relation)) != NULL)
	{
		transaction.version.commit_ts = DT_NOEND;	/* see begin_change() */
		transaction.version.center = transaction.our_id;
		transaction.context = transaction.change_context = CurrentMemoryContext;
		table = mc_table_open(&transaction, map);
		if (table->index != NULL)
		{
			mc_owner_enter(map->owner, &scope);
			mc_seen_pin_settings();
			if (new_tuple == NULL || !moves_away(table, new_tuple))
				keep(&transaction, table, trigger->tg_trigtuple, new_tuple);
			mc_owner_leave(&scope);
		}

		/* Nothing was changed by us. */
		table->displaces = false;
		mc_table_close(&transaction, table);
	}
	return PointerGetDatum(new_tuple ? new_tuple : trigger->tg_trigtuple);
}

/* ---- at the peer ---- */

void
mc_column_message(RemoteTransaction *transaction, const char *content, uint32 len)
{
	MemoryContext old_context = MemoryContextSwitchTo(transaction->context);

	mc_column_told_used(transaction);
	if (transaction->told == NULL)
		transaction->told = palloc0(sizeof(ToldCauses));
	transaction->told->causes = pnstrdup(content, len);
	MemoryContextSwitchTo(old_context);
}

const char *
mc_column_told(const RemoteTransaction *transaction)
{
	if (transaction->retried)
		return transaction->retried->causes;
	return transaction->told ? transaction->told->causes : NULL;
}

void
mc_column_told_used(RemoteTransaction *transaction)
{
	if (transaction->told == NULL || transaction->told->causes == NULL)
		return;
	pfree(transaction->told->causes);
	transaction->told->causes = NULL;
}
