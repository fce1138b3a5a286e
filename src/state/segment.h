/*-------------------------------------------------------------------------
 *
 * segment.h
 *	  Tables of ours that grow, and are emptied a segment at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SEGMENT_H
#define MC_SEGMENT_H

#include "datatype/timestamp.h"
#include "executor/spi.h"

/*
 * Such a table, whose segments are partitions with the names table_N, and the
 * one that says from when to when each of them was written to.  Static, one in
 * each process.
 */
typedef struct SegmentedTable
{
	const char *table;
	const char *control;
	int			count;

	/* What this process remembers. */
	SPIPlanPtr	current_plan;
	SPIPlanPtr	expired_plan;
	SPIPlanPtr	mark_plan;
	SPIPlanPtr	begin_plan;
	int16		segment;
	TimestampTz read_at;		/* 0: never */
} SegmentedTable;

/*
 * The segment to write to.  A second late does not matter: what is written to
 * the one before is as old as if it had been written a second ago.
 */
extern int16 mc_segment_current(SegmentedTable *table);

/*
 * Empty segments that have only rows older than the retention, and begin a new
 * one when it is time.  In a transaction; waits for readers, until
 * lock_timeout.
 */
extern void mc_segment_rotate(SegmentedTable *table, int64 retention_us);

#endif							/* MC_SEGMENT_H */
