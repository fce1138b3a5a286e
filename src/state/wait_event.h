/*-------------------------------------------------------------------------
 *
 * wait_event.h
 *	  What our processes wait for, as pg_stat_activity shows it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_WAIT_EVENT_H
#define MC_WAIT_EVENT_H

typedef enum McWaitEvent
{
	MC_WAIT_SUPERVISOR,			/* idle: for workers that end */
	MC_WAIT_MANAGER,			/* idle: for what is due next */
	MC_WAIT_RECEIVER,			/* idle: for the peer's stream */
	MC_WAIT_OPERATION,			/* a membership operation: for other processes */
	MC_WAIT_OPERATION_START,	/* its caller: until it has begun */
	MC_WAIT_DUMP,				/* a join: for pg_dump */
	MC_WAIT_PEER_ANSWER,		/* for the answer of another center */
	MC_WAIT_PEER_APPLY,			/* until a peer's changes are applied here */
	MC_WAIT_READY,				/* wait_until_ready() */
	MC_WAIT_APPLY_CAUSES,		/* a change: for what its author had seen */
	MC_WAIT_APPLIER,			/* idle: for a transaction */
	MC_WAIT_APPLY_TURN,			/* a change: for the commit of those before */
	MC_WAIT_APPLY_CLOCK,		/* a change: until our clock has reached it */
	MC_WAIT_CLOCK_START,		/* until it is known what was stamped before */
	MC_WAIT_COMMIT_HELD,		/* a commit: while somebody holds them up */
	MC_WAIT_STAMP_ORIGIN,		/* a commit: for an origin to be stamped by */
	MC_WAIT_REWRITE_FENCE,		/* a rewrite: for all centers */
	MC_WAIT_REWRITE_END,		/* a rewrite: until its fence is down */
} McWaitEvent;

#define MC_WAIT_EVENTS	(MC_WAIT_REWRITE_END + 1)

/*
 * What to pass to WaitLatch() and its like.  Costs nothing, and may be called
 * anywhere; where the server has no names for what extensions wait for
 * (PostgreSQL 15 and 16) it is "Extension".
 */
extern uint32 mc_wait_event(McWaitEvent event);

/* Give all of them their names; by shared.c, once for each life of the memory. */
extern void mc_wait_event_init(uint32 *ids);

#endif							/* MC_WAIT_EVENT_H */
