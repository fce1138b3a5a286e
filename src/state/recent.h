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

/* Request the memory and install hooks and callbacks; from _PG_init(). */
extern void mc_recent_init(void);

/*
 * Remember a commit of author with this timestamp: the end of its record, in
 * the WAL of the author.  Local commits are remembered by themselves.
 */
extern void mc_recent_add(CenterId author, TimestampTz commit_ts,
						  XLogRecPtr end_lsn);

/*
 * Where do the commits of author with this timestamp end?  The greatest
 * position, should there be several; 0 if none is remembered.
 */
extern XLogRecPtr mc_recent_find(CenterId author, TimestampTz commit_ts);

#endif							/* MC_RECENT_H */
