/*-------------------------------------------------------------------------
 *
 * writers.c
 *	  Sessions that stand in the way of a fence around a table.
 *
 * NOTES
 *	  Whoever writes to a table holds its lock on it from before it looks at the
 *	  fence until its transaction ends, or until the subtransaction that wrote
 *	  is rolled back.  So a session has gone when its lock has, even if its
 *	  transaction goes on.  To wait for the end of the transaction would be
 *	  wrong: one that tries a command with replicate_ddl() has the lock for a
 *	  moment, and then waits, with nothing written, for this fence to go.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "control/writers.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "state/shared.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* Who has a lock on one table that lets it write there?  A palloc'd array. */
static VirtualTransactionId *
lock_holders(Oid relid, int *count)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return GetLockConflicts(&tag, ShareLock, count);
}

VirtualTransactionId *
mc_writers_find(Oid relid, VirtualTransactionId except)
{
	VirtualTransactionId *all = MemoryContextAlloc(TopMemoryContext,
												   sizeof(VirtualTransactionId));
	int			nall = 0;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		int			nsome;
		VirtualTransactionId *some = lock_holders(lfirst_oid(lc), &nsome);

		all = repalloc(all, sizeof(VirtualTransactionId) * (nall + nsome + 1));
		for (int i = 0; i < nsome; i++)
		{
			if (!VirtualTransactionIdEquals(some[i], except))
				all[nall++] = some[i];
		}
		pfree(some);			/* has room for all sessions */
	}
	SetInvalidVirtualTransactionId(all[nall]);
	return all;
}

/* Is it one of these? */
static bool
is_one_of(VirtualTransactionId holder, const VirtualTransactionId *writers)
{
	for (; VirtualTransactionIdIsValid(*writers); writers++)
	{
		if (VirtualTransactionIdEquals(*writers, holder))
			return true;
	}
	return false;
}

bool
mc_writers_remain(const VirtualTransactionId *writers, Oid relid)
{
	bool		remain = false;
	ListCell   *lc;

	if (!VirtualTransactionIdIsValid(*writers))
		return false;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		int			nholders;
		VirtualTransactionId *holders = lock_holders(lfirst_oid(lc), &nholders);

		for (int i = 0; i < nholders; i++)
			remain |= is_one_of(holders[i], writers);
		pfree(holders);
	}
	return remain;
}

/*
 * The processes that apply changes in this database: int4[].  A receiver waits
 * for its appliers by other means than locks.
 */
static ArrayType *
who_applies(void)
{
	Datum	   *pids = palloc(sizeof(Datum) * (mc_shared->nlinks * (1 + MC_MAX_APPLY_WORKERS) + 1));
	int			npids = 0;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		SpinLockAcquire(&link->mutex);
		if (link->dboid == MyDatabaseId && link->pid != 0)
			pids[npids++] = Int32GetDatum(link->pid);
		SpinLockRelease(&link->mutex);
		for (int j = 0; link->dboid == MyDatabaseId && j < link->order.nworkers; j++)
		{
			uint32		pid = pg_atomic_read_u32(&link->order.appliers[j].pid);

			if (pid != 0)
				pids[npids++] = Int32GetDatum((int32) pid);
		}
	}
	return construct_array(pids, npids, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

bool
mc_writers_block_apply(int pid)
{
	Oid			types[] = {INT4ARRAYOID, INT4OID};
	Datum		values[] = {PointerGetDatum(who_applies()), Int32GetDatum(pid)};
	bool		blocks;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute_with_args("WITH RECURSIVE blocking AS ("
						  " SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(applier)) AS pid"
						  " FROM pg_catalog.unnest($1) AS applier"
						  " UNION SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid))"
						  " FROM blocking)"
						  " SELECT FROM blocking WHERE pid OPERATOR(pg_catalog.=) $2",
						  lengthof(types), types, values, NULL, true, 1);
	blocks = SPI_processed > 0;
	PopActiveSnapshot();
	SPI_finish();
	return blocks;
}
