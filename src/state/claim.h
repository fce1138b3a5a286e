/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  What appliers of one server tell each other about keys and notes.
 *
 * NOTES
 *	  Claims: an applier that finds no row under a key claims the key before
 *	  it acts on that, so that no other applier acts on it at the same time.
 *	  A claim is held until the end of the transaction; whoever wants the key
 *	  meanwhile waits for that transaction, where PostgreSQL sees deadlocks.
 *
 *	  Notes: most tables have no notes, and looking for some must then cost
 *	  nothing.  Whoever writes notes tells so before the first one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_CLAIM_H
#define MC_CLAIM_H

#include "core/types.h"

/* Request the memory and install hooks; from _PG_init(). */
extern void mc_claim_init(void);

/*
 * Claim a key, named by its table and the hash of its value, until the end of
 * this transaction.  Returns true if the claim is new: what was looked up
 * before it may be out of date.  Assigns a transaction id.
 */
extern bool mc_claim_key(Oid relid, int64 hash);

/*
 * This transaction is about to write notes.  Until it ends, and once more at
 * its commit, what others know of notes is out of date.
 */
extern void mc_notes_writing(void);

/*
 * Is what was learnt about notes at that generation still true, also of
 * transactions whose rows are already visible?  Otherwise sets *generation to
 * the one that holds for whoever looks from now on, or to 0 if what is seen
 * now must not be remembered.
 */
extern bool mc_notes_unchanged(uint64 *generation);

/*
 * Remote transactions that were not newer than everything before, when they
 * began; counted before they change anything.
 */
extern void mc_claim_count_late(void);
extern uint64 mc_claim_late_count(void);

/*
 * One process of the database at a time reads deletes back from our WAL, or
 * changes which WAL is kept for that.  With wait false returns false if another
 * one does.  Held until it is given back or the process ends.
 */
extern bool mc_rebuild_lock(bool wait);
extern void mc_rebuild_unlock(void);

#endif							/* MC_CLAIM_H */
