/*-------------------------------------------------------------------------
 *
 * merge_test.c
 *	  The merge table, tested without a server.
 *
 * NOTES
 *	  Goal: every cell of the table of design section 2, the order of versions,
 *	  and the promise itself: a center that remembers deletes ends in the same
 *	  state whatever the order in which changes arrive.  Method: a table of
 *	  cells, then all permutations of random sets of changes to one key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "core/merge.h"

#define CHANGES 5
#define SETS	20000

static int	ntests = 0;
static int	nfailed = 0;

/* One line of TAP. */
static void
ok(bool passed, const char *name)
{
	ntests++;
	nfailed += !passed;
	printf("%s %d - %s\n", passed ? "ok" : "not ok", ntests, name);
}

/* One cell of the table. */
typedef struct Cell
{
	const char *name;
	MergeOp		op;
	LocalKnowledge knowledge;
	int			age;			/* of the remote change: -1 older, 0 same, 1
								 * newer */
	bool		concurrent;
	Verdict		verdict;
	McConflictType conflict;
} Cell;

static const Cell cells[] = {
	{"insert over older row", MERGE_OP_INSERT, LOCAL_LIVE, 1, true, VERDICT_PUT, CONFLICT_INSERT_EXISTS},
	{"insert under newer row", MERGE_OP_INSERT, LOCAL_LIVE, -1, true, VERDICT_KEEP_LOCAL, CONFLICT_INSERT_EXISTS},
	{"insert over older tombstone", MERGE_OP_INSERT, LOCAL_TOMBSTONE, 1, true, VERDICT_PUT, CONFLICT_NONE},
	{"insert under newer tombstone", MERGE_OP_INSERT, LOCAL_TOMBSTONE, -1, true, VERDICT_KEEP_LOCAL, CONFLICT_INSERT_DELETED},
	{"insert of an unknown key", MERGE_OP_INSERT, LOCAL_NOTHING, 1, true, VERDICT_PUT, CONFLICT_NONE},
	{"update over older row", MERGE_OP_UPDATE, LOCAL_LIVE, 1, true, VERDICT_PUT, CONFLICT_UPDATE_ORIGIN_DIFFERS},
	{"update over a row it had seen", MERGE_OP_UPDATE, LOCAL_LIVE, 1, false, VERDICT_PUT, CONFLICT_NONE},
	{"update under newer row", MERGE_OP_UPDATE, LOCAL_LIVE, -1, true, VERDICT_KEEP_LOCAL, CONFLICT_UPDATE_ORIGIN_DIFFERS},
	{"update seen before", MERGE_OP_UPDATE, LOCAL_LIVE, 0, false, VERDICT_KEEP_LOCAL, CONFLICT_NONE},
	{"update over older tombstone", MERGE_OP_UPDATE, LOCAL_TOMBSTONE, 1, true, VERDICT_PUT, CONFLICT_UPDATE_DELETED},
	{"update under newer tombstone", MERGE_OP_UPDATE, LOCAL_TOMBSTONE, -1, true, VERDICT_KEEP_LOCAL, CONFLICT_UPDATE_DELETED},
	{"update of an unknown key", MERGE_OP_UPDATE, LOCAL_NOTHING, 1, true, VERDICT_PUT, CONFLICT_UPDATE_MISSING},
	{"delete of an older row", MERGE_OP_DELETE, LOCAL_LIVE, 1, true, VERDICT_DELETE, CONFLICT_DELETE_ORIGIN_DIFFERS},
	{"delete of a row it had seen", MERGE_OP_DELETE, LOCAL_LIVE, 1, false, VERDICT_DELETE, CONFLICT_NONE},
	{"delete of a newer row", MERGE_OP_DELETE, LOCAL_LIVE, -1, true, VERDICT_KEEP_LOCAL, CONFLICT_DELETE_RECENTLY_UPDATED},
	{"delete over older tombstone", MERGE_OP_DELETE, LOCAL_TOMBSTONE, 1, true, VERDICT_RECORD_TOMBSTONE, CONFLICT_NONE},
	{"delete under newer tombstone", MERGE_OP_DELETE, LOCAL_TOMBSTONE, -1, true, VERDICT_KEEP_LOCAL, CONFLICT_NONE},
	{"delete of an unknown key", MERGE_OP_DELETE, LOCAL_NOTHING, 1, true, VERDICT_RECORD_TOMBSTONE, CONFLICT_DELETE_MISSING},
};

/* Every cell of the table. */
static void
test_cells(void)
{
	for (int i = 0; i < lengthof(cells); i++)
	{
		MergeInput	input = {.op = cells[i].op,.local = {cells[i].knowledge, {100, 2}},
		.remote = {100 + cells[i].age, 2},
		.concurrent = cells[i].concurrent};
		MergeDecision decision = mc_merge_decide(&input);

		ok(decision.verdict == cells[i].verdict &&
		   decision.conflict == cells[i].conflict, cells[i].name);
	}
}

/* Time first, then the author; the base version is below all. */
static void
test_versions(void)
{
	RowVersion	base = {0, MC_NO_CENTER};
	RowVersion	early = {10, 3};
	RowVersion	tie_low = {20, 1};
	RowVersion	tie_high = {20, 2};

	ok(mc_version_compare(early, tie_low) < 0, "an earlier version is older");
	ok(mc_version_compare(tie_low, tie_high) < 0, "a tie goes by the author");
	ok(mc_version_compare(tie_high, tie_low) > 0, "and the other way round");
	ok(mc_version_compare(tie_low, tie_low) == 0, "a version equals itself");
	ok(mc_version_compare(base, early) < 0, "the base version is older than any");
}

/* What a center holds for one key. */
typedef struct Key
{
	LocalKnowledge knowledge;
	RowVersion	version;
} Key;

/* Apply a change as apply_row.c does, with deletes remembered. */
static void
apply_change(Key *key, MergeOp op, RowVersion version)
{
	MergeInput	input = {.op = op,.remote = version,
		.local = {key->knowledge, key->version},
	.concurrent = true};

	switch (mc_merge_decide(&input).verdict)
	{
		case VERDICT_KEEP_LOCAL:
		case VERDICT_QUARANTINE:
			return;
		case VERDICT_PUT:
			key->knowledge = LOCAL_LIVE;
			break;
		case VERDICT_DELETE:
		case VERDICT_RECORD_TOMBSTONE:
			key->knowledge = LOCAL_TOMBSTONE;
			break;
	}
	key->version = version;
}

/* Try all orders of the changes order[at..]; false if one ends elsewhere. */
static bool
all_orders_agree(const MergeOp *ops, const RowVersion *versions, int *order,
				 int at, Key *expected, bool *have_expected)
{
	if (at == CHANGES)
	{
		Key			key = {LOCAL_NOTHING, {0, MC_NO_CENTER}};

		for (int i = 0; i < CHANGES; i++)
			apply_change(&key, ops[order[i]], versions[order[i]]);
		if (!*have_expected)
			*expected = key;
		*have_expected = true;
		return key.knowledge == expected->knowledge &&
			mc_version_compare(key.version, expected->version) == 0;
	}
	for (int i = at; i < CHANGES; i++)
	{
		int			swap = order[at];
		bool		agree;

		order[at] = order[i];
		order[i] = swap;
		agree = all_orders_agree(ops, versions, order, at + 1, expected, have_expected);
		order[i] = order[at];
		order[at] = swap;
		if (!agree)
			return false;
	}
	return true;
}

/* Any order of arrival ends in the same state. */
static void
test_orders(void)
{
	uint64		state = 20261120;	/* the seed */
	bool		passed = true;

	for (int set = 0; set < SETS && passed; set++)
	{
		MergeOp		ops[CHANGES];
		RowVersion	versions[CHANGES];
		int			order[CHANGES];
		Key			expected;
		bool		have_expected = false;

		for (int i = 0; i < CHANGES; i++)
		{
			state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
			ops[i] = (MergeOp) ((state >> 33) % 3);

			/* Ties of the time on purpose; a version is used once. */
			versions[i].commit_ts = 100 + (state >> 40) % 3;
			versions[i].center = i + 1;
			order[i] = i;
		}
		passed = all_orders_agree(ops, versions, order, 0, &expected, &have_expected);
		if (!passed)
			printf("# set %d of seed 20261120 ends in two states\n", set);
	}
	ok(passed, "all orders of arrival end in the same state");
}

/* What is equal is decided by the order inside the transaction. */
static void
test_same_version(void)
{
	RowVersion	version = {100, 2};
	RowVersion	newer = {100, 3};
	MergeInput	input = {.op = MERGE_OP_INSERT,.remote = version,
		.local = {LOCAL_TOMBSTONE, version},
	.later = true};
	MergeState	state = {LOCAL_NOTHING, {0, MC_NO_CENTER}};

	ok(mc_merge_decide(&input).verdict == VERDICT_PUT,
	   "an insert after a delete of the same transaction");
	input.later = false;
	ok(mc_merge_decide(&input).verdict == VERDICT_KEEP_LOCAL,
	   "an insert that was seen before");

	mc_merge_observe(&state, LOCAL_LIVE, version);
	mc_merge_observe(&state, LOCAL_TOMBSTONE, version);
	ok(state.knowledge == LOCAL_LIVE, "a row stays beside a tombstone of its version");
	mc_merge_observe(&state, LOCAL_TOMBSTONE, newer);
	mc_merge_observe(&state, LOCAL_LIVE, version);
	ok(state.knowledge == LOCAL_TOMBSTONE, "the greatest version counts");

	ok(mc_merge_truncates(newer, version, false), "TRUNCATE kills what is older");
	ok(!mc_merge_truncates(version, newer, true), "and spares what is newer");
	ok(mc_merge_truncates(version, version, true), "it kills what its transaction put before");
	ok(!mc_merge_truncates(version, version, false), "and spares what that puts later");
	ok(mc_merge_drops_pending(version, version) && !mc_merge_drops_pending(version, newer),
	   "a write makes pending changes up to its version obsolete");
	ok(mc_merge_may_forget(version, 100) && !mc_merge_may_forget(version, 99),
	   "a tombstone may be forgotten at its time, and not before");
}

/* Rows 1 and 2 clash, and rows 0 and 1. */
static bool
neighbours_clash(int a, int b, void *context)
{
	return b == a + 1;
}

/* Who refreshes, and who is visible. */
static void
test_refreshes(void)
{
	RowVersion	version = {100, 2};
	RowVersion	older = {90, 3};
	MergeState	nothing = {LOCAL_NOTHING, {0, MC_NO_CENTER}};
	MergeState	live = {LOCAL_LIVE, version};
	MergeState	tombstone = {LOCAL_TOMBSTONE, version};
	MergeState	old_tombstone = {LOCAL_TOMBSTONE, older};
	bool		visible[3];

	ok(mc_merge_refresh(version, &nothing, false) == REFRESH_DROP, "a refresh creates nothing");
	ok(mc_merge_refresh(version, &nothing, true) == REFRESH_PUT, "a refresh completes what is pending");
	ok(mc_merge_refresh(version, &live, false) == REFRESH_OVERWRITE, "a refresh overwrites its version");
	ok(mc_merge_refresh(older, &live, true) == REFRESH_DROP, "a refresh loses to a newer row");
	ok(mc_merge_refresh(version, &tombstone, false) == REFRESH_DROP &&
	   mc_merge_refresh(version, &tombstone, true) == REFRESH_PUT,
	   "a tombstone of its transaction came before what is pending");
	ok(mc_merge_refresh(version, &old_tombstone, false) == REFRESH_DROP &&
	   mc_merge_refresh(version, &old_tombstone, true) == REFRESH_PUT &&
	   mc_merge_refresh(older, &tombstone, true) == REFRESH_DROP,
	   "an older delete says nothing of a newer one that is forgotten");
	ok(mc_merge_answers_request(&live, 2) && !mc_merge_answers_request(&live, 1) &&
	   !mc_merge_answers_request(&tombstone, 2), "the author of the row answers");
	ok(mc_merge_owes_refresh(&live, 2, older, false) &&
	   !mc_merge_owes_refresh(&live, 2, older, true) &&
	   !mc_merge_owes_refresh(&live, 1, older, false), "the author refreshes what had not been seen");

	mc_merge_visible(3, neighbours_clash, NULL, visible);
	ok(visible[0] && !visible[1] && visible[2], "a displaced row displaces nobody");
}

/* Every type has the name that the view shows. */
static void
test_names(void)
{
	ok(strcmp(mc_conflict_type_name(CONFLICT_UPDATE_ORIGIN_DIFFERS),
			  "update_origin_differs") == 0, "conflict types have names");
}

/* Run all tests; prints TAP. */
int
main(void)
{
	test_cells();
	test_versions();
	test_orders();
	test_same_version();
	test_refreshes();
	test_names();
	printf("1..%d\n", ntests);
	return nfailed ? 1 : 0;
}
