/*-------------------------------------------------------------------------
 *
 * join_state.c
 *	  What a joining center needs besides rows, to decide as the others do.
 *
 * NOTES
 *	  Copied rows have the base version.  Those that changes in flight may
 *	  still compete with get a note with their true version, by the number of
 *	  the transaction that copies them; deleted keys get a tombstone, displaced
 *	  rows are taken over, and so is the newest TRUNCATE of each table.  All
 *	  under the snapshot of the copy.  See key_state.c for the other side.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "control/join_state.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "state/clock.h"
#include "state/column_policy.h"
#include "target/local_map.h"
#include "target/note.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"

/* A scan of the sponsor's table may take long. */
#define STATE_MS			(60 * 60 * 1000)

/* Columns of peer_key_state(). */
typedef enum StateColumn
{
	STATE_KIND,
	STATE_KEY,
	STATE_VERSION,
	STATE_CENTER,
	STATE_ROW,
} StateColumn;

/* A jsonb value of text; NULL for NULL. */
static Jsonb *
parse_jsonb(const char *string)
{
	if (string == NULL)
		return NULL;
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string)));
}

/* A time of an answer. */
static TimestampTz
parse_timestamp(const char *string)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(string),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

/* The version in an answer. */
static RowVersion
parse_version(char *const *row)
{
	RowVersion	version;

	version.commit_ts = parse_timestamp(row[STATE_VERSION]);
	version.center = (CenterId) atoi(row[STATE_CENTER]);
	return version;
}

/* Take a note of what the sponsor knows of one key. */
static void
take_note(TargetTable *table, char *const *row)
{
	KeyNote		note = {0};
	OwnerScope	scope;

	note.kind = (NoteKind) row[STATE_KIND][0];
	note.version = parse_version(row);
	note.row = parse_jsonb(row[STATE_ROW]);
	if (note.kind == NOTE_VERSION)
		note.xid = GetTopTransactionId();

	/* The hash is this server's own. */
	mc_owner_enter(table->map->owner, &scope);
	mc_note_row_from_jsonb(table, parse_jsonb(row[STATE_KEY]), &table->old_row);
	mc_note_key(table, &table->old_row, &note.key);
	mc_owner_leave(&scope);
	mc_note_add(&note);
}

/* Copy what the sponsor knows of one table. */
static void
copy_table_state(GroupJoin *join, RemoteTransaction *transaction,
				 const JoinTable *join_table)
{
	const char *params[3] = {join_table->schema, join_table->name,
	join->frontier};
	RangeVar   *name = makeRangeVar(pstrdup(join_table->schema),
									pstrdup(join_table->name), -1);
	Relation	rel = table_openrv(name, RowExclusiveLock);
	RelationMap *map = mc_local_map(rel);
	TargetTable *table;
	PeerResult *result;

	table_close(rel, NoLock);
	if (map == NULL)
		return;
	table = mc_table_open(transaction, map);
	result = mc_peer_query(join->entrance,
						   "SELECT kind, key, version, center_id, row_values"
						   " FROM multicenter.peer_key_state($1, $2, $3)",
						   3, params, STATE_MS);
	for (int i = 0; i < result->nrows; i++)
	{
		char	  **row = result->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (row[STATE_KEY] != NULL)
			take_note(table, row);
		else
			mc_note_add_truncation(table->map->relid, parse_version(row));
	}
	mc_table_close(transaction, table);
}

/*
 * What is in quarantine there counts as applied, so it will not come by any
 * stream; and it is not in the rows.
 */
static void
check_quarantine(GroupJoin *join)
{
	PeerResult *result = mc_peer_query(join->entrance,
									   "SELECT multicenter.peer_quarantined()",
									   0, NULL, STATE_MS);

	if (strcmp(result->rows[0][0], "0") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the center to copy from has %s changes in quarantine",
						result->rows[0][0]),
				 errdetail("Their rows cannot be copied."),
				 errhint("Join again when its view multicenter.quarantine is empty, or copy from another center.")));
}

/* Changes of columns that are not kept there will not be here either. */
static void
copy_purged(GroupJoin *join)
{
	PeerResult *result = mc_peer_query(join->entrance,
									   "SELECT multicenter.peer_columns_purged()",
									   0, NULL, STATE_MS);
	TimestampTz ts = parse_timestamp(result->rows[0][0]);

	if (join->frontier)
	{
		TimestampTz frontier = parse_timestamp(join->frontier);

		ts = Max(ts, frontier);
	}
	mc_column_purge(ts);
}

void
mc_join_raise_floor(GroupJoin *join)
{
	PeerResult *result = mc_peer_query(join->entrance,
									   "SELECT multicenter.peer_clock()",
									   0, NULL, STATE_MS);
	TimestampTz ts = parse_timestamp(result->rows[0][0]);

	mc_step_begin();
	mc_clock_raise(ts);
	mc_clock_save(ts);
	mc_step_end();
}

void
mc_join_copy_state(GroupJoin *join, List *tables)
{
	RemoteTransaction transaction = {0};
	ListCell   *lc;

	transaction.our_id = join->id;
	transaction.context = CurrentMemoryContext;
	transaction.change_context = CurrentMemoryContext;
	check_quarantine(join);
	foreach(lc, tables)
		copy_table_state(join, &transaction, lfirst(lc));
	copy_purged(join);
}
