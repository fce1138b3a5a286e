/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  The dependency vectors of the transactions that a walsender sends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ORIGIN_VECTOR_H
#define MC_ORIGIN_VECTOR_H

#include "core/types.h"
#include "core/wire.h"
#include "replication/logical.h"

/* What a walsender knows, at its place in the WAL. */
typedef struct VectorTracker VectorTracker;

/*
 * Make the tracker of a session that sends what is committed at or behind
 * position.  Reads our WAL from there as far as it must, and writes a
 * heartbeat.  Outside a transaction or in one.
 */
extern VectorTracker *mc_tracker_create(LogicalDecodingContext *ctx,
										LocalLsn position);

/*
 * A record was read that has an origin; for filter_by_origin.  If it is the
 * commit of a peer's transaction, returns true, and what is sent behind it has
 * seen that.
 */
extern bool mc_tracker_commit(VectorTracker *tracker, XLogReaderState *record,
							  uint16 origin);

/* A heartbeat of ours was read. */
extern void mc_tracker_heartbeat(VectorTracker *tracker,
								 const Heartbeat *heartbeat);

/*
 * The entries that have changed since the frame before; all of them for the
 * first one.  before: for a transaction, its commit record; what that itself
 * applied of a peer is not in its vector.  Valid until the next call.
 */
extern const VectorDelta *mc_tracker_deltas(VectorTracker *tracker,
											XLogRecPtr before, uint16 *count);

#endif							/* MC_ORIGIN_VECTOR_H */
