/*-------------------------------------------------------------------------
 *
 * module.c
 *	  What happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "control/ddl.h"
#include "control/guard.h"
#include "control/rewrite.h"
#include "control/workers.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "state/claim.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/hold.h"
#include "state/recent.h"
#include "state/settings.h"
#include "state/shared.h"
#include "target/refresh.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Preloaded, everything is set up.  Loaded later, by CREATE EXTENSION or
 * check_setup() on a server that is not configured yet, only what tells so.
 */
void
_PG_init(void)
{
	mc_settings_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	mc_clock_init();
	mc_shared_init();
	mc_claim_init();
	mc_deletes_init();
	mc_hold_init();
	mc_guard_init();
	mc_ddl_init();
	mc_rewrite_init();
	mc_refresh_register();
	mc_recent_init();
	if (!IsBinaryUpgrade)
		mc_supervisor_register();
}
