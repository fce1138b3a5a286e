/*-------------------------------------------------------------------------
 *
 * types.h
 *	  The vocabulary of multicenter: positions, centers and versions.
 *
 * NOTES
 *	  Positions in the write-ahead logs of different servers are different C
 *	  types, so that mixing them up does not compile.  A plain XLogRecPtr is
 *	  used only where bytes are read or written and where PostgreSQL's own
 *	  functions are called.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_TYPES_H
#define MC_TYPES_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

/* Greatest number of a center; never reused within a group. */
#define MC_MAX_CENTER_ID	1023

/* Center number of a row whose author is not known (base version). */
#define MC_NO_CENTER		0

typedef uint16 CenterId;

/* A position in the WAL of the peer that a change came from. */
typedef struct OriginLsn
{
	XLogRecPtr	value;
} OriginLsn;

/* A position in the WAL of this server. */
typedef struct LocalLsn
{
	XLogRecPtr	value;
} LocalLsn;

/*
 * The version of a row: commit timestamp and author of the transaction that
 * wrote it last.  commit_ts 0 with center MC_NO_CENTER is the base version,
 * smaller than any other.
 */
typedef struct RowVersion
{
	TimestampTz commit_ts;
	CenterId	center;
} RowVersion;

#endif							/* MC_TYPES_H */
