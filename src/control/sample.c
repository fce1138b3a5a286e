/*-------------------------------------------------------------------------
 *
 * sample.c
 *	  Moments to which the dead-row horizon may move.
 *
 * NOTES
 *	  A deleted row is of no use any more when nothing older can arrive that
 *	  is about its key.  "Older" is a matter of timestamps, so each sample has
 *	  bounds for those of the transactions that had ended; by author, because
 *	  a center that lags holds up only what others have deleted: while the
 *	  backlog of a peer is applied, and its promises are old, what that peer
 *	  has written itself may go.  Otherwise every row that it has updated often
 *	  would drag all its versions along until the end of the backlog.
 *
 *	  The bound for sessions here is the clock's.  A link's is what its
 *	  receiver has begun to apply, which it says before it has a transaction
 *	  id.  For what nobody has watched (before this process began, or of a
 *	  center whose link is gone) the present is bound enough.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "control/sample.h"
#include "core/merge.h"
#include "miscadmin.h"
#include "state/clock.h"
#include "state/shared.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Up to here anybody may have written whom we do not watch. */
static TimestampTz unwatched = 0;

/* Whom we watch. */
static int	nwatched = -1;		/* nobody yet */
static CenterId *watched = NULL;

/* One of the peers, in any order; NULL if it is none. */
static const AuthorBound *
find_author(const AuthorBound *authors, int nauthors, CenterId author)
{
	for (int i = 0; i < nauthors; i++)
		if (authors[i].author == author)
			return &authors[i];
	return NULL;
}

/* Read something of every link of this database. */
static AuthorBound *
read_links(bool promises, int *count)
{
	AuthorBound *bounds = palloc(sizeof(AuthorBound) * Max(mc_shared->nlinks, 1));

	*count = 0;
	LWLockAcquire(mc_shared->lock, LW_SHARED);
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId)
			continue;
		SpinLockAcquire(&link->mutex);
		bounds[*count].author = link->peer;
		bounds[*count].ts = promises ? link->promises.newest : link->begun_ts;
		SpinLockRelease(&link->mutex);
		(*count)++;
	}
	LWLockRelease(mc_shared->lock);
	return bounds;
}

/* Watch these from now on; whoever is not among them any more may have written. */
static void
watch(const Sample *sample)
{
	bool		lost = nwatched < 0;

	for (int i = 0; i < nwatched && !lost; i++)
		lost = find_author(sample->authors, sample->nauthors, watched[i]) == NULL;
	if (lost)
		unwatched = mc_clock_newest();
	if (watched)
		pfree(watched);
	watched = MemoryContextAlloc(TopMemoryContext,
								 sizeof(CenterId) * Max(sample->nauthors, 1));
	nwatched = sample->nauthors;
	for (int i = 0; i < nwatched; i++)
		watched[i] = sample->authors[i].author;
}

void
mc_sample_take(Sample *sample)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	TimestampTz last_delete;

	/* First the transaction, because others end meanwhile. */
	sample->xid = GetOldestActiveTransactionId_compat();
	pg_memory_barrier();
	sample->authors = read_links(false, &sample->nauthors);
	watch(sample);
	last_delete = mc_clock_last_delete();
	sample->local = Max(last_delete, unwatched);
	sample->floor = mc_clock_newest();
	sample->at = GetCurrentTimestamp();
	MemoryContextSwitchTo(old_context);
}

void
mc_sample_free(Sample *sample)
{
	pfree(sample->authors);
}

void
mc_promises_read(Promises *promises)
{
	const SharedDatabase *database = mc_shared_database(MyDatabaseId, false);

	promises->known = database != NULL &&
		pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &database->members_known)) != 0;
	promises->peers = read_links(true, &promises->npeers);
}

/* What all peers but one have promised. */
static TimestampTz
promised_by_others(const Promises *promises, CenterId author)
{
	TimestampTz promised = DT_NOEND;

	for (int i = 0; i < promises->npeers; i++)
		if (promises->peers[i].author != author)
			promised = Min(promised, promises->peers[i].ts);
	return promised;
}

TimestampTz
mc_promises_least(const Promises *promises)
{
	return promised_by_others(promises, MC_NO_CENTER);
}

/* May a delete of this time be forgotten when this is promised? */
static bool
may_forget(TimestampTz ts, TimestampTz promised)
{
	RowVersion	version = {ts, 0};

	return mc_merge_may_forget(version, promised);
}

bool
mc_sample_is_settled(const Sample *sample, const Promises *promises)
{
	if (!promises->known ||
		!may_forget(sample->local, mc_promises_least(promises)))
		return false;
	for (int i = 0; i < sample->nauthors; i++)
		if (!may_forget(sample->authors[i].ts,
						promised_by_others(promises, sample->authors[i].author)))
			return false;
	return true;
}
