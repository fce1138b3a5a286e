/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  The slot that keeps dead rows from VACUUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HOLD_H
#define MC_HOLD_H

#include "core/types.h"

/* Register the callback; from _PG_init(). */
extern void mc_hold_init(void);

/*
 * The xmin of the slot on disk; invalid if there is no slot.  Create it, with
 * the oldest one that it can have.
 */
extern TransactionId mc_hold_find(void);
extern void mc_hold_create(void);

/* Dead rows before this transaction matter no more.  In the manager. */
extern void mc_hold_move(TransactionId xid);

/* Which commits may the slot follow? */
typedef enum HoldFollowing
{
	HOLD_STAYS,					/* none */
	HOLD_FOLLOWS_UPDATES,		/* all, while nobody has deleted, or only
								 * sessions whose deletes nothing needs */
	HOLD_FOLLOWS_ALL,			/* all, while there is no logical slot:
								 * nothing waits here that could need deletes */
} HoldFollowing;

/*
 * In the manager.  It stays until this is called for the first time.
 * sessions_until: nothing needs what sessions have deleted up to this time; 0:
 * not known.
 */
extern void mc_hold_set_following(HoldFollowing following, TimestampTz sessions_until);

/* What sessions delete may be needed, until the manager has looked again. */
extern void mc_hold_keep_deletes(void);

/* Does it, whatever peers have promised? */
extern bool mc_hold_is_following(void);

/*
 * VACUUM leaves alone what was written, or has died, from this transaction on;
 * it may have removed, or frozen, what was before.  Invalid: not known.
 */
extern TransactionId mc_hold_xid(void);

#endif							/* MC_HOLD_H */
