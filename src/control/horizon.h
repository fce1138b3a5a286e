/*-------------------------------------------------------------------------
 *
 * horizon.h
 *	  Keep dead rows, and notes, as long as they can still decide something.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HORIZON_H
#define MC_HORIZON_H

#include "core/types.h"

/*
 * See to it that dead rows are kept, from now on or still; before anything of
 * a peer is applied.  In the manager, outside a transaction.
 */
extern void mc_horizon_begin(void);

/*
 * See what has ended and what is promised; before a heartbeat of ours, whose
 * flush makes durable what was applied by then.  alone: this center has no
 * peers, and need not wait for a heartbeat.
 */
extern void mc_horizon_look(bool alone);

/*
 * Let go of what no change can need any more, as of the last look; outside a
 * transaction.
 */
extern void mc_horizon_work(bool alone);

/*
 * The time up to which nothing older can arrive, as of the last round, or the
 * present; and that all displaced rows were compared with local changes since
 * this was so.  Before that the dead rows of those must not go.
 */
extern TimestampTz mc_horizon_frontier(void);
extern void mc_horizon_displaced_seen(TimestampTz frontier);

#endif							/* MC_HORIZON_H */
