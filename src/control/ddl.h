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

/* Install the hook, and carry out the commands of peers; from _PG_init(). */
extern void mc_ddl_init(void);

/* Is a replicated command running, in this session or applied for a peer? */
extern bool mc_ddl_is_running(void);

/* Is it one of a peer? */
extern bool mc_ddl_is_applied(void);

/*
 * Say that the command that is running would rewrite a table, which has to be
 * fenced before; the caller then raises an error to end the attempt.
 */
extern void mc_ddl_want_rewrite(Oid relid);

/* Does a parsed utility statement concern the whole server? */
extern bool mc_ddl_is_cluster_wide(Node *stmt);

/*
 * The relation that a parsed statement makes, or makes something on, or
 * changes.  NULL: none, or it is not named as a relation.
 */
extern RangeVar *mc_ddl_target_relation(Node *stmt);

#endif							/* MC_DDL_H */
