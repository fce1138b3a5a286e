/*-------------------------------------------------------------------------
 *
 * handler.h
 *	  Call the functions by which users decide conflicts.
 *
 * NOTES
 *	  A handler has one of two forms; T is the row type of the table, or of a
 *	  partitioned table that it belongs to:
 *
 *	  f(T, T, multicenter.conflict_info, OUT T, OUT text)
 *	  f(jsonb, jsonb, multicenter.conflict_info, OUT jsonb, OUT text)
 *
 *	  Whatever it does comes back as a value: it can end neither the receiver
 *	  nor the transaction of the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HANDLER_H
#define MC_HANDLER_H

#include "target/table.h"
#include "utils/jsonb.h"

/* What a handler has decided. */
typedef enum HandlerAction
{
	HANDLER_ROW,				/* the row in the result */
	HANDLER_KEEP_LOCAL,
	HANDLER_APPLY_REMOTE,
	HANDLER_SKIP,
	HANDLER_QUARANTINE,
	HANDLER_NEXT,				/* it has no opinion: last update wins */
} HandlerAction;

typedef enum HandlerForm
{
	HANDLER_TYPED,
	HANDLER_JSONB,
} HandlerForm;

/*
 * One of the two rows: in a slot with all columns of the local table, or as
 * mc_note_row_to_jsonb() makes it.  With neither it is a deleted row.
 */
typedef struct HandlerRow
{
	TupleTableSlot *slot;
	const Jsonb *values;
} HandlerRow;

typedef struct HandlerCall
{
	Oid			function;
	HandlerRow	local;			/* by convention the one of the lower version */
	HandlerRow	remote;

	/* What the handler is told besides. */
	const char *conflict_type;
	const char *operation;		/* insert, update or delete */
	const Jsonb *key;			/* {"column": "text"}; NULL: not told */
	CenterId	local_center;
	RowVersion	local_version;
	CenterId	remote_center;
	RowVersion	remote_version;
	OriginLsn	remote_lsn;		/* 0: not told */
	bool		concurrent;
	const char *constraint_name;	/* NULL: not about a constraint */
} HandlerCall;

/*
 * Call a handler, as any user and within a transaction; as the owner of the
 * table it makes itself.  With HANDLER_ROW the row is in result, any
 * slot of the local table, its values in the current memory context; generated
 * columns are null.  A handler that fails, takes longer than
 * multicenter.handler_timeout or answers nonsense: HANDLER_QUARANTINE, and
 * *error, in the current memory context, says why; otherwise *error is NULL.
 * Raises only what is not the handler's fault: that this process is to stop,
 * and a deadlock.
 *
 * An error may be one that only this center has: time, memory, a function that
 * is another one here.  Whoever wants the same answer everywhere must not go
 * on without one; to raise *error puts the change into quarantine in the end.
 */
extern HandlerAction mc_handler_call(TargetTable *table,
									 const HandlerCall *call,
									 TupleTableSlot *result,
									 ErrorData **error);

/*
 * Run a function that calls a handler, in a subtransaction that is rolled back,
 * as the owner of the table, and for no longer than multicenter.handler_timeout.
 * What the function allocates in another than its current memory context stays.
 * Returns the handler's error, in the current memory context, or NULL.  Raises
 * what mc_handler_call() does.
 */
typedef void (*GuardedFunction) (void *arg);

extern ErrorData *mc_handler_guard(TargetTable *table, Oid handler,
								   GuardedFunction function, void *arg);

/*
 * Has the last handler that failed done so by itself, rather than by taking too
 * long?  Then it would again.
 */
extern bool mc_handler_failed_for_good(void);

/* The word for an action, as handlers write it. */
extern const char *mc_handler_action_name(HandlerAction action);

/*
 * Which form has a function?  Raises a clear error if it cannot be a handler
 * of this table; relid InvalidOid: of any table.
 */
extern HandlerForm mc_handler_check(Oid relid, Oid function);

/*
 * May a function decide something for a table, whatever its arguments?  It runs
 * as the owner of the table.  Raises an error if not.
 */
extern void mc_handler_check_rights(Oid relid, Oid function);

#endif							/* MC_HANDLER_H */
