/*-------------------------------------------------------------------------
 *
 * simulate.h
 *	  A group of centers in a few hundred bytes, driven by core/merge.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIMULATE_H
#define SIMULATE_H

#include "core/merge.h"

#define SIM_CENTERS		4
#define SIM_KEYS		3
#define SIM_ENTRIES		64
#define SIM_EFFECTS		6
#define SIM_PENDING		16

/* A version in a byte: time and author; 0 is the base version. */
typedef uint8 Stamp;

#define STAMP(ts, center)	((Stamp) ((ts) << 3 | (center)))
#define STAMP_TS(stamp)		((stamp) >> 3)
#define STAMP_CENTER(stamp) ((stamp) & 7)
#define STAMP_MAX_TS		30

/* What a row holds besides its key. */
typedef struct SimRow
{
	uint8		unique;			/* 0: NULL; values that share a bit clash */
	Stamp		small;			/* who wrote the other columns */
	Stamp		big;			/* who wrote the out-of-line column */
} SimRow;

typedef enum EffectKind
{
	EFFECT_INSERT,
	EFFECT_UPDATE,
	EFFECT_DELETE,
	EFFECT_TRUNCATE,
} EffectKind;

/* One change of a transaction. */
typedef struct SimEffect
{
	uint8		kind;
	uint8		key;
	uint8		marker;			/* the big value is not sent */
	uint8		key_changed;
	SimRow		row;			/* complete: the oracle may look at big */
} SimEffect;

typedef enum EntryKind
{
	ENTRY_TRANSACTION,
	ENTRY_REQUEST,
	ENTRY_REFRESH,
	ENTRY_PROMISE,
} EntryKind;

/* What a center sends, in this order, to all others. */
typedef struct SimEntry
{
	uint8		kind;
	uint8		to;				/* of a request */
	uint8		neffects;
	Stamp		version;
	uint8		vector[SIM_CENTERS];	/* entries applied of each center */
	SimEffect	effects[SIM_EFFECTS];
} SimEntry;

typedef struct SimKey
{
	uint8		knowledge;		/* LocalKnowledge */
	Stamp		version;
	SimRow		row;
} SimKey;

/* A change that is not complete. */
typedef struct SimPending
{
	uint8		origin;
	uint8		entry;
	uint8		effect;
	uint8		requested;
} SimPending;

typedef struct SimCenter
{
	SimKey		keys[SIM_KEYS];
	uint8		visible;		/* one bit per key */
	uint8		floor;
	Stamp		truncation;
	uint8		applied[SIM_CENTERS];
	uint8		promised[SIM_CENTERS];
	uint8		npending;
	SimPending	pending[SIM_PENDING];
} SimCenter;

typedef struct SimState
{
	uint8		ncenters;
	uint8		nkeys;
	uint8		latest;			/* greatest time of all commits */
	uint8		commits;
	uint8		promises;
	uint8		lazy;			/* displaced rows come back only when asked */
	uint8		active;			/* for the explorer: who goes on, from 1 */
	uint8		ended;			/* for the explorer: no commit any more */
	uint8		length[SIM_CENTERS];
	SimCenter	centers[SIM_CENTERS];
	SimEntry	entries[SIM_CENTERS][SIM_ENTRIES];
} SimState;

/* A rule that is broken on purpose, to see whether that is noticed. */
typedef enum Mutant
{
	MUTANT_NONE,
	MUTANT_TIE_OMITTED,
	MUTANT_TIE_BY_DECIDER,
	MUTANT_EQUAL_IS_OLD,
	MUTANT_EQUAL_TRUNCATES,
	MUTANT_TRUNCATE_SPARES_EARLIER,
	MUTANT_TRUNCATE_FORGOTTEN,
	MUTANT_TRUNCATE_ALL,
	MUTANT_DELETE_ALWAYS,
	MUTANT_DELETE_NOT_RECORDED,
	MUTANT_DELETE_FORGOTTEN,
	MUTANT_TOMBSTONE_NOT_RAISED,
	MUTANT_INSERT_OVER_TOMBSTONE,
	MUTANT_UPDATE_NEEDS_ROW,
	MUTANT_UPDATE_ALWAYS,
	MUTANT_INSERT_KEEPS,
	MUTANT_FILL_UNCOVERED,
	MUTANT_FILL_UNSEEN,
	MUTANT_FILL_KEY_CHANGE,
	MUTANT_FILL_OVER_PENDING,
	MUTANT_NO_REQUEST,
	MUTANT_ANYBODY_ANSWERS,
	MUTANT_REFRESH_EQUAL_IGNORED,
	MUTANT_REFRESH_CREATES,
	MUTANT_REFRESH_ALWAYS,
	MUTANT_REFRESH_OVER_SWAP,
	MUTANT_PENDING_STAYS,
	MUTANT_PENDING_DROPPED,
	MUTANT_CLASH_ARRIVAL,
	MUTANT_CLASH_INVISIBLE,
	MUTANT_CLASH_TOMBSTONE,
	MUTANT_CLASH_STAYS_AWAY,
	MUTANT_PURGE_ON_DELIVERY,
	MUTANT_PURGE_ONE_PROMISE,
	MUTANT_NO_FLOOR,
	MUTANT_OWES_NOTHING,
	MUTANT_LAST = MUTANT_OWES_NOTHING,
} Mutant;

extern Mutant sim_mutant;

/* What a center can do by itself. */
typedef struct SimOperation
{
	char		kind;
	uint8		key;
	uint8		unique;
} SimOperation;

/*
 * The kinds: i insert, u update of all columns, m update without the big one,
 * d delete, c change of the key to the next one, C the
 * same with all values, t TRUNCATE, T TRUNCATE and
 * insert, X insert of key 0, TRUNCATE, insert of the key, r delete and insert,
 * w swap of the unique values of keys 0 and 1, s swap of the keys 0 and 1 by
 * way of key 2.
 */
extern void sim_start(SimState *state, int ncenters, int nkeys, bool lazy);
extern bool sim_unique_is_free(const SimCenter *here, int nkeys, int except,
							   uint8 unique);
extern const SimEffect *sim_pending_effect(const SimState *state,
										   const SimPending *pending);
extern bool sim_possible(const SimState *state, int center, SimOperation operation);
extern void sim_commit(SimState *state, int center, SimOperation operation, int ts);
extern bool sim_can_deliver(const SimState *state, int from, int to);
extern void sim_deliver(SimState *state, int from, int to);
extern void sim_promise(SimState *state, int center);
extern void sim_settle(SimState *state, int center);
extern bool sim_quiet(const SimState *state);

/* NULL, or what is wrong with a quiet state; static storage. */
extern const char *sim_problem(const SimState *state);
extern void sim_copy(SimState *copy, const SimState *state);
extern uint64 sim_hash(const SimState *state);

#endif							/* SIMULATE_H */
