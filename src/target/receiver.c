/*-------------------------------------------------------------------------
 *
 * receiver.c
 *	  The receiver of a link: from the peer's stream to the applier.
 *
 * NOTES
 *	  The life of a receiver, from the start of its process to its end:
 *
 *	  claim			become the one receiver of the link
 *	  configure		read from the registry who we are and who the peer is
 *	  connect		and check that the peer still has what we need
 *	  stream		receive, apply, report; until something fails
 *
 *	  There is one way out: the process ends.  An error is written into the
 *	  link before, so that views show it, and the manager, which our exit
 *	  wakes, starts a new receiver after its backoff.  The new one begins
 *	  where the last transaction was committed, so nothing is skipped and
 *	  nothing is applied twice.
 *
 *	  The peer is not trusted: the length of a message is checked before a
 *	  byte of it is read, and a frame is taken apart by core/wire.c only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_bswap.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/pack.h"
#include "core/wire.h"
#include "state/monitor.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "target/apply.h"
#include "target/connection.h"
#include "target/feedback.h"
#include "target/peer_clock.h"
#include "target/handler.h"
#include "target/receiver.h"
#include "target/receiver_link.h"
#include "target/schedule.h"
#include "target/stream.h"

#include "compat.h"

/* After so much input we look at the clock, report and publish. */
#define BATCH_MESSAGES			64
#define BATCH_BYTES				(256 * 1024)

/* When statistics are forced out. */
#define STATS_MS				1000

/* Silence of the peer, which writes a heartbeat each second. */
#define SILENCE_ASK_MS			3000	/* ask for an answer */
#define SILENCE_FAILED_MS		20000	/* connect again */

/*
 * Bytes come, but for this time no whole message: its length may have been
 * spoilt on the way.  Twice as long after each failure, up to so many times: a
 * large value on a slow line does take its time.  So may a silence: PostgreSQL
 * 15 says nothing while it decodes what nobody replicates.
 */
#define PARTIAL_FAILED_MS		10000
#define PARTIAL_DOUBLINGS		8
#define SILENCE_DOUBLINGS		5

/* A heartbeat that was older than this when it was sent: we are behind. */
#define BEHIND_US				(2 * USECS_PER_SEC)

/* The longest sleep while appliers are waited for. */
#define APPLIERS_MS				100

/* An error that repeats is logged again after this time. */
#define LOG_AGAIN_US			(10 * SECS_PER_MINUTE * USECS_PER_SEC)

/* Layout of messages: XLogData and keepalive. */
#define DATA_HEADER_BYTES		25	/* type, start, end, time */
#define KEEPALIVE_BYTES			18	/* type, end, time, reply requested */

/* ---- start and end ---- */

/*
 * The process ends, for whatever reason: give the link up and wake the
 * manager.  Runs after an open transaction was rolled back and the replication
 * origin was released, so a successor finds both free.
 */
static void
release_link(int code, Datum arg)
{
	Receiver   *receiver = (Receiver *) DatumGetPointer(arg);
	SharedLink *link = receiver->link;
	LinkState	state;

	if (receiver->connection)
		mc_peer_close(receiver->connection);

	/* An error has set the state already; a kill from outside has not. */
	SpinLockAcquire(&link->mutex);
	link->pid = 0;
	state = link->state;
	SpinLockRelease(&link->mutex);
	if (state == LINK_CATCHING_UP || state == LINK_STREAMING)
		mc_link_set_state(link, LINK_DISCONNECTED, "the receiver was stopped");
	mc_stream_audit_end(receiver->peer_id, link->stall_reason);

	mc_shared_reload(MyDatabaseId);
}

/*
 * Become the one receiver of the link, or end the process.
 */
static void
claim_link(Receiver *receiver)
{
	SharedLink *link = receiver->link;
	bool		claimed;
	pid_t		other;

	SpinLockAcquire(&link->mutex);
	other = link->pid;
	SpinLockRelease(&link->mutex);

	/* An owner that is not alive can only be a leftover of a crash. */
	if (other != 0 && BackendPidGetProc(other) != NULL)
		proc_exit(1);

	SpinLockAcquire(&link->mutex);
	claimed = link->pid == other && link->dboid == MyDatabaseId;
	if (claimed)
		link->pid = MyProcPid;
	receiver->peer_id = link->peer;
	receiver->state = link->state;
	SpinLockRelease(&link->mutex);
	if (!claimed)
		proc_exit(1);
	mc_monitor_applying(link, InvalidXLogRecPtr);
	on_shmem_exit(release_link, PointerGetDatum(receiver));
}

void
mc_receiver_pin_settings(void)
{
	SetConfigOption("client_encoding", GetDatabaseEncodingName(),
					PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("array_nulls", "on", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("standard_conforming_strings", "on",
					PGC_USERSET, PGC_S_OVERRIDE);

	/* Since PostgreSQL 17. */
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		SetConfigOption("transaction_timeout", "0",
						PGC_USERSET, PGC_S_OVERRIDE);
}

/*
 * Read who we are and who the peer is.  Where there is nothing to receive any
 * more the process ends quietly: the manager is about to notice.
 */
static void
configure(Receiver *receiver)
{
	LinkOptions *options = &receiver->options;
	MemoryContext caller;
	bool		found;

	/* What is changed from here on is a change of what is read now. */
	(void) mc_stream_options_changed(receiver->link);
	StartTransactionCommand();
	caller = MemoryContextSwitchTo(receiver->context);
	found = mc_registry_identity(&receiver->identity) &&
		mc_registry_center(receiver->peer_id, &receiver->peer);
	if (found)
		mc_registry_link(receiver->peer_id, options);
	MemoryContextSwitchTo(caller);
	CommitTransactionCommand();
	MemoryContextSwitchTo(receiver->context);

	if (!found || receiver->identity.detached || options->paused_in ||
		receiver->peer.state == CENTER_PARTED)
		proc_exit(1);

	if (options->stopped)
		mc_stream_raise_stopped(options->stopped);

	receiver->dsn = options->dsn ? options->dsn : receiver->peer.dsn;
	SetConfigOption("application_name",
					psprintf("multicenter receiver %s",
							 NameStr(receiver->peer.name)),
					PGC_USERSET, PGC_S_OVERRIDE);
}

/* ---- connecting ---- */

/*
 * The stream has begun: say so in the link.  A link that was stalled stays so
 * until this receiver gets further than those before.
 */
static void
announce_stream(Receiver *receiver)
{
	SharedLink *link = receiver->link;
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&link->mutex);
	link->counters.connects++;
	link->last_message_at = now;
	link->sent_lsn = receiver->feedback.sent;
	link->received_lsn = receiver->feedback.received;
	link->applied_lsn = receiver->feedback.done;
	link->flush_lsn = receiver->feedback.durable;
	link->peer_insert_lsn = receiver->end_at_start;
	link->heard_by_heartbeat = false;
	SpinLockRelease(&link->mutex);

	if (receiver->state != LINK_STALLED)
	{
		receiver->state = LINK_CATCHING_UP;
		mc_link_set_state(link, LINK_CATCHING_UP, NULL);
	}
}

/*
 * Was a connection lost in the middle of the transaction that is next?  The
 * applier does not talk to the peer while it applies a record, so a record
 * that takes long, such as a CREATE INDEX, makes the walsender give up.  Were
 * it not for this check, the next attempt would end in the same way.
 */
static bool
lost_within_transaction(const Receiver *receiver)
{
	SharedLink *link = receiver->link;
	bool		lost;

	SpinLockAcquire(&link->mutex);
	lost = link->error.sqlstate == ERRCODE_CONNECTION_FAILURE &&
		link->error.origin_lsn > mc_apply_progress(receiver->applier).value;
	SpinLockRelease(&link->mutex);
	return lost;
}

/*
 * Connect to the peer and start the stream at our progress.
 */
static void
connect_to_peer(Receiver *receiver)
{
	PeerStream *stream = palloc0(sizeof(PeerStream));
	OriginLsn	done;

	/* What an earlier receiver applied may not be durable yet. */
	(void) mc_apply_flushed(receiver->applier, true);

	stream->dsn = receiver->dsn;
	stream->peer = &receiver->peer;
	stream->identity = &receiver->identity;
	stream->progress = mc_apply_progress(receiver->applier);
	stream->patient = lost_within_transaction(receiver);
	stream->appliers = mc_stream_appliers(&receiver->options);
	stream->compression = mc_stream_compression(&receiver->options);
	stream->work_mem = receiver->options.work_mem;
	mc_stream_open(stream);
	receiver->stream = stream;

	/* What was confirmed once must not be taken back by a report. */
	receiver->connection = stream->connection;
	done.value = Max(stream->progress.value, stream->confirmed.value);
	mc_feedback_begin(&receiver->feedback, receiver->applier,
					  stream->connection, done, stream->confirmed);
	mc_apply_between_records(receiver->applier, mc_feedback_within_frame,
							 &receiver->feedback);
	receiver->end_at_start = stream->wal_end;

	receiver->wait_set = CreateWaitEventSet_compat(NULL, 3);
	AddWaitEventToSet(receiver->wait_set, WL_LATCH_SET, PGINVALID_SOCKET,
					  MyLatch, NULL);
	AddWaitEventToSet(receiver->wait_set, WL_EXIT_ON_PM_DEATH,
					  PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(receiver->wait_set, WL_SOCKET_READABLE,
					  mc_peer_socket(receiver->connection), NULL, NULL);
	announce_stream(receiver);
}

/* ---- appliers ---- */

static void note_time(Receiver *receiver, TimestampTz ts, TimestampTz sent_at);

/*
 * A transaction of an applier is committed, or all that a heartbeat speaks of.
 */
static void
take_finished(Receiver *receiver, const Finished *finished)
{
	if (finished->heartbeat)
	{
		mc_apply_promised(receiver->applier, finished->vector, finished->commit_ts,
						  finished->end_lsn, finished->decided);
		receiver->heard_heartbeat = true;
		note_time(receiver, finished->written, finished->sent_at);
		mc_feedback_done(&receiver->feedback, finished->end_lsn.value);
		return;
	}
	note_time(receiver, finished->commit_ts, finished->sent_at);
	receiver->last_commit_ts = finished->commit_ts;
	mc_feedback_committed(&receiver->feedback, finished->end_lsn.value);
}

/*
 * Fetch what appliers have committed.
 */
static void
fetch_finished(Receiver *receiver)
{
	Finished	finished;

	if (receiver->schedule == NULL)
		return;
	mc_schedule_check(receiver->schedule);
	while (mc_schedule_fetch(receiver->schedule, &finished))
		take_finished(receiver, &finished);
	mc_schedule_show(receiver->schedule);
}

/*
 * Wait for appliers; meanwhile the peer must hear of us.
 */
static void
pause_for_appliers(void *arg)
{
	Receiver   *receiver = arg;

	fetch_finished(receiver);
	mc_feedback_report(&receiver->feedback, mc_monotonic_ms(), false, false);
	mc_receiver_publish(receiver);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 APPLIERS_MS, mc_wait_event(MC_WAIT_APPLY_TURN));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	fetch_finished(receiver);
}

/*
 * Start the appliers, if there are to be any.
 */
static void
start_appliers(Receiver *receiver)
{
	int			nappliers = mc_stream_appliers(&receiver->options);

	if (nappliers > 0)
		receiver->schedule = mc_schedule_create(receiver->link, receiver->applier,
												receiver->identity.center_id,
												nappliers, receiver->starter,
												pause_for_appliers, receiver);
}

/*
 * May it sleep?  Not if an applier has committed something meanwhile.
 */
static bool
may_sleep(Receiver *receiver)
{
	return receiver->schedule == NULL || mc_schedule_may_sleep(receiver->schedule);
}

/* ---- receiving ---- */

/*
 * Read 8 bytes of a message in network byte order.
 */
static uint64
get_uint64(const char *bytes)
{
	uint64		value;

	memcpy(&value, bytes, sizeof(value));
	return pg_ntoh64(value);
}

/*
 * Raise an error about a message that breaks the protocol.
 */
pg_noreturn static void
raise_malformed(Receiver *receiver, XLogRecPtr lsn, const char *problem)
{
	receiver->malformed_at.value = lsn;
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed message from center \"%s\" at %X/%X: %s",
					NameStr(receiver->peer.name), LSN_FORMAT_ARGS(lsn),
					problem)));
}

/*
 * Remember a time of the peer's clock that everything up to is applied, and
 * whether it was old already when it was sent.  Both times are the peer's, so
 * that the difference of our clocks does not matter.  A commit may be stamped
 * with a time to come.
 */
static void
note_time(Receiver *receiver, TimestampTz ts, TimestampTz sent_at)
{
	receiver->heard_ts = Min(ts, sent_at);
	receiver->heard_time = true;
	receiver->behind = sent_at > ts && sent_at - ts > BEHIND_US;
}

/*
 * Is anything given away that was not committed yet?
 */
static bool
is_waiting(const Receiver *receiver)
{
	return receiver->schedule != NULL && mc_schedule_busy(receiver->schedule);
}

/*
 * Take over what a heartbeat says of all that came before it, at once or when
 * all that is committed.
 */
static void
take_heartbeat(Receiver *receiver, const FrameHeader *header, const Pulse *pulse,
			   TimestampTz sent_at)
{
	Finished	heartbeat = {0};

	heartbeat.heartbeat = true;
	heartbeat.end_lsn.value = header->end_lsn;
	heartbeat.commit_ts = header->commit_ts;
	heartbeat.sent_at = sent_at;
	heartbeat.written = pulse->written;
	heartbeat.decided = pulse->decided;
	heartbeat.vector = mc_apply_vector(receiver->applier);
	if (receiver->schedule)
		mc_schedule_heard(receiver->schedule);
	if (is_waiting(receiver))
		mc_schedule_defer(receiver->schedule, &heartbeat);
	else
		take_finished(receiver, &heartbeat);
}

/*
 * A frame has arrived: apply it.
 */
static void
take_frame(Receiver *receiver, XLogRecPtr start, TimestampTz sent_at,
		   const char *data, uint32 len)
{
	FrameHeader header;
	WireCursor	body;
	Pulse		pulse;
	const char *problem = "unknown";

	if (mc_wire_read_frame(data, len, &header, &body, &problem) != WIRE_OK)
		raise_malformed(receiver, start, problem);

	if (header.flags & FRAME_COMPRESSED)
	{
		if (mc_unpack_frame(receiver->stream->compression, &header, &body,
							&receiver->unpacked, &problem) != WIRE_OK)
			raise_malformed(receiver, header.commit_lsn, problem);
		receiver->bytes_saved += MC_FRAME_HEADER_BYTES + body.len - len;
	}
	if (header.type == FRAME_HEARTBEAT)
	{
		/* The applier checks the same for transactions. */
		if (header.prev_end_lsn != receiver->previous_end.value)
			raise_malformed(receiver, header.commit_lsn,
							"a transaction before it is missing");
		if (mc_apply_in_transaction(receiver->applier))
			raise_malformed(receiver, header.commit_lsn,
							"heartbeat within a transaction");
		mc_apply_heartbeat(receiver->applier, &header, &body, &pulse);
		mc_peer_clock_heard(&receiver->clock, &pulse, sent_at);
		take_heartbeat(receiver, &header, &pulse, sent_at);
		return;
	}

	if (receiver->schedule &&
		mc_schedule_take(receiver->schedule, &header, &body, sent_at))
	{
		receiver->previous_end.value = header.end_lsn;
		return;
	}
	if (mc_apply_frame(receiver->applier, &header, &body))
	{
		if (receiver->schedule)
			mc_schedule_applied(receiver->schedule);
		note_time(receiver, header.commit_ts, sent_at);
		receiver->last_commit_ts = header.commit_ts;
		receiver->previous_end.value = header.end_lsn;
		mc_feedback_committed(&receiver->feedback, header.end_lsn);
	}
	else
		receiver->behind = sent_at > header.commit_ts &&
			sent_at - header.commit_ts > BEHIND_US;
}

/*
 * Take one message of the stream apart.
 */
static void
take_message(Receiver *receiver, const char *message, int len)
{
	XLogRecPtr	lsn;

	switch (message[0])
	{
		case 'w':
			if (len <= DATA_HEADER_BYTES)
				raise_malformed(receiver, receiver->feedback.received.value,
								"data message is too short");
			lsn = get_uint64(message + 1);
			mc_feedback_heard(&receiver->feedback, lsn, true);
			receiver->sent_ts = (TimestampTz) get_uint64(message + 17);
			receiver->sent_us = mc_monotonic_us();
			take_frame(receiver, lsn, receiver->sent_ts,
					   message + DATA_HEADER_BYTES,
					   (uint32) (len - DATA_HEADER_BYTES));
			break;
		case 'k':
			if (len != KEEPALIVE_BYTES)
				raise_malformed(receiver, receiver->feedback.received.value,
								"keepalive has a wrong length");
			lsn = get_uint64(message + 1);
			mc_feedback_heard(&receiver->feedback, lsn, false);

			/* All transactions that end before it have been sent before. */
			if (!mc_apply_in_transaction(receiver->applier) && !is_waiting(receiver))
				mc_feedback_done(&receiver->feedback, lsn);
			if (message[17] != 0)
				receiver->feedback.reply_requested = true;
			break;
		default:
			raise_malformed(receiver, receiver->feedback.received.value,
							"unknown type of message");
	}
}

/*
 * Receive and apply what has arrived, but not more than a batch.  Returns
 * true if nothing is left, so that we may wait for the socket.
 */
static bool
take_batch(Receiver *receiver)
{
	int64		bytes = 0;

	for (int i = 0; i < BATCH_MESSAGES && bytes < BATCH_BYTES; i++)
	{
		char	   *message;
		int			len;

		CHECK_FOR_INTERRUPTS();
		len = mc_peer_receive(receiver->connection, &message);
		if (len == 0)
		{
			receiver->bytes += bytes;
			return true;
		}
		if (len < 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("center \"%s\" closed the connection",
							NameStr(receiver->peer.name))));
		bytes += len;
		take_message(receiver, message, len);
	}
	receiver->bytes += bytes;
	return false;
}

/* ---- the loop ---- */

/*
 * The stream was opened with options of the link.  If they are others now, the
 * process ends, and its successor opens it anew.
 */
static void
follow_options(const Receiver *receiver)
{
	if (mc_apply_in_transaction(receiver->applier) ||
		IsTransactionOrTransactionBlock() ||
		!mc_stream_options_changed(receiver->link) ||
		!mc_stream_is_outdated(receiver->stream))
		return;
	ereport(LOG,
			(errmsg("replication from center \"%s\" starts again, with other options",
					NameStr(receiver->peer.name))));
	proc_exit(1);
}

/*
 * Nothing is there to be applied: do what must not be done in the middle of a
 * transaction.
 */
static void
do_idle_work(Receiver *receiver, int64 now_ms)
{
	if (mc_apply_in_transaction(receiver->applier) ||
		IsTransactionOrTransactionBlock())
		return;
	AcceptInvalidationMessages();
	if (now_ms - receiver->stats_ms >= STATS_MS)
	{
		pgstat_report_stat(true);
		receiver->stats_ms = now_ms;
	}
}

/*
 * Wait until the peer sends something, a report is due, or somebody wants
 * something of us.
 */
static void
wait_for_input(Receiver *receiver, int64 now_ms)
{
	WaitEvent	events[3];
	int64		until_ms = mc_feedback_due_ms(&receiver->feedback);
	int			nevents;

	if (receiver->schedule)
		mc_schedule_idle(receiver->schedule);
	if (!may_sleep(receiver))
		return;
	pgstat_report_activity(IsTransactionOrTransactionBlock() ?
						   STATE_IDLEINTRANSACTION : STATE_IDLE, NULL);
	nevents = WaitEventSetWait(receiver->wait_set,
							   (long) Max(until_ms - now_ms, 0),
							   events, lengthof(events), mc_wait_event(MC_WAIT_RECEIVER));
	for (int i = 0; i < nevents; i++)
	{
		/* A part of a large message is a sign of life too. */
		if (events[i].events & WL_SOCKET_READABLE)
			receiver->heard_ms = mc_monotonic_ms();
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
	}
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		mc_stream_look_again(receiver->link);
	}
	pgstat_report_activity(STATE_RUNNING, NULL);
}

/*
 * How long may the rest of a message take?  See PARTIAL_FAILED_MS.
 */
static void
set_patience(Receiver *receiver)
{
	SharedLink *link = receiver->link;
	int			failures;

	SpinLockAcquire(&link->mutex);
	failures = link->failures;
	SpinLockRelease(&link->mutex);
	receiver->partial_ms = (int64) PARTIAL_FAILED_MS << Min(failures, PARTIAL_DOUBLINGS);

	/* The start of this process counts as the first one. */
	receiver->silence_ms = (int64) SILENCE_FAILED_MS << Min(Max(failures - 1, 0), SILENCE_DOUBLINGS);
}

/*
 * Give up a connection on which nothing comes, or nothing whole.
 */
static void
check_silence(const Receiver *receiver, int64 now_ms)
{
	int64		silence_ms = receiver->proven ? SILENCE_FAILED_MS : receiver->silence_ms;

	if (now_ms - receiver->heard_ms >= silence_ms)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("no message from center \"%s\" for %d s",
						NameStr(receiver->peer.name),
						(int) (silence_ms / 1000))));
	if (receiver->heard_ms > receiver->complete_ms &&
		now_ms - receiver->complete_ms >= receiver->partial_ms)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("no complete message from center \"%s\" for %d s",
						NameStr(receiver->peer.name),
						(int) (receiver->partial_ms / 1000))));
}

/*
 * Receive, apply and report, until an error ends it.
 */
pg_noreturn static void
stream(Receiver *receiver)
{
	receiver->heard_ms = mc_monotonic_ms();
	receiver->complete_ms = receiver->heard_ms;
	receiver->stats_ms = receiver->heard_ms;
	set_patience(receiver);
	for (;;)
	{
		bool		drained;
		int64		now_ms;

		MemoryContextSwitchTo(receiver->batch_context);
		drained = take_batch(receiver);
		fetch_finished(receiver);
		now_ms = mc_monotonic_ms();
		if (receiver->bytes > 0)
			receiver->heard_ms = receiver->complete_ms = now_ms;

		/* The peer does not speak by itself as long as it hears us. */
		mc_feedback_report(&receiver->feedback, now_ms, drained,
						   now_ms - receiver->heard_ms >= SILENCE_ASK_MS);
		mc_receiver_publish(receiver);
		mc_receiver_show_state(receiver, now_ms);
		follow_options(receiver);
		if (!mc_apply_in_transaction(receiver->applier))
			MemoryContextReset(receiver->batch_context);
		if (!drained)
			continue;

		check_silence(receiver, now_ms);
		do_idle_work(receiver, now_ms);
		wait_for_input(receiver, now_ms);
	}
}

/*
 * Should the log be told of an error?  Not of one that it has been told of, as
 * long as that repeats: attempts follow each other quickly, and views show it.
 */
static bool
is_news(SharedLink *link, const ErrorData *error, OriginLsn lsn)
{
	TimestampTz now = GetCurrentTimestamp();
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) error->message,
											   (int) strlen(error->message)),
									(uint32) lsn.value ^ (uint32) error->sqlerrcode);
	bool		news;

	hash = Max(hash, 1);
	SpinLockAcquire(&link->mutex);
	news = link->logged != hash || now - link->logged_at > LOG_AGAIN_US;
	if (news)
	{
		link->logged = hash;
		link->logged_at = now;
	}
	SpinLockRelease(&link->mutex);
	return news;
}

/*
 * Write the error that was caught into the link.  Returns whether the log
 * should have it, too.
 */
static bool
record_failure(Receiver *receiver)
{
	SharedLink *link = receiver->link;
	OriginLsn	lsn = {InvalidXLogRecPtr};
	const char *relation = NULL;
	LinkState	state = LINK_STALLED;
	ErrorData  *error;
	char	   *message;
	bool		connected_once;

	MemoryContextSwitchTo(receiver->context);
	error = CopyErrorData();
	message = error->message ? error->message : pstrdup("unknown error");

	/* The copy in the link must not end within a character. */
	message[pg_mbcliplen(message, strlen(message),
						 MC_ERROR_MESSAGE_BYTES - 1)] = '\0';
	if (receiver->applier)
	{
		const ApplyPosition *position = mc_apply_position(receiver->applier);

		lsn = position->commit_lsn;
		relation = position->relation;
	}
	if (receiver->malformed_at.value != InvalidXLogRecPtr)
		lsn = receiver->malformed_at;
	mc_monitor_applying(link, InvalidXLogRecPtr);
	mc_link_set_error(link, error->sqlerrcode, message, relation, lsn,
					  mc_handler_failed_for_good());

	SpinLockAcquire(&link->mutex);
	connected_once = link->counters.connects > 0;
	SpinLockRelease(&link->mutex);
	if (mc_stream_is_unreachable(error->sqlerrcode))
		state = connected_once ? LINK_DISCONNECTED : LINK_NEVER_CONNECTED;
	mc_link_set_state(link, state, message);
	return error->message == NULL || is_news(link, error, lsn);
}

/*
 * The receiver; see receiver.h.
 */
void
mc_receiver_run(SharedLink *link, ApplierStarter starter)
{
	Receiver   *receiver = MemoryContextAllocZero(TopMemoryContext,
												  sizeof(Receiver));

	receiver->link = link;
	receiver->starter = starter;
	receiver->context = AllocSetContextCreate(TopMemoryContext,
											  "multicenter receiver",
											  ALLOCSET_DEFAULT_SIZES);
	receiver->batch_context = AllocSetContextCreate(receiver->context,
													"multicenter batch",
													ALLOCSET_DEFAULT_SIZES);
	claim_link(receiver);
	mc_receiver_pin_settings();
	MemoryContextSwitchTo(receiver->context);
	initStringInfo(&receiver->unpacked);

	/* Caught only to be shown in views; the process ends by it all the same. */
	PG_TRY();
	{
		MemoryContext apply_context;

		configure(receiver);
		apply_context = AllocSetContextCreate(receiver->context,
											  "multicenter applier",
											  ALLOCSET_DEFAULT_SIZES);
		MemoryContextSwitchTo(apply_context);
		receiver->applier = mc_apply_create(link,
											receiver->identity.center_id,
											NameStr(receiver->peer.name));
		MemoryContextSwitchTo(receiver->context);
		start_appliers(receiver);
		connect_to_peer(receiver);
		stream(receiver);
	}
	PG_CATCH();
	{
		if (record_failure(receiver))
			PG_RE_THROW();

		/* As by that, but without a word, of the postmaster either. */
		HOLD_INTERRUPTS();
		proc_exit(0);
	}
	PG_END_TRY();
}
