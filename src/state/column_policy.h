/*-------------------------------------------------------------------------
 *
 * column_policy.h
 *	  Which columns of a table are merged, and how.
 *
 * NOTES
 *	  Every function needs a transaction and answers from a cache of this
 *	  process, which is read again when the table of policies, or another
 *	  relation, changes.  What they return stays valid until the end of the
 *	  transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COLUMN_POLICY_H
#define MC_COLUMN_POLICY_H

#include "core/column.h"

typedef struct ColumnPolicies
{
	int			natts;
	ColumnMerge *merge;			/* by column */
	Oid		   *handler;		/* InvalidOid: none, or it is not here */
	TimestampTz since;			/* everybody had seen all that is older; 0:
								 * not known */
} ColumnPolicies;

/*
 * What holds for the columns of a table, or of a partitioned table that it
 * belongs to; NULL if its rows are decided on as a whole.  Costs nanoseconds
 * where that is so for all tables.
 */
extern const ColumnPolicies *mc_column_policies(Oid relid);

/* May that be anything but NULL for some table? */
extern bool mc_column_policies_any(void);

/*
 * Changes of such columns may be kept no more up to here, because every center
 * has seen them.  From where no manager has told it yet, from our table.
 */
extern TimestampTz mc_column_purged(void);

/*
 * The manager: nothing up to here is kept from the commit of this transaction
 * on.
 */
extern void mc_column_purge(TimestampTz ts);

#endif							/* MC_COLUMN_POLICY_H */
