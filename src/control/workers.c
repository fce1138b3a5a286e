/*-------------------------------------------------------------------------
 *
 * workers.c
 *	  Start and stop of our background workers, and the supervisor.
 *
 * NOTES
 *	  The supervisor is the only worker that the postmaster restarts.  Once
 *	  after a start of the server it has a short-lived scanner read which
 *	  databases are centers, from the shared catalog of replication origins
 *	  (which cannot be read without a database); afterwards membership
 *	  operations tell it.  So a server without a group has one sleeping process
 *	  and no connection to any database.  It starts a manager for each center
 *	  and starts it again when it has ended, however it did.
 *
 *	  Everything that ends wakes whoever has to start it again through a
 *	  latch, so healing does not wait for a poll.  Every worker that is told to
 *	  end does so with exit code 1: the postmaster forgets a worker for good
 *	  that exits with 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_replication_origin.h"
#include "control/workers.h"
#include "common/pg_prng.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "state/clock.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "target/connection.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"

/* How often the supervisor looks without being woken. */
#define SUPERVISOR_NAP_MS	10000L

/* Settings of our workers; a role's or database's own must not reach them. */
static const char *const pinned_settings[][2] = {
	{"search_path", ""},
	{"session_replication_role", "replica"},
	{"synchronous_commit", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"row_security", "on"},
	{"datestyle", "ISO, YMD"},
	{"intervalstyle", "postgres"},
	{"timezone", "UTC"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "3"},
	{"lc_monetary", "C"},
	{"lc_numeric", "C"},
	{"lc_time", "C"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"},
	{"quote_all_identifiers", "off"},
	{"jit", "off"},
};

/*
 * SIGINT comes from pg_cancel_backend(), which must not hurt, and from our own
 * lock_timeout, which must.
 */
static void
handle_interrupt(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (get_timeout_indicator(LOCK_TIMEOUT, false))
	{
		InterruptPending = true;
		QueryCancelPending = true;
		SetLatch(MyLatch);
	}
	errno = save_errno;
}

void
mc_worker_begin(Oid dboid)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, handle_interrupt);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	for (int i = 0; i < lengthof(pinned_settings); i++)
		SetConfigOption(pinned_settings[i][0], pinned_settings[i][1],
						PGC_SUSET, PGC_S_OVERRIDE);

	/* Since PostgreSQL 17; the copy of a join is one transaction. */
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);

	/* pg_stat_activity and log lines tell which of them it is. */
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name,
					PGC_USERSET, PGC_S_OVERRIDE);

	/* BackgroundWorkerInitializeConnection has put its own handler back. */
	pqsignal(SIGINT, handle_interrupt);
}

bool
mc_worker_start(const char *function, const char *type, const char *label,
				Datum arg, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "multicenter", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, type, sizeof(worker.bgw_type));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "%s %s", type, label);
	worker.bgw_main_arg = arg;
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

void
mc_worker_wait(long timeout_ms, McWaitEvent event)
{
	CHECK_FOR_INTERRUPTS();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, mc_wait_event(event));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

int
mc_worker_backoff_ms(int failures)
{
	int			wait_ms = MC_RESTART_MIN_MS;

	for (int i = 1; i < failures && wait_ms < MC_RESTART_MAX_MS; i++)
		wait_ms *= 2;
	wait_ms = Min(wait_ms, MC_RESTART_MAX_MS);

	/* Jitter of a quarter, so that many links do not retry in step. */
	return wait_ms - (int) (pg_prng_double(&pg_global_prng_state) * wait_ms / 4);
}

void
mc_supervisor_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "multicenter", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "mc_supervisor_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "multicenter supervisor", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "multicenter supervisor", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/* The supervisor ends: nobody may set its latch any more. */
static void
supervisor_exit(int code, Datum arg)
{
	LWLockAcquire(mc_shared->lock, LW_EXCLUSIVE);
	mc_shared->supervisor_latch = NULL;
	mc_shared->supervisor_pid = 0;
	LWLockRelease(mc_shared->lock);
}

/*
 * A database in which the scanner can read the catalog of origins: "postgres",
 * or any other that takes connections and is no template.  tried is the one
 * that did not work.  InvalidOid: there is none.
 */
static Oid
choose_database(Oid tried)
{
	Oid			chosen = InvalidOid;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (!database->datallowconn || database->datistemplate ||
			database->oid == tried)
			continue;
		if (!OidIsValid(chosen) ||
			strcmp(NameStr(database->datname), "postgres") == 0)
			chosen = database->oid;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return chosen;
}

/* Make known every database that is marked as a center; false if none is. */
static bool
find_centers(void)
{
	bool		found = false;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(ReplicationOriginRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_replication_origin_roname,
										 RelationGetDescr(rel), &isnull);
		char	   *name = TextDatumGetCString(value);
		char		marker[NAMEDATALEN];
		Oid			dboid;
		SharedDatabase *entry;

		/* Guard the tables at once; the manager refines the gate. */
		if (sscanf(name, "multicenter_%u_", &dboid) != 1 ||
			strcmp(name, mc_marker_origin_name(marker, dboid)) != 0)
			continue;
		found = true;
		entry = mc_shared_database(dboid, false);

		/* A session may have made one, which knows nothing. */
		if (entry == NULL || (!entry->operation &&
							  pg_atomic_read_u32(&entry->gate) == GATE_NO_GROUP))
			mc_gate_set(dboid, GATE_OPEN);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return found;
}

void
mc_scanner_main(Datum arg)
{
	mc_worker_begin(DatumGetObjectId(arg));
	if (find_centers())
		mc_clock_prepare();
	pg_atomic_write_u32(&mc_shared->scanned, 1);
	mc_shared_wake_supervisor();
	proc_exit(1);
}

/*
 * Start the manager of a center if it does not run.  A manager needs some
 * moments to announce itself; the backoff keeps a second one from being
 * started meanwhile, and one that is started anyway finds the first and exits.
 */
static void
start_manager(SharedDatabase *entry)
{
	char		label[NAMEDATALEN];

	if (mc_monotonic_ms() < entry->start_after_ms)
		return;
	entry->start_after_ms = mc_monotonic_ms() + mc_worker_backoff_ms(2);
	snprintf(label, sizeof(label), "of database %u", entry->dboid);
	if (!mc_worker_start("mc_manager_main", "multicenter manager", label,
						 ObjectIdGetDatum(entry->dboid), NULL))
	{
		/* Nobody tells when one is free; do not fill the log meanwhile. */
		entry->start_after_ms = mc_monotonic_ms() + MC_RESTART_MAX_MS;
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the multicenter manager of database %u",
						entry->dboid),
				 errhint("Raise max_worker_processes in postgresql.conf and restart the server.")));
	}
}

/* Find out which databases are centers, once after a start of the server. */
static void
start_scanner(void)
{
	static Oid	tried = InvalidOid;
	static int64 start_after_ms = 0;

	if (mc_monotonic_ms() < start_after_ms)
		return;
	start_after_ms = mc_monotonic_ms() + mc_worker_backoff_ms(2);
	tried = choose_database(tried);
	if (OidIsValid(tried))
		mc_worker_start("mc_scanner_main", "multicenter scanner", "",
						ObjectIdGetDatum(tried), NULL);
}

/* Start what is missing; returns whether nothing was. */
static bool
supervise(void)
{
	bool		all_run = true;

	if (pg_atomic_read_u32(&mc_shared->scanned) == 0)
	{
		start_scanner();
		return false;
	}

	/*
	 * A database that a membership operation has entered here is a center
	 * only once its gate says so.  Entries are freed by managers that run.
	 */
	for (int i = 0; i < mc_shared->ndatabases; i++)
	{
		SharedDatabase *entry = &mc_shared->databases[i];

		if (OidIsValid(entry->dboid) && entry->manager_pid == 0 &&
			pg_atomic_read_u32(&entry->gate) != GATE_NO_GROUP)
		{
			start_manager(entry);
			all_run = false;
		}
	}
	return all_run;
}

void
mc_supervisor_main(Datum arg)
{
	mc_worker_begin(InvalidOid);
	LWLockAcquire(mc_shared->lock, LW_EXCLUSIVE);
	mc_shared->supervisor_latch = MyLatch;
	mc_shared->supervisor_pid = MyProcPid;
	LWLockRelease(mc_shared->lock);
	before_shmem_exit(supervisor_exit, (Datum) 0);

	for (;;)
	{
		bool		all_run = supervise();

		pgstat_report_stat(false);
		mc_worker_wait(all_run ? SUPERVISOR_NAP_MS : MC_RESTART_MIN_MS,
					   MC_WAIT_SUPERVISOR);
	}
}
