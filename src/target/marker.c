/*-------------------------------------------------------------------------
 *
 * marker.c
 *	  Updates that lack values which they left alone: what completes them.
 *
 * NOTES
 *	  PostgreSQL does not write an unchanged out-of-line value into WAL again.
 *	  The update has a marker in its place.  docs/convergence.md has the rules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "target/marker.h"
#include "target/quarantine.h"
#include "target/refresh.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "compat.h"

void
mc_marker_from_old_row(TargetTable *table)
{
	RemoteRow  *row = &table->new_row;

	for (int i = 0; i < table->map->natts; i++)
	{
		if (!row->unchanged[i] || table->old_row.unchanged[i])
			continue;
		row->values[i] = table->old_row.values[i];
		row->isnull[i] = table->old_row.isnull[i];
		row->unchanged[i] = false;
	}
	row->any_unchanged = false;
}

void
mc_marker_from_local_row(TargetTable *table, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	RemoteRow  *row = &table->new_row;

	slot_getallattrs(slot);
	for (int i = 0; i < table->map->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Datum		value = slot->tts_values[i];

		if (!row->unchanged[i])
			continue;
		row->unchanged[i] = false;
		row->isnull[i] = slot->tts_isnull[i];
		if (row->isnull[i])
			continue;

		/* Copies must not point to a row that is dead. */
		row->values[i] = attribute->attlen == -1 ?
			PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
			datumCopy(value, attribute->attbyval, attribute->attlen);
	}
	row->any_unchanged = false;
}

/* May values that were not sent be taken from what is known of a key? */
static MarkerVerdict
judge_marker(RemoteTransaction *transaction, TargetTable *table,
			 const RemoteRow *key, const LocalRow *local, bool key_changed)
{
	MarkerInput input = {0};

	input.causes_applied = !transaction->overtook;
	input.local_live = local->found || local->displaced;
	input.local_seen = mc_vector_saw(transaction->vector, transaction->peer,
									 transaction->our_id, local->state.version);
	input.key_changed = key_changed;
	input.older_pending = mc_quarantine_older(transaction, table, key);
	return mc_merge_marker(&input);
}

bool
mc_marker_complete(RemoteTransaction *transaction, TargetTable *table, MergeOp op,
				   const LocalRow *local)
{
	MarkerVerdict verdict;

	if (!table->new_row.any_unchanged)
		return true;
	verdict = judge_marker(transaction, table, &table->new_row, local,
						   table->new_row.moved);
	if (verdict == MARKER_FILL)
		return true;
	if (mc_quarantine_hold(transaction, table, op, verdict == MARKER_WAIT ?
						   WAITS_FOR_CAUSE : WAITS_FOR_REFRESH) &&
		verdict == MARKER_REQUEST)
		mc_refresh_request(transaction, table);
	return false;
}

bool
mc_marker_fits_moved(RemoteTransaction *transaction, TargetTable *table,
					 const LocalRow *local)
{
	return !table->new_row.any_unchanged ||
		judge_marker(transaction, table, &table->old_row, local, false) == MARKER_FILL;
}

void
mc_marker_resend_moved(RemoteTransaction *transaction, TargetTable *table,
					   const LocalRow *local)
{
	LocalRow	moved;

	if (transaction->retried == NULL ||
		local->state.knowledge != LOCAL_TOMBSTONE ||
		local->state.version.center != transaction->our_id ||
		!mc_lookup_moved(table, &table->new_row, table->other_row))
		return;
	slot_getallattrs(table->other_row);
	for (int i = 0; i < table->map->natts; i++)
	{
		table->old_row.values[i] = table->other_row->tts_values[i];
		table->old_row.isnull[i] = table->other_row->tts_isnull[i];
	}
	mc_lookup(transaction, table, &table->old_row, table->local_row, true, &moved);
	if (mc_merge_answers_request(&moved.state, transaction->our_id))
		mc_refresh_send(transaction, table, &moved);
}
