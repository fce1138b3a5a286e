/*-------------------------------------------------------------------------
 *
 * handshake.h
 *	  May this peer have our changes, and how does it want them?
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HANDSHAKE_H
#define MC_HANDSHAKE_H

#include "core/pack.h"
#include "replication/logical.h"

/* What was agreed with the peer. */
typedef struct Handshake
{
	CenterId	target;
	uint8		version;		/* of the protocol */
	int			encoding;		/* of the target's database */
	bool		images;			/* the target can read our raw tuples */
	PackMethod	compression;	/* as the target wants it */
	LocalLsn	position;		/* the stream starts here */
} Handshake;

/*
 * Read the options of START_REPLICATION and check them against the registry.
 * Raises an error if the stream must not start: that is what the peer's
 * operator gets to see.
 */
extern void mc_handshake(LogicalDecodingContext *ctx, Handshake *result);

#endif							/* MC_HANDSHAKE_H */
