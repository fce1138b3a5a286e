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

/* The greatest commit timestamp known on this server; 0: none yet. */
extern TimestampTz mc_clock_floor(void);

/*
 * Raise the floor, never lower it.  Apply does so before it looks at the first
 * row of a remote transaction: local commits that it does not see yet are then
 * newer than that transaction.
 */
extern void mc_clock_raise(TimestampTz ts);

/*
 * A time T such that no transaction of this server that is not in WAL yet will
 * get a commit timestamp <= T, and the position from which on commits may be
 * missing in what was read of shared memory before.  Waits for commits that
 * are being written at this moment; needs no transaction.
 */
extern TimestampTz mc_clock_promise(LocalLsn *since);

/* Is a replication origin one of the stamp pool?  Its commits are local ones. */
extern bool mc_clock_is_stamp_origin(uint16 origin);

#endif							/* MC_CLOCK_H */
