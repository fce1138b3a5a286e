/*-------------------------------------------------------------------------
 *
 * clash.h
 *	  Find the rows that a unique index or exclusion constraint does not allow
 *	  beside another one.
 *
 * NOTES
 *	  Index expressions, and the output of types, may run code of users: call
 *	  all of this as the table's owner.  Results are allocated in the current
 *	  memory context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_CLASH_H
#define MC_CLASH_H

#include "target/note.h"

/* A row to be decided on, or one that it clashes with. */
typedef struct ClashRow
{
	RowVersion	version;
	RowKey		key;
	char	   *key_text;		/* the same at every center */
	uint32		key_len;
	Jsonb	   *values;
	List	   *notes;			/* of the key */
	KeyNote    *displaced;		/* NULL: it is in the table */
	ItemPointerData tid;		/* there */
	bool		update;

	/* By which index another row was found to clash with it. */
	Oid			index;
	bool		several;
	bool		exclusion;
} ClashRow;

/* A search in the indexes of one table. */
typedef struct ClashSearch
{
	RemoteTransaction *transaction;
	TargetTable *table;
	TupleTableSlot *found;		/* by scans; belongs to the caller */
	TransactionId wait_for;		/* who is changing a row that may clash */
	uint32		wait_token;		/* its speculative insertion, or 0 */
} ClashSearch;

/* What a search has come to. */
typedef enum ClashResult
{
	CLASH_DONE,
	CLASH_BUSY,					/* another transaction is at such a row */
} ClashResult;

/* Describe a row that is in the table, or one that is displaced. */
extern ClashRow *mc_clash_of_row(ClashSearch *search, TupleTableSlot *slot);
extern ClashRow *mc_clash_of_note(KeyNote *note);

/* Negative if a loses against b. */
extern int	mc_clash_compare(const ClashRow *a, const ClashRow *b);

/*
 * Find the visible rows that clash with a row on another index than that of
 * its key.  self is its place, if it is in the table itself, or NULL.
 */
extern ClashResult mc_clash_find(ClashSearch *search, TupleTableSlot *slot,
								 const ItemPointerData *self, List **rows);

/* The greatest of the rows that are greater than this one, or NULL. */
extern ClashRow *mc_clash_winner(List *clashes, const ClashRow *row);

#endif							/* MC_CLASH_H */
