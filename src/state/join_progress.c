/*-------------------------------------------------------------------------
 *
 * join_progress.c
 *	  How far the join of a center has got, for the view join_progress.
 *
 * NOTES
 *	  PostgreSQL's own progress reports know their own commands only.  Within
 *	  a table the copy of a join is one of these, so the view adds the rows of
 *	  the COPY that is running.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/join_progress.h"
#include "state/shared.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_join_status);

/* Columns of internal_join_status(), in order. */
enum
{
	COL_PHASE, COL_PID, COL_PEER, COL_STARTED_AT, COL_PHASE_SINCE,
	COL_RELATION, COL_TABLES_TOTAL, COL_TABLES_COPIED, COL_ROWS_TOTAL,
	COL_ROWS_COPIED, COL_BYTES_COPIED,
	NCOLUMNS
};

static const char *const phase_names[] = {
	[JOIN_CHECKING] = "checking",
	[JOIN_LOCKING] = "locking members",
	[JOIN_CHECKING_TABLES] = "checking tables",
	[JOIN_REGISTERING] = "registering",
	[JOIN_DRAINING] = "waiting for writers",
	[JOIN_SLOTS] = "creating slots",
	[JOIN_READING_SCHEMA] = "reading schema",
	[JOIN_CREATING_TABLES] = "creating tables",
	[JOIN_COPYING_ROWS] = "copying rows",
	[JOIN_COPYING_GROUP] = "copying members and policies",
	[JOIN_CREATING_INDEXES] = "creating indexes",
	[JOIN_COPYING_VERSIONS] = "copying versions",
	[JOIN_GOING_LIVE] = "going live",
	[JOIN_CATCHING_UP] = "catching up",
	[JOIN_UNDOING] = "undoing",
};

/* The entry of this database, with its mutex held; NULL: there is none. */
static SharedDatabase *
lock_entry(Oid dboid)
{
	SharedDatabase *entry = mc_shared ? mc_shared_database(dboid, false) : NULL;

	if (entry == NULL)
		return NULL;
	SpinLockAcquire(&entry->mutex);
	if (entry->dboid == dboid)
		return entry;
	SpinLockRelease(&entry->mutex);
	return NULL;
}

void
mc_join_progress_begin(void)
{
	TimestampTz now = GetCurrentTimestamp();
	SharedDatabase *entry = lock_entry(MyDatabaseId);

	if (entry == NULL)
		return;
	memset(&entry->join, 0, sizeof(SharedJoin));
	entry->join.phase = JOIN_CHECKING;
	entry->join.started_at = now;
	entry->join.phase_since = now;
	entry->join.pid = MyProcPid;
	entry->join.tables_total = -1;
	entry->join.rows_total = -1;
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_phase(JoinPhase phase)
{
	TimestampTz now = GetCurrentTimestamp();
	SharedDatabase *entry = lock_entry(MyDatabaseId);

	if (entry == NULL)
		return;

	/* A join that is undone after a crash has no beginning here. */
	if (entry->join.phase == JOIN_NONE)
	{
		memset(&entry->join, 0, sizeof(SharedJoin));
		entry->join.tables_total = -1;
		entry->join.rows_total = -1;
	}
	entry->join.phase = phase;
	entry->join.phase_since = now;
	entry->join.relation[0] = '\0';
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_peer(const char *peer)
{
	SharedDatabase *entry = lock_entry(MyDatabaseId);

	if (entry == NULL)
		return;
	namestrcpy(&entry->join.peer, peer);
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_total(int tables, int64 rows)
{
	SharedDatabase *entry = lock_entry(MyDatabaseId);

	if (entry == NULL)
		return;
	entry->join.tables_total = tables;
	entry->join.rows_total = rows;
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_table(const char *schema, const char *name)
{
	char		relation[2 * NAMEDATALEN + 2];
	SharedDatabase *entry;

	snprintf(relation, sizeof(relation), "%s.%s", schema, name);
	entry = lock_entry(MyDatabaseId);
	if (entry == NULL)
		return;
	memcpy(entry->join.relation, relation, sizeof(relation));
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_bytes(int bytes)
{
	SharedDatabase *entry = lock_entry(MyDatabaseId);

	if (entry == NULL)
		return;
	entry->join.bytes_copied += bytes;
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_copied(uint64 rows)
{
	SharedDatabase *entry = lock_entry(MyDatabaseId);

	if (entry == NULL)
		return;
	entry->join.tables_copied++;
	entry->join.rows_copied += rows;
	SpinLockRelease(&entry->mutex);
}

void
mc_join_progress_end(Oid dboid)
{
	SharedDatabase *entry = lock_entry(dboid);

	if (entry == NULL)
		return;
	entry->join.pid = 0;
	if (entry->join.phase != JOIN_CATCHING_UP)
		entry->join.phase = JOIN_NONE;
	SpinLockRelease(&entry->mutex);
}

/* internal_join_status(): one row if there is a join, else none. */
Datum
mc_join_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedDatabase *entry;
	SharedJoin	join;
	Datum		values[NCOLUMNS] = {0};
	bool		nulls[NCOLUMNS] = {0};

	InitMaterializedSRF(fcinfo, 0);
	entry = lock_entry(MyDatabaseId);
	if (entry == NULL)
		return (Datum) 0;
	join = entry->join;
	SpinLockRelease(&entry->mutex);
	if (join.phase == JOIN_NONE)
		return (Datum) 0;

	values[COL_PHASE] = CStringGetTextDatum(phase_names[join.phase]);
	nulls[COL_PID] = join.pid == 0;
	values[COL_PID] = Int32GetDatum(join.pid);
	nulls[COL_PEER] = NameStr(join.peer)[0] == '\0';
	values[COL_PEER] = NameGetDatum(&join.peer);
	nulls[COL_STARTED_AT] = join.started_at == 0;
	values[COL_STARTED_AT] = TimestampTzGetDatum(join.started_at);
	values[COL_PHASE_SINCE] = TimestampTzGetDatum(join.phase_since);
	nulls[COL_RELATION] = join.relation[0] == '\0';
	values[COL_RELATION] = CStringGetTextDatum(join.relation);
	nulls[COL_TABLES_TOTAL] = join.tables_total < 0;
	values[COL_TABLES_TOTAL] = Int32GetDatum(join.tables_total);
	nulls[COL_TABLES_COPIED] = join.tables_total < 0;
	values[COL_TABLES_COPIED] = Int32GetDatum(join.tables_copied);
	nulls[COL_ROWS_TOTAL] = join.rows_total < 0;
	values[COL_ROWS_TOTAL] = Int64GetDatum(join.rows_total);
	nulls[COL_ROWS_COPIED] = join.tables_total < 0;
	values[COL_ROWS_COPIED] = Int64GetDatum(join.rows_copied);
	nulls[COL_BYTES_COPIED] = join.tables_total < 0;
	values[COL_BYTES_COPIED] = Int64GetDatum(join.bytes_copied);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}
