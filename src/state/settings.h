/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The configuration parameters of multicenter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SETTINGS_H
#define MC_SETTINGS_H

extern int	mc_apply_workers;
extern int	mc_heartbeat_interval_ms;	/* multicenter.heartbeat_interval */
extern int	mc_promise_ahead_ms;	/* multicenter.promise_ahead */
extern int	mc_conflict_retention_min;	/* multicenter.conflict_retention */
extern int	mc_conflict_max_row_bytes;	/* multicenter.conflict_max_row_bytes */

extern int	mc_dead_row_retention_s;	/* multicenter.dead_row_retention */
extern int	mc_log_conflicts_interval_s;	/* multicenter.log_conflicts_interval */
extern int	mc_displaced_retention_s;	/* multicenter.displaced_retention */
extern int	mc_max_clock_skew_ms;	/* multicenter.max_clock_skew */
extern int	mc_max_apply_wait_ms;	/* multicenter.max_apply_wait */
extern int	mc_stamp_origins;	/* multicenter.stamp_origins */

extern int	mc_handler_timeout_ms;	/* multicenter.handler_timeout */

/* What the audit of access between centers has. */
typedef enum AuditLevel
{
	AUDIT_OFF,
	AUDIT_SUMMARY,
	AUDIT_FULL,
} AuditLevel;

extern int	mc_audit;			/* multicenter.audit */
extern int	mc_audit_retention_min; /* multicenter.audit_retention */

/* How links are compressed that have no option of their own: a PackMethod. */
extern int	mc_compression;		/* multicenter.compression */

/* What becomes of a transaction that fails again and again. */
typedef enum OnApplyError
{
	ON_APPLY_ERROR_QUARANTINE,
	ON_APPLY_ERROR_STOP,
} OnApplyError;

extern int	mc_on_apply_error;	/* multicenter.on_apply_error */

/* Define them all; from _PG_init(). */
extern void mc_settings_init(void);

#endif							/* MC_SETTINGS_H */
