/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  Shared memory: what the processes of one server tell each other.
 *
 * NOTES
 *	  The arrays are sized by the server's own limits: an incoming link needs
 *	  a background worker, an outgoing one a replication slot, so neither
 *	  array can be too small for what the server can run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/slot.h"
#include "state/registry.h"
#include "state/shared.h"
#include "state/stat_file.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

McShared   *mc_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* See mc_gate(). */
SharedDatabase *mc_known_database = NULL;
uint32		mc_known_owners = 0;

static const char *const link_state_names[] = {
	[LINK_NEVER_CONNECTED] = "never_connected",
	[LINK_DISCONNECTED] = "disconnected",
	[LINK_CATCHING_UP] = "catching_up",
	[LINK_STREAMING] = "streaming",
	[LINK_STALLED] = "stalled",
	[LINK_PAUSED] = "paused",
	[LINK_IDLE] = "idle",
};

const char *
mc_link_state_name(LinkState state)
{
	return link_state_names[state];
}

/* Bytes of everything. */
static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(McShared));

	size = add_size(size, MAXALIGN(mul_size(max_worker_processes, sizeof(SharedDatabase))));
	size = add_size(size, MAXALIGN(mul_size(max_worker_processes, sizeof(SharedLink))));
	size = add_size(size, MAXALIGN(mul_size(max_replication_slots, sizeof(SharedOutLink))));
	size = add_size(size, mul_size(add_size(max_worker_processes, max_replication_slots),
								   sizeof(LinkHistory)));
	size = add_size(size, MAXALIGN(mc_stat_file_size()));
	size = add_size(size, mul_size(MC_TABLE_STATS, sizeof(TableStat)));
	return size;
}

static void
shared_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("multicenter", 2);
}

/* Lay out the arrays behind the control struct and initialize them. */
static void
shared_lay_out(void)
{
	char	   *next = (char *) mc_shared + MAXALIGN(sizeof(McShared));

	memset(mc_shared, 0, shared_size());
	mc_shared->lock = &(GetNamedLWLockTranche("multicenter"))->lock;
	pg_atomic_init_u32(&mc_shared->owners, 1);
	mc_shared->ndatabases = max_worker_processes;
	mc_shared->nlinks = max_worker_processes;
	mc_shared->noutlinks = max_replication_slots;

	mc_shared->databases = (SharedDatabase *) next;
	next += MAXALIGN(mc_shared->ndatabases * sizeof(SharedDatabase));
	mc_shared->links = (SharedLink *) next;
	next += MAXALIGN(mc_shared->nlinks * sizeof(SharedLink));
	mc_shared->outlinks = (SharedOutLink *) next;
	next += MAXALIGN(mc_shared->noutlinks * sizeof(SharedOutLink));
	mc_shared->histories = (LinkHistory *) next;
	next += (mc_shared->nlinks + mc_shared->noutlinks) * sizeof(LinkHistory);
	mc_shared->saved_stats = next;
	next += MAXALIGN(mc_stat_file_size());
	mc_shared->table_stats = (TableStat *) next;
	mc_shared->stat_lock = &GetNamedLWLockTranche("multicenter")[1].lock;

	mc_wait_event_init(mc_shared->wait_events);
	SpinLockInit(&mc_shared->checks_mutex);
	pg_atomic_init_u32(&mc_shared->scanned, 0);
	pg_atomic_init_u32(&mc_shared->hold_tried, InvalidTransactionId);
	for (int i = 0; i < mc_shared->ndatabases; i++)
	{
		SpinLockInit(&mc_shared->databases[i].mutex);
		pg_atomic_init_u32(&mc_shared->databases[i].horizon_xid, InvalidTransactionId);
		pg_atomic_init_u32(&mc_shared->databases[i].held_xid, InvalidTransactionId);
		pg_atomic_init_u32(&mc_shared->databases[i].hold_following, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].hold_sessions, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].horizon_ts, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].settled, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].forgotten, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].columns_purged, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].kept_floor, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].rebuilds, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].horizon_at, 0);
		pg_atomic_init_u64(&mc_shared->databases[i].frontier, 0);
		pg_atomic_init_u32(&mc_shared->databases[i].slowest_peer, MC_NO_CENTER);
		pg_atomic_init_u32(&mc_shared->databases[i].members_known, 0);
		pg_atomic_init_u32(&mc_shared->databases[i].gate, GATE_NO_GROUP);
		pg_atomic_init_u32(&mc_shared->databases[i].sealed, 0);
		pg_atomic_init_u32(&mc_shared->databases[i].waiting, WAITING_NONE);
		pg_atomic_init_u64(&mc_shared->databases[i].decided, 0);
		pg_atomic_init_u32(&mc_shared->databases[i].conflicts, 0);
		mc_fence_init(&mc_shared->databases[i].fences);
		pg_atomic_init_u32(&mc_shared->databases[i].audit_raw, 0);
		pg_atomic_init_u32(&mc_shared->databases[i].audit_rows, 0);
		pg_atomic_init_u32(&mc_shared->databases[i].audit_level, 0);
	}
	for (int i = 0; i < mc_shared->nlinks; i++)
		SpinLockInit(&mc_shared->links[i].mutex);
	for (int i = 0; i < mc_shared->noutlinks; i++)
		SpinLockInit(&mc_shared->outlinks[i].mutex);
	for (int i = 0; i < mc_shared->nlinks + mc_shared->noutlinks; i++)
		pg_atomic_init_u64(&mc_shared->histories[i].count, 0);
}

/* Create the segment, or attach to it. */
static void
shared_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	mc_shared = ShmemInitStruct("multicenter", shared_size(), &found);
	if (!found)
		shared_lay_out();
	LWLockRelease(AddinShmemInitLock);
	mc_stat_file_startup((SavedStats *) mc_shared->saved_stats);
	mc_known_database = NULL;
	mc_known_owners = 0;
}

void
mc_shared_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shared_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

void
mc_shared_require(void)
{
	if (mc_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("multicenter is not loaded in this server"),
				 errhint("Add \"multicenter\" to shared_preload_libraries in postgresql.conf and restart the server.")));
}

/* Report that an array is full; the limit is the server's own. */
static void
no_free_entry(const char *parameter)
{
	LWLockRelease(mc_shared->lock);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("no more multicenter links can be kept in shared memory"),
			 errhint("Raise %s in postgresql.conf and restart the server.", parameter)));
}

/* An entry has got, or lost, its database.  It stays odd, so never 0. */
static void
tell_owners(void)
{
	pg_atomic_fetch_add_u32(&mc_shared->owners, 2);
}

SharedDatabase *
mc_shared_database(Oid dboid, bool create)
{
	SharedDatabase *entry = NULL;
	SharedDatabase *unused = NULL;

	LWLockAcquire(mc_shared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	for (int i = 0; i < mc_shared->ndatabases && entry == NULL; i++)
	{
		SharedDatabase *candidate = &mc_shared->databases[i];

		if (candidate->dboid == dboid)
			entry = candidate;
		else if (candidate->dboid == InvalidOid && unused == NULL)
			unused = candidate;
	}
	if (entry == NULL && create)
	{
		if (unused == NULL)
			no_free_entry("max_worker_processes");
		entry = unused;
		entry->manager_pid = 0;
		entry->manager_latch = NULL;
		entry->reload = true;
		entry->operation = false;
		entry->join.phase = JOIN_NONE;
		pg_atomic_write_u32(&entry->audit_level, 0);
		entry->start_after_ms = 0;
		pg_atomic_write_u32(&entry->horizon_xid, InvalidTransactionId);
		pg_atomic_write_u32(&entry->held_xid, InvalidTransactionId);
		pg_atomic_write_u32(&entry->hold_following, 0);
		pg_atomic_write_u64(&entry->hold_sessions, 0);
		pg_atomic_write_u64(&entry->horizon_ts, 0);
		pg_atomic_write_u64(&entry->settled, 0);
		pg_atomic_write_u64(&entry->forgotten, 0);
		pg_atomic_write_u64(&entry->columns_purged, 0);
		pg_atomic_write_u64(&entry->decided, 0);
		pg_atomic_write_u64(&entry->kept_floor, 0);
		pg_atomic_write_u64(&entry->horizon_at, 0);
		pg_atomic_write_u64(&entry->frontier, 0);
		pg_atomic_write_u32(&entry->slowest_peer, MC_NO_CENTER);
		memset(&entry->promises, 0, sizeof(SharedPromises));
		entry->heartbeats.count = 0;
		pg_atomic_write_u32(&entry->members_known, 0);
		pg_atomic_write_u32(&entry->gate, GATE_NO_GROUP);
		pg_atomic_write_u32(&entry->sealed, 0);
		mc_fence_init(&entry->fences);

		/* Sessions look without the lock, see mc_gate_look(). */
		pg_write_barrier();
		entry->dboid = dboid;
		tell_owners();
	}
	LWLockRelease(mc_shared->lock);
	return entry;
}

/* There is a new peer, which has not promised anything yet. */
static void
hold_deletes(Oid dboid)
{
	for (int i = 0; i < mc_shared->ndatabases; i++)
		if (mc_shared->databases[i].dboid == dboid)
			pg_atomic_write_u64(&mc_shared->databases[i].hold_sessions, 0);
}

SharedLink *
mc_shared_link(Oid dboid, CenterId peer, bool create)
{
	SharedLink *entry = NULL;
	SharedLink *unused = NULL;

	LWLockAcquire(mc_shared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	for (int i = 0; i < mc_shared->nlinks && entry == NULL; i++)
	{
		SharedLink *candidate = &mc_shared->links[i];

		if (candidate->dboid == dboid && candidate->peer == peer)
			entry = candidate;
		else if (candidate->dboid == InvalidOid && unused == NULL)
			unused = candidate;
	}
	if (entry == NULL && create)
	{
		if (unused == NULL)
			no_free_entry("max_worker_processes");
		entry = unused;
		memset((char *) entry + sizeof(slock_t), 0,
			   sizeof(SharedLink) - sizeof(slock_t));
		entry->peer = peer;
		entry->state = LINK_NEVER_CONNECTED;
		entry->state_since = GetCurrentTimestamp();
		entry->stats_reset = entry->state_since;
		pg_atomic_init_u64(&entry->applying_lsn, 0);
		pg_atomic_init_u64(&entry->applying_since, 0);
		mc_order_init(&entry->order);
		pg_atomic_write_u64(&mc_shared->histories[entry - mc_shared->links].count, 0);
		entry->dboid = dboid;
		mc_stat_file_take(entry);
		hold_deletes(dboid);
	}
	LWLockRelease(mc_shared->lock);
	return entry;
}

SharedOutLink *
mc_shared_outlink(Oid dboid, CenterId peer, bool create)
{
	SharedOutLink *entry = NULL;
	SharedOutLink *unused = NULL;

	LWLockAcquire(mc_shared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	for (int i = 0; i < mc_shared->noutlinks && entry == NULL; i++)
	{
		SharedOutLink *candidate = &mc_shared->outlinks[i];

		if (candidate->dboid == dboid && candidate->peer == peer)
			entry = candidate;
		else if (candidate->dboid == InvalidOid && unused == NULL)
			unused = candidate;
	}
	if (entry == NULL && create)
	{
		if (unused == NULL)
			no_free_entry("max_replication_slots");
		entry = unused;
		memset((char *) entry + sizeof(slock_t), 0,
			   sizeof(SharedOutLink) - sizeof(slock_t));
		entry->peer = peer;
		entry->state_since = GetCurrentTimestamp();
		entry->stats_reset = entry->state_since;
		pg_atomic_write_u64(&mc_shared->histories[mc_shared->nlinks + (entry - mc_shared->outlinks)].count, 0);
		entry->dboid = dboid;
		mc_stat_file_take_out(entry);
	}
	LWLockRelease(mc_shared->lock);
	return entry;
}

/* Free the entry of a database itself; false if somebody has claimed it. */
static bool
free_database(SharedDatabase *entry)
{
	bool		claimed;

	SpinLockAcquire(&entry->mutex);
	claimed = entry->operation;
	if (!claimed)
	{
		pg_atomic_write_u32(&entry->gate, GATE_NO_GROUP);
		entry->dboid = InvalidOid;
		tell_owners();
	}
	SpinLockRelease(&entry->mutex);
	return !claimed;
}

void
mc_shared_forget_database(Oid dboid)
{
	bool		claimed = false;

	LWLockAcquire(mc_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mc_shared->ndatabases; i++)
		if (mc_shared->databases[i].dboid == dboid &&
			!free_database(&mc_shared->databases[i]))
			claimed = true;
	if (claimed)
	{
		LWLockRelease(mc_shared->lock);
		return;
	}
	for (int i = 0; i < mc_shared->nlinks; i++)
		if (mc_shared->links[i].dboid == dboid)
			mc_shared->links[i].dboid = InvalidOid;
	for (int i = 0; i < mc_shared->noutlinks; i++)
		if (mc_shared->outlinks[i].dboid == dboid)
			mc_shared->outlinks[i].dboid = InvalidOid;
	LWLockRelease(mc_shared->lock);
	mc_table_stat_forget(dboid, MC_NO_CENTER);
}

bool
mc_shared_claim(Oid dboid)
{
	for (;;)
	{
		SharedDatabase *entry = mc_shared_database(dboid, true);
		bool		found;
		bool		claimed;

		/* Between the two it may have been freed, and used again. */
		SpinLockAcquire(&entry->mutex);
		found = entry->dboid == dboid;
		claimed = found && !entry->operation;
		if (claimed)
			entry->operation = true;
		SpinLockRelease(&entry->mutex);
		if (found)
			return claimed;
	}
}

void
mc_shared_release(Oid dboid)
{
	SharedDatabase *entry = mc_shared_database(dboid, false);

	if (entry == NULL)
		return;

	/* Since we have looked it may have been freed, and used again. */
	SpinLockAcquire(&entry->mutex);
	if (entry->dboid == dboid)
		entry->operation = false;
	SpinLockRelease(&entry->mutex);
}

void
mc_shared_reload(Oid dboid)
{
	SharedDatabase *entry = mc_shared_database(dboid, false);

	if (entry == NULL)
		return;
	SpinLockAcquire(&entry->mutex);
	entry->reload = true;
	if (entry->manager_latch != NULL)
		SetLatch(entry->manager_latch);
	SpinLockRelease(&entry->mutex);
}

void
mc_shared_links_changed(Oid dboid)
{
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		SpinLockAcquire(&link->mutex);
		if (link->dboid == dboid)
			link->options_changed = true;
		SpinLockRelease(&link->mutex);
	}
	mc_shared_reload(dboid);
}

void
mc_shared_wake_supervisor(void)
{
	LWLockAcquire(mc_shared->lock, LW_SHARED);
	if (mc_shared->supervisor_latch != NULL)
		SetLatch(mc_shared->supervisor_latch);
	LWLockRelease(mc_shared->lock);
}

void
mc_link_set_state(SharedLink *link, LinkState state, const char *stall_reason)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&link->mutex);
	if (link->state != state)
	{
		link->state = state;
		link->state_since = now;
	}
	strlcpy(link->stall_reason, stall_reason ? stall_reason : "",
			sizeof(link->stall_reason));
	SpinLockRelease(&link->mutex);
}

int
mc_link_failures(SharedLink *link, OriginLsn commit_lsn, LinkError *error)
{
	int			failures;

	SpinLockAcquire(&link->mutex);
	failures = link->failed_lsn == commit_lsn.value ? link->failed_times : 0;
	*error = link->error;
	SpinLockRelease(&link->mutex);
	return failures;
}

void
mc_link_set_error(SharedLink *link, int sqlstate, const char *message,
				  const char *relation, OriginLsn origin_lsn, bool certain)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&link->mutex);
	link->error.at = now;
	link->error.sqlstate = sqlstate;
	strlcpy(link->error.message, message ? message : "",
			sizeof(link->error.message));
	strlcpy(link->error.relation, relation ? relation : "",
			sizeof(link->error.relation));
	link->error.origin_lsn = origin_lsn.value;
	link->error.certain = certain;

	if (origin_lsn.value != InvalidXLogRecPtr)
	{
		link->failed_times = origin_lsn.value == link->failed_lsn ?
			link->failed_times + 1 : 1;
		link->failed_lsn = origin_lsn.value;
	}

	/* Every error is followed by another attempt. */
	link->counters.retries++;
	SpinLockRelease(&link->mutex);
}

void
mc_link_ring_add(SharedLink *link, TransactionId xid, OriginLsn end_lsn)
{
	SpinLockAcquire(&link->mutex);
	link->ring[link->ring_next].xid = xid;
	link->ring[link->ring_next].end_lsn = end_lsn;
	link->ring_next = (link->ring_next + 1) % MC_RING_SIZE;
	if (link->ring_count < MC_RING_SIZE)
		link->ring_count++;
	SpinLockRelease(&link->mutex);
}

WriteGate
mc_gate_look(void)
{
	uint32		owners = pg_atomic_read_u32(&mc_shared->owners);
	bool		scanned = pg_atomic_read_u32(&mc_shared->scanned) != 0;
	WriteGate	gate = GATE_NO_GROUP;

	/*
	 * Without the lock: an entry moves only when its database leaves the
	 * group, and a session that looks at that very moment may see either.
	 */
	mc_known_database = NULL;
	pg_read_barrier();
	for (int i = 0; i < mc_shared->ndatabases; i++)
		if (mc_shared->databases[i].dboid == MyDatabaseId &&
			OidIsValid(MyDatabaseId))
			mc_known_database = &mc_shared->databases[i];
	pg_read_barrier();
	if (mc_known_database != NULL)
		gate = (WriteGate) pg_atomic_read_u32(&mc_known_database->gate);

	/* Until then an entry may be there that a session has made. */
	if (!scanned && gate == GATE_NO_GROUP)
		return IsTransactionState() && mc_database_is_center(MyDatabaseId) ?
			GATE_OPEN : GATE_NO_GROUP;

	/* A process may ask before it has a database. */
	if (OidIsValid(MyDatabaseId) && scanned)
		mc_known_owners = owners;
	return gate;
}

void
mc_gate_set(Oid dboid, WriteGate gate)
{
	SharedDatabase *entry = mc_shared_database(dboid, true);

	pg_atomic_write_u32(&entry->sealed, 0);
	pg_atomic_write_u32(&entry->gate, gate);
}

void
mc_gate_seal(Oid dboid)
{
	pg_atomic_write_u32(&mc_shared_database(dboid, true)->sealed, 1);

	/* Who does not see it yet has an xid that we see from now on. */
	pg_memory_barrier();
}

bool
mc_gate_is_sealed(void)
{
	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL)
		return false;
	pg_memory_barrier();
	return pg_atomic_read_u32(&mc_known_database->sealed) != 0;
}

SharedDatabase *
mc_shared_my_database(void)
{
	return mc_gate() == GATE_NO_GROUP ? NULL : mc_known_database;
}

TimestampTz
mc_shared_horizon(TransactionId *xid)
{
	*xid = InvalidTransactionId;
	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL)
		return 0;

	/* The time is written first: it may be too great, never too small. */
	*xid = pg_atomic_read_u32(&mc_known_database->horizon_xid);
	pg_read_barrier();
	return (TimestampTz) pg_atomic_read_u64(&mc_known_database->horizon_ts);
}

void
mc_shared_set_waiting(WaitingState state)
{
	if (mc_gate() != GATE_NO_GROUP && mc_known_database != NULL)
		pg_atomic_write_u32(&mc_known_database->waiting, state);
}

void
mc_shared_applied(void)
{
	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL ||
		pg_atomic_read_u32(&mc_known_database->waiting) != WAITING_SOME)
		return;
	pg_atomic_write_u32(&mc_known_database->waiting, WAITING_MOVED);
	SpinLockAcquire(&mc_known_database->mutex);
	if (mc_known_database->manager_latch != NULL)
		SetLatch(mc_known_database->manager_latch);
	SpinLockRelease(&mc_known_database->mutex);
}

bool
mc_shared_should_retry(void)
{
	return mc_gate() != GATE_NO_GROUP && mc_known_database != NULL &&
		pg_atomic_read_u32(&mc_known_database->waiting) == WAITING_MOVED;
}

void
mc_shared_set_conflicts(void)
{
	if (mc_known_database == NULL || mc_known_database->dboid != MyDatabaseId ||
		pg_atomic_exchange_u32(&mc_known_database->conflicts, 1) != 0)
		return;
	SpinLockAcquire(&mc_known_database->mutex);
	if (mc_known_database->manager_latch != NULL)
		SetLatch(mc_known_database->manager_latch);
	SpinLockRelease(&mc_known_database->mutex);
}

bool
mc_shared_conflicts_due(void)
{
	return mc_gate() != GATE_NO_GROUP && mc_known_database != NULL &&
		pg_atomic_read_u32(&mc_known_database->conflicts) != 0;
}

void
mc_shared_take_conflicts(void)
{
	if (mc_gate() != GATE_NO_GROUP && mc_known_database != NULL)
		pg_atomic_write_u32(&mc_known_database->conflicts, 0);
}

TimestampTz
mc_shared_forgotten(void)
{
	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL)
		return 0;
	return (TimestampTz) pg_atomic_read_u64(&mc_known_database->forgotten);
}

TimestampTz
mc_shared_kept_floor(void)
{
	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL)
		return 0;
	return (TimestampTz) pg_atomic_read_u64(&mc_known_database->kept_floor);
}

void
mc_shared_set_kept_floor(TimestampTz floor)
{
	if (mc_gate() != GATE_NO_GROUP && mc_known_database != NULL)
		pg_atomic_write_u64(&mc_known_database->kept_floor, (uint64) floor);
}

bool
mc_shared_remembered(TimestampTz forgotten, TimestampTz kept)
{
	uint64		expected = (uint64) forgotten;

	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL)
		return false;

	/* Counted first: whoever reads the lower time then sees the number. */
	pg_atomic_fetch_add_u64(&mc_known_database->rebuilds, 1);
	return pg_atomic_compare_exchange_u64(&mc_known_database->forgotten, &expected,
										  (uint64) kept);
}

uint64
mc_shared_rebuilds(void)
{
	if (mc_gate() == GATE_NO_GROUP || mc_known_database == NULL)
		return 0;
	return pg_atomic_read_u64(&mc_known_database->rebuilds);
}
