/*-------------------------------------------------------------------------
 *
 * join_state.h
 *	  What a joining center needs besides rows, to decide as the others do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_JOIN_STATE_H
#define MC_JOIN_STATE_H

#include "control/join.h"

/*
 * Copy what the sponsor knows of the keys of the tables (JoinTable *), in the
 * transaction that has copied their rows, once their indexes are there.
 */
extern void mc_join_copy_state(GroupJoin *join, List *tables);

/*
 * Whatever is written here from now on is later than what the sponsor has, and
 * so than what was copied.  Before the gate opens, outside a transaction.
 */
extern void mc_join_raise_floor(GroupJoin *join);

#endif							/* MC_JOIN_STATE_H */
