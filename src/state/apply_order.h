/*-------------------------------------------------------------------------
 *
 * apply_order.h
 *	  Parallel apply: the order of commits, as a link's processes share it.
 *
 * NOTES
 *	  Transactions that are applied in parallel have numbers, from 1 on, in
 *	  the order of the peer's commits.  "committed" counts them.  Whoever
 *	  waits until it reaches a number writes that down first and looks again;
 *	  whoever raises it looks for such afterwards: nobody sleeps for ever.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_APPLY_ORDER_H
#define MC_APPLY_ORDER_H

#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/latch.h"

/* The most appliers that a link can have. */
#define MC_MAX_APPLY_WORKERS	16

/* So many transactions can be under way; a power of 2. */
#define MC_ORDER_SIZE			1024

/* One of a link's appliers. */
typedef struct SharedApplier
{
	pg_atomic_uint32 pid;		/* 0: not running */
	Latch	   *latch;			/* of its process; stays valid memory */
	pg_atomic_uint64 applying;	/* number of its transaction; 0: none */
	pg_atomic_uint64 waits_for; /* until so many are committed; 0: does not */
	pg_atomic_uint32 queued;	/* given to it and not committed yet */
	pg_atomic_uint64 xacts;		/* what follows is counted since its start */
	pg_atomic_uint64 waits;		/* for the commit of one before */
	pg_atomic_uint64 redone;	/* applied again, alone */
} SharedApplier;

typedef struct SharedOrder
{
	dsm_handle	segment;		/* with the queues */
	int			nworkers;		/* 0: the receiver applies everything itself */
	uint16		own_id;			/* number of this center */
	Latch	   *leader_latch;
	pg_atomic_uint64 committed;
	pg_atomic_uint64 leader_waits_for;	/* as in SharedApplier */
	pg_atomic_uint32 failed;	/* an applier has ended: so must the receiver */
	pg_atomic_uint64 alone_lsn; /* commit of the transaction that could not be
								 * applied by an applier, 0: none */
	SharedApplier appliers[MC_MAX_APPLY_WORKERS];
	pg_atomic_uint64 commit_ends[MC_ORDER_SIZE];	/* here, by number */
} SharedOrder;

/* The entry of a link is made. */
extern void mc_order_init(SharedOrder *order);

#endif							/* MC_APPLY_ORDER_H */
