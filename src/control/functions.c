/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The membership functions as SQL calls them.
 *
 * NOTES
 *	  They check what can be checked without leaving this session, then hand
 *	  over to a worker, see operation.c.  All are SECURITY DEFINER with a
 *	  pinned search_path, because the tables are private.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "control/operation.h"
#include "core/pack.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "state/registry.h"
#include "state/shared.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "target/connection.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_sql_group_create);
PG_FUNCTION_INFO_V1(mc_sql_group_join);
PG_FUNCTION_INFO_V1(mc_sql_wait_until_ready);
PG_FUNCTION_INFO_V1(mc_sql_center_part);
PG_FUNCTION_INFO_V1(mc_sql_peer_part);
PG_FUNCTION_INFO_V1(mc_sql_group_remove_local);
PG_FUNCTION_INFO_V1(mc_sql_links_changed);
PG_FUNCTION_INFO_V1(mc_sql_dsn_check);
PG_FUNCTION_INFO_V1(mc_sql_compression_check);

/* What mc_sql_links_changed() has to do when this transaction commits. */
static bool reload_at_commit = false;
static bool end_all_at_commit = false;
static CenterId end_walsender_at_commit = MC_NO_CENTER;

/* An argument that must not be null, as text. */
static char *
required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* As above, for a name, which must not be empty either. */
static void
required_name(FunctionCallInfo fcinfo, int arg, const char *name, NameData *result)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	namestrcpy(result, NameStr(*PG_GETARG_NAME(arg)));
	if (NameStr(*result)[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("%s must not be empty", name),
				 errhint("Choose a short name, such as \"lisbon\".")));
}

/* Put a text argument into a field of an Operation. */
static void
put_text(char *field, const char *value, const char *name)
{
	if (strlcpy(field, value, MC_OPERATION_TEXT_BYTES) >= MC_OPERATION_TEXT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s is longer than %d bytes", name, MC_OPERATION_TEXT_BYTES - 1)));
}

/* group_create(group_name, center_name, dsn, site) */
Datum
mc_sql_group_create(PG_FUNCTION_ARGS)
{
	Operation  *operation = palloc0(sizeof(Operation));

	mc_shared_require();
	operation->kind = OPERATION_CREATE;
	operation->wait = true;
	required_name(fcinfo, 0, "group_name", &operation->group_name);
	required_name(fcinfo, 1, "center_name", &operation->center_name);
	put_text(operation->dsn, required_text(fcinfo, 2, "dsn"), "dsn");
	if (!PG_ARGISNULL(3))
		put_text(operation->site, text_to_cstring(PG_GETARG_TEXT_PP(3)), "site");
	mc_dsn_check(operation->dsn, "dsn");
	mc_require_no_group();
	PG_RETURN_INT32(mc_operation_run(operation));
}

/* Raise an error for a value that is none of the allowed ones. */
static void
check_choice(const char *value, const char *name, const char *const *choices)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; choices[i] != NULL; i++)
	{
		if (strcmp(value, choices[i]) == 0)
			return;
		appendStringInfo(&list, "%s\"%s\"", i ? ", " : "", choices[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", name, value),
			 errhint("Allowed values are %s.", list.data)));
}

/* Milliseconds of an interval; months count as 30 days. */
static int64
interval_ms(const Interval *interval)
{
	return interval->time / 1000 +
		((int64) interval->day + (int64) interval->month * 30) * 24 * 60 * 60 * 1000;
}

/*
 * Wait until this center is ready.  timeout_ms < 0: for ever.  Returns false
 * if the time is over.
 */
static bool
wait_ready(int64 timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();

	for (;;)
	{
		Identity	identity;
		Center		center;
		bool		found;

		PushActiveSnapshot(GetLatestSnapshot());
		found = mc_registry_identity(&identity) &&
			mc_registry_center(identity.center_id, &center);
		PopActiveSnapshot();
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("this database is in no group"),
					 errhint("Use group_create() or group_join().")));
		if (center.state == CENTER_READY)
			return true;
		if (timeout_ms >= 0 &&
			GetCurrentTimestamp() >= TimestampTzPlusMilliseconds(start, timeout_ms))
			return false;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 50, mc_wait_event(MC_WAIT_READY));
		ResetLatch(MyLatch);
	}
}

/* group_join(center_name, dsn, join_dsn, site, copy, kind, wait, timeout) */
Datum
mc_sql_group_join(PG_FUNCTION_ARGS)
{
	static const char *const copies[] = {"data", "none", NULL};
	static const char *const kinds[] = {"active", "read_only", "witness", NULL};
	Operation  *operation = palloc0(sizeof(Operation));
	char	   *copy = required_text(fcinfo, 4, "copy");
	char	   *kind = required_text(fcinfo, 5, "kind");
	int			center_id;

	mc_shared_require();
	operation->kind = OPERATION_JOIN;
	operation->wait = true;
	required_name(fcinfo, 0, "center_name", &operation->center_name);
	put_text(operation->dsn, required_text(fcinfo, 1, "dsn"), "dsn");
	put_text(operation->join_dsn, required_text(fcinfo, 2, "join_dsn"), "join_dsn");
	if (!PG_ARGISNULL(3))
		put_text(operation->site, text_to_cstring(PG_GETARG_TEXT_PP(3)), "site");
	check_choice(copy, "copy", copies);
	check_choice(kind, "kind", kinds);
	if (strcmp(kind, "active") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("centers of kind \"%s\" are not supported yet", kind),
				 errhint("Use kind => 'active'.")));
	operation->copy_data = strcmp(copy, "data") == 0;
	strlcpy(operation->center_kind, kind, sizeof(operation->center_kind));
	mc_dsn_check(operation->dsn, "dsn");
	mc_dsn_check(operation->join_dsn, "join_dsn");
	mc_require_no_group();

	center_id = mc_operation_run(operation);
	if (!PG_ARGISNULL(6) && PG_GETARG_BOOL(6) &&
		!wait_ready(PG_ARGISNULL(7) ? -1 : interval_ms(PG_GETARG_INTERVAL_P(7))))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("center \"%s\" has joined but was not ready in time",
						NameStr(operation->center_name)),
				 errhint("It goes on catching up. Wait with wait_until_ready(), see the view lag.")));
	PG_RETURN_INT32(center_id);
}

/* wait_until_ready(timeout) */
Datum
mc_sql_wait_until_ready(PG_FUNCTION_ARGS)
{
	mc_shared_require();
	PG_RETURN_BOOL(wait_ready(PG_ARGISNULL(0) ? -1 : interval_ms(PG_GETARG_INTERVAL_P(0))));
}

/* center_part(center_name, force, wait) */
Datum
mc_sql_center_part(PG_FUNCTION_ARGS)
{
	Operation  *operation = palloc0(sizeof(Operation));

	operation->kind = OPERATION_PART;
	required_name(fcinfo, 0, "center_name", &operation->center_name);
	operation->force = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	operation->wait = PG_ARGISNULL(2) || PG_GETARG_BOOL(2);
	mc_operation_run(operation);
	PG_RETURN_VOID();
}

/* peer_part(): another center asks this one to leave in order. */
Datum
mc_sql_peer_part(PG_FUNCTION_ARGS)
{
	Operation  *operation = palloc0(sizeof(Operation));
	Identity	identity;
	Center		center;

	if (!mc_registry_identity(&identity) ||
		!mc_registry_center(identity.center_id, &center))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is in no group")));
	operation->kind = OPERATION_PART;
	operation->wait = true;
	operation->center_name = center.name;
	mc_operation_run(operation);
	PG_RETURN_VOID();
}

/* group_remove_local(force) */
Datum
mc_sql_group_remove_local(PG_FUNCTION_ARGS)
{
	Operation  *operation = palloc0(sizeof(Operation));

	operation->kind = OPERATION_REMOVE_LOCAL;
	operation->wait = true;
	operation->force = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	mc_operation_run(operation);
	PG_RETURN_VOID();
}

/* End the walsender of a link, or of all: it looks at its options again. */
static void
end_walsenders(CenterId peer, bool all)
{
	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *outlink = &mc_shared->outlinks[i];
		pid_t		pid = 0;

		if (outlink->dboid != MyDatabaseId || (!all && outlink->peer != peer))
			continue;
		SpinLockAcquire(&outlink->mutex);
		pid = outlink->walsender_pid;
		SpinLockRelease(&outlink->mutex);
		if (pid != 0)
			kill(pid, SIGTERM);
	}
}

/*
 * Others read what this transaction has written only after its commit, so
 * they are told only then.
 */
static void
links_changed_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	if (event == XACT_EVENT_COMMIT && reload_at_commit)
	{
		if (end_all_at_commit || end_walsender_at_commit != MC_NO_CENTER)
			end_walsenders(end_walsender_at_commit, end_all_at_commit);
		mc_shared_links_changed(MyDatabaseId);
	}
	reload_at_commit = false;
	end_all_at_commit = false;
	end_walsender_at_commit = MC_NO_CENTER;
}

/*
 * internal_links_changed(peer_id): when this transaction commits, make the
 * manager read the registry again, and end the walsender of that peer if
 * peer_id is not null.
 */
Datum
mc_sql_links_changed(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (mc_shared == NULL)
		PG_RETURN_VOID();
	if (!registered)
		RegisterXactCallback(links_changed_callback, NULL);
	registered = true;
	reload_at_commit = true;
	if (!PG_ARGISNULL(0))
	{
		CenterId	peer = (CenterId) PG_GETARG_INT32(0);

		if (end_walsender_at_commit != MC_NO_CENTER && end_walsender_at_commit != peer)
			end_all_at_commit = true;
		end_walsender_at_commit = peer;
	}
	PG_RETURN_VOID();
}

/* internal_dsn_check(dsn): raise an error unless it may be stored. */
Datum
mc_sql_dsn_check(PG_FUNCTION_ARGS)
{
	mc_dsn_check(text_to_cstring(PG_GETARG_TEXT_PP(0)), "dsn");
	PG_RETURN_VOID();
}

/* internal_compression_check(method): raise an error unless it can be used. */
Datum
mc_sql_compression_check(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PackMethod	method;

	if (!mc_pack_from_name(name, &method))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for compression: \"%s\"", name),
				 errhint("Allowed values are \"none\", \"lz4\", \"zstd\".")));
	if (!mc_pack_is_built(method))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server was built without support for compression by %s", name)));
	PG_RETURN_VOID();
}
