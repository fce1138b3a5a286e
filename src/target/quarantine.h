/*-------------------------------------------------------------------------
 *
 * quarantine.h
 *	  Changes of peers that cannot be completed or decided yet.
 *
 * NOTES
 *	  Only the change waits, not its link.  What is kept of it is what it puts
 *	  under its key, as text, its version, the vector of its transaction, and
 *	  what its author has said of the versions that it replaces.
 *	  It counts as applied: retry.c tries it again until it can be completed,
 *	  or until something greater is known of the key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_QUARANTINE_H
#define MC_QUARANTINE_H

#include "target/note.h"

/* What a change waits for; names of SQL views. */
#define WAITS_FOR_CAUSE		"cause" /* what its author had seen */
#define WAITS_FOR_REFRESH	"refresh"	/* the whole row, from its author */
#define WAITS_FOR_RETRY		"retry" /* its transaction has failed */
#define WAITS_FOR_PREDECESSOR "predecessor" /* of the same key, that does */
#define WAITS_FOR_DECISION	"decision"	/* somebody, or a greater version */

typedef struct QuarantineEntry
{
	int64		id;
	CenterId	peer;
	TransactionId remote_xid;
	OriginLsn	commit_lsn;
	OriginLsn	end_lsn;
	RowVersion	version;
	DependencyVector vector;
	RowKey		key;
	MergeOp		op;
	Jsonb	   *new_row;		/* without what was not sent; NULL: a DELETE */
	Jsonb	   *old_row;		/* NULL: not needed */
	char	   *causes;			/* see column_trigger.h; NULL: not told */
	bool		key_changed;	/* by the update */
	struct SeenVersions *seen;	/* what it replaces, if that was told */
	TimestampTz held_at;		/* what was committed here before is older */
	char	   *waits_for;
	bool		held;			/* it was tried, and still waits */
} QuarantineEntry;

/*
 * Keep a change of table->new_row (of table->old_row, if it is a DELETE), or
 * keep on keeping the one that is tried again.  As the table's owner.  Returns
 * false if it waited for the same already.
 */
extern bool mc_quarantine_hold(RemoteTransaction *transaction,
							   TargetTable *table, MergeOp op,
							   const char *waits_for);

/* The entries of a key, QuarantineEntry *, oldest first.  As the owner. */
extern List *mc_quarantine_find(TargetTable *table, const RemoteRow *row);

/* Does a change of the key of a row wait that came before the current one? */
extern bool mc_quarantine_older(RemoteTransaction *transaction,
								TargetTable *table, const RemoteRow *row);

/*
 * A change was written under the key of a row: what waits of its transaction
 * came before it, and is void.
 */
extern void mc_quarantine_settle(RemoteTransaction *transaction,
								 TargetTable *table, const RemoteRow *row);

/* Is a later change of the key of a row held back? */
extern bool mc_quarantine_holds_back(TargetTable *table, const RemoteRow *row);

/* The same for all keys of a table, which this transaction truncates. */
extern void mc_quarantine_truncate(RemoteTransaction *transaction, Oid relid);

/*
 * The entries after a number that may be tried now, those that wait for a
 * cause or all others: their numbers, int64 *, in the context.
 */
extern List *mc_quarantine_due(bool causes, int64 after, int limit,
							   MemoryContext context);

/*
 * Those that have made the server crash are tried only when somebody asks for
 * it, and then once: take that down.  Returns whether there are any.
 */
extern bool mc_quarantine_mark_crashing(void);

/* Read one; NULL if it is there no more. */
extern QuarantineEntry *mc_quarantine_read(int64 id);

/* Is it still there, by a snapshot of this moment? */
extern bool mc_quarantine_exists(int64 id);

extern void mc_quarantine_remove(int64 id);

/*
 * The changes that are to be tried together with this one: those of its
 * transaction, where that has failed; else only itself.
 */
extern List *mc_quarantine_together(int64 id);

/* An attempt has failed, with all that is tried together. */
extern void mc_quarantine_failed(int64 id, const ErrorData *error);

/* Does any change of a table wait? */
extern bool mc_quarantine_has(Oid relid);

/*
 * The version of the oldest entry, and up to which time the authors of all had
 * seen everything; 0 if there is none.
 */
extern TimestampTz mc_quarantine_oldest(TimestampTz *seen_until);

#endif							/* MC_QUARANTINE_H */
