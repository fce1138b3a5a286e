/*-------------------------------------------------------------------------
 *
 * announce.c
 *	  Tell about new conflicts: NOTIFY, and a line in the server's log.
 *
 * NOTES
 *	  Not where they are decided: NOTIFY takes a lock at the commit that all of
 *	  the cluster shares.  The manager looks, a few times a second at most, for
 *	  rows of the history that were committed since it has looked last.  What
 *	  that is a snapshot tells, not the greatest number, because transactions
 *	  do not commit in the order of their numbers.  The snapshot is kept in a
 *	  table and changes in the transaction that notifies.  So whoever listens
 *	  hears of each conflict once, also after a restart; only if the server
 *	  crashes just after that commit, before it is durable, for a second time.
 *
 *	  Apply should not have to keep another index for that, so they are found by
 *	  their numbers all the same: a transaction has its id before it takes a
 *	  number for a conflict.  So what is written by transactions that begin
 *	  after a number was the last one is greater than that number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "control/announce.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "state/history.h"
#include "state/own.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "target/attempt.h"
#include "target/conflict.h"
#include "target/connection.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/xid8.h"

#include "compat.h"

#define CHANNEL			"multicenter_conflict"

/* The server's limit is 8000, and something is added at the end. */
#define PAYLOAD_BYTES	7800
#define PAYLOAD_ROWS	200

#define ANNOUNCE_MS		250		/* between two of them */
#define LOOK_MS			10000	/* also when nobody has told of conflicts */
#define FAILED_MS		60000
#define BUSY_MS			1000	/* somebody has a lock */
#define ROTATE_MS		10000
#define LINKS_MS		500

/* More than it takes to put a transaction into quarantine. */
#define FAILURES_OF_STOPPED	8

/* Conflicts that the log does not tell of yet. */
typedef struct LogCount
{
	CenterId	peer;
	uint64		count;
	int64		since_ms;
} LogCount;

static List *log_counts = NIL;	/* LogCount *, in TopMemoryContext */
static int64 next_announce_ms = 0;
static int64 next_look_ms = 0;
static int64 next_rotate_ms = 0;
static int64 next_links_ms = 0;

/* A link that cannot get past a transaction. */
typedef struct StoppedLink
{
	CenterId	peer;
	XLogRecPtr	lsn;			/* of the commit of that transaction */
	LinkError	error;
} StoppedLink;

/* By center, the transaction that the history has been told of last. */
static XLogRecPtr noted_lsn[MC_MAX_CENTER_ID + 1];

/* Whoever has this transaction id or a later one has greater numbers. */
typedef struct Boundary
{
	int64		conflict_id;
	FullTransactionId xid;
} Boundary;

/* That of an earlier pass. */
static Boundary boundary = {0};

/* What one pass has found. */
typedef struct Announcement
{
	CenterId	our_id;
	uint64		count;			/* of new conflicts */
	int64		last_id;
	List	   *peers;			/* LogCount *, of this pass */
} Announcement;

/* Read a column of a row of the result. */
static Datum
column(uint64 row, int number)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number,
						 &isnull);
}

/*
 * Read the snapshot up to which was announced, null at first, and the number
 * that all others are greater than.
 */
static void
read_announced(Datum *snapshot, Datum *conflict_id, char *null)
{
	static SPIPlanPtr plan = NULL;

	*null = 'n';
	*snapshot = (Datum) 0;
	*conflict_id = Int64GetDatum(0);
	if (mc_own_execute(&plan, "SELECT snapshot, conflict_id FROM multicenter.conflict_announced",
					   0, NULL, NULL, NULL, SPI_OK_SELECT) == 0)
		return;
	*null = ' ';
	*snapshot = column(0, 1);
	*conflict_id = column(0, 2);
}

/* The boundary of this moment. */
static Boundary
current_boundary(void)
{
	static SPIPlanPtr plan = NULL;
	Boundary	now;

	(void) mc_own_execute(&plan,
						  "SELECT CASE WHEN is_called THEN last_value ELSE 0 END"
						  " FROM multicenter.conflict_history_conflict_id_seq",
						  0, NULL, NULL, NULL, SPI_OK_SELECT);
	now.conflict_id = DatumGetInt64(column(0, 1));
	now.xid = ReadNextFullTransactionId();
	return now;
}

#define NEW_CONFLICTS \
	" FROM multicenter.conflict_history AS h" \
	" WHERE h.conflict_id OPERATOR(pg_catalog.>) $3" \
	" AND pg_catalog.pg_visible_in_snapshot(h.written_xid, $2)" \
	" AND ($1 IS NULL OR NOT pg_catalog.pg_visible_in_snapshot(h.written_xid, $1))"

/* Count the new conflicts by peer. */
static void
count_conflicts(Announcement *announcement, Oid *types, Datum *values,
				const char *nulls)
{
	static SPIPlanPtr plan = NULL;
	uint64		npeers = mc_own_execute(&plan,
										"SELECT h.peer_id, pg_catalog.count(*), pg_catalog.max(h.conflict_id)"
										NEW_CONFLICTS " GROUP BY 1",
										3, types, values, nulls, SPI_OK_SELECT);

	for (uint64 i = 0; i < npeers; i++)
	{
		LogCount   *found = MemoryContextAllocZero(TopMemoryContext, sizeof(LogCount));
		int64		last_id = DatumGetInt64(column(i, 3));
		MemoryContext old_context;

		found->peer = (CenterId) DatumGetInt32(column(i, 1));
		found->count = (uint64) DatumGetInt64(column(i, 2));
		announcement->count += found->count;
		announcement->last_id = Max(announcement->last_id, last_id);
		old_context = MemoryContextSwitchTo(TopMemoryContext);
		announcement->peers = lappend(announcement->peers, found);
		MemoryContextSwitchTo(old_context);
	}
}

/* Make the payload, a JSON array, and notify. */
static void
notify(const Announcement *announcement, Oid *types, Datum *values,
	   const char *nulls)
{
	static SPIPlanPtr plan = NULL;
	uint64		nrows = mc_own_execute(&plan,
									   "SELECT h.conflict_id, h.conflict_type,"
									   " h.relation::pg_catalog.regclass::pg_catalog.text"
									   NEW_CONFLICTS " ORDER BY 1 LIMIT 200",
									   3, types, values, nulls, SPI_OK_SELECT);
	StringInfoData payload;
	StringInfoData entry;
	uint64		told;

	initStringInfo(&payload);
	initStringInfo(&entry);
	for (told = 0; told < nrows; told++)
	{
		resetStringInfo(&entry);
		appendStringInfo(&entry, "{\"conflict_id\":" INT64_FORMAT ",\"type\":",
						 DatumGetInt64(column(told, 1)));
		escape_json(&entry, TextDatumGetCString(column(told, 2)));
		appendStringInfoString(&entry, ",\"relation\":");
		escape_json(&entry, TextDatumGetCString(column(told, 3)));
		appendStringInfoChar(&entry, '}');
		if (payload.len + entry.len > PAYLOAD_BYTES)
			break;
		appendStringInfo(&payload, "%c%s", told == 0 ? '[' : ',', entry.data);
	}
	if (told < announcement->count)
		appendStringInfo(&payload,
						 "%c{\"more\":" UINT64_FORMAT ",\"last_conflict_id\":" INT64_FORMAT "}",
						 told == 0 ? '[' : ',', announcement->count - told,
						 announcement->last_id);
	appendStringInfoChar(&payload, ']');
	Async_Notify(CHANNEL, payload.data);
}

/* Look for new conflicts and announce them, in a transaction. */
static void
announce(RemoteTransaction *transaction, void *arg)
{
	static SPIPlanPtr snapshot_plan = NULL;
	static SPIPlanPtr write_plan = NULL;
	Announcement *announcement = arg;
	Boundary	now;
	Oid			types[] = {InvalidOid, InvalidOid, INT8OID};
	Datum		values[lengthof(types)];
	char		nulls[] = "   ";
	FullTransactionId oldest;
	OwnScope	scope;

	/* What is new is at the end of an index, whatever the statistics say. */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	mc_own_begin(&scope);
	now = current_boundary();
	read_announced(&values[0], &values[2], &nulls[0]);
	(void) mc_own_execute(&snapshot_plan,
						  "SELECT s, pg_catalog.pg_snapshot_xmin(s) FROM pg_catalog.pg_current_snapshot() AS s",
						  0, NULL, NULL, NULL, SPI_OK_SELECT);
	values[1] = column(0, 1);
	oldest = DatumGetFullTransactionId(column(0, 2));
	types[0] = types[1] = SPI_gettypeid(SPI_tuptable->tupdesc, 1);
	count_conflicts(announcement, types, values, nulls);
	if (announcement->count > 0)
	{
		notify(announcement, types, values, nulls);
		if (FullTransactionIdPrecedesOrEquals(boundary.xid, oldest))
			values[2] = Int64GetDatum(Max(DatumGetInt64(values[2]), boundary.conflict_id));
		(void) mc_own_execute(&write_plan,
							  "INSERT INTO multicenter.conflict_announced (snapshot, conflict_id) VALUES ($1, $2)"
							  " ON CONFLICT (only_row) DO UPDATE SET snapshot = excluded.snapshot,"
							  " conflict_id = excluded.conflict_id",
							  2, types + 1, values + 1, nulls + 1, SPI_OK_INSERT);
	}
	if (FullTransactionIdPrecedesOrEquals(boundary.xid, oldest))
		boundary = now;
	mc_own_end(&scope);
}

/* Add to what the log is to tell of a peer. */
static void
add_log_count(const LogCount *found, int64 now_ms)
{
	ListCell   *cell;
	LogCount   *count = NULL;

	foreach(cell, log_counts)
	{
		if (((LogCount *) lfirst(cell))->peer == found->peer)
			count = lfirst(cell);
	}
	if (count == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		count = palloc0(sizeof(LogCount));
		count->peer = found->peer;
		log_counts = lappend(log_counts, count);
		MemoryContextSwitchTo(old_context);
	}
	if (count->count == 0)
		count->since_ms = now_ms;
	count->count += found->count;
}

/* Write the lines that are due, at most one for each peer and interval. */
static void
write_log(int64 now_ms)
{
	ListCell   *cell;

	foreach(cell, log_counts)
	{
		LogCount   *count = lfirst(cell);
		int64		elapsed_ms = now_ms - count->since_ms;

		if (count->count == 0 || mc_log_conflicts_interval_s < 0 ||
			elapsed_ms < mc_log_conflicts_interval_s * INT64CONST(1000))
			continue;
		ereport(LOG,
				(errmsg_plural("%llu conflict with changes of center %u in the last %lld s",
							   "%llu conflicts with changes of center %u in the last %lld s",
							   (unsigned long) count->count,
							   (unsigned long long) count->count, count->peer,
							   (long long) (elapsed_ms + 999) / 1000)));
		count->count = 0;
	}
}

/* How long to wait after an attempt that was in vain. */
static int64
pause_after(AttemptResult result)
{
	return result == ATTEMPT_BUSY ? BUSY_MS : FAILED_MS;
}

/* Announce what is new. */
static void
announce_new(CenterId our_id)
{
	Announcement announcement = {.our_id = our_id};
	int64		began_ms = mc_monotonic_ms();
	AttemptResult result;
	int64		now_ms;
	ListCell   *cell;

	mc_shared_take_conflicts();
	result = mc_attempt(our_id, announce, &announcement, NULL);
	now_ms = mc_monotonic_ms();
	foreach(cell, announcement.peers)
	{
		if (result == ATTEMPT_DONE)
			add_log_count(lfirst(cell), now_ms);
	}
	list_free_deep(announcement.peers);

	/* Most of the time is for other work, however many there are. */
	next_announce_ms = now_ms + ANNOUNCE_MS + 10 * (now_ms - began_ms);
	next_look_ms = now_ms + LOOK_MS;
	if (result != ATTEMPT_DONE)
		next_announce_ms = next_look_ms = now_ms + pause_after(result);
}

/*
 * Add a row for a transaction that its link cannot get past, unless there is
 * one.  Which of its rows is to blame is not known, nor is their table always
 * here: then the message names it.
 */
static void
add_stopped(RemoteTransaction *transaction, void *arg)
{
	static SPIPlanPtr plan = NULL;
	const StoppedLink *stopped = arg;
	const LinkError *error = &stopped->error;
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, LSNOID, TEXTOID, TEXTOID};
	Datum		values[lengthof(types)];
	OwnScope	scope;

	values[0] = Int32GetDatum(stopped->peer);
	values[1] = CStringGetTextDatum(mc_conflict_type_name(mc_conflict_type_of_error(error->sqlstate)));
	values[2] = CStringGetTextDatum(error->relation);
	values[3] = LSNGetDatum(stopped->lsn);
	values[4] = CStringGetTextDatum(error->message);
	values[5] = CStringGetTextDatum("error");
	mc_own_begin(&scope);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.conflict_history (peer_id, conflict_type,"
						  " resolver, resolution, relation, remote_center_id, remote_lsn, error_message)"
						  " SELECT $1, $2, $6, $6, COALESCE((SELECT c.oid FROM pg_catalog.pg_class AS c"
						  " JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
						  " WHERE pg_catalog.concat(n.nspname, '.', c.relname) OPERATOR(pg_catalog.=) $3), 0),"
						  " $1, $4, $5 WHERE NOT EXISTS (SELECT FROM multicenter.conflict_history AS h"
						  " WHERE h.peer_id OPERATOR(pg_catalog.=) $1 AND h.remote_lsn OPERATOR(pg_catalog.=) $4"
						  " AND h.resolver OPERATOR(pg_catalog.=) $6)",
						  lengthof(types), types, values, NULL, SPI_OK_INSERT);
	mc_own_end(&scope);
}

/* Look for links that stopped.  Returns when to do so again. */
static int64
look_at_links(CenterId our_id)
{
	AttemptResult result;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];
		StoppedLink stopped;
		int			failures;

		if (link->dboid != MyDatabaseId || link->peer > MC_MAX_CENTER_ID)
			continue;
		SpinLockAcquire(&link->mutex);
		stopped.peer = link->peer;
		stopped.lsn = link->failed_lsn;
		stopped.error = link->error;
		failures = link->failed_times;
		SpinLockRelease(&link->mutex);
		if (failures < FAILURES_OF_STOPPED || stopped.lsn == noted_lsn[stopped.peer] ||
			stopped.error.origin_lsn != stopped.lsn)
			continue;
		result = mc_attempt(our_id, add_stopped, &stopped, NULL);
		if (result != ATTEMPT_DONE)
			return pause_after(result);
		noted_lsn[stopped.peer] = stopped.lsn;
	}
	return LINKS_MS;
}

/* Empty what is too old, in a transaction. */
static void
rotate(RemoteTransaction *transaction, void *arg)
{
	mc_history_rotate();
}

void
mc_announce_work(CenterId our_id)
{
	int64		now_ms = mc_monotonic_ms();

	if (now_ms >= mc_announce_next_ms())
		announce_new(our_id);
	write_log(mc_monotonic_ms());
	if (now_ms >= next_links_ms)
		next_links_ms = now_ms + look_at_links(our_id);
	if (now_ms >= next_rotate_ms)
	{
		(void) mc_attempt(our_id, rotate, NULL, NULL);
		next_rotate_ms = mc_monotonic_ms() + ROTATE_MS;
	}
}

int64
mc_announce_next_ms(void)
{
	return mc_shared_conflicts_due() ? next_announce_ms :
		Max(next_look_ms, next_announce_ms);
}
