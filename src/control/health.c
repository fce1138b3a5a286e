/*-------------------------------------------------------------------------
 *
 * health.c
 *	  Look at the health of this center from time to time.
 *
 * NOTES
 *	  The checks are SQL, src/sql/60_health.sql, for whoever asks.  The manager
 *	  asks too, so that "since" is right although nobody else has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "control/health.h"
#include "executor/spi.h"
#include "target/attempt.h"
#include "target/connection.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define LOOK_MS			2000
#define FAILED_LOOK_MS	60000

/* What is seen for less than that is not worth a line in the log. */
#define LOG_PAUSE_MS	10000

/* What the log was told last, and when it may be told something else. */
static char logged[16] = "healthy";
static int64 next_look_ms = 0;
static int64 next_log_ms = 0;

/* The status of the center, and what is to blame for it. */
typedef struct Health
{
	char		status[16];
	char		reason[1024];
} Health;

/* Evaluate all checks. */
static void
look(RemoteTransaction *transaction, void *arg)
{
	Health	   *health = arg;

	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute("SELECT CASE WHEN pg_catalog.bool_or(status OPERATOR(pg_catalog.=) 'critical') THEN 'unhealthy'"
					" WHEN pg_catalog.bool_or(status OPERATOR(pg_catalog.=) 'warning') THEN 'degraded' ELSE 'healthy' END,"
					" pg_catalog.string_agg(pg_catalog.concat_ws(' ', check_name, object, status),"
					" ', ') FILTER (WHERE status OPERATOR(pg_catalog.=) ANY ('{warning,critical}'))"
					" FROM multicenter.health_checks()", true, 1) == SPI_OK_SELECT && SPI_processed == 1)
	{
		char	   *status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		char	   *reason = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

		strlcpy(health->status, status ? status : "", sizeof(health->status));
		strlcpy(health->reason, reason ? reason : "", sizeof(health->reason));
	}
	SPI_finish();
	PopActiveSnapshot();
}

void
mc_health_work(CenterId our_id)
{
	int64		now_ms = mc_monotonic_ms();
	Health		health = {"", ""};
	AttemptResult result;

	if (now_ms < next_look_ms)
		return;
	result = mc_attempt(our_id, look, &health, NULL);
	if (result != ATTEMPT_DONE || health.status[0] == '\0')
	{
		next_look_ms = now_ms + (result == ATTEMPT_BUSY ? LOOK_MS : FAILED_LOOK_MS);
		return;
	}
	next_look_ms = now_ms + LOOK_MS;
	if (strcmp(health.status, logged) == 0 || now_ms < next_log_ms)
		return;
	ereport(LOG,
			(errmsg("this center is %s", health.status),
			 health.reason[0] ? errdetail_log("%s.", health.reason) : 0,
			 health.reason[0] ? errhint("See multicenter.health_checks().") : 0));
	strlcpy(logged, health.status, sizeof(logged));
	next_log_ms = now_ms + LOG_PAUSE_MS;
}
