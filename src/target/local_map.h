/*-------------------------------------------------------------------------
 *
 * local_map.h
 *	  Maps of local tables, as a peer would describe them to us.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_LOCAL_MAP_H
#define MC_LOCAL_MAP_H

#include "target/relation.h"

/*
 * Describe a table as a peer would that has the same one, so that what works
 * on a peer's tables works on it; NULL if it is not replicated.  The map lives
 * as long as the process.
 */
extern RelationMap *mc_local_map(Relation rel);

#endif							/* MC_LOCAL_MAP_H */
