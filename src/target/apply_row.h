/*-------------------------------------------------------------------------
 *
 * apply_row.h
 *	  Find, decide and write one row of a peer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_APPLY_ROW_H
#define MC_APPLY_ROW_H

#include "target/table.h"

/*
 * Apply an INSERT, UPDATE or DELETE record to the table of the map, within
 * the transaction that is open.  Local memory is taken from the transaction's
 * change context, which the caller resets afterwards.
 */
extern void mc_apply_row(RemoteTransaction *transaction, RelationMap *map,
						 const WireRecord *record);

#endif							/* MC_APPLY_ROW_H */
