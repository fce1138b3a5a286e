/*-------------------------------------------------------------------------
 *
 * fence.c
 *	  Fences around tables, as the processes of one database see them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "state/fence.h"
#include "state/shared.h"
#include "storage/proc.h"

#include "compat.h"

void
mc_fence_init(SharedFences *fences)
{
	pg_atomic_init_u32(&fences->known, 0);
	pg_atomic_init_u32(&fences->count, 0);
	pg_atomic_init_u32(&fences->changes, 0);
	memset(&fences->request, 0, sizeof(fences->request));
}

/* Is a table in the array, as it is at one moment? */
static bool
is_listed(SharedFences *fences, Oid relid)
{
	uint32		changes = pg_atomic_read_u32(&fences->changes);
	uint32		count;

	pg_read_barrier();
	count = pg_atomic_read_u32(&fences->count);
	if (count > MC_MAX_FENCED)
		return true;
	pg_read_barrier();
	for (uint32 i = 0; i < count; i++)
		if (fences->relids[i] == relid)
			return true;

	/* While the array is changed, all tables count as fenced. */
	pg_read_barrier();
	return pg_atomic_read_u32(&fences->changes) != changes;
}

FenceAnswer
mc_fence(Oid relid)
{
	SharedDatabase *database;

	if (mc_gate() == GATE_NO_GROUP)
		return FENCE_NONE;
	database = mc_shared_my_database();
	if (database == NULL || pg_atomic_read_u32(&database->fences.known) == 0)
		return FENCE_UNKNOWN;

	/* The caller's lock on the table comes first; see control/rewrite.c. */
	pg_memory_barrier();
	return is_listed(&database->fences, relid) ? FENCE_STANDS : FENCE_NONE;
}

bool
mc_fence_any(void)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);

	return database == NULL || pg_atomic_read_u32(&database->fences.known) == 0 ||
		pg_atomic_read_u32(&database->fences.count) > 0;
}

void
mc_fence_publish(Oid dboid, List *relids)
{
	SharedFences *fences = &mc_shared_database(dboid, true)->fences;
	int			count = list_length(relids);

	if (count > 0 || pg_atomic_read_u32(&fences->count) > 0)
	{
		pg_atomic_write_u32(&fences->count, PG_UINT32_MAX);
		pg_atomic_fetch_add_u32(&fences->changes, 1);
	}
	pg_memory_barrier();
	for (int i = 0; i < Min(count, MC_MAX_FENCED); i++)
		fences->relids[i] = list_nth_oid(relids, i);
	pg_memory_barrier();
	pg_atomic_write_u32(&fences->count, (uint32) count);
	pg_atomic_write_u32(&fences->known, 1);
	pg_memory_barrier();
}

bool
mc_fence_request(Oid dboid, int64 token, Oid relid)
{
	SharedDatabase *database = mc_shared_database(dboid, true);
	FenceRequest *request = &database->fences.request;
	bool		done;

	SpinLockAcquire(&database->mutex);
	done = token == 0 || request->token == 0;
	if (done)
	{
		request->token = token;
		request->relid = relid;
		request->outcome = FENCE_PENDING;
		request->pid = MyProcPid;
		GET_VXID_FROM_PGPROC(request->session, *MyProc);
	}
	SpinLockRelease(&database->mutex);
	mc_shared_reload(dboid);
	return done;
}

void
mc_fence_requested(Oid dboid, FenceRequest *request)
{
	SharedDatabase *database = mc_shared_database(dboid, true);

	SpinLockAcquire(&database->mutex);
	*request = database->fences.request;
	SpinLockRelease(&database->mutex);
}

void
mc_fence_decide(Oid dboid, int64 token, FenceOutcome outcome)
{
	SharedDatabase *database = mc_shared_database(dboid, true);

	SpinLockAcquire(&database->mutex);
	if (database->fences.request.token == token)
		database->fences.request.outcome = outcome;
	SpinLockRelease(&database->mutex);
}
