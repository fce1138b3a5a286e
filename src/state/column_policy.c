/*-------------------------------------------------------------------------
 *
 * column_policy.c
 *	  Which columns of a table are merged, and how.
 *
 * NOTES
 *	  multicenter.column_policy has a row for each such column.  Its rows
 *	  change only behind a fence around their table (control/rewrite.c), so
 *	  all centers take them over between the same changes of it.
 *
 *	  A trigger on it, as on the tables of policy.c, sends an invalidation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "state/column_policy.h"
#include "state/own.h"
#include "state/policy.h"
#include "state/registry.h"
#include "state/shared.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"

/* Columns of multicenter.column_policy that are read here. */
enum
{
	POLICY_SCHEMA = 1,
	POLICY_TABLE,
	POLICY_COLUMN,
	POLICY_MERGE,
	POLICY_HANDLER,
};

/* The column of multicenter.column_purge. */
#define PURGE_TS	2

/* A row of it. */
typedef struct PolicyRow
{
	char	   *schema;
	char	   *table;
	char	   *column;
	ColumnMerge merge;
	char	   *handler;		/* signature, NULL: none */
	TimestampTz since;			/* when it was set; 0: not known */
} PolicyRow;

/* What was answered for a table. */
typedef struct Answer
{
	Oid			relid;			/* hash key */
	const ColumnPolicies *policies;
} Answer;

typedef struct ColumnCache
{
	MemoryContext context;
	List	   *rows;			/* PolicyRow * */
	HTAB	   *answers;
} ColumnCache;

static ColumnCache *cache = NULL;
static bool cache_valid = false;
static uint64 changes = 0;		/* invalidations */
static Oid	policy_relid = InvalidOid;

/*
 * Callback: a relation has changed.  Another one than that of the policies
 * matters only where there are any.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == policy_relid ||
		!OidIsValid(policy_relid) || (cache != NULL && cache->rows != NIL))
	{
		cache_valid = false;
		changes++;
	}
}

/* A column as a string; NULL for a null. */
static char *
column_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * When a row was written by its author, which all centers agree about; 0 if
 * that is not known: it was copied, or it is of this transaction.
 */
static TimestampTz
time_of(HeapTuple tuple, CenterId our_id)
{
	TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	TimestampTz ts;
	uint16		origin;

	if (TransactionIdIsCurrentTransactionId(xmin) || HeapTupleHeaderXminFrozen(tuple->t_data) ||
		!TransactionIdGetCommitTsData(xmin, &ts, &origin) ||
		mc_author_of_origin(origin, our_id) == MC_NO_CENTER)
		return 0;
	return ts;
}

/* Read all rows, as they are committed now. */
static List *
read_rows(void)
{
	Relation	rel = table_open(policy_relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	TupleDesc	desc = RelationGetDescr(rel);
	CenterId	our_id = mc_registry_own_id();
	List	   *rows = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		PolicyRow  *row = palloc0(sizeof(PolicyRow));
		char	   *merge = column_text(tuple, desc, POLICY_MERGE);

		row->schema = column_text(tuple, desc, POLICY_SCHEMA);
		row->table = column_text(tuple, desc, POLICY_TABLE);
		row->column = column_text(tuple, desc, POLICY_COLUMN);
		row->handler = column_text(tuple, desc, POLICY_HANDLER);
		row->since = time_of(tuple, our_id);
		if (!mc_column_merge_from_name(merge, &row->merge))
			elog(ERROR, "unknown column merge \"%s\"", merge);
		rows = lappend(rows, row);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return rows;
}

/* Make the cache valid. */
static void
refresh_cache(void)
{
	static bool registered = false;
	HASHCTL		control = {.keysize = sizeof(Oid),.entrysize = sizeof(Answer)};
	uint64		changes_before;
	MemoryContext context;
	MemoryContext old_context;
	ColumnCache *new_cache;
	Oid			schema;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		registered = true;
	}
	schema = get_namespace_oid(MC_SCHEMA, true);
	policy_relid = OidIsValid(schema) ? get_relname_relid("column_policy", schema) : InvalidOid;

	/* Kept only if reading succeeds. */
	context = AllocSetContextCreate(CurTransactionContext,
									"multicenter column policies",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	changes_before = changes;
	new_cache = palloc0(sizeof(ColumnCache));
	new_cache->context = control.hcxt = context;
	new_cache->answers = hash_create("multicenter column policies", 64, &control,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (OidIsValid(policy_relid))
		new_cache->rows = read_rows();
	cache_valid = changes == changes_before;
	MemoryContextSwitchTo(old_context);

	/* Somebody up the stack may still use the former one. */
	if (cache != NULL)
		MemoryContextSetParent(cache->context, TopTransactionContext);
	MemoryContextSetParent(context, CacheMemoryContext);
	cache = new_cache;
}

/* Add what is set for a table itself to what holds for its columns. */
static void
add_policies(ColumnPolicies *policies, Oid relid, Oid named, bool *any)
{
	char	   *schema = get_namespace_name(get_rel_namespace(named));
	char	   *table = get_rel_name(named);
	ListCell   *cell;

	if (schema == NULL || table == NULL)
		return;
	foreach(cell, cache->rows)
	{
		PolicyRow  *row = lfirst(cell);
		AttrNumber	attnum;

		if (strcmp(row->schema, schema) != 0 || strcmp(row->table, table) != 0)
			continue;
		*any = true;
		policies->since = Max(policies->since, row->since);
		attnum = get_attnum(relid, row->column);
		if (attnum <= 0 || attnum > policies->natts)
			continue;
		policies->merge[attnum - 1] = row->merge;
		policies->handler[attnum - 1] = row->handler ?
			mc_policy_find_handler(row->handler) : InvalidOid;
	}
}

/* The number of columns of a table, dropped ones included. */
static int
count_columns(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	int			natts;

	if (!HeapTupleIsValid(tuple))
		return 0;
	natts = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	return natts;
}

/* What holds for the columns of a table; NULL: nothing. */
static const ColumnPolicies *
make_policies(Oid relid)
{
	ColumnPolicies *policies;
	List	   *ancestors = get_partition_ancestors(relid);
	MemoryContext old_context = MemoryContextSwitchTo(cache->context);
	bool		any = false;

	policies = palloc0(sizeof(ColumnPolicies));
	policies->natts = count_columns(relid);
	policies->merge = palloc0(sizeof(ColumnMerge) * Max(policies->natts, 1));
	policies->handler = palloc0(sizeof(Oid) * Max(policies->natts, 1));
	MemoryContextSwitchTo(old_context);

	/* What is set for a partition counts before what is set for all. */
	for (int i = list_length(ancestors) - 1; i >= 0; i--)
		add_policies(policies, relid, list_nth_oid(ancestors, i), &any);
	add_policies(policies, relid, relid, &any);
	return any ? policies : NULL;
}

const ColumnPolicies *
mc_column_policies(Oid relid)
{
	const ColumnPolicies *policies;
	Answer	   *answer;

	if (!mc_column_policies_any())
		return NULL;
	answer = hash_search(cache->answers, &relid, HASH_FIND, NULL);
	if (answer != NULL)
		return answer->policies;

	/* Looking at catalogs may make the cache out of date, but not free it. */
	policies = make_policies(relid);
	if (!cache_valid)
		return policies;
	answer = hash_search(cache->answers, &relid, HASH_ENTER, NULL);
	answer->policies = policies;
	return policies;
}

bool
mc_column_policies_any(void)
{
	if (!cache_valid)
		refresh_cache();
	return cache->rows != NIL;
}

/* What our table says; 0: nothing yet. */
static TimestampTz
read_purged(void)
{
	Oid			relid = get_relname_relid("column_purge", get_namespace_oid(MC_SCHEMA, false));
	Relation	rel = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	TimestampTz ts = 0;
	bool		isnull;

	if (HeapTupleIsValid(tuple))
		ts = DatumGetTimestampTz(heap_getattr(tuple, PURGE_TS, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return ts;
}

TimestampTz
mc_column_purged(void)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);
	TimestampTz ts = database == NULL ? 0 :
	(TimestampTz) pg_atomic_read_u64(&database->columns_purged);

	return ts != 0 ? ts : read_purged();
}

void
mc_column_purge(TimestampTz ts)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[1];
	OwnScope	scope;
	TimestampTz purged = mc_column_purged();

	/* Never back: what is gone is gone. */
	ts = Max(ts, purged);
	values[0] = TimestampTzGetDatum(ts);
	mc_own_begin(&scope);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.column_purge (ts) VALUES ($1)"
						  " ON CONFLICT (only_row) DO UPDATE SET ts = excluded.ts",
						  lengthof(types), types, values, NULL, SPI_OK_INSERT);
	mc_own_end(&scope);

	/* It is true already, so nothing is wrong if we do not commit. */
	pg_atomic_write_u64(&mc_shared_database(MyDatabaseId, true)->columns_purged, (uint64) ts);
}
