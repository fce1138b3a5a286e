/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The configuration parameters of multicenter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "core/pack.h"
#include "state/apply_order.h"
#include "state/clock.h"
#include "state/settings.h"
#include "miscadmin.h"
#include "utils/guc.h"

int			mc_apply_workers = 0;
int			mc_audit = AUDIT_OFF;
int			mc_audit_retention_min = 90 * 24 * 60;
int			mc_compression = PACK_NONE;
int			mc_heartbeat_interval_ms = 1000;
int			mc_promise_ahead_ms = 200;
int			mc_conflict_retention_min = 30 * 24 * 60;
int			mc_conflict_max_row_bytes = 16 * 1024 * 1024;
int			mc_dead_row_retention_s = 600;
int			mc_log_conflicts_interval_s = 60;
int			mc_displaced_retention_s = 24 * 60 * 60;
int			mc_max_clock_skew_ms = 1000;
int			mc_max_apply_wait_ms = 10;
int			mc_stamp_origins = 16;
int			mc_handler_timeout_ms = 1000;
int			mc_on_apply_error = ON_APPLY_ERROR_QUARANTINE;

static const struct config_enum_entry audit_options[] = {
	{"off", AUDIT_OFF, false},
	{"summary", AUDIT_SUMMARY, false},
	{"full", AUDIT_FULL, false},
	{NULL, 0, false}
};

/* Only what the server was built with, as in default_toast_compression. */
static const struct config_enum_entry compression_options[] = {
	{"off", PACK_NONE, false},
	{"none", PACK_NONE, true},
#ifdef USE_LZ4
	{"lz4", PACK_LZ4, false},
#endif
#ifdef USE_ZSTD
	{"zstd", PACK_ZSTD, false},
#endif
	{NULL, 0, false}
};

static const struct config_enum_entry on_apply_error_options[] = {
	{"quarantine", ON_APPLY_ERROR_QUARANTINE, false},
	{"stop", ON_APPLY_ERROR_STOP, false},
	{NULL, 0, false}
};

/* Those of the conflict history. */
static void
init_history_settings(void)
{
	/*
	 * As JSON a row may have many times its size (six bytes for a control
	 * character, names again and again within arrays of composites), and
	 * three such texts must fit in one row of the history, which may have 1
	 * GB: a conflict must not stop the link for that.
	 */
	DefineCustomIntVariable("multicenter.conflict_max_row_bytes",
							"Sets the size above which a row is only mentioned in the conflict history.",
							"What counts are the values of variable length, uncompressed.",
							&mc_conflict_max_row_bytes,
							16 * 1024 * 1024, 0, 32 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.conflict_retention",
							"Sets how long decided conflicts stay in the conflict history.",
							NULL,
							&mc_conflict_retention_min,
							30 * 24 * 60, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.log_conflicts_interval",
							"Sets how often the server log tells the number of conflicts with a center.",
							"At most one line for each center in that time, and none without conflicts. -1 turns that off.",
							&mc_log_conflicts_interval_s,
							60, -1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
}

/* Those of the audit. */
static void
init_audit_settings(void)
{
	DefineCustomEnumVariable("multicenter.audit",
							 "Sets what is recorded of rows that go from center to center.",
							 "summary: how many of which table, by minute, and connections; full: also the key of each change that is received.",
							 &mc_audit,
							 AUDIT_OFF, audit_options,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.audit_retention",
							"Sets how long records of the audit are kept.",
							NULL,
							&mc_audit_retention_min,
							90 * 24 * 60, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
}

/* Of heartbeats and clocks. */
static void
init_clock_settings(void)
{
	DefineCustomIntVariable("multicenter.heartbeat_interval",
							"Sets the time between two heartbeats of a center.",
							"Lag is measured by them, so it is known to about this precision on an idle link.",
							&mc_heartbeat_interval_ms,
							1000, 100, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.max_apply_wait",
							"Sets how long apply waits for the local clock to pass the time of a remote transaction.",
							"So that ordinary differences of clocks do not stamp local commits. A transaction that is further ahead is applied at once.",
							&mc_max_apply_wait_ms,
							10, 0, 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.max_clock_skew",
							"Sets the difference of a peer's clock above which its link has a warning.",
							NULL,
							&mc_max_clock_skew_ms,
							1000, 1, 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.promise_ahead",
							"Sets how far ahead of its clock a center promises not to commit, while only its peers write much.",
							"Rows that sessions of peers delete are kept for a shorter time then. The first local commits afterwards may have timestamps that are as far ahead. 0: never.",
							&mc_promise_ahead_ms,
							200, 0, 10000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	/* A session that loads the library cannot define such a parameter. */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("multicenter.stamp_origins",
								"Sets how many local commits can be stamped with a later time at once.",
								"Needed while a peer's clock is ahead. Each takes a place in max_replication_slots (PostgreSQL 18: max_active_replication_origins).",
								&mc_stamp_origins,
								16, 1, MC_MAX_STAMP_ORIGINS,
								PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
}

void
mc_settings_init(void)
{
	init_audit_settings();
	init_clock_settings();
	init_history_settings();
	DefineCustomEnumVariable("multicenter.compression",
							 "Sets how peers compress what they send to this center.",
							 "For links without an option \"compression\" of their own.",
							 &mc_compression,
							 PACK_NONE, compression_options,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.apply_workers",
							"Sets how many processes apply the changes of each peer beside its receiver.",
							"0: the receiver applies them itself, one transaction after the other.",
							&mc_apply_workers,
							0, 0, MC_MAX_APPLY_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.dead_row_retention",
							"Sets how long deleted rows are kept from VACUUM for a center that is away.",
							"Changes of a center that was away for longer may have to wait for a decision.",
							&mc_dead_row_retention_s,
							600, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.displaced_retention",
							"Sets how long a displaced row is kept before its author deletes it for good.",
							"So that no row comes back long after everybody has forgotten it.",
							&mc_displaced_retention_s,
							24 * 60 * 60, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("multicenter.handler_timeout",
							"Sets how long a conflict handler may take for one conflict.",
							"One that takes longer is ended, and has not decided.",
							&mc_handler_timeout_ms,
							1000, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("multicenter.on_apply_error",
							 "Sets what becomes of a transaction of a peer that fails again and again.",
							 "quarantine: its changes are kept aside, and so are later ones of the same rows; stop: its link waits until the cause is gone.",
							 &mc_on_apply_error,
							 ON_APPLY_ERROR_QUARANTINE, on_apply_error_options,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	MarkGUCPrefixReserved("multicenter");
}
