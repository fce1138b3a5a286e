/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  Dependency vectors: what the author of a transaction had applied.
 *
 * NOTES
 *	  "Seen" is asked of a version, so of a timestamp; an entry knows a
 *	  position.  Three things know about both: the promise in the entry, the
 *	  position of the very commit (recent.c), which is exact, and the heartbeats
 *	  of the version's author that arrived here: one that lies before the
 *	  position in the entry was in force there.  A promise that says yes is
 *	  right, and says nothing about versions that are newer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "replication/origin.h"
#include "state/clock.h"
#include "state/recent.h"
#include "state/registry.h"
#include "state/vector.h"

#include "compat.h"

const VectorDelta *
mc_vector_entry(const DependencyVector *vector, CenterId center)
{
	for (int i = 0; i < vector->nentries; i++)
		if (vector->entries[i].center == center)
			return &vector->entries[i];
	return NULL;
}

bool
mc_vector_raise(DependencyVector *vector, CenterId center, XLogRecPtr lsn,
				TimestampTz promise)
{
	VectorDelta *entry;
	bool		changed;
	int			i = 0;

	while (i < vector->nentries && vector->entries[i].center < center)
		i++;
	entry = &vector->entries[i];
	if (i == vector->nentries || entry->center != center)
	{
		if (vector->nentries == MC_MAX_VECTOR_ENTRIES)
			elog(ERROR, "vector of more than %d centers", MC_MAX_VECTOR_ENTRIES);
		memmove(entry + 1, entry, (vector->nentries - i) * sizeof(VectorDelta));
		memset(entry, 0, sizeof(VectorDelta));
		entry->center = center;
		vector->nentries++;
	}
	changed = lsn > entry->lsn || promise > entry->promise;
	entry->lsn = Max(lsn, entry->lsn);
	entry->promise = Max(promise, entry->promise);
	return changed;
}

/* ---- shared memory ---- */

/* The link from a peer; NULL if it is none, or is none any more. */
static SharedLink *
find_link(CenterId peer)
{
	for (int i = 0; i < mc_shared->nlinks; i++)
		if (mc_shared->links[i].dboid == MyDatabaseId &&
			mc_shared->links[i].peer == peer)
			return &mc_shared->links[i];
	return NULL;
}

void
mc_vector_set_origin(SharedLink *link, uint16 origin)
{
	SpinLockAcquire(&link->mutex);
	link->origin = origin;
	SpinLockRelease(&link->mutex);
}

void
mc_vector_set_members(List *centers, CenterId our_id)
{
	SharedDatabase *database;
	ListCell   *lc;

	foreach(lc, centers)
	{
		const Center *center = lfirst(lc);
		char		name[NAMEDATALEN];
		SharedLink *link;
		uint16		origin;

		if (center->id == our_id)
			continue;
		link = mc_shared_link(MyDatabaseId, center->id, true);
		origin = replorigin_by_name(mc_origin_name(name, MyDatabaseId, center->id), true);

		/* The receiver may be making it at this moment. */
		if (origin != InvalidRepOriginId)
			mc_vector_set_origin(link, origin);
	}
	database = mc_shared_database(MyDatabaseId, false);
	if (database != NULL)
		pg_atomic_write_u32(&database->members_known, 1);
}

CenterId
mc_vector_center_of_origin(uint16 origin)
{
	if (origin == InvalidRepOriginId)
		return MC_NO_CENTER;
	for (int i = 0; i < mc_shared->nlinks; i++)
		if (mc_shared->links[i].dboid == MyDatabaseId &&
			mc_shared->links[i].origin == origin)
			return mc_shared->links[i].peer;
	return MC_NO_CENTER;
}

/*
 * Add a heartbeat.  Older ones come again after a reconnect.  The newest one is
 * always there, but takes the place of the one before it if that is not needed
 * to keep the distance: what is asked of positions in between gets the promise
 * before, which is right, and at most that much older.
 */
static void
note_promise(SharedPromises *promises, TimestampTz promise, XLogRecPtr at)
{
	int			before = (promises->next + MC_PROMISES - 2) % MC_PROMISES;
	int			place = promises->next;

	if (promise <= promises->newest)
		return;
	if (promise - promises->entries[before].promise < MC_PROMISE_SPACING_US)
		place = (before + 1) % MC_PROMISES;
	else
		promises->next = (promises->next + 1) % MC_PROMISES;
	promises->newest = promise;
	promises->entries[place].promise = promise;
	promises->entries[place].at = at;
}

/* The greatest promise that was given up to a position; 0: unknown. */
static TimestampTz
promise_before(const SharedPromises *promises, XLogRecPtr lsn)
{
	TimestampTz greatest = 0;

	for (int i = 0; i < MC_PROMISES; i++)
		if (promises->entries[i].at != InvalidXLogRecPtr &&
			promises->entries[i].at <= lsn &&
			promises->entries[i].promise > greatest)
			greatest = promises->entries[i].promise;
	return greatest;
}

void
mc_vector_promised(SharedLink *link, TimestampTz promise, OriginLsn at)
{
	SpinLockAcquire(&link->mutex);
	note_promise(&link->promises, promise, at.value);
	SpinLockRelease(&link->mutex);
}

void
mc_vector_promised_here(TimestampTz promise, LocalLsn at)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);

	if (database == NULL)
		return;
	SpinLockAcquire(&database->mutex);
	note_promise(&database->promises, promise, at.value);
	SpinLockRelease(&database->mutex);
}

void
mc_vector_heard(SharedLink *link, const DependencyVector *vector,
				TimestampTz decided, CenterId our_id)
{
	const VectorDelta *entry = mc_vector_entry(vector, our_id);
	TimestampTz seen = entry ? Min(entry->promise, decided) : 0;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		const SharedLink *other = &mc_shared->links[i];

		if (other->dboid != MyDatabaseId || other->peer == link->peer)
			continue;
		entry = mc_vector_entry(vector, other->peer);
		seen = Min(seen, entry ? entry->promise : 0);
	}
	SpinLockAcquire(&link->mutex);
	link->seen_ts = seen;
	SpinLockRelease(&link->mutex);
}

void
mc_vector_quarantined(TimestampTz commit_ts)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, true);
	uint64		decided = pg_atomic_read_u64(&database->decided);

	while ((TimestampTz) decided >= commit_ts &&
		   !pg_atomic_compare_exchange_u64(&database->decided, &decided,
										   (uint64) commit_ts - 1))
		;
}

TimestampTz
mc_vector_forgettable(void)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, true);
	TimestampTz frontier = (TimestampTz) pg_atomic_read_u64(&database->frontier);
	TimestampTz settled = (TimestampTz) pg_atomic_read_u64(&database->settled);

	return Max(frontier, settled);
}

TimestampTz
mc_vector_decided(void)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);

	return database ? (TimestampTz) pg_atomic_read_u64(&database->decided) : 0;
}

void
mc_vector_set_quarantined(TimestampTz oldest)
{
	pg_atomic_write_u64(&mc_shared_database(MyDatabaseId, true)->decided,
						(uint64) (oldest == 0 ? DT_NOEND : oldest - 1));
}

void
mc_vector_applied(DependencyVector *vector)
{
	memset(vector, 0, offsetof(DependencyVector, entries));
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];
		TimestampTz promise;
		uint16		origin;

		if (link->dboid != MyDatabaseId)
			continue;
		SpinLockAcquire(&link->mutex);
		promise = link->promises.newest;
		origin = link->origin;
		SpinLockRelease(&link->mutex);
		if (origin != InvalidRepOriginId)
			mc_vector_raise(vector, link->peer,
							replorigin_get_progress(origin, false), promise);
	}
}

/* ---- questions ---- */

void
mc_vector_begun(SharedLink *link, TimestampTz commit_ts)
{
	SpinLockAcquire(&link->mutex);
	link->begun_ts = Max(link->begun_ts, commit_ts);
	SpinLockRelease(&link->mutex);
}

void
mc_vector_next(SharedLink *link, OriginLsn end)
{
	SpinLockAcquire(&link->mutex);
	link->next_end = end;
	SpinLockRelease(&link->mutex);
}

/*
 * Is everything of a peer up to a position applied here, and to be seen?  While
 * a transaction of the peer commits, the origin's progress is ahead of what is
 * to be seen; but before a receiver has connected for the first time, which may
 * take as long as the peer is away, the link knows nothing, and nothing commits.
 */
static bool
is_applied(SharedLink *link, XLogRecPtr lsn)
{
	XLogRecPtr	applied;
	XLogRecPtr	next_end;
	uint16		origin;
	bool		commits;

	SpinLockAcquire(&link->mutex);
	applied = link->applied_lsn.value;
	next_end = link->next_end.value;
	origin = link->origin;
	commits = link->pid != 0 && applied != InvalidXLogRecPtr;
	SpinLockRelease(&link->mutex);

	return lsn <= applied || lsn < next_end ||
		(!commits && origin != InvalidRepOriginId &&
		 lsn <= replorigin_get_progress(origin, false));
}

/* Does a position cover everything of a peer that is applied here? */
static bool
covers(SharedLink *link, XLogRecPtr lsn)
{
	XLogRecPtr	applied;
	uint16		origin;

	SpinLockAcquire(&link->mutex);
	applied = link->applied_lsn.value;
	origin = link->origin;
	SpinLockRelease(&link->mutex);
	return applied <= lsn &&
		(origin == InvalidRepOriginId ||
		 replorigin_get_progress(origin, false) <= lsn);
}

/*
 * Has everything arrived that an entry of a transaction of author names?  Of a
 * center that has parted nothing will arrive any more.
 */
static bool
entry_is_applied(const VectorDelta *entry, CenterId author, CenterId our_id)
{
	SharedLink *link;

	if (entry->center == our_id || entry->center == author)
		return true;
	link = find_link(entry->center);
	return link == NULL || is_applied(link, entry->lsn);
}

bool
mc_vector_covered(const DependencyVector *vector, CenterId author,
				  CenterId our_id, CenterId *missing)
{
	for (int i = 0; i < vector->nentries; i++)
	{
		if (!entry_is_applied(&vector->entries[i], author, our_id))
		{
			*missing = vector->entries[i].center;
			return false;
		}
	}
	return true;
}

void
mc_vector_remember(const DependencyVector *vector, CenterId author,
				   CenterId our_id, TimestampTz commit_ts, OriginLsn end_lsn)
{
	mc_recent_add(author, commit_ts, author, end_lsn.value);
	for (int i = 0; i < vector->nentries; i++)
	{
		const VectorDelta *entry = &vector->entries[i];

		if (!entry_is_applied(entry, author, our_id))
			mc_recent_add(author, commit_ts, entry->center, entry->lsn);
	}
}

/* Which promise of a center was in force at a position of its WAL? */
static TimestampTz
promise_at(SharedLink *link, XLogRecPtr lsn)
{
	SharedDatabase *database;
	TimestampTz promise;

	if (link != NULL)
	{
		SpinLockAcquire(&link->mutex);
		promise = promise_before(&link->promises, lsn);
		SpinLockRelease(&link->mutex);
		return promise;
	}
	database = mc_shared_database(MyDatabaseId, false);
	if (database == NULL)
		return 0;
	SpinLockAcquire(&database->mutex);
	promise = promise_before(&database->promises, lsn);
	SpinLockRelease(&database->mutex);
	return promise;
}

bool
mc_vector_saw(const DependencyVector *vector, CenterId author,
			  CenterId our_id, RowVersion version)
{
	const VectorDelta *entry;
	SharedLink *link = NULL;
	XLogRecPtr	end_lsn;
	CenterId	of;

	if (version.center == author || version.center == MC_NO_CENTER)
		return true;
	if (version.center != our_id)
		link = find_link(version.center);

	/* Its author knows nothing of a center any more that has parted. */
	entry = mc_vector_entry(vector, version.center);
	if (entry == NULL)
		return version.center != our_id && link == NULL;
	if (version.commit_ts <= entry->promise)
		return true;
	of = version.center == our_id ? MC_RECENT_LOCAL : version.center;
	end_lsn = mc_recent_find(of, version.commit_ts, of);
	if (end_lsn != InvalidXLogRecPtr)
		return end_lsn <= entry->lsn;
	return (version.center == our_id || link != NULL) &&
		version.commit_ts <= promise_at(link, entry->lsn);
}

TimestampTz
mc_vector_saw_until(const DependencyVector *vector, CenterId author,
					CenterId our_id)
{
	const VectorDelta *entry = mc_vector_entry(vector, our_id);
	TimestampTz until = entry ? entry->promise : 0;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId || link->peer == author)
			continue;

		/* Where a center is away nobody's promise moves. */
		entry = mc_vector_entry(vector, link->peer);
		if (entry == NULL || !covers(link, entry->lsn))
			until = Min(until, entry ? entry->promise : 0);
	}
	return until;
}

bool
mc_vector_was_seen(RowVersion version, CenterId peer, CenterId our_id,
				   OriginLsn end_lsn)
{
	/* What is not applied here we have not seen ourselves. */
	return version.center != our_id && version.center != MC_NO_CENTER &&
		mc_recent_find(version.center, version.commit_ts, peer) >= end_lsn.value;
}

TimestampTz
mc_vector_frontier(Oid dboid)
{
	SharedDatabase *database = mc_shared_database(dboid, false);
	TimestampTz frontier = DT_NOEND;

	if (database == NULL || pg_atomic_read_u32(&database->members_known) == 0)
		return 0;
	LWLockAcquire(mc_shared->lock, LW_SHARED);
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != dboid)
			continue;
		SpinLockAcquire(&link->mutex);
		frontier = Min(frontier, link->promises.newest);
		SpinLockRelease(&link->mutex);
	}
	LWLockRelease(mc_shared->lock);

	/* Without peers nothing arrives. */
	return frontier == DT_NOEND ? mc_clock_floor() : frontier;
}

TimestampTz
mc_vector_seen_by_all(Oid dboid)
{
	TimestampTz seen = mc_vector_frontier(dboid);

	LWLockAcquire(mc_shared->lock, LW_SHARED);
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != dboid)
			continue;
		SpinLockAcquire(&link->mutex);
		seen = Min(seen, link->seen_ts);
		SpinLockRelease(&link->mutex);
	}
	LWLockRelease(mc_shared->lock);
	return seen;
}
