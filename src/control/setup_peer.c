/*-------------------------------------------------------------------------
 *
 * setup_peer.c
 *	  check_setup(peer_dsn): can this database join through that peer?
 *
 * NOTES
 *	  Each step runs in a subtransaction of its own and becomes a row of the
 *	  report if it fails, so that a peer which cannot be reached, or refuses,
 *	  is described rather than being an error of check_setup().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "control/peer.h"
#include "control/setup.h"
#include "core/wire.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/registry.h"
#include "target/connection.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/uuid.h"

#include "compat.h"

#define ANSWER_MS	10000

/* What stands for the peer in messages: nobody knows its name yet. */
#define LABEL		"peer_dsn"

/* What is known of the peer so far. */
typedef struct PeerProbe
{
	SetupReport *report;
	const char *dsn;
	MemoryContext context;
	PeerConnection *peer;
	const char *role;			/* as whom we are connected */
	PeerHello  *hello;
} PeerProbe;

typedef void (*ProbeStep) (PeerProbe *probe);

/* Report an error of a step; the error state is the caller's. */
static void
add_failure(PeerProbe *probe, const char *check_name, const ErrorData *error)
{
	char	   *problem = error->message;

	if (error->detail != NULL)
		problem = psprintf("%s: %s", error->message, error->detail);
	mc_setup_add(probe->report, check_name, SETUP_ERROR, NULL, problem,
				 error->hint);
}

/*
 * Run one step.  An error becomes a finding under that name, except one that
 * asks this session to stop.
 */
static bool
run_step(PeerProbe *probe, const char *check_name, ProbeStep step)
{
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(probe->context);

	/* An error is caught because it is the result that we are after. */
	PG_TRY();
	{
		step(probe);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(probe->context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(probe->context);
		add_failure(probe, check_name, error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(probe->context);
	CurrentResourceOwner = owner;
	return done;
}

/* Step: is the connection string one? */
static void
check_dsn(PeerProbe *probe)
{
	mc_dsn_check(probe->dsn, "peer_dsn");
	mc_setup_add(probe->report, "peer_dsn", SETUP_OK, NULL, NULL, NULL);
}

/* Step: connect as an ordinary session. */
static void
connect_session(PeerProbe *probe)
{
	probe->peer = mc_peer_connect(probe->dsn, LABEL, "multicenter check_setup",
								  false);
	mc_setup_add(probe->report, "peer_connection", SETUP_OK, NULL, NULL, NULL);
}

/* Step: what may the role of the connection do there? */
static void
check_role(PeerProbe *probe)
{
	PeerResult *result;
	char	  **row;

	result = mc_peer_query(probe->peer,
						   "SELECT r.rolname, quote_ident(r.rolname),"
						   " r.rolreplication OR r.rolsuper,"
						   " pg_has_role('pg_read_all_data', 'USAGE')"
						   " FROM pg_catalog.pg_roles r WHERE r.rolname = session_user",
						   0, NULL, ANSWER_MS);
	if (result->nrows != 1)
		return;
	row = result->rows[0];
	probe->role = row[1];
	if (strcmp(row[2], "t") == 0)
		mc_setup_add(probe->report, "peer_role", SETUP_OK, row[0], NULL, NULL);
	else
		mc_setup_add(probe->report, "peer_role", SETUP_ERROR, row[0],
					 "the role of the connection may not replicate",
					 psprintf("ALTER ROLE %s REPLICATION;  -- at the peer", row[1]));
	if (strcmp(row[3], "t") == 0)
		mc_setup_add(probe->report, "peer_read_access", SETUP_OK, row[0], NULL, NULL);
	else
		mc_setup_add(probe->report, "peer_read_access", SETUP_ERROR, row[0],
					 "the role of the connection may not read every table, as copy => 'data' needs",
					 psprintf("GRANT pg_read_all_data TO %s;  -- at the peer", row[1]));
}

/* Step: is the extension there, and may we call its functions? */
static void
check_extension(PeerProbe *probe)
{
	PeerResult *result;
	char	  **row;

	result = mc_peer_query(probe->peer,
						   "SELECT e.extversion, (SELECT bool_and(has_schema_privilege(n.oid, 'USAGE')"
						   "  AND has_function_privilege(p.oid, 'EXECUTE'))"
						   "  FROM pg_catalog.pg_proc p"
						   "  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
						   "  WHERE n.nspname = 'multicenter' AND p.proname = 'peer_hello')"
						   " FROM pg_catalog.pg_extension e WHERE e.extname = 'multicenter'",
						   0, NULL, ANSWER_MS);
	row = result->nrows == 1 ? result->rows[0] : NULL;
	if (row == NULL)
		mc_setup_add(probe->report, "peer_extension", SETUP_ERROR, NULL,
					 "the extension multicenter is not installed at the peer",
					 "CREATE EXTENSION multicenter;  -- at the peer");
	else if (row[1] == NULL || strcmp(row[1], "t") != 0)
		mc_setup_add(probe->report, "peer_extension", SETUP_ERROR, row[0],
					 "the role of the connection may not talk to multicenter at the peer",
					 psprintf("GRANT multicenter_peer TO %s;  -- at the peer",
							  probe->role ? probe->role : "..."));
	else
		mc_setup_add(probe->report, "peer_extension", SETUP_OK, row[0], NULL, NULL);
	if (row == NULL || row[1] == NULL || strcmp(row[1], "t") != 0)
		return;
	probe->hello = mc_peer_hello(probe->peer, LABEL);
}

/* Do the two speak one protocol, and hold text alike? */
static void
compare_versions(PeerProbe *probe)
{
	const PeerHello *hello = probe->hello;
	const char *ours = GetDatabaseEncodingName();
	char	   *object;

	object = psprintf("PostgreSQL %d", hello->release);
	if (hello->release > PG_MAJORVERSION_NUM)
		mc_setup_add(probe->report, "peer_version", SETUP_WARNING, object,
					 "the peer's release is newer, so copy => 'data' needs a pg_dump of that release here",
					 psprintf("apt-get install postgresql-client-%d",
							  hello->release));
	else
		mc_setup_add(probe->report, "peer_version", SETUP_OK, object, NULL, NULL);

	object = psprintf("%d to %d", hello->protocol_min, hello->protocol_max);
	if (hello->protocol_min <= MC_PROTOCOL_MAX && hello->protocol_max >= MC_PROTOCOL_MIN)
		mc_setup_add(probe->report, "peer_protocol", SETUP_OK, object, NULL, NULL);
	else
		mc_setup_add(probe->report, "peer_protocol", SETUP_ERROR, object,
					 psprintf("no protocol version in common; this center speaks %d to %d",
							  MC_PROTOCOL_MIN, MC_PROTOCOL_MAX),
					 "ALTER EXTENSION multicenter UPDATE;  -- after installing the newer version on the older side");

	if (strcmp(hello->encoding, ours) == 0)
		mc_setup_add(probe->report, "peer_encoding", SETUP_OK, hello->encoding, NULL, NULL);
	else
		mc_setup_add(probe->report, "peer_encoding", SETUP_WARNING, hello->encoding,
					 psprintf("text is converted between %s and %s; what one cannot hold stops the link",
							  hello->encoding, ours),
					 NULL);
}

/* Is the peer somebody whom this database can join? */
static void
check_group(PeerProbe *probe)
{
	const PeerHello *hello = probe->hello;
	Identity	identity;
	const char *problem = NULL;
	const char *fix = NULL;

	if (hello->system_identifier == GetSystemIdentifier() &&
		hello->dboid == MyDatabaseId)
		problem = "peer_dsn leads to this very database";
	else if (hello->group_uuid == NULL)
	{
		problem = "the peer is in no group";
		fix = "SELECT multicenter.group_create(...);  -- at the peer";
	}
	else if (strcmp(hello->state, "ready") != 0)
	{
		problem = psprintf("the peer is not ready but %s", hello->state);
		fix = "SELECT multicenter.wait_until_ready();  -- at the peer";
	}
	else if (mc_registry_identity(&identity) &&
			 strcmp(hello->group_uuid,
					DatumGetCString(DirectFunctionCall1(uuid_out,
														UUIDPGetDatum(&identity.group_uuid)))) != 0)
	{
		problem = psprintf("this database is in another group, \"%s\"",
						   NameStr(identity.group_name));
		fix = "SELECT multicenter.group_remove_local(force => true);";
	}
	mc_setup_add(probe->report, "peer_group", problem ? SETUP_ERROR : SETUP_OK,
				 hello->group_name, problem, fix);
}

/* Step: what the peer says of itself. */
static void
compare_hello(PeerProbe *probe)
{
	compare_versions(probe);
	check_group(probe);
}

/* Step: do the roles exist here that own or are granted something there? */
static void
compare_roles(PeerProbe *probe)
{
	PeerResult *result;

	result = mc_peer_query(probe->peer,
						   "SELECT DISTINCT r.rolname, quote_ident(r.rolname)"
						   " FROM pg_catalog.pg_shdepend d"
						   " JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid"
						   " WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass"
						   "  AND d.dbid = (SELECT b.oid FROM pg_catalog.pg_database b"
						   "   WHERE b.datname = current_database())"
						   " ORDER BY 1", 0, NULL, ANSWER_MS);
	for (int i = 0; i < result->nrows; i++)
		if (!OidIsValid(get_role_oid(result->rows[i][0], true)))
			mc_setup_add(probe->report, "peer_roles", SETUP_ERROR,
						 result->rows[i][0],
						 "a role that owns objects or has rights at the peer does not exist here",
						 psprintf("CREATE ROLE %s;", result->rows[i][1]));
	mc_setup_add_if_none(probe->report, "peer_roles", NULL);
}

/* Step: does the peer accept a replication connection? */
static void
connect_replication(PeerProbe *probe)
{
	PeerConnection *peer;

	peer = mc_peer_connect(probe->dsn, LABEL, "multicenter check_setup", true);
	(void) mc_peer_query(peer, "IDENTIFY_SYSTEM", 0, NULL, ANSWER_MS);
	mc_peer_close(peer);
	mc_setup_add(probe->report, "peer_replication", SETUP_OK, NULL, NULL, NULL);
}

void
mc_setup_check_peer(SetupReport *report, const char *dsn)
{
	MemoryContext old;
	PeerProbe	probe = {0};

	probe.report = report;
	probe.dsn = dsn;
	probe.context = AllocSetContextCreate(CurrentMemoryContext,
										  "multicenter setup peer",
										  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(probe.context);
	if (run_step(&probe, "peer_dsn", check_dsn) &&
		run_step(&probe, "peer_connection", connect_session))
	{
		run_step(&probe, "peer_role", check_role);
		run_step(&probe, "peer_extension", check_extension);
		if (probe.hello != NULL)
			run_step(&probe, "peer_group", compare_hello);
		run_step(&probe, "peer_roles", compare_roles);
		mc_peer_close(probe.peer);
		run_step(&probe, "peer_replication", connect_replication);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(probe.context);
}
