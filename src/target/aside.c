/*-------------------------------------------------------------------------
 *
 * aside.c
 *	  Which transactions of a peer go into quarantine because they fail.
 *
 * NOTES
 *	  A transaction is tried again and again.  Only one that is to blame for
 *	  its failure itself goes into quarantine, and only where the policy of the
 *	  table that it failed at says so; multicenter.on_apply_error, where none
 *	  is set.  At a center that waits nothing is lost, and one that does not
 *	  wait applies the change later, so centers may do the one and the other.
 *	  That is why our own epoch counts here, and not the one of the change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "state/policy.h"
#include "state/settings.h"
#include "target/aside.h"
#include "target/probation.h"
#include "utils/lsyscache.h"

#include "compat.h"

/* A transaction that has failed so often goes into quarantine. */
#define FAILURES_BEFORE_QUARANTINE	5
#define CRASHES_BEFORE_QUARANTINE	3

/* Is it the transaction that is to blame for an error, and not the server? */
static bool
is_error_of_change(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:
		case ERRCODE_EXTERNAL_ROUTINE_EXCEPTION:
		case ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION:
		case ERRCODE_PLPGSQL_ERROR:
			return true;
	}
	return false;
}

/*
 * The table that an error tells of, as "schema.table" without quotes;
 * InvalidOid if there is none.
 */
static Oid
table_of_error(const LinkError *error)
{
	Oid			relid = InvalidOid;

	for (const char *dot = strchr(error->relation, '.');
		 dot != NULL && !OidIsValid(relid); dot = strchr(dot + 1, '.'))
	{
		char	   *schema = pnstrdup(error->relation, dot - error->relation);
		Oid			schema_oid = get_namespace_oid(schema, true);

		if (OidIsValid(schema_oid))
			relid = get_relname_relid(dot + 1, schema_oid);
	}
	return relid;
}

/* Does the policy of the table that an error tells of want quarantine? */
static bool
policy_wants(const LinkError *error)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		wants = mc_on_apply_error == ON_APPLY_ERROR_QUARANTINE;
	McResolver	resolver;

	StartTransactionCommand();
	if (mc_policy_of_errors(table_of_error(error), &resolver))
		wants = resolver == RESOLVER_QUARANTINE;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return wants;
}

/*
 * Where not everything can be put aside, its cause may go one day: so every
 * other attempt is to apply the transaction.
 */
bool
mc_aside_wanted(SharedLink *link, OriginLsn commit_lsn, LinkError *error)
{
	int			failures = mc_link_failures(link, commit_lsn, error);
	int			crashes = mc_probation_before(commit_lsn);
	int			enough = error->certain ? 1 : FAILURES_BEFORE_QUARANTINE;

	if (crashes >= CRASHES_BEFORE_QUARANTINE)
	{
		/* What it did then is not known. */
		error->relation[0] = '\0';
		error->sqlstate = ERRCODE_CRASH_SHUTDOWN;
		snprintf(error->message, sizeof(error->message),
				 "the server has crashed %d times while this transaction was applied",
				 crashes);
		return policy_wants(error);
	}
	return failures >= enough && (failures - enough) % 2 == 0 &&
		is_error_of_change(error->sqlstate) && policy_wants(error);
}
