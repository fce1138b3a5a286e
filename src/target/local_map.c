/*-------------------------------------------------------------------------
 *
 * local_map.c
 *	  Maps of local tables, as a peer would describe them to us.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "origin/encode.h"
#include "target/local_map.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"

static RelationCache *local_maps = NULL;
static RowEncoder *describer = NULL;

RelationMap *
mc_local_map(Relation rel)
{
	StringInfoData buffer;
	WireBytes	bytes;
	WireCursor	cursor;
	WireRecord	record;
	const char *problem = NULL;

	/*
	 * One whose local half is valid: nothing about the table has changed.
	 * Asked first, because mc_route_table() scans a catalog.
	 */
	if (local_maps != NULL)
	{
		RelationMap *map = mc_relation_find(local_maps, RelationGetRelid(rel));

		if (map != NULL && map->valid)
			return map;
	}
	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		mc_route_table(rel) == ROUTE_NONE)
		return NULL;
	if (local_maps == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		describer = mc_encoder_create(AllocSetContextCreate(TopMemoryContext,
															"multicenter descriptions",
															ALLOCSET_DEFAULT_SIZES),
									  GetDatabaseEncoding(), false);
		local_maps = mc_relation_cache_create();
		MemoryContextSwitchTo(old_context);
	}
	initStringInfo(&buffer);
	mc_encode_relation(describer, &buffer, rel);
	bytes.data = buffer.data;
	bytes.len = buffer.len;
	cursor = mc_wire_cursor(bytes);
	while (mc_wire_next_record(&cursor, &record, &problem) == WIRE_OK)
		mc_relation_store(local_maps, &record.relation);
	if (problem)
		elog(ERROR, "could not describe table \"%s\": %s",
			 RelationGetRelationName(rel), problem);
	return mc_relation_find(local_maps, RelationGetRelid(rel));
}
