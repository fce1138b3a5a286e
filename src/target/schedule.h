/*-------------------------------------------------------------------------
 *
 * schedule.h
 *	  Parallel apply: which applier gets which transaction of a link.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SCHEDULE_H
#define MC_SCHEDULE_H

#include "postmaster/bgworker.h"
#include "target/apply.h"

typedef struct Schedule Schedule;

/*
 * A regular expression, as a literal of SQL: types of process that are no
 * background worker.  A parallel worker is one, but it gives its place back when
 * its query ends.
 */
#define MC_NO_WORKER \
	"'^(client backend|dead-end client backend|standalone backend|autovacuum .*" \
	"|archiver|background writer|checkpointer|io worker|logger|parallel worker" \
	"|slotsync worker|startup|walreceiver|walsender|walsummarizer|walwriter)$'"

/*
 * Starts an applier: the process that calls mc_applier_run(link, number).
 * Returns false if no place is free for one.
 */
typedef bool (*ApplierStarter) (SharedLink *link, int number,
								BackgroundWorkerHandle **handle);

/* Called while the receiver waits for appliers; it sleeps at most for a while. */
typedef void (*SchedulePause) (void *arg);

/*
 * What the receiver takes note of when everything before it is committed: a
 * transaction that an applier has committed, or a heartbeat.
 */
typedef struct Finished
{
	bool		heartbeat;
	OriginLsn	end_lsn;
	TimestampTz commit_ts;		/* of a heartbeat its promise */
	TimestampTz sent_at;
	TimestampTz written;		/* of a heartbeat, and so the rest */
	TimestampTz decided;
	const struct DependencyVector *vector;
} Finished;

/*
 * Start appliers, in the current memory context, outside a transaction.  As
 * many as there is place for besides the receivers of all links; NULL if there
 * is none.
 */
extern Schedule *mc_schedule_create(SharedLink *link, Applier *applier,
									CenterId our_id, int nworkers,
									ApplierStarter starter,
									SchedulePause pause, void *pause_arg);

/*
 * The receiver has applied a transaction itself; and nothing more has come for
 * the moment.
 */
extern void mc_schedule_applied(Schedule *schedule);
extern void mc_schedule_idle(Schedule *schedule);

/*
 * A frame of a transaction has come, with the time at which it was sent.
 * Returns true if an applier has got it.  Otherwise the receiver has to apply
 * it; all that was given to appliers is committed then, but perhaps not
 * fetched.
 */
extern bool mc_schedule_take(Schedule *schedule, const FrameHeader *header,
							 const WireCursor *body, TimestampTz sent_at);

/* A heartbeat has changed the peer's vector, which appliers have to know. */
extern void mc_schedule_heard(Schedule *schedule);

/* Keep a heartbeat until all before it is committed; its vector is copied. */
extern void mc_schedule_defer(Schedule *schedule, const Finished *heartbeat);

/* Is there anything that was not fetched? */
extern bool mc_schedule_busy(const Schedule *schedule);

/*
 * Fetch what is next, in order, if it is committed.  A heartbeat is valid until
 * the next one is.
 */
extern bool mc_schedule_fetch(Schedule *schedule, Finished *finished);

/*
 * Before the receiver sleeps: it wants to be woken by the next commit.  Returns
 * false if that has happened already.
 */
extern bool mc_schedule_may_sleep(Schedule *schedule);

/* Show in the link which transaction is next to be committed. */
extern void mc_schedule_show(const Schedule *schedule);

/* End the process if an applier has ended. */
extern void mc_schedule_check(const Schedule *schedule);

#endif							/* MC_SCHEDULE_H */
