/*-------------------------------------------------------------------------
 *
 * sibling.c
 *	  Versions of a key that nobody has seen together: which one is visible.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/sibling.h"

#include "compat.h"

int64
mc_sibling_epoch(const Sibling *siblings, int n)
{
	int64		epoch = 0;

	for (int i = 0; i < n; i++)
		epoch = Max(epoch, siblings[i].epoch);
	return epoch;
}

/* Does a policy prefer one version to another one? */
static bool
is_better(const FamilyPolicy *policy, const Sibling *a, const Sibling *b)
{
	int			newer = mc_version_compare(a->version, b->version);

	if (policy->resolver == RESOLVER_SITE_PRIORITY)
	{
		int			a_rank = mc_site_rank(policy, a->version.center);
		int			b_rank = mc_site_rank(policy, b->version.center);

		if (a_rank != b_rank)
			return a_rank < b_rank;
	}
	return policy->resolver == RESOLVER_FIRST_UPDATE_WINS ? newer < 0 : newer > 0;
}

int
mc_sibling_best(const Sibling *siblings, int n, const FamilyPolicy *policy,
				bool puts_only)
{
	int			best = -1;

	for (int i = 0; i < n; i++)
	{
		if (puts_only && siblings[i].deleted)
			continue;
		if (best < 0 || is_better(policy, &siblings[i], &siblings[best]))
			best = i;
	}
	return best;
}

bool
mc_sibling_deleted(const Sibling *siblings, int n, const FamilyPolicy *policy)
{
	switch (policy->resolver)
	{
		case RESOLVER_INSERT_OR_SKIP:
			return false;
		case RESOLVER_SKIP:
			return true;
		default:
			return siblings[mc_sibling_best(siblings, n, policy, false)].deleted;
	}
}
