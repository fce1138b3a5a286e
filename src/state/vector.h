/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  Dependency vectors: what the author of a transaction had applied.
 *
 * NOTES
 *	  An entry (center, lsn, promise) says: before it committed, the author
 *	  had applied everything of that center up to lsn, and with that the
 *	  promise of that center that it commits nothing <= promise any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_VECTOR_H
#define MC_VECTOR_H

#include "core/types.h"
#include "core/wire.h"

/* Entries by ascending center; neither the author's own nor empty ones. */
typedef struct DependencyVector
{
	int			nentries;
	VectorDelta entries[MC_MAX_VECTOR_ENTRIES];
} DependencyVector;

/*
 * Is everything that the vector of a transaction of author names applied here?
 * If not, *missing is a center whose link has to advance first.  What waits in
 * quarantine counts as applied.  Reads shared memory only.
 */
extern bool mc_vector_covered(const DependencyVector *vector, CenterId author,
							  CenterId our_id, CenterId *missing);

/*
 * Had the transaction of author with this vector seen the version?  True for
 * versions of the same author (its stream is in order) and for the base
 * version.  Exact for what was committed or applied here recently, otherwise
 * by promises; false where nobody can tell.
 */
extern bool mc_vector_saw(const DependencyVector *vector, CenterId author,
						  CenterId our_id, RowVersion version);

/*
 * The frontier: no center commits or has in flight towards us any transaction
 * with a timestamp <= this.  0: not known.
 */
extern TimestampTz mc_vector_frontier(Oid dboid);

#endif							/* MC_VECTOR_H */
