/*-------------------------------------------------------------------------
 *
 * recent.h
 *	  Recent commits: from the version of a row to the commit that made it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RECENT_H
#define MC_RECENT_H

#include "core/types.h"

/* In place of an author: this center itself. */
#define MC_RECENT_LOCAL		MC_NO_CENTER

/*
 * Request the memory and install hooks and callbacks; from _PG_init(), after
 * mc_clock_init(), whose callback forgets that a transaction was stamped.
 */
extern void mc_recent_init(void);

/* A prepared transaction was committed by this session just now. */
extern void mc_recent_commit_prepared(void);

/*
 * Remember of a commit of author with this timestamp a position in the WAL of
 * some center.  Of author itself: the end of the commit record; local commits
 * are remembered by themselves.  Of others: up to where author had applied
 * them; only where less of them was applied here, when we applied the commit.
 */
extern void mc_recent_add(CenterId author, TimestampTz commit_ts,
						  CenterId of, XLogRecPtr lsn);

/*
 * Fetch into the processor's cache what mc_recent_add() of this timestamp is
 * likely to write.
 */
extern void mc_recent_fetch(TimestampTz commit_ts);

/*
 * What was remembered, the greatest position should there be several commits;
 * 0 if nothing is.
 */
extern XLogRecPtr mc_recent_find(CenterId author, TimestampTz commit_ts,
								 CenterId of);

#endif							/* MC_RECENT_H */
