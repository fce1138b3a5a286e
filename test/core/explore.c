/*-------------------------------------------------------------------------
 *
 * explore.c
 *	  All schedules of small groups, and random ones of larger groups.
 *
 * NOTES
 *	  Goal: the rules of core/merge.c converge, whatever the order of commits
 *	  and deliveries, to what a single server would hold; and each of them is
 *	  needed.  Method: depth-first search over the states of a simulated group
 *	  (simulate.c), with the states that were seen in a hash table; random walks
 *	  for what is too large; the schedules that have broken earlier drafts of the
 *	  rules by name, with every order of what they leave open.  Then the same
 *	  again with one rule after the other broken, until each was noticed.
 *
 *	  Commits are tried in the order of their times, with ties.  Nothing is lost
 *	  by that: whoever has seen a commit has a later time, so any schedule can
 *	  be rearranged that way without a center noticing.  Where that rule itself
 *	  is broken, all times are tried.
 *
 *	  Hashes have 64 bits: of 10^7 states one is overlooked with a probability
 *	  of 3 in a million.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <time.h>

#include "simulate.h"
#include "tap.h"

#define MAX_EVENTS		4000

/* What is explored. */
typedef struct Scope
{
	const char *name;
	int			centers;
	int			keys;
	int			uniques;		/* values of the unique column; 0: all NULL */
	const char *kinds;			/* of operations, see simulate.h */
	int			commits;
	int			promises;
	bool		lazy;
} Scope;

static const Scope scopes[] = {
	{"4 transactions, 2 keys, a unique column", 3, 2, 2, "iudC", 4},
	{"4 transactions, 3 keys, an exclusion constraint", 3, 3, 3, "id", 4},
	{"4 transactions, 1 key, out-of-line values", 3, 1, 0, "iumdr", 4},
	{"3 transactions, 2 keys, everything", 3, 2, 2, "iumdctTXrw", 3},
	{"4 transactions, 2 keys, TRUNCATE", 3, 2, 0, "idtT", 4},
	{"3 transactions, 1 key, 3 promises", 3, 1, 0, "id", 3, 3},
};

static const Scope walks[] = {
	{"3 centers, everything", 3, 3, 3, "iiiuummmdccttTXrwss", 8, 6, true},
	{"4 centers, everything", 4, 3, 3, "iiiuummmdccttTXrwss", 8, 6, true},
	{"3 centers, one key with out-of-line values", 3, 1, 0, "iummmmdr", 7, 4},
	{"4 centers, key changes", 4, 3, 0, "iiummmcccdss", 7, 0},
	{"4 centers, unique values", 4, 3, 3, "iiiuudrcw", 8, 4, true},
};

/* The schedules that broke earlier drafts, from the model of the rules. */
typedef struct Named
{
	const char *name;
	const char *events;
} Named;

static const Named named[] = {
	{"TRUNCATE; INSERT in one transaction", "A:i0 A>>B A>>C A:T1"},
	{"INSERT; TRUNCATE; INSERT in one transaction", "A:X1 B:i0"},
	{"TRUNCATE at the time of an insert elsewhere", "A:i0@1 B:t0@1 C:i0@1"},
	{"a loser was deleted before its winner arrives", "C:i11@1 C:d1@2 B:i01@1 C>B"},
	{"a chain of unique values", "A:i01@1 B:i11@2 B>C B>C C:u12@3 A:i12@3"},
	{"a swap of unique values", "A:i01 A:i12 A>>B A>>C A:w0 B:u00"},
	{"a marker overtakes the value that it leaves alone", "A:i0 A>>B A>>C A:u0 A>>B B:m0"},
	{"a marker and a value side by side", "A:i0 A>>B A>>C A:u0 B:m0 C:m0"},
	{"a marker and a value side by side, the marker newer", "A:i0 A>>B A>>C B:u0 A:m0 C:m0"},
	{"a marker whose row is truncated before it comes", "A:i0@1 A:m0@2 C:t0@1"},
	{"a key change out of a row that lost", "B:i0@1 B:c0@2 C:i0@1"},
	{"a vector that covers what is pending", "A:i0 A>>B A>>C A:u0 A>>B B:m0 B>>C C:m0"},
	{"a row of somebody else at the author's version", "A:i0 A>>B A>>C A:u0 B:m0 B>>C"},
	{"purged by one that had not seen the insert", "C:i0@1 C>B B:d0@2 A! B!"},
	{"a late refresh after a purge", "C:i0@1 C>>A C>>B C:m0@2 A:u0@2 A>>C B:d0@3 A! B! C!"},
	{"a key change against an update of the old key", "A:i0 A>>B A>>C A:c0 B:m0"},
	{"a key change against an insert of the new key", "A:i0 A>>B A>>C A:c0 B:i1 C:i1"},
	{"a swap of keys against updates of both", "A:i0 A:i1 A>>B A>>C A:s0 B:m0 C:m1"},
	{"exact ties on three centers", "A:i01@1 B:i01@1 C:i01@1"},
	{"insert, update and delete by three centers", "A:i0 A>>B A>>C A:m0 B:d0 C:u0"},
};

/* One step of a schedule, to be printed when it fails. */
typedef struct Event
{
	char		kind;			/* ':' commit, '>' delivery, '!' promise, '.'
								 * displaced rows come back */
	uint8		center;
	uint8		to;
	uint8		ts;
	SimOperation operation;
} Event;

static Event events[MAX_EVENTS];
static int	nevents;
static char problem_seen[256];

/* The states that were seen: an open hash table of their hashes. */
static uint64 *seen;
static uint64 seen_size;
static uint64 seen_count;
static uint64 seen_limit;
static uint64 quiet_count;
static bool silent;				/* a failure is what is looked for */

/* Forget all states. */
static void
forget_states(uint64 limit)
{
	free(seen);
	seen_size = 1 << 16;
	seen = calloc(seen_size, sizeof(uint64));
	seen_count = 0;
	seen_limit = limit;
	quiet_count = 0;
	nevents = 0;
}

/* Is this state new? */
static bool
is_new(uint64 hash)
{
	uint64		at;

	if (seen_count * 2 > seen_size)
	{
		uint64	   *old = seen;
		uint64		old_size = seen_size;

		seen_size *= 4;
		seen = calloc(seen_size, sizeof(uint64));
		for (uint64 i = 0; i < old_size; i++)
		{
			if (old[i] == 0)
				continue;
			for (at = old[i] % seen_size; seen[at] != 0; at = (at + 1) % seen_size)
				;
			seen[at] = old[i];
		}
		free(old);
	}
	for (at = hash % seen_size; seen[at] != 0; at = (at + 1) % seen_size)
	{
		if (seen[at] == hash)
			return false;
	}
	seen[at] = hash;
	seen_count++;
	return true;
}

/* Carry out an event. */
static void
happen(SimState *state, Event event)
{
	if (nevents == MAX_EVENTS)
	{
		printf("Bail out! a schedule is too long\n");
		exit(1);
	}
	events[nevents++] = event;
	if (event.kind == ':')
		sim_commit(state, event.center, event.operation, event.ts);
	else if (event.kind == '>')
		sim_deliver(state, event.center, event.to);
	else if (event.kind == '!')
		sim_promise(state, event.center);
	else
		sim_settle(state, event.center);
}

/* A quiet state: right?  Otherwise the schedule is printed. */
static bool
check_quiet(const SimState *state)
{
	const char *problem = sim_problem(state);

	quiet_count++;
	if (problem == NULL)
		return true;
	strlcpy(problem_seen, problem, sizeof(problem_seen));
	if (silent)
		return false;
	diag("%s", problem);
	for (int i = 0; i < nevents; i++)
	{
		const Event *event = &events[i];

		if (event->kind == ':')
			diag("  %c:%c%d%d@%d", 'A' + event->center, event->operation.kind,
				 event->operation.key, event->operation.unique, event->ts);
		else if (event->kind == '>')
			diag("  %c>%c", 'A' + event->center, 'A' + event->to);
		else
			diag("  %c%c", 'A' + event->center, event->kind);
	}
	return false;
}

/* The earliest time at which a center may commit, with times in order. */
static int
first_time(const SimState *state, int center)
{
	int			floor = state->centers[center].floor;

	if (sim_mutant == MUTANT_NO_FLOOR)
		return 1;
	return Max(state->latest, floor + 1);
}

static bool explore(const SimState *state, const Scope *scope);

/*
 * Where no center sends anything but its commits, what happens at one center
 * does not matter for the others until it commits: it is enough to let one
 * center receive and then commit, and in the end one after the other receive
 * the rest.  Where there are markers there are requests and refreshes.
 */
static bool
one_by_one(const Scope *scope)
{
	return scope->commits > 0 && strpbrk(scope->kinds, "mcs") == NULL;
}

/* Is it a center's turn? */
static bool
has_turn(const SimState *state, int center)
{
	return !state->ended &&
		(state->active == 0 || state->active == center + 1);
}

/* Go on with one more event on a copy. */
static bool
explore_event(const SimState *state, const Scope *scope, Event event)
{
	SimState	next;
	bool		passed;

	sim_copy(&next, state);
	happen(&next, event);
	if (one_by_one(scope) && !state->ended)
		next.active = event.kind == '>' ? event.to + 1 : 0;
	passed = explore(&next, scope);
	nevents--;
	return passed;
}

/* Go on with all commits of one kind at a center. */
static bool
explore_commits(const SimState *state, const Scope *scope, int center, char kind)
{
	bool		chooses = strchr("iurTX", kind) != NULL && scope->uniques > 0;

	for (int key = 0; key < scope->keys; key++)
	{
		for (int unique = chooses; unique <= (chooses ? scope->uniques : 0); unique++)
		{
			Event		event = {':', center, 0, 0, {kind, key, unique}};

			/* The names of keys and values do not matter. */
			if (state->commits == 0 && (key > 0 || unique > 1) && kind != 'X')
				continue;
			if (strchr("tw", kind) && key > 0)
				continue;
			if (!sim_possible(state, center, event.operation))
				continue;
			for (event.ts = first_time(state, center);
				 event.ts <= state->latest + 1; event.ts++)
			{
				if (!explore_event(state, scope, event))
					return false;
			}
		}
	}
	return true;
}

/* Go on with all deliveries to a center. */
static bool
explore_deliveries(const SimState *state, const Scope *scope, int to)
{
	for (int from = 0; from < state->ncenters; from++)
	{
		Event		event = {'>', from, to};

		if (sim_can_deliver(state, from, to) &&
			!explore_event(state, scope, event))
			return false;
	}
	return true;
}

/* Let one center after the other receive what is left. */
static bool
explore_end(const SimState *state, const Scope *scope)
{
	SimState	next;

	if (!state->ended)
	{
		if (state->active != 0)
			return true;
		sim_copy(&next, state);
		next.ended = true;
		return explore(&next, scope);
	}
	for (int to = 0; to < state->ncenters; to++)
	{
		for (int from = 0; from < state->ncenters; from++)
		{
			if (sim_can_deliver(state, from, to))
				return explore_deliveries(state, scope, to);
		}
	}
	return true;
}

/* Everything that can follow a state; false if something goes wrong. */
static bool
explore(const SimState *state, const Scope *scope)
{
	if (seen_limit != 0 && seen_count >= seen_limit)
		return true;
	if (!is_new(sim_hash(state)))
		return true;
	if (sim_quiet(state) && !check_quiet(state))
		return false;

	if (one_by_one(scope) && !explore_end(state, scope))
		return false;
	for (int to = 0; to < state->ncenters; to++)
	{
		if (has_turn(state, to) && !explore_deliveries(state, scope, to))
			return false;
	}
	for (int center = 0; center < state->ncenters; center++)
	{
		Event		promise = {'!', center};

		if (!has_turn(state, center))
			continue;
		if (state->promises < scope->promises && state->commits > 0 &&
			!explore_event(state, scope, promise))
			return false;
		if (state->commits >= scope->commits)
			continue;
		for (const char *kind = scope->kinds; *kind; kind++)
		{
			if (!explore_commits(state, scope, center, *kind))
				return false;
		}
	}
	return true;
}

/* All schedules of a scope. */
static bool
explore_scope(const Scope *scope, uint64 limit)
{
	SimState	state;

	forget_states(limit);
	sim_start(&state, scope->centers, scope->keys, scope->lazy);
	return explore(&state, scope);
}

/* All orders of what a named schedule leaves open. */
static bool
explore_named(const Named *schedule)
{
	static const Scope deliveries = {.kinds = ""};
	SimState	state;

	forget_states(0);
	sim_start(&state, 3, 3, false);
	for (const char *at = schedule->events; *at;)
	{
		Event		event = {at[1], at[0] - 'A'};
		bool		all = false;

		at += 2;
		if (event.kind == '>')
		{
			all = *at == '>';
			at += all;
			event.to = *at++ - 'A';
		}
		else if (event.kind == ':')
		{
			event.operation.kind = *at++;
			event.operation.key = *at++ - '0';
			if (*at >= '0' && *at <= '9')
				event.operation.unique = *at++ - '0';
			event.ts = state.latest + 1;
			if (*at == '@')
			{
				event.ts = at[1] - '0';
				at += 2;
			}
			if (!sim_possible(&state, event.center, event.operation))
				return ok(false, "the schedule \"%s\" is possible", schedule->name);
		}
		do
		{
			if (event.kind != '>' || sim_can_deliver(&state, event.center, event.to))
				happen(&state, event);
		} while (all && sim_can_deliver(&state, event.center, event.to));
		while (*at == ' ')
			at++;
	}
	return explore(&state, &deliveries);
}

/* A random number below a limit. */
static uint32
any(uint64 *random, uint32 limit)
{
	*random = *random * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	return (*random >> 33) % limit;
}

/* A commit of anything that is possible, at a possible time. */
static void
walk_commit(SimState *state, const Scope *scope, uint64 *random)
{
	Event		event = {':', any(random, scope->centers)};
	int			first = first_time(state, event.center);

	event.operation.kind = scope->kinds[any(random, strlen(scope->kinds))];
	event.operation.key = any(random, scope->keys);
	if (strchr("iurTX", event.operation.kind))
		event.operation.unique = any(random, scope->uniques + 1);
	event.ts = first + any(random, Max(state->latest + 2 - first, 1));
	if (sim_possible(state, event.center, event.operation))
		happen(state, event);
}

/* One random schedule. */
static bool
walk_once(const Scope *scope, uint64 seed)
{
	uint64		random = seed * UINT64CONST(0x9E3779B97F4A7C15);
	uint32		blocked = 0;
	SimState	state;

	nevents = 0;
	sim_start(&state, scope->centers, scope->keys, scope->lazy);
	for (int i = 0; i < 3; i++)
		blocked |= 1 << any(&random, SIM_CENTERS * SIM_CENTERS);
	while (state.commits < scope->commits || !sim_quiet(&state))
	{
		uint32		dice = any(&random, 100);
		Event		event = {'>', any(&random, scope->centers), any(&random, scope->centers)};

		if (state.commits >= scope->commits || dice == 0)
			blocked = 0;
		if (dice < 25 && state.commits < scope->commits)
			walk_commit(&state, scope, &random);
		else if (dice < 30 && state.promises < scope->promises)
		{
			event.kind = '!';
			happen(&state, event);
		}
		else if (dice < 33 && scope->lazy)
		{
			event.kind = '.';
			happen(&state, event);
		}
		else if (sim_can_deliver(&state, event.center, event.to) &&
				 !(blocked >> (event.center * SIM_CENTERS + event.to) & 1))
			happen(&state, event);
	}
	return check_quiet(&state);
}

/* Many random schedules. */
static bool
walk(const Scope *scope, uint64 schedules)
{
	for (uint64 seed = 1; seed <= schedules; seed++)
	{
		if (!walk_once(scope, seed))
		{
			if (!silent)
				diag("seed %llu", (unsigned long long) seed);
			return false;
		}
	}
	return true;
}

/* The rules that are broken, by name. */
static const char *const mutants[] = {
	[MUTANT_NONE] = "nothing",
	[MUTANT_TIE_OMITTED] = "ties go to who is there",
	[MUTANT_TIE_BY_DECIDER] = "ties go by the number of the center that decides",
	[MUTANT_EQUAL_IS_OLD] = "a later change of the same transaction is taken for seen",
	[MUTANT_EQUAL_TRUNCATES] = "TRUNCATE kills the rows of its own transaction",
	[MUTANT_TRUNCATE_SPARES_EARLIER] = "TRUNCATE spares all rows of its own transaction",
	[MUTANT_TRUNCATE_FORGOTTEN] = "TRUNCATE is not remembered",
	[MUTANT_TRUNCATE_ALL] = "TRUNCATE kills newer rows",
	[MUTANT_DELETE_ALWAYS] = "a delete kills newer rows",
	[MUTANT_DELETE_NOT_RECORDED] = "a delete of an unknown key is not remembered",
	[MUTANT_DELETE_FORGOTTEN] = "no delete is remembered",
	[MUTANT_TOMBSTONE_NOT_RAISED] = "a newer delete does not raise a tombstone",
	[MUTANT_INSERT_OVER_TOMBSTONE] = "an insert goes over a newer tombstone",
	[MUTANT_UPDATE_NEEDS_ROW] = "an update of a missing row is skipped",
	[MUTANT_UPDATE_ALWAYS] = "an update goes over anything",
	[MUTANT_INSERT_KEEPS] = "an insert leaves an existing row alone",
	[MUTANT_FILL_UNCOVERED] = "a marker is filled before its causes are here",
	[MUTANT_FILL_UNSEEN] = "a marker is filled from a row that it had not seen",
	[MUTANT_FILL_KEY_CHANGE] = "a marker of a key change is filled from the new key",
	[MUTANT_FILL_OVER_PENDING] = "a marker is filled although an older one is pending",
	[MUTANT_NO_REQUEST] = "requests are not answered",
	[MUTANT_ANYBODY_ANSWERS] = "anybody answers a request",
	[MUTANT_REFRESH_EQUAL_IGNORED] = "a refresh of an equal version is ignored",
	[MUTANT_REFRESH_CREATES] = "a refresh creates rows",
	[MUTANT_REFRESH_ALWAYS] = "a refresh goes over newer rows",
	[MUTANT_REFRESH_OVER_SWAP] = "a refresh is dropped under a tombstone of its transaction",
	[MUTANT_PENDING_STAYS] = "nothing makes a pending change obsolete",
	[MUTANT_PENDING_DROPPED] = "an older write drops pending changes",
	[MUTANT_CLASH_ARRIVAL] = "a clash goes to who was first",
	[MUTANT_CLASH_INVISIBLE] = "a displaced row displaces others",
	[MUTANT_CLASH_TOMBSTONE] = "the loser of a clash is deleted",
	[MUTANT_CLASH_STAYS_AWAY] = "displaced rows do not come back",
	[MUTANT_PURGE_ON_DELIVERY] = "a tombstone goes when every center has it",
	[MUTANT_PURGE_ONE_PROMISE] = "a tombstone goes on one promise",
	[MUTANT_NO_FLOOR] = "clocks do not respect what was seen",
	[MUTANT_OWES_NOTHING] = "nobody refreshes unasked",
};

/* Look for a schedule that goes wrong while a rule is broken. */
static const char *
find_failure(void)
{
	for (int i = 0; i < lengthof(named); i++)
	{
		if (!explore_named(&named[i]))
			return named[i].name;
	}
	for (int i = 0; i < lengthof(walks); i++)
	{
		if (!walk(&walks[i], 20000))
			return walks[i].name;
	}
	for (int i = 0; i < lengthof(scopes); i++)
	{
		if (!explore_scope(&scopes[i], 200000))
			return scopes[i].name;
	}
	return NULL;
}

/* Break every rule. */
static void
test_mutants(void)
{
	silent = true;
	for (sim_mutant = MUTANT_NONE + 1; sim_mutant <= MUTANT_LAST; sim_mutant++)
	{
		const char *found = find_failure();

		ok(found != NULL, "exploration catches: %s", mutants[sim_mutant]);
		if (found)
			diag("by \"%s\": %s", found, problem_seen);
	}
	sim_mutant = MUTANT_NONE;
	silent = false;
}

/* Run all tests; prints TAP. */
int
main(void)
{
	clock_t		begun;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < lengthof(named); i++)
		ok(explore_named(&named[i]), "every order of: %s", named[i].name);
	for (int i = 0; i < lengthof(walks); i++)
	{
		begun = clock();
		ok(walk(&walks[i], 200000), "random schedules: %s", walks[i].name);
		diag("200000 schedules, %.1f s", (double) (clock() - begun) / CLOCKS_PER_SEC);
	}
	for (int i = 0; i < lengthof(scopes); i++)
	{
		begun = clock();
		ok(explore_scope(&scopes[i], 0), "all schedules: %s", scopes[i].name);
		diag("%llu states, %llu of them quiet, %.1f s", (unsigned long long) seen_count,
			 (unsigned long long) quiet_count, (double) (clock() - begun) / CLOCKS_PER_SEC);
	}
	test_mutants();
	return done_testing();
}
