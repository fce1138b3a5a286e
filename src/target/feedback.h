/*-------------------------------------------------------------------------
 *
 * feedback.h
 *	  How far a link is, and what its peer is told of that.
 *
 * NOTES
 *	  What we tell the peer decides which WAL it throws away.  So there are
 *	  three positions, each at most the one before:
 *
 *	  received		some bytes of it have arrived: for views only
 *	  done			everything before it is applied, or changes nothing here
 *	  durable		everything before it survives a crash here
 *
 *	  Only "durable" is reported as flushed.  "done" moves at the end of a
 *	  transaction, and by heartbeats and keepalives between transactions:
 *	  the peer has sent everything that precedes them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_FEEDBACK_H
#define MC_FEEDBACK_H

#include "target/apply.h"
#include "target/connection.h"

/* Others only read it, but for reply_requested. */
typedef struct Feedback
{
	Applier    *applier;
	PeerConnection *connection;

	/* Positions in the peer's WAL. */
	OriginLsn	received;
	OriginLsn	done;
	OriginLsn	durable;
	OriginLsn	sent;			/* as the peer says */

	/* Reports to the peer. */
	int64		reported_ms;	/* when the last one was sent */
	int64		pending_since_ms;	/* done is beyond durable; 0: is not */
	int			unreported;		/* transactions applied since the last */
	int64		within_ms;		/* looked last within a frame */
	bool		reply_requested;	/* the peer wants one at once */
} Feedback;

/*
 * A stream begins: everything before done is applied, and the peer was told
 * before that everything before durable is.
 */
extern void mc_feedback_begin(Feedback *feedback, Applier *applier,
							  PeerConnection *connection, OriginLsn done,
							  OriginLsn durable);

/* The peer has sent everything before lsn; with arrived, bytes of it are here. */
extern void mc_feedback_heard(Feedback *feedback, XLogRecPtr lsn, bool arrived);

/* Everything of the peer before lsn is applied here, or changes nothing. */
extern void mc_feedback_done(Feedback *feedback, XLogRecPtr lsn);

/* The same at the end of a transaction, for which its author may wait. */
extern void mc_feedback_committed(Feedback *feedback, XLogRecPtr lsn);

/*
 * Tell the peer how far we are, if it is time to.  Its committers may wait for
 * it; but in the middle of a burst they can wait for its end.  drained: nothing
 * is left to apply.  ask: the peer was silent for long, and shall answer.
 */
extern void mc_feedback_report(Feedback *feedback, int64 now_ms, bool drained,
							   bool ask);

/*
 * The same in the middle of a frame, for mc_apply_between_records(): without a
 * word from us for long the peer would give up, and then send all of a large
 * transaction again, and again.
 */
extern void mc_feedback_within_frame(void *feedback);

/* When mc_feedback_report() is to be called again, although nothing comes. */
extern int64 mc_feedback_due_ms(const Feedback *feedback);

#endif							/* MC_FEEDBACK_H */
