/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  Transactions of the manager that may fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ATTEMPT_H
#define MC_ATTEMPT_H

#include "target/table.h"

/*
 * Do some work on replicated tables in a transaction of its own.  Its changes
 * are tagged so that nobody replicates them; derived messages, and what is
 * written without that tag, are sent if transaction->derived is set.  Such
 * work may run code of users: an error is caught, and so is a lock that is not
 * to be had at once.  If caught is not NULL it gets the error, in the current
 * memory context, or NULL if the work was committed.  Outside a transaction.
 */
typedef void (*AttemptFunction) (RemoteTransaction *transaction, void *arg);

typedef enum AttemptResult
{
	ATTEMPT_DONE,
	ATTEMPT_BUSY,				/* somebody was in the way */
	ATTEMPT_FAILED,				/* an error was reported */
} AttemptResult;

extern AttemptResult mc_attempt(CenterId our_id, AttemptFunction function,
								void *arg, ErrorData **caught);

#endif							/* MC_ATTEMPT_H */
