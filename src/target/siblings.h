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
#include "target/write.h"

/* A version of the set, with its row. */
typedef struct SiblingRow
{
	Sibling		sibling;
	Jsonb	   *row;			/* NULL: deleted */
	bool		incoming;
	bool		here;			/* what SQL sees is this one's row */
} SiblingRow;

/* What a policy has decided about a change. */
typedef struct Resolution
{
	bool		decided;		/* false: the last update wins, as ever */
	bool		seen_all;		/* because it has seen all that is here */
	bool		incomplete;		/* it has to wait for values that it lacks */
	MergeDecision decision;
	RowVersion	version;		/* of what is written: the greatest of the set */
	Jsonb	   *row;			/* what is written; NULL: it is deleted */
	Jsonb	   *any_row;		/* some row of the key, complete */
	List	   *siblings;		/* SiblingRow *, to be remembered */
	int64		epoch;
	const char *resolver;
	const char *resolution;
} Resolution;

/* May a policy decide about changes of this transaction in a table? */
extern bool mc_siblings_possible(RemoteTransaction *transaction,
								 TargetTable *table);

/*
 * Decide on a change by the policy of its table.  key: the row by which local
 * was found, thoroughly.  otherwise: what the merge table says.  Allocates in
 * the current memory context.  As the table's owner.
 */
extern void mc_siblings_resolve(RemoteTransaction *transaction,
								TargetTable *table, MergeOp op,
								const RemoteRow *key, const LocalRow *local,
								MergeDecision otherwise,
								Resolution *resolution);

/*
 * A TRUNCATE was carried out row by row: decide again on keys of whose siblings
 * it has killed some.  As the table's owner; the table is locked.
 */
extern void mc_siblings_truncate(RemoteTransaction *transaction,
								 TargetTable *table);

/* ---- sibling_write.c ---- */

/*
 * Write what was decided, and note the conflict.  Something is written even
 * where the row that is here wins, so that nobody changes it unnoticed.
 */
extern WriteResult mc_siblings_write(RemoteTransaction *transaction,
									 TargetTable *table, MergeOp op,
									 const RemoteRow *key, LocalRow *local,
									 Resolution *resolution);

/* Write the row, or that there is none, under the greatest version. */
extern WriteResult mc_siblings_write_outcome(RemoteTransaction *transaction,
											 TargetTable *table,
											 const RemoteRow *key,
											 LocalRow *local,
											 const Resolution *resolution);

/*
 * Nobody may insert a row under a key without one before we commit, unnoticed:
 * write one and delete it at once.  row: some row of the key; NULL: none is
 * known.
 */
extern void mc_siblings_bar(TargetTable *table, const RemoteRow *key,
							const Jsonb *row);

/* Write the set as notes, unless it has one element. */
extern void mc_siblings_remember(TargetTable *table, const RemoteRow *key,
								 const Resolution *resolution);

/*
 * Are there siblings among the notes of a key, and do they hold where what is
 * known of the key has this version?
 */
extern bool mc_siblings_hold(const List *notes, RowVersion version);

/*
 * Forget the siblings among the notes of a key, because a change has seen them
 * all, and what its own transaction has restated of the key before.
 */
extern void mc_siblings_forget(const List *notes);

/* A row with values of its own. */
extern RemoteRow mc_siblings_make_row(TargetTable *table, const Jsonb *values);

#endif							/* MC_SIBLINGS_H */
