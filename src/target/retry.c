/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  Try the changes in quarantine again.
 *
 * NOTES
 *	  A change leaves quarantine when it can be completed or decided, or when
 *	  something greater is known of its key: the history has it then, if they
 *	  were concurrent.  Where that greater thing is a row of ours, which was
 *	  written beside the incomplete one, the group gets it as a whole.
 *
 *	  The rows that are written have the version of the change, by a note, and
 *	  not that of the transaction that writes them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "state/claim.h"
#include "state/vector.h"
#include "storage/lmgr.h"
#include "target/apply_row.h"
#include "target/attempt.h"
#include "target/connection.h"
#include "target/displace.h"
#include "target/local_map.h"
#include "target/quarantine.h"
#include "target/retry.h"
#include "target/write.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* So many changes of each class are tried in one look, and for so long. */
#define RETRY_LIMIT		250
#define RETRY_MS		250

/* The map of the table of a change; NULL: it is not replicated any more. */
static RelationMap *
find_map(Oid relid)
{
	Relation	rel = try_relation_open(relid, RowExclusiveLock);
	RelationMap *map;

	if (rel == NULL)
		return NULL;
	map = mc_local_map(rel);
	relation_close(rel, NoLock);
	return map;
}

/* Try one change. */
static void
try_entry(RemoteTransaction *transaction, int64 id)
{
	QuarantineEntry *entry = mc_quarantine_read(id);
	RelationMap *map;
	CenterId	missing;

	/* Somebody may have discarded it, or a change before has made it void. */
	if (entry == NULL)
		return;
	mc_table_close_all(transaction);
	map = find_map(entry->key.relid);
	if (map != NULL)
	{
		transaction->peer = entry->peer;
		transaction->version = entry->version;
		transaction->overtook = !mc_vector_covered(&entry->vector, entry->peer,
												   transaction->our_id, &missing);
		transaction->retried = entry;
		transaction->restates = true;
		mc_apply_again(transaction, map);
	}

	/* Where the table was dropped there is no row to wait for. */
	if (!entry->held)
		mc_quarantine_remove(entry->id);
}

/* Try a change and those that belong together with it; for mc_attempt(). */
static void
try_together(RemoteTransaction *transaction, void *arg)
{
	ListCell   *cell;

	foreach(cell, mc_quarantine_together(*(int64 *) arg))
		try_entry(transaction, *(int64 *) lfirst(cell));
	mc_table_close_all(transaction);
	mc_write_check_deferred(transaction);
	mc_displace_settle(transaction, true);
}

/*
 * The numbers of the changes whose turn it is.  Each look goes on after the
 * last one that the look before has tried, so that those which wait for long
 * keep nobody else from being tried.
 */
static List *
find_due(bool causes, int64 after)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *ids;
	bool		crashing;

	StartTransactionCommand();
	ids = mc_quarantine_due(causes, after, RETRY_LIMIT, context);
	crashing = !causes && mc_quarantine_mark_crashing();
	CommitTransactionCommand();
	if (crashing)
		XLogFlush(XactLastCommitEnd);
	MemoryContextSwitchTo(context);
	return ids;
}

/* Is there nothing in quarantine, due or not? */
static bool
is_empty(void)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz oldest;
	TimestampTz unused;

	StartTransactionCommand();
	oldest = mc_quarantine_oldest(&unused);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return oldest == 0;
}

/* Show an error with the change. */
static void
note_error(int64 id, const ErrorData *error)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	mc_quarantine_failed(id, error);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Try changes in their order until the time is up; returns the last one. */
static int64
try_ids(CenterId our_id, const List *ids, int64 end_ms)
{
	int64		last = 0;
	const ListCell *cell;

	foreach(cell, ids)
	{
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		last = *(int64 *) lfirst(cell);
		(void) mc_attempt(our_id, try_together, &last, &error);
		if (error && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			note_error(last, error);
		if (error)
			FreeErrorData(error);
		if (mc_monotonic_ms() >= end_ms)
			break;
	}
	return last;
}

/*
 * Try changes of one class.  Not for long: the manager promises, too, what the
 * group waits for.  When one has left it may be the turn of the next one of its
 * key, so look until there is none.
 */
static void
try_due(CenterId our_id, bool causes, int64 *after)
{
	int64		end_ms = mc_monotonic_ms() + RETRY_MS;

	do
	{
		List	   *ids = find_due(causes, *after);

		*after = try_ids(our_id, ids, end_ms);
		list_free_deep(ids);
	} while (*after != 0 && mc_monotonic_ms() < end_ms);
}

void
mc_retry_look(CenterId our_id)
{
	static uint64 generation = 0;
	static bool none = false;
	static int64 after_cause = 0;
	static int64 after_other = 0;
	uint64		now = generation;
	MemoryContext context;
	MemoryContext old_context;

	if (mc_notes_unchanged(&now) && generation != 0 && none)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "multicenter retry",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);

	/* What moves from here on is seen to next time. */
	mc_shared_set_waiting(WAITING_SOME);

	/* One that has failed is not due at once, and must not be forgotten. */
	none = is_empty();
	generation = now;
	if (none)
		mc_shared_set_waiting(WAITING_NONE);
	if (!none)
	{
		try_due(our_id, true, &after_cause);
		try_due(our_id, false, &after_other);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
}
