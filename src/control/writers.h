/*-------------------------------------------------------------------------
 *
 * writers.h
 *	  Sessions that stand in the way of a fence around a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_WRITERS_H
#define MC_WRITERS_H

#include "storage/lock.h"

/*
 * Who may have written to the table, or to a partition of it, and may do so
 * again?  except is left out.  In TopMemoryContext; ends with an invalid one.
 */
extern VirtualTransactionId *mc_writers_find(Oid relid, VirtualTransactionId except);

/* May any of them still write to the table, or commit what it has written? */
extern bool mc_writers_remain(const VirtualTransactionId *writers, Oid relid);

/*
 * Does a receiver of this database, or one of its appliers, wait for a lock of
 * that process, directly or behind others?  Called in a transaction.
 */
extern bool mc_writers_block_apply(int pid);

#endif							/* MC_WRITERS_H */
