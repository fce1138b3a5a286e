/*-------------------------------------------------------------------------
 *
 * rewrite.c
 *	  Rewrites of replicated tables: the fence around them.
 *
 * NOTES
 *	  A rewrite (ALTER COLUMN TYPE, say) gives every row the version of the
 *	  ALTER.  That is right only if all centers rewrite the same rows, so
 *	  replicate_ddl() puts a fence around the table first:
 *
 *	  fence		The center where the command was given, the coordinator,
 *				announces the fence in its stream.
 *	  fenced	Every center keeps its sessions from writing the table, waits
 *				for the transactions that have written it, and says so in its
 *				stream, behind their changes.
 *	  drained	A center that has applied "fenced" of all others has applied
 *				every change of the table that there is, and says so when none
 *				of them waits in quarantine.
 *	  (rewrite) When all are drained, the command runs at the coordinator and
 *				travels in its stream.  All rows have its version everywhere.
 *	  end		The coordinator's transaction has ended, whichever way; the
 *				command is in front of this in its stream.  The fence goes.
 *
 *	  What is known of a fence is a row of multicenter.table_fence at each
 *	  center, written in the transaction that applies or sends a message, so
 *	  it survives crashes.  A coordinator that has crashed finds its row without
 *	  a session behind it, and sends "end".  While the coordinator is away, the
 *	  fence stays: nobody else knows if the command was committed.  It goes
 *	  when the coordinator is parted by force.
 *
 *	  Apply is not kept from writing.  A session that meets the fence gets an
 *	  error and does not wait: it may have locks that the draining needs.  Only
 *	  the session that has rewritten the table waits for the end, which needs
 *	  nothing any more than the manager; and one that wants a fence of its own
 *	  waits for it, and for fences that were first, unless it has such a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "control/ddl.h"
#include "control/rewrite.h"
#include "control/writers.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "origin/message.h"
#include "pgstat.h"
#include "state/fence.h"
#include "state/registry.h"
#include "state/shared.h"
#include "state/vector.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "target/message_kind.h"
#include "target/quarantine.h"
#include "target/table.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* How long a session that has rewritten a table waits for its fence to go. */
#define RELEASE_MS			5000
#define RELEASE_POLL_MS		5

/* The lock of multicenter.peer_lock(). */
#define JOIN_LOCK_CLASS		1296254513
#define JOIN_LOCK_KEY		1

/* What a message says; see above. */
typedef enum FenceStep
{
	STEP_FENCE = 'F',
	STEP_FENCED = 'f',
	STEP_DRAINED = 'd',
	STEP_END = 'e',
} FenceStep;

/* A row of multicenter.table_fence. */
typedef struct Fence
{
	CenterId	coordinator;
	int64		token;			/* unique at the coordinator */
	char	   *schema;
	char	   *table;
	List	   *fenced;			/* numbers of centers that have said so */
	List	   *drained;
} Fence;

/* A fence that this manager has put up, and the writers it still waits for. */
typedef struct StandingFence
{
	CenterId	coordinator;
	int64		token;
	Oid			relid;
	VirtualTransactionId *writers;	/* ends with an invalid one */
} StandingFence;

/* The fences that this manager has put up: StandingFence *, for its life. */
static List *standing = NIL;

/* Has the current transaction asked for a fence? */
static bool has_request = false;

/*
 * The table of the fence that the last such transaction of this session had,
 * and until when that may still stand.
 */
static Oid	released = InvalidOid;
static TimestampTz released_until = 0;

/* ---- messages ---- */

/* Send a step of a fence, in the current transaction. */
static void
send_step(FenceStep step, const Fence *fence)
{
	StringInfoData message;

	initStringInfo(&message);
	appendStringInfo(&message, "%c %u " INT64_FORMAT, (char) step,
					 fence->coordinator, fence->token);
	appendStringInfoChar(&message, '\0');
	appendBinaryStringInfo(&message, fence->schema, strlen(fence->schema) + 1);
	appendBinaryStringInfo(&message, fence->table, strlen(fence->table) + 1);
	(void) mc_message_emit(MC_FENCE_PREFIX, true, message.data, (uint32) message.len);
	pfree(message.data);
}

/* Take a message apart; false if it is malformed. */
static bool
read_step(const char *content, uint32 len, FenceStep *step, Fence *fence)
{
	const char *end = content + len;
	const char *schema;
	const char *table;
	unsigned int coordinator;
	char		letter;
	char		extra;

	schema = memchr(content, '\0', len);
	if (schema == NULL || ++schema >= end)
		return false;
	table = memchr(schema, '\0', end - schema);
	if (table == NULL || ++table >= end || memchr(table, '\0', end - table) != end - 1)
		return false;
	if (sscanf(content, "%c %u " INT64_FORMAT "%c", &letter, &coordinator,
			   &fence->token, &extra) != 3 ||
		coordinator == 0 || coordinator > MC_MAX_CENTER_ID)
		return false;
	*step = (FenceStep) letter;
	fence->coordinator = (CenterId) coordinator;
	fence->schema = pstrdup(schema);
	fence->table = pstrdup(table);
	return true;
}

/* ---- the table of fences ---- */

/* Run a statement about one fence; $1 and $2 are its key, $3 a number. */
static void
write_fence(const char *sql, const Fence *fence, CenterId center)
{
	Oid			types[] = {INT4OID, INT8OID, INT4OID, TEXTOID, TEXTOID};
	Datum		values[] = {Int32GetDatum(fence->coordinator),
		Int64GetDatum(fence->token), Int32GetDatum(center),
		CStringGetTextDatum(fence->schema),
	CStringGetTextDatum(fence->table)};

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0);
	PopActiveSnapshot();
	SPI_finish();
}

/* Forget a fence, or those before it, of which the announcement has not come. */
static void
forget_unannounced(const Fence *fence, CenterId center, const char *compare)
{
	write_fence(psprintf("DELETE FROM multicenter.table_fence"
						 " WHERE coordinator OPERATOR(pg_catalog.=) $1 AND token OPERATOR(pg_catalog.%s) $2"
						 " AND NOT announced AND $3 IS NOT NULL AND $4 IS NOT NULL AND $5 IS NOT NULL",
						 compare), fence, center);
}

/*
 * Write down that a center has taken a step.  early: the fence may not be
 * announced here yet.
 */
static void
record_step(FenceStep step, const Fence *fence, CenterId center, bool early)
{
	static const char key[] =
	" WHERE coordinator OPERATOR(pg_catalog.=) $1 AND token OPERATOR(pg_catalog.=) $2"
	" AND $3 IS NOT NULL AND $4 IS NOT NULL AND $5 IS NOT NULL";
	const char *column = step == STEP_FENCED ? "fenced" : "drained";

	switch (step)
	{
		case STEP_FENCE:
			write_fence("INSERT INTO multicenter.table_fence"
						" (coordinator, token, schema_name, table_name, announced)"
						" SELECT $1, $2, $4, $5, true WHERE $3 IS NOT NULL"
						" ON CONFLICT (coordinator, token) DO UPDATE SET announced = true",
						fence, center);

			/* Of what has ended before it was announced here. */
			forget_unannounced(fence, center, "<");
			break;
		case STEP_FENCED:
		case STEP_DRAINED:
			if (early)
				write_fence(psprintf("INSERT INTO multicenter.table_fence AS f"
									 " (coordinator, token, schema_name, table_name, %s)"
									 " VALUES ($1, $2, $4, $5, ARRAY[$3]) ON CONFLICT (coordinator, token)"
									 " DO UPDATE SET %s = pg_catalog.array_append(f.%s, $3)",
									 column, column, column), fence, center);
			else
				write_fence(psprintf("UPDATE multicenter.table_fence SET %s ="
									 " pg_catalog.array_append(%s, $3)%s",
									 column, column, key), fence, center);
			break;
		case STEP_END:
			write_fence(psprintf("DELETE FROM multicenter.table_fence%s", key),
						fence, center);
			break;
	}
}

/* Numbers of centers in an int4 array, as a list. */
static List *
read_numbers(Datum array)
{
	ArrayType  *numbers = DatumGetArrayTypeP(array);
	List	   *list = NIL;
	Datum	   *values;
	int			nvalues;

	deconstruct_array(numbers, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &values, NULL, &nvalues);
	for (int i = 0; i < nvalues; i++)
		list = lappend_int(list, DatumGetInt32(values[i]));
	return list;
}

/* All fences: a list of Fence * in the current context. */
static List *
read_fences(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *fences = NIL;

	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_execute("SELECT coordinator, token, schema_name, table_name, fenced, drained"
				" FROM multicenter.table_fence WHERE announced", true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext spi_context = MemoryContextSwitchTo(caller);
		Fence	   *fence = palloc0(sizeof(Fence));
		bool		isnull;

		fence->coordinator = (CenterId) DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		fence->token = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		fence->schema = TextDatumGetCString(SPI_getbinval(row, desc, 3, &isnull));
		fence->table = TextDatumGetCString(SPI_getbinval(row, desc, 4, &isnull));
		fence->fenced = read_numbers(SPI_getbinval(row, desc, 5, &isnull));
		fence->drained = read_numbers(SPI_getbinval(row, desc, 6, &isnull));
		fences = lappend(fences, fence);
		MemoryContextSwitchTo(spi_context);
	}
	PopActiveSnapshot();
	SPI_finish();
	return fences;
}

/* The table of a fence; InvalidOid: there is none of that name here. */
static Oid
fenced_table(const Fence *fence)
{
	Oid			schema = get_namespace_oid(fence->schema, true);

	return OidIsValid(schema) ? get_relname_relid(fence->table, schema) : InvalidOid;
}

/*
 * Has the peer known of the fence before we do?  Streams of two centers are in
 * no order, so what it says of the fence may come before the coordinator's
 * announcement, or when the fence has gone; only the vector tells which.  Our
 * own announcement is in WAL, and so may be answered, before it is to be seen.
 */
static bool
is_early(const RemoteTransaction *transaction, const Fence *fence)
{
	const VectorDelta *known = mc_vector_entry(transaction->vector, fence->coordinator);
	DependencyVector *announcement;
	CenterId	missing;

	if (fence->coordinator == transaction->our_id)
		return true;
	if (known == NULL)
		return false;
	announcement = palloc0(sizeof(DependencyVector));
	announcement->nentries = 1;
	announcement->entries[0] = *known;
	return !mc_vector_covered(announcement, transaction->peer,
							  transaction->our_id, &missing);
}

/* Called by the applier: a peer has sent a step. */
static void
apply_step(RemoteTransaction *transaction, const char *content, uint32 len)
{
	Fence		fence = {0};
	FenceStep	step;

	if (!read_step(content, len, &step, &fence) ||
		((step == STEP_FENCE || step == STEP_END) &&
		 fence.coordinator != transaction->peer))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a message about a table's fence from a peer is malformed")));
	record_step(step, &fence, transaction->peer, is_early(transaction, &fence));

	/* The end of our own fence has come before, not the announcement after. */
	if (fence.coordinator == transaction->our_id)
		forget_unannounced(&fence, transaction->peer, "=");

	/* The manager looks at it once this is committed. */
	transaction->catalog_changed = true;
}

/* ---- the gate of the fence ---- */

/* All fences, in a session whose user may not look at them. */
static List *
read_fences_as_owner(void)
{
	List	   *fences;
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(mc_registry_owner(),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	fences = read_fences();
	SetUserIdAndSecContext(userid, sec_context);
	return fences;
}

/* Is the table, or one that it is a partition of, in the table of fences? */
static bool
is_in_table(Oid relid)
{
	List	   *relids = list_make1_oid(relid);
	ListCell   *lc;

	if (get_rel_relispartition(relid))
		relids = list_concat(relids, get_partition_ancestors(relid));
	foreach(lc, read_fences_as_owner())
	{
		if (list_member_oid(relids, fenced_table(lfirst(lc))))
			return true;
	}
	return false;
}

/*
 * Is the table fenced here?  As the manager has put it up, or is about to; but
 * not if it is only about to take down the last one.
 */
static bool
is_fenced(Oid relid)
{
	switch (mc_fence(relid))
	{
		case FENCE_NONE:
			return false;
		case FENCE_STANDS:
			return read_fences_as_owner() != NIL;
		case FENCE_UNKNOWN:
			break;
	}
	return is_in_table(relid);
}

/* The table by which a fence is known: the root of a partition. */
static Oid
fenced_as(Oid relid)
{
	if (!get_rel_relispartition(relid))
		return relid;
	return llast_oid(get_partition_ancestors(relid));
}

/*
 * This session has rewritten the table just now: wait until the manager has
 * taken down the fence, for which it needs nothing that we could have.  Returns
 * false if the table is fenced for another reason.
 */
static bool
wait_for_release(Oid relid)
{
	if (!OidIsValid(released) || fenced_as(relid) != released)
		return false;
	while (is_fenced(relid))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() > released_until)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RELEASE_POLL_MS, mc_wait_event(MC_WAIT_REWRITE_END));
		ResetLatch(MyLatch);
	}
	released = InvalidOid;
	return true;
}

void
mc_rewrite_check_write(Oid relid)
{
	if (!is_fenced(relid) || wait_for_release(relid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("cannot write to table \"%s\" while it is being rewritten on all centers",
					get_rel_name(relid)),
			 errhint("Run the transaction again when multicenter.replicate_ddl() has finished.")));
}

/* Has this transaction got a fence around the table?  Not somebody else. */
static bool
is_granted(Oid relid)
{
	FenceRequest request;

	mc_fence_requested(MyDatabaseId, &request);
	return has_request && request.outcome == FENCE_GRANTED &&
		request.relid == fenced_as(relid);
}

void
mc_rewrite_check(Oid relid, int reason)
{
	/* A value that each center computes for itself may differ. */
	bool		can_travel =
	(reason & ~(AT_REWRITE_COLUMN_REWRITE | AT_REWRITE_ACCESS_METHOD)) == 0;

	if (!mc_ddl_is_running() || !can_travel)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rewrite table \"%s\"", get_rel_name(relid)),
				 errdetail("A rewrite would give all its rows a new version, which would win over newer changes of other centers."),
				 can_travel ?
				 errhint("Change the type of a column with multicenter.replicate_ddl(), which rewrites the table on all centers at once.") :
				 errhint("Add a new column without a volatile default, fill it in batches, and then drop the old one.")));
	if (mc_ddl_is_applied() ? is_fenced(relid) : is_granted(relid))
		return;
	mc_ddl_want_rewrite(relid);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot rewrite table \"%s\" without a fence around it",
					get_rel_name(relid))));
}

/* ---- the session that wants to rewrite ---- */

/* Callback: the transaction that asked for a fence ends. */
static void
transaction_ends(XactEvent event, void *arg)
{
	FenceRequest request;

	if (!has_request ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		 event != XACT_EVENT_PRE_PREPARE))
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has rewritten a replicated table")));
	mc_fence_requested(MyDatabaseId, &request);
	released = request.relid;
	released_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RELEASE_MS);
	has_request = false;
	mc_fence_request(MyDatabaseId, 0, InvalidOid);
}

/* Same, where the process ends without the end of its transaction. */
static void
process_ends(int code, Datum arg)
{
	transaction_ends(XACT_EVENT_ABORT, NULL);
}

/* Ask the manager for a fence; an error if another session has one. */
static void
request_fence(Oid relid)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		before_shmem_exit(process_ends, (Datum) 0);
		registered = true;
	}

	/*
	 * A center that joins takes this lock on all centers.  It would get the
	 * command without the fence, or the fence without what precedes it.
	 */
	if (!DatumGetBool(DirectFunctionCall2(pg_try_advisory_xact_lock_int4,
										  Int32GetDatum(JOIN_LOCK_CLASS),
										  Int32GetDatum(JOIN_LOCK_KEY))))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot rewrite a table while a center joins the group"),
				 errhint("Try again when it has joined.")));
	if (!mc_fence_request(MyDatabaseId, GetCurrentTimestamp(), relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another table is being rewritten at this center"),
				 errhint("Try again when that has finished.")));
	has_request = true;
}

/* Look what the manager has decided; true if the fence stands. */
static bool
check_request(Oid relid)
{
	FenceRequest request;

	mc_fence_requested(MyDatabaseId, &request);
	if (request.relid != relid)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rewrite more than one replicated table in a transaction")));
	if (request.outcome == FENCE_DENIED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another center is rewriting a table"),
				 errhint("Try again when that has finished.")));
	if (request.outcome == FENCE_BLOCKING)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("cannot fence table \"%s\" in this transaction", get_rel_name(relid)),
				 errdetail("Replication waits for a lock that this transaction has taken before."),
				 errhint("Run the command in a transaction of its own.")));
	return request.outcome == FENCE_GRANTED;
}

void
mc_rewrite_fence(Oid relid)
{
	TimestampTz deadline = 0;

	relid = fenced_as(relid);
	if (!has_request)
		request_fence(relid);
	if (LockTimeout > 0)
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LockTimeout);

	while (!check_request(relid))
	{
		CHECK_FOR_INTERRUPTS();
		if (deadline != 0 && GetCurrentTimestamp() > deadline)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("could not fence table \"%s\" on all centers within lock_timeout",
							get_rel_name(relid)),
					 errdetail("A rewrite needs every center, without transactions that write the table or changes of it in quarantine."),
					 errhint("SELECT * FROM multicenter.lag tells which center is not reached, multicenter.quarantine what waits at a center.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 MC_FENCE_POLL_MS, mc_wait_event(MC_WAIT_REWRITE_FENCE));
		ResetLatch(MyLatch);
	}
}

/* ---- the manager ---- */

/* Find the fence that this manager has put up for a row; NULL: none. */
static StandingFence *
find_standing(const Fence *fence)
{
	ListCell   *lc;

	foreach(lc, standing)
	{
		StandingFence *candidate = lfirst(lc);

		if (candidate->coordinator == fence->coordinator &&
			candidate->token == fence->token)
			return candidate;
	}
	return NULL;
}

/* Tell all sessions which tables are fenced: those of the standing fences. */
static void
publish_fences(void)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, standing)
	{
		StandingFence *fence = lfirst(lc);

		relids = list_concat_unique_oid(relids,
										find_all_inheritors(fence->relid, NoLock, NULL));
	}
	mc_fence_publish(MyDatabaseId, relids);
	list_free(relids);
}

/*
 * Who has written to the table, or to a partition of it, and may do so again?
 * What the coordinator's session has written goes before its command.
 */
static VirtualTransactionId *
find_writers(Oid relid, CenterId coordinator, CenterId our_id)
{
	FenceRequest request;

	mc_fence_requested(MyDatabaseId, &request);
	if (coordinator != our_id)
		SetInvalidVirtualTransactionId(request.session);
	return mc_writers_find(relid, request.session);
}

/*
 * Put up the fences that do not stand yet; only then see who is inside.  All
 * at once, because those of a manager before us stand already, for sessions.
 */
static void
put_up(List *fences, CenterId our_id)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, fences)
	{
		const Fence *fence = lfirst(lc);
		Oid			relid = fenced_table(fence);
		MemoryContext caller;
		StandingFence *entry;

		if (!OidIsValid(relid) || find_standing(fence) != NULL)
			continue;
		caller = MemoryContextSwitchTo(TopMemoryContext);
		entry = palloc0(sizeof(StandingFence));
		entry->coordinator = fence->coordinator;
		entry->token = fence->token;
		entry->relid = relid;
		standing = lappend(standing, entry);
		MemoryContextSwitchTo(caller);
		changed = true;
	}
	if (!changed)
		return;
	publish_fences();

	/*
	 * A session that has passed a fence before it stood holds its lock on the
	 * table since before it looked.
	 */
	foreach(lc, standing)
	{
		StandingFence *entry = lfirst(lc);

		if (entry->writers == NULL)
			entry->writers = find_writers(entry->relid, entry->coordinator, our_id);
	}
}

/* Take down fences whose rows are gone. */
static void
take_down(List *fences)
{
	List	   *kept = NIL;
	int			before = list_length(standing);
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	ListCell   *lc;

	foreach(lc, standing)
	{
		StandingFence *entry = lfirst(lc);
		bool		found = false;
		ListCell   *other;

		foreach(other, fences)
		{
			Fence	   *fence = lfirst(other);

			found |= fence->coordinator == entry->coordinator &&
				fence->token == entry->token;
		}
		if (found)
			kept = lappend(kept, entry);
		else
		{
			pfree(entry->writers);
			pfree(entry);
		}
	}
	list_free(standing);
	standing = kept;
	MemoryContextSwitchTo(caller);
	if (list_length(kept) != before)
		publish_fences();
}

/* Are all of these centers in a list? */
static bool
all_in(List *centers, List *list)
{
	ListCell   *lc;

	foreach(lc, centers)
	{
		if (!list_member_int(list, lfirst_int(lc)))
			return false;
	}
	return true;
}

/* Take a step of our own: write it down and send it. */
static void
take_step(FenceStep step, const Fence *fence, CenterId our_id)
{
	record_step(step, fence, our_id, false);
	send_step(step, fence);
}

/*
 * Is there a fence that goes before this one?  Two coordinators that did not
 * know of each other must not rewrite in different order.  Whoever has heard
 * "fenced" for one of them of all centers knows the other one, too, since the
 * other coordinator has announced it before: all agree who is first.
 */
static bool
is_preceded(const Fence *fence, List *fences)
{
	ListCell   *lc;

	foreach(lc, fences)
	{
		Fence	   *other = lfirst(lc);

		if (other->token < fence->token ||
			(other->token == fence->token && other->coordinator < fence->coordinator))
			return true;
	}
	return false;
}

/*
 * Do changes of the table wait in quarantine here?  The rewrite would make them
 * void, and other centers have them.
 */
static bool
has_waiting(const Fence *fence)
{
	Oid			schema = get_namespace_oid(fence->schema, true);

	return OidIsValid(schema) &&
		mc_quarantine_has(get_relname_relid(fence->table, schema));
}

/* Do what is due for one fence of several. */
static void
advance(Fence *fence, List *fences, CenterId our_id, List *centers)
{
	StandingFence *entry = find_standing(fence);
	FenceRequest request;

	mc_fence_requested(MyDatabaseId, &request);
	if (fence->coordinator == our_id && request.token != fence->token)
	{
		take_step(STEP_END, fence, our_id);
		return;
	}
	if (!list_member_int(centers, fence->coordinator))
	{
		/* It has been removed from the group: nothing comes from it any more. */
		record_step(STEP_END, fence, our_id, false);
		return;
	}
	if (!list_member_int(fence->fenced, our_id))
	{
		if (entry == NULL || !mc_writers_remain(entry->writers, entry->relid))
			take_step(STEP_FENCED, fence, our_id);
	}
	else if (!list_member_int(fence->drained, our_id))
	{
		if (all_in(centers, fence->fenced) && !is_preceded(fence, fences) &&
			!has_waiting(fence))
			take_step(STEP_DRAINED, fence, our_id);
		else if (is_preceded(fence, fences))
			mc_fence_decide(MyDatabaseId, fence->token, FENCE_DENIED);
	}
	else if (fence->coordinator == our_id && all_in(centers, fence->drained))
		mc_fence_decide(MyDatabaseId, fence->token, FENCE_GRANTED);
}

/*
 * A session that waits for its fence needs every receiver, for the steps of
 * others or for the end of a fence that was first.  If one of them, or of their
 * appliers, waits for a lock of that session, both would wait for ever, and no
 * deadlock detector sees it.
 */
static void
find_deadlock(void)
{
	FenceRequest request;

	mc_fence_requested(MyDatabaseId, &request);
	if (request.token != 0 && request.outcome == FENCE_PENDING &&
		mc_writers_block_apply(request.pid))
		mc_fence_decide(MyDatabaseId, request.token, FENCE_BLOCKING);
}

/* A session here wants a fence: announce it. */
static void
announce(CenterId our_id, int64 token, Oid relid)
{
	Fence		fence = {0};

	fence.coordinator = our_id;
	fence.token = token;
	fence.table = get_rel_name(relid);
	fence.schema = get_namespace_name(get_rel_namespace(relid));
	if (fence.table == NULL || fence.schema == NULL)
		return;
	take_step(STEP_FENCE, &fence, our_id);
}

bool
mc_rewrite_work(CenterId our_id, List *centers, bool look)
{
	static bool idle = false;
	static int64 announced = 0;
	FenceRequest request;
	List	   *fences;
	ListCell   *lc;

	mc_fence_requested(MyDatabaseId, &request);
	if (idle && request.token == 0 && !look)
		return false;

	StartTransactionCommand();
	fences = read_fences();

	/* A fence that is known already goes before; the session waits. */
	if (request.token != 0 && request.token != announced && fences == NIL)
	{
		announce(our_id, request.token, request.relid);
		announced = request.token;
	}
	take_down(fences);
	put_up(fences, our_id);
	foreach(lc, fences)
		advance(lfirst(lc), fences, our_id, centers);
	find_deadlock();
	if (fences == NIL)
		publish_fences();
	CommitTransactionCommand();
	idle = fences == NIL && request.token == 0;
	return !idle;
}

void
mc_rewrite_init(void)
{
	mc_message_register(MC_FENCE_PREFIX, apply_step);
}
