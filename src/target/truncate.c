/*-------------------------------------------------------------------------
 *
 * truncate.c
 *	  TRUNCATE as a tombstone of a table.
 *
 * NOTES
 *	  A TRUNCATE deletes every key of the table at its version, those too
 *	  that are not known here yet.  That is remembered in
 *	  multicenter.truncation, where lookups find it (lookup.c), until no
 *	  change of an older version can arrive any more.
 *
 *	  A local TRUNCATE is newer than everything here, and PostgreSQL has
 *	  emptied the table.  A remote one may be older than some rows, or than
 *	  the deletion of some, and then it may not touch those.  The table is
 *	  locked first, so that nobody else is writing to it.  Then either
 *
 *	  - nothing in it, dead or alive, is newer, and the files are exchanged;
 *	  - or the rows that are older are deleted one by one.
 *
 *	  The tables of one statement all go the same way, because PostgreSQL
 *	  does not truncate a table while another one that stays refers to it.
 *	  Triggers of TRUNCATE fire either way, those of DELETE do not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/sequence.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "origin/routing.h"
#include "state/column_policy.h"
#include "state/policy.h"
#include "state/registry.h"
#include "storage/lmgr.h"
#include "target/columns.h"
#include "target/displace.h"
#include "target/local_map.h"
#include "target/lookup.h"
#include "target/quarantine.h"
#include "target/siblings.h"
#include "target/place.h"
#include "target/truncate.h"
#include "target/write.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* A table that is truncated here. */
typedef struct Truncated
{
	Relation	rel;
	RelationMap *map;			/* NULL: a partition of one that was named */
} Truncated;

void
mc_truncate_remember(List *relids)
{
	static const RowVersion of_commit = {0, MC_NO_CENTER};
	ListCell   *cell;

	foreach(cell, relids)
	{
		Oid			relid = lfirst_oid(cell);
		Relation	rel = try_relation_open(relid, AccessShareLock);
		bool		competes;

		/* A trigger of TRUNCATE may have dropped it. */
		if (rel == NULL)
			continue;

		/* Where tables were renamed meanwhile another one was meant. */
		competes = CheckRelationLockedByMe(rel, AccessExclusiveLock, true) &&
			rel->rd_rel->relkind == RELKIND_RELATION &&
			mc_route_table(rel) != ROUTE_NONE &&
			!mc_registry_is_group_catalog(relid);
		relation_close(rel, AccessShareLock);
		if (!competes)
			continue;
		mc_note_add_truncation(relid, of_commit);
		mc_note_remove_all(relid);
	}
}

/* Would a TRUNCATE of this table run a trigger here? */
static bool
fires_on_truncate(Relation rel)
{
	if (rel->trigdesc == NULL)
		return false;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (TRIGGER_FOR_TRUNCATE(trigger->tgtype) && mc_trigger_fires(trigger))
			return true;
	}
	return false;
}

/* Exchange the files of tables in one go. */
static void
truncate_together(List *tables, bool restart_sequences)
{
	List	   *rels = NIL;
	List	   *relids = NIL;
	List	   *logged = NIL;
	ListCell   *cell;

	foreach(cell, tables)
	{
		Relation	rel = ((Truncated *) lfirst(cell))->rel;

		rels = lappend(rels, rel);
		relids = lappend_oid(relids, RelationGetRelid(rel));
		if (RelationIsLogicallyLogged(rel))
			logged = lappend_oid(logged, RelationGetRelid(rel));
	}

	/*
	 * The origin lists every table that its CASCADE reached, so there is none
	 * here: a table of this center alone must not be emptied on the way.
	 */
	ExecuteTruncateGuts_compat(rels, relids, logged, restart_sequences);
}

/*
 * Exchange the files as the owners of the tables, so that their triggers get
 * no more rights than their own.  Foreign keys between tables of different
 * owners are then an error; without triggers they are not.
 */
static void
truncate_as_owners(List *tables, bool restart_sequences)
{
	List	   *done = NIL;
	ListCell   *cell;

	foreach(cell, tables)
	{
		Oid			owner = ((Truncated *) lfirst(cell))->rel->rd_rel->relowner;
		List	   *group = NIL;
		ListCell   *other;
		OwnerScope	scope;

		if (list_member_oid(done, owner))
			continue;
		foreach(other, tables)
		{
			if (((Truncated *) lfirst(other))->rel->rd_rel->relowner == owner)
				group = lappend(group, lfirst(other));
		}
		mc_owner_enter(owner, &scope);
		truncate_together(group, restart_sequences);
		mc_owner_leave(&scope);
		done = lappend_oid(done, owner);
	}
}

/* Exchange the files of all tables. */
static void
truncate_files(List *tables, bool restart_sequences)
{
	bool		fires = false;
	ListCell   *cell;

	foreach(cell, tables)
		fires |= fires_on_truncate(((Truncated *) lfirst(cell))->rel);
	if (fires)
		truncate_as_owners(tables, restart_sequences);
	else
		truncate_together(tables, restart_sequences);
}

/*
 * Is a version dead under the TRUNCATE?  What its very transaction has put came
 * before it.  Where policies decide a greater epoch comes first.
 */
static bool
is_dead(const RemoteTransaction *transaction, Oid relid, RowVersion version)
{
	int			order = mc_policy_compare(relid, version, transaction->version);

	return order == 0 ? mc_merge_truncates(transaction->version, version, true) : order < 0;
}

/* Is what another transaction has done newer than this one? */
static bool
is_newer(RemoteTransaction *transaction, Oid relid, TransactionId xid)
{
	RowVersion	version = {0};
	uint16		origin;

	if (!TransactionIdIsNormal(xid) ||
		TransactionIdIsCurrentTransactionId(xid) ||
		!TransactionIdGetCommitTsData(xid, &version.commit_ts, &origin))
		return false;
	version.center = mc_author_of_origin(origin, transaction->our_id);
	if (version.center == MC_NO_CENTER)
		version.commit_ts = 0;
	return !is_dead(transaction, relid, version);
}

/*
 * Is anything in a table newer: a row, or the deletion of one?  What was
 * aborted has no commit timestamp, and nothing is in progress.
 */
static bool
holds_newer(RemoteTransaction *transaction, Relation rel)
{
	TableScanDesc scan;
	TupleTableSlot *slot;
	Oid			relid = RelationGetRelid(rel);
	bool		newer = false;
	ListCell   *cell;

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		return false;
	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return true;

	/* A row that was written at another version than its transaction's? */
	foreach(cell, mc_note_list(relid, NOTE_VERSION))
	{
		if (!is_dead(transaction, relid, ((KeyNote *) lfirst(cell))->version))
			return true;
	}
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan_compat(rel, SnapshotAny);
	while (!newer && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
		HeapTupleHeader header = tuple->t_data;

		CHECK_FOR_INTERRUPTS();
		newer = is_newer(transaction, relid, HeapTupleHeaderGetRawXmin(header));
		if (!newer && !(header->t_infomask & HEAP_XMAX_INVALID) &&
			!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
			newer = is_newer(transaction, relid, HeapTupleHeaderGetUpdateXid(header));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return newer;
}

/*
 * May the files of the tables be exchanged, because nothing newer is in them?
 * The tables are locked, and so nobody is writing to them.
 */
static bool
all_is_older(RemoteTransaction *transaction, List *tables)
{
	bool		newest = mc_lookup_is_newest(transaction);
	ListCell   *cell;

	foreach(cell, tables)
	{
		Relation	rel = ((Truncated *) lfirst(cell))->rel;

		if (newest && mc_policy_table(RelationGetRelid(rel), 0) == NULL)
			continue;
		if (holds_newer(transaction, rel))
			return false;
	}
	return true;
}

/* The notes of the key of a row; as the table's owner. */
static List *
notes_of_row(TargetTable *table, TupleTableSlot *slot)
{
	RemoteRow	row = {.present = true};
	RowKey		key;

	if (!mc_note_possible(table))
		return NIL;
	slot_getallattrs(slot);
	row.values = slot->tts_values;
	row.isnull = slot->tts_isnull;
	mc_note_key(table, &row, &key);
	return mc_note_find(table, &key);
}

/* Delete a row that nobody else can be changing. */
static void
delete_locked(Relation rel, TupleTableSlot *slot, Snapshot snapshot)
{
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_delete_compat(rel, &slot->tts_tid,
									   GetCurrentCommandId(true), snapshot,
									   &failure);
	if (result != TM_Ok)
		elog(ERROR, "could not delete a row of a locked table: %d",
			 (int) result);
}

/*
 * Delete the rows of a table that are dead under the TRUNCATE.  Dead rows stay
 * where they are, for lookups.  table is NULL for a partition, about which
 * there are no notes.
 */
static void
delete_older(RemoteTransaction *transaction, Relation rel, TargetTable *table)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan_compat(rel, snapshot);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "multicenter truncate",
													  ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = CurrentMemoryContext;
	bool		columns = table && mc_columns_possible(table);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MergeState	state = {0};
		RowVersion	version;
		List	   *notes;
		bool		own;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(row_context);
		notes = table ? notes_of_row(table, slot) : NIL;
		mc_lookup_version(transaction, slot, notes, &state, &own);

		/* What this very transaction has put came before the TRUNCATE. */
		version = columns ? mc_columns_incarnation(transaction, table, notes, state.version) :
			state.version;
		if (is_dead(transaction, RelationGetRelid(rel), version))
		{
			delete_locked(rel, slot, snapshot);
			if (columns && mc_version_compare(state.version, transaction->version) > 0)
				mc_columns_bury(table, slot, state.version);
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(row_context);
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

/* Fire the triggers of a TRUNCATE that is carried out row by row. */
static void
delete_between_triggers(RemoteTransaction *transaction, Relation rel,
						TargetTable *table)
{
	EState	   *estate;
	ResultRelInfo *relinfo;

	if (!fires_on_truncate(rel))
	{
		delete_older(transaction, rel, table);
		return;
	}
	AfterTriggerBeginQuery();
	estate = CreateExecutorState();
	relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(relinfo, rel, 0, NULL, 0);
	estate->es_opened_result_relations =
		lappend(estate->es_opened_result_relations, relinfo);
	ExecBSTruncateTriggers(estate, relinfo);
	delete_older(transaction, rel, table);
	ExecASTruncateTriggers(estate, relinfo);
	AfterTriggerEndQuery(estate);
	FreeExecutorState(estate);
}

/* Restart the sequences that belong to the columns of a table. */
static void
restart_owned_sequences(Relation rel)
{
	ListCell   *cell;

	foreach(cell, getOwnedSequences(RelationGetRelid(rel)))
		ResetSequence(lfirst_oid(cell));
}

/* Truncate tables row by row. */
static void
truncate_rows(RemoteTransaction *transaction, List *tables,
			  bool restart_sequences)
{
	ListCell   *cell;

	foreach(cell, tables)
	{
		Truncated  *truncated = lfirst(cell);
		Relation	rel = truncated->rel;
		TargetTable *table = NULL;
		OwnerScope	scope;

		if (rel->rd_rel->relkind == RELKIND_RELATION && truncated->map)
			table = mc_table_open(transaction, truncated->map);
		mc_owner_enter(rel->rd_rel->relowner, &scope);
		if (rel->rd_rel->relkind == RELKIND_RELATION)
			delete_between_triggers(transaction, rel, table);
		if (table && mc_note_possible(table))
			mc_siblings_truncate(transaction, table);
		mc_owner_leave(&scope);
		if (restart_sequences)
			restart_owned_sequences(rel);
	}
	mc_table_close_all(transaction);
}

/* Add a table, and its partitions, to those that are truncated. */
static List *
add_table(List *tables, RelationMap *map)
{
	Relation	rel = mc_relation_open(map, AccessExclusiveLock);
	List	   *children = list_make1_oid(RelationGetRelid(rel));
	ListCell   *cell;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		children = find_all_inheritors(RelationGetRelid(rel),
									   AccessExclusiveLock, NULL);
	foreach(cell, children)
	{
		Oid			relid = lfirst_oid(cell);
		Truncated  *truncated = NULL;
		ListCell   *other;

		foreach(other, tables)
		{
			if (RelationGetRelid(((Truncated *) lfirst(other))->rel) == relid)
				truncated = lfirst(other);
		}
		if (truncated == NULL)
		{
			truncated = palloc0(sizeof(Truncated));
			truncated->rel = table_open(relid, NoLock);
			tables = lappend(tables, truncated);
		}
		if (relid == RelationGetRelid(rel))
			truncated->map = map;
	}
	table_close(rel, NoLock);
	return tables;
}

/* Forget what a note of one kind says of keys that are dead now. */
static void
remove_notes(RemoteTransaction *transaction, Oid relid, NoteKind kind)
{
	ListCell   *cell;

	foreach(cell, mc_note_list(relid, kind))
	{
		KeyNote    *note = lfirst(cell);

		if (is_dead(transaction, relid, note->version))
			mc_note_remove(note->id);
	}
}

/* Remember the TRUNCATE for what is older and arrives later. */
static void
remember_remote(RemoteTransaction *transaction, List *tables)
{
	ListCell   *cell;

	foreach(cell, tables)
	{
		Relation	rel = ((Truncated *) lfirst(cell))->rel;
		Oid			relid = RelationGetRelid(rel);

		if (rel->rd_rel->relkind != RELKIND_RELATION ||
			mc_registry_is_group_catalog(relid))
			continue;

		/* First, as long as only those before it are known. */
		if (mc_column_policies(relid))
			mc_columns_truncate(transaction, mc_local_map(rel));
		mc_note_add_truncation(relid, transaction->version);
		remove_notes(transaction, relid, NOTE_TOMBSTONE);
		if (!mc_column_policies(relid))
			remove_notes(transaction, relid, NOTE_DISPLACED);
		remove_notes(transaction, relid, NOTE_SIBLING);

		/* What is older retry.c finds to be void. */
		mc_quarantine_truncate(transaction, relid);
		mc_displace_touch(transaction, relid);
	}
}

void
mc_truncate_apply(RemoteTransaction *transaction, List *maps,
				  bool restart_sequences)
{
	List	   *tables = NIL;
	ListCell   *cell;

	/* All of them: two descriptions of the peer may mean one table here. */
	mc_write_check_deferred(transaction);
	mc_table_close_all(transaction);
	mc_displace_settle(transaction, false);
	foreach(cell, maps)
	{
		RelationMap *map = lfirst(cell);

		tables = add_table(tables, map);
		if (map->group_catalog)
			transaction->catalog_changed = true;
	}

	PushActiveSnapshot(GetTransactionSnapshot());
	/* In the transaction that made a file, PostgreSQL cuts it in its place. */
	mc_place_forget();
	if (all_is_older(transaction, tables))
		truncate_files(tables, restart_sequences);
	else
		truncate_rows(transaction, tables, restart_sequences);
	CommandCounterIncrement();
	remember_remote(transaction, tables);

	foreach(cell, tables)
		table_close(((Truncated *) lfirst(cell))->rel, NoLock);
	PopActiveSnapshot();
	CommandCounterIncrement();
}
