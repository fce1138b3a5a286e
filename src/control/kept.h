/*-------------------------------------------------------------------------
 *
 * kept.h
 *	  Keep the WAL from which deletes can be remembered again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_KEPT_H
#define MC_KEPT_H

#include "core/types.h"

/* Find out what is kept; in the manager, outside a transaction. */
extern void mc_kept_begin(void);

/*
 * Keep WAL from a later position where the frontier allows that; after each
 * heartbeat, outside a transaction.  alone: this center has no peers.
 */
extern void mc_kept_work(TimestampTz frontier, bool alone);

#endif							/* MC_KEPT_H */
