/*-------------------------------------------------------------------------
 *
 * derived.c
 *	  What applying a peer's change makes this center tell the group.
 *
 * NOTES
 *	  A transaction that applies a peer's changes is tagged with the peer's
 *	  origin, so our output plugin passes over them.  A logical message that
 *	  is written without an origin is decoded nevertheless, within that
 *	  transaction.  So what we have to say to the group is atomic with what we
 *	  have applied, and no queue can lose it.
 *
 *	  The time and position of the transaction are another center's: such a
 *	  message says itself which key and which version it is about.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "origin/derived.h"
#include "origin/message.h"
#include "replication/origin.h"
#include "state/registry.h"

#include "compat.h"

void
mc_derived_emit(const char *json)
{
	TimestampTz timestamp;
	uint16		origin = mc_session_origin(&timestamp);

	/*
	 * Position and time are set at the commit.  After an error a receiver
	 * ends, and other processes set the origin anew.
	 */
	mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
	(void) mc_message_emit(MC_DERIVED_PREFIX, true, json, (uint32) strlen(json));
	mc_session_origin_set(origin, InvalidXLogRecPtr, timestamp);
}
