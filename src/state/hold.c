/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  The slot that keeps dead rows from VACUUM.
 *
 * NOTES
 *	  A physical replication slot without a position in WAL has nothing but an
 *	  xmin: what has died since then stays.  On disk that is the dead-row
 *	  horizon (control/horizon.c), so that after a crash all is there that may
 *	  still matter.
 *
 *	  In memory it may be ahead.  A dead row tells something only where its key
 *	  has no row; what an UPDATE leaves behind has one.  So while nobody has
 *	  deleted rows or changed keys since the horizon (deletes.c), the slot
 *	  follows the commits, and a row that is updated again and again does not
 *	  drag its versions along.  Whoever deletes says so before he commits, and
 *	  whoever moves the slot looks first which transactions are over, and then
 *	  who has deleted.
 *
 *	  Where peers have promised to be later than the present (they do so while
 *	  they do not write themselves) what sessions delete here does not matter,
 *	  and the slot follows them, too.  Not so what peers delete, or the manager:
 *	  whatever displaces a row which is older than what was promised is such a
 *	  delete, or raises the floor past that.
 *
 *	  Without peers deletes do not matter either.  Nobody can become one without
 *	  a logical slot here, and no change of his is older than that.
 *
 *	  A move is cheap, but not free; one of MOVE_EACH commits makes it.
 *
 *	  What was frozen may lose its commit timestamp, so the slot stays within
 *	  MAX_AHEAD of the horizon, which is less than the age at which VACUUM
 *	  freezes rows by default; see also bound_lost_version() in lookup.c.  Once
 *	  numbers of transactions have come again a frozen row may be of either of
 *	  two of them, unless it is behind the horizon; so then it stays closer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/hold.h"
#include "state/registry.h"
#include "state/shared.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"

#include "compat.h"

#define MOVE_EACH		16		/* transactions */
#define LATE			1000	/* others may have come first */
#define MAX_AHEAD		10000000	/* transactions */
#define MAX_AHEAD_ALIAS 200000

/*
 * Whoever sets what slots need has them locked since he has read it.  Otherwise
 * (a bug of older minor releases) another's new slot may not count for a moment,
 * so the slot does not move that often.
 */
static bool slots_locked_once = false;

/* This transaction is to move the slot when it is over. */
static bool due = false;

/* The slot of a database; NULL if there is none.  Under the lock of slots. */
static ReplicationSlot *
find_slot(Oid dboid)
{
	char		name[NAMEDATALEN];

	return SearchNamedReplicationSlot(mc_horizon_slot_name(name, dboid), false);
}

TransactionId
mc_hold_find(void)
{
	ReplicationSlot *slot;
	TransactionId xmin = InvalidTransactionId;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = find_slot(MyDatabaseId);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		xmin = slot->data.xmin;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return xmin;
}

/*
 * Under these locks nobody computes a horizon that is past what the slot is
 * going to hold, as where logical slots are made.
 */
void
mc_hold_create(void)
{
	char		name[NAMEDATALEN];
	TransactionId xmin;

	ReplicationSlotCreate_compat(mc_horizon_slot_name(name, MyDatabaseId), false, RS_PERSISTENT);
	if (slots_locked_once)
		LWLockAcquire(ReplicationSlotControlLock, LW_EXCLUSIVE);
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	xmin = GetOldestSafeDecodingTransactionId(false);
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.xmin = xmin;
	MyReplicationSlot->effective_xmin = xmin;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotsComputeRequiredXmin(true);
	LWLockRelease(ProcArrayLock);
	if (slots_locked_once)
		LWLockRelease(ReplicationSlotControlLock);
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
	ReplicationSlotRelease();
}

/*
 * Tell everybody how far VACUUM may go; never back.  Before it can: see
 * target/place.c.
 */
static void
publish(SharedDatabase *database, TransactionId xid)
{
	uint32		held = pg_atomic_read_u32(&database->held_xid);

	while (!TransactionIdIsValid(held) || TransactionIdPrecedes(held, xid))
		if (pg_atomic_compare_exchange_u32(&database->held_xid, &held, xid))
			break;
}

/*
 * Move the slot of a database in memory; never back.  It need not be ours.
 * Returns true if that is news for ReplicationSlotsComputeRequiredXmin().
 */
static bool
advance(Oid dboid, TransactionId xid)
{
	ReplicationSlot *slot;
	bool		moved = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = find_slot(dboid);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		moved = TransactionIdIsValid(slot->effective_xmin) &&
			TransactionIdPrecedes(slot->effective_xmin, xid);
		if (moved)
			slot->effective_xmin = xid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return moved;
}

/*
 * What is on disk need not be saved at once: a slot that a crash sets back only
 * keeps more.
 */
void
mc_hold_move(TransactionId xid)
{
	char		name[NAMEDATALEN];

	publish(mc_shared_database(MyDatabaseId, true), xid);
	ReplicationSlotAcquire_compat(mc_horizon_slot_name(name, MyDatabaseId), true);
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.xmin = xid;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
	ReplicationSlotRelease();
	if (advance(MyDatabaseId, xid))
		ReplicationSlotsComputeRequiredXmin(false);
}

/* Have all peers promised to be later than this?  Under the lock of links. */
static bool
all_have_promised(TimestampTz ts)
{
	bool		promised = true;

	for (int i = 0; i < mc_shared->nlinks && promised; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId)
			continue;
		SpinLockAcquire(&link->mutex);
		promised = link->promises.newest >= ts;
		SpinLockRelease(&link->mutex);
	}
	return promised;
}

/* Under the lock, so that a peer which is new counts: see mc_shared_link(). */
void
mc_hold_set_following(HoldFollowing following, TimestampTz sessions_until)
{
	SharedDatabase *database = mc_shared_my_database();

	if (database == NULL)
		return;
	pg_atomic_write_u32(&database->hold_following, following);
	LWLockAcquire(mc_shared->lock, LW_SHARED);
	pg_atomic_write_u64(&database->hold_sessions,
						all_have_promised(sessions_until) ? (uint64) sessions_until : 0);
	LWLockRelease(mc_shared->lock);
}

void
mc_hold_keep_deletes(void)
{
	SharedDatabase *database = mc_shared_my_database();

	if (database != NULL)
		pg_atomic_write_u64(&database->hold_sessions, 0);
}

/* May anybody read what is committed in a database? */
static bool
has_readers(Oid dboid)
{
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
	{
		const ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		found = slot->in_use && slot->data.database == dboid;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

/* How far may a slot be ahead of the horizon? */
static int32
max_ahead(void)
{
	return EpochFromFullTransactionId(ReadNextFullTransactionId()) > 0 ?
		MAX_AHEAD_ALIAS : MAX_AHEAD;
}

/*
 * May the slot of a database be at a transaction, as far as is known now?
 * newest: no transaction before that is newer.
 */
static bool
may_follow(SharedDatabase *database, TransactionId xid, TimestampTz newest)
{
	uint32		following = pg_atomic_read_u32(&database->hold_following);
	TransactionId horizon = pg_atomic_read_u32(&database->horizon_xid);
	bool		settled = newest <= (TimestampTz) pg_atomic_read_u64(&database->hold_sessions);

	return following != HOLD_STAYS && (int32) (xid - horizon) <= max_ahead() &&
		(mc_deletes_all_behind(horizon, settled) ||
		 (following == HOLD_FOLLOWS_ALL && !has_readers(database->dboid)));
}

bool
mc_hold_is_following(void)
{
	SharedDatabase *database = mc_shared_my_database();

	return slots_locked_once && database != NULL &&
		may_follow(database, XidFromFullTransactionId(ReadNextFullTransactionId()), DT_NOEND);
}

TransactionId
mc_hold_xid(void)
{
	SharedDatabase *database = mc_shared_my_database();

	return database ? pg_atomic_read_u32(&database->held_xid) : InvalidTransactionId;
}

/*
 * Let the slots follow what is over, if nobody has deleted.  Those of all
 * databases, because VACUUM respects the oldest one in any of them.
 */
static void
follow(void)
{
	TransactionId xid;
	TimestampTz newest;
	bool		moved = false;

	/* Entries stay where they are; whoever changes them does not wait for us. */
	if (!LWLockConditionalAcquire(mc_shared->lock, LW_SHARED))
		return;
	xid = GetOldestActiveTransactionId_compat();
	pg_memory_barrier();
	newest = mc_clock_newest();
	for (int i = 0; i < mc_shared->ndatabases; i++)
	{
		SharedDatabase *database = &mc_shared->databases[i];

		if (!OidIsValid(database->dboid) || !may_follow(database, xid, newest))
			continue;
		publish(database, xid);
		moved |= advance(database->dboid, xid);
	}
	LWLockRelease(mc_shared->lock);
	if (moved)
		ReplicationSlotsComputeRequiredXmin(false);
}

/* Is it the turn of a transaction?  Nobody else takes it then. */
static bool
is_due(TransactionId xid)
{
	SharedDatabase *database;
	uint32		tried;

	if (!slots_locked_once || !TransactionIdIsValid(xid) || (database = mc_shared_my_database()) == NULL)
		return false;
	tried = pg_atomic_read_u32(&mc_shared->hold_tried);
	return (!TransactionIdIsValid(tried) ||
			xid - tried + LATE >= MOVE_EACH + LATE) && may_follow(database, xid, mc_clock_newest()) &&
		pg_atomic_compare_exchange_u32(&mc_shared->hold_tried, &tried, xid);
}

/* Callback: a transaction ends.  After the commit nothing here may fail. */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		due = is_due(GetTopTransactionIdIfAny());
	else if (event == XACT_EVENT_COMMIT && due)
		follow();
	if (event != XACT_EVENT_PRE_COMMIT)
		due = false;
}

void
mc_hold_init(void)
{
	slots_locked_once = slots_locked_once_compat();
	RegisterXactCallback(transaction_ends, NULL);
}
