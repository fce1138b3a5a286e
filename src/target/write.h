/*-------------------------------------------------------------------------
 *
 * write.h
 *	  Write one row to a local table, as the executor would.
 *
 * NOTES
 *	  Triggers, generated columns, constraints and indexes included.  All
 *	  functions run code of users: call them as the table's owner, with an
 *	  active snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_WRITE_H
#define MC_WRITE_H

#include "target/table.h"

typedef enum WriteResult
{
	WRITE_DONE,
	WRITE_SUPPRESSED,			/* a BEFORE trigger did not want it */
	WRITE_RETRY,				/* the local row has changed: search again */
} WriteResult;

/* Around everything that is written for one record: AFTER triggers fire. */
extern void mc_write_begin_record(TargetTable *table);
extern void mc_write_end_record(TargetTable *table);

/* Compute the columns of table->write_row that only this center has. */
extern void mc_write_defaults(TargetTable *table);

/*
 * Insert table->write_row.  WRITE_RETRY: another transaction has inserted the
 * key meanwhile, and the row was taken back.
 */
extern WriteResult mc_write_insert(RemoteTransaction *transaction,
								   TargetTable *table);

/*
 * Insert many rows at once into a table that can be parked, so that no code of
 * users runs.  inserted[i] is false where the key was there already, or another
 * transaction is inserting it: that row was taken back.
 */
extern void mc_write_insert_many(RemoteTransaction *transaction,
								 TargetTable *table, TupleTableSlot **rows,
								 int nrows, bool *inserted);

/* Take back a row that was just inserted from this slot. */
extern void mc_write_withdraw(TargetTable *table, TupleTableSlot *row);

/* Replace the row that was found by table->write_row. */
extern WriteResult mc_write_update(RemoteTransaction *transaction,
								   TargetTable *table, TupleTableSlot *found);

/* Delete the row that was found. */
extern WriteResult mc_write_delete(TargetTable *table, TupleTableSlot *found);

/*
 * Leave a dead row where there is none: write table->write_row and delete it
 * at once.  If it is to be told, only the delete is without the session's
 * replication origin, so a commit without one sends it as an ordinary DELETE,
 * with all that follows from that.  No trigger fires and no constraint is
 * checked.  Returns false if another transaction has inserted the key, or is
 * about to; the caller must abort then.
 */
extern bool mc_write_tombstone(TargetTable *table, bool tell);

/*
 * Check deferrable unique and exclusion constraints whose check was put off.
 * Before the commit, and before anything that gives rows another place.
 */
extern void mc_write_check_deferred(RemoteTransaction *transaction);

#endif							/* MC_WRITE_H */
