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
 *	  A message is text: the hash of the key, then the causes as column_log.c
 *	  writes them.  The change follows it immediately, so one is remembered.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <inttypes.h>

#include "access/commit_ts.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "origin/message.h"
#include "state/own.h"
#include "state/registry.h"
#include "target/column_log.h"
#include "target/column_trigger.h"
#include "target/local_map.h"
#include "target/quarantine.h"
#include "target/seen.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "compat.h"

#define UINT64_HEX		"%" PRIx64

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
	if (TransactionIdGetCommitTsData(xmin, &version.commit_ts, &origin))
		version.center = mc_author_of_origin(origin, transaction->our_id);

	/* A copied row, or one of before the group: the base version. */
	if (version.center == MC_NO_CENTER)
		version.commit_ts = 0;
	return version;
}

/* Write the message. */
static void
tell(int64 hash, const LoggedChange *logged)
{
	StringInfoData message;

	initStringInfo(&message);
	appendStringInfo(&message, UINT64_HEX, (uint64) hash);
	mc_column_causes_write(&message, &logged->change.causes, logged->change.version);
	(void) mc_message_emit(MC_COLUMNS_PREFIX, true, message.data, (uint32) message.len);
	pfree(message.data);
}

/* Keep a change, and tell what it has seen.  new_tuple: NULL for a DELETE. */
static void
keep(RemoteTransaction *transaction, TargetTable *table, HeapTuple old_tuple,
	 HeapTuple new_tuple)
{
	const ColumnPolicies *policies = mc_column_policies(table->map->relid);
	LoggedChange logged = {.change.version = transaction->version,.change.row = transaction->version};
	RowVersion	version;
	RowKey		key;
	List	   *notes;
	ColumnLog	log;

	read_row(table, old_tuple, &table->old_row);
	mc_note_key(table, &table->old_row, &key);
	notes = mc_note_find(table, &key);
	version = version_of(transaction, old_tuple, notes);
	mc_column_log_read(transaction, table, notes, &version, &log);
	logged.change.causes = mc_column_log_causes(&log, transaction->our_id);
	logged.change.deleted = new_tuple == NULL;
	if (new_tuple)
	{
		read_row(table, new_tuple, &table->new_row);
		logged.change.deleted = !mc_table_same_key(table, &table->old_row, &table->new_row);
	}
	if (!logged.change.deleted)
		logged.columns = mc_column_log_compare(table, policies, &table->old_row,
											   &table->new_row);
	tell(key.hash, &logged);
	mc_column_log_add(&key, &log, &logged, true);
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
		/* Greater than any until it is known. */
		transaction.version.commit_ts = DT_NOEND;
		transaction.version.center = transaction.our_id;
		transaction.context = transaction.change_context = CurrentMemoryContext;
		table = mc_table_open(&transaction, map);
		if (table->index != NULL)
		{
			mc_owner_enter(map->owner, &scope);
			mc_seen_pin_settings();
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
	char	   *message = pnstrdup(content, len);
	char	   *end;

	if (transaction->told == NULL)
		transaction->told = palloc0(sizeof(ToldCauses));
	mc_column_told_used(transaction);
	errno = 0;
	transaction->told->hash = (int64) strtoull(message, &end, 16);
	if (end == message || errno != 0 || *end != ' ')
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid message about what a change had seen")));
	transaction->told->causes = pstrdup(end);
	pfree(message);
	MemoryContextSwitchTo(old_context);
}

const char *
mc_column_told(RemoteTransaction *transaction, TargetTable *table,
			   const RemoteRow *key)
{
	if (transaction->retried)
		return transaction->retried->causes;
	if (mc_column_told_last(transaction) == NULL ||
		transaction->told->hash != mc_note_hash(table, key))
		return NULL;
	return transaction->told->causes;
}

const char *
mc_column_told_last(const RemoteTransaction *transaction)
{
	return transaction->told ? transaction->told->causes : NULL;
}

void
mc_column_told_used(RemoteTransaction *transaction)
{
	if (mc_column_told_last(transaction) == NULL)
		return;
	pfree(transaction->told->causes);
	transaction->told->causes = NULL;
}
