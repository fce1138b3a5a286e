/*-------------------------------------------------------------------------
 *
 * writeset.c
 *	  Which keys a transaction writes, before it is applied.
 *
 * NOTES
 *	  Two transactions may be applied beside each other if they write no row
 *	  of the same key.  Nothing else is needed: other unique keys are settled
 *	  when all transactions before are committed (displace.c), and foreign keys
 *	  are not checked on apply.
 *
 *	  A key is hashed as bytes, the same whether it travels in an image or as
 *	  values.  That is right only for types whose equal values are equal bytes.
 *	  With any other type in its key a table counts as one key; so does one
 *	  without a key, but for what is inserted there.
 *
 *	  The last writers stand in a table without keys: what meets in one place
 *	  of it by accident waits for each other, and nothing is ever missed.
 *
 *	  What is not known to be simple is applied alone: all records but changes
 *	  of rows, tables that the receiver has not written to since it has heard
 *	  of them or since they were changed, and those of the group's catalog.  The bytes come from the peer: each is looked for first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "target/writeset.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"

/* Places for the last writers; a power of 2. */
#define WRITERS				65536

/* Beyond so many rows a transaction is one of the large ones. */
#define MAX_WRITES			4096

/* How the bytes of a column in an image become those that are sent. */
typedef enum KeyForm
{
	FORM_AS_IS,					/* of a fixed length */
	FORM_INTEGER,				/* in the byte order of the server */
	FORM_NAME,					/* up to the zero */
	FORM_VARLENA,
} KeyForm;

typedef struct KeyColumn
{
	int			number;			/* among the peer's columns */
	KeyForm		form;
} KeyColumn;

/* The key of a table. */
struct WriteKey
{
	bool		whole;			/* the table counts as one key */
	int			ncolumns;
	KeyColumn	columns[FLEXIBLE_ARRAY_MEMBER];
};

struct WriteSet
{
	RelationCache *relations;
	int			nwrites;
	uint32		reads[MAX_WRITES * 2 + 2];	/* places that it depends on */
	uint32		writes[MAX_WRITES * 2 + 2]; /* and those that it enters */
	int			nreads;
	uint64		writers[WRITERS];
};

WriteSet *
mc_writeset_create(RelationCache *relations)
{
	WriteSet   *set = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(WriteSet));

	memset(set, 0, sizeof(WriteSet));
	set->relations = relations;
	return set;
}

/* ---- keys of tables ---- */

/* The types whose equal values are equal bytes, by their "=". */
static bool
form_of(Oid equality, Oid collation, KeyForm *form)
{
	switch (equality)
	{
		case F_BOOLEQ:
		case F_CHAREQ:
		case F_UUID_EQ:
			*form = FORM_AS_IS;
			return true;
		case F_INT2EQ:
		case F_INT4EQ:
		case F_INT8EQ:
		case F_OIDEQ:
		case F_DATE_EQ:
		case F_TIMESTAMP_EQ:
		case F_TIMESTAMPTZ_EQ:
			*form = FORM_INTEGER;
			return true;
		case F_NAMEEQ:
			*form = FORM_NAME;
			return true;
		case F_BYTEAEQ:
			*form = FORM_VARLENA;
			return true;
		case F_TEXTEQ:
			*form = FORM_VARLENA;
			return OidIsValid(collation) && get_collation_isdeterministic(collation);
		default:
			return false;
	}
}

/* Look up the key of a table. */
static struct WriteKey *
make_key(RelationMap *map)
{
	struct WriteKey *key = MemoryContextAllocZero(map->local_context,
												  offsetof(struct WriteKey, columns) +
												  sizeof(KeyColumn) * map->nkeys);

	StartTransactionCommand();
	key->ncolumns = map->nkeys;
	key->whole = map->nkeys == 0;
	for (int i = 0; i < map->nkeys; i++)
	{
		int			number = map->remote_index[map->key_attnums[i] - 1];
		ScanKey		scan = &map->scan_keys[i];

		key->columns[i].number = number;
		if (number < 0 || !map->columns[number].builtin || !map->columns[number].same_type ||
			!form_of(scan->sk_func.fn_oid, scan->sk_collation, &key->columns[i].form))
			key->whole = true;
	}
	CommitTransactionCommand();
	return key;
}

/* ---- values ---- */

/* Add a value to a hash. */
static uint64
add_value(uint64 hash, KeyForm form, const char *bytes, uint32 len)
{
	char		turned[sizeof(uint64)];

#ifndef WORDS_BIGENDIAN
	if (form == FORM_INTEGER && len <= sizeof(turned))
	{
		for (uint32 i = 0; i < len; i++)
			turned[i] = bytes[len - 1 - i];
		bytes = turned;
	}
#endif
	return hash_combine64(hash, hash_bytes_extended((const unsigned char *) bytes,
													(int) len, len));
}

/*
 * The next value in an image: where it begins and how long it is.  Returns
 * false if it does not lie within the image, or is not stored in the plain way.
 */
static bool
take_image_value(const RemoteColumn *column, WireBytes image, uint32 *offset,
				 WireBytes *value)
{
	uint32		at = *offset;
	uint32		size;
	uint32		header = 0;

	if (column->attlen < -1 || column->attlen == 0)
		return false;
	if (column->attlen > 0)
	{
		at = (uint32) att_align_nominal(at, column->attalign);
		size = (uint32) column->attlen;
	}
	else
	{
		varattrib_4b word;

		if (at >= image.len)
			return false;
		if (image.data[at] == 0)
			at = (uint32) att_align_nominal(at, column->attalign);
		if (at >= image.len)
			return false;
		if (VARATT_IS_1B(image.data + at))
		{
			if (VARATT_IS_1B_E(image.data + at))
				return false;
			size = VARSIZE_1B(image.data + at);
			header = VARHDRSZ_SHORT;
		}
		else
		{
			if (image.len - at < VARHDRSZ)
				return false;
			memcpy(&word, image.data + at, VARHDRSZ);
			if (!VARATT_IS_4B_U(&word))
				return false;
			size = VARSIZE_4B(&word);
			header = VARHDRSZ;
		}
		if (size < header)
			return false;
	}
	if (at > image.len || size > image.len - at)
		return false;
	value->data = image.data + at + header;
	value->len = size - header;
	*offset = at + size;
	return true;
}

/* The values of a row's first columns; false if one is not to be had. */
static bool
image_values(const RelationMap *map, const WireTuple *tuple, int count,
			 WireBytes *values)
{
	uint32		offset = 0;

	for (int i = 0; i < count; i++)
	{
		values[i].data = NULL;
		values[i].len = 0;
		if (tuple->null_bitmap.len > 0 &&
			att_isnull(i, (const uint8 *) tuple->null_bitmap.data))
			continue;
		if (!take_image_value(&map->columns[i], tuple->image, &offset, &values[i]))
			return false;
	}
	return true;
}

/* The same of one that travels as values. */
static bool
column_values(const WireTuple *tuple, int count, WireBytes *values)
{
	WireCursor	cursor = mc_wire_cursor(tuple->image);
	const char *problem = NULL;
	WireColumn	column;

	for (int i = 0; i < count; i++)
	{
		if (mc_wire_next_column(&cursor, &column, &problem) != WIRE_OK)
			return false;
		values[i].data = NULL;
		if (column.kind == COLUMN_BINARY)
			values[i] = column.value;
	}
	return true;
}

/* Hash the key of a row; false if that cannot be done. */
static bool
hash_key(const RelationMap *map, const WireTuple *tuple, uint64 *hash)
{
	const struct WriteKey *key = map->write_key;
	WireBytes	values[MC_MAX_COLUMNS];
	bool		image = tuple->format == TUPLE_RAW;
	int			count = 0;

	for (int i = 0; i < key->ncolumns; i++)
		count = Max(count, key->columns[i].number + 1);
	if (tuple->ncolumns != map->ncolumns || count > MC_MAX_COLUMNS)
		return false;
	if (!(image ? image_values(map, tuple, count, values) :
		  column_values(tuple, count, values)))
		return false;
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];
		WireBytes	value = values[column->number];

		if (value.data == NULL)
			return false;
		if (column->form == FORM_NAME && image)
			value.len = (uint32) strnlen(value.data, value.len);

		/* Values are sent in network byte order. */
		*hash = add_value(*hash, column->form == FORM_INTEGER && !image ? FORM_AS_IS :
						  column->form, value.data, value.len);
	}
	return true;
}

/* ---- transactions ---- */

/* The place of a hash. */
static uint32
place_of(uint64 hash)
{
	hash ^= hash >> 33;
	hash *= UINT64CONST(0xFF51AFD7ED558CCD);
	hash ^= hash >> 33;
	return (uint32) (hash & (WRITERS - 1));
}

/* Two places of a table: its last writer, and the last one of all of it. */
static uint32
table_place(const RelationMap *map, bool any)
{
	return place_of(((uint64) map->relid << 1) | (any ? 1 : 0));
}

/* Note that a transaction depends on one place and enters another. */
static void
add_write(WriteSet *set, uint32 depends, uint32 enters)
{
	set->reads[set->nreads] = depends;
	set->writes[set->nreads] = enters;
	set->nreads++;
}

/* The table of a record, if its changes can be applied beside others. */
static RelationMap *
find_simple(WriteSet *set, uint32 relid)
{
	RelationMap *map = mc_relation_find(set->relations, relid);

	if (map == NULL || !map->valid || map->group_catalog)
		return NULL;
	if (map->write_key == NULL)
		map->write_key = make_key(map);

	/* Looking it up may have told us of a change. */
	return map->valid ? map : NULL;
}

/* Look at one row of a record. */
static bool
look_at_row(WriteSet *set, const RelationMap *map, const WireTuple *tuple)
{
	uint64		hash = map->relid;
	uint32		place;

	if (!hash_key(map, tuple, &hash))
		return false;
	place = place_of(hash);
	add_write(set, place, place);
	return true;
}

/* Look at one record. */
static bool
look_at_record(WriteSet *set, const WireRecord *record)
{
	RelationMap *map;

	if (record->type != RECORD_INSERT && record->type != RECORD_UPDATE &&
		record->type != RECORD_DELETE)
		return false;
	map = find_simple(set, record->relid);
	if (map == NULL || ++set->nwrites > MAX_WRITES / 2)
		return false;


	/* Without a key nothing is looked for before an INSERT. */
	if (map->nkeys == 0 && record->type == RECORD_INSERT)
	{
		add_write(set, table_place(map, false), table_place(map, true));
		return true;
	}
	if (map->write_key->whole)
	{
		add_write(set, table_place(map, true), table_place(map, true));
		add_write(set, table_place(map, false), table_place(map, false));
		return true;
	}
	add_write(set, table_place(map, false), table_place(map, true));
	if (record->old_kind != OLD_ROW_NONE && !look_at_row(set, map, &record->old_row))
		return false;
	return record->type == RECORD_DELETE || look_at_row(set, map, &record->new_row);
}

bool
mc_writeset_look(WriteSet *set, WireCursor body)
{
	const char *problem = NULL;
	WireRecord	record;
	WireStatus	status;

	set->nwrites = 0;
	set->nreads = 0;
	AcceptInvalidationMessages();
	while ((status = mc_wire_next_record(&body, &record, &problem)) == WIRE_OK)
		if (!look_at_record(set, &record))
			return false;
	return status == WIRE_END;
}

uint64
mc_writeset_depends(const WriteSet *set)
{
	uint64		number = 0;

	for (int i = 0; i < set->nreads; i++)
		number = Max(number, set->writers[set->reads[i]]);
	return number;
}

void
mc_writeset_enter(WriteSet *set, uint64 number)
{
	for (int i = 0; i < set->nreads; i++)
		set->writers[set->writes[i]] = number;
}
