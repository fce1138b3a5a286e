/*-------------------------------------------------------------------------
 *
 * durable.h
 *	  Which of a peer's transactions are durable here.
 *
 * NOTES
 *	  Commits are not flushed one by one.  A queue of pairs (end at the origin,
 *	  end of the commit record here) tells later what has become durable.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_DURABLE_H
#define MC_DURABLE_H

#include "core/types.h"

/* Commits that are remembered until they are durable. */
#define MC_COMMIT_QUEUE_SIZE	1024

/* Begins with zeroes, and with what is known to be durable. */
typedef struct DurableQueue
{
	OriginLsn	durable;
	int			first;
	int			count;
	struct
	{
		OriginLsn	end_lsn;
		LocalLsn	commit_end;
	}			commits[MC_COMMIT_QUEUE_SIZE];
} DurableQueue;

/* A transaction was committed, the next one in order. */
extern void mc_durable_add(DurableQueue *queue, OriginLsn end_lsn,
						   LocalLsn commit_end);

/* Up to where all of them are durable.  With flush, make all of them so. */
extern OriginLsn mc_durable_end(DurableQueue *queue, bool flush);

#endif							/* MC_DURABLE_H */
