/*-------------------------------------------------------------------------
 *
 * durable.c
 *	  Which of a peer's transactions are durable here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "target/durable.h"

void
mc_durable_add(DurableQueue *queue, OriginLsn end_lsn, LocalLsn commit_end)
{
	int			last;

	/* A full queue forgets the entry before: it only claims less. */
	if (queue->count < MC_COMMIT_QUEUE_SIZE)
		queue->count++;
	last = (queue->first + queue->count - 1) % MC_COMMIT_QUEUE_SIZE;
	queue->commits[last].end_lsn = end_lsn;
	queue->commits[last].commit_end = commit_end;
}

OriginLsn
mc_durable_end(DurableQueue *queue, bool flush)
{
	XLogRecPtr	durable;

	if (queue->count == 0)
		return queue->durable;
	if (flush)
	{
		int			last = (queue->first + queue->count - 1) % MC_COMMIT_QUEUE_SIZE;

		XLogFlush(queue->commits[last].commit_end.value);
	}

	durable = GetFlushRecPtr(NULL);
	while (queue->count > 0 &&
		   queue->commits[queue->first].commit_end.value <= durable)
	{
		queue->durable = queue->commits[queue->first].end_lsn;
		queue->first = (queue->first + 1) % MC_COMMIT_QUEUE_SIZE;
		queue->count--;
	}
	return queue->durable;
}
