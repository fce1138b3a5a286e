/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  The floor: commit timestamps that respect what a writer has seen.
 *
 * NOTES
 *	  At PRE_COMMIT a transaction with an xid reads the clock.  If that is past
 *	  the floor, the floor is moved there, and PostgreSQL takes the timestamp
 *	  of the commit a moment later by itself.  If not, one origin of the pool is
 *	  claimed, and PostgreSQL writes its "origin timestamp" into the commit
 *	  record and into commit_ts.  Order comes from the atomic floor alone; the
 *	  claim is exclusive only because an origin's progress belongs to one
 *	  process.  Lamport, "Time, clocks, and the ordering of events in a
 *	  distributed system", 1978.
 *
 *	  The origin "LSN" of a stamped commit is its timestamp.  So redo and
 *	  checkpoints carry the floor of stamped commits through a crash.  What the
 *	  floor has learnt from peers is kept in the same way by one more origin,
 *	  which apply and the heartbeats advance.  Ordinary commits are read back
 *	  from commit_ts.
 *
 *	  Who commits says so in an array by process, from before it reads the
 *	  floor until its commit record is in WAL; so a promise knows whom to
 *	  wait for.
 *
 *	  A promise may be ahead of the clock.  That does not move the floor, which
 *	  tells how new the newest commit is, until somebody commits; he raises the
 *	  floor to what was promised, and is stamped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_replication_origin.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "replication/syncrep.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/settings.h"
#include "state/shared.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* How many transactions are read back at a start; the floor was saved since. */
#define RECOVER_XIDS		1000000

/* In the place of an xid: a prepared transaction, whose end alone tells. */
#define COMMITS_PREPARED	FrozenTransactionId

#define POLL_US				200
#define WRITTEN_AT_US		100000	/* how exact mc_clock_written_at() is */

/*
 * How often to look for a free origin of the pool: who was told of one may
 * have been cancelled, and tells nobody.
 */
#define CLAIM_RETRY_MS		100

typedef struct ClockShared
{
	pg_atomic_uint64 floor;		/* a TimestampTz, which is positive here */
	pg_atomic_uint64 promised;	/* commits that peers get are later */
	pg_atomic_uint64 written_at;	/* see mc_clock_written_at() */
	pg_atomic_uint64 last_delete;	/* see mc_clock_last_delete() */
	pg_atomic_uint32 prepared_by_others;	/* under an origin, or before the
											 * start, with deletes */
	pg_atomic_uint32 ready;
	pg_atomic_uint64 stamped;
	pg_atomic_uint64 waits;
	pg_atomic_uint32 holder;	/* pid of who holds commits up; 0: nobody */
	ConditionVariable changed;	/* an origin became free, or ready, or nobody
								 * holds commits up any more */
	int			norigins;		/* of them, how many are claimed */
	uint16		floor_origin;
	uint16		origins[MC_MAX_STAMP_ORIGINS];	/* 0: does not exist */
	pg_atomic_uint32 owners[MC_MAX_STAMP_ORIGINS];	/* pid; 0: free */
	int			nprocs;

	/* By process: the xid, 0: it does not; and behind those: does it delete? */
	pg_atomic_uint32 committing[FLEXIBLE_ARRAY_MEMBER];
} ClockShared;

static ClockShared *shared = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static bool preparing = false;	/* mc_clock_prepare() */
static bool applies = false;	/* mc_clock_applies() */
static bool deletes = false;	/* mc_clock_deletes() */
static bool is_private = false; /* mc_clock_private() */
static int	claimed = -1;		/* index of the origin that is ours */
static bool holds_origin = false;	/* and PostgreSQL knows */
static bool exit_registered = false;	/* end_commit_at_exit() */

/* Every process that can commit has a place in the array. */
static int
count_procs(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

/* Bytes of the shared clock. */
static Size
clock_size(void)
{
	return add_size(offsetof(ClockShared, committing),
					mul_size(2 * count_procs(), sizeof(pg_atomic_uint32)));
}

/* Reserve memory. */
static void
clock_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(clock_size());
}

/* Create the shared clock, or attach to it. */
static void
clock_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("multicenter clock", clock_size(), &found);
	if (!found)
	{
		memset(shared, 0, clock_size());
		pg_atomic_init_u64(&shared->floor, 0);
		pg_atomic_init_u64(&shared->promised, 0);
		pg_atomic_init_u64(&shared->written_at, 0);
		pg_atomic_init_u64(&shared->last_delete, 0);
		pg_atomic_init_u32(&shared->prepared_by_others, 0);
		pg_atomic_init_u32(&shared->ready, 0);
		pg_atomic_init_u64(&shared->stamped, 0);
		pg_atomic_init_u64(&shared->waits, 0);
		pg_atomic_init_u32(&shared->holder, 0);
		ConditionVariableInit(&shared->changed);
		shared->norigins = mc_stamp_origins;
		shared->nprocs = count_procs();
		for (int i = 0; i < MC_MAX_STAMP_ORIGINS; i++)
			pg_atomic_init_u32(&shared->owners[i], 0);
		for (int i = 0; i < 2 * shared->nprocs; i++)
			pg_atomic_init_u32(&shared->committing[i], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ---- the floor ---- */

TimestampTz
mc_clock_floor(void)
{
	return shared ? (TimestampTz) pg_atomic_read_u64(&shared->floor) : 0;
}

TimestampTz
mc_clock_newest(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz floor = mc_clock_floor();

	return Max(now, floor);
}

/* Raise a time that everybody may raise. */
static void
raise_time(pg_atomic_uint64 *time, TimestampTz ts)
{
	uint64		current = pg_atomic_read_u64(time);

	while ((TimestampTz) current < ts &&
		   !pg_atomic_compare_exchange_u64(time, &current, (uint64) ts))
		 /* somebody else has raised it: look again */ ;
}

void
mc_clock_raise(TimestampTz ts)
{
	raise_time(&shared->floor, ts);
}

void
mc_clock_applies(void)
{
	applies = true;
}

void
mc_clock_private(void)
{
	is_private = true;
}

TimestampTz
mc_clock_written_at(void)
{
	return (TimestampTz) pg_atomic_read_u64(&shared->written_at);
}

void
mc_clock_save(TimestampTz ts)
{
	if (shared->floor_origin != 0 &&
		(TimestampTz) replorigin_get_progress(shared->floor_origin, false) < ts)
		replorigin_advance(shared->floor_origin, (XLogRecPtr) ts,
						   InvalidXLogRecPtr, false, true);
}

bool
mc_clock_is_stamp_origin(uint16 origin)
{
	if (shared == NULL || origin == 0)
		return false;

	/* Also those that a larger pool of an earlier start has left in WAL. */
	for (int i = 0; i < MC_MAX_STAMP_ORIGINS && shared->origins[i] != 0; i++)
		if (shared->origins[i] == origin)
			return true;
	return false;
}

void
mc_clock_status(ClockStatus *status)
{
	status->ready = pg_atomic_read_u32(&shared->ready) != 0;
	status->floor = mc_clock_floor();
	status->stamped = pg_atomic_read_u64(&shared->stamped);
	status->waits = pg_atomic_read_u64(&shared->waits);
}

/* ---- commits ---- */

/* The array's element of this process; NULL: it has none. */
static pg_atomic_uint32 *
our_place(void)
{
	int			number = mc_my_proc_number();

	return number >= 0 && number < shared->nprocs ?
		&shared->committing[number] : NULL;
}

/* The local transaction gets this timestamp, or a smaller one. */
static void
note_delete(TimestampTz ts)
{
	if (deletes)
		raise_time(&shared->last_delete, ts);
}

/*
 * The same of one with an origin: if that has no time for it, it is going to get
 * one soon.
 */
static void
note_delete_soon(TimestampTz ts)
{
	TimestampTz soon;

	if (!deletes)
		return;
	soon = GetCurrentTimestamp() + USECS_PER_SEC;
	note_delete(Max(ts, soon));
}

/* Say that what this process commits deletes rows, or that it has. */
static void
set_deletes(bool value)
{
	pg_atomic_uint32 *place = our_place();

	if (deletes == value)
		return;
	deletes = value;

	/* The time was raised before. */
	pg_write_barrier();
	if (place != NULL)
		pg_atomic_write_u32(place + shared->nprocs, value);
}

void
mc_clock_deletes(void)
{
	if (shared != NULL && !applies)
		set_deletes(true);
}

/* Say that this process commits a transaction. */
static void
set_committing(TransactionId xid)
{
	pg_atomic_uint32 *place = our_place();

	if (place == NULL)
		return;
	pg_atomic_write_u32(place, xid);

	/* Before the floor is read: see mc_clock_promise(). */
	pg_memory_barrier();
}

/* Or that it does not any more. */
static void
reset_committing(void)
{
	pg_atomic_uint32 *place = our_place();

	if (place == NULL || pg_atomic_read_u32(place) == 0)
		return;

	/* The floor was raised before, and the commit is in WAL. */
	pg_write_barrier();
	pg_atomic_write_u32(place, 0);
}

/* Does another process hold commits up? */
static bool
is_held_up(void)
{
	uint32		holder = pg_atomic_read_u32(&shared->holder);

	return holder != 0 && holder != (uint32) MyProcPid;
}

/*
 * Say that this process commits a transaction, once nobody holds it up.  Who
 * does so waits for us if he finds that we have said it.
 */
static void
announce_commit(TransactionId xid)
{
	set_committing(xid);
	while (is_held_up())
	{
		reset_committing();
		ConditionVariablePrepareToSleep(&shared->changed);
		while (is_held_up())
			ConditionVariableSleep(&shared->changed, mc_wait_event(MC_WAIT_COMMIT_HELD));
		ConditionVariableCancelSleep();
		set_committing(xid);
	}
}

void
mc_clock_wait_ready(void)
{
	if (pg_atomic_read_u32(&shared->ready) != 0)
	{
		pg_read_barrier();
		return;
	}
	ConditionVariablePrepareToSleep(&shared->changed);
	while (pg_atomic_read_u32(&shared->ready) == 0)
		ConditionVariableSleep(&shared->changed, mc_wait_event(MC_WAIT_CLOCK_START));
	ConditionVariableCancelSleep();
}

/* Claim a free origin of the pool; false if there is none. */
static bool
try_claim(void)
{
	for (int i = 0; i < shared->norigins; i++)
	{
		int			candidate = (MyProcPid + i) % shared->norigins;
		uint32		nobody = 0;

		if (pg_atomic_read_u32(&shared->owners[candidate]) != 0 ||
			!pg_atomic_compare_exchange_u32(&shared->owners[candidate], &nobody,
											(uint32) MyProcPid))
			continue;

		/* From here on the end of the transaction gives it back. */
		claimed = candidate;
		replorigin_session_setup_compat(shared->origins[candidate], 0);
		holds_origin = true;
		return true;
	}
	return false;
}

/* Claim an origin of the pool, waiting for one if need be. */
static void
claim_origin(void)
{
	if (try_claim())
		return;
	pg_atomic_fetch_add_u64(&shared->waits, 1);
	ConditionVariablePrepareToSleep(&shared->changed);
	while (!try_claim())
		(void) ConditionVariableTimedSleep(&shared->changed, CLAIM_RETRY_MS,
										   mc_wait_event(MC_WAIT_STAMP_ORIGIN));
	ConditionVariableCancelSleep();
}

/* Give everything back.  Safe at any moment, and when there is nothing. */
static void
end_commit(void)
{
	int			origin = claimed;

	if (shared == NULL)
		return;
	if (origin >= 0)
	{
		claimed = -1;
		mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
		if (holds_origin)
			replorigin_session_reset();
		holds_origin = false;
		pg_atomic_write_u32(&shared->owners[origin], 0);
		ConditionVariableSignal(&shared->changed);
	}
	mc_clock_release_commits();
	reset_committing();
	set_deletes(false);
	is_private = false;
}

/* Same, at the end of a process. */
static void
end_commit_at_exit(int code, Datum arg)
{
	end_commit();
}

/* Commit under a stamp: later than anything known here. */
static void
stamp(void)
{
	uint64		ts;

	if (!exit_registered)
	{
		before_shmem_exit(end_commit_at_exit, (Datum) 0);
		exit_registered = true;
	}
	claim_origin();

	/* Drawn after the claim, for which the wait may have been long. */
	ts = pg_atomic_add_fetch_u64(&shared->floor, 1);
	mc_session_origin_set(shared->origins[claimed], (XLogRecPtr) ts,
						  (TimestampTz) ts);
	note_delete((TimestampTz) ts);
	pg_atomic_fetch_add_u64(&shared->stamped, 1);
}

/* Somebody commits what peers get.  Few write that down: it need not be exact. */
static void
note_written(TimestampTz now)
{
	TimestampTz written_at = mc_clock_written_at();

	if (now < written_at || now - written_at > WRITTEN_AT_US)
		pg_atomic_write_u64(&shared->written_at, (uint64) now);
}

/*
 * Move the floor to the present; false if the clock is not past it, nor past
 * what was promised to peers.
 */
static bool
pass_floor(void)
{
	uint64		floor;
	TimestampTz now;

	if (!is_private)
		mc_clock_raise((TimestampTz) pg_atomic_read_u64(&shared->promised));
	floor = pg_atomic_read_u64(&shared->floor);
	now = GetCurrentTimestamp();
	if (!is_private && MyBackendType != B_AUTOVAC_WORKER)
		note_written(now);
	while (now > (TimestampTz) floor)
	{
		if (pg_atomic_compare_exchange_u64(&shared->floor, &floor, (uint64) now))
			return true;
	}
	return false;
}

/* Does what this process commits need a version? */
static bool
is_concerned(void)
{
	return shared != NULL && !preparing && IsUnderPostmaster && !IsBinaryUpgrade &&
		mc_gate() != GATE_NO_GROUP;
}

/* A transaction is about to commit. */
static void
begin_commit(void)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	TimestampTz ts;

	if (!TransactionIdIsValid(xid) || !is_concerned())
		return;

	/*
	 * Apply, or a session with an origin of its own, brings its timestamp.
	 * What others do after they have seen it is later.
	 */
	if (mc_session_origin(&ts) != InvalidRepOriginId)
	{
		mc_clock_raise(ts);
		note_delete_soon(ts);
		return;
	}
	mc_clock_wait_ready();
	announce_commit(xid);
	if (!pass_floor())
		stamp();
}

/* Callback: a transaction ends. */
static void
transaction_ends(XactEvent event, void *arg)
{
	pg_atomic_uint32 *place;
	TimestampTz ts;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			begin_commit();
			break;
		case XACT_EVENT_COMMIT:

			/* The timestamp was taken after PRE_COMMIT. */
			place = shared && IsUnderPostmaster && MyProc ? our_place() : NULL;
			if (place && pg_atomic_read_u32(place) != 0 && claimed < 0)
				mc_clock_raise(GetCurrentTransactionStopTimestamp());
			if (deletes)
				note_delete(GetCurrentTransactionStopTimestamp());
			end_commit();
			break;
		case XACT_EVENT_ABORT:
			preparing = false;
			end_commit();
			break;
		case XACT_EVENT_PREPARE:

			/* Other software's workers commit it behind our back. */
			if (deletes && mc_session_origin(&ts) != InvalidRepOriginId)
				pg_atomic_write_u32(&shared->prepared_by_others, 1);
			set_deletes(false);
			is_private = false;
			break;
		default:
			break;
	}
}

void
mc_clock_begin_prepared(void)
{
	TimestampTz ts;

	if (!is_concerned())
		return;
	if (mc_session_origin(&ts) != InvalidRepOriginId)
	{
		set_deletes(true);
		note_delete_soon(ts);
		return;
	}
	mc_clock_wait_ready();
	announce_commit(COMMITS_PREPARED);
	set_deletes(true);

	/*
	 * Always stamped, because nobody could raise the floor after its commit;
	 * but not with a time that is long over.
	 */
	(void) pass_floor();
	stamp();
}

void
mc_clock_end_prepared(void)
{
	end_commit();
}

/* ---- promises ---- */

/*
 * Is the commit record of a process in WAL?  Of a prepared transaction it is if
 * a synchronous standby is waited for already, which may take for ever.
 */
static bool
is_in_wal(int number, TransactionId xid)
{
	if (TransactionIdIsNormal(xid))
		return TransactionIdDidCommit(xid);
	return ProcGlobal->allProcs[number].syncRepState == SYNC_REP_WAITING;
}

/*
 * Wait for who has begun to commit, perhaps with a timestamp up to the floor
 * as it was, until its commit record is in WAL.  Who begins later reads the
 * floor and the promise as they are now.
 */
static void
wait_for_commits(void)
{
	pg_memory_barrier();
	for (int i = 0; i < shared->nprocs; i++)
	{
		TransactionId xid = pg_atomic_read_u32(&shared->committing[i]);

		while (TransactionIdIsValid(xid) &&
			   pg_atomic_read_u32(&shared->committing[i]) == xid &&
			   !is_in_wal(i, xid))
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(POLL_US);
		}
	}

	/* They have raised the floor before. */
	pg_read_barrier();
}

/*
 * Wait for commits whose record may be in WAL while shared memory does not show
 * the progress of their origin: those of apply, as the checkpointer does.
 */
static void
wait_for_progress(void)
{
	VirtualTransactionId *vxids;
	int			nvxids;

	vxids = GetVirtualXIDsDelayingChkpt(&nvxids, DELAY_CHKPT_START);
	while (nvxids > 0 &&
		   HaveVirtualXIDsDelayingChkpt(vxids, nvxids, DELAY_CHKPT_START))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(POLL_US);
	}
	pfree(vxids);
}

TimestampTz
mc_clock_promise(int64 ahead_us, LocalLsn *since)
{
	TimestampTz ahead = GetCurrentTimestamp() + ahead_us;
	TimestampTz floor = mc_clock_floor();
	TimestampTz promise = Max(ahead, floor);

	raise_time(&shared->promised, promise);
	if (ahead_us == 0)
		mc_clock_raise(promise);
	since->value = GetXLogInsertRecPtr();
	wait_for_commits();
	wait_for_progress();
	return promise;
}

/* Does any process commit deletes at this moment? */
static bool
anybody_deletes(void)
{
	for (int i = 0; i < shared->nprocs; i++)
		if (pg_atomic_read_u32(&shared->committing[shared->nprocs + i]) != 0)
			return true;
	return false;
}

/*
 * Whoever has committed deletes has raised the time before he says that he does
 * not any more; while somebody does, the present must do.
 */
TimestampTz
mc_clock_last_delete(void)
{
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->ready) == 0 || anybody_deletes() ||
		pg_atomic_read_u32(&shared->prepared_by_others) != 0)
		return mc_clock_newest();
	pg_memory_barrier();
	return (TimestampTz) pg_atomic_read_u64(&shared->last_delete);
}

/* ---- holding commits up ---- */

TimestampTz
mc_clock_hold_commits(void)
{
	uint32		nobody = 0;

	if (!exit_registered)
	{
		before_shmem_exit(end_commit_at_exit, (Datum) 0);
		exit_registered = true;
	}
	ConditionVariablePrepareToSleep(&shared->changed);
	while (!pg_atomic_compare_exchange_u32(&shared->holder, &nobody, (uint32) MyProcPid))
	{
		ConditionVariableSleep(&shared->changed, mc_wait_event(MC_WAIT_COMMIT_HELD));
		nobody = 0;
	}
	ConditionVariableCancelSleep();
	wait_for_commits();
	return mc_clock_newest();
}

void
mc_clock_release_commits(void)
{
	if (pg_atomic_read_u32(&shared->holder) != (uint32) MyProcPid)
		return;
	pg_atomic_write_u32(&shared->holder, 0);
	ConditionVariableBroadcast(&shared->changed);
}

/* ---- start ---- */

/* Find or make an origin, with a place in the array of origins. */
static uint16
make_origin(const char *name)
{
	uint16		origin = replorigin_by_name(name, true);

	if (origin == InvalidRepOriginId)
		origin = replorigin_create(name);
	return origin;
}

/*
 * Take the places of the pool in the array, which is full if others have them;
 * and learn what its origins remember of the floor.
 */
static void
take_place(uint16 origin)
{
	replorigin_advance(origin, 1, InvalidXLogRecPtr, false, true);
	mc_clock_raise((TimestampTz) replorigin_get_progress(origin, false));
}

/*
 * Make do with a smaller pool where origins of others leave no place for all
 * of it: fewer commits can be stamped at once then, but all others go on.
 */
static void
fit_pool(void)
{
	const char *limit = GetConfigOption("max_active_replication_origins", true, false);
	int			places = limit ? pg_strtoint32(limit) : max_replication_slots;
	int			wanted = shared->norigins;
	bool		isnull;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute("SELECT pg_catalog.count(*)::pg_catalog.int4"
				" FROM pg_catalog.pg_replication_origin_status o"
				" LEFT JOIN pg_catalog.pg_replication_origin n ON n.roident OPERATOR(pg_catalog.=) o.local_id"
				" WHERE (n.roname OPERATOR(pg_catalog.~) '^multicenter_(stamp_[0-9]+|floor)$') IS NOT TRUE",
				true, 0);
	places -= DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	PopActiveSnapshot();
	SPI_finish();

	/* One is for what the floor learns from peers. */
	shared->norigins = Max(1, Min(wanted, places - 1));
	if (shared->norigins < wanted)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("only %d local commits can be stamped at once, not %d as multicenter.stamp_origins says",
						shared->norigins, wanted),
				 errhint("Raise %s in postgresql.conf and restart the server.",
						 limit ? "max_active_replication_origins" : "max_replication_slots")));
}

/* Have workers of other software left prepared transactions to be committed? */
static void
look_for_prepared(void)
{
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute("SELECT FROM pg_catalog.pg_prepared_xacts"
					" WHERE gid OPERATOR(pg_catalog.~) '^pg_gid_'", true, 1) == SPI_OK_SELECT &&
		SPI_processed > 0)
		pg_atomic_write_u32(&shared->prepared_by_others, 1);
	PopActiveSnapshot();
	SPI_finish();
}

/* Read the newest commit timestamps back. */
static void
recover_from_commits(void)
{
	TransactionId next = XidFromFullTransactionId(ReadNextFullTransactionId());
	TransactionId xid = next;

	for (int i = 0; i < RECOVER_XIDS; i++)
	{
		TimestampTz ts;

		CHECK_FOR_INTERRUPTS();
		TransactionIdRetreat(xid);
		if (xid == next || !TransactionIdIsNormal(xid) ||
			TransactionIdPrecedes(xid, mc_oldest_commit_ts_xid()))
			break;
		if (TransactionIdGetCommitTsData(xid, &ts, NULL))
			mc_clock_raise(ts);
	}
}

void
mc_clock_prepare(void)
{
	char		name[NAMEDATALEN];

	if (pg_atomic_read_u32(&shared->ready) != 0)
		return;

	/* Nobody else would end our own wait. */
	preparing = true;

	/* Two of us would make the same origins. */
	StartTransactionCommand();
	LockSharedObject(ReplicationOriginRelationId, InvalidOid, 0,
					 ShareUpdateExclusiveLock);
	fit_pool();
	look_for_prepared();
	for (int i = 0; i < MC_MAX_STAMP_ORIGINS; i++)
	{
		snprintf(name, sizeof(name), "multicenter_stamp_%d", i);
		shared->origins[i] = i < shared->norigins ? make_origin(name) :
			replorigin_by_name(name, true);
	}
	shared->floor_origin = make_origin("multicenter_floor");
	CommitTransactionCommand();
	preparing = false;

	for (int i = 0; i < shared->norigins; i++)
		take_place(shared->origins[i]);
	for (int i = shared->norigins; i < MC_MAX_STAMP_ORIGINS; i++)
		if (shared->origins[i] != 0)
			mc_clock_raise((TimestampTz) replorigin_get_progress(shared->origins[i], false));
	take_place(shared->floor_origin);
	if (track_commit_timestamp)
		recover_from_commits();
	mc_deletes_begin();
	raise_time(&shared->last_delete, mc_clock_floor());
	pg_memory_barrier();
	pg_atomic_write_u32(&shared->ready, 1);
	ConditionVariableBroadcast(&shared->changed);
}

void
mc_clock_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = clock_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = clock_startup;
	RegisterXactCallback(transaction_ends, NULL);
}
