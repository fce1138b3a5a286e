/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  What the peer calls a table, mapped to the table of this center.
 *
 * NOTES
 *	  Columns are mapped by name, so the two sides may order them
 *	  differently.  The peer is not trusted with the choice of the table: it
 *	  must be one that is replicated here as well, or the peer could write to
 *	  the system catalogs.
 *
 *	  Changes of types need not be noticed: what is remembered of them are the
 *	  OIDs of input functions, which do not change, and facts about built-in
 *	  types.  The functions' own caches live as long as a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "origin/routing.h"
#include "state/registry.h"
#include "storage/lmgr.h"
#include "target/relation.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "compat.h"

struct RelationCache
{
	MemoryContext context;
	HTAB	   *maps;			/* of RelationMap, by remote relid */
};

/* Mark the maps of one table as outdated, or all with InvalidOid. */
static void
relation_changed(Datum arg, Oid relid)
{
	RelationCache *cache = (RelationCache *) DatumGetPointer(arg);
	HASH_SEQ_STATUS status;
	RelationMap *map;

	hash_seq_init(&status, cache->maps);
	while ((map = hash_seq_search(&status)) != NULL)
	{
		/* An index has its own OID: what is found by it must be looked up. */
		if (!OidIsValid(relid) || map->relid == relid || map->index == relid)
			map->valid = false;
	}
}

/*
 * A schema was renamed, made or dropped: the relation cache does not say so of
 * the tables in it, but their names may now belong to other tables.
 */
static void
schema_changed(Datum arg, SysCacheIdentifier_compat cacheid, uint32 hashvalue)
{
	relation_changed(arg, InvalidOid);
}

RelationCache *
mc_relation_cache_create(void)
{
	RelationCache *cache = palloc0(sizeof(RelationCache));
	HASHCTL		control = {0};

	cache->context = AllocSetContextCreate(CurrentMemoryContext,
										   "multicenter relations",
										   ALLOCSET_DEFAULT_SIZES);
	control.keysize = sizeof(uint32);
	control.entrysize = sizeof(RelationMap);
	control.hcxt = cache->context;
	cache->maps = hash_create("multicenter relations", 128, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_changed, PointerGetDatum(cache));
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed,
								  PointerGetDatum(cache));
	return cache;
}

/* A name of the peer as a string; names are limited as they are here. */
static char *
copy_name(WireBytes bytes, const char *what)
{
	if (bytes.len == 0 || bytes.len >= NAMEDATALEN ||
		memchr(bytes.data, '\0', bytes.len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid %s in the description of a table", what)));
	return pnstrdup(bytes.data, bytes.len);
}

/* Copy one attribute of a RELATION record. */
static void
copy_attribute(RemoteColumn *column, const WireAttribute *attribute)
{
	column->name = copy_name(attribute->name, "column name");
	column->type_schema = copy_name(attribute->type_schema, "type schema");
	column->type_name = copy_name(attribute->type_name, "type name");
	column->flags = attribute->flags;
	column->type_oid = attribute->type_oid;
	column->typmod = attribute->typmod;
	column->attlen = attribute->attlen;
	column->attbyval = attribute->attbyval;
	column->attalign = attribute->attalign;
}

/* Copy the whole record into the map, in the current context. */
static void
copy_record(RelationMap *map, const WireRelation *record)
{
	WireCursor	cursor = mc_wire_cursor(record->attributes);
	const char *problem = NULL;

	map->schema = copy_name(record->schema, "schema name");
	map->name = copy_name(record->name, "table name");
	map->replident = record->replident;
	if (record->natts > MaxHeapAttributeNumber)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("table \"%s.%s\" is described with %d columns",
						map->schema, map->name, record->natts)));
	map->ncolumns = record->natts;
	map->columns = palloc0(sizeof(RemoteColumn) * Max(record->natts, 1));

	for (int i = 0; i < map->ncolumns; i++)
	{
		WireAttribute attribute;

		if (mc_wire_next_attribute(&cursor, &attribute, &problem) != WIRE_OK)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("invalid description of table \"%s.%s\"",
							map->schema, map->name),
					 problem ? errdetail_internal("%s", problem) : 0));
		copy_attribute(&map->columns[i], &attribute);
		for (int j = 0; j < i; j++)
		{
			if (strcmp(map->columns[i].name, map->columns[j].name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_PROTOCOL_VIOLATION),
						 errmsg("table \"%s.%s\" is described with two columns \"%s\"",
								map->schema, map->name, map->columns[i].name)));
		}
	}
}

void
mc_relation_store(RelationCache *cache, const WireRelation *record)
{
	RelationMap *map;
	bool		found;
	MemoryContext old_context;

	map = hash_search(cache->maps, &record->relid, HASH_ENTER, &found);
	if (found)
	{
		Assert(map->open == NULL);
		MemoryContextDelete(map->context);
	}
	memset((char *) map + sizeof(map->remote_relid), 0,
		   sizeof(RelationMap) - sizeof(map->remote_relid));

	map->context = AllocSetContextCreate(cache->context,
										 "multicenter relation",
										 ALLOCSET_SMALL_SIZES);
	map->local_context = AllocSetContextCreate(map->context,
											   "multicenter local relation",
											   ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(map->context);
	copy_record(map, record);
	MemoryContextSwitchTo(old_context);
}

RelationMap *
mc_relation_find(RelationCache *cache, uint32 relid)
{
	return hash_search(cache->maps, &relid, HASH_FIND, NULL);
}

/* Raise an error unless rows of the peer may be written to this table. */
static void
check_target(RelationMap *map, Relation rel)
{
	char		relkind = rel->rd_rel->relkind;

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not a table in this center",
						map->schema, map->name),
				 errdetail_relkind_not_supported(relkind)));
	if (mc_route_table(rel) == ROUTE_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" is not replicated in this center",
						map->schema, map->name),
				 errdetail("Only permanent tables outside system schemas that belong to no extension take rows of a peer.")));
}

/* Is the type the same one on every server, by OID and by name? */
static bool
is_builtin(const RemoteColumn *column)
{
	HeapTuple	tuple;
	Form_pg_type type;
	bool		builtin;

	if (column->type_oid >= FirstGenbkiObjectId)
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(column->type_oid));
	if (!HeapTupleIsValid(tuple))
		return false;
	type = (Form_pg_type) GETSTRUCT(tuple);
	builtin = type->typisdefined &&
		type->typnamespace == PG_CATALOG_NAMESPACE &&
		strcmp(column->type_schema, "pg_catalog") == 0 &&
		strcmp(column->type_name, NameStr(type->typname)) == 0 &&
		column->attlen == type->typlen &&
		column->attbyval == type->typbyval &&
		column->attalign == type->typalign;
	ReleaseSysCache(tuple);
	return builtin;
}

/* Look up how values of a remote column become values of a local one. */
static void
look_up_conversion(RemoteColumn *column, Form_pg_attribute attribute)
{
	bool		is_varlena;

	column->local_typmod = attribute->atttypmod;
	getTypeInputInfo(attribute->atttypid, &column->input,
					 &column->input_param);
	column->same_type = column->builtin &&
		column->type_oid == attribute->atttypid;
	column->same_typmod = attribute->atttypmod == -1 ||
		attribute->atttypmod == column->typmod;
	column->receive = InvalidOid;
	column->output = InvalidOid;
	if (column->builtin)
	{
		Oid			input;

		/* Not every type has a receive function: no error here. */
		HeapTuple	tuple = SearchSysCache1(TYPEOID,
											ObjectIdGetDatum(column->type_oid));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", column->type_oid);
		column->receive = ((Form_pg_type) GETSTRUCT(tuple))->typreceive;
		column->receive_param = getTypeIOParam(tuple);
		input = ((Form_pg_type) GETSTRUCT(tuple))->typinput;
		ReleaseSysCache(tuple);
		if (OidIsValid(input))
			getTypeOutputInfo(column->type_oid, &column->output, &is_varlena);
	}
}

/* Find the local column of each remote one. */
static void
map_columns(RelationMap *map, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	map->natts = desc->natts;
	map->remote_index = palloc(sizeof(int16) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
		map->remote_index[i] = -1;

	for (int i = 0; i < map->ncolumns; i++)
	{
		RemoteColumn *column = &map->columns[i];
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column->name);
		Form_pg_attribute attribute;

		column->attnum = 0;
		column->builtin = is_builtin(column);

		/* A generated column need not be here: nothing is lost. */
		if (attnum <= 0 && (column->flags & ATTRIBUTE_GENERATED))
			continue;
		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s.%s\" does not exist in this center",
							column->name, map->schema, map->name),
					 errhint("Add the column; the link then goes on by itself.")));
		attribute = TupleDescAttr(desc, attnum - 1);

		/*
		 * A column that is generated here is computed here.  The peer's value
		 * is of use only to find a row, if it belongs to the key.
		 */
		if (attribute->attgenerated && !(column->flags & ATTRIBUTE_KEY))
			continue;
		if ((column->flags & ATTRIBUTE_GENERATED) && !attribute->attgenerated)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s.%s\" is generated at the origin but not in this center",
							column->name, map->schema, map->name),
					 errhint("Define the column in the same way in all centers.")));

		column->attnum = attnum;
		map->remote_index[attnum - 1] = i;
		look_up_conversion(column, attribute);
	}
}

/* Note whether an INSERT has to compute values of its own. */
static void
look_for_local_columns(RelationMap *map, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	map->has_local_columns = false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (map->remote_index[i] < 0 && !attribute->attisdropped &&
			!attribute->attgenerated)
			map->has_local_columns = true;
	}
}

/* Is a column here the same one as at the peer, its value sent and stored? */
static bool
is_same_column(const RemoteColumn *column, TupleDesc desc, int i)
{
	return column->attnum == i + 1 && column->same_type && column->same_typmod &&
		!(column->flags & ATTRIBUTE_GENERATED) &&
		!TupleDescAttr(desc, i)->attgenerated;
}

/*
 * Describe raw images, if every column of the peer may travel in one.
 * TupleDescInitEntry() takes the layout of our own catalog, which is_builtin()
 * has found to be equal to the peer's.
 */
static void
describe_images(RelationMap *map, Relation rel)
{
	map->image_desc = NULL;
	map->image_varies = false;
	map->image_is_row = map->natts == map->ncolumns;
	map->image_columns = palloc0(sizeof(ImageColumn) * Max(map->ncolumns, 1));
	for (int i = 0; i < map->ncolumns; i++)
	{
		RemoteColumn *column = &map->columns[i];
		ImageColumn *image = &map->image_columns[i];

		image->type_oid = column->type_oid;
		image->typmod = column->typmod;
		image->attlen = column->attlen;
		image->attalign = column->attalign;
		if (!column->builtin || mc_image_resolve(image) != NULL)
		{
			map->image_is_row = false;
			return;
		}
		map->image_varies |= column->attlen == -1;
		map->image_is_row &= is_same_column(column, RelationGetDescr(rel), i);
	}

	map->image_desc = CreateTemplateTupleDesc(map->ncolumns);
	for (int i = 0; i < map->ncolumns; i++)
	{
		RemoteColumn *column = &map->columns[i];

		TupleDescInitEntry(map->image_desc, i + 1, column->name,
						   column->type_oid, column->typmod, 0);
	}
	(void) TupleDescFinalize_compat(map->image_desc);
}

/*
 * Can rows be found by this index?  Its columns must all be sent by the peer:
 * in the old row too, which has only the key unless the peer's replica
 * identity is FULL.
 */
static bool
index_is_usable(RelationMap *map, Relation index)
{
	Form_pg_index form = index->rd_index;
	int			nkeys = IndexRelationGetNumberOfKeyAttributes(index);

	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisunique ||
		!form->indimmediate || !form->indisvalid ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < nkeys; i++)
	{
		AttrNumber	attnum = form->indkey.values[i];
		int			remote;

		if (attnum <= 0)
			return false;
		remote = map->remote_index[attnum - 1];
		if (remote < 0)
			return false;
		if (map->replident != REPLICA_IDENTITY_FULL &&
			map->replident != REPLICA_IDENTITY_NOTHING &&
			!(map->columns[remote].flags & ATTRIBUTE_KEY))
			return false;
	}
	return true;
}

/* Build the scan keys for an equality search in the identity index. */
static void
build_scan_keys(RelationMap *map, Relation index)
{
	int			nkeys = IndexRelationGetNumberOfKeyAttributes(index);

	map->nkeys = nkeys;
	map->key_attnums = palloc(sizeof(AttrNumber) * nkeys);
	map->scan_keys = palloc0(sizeof(ScanKeyData) * nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			operator = get_opfamily_member(index->rd_opfamily[i],
												   type, type,
												   BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "missing operator %d(%u,%u) in opfamily %u",
				 BTEqualStrategyNumber, type, type, index->rd_opfamily[i]);
		map->key_attnums[i] = index->rd_index->indkey.values[i];
		ScanKeyEntryInitialize(&map->scan_keys[i], 0, i + 1,
							   BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i],
							   get_opcode(operator), (Datum) 0);
	}
}

/* Choose the index by which rows of the peer are found. */
static void
choose_index(RelationMap *map, Relation rel)
{
	Oid			candidates[2];

	map->index = InvalidOid;
	map->nkeys = 0;
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return;

	candidates[0] = mc_identity_index(rel);
	candidates[1] = RelationGetPrimaryKeyIndex_compat(rel);
	for (int i = 0; i < lengthof(candidates) && map->nkeys == 0; i++)
	{
		Relation	index;

		if (!OidIsValid(candidates[i]))
			continue;
		index = index_open(candidates[i], AccessShareLock);
		if (index_is_usable(map, index))
		{
			map->index = candidates[i];
			build_scan_keys(map, index);
		}
		index_close(index, AccessShareLock);
	}
}

/* Look up everything about the local table. */
static void
build_local_half(RelationMap *map, Relation rel)
{
	MemoryContext old_context;

	MemoryContextReset(map->local_context);
	old_context = MemoryContextSwitchTo(map->local_context);

	check_target(map, rel);
	map->notes_generation = 0;
	map->write_key = NULL;
	map->owner = rel->rd_rel->relowner;
	map->group_catalog = mc_registry_is_group_catalog(RelationGetRelid(rel));
	map_columns(map, rel);
	look_for_local_columns(map, rel);
	describe_images(map, rel);
	choose_index(map, rel);

	MemoryContextSwitchTo(old_context);
}

/* Open the table by the OID that was found before, if that is still right. */
static Relation
open_known(RelationMap *map, LOCKMODE lockmode)
{
	Relation	rel;

	if (!map->valid)
		return NULL;
	rel = try_relation_open(map->relid, lockmode);
	if (rel == NULL)
		return NULL;

	/* Taking the lock may have told us that something has changed. */
	if (map->valid)
		return rel;
	relation_close(rel, lockmode);
	return NULL;
}

Relation
mc_relation_open(RelationMap *map, LOCKMODE lockmode)
{
	Relation	rel = open_known(map, lockmode);

	if (rel == NULL)
	{
		RangeVar   *name = makeRangeVar(map->schema, map->name, -1);
		Oid			relid = RangeVarGetRelid(name, lockmode, true);

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"%s.%s\" does not exist in this center",
							map->schema, map->name),
					 errhint("Create the table as it is in the other centers; the link then goes on by itself.")));
		rel = relation_open(relid, NoLock);

		/* Set first: an invalidation while we look must not be lost. */
		map->relid = relid;
		map->index = InvalidOid;
		map->valid = true;
		build_local_half(map, rel);
	}

	if (rel->rd_rel->relrowsecurity &&
		check_enable_rls(map->relid, map->owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate into table \"%s.%s\", whose owner is subject to row-level security",
						map->schema, map->name),
				 errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
	return rel;
}
