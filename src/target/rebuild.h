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
 * A transaction is going to be applied to which deletes from this time on may
 * matter: if some were forgotten, and can be remembered again, do so first.
 * Outside a transaction.
 */
extern void mc_rebuild_before(SharedLink *link, CenterId our_id,
							  TimestampTz since);

/*
 * A change of such a transaction cannot be decided, because a delete may be
 * forgotten.  If that has happened since the transaction began raise an error:
 * the next attempt remembers it first.
 */
extern void mc_rebuild_check(TimestampTz since);

#endif							/* MC_REBUILD_H */
