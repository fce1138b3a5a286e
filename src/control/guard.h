/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Hooks that refuse what would damage a center.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_GUARD_H
#define MC_GUARD_H

/* Install the hooks; from _PG_init(). */
extern void mc_guard_init(void);

/* This process is one of our workers: nothing is refused from now on. */
extern void mc_guard_exempt(void);

#endif							/* MC_GUARD_H */
