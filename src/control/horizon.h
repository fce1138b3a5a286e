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
 * Let go of what no change can need any more; in each round of the manager,
 * outside a transaction.  heartbeat: one was just written.  alone: this center
 * has no peers.
 */
extern void mc_horizon_work(bool heartbeat, bool alone);

#endif							/* MC_HORIZON_H */
