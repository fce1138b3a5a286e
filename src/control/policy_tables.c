/*-------------------------------------------------------------------------
 *
 * policy_tables.c
 *	  Policies for conflicts stay with tables, and hold for new ones.
 *
 * NOTES
 *	  A table that a policy holds for needs a trigger and, with large values,
 *	  REPLICA IDENTITY FULL.  conflict_policy_set() gives both to the tables
 *	  that are there; an event trigger gives them to those that are made, get
 *	  a key or become partitions later.  It does so on each center by itself,
 *	  because such a command is replicated or run on each by hand.  The same
 *	  goes for tables whose columns are merged, which need old rows.  Triggers
 *	  of partitioned tables would do for partitions that are made, but not for
 *	  tables that are attached and have one of the name already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "control/policy_tables.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "state/column_policy.h"
#include "state/own.h"
#include "state/policy.h"
#include "state/registry.h"
#include "state/shared.h"
#include "utils/datum.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_complete_policies);

Datum
mc_policy_named(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller_context = CurrentMemoryContext;
	OwnScope	scope;
	MemoryContext old_context;
	Datum		named;
	bool		isnull;

	mc_own_begin(&scope);
	(void) mc_own_execute(&plan, "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
						  "'policies', multicenter.internal_policy_named(),"
						  " 'columns', multicenter.internal_column_named()))",
						  0, NULL, NULL, NULL, SPI_OK_SELECT);
	named = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	Assert(!isnull);
	old_context = MemoryContextSwitchTo(caller_context);
	named = datumCopy(named, false, -1);
	MemoryContextSwitchTo(old_context);
	mc_own_end(&scope);
	return named;
}

void
mc_policy_follow(Datum named)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {JSONBOID};
	OwnScope	scope;

	mc_own_begin(&scope);
	(void) mc_own_execute(&plan, "SELECT multicenter.internal_policy_follow($1 OPERATOR(pg_catalog.->) 'policies'),"
						  " multicenter.internal_column_follow($1 OPERATOR(pg_catalog.->) 'columns')",
						  1, types, &named, NULL, SPI_OK_SELECT);
	mc_own_end(&scope);
}

/*
 * Event trigger: tables were made or changed.  A center that joins gets its
 * tables as they are.
 */
Datum
mc_complete_policies(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	OwnScope	scope;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("complete_policies() can only be called as an event trigger")));
	if (!mc_database_is_center(MyDatabaseId) || mc_gate() == GATE_JOINING ||
		!(mc_policies_any() || mc_column_policies_any()))
		PG_RETURN_NULL();
	mc_own_begin(&scope);
	(void) mc_own_execute(&plan, "SELECT multicenter.internal_policy_complete(pg_catalog.array_agg(c.objid))"
						  " FROM pg_catalog.pg_event_trigger_ddl_commands() AS c"
						  " WHERE c.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
						  " AND c.object_type OPERATOR(pg_catalog.=) 'table'",
						  0, NULL, NULL, NULL, SPI_OK_SELECT);
	mc_own_end(&scope);
	PG_RETURN_NULL();
}
