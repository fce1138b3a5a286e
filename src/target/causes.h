/*-------------------------------------------------------------------------
 *
 * causes.h
 *	  Wait for what a remote transaction depends on, where policies decide.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_CAUSES_H
#define MC_CAUSES_H

#include "target/table.h"

/*
 * From which time on deletes may matter to a transaction that is going to be
 * applied.  With last_update_wins what is older than itself does not; where a
 * policy decides what its author had not seen does.  In a transaction.
 */
extern TimestampTz mc_causes_since(const RemoteTransaction *transaction);

/*
 * Wait until everything has been applied here that the author of a transaction
 * had applied, and until the policies of its epoch are known and in effect
 * here.  Returns at once where no policy was ever set.  At the beginning of a
 * transaction that has done nothing yet; another one is begun instead if there
 * is something to wait for.  Raises an error when it takes too long: the link
 * tries again.
 */
extern void mc_causes_wait(RemoteTransaction *transaction, SharedLink *link);

#endif							/* MC_CAUSES_H */
