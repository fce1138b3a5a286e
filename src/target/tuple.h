/*-------------------------------------------------------------------------
 *
 * tuple.h
 *	  Rows of the peer become values of the local table's columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_TUPLE_H
#define MC_TUPLE_H

#include "target/table.h"

/*
 * Decode a row into the layout of the local table.  Values are allocated in
 * the current context or point into the record.  Columns without a remote
 * value become null.  Runs code of users: call it as the table's owner.
 * Values marked as unchanged are refused unless allow_unchanged.
 */
extern void mc_tuple_decode(TargetTable *table, const WireTuple *tuple,
							bool allow_unchanged, RemoteRow *row);

/*
 * Check the raw image of a row, and make a heap tuple of the peer's columns of
 * it, in the current context, in one piece.  Where the map says image_is_row,
 * it is one of the local table.
 */
extern HeapTuple mc_tuple_from_image(TargetTable *table, const WireTuple *tuple);

#endif							/* MC_TUPLE_H */
