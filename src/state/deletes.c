/*-------------------------------------------------------------------------
 *
 * deletes.c
 *	  Which tables may have dead rows that still matter.
 *
 * NOTES
 *	  By table, the last transaction that has deleted rows or changed keys in
 *	  it.  As long as that is not behind the dead-row horizon, a dead row may
 *	  hold a version that is greater than one which still arrives.
 *
 *	  Who has deleted is taken from PostgreSQL's own statistics of the
 *	  transaction (what pg_stat_xact_user_tables shows), which heap_delete()
 *	  itself keeps: so nobody can pass us by.  They do not tell whether an
 *	  UPDATE has changed a key.  A receiver knows, and says so; of the
 *	  statements of sessions control/guard.c does where they may.  Elsewhere
 *	  each UPDATE counts.  A session that has switched track_counts off counts
 *	  as one that has deleted everywhere.
 *
 *	  It is written down before the commit, hence before anybody sees the
 *	  row dead.  What was committed before the start of the server is not
 *	  known, so until the horizon has passed that every table counts as one
 *	  with deletes.  The same where there is no room for more tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "replication/origin.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/registry.h"
#include "state/shared.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/lsyscache.h"
#include "utils/pgstat_internal.h"

#include "compat.h"

#define MAX_TABLES		4096	/* a power of 2 */
#define PROBES			32		/* places where a table may be found */
#define AHEAD			256		/* transactions */

typedef struct DeletesEntry
{
	Oid			dboid;			/* invalid: the entry is free */
	Oid			relid;
	TransactionId xid;			/* the last one, or one after it */
} DeletesEntry;

typedef struct DeletesShared
{
	LWLock	   *lock;
	pg_atomic_uint64 generation;	/* raised with each change; never 0 */
	pg_atomic_uint32 anywhere;	/* the last transaction that may have deleted
								 * in any table; invalid: not known yet */
	pg_atomic_uint32 latest;	/* the last one that has, in whatever table */
	pg_atomic_uint32 latest_other;	/* and was not simply a session's own */
	DeletesEntry entries[MAX_TABLES];
} DeletesShared;

/* Whose is a table? */
typedef enum TableOwner
{
	OWNER_UNKNOWN,
	OWNER_USERS,
	OWNER_OTHERS,
} TableOwner;

/* What this process knows of a table; its deletes are good for a generation. */
typedef struct KnownTable
{
	Oid			relid;
	TableOwner	owner;
	uint64		generation;		/* 0: nothing */
	TransactionId xid;			/* invalid: no deletes */
} KnownTable;

#define KNOWN_TABLES	64		/* a power of 2 */

static DeletesShared *shared = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static KnownTable known[KNOWN_TABLES];

static bool exact = false;		/* mc_deletes_exact() */

/* Of this transaction. */
static bool uncounted = false;
static bool keys_unknown = false;
static int	nnoted = 0;
static Oid	noted[16];			/* more of them count as everywhere */

/* Reserve memory and a lock. */
static void
deletes_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(DeletesShared)));
	RequestNamedLWLockTranche("multicenter deletes", 1);
}

/* Create the table, or attach to it. */
static void
deletes_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("multicenter deletes", sizeof(DeletesShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(DeletesShared));
		shared->lock = &(GetNamedLWLockTranche("multicenter deletes"))->lock;
		pg_atomic_init_u64(&shared->generation, 1);
		pg_atomic_init_u32(&shared->anywhere, InvalidTransactionId);
		pg_atomic_init_u32(&shared->latest, InvalidTransactionId);
		pg_atomic_init_u32(&shared->latest_other, InvalidTransactionId);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* The later of two transactions; the second one may be invalid. */
static TransactionId
later(TransactionId xid, TransactionId other)
{
	return TransactionIdIsValid(other) && TransactionIdFollows(other, xid) ? other : xid;
}

/* Raise one that others only read meanwhile.  Under the lock. */
static void
raise_xid(pg_atomic_uint32 *last, TransactionId xid)
{
	pg_atomic_write_u32(last, later(xid, pg_atomic_read_u32(last)));
}

/* Has a transaction been written down, with this one or by it? */
static bool
is_covered(TransactionId xid, TransactionId last)
{
	return TransactionIdIsValid(last) && TransactionIdFollowsOrEquals(last, xid);
}

void
mc_deletes_begin(void)
{
	TransactionId xid = XidFromFullTransactionId(ReadNextFullTransactionId());

	if (TransactionIdIsValid(pg_atomic_read_u32(&shared->anywhere)))
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	raise_xid(&shared->latest_other, xid);
	raise_xid(&shared->latest, xid);
	raise_xid(&shared->anywhere, xid);
	LWLockRelease(shared->lock);
}

/*
 * The entry of a table; with make, one that it may have, or NULL.  An entry is
 * free, too, if nothing can need it.  Under the lock.
 */
static DeletesEntry *
find_entry(Oid relid, bool make)
{
	uint32		start = murmurhash32(relid ^ murmurhash32(MyDatabaseId));
	DeletesEntry *unused = NULL;
	TransactionId horizon;

	(void) mc_shared_horizon(&horizon);
	for (uint32 i = 0; i < PROBES; i++)
	{
		DeletesEntry *entry = &shared->entries[(start + i) & (MAX_TABLES - 1)];

		if (entry->relid == relid && entry->dboid == MyDatabaseId)
			return entry;
		if (unused == NULL &&
			(!OidIsValid(entry->dboid) ||
			 (entry->dboid == MyDatabaseId && TransactionIdIsValid(horizon) &&
			  TransactionIdPrecedes(entry->xid, horizon))))
			unused = entry;
	}
	return make ? unused : NULL;
}

/* The last transaction that has deleted in a table; invalid: none. */
static TransactionId
last_in_table(Oid relid)
{
	KnownTable *table = &known[relid & (KNOWN_TABLES - 1)];
	uint64		generation = pg_atomic_read_u64(&shared->generation);
	DeletesEntry *entry;

	if (table->relid == relid && table->generation == generation)
		return table->xid;
	LWLockAcquire(shared->lock, LW_SHARED);
	entry = find_entry(relid, false);
	if (table->relid != relid)
		table->owner = OWNER_UNKNOWN;
	table->relid = relid;
	table->generation = pg_atomic_read_u64(&shared->generation);
	table->xid = entry ? entry->xid : InvalidTransactionId;
	LWLockRelease(shared->lock);
	return table->xid;
}

/*
 * A transaction deletes in a table; InvalidOid: in any.  Those that follow soon
 * are written down with it, so that they need not do so.  other: it is not
 * simply what a session does.
 */
static void
publish(Oid relid, TransactionId xid, bool other)
{
	TransactionId last = xid + AHEAD;
	DeletesEntry *entry;

	if (OidIsValid(relid) && is_covered(xid, last_in_table(relid)) &&
		(!other || is_covered(xid, pg_atomic_read_u32(&shared->latest_other))))
		return;
	if (!TransactionIdIsNormal(last))
		last = FirstNormalTransactionId + AHEAD;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = OidIsValid(relid) ? find_entry(relid, true) : NULL;
	if (entry == NULL)
		raise_xid(&shared->anywhere, last);
	else
	{
		entry->xid = entry->relid == relid && entry->dboid == MyDatabaseId ?
			later(last, entry->xid) : last;
		entry->dboid = MyDatabaseId;
		entry->relid = relid;
	}
	raise_xid(&shared->latest, last);
	if (other)
		raise_xid(&shared->latest_other, last);
	pg_atomic_fetch_add_u64(&shared->generation, 1);
	LWLockRelease(shared->lock);
}

/* Has the transaction deleted rows of a table, as far as one can know? */
static bool
has_deleted(const PgStat_TableXactStatus *counts, bool updates_count)
{
	return counts->tuples_deleted > 0 || counts->deleted_pre_truncdrop > 0 ||
		counts->truncdropped ||
		(updates_count && (counts->tuples_updated > 0 || counts->updated_pre_truncdrop > 0));
}

/*
 * May a peer know rows of a table?  It is none of PostgreSQL's, nor of ours,
 * nor a temporary one, nor one of parts of large values.
 */
static bool
is_of_users(Oid relid)
{
	KnownTable *table = &known[relid & (KNOWN_TABLES - 1)];
	Oid			namespace;

	if (relid < FirstNormalObjectId)
		return false;
	if (table->relid != relid)
		(void) last_in_table(relid);
	if (table->owner == OWNER_UNKNOWN)
	{
		namespace = get_rel_namespace(relid);
		table->owner = namespace == get_namespace_oid(MC_SCHEMA, true) ||
			IsToastNamespace(namespace) || isTempNamespace(namespace) ?
			OWNER_OTHERS : OWNER_USERS;
	}
	return table->owner == OWNER_USERS;
}

/*
 * This transaction is about to commit: write down where it has deleted.  What
 * is prepared may get a timestamp of its own when it is committed.
 */
static void
publish_all(TransactionId xid, bool prepare)
{
	PgStat_SubXactStatus *status = pgstat_get_xact_stack_level(1);
	TimestampTz ts;
	bool		other = prepare || MyBackendType != B_BACKEND ||
	mc_session_origin(&ts) != InvalidRepOriginId;
	bool		updates_count = keys_unknown || (!exact && MyBackendType != B_BACKEND);

	for (const PgStat_TableXactStatus *counts = status->first; counts != NULL; counts = counts->next)
	{
		Oid			relid = mc_stat_table_oid(counts->parent);

		if (!has_deleted(counts, true) || !is_of_users(relid))
			continue;
		mc_clock_deletes();
		if (has_deleted(counts, updates_count))
			publish(relid, xid, other);
	}
	for (int i = 0; i < nnoted; i++)
		publish(noted[i], xid, other);
	if (uncounted || !pgstat_track_counts)
	{
		publish(InvalidOid, xid, other);
		mc_clock_deletes();
	}
}

/* Callback: a transaction ends. */
static void
transaction_ends(XactEvent event, void *arg)
{
	TransactionId xid;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			xid = GetTopTransactionIdIfAny();
			if (shared != NULL && TransactionIdIsValid(xid) && mc_gate() != GATE_NO_GROUP)
				publish_all(xid, event == XACT_EVENT_PRE_PREPARE);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			uncounted = false;
			keys_unknown = false;
			nnoted = 0;
			break;
		default:
			break;
	}
}

void
mc_deletes_note(Oid relid)
{
	for (int i = 0; i < nnoted; i++)
		if (noted[i] == relid)
			return;
	if (nnoted < lengthof(noted))
		noted[nnoted++] = relid;
	else
		uncounted = true;
}

void
mc_deletes_exact(void)
{
	exact = true;
}

void
mc_deletes_keys_unknown(void)
{
	keys_unknown = true;
}

void
mc_deletes_uncounted(void)
{
	uncounted = true;
}

bool
mc_deletes_none(Oid relid)
{
	TransactionId horizon;
	TransactionId xid;

	(void) mc_shared_horizon(&horizon);
	pg_memory_barrier();
	xid = shared ? pg_atomic_read_u32(&shared->anywhere) : InvalidTransactionId;
	if (!TransactionIdIsValid(horizon) || !TransactionIdIsValid(xid) ||
		!TransactionIdPrecedes(xid, horizon))
		return false;
	xid = last_in_table(relid);
	return !TransactionIdIsValid(xid) || TransactionIdPrecedes(xid, horizon);
}

bool
mc_deletes_all_behind(TransactionId horizon, bool of_others)
{
	TransactionId xid;

	if (shared == NULL)
		return false;
	pg_memory_barrier();
	xid = pg_atomic_read_u32(of_others ? &shared->latest_other : &shared->latest);
	return TransactionIdIsValid(horizon) && TransactionIdIsValid(xid) &&
		TransactionIdPrecedes(xid, horizon) &&
		TransactionIdIsValid(pg_atomic_read_u32(&shared->anywhere));
}

void
mc_deletes_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = deletes_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = deletes_startup;
	RegisterXactCallback(transaction_ends, NULL);
}
