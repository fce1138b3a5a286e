/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  Call the functions by which users decide conflicts.
 *
 * NOTES
 *	  A handler runs in a subtransaction that is always rolled back, whatever
 *	  becomes of it: nothing that it does outlives the call but its answer,
 *	  and an error leaves the transaction of the caller as it was.  Security
 *	  context, settings, locks and memory go back with the subtransaction.
 *
 *	  It cannot write: the subtransaction is READ ONLY, which nothing within
 *	  can undo, and functions that are not VOLATILE, as it must be itself, run
 *	  their commands read-only.  So it gets no transaction id, and its end is
 *	  not in WAL: it does not touch the replication origin of the session.
 *
 *	  Time is limited by an alarm that looks like a cancel request.  A handler
 *	  may catch that, and go on; so it is repeated whenever a subtransaction
 *	  within it is rolled back, until there is nobody left to catch it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/own.h"
#include "state/registry.h"
#include "state/settings.h"
#include "storage/latch.h"
#include "target/handler_value.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "compat.h"

/* No more of an error is kept. */
#define MAX_ERROR_BYTES		2000

/* A greater row could not be kept as jsonb. */
#define MAX_RESULT_BYTES	(128 * 1024 * 1024)

/* The alarm.  There is one handler at a time. */
static TimeoutId alarm_id = USER_TIMEOUT;
static volatile sig_atomic_t calling = false;
static volatile sig_atomic_t timed_out = false;

/* The last one has failed, not by the alarm. */
static bool failed_for_good = false;

/* Names of centers, by number; they never change. */
static NameData center_names[MC_MAX_CENTER_ID + 1];

/* ---- the alarm ---- */

/* Make the next CHECK_FOR_INTERRUPTS() raise an error. */
static void
interrupt(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
}

/* Time is over; runs in a signal handler. */
static void
alarm_rings(void)
{
	if (!calling)
		return;
	timed_out = true;
	interrupt();
	SetLatch(MyLatch);
}

/* A handler may have caught the error: raise it again, further out. */
static void
subtransaction_ends(SubXactEvent event, SubTransactionId subid,
					SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && calling && timed_out)
		interrupt();
}

/* Set the alarm. */
static void
set_alarm(void)
{
	static bool registered = false;

	if (!registered)
	{
		alarm_id = RegisterTimeout(USER_TIMEOUT, alarm_rings);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		registered = true;
	}
	timed_out = false;
	calling = true;
	enable_timeout_after(alarm_id, mc_handler_timeout_ms);
}

/* Turn the alarm off, and forget that it has rung but for timed_out. */
static void
stop_alarm(void)
{
	disable_timeout(alarm_id, false);
	calling = false;
	if (timed_out)
		QueryCancelPending = false;
}

/* ---- the call ---- */

/* The name of a center; NULL where it is not known. */
static const char *
center_name(CenterId id)
{
	OwnScope	scope;
	Center		center;

	if (id == MC_NO_CENTER || id > MC_MAX_CENTER_ID)
		return NULL;
	if (NameStr(center_names[id])[0] == '\0')
	{
		mc_own_begin(&scope);
		if (mc_registry_center(id, &center))
			center_names[id] = center.name;
		mc_own_end(&scope);
	}
	return NameStr(center_names[id])[0] ? NameStr(center_names[id]) : NULL;
}

/* Call the function and read its answer. */
static HandlerAction
call_function(TargetTable *table, const HandlerCall *call,
			  const HandlerCenters *centers, RemoteRow *row)
{
	LOCAL_FCINFO(fcinfo, 3);
	HandlerSignature signature;
	FmgrInfo	function;
	Datum		answer;

	mc_handler_signature(RelationGetRelid(table->rel), call->function, &signature);
	fmgr_info(call->function, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 3, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = mc_handler_row_argument(table, &signature, &call->local,
													&fcinfo->args[0].isnull);
	fcinfo->args[1].value = mc_handler_row_argument(table, &signature, &call->remote,
													&fcinfo->args[1].isnull);
	fcinfo->args[2].value = mc_handler_info_argument(table, &signature, call,
													 centers);
	fcinfo->args[2].isnull = false;
	answer = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the answer is null")));
	return mc_handler_answer(table, &signature, call, answer, row);
}

/* Copy a row into the slot, and its values into the current memory context. */
static void
store_result(TargetTable *table, const RemoteRow *row, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	Size		bytes = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		slot->tts_values[i] = (Datum) 0;
		slot->tts_isnull[i] = row->isnull[i] || attribute->attisdropped ||
			attribute->attgenerated;
		if (slot->tts_isnull[i])
			continue;
		bytes += datumGetSize(row->values[i], attribute->attbyval, attribute->attlen);
		if (bytes > MAX_RESULT_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the row is greater than %d MB",
							MAX_RESULT_BYTES / (1024 * 1024))));
		slot->tts_values[i] = attribute->attlen == -1 ?
			PointerGetDatum(PG_DETOAST_DATUM_COPY(row->values[i])) :
			datumCopy(row->values[i], attribute->attbyval, attribute->attlen);
	}
	ExecStoreVirtualTuple(slot);
}

/* What a handler is called with, and what it has answered. */
typedef struct RowHandler
{
	TargetTable *table;
	const HandlerCall *call;
	HandlerCenters centers;
	MemoryContext caller;
	TupleTableSlot *result;
	HandlerAction action;
} RowHandler;

/* Call the handler and copy its row; for mc_handler_guard(). */
static void
run_row_handler(void *arg)
{
	RowHandler *handler = arg;
	RemoteRow	row;

	handler->action = call_function(handler->table, handler->call,
									&handler->centers, &row);
	if (handler->action == HANDLER_ROW)
	{
		MemoryContext old_context = MemoryContextSwitchTo(handler->caller);

		store_result(handler->table, &row, handler->result);
		MemoryContextSwitchTo(old_context);
	}
}

/* Within the subtransaction: run a function, for no longer than allowed. */
static void
run_guarded(TargetTable *table, GuardedFunction function, void *arg)
{
	OwnerScope	scope;

	/* The end of the subtransaction undoes all of this. */
	XactReadOnly = true;
	PushActiveSnapshot(GetTransactionSnapshot());
	mc_owner_enter(table->map->owner, &scope);
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);

	set_alarm();
	function(arg);
	stop_alarm();
	if (timed_out)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("it took too long")));
}

/* ---- errors ---- */

/*
 * Is an error for the caller, and not the handler's?  By the place in the
 * code, because a handler may raise any SQLSTATE.
 */
static bool
is_for_caller(const ErrorData *error)
{
	if (timed_out || error->funcname == NULL)
		return false;
	return strcmp(error->funcname, "ProcessInterrupts") == 0 ||
		strcmp(error->funcname, "DeadLockReport") == 0;
}

/* Does an SQLSTATE say that the change is to blame?  See apply.c. */
static bool
blames_change(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_EXTERNAL_ROUTINE_EXCEPTION:
		case ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION:
		case ERRCODE_PLPGSQL_ERROR:
			return true;
	}
	return false;
}

/* Cut a text of an error off, which a handler may make as long as it likes. */
static char *
clip(char *string)
{
	if (string != NULL && strlen(string) > MAX_ERROR_BYTES)
		string[pg_mbcliplen(string, strlen(string), MAX_ERROR_BYTES)] = '\0';
	return string;
}

/* Say in an error which handler has failed, and that it is to blame. */
static void
complete_error(ErrorData *error, Oid function)
{
	char	   *name = mc_handler_name(function);

	if (timed_out)
	{
		error->sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
		error->message = psprintf("conflict handler %s took longer than %d ms",
								  name, mc_handler_timeout_ms);
		error->hint = pstrdup("Make it faster, or raise \"multicenter.handler_timeout\".");
		return;
	}
	error->message = psprintf("conflict handler %s failed: %s", name,
							  clip(error->message));
	error->detail = clip(error->detail);
	error->hint = clip(error->hint);
	error->context = clip(error->context);
	if (blames_change(error->sqlerrcode))
		return;
	error->message = psprintf("%s (SQLSTATE %s)", error->message,
							  unpack_sql_state(error->sqlerrcode));
	error->sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
}

ErrorData *
mc_handler_guard(TargetTable *table, Oid handler, GuardedFunction function,
				 void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile failure = NULL;
	int			level = GetCurrentTransactionNestLevel();

	if (calling)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a conflict handler cannot call conflict handlers")));

	/* Caught because a handler's error is a result like any other. */
	timed_out = false;
	failed_for_good = false;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		run_guarded(table, function, arg);
	}
	PG_CATCH();
	{
		if (calling)
			stop_alarm();
		MemoryContextSwitchTo(context);
		failure = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	/* Code in C may have left subtransactions of its own. */
	while (GetCurrentTransactionNestLevel() > level)
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (failure == NULL)
		return NULL;
	if (is_for_caller(failure))
		ReThrowError(failure);
	complete_error(failure, handler);
	failed_for_good = !timed_out;
	return failure;
}

bool
mc_handler_failed_for_good(void)
{
	return failed_for_good;
}

HandlerAction
mc_handler_call(TargetTable *table, const HandlerCall *call,
				TupleTableSlot *result, ErrorData **error)
{
	RowHandler	handler = {table, call};

	ExecClearTuple(result);
	handler.caller = CurrentMemoryContext;
	handler.result = result;
	handler.centers.local = center_name(call->local_center);
	handler.centers.remote = center_name(call->remote_center);
	*error = mc_handler_guard(table, call->function, run_row_handler, &handler);
	if (*error == NULL)
		return handler.action;
	ExecClearTuple(result);
	return HANDLER_QUARANTINE;
}
