/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  An applier's place in the order of commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_TURN_H
#define MC_TURN_H

#include "core/types.h"
#include "state/shared.h"

/* Of an applier, for the transaction that it applies. */
typedef struct Turn
{
	SharedLink *link;
	SharedApplier *self;
	uint16		origin;			/* of the peer: tags the transaction */
	uint16		own_origin;		/* of this applier: keeps aborts off that */
	uint64		number;			/* of the transaction */
	bool		alone;			/* it began when all before it were committed */
	bool		taken;			/* this process has the peer's origin */
} Turn;

/* Wait until so many transactions are committed. */
extern void mc_turn_wait(Turn *turn, uint64 committed);

/* Are all transactions before this one committed? */
extern bool mc_turn_has_come(const Turn *turn);

/*
 * A transaction begins, within the local one.  Raises an error if it must not
 * be applied beside others.
 */
extern void mc_turn_begin(const Turn *turn);

/*
 * The changes are written: wait for the turn to commit, and take the peer's
 * origin.  What follows sees everything that came before.  Raises an error if
 * the transaction has to be applied again, alone.
 */
extern void mc_turn_take(Turn *turn, const LinkCounters *counters);

/* The transaction is committed: the next one may. */
extern void mc_turn_done(Turn *turn, LocalLsn commit_end);

/* The transaction was aborted: give back what mc_turn_take() has taken. */
extern void mc_turn_aborted(Turn *turn);

#endif							/* MC_TURN_H */
