/*-------------------------------------------------------------------------
 *
 * siblings.h
 *	  Concurrent versions of a key, where a policy decides between them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SIBLINGS_H
#define MC_SIBLINGS_H

#include "core/sibling.h"
#include "target/lookup.h"

/* What a policy has decided about a change. */
typedef struct Resolution
{
	bool		decided;		/* false: the last update wins, as ever */
	MergeDecision decision;
	RowVersion	version;		/* of what is written: the greatest of the set */
	Jsonb	   *row;			/* what is written; NULL: it is deleted */
	Jsonb	   *other_row;		/* any row of the key, complete */
	List	   *siblings;		/* SiblingRow *, to be remembered */
	const char *resolver;
	const char *resolution;
} Resolution;

/*
 * Decide on a change by the policy of its table.  key: the row by which local
 * was found.  A change that is to be written comes back as PUT or DELETE, and
 * its row or that of another version in *resolution; it has to be written even
 * where the row that is here wins, so that nobody changes it unnoticed.
 * Allocates in the current memory context.
 */
extern void mc_siblings_resolve(RemoteTransaction *transaction,
								TargetTable *table, MergeOp op,
								const RemoteRow *key, const LocalRow *local,
								MergeDecision otherwise,
								Resolution *resolution);

/* The change was written: remember the versions that were concurrent. */
extern void mc_siblings_remember(TargetTable *table, const RemoteRow *key,
								 const LocalRow *local,
								 const Resolution *resolution);

#endif							/* MC_SIBLINGS_H */
