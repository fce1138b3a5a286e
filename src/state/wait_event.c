/*-------------------------------------------------------------------------
 *
 * wait_event.c
 *	  What our processes wait for, as pg_stat_activity shows it.
 *
 * NOTES
 *	  The names are made known when shared memory is laid out, so that a wait
 *	  takes no lock to find its number: some of them are within commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "state/shared.h"
#include "state/wait_event.h"
#include "utils/wait_event.h"

#include "compat.h"

static const char *const event_names[MC_WAIT_EVENTS] = {
	[MC_WAIT_SUPERVISOR] = "MulticenterSupervisorMain",
	[MC_WAIT_MANAGER] = "MulticenterManagerMain",
	[MC_WAIT_RECEIVER] = "MulticenterReceiverMain",
	[MC_WAIT_OPERATION] = "MulticenterOperation",
	[MC_WAIT_OPERATION_START] = "MulticenterOperationStart",
	[MC_WAIT_DUMP] = "MulticenterDump",
	[MC_WAIT_PEER_ANSWER] = "MulticenterPeerAnswer",
	[MC_WAIT_PEER_APPLY] = "MulticenterPeerApply",
	[MC_WAIT_READY] = "MulticenterReady",
	[MC_WAIT_APPLY_CAUSES] = "MulticenterApplyCauses",
	[MC_WAIT_APPLIER] = "MulticenterApplierMain",
	[MC_WAIT_APPLY_TURN] = "MulticenterApplyTurn",
	[MC_WAIT_APPLY_CLOCK] = "MulticenterApplyClock",
	[MC_WAIT_CLOCK_START] = "MulticenterClockStart",
	[MC_WAIT_COMMIT_HELD] = "MulticenterCommitHeld",
	[MC_WAIT_STAMP_ORIGIN] = "MulticenterStampOrigin",
	[MC_WAIT_REWRITE_FENCE] = "MulticenterRewriteFence",
	[MC_WAIT_REWRITE_END] = "MulticenterRewriteEnd",
};

uint32
mc_wait_event(McWaitEvent event)
{
	/* Without shared memory of ours some functions still wait for a peer. */
	return mc_shared ? mc_shared->wait_events[event] : mc_wait_event_extension();
}

void
mc_wait_event_init(uint32 *ids)
{
	for (int i = 0; i < MC_WAIT_EVENTS; i++)
		ids[i] = mc_wait_event_new(event_names[i]);
}
