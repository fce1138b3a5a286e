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
 * to be had at once.  Returns NULL if it was committed, else the error, in the
 * current memory context.  Outside a transaction.
 */
typedef void (*AttemptFunction) (RemoteTransaction *transaction, void *arg);

extern ErrorData *mc_attempt(CenterId our_id, AttemptFunction function,
							 void *arg);

#endif							/* MC_ATTEMPT_H */
