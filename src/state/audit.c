/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  The audit of access between centers: what was sent and received, and who
 *	  was connected.
 *
 * NOTES
 *	  Each transaction that applies something adds one row for each of its
 *	  tables to a raw table, which has no index.  So what the audit has is what
 *	  was applied, exactly, also after a crash.  The manager summarizes raw
 *	  rows by minute and truncates their table; there are two of these, and
 *	  while one is summarized the other is written to, so nobody waits.  Whoever
 *	  still writes to the one that was left is not lost either: his rows are
 *	  there for the next time.
 *
 *	  An output plugin cannot write.  It counts in shared memory (table_stat.c),
 *	  and the manager writes by how much the counters have grown since it has
 *	  looked last.  Both numbers survive a shutdown, but not a crash: what was
 *	  sent in the second or so before one is missing here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/audit.h"
#include "state/own.h"
#include "state/segment.h"
#include "state/settings.h"
#include "state/shared.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_sql_audit_client);

#define SEGMENTS			10	/* as in 72_audit.sql */

/* So many raw rows are summarized at once, without waiting for a minute. */
#define FOLD_ROWS			5000

/* Keys are written when there are so many, or so many bytes, of them. */
#define BATCH_ROWS			256
#define BATCH_BYTES			(1024 * 1024)

/* Columns of the raw tables, in their order. */
enum
{
	RAW_AT, RAW_DIRECTION, RAW_PEER_ID, RAW_SCHEMA, RAW_TABLE, RAW_TRANSACTIONS,
	RAW_INSERTS, RAW_UPDATES, RAW_DELETES, RAW_TRUNCATES, RAW_COPIED,
	RAW_PEER_NAME,
	RAW_COLUMNS
};

/* Columns of audit_log, in their order; those that keys have. */
enum
{
	LOG_SEGMENT = 0, LOG_AT, LOG_KIND, LOG_DIRECTION, LOG_PEER_ID, LOG_SCHEMA,
	LOG_TABLE, LOG_OPERATION = 13, LOG_KEY, LOG_OLD_KEY, LOG_VERSION,
	LOG_REMOTE_XID, LOG_REMOTE_LSN, LOG_PEER_NAME = 22,
	LOG_COLUMNS
};

typedef struct KeyRow
{
	Datum		values[LOG_COLUMNS];
	bool		isnull[LOG_COLUMNS];
} KeyRow;

struct AuditBatch
{
	MemoryContext context;
	int			nrows;
	Size		bytes;
	KeyRow		rows[BATCH_ROWS];
};

static SegmentedTable segments = {"audit_log", "audit_segment", SEGMENTS};

/* What the manager is writing of the counters; see mc_audit_written(). */
typedef struct Written
{
	TableStat  *stat;
	uint64		counts[TALLY_KINDS];
} Written;

static List *written = NIL;		/* in TopMemoryContext */
static uint64 written_serial = 0;	/* of the last event */

/* The entry of this database, which is a center as long as this process runs. */
static SharedDatabase *
database_entry(void)
{
	static SharedDatabase *entry = NULL;

	if (entry == NULL || entry->dboid != MyDatabaseId)
		entry = mc_shared_database(MyDatabaseId, true);
	return entry;
}

/* The name of a peer, as far as its link is known; else NULL. */
static const char *
peer_name(CenterId peer)
{
	static CenterId last = MC_NO_CENTER;
	static NameData name;
	SharedLink *link;

	if (peer != MC_NO_CENTER && peer == last)
		return NameStr(name);
	link = peer == MC_NO_CENTER ? NULL : mc_shared_link(MyDatabaseId, peer, false);
	if (link == NULL)
		return NULL;
	SpinLockAcquire(&link->mutex);
	name = link->peer_name;
	SpinLockRelease(&link->mutex);
	last = NameStr(name)[0] == '\0' ? MC_NO_CENTER : peer;
	return last == MC_NO_CENTER ? NULL : NameStr(name);
}

/* ---- rows by table ---- */

/* The raw table that is written to, or the other one. */
static Oid
raw_table(bool other)
{
	uint32		raw = pg_atomic_read_u32(&database_entry()->audit_raw);

	if (other)
		raw = 1 - raw;
	return mc_own_relation(raw == 0 ? "audit_raw_0" : "audit_raw_1");
}

/* Make a row for a raw table.  counts: by TallyKind. */
static TupleTableSlot *
make_raw(Relation rel, CenterId peer, bool out, const char *schema,
		 const char *table, const uint64 *counts, uint64 copied)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	Datum	   *values = slot->tts_values;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sizeof(bool) * RAW_COLUMNS);
	values[RAW_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[RAW_DIRECTION] = CStringGetTextDatum(out ? "out" : "in");
	values[RAW_PEER_ID] = Int32GetDatum(peer);
	slot->tts_isnull[RAW_SCHEMA] = slot->tts_isnull[RAW_TABLE] = table[0] == '\0';
	values[RAW_SCHEMA] = CStringGetTextDatum(schema);
	values[RAW_TABLE] = CStringGetTextDatum(table);
	values[RAW_TRANSACTIONS] = Int64GetDatum((int64) counts[TALLY_XACT]);
	values[RAW_INSERTS] = Int64GetDatum((int64) counts[TALLY_INSERT]);
	values[RAW_UPDATES] = Int64GetDatum((int64) counts[TALLY_UPDATE]);
	values[RAW_DELETES] = Int64GetDatum((int64) counts[TALLY_DELETE]);
	values[RAW_TRUNCATES] = Int64GetDatum((int64) counts[TALLY_TRUNCATE]);
	values[RAW_COPIED] = Int64GetDatum((int64) copied);
	slot->tts_isnull[RAW_PEER_NAME] = peer_name(peer) == NULL;
	if (!slot->tts_isnull[RAW_PEER_NAME])
		values[RAW_PEER_NAME] = CStringGetTextDatum(peer_name(peer));
	return ExecStoreVirtualTuple(slot);
}

/* Write a row into a raw table. */
static void
put_raw(Relation rel, TupleTableSlot *slot)
{
	table_tuple_insert(rel, slot, GetCurrentCommandId(true), 0, NULL);
	ExecDropSingleTupleTableSlot(slot);
	pg_atomic_fetch_add_u32(&database_entry()->audit_rows, 1);
}

void
mc_audit_received(const TableTally *tally)
{
	Relation	rel;

	if (tally->first == NULL)
		return;
	rel = table_open(raw_table(false), RowExclusiveLock);
	for (TallyEntry *entry = tally->first; entry != NULL; entry = entry->next)
	{
		entry->counts[TALLY_XACT] = 1;
		put_raw(rel, make_raw(rel, tally->peer, false, NameStr(entry->schema),
							  NameStr(entry->name), entry->counts, 0));
	}

	/* The lock stays, so that nobody truncates it before the commit. */
	table_close(rel, NoLock);
}

void
mc_audit_copied(CenterId peer, const char *schema, const char *table, uint64 rows)
{
	uint64		counts[TALLY_KINDS] = {1};
	Relation	rel = table_open(raw_table(false), RowExclusiveLock);

	put_raw(rel, make_raw(rel, peer, false, schema, table, counts, rows));
	table_close(rel, NoLock);
}

/* Write by how much the counter of a table has grown. */
static void
write_sent(Relation rel, TableStat *stat, const char *schema, const char *name)
{
	MemoryContext caller;
	Written		now;
	Written    *kept;
	uint64		grown[TALLY_KINDS];
	bool		any = false;

	now.stat = stat;
	for (int kind = 0; kind < TALLY_KINDS; kind++)
	{
		now.counts[kind] = pg_atomic_read_u64(&stat->counts[kind]);
		grown[kind] = now.counts[kind] - stat->audited[kind];
		any |= grown[kind] > 0;
	}
	if (!any)
		return;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	kept = palloc(sizeof(Written));
	*kept = now;
	written = lappend(written, kept);
	MemoryContextSwitchTo(caller);
	put_raw(rel, make_raw(rel, stat->key.peer, true, schema, name, grown, 0));
}

/* Write what was sent. */
static void
write_all_sent(void)
{
	Relation	rel = table_open(raw_table(false), RowExclusiveLock);

	for (int i = 0; i < MC_TABLE_STATS; i++)
	{
		TableStat  *stat = &mc_shared->table_stats[i];
		TableStatKey key;
		NameData	schema;
		NameData	name;

		LWLockAcquire(mc_shared->stat_lock, LW_SHARED);
		key = stat->key;
		schema = stat->schema;
		name = stat->name;
		LWLockRelease(mc_shared->stat_lock);
		if (key.dboid == MyDatabaseId && key.out)
			write_sent(rel, stat, NameStr(schema), NameStr(name));
	}
	table_close(rel, NoLock);
}

void
mc_audit_skip(void)
{
	for (int i = 0; i < MC_TABLE_STATS; i++)
	{
		TableStat  *stat = &mc_shared->table_stats[i];

		if (stat->key.dboid != MyDatabaseId || !stat->key.out)
			continue;
		for (int kind = 0; kind < TALLY_KINDS; kind++)
			stat->audited[kind] = pg_atomic_read_u64(&stat->counts[kind]);
	}
}

/* ---- keys ---- */

/* Set a column of a row in a batch; null for NULL. */
static void
set_text(AuditBatch *batch, KeyRow *row, int column, const char *value)
{
	row->isnull[column] = value == NULL;
	if (value == NULL)
		return;
	row->values[column] = CStringGetTextDatum(value);
	batch->bytes += strlen(value);
}

/* The same for JSON. */
static void
set_json(AuditBatch *batch, KeyRow *row, int column, const char *value)
{
	row->isnull[column] = value == NULL;
	if (value == NULL)
		return;
	row->values[column] = DirectFunctionCall1(jsonb_in, CStringGetDatum(value));
	batch->bytes += strlen(value);
}

/* The same for what is passed by value. */
static void
set_value(KeyRow *row, int column, Datum value)
{
	row->isnull[column] = false;
	row->values[column] = value;
}

/* Copy a change into a batch, in its context. */
static void
fill_row(AuditBatch *batch, const AuditKey *key)
{
	KeyRow	   *row = &batch->rows[batch->nrows++];

	memset(row->values, 0, sizeof(row->values));
	memset(row->isnull, true, sizeof(row->isnull));
	set_value(row, LOG_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	set_text(batch, row, LOG_KIND, "key");
	set_text(batch, row, LOG_DIRECTION, "in");
	set_value(row, LOG_PEER_ID, Int32GetDatum(key->peer));
	set_text(batch, row, LOG_SCHEMA, key->schema);
	set_text(batch, row, LOG_TABLE, key->table);
	set_text(batch, row, LOG_OPERATION, key->operation);
	set_json(batch, row, LOG_KEY, key->key_json);
	set_json(batch, row, LOG_OLD_KEY, key->old_key_json);
	set_value(row, LOG_VERSION, TimestampTzGetDatum(key->version));
	set_value(row, LOG_REMOTE_XID, Int64GetDatum(key->remote_xid));
	set_value(row, LOG_REMOTE_LSN, LSNGetDatum(key->remote_lsn.value));
	set_text(batch, row, LOG_PEER_NAME, peer_name(key->peer));
}

void
mc_audit_key(AuditBatch **batch, MemoryContext context, const AuditKey *key)
{
	MemoryContext caller;

	if (*batch == NULL)
	{
		MemoryContext batch_context = AllocSetContextCreate(context,
															"multicenter audit",
															ALLOCSET_DEFAULT_SIZES);

		*batch = MemoryContextAlloc(batch_context, sizeof(AuditBatch));
		(*batch)->context = batch_context;
		(*batch)->nrows = 0;
		(*batch)->bytes = 0;
	}
	caller = MemoryContextSwitchTo((*batch)->context);
	fill_row(*batch, key);
	MemoryContextSwitchTo(caller);
	if ((*batch)->nrows == BATCH_ROWS || (*batch)->bytes >= BATCH_BYTES)
		mc_audit_flush(batch);
}

void
mc_audit_flush(AuditBatch **batch)
{
	AuditBatch *rows = *batch;
	MemoryContext context;
	MemoryContext caller;
	TupleTableSlot **slots;
	Relation	rel;
	int16		segment;

	if (rows == NULL)
		return;
	context = rows->context;
	caller = MemoryContextSwitchTo(context);
	segment = mc_segment_current(&segments);
	rel = table_open(mc_own_relation(psprintf("audit_log_%d", segment)), RowExclusiveLock);
	slots = palloc(sizeof(TupleTableSlot *) * rows->nrows);
	for (int i = 0; i < rows->nrows; i++)
	{
		KeyRow	   *row = &rows->rows[i];
		TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);

		set_value(row, LOG_SEGMENT, Int16GetDatum(segment));
		memcpy(slot->tts_values, row->values, sizeof(row->values));
		memcpy(slot->tts_isnull, row->isnull, sizeof(row->isnull));
		slots[i] = ExecStoreVirtualTuple(slot);
	}
	mc_own_insert(rel, slots, rows->nrows);

	/* The lock stays, so that nobody empties the segment before the commit. */
	table_close(rel, NoLock);
	CommandCounterIncrement();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	*batch = NULL;
}

/* ---- connections ---- */

/* Copy text that may be too long; not ending within a character. */
static void
copy_text(char *to, const char *from, int bytes)
{
	int			len = from ? pg_mbcliplen(from, (int) strlen(from), bytes - 1) : 0;

	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
}

void
mc_audit_event(CenterId peer, bool out, const char *event, const char *user_name,
			   const char *address, const char *detail)
{
	AuditEvent	copy;

	memset(&copy, 0, sizeof(copy));
	copy.dboid = MyDatabaseId;
	copy.at = GetCurrentTimestamp();
	copy.peer = peer;
	copy.out = out;
	copy_text(copy.event, event, sizeof(copy.event));
	copy_text(copy.user_name, user_name, sizeof(copy.user_name));
	copy_text(copy.address, address, sizeof(copy.address));
	copy_text(copy.detail, detail, sizeof(copy.detail));

	LWLockAcquire(mc_shared->stat_lock, LW_EXCLUSIVE);
	copy.serial = ++mc_shared->audit.last_serial;
	if (mc_shared->audit.count < MC_AUDIT_EVENTS)
		mc_shared->audit.events[mc_shared->audit.count++] = copy;
	else
		mc_shared->audit.lost++;
	LWLockRelease(mc_shared->stat_lock);
}

/*
 * The address of the client of this session, with its port.  By the functions
 * of SQL, because the struct that they read needs headers of other libraries.
 */
static void
client_address(char *address, Size bytes)
{
	LOCAL_FCINFO(fcinfo, 0);
	char	   *host;
	Datum		value;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	fcinfo->isnull = false;
	value = inet_client_addr(fcinfo);
	if (fcinfo->isnull)
	{
		strlcpy(address, "[local]", bytes);
		return;
	}
	host = DatumGetCString(DirectFunctionCall1(inet_out, value));
	fcinfo->isnull = false;
	value = inet_client_port(fcinfo);
	if (fcinfo->isnull)
		strlcpy(address, host, bytes);
	else
		snprintf(address, bytes, "%s %d", host, DatumGetInt32(value));
	pfree(host);
}

void
mc_audit_client(CenterId peer, bool out, const char *event, const char *detail)
{
	static char address[MC_AUDIT_ADDRESS_BYTES] = "";

	/* Once, because the end of a process is no time to look. */
	if (address[0] == '\0')
		client_address(address, sizeof(address));
	mc_audit_event(peer, out, event,
				   GetConfigOption("session_authorization", true, false),
				   address, detail);
}

/* internal_audit_client(peer_id, event, detail) */
Datum
mc_sql_audit_client(PG_FUNCTION_ARGS)
{
	if (mc_shared != NULL && mc_audit != AUDIT_OFF)
		mc_audit_client((CenterId) PG_GETARG_INT32(0), true,
						text_to_cstring(PG_GETARG_TEXT_PP(1)),
						text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_VOID();
}

/* Text as a parameter; null where it is empty. */
static Datum
text_parameter(const char *text_value, char *isnull)
{
	*isnull = text_value[0] == '\0' ? 'n' : ' ';
	return CStringGetTextDatum(text_value);
}

/* Write one event. */
static void
write_event(const AuditEvent *event)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT2OID, TIMESTAMPTZOID, TEXTOID, INT4OID, TEXTOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	char		nulls[] = "         ";
	const char *name = peer_name(event->peer);
	Datum		values[9];

	values[0] = Int16GetDatum(mc_segment_current(&segments));
	values[1] = TimestampTzGetDatum(event->at);
	values[2] = CStringGetTextDatum(event->out ? "out" : "in");
	values[3] = Int32GetDatum(event->peer);
	if (event->peer == MC_NO_CENTER)
		nulls[3] = 'n';
	values[4] = CStringGetTextDatum(event->event);
	values[5] = text_parameter(event->user_name, &nulls[5]);
	values[6] = text_parameter(event->address, &nulls[6]);
	values[7] = text_parameter(event->detail, &nulls[7]);
	values[8] = text_parameter(name ? name : "", &nulls[8]);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.audit_log (segment, at, kind, direction, peer_id,"
						  " operation, user_name, address, detail, peer_name)"
						  " VALUES ($1, $2, 'event', $3, $4, $5, $6, $7, $8, $9)",
						  lengthof(types), types, values, nulls, SPI_OK_INSERT);
}

/* Write the events of this database. */
static void
write_events(void)
{
	static uint64 lost = 0;
	SharedAudit *copy = palloc(sizeof(SharedAudit));
	OwnScope	scope;

	LWLockAcquire(mc_shared->stat_lock, LW_SHARED);
	memcpy(copy, &mc_shared->audit, sizeof(SharedAudit));
	LWLockRelease(mc_shared->stat_lock);
	written_serial = copy->last_serial;
	if (copy->count == 0)
		return;
	mc_own_begin(&scope);
	if (copy->lost > lost)
	{
		AuditEvent	event = {0};

		event.at = GetCurrentTimestamp();
		strlcpy(event.event, "lost", sizeof(event.event));
		snprintf(event.detail, sizeof(event.detail),
				 UINT64_FORMAT " connections or ends of them on this server were too many to be noted",
				 copy->lost - lost);
		write_event(&event);
		lost = copy->lost;
	}
	for (int i = 0; i < copy->count; i++)
		if (copy->events[i].dboid == MyDatabaseId)
			write_event(&copy->events[i]);
	mc_own_end(&scope);
}

/* ---- the manager ---- */

void
mc_audit_write(void)
{
	/* What a transaction that failed has left. */
	list_free_deep(written);
	written = NIL;
	write_all_sent();
	write_events();
}

void
mc_audit_written(void)
{
	ListCell   *lc;
	int			kept = 0;

	foreach(lc, written)
	{
		Written    *mine = lfirst(lc);

		memcpy(mine->stat->audited, mine->counts, sizeof(mine->counts));
	}

	/* Those of other databases stay, and so do those that came meanwhile. */
	LWLockAcquire(mc_shared->stat_lock, LW_EXCLUSIVE);
	for (int i = 0; i < mc_shared->audit.count; i++)
		if (mc_shared->audit.events[i].serial > written_serial ||
			mc_shared->audit.events[i].dboid != MyDatabaseId)
			mc_shared->audit.events[kept++] = mc_shared->audit.events[i];
	mc_shared->audit.count = kept;
	LWLockRelease(mc_shared->stat_lock);
	list_free_deep(written);
	written = NIL;
}

bool
mc_audit_should_fold(void)
{
	return pg_atomic_read_u32(&database_entry()->audit_rows) >= FOLD_ROWS;
}

/* Has a table no rows, and never had any since it was truncated? */
static bool
is_empty(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	table_close(rel, AccessShareLock);
	return blocks == 0;
}

/* Summarize a raw table, whose lock is ours, by minute. */
static void
fold_raw(uint32 raw)
{
	char	   *command;
	OwnScope	scope;

	command = psprintf("INSERT INTO multicenter.audit_log (segment, at, kind, direction, peer_id,"
					   " schema_name, table_name, transactions, inserts, updates, deletes, truncates, copied, peer_name)"
					   " SELECT %d, pg_catalog.date_trunc('minute', at), 'rows', direction, peer_id, schema_name, table_name,"
					   " pg_catalog.sum(transactions), pg_catalog.sum(inserts), pg_catalog.sum(updates),"
					   " pg_catalog.sum(deletes), pg_catalog.sum(truncates), pg_catalog.sum(copied), peer_name"
					   " FROM multicenter.audit_raw_%u GROUP BY 2, 4, 5, 6, 7, peer_name",
					   mc_segment_current(&segments), raw);
	mc_own_begin(&scope);
	if (SPI_execute(command, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not execute \"%s\"", command);
	if (SPI_execute(psprintf("TRUNCATE multicenter.audit_raw_%u", raw), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not truncate a raw table of the audit");
	mc_own_end(&scope);
}

void
mc_audit_fold(void)
{
	SharedDatabase *entry = database_entry();
	uint32		raw = pg_atomic_read_u32(&entry->audit_raw);

	/* Somebody may read it, or write to it still: then the next time. */
	if (!is_empty(raw_table(true)))
	{
		if (!ConditionalLockRelationOid(raw_table(true), AccessExclusiveLock))
			return;
		fold_raw(1 - raw);
	}
	pg_atomic_write_u32(&entry->audit_rows, 0);
	pg_atomic_write_u32(&entry->audit_raw, 1 - raw);
}

void
mc_audit_rotate(void)
{
	mc_segment_rotate(&segments, (int64) mc_audit_retention_min *
					  SECS_PER_MINUTE * USECS_PER_SEC);
}
