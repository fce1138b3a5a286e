/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  The dependency vectors of the transactions that a walsender sends.
 *
 * NOTES
 *	  The vector of a transaction is what this center had applied of its peers
 *	  before it committed: so, what stands before its commit record in our own
 *	  WAL.  A commit that applies a transaction of a peer names the peer's
 *	  origin and the end of that transaction.  The walsender passes all commit
 *	  records in their order and thus knows the vector exactly, at no cost for
 *	  writers.  A heartbeat adds the promises of the peers that were in force
 *	  where it was written.
 *
 *	  What it does not pass is what precedes the start of the session.  The
 *	  vector at that position is found by reading our WAL, before a bit is
 *	  sent, from a little before that position and then behind it:
 *
 *	  - a commit before it that applies a transaction of a peer says how far
 *		that peer was applied;
 *	  - so does the first one behind it: the transaction that it applies was
 *		the next one of the peer, so everything before it had been applied.
 *		"Its end minus 1" is not the end of a transaction, but none ends
 *		between the two.  A target that waits for it knows where the next
 *		one ends (mc_vector_next());
 *	  - a heartbeat says it of all peers, if all commits that may be missing
 *		in it have been read too: if its "since" is not before the place where
 *		the reading began.  For a peer of which nothing was applied between the
 *		start of the session and the heartbeat, that was so at the start.
 *
 *	  Its own first step is to write a heartbeat, so that the reading has an
 *	  end also where nothing happens.  With a manager that writes heartbeats it
 *	  reads what was written in a second or two.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "origin/heartbeat.h"
#include "origin/message.h"
#include "origin/vector.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "state/registry.h"
#include "state/vector.h"
#include "utils/memutils.h"

#include "compat.h"

/*
 * So far before the start of a session reading begins at most: about what a
 * busy server writes between two heartbeats.
 */
#define LOOK_BACK_BYTES		(16 * 1024 * 1024)

/* Origins that are looked up without reading shared memory. */
#define ORIGIN_CACHE_SIZE	64

typedef struct OriginCenter
{
	uint16		origin;			/* 0: entry is free */
	CenterId	center;
} OriginCenter;

struct VectorTracker
{
	DependencyVector now;		/* at this place in the WAL */
	bool		all_changed;	/* nothing was sent yet */
	bool		changed[MC_MAX_CENTER_ID + 1];
	int			nchanged;
	VectorDelta deltas[MC_MAX_VECTOR_ENTRIES];

	/* Origins of peers; what an origin stands for never changes. */
	OriginCenter origins[ORIGIN_CACHE_SIZE];

	/* The commit record that was read last, and not yet counted. */
	XLogRecPtr	commit_lsn;		/* 0: none */
	CenterId	commit_center;
	XLogRecPtr	commit_origin_lsn;
};

/* While the start of a session is looked for. */
typedef struct StartSearch
{
	VectorTracker *tracker;
	XLogRecPtr	position;		/* the session starts here */
	XLogRecPtr	first;			/* reading began here */
	bool		known[MC_MAX_CENTER_ID + 1];	/* position at the start */
	bool		passed[MC_MAX_CENTER_ID + 1];	/* something was applied since */
} StartSearch;

/* Raise an entry, and send it with the next frame. */
static void
raise_entry(VectorTracker *tracker, CenterId center, XLogRecPtr lsn,
			TimestampTz promise)
{
	if (!mc_vector_raise(&tracker->now, center, lsn, promise) ||
		tracker->changed[center])
		return;
	tracker->changed[center] = true;
	tracker->nchanged++;
}

/* The peer behind an origin, or MC_NO_CENTER. */
static CenterId
find_center(VectorTracker *tracker, uint16 origin)
{
	OriginCenter *entry = &tracker->origins[origin % ORIGIN_CACHE_SIZE];

	if (entry->origin != origin)
	{
		entry->center = mc_vector_center_of_origin(origin);
		entry->origin = entry->center != MC_NO_CENTER ? origin : InvalidRepOriginId;
	}
	return entry->center;
}

/*
 * The peer's transaction that a commit record applies: its center, and where
 * it ends.  MC_NO_CENTER if the record is none of these.
 */
static CenterId
read_commit(VectorTracker *tracker, XLogReaderState *record, uint16 origin,
			XLogRecPtr *origin_lsn)
{
	uint8		info = XLogRecGetInfo(record) & XLOG_XACT_OPMASK;
	xl_xact_parsed_commit parsed;
	CenterId	center;

	if (origin == InvalidRepOriginId ||
		XLogRecGetRmid(record) != RM_XACT_ID ||
		(info != XLOG_XACT_COMMIT && info != XLOG_XACT_COMMIT_PREPARED))
		return MC_NO_CENTER;
	center = find_center(tracker, origin);
	if (center == MC_NO_CENTER)
		return MC_NO_CENTER;
	ParseCommitRecord(XLogRecGetInfo(record),
					  (xl_xact_commit *) XLogRecGetData(record), &parsed);
	if ((parsed.xinfo & XACT_XINFO_HAS_ORIGIN) == 0 ||
		parsed.origin_lsn == InvalidXLogRecPtr)
		return MC_NO_CENTER;
	*origin_lsn = parsed.origin_lsn;
	return center;
}

/* ---- the start of a session ---- */

/* A commit record was read. */
static void
search_commit(StartSearch *search, XLogReaderState *record)
{
	XLogRecPtr	origin_lsn;
	CenterId	center = read_commit(search->tracker, record,
									 XLogRecGetOrigin(record), &origin_lsn);

	if (center == MC_NO_CENTER)
		return;
	if (record->ReadRecPtr < search->position)
		raise_entry(search->tracker, center, origin_lsn, 0);
	else
	{
		if (!search->known[center])
			raise_entry(search->tracker, center, origin_lsn - 1, 0);
		search->passed[center] = true;
	}
	search->known[center] = true;
}

/* A heartbeat was read. */
static void
search_heartbeat(StartSearch *search, const Heartbeat *heartbeat)
{
	WireCursor	cursor = heartbeat->vector;
	bool		whole = heartbeat->since >= search->first;
	const char *problem;
	VectorDelta entry;

	for (int i = 0; i < heartbeat->nvector; i++)
	{
		if (mc_wire_next_vector(&cursor, &entry, &problem) != WIRE_OK)
			elog(ERROR, "heartbeat in our own WAL: %s", problem);

		/* A promise that was not in force yet at the start is true there too. */
		if (search->passed[entry.center])
			continue;
		raise_entry(search->tracker, entry.center, entry.lsn, entry.promise);
		search->known[entry.center] |= whole;
	}
}

/* Is everything known that a heartbeat of this moment would tell? */
static bool
knows_all(const StartSearch *search, const DependencyVector *applied)
{
	for (int i = 0; i < applied->nentries; i++)
		if (!search->known[applied->entries[i].center])
			return false;
	return true;
}

/* The heartbeat in a record, if it is one of this database. */
static bool
read_heartbeat(XLogReaderState *record, Heartbeat *heartbeat)
{
	xl_logical_message *message = (xl_logical_message *) XLogRecGetData(record);
	const char *problem;
	WireBytes	content;

	return XLogRecGetRmid(record) == RM_LOGICALMSG_ID &&
		message->dbId == MyDatabaseId && !message->transactional &&
		strcmp(message->message, MC_MESSAGE_PREFIX) == 0 &&
		mc_message_check(MC_MESSAGE_PREFIX, false, InvalidTransactionId,
						 message->message + message->prefix_size,
						 message->message_size, &content) &&
		mc_wire_read_heartbeat(content, heartbeat, &problem) == WIRE_OK;
}

/* Read our WAL until everything is known; at the latest up to end. */
static void
search_wal(StartSearch *search, XLogReaderState *reader,
		   const DependencyVector *applied, XLogRecPtr end)
{
	Heartbeat	heartbeat;
	char	   *problem = NULL;

	while (reader->EndRecPtr < end)
	{
		CHECK_FOR_INTERRUPTS();
		if (XLogReadRecord(reader, &problem) == NULL)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read WAL at %X/%X: %s",
							LSN_FORMAT_ARGS(reader->EndRecPtr),
							problem ? problem : "no record")));
		search_commit(search, reader);
		if (read_heartbeat(reader, &heartbeat))
			search_heartbeat(search, &heartbeat);
		if (reader->EndRecPtr >= search->position && knows_all(search, applied))
			break;
	}
}

/* Find out what was applied at the start of the session. */
static void
find_start(VectorTracker *tracker, LocalLsn position, XLogRecPtr first)
{
	XLogReaderRoutine routine = {
		.page_read = &read_local_xlog_page,
		.segment_open = &wal_segment_open,
		.segment_close = &wal_segment_close,
	};
	DependencyVector *applied = palloc(sizeof(DependencyVector));
	StartSearch *search = palloc0(sizeof(StartSearch));
	LocalLsn	end = mc_heartbeat_write(0);
	XLogReaderState *reader;

	if (position.value > end.value)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot send changes from %X/%X on: the WAL ends at %X/%X",
						LSN_FORMAT_ARGS(position.value), LSN_FORMAT_ARGS(end.value))));

	/* Peers of which nothing was ever applied are in no heartbeat. */
	mc_vector_applied(applied);
	reader = XLogReaderAllocate(wal_segment_size, NULL, &routine, NULL);
	if (reader == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	search->tracker = tracker;
	search->position = position.value;
	search->first = XLogFindNextRecord_compat(reader, first);
	if (search->first == InvalidXLogRecPtr)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not find a WAL record at %X/%X", LSN_FORMAT_ARGS(first))));
	search_wal(search, reader, applied, end.value);
	XLogReaderFree(reader);
	pfree(search);
	pfree(applied);
}

VectorTracker *
mc_tracker_create(LogicalDecodingContext *ctx, LocalLsn position)
{
	VectorTracker *tracker = MemoryContextAllocZero(ctx->context, sizeof(VectorTracker));
	XLogRecPtr	first = ctx->slot->data.restart_lsn;

	if (first > position.value || position.value - first > LOOK_BACK_BYTES)
		first = position.value;
	find_start(tracker, position, first);
	tracker->all_changed = true;
	return tracker;
}

/* ---- while it runs ---- */

/* Count the commit record that was read last. */
static void
count_commit(VectorTracker *tracker)
{
	if (tracker->commit_lsn == InvalidXLogRecPtr)
		return;
	raise_entry(tracker, tracker->commit_center, tracker->commit_origin_lsn, 0);
	tracker->commit_lsn = InvalidXLogRecPtr;
}

bool
mc_tracker_commit(VectorTracker *tracker, XLogReaderState *record, uint16 origin)
{
	XLogRecPtr	origin_lsn;
	CenterId	center = read_commit(tracker, record, origin, &origin_lsn);

	if (center == MC_NO_CENTER)
		return false;
	count_commit(tracker);
	tracker->commit_lsn = record->ReadRecPtr;
	tracker->commit_center = center;
	tracker->commit_origin_lsn = origin_lsn;
	return true;
}

void
mc_tracker_heartbeat(VectorTracker *tracker, const Heartbeat *heartbeat)
{
	WireCursor	cursor = heartbeat->vector;
	const char *problem;
	VectorDelta entry;

	count_commit(tracker);
	for (int i = 0; i < heartbeat->nvector; i++)
	{
		if (mc_wire_next_vector(&cursor, &entry, &problem) != WIRE_OK)
			elog(ERROR, "heartbeat in our own WAL: %s", problem);
		raise_entry(tracker, entry.center, entry.lsn, entry.promise);
	}
}

const VectorDelta *
mc_tracker_deltas(VectorTracker *tracker, XLogRecPtr before, uint16 *count)
{
	*count = 0;
	if (tracker->commit_lsn != before)
		count_commit(tracker);
	if (tracker->nchanged == 0 && !tracker->all_changed)
		return tracker->deltas;
	for (int i = 0; i < tracker->now.nentries; i++)
	{
		const VectorDelta *entry = &tracker->now.entries[i];

		if (tracker->all_changed || tracker->changed[entry->center])
			tracker->deltas[(*count)++] = *entry;
		tracker->changed[entry->center] = false;
	}
	tracker->nchanged = 0;
	tracker->all_changed = false;
	return tracker->deltas;
}
