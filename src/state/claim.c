/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  What appliers of one server tell each other about keys and notes.
 *
 * NOTES
 *	  The table of claims is an array of entries in shared memory, chained in
 *	  buckets, under one LWLock that is held for some ten instructions.  A
 *	  transaction that claims many keys of one table claims the whole table
 *	  instead, so that a load of millions of rows needs no more room.
 *
 *	  A generation stands for the notes that are committed.  It is raised at
 *	  the commit of whoever wrote notes, which is after their rows became
 *	  visible; the counter of writers covers the time before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "state/claim.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "compat.h"

#define CLAIM_ENTRIES		16384
#define CLAIM_BUCKETS		4096	/* a power of 2 */
#define CLAIM_RESERVED		1024	/* entries kept for whole tables */
#define CLAIM_KEYS_MAX		2048	/* of one transaction, before it claims
									 * whole tables */
#define NO_ENTRY			(-1)

typedef struct ClaimEntry
{
	Oid			dboid;
	Oid			relid;
	int64		hash;			/* 0 for a whole table */
	bool		whole;
	TransactionId xid;			/* of the claimant; invalid: entry is free */
	int			next;			/* in its bucket, or among the free ones */
} ClaimEntry;

typedef struct ClaimShared
{
	LWLock	   *lock;
	pg_atomic_uint64 generation;	/* never 0 */
	pg_atomic_uint32 writers;	/* transactions that write notes */
	pg_atomic_uint64 late;		/* see mc_claim_count_late() */
	int			nfree;
	int			first_free;
	int			buckets[CLAIM_BUCKETS];
	ClaimEntry	entries[CLAIM_ENTRIES];
} ClaimShared;

static ClaimShared *shared = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* What this transaction holds. */
static bool writing = false;
static int *claims = NULL;		/* entries, in TopMemoryContext */
static int	nclaims = 0;
static int	claims_size = 0;

/* Reserve memory and a lock. */
static void
claim_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(ClaimShared)));
	RequestNamedLWLockTranche("multicenter claims", 1);
}

/* Create the table, or attach to it. */
static void
claim_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("multicenter claims", sizeof(ClaimShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(ClaimShared));
		shared->lock = &(GetNamedLWLockTranche("multicenter claims"))->lock;
		pg_atomic_init_u64(&shared->generation, 1);
		pg_atomic_init_u32(&shared->writers, 0);
		pg_atomic_init_u64(&shared->late, 0);
		for (int i = 0; i < CLAIM_BUCKETS; i++)
			shared->buckets[i] = NO_ENTRY;
		for (int i = 0; i < CLAIM_ENTRIES; i++)
			shared->entries[i].next = i + 1 < CLAIM_ENTRIES ? i + 1 : NO_ENTRY;
		shared->nfree = CLAIM_ENTRIES;
	}
	LWLockRelease(AddinShmemInitLock);
}

/* The bucket of a claim. */
static int *
find_bucket(Oid relid, int64 hash)
{
	uint64		mixed = (uint64) hash ^ ((uint64) relid * UINT64CONST(0x9E3779B97F4A7C15));

	mixed ^= mixed >> 32;
	return &shared->buckets[mixed & (CLAIM_BUCKETS - 1)];
}

/* Find a claim by anybody; NULL if there is none.  Under the lock. */
static ClaimEntry *
find_entry(Oid relid, int64 hash, bool whole)
{
	for (int i = *find_bucket(relid, hash); i != NO_ENTRY; i = shared->entries[i].next)
	{
		ClaimEntry *entry = &shared->entries[i];

		if (entry->hash == hash && entry->relid == relid &&
			entry->whole == whole && entry->dboid == MyDatabaseId)
			return entry;
	}
	return NULL;
}

/* Somebody else who has claimed a key of the table.  Under the lock. */
static TransactionId
find_claimant(Oid relid, TransactionId xid)
{
	for (int i = 0; i < CLAIM_ENTRIES; i++)
	{
		ClaimEntry *entry = &shared->entries[i];

		if (TransactionIdIsValid(entry->xid) && entry->xid != xid &&
			entry->relid == relid && entry->dboid == MyDatabaseId)
			return entry->xid;
	}
	return InvalidTransactionId;
}

/* Add a claim to those that this transaction gives back. */
static void
add_entry(Oid relid, int64 hash, bool whole, TransactionId xid)
{
	int		   *bucket = find_bucket(relid, hash);
	int			number = shared->first_free;
	ClaimEntry *entry = &shared->entries[number];

	shared->first_free = entry->next;
	shared->nfree--;
	entry->dboid = MyDatabaseId;
	entry->relid = relid;
	entry->hash = hash;
	entry->whole = whole;
	entry->xid = xid;
	entry->next = *bucket;
	*bucket = number;
	claims[nclaims++] = number;
}

/* Take one claim out of its bucket.  Under the lock. */
static void
remove_entry(int number)
{
	ClaimEntry *entry = &shared->entries[number];
	int		   *link = find_bucket(entry->relid, entry->hash);

	while (*link != number)
		link = &shared->entries[*link].next;
	*link = entry->next;
	entry->xid = InvalidTransactionId;
	entry->next = shared->first_free;
	shared->first_free = number;
	shared->nfree++;
}

/*
 * The transaction has ended and its rows are visible, but its locks are still
 * held: tell that there are new notes, then let go of the claims.
 */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (writing)
	{
		pg_atomic_fetch_add_u64(&shared->generation, 1);
		pg_atomic_fetch_sub_u32(&shared->writers, 1);
		writing = false;
	}
	if (nclaims > 0)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		while (nclaims > 0)
			remove_entry(claims[--nclaims]);
		LWLockRelease(shared->lock);
	}
}

/* Be called at the end of transactions, in a process that needs it. */
static void
register_callback(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(end_transaction, NULL);
	registered = true;
}

/* Make room for one more claim, before the lock is taken. */
static void
reserve_claim(void)
{
	int			size = Max(256, claims_size * 2);

	if (nclaims < claims_size)
		return;
	register_callback();
	if (claims == NULL)
		claims = MemoryContextAlloc(TopMemoryContext, sizeof(int) * size);
	else
		claims = repalloc(claims, sizeof(int) * size);
	claims_size = size;
}

/*
 * Try to claim a key.  Sets *added if it was not claimed before.  Returns the
 * transaction to wait for, if there is one.
 */
static TransactionId
try_claim(Oid relid, int64 hash, TransactionId xid, bool *added)
{
	ClaimEntry *entry;
	TransactionId blocker = InvalidTransactionId;
	bool		whole;
	bool		full = false;

	*added = false;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = find_entry(relid, 0, true);
	if (entry == NULL)
		entry = find_entry(relid, hash, false);
	if (entry != NULL && entry->xid != xid)
		blocker = entry->xid;
	else if (entry == NULL)
	{
		whole = nclaims >= CLAIM_KEYS_MAX || shared->nfree <= CLAIM_RESERVED;
		full = shared->nfree == 0;
		if (whole)
			blocker = find_claimant(relid, xid);
		if (!full && !TransactionIdIsValid(blocker))
		{
			add_entry(relid, whole ? 0 : hash, whole, xid);
			*added = true;
		}
	}
	LWLockRelease(shared->lock);
	if (full && !TransactionIdIsValid(blocker))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not claim a key: too many tables are being written to at once")));
	return blocker;
}

bool
mc_claim_key(Oid relid, int64 hash)
{
	TransactionId xid = GetTopTransactionId();
	bool		waited = false;

	for (;;)
	{
		TransactionId blocker;
		bool		added;

		CHECK_FOR_INTERRUPTS();
		reserve_claim();
		blocker = try_claim(relid, hash, xid, &added);
		if (!TransactionIdIsValid(blocker))
			return added || waited;
		XactLockTableWait(blocker, NULL, NULL, XLTW_None);
		waited = true;
	}
}

void
mc_notes_writing(void)
{
	if (writing || shared == NULL)
		return;

	/* An id, or nothing would tell others when this transaction ends. */
	(void) GetTopTransactionId();
	register_callback();
	pg_atomic_fetch_add_u32(&shared->writers, 1);
	writing = true;
}

bool
mc_notes_unchanged(uint64 *generation)
{
	uint64		known = *generation;

	/* The writers first: see the head of the file. */
	if (shared == NULL || pg_atomic_read_u32(&shared->writers) != 0)
	{
		*generation = 0;
		return false;
	}
	pg_memory_barrier();
	*generation = pg_atomic_read_u64(&shared->generation);
	return *generation == known;
}

void
mc_claim_count_late(void)
{
	pg_atomic_fetch_add_u64(&shared->late, 1);
}

uint64
mc_claim_late_count(void)
{
	pg_memory_barrier();
	return pg_atomic_read_u64(&shared->late);
}

void
mc_claim_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = claim_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = claim_startup;
}

/* Advisory locks of users have 1 or 2 in the last field. */
static void
set_rebuild_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, 771);
}

bool
mc_rebuild_lock(bool wait)
{
	LOCKTAG		tag;

	set_rebuild_tag(&tag);
	return LockAcquire(&tag, ExclusiveLock, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
mc_rebuild_unlock(void)
{
	LOCKTAG		tag;

	set_rebuild_tag(&tag);
	LockRelease(&tag, ExclusiveLock, true);
}
