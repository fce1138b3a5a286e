/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  Remember deletes again, from our own WAL.
 *
 * NOTES
 *	  When a peer was away for too long VACUUM has removed dead rows whose
 *	  deletes its changes may have to compete with (control/horizon.c).  Our
 *	  WAL has them all, those of other centers that were applied here too, and
 *	  control/kept.c keeps it.  Before the first change is applied that may
 *	  need them they are read back and become notes, and then nothing is
 *	  forgotten any more but what is older than the WAL that was kept: no
 *	  change that can still arrive is as old as that.
 *
 *	  The receiver that needs it does it, between two transactions; others
 *	  that need it too wait.  All that counts is durable in this order: the
 *	  notes; "forgotten"; the position of the slot that keeps the WAL.  Whoever
 *	  dies in between leaves some notes behind, which are true, and the next
 *	  one begins anew.
 *
 *	  What is met and cannot be used, because the table has another key now,
 *	  makes the attempt vain: the deletes stay forgotten, the kept WAL counts
 *	  as beginning behind them, and changes that cannot be decided for that
 *	  are treated so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "origin/heartbeat.h"
#include "origin/recall.h"
#include "state/claim.h"
#include "state/policy.h"
#include "state/registry.h"
#include "storage/spin.h"
#include "target/lookup.h"
#include "target/rebuild.h"
#include "target/tuple.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* About so many changes are read, and written, in one transaction. */
#define BATCH_CHANGES		10000
#define FETCH_ROWS			500

/* What lag shows while this goes on. */
#define REBUILD_REASON		"reading deletes back from the WAL of this center, because the peer was late"

typedef struct Rebuild
{
	MemoryContext context;		/* as long as the rebuild */
	MemoryContext change_context;	/* reset after each row */
	RelationCache *relations;
	CenterId	our_id;
	RemoteTransaction transaction;	/* the one that made what is being read */
	char		kept_slot[NAMEDATALEN];
	char		slot[NAMEDATALEN];	/* the copy that is read */
	TimestampTz kept_floor;
	bool		complete;		/* everything could be used so far */
	int64		nread;
	int64		nnotes;
} Rebuild;

/* The transaction that mc_rebuild_before() was called for last. */
static TimestampTz checked_since = 0;

/* This process's cache of tables; its callbacks cannot be taken back. */
static RelationCache *relation_cache = NULL;

/* Begin a transaction, with SPI. */
static void
begin_step(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

/* Commit it. */
static void
end_step(Rebuild *rebuild)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(rebuild->context);
}

/* Is the transaction too old for what is remembered, and can that be cured? */
static bool
is_needed(TimestampTz since)
{
	TimestampTz forgotten = mc_shared_forgotten();
	TimestampTz kept = mc_shared_kept_floor();

	return since <= forgotten && kept > 0 && since > kept;
}

/* ---- one change ---- */

/*
 * Take over the description of a table, under the name that it has now.  False
 * if it is gone or not replicated any more, so that nothing of it matters.
 */
static bool
store_relation(Rebuild *rebuild, WireRelation *relation)
{
	RelationMap *map = mc_relation_find(rebuild->relations, relation->relid);
	char	   *name = get_rel_name(relation->relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relation->relid));

	if (map != NULL && map->open)
		mc_table_close(&rebuild->transaction, map->open);
	if (name == NULL || schema == NULL ||
		get_rel_relkind(relation->relid) != RELKIND_RELATION ||
		get_rel_persistence(relation->relid) != RELPERSISTENCE_PERMANENT)
		return false;
	relation->name.data = name;
	relation->name.len = (uint32) strlen(name);
	relation->schema.data = schema;
	relation->schema.len = (uint32) strlen(schema);
	mc_relation_store(rebuild->relations, relation);
	return true;
}

/*
 * Is a note of this delete of no use?  Dead rows that say as much do not count,
 * since VACUUM may remove them next.
 */
static bool
is_known(Oid relid, TransactionId xid, RowVersion version, const List *notes)
{
	const ListCell *cell;

	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_DISPLACED ||
			(note->kind == NOTE_REMOVED && note->xid == xid) ||
			(note->kind == NOTE_TOMBSTONE &&
			 mc_policy_compare(relid, note->version, version) >= 0))
			return true;
	}
	return false;
}

/* Write a note of a delete, as the owner of the table. */
static void
note_delete(Rebuild *rebuild, TargetTable *table, const WireRecord *record,
			TransactionId xid)
{
	RemoteTransaction *transaction = &rebuild->transaction;
	LocalRow	local = {0};

	mc_tuple_decode(table, &record->old_row, false, &table->old_row);
	if (mc_table_key_has_null(table, &table->old_row))
	{
		/* Columns that did not belong to the key have no value. */
		if (record->old_kind != OLD_ROW_FULL)
			rebuild->complete = false;
		return;
	}
	if (record->type == RECORD_UPDATE)
	{
		mc_tuple_decode(table, &record->new_row, true, &table->new_row);
		if (mc_table_same_key(table, &table->old_row, &table->new_row))
			return;
	}

	/* Whoever has put a row there since has the greater version. */
	if (mc_table_find(table, &table->old_row, table->local_row, true))
		return;
	local.slot = table->local_row;
	mc_note_key(table, &table->old_row, &local.key);
	local.notes = mc_note_find(table, &local.key);
	if (is_known(local.key.relid, xid, transaction->version, local.notes))
		return;
	mc_lookup_bury(transaction, table, &table->old_row, &local);
	rebuild->nnotes++;
}

/* Take a DELETE, or an UPDATE that may have changed the key. */
static void
take_change(Rebuild *rebuild, RelationMap *map, const WireRecord *record,
			TransactionId xid)
{
	TargetTable *table;
	OwnerScope	scope;

	PushActiveSnapshot(GetTransactionSnapshot());
	table = mc_table_open(&rebuild->transaction, map);
	table->estate->es_snapshot = GetActiveSnapshot();
	if (table->index != NULL && !map->group_catalog)
	{
		mc_owner_enter(map->owner, &scope);
		note_delete(rebuild, table, record, xid);
		mc_owner_leave(&scope);
	}
	else if (table->index == NULL && record->old_kind != OLD_ROW_FULL)
		rebuild->complete = false;	/* there was a key, but what is it now? */
	ExecClearTuple(table->local_row);
	table->estate->es_snapshot = InvalidSnapshot;
	PopActiveSnapshot();
}

/* Take one row of the output. */
static void
take_row(Rebuild *rebuild, bytea *row)
{
	RowVersion *version = &rebuild->transaction.version;
	const char *problem = NULL;
	WireBytes	bytes;
	WireCursor	cursor;
	WireRecord	record;
	RecallHead	head;

	memcpy(&head, VARDATA_ANY(row), sizeof(head));
	bytes.data = VARDATA_ANY(row) + sizeof(head);
	bytes.len = (uint32) (VARSIZE_ANY_EXHDR(row) - sizeof(head));
	cursor = mc_wire_cursor(bytes);
	version->commit_ts = head.commit_ts;
	version->center = mc_author_of_origin(head.origin, rebuild->our_id);
	while (mc_wire_next_record(&cursor, &record, &problem) == WIRE_OK)
	{
		RelationMap *map;

		if (record.type == RECORD_RELATION)
		{
			if (!store_relation(rebuild, &record.relation))
				return;
			continue;
		}
		map = mc_relation_find(rebuild->relations, record.relid);
		if (map != NULL && version->center != MC_NO_CENTER)
			take_change(rebuild, map, &record, head.xid);
	}
	rebuild->nread++;
}

/* ---- all of them ---- */

/*
 * Read about a batch and write its notes.  Returns false when the end of the
 * WAL, as it was when this was called, has been reached.
 */
static bool
take_batch(Rebuild *rebuild)
{
	Oid			types[] = {NAMEOID, INT4OID};
	Datum		values[] = {CStringGetDatum(rebuild->slot), Int32GetDatum(BATCH_CHANGES)};
	uint64		nrows = 0;
	uint64		fetched;
	Portal		portal;

	begin_step();
	rebuild->transaction.context = CurTransactionContext;
	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT data FROM pg_catalog.pg_logical_slot_get_binary_changes"
									   "($1, NULL, $2, '" MC_RECALL_OPTION "', 'on')",
									   lengthof(types), types, values, NULL,
									   false, 0);
	do
	{
		SPITupleTable *rows;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		rows = SPI_tuptable;
		fetched = rows->numvals;
		nrows += fetched;
		for (uint64 i = 0; i < fetched; i++)
		{
			MemoryContext caller = MemoryContextSwitchTo(rebuild->change_context);
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			take_row(rebuild,
					 DatumGetByteaPP(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull)));
			MemoryContextSwitchTo(caller);
			MemoryContextReset(rebuild->change_context);
		}
		SPI_freetuptable(rows);
	} while (fetched > 0);
	SPI_cursor_close(portal);
	mc_table_close_all(&rebuild->transaction);
	end_step(rebuild);
	return nrows >= BATCH_CHANGES;
}

/* Which slot has the WAL?  One that is lost is no help to anybody. */
static void
find_kept_slot(Rebuild *rebuild)
{
	bool		found;

	begin_step();
	SPI_execute("SELECT k.slot_name, k.floor FROM multicenter.kept_wal k"
				" JOIN pg_catalog.pg_replication_slots s"
				" ON s.slot_name OPERATOR(pg_catalog.=) k.slot_name"
				" WHERE s.wal_status OPERATOR(pg_catalog.<>) 'lost' ORDER BY k.floor",
				true, 1);
	found = SPI_processed == 1;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		value = SPI_getbinval(row, desc, 1, &isnull);

		strlcpy(rebuild->kept_slot, NameStr(*DatumGetName(value)), NAMEDATALEN);
		value = SPI_getbinval(row, desc, 2, &isnull);
		rebuild->kept_floor = DatumGetTimestampTz(value);
	}
	end_step(rebuild);
	mc_shared_set_kept_floor(found ? rebuild->kept_floor : 0);
}

/* Run a command about slots whose arguments are these two names, or one. */
static void
run_slot_command(Rebuild *rebuild, const char *sql, const char *first,
				 const char *second)
{
	Oid			types[] = {NAMEOID, NAMEOID};
	Datum		values[] = {CStringGetDatum(first), CStringGetDatum(second)};

	begin_step();
	if (SPI_execute_with_args(sql, second ? 2 : 1, types, values, NULL,
							  false, 0) < 0)
		elog(ERROR, "could not run a command about a replication slot");
	end_step(rebuild);
}

/*
 * Everything up to this time is in notes, but for what is older than the kept
 * WAL: write that down, unless more has been forgotten meanwhile.
 */
static bool
write_down(Rebuild *rebuild, TimestampTz forgotten)
{
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(rebuild->kept_floor),
	TimestampTzGetDatum(forgotten)};
	bool		done;

	begin_step();
	SPI_execute_with_args("UPDATE multicenter.dead_row_horizon SET forgotten = $1"
						  " WHERE forgotten OPERATOR(pg_catalog.=) $2",
						  lengthof(types), types, values, NULL, false, 0);
	done = SPI_processed == 1;

	/* The notes are durable with it, before the slot moves. */
	ForceSyncCommit();
	end_step(rebuild);
	return done && mc_shared_remembered(forgotten, rebuild->kept_floor);
}

/* It cannot be done: do not try again. */
static void
give_up(Rebuild *rebuild)
{
	Oid			types[] = {NAMEOID, TIMESTAMPTZOID};
	TimestampTz forgotten = mc_shared_forgotten();
	Datum		values[] = {CStringGetDatum(rebuild->kept_slot),
	TimestampTzGetDatum(forgotten)};

	begin_step();
	SPI_execute_with_args("UPDATE multicenter.kept_wal SET floor = $2"
						  " WHERE slot_name OPERATOR(pg_catalog.=) $1 AND floor OPERATOR(pg_catalog.<) $2",
						  lengthof(types), types, values, NULL, false, 0);
	end_step(rebuild);
	mc_shared_set_kept_floor(forgotten);
}

/* Read what is there, until nothing has been forgotten that was not read. */
static void
read_all(Rebuild *rebuild)
{
	TimestampTz forgotten;

	do
	{
		forgotten = mc_shared_forgotten();

		/* Whoever removed what is forgotten by now has committed before. */
		(void) mc_heartbeat_write(0);
		while (take_batch(rebuild) && rebuild->complete)
			;
	} while (rebuild->complete && forgotten > rebuild->kept_floor &&
			 !write_down(rebuild, forgotten));
}

/* Remember what was forgotten, with the lock. */
static void
run(Rebuild *rebuild)
{
	ereport(LOG,
			(errmsg("reading deletes back from the WAL of this center, because a peer was late")));
	run_slot_command(rebuild,
					 "SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2, true)",
					 rebuild->kept_slot, rebuild->slot);
	read_all(rebuild);
	if (rebuild->complete)
		run_slot_command(rebuild,
						 "SELECT pg_catalog.pg_replication_slot_advance($1, s.confirmed_flush_lsn)"
						 " FROM pg_catalog.pg_replication_slots s"
						 " WHERE s.slot_name OPERATOR(pg_catalog.=) $2",
						 rebuild->kept_slot, rebuild->slot);
	else
		give_up(rebuild);
	run_slot_command(rebuild, "SELECT pg_catalog.pg_drop_replication_slot($1)",
					 rebuild->slot, NULL);
	ereport(LOG,
			(errmsg("read " INT64_FORMAT " deletes and key changes back, of which " INT64_FORMAT " are remembered again",
					rebuild->nread, rebuild->nnotes),
			 rebuild->complete ? 0 :
			 errdetail("Some could not be used, because the key of their table has changed.")));
}

/* Make what a rebuild needs, in a memory context of its own. */
static Rebuild *
make_rebuild(CenterId our_id)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "multicenter rebuild",
												  ALLOCSET_DEFAULT_SIZES);
	Rebuild    *rebuild = MemoryContextAllocZero(context, sizeof(Rebuild));

	if (relation_cache == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		relation_cache = mc_relation_cache_create();
		MemoryContextSwitchTo(caller);
	}
	rebuild->context = context;
	rebuild->change_context = AllocSetContextCreate(context,
													"multicenter rebuild change",
													ALLOCSET_DEFAULT_SIZES);
	rebuild->relations = relation_cache;
	rebuild->our_id = our_id;
	rebuild->transaction.our_id = our_id;
	rebuild->transaction.change_context = rebuild->change_context;
	rebuild->complete = true;
	mc_rebuild_slot_name(rebuild->slot, MyDatabaseId);
	return rebuild;
}

/* State of a link, to be set again. */
static LinkState
link_state(SharedLink *link)
{
	LinkState	state;

	SpinLockAcquire(&link->mutex);
	state = link->state;
	SpinLockRelease(&link->mutex);
	return state;
}

void
mc_rebuild_before(SharedLink *link, CenterId our_id, TimestampTz since)
{
	MemoryContext caller = CurrentMemoryContext;
	LinkState	state;
	Rebuild    *rebuild;

	checked_since = since;
	if (likely(!is_needed(since)))
		return;
	state = link_state(link);
	mc_link_set_state(link, LINK_CATCHING_UP, REBUILD_REASON);
	rebuild = make_rebuild(our_id);
	MemoryContextSwitchTo(rebuild->context);
	(void) mc_rebuild_lock(true);

	/* Another one may have done it meanwhile. */
	if (is_needed(since))
	{
		find_kept_slot(rebuild);
		if (is_needed(since))
			run(rebuild);
	}
	mc_rebuild_unlock();
	mc_link_set_state(link, state, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(rebuild->context);
}

void
mc_rebuild_check(TimestampTz since)
{
	if (since == checked_since && is_needed(since))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("deletes were forgotten while a transaction was being applied to which they may matter"),
				 errdetail("They are read back from the WAL of this center before the next attempt.")));
}
