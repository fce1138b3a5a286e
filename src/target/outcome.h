/*-------------------------------------------------------------------------
 *
 * outcome.h
 *	  Write what was decided for a key: a row, or that it is deleted.
 *
 * NOTES
 *	  All functions are called as the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_OUTCOME_H
#define MC_OUTCOME_H

#include "target/lookup.h"
#include "target/write.h"

/*
 * Put together the row that is written, in table->write_row: the values of
 * table->new_row, and the local row's in columns that it does not have.  local
 * may be NULL.
 */
extern void mc_outcome_fill(TargetTable *table, const LocalRow *local);

/* Take values that new_row does not have from the displaced row of the key. */
extern void mc_outcome_complete(TargetTable *table, const KeyNote *displaced);

/*
 * Something was written under the key of a row, or its tombstone: what waits
 * and came before it is void.
 */
extern void mc_outcome_finish(RemoteTransaction *transaction,
							  TargetTable *table, const RemoteRow *row);

/* Write table->new_row over what is known of its key. */
extern WriteResult mc_outcome_put(RemoteTransaction *transaction,
								  TargetTable *table, LocalRow *local);

/* Delete the key of table->old_row, over what is known of it. */
extern WriteResult mc_outcome_delete(RemoteTransaction *transaction,
									 TargetTable *table, LocalRow *local);

#endif							/* MC_OUTCOME_H */
