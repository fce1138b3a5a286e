/*-------------------------------------------------------------------------
 *
 * policy.h
 *	  Which policy decides a conflict: by table, and by epoch of the versions.
 *
 * NOTES
 *	  Every function needs a transaction, reads what is committed now, and
 *	  answers from a cache of this process, which is read again when one of
 *	  the tables changes.  They may be called with any user, and raise no
 *	  errors of their own.  What they return stays valid until the end of the
 *	  transaction.
 *
 *	  Epochs are numbers n * 1024 + center, ordered as such, greater than all
 *	  that its center had known when it set a policy.  0 is the epoch before
 *	  any policy was set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_POLICY_H
#define MC_POLICY_H

#include "core/resolve.h"
#include "core/types.h"

/* What holds for a table in one epoch. */
typedef struct TablePolicy
{
	int64		first;			/* the first epoch that has set anything
								 * special for rows of the table */
	FamilyPolicy family[MC_FAMILIES];
} TablePolicy;

/*
 * The policy of a table in an epoch, which must be known (see below).  NULL if
 * no row, delete or missing conflict of this table has ever been for anything
 * but last_update_wins, in any epoch, or if its columns are merged: then nothing
 * else decides.  Costs nanoseconds where that holds for all tables.
 */
extern const TablePolicy *mc_policy_table(Oid relid, int64 epoch);

/* The same as it is set, whether columns are merged or not. */
extern const TablePolicy *mc_policy_set_for(Oid relid, int64 epoch);

/*
 * The epoch by which a version of a key of a table is ordered.  All before the
 * first that has set anything special for it are alike, 0: who met such versions
 * before that was known, had only their times to go by.
 */
extern int64 mc_policy_rank(Oid relid, RowVersion version);

/* The order of two versions of a key of a table: by mc_policy_rank() first. */
extern int	mc_policy_compare(Oid relid, RowVersion a, RowVersion b);

/*
 * What becomes of changes of a table that cannot be applied, in the epoch that
 * this center has taken over.  InvalidOid: of no table.  False: it is not set.
 */
extern bool mc_policy_of_errors(Oid relid, McResolver *resolver);

/* May mc_policy_table() return anything but NULL for some table? */
extern bool mc_policies_any(void);

/*
 * A function by its signature, as policies have it; InvalidOid where it is not
 * here.  Names are compared, rather than parsed, because a type that does not
 * exist here would be an error.
 */
extern Oid	mc_policy_find_handler(const char *signature);

/*
 * The epoch of a version: the greatest that its author had taken over before
 * it.  0 for the base version and before the first.  What the author has sent
 * before that version must have been applied.
 */
extern int64 mc_policy_epoch_of(RowVersion version);

/* Are all policies that hold in this epoch here? */
extern bool mc_policy_epoch_known(int64 epoch);

/* The greatest epoch that is known. */
extern int64 mc_policy_greatest_known(void);

/*
 * Did another center set a policy while this one did, in a greater epoch that
 * does not cover ours?
 */
extern bool mc_policy_must_join(void);

/*
 * The epoch that this center has taken over; 0: none yet.  Its versions with
 * commit timestamps greater than *ts are of that epoch: after
 * mc_clock_raise(*ts) whatever is committed here is.
 */
extern int64 mc_policy_own_epoch(TimestampTz *ts);

#endif							/* MC_POLICY_H */
