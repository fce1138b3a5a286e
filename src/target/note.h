/*-------------------------------------------------------------------------
 *
 * note.h
 *	  Notes about keys: what the rows of a table cannot say themselves.
 *
 * NOTES
 *	  The table multicenter.key_note holds, by relation and key:
 *
 *	  NOTE_TOMBSTONE	the key was deleted at this version.  Only where no
 *						dead row of the table says so.
 *	  NOTE_DISPLACED	the row of the key, at this version, lost a secondary
 *						unique key or exclusion constraint and is kept here.
 *	  NOTE_VERSION		the row that xid wrote under this key has this
 *						version, and not that of xid's commit.
 *	  NOTE_REMOVED		the row that xid removed under this key was not
 *						deleted: it was displaced, or moved away.
 *	  NOTE_SIBLING		one of the versions of the key that no write has
 *						seen together; they hold as long as what is known of
 *						the key has the greatest of their versions.
 *	  NOTE_CHANGE		a change that somebody may not have seen yet, in a
 *						table whose columns are merged: see column_log.h.
 *
 *	  A key is found by a hash that agrees with the equality of the identity
 *	  index, and then compared by that equality.  Looking costs nothing where
 *	  a relation has no notes: see mc_note_find().
 *
 *	  Two appliers that find nothing under a key must not both act on that.
 *	  Whoever acts on a key without a live row claims it first; the claim is
 *	  given up when the transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_NOTE_H
#define MC_NOTE_H

#include "target/table.h"
#include "utils/jsonb.h"

typedef enum NoteKind
{
	NOTE_TOMBSTONE = 't',
	NOTE_DISPLACED = 'd',
	NOTE_VERSION = 'v',
	NOTE_REMOVED = 'x',
	NOTE_SIBLING = 's',
	NOTE_CHANGE = 'c',
} NoteKind;

/* The key of a row, in a form that does not depend on its transaction. */
typedef struct RowKey
{
	Oid			relid;
	int64		hash;
	Jsonb	   *values;			/* {"column": "text", ...} of the identity */
} RowKey;

typedef struct KeyNote
{
	int64		id;
	NoteKind	kind;
	RowKey		key;
	RowVersion	version;		/* NOTE_CHANGE: the base version stands for
								 * that of xid's commit */
	TransactionId xid;			/* NOTE_VERSION, NOTE_REMOVED; NOTE_CHANGE:
								 * that wrote the note */
	Jsonb	   *row;			/* NOTE_DISPLACED: {"column": "text" | null};
								 * NOTE_SIBLING: the same, NULL if deleted;
								 * NOTE_CHANGE: see column_log.c */
	Jsonb	   *displaced_by;	/* NOTE_DISPLACED: the key of the winner */
	TimestampTz since;
} KeyNote;

/* The newest TRUNCATE of a relation. */
typedef struct TruncationNote
{
	RowVersion	version;
	bool		own;			/* it is this very transaction's */
} TruncationNote;

/*
 * The key of a row; allocated in the current context.  The first only makes
 * the hash, which is all that a claim needs.  As the table's owner.
 */
extern int64 mc_note_hash(TargetTable *table, const RemoteRow *row);
extern void mc_note_key(TargetTable *table, const RemoteRow *row, RowKey *key);

/*
 * May the relation have notes about keys?  Costs some ten instructions where
 * it has none and nobody writes any; an index probe otherwise.
 */
extern bool mc_note_possible(TargetTable *table);
extern bool mc_note_possible_in(RelationMap *map);

/*
 * The notes of a key, as a list of KeyNote * in the current context; NIL at
 * once where the relation has none at all.  Sees what this transaction and
 * all committed ones have written.
 */
extern List *mc_note_find(TargetTable *table, const RowKey *key);

/* All notes of one kind of a relation, newest version first. */
extern List *mc_note_list(Oid relid, NoteKind kind);

/* The newest TRUNCATE that is still remembered; false if there is none. */
extern bool mc_note_truncation(RemoteTransaction *transaction,
							   TargetTable *table, TruncationNote *note);

/*
 * Remember a TRUNCATE.  At commit_ts 0 its version is that of the commit of
 * this transaction.  Keeps what is newer.
 */
extern void mc_note_add_truncation(Oid relid, RowVersion version);

/* Write a note; id and since of the argument are ignored. */
extern void mc_note_add(const KeyNote *note);
extern void mc_note_remove(int64 id);

/* Remove all notes about keys of a table, which was truncated here. */
extern void mc_note_remove_all(Oid relid);

/*
 * Claim a key until the end of the transaction, waiting for another applier's
 * transaction that has it.  True if what was looked up before may be out of
 * date.  Only keys without a live row need it: live rows guard themselves.
 */
extern bool mc_note_claim(RemoteTransaction *transaction, Oid relid, int64 hash);

/*
 * What this transaction writes under the key of a row has this version, and
 * not the transaction's; what it replaces was not deleted.  As the owner.
 */
extern void mc_note_restate(TargetTable *table, const RemoteRow *row,
							RowVersion version);

/* Forget what this transaction has restated before, of the key of some notes. */
extern void mc_note_forget_restated(const List *notes);

/* Are two keys, as jsonb, equal by the operators of the identity index? */
extern bool mc_note_same_key(TargetTable *table, const Jsonb *a, const Jsonb *b);

/* May changes of the relation be in quarantine?  As mc_note_possible(). */
extern bool mc_note_quarantine_possible(TargetTable *table);

/*
 * A string in an object; NULL if it is null, and not *present if it is not
 * there at all.
 */
extern char *mc_note_text(const Jsonb *object, const char *name, bool *present);

/* A value as text, by the output function of its column, and back. */
extern char *mc_note_value_to_text(Form_pg_attribute attribute, Datum value);
extern Datum mc_note_value_from_text(Form_pg_attribute attribute, char *string);

/*
 * A row as jsonb of its columns' text output, a change without those columns
 * that it does not have, and back into a RemoteRow.
 */
extern Jsonb *mc_note_row_to_jsonb(TargetTable *table, TupleTableSlot *slot);
extern Jsonb *mc_note_change_to_jsonb(TargetTable *table, const RemoteRow *row);
extern void mc_note_row_from_jsonb(TargetTable *table, const Jsonb *values,
								   RemoteRow *row);

#endif							/* MC_NOTE_H */
