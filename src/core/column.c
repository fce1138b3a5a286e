/*-------------------------------------------------------------------------
 *
 * column.c
 *	  Columns that are merged one by one: their vocabulary, and what follows
 *	  from what the author of a change had seen.
 *
 * NOTES
 *	  Changes are kept until everybody has seen them.  An INSERT is not: it is
 *	  told by the version of the row, which is that of its last change, and so
 *	  greater than all that are kept only where it was inserted since.
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

const char *
mc_column_merge_name(ColumnMerge merge)
{
	return merge_names[merge];
}

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

ColumnState
mc_column_state(ColumnChange *const *changes, int nchanges,
				RowVersion truncated, const RowVersion *row, TimestampTz all)
{
	ColumnState state = {.fresh = true};
	RowVersion	last = {0};		/* of what was done to that incarnation */

	for (int i = 0; i < nchanges; i++)
	{
		const ColumnChange *change = changes[i];
		int			order = mc_version_compare(change->causes.incarnation,
											   state.incarnation);

		if (order < 0)
			continue;
		if (order > 0)
		{
			state.incarnation = change->causes.incarnation;
			state.deleted = false;
			memset(&last, 0, sizeof(last));
		}
		state.fresh = false;
		state.deleted |= change->deleted;
		if (mc_version_compare(change->version, last) > 0)
			last = change->version;
	}
	if (mc_version_compare(truncated, state.incarnation) > 0)
	{
		state.incarnation = truncated;
		state.fresh = true;
		state.deleted = true;
	}
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

bool
mc_column_is_void(const ColumnState *state, const ColumnChange *change)
{
	RowVersion	incarnation = change->causes.incarnation;
	RowVersion	seen_by_author = {change->causes.all, MC_MAX_CENTER_ID};

	if (mc_version_compare(incarnation, seen_by_author) < 0)
		incarnation = seen_by_author;
	return mc_version_compare(incarnation, state->incarnation) < 0;
}
