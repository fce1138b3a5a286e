/*-------------------------------------------------------------------------
 *
 * sample.h
 *	  Moments to which the dead-row horizon may move.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SAMPLE_H
#define MC_SAMPLE_H

#include "core/types.h"

/* The greatest timestamp of a center. */
typedef struct AuthorBound
{
	CenterId	author;
	TimestampTz ts;
} AuthorBound;

/*
 * A moment: transactions before xid had ended, and had written nothing that is
 * newer than the floor, and deleted nothing that is newer than the other times.
 */
typedef struct Sample
{
	TransactionId xid;
	TimestampTz at;
	TimestampTz floor;			/* anybody; generous */
	TimestampTz local;			/* sessions here, and who is no peer any more */
	int			nauthors;
	AuthorBound *authors;		/* the peers; allocated */
} Sample;

/* What every peer has promised: it commits nothing up to there any more. */
typedef struct Promises
{
	bool		known;
	int			npeers;
	AuthorBound *peers;			/* in the current memory context */
} Promises;

/* Take a sample of this moment.  In the manager. */
extern void mc_sample_take(Sample *sample);
extern void mc_sample_free(Sample *sample);

/* Read what the peers of this database have promised. */
extern void mc_promises_read(Promises *promises);

/* What all of them have promised. */
extern TimestampTz mc_promises_least(const Promises *promises);

/*
 * Can no older change arrive for anything that was deleted before the sample?
 * What a center sends it has written in the order in which it sends it, and
 * what it has deleted itself it knows; so of its own deletes only the promises
 * of the others count.  Holds where nothing waits in quarantine, no row is
 * displaced, and no policy decides.
 */
extern bool mc_sample_is_settled(const Sample *sample, const Promises *promises);

#endif							/* MC_SAMPLE_H */
