/*-------------------------------------------------------------------------
 *
 * place.c
 *	  Where rows stand that this process has written a moment ago.
 *
 * NOTES
 *	  Dead versions of rows are kept as long as a change of a peer may need
 *	  them, and a search by the index goes past all those of its key.  For a
 *	  row that is updated again and again that is most of the work; so the
 *	  place of its last version is remembered, in a table where an entry
 *	  simply takes the place of another one.
 *
 *	  A place proves nothing: the row there must be alive and have the key.
 *	  It must also be safe to read it.  VACUUM may cut empty pages off a table,
 *	  but no page with a tuple that is kept (state/hold.c), and none at all as
 *	  long as we hold our lock on the table: so of older ones we ask whether
 *	  the page is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "common/hashfn.h"
#include "state/hold.h"
#include "storage/bufmgr.h"
#include "target/place.h"
#include "utils/rel.h"

#include "compat.h"

#define PLACES			4096	/* a power of 2 */
#define MAX_AGE			1000000000	/* transactions */

typedef struct Place
{
	Oid			relid;
	Oid			file;			/* its relfilenode: a rewrite moves every row */
	uint32		hash;			/* of the key */
	TransactionId xid;			/* that wrote the row */
	ItemPointerData tid;
} Place;

static Place places[PLACES];

/*
 * A part of the hash of each, of which most searches for rows that are not here
 * need nothing else: it stays in the processor's cache, as places do not.
 */
static uint16 tags[PLACES];

/* The transaction of the oldest of them, or one before it. */
static TransactionId oldest = InvalidTransactionId;

/*
 * Hash the bytes of a value.  Equal keys may have different bytes (1.0 and
 * 1.00): the place is not found then, and no harm done.
 */
static uint32
hash_value(Form_pg_attribute attribute, Datum value)
{
	if (attribute->attbyval)
		return murmurhash32((uint32) value ^ (uint32) (value >> 32));
	if (attribute->attlen == -1)
		return hash_bytes((unsigned char *) VARDATA_ANY(DatumGetPointer(value)),
						  (int) VARSIZE_ANY_EXHDR(DatumGetPointer(value)));
	return attribute->attlen > 0 ?
		hash_bytes((unsigned char *) DatumGetPointer(value), attribute->attlen) : 0;
}

/* Hash the key of a row; false if rows of this table, or that key, have no place. */
static bool
hash_key(TargetTable *table, const RemoteRow *row, uint32 *hash)
{
	const RelationMap *map = table->map;

	if (table->rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return false;
	*hash = map->relid;
	for (int i = 0; i < map->nkeys; i++)
	{
		int			attno = map->key_attnums[i] - 1;
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table->rel), attno);

		if (row->isnull[attno])
			return false;
		*hash = hash_combine(*hash, hash_value(attribute, row->values[attno]));
	}
	return true;
}

/* Which place belongs to a hash? */
static int
place_of(uint32 hash)
{
	return hash & (PLACES - 1);
}

/* And which tag? */
static uint16
tag_of(uint32 hash)
{
	return (uint16) (hash >> 16);
}

/* Which file holds the rows now? */
static Oid
file_of(TargetTable *table)
{
	return table->rel->rd_rel->relfilenode;
}

void
mc_place_note(TargetTable *table, const RemoteRow *row,
			  const ItemPointerData *tid)
{
	uint32		hash;
	Place	   *place;

	if (!hash_key(table, row, &hash))
		return;

	/* Long before numbers of transactions come again. */
	if ((int32) (GetTopTransactionId() - oldest) > MAX_AGE)
		mc_place_forget();
	if (!TransactionIdIsValid(oldest))
		oldest = GetTopTransactionId();
	tags[place_of(hash)] = tag_of(hash);
	place = &places[place_of(hash)];
	place->relid = table->map->relid;
	place->file = file_of(table);
	place->hash = hash;
	place->xid = GetTopTransactionId();
	place->tid = *tid;
}

/* Is the page there on which a row was? */
static bool
page_is_there(Relation rel, const Place *place)
{
	TransactionId held = mc_hold_xid();

	return (TransactionIdIsValid(held) && !TransactionIdPrecedes(place->xid, held)) ||
		ItemPointerGetBlockNumber(&place->tid) < RelationGetNumberOfBlocks(rel);
}

/* Has the row in a slot the key? */
static bool
has_key(TargetTable *table, const RemoteRow *row, TupleTableSlot *slot)
{
	for (int i = 0; i < table->map->nkeys; i++)
	{
		AttrNumber	attnum = table->map->key_attnums[i];
		ScanKey		key = &table->scan_keys[i];
		bool		isnull;
		Datum		value = slot_getattr(slot, attnum, &isnull);

		if (isnull ||
			!DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation,
											value, row->values[attnum - 1])))
			return false;
	}
	return true;
}

bool
mc_place_fetch(TargetTable *table, const RemoteRow *row, TupleTableSlot *slot)
{
	uint32		hash;
	Place	   *place;
	Buffer		buffer;
	bool		found;

	if (!hash_key(table, row, &hash) || tags[place_of(hash)] != tag_of(hash))
		return false;
	place = &places[place_of(hash)];
	if (place->relid != table->map->relid || place->hash != hash ||
		place->file != file_of(table) || !page_is_there(table->rel, place))
		return false;

	/* As a search by the index does: otherwise old versions would stay. */
	ExecClearTuple(slot);
	buffer = ReadBuffer(table->rel, ItemPointerGetBlockNumber(&place->tid));
	heap_page_prune_opt_compat(table->rel, buffer);
	found = table_tuple_fetch_row_version(table->rel, &place->tid, &table->dirty, slot) &&
		has_key(table, row, slot);
	ReleaseBuffer(buffer);
	if (!found)
		ExecClearTuple(slot);
	return found;
}

void
mc_place_forget(void)
{
	memset(places, 0, sizeof(places));
	oldest = InvalidTransactionId;
}
