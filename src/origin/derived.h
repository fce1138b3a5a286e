/*-------------------------------------------------------------------------
 *
 * derived.h
 *	  What applying a peer's change makes this center tell the group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_DERIVED_H
#define MC_DERIVED_H

/*
 * Send a JSON text to every peer, if and when the current transaction commits,
 * although its changes, and its commit, are tagged with another origin.  The
 * commit must have a peer's origin or none.
 */
extern void mc_derived_emit(const char *json);

#endif							/* MC_DERIVED_H */
