/*-------------------------------------------------------------------------
 *
 * applier.c
 *	  A process that applies transactions beside the receiver of its link.
 *
 * NOTES
 *	  See schedule.c for the whole.  An applier gets transactions by a queue
 *	  and applies one after the other, each as the receiver would have done,
 *	  but for its commit, for which it waits until its turn has come.
 *
 *	  Whatever goes wrong while a transaction before is not committed may be
 *	  because of that.  So then it is aborted and applied again when all before
 *	  it are committed; that is no different from what the receiver would do.
 *	  If it fails then, too, the applier ends and the receiver with it.  The
 *	  next receiver applies that transaction itself, so that all that is known
 *	  of failures (retries, quarantine, what the views show) is its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "state/monitor.h"
#include "state/registry.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shm_mq.h"
#include "target/applier.h"
#include "target/apply.h"
#include "target/connection.h"
#include "target/receiver.h"
#include "target/turn.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "compat.h"

/* A transaction that is alone is applied again so often after deadlocks. */
#define MAX_DEADLOCKS	5

/* When statistics are forced out, and how long an idle applier sleeps. */
#define STATS_MS		1000

typedef struct Beside
{
	Turn		turn;
	Applier    *applier;
	shm_mq_handle *queue;
	MemoryContext context;		/* as long as the process */
	MemoryContext error_context;	/* of the error that is looked at */
	int64		stats_ms;
} Beside;

/* The process ends, and the receiver must not go on without it. */
static void
say_that_we_end(int code, Datum arg)
{
	Turn	   *turn = (Turn *) DatumGetPointer(arg);

	pg_atomic_write_u32(&turn->self->pid, 0);
	pg_atomic_write_u32(&turn->link->order.failed, 1);
	if (turn->link->order.leader_latch != NULL)
		SetLatch(turn->link->order.leader_latch);
}

/* Make ready what the process needs. */
static Beside *
begin(SharedLink *link, int number)
{
	SharedOrder *order = &link->order;
	Beside	   *beside = MemoryContextAllocZero(TopMemoryContext, sizeof(Beside));
	dsm_segment *segment;
	shm_mq	   *queue;
	char		name[NAMEDATALEN];

	beside->context = AllocSetContextCreate(TopMemoryContext, "multicenter applier",
											ALLOCSET_DEFAULT_SIZES);
	beside->error_context = AllocSetContextCreate(beside->context,
												  "multicenter applier error",
												  ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(beside->context);
	mc_receiver_pin_settings();
	beside->turn.link = link;
	beside->turn.self = &order->appliers[number];
	pg_atomic_write_u32(&beside->turn.self->pid, (uint32) MyProcPid);
	beside->turn.self->latch = MyLatch;
	before_shmem_exit(say_that_we_end, PointerGetDatum(&beside->turn));

	/* The receiver that has started us may be gone. */
	segment = dsm_attach(order->segment);
	if (segment == NULL)
		proc_exit(1);
	dsm_pin_mapping(segment);
	queue = (shm_mq *) ((char *) dsm_segment_address(segment) +
						(Size) number * MC_APPLIER_QUEUE_BYTES);
	shm_mq_set_receiver(queue, MyProc);
	beside->queue = shm_mq_attach(queue, segment, NULL);

	StartTransactionCommand();
	beside->turn.origin = replorigin_by_name(mc_origin_name(name, MyDatabaseId, link->peer),
											 false);
	beside->turn.own_origin = replorigin_by_name(mc_applier_origin_name(name, MyDatabaseId,
																		link->peer, number),
												 false);
	CommitTransactionCommand();
	MemoryContextSwitchTo(beside->context);
	replorigin_session_setup_compat(beside->turn.own_origin, 0);
	beside->applier = mc_apply_create_beside(&beside->turn, order->own_id,
											 NameStr(link->peer_name));
	MemoryContextSwitchTo(beside->context);
	return beside;
}

/* Nothing is there to be applied. */
static void
do_idle_work(Beside *beside)
{
	int64		now_ms = mc_monotonic_ms();

	AcceptInvalidationMessages();
	if (now_ms - beside->stats_ms >= STATS_MS)
	{
		pgstat_report_stat(true);
		beside->stats_ms = now_ms;
	}
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 STATS_MS, mc_wait_event(MC_WAIT_APPLIER));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	pgstat_report_activity(STATE_RUNNING, NULL);
}

/* The next message; it is valid until the one after it is asked for. */
static char *
receive(Beside *beside, Size *len)
{
	for (;;)
	{
		void	   *data;
		shm_mq_result result = shm_mq_receive(beside->queue, len, &data, true);

		CHECK_FOR_INTERRUPTS();
		if (result == SHM_MQ_SUCCESS)
			return data;

		/* The receiver has ended. */
		if (result == SHM_MQ_DETACHED)
			proc_exit(1);
		do_idle_work(beside);
	}
}

/*
 * Undo what a transaction has done before it failed.  It must not move the
 * progress of the peer.
 */
static void
abort_transaction(Beside *beside)
{
	mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AbortCurrentTransaction();
	mc_apply_aborted(beside->applier);
}

/*
 * Apply a transaction; returns the error, if there was one.  It is in a context
 * of its own, because FreeErrorData() does not free all of it.
 */
static ErrorData *
try_apply(Beside *beside, const Assignment *assignment, WireCursor body)
{
	ErrorData  *volatile error = NULL;

	/* It is applied again. */
	PG_TRY();
	{
		if (beside->turn.alone)
			mc_turn_wait(&beside->turn, assignment->number - 1);
		MemoryContextSwitchTo(beside->context);
		mc_apply_assigned(beside->applier, &assignment->header, &body);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(beside->error_context);
		error = CopyErrorData();
		FlushErrorState();
		abort_transaction(beside);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(beside->context);
	return error;
}

/* The transaction fails alone, or nobody knows: leave it to the next receiver. */
pg_noreturn static void
give_up(Beside *beside, const Assignment *assignment, const ErrorData *error)
{
	pg_atomic_write_u64(&beside->turn.link->order.alone_lsn, assignment->header.commit_lsn);
	ereport(LOG,
			(errmsg("the receiver of center \"%s\" is going to apply transaction %u itself",
					NameStr(beside->turn.link->peer_name), assignment->header.xid),
			 errdetail("An applier has failed: %s", error->message)));
	proc_exit(1);
}

/* Apply a transaction, again if need be. */
static void
apply(Beside *beside, const Assignment *assignment, WireCursor body)
{
	Turn	   *turn = &beside->turn;
	ErrorData  *error;
	int			deadlocks = 0;

	turn->number = assignment->number;
	pg_atomic_write_u64(&turn->self->applying, turn->number);
	mc_turn_wait(turn, assignment->depends);
	turn->alone = mc_turn_has_come(turn);
	while ((error = try_apply(beside, assignment, body)) != NULL)
	{
		bool		deadlock = error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;

		/* A later one may have been in the way, and goes away then. */
		if ((turn->alone && (!deadlock || ++deadlocks > MAX_DEADLOCKS)) ||
			replorigin_get_progress(turn->origin, false) >= assignment->header.end_lsn)
			give_up(beside, assignment, error);
		MemoryContextReset(beside->error_context);
		pg_atomic_fetch_add_u64(&turn->self->redone, 1);
		turn->alone = true;
	}
}

/* Carry out one message. */
static void
take_message(Beside *beside, const char *data, Size len)
{
	Assignment	assignment;
	Size		header = sizeof(Assignment);
	WireBytes	bytes;
	WireCursor	body;

	memcpy(&assignment, data, sizeof(Assignment));
	if (assignment.kind == ASSIGN_TRANSACTION)
	{
		mc_apply_learn(beside->applier,
					   (const VectorDelta *) (data + MAXALIGN(header)),
					   assignment.nvector);
		header = MAXALIGN(header) + sizeof(VectorDelta) * assignment.nvector;
	}
	bytes.data = data + header;
	bytes.len = (uint32) (len - header);
	body = mc_wire_cursor(bytes);
	if (assignment.kind == ASSIGN_RELATION)
	{
		const char *problem = NULL;
		WireRecord	record;

		if (mc_wire_next_record(&body, &record, &problem) == WIRE_OK)
			mc_apply_describe(beside->applier, &record);
		return;
	}
	apply(beside, &assignment, body);
}

void
mc_applier_run(SharedLink *link, int number)
{
	Beside	   *beside = begin(link, number);

	for (;;)
	{
		Size		len;
		char	   *data = receive(beside, &len);

		take_message(beside, data, len);
	}
}
