/*-------------------------------------------------------------------------
 *
 * sibling.h
 *	  Versions of a key that nobody has seen together: which one is visible.
 *
 * NOTES
 *	  With a policy other than last_update_wins the outcome must not depend on
 *	  the order in which versions arrive, and comparing two at a time is not
 *	  enough for that.  So all versions are kept that no other one has seen,
 *	  and these functions decide on the set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SIBLING_H
#define MC_SIBLING_H

#include "core/resolve.h"

typedef struct Sibling
{
	RowVersion	version;
	bool		deleted;
	int64		epoch;			/* of policies, in which it was written */
} Sibling;

/* The greatest epoch of a set; only its versions count. */
extern int64 mc_sibling_epoch(const Sibling *siblings, int n);

/*
 * The number of the version that a policy without a handler prefers, of puts
 * only or of all; -1 where there is none.
 */
extern int	mc_sibling_best(const Sibling *siblings, int n,
							const FamilyPolicy *policy, bool puts_only);

/*
 * Is the row deleted, where a set holds puts and deletes?  The policy is that
 * of such pairs, and has no handler.
 */
extern bool mc_sibling_deleted(const Sibling *siblings, int n,
							   const FamilyPolicy *policy);

#endif							/* MC_SIBLING_H */
