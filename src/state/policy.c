/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  Which policy decides a conflict: by table, and by epoch of the versions.
 *
 * NOTES
 *	  multicenter.conflict_policy has one row for each family that an epoch
 *	  sets, for one table or as default; rows are never changed.  An epoch
 *	  builds on those that its center had known, which its rows list in
 *	  "covers", for each center the greatest: two centers that set policies at
 *	  the same moment make two epochs, of which neither covers the other.  So
 *	  what holds in an epoch is a function of that epoch, whatever else has
 *	  arrived where it is asked.  It is known here once all that it covers
 *	  is; what a center has set arrives in order, so the greatest suffices.
 *
 *	  The tables are small and read as a whole.  A trigger on them, which
 *	  fires for apply too, sends an invalidation of their relcache entries;
 *	  the next question reads them again.  Memory of the former answer lives
 *	  on until the end of the transaction, as its users may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "state/column_policy.h"
#include "state/policy.h"
#include "state/registry.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_policy_changed);

/* Columns of multicenter.conflict_policy that are read here. */
enum
{
	POLICY_EPOCH = 1,
	POLICY_ITEM,
	POLICY_COVERS,
	POLICY_SCHEMA,
	POLICY_TABLE,
	POLICY_FAMILY,
	POLICY_RESOLVER,
	POLICY_HANDLER,
	POLICY_SITE_RANKS,
	POLICY_FORMER_SCHEMA = 14,
	POLICY_FORMER_TABLE,
};

/* Columns of multicenter.policy_epoch. */
enum
{
	TAKEN_CENTER = 1,
	TAKEN_EPOCH,
	TAKEN_TS,
};

/* An epoch, and the greatest ones that it builds on, one for each center. */
typedef struct PolicyEpoch
{
	int64		epoch;
	int			ncovers;
	int64	   *covers;
} PolicyEpoch;

/* A row of multicenter.conflict_policy about a family. */
typedef struct PolicyRow
{
	int64		epoch;
	char	   *schema;			/* NULL: the default */
	char	   *table;
	McConflictFamily family;
	bool		reset;			/* nothing is set any more */
	char	   *former_schema;	/* before this epoch, NULL: as now */
	char	   *former_table;
	char	   *handler;		/* signature, NULL: none */
	FamilyPolicy policy;
} PolicyRow;

/* The name of a table in the epochs from one on, and before another. */
typedef struct TableName
{
	const char *schema;
	const char *table;
	int64		from;
	int64		before;
} TableName;

/* From which time on an epoch holds for the versions of a center. */
typedef struct TakenEpoch
{
	CenterId	center;
	int64		epoch;
	TimestampTz ts;
} TakenEpoch;

typedef struct AnswerKey
{
	int64		epoch;
	Oid			relid;
	uint32		padding;		/* 0 */
} AnswerKey;

typedef struct Answer
{
	AnswerKey	key;
	const TablePolicy *policy;	/* NULL: never anything special */
} Answer;

typedef struct PolicyCache
{
	MemoryContext context;
	CenterId	our_id;
	bool		any;			/* of the families that decide about rows */
	List	   *rows;			/* of PolicyRow * */
	List	   *epochs;			/* of PolicyEpoch * */
	int			ntaken;			/* of a center by time, and so by epoch */
	TakenEpoch *taken;
	HTAB	   *answers;
} PolicyCache;

static PolicyCache *cache = NULL;
static bool cache_valid = false;
static uint64 changes = 0;		/* invalidations */
static Oid	policy_relid = InvalidOid;
static Oid	taken_relid = InvalidOid;

/* ---- invalidation ---- */

/* What was read is not true any more. */
static void
invalidate(void)
{
	cache_valid = false;
	changes++;
}

/*
 * Callback: a relation has changed.  Renamed, it has other policies; but that
 * can be told only where there are any.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == policy_relid || relid == taken_relid ||
		!OidIsValid(policy_relid) || (cache != NULL && cache->any))
		invalidate();
}

/* Callback: a function has changed, perhaps a handler. */
static void
function_changed(Datum arg, SysCacheIdentifier_compat cacheid, uint32 hash)
{
	if (cache != NULL && cache->any)
		invalidate();
}

/*
 * mc_policy_changed(): trigger of the tables of policies.  Every process will
 * read them again once this transaction has committed.
 */
Datum
mc_policy_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"internal_policy_changed\" was not called by a trigger")));
	CacheInvalidateRelcache(trigger->tg_relation);
	PG_RETURN_POINTER(NULL);
}

/* ---- reading ---- */

/* A column as a string; NULL for a null. */
static char *
column_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* A column that is never null. */
static Datum
column_datum(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;

	return heap_getattr(tuple, column, desc, &isnull);
}

/* The elements of an array that is not null; how many is returned. */
static int
read_array(Datum array, Oid type, Datum **elements)
{
	int			nelements;
	bool	   *nulls;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(DatumGetArrayTypeP(array), type, len, byval, align,
					  elements, &nulls, &nelements);
	for (int i = 0; i < nelements; i++)
	{
		if (nulls[i])
			return 0;			/* never written */
	}
	return nelements;
}

/* The epoch of a row and what that covers; every row of an epoch has both. */
static void
read_epoch(PolicyCache *new_cache, HeapTuple tuple, TupleDesc desc)
{
	int64		number = DatumGetInt64(column_datum(tuple, desc, POLICY_EPOCH));
	PolicyEpoch *epoch;
	Datum	   *elements;
	ListCell   *cell;

	foreach(cell, new_cache->epochs)
	{
		if (((PolicyEpoch *) lfirst(cell))->epoch == number)
			return;
	}
	epoch = palloc0(sizeof(PolicyEpoch));
	epoch->epoch = number;
	epoch->ncovers = read_array(column_datum(tuple, desc, POLICY_COVERS),
								INT8OID, &elements);
	epoch->covers = palloc(sizeof(int64) * Max(epoch->ncovers, 1));
	for (int i = 0; i < epoch->ncovers; i++)
		epoch->covers[i] = DatumGetInt64(elements[i]);
	new_cache->epochs = lappend(new_cache->epochs, epoch);
}

/* The ranks of centers, each as rank * 1024 + center. */
static void
read_ranks(FamilyPolicy *policy, HeapTuple tuple, TupleDesc desc)
{
	Datum	   *elements;
	bool		isnull;
	Datum		value = heap_getattr(tuple, POLICY_SITE_RANKS, desc, &isnull);

	if (isnull)
		return;
	policy->nranks = read_array(value, INT4OID, &elements);
	policy->ranks = palloc(sizeof(SiteRank) * Max(policy->nranks, 1));
	for (int i = 0; i < policy->nranks; i++)
	{
		int32		element = DatumGetInt32(elements[i]);

		policy->ranks[i].center = (CenterId) (element % (MC_MAX_CENTER_ID + 1));
		policy->ranks[i].rank = element / (MC_MAX_CENTER_ID + 1);
	}
}

/* Does the family decide which version of a row is the right one? */
static bool
is_about_rows(McConflictFamily family)
{
	return family == FAMILY_ROW || family == FAMILY_DELETE || family == FAMILY_MISSING;
}

/* Read one row of conflict_policy. */
static void
read_policy(PolicyCache *new_cache, HeapTuple tuple, TupleDesc desc)
{
	char	   *family = column_text(tuple, desc, POLICY_FAMILY);
	char	   *resolver = column_text(tuple, desc, POLICY_RESOLVER);
	PolicyRow  *row = palloc0(sizeof(PolicyRow));

	read_epoch(new_cache, tuple, desc);

	/* A row without a family only joins two epochs. */
	if (family == NULL || !mc_family_from_name(family, &row->family))
		return;
	row->epoch = DatumGetInt64(column_datum(tuple, desc, POLICY_EPOCH));
	row->schema = column_text(tuple, desc, POLICY_SCHEMA);
	row->table = column_text(tuple, desc, POLICY_TABLE);
	row->handler = column_text(tuple, desc, POLICY_HANDLER);
	row->former_schema = column_text(tuple, desc, POLICY_FORMER_SCHEMA);
	row->former_table = column_text(tuple, desc, POLICY_FORMER_TABLE);
	row->reset = resolver == NULL;
	if (resolver != NULL && !mc_resolver_from_name(resolver, &row->policy.resolver))
		elog(ERROR, "unknown resolver \"%s\"", resolver);
	read_ranks(&row->policy, tuple, desc);
	new_cache->rows = lappend(new_cache->rows, row);
	if (row->policy.resolver != RESOLVER_LAST_UPDATE_WINS && is_about_rows(row->family))
		new_cache->any = true;
}

/* Read one row of policy_epoch. */
static void
read_taken(PolicyCache *new_cache, HeapTuple tuple, TupleDesc desc)
{
	TakenEpoch *taken;

	if (new_cache->ntaken == 0)
		new_cache->taken = palloc(sizeof(TakenEpoch));
	else if ((new_cache->ntaken & (new_cache->ntaken - 1)) == 0)
		new_cache->taken = repalloc_huge(new_cache->taken, 2 * sizeof(TakenEpoch) * new_cache->ntaken);
	taken = &new_cache->taken[new_cache->ntaken++];
	taken->center = (CenterId) DatumGetInt32(column_datum(tuple, desc, TAKEN_CENTER));
	taken->epoch = DatumGetInt64(column_datum(tuple, desc, TAKEN_EPOCH));
	taken->ts = DatumGetTimestampTz(column_datum(tuple, desc, TAKEN_TS));
}

/* Callback of qsort(): by center, then by time. */
static int
compare_taken(const void *a, const void *b)
{
	const TakenEpoch *taken_a = a;
	const TakenEpoch *taken_b = b;

	if (taken_a->center != taken_b->center)
		return taken_a->center < taken_b->center ? -1 : 1;
	if (taken_a->ts != taken_b->ts)
		return taken_a->ts < taken_b->ts ? -1 : 1;
	return 0;
}

/* Read a table row by row, as it is committed now. */
static void
read_table(PolicyCache *new_cache, Oid relid,
		   void (*read_row) (PolicyCache *, HeapTuple, TupleDesc))
{
	Relation	rel = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		read_row(new_cache, tuple, RelationGetDescr(rel));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

/* Make the table of answers that were given. */
static HTAB *
make_answers(MemoryContext context)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(AnswerKey);
	control.entrysize = sizeof(Answer);
	control.hcxt = context;
	return hash_create("multicenter policies of tables", 64, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Read everything into a new cache. */
static PolicyCache *
read_cache(void)
{
	MemoryContext context;
	MemoryContext old_context;
	PolicyCache *new_cache;
	Identity	identity;

	/* Kept only if reading succeeds. */
	context = AllocSetContextCreate(CurTransactionContext, "multicenter policies",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	new_cache = palloc0(sizeof(PolicyCache));
	new_cache->context = context;
	new_cache->answers = make_answers(context);
	if (OidIsValid(policy_relid))
		read_table(new_cache, policy_relid, read_policy);
	if (new_cache->epochs != NIL)
	{
		read_table(new_cache, taken_relid, read_taken);
		qsort(new_cache->taken, new_cache->ntaken, sizeof(TakenEpoch), compare_taken);
		if (mc_registry_identity(&identity))
			new_cache->our_id = identity.center_id;
	}
	MemoryContextSwitchTo(old_context);
	return new_cache;
}

/* Make the cache valid. */
static void
refresh_cache(void)
{
	static bool registered = false;
	PolicyCache *new_cache;
	uint64		changes_before;
	Oid			schema;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
		registered = true;
	}

	schema = get_namespace_oid(MC_SCHEMA, true);
	policy_relid = OidIsValid(schema) ? get_relname_relid("conflict_policy", schema) : InvalidOid;
	taken_relid = OidIsValid(schema) ? get_relname_relid("policy_epoch", schema) : InvalidOid;

	/* An invalidation that arrives while we read is for the next time. */
	changes_before = changes;
	new_cache = read_cache();
	cache_valid = changes == changes_before;

	/* Somebody up the stack may still use the former one. */
	if (cache != NULL)
		MemoryContextSetParent(cache->context, TopTransactionContext);
	MemoryContextSetParent(new_cache->context, CacheMemoryContext);
	cache = new_cache;
}

/* ---- epochs ---- */

/* The epoch of this number; NULL: none of its rows is here. */
static const PolicyEpoch *
find_epoch(int64 number)
{
	ListCell   *cell;

	foreach(cell, cache->epochs)
	{
		PolicyEpoch *epoch = lfirst(cell);

		if (epoch->epoch == number)
			return epoch;
	}
	return NULL;
}

/* The center that has made an epoch. */
static CenterId
epoch_author(int64 epoch)
{
	return (CenterId) (epoch % (MC_MAX_CENTER_ID + 1));
}

/* Is what "older" has set part of an epoch? */
static bool
epoch_covers(const PolicyEpoch *epoch, int64 older)
{
	if (epoch->epoch == older)
		return true;
	for (int i = 0; i < epoch->ncovers; i++)
	{
		if (epoch_author(epoch->covers[i]) == epoch_author(older) &&
			epoch->covers[i] >= older)
			return true;
	}
	return false;
}

/* Is all that an epoch covers here? */
static bool
is_complete(const PolicyEpoch *epoch)
{
	for (int i = 0; i < epoch->ncovers; i++)
	{
		if (find_epoch(epoch->covers[i]) == NULL)
			return false;
	}
	return true;
}

bool
mc_policy_epoch_known(int64 epoch)
{
	const PolicyEpoch *found;

	if (epoch == 0)
		return true;
	if (!cache_valid)
		refresh_cache();
	found = find_epoch(epoch);
	return found != NULL && is_complete(found);
}

int64
mc_policy_greatest_known(void)
{
	int64		greatest = 0;
	ListCell   *cell;

	if (!cache_valid)
		refresh_cache();
	foreach(cell, cache->epochs)
	{
		PolicyEpoch *epoch = lfirst(cell);

		if (epoch->epoch > greatest && is_complete(epoch))
			greatest = epoch->epoch;
	}
	return greatest;
}

/*
 * The last epoch that a center has taken over before a time; NULL: none.
 */
static const TakenEpoch *
find_taken(CenterId center, TimestampTz before)
{
	TakenEpoch	wanted = {center, 0, before};
	int			low = 0;
	int			high;

	if (!cache_valid)
		refresh_cache();
	high = cache->ntaken;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_taken(&cache->taken[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || cache->taken[low - 1].center != center)
		return NULL;
	return &cache->taken[low - 1];
}

int64
mc_policy_epoch_of(RowVersion version)
{
	const TakenEpoch *taken = find_taken(version.center, version.commit_ts);

	return taken ? taken->epoch : 0;
}

int64
mc_policy_own_epoch(TimestampTz *ts)
{
	const TakenEpoch *taken;

	if (!cache_valid)
		refresh_cache();
	taken = find_taken(cache->our_id, DT_NOEND);
	*ts = taken ? taken->ts : 0;
	return taken ? taken->epoch : 0;
}

bool
mc_policy_must_join(void)
{
	const PolicyEpoch *greatest = NULL;
	int64		ours = 0;
	ListCell   *cell;

	if (!cache_valid)
		refresh_cache();
	foreach(cell, cache->epochs)
	{
		PolicyEpoch *epoch = lfirst(cell);

		if (greatest == NULL || epoch->epoch > greatest->epoch)
			greatest = epoch;
		if (epoch_author(epoch->epoch) == cache->our_id && epoch->epoch > ours)
			ours = epoch->epoch;
	}

	/* As long as something of the greatest is missing, so may others be. */
	return ours != 0 && is_complete(greatest) && !epoch_covers(greatest, ours);
}

/* ---- tables ---- */

bool
mc_policies_any(void)
{
	if (!cache_valid)
		refresh_cache();
	return cache->any;
}

Oid
mc_policy_find_handler(const char *signature)
{
	const char *end = strrchr(signature, '(');
	List	   *names;
	char	   *schema;
	char	   *name;
	CatCList   *list;
	Oid			handler = InvalidOid;

	if (end == NULL)
		return InvalidOid;
	names = stringToQualifiedNameList_compat(pnstrdup(signature, end - signature));
	DeconstructQualifiedName(names, &schema, &name);
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	for (int i = 0; i < list->n_members && !OidIsValid(handler); i++)
	{
		Oid			oid = ((Form_pg_proc) GETSTRUCT(&list->members[i]->tuple))->oid;

		if (strcmp(format_procedure_qualified(oid), signature) == 0)
			handler = oid;
	}
	ReleaseSysCacheList(list);
	return handler;
}

/* Is a row about a table with these names?  NIL: is it a default? */
static bool
row_is_of(const PolicyRow *row, const List *names)
{
	const ListCell *cell;

	if (names == NIL)
		return row->schema == NULL;
	foreach(cell, names)
	{
		const TableName *name = lfirst(cell);

		if (row->schema != NULL && row->epoch >= name->from &&
			row->epoch < name->before &&
			strcmp(row->schema, name->schema) == 0 &&
			strcmp(row->table, name->table) == 0)
			return true;
	}
	return false;
}

/*
 * The newest row of an epoch for a family of a table, or of the default if
 * there are no names.  NULL: there is none, or nothing is set any more.
 */
static const PolicyRow *
find_row(const PolicyEpoch *epoch, const List *names, McConflictFamily family)
{
	const PolicyRow *found = NULL;
	ListCell   *cell;

	foreach(cell, cache->rows)
	{
		PolicyRow  *row = lfirst(cell);

		if (row->family == family && row_is_of(row, names) &&
			(found == NULL || found->epoch < row->epoch) &&
			epoch_covers(epoch, row->epoch))
			found = row;
	}
	return found != NULL && found->reset ? NULL : found;
}

/* The last row before an epoch by which a table got a name; NULL: none. */
static const PolicyRow *
find_renaming(const TableName *name)
{
	const PolicyRow *found = NULL;
	ListCell   *cell;

	foreach(cell, cache->rows)
	{
		PolicyRow  *row = lfirst(cell);

		if (row->former_table != NULL && row->epoch < name->before &&
			strcmp(row->schema, name->schema) == 0 &&
			strcmp(row->table, name->table) == 0 &&
			(found == NULL || found->epoch < row->epoch))
			found = row;
	}
	return found;
}

/* The name of a relation, then those of former epochs, as far as they matter. */
static List *
names_of_relation(Oid relid)
{
	TableName  *name = palloc0(sizeof(TableName));
	const PolicyRow *renaming;
	List	   *names = NIL;

	name->schema = get_namespace_name(get_rel_namespace(relid));
	name->table = get_rel_name(relid);
	name->before = PG_INT64_MAX;
	if (name->schema == NULL || name->table == NULL)
		return NIL;
	while ((renaming = find_renaming(name)) != NULL)
	{
		TableName  *former = palloc0(sizeof(TableName));

		name->from = renaming->epoch;
		names = lappend(names, name);
		former->schema = renaming->former_schema;
		former->table = renaming->former_table;
		former->before = renaming->epoch;
		name = former;
	}
	return lappend(names, name);
}

/*
 * The names of a table, then of the partitioned tables that it belongs to, the
 * nearest first: a list of lists of TableName *.
 */
static List *
names_of_table(Oid relid)
{
	List	   *relids = lcons_oid(relid, get_partition_ancestors(relid));
	List	   *all_names = NIL;
	ListCell   *cell;

	foreach(cell, relids)
	{
		List	   *names = names_of_relation(lfirst_oid(cell));

		if (names != NIL)
			all_names = lappend(all_names, names);
	}
	return all_names;
}

/* The first epoch with anything special for rows of such a table; 0: none. */
static int64
first_special(List *all_names)
{
	int64		first = 0;
	ListCell   *cell;
	ListCell   *names;

	foreach(cell, cache->rows)
	{
		PolicyRow  *row = lfirst(cell);
		bool		about = row->schema == NULL;

		if (row->policy.resolver == RESOLVER_LAST_UPDATE_WINS ||
			!is_about_rows(row->family))
			continue;
		foreach(names, all_names)
			about |= row_is_of(row, lfirst(names));
		if (about && (first == 0 || row->epoch < first))
			first = row->epoch;
	}
	return first;
}

/* The row that holds for a family of a table with these names; NULL: none. */
static const PolicyRow *
find_nearest_row(const PolicyEpoch *epoch, List *all_names, McConflictFamily family)
{
	ListCell   *cell;

	foreach(cell, all_names)
	{
		const PolicyRow *row = find_row(epoch, lfirst(cell), family);

		if (row != NULL)
			return row;
	}
	return find_row(epoch, NIL, family);
}

/*
 * The handler that a row names.  One that takes rows of a table has another
 * signature since that has another name: it is the one of the same name that
 * the table took along.
 */
static Oid
handler_of_row(const PolicyRow *row)
{
	Oid			handler = mc_policy_find_handler(row->handler);
	ListCell   *cell;

	foreach(cell, cache->rows)
	{
		PolicyRow  *later = lfirst(cell);

		if (OidIsValid(handler))
			break;
		if (later->former_table != NULL && later->handler != NULL && row->schema != NULL &&
			later->epoch > row->epoch && later->family == row->family &&
			strcmp(later->former_schema, row->schema) == 0 &&
			strcmp(later->former_table, row->table) == 0 &&
			strncmp(later->handler, row->handler,
					strcspn(row->handler, "(") + 1) == 0)
			handler = handler_of_row(later);
	}
	return handler;
}

/* What holds for a table in an epoch; NULL as in mc_policy_table(). */
static const TablePolicy *
make_policy(Oid relid, int64 number)
{
	const PolicyEpoch *epoch = find_epoch(number);
	TablePolicy *policy;
	List	   *all_names = names_of_table(relid);
	int64		first = first_special(all_names);

	if (first == 0)
		return NULL;
	policy = MemoryContextAllocZero(cache->context, sizeof(TablePolicy));
	policy->first = first;
	for (int family = 0; epoch != NULL && family < MC_FAMILIES; family++)
	{
		const PolicyRow *row = find_nearest_row(epoch, all_names, family);

		if (row == NULL)
			continue;
		policy->family[family] = row->policy;
		if (row->handler != NULL)
			policy->family[family].handler = handler_of_row(row);
	}
	return policy;
}

const TablePolicy *
mc_policy_set_for(Oid relid, int64 epoch)
{
	AnswerKey	key = {epoch, relid, 0};
	Answer	   *answer;
	const TablePolicy *policy;

	if (!cache_valid)
		refresh_cache();
	if (!cache->any)
		return NULL;
	answer = hash_search(cache->answers, &key, HASH_FIND, NULL);
	if (answer != NULL)
		return answer->policy;

	/* Looking at catalogs may make the cache out of date, but not free it. */
	policy = make_policy(relid, epoch);
	if (!cache_valid)
		return policy;
	answer = hash_search(cache->answers, &key, HASH_ENTER, NULL);
	answer->policy = policy;
	return policy;
}

const TablePolicy *
mc_policy_table(Oid relid, int64 epoch)
{
	if (!mc_policies_any() || mc_column_policies(relid) != NULL)
		return NULL;
	return mc_policy_set_for(relid, epoch);
}

int64
mc_policy_rank(Oid relid, RowVersion version)
{
	const TablePolicy *policy = mc_policy_table(relid, 0);
	int64		epoch = policy ? mc_policy_epoch_of(version) : 0;

	return policy && epoch >= policy->first ? epoch : 0;
}

int
mc_policy_compare(Oid relid, RowVersion a, RowVersion b)
{
	int64		more = mc_policy_rank(relid, a) - mc_policy_rank(relid, b);

	return more < 0 ? -1 : more > 0 ? 1 : mc_version_compare(a, b);
}

bool
mc_policy_of_errors(Oid relid, McResolver *resolver)
{
	TimestampTz ts;
	const PolicyEpoch *epoch;
	const PolicyRow *row;

	epoch = find_epoch(mc_policy_own_epoch(&ts));
	if (epoch == NULL)
		return false;
	row = find_nearest_row(epoch, OidIsValid(relid) ? names_of_table(relid) : NIL,
						   FAMILY_APPLY);
	if (row == NULL)
		return false;
	*resolver = row->policy.resolver;
	return true;
}
