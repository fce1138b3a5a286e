/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  A walsender decodes several records of WAL in one of its steps.
 *
 * NOTES
 *	  Before each record a walsender asks the kernel whether its client has
 *	  said something, and what time it is.  That costs as much as to decode a
 *	  row, and is what a walsender does for most of its time that drops what
 *	  was applied here.  An output plugin has no say in that loop, but it is
 *	  asked about each record that has a row: does it want what has this origin?
 *	  It then decodes that record and some of those that follow by itself, and
 *	  answers that it does not want it.
 *
 *	  That is right because that question is the last one that PostgreSQL asks
 *	  before it uses the record: on "no" it returns to the walsender's loop
 *	  without a look at it.  The loop takes its position from the reader, which
 *	  is where we have read to.  We read only WAL that has been flushed when we
 *	  begin, so we wait for none, and not so much that the walsender's client
 *	  would have to wait for an answer.
 *
 *	  For rows only: for the end of a transaction PostgreSQL does ask something
 *	  after that question, and on "no" forgets the transaction.  Only within a
 *	  walsender: SQL functions look at each record themselves.  And only in
 *	  releases whose decoding is known to be like that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam_xlog.h"
#include "access/xlog.h"
#include "access/xlogreader.h"
#include "miscadmin.h"
#include "origin/ahead.h"
#include "port/pg_bswap.h"
#include "replication/decode.h"
#include "replication/walsender.h"

/*
 * What follows has the flush of the walsender's connection.  For what it says
 * of encryption it wants headers that do not come with PostgreSQL's.
 */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq.h"

#include "compat.h"

/*
 * So many records are decoded in one step, which takes less than a millisecond.
 * Many rows that are inserted by one call have one record for them all and then
 * one for each of their index entries, none of which we are asked about.
 */
#define AHEAD_RECORDS		1000

/* A record that ends within so many bytes does not end beyond the flushed WAL. */
#define MARGIN_BYTES		(2 * XLOG_BLCKSZ)

/* So much output is gathered for one send(). */
#define GATHER_BYTES		65536

/* In a message of the stream: where the time is when it was sent. */
#define SEND_TIME_OFFSET	(1 + 2 * sizeof(XLogRecPtr))

/* We are decoding: the question is asked by ourselves. */
static bool active = false;

/* Bytes that wait in the send buffer of the connection for a flush. */
static int	gathered = 0;

/* WAL is flushed at least up to here. */
static XLogRecPtr flushed = InvalidXLogRecPtr;

/* Is it a record that PostgreSQL has done with once it is filtered out? */
static bool
is_row(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & XLOG_HEAP_OPMASK;

	switch (XLogRecGetRmid(record))
	{
		case RM_HEAP_ID:
			return info == XLOG_HEAP_INSERT || info == XLOG_HEAP_UPDATE ||
				info == XLOG_HEAP_HOT_UPDATE || info == XLOG_HEAP_DELETE;
		case RM_HEAP2_ID:
			return info == XLOG_HEAP2_MULTI_INSERT;
		default:
			return false;
	}
}

/* Is the next record flushed as a whole, as far as one can tell? */
static bool
next_is_there(XLogReaderState *reader)
{
	if (reader->EndRecPtr + MARGIN_BYTES <= flushed)
		return true;
	flushed = GetFlushRecPtr(NULL);
	return reader->EndRecPtr + MARGIN_BYTES <= flushed;
}

void
mc_decode_ahead_init(void)
{
	active = false;
	gathered = 0;
	flushed = InvalidXLogRecPtr;
}

/*
 * One send() costs as much as decoding a small transaction, so there is one for
 * some of them.  Nothing can be lost or overtaken where they wait, and the loop
 * flushes when we return to it.
 */
bool
mc_gather_output(LogicalDecodingContext *ctx, TimestampTz now)
{
	uint64		send_time = pg_hton64((uint64) now);

	if (now == 0 || !active || gathered + ctx->out->len > GATHER_BYTES)
	{
		gathered = 0;
		return false;
	}
	memcpy(ctx->out->data + SEND_TIME_OFFSET, &send_time, sizeof(send_time));
	pq_putmessage_noblock('d', ctx->out->data, ctx->out->len);
	ctx->prepared_write = false;
	gathered += ctx->out->len;
	return true;
}

void
mc_flush_gathered(void)
{
	/* A connection that has failed is noticed by the next write. */
	if (gathered > 0)
		(void) pq_flush_if_writable();
	gathered = 0;
}

bool
mc_decode_ahead(LogicalDecodingContext *ctx)
{
	XLogReaderState *reader = ctx->reader;
	ErrorContextCallback *asked = error_context_stack;

	if (active || !MC_DECODES_AHEAD || !am_walsender || !is_row(reader) ||
		RecoveryInProgress() || !next_is_there(reader))
		return false;

	/* After an error mc_decode_ahead_init() is called before the next use. */
	active = true;

	/* An error in what follows is none of the question that we are asked. */
	error_context_stack = asked ? asked->previous : NULL;
	LogicalDecodingProcessRecord(ctx, reader);
	for (int i = 0; i < AHEAD_RECORDS && next_is_there(reader); i++)
	{
		char	   *problem = NULL;

		CHECK_FOR_INTERRUPTS();
		if (XLogReadRecord(reader, &problem) == NULL)
		{
			if (problem != NULL)
				elog(ERROR, "could not read WAL: %s", problem);
			break;
		}
		LogicalDecodingProcessRecord(ctx, reader);
	}
	error_context_stack = asked;
	active = false;
	gathered = 0;				/* the loop flushes it next */
	return true;
}
