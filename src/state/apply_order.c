/*-------------------------------------------------------------------------
 *
 * apply_order.c
 *	  Parallel apply: the order of commits, as a link's processes share it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/shared.h"
#include "utils/tuplestore.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_applier_status);

void
mc_order_init(SharedOrder *order)
{
	pg_atomic_init_u64(&order->committed, 0);
	pg_atomic_init_u64(&order->leader_waits_for, 0);
	pg_atomic_init_u32(&order->failed, 0);
	pg_atomic_init_u64(&order->alone_lsn, InvalidXLogRecPtr);
	for (int i = 0; i < MC_MAX_APPLY_WORKERS; i++)
	{
		SharedApplier *applier = &order->appliers[i];

		pg_atomic_init_u32(&applier->pid, 0);
		pg_atomic_init_u64(&applier->applying, 0);
		pg_atomic_init_u64(&applier->waits_for, 0);
		pg_atomic_init_u32(&applier->queued, 0);
		pg_atomic_init_u64(&applier->xacts, 0);
		pg_atomic_init_u64(&applier->waits, 0);
		pg_atomic_init_u64(&applier->redone, 0);
	}
	for (int i = 0; i < MC_ORDER_SIZE; i++)
		pg_atomic_init_u64(&order->commit_ends[i], InvalidXLogRecPtr);
}

/*
 * applier_status(): the appliers of this database's links.
 */
Datum
mc_applier_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; mc_shared != NULL && i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		for (int j = 0; link->dboid == MyDatabaseId && j < link->order.nworkers; j++)
		{
			SharedApplier *applier = &link->order.appliers[j];
			Datum		values[6];
			bool		nulls[6] = {false};

			values[0] = Int32GetDatum(link->peer);
			values[1] = Int32GetDatum((int32) pg_atomic_read_u32(&applier->pid));
			values[2] = Int32GetDatum((int32) pg_atomic_read_u32(&applier->queued));
			values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&applier->xacts));
			values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&applier->waits));
			values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&applier->redone));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}
