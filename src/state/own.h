/*-------------------------------------------------------------------------
 *
 * own.h
 *	  Read and write multicenter's own tables by SQL, as their owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_OWN_H
#define MC_OWN_H

#include "executor/spi.h"

/* Who the user was before. */
typedef struct OwnScope
{
	Oid			userid;
	int			sec_context;
} OwnScope;

/*
 * Connect to SPI as the owner of our tables, under a new snapshot, and undo
 * that, so that what follows sees what was written.  Within a transaction.
 */
extern void mc_own_begin(OwnScope *scope);
extern void mc_own_end(const OwnScope *scope);

/*
 * Run a command with parameters, which is prepared once in each process and
 * kept in *plan.  expected: SPI_OK_...; anything else is an error.  Returns
 * how many rows it was about; those that it returned are in SPI_tuptable.
 */
extern uint64 mc_own_execute(SPIPlanPtr *plan, const char *command, int nargs,
							 Oid *types, Datum *values, const char *nulls,
							 int expected);

/* A relation of ours, by its name. */
extern Oid	mc_own_relation(const char *name);

/*
 * Insert rows, as COPY would, without the executor, and drop their slots: for
 * tables of ours without constraints but unique ones.  The caller keeps the
 * relation open.
 */
extern void mc_own_insert(Relation rel, TupleTableSlot **slots, int nslots);

#endif							/* MC_OWN_H */
