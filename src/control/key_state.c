/*-------------------------------------------------------------------------
 *
 * key_state.c
 *	  What this center knows of the keys of a table, for one that joins.
 *
 * NOTES
 *	  Rows alone are not enough: a change that is in flight while a center
 *	  joins must meet the same versions and tombstones there as everywhere.
 *	  Nothing older than the frontier is in flight, so only what is newer is
 *	  told; on a healthy group that is the work of the last seconds.  It must
 *	  be the frontier of a moment before the snapshot: what was applied here
 *	  since then comes to the new center by its streams.  Where rows of the
 *	  table are displaced it is what is newer than the oldest of them, because
 *	  the rows in their places would lose against them otherwise.  One pass
 *	  over all tuples of the table, dead ones included, finds
 *
 *	  'v'	a row that the snapshot sees, with its version and its xmin
 *	  't'	a tuple that had been removed by then, with the version and the
 *			number of the transaction that did so.  An older version of a row
 *			that is alive is told, too, which does no harm: the row's own
 *			version is not smaller.
 *
 *	  What notes say about the same transactions is put over it by SQL; see
 *	  multicenter.peer_key_state().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "origin/routing.h"
#include "state/clock.h"
#include "state/column_policy.h"
#include "state/policy.h"
#include "state/registry.h"
#include "state/shared.h"
#include "state/vector.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

#define KEY_STATE_COLUMNS	5

PG_FUNCTION_INFO_V1(mc_sql_internal_key_state);
PG_FUNCTION_INFO_V1(mc_sql_peer_clock);
PG_FUNCTION_INFO_V1(mc_sql_peer_frontier);

/* The scan of one table. */
typedef struct KeyScan
{
	ReturnSetInfo *result;
	Snapshot	snapshot;		/* of the copy */
	TimestampTz frontier;		/* nothing older is in flight */
	Datum	   *noted;			/* transactions that notes are about */
	int			nnoted;
	CenterId	our_id;
	int			nkeys;
	AttrNumber	keys[INDEX_MAX_KEYS];
	MemoryContext row_context;

	/* The last transaction that was looked up; rows of one lie together. */
	TransactionId last_xid;
	RowVersion	last_version;
} KeyScan;

/* The columns of the table's replica identity; none: it has no notes. */
static void
find_key_columns(KeyScan *scan, Relation rel)
{
	Oid			index_oid = mc_identity_index(rel);
	Relation	index;

	if (!OidIsValid(index_oid))
		return;
	index = index_open(index_oid, AccessShareLock);
	scan->nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	for (int i = 0; i < scan->nkeys; i++)
		scan->keys[i] = index->rd_index->indkey.values[i];
	index_close(index, AccessShareLock);
}

/* The version that a committed transaction gave to what it wrote. */
static RowVersion
version_of(KeyScan *scan, TransactionId xid)
{
	RowVersion	version = {0, MC_NO_CENTER};
	TimestampTz commit_ts;
	uint16		origin;

	if (!TransactionIdIsNormal(xid))
		return version;
	if (xid == scan->last_xid)
		return scan->last_version;
	scan->last_xid = xid;
	scan->last_version = version;
	if (!TransactionIdGetCommitTsData(xid, &commit_ts, &origin))
		return version;
	version.center = mc_author_of_origin(origin, scan->our_id);
	if (version.center != MC_NO_CENTER)
		version.commit_ts = commit_ts;
	scan->last_version = version;
	return version;
}

/* The key of a row as jsonb: {"column": "text", ...}. */
static Datum
key_of(const KeyScan *scan, TupleTableSlot *slot)
{
	JsonbInState state = {0};

	pushJsonbValue_compat(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < scan->nkeys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(slot->tts_tupleDescriptor,
													scan->keys[i] - 1);
		JsonbValue	item;
		Oid			output;
		bool		is_varlena;
		bool		isnull;
		Datum		value = slot_getattr(slot, scan->keys[i], &isnull);

		item.type = jbvString;
		item.val.string.val = NameStr(attribute->attname);
		item.val.string.len = strlen(item.val.string.val);
		pushJsonbValue_compat(&state, WJB_KEY, &item);
		getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
		item.val.string.val = isnull ? pstrdup("") :
			OidOutputFunctionCall(output, value);
		item.val.string.len = strlen(item.val.string.val);
		pushJsonbValue_compat(&state, WJB_VALUE, &item);
	}
	pushJsonbValue_compat(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(state.result));
}

/* Have rows that a transaction wrote another version, by notes? */
static bool
is_noted(const KeyScan *scan, TransactionId xid)
{
	for (int i = 0; i < scan->nnoted; i++)
		if (DatumGetTransactionId(scan->noted[i]) == xid)
			return true;
	return false;
}

/* Tell about one tuple. */
static void
tell(KeyScan *scan, char kind, TupleTableSlot *slot, TransactionId xid)
{
	RowVersion	version = version_of(scan, xid);
	MemoryContext caller;
	Datum		values[KEY_STATE_COLUMNS];
	bool		nulls[KEY_STATE_COLUMNS] = {false};

	if (version.commit_ts <= scan->frontier &&
		!(kind == 'v' && is_noted(scan, xid)))
		return;
	caller = MemoryContextSwitchTo(scan->row_context);
	values[0] = CharGetDatum(kind);
	values[1] = key_of(scan, slot);
	values[2] = TimestampTzGetDatum(version.commit_ts);
	values[3] = Int32GetDatum(version.center);
	values[4] = TransactionIdGetDatum(xid);
	tuplestore_putvalues(scan->result->setResult, scan->result->setDesc, values, nulls);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(scan->row_context);
}

/*
 * The transaction that had removed a tuple by the snapshot; invalid: none had,
 * or the tuple was never there.
 */
static TransactionId
removed_by(const KeyScan *scan, HeapTupleHeader header)
{
	TransactionId xmax;

	if ((header->t_infomask & HEAP_XMAX_INVALID) ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return InvalidTransactionId;
	if (!HeapTupleHeaderXminCommitted(header) &&
		!TransactionIdDidCommit(HeapTupleHeaderGetRawXmin(header)))
		return InvalidTransactionId;
	xmax = HeapTupleHeaderGetUpdateXid(header);
	if (!TransactionIdIsNormal(xmax) || XidInMVCCSnapshot(xmax, scan->snapshot) ||
		!TransactionIdDidCommit(xmax))
		return InvalidTransactionId;
	return xmax;
}

/* Tell about all tuples of a table. */
static void
scan_table(KeyScan *scan, Relation rel)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc tuples = table_beginscan_compat(rel, SnapshotAny);

	while (table_scan_getnextslot(tuples, ForwardScanDirection, slot))
	{
		bool		should_free;
		HeapTupleHeader header = ExecFetchSlotHeapTuple(slot, false, &should_free)->t_data;
		TransactionId xmax;

		CHECK_FOR_INTERRUPTS();
		if (table_tuple_satisfies_snapshot(rel, slot, scan->snapshot))
			tell(scan, 'v', slot, HeapTupleHeaderGetRawXmin(header));
		else if (TransactionIdIsValid(xmax = removed_by(scan, header)))
			tell(scan, 't', slot, xmax);
	}
	table_endscan(tuples);
	ExecDropSingleTupleTableSlot(slot);
}

/* internal_key_state(relation, frontier, noted): see the head of this file. */
Datum
mc_sql_internal_key_state(PG_FUNCTION_ARGS)
{
	KeyScan		scan = {0};
	Identity	identity;
	Relation	rel;

	InitMaterializedSRF(fcinfo, 0);
	if (!mc_registry_identity(&identity))
		return (Datum) 0;
	scan.result = (ReturnSetInfo *) fcinfo->resultinfo;
	scan.snapshot = GetActiveSnapshot();
	scan.our_id = identity.center_id;
	scan.frontier = PG_GETARG_TIMESTAMPTZ(1);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), XIDOID, sizeof(TransactionId),
					  true, TYPALIGN_INT, &scan.noted, NULL, &scan.nnoted);
	scan.row_context = AllocSetContextCreate(CurrentMemoryContext,
											 "multicenter key state",
											 ALLOCSET_DEFAULT_SIZES);
	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	find_key_columns(&scan, rel);
	if (scan.nkeys > 0)
		scan_table(&scan, rel);
	table_close(rel, AccessShareLock);
	return (Datum) 0;
}

/* peer_frontier(): behind it no change competes; null: not known. */
Datum
mc_sql_peer_frontier(PG_FUNCTION_ARGS)
{
	TimestampTz frontier;
	TimestampTz before;

	mc_shared_require();
	frontier = mc_policies_any() || mc_column_policies_any() ? mc_vector_seen_by_all(MyDatabaseId) :
		mc_vector_frontier(MyDatabaseId);
	if (frontier == 0)
		PG_RETURN_NULL();

	/* It may be one to come, of which nobody can say what he had seen. */
	before = mc_clock_newest() - 1;
	PG_RETURN_TIMESTAMPTZ(Min(frontier, before));
}

/* peer_clock(): whatever is here is not newer. */
Datum
mc_sql_peer_clock(PG_FUNCTION_ARGS)
{
	mc_shared_require();
	PG_RETURN_TIMESTAMPTZ(mc_clock_newest());
}
