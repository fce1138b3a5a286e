/*-------------------------------------------------------------------------
 *
 * columns.h
 *	  Changes of tables whose columns are merged one by one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COLUMNS_H
#define MC_COLUMNS_H

#include "target/lookup.h"
#include "target/write.h"

/* Are the columns of a table merged? */
extern bool mc_columns_possible(TargetTable *table);

/*
 * Decide on a change and write what becomes of it: a put of table->new_row, in
 * an UPDATE that was table->old_row before, or a DELETE of table->old_row.  key:
 * the row by which local was found, thoroughly.  As the table's owner.
 */
extern WriteResult mc_columns_write(RemoteTransaction *transaction,
									TargetTable *table, MergeOp op,
									const RemoteRow *key, LocalRow *local);

/*
 * The version that decides whether a TRUNCATE kills a row: that of its INSERT.
 * row: its own version; notes: those of its key.
 */
extern RowVersion mc_columns_incarnation(RemoteTransaction *transaction,
										 TargetTable *table,
										 const List *notes, RowVersion row);

/*
 * A table was truncated by this transaction: the same for its displaced rows.
 */
extern void mc_columns_truncate(RemoteTransaction *transaction, RelationMap *map);

/*
 * Remember that the key of a row is deleted at a version, that of the row, which
 * is newer than the TRUNCATE that has deleted it.  As the table's owner.
 */
extern void mc_columns_bury(TargetTable *table, TupleTableSlot *slot,
							RowVersion version);

#endif							/* MC_COLUMNS_H */
