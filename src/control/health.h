/*-------------------------------------------------------------------------
 *
 * health.h
 *	  Look at the health of this center from time to time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HEALTH_H
#define MC_HEALTH_H

#include "core/types.h"

/*
 * If it is time to, evaluate all checks, so that it is known since when each
 * has its status, and write a line to the log where that of the whole center
 * has changed.  Outside a transaction.
 */
extern void mc_health_work(CenterId our_id);

#endif							/* MC_HEALTH_H */
