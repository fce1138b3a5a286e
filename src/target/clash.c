/*-------------------------------------------------------------------------
 *
 * clash.c
 *	  Find the rows that a unique index or exclusion constraint does not allow
 *	  beside another one.
 *
 * NOTES
 *	  Each index is scanned with the row's own values, by the operators of the
 *	  constraint, under a dirty snapshot: rows of transactions in progress are
 *	  found too, and the caller decides whether to wait.
 *
 *	  A row that another transaction brings into an index behind our scan
 *	  finds ours there, and waits for us, if ours is in the index before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "target/clash.h"
#include "target/lookup.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* The bytes of a key by which ties are broken. */
static void
set_key_text(ClashRow *row)
{
	row->key_text = JsonbToCString(NULL, &row->key.values->root,
								   VARSIZE(row->key.values));
	row->key_len = strlen(row->key_text);
}

ClashRow *
mc_clash_of_row(ClashSearch *search, TupleTableSlot *slot)
{
	TargetTable *table = search->table;
	ClashRow   *row = palloc0(sizeof(ClashRow));
	RemoteRow	values = {.present = true};
	MergeState	state = {0};
	bool		later;

	slot_getallattrs(slot);
	values.values = slot->tts_values;
	values.isnull = slot->tts_isnull;
	mc_note_key(table, &values, &row->key);
	row->notes = mc_note_find(table, &row->key);
	mc_lookup_version(search->transaction, slot, row->notes, &state, &later);
	row->version = state.version;
	row->values = mc_note_row_to_jsonb(table, slot);
	row->tid = slot->tts_tid;
	set_key_text(row);
	return row;
}

ClashRow *
mc_clash_of_note(KeyNote *note)
{
	ClashRow   *row = palloc0(sizeof(ClashRow));

	row->version = note->version;
	row->key = note->key;
	row->values = note->row;
	row->displaced = note;
	ItemPointerSetInvalid(&row->tid);
	set_key_text(row);
	return row;
}

int
mc_clash_compare(const ClashRow *a, const ClashRow *b)
{
	return mc_merge_clash(a->version, a->key_text, a->key_len,
						  b->version, b->key_text, b->key_len);
}

/* Does the row belong into the index, and with which values? */
static bool
index_values(TargetTable *table, IndexInfo *info, TupleTableSlot *slot,
			 int nkeys, Datum *values, bool *isnull)
{
	ExprContext *context = GetPerTupleExprContext(table->estate);

	context->ecxt_scantuple = slot;
	if (info->ii_Predicate != NIL)
	{
		if (info->ii_PredicateState == NULL)
		{
			MemoryContext old_context = MemoryContextSwitchTo(table->context);

			info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate,
													  table->estate);
			MemoryContextSwitchTo(old_context);
		}
		if (!ExecQual(info->ii_PredicateState, context))
			return false;
	}
	FormIndexDatum(info, slot, table->estate, values, isnull);
	if (info->ii_NullsNotDistinct)
		return true;
	for (int i = 0; i < nkeys; i++)
	{
		if (isnull[i])
			return false;
	}
	return true;
}

/* Make scan keys for what an index does not allow twice. */
static void
make_scan_keys(TargetTable *table, Relation index, IndexInfo *info, int nkeys,
			   Datum *values, bool *isnull, ScanKey keys)
{
	Oid		   *procs;
	uint16	   *strategies;

	if (info->ii_ExclusionOps == NULL && info->ii_UniqueProcs == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(table->context);

		BuildSpeculativeIndexInfo(index, info);
		MemoryContextSwitchTo(old_context);
	}
	procs = info->ii_ExclusionOps ? info->ii_ExclusionProcs : info->ii_UniqueProcs;
	strategies = info->ii_ExclusionOps ? info->ii_ExclusionStrats : info->ii_UniqueStrats;
	for (int i = 0; i < nkeys; i++)
		ScanKeyEntryInitialize(&keys[i],
							   isnull[i] ? SK_ISNULL | SK_SEARCHNULL : 0,
							   i + 1, strategies[i], InvalidOid,
							   index->rd_indcollation[i], procs[i], values[i]);
}

/* Does a row that a lossy scan has found match?  Unique scans never are. */
static bool
matches_exclusion(ClashSearch *search, Relation index, IndexInfo *info,
				  int nkeys, Datum *values)
{
	Datum		found[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	if (!index_values(search->table, info, search->found, nkeys, found,
					  isnull))
		return false;
	for (int i = 0; i < nkeys; i++)
	{
		if (isnull[i] ||
			!DatumGetBool(OidFunctionCall2Coll(info->ii_ExclusionProcs[i],
											   index->rd_indcollation[i],
											   found[i], values[i])))
			return false;
	}
	return true;
}

/* Add the row that was found to those that clash. */
static void
add_clash(ClashSearch *search, Relation index, IndexInfo *info,
		  MemoryContext context, List **rows)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	ClashRow   *row = NULL;
	ListCell   *cell;

	foreach(cell, *rows)
	{
		ClashRow   *other = lfirst(cell);

		if (ItemPointerEquals(&other->tid, &search->found->tts_tid))
			row = other;
	}
	if (row)
		row->several = true;
	else
	{
		row = mc_clash_of_row(search, search->found);
		row->index = RelationGetRelid(index);
		*rows = lappend(*rows, row);
	}
	row->exclusion |= info->ii_ExclusionOps != NULL;
	MemoryContextSwitchTo(old_context);
}

/* Find the rows that clash with one in one index. */
static ClashResult
search_index(ClashSearch *search, Relation index, IndexInfo *info,
			 TupleTableSlot *slot, const ItemPointerData *self, List **rows)
{
	MemoryContext context = CurrentMemoryContext;
	int			nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	ScanKeyData keys[INDEX_MAX_KEYS];
	SnapshotData dirty;
	IndexScanDesc scan;
	ClashResult result = CLASH_DONE;

	if (!index_values(search->table, info, slot, nkeys, values, isnull))
		return CLASH_DONE;
	make_scan_keys(search->table, index, info, nkeys, values, isnull, keys);
	InitDirtySnapshot(dirty);
	scan = index_beginscan_compat(search->table->rel, index, &dirty, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (result == CLASH_DONE &&
		   index_getnext_slot(scan, ForwardScanDirection, search->found))
	{
		TransactionId writer = TransactionIdIsValid(dirty.xmin) ?
		dirty.xmin : dirty.xmax;
		uint32		token = dirty.speculativeToken;

		CHECK_FOR_INTERRUPTS();
		if (self && ItemPointerEquals(&search->found->tts_tid,
									  unconstify(ItemPointerData *, self)))
			continue;
		if (scan->xs_recheck && info->ii_ExclusionOps &&
			!matches_exclusion(search, index, info, nkeys, values))
			continue;
		if (TransactionIdIsValid(writer))
		{
			search->wait_for = writer;
			search->wait_token = token;
			result = CLASH_BUSY;
		}
		else
			add_clash(search, index, info, context, rows);
	}
	index_endscan(scan);
	ExecClearTuple(search->found);
	return result;
}

ClashResult
mc_clash_find(ClashSearch *search, TupleTableSlot *slot,
			  const ItemPointerData *self, List **rows)
{
	TargetTable *table = search->table;
	ResultRelInfo *relinfo = table->relinfo;

	*rows = NIL;
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
	{
		Relation	index = relinfo->ri_IndexRelationDescs[i];
		IndexInfo  *info = relinfo->ri_IndexRelationInfo[i];

		if (!info->ii_ReadyForInserts ||
			RelationGetRelid(index) == table->map->index ||
			(!info->ii_Unique && info->ii_ExclusionOps == NULL))
			continue;
		if (search_index(search, index, info, slot, self, rows) == CLASH_BUSY)
			return CLASH_BUSY;
	}
	if (list_length(*rows) > 1)
	{
		ListCell   *cell;

		foreach(cell, *rows)
			((ClashRow *) lfirst(cell))->several = true;
	}
	return CLASH_DONE;
}

ClashRow *
mc_clash_winner(List *clashes, const ClashRow *row)
{
	ClashRow   *winner = NULL;
	ListCell   *cell;

	foreach(cell, clashes)
	{
		ClashRow   *other = lfirst(cell);

		if (mc_clash_compare(other, row) > 0 &&
			(winner == NULL || mc_clash_compare(other, winner) > 0))
			winner = other;
	}
	return winner;
}
