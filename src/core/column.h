/*-------------------------------------------------------------------------
 *
 * column.h
 *	  Columns that are merged one by one: their vocabulary, and what follows
 *	  from what the author of a change had seen.
 *
 * NOTES
 *	  A row has an incarnation, the version of its INSERT.  The greatest
 *	  incarnation of a key wins, whatever was done to the others; within one a
 *	  DELETE wins over every change; and changes are merged column by column.
 *	  That makes the outcome a function of the set of changes that have
 *	  arrived, as long as each arrives after those that its author had seen.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COLUMN_H
#define MC_COLUMN_H

#include "core/types.h"

/* How concurrent changes of a column become one. */
typedef enum ColumnMerge
{
	COLUMN_LAST_UPDATE_WINS = 0,	/* the greatest version's value */
	COLUMN_DELTA,				/* what was added is added up */
	COLUMN_MIN,
	COLUMN_MAX,
	COLUMN_SET_UNION,
	COLUMN_JSONB_MERGE,			/* each member has its last value */
	COLUMN_HANDLER,				/* as a function of the user's says */
} ColumnMerge;

/* What the author of a change had of its key. */
typedef struct ColumnCauses
{
	RowVersion	incarnation;	/* of the row that it changed; the base
								 * version: one that everybody has seen */
	TimestampTz all;			/* every change up to here */
	int			nseen;
	RowVersion *seen;			/* and those of these centers up to here */
} ColumnCauses;

/* A change of a key that somebody may not have seen yet. */
typedef struct ColumnChange
{
	RowVersion	version;
	RowVersion	row;			/* of the row when it had been applied */
	bool		deleted;		/* it is the DELETE */
	ColumnCauses causes;
} ColumnChange;

/* A key, as all that is known of it says. */
typedef struct ColumnState
{
	RowVersion	incarnation;	/* the base version: everybody has seen it */
	bool		alive;
	bool		deleted;		/* known to be, and not only unknown */
	bool		fresh;			/* no change of this incarnation is known */
} ColumnState;

/* By its name of SQL; false where there is none. */
extern bool mc_column_merge_from_name(const char *name, ColumnMerge *merge);

/*
 * Is a column's value made of those of all changes that nobody has seen
 * together?
 */
extern bool mc_column_keeps_values(ColumnMerge merge);

/* Had the author of a change seen another one? */
extern bool mc_column_saw(const ColumnChange *change, RowVersion other);

/*
 * What is known of a key.  changes: those that are kept of it.  truncated: the
 * newest TRUNCATE.  row: the version of its row, NULL if it has none.  all:
 * what is not newer may be kept no more, and everybody has seen it.
 */
extern ColumnState mc_column_state(ColumnChange *const *changes, int nchanges,
								   RowVersion truncated, const RowVersion *row,
								   TimestampTz all);

/* Is a change of a row that is no more, or was replaced by another one? */
extern bool mc_column_is_void(const ColumnState *state,
							  const ColumnChange *change);

#endif							/* MC_COLUMN_H */
