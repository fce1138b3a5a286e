/*-------------------------------------------------------------------------
 *
 * receiver_link.h
 *	  The state of a receiver, and what its link shows of it.
 *
 * NOTES
 *	  Only for receiver.c and receiver_link.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RECEIVER_LINK_H
#define MC_RECEIVER_LINK_H

#include "state/registry.h"
#include "state/shared.h"
#include "storage/latch.h"
#include "target/connection.h"
#include "target/feedback.h"
#include "target/peer_clock.h"
#include "target/schedule.h"
#include "target/stream.h"

typedef struct Receiver
{
	SharedLink *link;
	CenterId	peer_id;
	Identity	identity;
	Center		peer;
	const char *dsn;
	LinkOptions options;
	PeerStream *stream;			/* NULL: not yet */
	StringInfoData unpacked;	/* the body of the frame in work, if that was
								 * compressed */
	MemoryContext context;		/* as long as the process */
	MemoryContext batch_context;
	Applier    *applier;		/* NULL: not yet */
	ApplierStarter starter;
	Schedule   *schedule;		/* NULL: this process applies everything */
	PeerConnection *connection; /* NULL: not yet */
	WaitEventSet *wait_set;
	LinkState	state;			/* as last set in the link */

	/* Positions in the peer's WAL. */
	Feedback	feedback;
	OriginLsn	end_at_start;	/* of the peer's WAL, when we connected */
	OriginLsn	previous_end;	/* of the last transaction of this session */
	OriginLsn	malformed_at;	/* of the message that ended it; 0: none did */

	/* What was heard. */
	int64		heard_ms;		/* bytes have arrived last */
	int64		complete_ms;	/* a whole message has arrived last */
	int64		partial_ms;		/* how long we wait for the rest of one */
	int64		silence_ms;		/* and for the first byte, until proven */
	bool		heard_heartbeat;	/* in this session */
	bool		heard_time;		/* heard_ts is not published yet */
	bool		behind;
	bool		proven;			/* got further than any receiver before */
	TimestampTz heard_ts;
	TimestampTz last_commit_ts;

	/* Times of the peer's clock. */
	TimestampTz sent_ts;		/* of its last message */
	int64		sent_us;		/* when that came */
	PeerClock	clock;

	uint64		bytes;			/* received and not published yet */
	uint64		bytes_saved;	/* by compression */
	int64		stats_ms;		/* when statistics were forced out last */
} Receiver;

/* Set the state of the link to what the last messages, or their absence, say. */
extern void mc_receiver_show_state(Receiver *receiver, int64 now_ms);

/* Publish in the link what a batch has brought. */
extern void mc_receiver_publish(Receiver *receiver);

#endif							/* MC_RECEIVER_LINK_H */
