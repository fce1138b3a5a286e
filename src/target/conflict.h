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
 * Note that a change goes into quarantine because its transaction has failed:
 * a delete of table->old_row, or a put of table->new_row.  As the owner, too.
 */
extern void mc_conflict_note_aside(RemoteTransaction *transaction,
								   TargetTable *table, bool deletes);

/* What a change is called that cannot be applied because of an error. */
extern McConflictType mc_conflict_type_of_error(int sqlstate);

/*
 * The conflicts of this record go to the history; mc_history_flush() writes
 * them.  Not as the owner.
 */
extern void mc_conflict_flush(RemoteTransaction *transaction);

/*
 * The text of a row that is jsonb, for the history: that it was left out, where
 * it is greater than multicenter.conflict_max_row_bytes.  NULL for NULL.
 */
extern char *mc_conflict_jsonb_row(const Jsonb *row);

/*
 * The key of a row as JSON text; NULL where the table has none.  As the owner.
 */
extern char *mc_conflict_key_json(TargetTable *table, const RemoteRow *row);

/* Bytes of all variable-length values of a row, uncompressed. */
extern Size mc_conflict_row_bytes(TupleTableSlot *slot);

#endif							/* MC_CONFLICT_H */
