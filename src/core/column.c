/*-------------------------------------------------------------------------
 *
 * column.c
 *	  Columns that are merged one by one: their vocabulary, and what follows
 *	  from what the author of a change had seen.
 *
 * NOTES
 *	  Changes are kept until everybody has seen them.  An INSERT is not: it is
 *	  told by the version of the row, which is greater than that which each of
 *	  the changes that are kept has given to it only where it was inserted
 *	  since.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/column.h"
#include "core/merge.h"

static const char *const merge_names[] = {
	[COLUMN_LAST_UPDATE_WINS] = "last_update_wins",
	[COLUMN_DELTA] = "delta",
	[COLUMN_MIN] = "min",
	[COLUMN_MAX] = "max",
	[COLUMN_SET_UNION] = "set_union",
	[COLUMN_JSONB_MERGE] = "jsonb_merge",
	[COLUMN_HANDLER] = "handler",
};

bool
mc_column_merge_from_name(const char *name, ColumnMerge *merge)
{
	for (int i = 0; i < (int) lengthof(merge_names); i++)
	{
		if (strcmp(merge_names[i], name) == 0)
		{
			*merge = (ColumnMerge) i;
			return true;
		}
	}
	return false;
}

bool
mc_column_keeps_values(ColumnMerge merge)
{
	return merge == COLUMN_MIN || merge == COLUMN_MAX ||
		merge == COLUMN_SET_UNION || merge == COLUMN_HANDLER;
}

bool
mc_column_saw(const ColumnChange *change, RowVersion other)
{
	if (other.center == change->version.center)
		return mc_version_compare(other, change->version) <= 0;
	if (other.commit_ts <= change->causes.all)
		return true;
	for (int i = 0; i < change->causes.nseen; i++)
	{
		if (change->causes.seen[i].center == other.center)
			return mc_version_compare(other, change->causes.seen[i]) <= 0;
	}
	return false;
}

bool
mc_column_is_void(const ColumnState *state, const ColumnChange *change)
{
	RowVersion	incarnation = change->causes.incarnation;
	RowVersion	seen_by_author = {change->causes.all, MC_MAX_CENTER_ID};

	/* One that everybody has seen may have a name here, and none there. */
	if (mc_version_compare(incarnation, seen_by_author) < 0)
		incarnation = seen_by_author;
	return mc_version_compare(incarnation, state->incarnation) < 0;
}

ColumnState
mc_column_state(ColumnChange *const *changes, int nchanges,
				RowVersion truncated, const RowVersion *row, TimestampTz all)
{
	ColumnState state = {.incarnation = truncated};
	RowVersion	last = {0};		/* that the row was given */

	for (int i = 0; i < nchanges; i++)
	{
		if (mc_version_compare(changes[i]->causes.incarnation, state.incarnation) > 0)
			state.incarnation = changes[i]->causes.incarnation;
	}
	state.fresh = true;
	for (int i = 0; i < nchanges; i++)
	{
		if (mc_column_is_void(&state, changes[i]))
			continue;
		state.fresh = false;
		state.deleted |= changes[i]->deleted;
		if (mc_version_compare(changes[i]->row, last) > 0)
			last = changes[i]->row;
	}

	/* A change of it says that the row was inserted after the TRUNCATE. */
	if (state.fresh && truncated.commit_ts != 0)
		state.deleted = true;
	state.alive = row != NULL;
	if (row == NULL ||
		(!state.fresh && !state.deleted && mc_version_compare(*row, last) <= 0))
		return state;

	/* The row was inserted after all that. */
	if (!state.fresh || state.deleted || row->commit_ts > all)
		state.incarnation = *row;
	state.fresh = true;
	state.deleted = false;
	return state;
}
