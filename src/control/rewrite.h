/*-------------------------------------------------------------------------
 *
 * rewrite.h
 *	  Rewrites of replicated tables: the fence around them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_REWRITE_H
#define MC_REWRITE_H

#include "core/types.h"
#include "nodes/pg_list.h"

/* How often to look while a fence exists. */
#define MC_FENCE_POLL_MS	50

/* Register what peers send about fences; from _PG_init(). */
extern void mc_rewrite_init(void);

/*
 * Raise an error if sessions may not write to the table for now, because it is
 * going to be rewritten.  The caller holds its lock on the table already.
 */
extern void mc_rewrite_check_write(Oid relid);

/*
 * A replicated table is about to be rewritten, for this reason (AT_REWRITE_...
 * in commands/event_trigger.h): raise an error unless it is by a replicated
 * command and the table is fenced.
 */
extern void mc_rewrite_check(Oid relid, int reason);

/*
 * Fence a table in the whole group until the end of the current transaction,
 * waiting for every center.  Raises an error if it cannot be done.
 */
extern void mc_rewrite_fence(Oid relid);

/*
 * The manager's part: do what is due for the fences that exist.  centers are
 * the numbers of all members, this one included.  look: something may have
 * changed since the last call.  Returns true if it should be called again
 * within MC_FENCE_POLL_MS.
 */
extern bool mc_rewrite_work(CenterId our_id, List *centers, bool look);

#endif							/* MC_REWRITE_H */
