/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  The questions of a simulated center to core/merge.c.
 *
 * NOTES
 *	  Every decision is asked of core/merge.c here, and here the answer is
 *	  falsified on purpose (sim_mutant), to see whether that is noticed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "rules.h"

Mutant		sim_mutant = MUTANT_NONE;

/* A version as core/merge.c has it. */
RowVersion
sim_version(Stamp stamp)
{
	RowVersion	version = {STAMP_TS(stamp), STAMP_CENTER(stamp)};

	return version;
}

/* The version of a merge state, in a byte. */
Stamp
sim_stamp(RowVersion version)
{
	return STAMP(version.commit_ts, version.center);
}

/* The number that centers have in versions. */
CenterId
sim_center_id(int center)
{
	return center + 1;
}

/* What is known of a key: its row or tombstone, and the newest TRUNCATE. */
MergeState
rule_look_up(const SimCenter *center, int key)
{
	MergeState	local = {LOCAL_NOTHING, {0, MC_NO_CENTER}};

	mc_merge_observe(&local, center->keys[key].knowledge,
					 sim_version(center->keys[key].version));
	if (center->truncation != 0 && sim_mutant != MUTANT_TRUNCATE_FORGOTTEN)
		mc_merge_observe(&local, LOCAL_TOMBSTONE, sim_version(center->truncation));
	return local;
}

/* The verdict on a change. */
Verdict
rule_decide(MergeInput input, int decider)
{
	bool		known = input.local.knowledge != LOCAL_NOTHING;
	bool		tie = known && input.remote.commit_ts == input.local.version.commit_ts &&
	input.remote.center != input.local.version.center;
	bool		dead = input.local.knowledge == LOCAL_TOMBSTONE;

	if (sim_mutant == MUTANT_TIE_OMITTED && tie)
		return VERDICT_KEEP_LOCAL;
	if (sim_mutant == MUTANT_TIE_BY_DECIDER && tie)
		input.local.version.center = sim_center_id(decider);
	if (sim_mutant == MUTANT_EQUAL_IS_OLD)
		input.later = false;
	if (sim_mutant == MUTANT_DELETE_ALWAYS && input.op == MERGE_OP_DELETE && known)
		return VERDICT_DELETE;
	if (sim_mutant == MUTANT_DELETE_NOT_RECORDED && input.op == MERGE_OP_DELETE && !known)
		return VERDICT_KEEP_LOCAL;
	if (sim_mutant == MUTANT_TOMBSTONE_NOT_RAISED && input.op == MERGE_OP_DELETE && dead)
		return VERDICT_KEEP_LOCAL;
	if (sim_mutant == MUTANT_INSERT_OVER_TOMBSTONE && input.op == MERGE_OP_INSERT && dead)
		return VERDICT_PUT;
	if (sim_mutant == MUTANT_UPDATE_NEEDS_ROW && input.op == MERGE_OP_UPDATE &&
		input.local.knowledge != LOCAL_LIVE)
		return VERDICT_KEEP_LOCAL;
	if (sim_mutant == MUTANT_UPDATE_ALWAYS && input.op == MERGE_OP_UPDATE)
		return VERDICT_PUT;
	if (sim_mutant == MUTANT_INSERT_KEEPS && input.op == MERGE_OP_INSERT &&
		input.local.knowledge == LOCAL_LIVE)
		return VERDICT_KEEP_LOCAL;
	return mc_merge_decide(&input).verdict;
}

/* Is what has this version dead under a TRUNCATE? */
bool
rule_truncates(Stamp truncation, Stamp row)
{
	if (sim_mutant == MUTANT_TRUNCATE_ALL)
		return true;
	return mc_merge_truncates(sim_version(truncation), sim_version(row),
							  sim_mutant != MUTANT_TRUNCATE_SPARES_EARLIER);
}

/* May a tombstone go? */
bool
rule_may_forget(const SimState *state, int center, Stamp version)
{
	const SimCenter *here = &state->centers[center];
	TimestampTz frontier = -1;

	if (sim_mutant == MUTANT_PURGE_ON_DELIVERY && STAMP_CENTER(version) != 0)
	{
		int			author = STAMP_CENTER(version) - 1;
		bool		everywhere = true;

		for (int i = 0; i < state->ncenters; i++)
			everywhere &= state->centers[i].applied[author] == state->length[author];
		return everywhere;
	}
	for (int i = 0; i < state->ncenters; i++)
	{
		if (i == center)
			continue;
		if (frontier < 0 ||
			(sim_mutant == MUTANT_PURGE_ONE_PROMISE ? here->promised[i] > frontier :
			 here->promised[i] < frontier))
			frontier = here->promised[i];
	}
	return mc_merge_may_forget(sim_version(version), frontier);
}

/* What becomes of a change without its big value. */
MarkerVerdict
rule_decide_marker(MarkerInput input)
{
	if (sim_mutant == MUTANT_FILL_UNCOVERED)
		input.causes_applied = true;
	if (sim_mutant == MUTANT_FILL_UNSEEN)
		input.local_seen = true;
	if (sim_mutant == MUTANT_FILL_KEY_CHANGE)
		input.key_changed = false;
	if (sim_mutant == MUTANT_FILL_OVER_PENDING)
		input.older_pending = false;
	return mc_merge_marker(&input);
}

/* What becomes of a whole row from the author of its version. */
RefreshVerdict
rule_decide_refresh(Stamp version, const MergeState *local, bool pending)
{
	int			order = mc_version_compare(sim_version(version), local->version);

	if (sim_mutant == MUTANT_REFRESH_EQUAL_IGNORED && order == 0)
		return REFRESH_DROP;
	if (sim_mutant == MUTANT_REFRESH_CREATES && local->knowledge == LOCAL_NOTHING)
		return REFRESH_PUT;
	if (sim_mutant == MUTANT_REFRESH_ALWAYS && local->knowledge != LOCAL_NOTHING)
		return REFRESH_OVERWRITE;
	if (sim_mutant == MUTANT_REFRESH_OVER_SWAP)
		pending &= order != 0;
	return mc_merge_refresh(sim_version(version), local, pending);
}

/* Is a pending change obsolete by what was just written? */
bool
rule_drops_pending(Stamp written, Stamp pending)
{
	if (sim_mutant == MUTANT_PENDING_STAYS)
		return false;
	if (sim_mutant == MUTANT_PENDING_DROPPED)
		return true;
	return mc_merge_drops_pending(sim_version(written), sim_version(pending));
}

/* Must a center that is asked answer? */
bool
rule_answers_request(const MergeState *local, int center)
{
	if (sim_mutant == MUTANT_NO_REQUEST)
		return false;
	if (sim_mutant == MUTANT_ANYBODY_ANSWERS)
		return local->knowledge == LOCAL_LIVE;
	return mc_merge_answers_request(local, sim_center_id(center));
}

/* Must a center send its row without being asked? */
bool
rule_owes_refresh(const MergeState *local, int center, Stamp lost)
{
	if (sim_mutant == MUTANT_OWES_NOTHING)
		return false;
	return mc_merge_owes_refresh(local, sim_center_id(center), sim_version(lost), false);
}

/* The rows of a center by age, for mc_merge_visible(). */
typedef struct RowSet
{
	const SimCenter *center;
	int			nrows;
	uint8		keys[SIM_KEYS];
} RowSet;

/* Two rows clash if their unique values have a bit in common. */
static bool
rows_clash(int a, int b, void *context)
{
	RowSet	   *set = context;

	return (set->center->keys[set->keys[a]].row.unique &
			set->center->keys[set->keys[b]].row.unique) != 0;
}

/* Does a row come before another? */
static bool
goes_before(const SimCenter *center, uint8 a, uint8 b)
{
	char		a_key = a;
	char		b_key = b;
	bool		a_visible = (center->visible >> a & 1) != 0;
	bool		b_visible = (center->visible >> b & 1) != 0;

	if (sim_mutant == MUTANT_CLASH_ARRIVAL && a_visible != b_visible)
		return a_visible;
	return mc_merge_clash(sim_version(center->keys[a].version), &a_key, 1,
						  sim_version(center->keys[b].version), &b_key, 1) > 0;
}

/* Find anew which rows of a center are visible. */
void
rule_find_visible(SimCenter *center, int nkeys)
{
	RowSet		set = {center, 0, {0}};
	bool		visible[SIM_KEYS];
	uint8		before = center->visible;

	for (int key = 0; key < nkeys; key++)
	{
		int			at = set.nrows;

		if (center->keys[key].knowledge != LOCAL_LIVE)
			continue;
		for (; at > 0 && goes_before(center, key, set.keys[at - 1]); at--)
			set.keys[at] = set.keys[at - 1];
		set.keys[at] = key;
		set.nrows++;
	}
	mc_merge_visible(set.nrows, rows_clash, &set, visible);
	if (sim_mutant == MUTANT_CLASH_INVISIBLE)
	{
		for (int i = 0; i < set.nrows; i++)
		{
			for (int j = 0; j < i; j++)
				visible[i] &= !rows_clash(j, i, &set);
		}
	}

	center->visible = 0;
	for (int i = 0; i < set.nrows; i++)
	{
		if (sim_mutant == MUTANT_CLASH_TOMBSTONE && !visible[i])
			center->keys[set.keys[i]].knowledge = LOCAL_TOMBSTONE;
		if (sim_mutant == MUTANT_CLASH_STAYS_AWAY && !(before >> set.keys[i] & 1))
			visible[i] = false;
		if (visible[i])
			center->visible |= 1 << set.keys[i];
	}
}
