/*-------------------------------------------------------------------------
 *
 * refresh.h
 *	  Whole rows for those who could not complete an update.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_REFRESH_H
#define MC_REFRESH_H

#include "target/lookup.h"

/* Register what carries out requests and refreshes; before the first frame. */
extern void mc_refresh_register(void);

/* Ask the author of table->new_row for it as a whole.  As the owner. */
extern void mc_refresh_request(RemoteTransaction *transaction,
							   TargetTable *table);

/* Send our row of a key to everybody, at its version.  As the owner. */
extern void mc_refresh_send(RemoteTransaction *transaction, TargetTable *table,
							const LocalRow *local);

/*
 * An incomplete change, or a refresh, at the transaction's version has lost to
 * what is known of the key: send our row to the group, if we owe that to it
 * (core/merge.h).  As the owner.
 */
extern void mc_refresh_owed(RemoteTransaction *transaction, TargetTable *table,
							const LocalRow *local);

#endif							/* MC_REFRESH_H */
