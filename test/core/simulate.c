/*-------------------------------------------------------------------------
 *
 * simulate.c
 *	  A group of centers in a few hundred bytes, driven by core/merge.c.
 *
 * NOTES
 *	  A center holds what design section 2 says: for each key the greatest
 *	  version, live or deleted, the newest TRUNCATE, and changes that are not
 *	  complete.  It decides nothing itself: see rules.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "rules.h"

/* Append to what a center sends. */
static SimEntry *
send_entry(SimState *state, int center, EntryKind kind)
{
	SimEntry   *entry = &state->entries[center][state->length[center]];

	if (state->length[center] >= SIM_ENTRIES)
	{
		printf("Bail out! the simulated stream is too short\n");
		exit(1);
	}
	memset(entry, 0, sizeof(SimEntry));
	state->length[center]++;
	state->centers[center].applied[center] = state->length[center];
	entry->kind = kind;
	return entry;
}

/* Send our row to everybody, at its version. */
static void
send_refresh(SimState *state, int center, int key)
{
	SimEntry   *entry = send_entry(state, center, ENTRY_REFRESH);
	SimKey	   *local = &state->centers[center].keys[key];

	entry->version = local->version;
	entry->neffects = 1;
	entry->effects[0].key = key;
	entry->effects[0].row = local->row;
}

/* The effect that is pending. */
const SimEffect *
sim_pending_effect(const SimState *state, const SimPending *pending)
{
	return &state->entries[pending->origin][pending->entry].effects[pending->effect];
}

/* The version of the effect that is pending. */
static Stamp
pending_version(const SimState *state, const SimPending *pending)
{
	return state->entries[pending->origin][pending->entry].version;
}

/* Forget a pending change. */
static void
remove_pending(SimCenter *here, int i)
{
	here->npending--;
	memmove(&here->pending[i], &here->pending[i + 1],
			sizeof(SimPending) * (here->npending - i));
	memset(&here->pending[here->npending], 0, sizeof(SimPending));
}

/*
 * Something was written under a key: drop what is obsolete.  Returns the
 * greatest version that was dropped, or 0.
 */
static Stamp
drop_pending(SimState *state, int center, int key, Stamp written)
{
	SimCenter  *here = &state->centers[center];
	Stamp		dropped = 0;

	for (int i = here->npending - 1; i >= 0; i--)
	{
		Stamp		version = pending_version(state, &here->pending[i]);

		if (sim_pending_effect(state, &here->pending[i])->key == key &&
			rule_drops_pending(written, version))
		{
			remove_pending(here, i);
			dropped = Max(dropped, version);
		}
	}
	return dropped;
}

/* Write a row or tombstone under a key; returns what drop_pending() does. */
static Stamp
write_key(SimState *state, int center, int key, LocalKnowledge knowledge,
		  Stamp version, const SimRow *row)
{
	SimKey	   *local = &state->centers[center].keys[key];

	memset(local, 0, sizeof(SimKey));
	local->knowledge = knowledge;
	local->version = version;
	if (row)
		local->row = *row;
	if (sim_mutant == MUTANT_DELETE_FORGOTTEN && knowledge == LOCAL_TOMBSTONE)
		memset(local, 0, sizeof(SimKey));
	return drop_pending(state, center, key, version);
}

/* Carry out a TRUNCATE, of ours or of another center. */
static void
write_truncate(SimState *state, int center, Stamp version)
{
	SimCenter  *here = &state->centers[center];

	for (int key = 0; key < state->nkeys; key++)
	{
		if (here->keys[key].knowledge != LOCAL_NOTHING &&
			rule_truncates(version, here->keys[key].version))
			memset(&here->keys[key], 0, sizeof(SimKey));
	}
	for (int i = here->npending - 1; i >= 0; i--)
	{
		if (rule_truncates(version, pending_version(state, &here->pending[i])))
			remove_pending(here, i);
	}
	if (here->truncation == 0 ||
		mc_version_compare(sim_version(version), sim_version(here->truncation)) > 0)
		here->truncation = version;
}

/* Is everything applied here that a transaction had seen? */
static bool
covered(const SimState *state, int center, const SimEntry *entry)
{
	for (int i = 0; i < state->ncenters; i++)
	{
		if (state->centers[center].applied[i] < entry->vector[i])
			return false;
	}
	return true;
}

/* Had a transaction of a center seen a version, or is it of the same center? */
static bool
seen_by(const SimState *state, int origin, const SimEntry *entry, Stamp version)
{
	int			author = STAMP_CENTER(version) - 1;

	if (author < 0 || author == origin)
		return true;
	for (int i = 0; i < entry->vector[author]; i++)
	{
		if (state->entries[author][i].kind == ENTRY_TRANSACTION &&
			state->entries[author][i].version == version)
			return true;
	}
	return false;
}

/* Keep a change until it is complete. */
static void
add_pending(SimState *state, int center, SimPending pending)
{
	SimCenter  *here = &state->centers[center];

	if (here->npending >= SIM_PENDING)
	{
		printf("Bail out! too many simulated pending changes\n");
		exit(1);
	}
	here->pending[here->npending++] = pending;
}

/* Ask the author of a pending change for its row, once. */
static void
request_row(SimState *state, int center, SimPending *pending)
{
	SimEntry   *entry;

	if (pending->requested)
		return;
	pending->requested = true;
	entry = send_entry(state, center, ENTRY_REQUEST);
	entry->to = pending->origin;
	entry->neffects = 1;
	entry->effects[0].key = sim_pending_effect(state, pending)->key;
}

/* What is to be done with a change without its big value that has won. */
static MarkerVerdict
judge_marker(const SimState *state, int center, const SimPending *change,
			 const MergeState *local)
{
	const SimCenter *here = &state->centers[center];
	const SimEntry *entry = &state->entries[change->origin][change->entry];
	const SimEffect *effect = sim_pending_effect(state, change);
	MarkerInput input = {
		.causes_applied = covered(state, center, entry),
		.local_live = local->knowledge == LOCAL_LIVE,
		.key_changed = effect->key_changed,
	};

	input.local_seen = seen_by(state, change->origin, entry,
							   sim_stamp(local->version));
	for (int i = 0; i < here->npending; i++)
	{
		const SimPending *other = &here->pending[i];

		if (other == change || sim_pending_effect(state, other)->key != effect->key)
			continue;
		input.older_pending |=
			mc_version_compare(sim_version(pending_version(state, other)),
							   sim_version(entry->version)) < 0 ||
			(pending_version(state, other) == entry->version &&
			 other->effect < change->effect);
	}
	return rule_decide_marker(input);
}

/*
 * Apply one change, for the first time or again.  Returns false if it is to
 * be pending.
 */
static bool
apply_effect(SimState *state, int center, SimPending *change)
{
	SimCenter  *here = &state->centers[center];
	const SimEntry *entry = &state->entries[change->origin][change->entry];
	SimEffect	effect = *sim_pending_effect(state, change);
	MergeState	local = rule_look_up(here, effect.key);
	MergeInput	input = {
		.op = (MergeOp) effect.kind,
		.remote = sim_version(entry->version),
		.local = local,
		.concurrent = true,
		.later = local.version.commit_ts != 0,
	};

	switch (rule_decide(input, center))
	{
		case VERDICT_QUARANTINE:
		case VERDICT_KEEP_LOCAL:
			if (effect.marker && rule_owes_refresh(&local, center, entry->version))
				send_refresh(state, center, effect.key);
			break;
		case VERDICT_DELETE:
		case VERDICT_RECORD_TOMBSTONE:
			write_key(state, center, effect.key, LOCAL_TOMBSTONE, entry->version, NULL);
			break;
		case VERDICT_PUT:
			if (effect.marker)
			{
				MarkerVerdict verdict = judge_marker(state, center, change, &local);

				if (verdict == MARKER_REQUEST)
					request_row(state, center, change);
				if (verdict != MARKER_FILL)
					return false;
				effect.row.big = here->keys[effect.key].row.big;
			}
			write_key(state, center, effect.key, LOCAL_LIVE, entry->version, &effect.row);
			break;
	}
	return true;
}

/* Try the pending changes again until nothing moves. */
static void
retry_pending(SimState *state, int center)
{
	SimCenter  *here = &state->centers[center];

	for (int i = 0; i < here->npending; i++)
	{
		SimPending	change = here->pending[i];

		if (!apply_effect(state, center, &here->pending[i]))
			continue;

		/* Writing it has dropped it, unless the local state was newer. */
		for (int j = 0; j < here->npending; j++)
		{
			if (here->pending[j].origin == change.origin &&
				here->pending[j].entry == change.entry &&
				here->pending[j].effect == change.effect)
				remove_pending(here, j);
		}
		i = -1;
	}
}

/* Apply the changes of a transaction. */
static void
apply_transaction(SimState *state, int center, int origin, int at)
{
	const SimEntry *entry = &state->entries[origin][at];
	bool		truncated = false;

	for (int i = 0; i < entry->neffects; i++)
	{
		SimPending	change = {origin, at, i, false};

		if (entry->effects[i].kind == EFFECT_TRUNCATE)
			write_truncate(state, center, entry->version);
		else if (!apply_effect(state, center, &change))
			add_pending(state, center, change);
		truncated |= entry->effects[i].kind == EFFECT_TRUNCATE;
	}
	if (truncated && sim_mutant == MUTANT_EQUAL_TRUNCATES)
		write_truncate(state, center, entry->version);
}

/* Apply a whole row from the author of its version. */
static void
apply_refresh(SimState *state, int center, const SimEntry *entry)
{
	SimCenter  *here = &state->centers[center];
	int			key = entry->effects[0].key;
	MergeState	local = rule_look_up(here, key);
	bool		pending = false;

	for (int i = 0; i < here->npending; i++)
		pending |= sim_pending_effect(state, &here->pending[i])->key == key;
	switch (rule_decide_refresh(entry->version, &local, pending))
	{
		case REFRESH_PUT:
		case REFRESH_OVERWRITE:
			write_key(state, center, key, LOCAL_LIVE, entry->version,
					  &entry->effects[0].row);
			break;
		case REFRESH_DROP:
			if (rule_owes_refresh(&local, center, entry->version))
				send_refresh(state, center, key);
			break;
	}
}

/* Forget what may be forgotten. */
static void
purge(SimState *state, int center)
{
	SimCenter  *here = &state->centers[center];

	for (int key = 0; key < state->nkeys; key++)
	{
		if (here->keys[key].knowledge == LOCAL_TOMBSTONE &&
			rule_may_forget(state, center, here->keys[key].version))
			memset(&here->keys[key], 0, sizeof(SimKey));
	}
	if (here->truncation != 0 && rule_may_forget(state, center, here->truncation))
		here->truncation = 0;
}

/* Nothing has happened yet. */
void
sim_start(SimState *state, int ncenters, int nkeys, bool lazy)
{
	memset(state, 0, sizeof(SimState));
	state->ncenters = ncenters;
	state->nkeys = nkeys;
	state->lazy = lazy;
}

/* Is there something on the way between two centers? */
bool
sim_can_deliver(const SimState *state, int from, int to)
{
	return from != to &&
		state->centers[to].applied[from] < state->length[from];
}

/* Apply the next thing that a center has sent at another one. */
void
sim_deliver(SimState *state, int from, int to)
{
	SimCenter  *here = &state->centers[to];
	int			at = here->applied[from];
	SimEntry	entry = state->entries[from][at];
	MergeState	local;

	here->applied[from]++;
	if (entry.kind == ENTRY_TRANSACTION || entry.kind == ENTRY_REFRESH)
		here->floor = Max(here->floor, STAMP_TS(entry.version));
	switch ((EntryKind) entry.kind)
	{
		case ENTRY_TRANSACTION:
			apply_transaction(state, to, from, at);
			break;
		case ENTRY_REQUEST:
			local = rule_look_up(here, entry.effects[0].key);
			if (entry.to == to && rule_answers_request(&local, to))
				send_refresh(state, to, entry.effects[0].key);
			break;
		case ENTRY_REFRESH:
			apply_refresh(state, to, &entry);
			break;
		case ENTRY_PROMISE:
			here->promised[from] = STAMP_TS(entry.version);
			break;
	}
	retry_pending(state, to);
	rule_find_visible(here, state->nkeys);
	if (state->promises > 0 || sim_mutant == MUTANT_PURGE_ON_DELIVERY)
		purge(state, to);
}

/* Promise to commit nothing up to now any more. */
void
sim_promise(SimState *state, int center)
{
	SimEntry   *entry = send_entry(state, center, ENTRY_PROMISE);

	state->centers[center].floor = Max(state->centers[center].floor, state->latest);
	entry->version = STAMP(state->centers[center].floor, sim_center_id(center));
	state->promises++;
}

/* Let displaced rows come back. */
void
sim_settle(SimState *state, int center)
{
	rule_find_visible(&state->centers[center], state->nkeys);
}

/* Has everything arrived everywhere? */
bool
sim_quiet(const SimState *state)
{
	for (int from = 0; from < state->ncenters; from++)
	{
		for (int to = 0; to < state->ncenters; to++)
		{
			if (sim_can_deliver(state, from, to))
				return false;
		}
	}
	return true;
}

/* Does no visible row but that of a key clash with a unique value? */
bool
sim_unique_is_free(const SimCenter *here, int nkeys, int except, uint8 unique)
{
	for (int key = 0; key < nkeys; key++)
	{
		if (key != except && (here->visible >> key & 1) &&
			(here->keys[key].row.unique & unique) != 0)
			return false;
	}
	return true;
}

/* Would the database of a center accept this now? */
bool
sim_possible(const SimState *state, int center, SimOperation operation)
{
	const SimCenter *here = &state->centers[center];
	int			key = operation.key;
	bool		is_free = sim_unique_is_free(here, state->nkeys, key, operation.unique);

#define VISIBLE(key)	((here->visible >> (key) & 1) != 0)
	switch (operation.kind)
	{
		case 'i':
			return !VISIBLE(key) && is_free;
		case 'u':
		case 'r':
			return VISIBLE(key) && is_free;
		case 'm':
		case 'd':
			return VISIBLE(key);
		case 'c':
		case 'C':
			return VISIBLE(key) && !VISIBLE((key + 1) % state->nkeys);
		case 'X':
			return !VISIBLE(0) && key != 0;
		case 'w':
			return VISIBLE(0) && VISIBLE(1) && key == 0;
		case 's':
			return VISIBLE(0) && VISIBLE(1) && !VISIBLE(2) && key == 0;
		default:
			return true;
	}
#undef VISIBLE
}

/* Add a put to a transaction. */
static void
add_put(SimEntry *entry, EffectKind kind, int key, SimRow row, bool marker,
		bool key_changed)
{
	SimEffect  *effect = &entry->effects[entry->neffects++];

	effect->kind = kind;
	effect->key = key;
	effect->marker = marker;
	effect->key_changed = key_changed;
	effect->row = row;
	effect->row.small = entry->version;
	if (!marker)
		effect->row.big = entry->version;
}

/* Add a delete or TRUNCATE to a transaction. */
static void
add_removal(SimEntry *entry, EffectKind kind, int key)
{
	SimEffect  *effect = &entry->effects[entry->neffects++];

	effect->kind = kind;
	effect->key = key;
}

/* Add the move of a row to another key, which puts and deletes. */
static void
add_move(SimEntry *entry, SimRow row, int from, int to, bool marker)
{
	add_put(entry, EFFECT_UPDATE, to, row, marker, true);
	add_removal(entry, EFFECT_DELETE, from);
}

/* Write down the changes of a transaction. */
static void
fill_transaction(const SimState *state, const SimCenter *here,
				 SimOperation operation, SimEntry *entry)
{
	int			key = operation.key;
	SimRow		row = {operation.unique, 0, 0};
	SimRow		first = here->keys[0].row;
	SimRow		second = here->keys[1].row;

	switch (operation.kind)
	{
		case 'X':
			add_put(entry, EFFECT_INSERT, 0, row, false, false);
			/* FALLTHROUGH */
		case 'T':
		case 't':
			add_removal(entry, EFFECT_TRUNCATE, 0);
			if (operation.kind == 't')
				break;
			/* FALLTHROUGH */
		case 'i':
			add_put(entry, EFFECT_INSERT, key, row, false, false);
			break;
		case 'u':
			add_put(entry, EFFECT_UPDATE, key, row, false, false);
			break;
		case 'm':
			add_put(entry, EFFECT_UPDATE, key, here->keys[key].row, true, false);
			break;
		case 'r':
			add_removal(entry, EFFECT_DELETE, key);
			add_put(entry, EFFECT_INSERT, key, row, false, false);
			break;
		case 'd':
			add_removal(entry, EFFECT_DELETE, key);
			break;
		case 'c':
		case 'C':
			add_move(entry, here->keys[key].row, key, (key + 1) % state->nkeys,
					 operation.kind == 'c');
			break;
		case 'w':
			row.unique = second.unique;
			add_put(entry, EFFECT_UPDATE, 0, row, false, false);
			row.unique = first.unique;
			add_put(entry, EFFECT_UPDATE, 1, row, false, false);
			break;
		case 's':
			add_move(entry, first, 0, 2, true);
			add_move(entry, second, 1, 0, true);
			add_move(entry, first, 2, 1, true);
			break;
	}
}

/* Carry out a transaction in the database of its center. */
static void
write_locally(SimState *state, int center, const SimEntry *entry)
{
	SimCenter  *here = &state->centers[center];
	Stamp		dropped[SIM_KEYS] = {0};

	for (int i = 0; i < entry->neffects; i++)
	{
		const SimEffect *effect = &entry->effects[i];
		bool		put = effect->kind == EFFECT_INSERT || effect->kind == EFFECT_UPDATE;

		if (effect->kind == EFFECT_TRUNCATE)
		{
			write_truncate(state, center, entry->version);
			here->visible = 0;
			continue;
		}
		dropped[effect->key] =
			write_key(state, center, effect->key,
					  put ? LOCAL_LIVE : LOCAL_TOMBSTONE, entry->version,
					  put ? &effect->row : NULL);
		here->visible &= ~(1 << effect->key);
		here->visible |= put << effect->key;
	}
	for (int key = 0; key < state->nkeys; key++)
	{
		MergeState	local = rule_look_up(here, key);

		if (dropped[key] != 0 && rule_owes_refresh(&local, center, dropped[key]))
			send_refresh(state, center, key);
	}
}

/* Commit a local transaction at a time. */
void
sim_commit(SimState *state, int center, SimOperation operation, int ts)
{
	SimCenter  *here = &state->centers[center];
	uint8		vector[SIM_CENTERS];
	SimEntry   *entry;

	memcpy(vector, here->applied, sizeof(vector));
	entry = send_entry(state, center, ENTRY_TRANSACTION);
	memcpy(entry->vector, vector, sizeof(vector));
	entry->version = STAMP(ts, sim_center_id(center));
	here->floor = Max(here->floor, ts);
	state->latest = Max(state->latest, ts);
	state->commits++;
	fill_transaction(state, here, operation, entry);
	write_locally(state, center, entry);
	if (!state->lazy)
		rule_find_visible(here, state->nkeys);
}

#define FULL_HASH_PRIME UINT64CONST(0x9E3779B97F4A7C15)

/* Mix some bytes into a hash. */
static uint64
mix(uint64 hash, const void *data, size_t length)
{
	const char *at = data;
	uint64		word;

	for (; length >= sizeof(word); at += sizeof(word), length -= sizeof(word))
	{
		memcpy(&word, at, sizeof(word));
		hash = (hash ^ word) * FULL_HASH_PRIME;
		hash ^= hash >> 29;
	}
	word = length;
	memcpy(&word, at, length);
	hash = (hash ^ word ^ ((uint64) length << 56)) * FULL_HASH_PRIME;
	return hash ^ hash >> 32;
}

/* Copy a state, without the room that is not used yet. */
void
sim_copy(SimState *copy, const SimState *state)
{
	memcpy(copy, state, offsetof(SimState, entries));
	for (int i = 0; i < state->ncenters; i++)
		memcpy(copy->entries[i], state->entries[i],
			   sizeof(SimEntry) * state->length[i]);
}

/* A number for the state; never 0. */
uint64
sim_hash(const SimState *state)
{
	uint64		hash = mix(1, state, offsetof(SimState, centers));

	hash = mix(hash, state->centers, sizeof(SimCenter) * state->ncenters);
	for (int i = 0; i < state->ncenters; i++)
	{
		for (int j = 0; j < state->length[i]; j++)
		{
			const SimEntry *entry = &state->entries[i][j];

			hash = mix(hash, entry, offsetof(SimEntry, effects) +
					   sizeof(SimEffect) * entry->neffects);
		}
	}
	return hash | 1;
}
