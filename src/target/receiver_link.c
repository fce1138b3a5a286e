/*-------------------------------------------------------------------------
 *
 * receiver_link.c
 *	  What a link shows of its receiver.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target/receiver_link.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Silence of the peer, after which people are told. */
#define SILENCE_STALLED_MS		7000

/*
 * This receiver got further than those before it that failed: the manager
 * need not wait any longer before it starts the next one.
 */
static void
note_success(Receiver *receiver)
{
	SharedLink *link = receiver->link;

	receiver->proven = true;
	SpinLockAcquire(&link->mutex);
	link->failures = 0;
	link->logged = 0;
	SpinLockRelease(&link->mutex);
	ereport(LOG,
			(errmsg("replication from center \"%s\" is running",
					NameStr(receiver->peer.name))));
}

void
mc_receiver_show_state(Receiver *receiver, int64 now_ms)
{
	LinkState	state;
	char		reason[64 + NAMEDATALEN] = "";

	/*
	 * Old heartbeats may come again before the transaction at which earlier
	 * receivers have failed, so they prove nothing.
	 */
	if (!receiver->proven &&
		(receiver->previous_end.value != InvalidXLogRecPtr ||
		 receiver->feedback.done.value >= receiver->end_at_start.value))
		note_success(receiver);

	if (now_ms - receiver->heard_ms >= SILENCE_STALLED_MS)
	{
		state = LINK_STALLED;
		snprintf(reason, sizeof(reason), "no message from center \"%s\" for %d s",
				 NameStr(receiver->peer.name), SILENCE_STALLED_MS / 1000);
	}
	else if (!receiver->proven)
		state = receiver->state;
	else
		state = receiver->behind ? LINK_CATCHING_UP : LINK_STREAMING;

	if (state != receiver->state)
		mc_link_set_state(receiver->link, state, reason);
	receiver->state = state;
}

/*
 * Publish what is known of the peer's clock: by the quickest round trip or,
 * where there was none, by the last message.  The spinlock of the link is held.
 */
static void
publish_clock(Receiver *receiver, const ClockSample *clock, TimestampTz now)
{
	SharedLink *link = receiver->link;

	link->clock_known = true;
	if (clock == NULL)
	{
		link->clock_offset_us = receiver->sent_ts - now;
		link->clock_error_us = -1;
		return;
	}
	link->clock_offset_us = clock->offset_us;
	link->clock_error_us = (clock->round_trip_us + 1) / 2;
	link->round_trip_us = clock->round_trip_us;
	link->measured_at = now;
}

void
mc_receiver_publish(Receiver *receiver)
{
	SharedLink *link = receiver->link;
	TimestampTz now = GetCurrentTimestamp();
	const ClockSample *clock = mc_peer_clock_best(&receiver->clock, now);

	SpinLockAcquire(&link->mutex);
	link->sent_lsn = receiver->feedback.sent;
	link->received_lsn = receiver->feedback.received;
	if (link->applied_lsn.value < receiver->feedback.done.value)
		link->applied_lsn = receiver->feedback.done;
	link->flush_lsn = receiver->feedback.durable;
	if (link->peer_insert_lsn.value < receiver->feedback.sent.value)
		link->peer_insert_lsn = receiver->feedback.sent;
	if (link->peer_insert_lsn.value < receiver->clock.end.value)
		link->peer_insert_lsn = receiver->clock.end;
	link->write_rate = receiver->clock.write_rate;
	if (receiver->bytes > 0)
		link->last_message_at = now;
	link->counters.bytes += receiver->bytes;
	link->counters.bytes_raw += receiver->bytes + receiver->bytes_saved;
	if (receiver->heard_time)
	{
		link->heard_ts = receiver->heard_ts;
		link->heard_at = now;
		link->heard_by_heartbeat = receiver->heard_heartbeat;
		link->sent_ts = receiver->sent_ts;
		link->sent_us = receiver->sent_us;
		publish_clock(receiver, clock, now);
	}
	if (receiver->last_commit_ts != 0)
	{
		link->last_commit_ts = receiver->last_commit_ts;
		link->last_xact_at = now;
		receiver->last_commit_ts = 0;
	}
	SpinLockRelease(&link->mutex);

	receiver->bytes = 0;
	receiver->bytes_saved = 0;
	receiver->heard_time = false;
}
