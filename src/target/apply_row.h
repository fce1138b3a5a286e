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
#include "utils/jsonb.h"

/*
 * Apply an INSERT, UPDATE or DELETE record to the table of the map, within
 * the transaction that is open.  Local memory is taken from the transaction's
 * change context, which the caller resets afterwards.  An INSERT may wait in a
 * batch until mc_batch_flush().
 */
extern void mc_apply_row(RemoteTransaction *transaction, RelationMap *map,
						 const WireRecord *record);

/* Put table->new_row as an INSERT. */
extern void mc_apply_insert(RemoteTransaction *transaction, TargetTable *table);

/* Around work on rows of a table, as its owner and with an active snapshot. */
extern TargetTable *mc_apply_begin(RemoteTransaction *transaction,
								   RelationMap *map, OwnerScope *scope);
extern void mc_apply_end(RemoteTransaction *transaction, TargetTable *table,
						 const OwnerScope *scope);

/*
 * Try transaction->retried again: write it, find that it is void, or leave it
 * waiting (held is set then).
 */
extern void mc_apply_again(RemoteTransaction *transaction, RelationMap *map);

/* Send our row of a key to the group, if it is of this center. */
extern void mc_apply_request(RemoteTransaction *transaction, RelationMap *map,
							 const Jsonb *key);

/*
 * Apply a whole row at the transaction's version, which is not that of its
 * commit.
 */
extern void mc_apply_refresh(RemoteTransaction *transaction, RelationMap *map,
							 const Jsonb *row);

#endif							/* MC_APPLY_ROW_H */
