/*-------------------------------------------------------------------------
 *
 * retry.h
 *	  Try the changes in quarantine again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RETRY_H
#define MC_RETRY_H

#include "core/types.h"

/*
 * Try each change in quarantine whose turn it is, in a transaction of its own.
 * In the manager, outside a transaction; waits for nobody for long.
 */
extern void mc_retry_look(CenterId our_id);

#endif							/* MC_RETRY_H */
