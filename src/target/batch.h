/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Rows of a peer that are inserted many at once.
 *
 * NOTES
 *	  Consecutive INSERTs of one table are collected and written together,
 *	  where nothing has to be known of their keys but whether there is a live
 *	  row, which the unique index tells.  Everybody else who acts on what the
 *	  transaction has done so far flushes the batch before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_BATCH_H
#define MC_BATCH_H

#include "target/table.h"

/*
 * Take the row table->new_row, which was just decoded, into the batch.  The
 * batch must be empty or one of this table; mc_lookup_is_needless() has said
 * yes.
 */
extern void mc_batch_add(RemoteTransaction *transaction, TargetTable *table);

/*
 * The same with a row that came as an image, where that is what a row here
 * looks like: it is checked, but not taken apart, and table->new_row has only
 * its key.  Asks mc_lookup_is_needless() itself; false: that said no, and the
 * row was not taken.
 */
extern bool mc_batch_add_image(RemoteTransaction *transaction,
							   TargetTable *table, const WireTuple *image);

/* Before a row is decoded for it: write the batch if it is full. */
extern void mc_batch_make_room(RemoteTransaction *transaction);

/* Write what was collected.  Waits for other transactions. */
extern void mc_batch_flush(RemoteTransaction *transaction);

#endif							/* MC_BATCH_H */
