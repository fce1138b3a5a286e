/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  Schema changes: replicate_ddl(), and what it does at the peers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_DDL_H
#define MC_DDL_H

#include "nodes/primnodes.h"

/* Install the hook and register mc_ddl_apply(); from _PG_init(). */
extern void mc_ddl_init(void);

/*
 * Run a schema change that a peer has sent, in the current transaction.
 * content is role, search_path and command, each ended by a zero byte.
 * Raises an error if it is malformed, refused, or fails.
 */
extern void mc_ddl_apply(const char *content, uint32 len);

/* Does a parsed utility statement concern the whole server? */
extern bool mc_ddl_is_cluster_wide(Node *stmt);

/*
 * The relation that a parsed statement makes, or makes something on, or
 * changes.  NULL: none, or it is not named as a relation.
 */
extern RangeVar *mc_ddl_target_relation(Node *stmt);

#endif							/* MC_DDL_H */
