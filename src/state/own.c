/*-------------------------------------------------------------------------
 *
 * own.c
 *	  Read and write multicenter's own tables by SQL, as their owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "state/own.h"
#include "state/registry.h"
#include "utils/snapmgr.h"

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
