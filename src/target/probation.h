/*-------------------------------------------------------------------------
 *
 * probation.h
 *	  Notice a transaction that makes the server crash when it is applied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_PROBATION_H
#define MC_PROBATION_H

#include "state/shared.h"

/* When a receiver starts to apply; outside a transaction. */
extern void mc_probation_begin(SharedLink *link);

/*
 * A transaction of the peer is about to be applied, outside a transaction of
 * our own.  Returns how many times the server has crashed, in a row, while
 * just this one was being applied.
 */
extern int	mc_probation_before(OriginLsn commit_lsn);

/* Must the receiver itself apply what comes next, and nobody beside it? */
extern bool mc_probation_wants_alone(void);

/* It was applied: it has become durable when this returns, if that matters. */
extern void mc_probation_after(void);

#endif							/* MC_PROBATION_H */
