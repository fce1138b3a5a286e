/*-------------------------------------------------------------------------
 *
 * policy_functions.c
 *	  SQL functions about policies for conflicts.
 *
 * NOTES
 *	  Who may set a policy is decided here, with the rights of the caller; the
 *	  rest is SQL, in src/sql/45_conflicts.sql, and runs as the owner of our
 *	  tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "control/rewrite.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "state/own.h"
#include "state/policy.h"
#include "target/handler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"

#define ADMIN_ROLE "multicenter_admin"

PG_FUNCTION_INFO_V1(mc_sql_conflict_policy_set);
PG_FUNCTION_INFO_V1(mc_sql_conflict_policy_reset);
PG_FUNCTION_INFO_V1(mc_sql_column_policy_set);
PG_FUNCTION_INFO_V1(mc_sql_column_policy_reset);
PG_FUNCTION_INFO_V1(mc_sql_column_fence);
PG_FUNCTION_INFO_V1(mc_sql_column_is_ordered);
PG_FUNCTION_INFO_V1(mc_sql_policy_epoch_of);
PG_FUNCTION_INFO_V1(mc_sql_policy_own_epoch);
PG_FUNCTION_INFO_V1(mc_sql_policy_newest);
PG_FUNCTION_INFO_V1(mc_sql_policy_resolver);
PG_FUNCTION_INFO_V1(mc_sql_policy_handler);

/* The owner of a relation; an error if it does not exist. */
static Oid
relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* May the caller decide how conflicts of this table are?  InvalidOid: of all */
static void
check_rights(Oid relid)
{
	if (has_privs_of_role(GetUserId(), get_role_oid(ADMIN_ROLE, false)))
		return;
	if (OidIsValid(relid))
	{
		if (has_privs_of_role(GetUserId(), relation_owner(relid)))
			return;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set conflict policies of relation %u",
						relid),
				 errhint("Only the owner of a table and members of role " ADMIN_ROLE " can.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set the default conflict policy"),
			 errhint("Only members of role " ADMIN_ROLE " can.")));
}

/*
 * Run an internal function with the arguments of ours, of which the first is a
 * relation, and the caller's name behind them, as the owner of our tables.
 */
static Datum
set_policy(FunctionCallInfo fcinfo, SPIPlanPtr *plan, const char *command,
		   int nargs, Oid *types)
{
	Datum		values[8];
	char		nulls[8];
	OwnScope	scope;

	Assert(nargs <= lengthof(values));
	check_rights(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0));
	for (int i = 0; i < nargs - 1; i++)
	{
		values[i] = fcinfo->args[i].value;
		nulls[i] = fcinfo->args[i].isnull ? 'n' : ' ';
	}
	values[nargs - 1] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	nulls[nargs - 1] = ' ';
	mc_own_begin(&scope);
	(void) mc_own_execute(plan, command, nargs, types, values, nulls, SPI_OK_SELECT);
	mc_own_end(&scope);
	PG_RETURN_VOID();
}

/*
 * conflict_policy_set(relation, conflict_type, resolver, handler, options)
 */
Datum
mc_sql_conflict_policy_set(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {REGCLASSOID, TEXTOID, TEXTOID, REGPROCEDUREOID, JSONBOID, TEXTOID};

	return set_policy(fcinfo, &plan,
					  "SELECT multicenter.internal_policy_set($1, $2, $3, $4, $5, $6)",
					  lengthof(types), types);
}

/*
 * conflict_policy_reset(relation, conflict_type)
 */
Datum
mc_sql_conflict_policy_reset(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {REGCLASSOID, TEXTOID, TEXTOID};

	return set_policy(fcinfo, &plan,
					  "SELECT multicenter.internal_policy_reset($1, $2, $3)",
					  lengthof(types), types);
}

/* A relation must be given. */
static void
check_relation(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
}

/*
 * column_policy_set(relation, column_name, merge, handler)
 */
Datum
mc_sql_column_policy_set(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {REGCLASSOID, NAMEOID, TEXTOID, REGPROCEDUREOID, TEXTOID};

	check_relation(fcinfo);
	if (!PG_ARGISNULL(3))
		mc_handler_check_rights(PG_GETARG_OID(0), PG_GETARG_OID(3));
	return set_policy(fcinfo, &plan,
					  "SELECT multicenter.internal_column_set($1, $2, $3, $4, $5)",
					  lengthof(types), types);
}

/*
 * column_policy_reset(relation, column_name)
 */
Datum
mc_sql_column_policy_reset(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {REGCLASSOID, NAMEOID, TEXTOID};

	check_relation(fcinfo);
	return set_policy(fcinfo, &plan,
					  "SELECT multicenter.internal_column_reset($1, $2, $3)",
					  lengthof(types), types);
}

/*
 * internal_column_fence(relation): nobody writes to the table any more.
 */
Datum
mc_sql_column_fence(PG_FUNCTION_ARGS)
{
	mc_rewrite_fence(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/*
 * internal_column_is_ordered(type_oid)
 */
Datum
mc_sql_column_is_ordered(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(OidIsValid(lookup_type_cache(PG_GETARG_OID(0), TYPECACHE_CMP_PROC)->cmp_proc));
}

/*
 * internal_policy_epoch_of(center_id, version): as apply sees it.
 */
Datum
mc_sql_policy_epoch_of(PG_FUNCTION_ARGS)
{
	RowVersion	version;

	version.center = (CenterId) PG_GETARG_INT32(0);
	version.commit_ts = PG_GETARG_TIMESTAMPTZ(1);
	PG_RETURN_INT64(mc_policy_epoch_of(version));
}

/*
 * internal_policy_own_epoch(): the epoch of what this center commits.
 */
Datum
mc_sql_policy_own_epoch(PG_FUNCTION_ARGS)
{
	TimestampTz ts;

	PG_RETURN_INT64(mc_policy_own_epoch(&ts));
}

/*
 * internal_policy_newest(): the greatest epoch that is known here.
 */
Datum
mc_sql_policy_newest(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(mc_policy_greatest_known());
}

/*
 * internal_policy_resolver(relation, epoch, family): as it is set; null where
 * the table is known never to have had anything special.
 */
Datum
mc_sql_policy_resolver(PG_FUNCTION_ARGS)
{
	const TablePolicy *policy = mc_policy_set_for(PG_GETARG_OID(0), PG_GETARG_INT64(1));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(2));
	McConflictFamily family;

	if (policy == NULL || !mc_family_from_name(name, &family))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(mc_resolver_name(policy->family[family].resolver)));
}

/*
 * internal_policy_handler_of(relation, epoch, family): the same of the handler.
 */
Datum
mc_sql_policy_handler(PG_FUNCTION_ARGS)
{
	const TablePolicy *policy = mc_policy_set_for(PG_GETARG_OID(0), PG_GETARG_INT64(1));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(2));
	McConflictFamily family;

	if (policy == NULL || !mc_family_from_name(name, &family) ||
		!OidIsValid(policy->family[family].handler))
		PG_RETURN_NULL();
	PG_RETURN_OID(policy->family[family].handler);
}
