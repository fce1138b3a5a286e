/*-------------------------------------------------------------------------
 *
 * merge.c
 *	  The merge table: what to do with an incoming change, as a pure function.
 *
 * NOTES
 *	  A center keeps, for every key, the greatest version that it has seen: a
 *	  live row or a tombstone.  INSERT and UPDATE put a row at a version,
 *	  DELETE puts a tombstone at one; applying them in any order then ends in
 *	  the same state everywhere (a state-based last-writer-wins map, see
 *	  Shapiro et al., "A comprehensive study of Convergent and Commutative
 *	  Replicated Data Types", 2011, section 3.2).
 *
 *	  Nothing here looks at a clock, a catalog or the name of the center that
 *	  is deciding.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/merge.h"

static const char *const conflict_type_names[] = {
	[CONFLICT_NONE] = "none",
	[CONFLICT_INSERT_EXISTS] = "insert_exists",
	[CONFLICT_INSERT_DELETED] = "insert_deleted",
	[CONFLICT_UPDATE_ORIGIN_DIFFERS] = "update_origin_differs",
	[CONFLICT_UPDATE_EXISTS] = "update_exists",
	[CONFLICT_UPDATE_DELETED] = "update_deleted",
	[CONFLICT_UPDATE_MISSING] = "update_missing",
	[CONFLICT_DELETE_ORIGIN_DIFFERS] = "delete_origin_differs",
	[CONFLICT_DELETE_RECENTLY_UPDATED] = "delete_recently_updated",
	[CONFLICT_DELETE_MISSING] = "delete_missing",
	[CONFLICT_MULTIPLE_UNIQUE] = "multiple_unique_conflicts",
	[CONFLICT_EXCLUSION_VIOLATION] = "exclusion_violation",
	[CONFLICT_TARGET_TABLE_MISSING] = "target_table_missing",
	[CONFLICT_TARGET_COLUMN_MISSING] = "target_column_missing",
	[CONFLICT_FOREIGN_KEY_VIOLATION] = "foreign_key_violation",
	[CONFLICT_CHECK_VIOLATION] = "check_violation",
	[CONFLICT_APPLY_ERROR] = "apply_error",
};

StaticAssertDecl(lengthof(conflict_type_names) == MC_CONFLICT_TYPE_LAST + 1,
				 "every conflict type needs a name");

const char *
mc_conflict_type_name(McConflictType type)
{
	return conflict_type_names[type];
}

int
mc_version_compare(RowVersion a, RowVersion b)
{
	if (a.commit_ts != b.commit_ts)
		return a.commit_ts < b.commit_ts ? -1 : 1;
	if (a.center != b.center)
		return a.center < b.center ? -1 : 1;
	return 0;
}

void
mc_merge_observe(MergeState *state, LocalKnowledge knowledge, RowVersion version)
{
	int			order = mc_version_compare(version, state->version);

	if (knowledge == LOCAL_NOTHING)
		return;
	if (state->knowledge == LOCAL_NOTHING || order > 0 ||
		(order == 0 && knowledge != LOCAL_TOMBSTONE))
	{
		state->knowledge = knowledge;
		state->version = version;
	}
}

/* The row is here. */
static MergeDecision
decide_live(const MergeInput *input, bool remote_is_newer)
{
	MergeDecision decision = {VERDICT_KEEP_LOCAL, CONFLICT_NONE};

	switch (input->op)
	{
		case MERGE_OP_INSERT:
			decision.verdict = remote_is_newer ? VERDICT_PUT : VERDICT_KEEP_LOCAL;
			decision.conflict = CONFLICT_INSERT_EXISTS;
			break;
		case MERGE_OP_UPDATE:
			decision.verdict = remote_is_newer ? VERDICT_PUT : VERDICT_KEEP_LOCAL;
			decision.conflict = CONFLICT_UPDATE_ORIGIN_DIFFERS;
			break;
		case MERGE_OP_DELETE:
			decision.verdict = remote_is_newer ? VERDICT_DELETE : VERDICT_KEEP_LOCAL;
			decision.conflict = remote_is_newer ?
				CONFLICT_DELETE_ORIGIN_DIFFERS : CONFLICT_DELETE_RECENTLY_UPDATED;
			break;
	}

	/* A change that had seen the local version is its successor. */
	if (!input->concurrent)
		decision.conflict = CONFLICT_NONE;
	return decision;
}

/* The row is remembered as deleted. */
static MergeDecision
decide_tombstone(const MergeInput *input, bool remote_is_newer)
{
	MergeDecision decision = {VERDICT_KEEP_LOCAL, CONFLICT_NONE};

	switch (input->op)
	{
		case MERGE_OP_INSERT:
			decision.verdict = remote_is_newer ? VERDICT_PUT : VERDICT_KEEP_LOCAL;

			/* An insert after a delete is no conflict. */
			decision.conflict = remote_is_newer ?
				CONFLICT_NONE : CONFLICT_INSERT_DELETED;
			break;
		case MERGE_OP_UPDATE:
			decision.verdict = remote_is_newer ? VERDICT_PUT : VERDICT_KEEP_LOCAL;
			decision.conflict = CONFLICT_UPDATE_DELETED;
			break;
		case MERGE_OP_DELETE:
			decision.verdict = remote_is_newer ?
				VERDICT_RECORD_TOMBSTONE : VERDICT_KEEP_LOCAL;
			break;
	}

	if (!input->concurrent)
		decision.conflict = CONFLICT_NONE;
	return decision;
}

/*
 * Nothing is known of the key.  That means that nothing was deleted only if
 * every delete that is newer than the change is still remembered.
 */
static MergeDecision
decide_nothing(const MergeInput *input)
{
	MergeDecision decision = {VERDICT_PUT, CONFLICT_NONE};

	switch (input->op)
	{
		case MERGE_OP_INSERT:
			break;
		case MERGE_OP_UPDATE:
			decision.conflict = CONFLICT_UPDATE_MISSING;
			break;
		case MERGE_OP_DELETE:
			decision.verdict = VERDICT_RECORD_TOMBSTONE;
			decision.conflict = CONFLICT_DELETE_MISSING;
			break;
	}

	/* What it changes is still on its way. */
	if (!input->concurrent)
		decision.conflict = CONFLICT_NONE;
	if (input->op != MERGE_OP_DELETE &&
		input->remote.commit_ts <= input->forgotten)
		decision.verdict = VERDICT_QUARANTINE;
	return decision;
}

MergeDecision
mc_merge_decide(const MergeInput *input)
{
	static const MergeDecision undecidable = {VERDICT_QUARANTINE, CONFLICT_NONE};

	/*
	 * An equal version is the change itself, seen before, unless it was put
	 * by an earlier change of the same transaction.
	 */
	int			order = mc_version_compare(input->remote, input->local.version);
	bool		remote_is_newer = order > 0 || (order == 0 && input->later);

	switch (input->local.knowledge)
	{
		case LOCAL_LIVE:
			return decide_live(input, remote_is_newer);
		case LOCAL_TOMBSTONE:
			return decide_tombstone(input, remote_is_newer);
		case LOCAL_VERSION_LOST:
			return remote_is_newer ? decide_live(input, true) : undecidable;
		case LOCAL_NOTHING:
			break;
	}
	return decide_nothing(input);
}

bool
mc_merge_truncates(RowVersion truncate, RowVersion row, bool earlier)
{
	int			order = mc_version_compare(row, truncate);

	return order < 0 || (order == 0 && earlier);
}

bool
mc_merge_may_forget(RowVersion version, TimestampTz frontier)
{
	return version.commit_ts <= frontier;
}

MarkerVerdict
mc_merge_marker(const MarkerInput *input)
{
	if (!input->causes_applied)
		return MARKER_WAIT;
	if (input->local_live && input->local_seen && !input->key_changed &&
		!input->older_pending)
		return MARKER_FILL;
	return MARKER_REQUEST;
}

bool
mc_merge_drops_pending(RowVersion written, RowVersion pending)
{
	return mc_version_compare(pending, written) <= 0;
}

bool
mc_merge_answers_request(const MergeState *local, CenterId our_id)
{
	/* A version of somebody else, or a tombstone, travels by itself. */
	return local->knowledge == LOCAL_LIVE && local->version.center == our_id;
}

RefreshVerdict
mc_merge_refresh(RowVersion refresh, const MergeState *local, bool pending)
{
	int			order = mc_version_compare(refresh, local->version);

	/*
	 * A refresh restores no row: the change that it repeats came before it,
	 * so where that neither is the row nor waits it has lost, perhaps to a
	 * delete that is forgotten while an older one is still known.  A
	 * tombstone of the same transaction came before the put that waits: keys
	 * were swapped.
	 */
	if (local->knowledge == LOCAL_NOTHING || local->knowledge == LOCAL_TOMBSTONE)
		return pending && (local->knowledge == LOCAL_NOTHING || order >= 0) ?
			REFRESH_PUT : REFRESH_DROP;
	if (order == 0)
		return REFRESH_OVERWRITE;
	return order > 0 ? REFRESH_PUT : REFRESH_DROP;
}

bool
mc_merge_owes_refresh(const MergeState *local, CenterId our_id,
					  RowVersion lost, bool seen)
{
	return local->knowledge == LOCAL_LIVE &&
		local->version.center == our_id && !seen &&
		mc_version_compare(local->version, lost) > 0;
}

int
mc_merge_clash(RowVersion a, const char *a_key, uint32 a_len,
			   RowVersion b, const char *b_key, uint32 b_len)
{
	int			order = mc_version_compare(a, b);

	if (order == 0)
		order = memcmp(a_key, b_key, Min(a_len, b_len));
	if (order == 0)
		order = a_len < b_len ? -1 : 1;
	return order;
}

void
mc_merge_visible(int nrows, RowsClash clash, void *context, bool *visible)
{
	for (int i = 0; i < nrows; i++)
	{
		visible[i] = true;
		for (int j = 0; j < i && visible[i]; j++)
		{
			if (visible[j] && clash(j, i, context))
				visible[i] = false;
		}
	}
}
