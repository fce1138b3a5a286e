/*-------------------------------------------------------------------------
 *
 * stat_file.h
 *	  Cumulative statistics of links from one start of the server to the next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_STAT_FILE_H
#define MC_STAT_FILE_H

#include "state/shared.h"

/* Statistics of a link in one direction that were kept. */
typedef struct SavedStats
{
	Oid			dboid;			/* InvalidOid: entry is free, or taken over */
	CenterId	peer;
	bool		out;
	TimestampTz stats_reset;
	LinkCounters counters;
	LinkError	error;
} SavedStats;

/* Bytes of shared memory for them. */
extern Size mc_stat_file_size(void);

/*
 * The shared memory was laid out: read the file, and remove it.  In the
 * postmaster, which writes it again when it ends in order.
 */
extern void mc_stat_file_startup(SavedStats *saved);

/*
 * An entry for a link was made: take over what was kept of it, if anything.
 * The caller holds mc_shared->lock.
 */
extern void mc_stat_file_take(SharedLink *link);
extern void mc_stat_file_take_out(SharedOutLink *link);

#endif							/* MC_STAT_FILE_H */
