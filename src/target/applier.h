/*-------------------------------------------------------------------------
 *
 * applier.h
 *	  A process that applies transactions beside the receiver of its link.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_APPLIER_H
#define MC_APPLIER_H

#include "core/wire.h"
#include "state/shared.h"

/* Bytes of the queue of each applier, in the segment one behind the other. */
#define MC_APPLIER_QUEUE_BYTES	(1024 * 1024)

/* What the receiver sends. */
typedef enum AssignmentKind
{
	ASSIGN_TRANSACTION,			/* vector entries, then the records */
	ASSIGN_RELATION,			/* one record, which describes a table */
} AssignmentKind;

typedef struct Assignment
{
	AssignmentKind kind;
	int			nvector;		/* all entries, if they have changed */
	uint64		number;
	uint64		depends;		/* on this transaction, and those before it */
	FrameHeader header;
} Assignment;

/* The process; number: which of the link's appliers.  Never returns. */
extern void mc_applier_run(SharedLink *link, int number);

#endif							/* MC_APPLIER_H */
