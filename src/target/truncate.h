/*-------------------------------------------------------------------------
 *
 * truncate.h
 *	  TRUNCATE as a tombstone of a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_TRUNCATE_H
#define MC_TRUNCATE_H

#include "nodes/pg_list.h"
#include "target/table.h"

/*
 * Remember that tables were truncated by this transaction, which is a local
 * one and holds locks on them that keep others out.  Tables that are not
 * replicated are passed over.
 */
extern void mc_truncate_remember(List *relids);

/*
 * Apply a TRUNCATE of a peer: what is older goes.  Closes all open tables
 * first.
 */
extern void mc_truncate_apply(RemoteTransaction *transaction, List *maps,
							  bool restart_sequences);

#endif							/* MC_TRUNCATE_H */
