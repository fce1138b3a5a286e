/*-------------------------------------------------------------------------
 *
 * deletes.h
 *	  Which tables may have dead rows that still matter.
 *
 * NOTES
 *	  Before a row of a peer is inserted, dead rows of its key have to be looked
 *	  for.  Where nobody has deleted anything since the dead-row horizon there
 *	  are none that matter, and the look is saved.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_DELETES_H
#define MC_DELETES_H

#include "core/types.h"

/* Request the memory and register the callback; from _PG_init(). */
extern void mc_deletes_init(void);

/*
 * The server has started: deletes that were committed before are not known,
 * those from now on are.
 */
extern void mc_deletes_begin(void);

/*
 * From now on this process says of each key that it changes by an UPDATE that
 * it does so, and in which table.
 */
extern void mc_deletes_exact(void);
extern void mc_deletes_note(Oid relid);

/*
 * But in this transaction nobody knows: each UPDATE counts as a change of the
 * key.  So it does in processes that are not exact, and no sessions.
 */
extern void mc_deletes_keys_unknown(void);

/* This session writes while PostgreSQL does not count what it does. */
extern void mc_deletes_uncounted(void);

/*
 * Has no transaction that was committed, and is not behind the dead-row
 * horizon, deleted rows of the table or changed keys in it?  A transaction
 * that commits at this moment may not be taken into account; who acts on the
 * answer must ask again after he has met what that has left.  The horizon is
 * read first: what was forgotten when it moved is known after this.
 */
extern bool mc_deletes_none(Oid relid);

/*
 * The same of all tables, of any database, and of the horizon of one, which was
 * read before.  of_others: not counting what sessions have simply committed, so
 * only deletes of peers, of the manager, of prepared transactions, and of those
 * with a replication origin.
 */
extern bool mc_deletes_all_behind(TransactionId horizon, bool of_others);

#endif							/* MC_DELETES_H */
