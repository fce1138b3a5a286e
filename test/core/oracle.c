/*-------------------------------------------------------------------------
 *
 * oracle.c
 *	  What a simulated group must end with.
 *
 * NOTES
 *	  This does not use core/merge.c: it runs all transactions one after the
 *	  other in the order of their versions, as if on a single server, and then
 *	  goes through the rows from the newest to find who is visible.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "rules.h"

/* All transactions in the order of their versions; returns how many. */
static int
sort_transactions(const SimState *state, const SimEntry **sorted)
{
	int			n = 0;

	for (int i = 0; i < state->ncenters; i++)
	{
		for (int j = 0; j < state->length[i]; j++)
		{
			const SimEntry *entry = &state->entries[i][j];
			int			at = n;

			if (entry->kind != ENTRY_TRANSACTION)
				continue;
			for (; at > 0 && sorted[at - 1]->version > entry->version; at--)
				sorted[at] = sorted[at - 1];
			sorted[at] = entry;
			n++;
		}
	}
	return n;
}

/* What all centers must end with: one server, transaction by transaction. */
static void
ask_oracle(const SimState *state, SimCenter *expected)
{
	const SimEntry *sorted[SIM_CENTERS * SIM_ENTRIES];
	int			n = sort_transactions(state, sorted);
	int			order[SIM_KEYS];

	memset(expected, 0, sizeof(SimCenter));
	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j < sorted[i]->neffects; j++)
		{
			const SimEffect *effect = &sorted[i]->effects[j];
			SimKey	   *key = &expected->keys[effect->key];

			if (effect->kind == EFFECT_TRUNCATE)
			{
				memset(expected->keys, 0, sizeof(expected->keys));
				continue;
			}
			memset(key, 0, sizeof(SimKey));
			if (effect->kind == EFFECT_DELETE)
				continue;
			key->knowledge = LOCAL_LIVE;
			key->version = sorted[i]->version;
			key->row = effect->row;
		}
	}

	/* The newest first; of equal versions the greater key. */
	for (int i = 0; i < state->nkeys; i++)
	{
		int			at = i;

		for (; at > 0 && expected->keys[order[at - 1]].version <=
			 expected->keys[i].version; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	for (int i = 0; i < state->nkeys; i++)
	{
		const SimKey *key = &expected->keys[order[i]];

		if (key->knowledge == LOCAL_LIVE &&
			sim_unique_is_free(expected, state->nkeys, -1, key->row.unique))
			expected->visible |= 1 << order[i];
	}
}

/* What is wrong with a quiet state. */
const char *
sim_problem(const SimState *state)
{
	static char problem[200];
	SimCenter	expected;

	ask_oracle(state, &expected);
	for (int i = 0; i < state->ncenters; i++)
	{
		SimCenter	here = state->centers[i];

		rule_find_visible(&here, state->nkeys);
		if (here.npending > 0)
		{
			sprintf(problem, "center %c waits for ever for key %d", 'A' + i,
					sim_pending_effect(state, &here.pending[0])->key);
			return problem;
		}
		for (int key = 0; key < state->nkeys; key++)
		{
			const SimKey *want = &expected.keys[key];
			const SimKey *have = &here.keys[key];
			bool		live = have->knowledge == LOCAL_LIVE;
			int			bit = 1 << key;

			if (live == (want->knowledge == LOCAL_LIVE) &&
				(here.visible & bit) == (expected.visible & bit) &&
				(!live || (have->version == want->version &&
						   memcmp(&have->row, &want->row, sizeof(SimRow)) == 0)))
				continue;
			sprintf(problem, "center %c, key %d: has %s row @%d%c (unique %d, big of @%d%c) visible %d, "
					"should have %s row @%d%c (unique %d, big of @%d%c) visible %d",
					'A' + i, key, live ? "a" : "no", STAMP_TS(have->version),
					'@' + STAMP_CENTER(have->version), have->row.unique,
					STAMP_TS(have->row.big), '@' + STAMP_CENTER(have->row.big),
					(here.visible & bit) != 0, want->knowledge == LOCAL_LIVE ? "a" : "no",
					STAMP_TS(want->version), '@' + STAMP_CENTER(want->version),
					want->row.unique, STAMP_TS(want->row.big),
					'@' + STAMP_CENTER(want->row.big), (expected.visible & bit) != 0);
			return problem;
		}
	}
	return NULL;
}
