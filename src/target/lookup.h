/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  What this center knows of a key: its row, its deletes, its notes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_LOOKUP_H
#define MC_LOOKUP_H

#include "target/note.h"

/* What is known of a key when a change of it is decided. */
typedef struct LocalRow
{
	MergeState	state;
	bool		later;			/* it was made by this very transaction */
	Oid			ranked;			/* the table, where versions are ordered by
								 * mc_policy_rank() first */
	bool		found;			/* slot has the row that SQL sees */
	TupleTableSlot *slot;
	RowKey		key;			/* values is NULL where no note was looked for */
	List	   *notes;			/* KeyNote *, of this key */
	KeyNote    *displaced;		/* the row, where it is displaced */
	TimestampTz forgotten;		/* deletes up to here may have been missed */
} LocalRow;

/* Prepare lookups; when a remote transaction begins, before its first row. */
extern void mc_lookup_begin(RemoteTransaction *transaction);

/*
 * Is this transaction newer than all that was committed or applied here until
 * this moment?
 */
extern bool mc_lookup_is_newest(const RemoteTransaction *transaction);

/*
 * Look at a key (or, in a table without one, for an equal row) and say in
 * *local what is known of it, until other transactions change that: whoever
 * acts on a row that was found is told so by the write, keys without one are
 * claimed here.  row may be NULL: nothing can be known.
 *
 * Unless it is thorough the answer is good enough for one use only: to insert
 * the row, because unique indexes find what was missed, if the decision is to
 * do so.
 *
 * As the table's owner.  Waits for other transactions.
 */
extern void mc_lookup(RemoteTransaction *transaction, TargetTable *table,
					  const RemoteRow *row, TupleTableSlot *slot, bool thorough,
					  LocalRow *local);

/*
 * May a row be inserted without a look at what is known of its key?  That is
 * so where nothing can be known that is not a live row, which the unique index
 * finds.  Who has inserted it must ask again: a delete may have been committed
 * between the question and the insertion.  Claims the key where another
 * applier may be about to note that it is deleted.
 */
extern bool mc_lookup_is_needless(RemoteTransaction *transaction,
								  TargetTable *table, const RemoteRow *row);

/*
 * The version of a row that SQL sees.  notes are those of its key.  Sets
 * *later if this very transaction wrote it.
 */
extern void mc_lookup_version(RemoteTransaction *transaction,
							  TupleTableSlot *slot, const List *notes,
							  MergeState *state, bool *later);

/*
 * May the xmin of a row be that of another transaction, 2^32 later?  Freezing
 * keeps it, and nothing tells how long ago that was.
 */
extern bool mc_lookup_may_be_alias(HeapTuple tuple);

/*
 * The key is deleted at the transaction's version, and no dead row says so:
 * write a note, in the place of older ones.
 */
extern void mc_lookup_bury(RemoteTransaction *transaction, TargetTable *table,
						   const RemoteRow *row, LocalRow *local);

/* The key has a row again: remove notes that say otherwise. */
extern void mc_lookup_forget(LocalRow *local);

/*
 * The row of a key that is dead may have moved to another key: find it, if it
 * is alive there.  Returns false if there is none.
 */
extern bool mc_lookup_moved(TargetTable *table, const RemoteRow *row,
							TupleTableSlot *slot);

#endif							/* MC_LOOKUP_H */
