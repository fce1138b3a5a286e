/*-------------------------------------------------------------------------
 *
 * departed.h
 *	  What is left here of centers that have parted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_DEPARTED_H
#define MC_DEPARTED_H

/*
 * Drop the slots for centers that have parted, and let go of the progress that
 * is kept for them.  What is still in use is left for the next call.  Outside
 * a transaction.
 */
extern void mc_departed_release(void);

/*
 * Let go of the progress of a replication origin, which occupies one of a
 * small number of places, but keep the origin: rows remember its number, which
 * must never mean somebody else.  Nobody may be using it.  In a transaction.
 */
extern void mc_origin_retire(const char *name);

#endif							/* MC_DEPARTED_H */
