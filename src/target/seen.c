/*-------------------------------------------------------------------------
 *
 * seen.c
 *	  Which versions of a row a local write replaces, told to the peers.
 *
 * NOTES
 *	  A message is text, as all are: the hash of table and key, then for each
 *	  version its commit timestamp and its author, as numbers of base 64 with
 *	  blanks between them.  A row that this very transaction has written before
 *	  has none.  There is no message about a row that is inserted and of whose
 *	  key nothing is known.  Each row that is updated or deleted has one, so
 *	  every byte counts.
 *
 *	  The hash is made of the image of the key's values: both sides see the
 *	  same row.  Where they differ in that (another encoding of the database or
 *	  byte order, enums), or a trigger of the user's changes the key after ours
 *	  has run, it does not fit, and the change counts as one without a message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "origin/message.h"
#include "state/registry.h"
#include "target/local_map.h"
#include "target/lookup.h"
#include "target/quarantine.h"
#include "target/seen.h"
#include "target/siblings.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_seen);

/* The digits of numbers in messages, by their value; not more than so many. */
static const char digits[] =
"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/";

#define MAX_DIGITS		11

/* So many messages may wait for their change. */
#define MAX_SEEN		16

/* The hash of table and key. */
static uint64
key_hash(const RelationMap *map, TupleDesc desc, const Datum *values)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) map->schema,
										   (int) strlen(map->schema), 0);

	hash = hash_bytes_extended((const unsigned char *) map->name,
							   (int) strlen(map->name), hash);
	for (int i = 0; i < map->nkeys; i++)
	{
		int			attno = map->key_attnums[i] - 1;
		Form_pg_attribute attribute = TupleDescAttr(desc, attno);

		hash = hash_combine64(hash, datum_image_hash(values[attno],
													 attribute->attbyval,
													 attribute->attlen));
	}
	return hash;
}

/* ---- the trigger ---- */

/* Add a number to a message. */
static void
add_number(StringInfo message, uint64 number)
{
	char		written[MAX_DIGITS];
	int			start = MAX_DIGITS;

	do
	{
		written[--start] = digits[number & 63];
		number >>= 6;
	} while (number != 0);
	appendBinaryStringInfo(message, written + start, MAX_DIGITS - start);
}

/* Add a version to a message. */
static void
add_version(StringInfo message, RowVersion version)
{
	appendStringInfoChar(message, ' ');
	add_number(message, (uint64) version.commit_ts);
	appendStringInfoChar(message, ' ');
	add_number(message, version.center);
}

/* Add the versions that are here under a key. */
static void
add_known(StringInfo message, const List *notes, RowVersion version)
{
	const ListCell *cell;

	if (!mc_siblings_hold(notes, version))
	{
		if (version.center != MC_NO_CENTER)
			add_version(message, version);
		return;
	}
	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_SIBLING)
			add_version(message, note->version);
	}
}

void
mc_seen_pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"lc_monetary", "C"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Open a table to look at what is here under the key of a row. */
static TargetTable *
open_table(RemoteTransaction *transaction, RelationMap *map, CenterId our_id,
		   const Datum *values, const bool *isnull)
{
	TargetTable *table;

	mc_seen_pin_settings();
	transaction->our_id = our_id;
	transaction->peer = our_id;
	transaction->context = CurrentMemoryContext;
	transaction->change_context = CurrentMemoryContext;
	table = mc_table_open(transaction, map);
	memcpy(table->old_row.values, values, sizeof(Datum) * map->natts);
	memcpy(table->old_row.isnull, isnull, sizeof(bool) * map->natts);
	return table;
}

/* Close it, and go back to the settings of before. */
static void
close_table(RemoteTransaction *transaction, TargetTable *table, int nest_level)
{
	/* Nothing was changed by us. */
	table->displaces = false;
	mc_table_close(transaction, table);
	AtEOXact_GUC(true, nest_level);
}

/* Add what is here under the key of a row, where notes may say something. */
static void
add_noted(StringInfo message, RelationMap *map, CenterId our_id,
		  const Datum *values, const bool *isnull, RowVersion version,
		  TransactionId xmin)
{
	RemoteTransaction transaction = {0};
	TargetTable *table;
	RowKey		key;
	List	   *notes;
	ListCell   *cell;
	int			nest_level = NewGUCNestLevel();

	table = open_table(&transaction, map, our_id, values, isnull);
	mc_note_key(table, &table->old_row, &key);
	notes = mc_note_find(table, &key);
	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);

		if (note->kind == NOTE_VERSION && note->xid == xmin)
			version = note->version;
	}
	add_known(message, notes, version);
	close_table(&transaction, table, nest_level);
}

/* The map of a table, up to date; NULL if its rows have no key. */
static RelationMap *
find_map(Relation rel)
{
	RelationMap *map = mc_local_map(rel);

	if (map == NULL)
		return NULL;
	if (!map->valid)
		relation_close(mc_relation_open(map, AccessShareLock), NoLock);
	return map->nkeys == 0 ? NULL : map;
}

/*
 * Have there been rows with the key of a row, of which none is alive?  Those of
 * transactions that were aborted count, too.
 */
static bool
had_key(Relation rel, const RelationMap *map, const Datum *values)
{
	ScanKeyData *keys = palloc(sizeof(ScanKeyData) * map->nkeys);
	Relation	index = index_open(map->index, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan;
	bool		dead = false;
	bool		live = false;

	for (int i = 0; i < map->nkeys; i++)
	{
		keys[i] = map->scan_keys[i];
		keys[i].sk_argument = values[map->key_attnums[i] - 1];
	}
	scan = index_beginscan_compat(rel, index, SnapshotAny, map->nkeys);
	index_rescan(scan, keys, map->nkeys, NULL, 0);
	while (!live && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		dead = true;
		live = table_tuple_satisfies_snapshot(rel, slot, SnapshotSelf);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, RowExclusiveLock);
	pfree(keys);
	return dead && !live;
}

/*
 * Add what a row replaces whose key has no row now: deletes, and rows that are
 * displaced.  Waits for who is deleting one, as the insertion would.
 */
static void
add_hidden(StringInfo message, RelationMap *map, CenterId our_id,
		   const Datum *values, const bool *isnull)
{
	RemoteTransaction transaction = {0};
	TargetTable *table;
	LocalRow	local;
	int			nest_level = NewGUCNestLevel();

	table = open_table(&transaction, map, our_id, values, isnull);
	mc_lookup(&transaction, table, &table->old_row, table->local_row, true, &local);
	if (!local.found)
		add_known(message, local.notes, local.state.version);
	ExecClearTuple(table->local_row);
	close_table(&transaction, table, nest_level);
}

/*
 * Write the message about a row whose key has none.  There is none if nothing
 * is known of the key; most INSERTs are such.
 */
static void
tell_new(Relation rel, HeapTuple tuple, CenterId our_id, uint64 old_key)
{
	RelationMap *map = find_map(rel);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData message;
	Datum	   *values;
	bool	   *isnull;
	uint64		key;
	int			len;

	if (map == NULL)
		return;
	values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	heap_deform_tuple(tuple, desc, values, isnull);
	for (int i = 0; i < map->nkeys; i++)
	{
		/* It is going to be refused. */
		if (isnull[map->key_attnums[i] - 1])
			return;
	}
	key = key_hash(map, desc, values);
	if (key != old_key &&
		(mc_note_possible_in(map) || had_key(rel, map, values)))
	{
		initStringInfo(&message);
		add_number(&message, key);
		len = message.len;
		add_hidden(&message, map, our_id, values, isnull);
		if (message.len > len)
			(void) mc_message_emit(MC_SEEN_PREFIX, true, message.data,
								   (uint32) message.len);
		pfree(message.data);
	}
	pfree(values);
	pfree(isnull);
}

/*
 * Write the message about a row that is about to be replaced.  Returns the hash
 * of its key.
 */
static uint64
tell(Relation rel, HeapTuple tuple, CenterId our_id)
{
	RelationMap *map = find_map(rel);
	TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	TupleDesc	desc = RelationGetDescr(rel);
	RowVersion	version = {0};
	StringInfoData message;
	Datum	   *values;
	bool	   *isnull;
	uint16		origin;
	uint64		key;

	if (map == NULL)
		return 0;
	values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	heap_deform_tuple(tuple, desc, values, isnull);

	key = key_hash(map, desc, values);
	initStringInfo(&message);
	add_number(&message, key);
	if (!TransactionIdIsCurrentTransactionId(xmin))
	{
		if (TransactionIdGetCommitTsData(xmin, &version.commit_ts, &origin))
			version.center = mc_author_of_origin(origin, our_id);
		if (mc_note_possible_in(map))
			add_noted(&message, map, our_id, values, isnull, version, xmin);
		else if (version.center != MC_NO_CENTER)
			add_version(&message, version);
	}
	(void) mc_message_emit(MC_SEEN_PREFIX, true, message.data,
						   (uint32) message.len);
	pfree(message.data);
	pfree(values);
	pfree(isnull);
	return key;
}

/* Looked up once in each transaction, which has something to write anyway. */
CenterId
mc_seen_our_id(void)
{
	static TransactionId of = InvalidTransactionId;
	static CenterId our_id = MC_NO_CENTER;
	TransactionId xid = GetTopTransactionId();

	if (of == xid)
		return our_id;
	our_id = MC_NO_CENTER;
	if (mc_database_is_center(MyDatabaseId))
		our_id = mc_registry_own_id();
	of = xid;
	return our_id;
}

/* The trigger function multicenter.seen(). */
Datum
mc_seen(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	tuple;
	CenterId	our_id;
	uint64		key = 0;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("multicenter.seen() must be fired before INSERT, UPDATE or DELETE, for each row")));
	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
		trigger->tg_newtuple : trigger->tg_trigtuple;
	our_id = mc_seen_our_id();
	if (our_id == MC_NO_CENTER)
		return PointerGetDatum(tuple);
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		key = tell(trigger->tg_relation, trigger->tg_trigtuple, our_id);
	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		tell_new(trigger->tg_relation, tuple, our_id, key);
	return PointerGetDatum(tuple);
}

/* ---- at the peer ---- */

/* Forget messages whose change has been applied, or does not come. */
static void
forget_used(RemoteTransaction *transaction)
{
	ListCell   *cell;
	int			n = 0;

	foreach(cell, transaction->seen)
	{
		SeenVersions *seen = lfirst(cell);

		if (!seen->used && ++n < MAX_SEEN)
			continue;
		transaction->seen = foreach_delete_current(transaction->seen, cell);
		pfree(seen->versions);
		pfree(seen);
	}
}

/* The next number of a message; what follows it must be a blank or the end. */
static uint64
read_number(char **next)
{
	char	   *end = *next;
	uint64		number = 0;
	const char *digit;

	if (*end == ' ')
		end++;
	*next = end;
	while (*end != '\0' && (digit = strchr(digits, *end)) != NULL)
	{
		number = number << 6 | (uint64) (digit - digits);
		end++;
	}
	if (end == *next || end - *next > MAX_DIGITS || (*end != ' ' && *end != '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid message about replaced versions")));
	*next = end;
	return number;
}

SeenVersions *
mc_seen_from_text(char *message)
{
	SeenVersions *seen = palloc0(sizeof(SeenVersions));
	char	   *next = message;

	seen->versions = palloc(sizeof(RowVersion) * (strlen(message) / 2 + 1));
	seen->key = read_number(&next);
	while (*next != '\0')
	{
		RowVersion *version = &seen->versions[seen->nversions++];

		version->commit_ts = (TimestampTz) read_number(&next);
		version->center = (CenterId) read_number(&next);
	}
	return seen;
}

char *
mc_seen_to_text(const SeenVersions *seen)
{
	StringInfoData message;

	initStringInfo(&message);
	add_number(&message, seen->key);
	for (int i = 0; i < seen->nversions; i++)
		add_version(&message, seen->versions[i]);
	return message.data;
}

void
mc_seen_message(RemoteTransaction *transaction, const char *content, uint32 len)
{
	MemoryContext old_context = MemoryContextSwitchTo(transaction->context);
	char	   *message = pnstrdup(content, len);

	forget_used(transaction);

	/* The newest one comes first: it counts. */
	transaction->seen = lcons(mc_seen_from_text(message), transaction->seen);
	pfree(message);
	MemoryContextSwitchTo(old_context);
}

const SeenVersions *
mc_seen_find(RemoteTransaction *transaction, TargetTable *table,
			 const RemoteRow *key)
{
	ListCell   *cell;
	uint64		hash;

	if (transaction->retried)
		return transaction->retried->seen;
	if (transaction->seen == NIL)
		return NULL;
	hash = key_hash(table->map, RelationGetDescr(table->rel), key->values);
	foreach(cell, transaction->seen)
	{
		SeenVersions *seen = lfirst(cell);

		if (seen->key == hash)
		{
			seen->used = true;
			return seen;
		}
	}
	return NULL;
}

bool
mc_seen_has(const SeenVersions *seen, RowVersion version)
{
	for (int i = 0; i < seen->nversions; i++)
	{
		if (mc_version_compare(seen->versions[i], version) == 0)
			return true;
	}
	return false;
}
