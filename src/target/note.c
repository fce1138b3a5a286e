/*-------------------------------------------------------------------------
 *
 * note.c
 *	  Notes about keys: what the rows of a table cannot say themselves.
 *
 * NOTES
 *	  Keys and rows are kept as jsonb of text, so that they survive a change
 *	  of the table and can be read by people.  All processes that write or
 *	  read them pin the settings on which such text depends.
 *
 *	  Two texts may be one key to the index (1.0 and 1.00, a nondeterministic
 *	  collation): the hash is made by the type's own function, and texts that
 *	  differ are compared as values.  Where the operator of the index is not
 *	  the type's default one the hash says nothing, and values decide alone.
 *
 *	  Reads go straight to the index, because every change of a table that has
 *	  notes asks for them; writes go through SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "state/claim.h"
#include "state/own.h"
#include "state/policy.h"
#include "state/registry.h"
#include "target/note.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Columns of multicenter.key_note and multicenter.truncation. */
#define NOTE_ID				1
#define NOTE_RELATION		2
#define NOTE_HASH			3
#define NOTE_KIND			4
#define NOTE_KEY			5
#define NOTE_VERSION_TS		6
#define NOTE_CENTER			7
#define NOTE_XID			8
#define NOTE_ROW			9
#define NOTE_SINCE			10
#define NOTE_DISPLACED_BY	11
#define TRUNCATION_RELATION	1
#define TRUNCATION_VERSION	2
#define TRUNCATION_CENTER	3

/* A scan of one of our tables by its index. */
typedef struct NoteScan
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	Snapshot	snapshot;
	TupleTableSlot *slot;
} NoteScan;

/* Begin to read rows of a table of ours by the first columns of an index. */
static void
begin_read(NoteScan *scan, const char *table_name, const char *index_name,
		   ScanKey keys, int nkeys)
{
	Oid			schema = get_namespace_oid(MC_SCHEMA, false);

	scan->rel = table_open(get_relname_relid(table_name, schema),
						   AccessShareLock);
	scan->index = index_open(get_relname_relid(index_name, schema),
							 AccessShareLock);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->slot = table_slot_create(scan->rel, NULL);
	scan->scan = index_beginscan_compat(scan->rel, scan->index,
										scan->snapshot, nkeys);
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

/* The next row; false at the end. */
static bool
read_next(NoteScan *scan)
{
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

/* Undo begin_read(). */
static void
end_read(NoteScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, AccessShareLock);
}

/* Begin to write notes. */
static void
begin_write(OwnScope *scope)
{
	mc_notes_writing();
	mc_own_begin(scope);
}

/* The column of the table that is a column of the key. */
static Form_pg_attribute
key_attribute(TargetTable *table, int column)
{
	return TupleDescAttr(RelationGetDescr(table->rel),
						 table->map->key_attnums[column] - 1);
}

/* The hash of one column of the key; 0 where no function fits the operator. */
static uint64
hash_column(TargetTable *table, int column, Datum value)
{
	ScanKey		key = &table->scan_keys[column];
	Oid			type_oid = key_attribute(table, column)->atttypid;
	TypeCacheEntry *type = lookup_type_cache(type_oid,
											 TYPECACHE_EQ_OPR |
											 TYPECACHE_HASH_EXTENDED_PROC_FINFO);

	if (!OidIsValid(type->hash_extended_proc) ||
		get_opcode(type->eq_opr) != key->sk_func.fn_oid)
		return 0;
	return DatumGetUInt64(FunctionCall2Coll(&type->hash_extended_proc_finfo,
											key->sk_collation, value,
											UInt64GetDatum(0)));
}

int64
mc_note_hash(TargetTable *table, const RemoteRow *row)
{
	uint64		hash = 0;

	for (int i = 0; i < table->map->nkeys; i++)
	{
		int			attno = table->map->key_attnums[i] - 1;

		hash = hash_combine64(hash, hash_column(table, i, row->values[attno]));
	}
	return (int64) hash;
}

/* Make {"column": "text" | null, ...}. */
static Jsonb *
make_object(int npairs, Datum *names, Datum *values, bool *isnull)
{
	int			dims[1] = {npairs};
	int			lbs[1] = {1};
	Datum		name_array;
	Datum		value_array;

	name_array = PointerGetDatum(construct_md_array(names, NULL, 1, dims, lbs,
													TEXTOID, -1, false,
													TYPALIGN_INT));
	value_array = PointerGetDatum(construct_md_array(values, isnull, 1, dims,
													 lbs, TEXTOID, -1, false,
													 TYPALIGN_INT));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_object_two_arg,
											  name_array, value_array));
}

char *
mc_note_value_to_text(Form_pg_attribute attribute, Datum value)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

Datum
mc_note_value_from_text(Form_pg_attribute attribute, char *string)
{
	Oid			input;
	Oid			param;

	getTypeInputInfo(attribute->atttypid, &input, &param);
	return OidInputFunctionCall(input, string, param, attribute->atttypmod);
}

char *
mc_note_text(const Jsonb *object, const char *name, bool *present)
{
	JsonbValue	buffer;
	JsonbValue *value;

	value = getKeyJsonValueFromContainer((JsonbContainer *) &object->root, name,
										 strlen(name), &buffer);
	*present = value != NULL;
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

void
mc_note_key(TargetTable *table, const RemoteRow *row, RowKey *key)
{
	int			nkeys = table->map->nkeys;
	Datum		names[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];

	if (nkeys == 0)
		elog(ERROR, "table \"%s\" has no key to take a note of",
			 RelationGetRelationName(table->rel));
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute attribute = key_attribute(table, i);

		names[i] = CStringGetTextDatum(NameStr(attribute->attname));
		values[i] = CStringGetTextDatum(mc_note_value_to_text(attribute,
															  row->values[attribute->attnum - 1]));
	}
	key->relid = RelationGetRelid(table->rel);
	key->hash = mc_note_hash(table, row);
	key->values = make_object(nkeys, names, values, NULL);
}

/* The columns of a row as jsonb; without those in leave_out, unless NULL. */
static Jsonb *
columns_to_jsonb(TargetTable *table, const Datum *row_values,
				 const bool *row_isnull, const bool *leave_out)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	Datum	   *names = palloc(sizeof(Datum) * Max(desc->natts, 1));
	Datum	   *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || attribute->attgenerated ||
			(leave_out && leave_out[i]))
			continue;
		names[n] = CStringGetTextDatum(NameStr(attribute->attname));
		isnull[n] = row_isnull[i];
		values[n] = isnull[n] ? (Datum) 0 :
			CStringGetTextDatum(mc_note_value_to_text(attribute, row_values[i]));
		n++;
	}
	return make_object(n, names, values, isnull);
}

Jsonb *
mc_note_row_to_jsonb(TargetTable *table, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	return columns_to_jsonb(table, slot->tts_values, slot->tts_isnull, NULL);
}

Jsonb *
mc_note_change_to_jsonb(TargetTable *table, const RemoteRow *row)
{
	bool	   *leave_out = palloc(sizeof(bool) * Max(table->map->natts, 1));

	for (int i = 0; i < table->map->natts; i++)
		leave_out[i] = row->unchanged[i] || table->map->remote_index[i] < 0;
	return columns_to_jsonb(table, row->values, row->isnull, leave_out);
}

void
mc_note_row_from_jsonb(TargetTable *table, const Jsonb *values, RemoteRow *row)
{
	TupleDesc	desc = RelationGetDescr(table->rel);

	row->present = true;
	row->any_unchanged = false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char	   *string = NULL;
		bool		present = true;

		if (!attribute->attisdropped && !attribute->attgenerated)
			string = mc_note_text(values, NameStr(attribute->attname), &present);
		row->unchanged[i] = !present;
		row->any_unchanged |= !present;
		row->isnull[i] = string == NULL;
		row->values[i] = string ? mc_note_value_from_text(attribute, string) : (Datum) 0;
	}
}

bool
mc_note_same_key(TargetTable *table, const Jsonb *a, const Jsonb *b)
{
	OwnerScope	scope;
	bool		same = true;

	/* Reading and comparing values may run code of users. */
	mc_owner_enter(table->map->owner, &scope);
	for (int i = 0; i < table->map->nkeys && same; i++)
	{
		Form_pg_attribute attribute = key_attribute(table, i);
		ScanKey		key = &table->scan_keys[i];
		bool		present;
		char	   *a_text = mc_note_text(a, NameStr(attribute->attname), &present);
		char	   *b_text = mc_note_text(b, NameStr(attribute->attname), &present);

		if (a_text == NULL || b_text == NULL)
			same = false;
		else if (strcmp(a_text, b_text) != 0)
			same = DatumGetBool(FunctionCall2Coll(&key->sk_func,
												  key->sk_collation,
												  mc_note_value_from_text(attribute, a_text),
												  mc_note_value_from_text(attribute, b_text)));
	}
	mc_owner_leave(&scope);
	return same;
}

/* Is there any row about the relation in a table of ours? */
static bool
any_row(const char *table_name, const char *index_name, Oid relid)
{
	NoteScan	scan;
	ScanKeyData keys[1];
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	begin_read(&scan, table_name, index_name, keys, 1);
	found = read_next(&scan);
	end_read(&scan);
	return found;
}

/*
 * Bring up to date what the map knows of notes.  The generation is read first:
 * what is committed meanwhile is looked at again next time.
 */
static void
check_generation(RelationMap *map)
{
	uint64		generation = map->notes_generation;

	if (mc_notes_unchanged(&generation) && map->notes_generation != 0)
		return;
	map->has_notes = any_row("key_note", "key_note_key", map->relid);
	map->has_truncation = any_row("truncation", "truncation_pkey", map->relid);
	map->has_quarantine = any_row("quarantine_entry", "quarantine_entry_key", map->relid);
	map->notes_generation = generation;
}

bool
mc_note_possible_in(RelationMap *map)
{
	if (map->nkeys == 0 || map->group_catalog)
		return false;
	check_generation(map);
	return map->has_notes;
}

bool
mc_note_possible(TargetTable *table)
{
	return mc_note_possible_in(table->map);
}

bool
mc_note_quarantine_possible(TargetTable *table)
{
	if (table->map->nkeys == 0 || table->map->group_catalog)
		return false;
	check_generation(table->map);
	return table->map->has_quarantine;
}

/* A column of the row that a scan has found. */
static Datum
read_column(NoteScan *scan, int column, bool *isnull)
{
	return slot_getattr(scan->slot, column, isnull);
}

/* Copy a note out of the row that a scan has found. */
static KeyNote *
read_note(NoteScan *scan)
{
	KeyNote    *note = palloc0(sizeof(KeyNote));
	Datum		value;
	bool		isnull;

	note->id = DatumGetInt64(read_column(scan, NOTE_ID, &isnull));
	note->kind = (NoteKind) DatumGetChar(read_column(scan, NOTE_KIND, &isnull));
	note->key.relid = DatumGetObjectId(read_column(scan, NOTE_RELATION, &isnull));
	note->key.hash = DatumGetInt64(read_column(scan, NOTE_HASH, &isnull));
	note->key.values = DatumGetJsonbPCopy(read_column(scan, NOTE_KEY, &isnull));
	note->version.commit_ts = DatumGetTimestampTz(read_column(scan, NOTE_VERSION_TS, &isnull));
	note->version.center = (CenterId) DatumGetInt32(read_column(scan, NOTE_CENTER, &isnull));
	note->since = DatumGetTimestampTz(read_column(scan, NOTE_SINCE, &isnull));
	value = note->kind == NOTE_CHANGE ?
		slot_getsysattr(scan->slot, MinTransactionIdAttributeNumber, &isnull) :
		read_column(scan, NOTE_XID, &isnull);
	note->xid = isnull ? InvalidTransactionId : DatumGetTransactionId(value);
	value = read_column(scan, NOTE_ROW, &isnull);
	note->row = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = read_column(scan, NOTE_DISPLACED_BY, &isnull);
	note->displaced_by = isnull ? NULL : DatumGetJsonbPCopy(value);
	return note;
}

List *
mc_note_find(TargetTable *table, const RowKey *key)
{
	List	   *notes = NIL;
	NoteScan	scan;
	ScanKeyData keys[2];

	if (!mc_note_possible(table))
		return NIL;
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(key->relid));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key->hash));
	begin_read(&scan, "key_note", "key_note_key", keys, 2);
	while (read_next(&scan))
	{
		KeyNote    *note = read_note(&scan);

		if (mc_note_same_key(table, note->key.values, key->values))
			notes = lappend(notes, note);
	}
	end_read(&scan);
	return notes;
}

/* Newest version first. */
static int
compare_notes(const ListCell *a, const ListCell *b)
{
	const KeyNote *a_note = lfirst(a);
	const KeyNote *b_note = lfirst(b);

	return mc_version_compare(b_note->version, a_note->version);
}

List *
mc_note_list(Oid relid, NoteKind kind)
{
	List	   *notes = NIL;
	NoteScan	scan;
	ScanKeyData keys[1];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	begin_read(&scan, "key_note",
			   kind == NOTE_DISPLACED ? "key_note_displaced" : "key_note_key",
			   keys, 1);
	while (read_next(&scan))
	{
		bool		isnull;

		if (DatumGetChar(read_column(&scan, NOTE_KIND, &isnull)) == (char) kind)
			notes = lappend(notes, read_note(&scan));
	}
	end_read(&scan);
	list_sort(notes, compare_notes);
	return notes;
}

/* The version of the transaction that wrote the row which a scan has found. */
static void
version_of_writer(RemoteTransaction *transaction, NoteScan *scan,
				  TruncationNote *note)
{
	bool		isnull;
	TransactionId xid;
	uint16		origin;

	xid = DatumGetTransactionId(slot_getsysattr(scan->slot,
												MinTransactionIdAttributeNumber,
												&isnull));
	if (TransactionIdIsCurrentTransactionId(xid))
	{
		note->version = transaction->version;
		note->own = true;
	}
	else if (TransactionIdGetCommitTsData(xid, &note->version.commit_ts, &origin))
		note->version.center = mc_author_of_origin(origin, transaction->our_id);
}

bool
mc_note_truncation(RemoteTransaction *transaction, TargetTable *table,
				   TruncationNote *note)
{
	NoteScan	scan;
	ScanKeyData keys[1];
	bool		found;

	memset(note, 0, sizeof(TruncationNote));
	check_generation(table->map);
	if (!table->map->has_truncation)
		return false;
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(table->map->relid));
	begin_read(&scan, "truncation", "truncation_pkey", keys, 1);
	found = read_next(&scan);
	if (found)
	{
		bool		isnull;
		Datum		version = read_column(&scan, TRUNCATION_VERSION, &isnull);

		if (isnull)
			version_of_writer(transaction, &scan, note);
		else
		{
			note->version.commit_ts = DatumGetTimestampTz(version);
			note->version.center = (CenterId)
				DatumGetInt32(read_column(&scan, TRUNCATION_CENTER, &isnull));
			note->own = mc_version_compare(note->version,
										   transaction->version) == 0;
		}
	}
	end_read(&scan);
	return found;
}

/*
 * Where policies decide, epochs come before versions: make room for a TRUNCATE
 * of a greater epoch.  Returns false if the one that is known is greater.
 */
static bool
replace_truncation(Oid relid, RowVersion version)
{
	static SPIPlanPtr read_plan = NULL;
	static SPIPlanPtr remove_plan = NULL;
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	RowVersion	known = {0};
	OwnScope	scope;

	mc_own_begin(&scope);
	if (mc_own_execute(&read_plan,
					   "SELECT coalesce(t.version, pg_catalog.pg_xact_commit_timestamp(t.xmin)),"
					   " coalesce(t.center_id, (SELECT i.center_id FROM multicenter.identity i), 0)"
					   " FROM multicenter.truncation t WHERE t.relation OPERATOR(pg_catalog.=) $1",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT) == 1)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		known.commit_ts = DatumGetTimestampTz(SPI_getbinval(row, desc, 1, &isnull));
		if (isnull)
			known.commit_ts = 0;
		known.center = (CenterId) DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
	}
	mc_own_end(&scope);
	if (known.commit_ts == 0)
		return true;
	if (mc_policy_compare(relid, known, version) > 0)
		return false;
	begin_write(&scope);
	(void) mc_own_execute(&remove_plan,
						  "DELETE FROM multicenter.truncation"
						  " WHERE relation OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, values, NULL, SPI_OK_DELETE);
	mc_own_end(&scope);
	return true;
}

void
mc_note_add_truncation(Oid relid, RowVersion version)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID, TIMESTAMPTZOID, INT4OID};
	Datum		values[] = {ObjectIdGetDatum(relid),
	TimestampTzGetDatum(version.commit_ts), Int32GetDatum(version.center)};
	const char *nulls = version.commit_ts == 0 ? " nn" : "   ";
	OwnScope	scope;

	if (version.commit_ts != 0 && mc_policy_table(relid, 0) != NULL &&
		!replace_truncation(relid, version))
		return;
	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.truncation AS t (relation, version, center_id)"
						  " VALUES ($1, $2, $3) ON CONFLICT (relation) DO UPDATE"
						  " SET version = excluded.version, center_id = excluded.center_id"
						  " WHERE excluded.version IS NULL"
						  " OR (coalesce(t.version, pg_catalog.pg_xact_commit_timestamp(t.xmin), '-infinity'), coalesce(t.center_id, (SELECT i.center_id FROM multicenter.identity i), 0))"
						  " OPERATOR(pg_catalog.<) (excluded.version, excluded.center_id)",
						  lengthof(types), types, values, nulls,
						  SPI_OK_INSERT);
	mc_own_end(&scope);
}

void
mc_note_add(const KeyNote *note)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID, INT8OID, CHAROID, JSONBOID, TIMESTAMPTZOID,
	INT4OID, XIDOID, JSONBOID, JSONBOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];
	OwnScope	scope;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = ObjectIdGetDatum(note->key.relid);
	values[1] = Int64GetDatum(note->key.hash);
	values[2] = CharGetDatum((char) note->kind);
	values[3] = JsonbPGetDatum(note->key.values);
	values[4] = TimestampTzGetDatum(note->version.commit_ts);
	values[5] = Int32GetDatum(note->version.center);
	values[6] = TransactionIdGetDatum(note->xid);
	nulls[6] = TransactionIdIsValid(note->xid) ? ' ' : 'n';
	values[7] = JsonbPGetDatum(note->row);
	nulls[7] = note->row ? ' ' : 'n';
	values[8] = JsonbPGetDatum(note->displaced_by);
	nulls[8] = note->displaced_by ? ' ' : 'n';

	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.key_note"
						  " (relation, hash, kind, key, version, center_id, xid, row_values, displaced_by)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
						  lengthof(types), types, values, nulls,
						  SPI_OK_INSERT);
	mc_own_end(&scope);
}

void
mc_note_restate(TargetTable *table, const RemoteRow *row, RowVersion version)
{
	KeyNote		note = {0};

	mc_note_key(table, row, &note.key);
	note.version = version;
	note.xid = GetCurrentTransactionId();
	note.kind = NOTE_VERSION;
	mc_note_add(&note);
	note.kind = NOTE_REMOVED;
	mc_note_add(&note);
}

void
mc_note_forget_restated(const List *notes)
{
	TransactionId xid = GetCurrentTransactionId();
	const ListCell *cell;

	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if ((note->kind == NOTE_VERSION || note->kind == NOTE_REMOVED) &&
			note->xid == xid)
			mc_note_remove(note->id);
	}
}

void
mc_note_remove(int64 id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};
	OwnScope	scope;

	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "DELETE FROM multicenter.key_note"
						  " WHERE note_id OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, values, NULL,
						  SPI_OK_DELETE);
	mc_own_end(&scope);
}

void
mc_note_remove_all(Oid relid)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	OwnScope	scope;

	if (!any_row("key_note", "key_note_key", relid))
		return;
	begin_write(&scope);
	(void) mc_own_execute(&plan,
						  "DELETE FROM multicenter.key_note"
						  " WHERE relation OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, values, NULL,
						  SPI_OK_DELETE);
	mc_own_end(&scope);
}

bool
mc_note_claim(RemoteTransaction *transaction, Oid relid, int64 hash)
{
	return mc_claim_key(relid, hash);
}
