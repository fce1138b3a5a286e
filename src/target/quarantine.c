/*-------------------------------------------------------------------------
 *
 * quarantine.c
 *	  Changes of peers that cannot be completed or decided yet.
 *
 * NOTES
 *	  Entries are read and written by SQL: there are few.  Whether a table has
 *	  any is known at once, as with notes (note.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "state/claim.h"
#include "state/clock.h"
#include "state/own.h"
#include "target/column_trigger.h"
#include "target/quarantine.h"
#include "target/seen.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Columns that entries are read by, in the order of read_entry(). */
#define ENTRY_COLUMNS \
	"quarantine_id, peer_id, remote_xid, remote_lsn, end_lsn, version, vector," \
	" relation, hash, operation, key, new_row, key_changed, waits_for, seen, old_row, causes," \
	" held_at"

static const char *const operations[] = {
	[MERGE_OP_INSERT] = "INSERT",
	[MERGE_OP_UPDATE] = "UPDATE",
	[MERGE_OP_DELETE] = "DELETE",
};

/* The operation with this name. */
static MergeOp
operation_of(const char *name)
{
	for (int i = 0; i < lengthof(operations); i++)
		if (strcmp(operations[i], name) == 0)
			return (MergeOp) i;
	elog(ERROR, "unknown operation \"%s\" in quarantine", name);
	return MERGE_OP_UPDATE;		/* keep the compiler quiet */
}

/* A vector as bytes; only this server reads them again. */
static bytea *
vector_to_bytes(const DependencyVector *vector)
{
	Size		len = sizeof(VectorDelta) * vector->nentries;
	bytea	   *bytes = palloc0(VARHDRSZ + len);

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), vector->entries, len);
	return bytes;
}

/* And back. */
static void
vector_from_bytes(const bytea *bytes, DependencyVector *vector)
{
	Size		len = VARSIZE_ANY_EXHDR(bytes);

	if (len % sizeof(VectorDelta) != 0 || len > sizeof(vector->entries))
		elog(ERROR, "malformed vector in quarantine");
	vector->nentries = (int) (len / sizeof(VectorDelta));
	memcpy(vector->entries, VARDATA_ANY(bytes), len);
}

/* Connect to our tables to change entries. */
static void
begin_write(OwnScope *scope)
{
	mc_notes_writing();
	mc_own_begin(scope);
}

/* Write a new entry. */
static void
add_entry(RemoteTransaction *transaction, const RowKey *key, MergeOp op,
		  const Jsonb *new_row, const Jsonb *old_row, bool key_changed,
		  const SeenVersions *seen,
		  const char *waits_for)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4OID, INT8OID, LSNOID, LSNOID, TIMESTAMPTZOID,
	BYTEAOID, OIDOID, INT8OID, TEXTOID, JSONBOID, JSONBOID, BOOLOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int32GetDatum(transaction->peer),
		Int64GetDatum(transaction->remote_xid),
		LSNGetDatum(transaction->commit_lsn.value),
		LSNGetDatum(transaction->end_lsn.value),
		TimestampTzGetDatum(transaction->version.commit_ts),
		PointerGetDatum(vector_to_bytes(transaction->vector)),
		ObjectIdGetDatum(key->relid),
		Int64GetDatum(key->hash),
		CStringGetTextDatum(operations[op]),
		JsonbPGetDatum(key->values),
		JsonbPGetDatum(new_row),
		BoolGetDatum(key_changed),
		CStringGetTextDatum(waits_for),
		(Datum) 0, (Datum) 0, Int32GetDatum(0), (Datum) 0,
		JsonbPGetDatum(old_row), (Datum) 0, TimestampTzGetDatum(mc_clock_floor()),
		TimestampTzGetDatum(mc_vector_forgettable())
	};
	char		nulls[lengthof(types)];
	OwnScope	scope;

	memset(nulls, ' ', sizeof(nulls));
	nulls[10] = new_row ? ' ' : 'n';
	nulls[13] = nulls[14] = nulls[16] = nulls[18] = 'n';
	nulls[17] = old_row ? ' ' : 'n';
	if (mc_column_told(transaction))
	{
		nulls[18] = ' ';
		values[18] = CStringGetTextDatum(mc_column_told(transaction));
	}
	if (transaction->aside)
	{
		nulls[13] = nulls[14] = ' ';
		values[13] = CStringGetTextDatum(transaction->aside->message);
		values[14] = CStringGetTextDatum(unpack_sql_state(transaction->aside->sqlstate));
		values[15] = Int32GetDatum(1);
	}
	if (seen)
	{
		nulls[16] = ' ';
		values[16] = CStringGetTextDatum(mc_seen_to_text(seen));
	}
	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.quarantine_entry"
						  " (peer_id, remote_xid, remote_lsn, end_lsn, version, vector, relation,"
						  " hash, operation, key, new_row, key_changed, waits_for, error_message, error_sqlstate, attempts, seen, old_row, causes, held_at, seen_until)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
						  lengthof(types), types, values, nulls, SPI_OK_INSERT);
	mc_own_end(&scope);
	mc_vector_quarantined(transaction->version.commit_ts);
}

/* An entry waits for something else now. */
static void
set_waits_for(int64 id, const char *waits_for)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(id), CStringGetTextDatum(waits_for)};
	OwnScope	scope;

	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "UPDATE multicenter.quarantine_entry SET waits_for = $2"
						  " WHERE quarantine_id OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	mc_own_end(&scope);
}

bool
mc_quarantine_hold(RemoteTransaction *transaction, TargetTable *table,
				   MergeOp op, const char *waits_for)
{
	QuarantineEntry *retried = transaction->retried;
	bool		deletes = op == MERGE_OP_DELETE;
	const RemoteRow *row;
	RowKey		key;

	if (retried)
	{
		retried->held = true;
		if (strcmp(retried->waits_for, waits_for) == 0)
			return false;
		set_waits_for(retried->id, waits_for);
		return true;
	}
	row = deletes ? &table->old_row : &table->new_row;
	mc_note_key(table, row, &key);
	add_entry(transaction, &key, op,
			  deletes ? NULL : mc_note_change_to_jsonb(table, &table->new_row),
			  op == MERGE_OP_UPDATE && mc_column_told(transaction) && table->old_row.whole ?
			  mc_note_change_to_jsonb(table, &table->old_row) : NULL,
			  table->new_row.moved, mc_seen_find(transaction, table, row),
			  waits_for);
	transaction->counters.quarantined++;
	mc_shared_set_waiting(WAITING_SOME);
	return true;
}

/* The text of a column that is not null. */
static char *
column_text(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;

	return TextDatumGetCString(SPI_getbinval(row, desc, column, &isnull));
}

/* Copy the entry that a row holds into a context. */
static QuarantineEntry *
read_entry(HeapTuple row, TupleDesc desc, MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	QuarantineEntry *entry = palloc0(sizeof(QuarantineEntry));
	bool		isnull;
	Datum		value;

	entry->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	entry->peer = (CenterId) DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
	entry->remote_xid = (TransactionId) DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
	entry->commit_lsn.value = DatumGetLSN(SPI_getbinval(row, desc, 4, &isnull));
	entry->end_lsn.value = DatumGetLSN(SPI_getbinval(row, desc, 5, &isnull));
	entry->version.commit_ts = DatumGetTimestampTz(SPI_getbinval(row, desc, 6, &isnull));
	entry->version.center = entry->peer;
	vector_from_bytes(DatumGetByteaPP(SPI_getbinval(row, desc, 7, &isnull)),
					  &entry->vector);
	entry->key.relid = DatumGetObjectId(SPI_getbinval(row, desc, 8, &isnull));
	entry->key.hash = DatumGetInt64(SPI_getbinval(row, desc, 9, &isnull));
	entry->op = operation_of(column_text(row, desc, 10));
	entry->key.values = DatumGetJsonbPCopy(SPI_getbinval(row, desc, 11, &isnull));
	value = SPI_getbinval(row, desc, 12, &isnull);
	entry->new_row = isnull ? NULL : DatumGetJsonbPCopy(value);
	entry->key_changed = DatumGetBool(SPI_getbinval(row, desc, 13, &isnull));
	entry->waits_for = column_text(row, desc, 14);
	value = SPI_getbinval(row, desc, 15, &isnull);
	if (!isnull)
		entry->seen = mc_seen_from_text(TextDatumGetCString(value));
	value = SPI_getbinval(row, desc, 16, &isnull);
	entry->old_row = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = SPI_getbinval(row, desc, 17, &isnull);
	entry->causes = isnull ? NULL : TextDatumGetCString(value);
	entry->held_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 18, &isnull));
	MemoryContextSwitchTo(old_context);
	return entry;
}

List *
mc_quarantine_find(TargetTable *table, const RemoteRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID, INT8OID};
	Datum		values[lengthof(types)];
	MemoryContext context = CurrentMemoryContext;
	List	   *candidates = NIL;
	List	   *entries = NIL;
	ListCell   *cell;
	RowKey		key;
	OwnScope	scope;

	if (!mc_note_quarantine_possible(table))
		return NIL;
	mc_note_key(table, row, &key);
	values[0] = ObjectIdGetDatum(key.relid);
	values[1] = Int64GetDatum(key.hash);
	mc_own_begin(&scope);
	(void) mc_own_execute(&plan,
						  "SELECT " ENTRY_COLUMNS " FROM multicenter.quarantine_entry"
						  " WHERE relation OPERATOR(pg_catalog.=) $1 AND hash OPERATOR(pg_catalog.=) $2"
						  " ORDER BY version, peer_id, quarantine_id",
						  lengthof(types), types, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QuarantineEntry *entry = read_entry(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, context);
		MemoryContext old_context = MemoryContextSwitchTo(context);

		candidates = lappend(candidates, entry);
		MemoryContextSwitchTo(old_context);
	}
	mc_own_end(&scope);

	/* Comparing keys may run code of users: not as the owner of our tables. */
	foreach(cell, candidates)
	{
		QuarantineEntry *entry = lfirst(cell);

		if (mc_note_same_key(table, entry->key.values, key.values))
			entries = lappend(entries, entry);
	}
	return entries;
}

bool
mc_quarantine_older(RemoteTransaction *transaction, TargetTable *table,
					const RemoteRow *row)
{
	ListCell   *cell;

	foreach(cell, mc_quarantine_find(table, row))
	{
		const QuarantineEntry *entry = lfirst(cell);
		int			order = mc_version_compare(entry->version, transaction->version);

		if (order > 0)
			break;
		if (transaction->retried == NULL || order < 0 ||
			entry->id < transaction->retried->id)
			return true;
	}
	return false;
}

bool
mc_quarantine_holds_back(TargetTable *table, const RemoteRow *row)
{
	ListCell   *cell;

	if (table->index == NULL || mc_table_key_has_null(table, row))
		return false;
	foreach(cell, mc_quarantine_find(table, row))
	{
		const QuarantineEntry *entry = lfirst(cell);

		if (strcmp(entry->waits_for, WAITS_FOR_RETRY) == 0 ||
			strcmp(entry->waits_for, WAITS_FOR_PREDECESSOR) == 0)
			return true;
	}
	return false;
}

void
mc_quarantine_settle(RemoteTransaction *transaction, TargetTable *table,
					 const RemoteRow *row)
{
	RowVersion	version = transaction->settles ? *transaction->settles : transaction->version;
	ListCell   *cell;

	foreach(cell, mc_quarantine_find(table, row))
	{
		const QuarantineEntry *entry = lfirst(cell);

		if (mc_version_compare(entry->version, version) != 0)
			continue;

		/* What came after the change that is tried again is still to come. */
		if (transaction->retried == NULL ||
			entry->id < transaction->retried->id)
			mc_quarantine_remove(entry->id);
	}
}

void
mc_quarantine_truncate(RemoteTransaction *transaction, Oid relid)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID, INT4OID, TIMESTAMPTZOID};
	Datum		values[] = {ObjectIdGetDatum(relid),
		Int32GetDatum(transaction->version.center),
	TimestampTzGetDatum(transaction->version.commit_ts)};
	OwnScope	scope;

	mc_own_begin(&scope);
	if (mc_own_execute(&plan,
					   "DELETE FROM multicenter.quarantine_entry"
					   " WHERE relation OPERATOR(pg_catalog.=) $1"
					   " AND peer_id OPERATOR(pg_catalog.=) $2"
					   " AND version OPERATOR(pg_catalog.=) $3",
					   lengthof(types), types, values, NULL, SPI_OK_DELETE) > 0)
		mc_notes_writing();
	mc_own_end(&scope);
}

/* Run a query that returns numbers of entries, into a list in context. */
static List *
select_ids(SPIPlanPtr *plan, const char *query, int nargs, Oid *types,
		   Datum *values, MemoryContext context)
{
	List	   *ids = NIL;
	OwnScope	scope;

	mc_own_begin(&scope);
	(void) mc_own_execute(plan, query, nargs, types, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		int64	   *id = palloc(sizeof(int64));
		bool		isnull;

		*id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1, &isnull));
		ids = lappend(ids, id);
		MemoryContextSwitchTo(old_context);
	}
	mc_own_end(&scope);
	return ids;
}

List *
mc_quarantine_due(bool causes, int64 after, int limit, MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {BOOLOID, INT8OID, INT4OID};
	Datum		values[] = {BoolGetDatum(causes), Int64GetDatum(after),
	Int32GetDatum(limit)};

	/* A transaction is tried as a whole, changes of a key in their order. */
	return select_ids(&plan,
					  "SELECT q.quarantine_id FROM multicenter.quarantine_entry q"
					  " WHERE (q.waits_for OPERATOR(pg_catalog.=) 'cause') OPERATOR(pg_catalog.=) $1"
					  " AND q.quarantine_id OPERATOR(pg_catalog.>) $2"
					  " AND (q.attempts OPERATOR(pg_catalog.=) 0"
					  " OR COALESCE(q.error_sqlstate, '') OPERATOR(pg_catalog.<>) '57P02'"
					  " AND (q.last_at OPERATOR(pg_catalog.+)"
					  " (LEAST(q.attempts, 60) OPERATOR(pg_catalog.*) '1 s'::pg_catalog.interval))"
					  " OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())"
					  " AND NOT EXISTS (SELECT FROM multicenter.quarantine_entry o"
					  "  WHERE o.quarantine_id OPERATOR(pg_catalog.<) q.quarantine_id"
					  "  AND (q.waits_for OPERATOR(pg_catalog.=) 'retry'"
					  "   AND o.waits_for OPERATOR(pg_catalog.=) 'retry'"
					  "   AND o.peer_id OPERATOR(pg_catalog.=) q.peer_id"
					  "   AND o.remote_lsn OPERATOR(pg_catalog.=) q.remote_lsn"
					  "  OR q.waits_for OPERATOR(pg_catalog.=) 'predecessor'"
					  "   AND o.waits_for OPERATOR(pg_catalog.=) ANY ('{retry,predecessor}'::pg_catalog.text[])"
					  "   AND o.relation OPERATOR(pg_catalog.=) q.relation"
					  "   AND o.hash OPERATOR(pg_catalog.=) q.hash))"
					  " ORDER BY q.quarantine_id LIMIT $3",
					  lengthof(types), types, values, context);
}

bool
mc_quarantine_mark_crashing(void)
{
	static SPIPlanPtr plan = NULL;
	OwnScope	scope;
	bool		marked;

	mc_own_begin(&scope);
	marked = mc_own_execute(&plan,
							"UPDATE multicenter.quarantine_entry SET attempts = 1"
							" WHERE attempts OPERATOR(pg_catalog.=) 0"
							" AND error_sqlstate OPERATOR(pg_catalog.=) '57P02'",
							0, NULL, NULL, NULL, SPI_OK_UPDATE) > 0;
	mc_own_end(&scope);
	return marked;
}

List *
mc_quarantine_together(int64 id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};

	return select_ids(&plan,
					  "SELECT q.quarantine_id FROM multicenter.quarantine_entry q,"
					  " multicenter.quarantine_entry f"
					  " WHERE f.quarantine_id OPERATOR(pg_catalog.=) $1"
					  " AND (q.quarantine_id OPERATOR(pg_catalog.=) $1"
					  "  OR f.waits_for OPERATOR(pg_catalog.=) 'retry'"
					  "  AND q.waits_for OPERATOR(pg_catalog.=) 'retry'"
					  "  AND q.peer_id OPERATOR(pg_catalog.=) f.peer_id"
					  "  AND q.remote_lsn OPERATOR(pg_catalog.=) f.remote_lsn)"
					  " ORDER BY q.quarantine_id",
					  lengthof(types), types, values, CurrentMemoryContext);
}

QuarantineEntry *
mc_quarantine_read(int64 id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};
	MemoryContext context = CurrentMemoryContext;
	QuarantineEntry *entry = NULL;
	OwnScope	scope;

	mc_own_begin(&scope);
	if (mc_own_execute(&plan,
					   "SELECT " ENTRY_COLUMNS " FROM multicenter.quarantine_entry"
					   " WHERE quarantine_id OPERATOR(pg_catalog.=) $1",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT) == 1)
		entry = read_entry(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, context);
	mc_own_end(&scope);
	return entry;
}

bool
mc_quarantine_exists(int64 id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};
	OwnScope	scope;
	bool		exists;

	mc_own_begin(&scope);
	exists = mc_own_execute(&plan,
							"SELECT FROM multicenter.quarantine_entry"
							" WHERE quarantine_id OPERATOR(pg_catalog.=) $1",
							lengthof(types), types, values, NULL, SPI_OK_SELECT) == 1;
	mc_own_end(&scope);
	return exists;
}

void
mc_quarantine_remove(int64 id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};
	OwnScope	scope;

	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "DELETE FROM multicenter.quarantine_entry"
						  " WHERE quarantine_id OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, values, NULL, SPI_OK_DELETE);
	mc_own_end(&scope);
}

void
mc_quarantine_failed(int64 id, const ErrorData *error)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID};
	Datum		values[] = {Int64GetDatum(id),
		CStringGetTextDatum(error->message),
	CStringGetTextDatum(unpack_sql_state(error->sqlerrcode))};
	OwnScope	scope;

	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "UPDATE multicenter.quarantine_entry"
						  " SET error_message = $2, error_sqlstate = $3,"
						  " attempts = attempts OPERATOR(pg_catalog.+) 1,"
						  " last_at = pg_catalog.clock_timestamp()"
						  " WHERE quarantine_id OPERATOR(pg_catalog.=) $1"
						  " OR waits_for OPERATOR(pg_catalog.=) 'retry'"
						  " AND EXISTS (SELECT FROM multicenter.quarantine_entry f"
						  "  WHERE f.quarantine_id OPERATOR(pg_catalog.=) $1"
						  "  AND f.waits_for OPERATOR(pg_catalog.=) 'retry'"
						  "  AND f.peer_id OPERATOR(pg_catalog.=) quarantine_entry.peer_id"
						  "  AND f.remote_lsn OPERATOR(pg_catalog.=) quarantine_entry.remote_lsn)",
						  lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	mc_own_end(&scope);
}

bool
mc_quarantine_has(Oid relid)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	OwnScope	scope;
	bool		has;

	mc_own_begin(&scope);
	has = mc_own_execute(&plan,
						 "SELECT FROM multicenter.quarantine_entry"
						 " WHERE relation OPERATOR(pg_catalog.=) $1 LIMIT 1",
						 lengthof(types), types, values, NULL, SPI_OK_SELECT) > 0;
	mc_own_end(&scope);
	return has;
}

/* A time in the row that a query has returned; 0 for a null. */
static TimestampTz
result_time(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									  column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

TimestampTz
mc_quarantine_oldest(TimestampTz *seen_until)
{
	static SPIPlanPtr plan = NULL;
	TimestampTz oldest;
	OwnScope	scope;

	mc_own_begin(&scope);
	(void) mc_own_execute(&plan,
						  "SELECT pg_catalog.min(version), pg_catalog.min(seen_until)"
						  " FROM multicenter.quarantine_entry",
						  0, NULL, NULL, NULL, SPI_OK_SELECT);
	oldest = result_time(1);
	*seen_until = result_time(2);
	mc_own_end(&scope);
	return oldest;
}
