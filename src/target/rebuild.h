/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *	  Remember deletes again, from our own WAL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_REBUILD_H
#define MC_REBUILD_H

#include "state/shared.h"

/*
 * A transaction of this age is going to be applied: if deletes that it may have
 * to compete with were forgotten, and can be remembered again, do so first.
 * Outside a transaction.  Costs nothing where nothing was forgotten.
 */
extern void mc_rebuild_before(SharedLink *link, CenterId our_id,
							  TimestampTz commit_ts);

/*
 * A change of such a transaction cannot be decided, because a delete may be
 * forgotten.  If that has happened since the transaction began raise an error:
 * the next attempt remembers it first.
 */
extern void mc_rebuild_check(TimestampTz commit_ts);

#endif							/* MC_REBUILD_H */
