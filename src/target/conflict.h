/*-------------------------------------------------------------------------
 *
 * conflict.h
 *	  The effects of a verdict: what goes into the conflict history.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_CONFLICT_H
#define MC_CONFLICT_H

#include "target/lookup.h"

/*
 * Note a conflict that was decided while applying a record.  remote_row is
 * NULL for a delete.  Makes images of the rows, so it must be called as the
 * table's owner; nothing is written before mc_conflict_flush().
 */
extern void mc_conflict_note(RemoteTransaction *transaction,
							 TargetTable *table, MergeDecision decision,
							 const LocalRow *local, const RemoteRow *key,
							 TupleTableSlot *remote_row);

/*
 * The conflicts of this record go to the history; mc_history_flush() writes
 * them.  Not as the owner.
 */
extern void mc_conflict_flush(RemoteTransaction *transaction);

/* Bytes of all variable-length values of a row, uncompressed. */
extern Size mc_conflict_row_bytes(TupleTableSlot *slot);

#endif							/* MC_CONFLICT_H */
