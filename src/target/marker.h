/*-------------------------------------------------------------------------
 *
 * marker.h
 *	  Updates that lack values which they left alone: what completes them.
 *
 * NOTES
 *	  All functions are about table->new_row and are called as the table's
 *	  owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_MARKER_H
#define MC_MARKER_H

#include "target/lookup.h"

/*
 * Take values that were not sent from the old row of the record: with REPLICA
 * IDENTITY FULL it has them all.
 */
extern void mc_marker_from_old_row(TargetTable *table);

/* Take values that were not sent from a local row that was deleted. */
extern void mc_marker_from_local_row(TargetTable *table, TupleTableSlot *slot);

/*
 * Is the row complete, or will be when it is written?  If not the change waits,
 * and its author is asked for the row where nothing else can complete it any
 * more.
 */
extern bool mc_marker_complete(RemoteTransaction *transaction,
							   TargetTable *table, MergeOp op,
							   const LocalRow *local);

/*
 * A row that gets another key is that of its old one, if that is the one which
 * its author has moved.  What the author had not completed itself by then it
 * tells later: see mc_marker_resend_moved().
 */
extern bool mc_marker_fits_moved(RemoteTransaction *transaction,
								 TargetTable *table, const LocalRow *local);

/*
 * A change that waited here was made void by a tombstone of ours.  That may
 * have been a change of the key, and others may have moved the row that was
 * complete there: tell them what we have moved.
 */
extern void mc_marker_resend_moved(RemoteTransaction *transaction,
								   TargetTable *table, const LocalRow *local);

#endif							/* MC_MARKER_H */
