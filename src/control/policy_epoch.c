/*-------------------------------------------------------------------------
 *
 * policy_epoch.c
 *	  Taking over the epochs of the policies for conflicts.
 *
 * NOTES
 *	  A version is of the greatest epoch that its author had taken over before
 *	  it: that has a row (author, epoch, ts) in multicenter.policy_epoch with a
 *	  ts less than its commit timestamp.  These rows replicate.  Two promises
 *	  make the answer to that the same at every center and at any time.
 *
 *	  1. Whoever knows a version knows all rows of its author about it.  That
 *	  holds if each row stands in the author's WAL before every transaction
 *	  with a commit timestamp greater than the row's ts, because a stream is in
 *	  the order of WAL.  (A center that joins gets the rows with its copy.)
 *
 *	  Writing a ts in the future and committing quickly would not do: a process
 *	  can be held up for any time between the choice of its timestamp and its
 *	  commit record, the clock can be set, and the floor moves with the clocks
 *	  of peers.  A row that came too late could not be taken back, because its
 *	  receivers may have decided by it, or without it.  So:
 *
 *	  - write the row with a ts a little ahead of clock and floor;
 *	  - hold up all other commits of this server, and wait until those that
 *		have chosen a timestamp already are in WAL (state/clock.c);
 *	  - if clock and floor have not reached ts: nothing in WAL, and nobody
 *		who could still write there before us, has a timestamp > ts: commit;
 *	  - otherwise let the others go on and try again, further ahead.
 *
 *	  Others are held up for as long as a commit record takes; not for its
 *	  flush, because the commit is an asynchronous one.  A crash that loses the
 *	  row loses all that comes after it in WAL, too.  Nothing else happens in
 *	  that time, so nobody waits for a lock of somebody who waits for us.
 *
 *	  2. What this center commits after it has seen something of an epoch is of
 *	  that epoch or a greater one.  The receiver waits until the epoch is taken
 *	  over, then raises the floor to ts before it applies the change.  We raise
 *	  the floor too, so that the epoch is in effect at once, and save it with
 *	  the row, so that it is as high after a crash.
 *
 *	  With that row a center sends what the epoch consists of, as far as others
 *	  have set it and it has not sent that before.  So who knows of a version
 *	  knows the policies of its epoch, too, and need not wait for another link;
 *	  which may never bring them, if a center dies that only some have heard.
 *
 *	  A center that joins takes over after its slots were made and before it
 *	  opens for writes: what it has copied may be of any epoch.
 *
 *	  Two centers that set policies at the same moment make two epochs.  All
 *	  go on to the greater one, which does not cover the other; the author of
 *	  that notices it, and makes a third that covers both.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "control/policy_epoch.h"
#include "executor/spi.h"
#include "portability/instr_time.h"
#include "state/clock.h"
#include "state/own.h"
#include "state/policy.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* How far ahead of clock and floor an epoch begins: at first, and at most. */
#define FIRST_MARGIN_US		INT64CONST(20000)
#define LAST_MARGIN_US		INT64CONST(2000000)

/* Where locks of other sessions are waited for, commits are not held up. */
#define LOCK_TIMEOUT		"10s"

/* A time later than everything that was committed here. */
static TimestampTz
time_ahead(TimestampTz last, int64 margin_us)
{
	TimestampTz newest = mc_clock_newest();

	return Max(newest, last) + margin_us;
}

/* Run a command about an epoch, with something else. */
static uint64
run_own(SPIPlanPtr *plan, const char *command, Datum first, Datum second,
		Oid second_type, int expected)
{
	Oid			types[] = {INT8OID, InvalidOid};
	Datum		values[2];
	OwnScope	scope;
	uint64		rows;

	types[1] = second_type;
	values[0] = first;
	values[1] = second;
	mc_own_begin(&scope);
	rows = mc_own_execute(plan, command, 2, types, values, NULL, expected);
	mc_own_end(&scope);
	return rows;
}

/*
 * Send to the peers what an epoch covers that other centers have set, and that
 * the previous one that we took over does not.
 */
static void
publish(int64 epoch, int64 previous)
{
	static SPIPlanPtr plan = NULL;

	(void) run_own(&plan, "SELECT multicenter.internal_policy_publish($1, $2)",
				   Int64GetDatum(epoch), Int64GetDatum(previous), INT8OID,
				   SPI_OK_SELECT);
}

/* Make a new epoch that covers all that are here and sets nothing. */
static void
join_epochs(void)
{
	static SPIPlanPtr plan = NULL;
	OwnScope	scope;

	mc_own_begin(&scope);
	(void) mc_own_execute(&plan, "SELECT multicenter.internal_policy_join()",
						  0, NULL, NULL, NULL, SPI_OK_SELECT);
	mc_own_end(&scope);
}

/*
 * Write that this center takes over an epoch; its versions with greater commit
 * timestamps than ts are of that epoch, from the commit on.  Once more in the
 * same transaction: the time changes.
 */
static void
write_taken(int64 epoch, TimestampTz ts)
{
	static SPIPlanPtr plan = NULL;
	uint64		written;

	written = run_own(&plan, "INSERT INTO multicenter.policy_epoch AS e (center_id, epoch, ts)"
					  " SELECT i.center_id, $1, $2 FROM multicenter.identity i"
					  " ON CONFLICT (center_id, epoch) DO UPDATE SET ts = excluded.ts"
					  " WHERE e.xmin OPERATOR(pg_catalog.=)"
					  " pg_catalog.pg_current_xact_id()::pg_catalog.xid",
					  Int64GetDatum(epoch), TimestampTzGetDatum(ts), TIMESTAMPTZOID,
					  SPI_OK_INSERT);

	/* Others have decided by what was committed; it must never change. */
	if (written != 1)
		elog(ERROR, "could not take over epoch " INT64_FORMAT " of the conflict policies",
			 epoch);
}

/* Take over an epoch after another one, which began at the time last. */
static void
take_over(int64 epoch, int64 previous, TimestampTz last)
{
	int64		margin_us = FIRST_MARGIN_US;
	TimestampTz ts;
	instr_time	start;
	instr_time	held;
	int			attempts = 1;

	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	publish(epoch, previous);
	ts = time_ahead(last, margin_us);
	write_taken(epoch, ts);
	INSTR_TIME_SET_CURRENT(start);
	while (mc_clock_hold_commits() >= ts)
	{
		mc_clock_release_commits();
		margin_us = Min(2 * margin_us, LAST_MARGIN_US);
		ts = time_ahead(last, margin_us);
		write_taken(epoch, ts);
		attempts++;
		INSTR_TIME_SET_CURRENT(start);
	}
	mc_clock_save(ts);
	CommitTransactionCommand();
	INSTR_TIME_SET_CURRENT(held);
	INSTR_TIME_SUBTRACT(held, start);

	/* The end of the transaction has released the others. */
	mc_clock_raise(ts);
	ereport(LOG,
			(errmsg("epoch " INT64_FORMAT " of the conflict policies is in effect",
					epoch),
			 errdetail("Commits were held up for %.3f ms, at attempt %d.",
					   INSTR_TIME_GET_MILLISEC(held), attempts)));
}

void
mc_policy_take_over(void)
{
	TimestampTz last;
	int64		own;
	int64		greatest;

	StartTransactionCommand();
	if (mc_policy_must_join())
		join_epochs();
	greatest = mc_policy_greatest_known();
	own = mc_policy_own_epoch(&last);
	CommitTransactionCommand();

	if (greatest <= own)
		return;
	StartTransactionCommand();
	take_over(greatest, own, last);
}
