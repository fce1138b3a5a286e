/*-------------------------------------------------------------------------
 *
 * announce.h
 *	  Tell about new conflicts: NOTIFY, and a line in the server's log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ANNOUNCE_H
#define MC_ANNOUNCE_H

#include "core/types.h"

/*
 * What the manager does about the conflict history, when it is due: announce
 * new conflicts, write links that stopped into it, and empty what is too old.
 * Outside a transaction.
 */
extern void mc_announce_work(CenterId our_id);

/* By when that must be called again, by mc_monotonic_ms(). */
extern int64 mc_announce_next_ms(void);

#endif							/* MC_ANNOUNCE_H */
