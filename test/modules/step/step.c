/*-------------------------------------------------------------------------
 *
 * step.c
 *	  A library to preload besides multicenter: lets a link apply exactly so
 *	  many remote transactions.
 *
 * NOTES
 *	  For tests only; see test/lib/Multicenter/Step.pm.  link_pause() stops a
 *	  link as a whole, and what arrives when it is resumed is everything.
 *	  Here the receiver waits at a gate before each transaction, with its
 *	  connection and everything else as it is.
 *
 *	  A gate belongs to a database and a peer.  It is open until it is shut,
 *	  and all are open after a crash of the server.
 *
 *	  Another function holds commits up in their middle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "target/apply.h"

PG_MODULE_MAGIC;

#define MAX_GATES		64
#define GATE_OPEN		(-1)
#define DEADLINE_MS		30000

typedef struct Gate
{
	Oid			dboid;
	NameData	peer;
	int			allowed;		/* transactions that may pass, or GATE_OPEN */
	int			applying;		/* has passed, is not committed yet */
} Gate;

typedef struct Gates
{
	slock_t		mutex;
	ConditionVariable changed;
	int			ngates;
	Gate		gates[MAX_GATES];
} Gates;

static Gates *gates = NULL;
static Gate *my_gate = NULL;	/* that this receiver has passed */
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(step_pause);
PG_FUNCTION_INFO_V1(step_pass);
PG_FUNCTION_INFO_V1(step_drain);
PG_FUNCTION_INFO_V1(step_hold_commits);

/* Reserve shared memory. */
static void
request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(sizeof(Gates));
}

/* Make the gates, or find them. */
static void
startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	gates = ShmemInitStruct("multicenter step", sizeof(Gates), &found);
	if (!found)
	{
		memset(gates, 0, sizeof(Gates));
		SpinLockInit(&gates->mutex);
		ConditionVariableInit(&gates->changed);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* The gate of a link into this database; the caller has the mutex. */
static Gate *
find_gate(const char *peer_name)
{
	Gate	   *gate;

	for (int i = 0; i < gates->ngates; i++)
	{
		gate = &gates->gates[i];
		if (gate->dboid == MyDatabaseId &&
			strcmp(NameStr(gate->peer), peer_name) == 0)
			return gate;
	}
	if (gates->ngates == MAX_GATES)
		return &gates->gates[MAX_GATES - 1];
	gate = &gates->gates[gates->ngates++];
	gate->dboid = MyDatabaseId;
	snprintf(NameStr(gate->peer), NAMEDATALEN, "%s", peer_name);
	gate->allowed = GATE_OPEN;
	return gate;
}

/* What has passed is committed, or not: then it is to pass once more. */
static void
leave(bool committed)
{
	if (my_gate == NULL)
		return;
	SpinLockAcquire(&gates->mutex);
	my_gate->applying = 0;
	if (!committed && my_gate->allowed != GATE_OPEN)
		my_gate->allowed++;
	SpinLockRelease(&gates->mutex);
	my_gate = NULL;
	ConditionVariableBroadcast(&gates->changed);
}

/* The receiver ends. */
static void
receiver_ends(int code, Datum arg)
{
	leave(false);
}

/* A receiver is about to apply a transaction: wait until it may. */
static void
before(const char *peer_name)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(receiver_ends, (Datum) 0);
	registered = true;

	ConditionVariablePrepareToSleep(&gates->changed);
	for (;;)
	{
		Gate	   *gate;

		SpinLockAcquire(&gates->mutex);
		gate = find_gate(peer_name);
		if (gate->allowed != 0)
		{
			if (gate->allowed > 0)
				gate->allowed--;
			gate->applying = 1;
			my_gate = gate;
		}
		SpinLockRelease(&gates->mutex);
		if (my_gate)
			break;
		ConditionVariableSleep(&gates->changed, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* A receiver has committed a transaction. */
static void
committed(const char *peer_name)
{
	leave(true);
}

static const ApplyObserver observer = {before, committed};

/* Put our functions where multicenter looks for them. */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
	*find_rendezvous_variable(MC_APPLY_OBSERVER) = (void *) &observer;
}

/* Let so many transactions pass, and wait until they are committed. */
static void
set_gate(const char *peer_name, int allowed)
{
	TimestampTz start = GetCurrentTimestamp();

	SpinLockAcquire(&gates->mutex);
	find_gate(peer_name)->allowed = allowed;
	SpinLockRelease(&gates->mutex);
	ConditionVariableBroadcast(&gates->changed);

	ConditionVariablePrepareToSleep(&gates->changed);
	while (allowed != GATE_OPEN)
	{
		Gate		gate;

		SpinLockAcquire(&gates->mutex);
		gate = *find_gate(peer_name);
		SpinLockRelease(&gates->mutex);
		if (gate.allowed == 0 && gate.applying == 0)
			break;
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), DEADLINE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("%d of %d transactions of center \"%s\" have not come in %d s",
							gate.allowed + gate.applying, allowed, peer_name,
							DEADLINE_MS / 1000)));
		ConditionVariableTimedSleep(&gates->changed, 1000, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* step_pause(peer): apply nothing more of this peer. */
Datum
step_pause(PG_FUNCTION_ARGS)
{
	set_gate(text_to_cstring(PG_GETARG_TEXT_PP(0)), 0);
	PG_RETURN_VOID();
}

/* step(peer, n): apply the next n transactions of this peer. */
Datum
step_pass(PG_FUNCTION_ARGS)
{
	set_gate(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

/* step_drain(peer): apply everything, from now on. */
Datum
step_drain(PG_FUNCTION_ARGS)
{
	set_gate(text_to_cstring(PG_GETARG_TEXT_PP(0)), GATE_OPEN);
	PG_RETURN_VOID();
}

/* Does a process wait in its commit, or for a lock that another one has? */
static bool
waits_for_commit(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);
	uint32		event = proc ? proc->wait_event_info : 0;

	return event == (PG_WAIT_LWLOCK | CommitTsLock->tranche) ||
		(event & 0xFF000000U) == PG_WAIT_LOCK;
}

/*
 * step_hold_commits(pid, pid): keep all commits of the server in their middle,
 * where the progress of their origin is known and their rows cannot be seen,
 * until both processes wait.  CommitTsLock is taken just there.
 */
Datum
step_hold_commits(PG_FUNCTION_ARGS)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		both = false;

	LWLockAcquire(CommitTsLock, LW_EXCLUSIVE);
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	while (!both && !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), DEADLINE_MS))
	{
		pg_usleep(1000);
		both = waits_for_commit(PG_GETARG_INT32(0)) && waits_for_commit(PG_GETARG_INT32(1));
	}
	pgstat_report_wait_end();
	LWLockRelease(CommitTsLock);
	if (!both)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the processes have not waited in %d s", DEADLINE_MS / 1000)));
	PG_RETURN_VOID();
}
