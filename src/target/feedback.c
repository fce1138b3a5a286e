/*-------------------------------------------------------------------------
 *
 * feedback.c
 *	  How far a link is, and what its peer is told of that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "port/pg_bswap.h"
#include "utils/timestamp.h"

#include "state/shared.h"
#include "target/feedback.h"

/* When to report: idle, busy, and for each so many transactions. */
#define REPORT_IDLE_MS			1000
#define REPORT_BUSY_MS			200
#define REPORT_TRANSACTIONS		1000

/*
 * When idle, what is applied is made durable after this time: long enough for
 * the WAL writer or the next transaction to save the flush, short enough for
 * the committers of a synchronous peer.
 */
#define SETTLE_MS				10

/* A standby status update: type, three positions, time, reply wanted. */
#define STATUS_BYTES			34

void
mc_feedback_begin(Feedback *feedback, Applier *applier,
				  PeerConnection *connection, OriginLsn done, OriginLsn durable)
{
	memset(feedback, 0, sizeof(Feedback));
	feedback->applier = applier;
	feedback->connection = connection;
	feedback->durable = durable;
	feedback->done = done;
	feedback->received = done;
	feedback->sent = done;
}

void
mc_feedback_heard(Feedback *feedback, XLogRecPtr lsn, bool arrived)
{
	if (arrived && feedback->received.value < lsn)
		feedback->received.value = lsn;
	if (feedback->sent.value < lsn)
		feedback->sent.value = lsn;
}

void
mc_feedback_done(Feedback *feedback, XLogRecPtr lsn)
{
	if (lsn <= feedback->done.value)
		return;
	feedback->done.value = lsn;
	if (feedback->received.value < lsn)
		feedback->received.value = lsn;
	if (feedback->pending_since_ms == 0)
		feedback->pending_since_ms = mc_monotonic_ms();
}

void
mc_feedback_committed(Feedback *feedback, XLogRecPtr lsn)
{
	mc_feedback_done(feedback, lsn);
	feedback->unreported++;
}

/*
 * Find out what is durable here.  What was confirmed once stays confirmed,
 * although a transaction that was applied since is not durable yet.
 */
static void
update_durable(Feedback *feedback, bool flush)
{
	OriginLsn	flushed = mc_apply_flushed(feedback->applier, flush);
	OriginLsn	durable = feedback->done;

	/*
	 * Where all transactions are durable so is what follows the last of them
	 * and changes nothing here.
	 */
	if (flushed.value < mc_apply_progress(feedback->applier).value)
		durable.value = Min(flushed.value, feedback->done.value);
	if (feedback->durable.value < durable.value)
		feedback->durable = durable;
}

/*
 * Tell the peer how far we are.
 */
static void
send_status(Feedback *feedback, int64 now_ms, bool flush, bool ask)
{
	char		status[STATUS_BYTES];
	uint64		fields[4];

	update_durable(feedback, flush);
	fields[0] = pg_hton64(feedback->done.value);	/* written */
	fields[1] = pg_hton64(feedback->durable.value); /* flushed */
	fields[2] = pg_hton64(feedback->done.value);	/* applied */
	fields[3] = pg_hton64((uint64) GetCurrentTimestamp());
	status[0] = 'r';
	memcpy(status + 1, fields, sizeof(fields));
	status[STATUS_BYTES - 1] = ask;
	mc_peer_send(feedback->connection, status, sizeof(status));

	feedback->reported_ms = now_ms;
	feedback->reply_requested = false;
	feedback->unreported = 0;
	feedback->pending_since_ms =
		feedback->durable.value < feedback->done.value ? now_ms : 0;
}

void
mc_feedback_report(Feedback *feedback, int64 now_ms, bool drained, bool ask)
{
	int64		interval_ms = drained ? REPORT_IDLE_MS : REPORT_BUSY_MS;
	bool		settle = drained && feedback->pending_since_ms != 0 &&
	now_ms - feedback->pending_since_ms >= SETTLE_MS;

	if (settle || feedback->reply_requested ||
		(drained && feedback->unreported > 0) ||
		feedback->unreported >= REPORT_TRANSACTIONS ||
		now_ms - feedback->reported_ms >= interval_ms)
		send_status(feedback, now_ms, settle, ask);
}

/*
 * Milliseconds of a clock that costs next to nothing to read.
 */
static int64
coarse_ms(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
#else
	return mc_monotonic_ms();
#endif
}

void
mc_feedback_within_frame(void *arg)
{
	Feedback   *feedback = (Feedback *) arg;
	int64		now_ms = coarse_ms();

	if (now_ms - feedback->within_ms < REPORT_IDLE_MS)
		return;
	feedback->within_ms = now_ms;
	mc_feedback_report(feedback, mc_monotonic_ms(), false, false);
}

int64
mc_feedback_due_ms(const Feedback *feedback)
{
	int64		due_ms = feedback->reported_ms + REPORT_IDLE_MS;

	if (feedback->pending_since_ms != 0)
		due_ms = Min(due_ms, feedback->pending_since_ms + SETTLE_MS);
	return due_ms;
}
