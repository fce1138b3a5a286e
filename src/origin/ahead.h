/*-------------------------------------------------------------------------
 *
 * ahead.h
 *	  A walsender decodes several records of WAL in one of its steps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_AHEAD_H
#define MC_AHEAD_H

#include "replication/logical.h"

/*
 * For the callback that filters by origin, at its begin.  If it returns true,
 * the record that the callback was called for and some that follow have been
 * decoded: the callback must say that it is filtered out, at once.
 */
extern bool mc_decode_ahead(LogicalDecodingContext *ctx);

/*
 * Instead of OutputPluginWrite(): leave the output in the send buffer of the
 * connection, since more will follow at once.  now: the time, of which the peer
 * is told; 0: do not.  False: it is to be written as usual.
 */
extern bool mc_gather_output(LogicalDecodingContext *ctx, TimestampTz now);

/* What follows may take a while: let go what was gathered. */
extern void mc_flush_gathered(void);

/* A stream starts. */
extern void mc_decode_ahead_init(void);

#endif							/* MC_AHEAD_H */
