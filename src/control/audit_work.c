/*-------------------------------------------------------------------------
 *
 * audit_work.c
 *	  What the manager does for the audit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "control/audit_work.h"
#include "miscadmin.h"
#include "state/audit.h"
#include "state/settings.h"
#include "state/shared.h"
#include "target/attempt.h"
#include "target/connection.h"

#include "compat.h"

#define WRITE_MS			1000	/* what was sent, and connections */
#define FOLD_MS				60000	/* summarize raw rows */
#define FOLD_AGAIN_MS		1000	/* the same, when there are many */
#define ROTATE_MS			3000	/* look at the segments */
#define ROTATE_OFF_MS		60000	/* the same while nothing is written */
#define SKIP_MS				10000	/* pass over what is sent while it is off */
#define FAILED_MS			10000	/* after an error */

static int64 next_write_ms = 0;
static int64 next_fold_ms = 0;
static int64 fold_again_ms = 0;
static int64 next_rotate_ms = 0;
static int64 next_skip_ms = 0;

static const char *const level_names[] = {
	[AUDIT_OFF] = "off",
	[AUDIT_SUMMARY] = "summary",
	[AUDIT_FULL] = "full",
};

/* For mc_attempt(): what is due each second. */
static void
write_all(RemoteTransaction *transaction, void *arg)
{
	mc_audit_write();
}

/* The same: what is due each minute. */
static void
fold(RemoteTransaction *transaction, void *arg)
{
	mc_audit_fold();
}

/* The same: what is due from time to time. */
static void
rotate(RemoteTransaction *transaction, void *arg)
{
	mc_audit_rotate();
}

/*
 * Say in the audit that it was switched on or off, or that the server has
 * started, because after a crash the counters of what was sent are missing.
 * Returns whether there is anything to write.
 */
static bool
note_level(SharedDatabase *entry)
{
	uint32		known = pg_atomic_read_u32(&entry->audit_level);
	uint32		level = (uint32) mc_audit;
	char		detail[MC_AUDIT_DETAIL_BYTES];

	if (known == level + 1)
		return level != AUDIT_OFF;
	pg_atomic_write_u32(&entry->audit_level, level + 1);
	if (known == 0 && level == AUDIT_OFF)
		return false;
	if (known == AUDIT_OFF + 1)
		mc_audit_skip();
	if (known == 0)
		snprintf(detail, sizeof(detail), "%s%s", level_names[level],
				 mc_shared->crashed ? "; the server had crashed: what was sent in the moments before may be missing" : "");
	else
		snprintf(detail, sizeof(detail), "%s, was %s", level_names[level], level_names[known - 1]);
	mc_audit_event(MC_NO_CENTER, false, known == 0 ? "start" : "audit", NULL, NULL, detail);
	return true;
}

/* Run one of the above; returns when to do so again. */
static int64
run(CenterId our_id, AttemptFunction function, int64 now_ms, int64 period_ms,
	bool *done)
{
	*done = mc_attempt(our_id, function, NULL, NULL) == ATTEMPT_DONE;
	return now_ms + (*done ? period_ms : FAILED_MS);
}

void
mc_audit_work(CenterId our_id)
{
	SharedDatabase *entry = mc_shared_database(MyDatabaseId, true);
	int64		now_ms = mc_monotonic_ms();
	bool		done;

	if (now_ms >= next_write_ms)
	{
		next_write_ms = now_ms + WRITE_MS;
		if (note_level(entry))
		{
			next_write_ms = run(our_id, write_all, now_ms, WRITE_MS, &done);
			if (done)
				mc_audit_written();
		}
		else if (now_ms >= next_skip_ms)
		{
			mc_audit_skip();
			next_skip_ms = now_ms + SKIP_MS;
		}
	}
	if (now_ms >= next_fold_ms ||
		(now_ms >= fold_again_ms && mc_audit_should_fold()))
	{
		next_fold_ms = run(our_id, fold, now_ms, FOLD_MS, &done);
		fold_again_ms = now_ms + FOLD_AGAIN_MS;
	}
	if (now_ms >= next_rotate_ms)
		next_rotate_ms = run(our_id, rotate, now_ms,
							 mc_audit == AUDIT_OFF ? ROTATE_OFF_MS : ROTATE_MS, &done);
}
