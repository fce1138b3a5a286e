/*-------------------------------------------------------------------------
 *
 * heartbeat.h
 *	  Heartbeats: what this center promises, and what it has applied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HEARTBEAT_H
#define MC_HEARTBEAT_H

#include "core/types.h"

/*
 * Write a heartbeat and flush it.  Returns the end of its record.  *promise,
 * where it is not NULL, is the time up to which nothing is committed any more.
 */
extern LocalLsn mc_heartbeat_write(TimestampTz *promise);

#endif							/* MC_HEARTBEAT_H */
