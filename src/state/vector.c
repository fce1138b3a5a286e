/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  Dependency vectors: what the author of a transaction had applied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "state/vector.h"

bool
mc_vector_covered(const DependencyVector *vector, CenterId author,
				  CenterId our_id, CenterId *missing)
{
	return true;
}

bool
mc_vector_saw(const DependencyVector *vector, CenterId author,
			  CenterId our_id, RowVersion version)
{
	return version.center == author || version.center == MC_NO_CENTER;
}

TimestampTz
mc_vector_frontier(Oid dboid)
{
	return 0;
}
