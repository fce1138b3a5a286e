/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  Parallel apply: which applier gets which transaction of a link.
 *
 * NOTES
 *	  The receiver leads.  It reads the stream, and either applies a
 *	  transaction itself, when all that it has given away is committed, or
 *	  gives it to an applier, a process that applies it at once and commits it
 *	  when its turn has come.  Who sees what:
 *
 *	  the stream (gaps, the peer's vector, heartbeats, descriptions of tables)
 *					the receiver; it tells appliers of vectors and tables
 *	  keys that a transaction writes
 *					the receiver, before it gives it away (writeset.c)
 *	  rows, notes, claims, decisions, conflicts, counters
 *					whoever applies; claims and row locks make a transaction
 *					that depends on another one after all wait, and turn.c
 *					sees to it that it is not the earlier one
 *	  progress, what was applied last (the ring, recent.c, the vector)
 *					whoever commits, in his turn
 *	  what is durable, and what the peer is told
 *					the receiver, which fetches the commits in order
 *	  probation, failures, fences, policies
 *					the receiver: what they are about it applies itself
 *
 *	  Which transaction goes to whom is a matter of speed alone, since numbers
 *	  give the order: one that writes a key of another goes behind that one in
 *	  the queue of the same applier, all others to who has least to do.
 *
 *	  The receiver may be quicker alone than with appliers.  core/pace.c knows,
 *	  from what either has got done of a backlog.
 *
 *	  An applier that ends ends the receiver, and the other way round; both
 *	  wait for nothing but the other's death.  A new receiver begins behind the
 *	  last commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/pace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "state/column_policy.h"
#include "state/fence.h"
#include "state/monitor.h"
#include "state/policy.h"
#include "state/registry.h"
#include "state/vector.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "target/applier.h"
#include "target/probation.h"
#include "target/schedule.h"
#include "target/writeset.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Places for origins that are left for others; for workers: an operation. */
#define SPARE_ORIGINS		2
#define SPARE_WORKERS		1

/* Larger frames have a large row. */
#define MAX_GIVEN_BYTES		(MC_APPLIER_QUEUE_BYTES / 4)

/* Policies are looked for after so many transactions. */
#define POLICY_INTERVAL		64

/* One transaction that an applier has. */
typedef struct Given
{
	Finished	finished;		/* what is told of it afterwards */
	int			worker;
	uint32		bytes;
	XLogRecPtr	commit_lsn;
} Given;

/* A heartbeat that is kept. */
typedef struct Kept
{
	Finished	finished;
	uint64		after;			/* this transaction, and those before it */
	DependencyVector vector;	/* shortened to its entries */
} Kept;

typedef struct Worker
{
	shm_mq_handle *queue;
	BackgroundWorkerHandle *handle;
	uint32		load;			/* transactions that it has not committed */
	uint64		vector;			/* which vector it knows */
} Worker;

struct Schedule
{
	SharedLink *link;
	Applier    *applier;		/* the receiver's own */
	WriteSet   *writes;
	SchedulePause pause;
	void	   *pause_arg;
	int			nworkers;
	Worker		workers[MC_MAX_APPLY_WORKERS];
	uint64		vector;			/* counts changes of the peer's vector */
	uint64		given;			/* number of the last one */
	uint64		fetched;
	Pace		pace;
	uint32		own_bytes;		/* that the receiver takes by its choice */
	bool		policies;		/* some decide, as was seen last */
	int			until_look;
	Given		transactions[MC_ORDER_SIZE];	/* by number */
	MemoryContext context;
	List	   *heartbeats;		/* Kept *, in context */
	Kept	   *heartbeat;		/* that was fetched last */
};

/* ---- start and end ---- */

/* The receiver ends: so must the appliers, before another one begins. */
static void
stop_appliers(int code, Datum arg)
{
	Schedule   *schedule = (Schedule *) DatumGetPointer(arg);

	for (int i = 0; i < schedule->nworkers; i++)
		TerminateBackgroundWorker(schedule->workers[i].handle);
	for (int i = 0; i < schedule->nworkers; i++)
		(void) WaitForBackgroundWorkerShutdown(schedule->workers[i].handle);
	schedule->link->order.nworkers = 0;
	schedule->link->applier_pid = 0;
}

/* The number that a query returns.  Needs a transaction. */
static int
query_number(const char *query)
{
	bool		isnull;
	int			number;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute(query, true, 0);
	number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	PopActiveSnapshot();
	SPI_finish();
	return number;
}

/*
 * How many appliers find a place, if each link of the server that has no
 * receiver at the moment, as one that is paused, is to get one?
 */
static int
count_worker_places(void)
{
	int			places = max_worker_processes - SPARE_WORKERS;

	for (int i = 0; i < mc_shared->nlinks; i++)
		if (OidIsValid(mc_shared->links[i].dboid) && mc_shared->links[i].pid == 0)
			places--;
	StartTransactionCommand();
	places -= query_number("SELECT pg_catalog.count(*)::pg_catalog.int4"
						   " FROM pg_catalog.pg_stat_activity AS a"
						   " WHERE a.backend_type OPERATOR(pg_catalog.!~) " MC_NO_WORKER);
	CommitTransactionCommand();
	return places;
}

/*
 * Is there a place for the origin of an applier, besides one for each link of
 * the server, which cannot run without?  Needs a transaction.
 */
static bool
has_place(void)
{
	const char *limit = GetConfigOption("max_active_replication_origins", true, false);
	int			places = limit ? pg_strtoint32(limit) : max_replication_slots;

	for (int i = 0; i < mc_shared->nlinks; i++)
		if (OidIsValid(mc_shared->links[i].dboid))
			places--;
	places -= query_number("SELECT pg_catalog.count(*)::pg_catalog.int4"
						   " FROM pg_catalog.pg_replication_origin_status o");
	return places > SPARE_ORIGINS;
}

/*
 * Make the origin of an applier, and a place for it.
 */
static bool
make_origin(SharedLink *link, int number)
{
	char		name[NAMEDATALEN];
	volatile bool made = false;

	mc_applier_origin_name(name, MyDatabaseId, link->peer, number);
	StartTransactionCommand();

	/* A full array must not stop the link. */
	PG_TRY();
	{
		uint16		origin = replorigin_by_name(name, true);

		made = origin != InvalidRepOriginId || has_place();
		if (made && origin == InvalidRepOriginId)
			origin = replorigin_create(name);
		if (made)
		{
			replorigin_session_setup_compat(origin, 0);
			replorigin_session_reset();
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		made = false;
		LWLockReleaseAll();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return made;
}

/* Set up what a link's processes share. */
static void
reset_order(SharedLink *link, dsm_segment *segment, CenterId our_id)
{
	SharedOrder *order = &link->order;

	order->segment = dsm_segment_handle(segment);
	order->own_id = our_id;
	order->leader_latch = MyLatch;
	pg_atomic_write_u64(&order->committed, 0);
	pg_atomic_write_u64(&order->leader_waits_for, 0);
	pg_atomic_write_u32(&order->failed, 0);
	for (int i = 0; i < MC_MAX_APPLY_WORKERS; i++)
	{
		SharedApplier *applier = &order->appliers[i];

		applier->latch = NULL;
		pg_atomic_write_u32(&applier->pid, 0);
		pg_atomic_write_u64(&applier->applying, 0);
		pg_atomic_write_u64(&applier->waits_for, 0);
		pg_atomic_write_u32(&applier->queued, 0);
		pg_atomic_write_u64(&applier->xacts, 0);
		pg_atomic_write_u64(&applier->waits, 0);
		pg_atomic_write_u64(&applier->redone, 0);
	}
}

/* Start one applier. */
static bool
start_applier(Schedule *schedule, dsm_segment *segment, ApplierStarter starter)
{
	int			number = schedule->nworkers;
	Worker	   *worker = &schedule->workers[number];
	shm_mq	   *queue = shm_mq_create((char *) dsm_segment_address(segment) +
									  (Size) number * MC_APPLIER_QUEUE_BYTES,
									  MC_APPLIER_QUEUE_BYTES);

	shm_mq_set_sender(queue, MyProc);
	if (!starter(schedule->link, number, &worker->handle))
		return false;
	worker->queue = shm_mq_attach(queue, segment, worker->handle);
	schedule->nworkers++;
	schedule->link->order.nworkers = schedule->nworkers;
	return true;
}

Schedule *
mc_schedule_create(SharedLink *link, Applier *applier, CenterId our_id,
				   int nworkers, ApplierStarter starter, SchedulePause pause,
				   void *pause_arg)
{
	MemoryContext context = CurrentMemoryContext;
	Schedule   *schedule = MemoryContextAllocZero(context, sizeof(Schedule));
	dsm_segment *segment;
	int			worker_places;
	int			nplaces = 0;

	mc_apply_own_origin(applier, false);
	worker_places = count_worker_places();
	while (nplaces < Min(nworkers, worker_places) && make_origin(link, nplaces))
		nplaces++;
	mc_apply_own_origin(applier, true);
	MemoryContextSwitchTo(context);

	schedule->context = context;
	schedule->link = link;
	schedule->applier = applier;
	schedule->pause = pause;
	schedule->pause_arg = pause_arg;
	schedule->writes = mc_writeset_create(mc_apply_relations(applier));
	segment = dsm_create((Size) Max(nplaces, 1) * MC_APPLIER_QUEUE_BYTES,
						 DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	dsm_pin_mapping(segment);
	reset_order(link, segment, our_id);
	before_shmem_exit(stop_appliers, PointerGetDatum(schedule));
	while (schedule->nworkers < nplaces && start_applier(schedule, segment, starter))
		;
	if (schedule->nworkers < nworkers)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("only %d appliers for center \"%s\" could be started, not %d",
						schedule->nworkers, NameStr(link->peer_name), nworkers),
				 errhint("Each needs a place in max_worker_processes, where those of receivers are left free, and one in max_replication_slots (PostgreSQL 18: max_active_replication_origins).")));
	return schedule->nworkers > 0 ? schedule : NULL;
}

void
mc_schedule_check(const Schedule *schedule)
{
	if (pg_atomic_read_u32(&schedule->link->order.failed) == 0)
		return;
	ereport(LOG,
			(errmsg("the receiver of center \"%s\" ends, because one of its appliers has ended",
					NameStr(schedule->link->peer_name))));
	proc_exit(1);
}

void
mc_schedule_show(const Schedule *schedule)
{
	SharedLink *link = schedule->link;
	uint64		next = schedule->fetched + 1;
	XLogRecPtr	shown = pg_atomic_read_u64(&link->applying_lsn);
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	int			worker = schedule->transactions[next % MC_ORDER_SIZE].worker;

	link->applier_pid = next > schedule->given ? 0 :
		(pid_t) pg_atomic_read_u32(&link->order.appliers[worker].pid);
	if (mc_apply_in_transaction(schedule->applier))
		return;
	if (next <= schedule->given)
		lsn = schedule->transactions[next % MC_ORDER_SIZE].commit_lsn;
	if (lsn != shown)
		mc_monitor_applying(link, lsn);
}

/* ---- waiting ---- */

bool
mc_schedule_busy(const Schedule *schedule)
{
	return schedule->fetched < schedule->given || schedule->heartbeats != NIL;
}

void
mc_schedule_heard(Schedule *schedule)
{
	schedule->vector++;
}

void
mc_schedule_defer(Schedule *schedule, const Finished *heartbeat)
{
	MemoryContext caller = MemoryContextSwitchTo(schedule->context);
	Size		size = offsetof(DependencyVector, entries) +
	sizeof(VectorDelta) * heartbeat->vector->nentries;
	Kept	   *kept = palloc(offsetof(Kept, vector) + size);

	kept->finished = *heartbeat;
	kept->after = schedule->given;
	memcpy(&kept->vector, heartbeat->vector, size);
	kept->finished.vector = &kept->vector;
	schedule->heartbeats = lappend(schedule->heartbeats, kept);
	MemoryContextSwitchTo(caller);
}

/* Fetch a heartbeat, if one is next. */
static bool
fetch_heartbeat(Schedule *schedule, Finished *finished)
{
	Kept	   *kept;

	if (schedule->heartbeats == NIL)
		return false;
	kept = linitial(schedule->heartbeats);
	if (kept->after > schedule->fetched)
		return false;
	if (schedule->heartbeat)
		pfree(schedule->heartbeat);
	schedule->heartbeat = kept;
	schedule->heartbeats = list_delete_first(schedule->heartbeats);
	*finished = kept->finished;
	return true;
}

void
mc_schedule_applied(Schedule *schedule)
{
	if (schedule->own_bytes > 0)
		mc_pace_done(&schedule->pace, mc_monotonic_us(), schedule->own_bytes, true);
	schedule->own_bytes = 0;
}

void
mc_schedule_idle(Schedule *schedule)
{
	mc_pace_idle(&schedule->pace, mc_monotonic_us());
}

bool
mc_schedule_fetch(Schedule *schedule, Finished *finished)
{
	SharedOrder *order = &schedule->link->order;
	uint64		number = schedule->fetched + 1;
	const Given *given = &schedule->transactions[number % MC_ORDER_SIZE];
	LocalLsn	commit_end;
	Worker	   *worker;

	if (fetch_heartbeat(schedule, finished))
		return true;
	if (schedule->fetched == schedule->given ||
		pg_atomic_read_u64(&order->committed) < number)
		return false;
	pg_read_barrier();
	commit_end.value = pg_atomic_read_u64(&order->commit_ends[number % MC_ORDER_SIZE]);
	mc_pace_done(&schedule->pace, mc_monotonic_us(), given->bytes, false);
	*finished = given->finished;
	schedule->fetched = number;
	worker = &schedule->workers[given->worker];
	worker->load--;
	pg_atomic_write_u32(&order->appliers[given->worker].queued, worker->load);
	mc_apply_committed(schedule->applier, finished->end_lsn, commit_end);
	return true;
}

/* The receiver wants to be woken when so many are committed. */
static bool
want(Schedule *schedule, uint64 committed)
{
	SharedOrder *order = &schedule->link->order;

	pg_atomic_write_u64(&order->leader_waits_for, committed);
	pg_memory_barrier();
	return pg_atomic_read_u64(&order->committed) < committed;
}

bool
mc_schedule_may_sleep(Schedule *schedule)
{
	return !mc_schedule_busy(schedule) ||
		want(schedule, schedule->fetched + 1);
}

/* Wait until all up to a number are committed and fetched. */
static void
wait_for(Schedule *schedule, uint64 number)
{
	while (schedule->fetched < number ||
		   (number == schedule->given && schedule->heartbeats != NIL))
	{
		(void) want(schedule, number);
		schedule->pause(schedule->pause_arg);
		mc_schedule_check(schedule);
	}
	pg_atomic_write_u64(&schedule->link->order.leader_waits_for, 0);
}

/* Wait until all that was given to appliers is committed. */
static void
drain(Schedule *schedule)
{
	/* What the receiver does then may change the vector. */
	schedule->vector++;
	wait_for(schedule, schedule->given);
}

/* ---- giving ---- */

/* Put a message into the queue of an applier. */
static void
put(Schedule *schedule, Worker *worker, shm_mq_iovec *parts, int nparts)
{
	for (;;)
	{
		shm_mq_result result = shm_mq_sendv(worker->queue, parts, nparts, true, true);

		if (result == SHM_MQ_SUCCESS)
			return;
		if (result == SHM_MQ_DETACHED)
			pg_atomic_write_u32(&schedule->link->order.failed, 1);
		else
			schedule->pause(schedule->pause_arg);
		mc_schedule_check(schedule);
	}
}

/* Tell all appliers of the tables that a frame describes. */
static void
tell_relations(Schedule *schedule, WireCursor body)
{
	Assignment	assignment = {0};
	const char *problem = NULL;
	WireRecord	record;
	uint32		begin = body.pos;

	assignment.kind = ASSIGN_RELATION;
	for (; mc_wire_next_record(&body, &record, &problem) == WIRE_OK; begin = body.pos)
	{
		shm_mq_iovec parts[2] = {
			{(const char *) &assignment, sizeof(assignment)},
			{body.data + begin, body.pos - begin}
		};

		if (record.type != RECORD_RELATION)
			continue;
		for (int i = 0; i < schedule->nworkers; i++)
			put(schedule, &schedule->workers[i], parts, lengthof(parts));
	}
}

/* Does a policy decide about anything?  Asked from time to time. */
static bool
policies_decide(Schedule *schedule)
{
	if (schedule->until_look-- <= 0)
	{
		MemoryContext caller = CurrentMemoryContext;

		StartTransactionCommand();
		schedule->policies = mc_policies_any() || mc_column_policies_any();
		CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
		schedule->until_look = POLICY_INTERVAL;
	}
	return schedule->policies;
}

/* Is it better that the receiver applies a small transaction itself? */
static bool
is_better_alone(Schedule *schedule, WireCursor body)
{
	if (!mc_pace_alone(&schedule->pace, mc_monotonic_us(),
					   schedule->given - schedule->fetched))
		return false;
	schedule->own_bytes = body.len - body.pos;
	return true;
}

/* Must the receiver apply this transaction itself, or had it better? */
static bool
is_for_receiver(Schedule *schedule, const FrameHeader *header, WireCursor body)
{
	SharedLink *link = schedule->link;
	uint16		whole = FRAME_FIRST | FRAME_LAST;

	return header->type != FRAME_TRANSACTION || (header->flags & whole) != whole ||
		mc_apply_in_transaction(schedule->applier) ||
		body.len - body.pos > MAX_GIVEN_BYTES || is_better_alone(schedule, body) ||
		header->end_lsn <= mc_apply_progress(schedule->applier).value ||
		header->commit_lsn == pg_atomic_read_u64(&link->order.alone_lsn) ||
		mc_probation_wants_alone() || mc_fence_any() ||
		mc_shared_forgotten() >= header->commit_ts ||
		policies_decide(schedule) ||
		!mc_writeset_look(schedule->writes, body);
}

/* Who gets a transaction that depends on this one? */
static int
choose_worker(const Schedule *schedule, uint64 depends)
{
	int			chosen = 0;

	if (depends > schedule->fetched)
		return schedule->transactions[depends % MC_ORDER_SIZE].worker;
	for (int i = 1; i < schedule->nworkers; i++)
		if (schedule->workers[i].load < schedule->workers[chosen].load)
			chosen = i;
	return chosen;
}

/* Give a transaction to an applier. */
static void
give(Schedule *schedule, const FrameHeader *header, WireCursor body,
	 TimestampTz sent_at)
{
	const DependencyVector *vector = mc_apply_vector(schedule->applier);
	uint64		number = schedule->given + 1;
	Given	   *given = &schedule->transactions[number % MC_ORDER_SIZE];
	Assignment	assignment;
	char		padding[MAXIMUM_ALIGNOF] = {0};
	shm_mq_iovec parts[4];
	Worker	   *worker;

	memset(&assignment, 0, sizeof(assignment));
	assignment.kind = ASSIGN_TRANSACTION;
	assignment.number = number;
	assignment.depends = mc_writeset_depends(schedule->writes);
	assignment.header = *header;
	assignment.header.nvector = 0;
	given->worker = choose_worker(schedule, assignment.depends);
	given->bytes = body.len - body.pos;
	given->commit_lsn = header->commit_lsn;
	given->finished.heartbeat = false;
	given->finished.end_lsn.value = header->end_lsn;
	given->finished.commit_ts = header->commit_ts;
	given->finished.sent_at = sent_at;
	worker = &schedule->workers[given->worker];
	if (worker->vector != schedule->vector)
		assignment.nvector = vector->nentries;
	worker->vector = schedule->vector;

	parts[0].data = (const char *) &assignment;
	parts[0].len = sizeof(assignment);
	parts[1].data = padding;
	parts[1].len = MAXALIGN(sizeof(assignment)) - sizeof(assignment);
	parts[2].data = (const char *) vector->entries;
	parts[2].len = sizeof(VectorDelta) * assignment.nvector;
	parts[3].data = body.data + body.pos;
	parts[3].len = body.len - body.pos;

	/* Known before it can be committed. */
	schedule->given = number;
	mc_writeset_enter(schedule->writes, number);
	worker->load++;
	pg_atomic_write_u32(&schedule->link->order.appliers[given->worker].queued, worker->load);
	put(schedule, worker, parts, lengthof(parts));
}

bool
mc_schedule_take(Schedule *schedule, const FrameHeader *header,
				 const WireCursor *body, TimestampTz sent_at)
{
	WireCursor	records = *body;
	const char *problem = NULL;
	VectorDelta delta;

	/* The vector comes first. */
	for (int i = 0; i < header->nvector; i++)
		if (mc_wire_next_vector(&records, &delta, &problem) != WIRE_OK)
			return false;
	if (header->nvector > 0)
		schedule->vector++;
	if (is_for_receiver(schedule, header, records))
	{
		drain(schedule);
		mc_apply_own_origin(schedule->applier, true);
		tell_relations(schedule, records);
		return false;
	}
	if (schedule->given - schedule->fetched >= MC_ORDER_SIZE - 1)
		wait_for(schedule, schedule->given - MC_ORDER_SIZE / 2);
	mc_apply_own_origin(schedule->applier, false);
	records = *body;
	mc_apply_hand_over(schedule->applier, header, &records);
	give(schedule, header, records, sent_at);
	return true;
}
