/*-------------------------------------------------------------------------
 *
 * table.c
 *	  A table that the current remote transaction writes to.
 *
 * NOTES
 *	  Rows are searched with a dirty snapshot, so that a row which another
 *	  transaction is changing is waited for.  Such a scan can pass over a row
 *	  that is updated while it runs (it sees the old version after it died
 *	  and has passed the place of the new one), so "nothing found" is believed
 *	  only of a second scan with an ordinary snapshot.
 *
 *	  Rows are not locked: whoever updates or deletes the found version is
 *	  told if it is not the last one any more, and searches again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "target/displace.h"
#include "target/place.h"
#include "target/table.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* After so many searches the index scan is begun anew. */
#define SEARCHES_PER_SCAN	10000

/* A parked table that has got larger is made anew. */
#define PARKED_MEMORY		(1024 * 1024)

/* As much memory is used for all of them: that is about 200 small tables. */
#define ALL_PARKED_MEMORY	(8 * 1024 * 1024)

/* Parked tables, those first that were used last, and their memory. */
static dlist_head parked_tables = DLIST_STATIC_INIT(parked_tables);
static Size all_parked_memory = 0;

void
mc_owner_enter(Oid owner, OwnerScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	SetUserIdAndSecContext(owner, scope->sec_context |
						   SECURITY_RESTRICTED_OPERATION);
	scope->guc_level = NewGUCNestLevel();
}

void
mc_owner_leave(const OwnerScope *scope)
{
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->sec_context);
}

bool
mc_trigger_fires(const Trigger *trigger)
{
	return trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
		trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA;
}

/* Does any trigger of the table run on apply? */
static bool
has_firing_triggers(Relation rel)
{
	if (rel->trigdesc == NULL)
		return false;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		if (mc_trigger_fires(&rel->trigdesc->triggers[i]))
			return true;
	}
	return false;
}

/* Allocate a row in the layout of the table. */
static void
make_row(RemoteRow *row, int natts)
{
	row->values = palloc0(sizeof(Datum) * Max(natts, 1));
	row->isnull = palloc0(sizeof(bool) * Max(natts, 1));
	row->unchanged = palloc0(sizeof(bool) * Max(natts, 1));
}

/*
 * Make the executor's state.  The columns of the peer count as updated, so
 * that triggers on columns fire as they do in PostgreSQL's own replication.
 */
static void
make_executor_state(TargetTable *table)
{
	RelationMap *map = table->map;
	Bitmapset  *updated = NULL;

	for (int i = 0; i < map->natts; i++)
	{
		if (map->remote_index[i] >= 0)
			updated = bms_add_member(updated, i + 1 -
									 FirstLowInvalidHeapAttributeNumber);
	}

	table->estate = CreateExecutorState();
	mc_init_range_table(table->estate, table->rel, updated);
	table->relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(table->relinfo, table->rel, 1, NULL, 0);

	/* Without triggers that fire, the others need not be looked at. */
	table->fires_triggers = has_firing_triggers(table->rel);
	if (!table->fires_triggers)
		table->relinfo->ri_TrigDesc = NULL;

	/* Where the triggers' machinery looks for the table. */
	table->estate->es_opened_result_relations =
		lappend(table->estate->es_opened_result_relations, table->relinfo);
	EvalPlanQualInit_compat(&table->epqstate, table->estate);
	ExecOpenIndices(table->relinfo, false);
}

/* The index that finds rows, among those that are open for writing. */
static Relation
find_index(const TargetTable *table)
{
	for (int i = 0; i < table->relinfo->ri_NumIndices; i++)
	{
		Relation	index = table->relinfo->ri_IndexRelationDescs[i];

		if (RelationGetRelid(index) == table->map->index)
			return index;
	}
	elog(ERROR, "index %u is not open", table->map->index);
	return NULL;				/* keep the compiler quiet */
}

/* Make ready what every search needs. */
static void
prepare_search(TargetTable *table)
{
	RelationMap *map = table->map;

	InitDirtySnapshot(table->dirty);
	if (!OidIsValid(map->index))
	{
		table->equality = palloc0(sizeof(TypeCacheEntry *) * Max(map->natts, 1));
		return;
	}

	table->index = find_index(table);
	table->scan_context = AllocSetContextCreate(table->context,
												"multicenter index scan",
												ALLOCSET_DEFAULT_SIZES);
	table->arbiters = list_make1_oid(map->index);
	table->scan_keys = palloc(sizeof(ScanKeyData) * map->nkeys);
	for (int i = 0; i < map->nkeys; i++)
	{
		table->scan_keys[i] = map->scan_keys[i];
		fmgr_info_copy(&table->scan_keys[i].sk_func,
					   &map->scan_keys[i].sk_func, table->context);
	}
}

/* A table is not among those that are parked any more. */
static void
unpark(RelationMap *map)
{
	if (map->parked == NULL)
		return;
	dlist_delete(&map->parked->parked_node);
	all_parked_memory -= map->parked->parked_memory;
	map->parked = NULL;
}

/* A table goes, perhaps because its transaction was aborted. */
static void
forget_table(void *arg)
{
	RelationMap *map = arg;

	map->open = NULL;
	unpark(map);
}

/* Let the map know when the memory of its open table is given back. */
static void
watch_context(RelationMap *map, MemoryContext context)
{
	MemoryContextCallback *callback;

	callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	callback->func = forget_table;
	callback->arg = map;
	MemoryContextRegisterResetCallback(context, callback);
}

/* Raise an error where writing to this kind of table is not possible. */
static void
check_kind(RelationMap *map, Relation rel)
{
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" is partitioned in this center but not at the origin",
						map->schema, map->name),
				 errhint("Partition the table in the same way in all centers.")));
}

/*
 * Does an index run no code of users, and is it ready?  Nobody tells of a table
 * when one of its indexes gets ready.
 */
static bool
is_plain_index(Relation index, const IndexInfo *info)
{
	if (info->ii_Am != BTREE_AM_OID || info->ii_Expressions != NIL ||
		info->ii_Predicate != NIL || info->ii_ExclusionOps != NULL ||
		!info->ii_ReadyForInserts)
		return false;
	for (int i = 0; i < info->ii_NumIndexKeyAttrs; i++)
		if (index->rd_opfamily[i] >= FirstNormalObjectId)
			return false;
	return true;
}

/*
 * Does nothing of an open table but its relations depend on the transaction?
 * That is so where no code of users runs, and no code that keeps a state.
 */
static bool
is_plain(const TargetTable *table)
{
	const ResultRelInfo *relinfo = table->relinfo;
	const TupleConstr *constraints = RelationGetDescr(table->rel)->constr;

	if (table->fires_triggers || table->map->has_local_columns ||
		table->rel->rd_rel->relispartition ||
		table->rel->rd_rel->relam != HEAP_TABLE_AM_OID ||
		(constraints && (constraints->num_check > 0 || constraints->has_generated_stored)))
		return false;
	for (int i = 0; i < table->map->ncolumns; i++)
	{
		const RemoteColumn *column = &table->map->columns[i];

		/* Not a domain here, for instance, whose checks are code of users. */
		if (!column->builtin || (column->attnum > 0 && !column->same_type))
			return false;
	}
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
		if (!is_plain_index(relinfo->ri_IndexRelationDescs[i], relinfo->ri_IndexRelationInfo[i]))
			return false;
	return true;
}

/*
 * Make the slots.  Those of a table that will be parked do not refer to the
 * relation cache.
 */
static void
make_slots(TargetTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	const TupleTableSlotOps *ops = table_slot_callbacks(table->rel);

	if (table->parkable)
		desc = CreateTupleDescCopyConstr(desc);
	table->local_row = MakeSingleTupleTableSlot(desc, ops);
	table->other_row = MakeSingleTupleTableSlot(desc, ops);
	table->write_row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
}

/* The table is used by a transaction now. */
static TargetTable *
begin_use(RemoteTransaction *transaction, TargetTable *table)
{
	MemoryContext old_context = MemoryContextSwitchTo(transaction->context);

	transaction->tables = lappend(transaction->tables, table);
	MemoryContextSwitchTo(old_context);
	table->map->open = table;
	unpark(table->map);
	if (table->map->group_catalog)
		transaction->catalog_changed = true;
	return table;
}

/* Which indexes has a table that will be parked? */
static void
remember_indexes(TargetTable *table)
{
	ResultRelInfo *relinfo = table->relinfo;

	table->indexes = palloc(sizeof(Oid) * Max(relinfo->ri_NumIndices, 1));
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
		table->indexes[i] = RelationGetRelid(relinfo->ri_IndexRelationDescs[i]);
}

/* Open the indexes of a table that was parked. */
static void
open_indexes(TargetTable *table)
{
	ResultRelInfo *relinfo = table->relinfo;

	for (int i = 0; i < relinfo->ri_NumIndices; i++)
		relinfo->ri_IndexRelationDescs[i] = index_open(table->indexes[i], RowExclusiveLock);
}

/* Close the relations of a table; their locks stay until the commit. */
static void
close_relations(TargetTable *table)
{
	ResultRelInfo *relinfo = table->relinfo;

	for (int i = 0; i < relinfo->ri_NumIndices; i++)
	{
		index_close(relinfo->ri_IndexRelationDescs[i], NoLock);
		relinfo->ri_IndexRelationDescs[i] = NULL;
	}
	table_close(table->rel, NoLock);
	table->rel = NULL;
	table->index = NULL;
}

/*
 * Take a table that an earlier transaction has parked into use again; NULL if
 * it has changed since.
 */
static TargetTable *
take_parked(RemoteTransaction *transaction, RelationMap *map, Relation rel)
{
	TargetTable *table = map->parked;

	if (table == NULL)
		return NULL;
	table->rel = rel;
	table->relinfo->ri_RelationDesc = rel;
	open_indexes(table);
	if (OidIsValid(map->index))
		table->index = find_index(table);
	return begin_use(transaction, table);
}

TargetTable *
mc_table_open(RemoteTransaction *transaction, RelationMap *map)
{
	TargetTable *table;
	MemoryContext context;
	MemoryContext old_context;
	OwnerScope	scope;
	Relation	rel;

	if (map->open)
		return map->open;

	/* If the table has changed this makes an end of what was parked. */
	rel = mc_relation_open(map, RowExclusiveLock);
	table = take_parked(transaction, map, rel);
	if (table)
		return table;

	check_kind(map, rel);
	context = AllocSetContextCreate(transaction->parks ? map->local_context :
									transaction->context, "multicenter table",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	table = palloc0(sizeof(TargetTable));
	table->map = map;
	table->context = context;
	table->rel = rel;

	/* Opening an index may simplify its expressions, by running them. */
	mc_owner_enter(map->owner, &scope);
	make_executor_state(table);
	mc_owner_leave(&scope);

	table->plain = is_plain(table);
	table->parkable = transaction->parks && table->plain;
	if (table->parkable)
		remember_indexes(table);
	prepare_search(table);
	table->displaces = mc_displace_possible(table);
	make_slots(table);
	make_row(&table->old_row, map->natts);
	make_row(&table->new_row, map->natts);
	make_row(&table->spare_row, map->natts);
	table->functions = palloc0(sizeof(ColumnFunctions) * Max(map->ncolumns, 1));
	table->image_values = palloc0(sizeof(Datum) * Max(map->ncolumns, 1));
	/* PostgreSQL 19 fills eight at a time. */
	table->image_isnull = palloc0(sizeof(bool) * TYPEALIGN(8, Max(map->ncolumns, 1)));

	MemoryContextSwitchTo(old_context);
	watch_context(map, context);
	return begin_use(transaction, table);
}

void
mc_table_close(RemoteTransaction *transaction, TargetTable *table)
{
	mc_displace_closing(transaction, table);
	ExecDropSingleTupleTableSlot(table->local_row);
	ExecDropSingleTupleTableSlot(table->other_row);
	ExecDropSingleTupleTableSlot(table->write_row);
	if (table->scan)
		index_endscan(table->scan);
	EvalPlanQualEnd(&table->epqstate);
	ExecCloseIndices(table->relinfo);
	ExecResetTupleTable(table->estate->es_tupleTable, false);
	FreeExecutorState(table->estate);
	table_close(table->rel, NoLock);	/* keep the lock until the commit */
	transaction->tables = list_delete_ptr(transaction->tables, table);
	MemoryContextDelete(table->context);
}

void
mc_table_close_all(RemoteTransaction *transaction)
{
	while (transaction->tables != NIL)
		mc_table_close(transaction, llast(transaction->tables));
}

/* Close the relations of a table, and keep the rest for later transactions. */
static void
park(RemoteTransaction *transaction, TargetTable *table, Size memory)
{
	mc_displace_closing(transaction, table);
	if (table->scan)
	{
		index_endscan(table->scan);
		MemoryContextReset(table->scan_context);
	}
	table->scan = NULL;
	table->searches = 0;
	close_relations(table);
	table->map->open = NULL;
	table->map->parked = table;
	table->parked_memory = memory;
	all_parked_memory += memory;
	dlist_push_head(&parked_tables, &table->parked_node);
	transaction->tables = list_delete_last(transaction->tables);
}

/*
 * Those that were not used for the longest time go where there are many: a
 * group may have thousands of tables.
 */
static void
forget_old_tables(void)
{
	while (all_parked_memory > ALL_PARKED_MEMORY)
	{
		TargetTable *oldest = dlist_container(TargetTable, parked_node,
											  dlist_tail_node(&parked_tables));

		MemoryContextDelete(oldest->context);
	}
}

void
mc_table_park_all(RemoteTransaction *transaction)
{
	while (transaction->tables != NIL)
	{
		TargetTable *table = llast(transaction->tables);
		Size		memory = MemoryContextMemAllocated(table->context, true);

		/* What the executor leaves behind adds up. */
		if (table->parkable && table->map->valid &&
			table->estate->es_tupleTable == NIL && memory < PARKED_MEMORY)
			park(transaction, table, memory);
		else
			mc_table_close(transaction, table);
	}
	forget_old_tables();
}

bool
mc_table_key_has_null(TargetTable *table, const RemoteRow *row)
{
	for (int i = 0; i < table->map->nkeys; i++)
	{
		if (row->isnull[table->map->key_attnums[i] - 1])
			return true;
	}
	return false;
}

bool
mc_table_same_key(TargetTable *table, const RemoteRow *a, const RemoteRow *b)
{
	for (int i = 0; i < table->map->nkeys; i++)
	{
		int			attno = table->map->key_attnums[i] - 1;
		ScanKey		key = &table->scan_keys[i];

		if (a->isnull[attno] || b->isnull[attno])
			return false;
		if (!DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation,
											a->values[attno],
											b->values[attno])))
			return false;
	}
	return true;
}

/*
 * If another transaction is changing the row that a dirty scan has returned,
 * wait for its end and return true: the row must be looked at again.
 */
static bool
wait_for_writer(TargetTable *table, TupleTableSlot *slot)
{
	SnapshotData *dirty = &table->dirty;
	TransactionId writer = TransactionIdIsValid(dirty->xmin) ?
	dirty->xmin : dirty->xmax;
	ItemPointerData tid = slot->tts_tid;

	if (!TransactionIdIsValid(writer))
		return false;

	/* Do not sleep with a page pinned. */
	ExecClearTuple(slot);
	if (TransactionIdIsValid(dirty->xmin) && dirty->speculativeToken != 0)
		SpeculativeInsertionWait(dirty->xmin, dirty->speculativeToken);
	else
		XactLockTableWait(writer, table->rel, &tid, XLTW_FetchUpdated);
	return true;
}

/*
 * Begin the index scan that is used for one search after the other.  It is
 * begun anew from time to time, because operators may leak memory into it.
 */
static void
begin_scan(TargetTable *table)
{
	if (table->scan && table->searches++ < SEARCHES_PER_SCAN)
		return;
	if (table->scan)
		index_endscan(table->scan);
	MemoryContextReset(table->scan_context);
	table->scan = index_beginscan_compat(table->rel, table->index,
										 &table->dirty, table->map->nkeys);
	table->searches = 0;
}

/*
 * Scan the index for the key under one snapshot, and call the visitor for each
 * tuple until it returns false, or stop at the first one without a visitor.
 * The access method keeps what it allocates on the way for the next search, so
 * the memory context must be one that lives as long as the scan.
 */
static bool
scan_index(TargetTable *table, Snapshot snapshot, TupleTableSlot *slot,
		   TupleVisitor visitor, void *arg)
{
	MemoryContext old_context = MemoryContextSwitchTo(table->scan_context);
	IndexScanDesc scan;
	bool		found;

	begin_scan(table);
	scan = table->scan;
	scan->xs_snapshot = snapshot;
	index_rescan(scan, table->scan_keys, table->map->nkeys, NULL, 0);
	do
		found = index_getnext_slot(scan, ForwardScanDirection, slot);
	while (found && visitor && visitor(slot, arg));

	/* The slot has a pin of its own; let the scan's go. */
	index_rescan(scan, table->scan_keys, table->map->nkeys, NULL, 0);
	MemoryContextSwitchTo(old_context);
	return found;
}

/* Are two values of a column equal?  By image where the type has no "=". */
static bool
column_equal(TargetTable *table, int attno, Datum a, Datum b)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table->rel),
												attno);
	TypeCacheEntry *type = table->equality[attno];

	if (type == NULL)
	{
		type = lookup_type_cache(attribute->atttypid,
								 TYPECACHE_EQ_OPR_FINFO);
		table->equality[attno] = type;
	}
	if (!OidIsValid(type->eq_opr_finfo.fn_oid))
		return datum_image_eq(a, b, attribute->attbyval, attribute->attlen);
	return DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo,
										  attribute->attcollation, a, b));
}

/* Is a local row equal to the peer's in all columns that the peer has? */
static bool
row_equal(TargetTable *table, TupleTableSlot *slot, const RemoteRow *row)
{
	RelationMap *map = table->map;

	slot_getallattrs(slot);
	for (int i = 0; i < map->natts; i++)
	{
		if (map->remote_index[i] < 0)
			continue;
		if (slot->tts_isnull[i] != row->isnull[i])
			return false;
		if (!slot->tts_isnull[i] &&
			!column_equal(table, i, slot->tts_values[i], row->values[i]))
			return false;
	}
	return true;
}

/* Look for an equal row in the whole table under one snapshot. */
static bool
scan_table(TargetTable *table, Snapshot snapshot, const RemoteRow *row,
		   TupleTableSlot *slot)
{
	TableScanDesc scan = table_beginscan_compat(table->rel, snapshot);
	bool		found = false;

	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		found = row_equal(table, slot, row);
	}
	if (found)
		ExecMaterializeSlot(slot);
	table_endscan(scan);
	if (!found)
		ExecClearTuple(slot);
	return found;
}

/* Look for the row under one snapshot, by whatever means the table has. */
static bool
scan_once(TargetTable *table, Snapshot snapshot, const RemoteRow *row,
		  TupleTableSlot *slot)
{
	if (table->index)
		return scan_index(table, snapshot, slot, NULL, NULL);
	return scan_table(table, snapshot, row, slot);
}

/* Set what is searched for; false if a part of it is null. */
static bool
set_search_key(TargetTable *table, const RemoteRow *row)
{
	for (int i = 0; i < table->map->nkeys; i++)
	{
		int			attno = table->map->key_attnums[i] - 1;

		if (row->isnull[attno])
			return false;		/* a key column is never null here */
		table->scan_keys[i].sk_argument = row->values[attno];
	}
	return true;
}

bool
mc_table_find(TargetTable *table, const RemoteRow *row, TupleTableSlot *slot,
			  bool thorough)
{
	Snapshot	snapshot;
	bool		found;

	if (!set_search_key(table, row))
		return false;
	found = table->index && mc_place_fetch(table, row, slot);
	while (found || scan_once(table, &table->dirty, row, slot))
	{
		if (!wait_for_writer(table, slot))
			return true;
		CHECK_FOR_INTERRUPTS();
		found = false;
	}
	if (!thorough)
		return false;

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	found = scan_once(table, snapshot, row, slot);
	UnregisterSnapshot(snapshot);
	return found;
}

bool
mc_table_find_visible(TargetTable *table, const RemoteRow *row,
					  TupleTableSlot *slot, Snapshot snapshot)
{
	return set_search_key(table, row) &&
		scan_index(table, snapshot, slot, NULL, NULL);
}

void
mc_table_visit_all(TargetTable *table, const RemoteRow *row,
				   TupleTableSlot *slot, TupleVisitor visitor, void *arg)
{
	if (!set_search_key(table, row))
		return;
	(void) scan_index(table, SnapshotAny, slot, visitor, arg);
	ExecClearTuple(slot);
}
