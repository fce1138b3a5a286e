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
#include "replication/decode.h"
#include "replication/walsender.h"

#include "compat.h"

/* So many records are decoded in one step. */
#define AHEAD_RECORDS		64

/* A record that ends within so many bytes does not end beyond the flushed WAL. */
#define MARGIN_BYTES		(2 * XLOG_BLCKSZ)

/* We are decoding: the question is asked by ourselves. */
static bool active = false;

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
	flushed = InvalidXLogRecPtr;
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
	return true;
}
