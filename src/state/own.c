/*-------------------------------------------------------------------------
 *
 * own.c
 *	  Read and write multicenter's own tables by SQL, as their owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "state/own.h"
#include "state/registry.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

void
mc_own_begin(OwnScope *scope)
{
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(mc_registry_owner(),
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
mc_own_end(const OwnScope *scope)
{
	PopActiveSnapshot();
	SPI_finish();
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
	CommandCounterIncrement();
}

uint64
mc_own_execute(SPIPlanPtr *plan, const char *command, int nargs, Oid *types,
			   Datum *values, const char *nulls, int expected)
{
	int			result;

	if (*plan == NULL)
	{
		*plan = SPI_prepare(command, nargs, types);
		if (*plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", command,
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(*plan);
	}
	result = SPI_execute_plan(*plan, values, nulls, false, 0);
	if (result != expected)
		elog(ERROR, "could not execute \"%s\": %s", command,
			 SPI_result_code_string(result));
	return SPI_processed;
}

Oid
mc_own_relation(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid(MC_SCHEMA, false));

	if (!OidIsValid(relid))
		elog(ERROR, "relation \"%s.%s\" does not exist", MC_SCHEMA, name);
	return relid;
}

void
mc_own_insert(Relation rel, TupleTableSlot **slots, int nslots)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *relinfo = makeNode(ResultRelInfo);

	InitResultRelInfo(relinfo, rel, 1, NULL, 0);
	ExecOpenIndices(relinfo, false);
	table_multi_insert(rel, slots, nslots, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < nslots; i++)
	{
		if (relinfo->ri_NumIndices > 0)
			(void) ExecInsertIndexTuples_compat(relinfo, estate, false, false,
												slots[i], false, NIL, NULL);
		ExecDropSingleTupleTableSlot(slots[i]);
		ResetPerTupleExprContext(estate);
	}
	ExecCloseIndices(relinfo);
	FreeExecutorState(estate);
}
