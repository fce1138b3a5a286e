/*-------------------------------------------------------------------------
 *
 * history.h
 *	  The conflict history: one row for each conflict that was decided.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HISTORY_H
#define MC_HISTORY_H

#include "core/merge.h"

typedef struct ConflictRecord
{
	McConflictType type;
	const char *resolution;		/* 'apply_remote' | 'keep_local' | 'skip' ... */
	const char *resolver;		/* NULL: 'last_update_wins' */
	int64		policy_epoch;	/* of the policy that decided; 0: none did */
	CenterId	peer;			/* whose change arrived */
	Oid			relid;
	const char *key_json;		/* NULL: unknown; same for the others */
	const char *local_row_json;
	const char *remote_row_json;
	const char *result_row_json;
	RowVersion	local;			/* commit_ts 0: unknown */
	RowVersion	remote;
	OriginLsn	remote_lsn;
	TransactionId remote_xid;
	const char *index_name;		/* NULL: it was about the key */
	int64		override_of;	/* the conflict that somebody decided anew; 0:
								 * it is no such decision */
	const char *error_message;	/* why the change was not applied */
} ConflictRecord;

/* Instead of a row that is too large: an object with this one key, its size. */
#define MC_OMITTED_ROW	"multicenter_omitted_bytes"

/* Conflicts of a transaction that are yet to be written. */
typedef struct HistoryBatch HistoryBatch;

/*
 * Add a row to the history, in the transaction of the decision itself, so that
 * it shows no conflict whose outcome was rolled back and misses none that was
 * committed.  It is copied into *batch, which is made in the context if it is
 * NULL; rows are written when there are many, and by mc_history_flush(), which
 * must be called before the commit.
 */
extern void mc_history_add(HistoryBatch **batch, MemoryContext context,
						   const ConflictRecord *conflict);

/*
 * Write what is in *batch, and free it.  Returns the number of the last
 * conflict that was written, 0 if there was nothing to write.
 */
extern int64 mc_history_flush(HistoryBatch **batch);

/*
 * Empty segments of the history that have only rows older than
 * multicenter.conflict_retention, and begin a new one when it is time.  In a
 * transaction; waits for readers, until lock_timeout.
 */
extern void mc_history_rotate(void);

#endif							/* MC_HISTORY_H */
