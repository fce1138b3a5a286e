/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  The floor: commit timestamps that respect what a writer has seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "state/clock.h"
#include "utils/timestamp.h"

#include "compat.h"

TimestampTz
mc_clock_floor(void)
{
	return GetCurrentTimestamp();
}

void
mc_clock_raise(TimestampTz ts)
{
}

TimestampTz
mc_clock_promise(LocalLsn *since)
{
	since->value = GetXLogInsertRecPtr();
	return GetCurrentTimestamp();
}

bool
mc_clock_is_stamp_origin(uint16 origin)
{
	return false;
}
