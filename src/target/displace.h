/*-------------------------------------------------------------------------
 *
 * displace.h
 *	  Rows that clash on another unique key than the one they are found by.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_DISPLACE_H
#define MC_DISPLACE_H

#include "target/attempt.h"

/*
 * Has a table, besides its key, unique indexes or exclusion constraints on
 * which rows of different centers may clash, and a key to keep losers by?
 */
extern bool mc_displace_possible(TargetTable *table);

/*
 * The row that was just written at this place may clash with another one.
 * update: it replaced an older one.
 */
extern void mc_displace_note(RemoteTransaction *transaction,
							 TargetTable *table, const ItemPointerData *tid,
							 bool update);

/* A table is closed: displaced rows of it may come back at the commit. */
extern void mc_displace_closing(RemoteTransaction *transaction,
								TargetTable *table);

/* The same for a table that was written to by other means. */
extern void mc_displace_touch(RemoteTransaction *transaction, Oid relid);

/*
 * Decide which of the rows that clash stay visible, and displace the others.
 * Before the commit, and before anything that gives rows another place.  At
 * the commit (final) displaced rows come back that clash with nothing any
 * more.  No table may be open.  Waits for transactions that may clash.
 */
extern void mc_displace_settle(RemoteTransaction *transaction, bool final);

/* How a look at all displaced rows went; the greater, the worse. */
/*
 * Look whether displaced rows can come back after local commits, or were
 * written anew by them, and delete those for good that have been displaced for
 * too long; outside a transaction.  Waits for nobody for long.
 */
extern AttemptResult mc_displace_look(CenterId our_id);

/* Did the last look of this process find none, and could none come since? */
extern bool mc_displace_none(void);

#endif							/* MC_DISPLACE_H */
