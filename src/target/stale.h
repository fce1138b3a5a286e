/*-------------------------------------------------------------------------
 *
 * stale.h
 *	  Remove notes about rows that are there no more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_STALE_H
#define MC_STALE_H

#include "core/types.h"

/*
 * Look at some of the notes that give rows their versions, and remove those
 * whose row has been replaced or deleted.  In the manager, outside a
 * transaction.
 */
extern void mc_stale_look(CenterId our_id);

#endif							/* MC_STALE_H */
