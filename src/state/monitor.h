/*-------------------------------------------------------------------------
 *
 * monitor.h
 *	  How well links are: state, reason, lag, rates, from shared memory.
 *
 * NOTES
 *	  What people see is computed here, at the moment when they look, so that
 *	  it does not depend on a process that may hang; the manager writes down
 *	  one sample of it in each second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_MONITOR_H
#define MC_MONITOR_H

#include "portability/instr_time.h"
#include "state/shared.h"

/* Not known. */
#define MC_UNKNOWN			(-1)

#define MC_REASON_BYTES		1024

typedef struct LinkMeasure
{
	LinkState	state;
	TimestampTz state_since;	/* 0: unknown */
	char		reason[MC_REASON_BYTES];	/* '' : none */
	int			waits_for_lock; /* process that applies and waits; 0: none */
	const char *basis;			/* of lag: heartbeat, commit, unknown */
	int64		lag_us;			/* or MC_UNKNOWN, as the next three */
	int64		behind_bytes;	/* not applied at the target yet */
	int64		catchup_us;
	int64		silent_us;		/* the peer was not heard of; 0: it is there */
	XLogRecPtr	position;		/* applied, or confirmed by the peer */
	XLogRecPtr	origin_end;		/* end of the origin's WAL, as last told */

	/* Per second over some seconds, per minute over one; below 0: unknown. */
	double		bytes_rate;
	double		xacts_rate;
	double		conflicts_per_minute;
	double		errors_per_minute;
} LinkMeasure;

/* Microseconds of a clock that never steps, the same in all processes. */
static inline int64
mc_monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* A transaction is going to be applied; 0: none is any more. */
extern void mc_monitor_applying(SharedLink *link, XLogRecPtr commit_lsn);

/* Copy an entry of shared memory; without the ring of its commits. */
extern void mc_monitor_copy_link(SharedLink *copy, SharedLink *link);
extern void mc_monitor_copy_outlink(SharedOutLink *copy, SharedOutLink *link);

/*
 * Measure a link of this database; link is such a copy.  in: the link with the
 * same peer in the other direction, or NULL.
 */
extern void mc_monitor_in(const SharedLink *link, const LinkHistory *history,
						  LinkMeasure *measure);
extern void mc_monitor_out(const SharedOutLink *link, const SharedLink *in,
						   const LinkHistory *history, LinkMeasure *measure);

extern LinkHistory *mc_monitor_history(const SharedLink *link);
extern LinkHistory *mc_monitor_out_history(const SharedOutLink *link);

/* For the manager: a heartbeat of this center ends there. */
extern void mc_monitor_heartbeat(LocalLsn lsn, TimestampTz ts);

/*
 * For the manager: look how far each peer has confirmed.  Returns true if a
 * connected peer has not yet confirmed the newest heartbeat.
 */
extern bool mc_monitor_look(void);

/* For the manager: take a sample of each link. */
extern void mc_monitor_sample(void);

#endif							/* MC_MONITOR_H */
