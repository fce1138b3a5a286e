/*-------------------------------------------------------------------------
 *
 * routing.h
 *	  What leaves this center: which tables are replicated.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ROUTING_H
#define MC_ROUTING_H

#include "utils/relcache.h"

/* What can be replicated of a table, by its replica identity. */
typedef enum TableRoute
{
	ROUTE_NONE,					/* not replicated at all */
	ROUTE_INSERT_ONLY,			/* no usable identity: INSERT and TRUNCATE */
	ROUTE_KEYED,				/* primary key or identity index */
	ROUTE_FULL,					/* REPLICA IDENTITY FULL */
} TableRoute;

/*
 * Where does a table belong?  The set "default" holds every permanent
 * ordinary and partitioned table outside system schemas that belongs to no
 * extension; the group's own catalog travels too.  Works under a historic
 * snapshot as well as under an ordinary one; the caller holds the relation
 * open.
 */
extern TableRoute mc_route_table(Relation rel);

/*
 * Index of the replica identity: the primary key under REPLICA IDENTITY
 * DEFAULT, the chosen one under USING INDEX, InvalidOid otherwise.
 */
extern Oid	mc_identity_index(Relation rel);

#endif							/* MC_ROUTING_H */
