/*-------------------------------------------------------------------------
 *
 * output.c
 *	  The output plugin: decoded transactions become frames.
 *
 * NOTES
 *	  Runs in the walsender that serves one peer.  A transaction is gathered
 *	  in a buffer and sent as one frame when it has been decoded, or in chunks
 *	  where it is large; nothing is sent of one that changes nothing that is
 *	  replicated.  Transactions are decoded at commit only, since nobody can
 *	  decide on a row before its commit timestamp is known: no streaming, no
 *	  two-phase decoding.
 *
 *	  What has a replication origin came from a peer, or from a join's copy,
 *	  and is not passed on: every center is linked with every other one.  The
 *	  commit records of peers' transactions tell what had been applied here
 *	  before the transactions that follow (vector.c), and those pass that bring
 *	  what the applier itself has to say to the group.  Transactions that were
 *	  stamped forward have an origin too, but are our own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "core/wire.h"
#include "miscadmin.h"
#include "origin/ahead.h"
#include "origin/encode.h"
#include "origin/handshake.h"
#include "origin/message.h"
#include "origin/recall.h"
#include "origin/vector.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "replication/walsender.h"
#include "state/clock.h"
#include "state/monitor.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"

/* A buffer that has grown beyond this is given back after its frame. */
#define MAX_KEPT_BUFFER_BYTES	(16 * MC_CHUNK_BYTES)

/* Many changes: others must not wait until they have been gone through. */
#define MANY_CHANGES			100

/* PostgreSQL looks at progress once in a second; it need not hear of more. */
#define TRACK_US				(100 * 1000)

/* After so many changes without a frame, see to the peer's timeout. */
#define QUIET_CHANGES			100

/* The output of one slot. */
typedef struct OutputState
{
	SharedOutLink *link;
	RowEncoder *encoder;
	VectorTracker *tracker;
	TableTally *tally;			/* rows of the current transaction, by table */
	uint8		version;		/* of the protocol */
	PackMethod	compression;

	StringInfoData frame;		/* the frame that is being built */
	int			frame_offset;
	int			lead;			/* bytes that PostgreSQL puts before a frame */
	bool		frame_open;		/* the buffer holds the start of a frame */

	FrameHeader header;			/* of the current transaction */
	bool		first_sent;		/* its first chunk is on its way */
	TimestampTz tracked_at;		/* when PostgreSQL was told of progress */
	XLogRecPtr	prev_end_lsn;	/* of the transaction sent before */
	bool		is_ours;		/* the current transaction is of this center */
	int			quiet_changes;
} OutputState;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

/* The outgoing link that shows this process as its walsender, or NULL. */
static SharedOutLink *connected_link = NULL;

/* ---- the link in shared memory ---- */

/* Show that this process serves a link. */
static void
link_connected(SharedOutLink *link)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&link->mutex);
	link->walsender_pid = MyProcPid;
	link->connects++;
	link->state_since = now;
	SpinLockRelease(&link->mutex);
	connected_link = link;
	if (mc_audit != AUDIT_OFF)
		mc_audit_client(link->peer, true, "connect", NULL);
}

/* Show that it does so no more. */
static void
link_disconnected(void)
{
	SharedOutLink *link = connected_link;
	TimestampTz now = GetCurrentTimestamp();

	if (link == NULL)
		return;
	connected_link = NULL;
	SpinLockAcquire(&link->mutex);

	/* The next walsender may have taken over already. */
	if (link->walsender_pid == MyProcPid)
	{
		link->walsender_pid = 0;
		link->state_since = now;
	}
	SpinLockRelease(&link->mutex);
	if (mc_audit != AUDIT_OFF)
		mc_audit_client(link->peer, true, "disconnect", NULL);
}

/* Same, at the end of the process. */
static void
disconnect_at_exit(int code, Datum arg)
{
	link_disconnected();
}

/* Same, when the decoding context goes away, be it by an error. */
static void
disconnect_at_reset(void *arg)
{
	link_disconnected();
}

/* Count a frame that was sent; ended: when the transaction did, 0: it did not. */
static void
link_count_frame(SharedOutLink *link, uint32 bytes, uint32 bytes_raw,
				 TimestampTz ended, XLogRecPtr sent_lsn)
{
	SpinLockAcquire(&link->mutex);
	link->bytes += bytes;
	link->bytes_raw += bytes_raw;
	if (ended != 0)
	{
		link->xacts++;
		link->last_xact_at = ended;
	}
	if (sent_lsn > link->sent_lsn.value)
		link->sent_lsn.value = sent_lsn;
	SpinLockRelease(&link->mutex);
}

/* ---- start and end ---- */

/*
 * Pin the settings that change how values look as text.  Only in a walsender,
 * whose session serves nothing else.
 */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", ""},
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"timezone", "UTC"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"lc_monetary", "C"},
	};

	if (!am_walsender || !0)
		return;
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION);
}

/* Show the link as connected as long as the context of the stream lives. */
static void
connect_link(MemoryContext context, OutputState *state, CenterId target)
{
	static bool exit_registered = false;
	MemoryContextCallback *callback;

	state->link = mc_shared_outlink(MyDatabaseId, target, true);
	if (!exit_registered)
	{
		before_shmem_exit(disconnect_at_exit, (Datum) 0);
		exit_registered = true;
	}
	callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	callback->func = disconnect_at_reset;
	MemoryContextRegisterResetCallback(context, callback);
	link_connected(state->link);
}

/* Begin to decode; with is_init, only create the slot. */
static void
start_output(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	OutputState *state;
	Handshake	peer;

	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	ctx->streaming = false;
	ctx->twophase = false;
	if (is_init)
		return;

	mc_shared_require();
	if (mc_recall_start(ctx))
		return;
	mc_handshake(ctx, &peer);

	/* What was stamped must not pass for a peer's after a start. */
	mc_clock_wait_ready();
	pin_settings();
	mc_decode_ahead_init();

	state = MemoryContextAllocZero(ctx->context, sizeof(OutputState));
	state->version = peer.version;
	state->compression = peer.compression;
	state->encoder = mc_encoder_create(ctx->context, peer.encoding, peer.images);
	state->tracker = mc_tracker_create(ctx, peer.position);
	state->tally = mc_tally_create(peer.target, true);
	initStringInfo(&state->frame);
	connect_link(ctx->context, state, peer.target);
	ctx->output_plugin_private = state;
}

/* End decoding. */
static void
end_output(LogicalDecodingContext *ctx)
{
	link_disconnected();
	ctx->output_plugin_private = NULL;
}

/* ---- frames ---- */

/* Make sure that the buffer holds the start of a frame. */
static void
open_frame(OutputState *state)
{
	const VectorDelta *vector = NULL;

	if (state->frame_open)
		return;
	resetStringInfo(&state->frame);
	appendStringInfoSpaces(&state->frame, state->lead);
	state->header.nvector = 0;
	if (!state->first_sent)
		vector = mc_tracker_deltas(state->tracker, state->header.commit_lsn,
								   &state->header.nvector);
	state->frame_offset = mc_wire_begin_frame(&state->frame, &state->header, vector);
	state->frame_open = true;
}

/* Give a buffer back that one large row has made grow. */
static void
shrink_buffer(LogicalDecodingContext *ctx, OutputState *state)
{
	MemoryContext caller_context;

	if (state->frame.maxlen <= MAX_KEPT_BUFFER_BYTES)
		return;
	caller_context = MemoryContextSwitchTo(ctx->context);
	pfree(state->frame.data);
	initStringInfo(&state->frame);
	MemoryContextSwitchTo(caller_context);
}

/*
 * Give the frame, as it is, to PostgreSQL, which has begun its buffer with the
 * header of a message.  If we have left room for that, as we do from the second
 * frame on, the buffers change places, and nothing is copied but the header.
 */
static void
put_out(LogicalDecodingContext *ctx, OutputState *state)
{
	StringInfoData begun = *ctx->out;

	if (begun.len != state->frame_offset)
	{
		appendBinaryStringInfo(ctx->out, state->frame.data + state->frame_offset,
							   state->frame.len - state->frame_offset);
		state->lead = begun.len;
		return;
	}
	memcpy(state->frame.data, begun.data, begun.len);
	*ctx->out = state->frame;
	state->frame = begun;
}

/*
 * Send the frame in the buffer, compressed if that is wanted and makes it
 * shorter.  Heartbeats are short, and never are.  ended: when the transaction
 * has, or 0.
 */
static void
send_frame(LogicalDecodingContext *ctx, OutputState *state, uint16 flags,
		   TimestampTz ended)
{
	bool		is_transaction = state->header.type == FRAME_TRANSACTION;
	bool		is_last = (flags & FRAME_LAST) != 0;
	uint32		bytes_raw = (uint32) (state->frame.len - state->frame_offset);
	uint32		bytes;
	int			start;

	OutputPluginPrepareWrite(ctx, true);
	start = ctx->out->len;
	if (state->compression == PACK_NONE || !is_transaction ||
		!mc_pack_frame(state->compression, &state->frame, state->frame_offset,
					   flags, ctx->out))
	{
		mc_wire_end_frame(&state->frame, state->frame_offset, flags);
		put_out(ctx, state);
	}
	bytes = (uint32) (ctx->out->len - start);
	if (!mc_gather_output(ctx, ended))
		OutputPluginWrite(ctx, true);

	state->frame_open = false;
	state->quiet_changes = 0;
	shrink_buffer(ctx, state);
	link_count_frame(state->link, bytes, bytes_raw, ended,
					 is_last ? state->header.end_lsn : InvalidXLogRecPtr);
}

/* Send a chunk of the current transaction; ended: when it has, or 0. */
static void
send_chunk(LogicalDecodingContext *ctx, OutputState *state, TimestampTz ended)
{
	uint16		flags = 0;

	open_frame(state);
	if (!state->first_sent)
		flags |= FRAME_FIRST;
	if (ended != 0)
		flags |= FRAME_LAST;
	send_frame(ctx, state, flags, ended);
	state->first_sent = true;
}

/*
 * Called for each change.  Many of them without a frame must not make the peer
 * believe that we are dead: let the walsender send a keepalive if it is time.
 */
static void
count_change(LogicalDecodingContext *ctx, OutputState *state)
{
	if (++state->quiet_changes < QUIET_CHANGES)
		return;
	state->quiet_changes = 0;
	OutputPluginUpdateProgress(ctx, false);
}

/* ---- transactions ---- */

/* Does what has this origin come from this center? */
static bool
is_own_origin(RepOriginId origin)
{
	return origin == InvalidRepOriginId || mc_clock_is_stamp_origin(origin);
}

/* Keep the header; the frame is begun by the first change that is sent. */
static void
begin_transaction(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	OutputState *state = ctx->output_plugin_private;
	FrameHeader *header = &state->header;

	memset(header, 0, sizeof(FrameHeader));
	header->type = FRAME_TRANSACTION;
	header->version = state->version;
	header->xid = txn->xid;
	header->commit_lsn = txn->final_lsn;
	header->end_lsn = txn->end_lsn;
	header->commit_ts = mc_txn_commit_time(txn);
	header->prev_end_lsn = state->prev_end_lsn;
	state->frame_open = false;
	state->first_sent = false;
	state->is_ours = is_own_origin(txn->origin_id);
	mc_tally_forget(state->tally);
	if (txn->nentries > MANY_CHANGES || txn->nsubtxns > 0)
		mc_flush_gathered();
}

/* Count what is sent of a table. */
static void
count_sent(OutputState *state, Relation rel, TallyKind kind)
{
	const char *schema;

	if (mc_tally_count(state->tally, RelationGetRelid(rel), kind))
		return;
	schema = mc_encoder_schema(state->encoder, rel);
	if (schema == NULL)
		return;
	mc_tally_name(state->tally, RelationGetRelid(rel), schema,
				  RelationGetRelationName(rel));
	(void) mc_tally_count(state->tally, RelationGetRelid(rel), kind);
}

/* What a change is counted as. */
static TallyKind
kind_of_change(const ReorderBufferChange *change)
{
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			return TALLY_INSERT;
		case REORDER_BUFFER_CHANGE_UPDATE:
			return TALLY_UPDATE;
		default:
			return TALLY_DELETE;
	}
}

/* A row was inserted, updated or deleted. */
static void
change_row(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel,
		   ReorderBufferChange *change)
{
	OutputState *state = ctx->output_plugin_private;

	count_change(ctx, state);
	if (mc_encoder_route(state->encoder, rel) == ROUTE_NONE)
		return;
	open_frame(state);
	mc_encode_change(state->encoder, &state->frame, rel, change);
	count_sent(state, rel, kind_of_change(change));
	if (state->frame.len > MC_CHUNK_BYTES)
		send_chunk(ctx, state, 0);
}

/* Tables were truncated in one statement. */
static void
truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				int nrelations, Relation relations[],
				ReorderBufferChange *change)
{
	OutputState *state = ctx->output_plugin_private;
	uint32	   *relids = palloc(nrelations * sizeof(uint32));
	uint8		flags = 0;
	int			nrelids = 0;
	int			record;

	count_change(ctx, state);
	for (int i = 0; i < nrelations; i++)
	{
		/* The leaves of a partitioned table are in the list themselves. */
		if (relations[i]->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
			mc_encoder_route(state->encoder, relations[i]) == ROUTE_NONE)
			continue;
		open_frame(state);
		mc_encode_relation(state->encoder, &state->frame, relations[i]);
		count_sent(state, relations[i], TALLY_TRUNCATE);
		relids[nrelids++] = RelationGetRelid(relations[i]);
	}
	if (nrelids > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("cannot replicate TRUNCATE of more than %d tables", PG_UINT16_MAX)));
	if (nrelids > 0)
	{
		if (change->data.truncate.cascade)
			flags |= TRUNCATE_FLAG_CASCADE;
		if (change->data.truncate.restart_seqs)
			flags |= TRUNCATE_FLAG_RESTART_SEQS;
		record = mc_wire_begin_record(&state->frame, RECORD_TRUNCATE);
		mc_wire_put_truncate(&state->frame, flags, (uint16) nrelids, relids);
		mc_wire_end_record(&state->frame, record);
	}
	pfree(relids);
}

/* The transaction is complete. */
static void
commit_transaction(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				   XLogRecPtr commit_lsn)
{
	OutputState *state = ctx->output_plugin_private;
	TimestampTz now;

	/* Tells synchronous waiters of what is not sent. */
	if (!state->frame_open && !state->first_sent)
	{
		if (state->is_ours)
			OutputPluginUpdateProgress(ctx, true);
		return;
	}

	/* Feeds replay_lag. */
	now = GetCurrentTimestamp();
	if (now - state->tracked_at >= TRACK_US || now < state->tracked_at)
	{
		OutputPluginUpdateProgress(ctx, false);
		state->tracked_at = now;
	}

	/* Before it is sent: the audit must not have less than the peer has. */
	mc_tally_commit_at(state->tally, now);
	send_chunk(ctx, state, now);
	state->prev_end_lsn = state->header.end_lsn;
}

/* ---- messages ---- */

/*
 * What the frame of a heartbeat says of this moment: of the peer's last message
 * on the link in the other direction, and of the end of our WAL.
 */
static void
take_pulse(OutputState *state, Pulse *pulse)
{
	SharedLink *in = mc_shared_link(MyDatabaseId, state->link->peer, false);
	int64		sent_us = 0;

	pulse->echo = 0;
	pulse->held_us = 0;
	pulse->wal_end = GetXLogInsertRecPtr();
	if (in == NULL)
		return;
	SpinLockAcquire(&in->mutex);
	if (in->pid != 0)
	{
		pulse->echo = in->sent_ts;
		sent_us = in->sent_us;
	}
	SpinLockRelease(&in->mutex);
	pulse->held_us = mc_monotonic_us() - sent_us;
}

/*
 * Send a heartbeat.  Messages outside of transactions are decoded between two
 * of them, so no frame is under way.  lsn is the end of the message's record
 * (PostgreSQL passes the end, not the start): all that was committed before
 * the message has been sent by now, and the peer may confirm that position.
 */
static void
send_heartbeat(LogicalDecodingContext *ctx, OutputState *state, XLogRecPtr lsn,
			   WireBytes content)
{
	FrameHeader *header = &state->header;
	Heartbeat	heartbeat;
	Pulse		pulse;
	const char *problem;

	if (mc_wire_read_heartbeat(content, &heartbeat, &problem) != WIRE_OK)
		elog(ERROR, "heartbeat in our own WAL: %s", problem);
	Assert(!state->frame_open);
	mc_tracker_heartbeat(state->tracker, &heartbeat);
	state->first_sent = false;

	memset(header, 0, sizeof(FrameHeader));
	header->type = FRAME_HEARTBEAT;
	header->version = state->version;
	header->commit_lsn = lsn;
	header->end_lsn = lsn;
	header->commit_ts = heartbeat.promise;
	header->prev_end_lsn = state->prev_end_lsn;
	open_frame(state);
	pulse.written = heartbeat.written;
	pulse.decided = heartbeat.decided;
	take_pulse(state, &pulse);
	mc_wire_put_pulse(&state->frame, &pulse);
	send_frame(ctx, state, FRAME_FIRST | FRAME_LAST, 0);
}

/* A logical message: ours, somebody else's, or one that pretends to be ours. */
static void
pass_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			 XLogRecPtr message_lsn, bool transactional, const char *prefix,
			 Size size, const char *message)
{
	OutputState *state = ctx->output_plugin_private;
	bool		heartbeat = !transactional && strcmp(prefix, MC_MESSAGE_PREFIX) == 0;
	bool		derived = transactional && strcmp(prefix, MC_DERIVED_PREFIX) == 0;
	bool		for_apply = transactional && state->is_ours &&
	(strcmp(prefix, MC_DDL_PREFIX) == 0 || strcmp(prefix, MC_FENCE_PREFIX) == 0 ||
	 strcmp(prefix, MC_SEEN_PREFIX) == 0 || strcmp(prefix, MC_COLUMNS_PREFIX) == 0);
	WireBytes	content;

	if (!heartbeat && !derived && !for_apply)
		return;
	if (!mc_message_check(prefix, transactional,
						  transactional ? txn->xid : InvalidTransactionId,
						  message, size, &content))
	{
		ereport(LOG,
				(errmsg("ignored a logical message with prefix \"%s\" at %X/%X",
						prefix, LSN_FORMAT_ARGS(message_lsn)),
				 errdetail("It was not written by multicenter.")));
		return;
	}
	if (heartbeat)
	{
		send_heartbeat(ctx, state, message_lsn, content);
		return;
	}
	count_change(ctx, state);
	open_frame(state);
	mc_encode_message(state->encoder, &state->frame, prefix, content);
}

/* What the reorder buffer finds a transaction by; it keeps that to itself. */
typedef struct QueuedTransaction
{
	TransactionId xid;
	ReorderBufferTXN *txn;
} QueuedTransaction;

/* Has something of the transaction passed the filter, and is to be told? */
static bool
has_changes(ReorderBuffer *buffer, TransactionId xid)
{
	QueuedTransaction *queued = hash_search(buffer->by_txn, &xid, HASH_FIND, NULL);

	return queued != NULL && queued->txn->nentries > 0;
}

/*
 * Is the record the commit of a transaction of which nothing passed the filter?
 * Most of what was applied here is so.  It need not be gone through only to
 * find nothing, which costs more than everything else that it does cost.
 */
static bool
is_empty_commit(LogicalDecodingContext *ctx)
{
	XLogReaderState *record = ctx->reader;
	xl_xact_commit *commit = (xl_xact_commit *) XLogRecGetData(record);
	uint8		info = XLogRecGetInfo(record);
	xl_xact_xinfo xinfo = {0};
	xl_xact_parsed_commit parsed;

	if ((info & XLOG_XACT_OPMASK) != XLOG_XACT_COMMIT ||
		has_changes(ctx->reorder, XLogRecGetXid(record)))
		return false;
	if (info & XLOG_XACT_HAS_INFO)
		memcpy(&xinfo, (char *) commit + MinSizeOfXactCommit, sizeof(xinfo));
	if ((xinfo.xinfo & XACT_XINFO_HAS_SUBXACTS) == 0)
		return true;
	ParseCommitRecord(info, commit, &parsed);
	for (int i = 0; i < parsed.nsubxacts; i++)
	{
		if (has_changes(ctx->reorder, parsed.subxacts[i]))
			return false;
	}
	return true;
}

/*
 * Leave out what has come from elsewhere, but for the commits of peers' that
 * brought something of our own.  No catalog can be read here, and it is called
 * for each record.
 */
static bool
filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin_id)
{
	OutputState *state = ctx->output_plugin_private;

	if (state != NULL && mc_decode_ahead(ctx))
		return true;
	if (is_own_origin(origin_id))
		return false;
	return state == NULL ||
		!mc_tracker_commit(state->tracker, ctx->reader, origin_id) ||
		is_empty_commit(ctx);
}

/* Called when PostgreSQL loads the library as an output plugin. */
void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = start_output;
	cb->shutdown_cb = end_output;
	cb->begin_cb = begin_transaction;
	cb->change_cb = change_row;
	cb->truncate_cb = truncate_tables;
	cb->commit_cb = commit_transaction;
	cb->message_cb = pass_message;
	cb->filter_by_origin_cb = filter_by_origin;
}
