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
 * Write a heartbeat and flush it.  Returns the end of its record.  It promises
 * that nothing is committed any more up to the present, or to a time that is
 * ahead_us ahead of the clock.
 */
extern LocalLsn mc_heartbeat_write(int64 ahead_us);

#endif							/* MC_HEARTBEAT_H */
