/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The configuration parameters of multicenter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "state/settings.h"
#include "utils/guc.h"

int			mc_heartbeat_interval_ms = 1000;
int			mc_conflict_retention_min = 30 * 24 * 60;
int			mc_dead_row_retention_s = 600;

void
mc_settings_init(void)
{
	DefineCustomIntVariable("multicenter.conflict_retention",
							"Sets how long decided conflicts stay in the conflict history.",
							NULL,
							&mc_conflict_retention_min,
							30 * 24 * 60, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.dead_row_retention",
							"Sets how long deleted rows are kept from VACUUM for a center that is away.",
							"Changes of a center that was away for longer may have to wait for a decision.",
							&mc_dead_row_retention_s,
							600, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.heartbeat_interval",
							"Sets the time between two heartbeats of a center.",
							"Lag is measured by them, so it is known to about this precision on an idle link.",
							&mc_heartbeat_interval_ms,
							1000, 100, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("multicenter");
}
