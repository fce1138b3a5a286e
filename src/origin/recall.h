/*-------------------------------------------------------------------------
 *
 * recall.h
 *	  Read deletes back from our own WAL: the other use of the output plugin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RECALL_H
#define MC_RECALL_H

#include "replication/logical.h"

/* The option of the output plugin that asks for it. */
#define MC_RECALL_OPTION	"deletes"

/*
 * What stands before the records in each row of the output.  It is read in the
 * process that has written it.
 */
typedef struct RecallHead
{
	TimestampTz commit_ts;
	TransactionId xid;			/* of the subtransaction */
	uint16		origin;			/* of the transaction */
} RecallHead;

/*
 * If the options ask for deletes, let the context return these and nothing
 * else, whoever has made them: a RecallHead, and the RELATION, DELETE and
 * UPDATE records of a frame, one of the latter two in each row.  Updates are
 * those that may change the key.
 */
extern bool mc_recall_start(LogicalDecodingContext *ctx);

#endif							/* MC_RECALL_H */
