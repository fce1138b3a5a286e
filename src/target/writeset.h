/*-------------------------------------------------------------------------
 *
 * writeset.h
 *	  Which keys a transaction writes, before it is applied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_WRITESET_H
#define MC_WRITESET_H

#include "core/wire.h"
#include "target/relation.h"

typedef struct WriteSet WriteSet;

/* Make one, in the current memory context. */
extern WriteSet *mc_writeset_create(RelationCache *relations);

/*
 * Look at the records of a whole transaction.  Returns false if it must be
 * applied alone, whatever comes before and after it.  Outside a transaction.
 */
extern bool mc_writeset_look(WriteSet *set, WireCursor body);

/* The last transaction that wrote what this one writes; 0: none did. */
extern uint64 mc_writeset_depends(const WriteSet *set);

/* What was looked at is written by the transaction with this number. */
extern void mc_writeset_enter(WriteSet *set, uint64 number);

#endif							/* MC_WRITESET_H */
