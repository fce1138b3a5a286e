/*-------------------------------------------------------------------------
 *
 * handler_check.c
 *	  Can a function be a conflict handler of a table?
 *
 * NOTES
 *	  Asked when a policy is made, and again at each call, because functions
 *	  and tables change meanwhile.
 *
 *	  Volatility is taken at its word here.  That a handler really writes
 *	  nothing is seen to when it is called; see handler.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/registry.h"
#include "target/handler_value.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"

/* Arguments of a handler, those for its answer included. */
#define ARG_LOCAL_ROW	0
#define ARG_REMOTE_ROW	1
#define ARG_INFO		2
#define ARG_RESULT_ROW	3
#define ARG_ACTION		4
#define HANDLER_ARGS	5
#define HANDLER_INPUTS	3

/* A function that is being looked at. */
typedef struct Candidate
{
	Oid			function;
	Oid			relid;			/* InvalidOid: any table */
	HeapTuple	tuple;
	Form_pg_proc form;
	Oid			args[HANDLER_ARGS];
} Candidate;

char *
mc_handler_name(Oid function)
{
	char	   *name = get_func_name(function);
	char	   *schema;

	if (name == NULL)
		return psprintf("with OID %u", function);
	schema = get_namespace_name(get_func_namespace(function));
	return quote_qualified_identifier(schema, name);
}

/* Raise the error that a function cannot be a handler. */
pg_noreturn static void
refuse(const Candidate *candidate, int sqlstate, const char *reason,
	   const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("function %s cannot be a conflict handler",
					mc_handler_name(candidate->function)),
			 errdetail("%s", reason),
			 errhint("%s", hint)));
}

/* The row type of the table, as a word for people. */
static char *
row_type_name(Oid relid)
{
	if (!OidIsValid(relid))
		return "jsonb";
	return format_type_be(get_rel_type_id(relid));
}

/* Raise the error that a function has the wrong arguments or result. */
pg_noreturn static void
refuse_signature(const Candidate *candidate, const char *reason)
{
	char	   *type = row_type_name(candidate->relid);
	char	   *hint = psprintf("Define it as f(local_row %s, remote_row %s, info multicenter.conflict_info, OUT result_row %s, OUT action text)%s.",
								type, type, type,
								OidIsValid(candidate->relid) ? ", or with jsonb in place of the row type" : "");

	refuse(candidate, ERRCODE_INVALID_FUNCTION_DEFINITION, reason, hint);
}

/* Read the types of the arguments; anything but three in and two out is wrong. */
static void
read_arguments(Candidate *candidate)
{
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			n = get_func_arg_info(candidate->tuple, &types, &names, &modes);

	if (n != HANDLER_ARGS || modes == NULL)
		refuse_signature(candidate, "A handler has three arguments, and two that are OUT.");
	for (int i = 0; i < HANDLER_ARGS; i++)
	{
		char		expected = i < HANDLER_INPUTS ? PROARGMODE_IN : PROARGMODE_OUT;

		if (modes[i] != expected)
			refuse_signature(candidate, "A handler has three arguments, and two that are OUT.");
		candidate->args[i] = types[i];
	}
}

/* Is a type the row type of the table, or of a table that it is a part of? */
static bool
is_row_type(Oid type, Oid relid)
{
	Oid			type_relid = get_typ_typrelid(type);

	if (!OidIsValid(type_relid))
		return false;
	if (type_relid == relid)
		return true;
	return get_rel_relispartition(relid) &&
		list_member_oid(get_partition_ancestors(relid), type_relid);
}

/* Check the types of arguments and result, and find the form. */
static void
check_types(const Candidate *candidate, HandlerSignature *signature)
{
	const Oid  *args = candidate->args;

	signature->info_type =
		GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
						CStringGetDatum("conflict_info"),
						ObjectIdGetDatum(get_namespace_oid(MC_SCHEMA, false)));
	signature->row_type = args[ARG_LOCAL_ROW];
	if (args[ARG_INFO] != signature->info_type)
		refuse_signature(candidate, "The third argument is not of type multicenter.conflict_info.");
	if (args[ARG_ACTION] != TEXTOID)
		refuse_signature(candidate, "The second OUT argument, the action, is not of type text.");
	if (args[ARG_REMOTE_ROW] != signature->row_type ||
		args[ARG_RESULT_ROW] != signature->row_type)
		refuse_signature(candidate, "Both rows and the result are not of one type.");

	if (signature->row_type == JSONBOID)
		signature->form = HANDLER_JSONB;
	else if (!OidIsValid(candidate->relid))
		refuse_signature(candidate, "A handler of all tables gets its rows as jsonb.");
	else if (is_row_type(signature->row_type, candidate->relid))
		signature->form = HANDLER_TYPED;
	else
		refuse_signature(candidate,
						 psprintf("Its rows are of type %s, which is not the row type of the table.",
								  format_type_be(signature->row_type)));
}

/* Check the properties of the function. */
static void
check_properties(const Candidate *candidate)
{
	Form_pg_proc form = candidate->form;

	if (form->prokind != PROKIND_FUNCTION)
		refuse(candidate, ERRCODE_WRONG_OBJECT_TYPE, "It is not an ordinary function.",
			   "Use CREATE FUNCTION.");
	if (form->proretset)
		refuse(candidate, ERRCODE_INVALID_FUNCTION_DEFINITION, "It returns a set.",
			   "A handler gives one answer: use OUT arguments without RETURNS SETOF or RETURNS TABLE.");
	if (form->provolatile == PROVOLATILE_VOLATILE)
		refuse(candidate, ERRCODE_INVALID_FUNCTION_DEFINITION, "It is VOLATILE.",
			   "A handler must answer the same on every center: declare it IMMUTABLE, or STABLE.");
	if (form->proisstrict)
		refuse(candidate, ERRCODE_INVALID_FUNCTION_DEFINITION, "It is STRICT.",
			   "A deleted row is null, and the handler is called with it: declare it CALLED ON NULL INPUT.");
}

/* The owner of the table; InvalidOid: of any table. */
static Oid
table_owner(const Candidate *candidate)
{
	HeapTuple	tuple;
	Oid			owner;

	if (!OidIsValid(candidate->relid))
		return InvalidOid;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(candidate->relid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", candidate->relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Check who may run the function, and as whom.  Whoever owns it can put
 * something else in its place at any time, which then runs as the owner of the
 * table.
 */
static void
check_rights(const Candidate *candidate)
{
	Form_pg_proc form = candidate->form;
	Oid			owner = table_owner(candidate);

	if (!OidIsValid(owner) && !superuser_arg(form->proowner))
		refuse(candidate, ERRCODE_INSUFFICIENT_PRIVILEGE,
			   "It does not belong to a superuser, and would run as the owner of any table.",
			   "Make a superuser the owner of the function, or set the policy for tables of its owner.");
	if (OidIsValid(owner) && !has_privs_of_role(form->proowner, owner))
		refuse(candidate, ERRCODE_INSUFFICIENT_PRIVILEGE,
			   psprintf("It belongs to role %s, and would run as role %s, the owner of the table, whose rights that role has not.",
						quote_identifier(GetUserNameFromId(form->proowner, false)),
						quote_identifier(GetUserNameFromId(owner, false))),
			   "Make the owner of the table the owner of the function.");
	if (form->prosecdef && form->proowner != owner)
		refuse(candidate, ERRCODE_INVALID_FUNCTION_DEFINITION,
			   "It is SECURITY DEFINER, and does not belong to the owner of the table.",
			   "A handler runs as the owner of the table: declare it SECURITY INVOKER.");
	if (OidIsValid(owner) && !mc_may_execute(candidate->function, owner))
		refuse(candidate, ERRCODE_INSUFFICIENT_PRIVILEGE,
			   psprintf("Role %s, the owner of the table, may not execute it.",
						quote_identifier(GetUserNameFromId(owner, false))),
			   "Grant EXECUTE on the function to that role.");
}

/* Find the function; whoever does so releases the tuple. */
static Candidate
find_candidate(Oid relid, Oid function)
{
	Candidate	candidate = {.function = function,.relid = relid};

	candidate.tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(candidate.tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	candidate.form = (Form_pg_proc) GETSTRUCT(candidate.tuple);
	return candidate;
}

void
mc_handler_check_rights(Oid relid, Oid function)
{
	Candidate	candidate = find_candidate(relid, function);

	check_rights(&candidate);
	ReleaseSysCache(candidate.tuple);
}

void
mc_handler_signature(Oid relid, Oid function, HandlerSignature *signature)
{
	Candidate	candidate = find_candidate(relid, function);

	check_properties(&candidate);
	read_arguments(&candidate);
	check_types(&candidate, signature);
	check_rights(&candidate);
	ReleaseSysCache(candidate.tuple);
}

HandlerForm
mc_handler_check(Oid relid, Oid function)
{
	HandlerSignature signature;

	mc_handler_signature(relid, function, &signature);
	return signature.form;
}
