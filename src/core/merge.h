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

/* What a change wants to do with the row of its key. */
typedef enum MergeOp
{
	MERGE_OP_INSERT,
	MERGE_OP_UPDATE,
	MERGE_OP_DELETE,
} MergeOp;

/* What this center knows of a key. */
typedef enum LocalKnowledge
{
	LOCAL_NOTHING,				/* no row and no tombstone */
	LOCAL_LIVE,					/* a row, visible or displaced */
	LOCAL_TOMBSTONE,			/* a remembered delete or TRUNCATE */
	LOCAL_VERSION_LOST,			/* a row whose version nobody knows any more;
								 * version is the greatest that it may have */
} LocalKnowledge;

/* The greatest thing known of a key; all zero: nothing. */
typedef struct MergeState
{
	LocalKnowledge knowledge;
	RowVersion	version;
} MergeState;

typedef enum Verdict
{
	VERDICT_KEEP_LOCAL,			/* the local state is newer: change nothing */
	VERDICT_PUT,				/* write the incoming row, whatever is here */
	VERDICT_DELETE,				/* delete the local row */
	VERDICT_RECORD_TOMBSTONE,	/* no row here: only remember the delete */
	VERDICT_QUARANTINE,			/* cannot be decided: keep it aside, visibly */
} Verdict;

/* Names of SQL views and policies; see mc_conflict_type_name(). */
typedef enum McConflictType
{
	CONFLICT_NONE,
	CONFLICT_INSERT_EXISTS,
	CONFLICT_INSERT_DELETED,
	CONFLICT_UPDATE_ORIGIN_DIFFERS,
	CONFLICT_UPDATE_EXISTS,
	CONFLICT_UPDATE_DELETED,
	CONFLICT_UPDATE_MISSING,
	CONFLICT_DELETE_ORIGIN_DIFFERS,
	CONFLICT_DELETE_RECENTLY_UPDATED,
	CONFLICT_DELETE_MISSING,
	CONFLICT_MULTIPLE_UNIQUE,
	CONFLICT_EXCLUSION_VIOLATION,

	/* A change that cannot be applied. */
	CONFLICT_TARGET_TABLE_MISSING,
	CONFLICT_TARGET_COLUMN_MISSING,
	CONFLICT_FOREIGN_KEY_VIOLATION,
	CONFLICT_CHECK_VIOLATION,
	CONFLICT_APPLY_ERROR,
} McConflictType;

#define MC_CONFLICT_TYPE_LAST	CONFLICT_APPLY_ERROR

typedef struct MergeInput
{
	MergeOp		op;
	RowVersion	remote;			/* version of the incoming change */
	MergeState	local;
	bool		concurrent;		/* neither had seen the other, or the change
								 * of an unknown key should have found one */
	bool		later;			/* an equal local version was put by an
								 * earlier change of this very transaction */
	TimestampTz forgotten;		/* deletes up to here may be forgotten; 0: all
								 * that can still matter are remembered */
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

/*
 * Take one more thing that is known of the key into account: a live row, a
 * dead row, a tombstone, a TRUNCATE.  The greatest version stays.  At equal
 * versions a live row stays: it was put after the delete in one transaction.
 */
extern void mc_merge_observe(MergeState *state, LocalKnowledge knowledge,
							 RowVersion version);

/* Decide on one change by the table of design section 2.  Pure. */
extern MergeDecision mc_merge_decide(const MergeInput *input);

/*
 * Is a row dead under a TRUNCATE?  earlier: the row was put before the
 * TRUNCATE in the same transaction.
 */
extern bool mc_merge_truncates(RowVersion truncate, RowVersion row, bool earlier);

/*
 * May a tombstone, a TRUNCATE or any other note of this version be forgotten?
 * frontier: every other center has promised, in what is applied here, to commit
 * nothing up to this time any more; 0 if one has not.
 */
extern bool mc_merge_may_forget(RowVersion version, TimestampTz frontier);

/* An update without the out-of-line values that it left alone (section 2.5). */
typedef struct MarkerInput
{
	bool		causes_applied; /* its transaction's vector is covered here */
	bool		local_live;		/* a row is here to take the values from */
	bool		local_seen;		/* whose version the update had seen, or of
								 * the same author */
	bool		key_changed;
	bool		older_pending;	/* an older incomplete version of the key */
} MarkerInput;

typedef enum MarkerVerdict
{
	MARKER_FILL,				/* take the values from the local row */
	MARKER_WAIT,				/* keep the change until its causes are here */
	MARKER_REQUEST,				/* keep it, and ask its author for the row */
} MarkerVerdict;

extern MarkerVerdict mc_merge_marker(const MarkerInput *input);

/*
 * A row or tombstone was just written under this version: is a pending change
 * of the key obsolete?  What is pending at an equal version came earlier in the
 * transaction, or is what has just been completed.  The reverse does not hold:
 * a change that becomes pending at the version of what is here comes later, is
 * kept, and has MergeInput.later when it is retried.
 */
extern bool mc_merge_drops_pending(RowVersion written, RowVersion pending);

/* Must this center, asked for a row, answer with the one that it has? */
extern bool mc_merge_answers_request(const MergeState *local, CenterId our_id);

typedef enum RefreshVerdict
{
	REFRESH_DROP,
	REFRESH_OVERWRITE,			/* the row at this very version */
	REFRESH_PUT,				/* the row is older, or pending */
} RefreshVerdict;

/*
 * A whole row arrives from the author of its version.  pending: an incomplete
 * version of the key waits here, up to this refresh's or newer.
 */
extern RefreshVerdict mc_merge_refresh(RowVersion refresh,
									   const MergeState *local, bool pending);

/*
 * Must this center, without being asked, send its row to everybody?  lost: the
 * version that lost to our row, incomplete or refreshed; seen: our write had
 * it before it as a complete row.  (Section 2.5, rule d.)
 */
extern bool mc_merge_owes_refresh(const MergeState *local, CenterId our_id,
								  RowVersion lost, bool seen);

/*
 * Which of two rows that clash on a secondary unique key or an exclusion
 * constraint stays visible: negative if a loses, positive if b does.  Keys
 * are canonical bytes and differ.
 */
extern int	mc_merge_clash(RowVersion a, const char *a_key, uint32 a_len,
						   RowVersion b, const char *b_key, uint32 b_len);

/*
 * Which rows of a set are visible: those that clash with no visible greater
 * one.  The rows are numbered from the greatest, by mc_merge_clash().
 */
typedef bool (*RowsClash) (int a, int b, void *context);

extern void mc_merge_visible(int nrows, RowsClash clash, void *context,
							 bool *visible);

/* The SQL name of a conflict type, such as "insert_exists". */
extern const char *mc_conflict_type_name(McConflictType type);

#endif							/* MC_MERGE_H */
