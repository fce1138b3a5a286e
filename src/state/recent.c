/*-------------------------------------------------------------------------
 *
 * recent.c
 *	  Recent commits: from the version of a row to the commit that made it.
 *
 * NOTES
 *	  A row remembers the timestamp of its author's commit, but dependency
 *	  vectors speak of positions in the author's WAL, and the two are not in
 *	  the same order.  Promises bridge the gap for what is older than the last
 *	  heartbeat; this table does so for what is younger.
 *
 *	  It also remembers what the authors of some transactions had applied of
 *	  others: of those that arrived here before their causes.  When such a
 *	  cause arrives in turn, it finds that the row was written by somebody who
 *	  had seen it.
 *
 *	  It is one hash table for the whole server, of buckets that forget their
 *	  oldest entry.  Nothing depends on an entry being there: without it a
 *	  version counts as not seen.  It holds the commits of the last seconds: of
 *	  20,000 at random times one in a thousand is lost.
 *
 *	  A bucket is for RECENT_WAYS microseconds, so that timestamps one after the
 *	  other, as stamps are, find place.  Who commits must not wait for memory:
 *	  buckets of a moment are neighbours, so are their counters, and entries
 *	  that are likely to be needed are fetched before.
 *	  Moments are spread by the golden ratio: Knuth, "The Art of Computer
 *	  Programming", 6.4, multiplicative hashing.
 *
 *	  No lock: an entry is valid while its timestamp reads the same before and
 *	  after the rest was read.  Two writers of one entry at the same moment
 *	  would have to lap each other by RECENT_WAYS; the key is checked by the
 *	  reader in any case, and a position that belongs to another commit of the
 *	  same bucket needs all that and an equal key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "replication/origin.h"
#include "state/clock.h"
#include "state/recent.h"
#include "state/shared.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "compat.h"

#define RECENT_BUCKETS	8192	/* 2 to the RECENT_BITS */
#define RECENT_BITS		13
#define RECENT_MOMENT	64		/* buckets that are neighbours */
#define RECENT_WAYS		8

typedef struct RecentCommit
{
	pg_atomic_uint64 commit_ts; /* 0: being written, or never was */
	pg_atomic_uint64 place;		/* see commit_place() */
	pg_atomic_uint64 lsn;
} RecentCommit;

typedef struct RecentTable
{
	/* Of each bucket, counts what was written to it. */
	pg_atomic_uint32 next[RECENT_BUCKETS];
	RecentCommit commits[RECENT_BUCKETS][RECENT_WAYS];
} RecentTable;

static RecentTable *table = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* Reserve memory. */
static void
recent_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(sizeof(RecentTable));
}

/* Create the table, or attach to it. */
static void
recent_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	table = ShmemInitStruct("multicenter recent commits", sizeof(RecentTable), &found);
	for (int i = 0; i < RECENT_BUCKETS && !found; i++)
	{
		pg_atomic_init_u32(&table->next[i], 0);
		for (int j = 0; j < RECENT_WAYS; j++)
		{
			pg_atomic_init_u64(&table->commits[i][j].commit_ts, 0);
			pg_atomic_init_u64(&table->commits[i][j].place, 0);
			pg_atomic_init_u64(&table->commits[i][j].lsn, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * The bucket of commits with this timestamp.  Mixed with the database, because
 * two centers of one server remember the same timestamps.
 */
static uint32
find_bucket(TimestampTz commit_ts)
{
	uint64		number = (uint64) commit_ts / RECENT_WAYS;
	uint64		moment = (number / RECENT_MOMENT + MyDatabaseId) * UINT64CONST(0x9E3779B97F4A7C15);

	return ((moment >> (64 - RECENT_BITS)) + number % RECENT_MOMENT) % RECENT_BUCKETS;
}

/* The database of this session, the author, and whose position it is. */
static uint64
commit_place(CenterId author, CenterId of)
{
	return ((uint64) MyDatabaseId << 32) | ((uint64) of << 16) | author;
}

void
mc_recent_add(CenterId author, TimestampTz commit_ts, CenterId of,
			  XLogRecPtr lsn)
{
	uint32		bucket;
	RecentCommit *commit;

	if (table == NULL)
		return;
	bucket = find_bucket(commit_ts);
	commit = &table->commits[bucket][pg_atomic_fetch_add_u32(&table->next[bucket], 1) % RECENT_WAYS];
	pg_atomic_write_u64(&commit->commit_ts, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&commit->place, commit_place(author, of));
	pg_atomic_write_u64(&commit->lsn, lsn);
	pg_write_barrier();
	pg_atomic_write_u64(&commit->commit_ts, (uint64) commit_ts);
}

void
mc_recent_fetch(TimestampTz commit_ts)
{
	uint32		bucket;

	if (table == NULL)
		return;
	bucket = find_bucket(commit_ts);
	__builtin_prefetch(&table->commits[bucket][pg_atomic_read_u32(&table->next[bucket]) % RECENT_WAYS], 1);
}

XLogRecPtr
mc_recent_find(CenterId author, TimestampTz commit_ts, CenterId of)
{
	XLogRecPtr	greatest = InvalidXLogRecPtr;
	uint32		bucket;

	if (table == NULL || commit_ts == 0)
		return InvalidXLogRecPtr;
	bucket = find_bucket(commit_ts);
	for (int i = 0; i < RECENT_WAYS; i++)
	{
		RecentCommit *commit = &table->commits[bucket][i];
		uint64		place;
		XLogRecPtr	lsn;

		if (pg_atomic_read_u64(&commit->commit_ts) != (uint64) commit_ts)
			continue;
		pg_read_barrier();
		place = pg_atomic_read_u64(&commit->place);
		lsn = pg_atomic_read_u64(&commit->lsn);
		pg_read_barrier();
		if (pg_atomic_read_u64(&commit->commit_ts) == (uint64) commit_ts &&
			place == commit_place(author, of) && lsn > greatest)
			greatest = lsn;
	}
	return greatest;
}

/*
 * Remember a local commit, unless what has this origin came from elsewhere:
 * that is not so if it was stamped.
 */
static void
remember_commit(uint16 origin, TimestampTz commit_ts, XLogRecPtr end_lsn)
{
	if (origin == InvalidRepOriginId || mc_clock_is_stamp_origin(origin))
		mc_recent_add(MC_RECENT_LOCAL, commit_ts, MC_RECENT_LOCAL, end_lsn);
}

/* A transaction of this session ends; remember it in a center's database. */
static void
transaction_ends(XactEvent event, void *arg)
{
	static TimestampTz last = 0;
	TimestampTz commit_ts;
	uint16		origin;

	if (event != XACT_EVENT_COMMIT ||
		!TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		mc_gate() == GATE_NO_GROUP)
		return;
	origin = mc_session_origin(&commit_ts);
	if (origin == InvalidRepOriginId)
		commit_ts = GetCurrentTransactionStopTimestamp();
	remember_commit(origin, commit_ts, XactLastCommitEnd);

	/* The next transaction may take as long as this one. */
	mc_recent_fetch(2 * commit_ts - last);
	last = commit_ts;
}

void
mc_recent_commit_prepared(void)
{
	TimestampTz commit_ts;
	uint16		origin = mc_session_origin(&commit_ts);

	/* PostgreSQL has left the timestamp there, with or without an origin. */
	if (mc_gate() != GATE_NO_GROUP)
		remember_commit(origin, commit_ts, XactLastRecEnd);
}

void
mc_recent_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = recent_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = recent_startup;
	RegisterXactCallback(transaction_ends, NULL);
}
