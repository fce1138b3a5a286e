/*-------------------------------------------------------------------------
 *
 * departed.c
 *	  What is left here of centers that have parted.
 *
 * NOTES
 *	  Rows remember their author by the number of a replication origin.  So
 *	  the origin of a center that has parted stays for as long as this database
 *	  is a center; PostgreSQL would give its number to the next origin.  But the
 *	  progress of an origin occupies a place in an array of the size of
 *	  max_replication_slots (PostgreSQL 18: max_active_replication_origins),
 *	  and no function frees it except that which drops the origin.  So the
 *	  origin is dropped, and its row is written again with the same number, in
 *	  one transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_replication_origin.h"
#include "control/departed.h"
#include "control/operation.h"
#include "miscadmin.h"
#include "state/registry.h"
#include "state/shared.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"

void
mc_origin_retire(const char *name)
{
	RepOriginId origin = replorigin_by_name(name, false);
	Datum		values[Natts_pg_replication_origin] = {0};
	bool		nulls[Natts_pg_replication_origin] = {false};
	HeapTuple	tuple;
	Relation	rel;

	/* Its lock keeps others from taking the number until we commit. */
	replorigin_drop_by_name(name, false, true);
	CommandCounterIncrement();

	rel = table_open(ReplicationOriginRelationId, ExclusiveLock);
	values[Anum_pg_replication_origin_roident - 1] = ObjectIdGetDatum(origin);
	values[Anum_pg_replication_origin_roname - 1] = CStringGetTextDatum(name);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Does a receiver of that center still run? */
static bool
is_receiving(CenterId peer)
{
	SharedLink *link = mc_shared_link(MyDatabaseId, peer, false);
	pid_t		pid;

	if (link == NULL)
		return false;
	SpinLockAcquire(&link->mutex);
	pid = link->pid;
	SpinLockRelease(&link->mutex);
	return pid != 0;
}

/* Drop the origins of the appliers of its link, which tag no row. */
static void
drop_applier_origins(CenterId peer)
{
	char		name[NAMEDATALEN];

	for (int i = 0; i < MC_MAX_APPLY_WORKERS; i++)
		replorigin_drop_by_name(mc_applier_origin_name(name, MyDatabaseId, peer, i),
								true, true);
}

void
mc_departed_release(void)
{
	char	   *ids;
	int			id;
	int			len;

	mc_step_begin();
	mc_step_sql("SELECT multicenter.internal_departed_drop_slots()", 0, NULL);
	ids = mc_step_sql("SELECT multicenter.internal_departed_origins()", 0, NULL);
	for (char *next = ids; next != NULL && sscanf(next, "%d%n", &id, &len) == 1; next += len)
	{
		char		name[NAMEDATALEN];

		if (is_receiving((CenterId) id))
			continue;
		mc_origin_retire(mc_origin_name(name, MyDatabaseId, (CenterId) id));
		drop_applier_origins((CenterId) id);
	}
	mc_step_end();
}
