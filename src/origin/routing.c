/*-------------------------------------------------------------------------
 *
 * routing.c
 *	  What leaves this center: which tables are replicated.
 *
 * NOTES
 *	  Only catalogs are read, through caches and catalog scans, so that the
 *	  answer is the same within decoding, where it is the one of the time of
 *	  the change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "origin/routing.h"
#include "state/registry.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_table_route);

/*
 * Is the table of a kind that can be replicated, and not of the system?  The
 * tables of information_schema have OIDs of initdb unless somebody has made
 * that schema anew.
 */
static bool
is_user_table(Relation rel)
{
	char	   *namespace_name;
	bool		result;

	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return false;
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	if (RelationGetRelid(rel) < FirstNormalObjectId)
		return false;
	/* A heap that a rewrite of some table is filling. */
	if (OidIsValid(rel->rd_rel->relrewrite))
		return false;

	namespace_name = get_namespace_name(RelationGetNamespace(rel));
	result = namespace_name != NULL &&
		strcmp(namespace_name, "information_schema") != 0;
	if (namespace_name != NULL)
		pfree(namespace_name);
	return result;
}

Oid
mc_identity_index(Relation rel)
{
	/* Leaves out deferrable keys, whose duplicates may be there for a while. */
	return RelationGetReplicaIndex(rel);
}

TableRoute
mc_route_table(Relation rel)
{
	if (!is_user_table(rel))
		return ROUTE_NONE;
	if (OidIsValid(getExtensionOfObject(RelationRelationId, RelationGetRelid(rel))) &&
		!mc_registry_is_group_catalog(RelationGetRelid(rel)))
		return ROUTE_NONE;

	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return ROUTE_FULL;
	if (OidIsValid(mc_identity_index(rel)))
		return ROUTE_KEYED;
	return ROUTE_INSERT_ONLY;
}

/*
 * table_route(relation): SQL interface of mc_route_table(), for the views.
 */
Datum
mc_table_route(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		[ROUTE_NONE] = "none",
		[ROUTE_INSERT_ONLY] = "insert_only",
		[ROUTE_KEYED] = "keyed",
		[ROUTE_FULL] = "full",
	};
	Relation	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	TableRoute	route;

	if (rel == NULL)
		PG_RETURN_NULL();
	route = mc_route_table(rel);
	relation_close(rel, AccessShareLock);
	PG_RETURN_TEXT_P(cstring_to_text(names[route]));
}
