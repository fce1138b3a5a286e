/*-------------------------------------------------------------------------
 *
 * place.h
 *	  Where rows stand that this process has written a moment ago.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_PLACE_H
#define MC_PLACE_H

#include "target/table.h"

/*
 * The row of a key was written at this place by the current transaction.  Only
 * tables with an index that finds rows.
 */
extern void mc_place_note(TargetTable *table, const RemoteRow *row,
						  const ItemPointerData *tid);

/*
 * Fetch the row of a key from where it was written last into slot, as
 * table->dirty sees it.  Returns false if nothing is known, or the row is not
 * there any more: then the index has to be asked.
 */
extern bool mc_place_fetch(TargetTable *table, const RemoteRow *row,
						   TupleTableSlot *slot);

/*
 * A transaction of this process was aborted, or has truncated a table: what was
 * written may be gone at once.
 */
extern void mc_place_forget(void);

#endif							/* MC_PLACE_H */
