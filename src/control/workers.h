/*-------------------------------------------------------------------------
 *
 * workers.h
 *	  Start and stop of our background workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_WORKERS_H
#define MC_WORKERS_H

#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "state/wait_event.h"

/* Shortest and longest wait before a worker that ended is started again. */
#define MC_RESTART_MIN_MS		200
#define MC_RESTART_MAX_MS		2000

/* Register the supervisor; from _PG_init() while preloading. */
extern void mc_supervisor_register(void);

/*
 * What every worker of ours does first: signal handlers (SIGTERM ends it with
 * exit code 1, SIGHUP reloads, SIGINT is ignored unless its own lock_timeout
 * has sent it, so that pg_cancel_backend() cannot hurt), a connection to the
 * database as the bootstrap superuser, and settings that no ALTER ROLE or ALTER
 * DATABASE may change.  dboid InvalidOid gives access to shared catalogs only.
 */
extern void mc_worker_begin(Oid dboid);

/*
 * Start one of our entry points as a dynamic worker that is never restarted
 * by the postmaster.  type is its backend_type in pg_stat_activity, such as
 * "multicenter receiver"; label tells it from others in a process list.
 * Returns false if no worker slot is free.  handle may be NULL.
 */
extern bool mc_worker_start(const char *function, const char *type,
							const char *label, Datum arg,
							BackgroundWorkerHandle **handle);

/*
 * Wait for the latch, at most timeout_ms; handles SIGHUP and interrupts.  event
 * is what pg_stat_activity shows meanwhile.
 */
extern void mc_worker_wait(long timeout_ms, McWaitEvent event);

/*
 * How long to wait after the given number of failures in a row: jittered and
 * exponential between the two limits above.
 */
extern int	mc_worker_backoff_ms(int failures);

/* Entry points. */
extern PGDLLEXPORT void mc_supervisor_main(Datum arg);
extern PGDLLEXPORT void mc_scanner_main(Datum arg);
extern PGDLLEXPORT void mc_manager_main(Datum arg);

#endif							/* MC_WORKERS_H */
