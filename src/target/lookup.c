/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  What this center knows of a key: its row, its deletes, its notes.
 *
 * NOTES
 *	  The greatest of these counts, by mc_merge_observe():
 *
 *	  live row		version: commit timestamp and author of its xmin, unless a
 *					note says otherwise.  Where there is one nothing else is
 *					looked at, because whatever was known before is older.
 *	  dead rows		of the same key, by an index scan that sees every tuple:
 *					each was ended by its xmax at the version of that.  What
 *					can still compete is kept from VACUUM (control/horizon.c).
 *	  notes			tombstones and displaced rows.
 *	  TRUNCATE		the newest one of the table ended every key.
 *
 *	  In a table that ever had a policy besides the last update "greater" means
 *	  the policy epoch first, and then the version: a delete may have been
 *	  superseded by a write of a greater epoch and a smaller version.
 *
 *	  Chains of updates need not be followed: the greatest xmax counts, and
 *	  the newest version of a row that lives is found by the live lookup.  Both
 *	  lookups look at different moments, so the second is done again unless
 *	  all that it sees was over when a snapshot was taken under which there is
 *	  no row.
 *
 *	  Dead rows need not be looked for when a change that is to be inserted is
 *	  newer than everything that has ever been committed or applied here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "state/claim.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/hold.h"
#include "state/policy.h"
#include "state/registry.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "target/lookup.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* A search for dead rows of a key. */
typedef struct DeadSearch
{
	RemoteTransaction *transaction;
	LocalRow   *local;
	Snapshot	snapshot;		/* NULL: what changes meanwhile does not
								 * matter */
	bool		again;			/* something is not over yet, or lives */
	TransactionId wait_for;		/* before that */
} DeadSearch;

/* How many appliers write to this database? */
static int
count_links(void)
{
	int			count = 0;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		if (mc_shared->links[i].dboid == MyDatabaseId)
			count++;
	}
	return count;
}

void
mc_lookup_begin(RemoteTransaction *transaction)
{
	TimestampTz ts = transaction->version.commit_ts;

	/* Read before the floor: whoever is late counts before it looks. */
	transaction->late_count = mc_claim_late_count();
	transaction->newest = mc_clock_floor() < ts;
	if (!transaction->newest)
		mc_claim_count_late();
	mc_clock_raise(ts);
	transaction->claims = count_links() > 1;
}

/*
 * Local commits raise the floor before they are visible; another applier
 * either raises it too or counts itself as late.
 */
bool
mc_lookup_is_newest(const RemoteTransaction *transaction)
{
	return transaction->newest &&
		mc_clock_floor() == transaction->version.commit_ts &&
		mc_claim_late_count() == transaction->late_count;
}

/* Take a version into account. */
static void
observe(LocalRow *local, LocalKnowledge knowledge, RowVersion version,
		bool later)
{
	MergeState	before = local->state;

	/* What is of a greater epoch has taken the place of all that is not. */
	if (OidIsValid(local->ranked) && before.knowledge != LOCAL_NOTHING)
	{
		int64		rank = mc_policy_rank(local->ranked, version);
		int64		known = mc_policy_rank(local->ranked, before.version);

		if (rank < known)
			return;
		if (rank > known)
			memset(&local->state, 0, sizeof(local->state));
	}
	mc_merge_observe(&local->state, knowledge, version);
	if (before.knowledge != local->state.knowledge ||
		mc_version_compare(before.version, local->state.version) != 0)
		local->later = later;
	else if (mc_version_compare(version, local->state.version) == 0)
		local->later |= later;
}

/*
 * Was what xid has removed not deleted?  A note says so, which is forgotten
 * behind the horizon (control/horizon.c); a row that is displaced was looked at
 * before that, so nothing there is a delete of it.
 */
static bool
was_only_removed(const List *notes, TransactionId xid)
{
	TransactionId horizon;
	const ListCell *cell;

	(void) mc_shared_horizon(&horizon);
	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_REMOVED ? note->xid == xid :
			note->kind == NOTE_DISPLACED && TransactionIdIsValid(horizon) &&
			TransactionIdPrecedes(xid, horizon))
			return true;
	}
	return false;
}

/*
 * The greatest version that a row may have whose commit timestamp is gone.
 * VACUUM freezes, and forgets the timestamps of, nothing that the slot holds
 * back, which is seldom much ahead of the horizon (state/hold.c); otherwise
 * track_commit_timestamp was off, which a restart has ended.
 */
static void
bound_lost_version(TransactionId xmin, bool frozen, MergeState *state)
{
	TransactionId horizon_xid;
	TimestampTz horizon_ts = mc_shared_horizon(&horizon_xid);
	TimestampTz commit_ts = 0;

	memset(&state->version, 0, sizeof(RowVersion));
	state->knowledge = LOCAL_LIVE;
	if (!TransactionIdIsValid(horizon_xid))
		return;					/* older than the group */
	state->knowledge = LOCAL_VERSION_LOST;
	state->version.commit_ts = horizon_ts;
	if (!TransactionIdIsNormal(xmin) ||
		TransactionIdPrecedes(xmin, horizon_xid))
		return;

	/* COPY FREEZE freezes rows at once; at most the transaction is older. */
	if (!frozen)
		commit_ts = TransactionIdPrecedes(xmin, mc_hold_xid()) ?
			mc_clock_floor() : PgStartTime;
	else if (!TransactionIdGetCommitTsData(xmin, &commit_ts, NULL) &&
			 TransactionIdPrecedes(xmin, mc_hold_xid()))
		commit_ts = mc_clock_floor();
	state->version.commit_ts = Max(horizon_ts, commit_ts);
}

bool
mc_lookup_may_be_alias(HeapTuple tuple)
{
	return HeapTupleHeaderXminFrozen(tuple->t_data) &&
		EpochFromFullTransactionId(ReadNextFullTransactionId()) > 0;
}

/* The same of the row in a slot. */
static bool
xmin_may_be_alias(TupleTableSlot *slot)
{
	if (!TTS_IS_BUFFERTUPLE(slot) && !TTS_IS_HEAPTUPLE(slot))
		return false;
	return mc_lookup_may_be_alias(ExecFetchSlotHeapTuple(slot, false, NULL));
}

void
mc_lookup_version(RemoteTransaction *transaction, TupleTableSlot *slot,
				  const List *notes, MergeState *state, bool *later)
{
	TransactionId xmin;
	bool		isnull;
	uint16		origin;
	const ListCell *cell;

	/* The raw xmin: freezing a row does not hide who wrote it. */
	xmin = DatumGetTransactionId(slot_getsysattr(slot,
												 MinTransactionIdAttributeNumber,
												 &isnull));
	Assert(!isnull);
	*later = false;
	state->knowledge = LOCAL_LIVE;
	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_VERSION && note->xid == xmin)
		{
			state->version = note->version;
			*later = TransactionIdIsCurrentTransactionId(xmin) &&
				mc_version_compare(note->version, transaction->version) == 0;
			return;
		}
	}
	if (TransactionIdIsCurrentTransactionId(xmin))
	{
		state->version = transaction->version;
		*later = true;
	}
	else if (xmin_may_be_alias(slot))
		bound_lost_version(xmin, true, state);
	else if (!TransactionIdGetCommitTsData(xmin, &state->version.commit_ts,
										   &origin))
		bound_lost_version(xmin, false, state);
	else
	{
		state->version.center = mc_author_of_origin(origin,
													transaction->our_id);
		if (state->version.center == MC_NO_CENTER)
			state->version.commit_ts = 0;
	}
}

/* Has a transaction ended, and how? */
typedef enum XidState
{
	XID_COMMITTED,
	XID_ABORTED,
	XID_RUNNING,
	XID_OURS,
} XidState;

/* The order of the questions is that of PostgreSQL's own visibility rules. */
static XidState
xid_state(TransactionId xid, bool known_committed)
{
	if (known_committed)
		return XID_COMMITTED;
	if (TransactionIdIsCurrentTransactionId(xid))
		return XID_OURS;
	if (TransactionIdIsInProgress(xid))
		return XID_RUNNING;
	return TransactionIdDidCommit(xid) ? XID_COMMITTED : XID_ABORTED;
}

/* Is a transaction over that the search has to reckon with?  Else look again. */
static bool
check_over(DeadSearch *search, TransactionId xid, XidState state)
{
	if (state == XID_RUNNING)
	{
		search->again = true;
		search->wait_for = xid;
	}
	else if (state == XID_COMMITTED && search->snapshot &&
			 TransactionIdIsNormal(xid) &&
			 XidInMVCCSnapshot(xid, search->snapshot))
		search->again = true;
	return !search->again;
}

/* Take a version of a row into account that is dead, or seems to be. */
static void
look_at_dead(DeadSearch *search, HeapTupleHeader tuple)
{
	RemoteTransaction *transaction = search->transaction;
	RowVersion	version = {0};
	TransactionId xid = HeapTupleHeaderGetXmin(tuple);
	XidState	state;
	uint16		origin;

	if (HeapTupleHeaderXminInvalid(tuple) || !TransactionIdIsValid(xid))
		return;
	state = xid_state(xid, HeapTupleHeaderXminCommitted(tuple));
	if (state == XID_ABORTED || !check_over(search, xid, state))
		return;

	/* Alive?  Then the live lookup finds it now, or somebody changes it. */
	if ((tuple->t_infomask & HEAP_XMAX_INVALID) ||
		HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask))
	{
		search->again = true;
		return;
	}
	xid = HeapTupleHeaderGetUpdateXid(tuple);
	state = xid_state(xid, (tuple->t_infomask & HEAP_XMAX_COMMITTED) != 0 &&
					  !(tuple->t_infomask & HEAP_XMAX_IS_MULTI));
	if (state == XID_ABORTED)
		search->again = true;
	if (search->again || !check_over(search, xid, state) ||
		was_only_removed(search->local->notes, xid))
		return;

	if (state == XID_OURS)
		observe(search->local, LOCAL_TOMBSTONE, transaction->version, true);
	else if (TransactionIdGetCommitTsData(xid, &version.commit_ts, &origin))
	{
		version.center = mc_author_of_origin(origin, transaction->our_id);
		if (version.center == MC_NO_CENTER)
			version.commit_ts = 0;
		observe(search->local, LOCAL_TOMBSTONE, version, false);
	}
}

/* Called for each tuple of the key; false ends the scan. */
static bool
visit_tuple(TupleTableSlot *slot, void *arg)
{
	DeadSearch *search = arg;
	BufferHeapTupleTableSlot *heap_slot = (BufferHeapTupleTableSlot *) slot;
	HeapTupleHeaderData header;

	/* A copy: others may change what stands in the page. */
	LockBuffer(heap_slot->buffer, BUFFER_LOCK_SHARE);
	memcpy(&header, heap_slot->base.tuple->t_data, SizeofHeapTupleHeader);
	LockBuffer(heap_slot->buffer, BUFFER_LOCK_UNLOCK);
	look_at_dead(search, &header);
	return !search->again;
}

/*
 * Look for dead rows of a key that has no live one.  Returns false if that
 * seems to be wrong, after waiting for who may be changing it.
 */
static bool
find_dead(RemoteTransaction *transaction, TargetTable *table,
		  const RemoteRow *row, TupleTableSlot *slot, bool thorough,
		  LocalRow *local)
{
	DeadSearch	search = {0};
	bool		found = false;

	/* Other access methods may not keep them; and what could we read there? */
	if (table->rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return true;
	search.transaction = transaction;
	search.local = local;
	if (thorough)
	{
		search.snapshot = RegisterSnapshot(GetLatestSnapshot());
		found = mc_table_find_visible(table, row, slot, search.snapshot);
	}
	if (!found)
		mc_table_visit_all(table, row, slot, visit_tuple, &search);
	if (search.snapshot)
		UnregisterSnapshot(search.snapshot);
	if (TransactionIdIsValid(search.wait_for))
		XactLockTableWait(search.wait_for, NULL, NULL, XLTW_None);
	return !found && !search.again;
}

/* Take the notes of a key into account that stand for a row. */
static void
look_at_notes(RemoteTransaction *transaction, LocalRow *local)
{
	ListCell   *cell;

	local->displaced = NULL;
	foreach(cell, local->notes)
	{
		KeyNote    *note = lfirst(cell);
		bool		later = mc_version_compare(note->version,
											   transaction->version) == 0;

		if (note->kind == NOTE_TOMBSTONE)
			observe(local, LOCAL_TOMBSTONE, note->version, later);
		else if (note->kind == NOTE_DISPLACED)
		{
			observe(local, LOCAL_LIVE, note->version, later);
			local->displaced = note;
		}
	}
}

/* Take the newest TRUNCATE of the table into account. */
static void
look_at_truncation(RemoteTransaction *transaction, TargetTable *table,
				   LocalRow *local)
{
	TruncationNote note;

	if (mc_note_truncation(transaction, table, &note))
		observe(local, LOCAL_TOMBSTONE, note.version, note.own);
}

/*
 * Read the notes of a key, unless that is known to be useless.  The key of a
 * row that is not here is claimed first, so that nobody writes more of them.
 */
static void
read_notes(RemoteTransaction *transaction, TargetTable *table,
		   const RemoteRow *row, LocalRow *local)
{
	bool		possible = mc_note_possible(table);

	if (!local->found && (transaction->claims || possible))
	{
		local->key.hash = mc_note_hash(table, row);
		(void) mc_note_claim(transaction, RelationGetRelid(table->rel),
							 local->key.hash);
		possible = mc_note_possible(table);
	}
	if (!possible)
		return;
	mc_note_key(table, row, &local->key);
	local->notes = mc_note_find(table, &local->key);
}

/* One attempt to look at a key; false if it has changed meanwhile. */
static bool
look_once(RemoteTransaction *transaction, TargetTable *table,
		  const RemoteRow *row, TupleTableSlot *slot, bool thorough,
		  LocalRow *local)
{
	bool		keyed = table->index && !table->map->group_catalog;

	memset(local, 0, sizeof(LocalRow));
	local->slot = slot;

	/* The search for dead rows has the second look of a thorough one. */
	local->found = mc_table_find(table, row, slot, thorough && !keyed);
	if (keyed && !mc_table_key_has_null(table, row))
		read_notes(transaction, table, row, local);
	if (local->found)
	{
		mc_lookup_version(transaction, slot, local->notes, &local->state,
						  &local->later);
		return true;
	}
	if (!keyed || mc_table_key_has_null(table, row))
		return true;
	if (mc_policy_table(RelationGetRelid(table->rel), 0) != NULL)
		local->ranked = RelationGetRelid(table->rel);
	look_at_notes(transaction, local);
	look_at_truncation(transaction, table, local);
	if (!thorough && mc_lookup_is_newest(transaction))
		return true;
	return find_dead(transaction, table, row, slot, thorough, local);
}

bool
mc_lookup_is_needless(RemoteTransaction *transaction, TargetTable *table,
					  const RemoteRow *row)
{
	/* The horizon before what was forgotten, and that before notes. */
	if (!mc_deletes_none(RelationGetRelid(table->rel)) ||
		mc_shared_forgotten() >= transaction->version.commit_ts)
		return false;
	pg_read_barrier();
	if (transaction->claims && !mc_table_key_has_null(table, row))
		(void) mc_note_claim(transaction, RelationGetRelid(table->rel),
							 mc_note_hash(table, row));
	return !mc_note_possible(table) && !table->map->has_truncation;
}

void
mc_lookup(RemoteTransaction *transaction, TargetTable *table,
		  const RemoteRow *row, TupleTableSlot *slot, bool thorough,
		  LocalRow *local)
{
	uint64		rebuilds;
	TimestampTz forgotten;
	TimestampTz forgotten_now;
	bool		done;

	if (row == NULL)
	{
		memset(local, 0, sizeof(LocalRow));
		local->slot = slot;
		local->forgotten = mc_shared_forgotten();
		return;
	}
	do
	{
		CHECK_FOR_INTERRUPTS();
		rebuilds = mc_shared_rebuilds();
		pg_read_barrier();
		forgotten = mc_shared_forgotten();
		done = look_once(transaction, table, row, slot, thorough, local);

		/* Deletes may be forgotten, and remembered again, while we look. */
		forgotten_now = mc_shared_forgotten();
		local->forgotten = Max(forgotten, forgotten_now);
		pg_read_barrier();
	} while (!done || mc_shared_rebuilds() != rebuilds);
}

void
mc_lookup_forget(LocalRow *local)
{
	ListCell   *cell;

	foreach(cell, local->notes)
	{
		KeyNote    *note = lfirst(cell);

		if (note->kind == NOTE_TOMBSTONE || note->kind == NOTE_DISPLACED)
			mc_note_remove(note->id);
	}
	local->displaced = NULL;
	local->notes = NIL;
}

void
mc_lookup_bury(RemoteTransaction *transaction, TargetTable *table,
			   const RemoteRow *row, LocalRow *local)
{
	KeyNote		note = {0};

	if (!table->index || table->map->group_catalog)
		return;
	mc_lookup_forget(local);
	if (local->key.values == NULL)
		mc_note_key(table, row, &local->key);
	note.kind = NOTE_TOMBSTONE;
	note.key = local->key;
	note.version = transaction->version;
	mc_note_add(&note);
}

/* A tuple, and what it became when it was updated. */
static bool
collect_successor(TupleTableSlot *slot, void *arg)
{
	List	  **successors = arg;
	BufferHeapTupleTableSlot *heap_slot = (BufferHeapTupleTableSlot *) slot;
	HeapTupleHeader tuple = heap_slot->base.tuple->t_data;
	ItemPointerData *next = palloc(sizeof(ItemPointerData));

	LockBuffer(heap_slot->buffer, BUFFER_LOCK_SHARE);
	ItemPointerSetInvalid(next);
	if ((tuple->t_infomask & HEAP_XMAX_INVALID) == 0 &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask) &&
		!HeapTupleHeaderIndicatesMovedPartitions(tuple) &&
		!ItemPointerEquals(&tuple->t_ctid, &heap_slot->base.tuple->t_self))
		*next = tuple->t_ctid;
	LockBuffer(heap_slot->buffer, BUFFER_LOCK_UNLOCK);
	if (ItemPointerIsValid(next))
		*successors = lappend(*successors, next);
	return true;
}

bool
mc_lookup_moved(TargetTable *table, const RemoteRow *row, TupleTableSlot *slot)
{
	List	   *tuples = NIL;
	Snapshot	snapshot;
	bool		found = false;

	if (table->rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return false;
	mc_table_visit_all(table, row, slot, collect_successor, &tuples);

	/* Dead tuples stay as long as a change waits that may be asked for. */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < list_length(tuples) && !found; i++)
	{
		ItemPointerData *tid = list_nth(tuples, i);

		found = table_tuple_fetch_row_version(table->rel, tid, snapshot, slot);
		if (!found &&
			table_tuple_fetch_row_version(table->rel, tid, SnapshotAny, slot))
			(void) collect_successor(slot, &tuples);
	}
	UnregisterSnapshot(snapshot);
	return found;
}
