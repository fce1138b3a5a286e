/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  Transactions of the manager that may fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "storage/proc.h"
#include "target/attempt.h"
#include "target/place.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"

/*
 * The manager has other things to do than to wait for a lock; and gives way to
 * apply before that finds a deadlock.
 */
#define LOCK_TIMEOUT_MS			200
#define LEAST_LOCK_TIMEOUT_MS	1

/* The transaction. */
static void
attempt(CenterId our_id, AttemptFunction function, void *arg)
{
	RemoteTransaction transaction = {0};
	char		lock_timeout[16];

	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	snprintf(lock_timeout, sizeof(lock_timeout), "%d",
			 Max(LEAST_LOCK_TIMEOUT_MS, Min(LOCK_TIMEOUT_MS, DeadlockTimeout / 2)));
	(void) set_config_option("lock_timeout", lock_timeout, PGC_SUSET,
							 PGC_S_OVERRIDE, GUC_ACTION_LOCAL, true, 0, false);
	mc_session_origin_set(DoNotReplicateId, InvalidXLogRecPtr, 0);
	transaction.our_id = our_id;
	transaction.peer = our_id;
	transaction.version.commit_ts = GetCurrentTimestamp();
	transaction.version.center = our_id;
	transaction.context = CurTransactionContext;
	transaction.change_context = CurTransactionContext;
	transaction.claims = true;
	function(&transaction, arg);
	(void) mc_history_flush(&transaction.history);

	/* With that tag our output plugin would not see the commit. */
	if (transaction.derived)
		mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
	CommitTransactionCommand();
}

/* What an error says of the attempt. */
static AttemptResult
result_of(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return ATTEMPT_BUSY;
		default:
			return ATTEMPT_FAILED;
	}
}

AttemptResult
mc_attempt(CenterId our_id, AttemptFunction function, void *arg,
		   ErrorData **caught)
{
	MemoryContext context = CurrentMemoryContext;
	volatile AttemptResult result = ATTEMPT_DONE;

	if (caught)
		*caught = NULL;

	/* The manager must go on. */
	PG_TRY();
	{
		attempt(our_id, function, arg);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		result = result_of(geterrcode());
		if (caught)
			*caught = CopyErrorData();
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			EmitErrorReport();
		AbortCurrentTransaction();
		mc_place_forget();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();

	/* Of a lock that came just when the time was up. */
	(void) get_timeout_indicator(LOCK_TIMEOUT, true);
	QueryCancelPending = false;
	mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
	MemoryContextSwitchTo(context);
	return result;
}
