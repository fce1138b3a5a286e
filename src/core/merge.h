/*-------------------------------------------------------------------------
 *
 * merge.h
 *	  The merge table: what to do with an incoming change, as a pure function.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_MERGE_H
#define MC_MERGE_H

#include "core/types.h"

typedef enum MergeOp
{
	MERGE_OP_INSERT,
	MERGE_OP_UPDATE,
	MERGE_OP_DELETE,
} MergeOp;

/* What this center knows of the key of an incoming change. */
typedef enum LocalKnowledge
{
	LOCAL_NOTHING,				/* no row and no tombstone */
	LOCAL_LIVE,					/* a visible row, with its version */
	LOCAL_TOMBSTONE,			/* a remembered delete, with its version */
} LocalKnowledge;

typedef enum Verdict
{
	VERDICT_KEEP_LOCAL,			/* the local state is newer: change nothing */
	VERDICT_PUT,				/* write the incoming row, whatever is here */
	VERDICT_DELETE,				/* delete the local row */
	VERDICT_RECORD_TOMBSTONE,	/* no row here: only remember the delete */
} Verdict;

/* Names of SQL views and policies; see mc_conflict_type_name(). */
typedef enum McConflictType
{
	CONFLICT_NONE,
	CONFLICT_INSERT_EXISTS,
	CONFLICT_INSERT_DELETED,
	CONFLICT_UPDATE_ORIGIN_DIFFERS,
	CONFLICT_UPDATE_DELETED,
	CONFLICT_UPDATE_MISSING,
	CONFLICT_DELETE_ORIGIN_DIFFERS,
	CONFLICT_DELETE_RECENTLY_UPDATED,
	CONFLICT_DELETE_MISSING,
} McConflictType;

#define MC_CONFLICT_TYPE_LAST	CONFLICT_DELETE_MISSING

typedef struct MergeInput
{
	MergeOp		op;
	RowVersion	remote;			/* version of the incoming change */
	LocalKnowledge knowledge;
	RowVersion	local;			/* version of the local row or tombstone */
	bool		concurrent;		/* the change had not seen the local version */
} MergeInput;

typedef struct MergeDecision
{
	Verdict		verdict;
	McConflictType conflict;
} MergeDecision;

/*
 * Compare two versions: negative, zero or positive as a is older than, the
 * same as or newer than b.  Ties of the timestamp are broken by the number of
 * the row's author, never of the center that asks.
 */
extern int	mc_version_compare(RowVersion a, RowVersion b);

/* Decide on one change by the table of design section 2.  Pure. */
extern MergeDecision mc_merge_decide(const MergeInput *input);

/* The SQL name of a conflict type, such as "insert_exists". */
extern const char *mc_conflict_type_name(McConflictType type);

#endif							/* MC_MERGE_H */
