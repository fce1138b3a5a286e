/*-------------------------------------------------------------------------
 *
 * receiver_worker.c
 *	  Entry point of the background worker that is a link's receiver.
 *
 * NOTES
 *	  The receiver itself is in target/receiver.c.  What all our workers have
 *	  in common, and the exemption from the write gate, belong to this layer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "control/guard.h"
#include "control/workers.h"
#include "state/shared.h"
#include "storage/ipc.h"
#include "target/receiver.h"

extern PGDLLEXPORT void mc_receiver_main(Datum arg);

/*
 * Start of a receiver.  arg is the index of its entry in mc_shared->links,
 * where the manager has set database and peer.
 */
void
mc_receiver_main(Datum arg)
{
	int32		index = DatumGetInt32(arg);
	SharedLink *link;
	Oid			dboid;

	mc_shared_require();
	if (index < 0 || index >= mc_shared->nlinks)
		elog(ERROR, "there is no link %d", index);
	link = &mc_shared->links[index];

	SpinLockAcquire(&link->mutex);
	dboid = link->dboid;
	SpinLockRelease(&link->mutex);

	/* The link was given up before we could start. */
	if (!OidIsValid(dboid))
		proc_exit(1);

	mc_worker_begin(dboid);
	mc_guard_exempt();
	mc_receiver_run(link);
}
