/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  Changes of rows, decoded from the WAL, as records of a frame.
 *
 * NOTES
 *	  What is known of a table is worked out once and kept until the relation
 *	  cache or a type changes; then the definition is sent again, too.  An
 *	  entry that is invalidated stays usable for the row that is being
 *	  encoded, and is rebuilt by the next one.
 *
 *	  A row travels as the image of its tuple if the target reads images, all
 *	  columns are portable, none is dropped, nothing in the tuple is compressed
 *	  or out of line, and no jsonb very deep.  Otherwise column by column:
 *	  built-in types by their send function, which is the same in all versions,
 *	  others by their output function, since OIDs within them mean something
 *	  else elsewhere.
 *
 *	  Generated columns travel as null, for the target computes them, unless
 *	  they are part of the key that it must find the row by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/tupmacs.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "core/image.h"
#include "core/jsonb_image.h"
#include "mb/pg_wchar.h"
#include "origin/encode.h"
#include "state/registry.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"

/* What the walk over a tuple needs of a column; kept small and together. */
typedef struct ColumnLayout
{
	int16		attlen;
	uint8		alignment;
	bool		is_jsonb;
} ColumnLayout;

/* How the values of a column are written. */
typedef struct ColumnPlan
{
	bool		dropped;
	bool		as_null;		/* generated, and not part of the key */
	ColumnKind	kind;			/* COLUMN_BINARY or COLUMN_TEXT */
	FmgrInfo	function;		/* send or output function */
} ColumnPlan;

/* What we know of a table. */
typedef struct RelationEntry
{
	Oid			relid;			/* hash key */
	bool		valid;			/* false: rebuild before the next use */
	bool		sent;			/* the target has this definition */
	bool		images;			/* tuples may travel as images */
	TableRoute	route;
	int			natts;			/* dropped columns included */
	uint16		nlive;
	int			last_varlena;	/* index of the last such column, or -1 */
	ColumnLayout *layout;
	ColumnPlan *columns;
	Bitmapset  *key;			/* columns of the identity index, offset as in
								 * the relation cache */
	const char *schema;			/* NULL: a table of the group's own catalog */
	MemoryContext context;		/* holds all of the above */
} RelationEntry;

struct RowEncoder
{
	MemoryContext context;
	MemoryContext row_context;	/* reset after each row */
	int			encoding;		/* of the target */
	bool		images;
	HTAB	   *relations;
	RelationEntry *last;		/* found last; entries are never removed */
	Datum	   *values;			/* a row taken apart */
	bool	   *nulls;
	Datum	   *old_values;
	bool	   *old_nulls;
};

/*
 * The encoder of this process, for the callbacks of the caches, which cannot
 * be taken back.
 */
static RowEncoder *active_encoder = NULL;

/* ---- what is known of tables ---- */

/* Forget what we know of a table, or of all of them. */
static void
invalidate_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	RelationEntry *entry;

	if (active_encoder == NULL)
		return;
	if (OidIsValid(relid))
	{
		entry = hash_search(active_encoder->relations, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&scan, active_encoder->relations);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

/* A type or schema was changed: any definition may speak of it. */
static void
invalidate_names(Datum arg, SysCacheIdentifier_compat cacheid, uint32 hashvalue)
{
	invalidate_relation(arg, InvalidOid);
}

/* The encoder's memory goes away. */
static void
forget_encoder(void *arg)
{
	if (active_encoder == arg)
		active_encoder = NULL;
}

RowEncoder *
mc_encoder_create(MemoryContext context, int encoding, bool images)
{
	static bool callbacks_registered = false;
	MemoryContext caller_context = MemoryContextSwitchTo(context);
	RowEncoder *encoder = palloc0(sizeof(RowEncoder));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	HASHCTL		control = {0};

	encoder->context = context;
	encoder->row_context = AllocSetContextCreate(context, "multicenter row",
												 ALLOCSET_DEFAULT_SIZES);
	encoder->encoding = encoding;
	encoder->images = images;
	encoder->values = palloc(MaxTupleAttributeNumber * sizeof(Datum));
	encoder->nulls = palloc(MaxTupleAttributeNumber * sizeof(bool));
	encoder->old_values = palloc(MaxTupleAttributeNumber * sizeof(Datum));
	encoder->old_nulls = palloc(MaxTupleAttributeNumber * sizeof(bool));

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(RelationEntry);
	control.hcxt = context;
	encoder->relations = hash_create("multicenter relations", 128, &control,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, invalidate_names, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_names, (Datum) 0);
		callbacks_registered = true;
	}
	callback->func = forget_encoder;
	callback->arg = encoder;
	MemoryContextRegisterResetCallback(context, callback);
	active_encoder = encoder;

	MemoryContextSwitchTo(caller_context);
	return encoder;
}

/*
 * Does a type travel by its send function?  OIDs below FirstGenbkiObjectId are
 * assigned by hand and so the same in all versions; what initdb makes after
 * them is not.  The reg* types hold OIDs of the origin's catalog.  XML changes
 * its declaration of the encoding on the way through its send function.  Empty
 * values of the other exceptions are refused by their own receive functions,
 * in some releases at least.
 */
static bool
travels_binary(Oid type_oid)
{
	HeapTuple	tuple;
	Form_pg_type type;
	bool		result;
	Oid			element;

	if (type_oid >= FirstGenbkiObjectId || type_oid == XMLOID ||
		type_oid == OIDVECTOROID || type_oid == INT2VECTOROID ||
		type_oid == TSQUERYOID)
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type_oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type_oid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	result = (type->typtype == TYPTYPE_BASE ||
			  type->typtype == TYPTYPE_RANGE ||
			  type->typtype == TYPTYPE_MULTIRANGE) &&
		OidIsValid(type->typsend) &&
		OidIsValid(type->typreceive) &&
		strncmp(NameStr(type->typname), "reg", 3) != 0;
	element = type->typelem;
	ReleaseSysCache(tuple);
	return result && (!OidIsValid(element) || travels_binary(element));
}

/* Decide how a column is written. */
static void
plan_column(RelationEntry *entry, Form_pg_attribute att)
{
	ColumnPlan *plan = &entry->columns[att->attnum - 1];
	Oid			function;
	bool		is_varlena;

	plan->dropped = att->attisdropped;
	if (plan->dropped)
		return;
	plan->as_null = att->attgenerated != '\0' &&
		!bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, entry->key);
	if (travels_binary(att->atttypid))
	{
		plan->kind = COLUMN_BINARY;
		getTypeBinaryOutputInfo(att->atttypid, &function, &is_varlena);
	}
	else
	{
		plan->kind = COLUMN_TEXT;
		getTypeOutputInfo(att->atttypid, &function, &is_varlena);
	}
	fmgr_info_cxt(function, &plan->function, entry->context);
}

/* Work out everything about a table that is replicated. */
static void
plan_columns(RowEncoder *encoder, RelationEntry *entry, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	MemoryContext caller_context = MemoryContextSwitchTo(entry->context);

	entry->natts = desc->natts;
	entry->nlive = 0;
	entry->last_varlena = -1;
	entry->images = encoder->images;
	entry->layout = palloc0(Max(desc->natts, 1) * sizeof(ColumnLayout));
	entry->columns = palloc0(Max(desc->natts, 1) * sizeof(ColumnPlan));
	entry->key = entry->route == ROUTE_KEYED ? RelationGetIdentityKeyBitmap(rel) : NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		plan_column(entry, att);
		entry->layout[i].attlen = att->attlen;
		entry->layout[i].alignment = mc_alignment_bytes(att->attalign);
		entry->layout[i].is_jsonb = att->atttypid == JSONBOID;
		if (!att->attisdropped)
			entry->nlive++;
		if (att->attlen == -1)
			entry->last_varlena = i;
		if (att->attisdropped || !mc_image_portable(att->atttypid, att->atttypmod))
			entry->images = false;
	}
	MemoryContextSwitchTo(caller_context);
}

/* Name of a schema; an error if it is gone, which cannot happen in decoding. */
static char *
schema_name(Oid namespace_oid)
{
	char	   *name = get_namespace_name(namespace_oid);

	if (name == NULL)
		elog(ERROR, "cache lookup failed for namespace %u", namespace_oid);
	return name;
}

/* Find what is known of a table; work it out if that is nothing. */
static RelationEntry *
get_entry(RowEncoder *encoder, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	RelationEntry *entry = encoder->last;
	bool		found;

	if (entry != NULL && entry->relid == relid && entry->valid)
		return entry;
	entry = hash_search(encoder->relations, &relid, HASH_ENTER, &found);
	encoder->last = entry;
	if (found && entry->valid)
		return entry;

	if (!found)
		entry->context = NULL;
	entry->valid = false;
	entry->sent = false;
	if (entry->context == NULL)
		entry->context = AllocSetContextCreate(encoder->context,
											   "multicenter relation",
											   ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(entry->context);

	/* An invalidation from here on is one of what is being read now. */
	entry->valid = true;
	entry->route = mc_route_table(rel);
	entry->schema = NULL;
	if (entry->route != ROUTE_NONE)
	{
		plan_columns(encoder, entry, rel);
		if (!mc_registry_is_group_catalog(relid))
			entry->schema = MemoryContextStrdup(entry->context,
												schema_name(RelationGetNamespace(rel)));
	}
	return entry;
}

TableRoute
mc_encoder_route(RowEncoder *encoder, Relation rel)
{
	return get_entry(encoder, rel)->route;
}

const char *
mc_encoder_schema(RowEncoder *encoder, Relation rel)
{
	return get_entry(encoder, rel)->schema;
}

/* ---- definitions ---- */

/*
 * Text of this database in the encoding of the target.  The result may be the
 * argument.
 */
static char *
to_target(RowEncoder *encoder, char *string, int len)
{
	return pg_server_to_any(string, len, encoder->encoding);
}

/* A name of an object, likewise. */
static const char *
name_to_target(RowEncoder *encoder, char *name)
{
	return to_target(encoder, name, (int) strlen(name));
}

/* Append the definition of a column. */
static void
put_attribute(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
			  Form_pg_attribute att)
{
	HeapTuple	tuple;
	Form_pg_type type;
	WireAttribute attribute = {{0}};

	attribute.type_oid = att->atttypid;
	attribute.typmod = att->atttypmod;
	attribute.attlen = att->attlen;
	attribute.attbyval = att->attbyval;
	attribute.attalign = att->attalign;
	if (bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, entry->key))
		attribute.flags |= ATTRIBUTE_KEY;
	if (att->attgenerated != '\0')
		attribute.flags |= ATTRIBUTE_GENERATED;

	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(att->atttypid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", att->atttypid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	mc_wire_put_attribute(out,
						  name_to_target(encoder, NameStr(att->attname)),
						  name_to_target(encoder, schema_name(type->typnamespace)),
						  name_to_target(encoder, NameStr(type->typname)),
						  &attribute);
	ReleaseSysCache(tuple);
}

/* The replica identity as the target is told. */
static char
wire_replident(RelationEntry *entry, Relation rel)
{
	switch (entry->route)
	{
		case ROUTE_KEYED:
		case ROUTE_FULL:
			return rel->rd_rel->relreplident;
		default:
			return REPLICA_IDENTITY_NOTHING;
	}
}

/* Append a RELATION record unless the target has it; into row_context. */
static void
put_relation(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
			 Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			record;

	if (entry->sent)
		return;
	record = mc_wire_begin_record(out, RECORD_RELATION);
	mc_wire_put_relation(out, RelationGetRelid(rel),
						 name_to_target(encoder, schema_name(RelationGetNamespace(rel))),
						 name_to_target(encoder, RelationGetRelationName(rel)),
						 wire_replident(entry, rel), entry->nlive);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			put_attribute(encoder, out, entry, TupleDescAttr(desc, i));
	mc_wire_end_record(out, record);
	entry->sent = true;
}

void
mc_encode_relation(RowEncoder *encoder, StringInfo out, Relation rel)
{
	MemoryContext caller_context = MemoryContextSwitchTo(encoder->row_context);

	put_relation(encoder, out, get_entry(encoder, rel), rel);
	MemoryContextSwitchTo(caller_context);
	MemoryContextReset(encoder->row_context);
}

/* ---- rows ---- */

/*
 * Would the target refuse a jsonb, not compressed, in an image?  It is a
 * document that is too deep, or one that its input function would not take
 * either.  We ask the function that the target asks, since what it refuses
 * stops the link.
 */
static bool
is_refused_jsonb(const char *value)
{
	WireBytes	content = {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};

	return mc_check_jsonb(content, GetDatabaseEncoding()) != NULL;
}

/*
 * Is a value of the tuple compressed, or a jsonb that cannot travel in an
 * image?  The tuple has all columns of the entry, none of them out of line and
 * none of type cstring.
 */
static bool
has_unportable(const RelationEntry *entry, HeapTupleHeader header)
{
	const char *data = (const char *) header + header->t_hoff;
	bool		has_nulls = (header->t_infomask & HEAP_HASNULL) != 0;
	Size		pos = 0;

	for (int i = 0; i <= entry->last_varlena; i++)
	{
		const ColumnLayout *column = &entry->layout[i];

		if (has_nulls && att_isnull(i, header->t_bits))
			continue;
		if (column->attlen != -1)
		{
			pos = TYPEALIGN(column->alignment, pos) + column->attlen;
			continue;
		}
		if (!VARATT_NOT_PAD_BYTE(data + pos))
			pos = TYPEALIGN(column->alignment, pos);
		if (VARATT_IS_COMPRESSED(data + pos) ||
			(column->is_jsonb && is_refused_jsonb(data + pos)))
			return true;
		pos += VARSIZE_ANY(data + pos);
	}
	return false;
}

/* Can the tuple travel as an image? */
static bool
is_plain(const RelationEntry *entry, HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	/* Older tuples lack columns that were added with a constant default. */
	if (!entry->images ||
		HeapTupleHeaderGetNatts(header) != entry->natts ||
		(header->t_infomask & HEAP_HASEXTERNAL))
		return false;
	if (!(header->t_infomask & HEAP_HASVARWIDTH))
		return true;
	return !has_unportable(entry, header);
}

/* Append the image of a tuple. */
static void
put_image(StringInfo out, const RelationEntry *entry, HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;
	WireBytes	null_bitmap = {NULL, 0};
	WireBytes	image;

	if (header->t_infomask & HEAP_HASNULL)
	{
		null_bitmap.data = (const char *) header->t_bits;
		null_bitmap.len = BITMAPLEN(entry->natts);
	}
	image.data = (const char *) header + header->t_hoff;
	image.len = tuple->t_len - header->t_hoff;
	mc_wire_put_raw_tuple(out, (uint16) entry->natts, null_bitmap, image);
}

/* Append one value. */
static void
put_value(RowEncoder *encoder, StringInfo out, ColumnPlan *plan, Datum value)
{
	if (plan->kind == COLUMN_BINARY)
	{
		bytea	   *sent = SendFunctionCall(&plan->function, value);

		mc_wire_put_column(out, COLUMN_BINARY, VARDATA(sent),
						   VARSIZE(sent) - VARHDRSZ);
	}
	else
	{
		char	   *string = OutputFunctionCall(&plan->function, value);

		string = to_target(encoder, string, (int) strlen(string));
		mc_wire_put_column(out, COLUMN_TEXT, string, (uint32) strlen(string));
	}
}

/* Is a value of variable length kept in the TOAST table, and not here? */
static inline bool
is_elsewhere(const ColumnLayout *column, Datum value)
{
	return column->attlen == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/*
 * Append a tuple column by column.  is_update: the tuple is the new row of an
 * update, of which full_old is the whole old row or NULL.  What the update has
 * left in the TOAST table is not in the WAL, except in the old row.
 */
static void
put_columns(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
			Relation rel, HeapTuple tuple, bool is_update, HeapTuple full_old)
{
	int			row;

	heap_deform_tuple(tuple, RelationGetDescr(rel), encoder->values, encoder->nulls);
	if (full_old != NULL)
		heap_deform_tuple(full_old, RelationGetDescr(rel),
						  encoder->old_values, encoder->old_nulls);
	row = mc_wire_begin_columns(out, entry->nlive);
	for (int i = 0; i < entry->natts; i++)
	{
		ColumnPlan *plan = &entry->columns[i];
		Datum		value = encoder->values[i];

		if (plan->dropped)
			continue;
		if (encoder->nulls[i] || plan->as_null)
		{
			mc_wire_put_column(out, COLUMN_NULL, NULL, 0);
			continue;
		}
		if (is_elsewhere(&entry->layout[i], value))
		{
			if (!is_update)
				elog(ERROR, "value of column %d of table \"%s\" is not in the WAL",
					 i + 1, RelationGetRelationName(rel));
			if (full_old == NULL || encoder->old_nulls[i])
			{
				mc_wire_put_column(out, COLUMN_UNCHANGED, NULL, 0);
				continue;
			}
			value = encoder->old_values[i];
		}
		put_value(encoder, out, plan, value);
	}
	mc_wire_end_columns(out, row);
}

/* Append a row that is not the new row of an update. */
static void
put_row(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
		Relation rel, HeapTuple tuple)
{
	if (is_plain(entry, tuple))
		put_image(out, entry, tuple);
	else
		put_columns(encoder, out, entry, rel, tuple, false, NULL);
}

/*
 * Raise an error for a change that cannot be told to the target because the
 * table has no replica identity.  A hook refuses such statements; this is for
 * those that were written before it was there.
 */
static void
refuse_change(Relation rel, const char *operation)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot replicate %s of table \"%s.%s\", which has no replica identity",
					operation, schema_name(RelationGetNamespace(rel)),
					RelationGetRelationName(rel)),
			 errhint("The target cannot find the row without a key. Create a primary key or"
					 " set REPLICA IDENTITY, then let the target part and join again.")));
}

/* Append the kind of the old row, and the row if there is one. */
static void
put_old_row(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
			Relation rel, HeapTuple tuple)
{
	if (tuple == NULL)
	{
		mc_wire_put_old_kind(out, OLD_ROW_NONE);
		return;
	}
	mc_wire_put_old_kind(out, entry->route == ROUTE_FULL ? OLD_ROW_FULL : OLD_ROW_KEY);
	put_row(encoder, out, entry, rel, tuple);
}

/* Append an UPDATE. */
static void
put_update(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
		   Relation rel, HeapTuple old_tuple, HeapTuple new_tuple)
{
	int			record;

	if (entry->route == ROUTE_INSERT_ONLY ||
		(entry->route == ROUTE_FULL && old_tuple == NULL))
		refuse_change(rel, "UPDATE");
	record = mc_wire_begin_record(out, RECORD_UPDATE);
	mc_wire_put_relid(out, RelationGetRelid(rel));
	put_old_row(encoder, out, entry, rel, old_tuple);
	if (is_plain(entry, new_tuple))
		put_image(out, entry, new_tuple);
	else
		put_columns(encoder, out, entry, rel, new_tuple, true,
					entry->route == ROUTE_FULL ? old_tuple : NULL);
	mc_wire_end_record(out, record);
}

/* Append an INSERT. */
static void
put_insert(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
		   Relation rel, HeapTuple new_tuple)
{
	int			record = mc_wire_begin_record(out, RECORD_INSERT);

	mc_wire_put_relid(out, RelationGetRelid(rel));
	put_row(encoder, out, entry, rel, new_tuple);
	mc_wire_end_record(out, record);
}

/* Append a DELETE. */
static void
put_delete(RowEncoder *encoder, StringInfo out, RelationEntry *entry,
		   Relation rel, HeapTuple old_tuple)
{
	int			record;

	if (entry->route == ROUTE_INSERT_ONLY || old_tuple == NULL)
		refuse_change(rel, "DELETE");
	record = mc_wire_begin_record(out, RECORD_DELETE);
	mc_wire_put_relid(out, RelationGetRelid(rel));
	put_old_row(encoder, out, entry, rel, old_tuple);
	mc_wire_end_record(out, record);
}

void
mc_encode_change(RowEncoder *encoder, StringInfo out, Relation rel,
				 ReorderBufferChange *change)
{
	MemoryContext caller_context = MemoryContextSwitchTo(encoder->row_context);
	RelationEntry *entry = get_entry(encoder, rel);
	HeapTuple	old_tuple = mc_change_old_tuple(change);
	HeapTuple	new_tuple = mc_change_new_tuple(change);

	if (new_tuple == NULL && change->action != REORDER_BUFFER_CHANGE_DELETE)
		elog(ERROR, "change of table \"%s\" has no new row in the WAL",
			 RelationGetRelationName(rel));
	put_relation(encoder, out, entry, rel);
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			put_insert(encoder, out, entry, rel, new_tuple);
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			put_update(encoder, out, entry, rel, old_tuple, new_tuple);
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			put_delete(encoder, out, entry, rel, old_tuple);
			break;
		default:
			elog(ERROR, "unexpected change %d", (int) change->action);
	}
	MemoryContextSwitchTo(caller_context);
	MemoryContextReset(encoder->row_context);
}

/* ---- messages ---- */

void
mc_encode_message(RowEncoder *encoder, StringInfo out, const char *prefix,
				  WireBytes content)
{
	MemoryContext caller_context = MemoryContextSwitchTo(encoder->row_context);
	StringInfoData converted;
	uint32		pos = 0;
	int			record;

	/* Conversion functions stop at a zero byte: take string after string. */
	initStringInfo(&converted);
	while (pos < content.len)
	{
		int			len = (int) strnlen(content.data + pos, content.len - pos);
		char	   *string = pnstrdup(content.data + pos, len);

		appendStringInfoString(&converted, to_target(encoder, string, len));
		appendStringInfoChar(&converted, '\0');
		pos += len + 1;
	}

	record = mc_wire_begin_record(out, RECORD_MESSAGE);
	mc_wire_put_message(out, prefix, converted.data, (uint32) converted.len);
	mc_wire_end_record(out, record);
	MemoryContextSwitchTo(caller_context);
	MemoryContextReset(encoder->row_context);
}
