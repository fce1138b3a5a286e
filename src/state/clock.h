/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The floor: commit timestamps that respect what a writer has seen.
 *
 * NOTES
 *	  The floor is the greatest commit timestamp that was applied or committed
 *	  on this server.  A local commit whose clock is not past it is stamped
 *	  forward, with the timestamp floor + 1 microsecond, by a replication
 *	  origin of a pool of ours.  So versions respect causality (a Lamport
 *	  clock) without a change of PostgreSQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_CLOCK_H
#define MC_CLOCK_H

#include "core/types.h"

/* The most origins that the pool can have. */
#define MC_MAX_STAMP_ORIGINS	64

/* What the views show of the clock of this server. */
typedef struct ClockStatus
{
	bool		ready;			/* the floor was rebuilt since the start */
	TimestampTz floor;
	uint64		stamped;		/* commits since the start */
	uint64		waits;			/* of them, for a free origin of the pool */
} ClockStatus;

/*
 * Request the memory and register the callbacks; from _PG_init().  First of
 * all our callbacks, because they are called last in, first out, and the time
 * should be drawn as late as possible.
 */
extern void mc_clock_init(void);

/* The greatest commit timestamp known on this server; 0: none yet. */
extern TimestampTz mc_clock_floor(void);

/*
 * The newest time that a transaction which has ended here can have: the floor,
 * or the present.
 */
extern TimestampTz mc_clock_newest(void);

/*
 * Raise the floor, never lower it.  Apply does so before it looks at the first
 * row of a remote transaction: local commits that it does not see yet are then
 * newer than that transaction.
 */
extern void mc_clock_raise(TimestampTz ts);

/*
 * A time that no local commit exceeds which has ended and has deleted, or
 * updated, rows that peers may know; without those of apply.  Whoever asks has
 * read before which transactions have ended.
 */
extern TimestampTz mc_clock_last_delete(void);

/* The current transaction, which is about to commit, is such a one. */
extern void mc_clock_deletes(void);

/*
 * This process applies what peers send, under their origins and timestamps: its
 * commits with an origin are not local ones.
 */
extern void mc_clock_applies(void);

/*
 * Apply is about to commit a transaction of this timestamp: make sure that the
 * floor is at least that after a crash, too.  Within that transaction.
 */
extern void mc_clock_save(TimestampTz ts);

/*
 * A time T such that no transaction which is not in WAL yet, and which peers
 * will get, gets a commit timestamp <= T; and a position in WAL: all that was
 * committed before it is visible in shared memory now.  T is ahead_us ahead of
 * the clock, or the floor if that is later; so it may be less than the one
 * before.  Waits for commits that are being written at this moment.  Needs no
 * transaction.
 */
extern TimestampTz mc_clock_promise(int64 ahead_us, LocalLsn *since);

/*
 * The current transaction writes nothing that a peer will get, so no promise is
 * about it.
 */
extern void mc_clock_private(void);

/*
 * When something was committed last on this server that peers may get, to a
 * tenth of a second.
 */
extern TimestampTz mc_clock_written_at(void);

/*
 * Let no other process of this server commit a transaction of its own until
 * this process has committed or aborted its own, or has released the others.
 * Those that have begun to are waited for.  Returns a time that no timestamp
 * of what is in WAL exceeds.  Apply goes on.  Nothing that may wait for the
 * lock of another transaction must be done meanwhile.
 */
extern TimestampTz mc_clock_hold_commits(void);
extern void mc_clock_release_commits(void);

/*
 * Wait until mc_clock_prepare() has been called since the start of the server.
 * Before that nobody knows the stamp pool.
 */
extern void mc_clock_wait_ready(void);

/*
 * Is a replication origin one of the stamp pool, or was it ever?  Its commits
 * are local ones.  Reads shared memory only, once mc_clock_wait_ready().
 */
extern bool mc_clock_is_stamp_origin(uint16 origin);

/*
 * Make the origins where they are missing, and rebuild the floor after a start
 * of the server.  Outside a transaction.  Until then, commits in databases
 * that are centers wait.  Raises an error if the pool does not fit into the
 * array of origins.
 */
extern void mc_clock_prepare(void);

/* A prepared transaction is about to be committed, and has been. */
extern void mc_clock_begin_prepared(void);
extern void mc_clock_end_prepared(void);

extern void mc_clock_status(ClockStatus *status);

#endif							/* MC_CLOCK_H */
