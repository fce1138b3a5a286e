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
	const char *resolution;		/* 'apply_remote' | 'keep_local' | 'skip' */
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
} ConflictRecord;

/*
 * Add a row to the history, in the transaction of the decision itself, so
 * that it shows no conflict whose outcome was rolled back and misses none
 * that was committed.  Needs SPI not to be connected.
 */
extern void mc_history_add(const ConflictRecord *conflict);

/* Delete rows older than multicenter.conflict_retention; returns how many. */
extern uint64 mc_history_purge(void);

#endif							/* MC_HISTORY_H */
