/*-------------------------------------------------------------------------
 *
 * receiver_worker.c
 *	  Entry points of the background workers that apply: a link's receiver and
 *	  its appliers.
 *
 * NOTES
 *	  They themselves are in target/receiver.c and target/applier.c.  What all our
 *	  workers have in common, and the exemption from the write gate, belong to this
 *	  layer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "control/guard.h"
#include "control/workers.h"
#include "state/shared.h"
#include "storage/ipc.h"
#include "target/applier.h"
#include "target/receiver.h"

extern PGDLLEXPORT void mc_receiver_main(Datum arg);
extern PGDLLEXPORT void mc_applier_main(Datum arg);

/* The argument of an applier: link and number in one. */
#define LINK_SHIFT		8

/*
 * Start an applier of a link.
 */
static bool
start_applier(SharedLink *link, int number, BackgroundWorkerHandle **handle)
{
	char		label[NAMEDATALEN + 16];

	snprintf(label, sizeof(label), "%d of %s", number + 1, NameStr(link->peer_name));
	return mc_worker_start("mc_applier_main", "multicenter applier", label,
						   Int32GetDatum(((int32) (link - mc_shared->links) << LINK_SHIFT) | number),
						   handle);
}

/*
 * Begin to work for a link, whose database and peer the manager has set; index
 * is that of its entry in mc_shared->links.
 */
static SharedLink *
begin(int32 index)
{
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
	return link;
}

/* Start of an applier, which the receiver of the link has asked for. */
void
mc_applier_main(Datum arg)
{
	int			number = DatumGetInt32(arg) & ((1 << LINK_SHIFT) - 1);
	SharedLink *link = begin(DatumGetInt32(arg) >> LINK_SHIFT);

	if (number >= MC_MAX_APPLY_WORKERS)
		elog(ERROR, "there is no applier %d of a link", number);
	mc_applier_run(link, number);
}

/* Start of a receiver. */
void
mc_receiver_main(Datum arg)
{
	mc_receiver_run(begin(DatumGetInt32(arg)), start_applier);
}
