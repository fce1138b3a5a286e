/*-------------------------------------------------------------------------
 *
 * heartbeat.c
 *	  Heartbeats: what this center promises, and what it has applied.
 *
 * NOTES
 *	  A heartbeat is a logical message outside of transactions, which needs no
 *	  transaction id.  The manager writes one in each interval, a walsender one
 *	  when it begins.  Its place in the WAL is part of what it says:
 *
 *	  promise	every commit with a timestamp <= it is before the heartbeat
 *	  vector	what was applied of the peers: every commit of theirs before
 *				"since" is in it, and nothing behind the heartbeat is
 *
 *	  The order of the steps makes both true: choose the time and "since", wait
 *	  for the commits that are being written, read what is applied, write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "core/wire.h"
#include "origin/heartbeat.h"
#include "origin/message.h"
#include "state/clock.h"
#include "state/registry.h"
#include "state/vector.h"
#include "utils/timestamp.h"

LocalLsn
mc_heartbeat_write(int64 ahead_us)
{
	DependencyVector *applied = palloc(sizeof(DependencyVector));
	Heartbeat	heartbeat = {0};
	StringInfoData content;
	LocalLsn	since;
	LocalLsn	end;

	heartbeat.promise = mc_clock_promise(ahead_us, &since);

	/* What the floor has learnt is not forgotten by a crash. */
	mc_clock_save(heartbeat.promise);
	heartbeat.floor = mc_clock_floor();
	heartbeat.since = since.value;
	heartbeat.written = GetCurrentTimestamp();
	mc_vector_applied(applied);
	heartbeat.decided = mc_vector_decided();
	heartbeat.nvector = (uint16) applied->nentries;

	initStringInfo(&content);
	mc_wire_put_heartbeat(&content, &heartbeat, applied->entries);
	end = mc_message_emit(MC_MESSAGE_PREFIX, false, content.data, content.len);
	XLogFlush(end.value);
	mc_vector_promised_here(heartbeat.promise, end);
	pfree(content.data);
	pfree(applied);
	return end;
}
