/*-------------------------------------------------------------------------
 *
 * resolve.h
 *	  Policies for conflicts: their vocabulary, and what follows from them.
 *
 * NOTES
 *	  One pair of concurrent writes can be met as different conflict types at
 *	  different centers: a put that meets a tombstone, or the tombstone that
 *	  meets the put.  So a policy holds for a family of types, and is a
 *	  function of the pair alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RESOLVE_H
#define MC_RESOLVE_H

#include "core/merge.h"
#include "core/types.h"

/* Names of SQL policies; see mc_resolver_name(). */
typedef enum McResolver
{
	RESOLVER_LAST_UPDATE_WINS = 0,
	RESOLVER_FIRST_UPDATE_WINS,
	RESOLVER_SITE_PRIORITY,
	RESOLVER_INSERT_OR_SKIP,
	RESOLVER_SKIP,
	RESOLVER_APPLY_REMOTE,
	RESOLVER_KEEP_LOCAL,
	RESOLVER_QUARANTINE,
	RESOLVER_ERROR,
	RESOLVER_HANDLER,
} McResolver;

typedef enum McConflictFamily
{
	FAMILY_ROW,					/* two puts */
	FAMILY_DELETE,				/* a put and a delete */
	FAMILY_MISSING,				/* nothing is here, but should be */
	FAMILY_UNIQUE,				/* rows of different keys */
	FAMILY_APPLY,				/* what cannot be applied */
} McConflictFamily;

#define MC_FAMILIES		(FAMILY_APPLY + 1)

/* How good the site of a center is: less is better. */
typedef struct SiteRank
{
	CenterId	center;
	int			rank;
} SiteRank;

/* The rank of a center whose site is not in the list. */
#define MC_RANK_LAST	PG_INT32_MAX

/* What holds for one family of conflicts of a table, in one epoch. */
typedef struct FamilyPolicy
{
	McResolver	resolver;
	Oid			handler;		/* InvalidOid: none, or it is not here */
	int			nranks;
	SiteRank   *ranks;			/* of RESOLVER_SITE_PRIORITY, in no order */
} FamilyPolicy;

/* SQL names; false for a name that there is not. */
extern const char *mc_resolver_name(McResolver resolver);
extern bool mc_resolver_from_name(const char *name, McResolver *resolver);
extern bool mc_family_from_name(const char *name, McConflictFamily *family);

/* The rank of a center under site priority: less is better, equal is a tie. */
extern int	mc_site_rank(const FamilyPolicy *policy, CenterId center);

#endif							/* MC_RESOLVE_H */
