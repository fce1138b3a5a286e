/*-------------------------------------------------------------------------
 *
 * aside.h
 *	  Which transactions of a peer go into quarantine because they fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ASIDE_H
#define MC_ASIDE_H

#include "state/shared.h"

/*
 * Should the changes of the transaction at this position go into quarantine,
 * because it has failed?  Then *error says how.  Outside of transactions.
 */
extern bool mc_aside_wanted(SharedLink *link, OriginLsn commit_lsn,
							LinkError *error);

#endif							/* MC_ASIDE_H */
