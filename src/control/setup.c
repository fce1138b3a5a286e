/*-------------------------------------------------------------------------
 *
 * setup.c
 *	  check_setup(): what has to be configured before a database can be a
 *	  center, each with the line that corrects it.
 *
 * NOTES
 *	  The checks of the server are here, those of the database's schema in
 *	  setup_schema.c, those of a peer in setup_peer.c.  All of them work on a
 *	  server where nothing is configured yet, the library not preloaded, and
 *	  no group exists.
 *
 *	  The server is looked at with the rights of the extension's owner, since
 *	  a monitoring role may neither read every setting nor our tables.  Only
 *	  fixed queries on the catalogs run so, under a pinned search_path.
 *
 *	  mc_setup_require() raises the same findings as errors, so that what
 *	  check_setup() says and what group_create() refuses cannot differ.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "control/setup.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "target/schedule.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "compat.h"

#define PLUGIN_LIST "output_plugin_libraries"

/* Peers that a database has to be ready for while it is in no group. */
#define PEERS_WITHOUT_GROUP 2

/* Rights and settings of the caller while the checks run. */
typedef struct CheckScope
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} CheckScope;

/* How much of something the server has, and how much is taken. */
typedef struct Capacity
{
	int			limit;
	int			in_use;
	int			ours;			/* of those in use */
} Capacity;

PG_FUNCTION_INFO_V1(mc_check_setup);

static const char *const status_names[] = {
	[SETUP_OK] = "ok",
	[SETUP_WARNING] = "warning",
	[SETUP_ERROR] = "error",
};

/* Work as the extension's owner under a search_path nobody can bend. */
static void
begin_checks(CheckScope *scope)
{
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(mc_registry_owner(),
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Undo begin_checks(); after an error the end of the transaction does. */
static void
end_checks(CheckScope *scope)
{
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/* An empty report in a child of the current context. */
static void
report_init(SetupReport *report)
{
	report->context = AllocSetContextCreate(CurrentMemoryContext,
											"multicenter setup report",
											ALLOCSET_DEFAULT_SIZES);
	report->findings = NIL;
}

void
mc_setup_add(SetupReport *report, const char *check_name, SetupStatus status,
			 const char *object, const char *problem, const char *fix)
{
	MemoryContext old = MemoryContextSwitchTo(report->context);
	SetupFinding *finding = palloc(sizeof(SetupFinding));

	finding->check_name = check_name;
	finding->status = status;
	finding->object = object ? pstrdup(object) : NULL;
	finding->problem = problem ? pstrdup(problem) : NULL;
	finding->fix = fix ? pstrdup(fix) : NULL;
	report->findings = lappend(report->findings, finding);
	MemoryContextSwitchTo(old);
}

void
mc_setup_add_if_none(SetupReport *report, const char *check_name,
					 const char *object)
{
	ListCell   *lc;

	foreach(lc, report->findings)
	{
		if (strcmp(((SetupFinding *) lfirst(lc))->check_name, check_name) == 0)
			return;
	}
	mc_setup_add(report, check_name, SETUP_OK, object, NULL, NULL);
}

/* List of oids as a datum of type oid[]. */
static Datum
oid_array(List *oids)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(oids) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, oids)
		elements[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid),
										   true, TYPALIGN_INT));
}

/* Copy the result of a query out of SPI's memory into the current context. */
static SetupRows
copy_rows(void)
{
	SetupRows	rows;
	int			ncolumns = SPI_tuptable->tupdesc->natts;

	rows.nrows = (int) SPI_processed;
	rows.values = palloc0(sizeof(char **) * (rows.nrows + 1));
	for (int i = 0; i < rows.nrows; i++)
	{
		rows.values[i] = palloc0(sizeof(char *) * ncolumns);
		for (int j = 0; j < ncolumns; j++)
		{
			char	   *value = SPI_getvalue(SPI_tuptable->vals[i],
											 SPI_tuptable->tupdesc, j + 1);

			rows.values[i][j] = value ? pstrdup(value) : NULL;
		}
	}
	return rows;
}

SetupRows
mc_setup_query(const char *sql, List *relations)
{
	MemoryContext caller_context = CurrentMemoryContext;
	MemoryContext spi_context;
	SetupRows	rows;
	Oid			types[] = {OIDARRAYOID};
	Datum		values[] = {relations ? oid_array(relations) : (Datum) 0};

	SPI_connect();

	/* Not read-only, so that it sees what this transaction has done. */
	if (SPI_execute_with_args(sql, relations ? 1 : 0, types, values, NULL,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "a query of check_setup() did not return rows");
	spi_context = MemoryContextSwitchTo(caller_context);
	rows = copy_rows();
	MemoryContextSwitchTo(spi_context);
	SPI_finish();
	return rows;
}

/* A setting as a string; NULL if this server has no such parameter. */
static const char *
setting(const char *name)
{
	return GetConfigOption(name, true, false);
}

/* Check that the postmaster has loaded us. */
static void
check_preload(SetupReport *report)
{
	const char *libraries = setting("shared_preload_libraries");
	char	   *fix;

	if (mc_shared != NULL)
	{
		mc_setup_add(report, "shared_preload_libraries", SETUP_OK, libraries,
					 NULL, NULL);
		return;
	}
	fix = psprintf("shared_preload_libraries = '%s%smulticenter'  # in postgresql.conf, then restart",
				   libraries, libraries[0] ? ", " : "");
	mc_setup_add(report, "shared_preload_libraries", SETUP_ERROR, libraries,
				 "multicenter is not loaded at server start", fix);
}

/* Check the settings that logical decoding and row versions stand on. */
static void
check_wal(SetupReport *report)
{
	const char *level = setting("wal_level");

	if (strcmp(level, "logical") == 0)
		mc_setup_add(report, "wal_level", SETUP_OK, level, NULL, NULL);
	else
		mc_setup_add(report, "wal_level", SETUP_ERROR, level,
					 "changes of rows cannot be read from the WAL",
					 "wal_level = logical  # in postgresql.conf, then restart");

	if (track_commit_timestamp)
		mc_setup_add(report, "track_commit_timestamp", SETUP_OK, "on", NULL, NULL);
	else
		mc_setup_add(report, "track_commit_timestamp", SETUP_ERROR, "off",
					 "the server does not keep the time at which a row was written",
					 "track_commit_timestamp = on  # in postgresql.conf, then restart");
}

/*
 * The list of output plugins that a new walsender of this database will have,
 * NULL if the server has no such list.  What is stored for the database comes
 * first, then the configuration.  The value of this session counts only where
 * it is known to come from there: the session may be older than an ALTER
 * DATABASE, and our own workers set it for themselves.
 */
static const char *
plugin_list(void)
{
	SetupRows	rows;

	if (setting(PLUGIN_LIST) == NULL)
		return NULL;
	rows = mc_setup_query("SELECT substr(c, length('" PLUGIN_LIST "=') + 1)"
						  " FROM pg_catalog.pg_db_role_setting s,"
						  "  LATERAL unnest(s.setconfig) c"
						  " WHERE s.setrole = 0"
						  "  AND starts_with(c, '" PLUGIN_LIST "=')"
						  "  AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d"
						  "   WHERE d.datname = current_database()))"
						  " ORDER BY s.setdatabase DESC LIMIT 1", NIL);
	if (rows.nrows > 0)
		return rows.values[0][0];
	rows = mc_setup_query("SELECT CASE WHEN s.source IN ('default', 'configuration file',"
						  "  'command line', 'environment variable') THEN s.reset_val"
						  " ELSE coalesce((SELECT f.setting FROM pg_catalog.pg_file_settings f"
						  "  WHERE f.name = s.name AND f.applied ORDER BY f.seqno DESC LIMIT 1),"
						  "  s.boot_val) END"
						  " FROM pg_catalog.pg_settings s WHERE s.name = '" PLUGIN_LIST "'", NIL);
	return rows.values[0][0];
}

/*
 * Split the list into names.  Sets *quoted if a name holds a comma: the whole
 * list was then stored as one quoted name, which shuts out every plugin.
 */
static List *
plugin_names(const char *list, bool *quoted)
{
	List	   *names = NIL;
	List	   *parts;
	ListCell   *lc;

	*quoted = false;
	if (!SplitGUCList(pstrdup(list), ',', &parts))
		return NIL;
	foreach(lc, parts)
	{
		List	   *inner;

		if (strchr(lfirst(lc), ',') == NULL)
			names = lappend(names, lfirst(lc));
		else
		{
			*quoted = true;
			if (SplitGUCList(pstrdup(lfirst(lc)), ',', &inner))
				names = list_concat(names, inner);
		}
	}
	return names;
}

/* Is our plugin among the names? */
static bool
lists_our_plugin(List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), MC_PLUGIN) == 0)
			return true;
	}
	return false;
}

/* The command that puts our plugin on the list and keeps the others. */
static char *
plugin_fix(List *names)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER DATABASE %s SET " PLUGIN_LIST " = ",
					 quote_identifier(get_database_name(MyDatabaseId)));
	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), MC_PLUGIN) != 0)
			appendStringInfo(&sql, "%s, ", quote_identifier(lfirst(lc)));
	}
	appendStringInfoString(&sql, MC_PLUGIN);
	return sql.data;
}

/* Check that walsenders of this database may use our output plugin. */
static void
check_output_plugin(SetupReport *report)
{
	const char *list = plugin_list();
	List	   *names;
	bool		quoted;

	if (list == NULL)
	{
		mc_setup_add(report, PLUGIN_LIST, SETUP_OK,
					 "(this server has no such parameter)", NULL, NULL);
		return;
	}
	names = plugin_names(list, &quoted);
	if (quoted)
		mc_setup_add(report, PLUGIN_LIST, SETUP_ERROR, list,
					 "the list is one quoted name, so no output plugin is allowed",
					 plugin_fix(names));
	else if (lists_our_plugin(names))
		mc_setup_add(report, PLUGIN_LIST, SETUP_OK, list, NULL, NULL);
	else
		mc_setup_add(report, PLUGIN_LIST, SETUP_ERROR, list,
					 "the output plugin multicenter is not allowed",
					 plugin_fix(names));
}

/* Number of peers in this database's group; -1: it is in no group. */
static int
count_peers(void)
{
	Identity	identity;
	int			npeers;

	if (!mc_database_is_center(MyDatabaseId) || !mc_registry_identity(&identity))
		return -1;
	npeers = list_length(mc_registry_centers()) - 1;
	return Max(0, npeers);
}

/*
 * Compare what the server has with what this database needs: one for each
 * peer and each of its appliers, and fixed ones, besides what others use.
 */
static void
check_capacity(SetupReport *report, const char *check_name,
			   const char *parameter, const Capacity *capacity, int fixed,
			   int appliers)
{
	int			peers = count_peers();
	int			others = Max(0, capacity->in_use - capacity->ours);
	int			needed_now = others + fixed + (peers < 0 ? PEERS_WITHOUT_GROUP : peers);
	int			needed_next = needed_now + (peers < 0 ? 0 : 1);
	int			with_appliers = needed_next + (needed_next - others - fixed) * appliers;
	char	   *object;
	char	   *fix;

	object = psprintf("%d, of which %d in use and %d needed here",
					  capacity->limit, capacity->in_use, with_appliers - others);
	fix = psprintf("%s = %d  # in postgresql.conf, then restart",
				   parameter, with_appliers);
	if (capacity->limit >= with_appliers)
		mc_setup_add(report, check_name, SETUP_OK, object, NULL, NULL);
	else if (capacity->limit >= needed_next)
		mc_setup_add(report, check_name, SETUP_WARNING, object,
					 psprintf("%s is too small for multicenter.apply_workers = %d",
							  parameter, appliers),
					 fix);
	else if (capacity->limit >= needed_now)
		mc_setup_add(report, check_name, SETUP_WARNING, object,
					 psprintf("%s is too small for one more center", parameter),
					 fix);
	else
		mc_setup_add(report, check_name, SETUP_ERROR, object,
					 psprintf("%s is too small for this center", parameter),
					 fix);
}

/* Run a query for two counts: all that are in use, and ours. */
static void
count_used(Capacity *capacity, int limit, const char *sql)
{
	SetupRows	rows = mc_setup_query(sql, NIL);

	capacity->limit = limit;
	capacity->in_use = pg_strtoint32(rows.values[0][0]);
	capacity->ours = pg_strtoint32(rows.values[0][1]);
}

/* Names of ours: slots, also of the connections that use them, and origins. */
#define OURS(column, suffix) \
	column " ~ ('^multicenter_' || (SELECT d.oid FROM pg_catalog.pg_database d" \
	" WHERE d.datname = current_database()) || '_" suffix "$')"
#define OUR_SLOT(column) OURS(column, "([0-9]+|xmin|kept_[a-z]|rebuild)")

/* Check that there are enough walsenders, slots, origins and workers. */
static void
check_capacities(SetupReport *report)
{
	Capacity	capacity;
	const char *origins = setting("max_active_replication_origins");

	count_used(&capacity, max_wal_senders,
			   "SELECT count(*), count(*) FILTER (WHERE " OUR_SLOT("a.application_name") ")"
			   " FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'walsender'");
	check_capacity(report, "max_wal_senders", "max_wal_senders", &capacity, 0, 0);

	count_used(&capacity, max_replication_slots,
			   "SELECT count(*), count(*) FILTER (WHERE " OUR_SLOT("s.slot_name") ")"
			   " FROM pg_catalog.pg_replication_slots s");
	/* One keeps dead rows, two keep WAL with deletes, one reads that. */
	check_capacity(report, "max_replication_slots", "max_replication_slots",
				   &capacity, 4, 0);

	/*
	 * One origin for each peer and its appliers, and one for rows that a join
	 * has copied.  What is limited is their progress: the names of centers
	 * that have parted stay in the catalog, but occupy nothing.  Before
	 * PostgreSQL 18 there are as many as slots, counted apart.  The stamp
	 * pool and the floor are the whole server's.
	 */
	count_used(&capacity, origins ? pg_strtoint32(origins) : max_replication_slots,
			   "SELECT count(*), count(*) FILTER (WHERE " OURS("o.external_id", "([0-9]+(_apply_[0-9]+)?|copy)")
			   " OR o.external_id ~ '^multicenter_(stamp_[0-9]+|floor)$')"
			   " FROM pg_catalog.pg_replication_origin_status o");
	check_capacity(report, "replication_origins",
				   origins ? "max_active_replication_origins" : "max_replication_slots",
				   &capacity, 1 + mc_stamp_origins + 1, mc_apply_workers);

	/* Supervisor, manager, an operation; receiver and appliers for each peer. */
	count_used(&capacity, max_worker_processes,
			   "SELECT count(*), count(*) FILTER (WHERE a.backend_type ~ '^multicenter '"
			   "  AND (a.datname = current_database() OR a.datname IS NULL))"
			   " FROM pg_catalog.pg_stat_activity a"
			   " WHERE a.backend_type !~ " MC_NO_WORKER);
	check_capacity(report, "max_worker_processes", "max_worker_processes",
				   &capacity, 3, mc_apply_workers);
}

/* Check how long a slot may keep the WAL for a peer that is away. */
static void
check_slot_limits(SetupReport *report)
{
	const char *keep_size = GetConfigOptionByName("max_slot_wal_keep_size", NULL, false);
	const char *idle_timeout = setting("idle_replication_slot_timeout");

	if (strcmp(keep_size, "-1") == 0)
		mc_setup_add(report, "max_slot_wal_keep_size", SETUP_WARNING, keep_size,
					 "a center that is away makes this one keep WAL until the disk is full",
					 "ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'; SELECT pg_reload_conf();"
					 "  -- less than the disk has free; who is away for longer must join again");
	else
		mc_setup_add(report, "max_slot_wal_keep_size", SETUP_OK, keep_size,
					 NULL, NULL);

	if (idle_timeout != NULL && strcmp(idle_timeout, "0") != 0)
		mc_setup_add(report, "idle_replication_slot_timeout", SETUP_WARNING,
					 GetConfigOptionByName("idle_replication_slot_timeout", NULL, false),
					 "a center that is away for this long loses its slot and must join again",
					 "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();");
	else if (idle_timeout != NULL)
		mc_setup_add(report, "idle_replication_slot_timeout", SETUP_OK,
					 idle_timeout, NULL, NULL);
}

/* Everything that mc_setup_require() insists on, and warnings of its kind. */
static void
check_server(SetupReport *report)
{
	check_preload(report);
	check_wal(report);
	check_output_plugin(report);
	check_capacities(report);
	check_slot_limits(report);
}

void
mc_setup_require(void)
{
	CheckScope	scope;
	SetupReport report;
	ListCell   *lc;

	report_init(&report);
	begin_checks(&scope);
	check_server(&report);
	end_checks(&scope);
	foreach(lc, report.findings)
	{
		SetupFinding *finding = lfirst(lc);

		if (finding->status == SETUP_ERROR &&
			strcmp(finding->check_name, PLUGIN_LIST) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s", finding->problem),
					 errdetail("The setting %s is: %s.", finding->check_name,
							   finding->object),
					 errhint("Correct it by: %s", finding->fix)));
	}
	MemoryContextDelete(report.context);
}

/* May the current user change the list of plugins for this database? */
static bool
may_set_plugin_list(void)
{
	CheckScope	scope;
	SetupRows	rows;
	char	   *user = GetUserNameFromId(GetUserId(), false);

	begin_checks(&scope);
	rows = mc_setup_query(psprintf("SELECT has_parameter_privilege(%s, '" PLUGIN_LIST "', 'SET')"
								   " AND pg_has_role(%s, d.datdba, 'USAGE')"
								   " FROM pg_catalog.pg_database d"
								   " WHERE d.datname = current_database()",
								   quote_literal_cstr(user),
								   quote_literal_cstr(user)), NIL);
	end_checks(&scope);
	return rows.nrows == 1 && strcmp(rows.values[0][0], "t") == 0;
}

void
mc_setup_enable_plugin(void)
{
	CheckScope	scope;
	const char *list;
	List	   *names;
	bool		quoted;
	char	   *sql;

	begin_checks(&scope);
	list = plugin_list();
	end_checks(&scope);
	if (list == NULL)
		return;
	names = plugin_names(list, &quoted);
	if (lists_our_plugin(names) && !quoted)
		return;
	sql = plugin_fix(names);
	if (!may_set_plugin_list())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the output plugin multicenter is not allowed in database \"%s\"",
						get_database_name(MyDatabaseId)),
				 errdetail("The setting " PLUGIN_LIST " is: %s.", list),
				 errhint("Let a superuser run: %s", sql)));
	SPI_connect();
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	SPI_finish();
}

/*
 * check_setup(peer_dsn): everything that keeps this database from being a
 * center, or would surprise later.
 */
Datum
mc_check_setup(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	CheckScope	scope;
	SetupReport report;
	ListCell   *lc;

	/*
	 * The server would dial out under its own account, with its passfile: not
	 * for somebody who may only look.
	 */
	if (!PG_ARGISNULL(0) &&
		!has_privs_of_role(GetUserId(), get_role_oid("multicenter_admin", false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to connect to a peer"),
				 errhint("Only members of role multicenter_admin may pass peer_dsn.")));

	InitMaterializedSRF(fcinfo, 0);
	report_init(&report);
	begin_checks(&scope);
	check_server(&report);
	mc_setup_check_schema(&report);
	end_checks(&scope);
	if (!PG_ARGISNULL(0))
		mc_setup_check_peer(&report, text_to_cstring(PG_GETARG_TEXT_PP(0)));

	foreach(lc, report.findings)
	{
		SetupFinding *finding = lfirst(lc);
		Datum		values[5] = {0};
		bool		nulls[5] = {false};

		values[0] = CStringGetTextDatum(finding->check_name);
		values[1] = CStringGetTextDatum(status_names[finding->status]);
		nulls[2] = finding->object == NULL;
		if (!nulls[2])
			values[2] = CStringGetTextDatum(finding->object);
		nulls[3] = finding->problem == NULL;
		if (!nulls[3])
			values[3] = CStringGetTextDatum(finding->problem);
		nulls[4] = finding->fix == NULL;
		if (!nulls[4])
			values[4] = CStringGetTextDatum(finding->fix);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	MemoryContextDelete(report.context);
	return (Datum) 0;
}
