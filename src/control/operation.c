/*-------------------------------------------------------------------------
 *
 * operation.c
 *	  Runs a membership operation in a background worker of its own.
 *
 * NOTES
 *	  The caller fills an Operation in a dynamic shared memory segment, starts
 *	  the worker and waits for its end.  Who may release the claim on the
 *	  database (SharedDatabase.operation) is decided by an atomic: the worker
 *	  turns PENDING into RUNNING, a caller that gives up turns PENDING into
 *	  ABANDONED, and only one of the two succeeds.  From RUNNING on the worker
 *	  releases the claim when it exits, however it does.
 *
 *	  A caller that is cancelled, or that dies, cancels the worker with SIGINT;
 *	  that is an ordinary error there, after which it undoes what it had begun.
 *	  So Ctrl-C in psql undoes a join.  The caller does not wait for that: until
 *	  it is done, another operation is refused.  The removal of local traces is
 *	  not cancelled, half of it would help nobody.
 *
 *	  SIGTERM ends the worker at once, as the shutdown of the server does.  What
 *	  it had begun is recorded in the tables, and the manager undoes it, as
 *	  after a crash: see mc_join_clean_up().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "control/guard.h"
#include "control/operation.h"
#include "control/setup.h"
#include "control/workers.h"
#include "executor/spi.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "state/join_progress.h"
#include "state/registry.h"
#include "state/shared.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "compat.h"

/* Phases of an operation; see the notes above. */
#define PHASE_PENDING		0
#define PHASE_RUNNING		1
#define PHASE_ABANDONED		2

#define MAX_STEP_PARAMS		16

/* What stands in the segment. */
typedef struct OperationSegment
{
	pg_atomic_uint32 phase;
	pg_atomic_uint32 cancelled; /* for a worker that takes no signal yet */
	Operation	operation;
} OperationSegment;

/* An operation that this session waits for. */
typedef struct RunningOperation
{
	Oid			dboid;
	dsm_segment *segment;		/* NULL: not made yet */
	OperationSegment *shared;
	BackgroundWorkerHandle *handle; /* NULL: not registered yet */
} RunningOperation;

/* Where the step in progress has to return to. */
static MemoryContext step_context = NULL;

/* What each kind is called in messages and in pg_stat_activity. */
static const char *
operation_name(OperationKind kind)
{
	switch (kind)
	{
		case OPERATION_CREATE:
			return "group_create";
		case OPERATION_JOIN:
			return "group_join";
		case OPERATION_PART:
			return "center_part";
		case OPERATION_REMOVE_LOCAL:
			return "group_remove_local";
	}
	return "operation";
}

void
mc_step_begin(void)
{
	step_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

void
mc_step_end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(step_context);
}

char *
mc_step_sql(const char *sql, int nparams, const char *const *params)
{
	Oid			types[MAX_STEP_PARAMS] = {0};
	Datum		values[MAX_STEP_PARAMS] = {0};
	char		nulls[MAX_STEP_PARAMS] = {0};
	char	   *value = NULL;

	Assert(nparams <= MAX_STEP_PARAMS);
	for (int i = 0; i < nparams; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = params[i] ? ' ' : 'n';
		values[i] = params[i] ? CStringGetTextDatum(params[i]) : (Datum) 0;
	}
	if (SPI_execute_with_args(sql, nparams, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not run an SQL command of a membership operation");
	if (SPI_tuptable != NULL && SPI_processed > 0)
		value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return value ? MemoryContextStrdup(step_context, value) : NULL;
}

ErrorData *
mc_operation_try(void (*function) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	Assert(!IsTransactionState());

	/* Undoing must reach the next peer where one has failed. */
	PG_TRY();
	{
		function(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return error;
}

/* Claim the database for one operation, or raise an error. */
static void
claim_database(Oid dboid)
{
	bool		is_center = mc_database_is_center(dboid);

	if (!mc_shared_claim(dboid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another membership operation is running in this database"),
				 errhint("Wait until it has ended; pg_stat_activity shows its worker.")));

	/* A center that the supervisor has not seen yet must not look like none. */
	if (is_center &&
		pg_atomic_read_u32(&mc_shared_database(dboid, true)->gate) == GATE_NO_GROUP)
		mc_gate_set(dboid, GATE_OPEN);
}

/*
 * Give the claim back, forget a database that is no center, and let those look
 * who have to go on from here.
 */
static void
release_database(Oid dboid)
{
	SharedDatabase *entry = mc_shared_database(dboid, false);
	bool		is_center;

	if (entry == NULL)
		return;
	SpinLockAcquire(&entry->mutex);
	is_center = entry->manager_pid != 0 ||
		pg_atomic_read_u32(&entry->gate) != GATE_NO_GROUP;
	SpinLockRelease(&entry->mutex);
	mc_shared_release(dboid);
	if (is_center)
		mc_shared_reload(dboid);
	else
		mc_shared_forget_database(dboid);
	mc_shared_wake_supervisor();
}

/* The caller stops waiting: error, cancel, or the end of its session. */
static void
abandon_operation(int code, Datum arg)
{
	RunningOperation *running = (RunningOperation *) DatumGetPointer(arg);
	uint32		expected = PHASE_PENDING;
	pid_t		pid;

	if (running->segment == NULL ||
		pg_atomic_compare_exchange_u32(&running->shared->phase, &expected,
									   PHASE_ABANDONED))
	{
		if (running->handle != NULL)
			TerminateBackgroundWorker(running->handle);
		release_database(running->dboid);
	}
	else if (running->shared->operation.kind != OPERATION_REMOVE_LOCAL)
	{
		pg_atomic_write_u32(&running->shared->cancelled, 1);
		pg_memory_barrier();
		if (GetBackgroundWorkerPid(running->handle, &pid) == BGWH_STARTED)
			kill(pid, SIGINT);
	}
}

/* Put the operation into a segment and start the worker. */
static void
start_operation(RunningOperation *running, const Operation *operation)
{
	dsm_segment *segment = dsm_create(sizeof(OperationSegment), 0);

	running->shared = dsm_segment_address(segment);
	pg_atomic_init_u32(&running->shared->phase, PHASE_PENDING);
	pg_atomic_init_u32(&running->shared->cancelled, 0);
	running->shared->operation = *operation;
	running->segment = segment;

	if (!mc_worker_start("mc_operation_main", "multicenter operation",
						 operation_name(operation->kind),
						 UInt32GetDatum(dsm_segment_handle(segment)),
						 &running->handle))
	{
		/* Where the configuration is too small, say so with its line. */
		mc_setup_require();
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free for %s()",
						operation_name(operation->kind)),
				 errhint("Raise max_worker_processes in postgresql.conf and restart the server.")));
	}
}

/* Wait until the worker has ended, or only until it has begun. */
static void
wait_for_operation(RunningOperation *running)
{
	if (running->shared->operation.wait)
	{
		WaitForBackgroundWorkerShutdown(running->handle);
		return;
	}
	while (pg_atomic_read_u32(&running->shared->phase) == PHASE_PENDING)
	{
		pid_t		pid;

		if (GetBackgroundWorkerPid(running->handle, &pid) == BGWH_STOPPED)
			break;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 10, mc_wait_event(MC_WAIT_OPERATION_START));
		ResetLatch(MyLatch);
	}
}

/* Raise the worker's error as the caller's own. */
static void
report_operation(RunningOperation *running)
{
	OperationSegment *shared = running->shared;
	Operation  *operation = &shared->operation;
	uint32		expected = PHASE_PENDING;

	if (pg_atomic_compare_exchange_u32(&shared->phase, &expected, PHASE_ABANDONED))
	{
		/* It ended before it began: nobody else gives the claim back. */
		release_database(running->dboid);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the worker of %s()", operation_name(operation->kind)),
				 errhint("The server log may say why.")));
	}
	if (operation->finished && operation->failed)
		ereport(ERROR,
				(errcode(operation->sqlstate),
				 errmsg_internal("%s", operation->message),
				 operation->detail[0] ? errdetail_internal("%s", operation->detail) : 0,
				 operation->hint[0] ? errhint("%s", operation->hint) : 0));
	if (!operation->finished && operation->wait)
		ereport(ERROR,
				(errcode(ERRCODE_OPERATOR_INTERVENTION),
				 errmsg("the worker of %s() was ended before it had finished",
						operation_name(operation->kind)),
				 errhint("What it had begun is undone by the manager; the server log tells.")));
}

int
mc_operation_run(Operation *operation)
{
	RunningOperation running = {0};
	int			center_id;

	mc_shared_require();
	PreventCommandDuringRecovery(psprintf("%s()", operation_name(operation->kind)));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s() cannot run in a transaction that has written",
						operation_name(operation->kind)),
				 errdetail("It commits in steps of its own and would wait for this transaction."),
				 errhint("Commit first, or call it outside a transaction block.")));

	operation->dboid = MyDatabaseId;
	operation->caller = GetOuterUserId();
	running.dboid = MyDatabaseId;
	claim_database(MyDatabaseId);

	/* Also when this session is ended: the worker must not go on alone. */
	PG_ENSURE_ERROR_CLEANUP(abandon_operation, PointerGetDatum(&running));
	{
		start_operation(&running, operation);
		wait_for_operation(&running);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon_operation, PointerGetDatum(&running));

	report_operation(&running);
	center_id = running.shared->operation.center_id;
	dsm_detach(running.segment);
	return center_id;
}

/* The worker exits, with or without success. */
static void
operation_exit(int code, Datum arg)
{
	mc_join_progress_end(DatumGetObjectId(arg));
	release_database(DatumGetObjectId(arg));
}

/*
 * Let this session create slots with our plugin, wherever the administrator
 * has allowed it: a setting of the database is not re-read by a worker that
 * has just made it.
 */
static void
allow_plugin(void)
{
	const char *setting = "output_plugin_libraries";
	const char *allowed = GetConfigOption(setting, true, false);
	List	   *names;
	ListCell   *lc;

	if (allowed == NULL || !SplitGUCList(pstrdup(allowed), ',', &names))
		return;

	/* By name: ALTER SYSTEM may have made one of the whole list. */
	foreach(lc, names)
		if (strcmp(lfirst(lc), MC_PLUGIN) == 0)
		return;
	SetConfigOption(setting, psprintf("%s%s%s", allowed, allowed[0] ? ", " : "", MC_PLUGIN),
					PGC_SUSET, PGC_S_OVERRIDE);
}

/* Carry out an operation. */
static void
carry_out(void *arg)
{
	Operation  *operation = arg;

	switch (operation->kind)
	{
		case OPERATION_CREATE:
			mc_create_group(operation);
			break;
		case OPERATION_JOIN:
			mc_join_group(operation);
			break;
		case OPERATION_PART:
			mc_part_center(operation);
			break;
		case OPERATION_REMOVE_LOCAL:
			mc_remove_local(operation);
			break;
	}
}

/* Undo what an operation has left, by what is recorded. */
static void
undo(void *arg)
{
	Operation  *operation = arg;

	if (operation->kind == OPERATION_JOIN)
	{
		if (!mc_join_clean_up())
			strlcpy(operation->hint, "No member of the group can be told that the join has failed. This center tries again every few seconds; group_remove_local(force => true) gives up.",
					MC_OPERATION_TEXT_BYTES);
	}
	else if (operation->kind == OPERATION_PART)
		mc_part_clean_up();
}

/* Tell the caller what went wrong; it may have gone. */
static void
put_error(Operation *operation, const ErrorData *error)
{
	operation->failed = true;
	operation->sqlstate = error->sqlerrcode;
	strlcpy(operation->message, error->message ? error->message : "",
			MC_OPERATION_TEXT_BYTES);

	/* The context tells at which table or statement of the copy it was. */
	strlcpy(operation->detail, error->detail ? error->detail :
			error->context ? error->context : "", MC_OPERATION_TEXT_BYTES);
	strlcpy(operation->hint, error->hint ? error->hint : "",
			MC_OPERATION_TEXT_BYTES);
}

/* Run one operation in a memory context that holds its connections. */
static void
run_operation(Operation *operation)
{
	MemoryContext result = MemoryContextSwitchTo(TopMemoryContext);
	MemoryContext context;
	ErrorData  *error;

	context = AllocSetContextCreate(TopMemoryContext, "multicenter operation",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	error = mc_operation_try(carry_out, operation);
	if (error != NULL)
	{
		MemoryContextSwitchTo(TopMemoryContext);
		pqsignal(SIGINT, MC_SIG_IGN);
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("%s() failed: %s", operation_name(operation->kind),
						error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0));
		put_error(operation, error);

		/* Closes all connections, and gives up what they hold at the peers. */
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		error = mc_operation_try(undo, operation);
		if (error != NULL)
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("could not undo %s(): %s", operation_name(operation->kind),
							error->message)));
	}
	MemoryContextSwitchTo(result);
	MemoryContextDelete(context);
}

void
mc_operation_main(Datum arg)
{
	dsm_segment *segment = dsm_attach(DatumGetUInt32(arg));
	OperationSegment *shared;
	uint32		expected = PHASE_PENDING;

	if (segment == NULL)
		proc_exit(1);			/* the caller has given up */
	shared = dsm_segment_address(segment);
	if (!pg_atomic_compare_exchange_u32(&shared->phase, &expected, PHASE_RUNNING))
		proc_exit(1);
	before_shmem_exit(operation_exit, ObjectIdGetDatum(shared->operation.dboid));

	mc_worker_begin(shared->operation.dboid);
	mc_guard_exempt();

	/* What the peers are told must survive a crash here. */
	SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
	allow_plugin();
	pqsignal(SIGINT, StatementCancelHandler);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->cancelled) != 0)
		kill(MyProcPid, SIGINT);

	run_operation(&shared->operation);
	pg_write_barrier();
	shared->operation.finished = true;
	proc_exit(1);
}
