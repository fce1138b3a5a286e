/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Policies for conflicts: their vocabulary, and what follows from them.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/resolve.h"

static const char *const resolver_names[] = {
	[RESOLVER_LAST_UPDATE_WINS] = "last_update_wins",
	[RESOLVER_FIRST_UPDATE_WINS] = "first_update_wins",
	[RESOLVER_SITE_PRIORITY] = "site_priority",
	[RESOLVER_INSERT_OR_SKIP] = "insert_or_skip",
	[RESOLVER_SKIP] = "skip",
	[RESOLVER_APPLY_REMOTE] = "apply_remote",
	[RESOLVER_KEEP_LOCAL] = "keep_local",
	[RESOLVER_QUARANTINE] = "quarantine",
	[RESOLVER_ERROR] = "error",
	[RESOLVER_HANDLER] = "handler",
};

static const char *const family_names[] = {
	[FAMILY_ROW] = "row",
	[FAMILY_DELETE] = "delete",
	[FAMILY_MISSING] = "missing",
	[FAMILY_UNIQUE] = "unique",
	[FAMILY_APPLY] = "apply",
};

const char *
mc_resolver_name(McResolver resolver)
{
	return resolver_names[resolver];
}

bool
mc_resolver_from_name(const char *name, McResolver *resolver)
{
	for (int i = 0; i < lengthof(resolver_names); i++)
	{
		if (strcmp(resolver_names[i], name) == 0)
		{
			*resolver = (McResolver) i;
			return true;
		}
	}
	return false;
}

bool
mc_family_from_name(const char *name, McConflictFamily *family)
{
	for (int i = 0; i < lengthof(family_names); i++)
	{
		if (strcmp(family_names[i], name) == 0)
		{
			*family = (McConflictFamily) i;
			return true;
		}
	}
	return false;
}

int
mc_site_rank(const FamilyPolicy *policy, CenterId center)
{
	for (int i = 0; i < policy->nranks; i++)
	{
		if (policy->ranks[i].center == center)
			return policy->ranks[i].rank;
	}
	return MC_RANK_LAST;
}
