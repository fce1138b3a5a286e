/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  Dependency vectors: what the author of a transaction had applied.
 *
 * NOTES
 *	  An entry (center, lsn, promise) says: before it committed, the author
 *	  had applied everything of that center up to lsn, and everything that the
 *	  center has committed with a timestamp <= promise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_VECTOR_H
#define MC_VECTOR_H

#include "core/types.h"
#include "core/wire.h"
#include "state/shared.h"

/* Entries by ascending center; neither the author's own nor empty ones. */
typedef struct DependencyVector
{
	int			nentries;
	VectorDelta entries[MC_MAX_VECTOR_ENTRIES];
} DependencyVector;

/* The entry of a center, or NULL. */
extern const VectorDelta *mc_vector_entry(const DependencyVector *vector,
										  CenterId center);

/*
 * Raise the entry of a center to at least this; never lowers anything.
 * Returns true if it has changed.
 */
extern bool mc_vector_raise(DependencyVector *vector, CenterId center,
							XLogRecPtr lsn, TimestampTz promise);

/*
 * Make the links of all members known in shared memory, with their origins.
 * Needs a transaction.  centers: List of Center *, with or without us.
 */
extern void mc_vector_set_members(List *centers, CenterId our_id);

/* The replication origin of a link was found or made. */
extern void mc_vector_set_origin(SharedLink *link, uint16 origin);

/*
 * The peer of this database that an origin stands for, MC_NO_CENTER if it is
 * none.  Reads shared memory only, and takes no lock.
 */
extern CenterId mc_vector_center_of_origin(uint16 origin);

/*
 * Everything that a peer has committed with a timestamp <= promise is applied
 * here; at is the position in its WAL where it has promised that.
 */
extern void mc_vector_promised(SharedLink *link, TimestampTz promise,
							   OriginLsn at);

/* Same, of this center itself: its heartbeat ends there. */
extern void mc_vector_promised_here(TimestampTz promise, LocalLsn at);

/*
 * A heartbeat of a peer has brought its whole vector; all of it up to a time is
 * decided there.
 */
extern void mc_vector_heard(SharedLink *link, const DependencyVector *vector,
							TimestampTz decided, CenterId our_id);

/*
 * What is applied here at this moment.  Commits that are being written may be
 * missing; see mc_clock_promise().  What waits in quarantine
 * counts as applied.
 */
extern void mc_vector_applied(DependencyVector *vector);

/*
 * A change with this commit timestamp goes into quarantine.  After it was
 * written, and before that is committed.
 */
extern void mc_vector_quarantined(TimestampTz commit_ts);

/*
 * Whoever sends what arrives here now had seen all up to this time, so it may be
 * forgotten.
 */
extern TimestampTz mc_vector_forgettable(void);

/*
 * Nothing up to this time is in quarantine; ask after mc_vector_applied().  0:
 * not known.
 */
extern TimestampTz mc_vector_decided(void);

/* The manager: the oldest change in quarantine; 0: none.  Nobody adds any. */
extern void mc_vector_set_quarantined(TimestampTz oldest);

/*
 * A transaction of a peer with this timestamp begins here, and has no local
 * transaction id yet: the dead-row horizon reckons with it from now on.
 */
extern void mc_vector_begun(SharedLink *link, TimestampTz commit_ts);

/*
 * The next transaction of a peer ends there; all before it is applied.  A vector
 * may name a position in between (origin/vector.c).
 */
extern void mc_vector_next(SharedLink *link, OriginLsn end);

/*
 * Is everything that the vector of a transaction of author names applied here?
 * If not, *missing is a center whose link has to advance first.  What waits in
 * quarantine counts as applied.  Reads shared memory only.
 */
extern bool mc_vector_covered(const DependencyVector *vector, CenterId author,
							  CenterId our_id, CenterId *missing);

/*
 * Had the transaction of author with this vector seen the version?  True for
 * versions of the same author (its stream is in order), for the base version,
 * and for those of centers that had parted when it was written.  Exact for what
 * was committed or applied here recently, otherwise by promises; false where
 * nobody can tell.
 */
extern bool mc_vector_saw(const DependencyVector *vector, CenterId author,
						  CenterId our_id, RowVersion version);

/*
 * The author of a transaction with this vector had seen everything that is here
 * of other centers and was committed up to this time.
 */
extern TimestampTz mc_vector_saw_until(const DependencyVector *vector,
									   CenterId author, CenterId our_id);

/*
 * A transaction of author is going to be committed here: remember where it
 * ends, and what of its causes has not arrived yet.
 */
extern void mc_vector_remember(const DependencyVector *vector, CenterId author,
							   CenterId our_id, TimestampTz commit_ts,
							   OriginLsn end_lsn);

/*
 * Had the author of a version seen a transaction of peer that ends there and
 * that is only now being applied here?
 */
extern bool mc_vector_was_seen(RowVersion version, CenterId peer,
							   CenterId our_id, OriginLsn end_lsn);

/*
 * The frontier: no peer commits or has in flight towards us any transaction
 * with a timestamp <= this.  0: not known.
 */
extern TimestampTz mc_vector_frontier(Oid dboid);

/*
 * Whatever arrives here from now on was written by somebody who had seen all
 * that any center has committed up to this time.  0: not known.
 */
extern TimestampTz mc_vector_seen_by_all(Oid dboid);

#endif							/* MC_VECTOR_H */
