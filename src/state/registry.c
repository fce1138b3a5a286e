/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  The tables of multicenter, and the names of its slots and origins.
 *
 * NOTES
 *	  Reads go through SPI with the snapshot of the caller, or a new one where
 *	  there is none.  The tables are private to the extension's owner, so each
 *	  function works under that owner's rights and gives them back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "state/registry.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "compat.h"

/* What a query of ours has to give back. */
typedef struct RegistryQuery
{
	Oid			userid;
	int			sec_context;
	bool		pushed_snapshot;
	MemoryContext caller_context;
} RegistryQuery;

static const char *const center_state_names[] = {
	[CENTER_JOINING] = "joining",
	[CENTER_COPYING] = "copying",
	[CENTER_CATCHING_UP] = "catching_up",
	[CENTER_READY] = "ready",
	[CENTER_PARTING] = "parting",
	[CENTER_PARTED] = "parted",
};

/* Columns of multicenter.center in the order that read_center() expects. */
#define CENTER_COLUMNS \
	"center_id, center_name, center_uuid, site, kind, state, dsn, epoch, " \
	"server_version, extension_version"

const char *
mc_center_state_name(CenterState state)
{
	return center_state_names[state];
}

/* The reverse. */
static CenterState
center_state_from_name(const char *name)
{
	for (int i = 0; i < lengthof(center_state_names); i++)
		if (strcmp(center_state_names[i], name) == 0)
			return (CenterState) i;
	elog(ERROR, "unknown center state \"%s\"", name);
	return CENTER_PARTED;		/* keep the compiler quiet */
}

Oid
mc_registry_owner(void)
{
	HeapTuple	tuple;
	Oid			owner;

	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(MC_SCHEMA));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"multicenter\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION multicenter.")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Connect to SPI as the owner of our tables. */
static void
begin_query(RegistryQuery *query)
{
	query->caller_context = CurrentMemoryContext;
	GetUserIdAndSecContext(&query->userid, &query->sec_context);
	SetUserIdAndSecContext(mc_registry_owner(),
						   query->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	query->pushed_snapshot = !ActiveSnapshotSet();
	if (query->pushed_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
}

/* Undo begin_query(); after an error the end of the transaction does. */
static void
end_query(RegistryQuery *query)
{
	if (query->pushed_snapshot)
		PopActiveSnapshot();
	SPI_finish();
	SetUserIdAndSecContext(query->userid, query->sec_context);
}

/* A column as a string in the caller's context; NULL for a null. */
static char *
column_text(RegistryQuery *query, HeapTuple row, int column)
{
	char	   *value = SPI_getvalue(row, SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(query->caller_context, value) : NULL;
}

static Datum
column_datum(HeapTuple row, int column)
{
	bool		isnull;

	return SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull);
}

/* A time; 0 for a null. */
static TimestampTz
column_time(HeapTuple row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

bool
mc_registry_identity(Identity *identity)
{
	RegistryQuery query;
	bool		found;

	begin_query(&query);
	SPI_execute("SELECT group_name, group_uuid, center_id, center_uuid,"
				" system_identifier, database_oid FROM multicenter.identity",
				true, 1);
	found = SPI_processed == 1;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];

		identity->group_name = *DatumGetName(column_datum(row, 1));
		identity->group_uuid = *DatumGetUUIDP(column_datum(row, 2));
		identity->center_id = (CenterId) DatumGetInt32(column_datum(row, 3));
		identity->center_uuid = *DatumGetUUIDP(column_datum(row, 4));

		/* A clone or a restored copy must not speak in its model's name. */
		identity->detached =
			(uint64) DatumGetInt64(column_datum(row, 5)) != GetSystemIdentifier() ||
			DatumGetObjectId(column_datum(row, 6)) != MyDatabaseId;
	}
	end_query(&query);
	return found;
}

CenterId
mc_registry_own_id(void)
{
	Oid			schema = get_namespace_oid(MC_SCHEMA, true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid("identity", schema) : InvalidOid;
	CenterId	own_id = MC_NO_CENTER;
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return MC_NO_CENTER;
	rel = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		AttrNumber	attnum = get_attnum(relid, "center_id");
		bool		isnull;

		own_id = (CenterId) DatumGetInt32(heap_getattr(tuple, attnum,
													   RelationGetDescr(rel),
													   &isnull));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return own_id;
}

/* Make a Center of a row with CENTER_COLUMNS. */
static void
read_center(RegistryQuery *query, HeapTuple row, Center *center)
{
	center->id = (CenterId) DatumGetInt32(column_datum(row, 1));
	center->name = *DatumGetName(column_datum(row, 2));
	center->uuid = *DatumGetUUIDP(column_datum(row, 3));
	center->site = column_text(query, row, 4);
	center->kind = column_text(query, row, 5);
	center->state = center_state_from_name(column_text(query, row, 6));
	center->dsn = column_text(query, row, 7);
	center->epoch = DatumGetInt64(column_datum(row, 8));
	center->server_version = DatumGetInt32(column_datum(row, 9));
	center->extension_version = column_text(query, row, 10);
}

bool
mc_registry_center(CenterId id, Center *center)
{
	RegistryQuery query;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(id)};
	bool		found;

	begin_query(&query);
	SPI_execute_with_args("SELECT " CENTER_COLUMNS " FROM multicenter.center"
						  " WHERE center_id OPERATOR(pg_catalog.=) $1",
						  1, types, values, NULL, true, 1);
	found = SPI_processed == 1;
	if (found)
		read_center(&query, SPI_tuptable->vals[0], center);
	end_query(&query);
	return found;
}

List *
mc_registry_centers(void)
{
	RegistryQuery query;
	List	   *centers = NIL;

	begin_query(&query);
	SPI_execute("SELECT " CENTER_COLUMNS " FROM multicenter.center"
				" WHERE state OPERATOR(pg_catalog.<>) 'parted' ORDER BY center_id",
				true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi_context;
		Center	   *center;

		center = MemoryContextAllocZero(query.caller_context, sizeof(Center));
		read_center(&query, SPI_tuptable->vals[i], center);
		spi_context = MemoryContextSwitchTo(query.caller_context);
		centers = lappend(centers, center);
		MemoryContextSwitchTo(spi_context);
	}
	end_query(&query);
	return centers;
}

void
mc_registry_link(CenterId peer, LinkOptions *options)
{
	RegistryQuery query;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(peer)};

	memset(options, 0, sizeof(LinkOptions));
	options->workers = -1;
	begin_query(&query);
	SPI_execute_with_args("SELECT dsn, paused_in, paused_out, stopped, heard_ts, confirmed_ts,"
						  " compression, logical_decoding_work_mem, coalesce(workers, -1)"
						  " FROM multicenter.link"
						  " WHERE peer_id OPERATOR(pg_catalog.=) $1",
						  1, types, values, NULL, true, 1);
	if (SPI_processed == 1)
	{
		HeapTuple	row = SPI_tuptable->vals[0];

		options->dsn = column_text(&query, row, 1);
		options->paused_in = DatumGetBool(column_datum(row, 2));
		options->paused_out = DatumGetBool(column_datum(row, 3));
		options->stopped = column_text(&query, row, 4);
		options->heard_ts = column_time(row, 5);
		options->confirmed_ts = column_time(row, 6);
		options->compression = column_text(&query, row, 7);
		options->work_mem = column_text(&query, row, 8);
		options->workers = DatumGetInt32(column_datum(row, 9));
	}
	end_query(&query);
}

void
mc_registry_stop_link(CenterId peer, const char *reason)
{
	RegistryQuery query;
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(peer), CStringGetTextDatum(reason)};

	begin_query(&query);
	SPI_execute_with_args("INSERT INTO multicenter.link (peer_id, stopped)"
						  " VALUES ($1, $2) ON CONFLICT (peer_id)"
						  " DO UPDATE SET stopped = excluded.stopped",
						  2, types, values, NULL, false, 0);
	end_query(&query);
}

void
mc_registry_set_state(CenterId id, CenterState state)
{
	RegistryQuery query;
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(id),
	CStringGetTextDatum(mc_center_state_name(state))};

	begin_query(&query);
	SPI_execute_with_args("UPDATE multicenter.center SET state = $2, epoch ="
						  " (SELECT pg_catalog.max(epoch) OPERATOR(pg_catalog.+) 1"
						  "  FROM multicenter.center)"
						  " WHERE center_id OPERATOR(pg_catalog.=) $1"
						  " AND state OPERATOR(pg_catalog.<>) $2",
						  2, types, values, NULL, false, 0);
	end_query(&query);
}

bool
mc_registry_is_group_catalog(Oid relid)
{
	Oid			namespace_oid = get_rel_namespace(relid);
	char	   *name;

	if (namespace_oid != get_namespace_oid(MC_SCHEMA, true) ||
		!OidIsValid(namespace_oid))
		return false;
	name = get_rel_name(relid);
	return name != NULL &&
		(strcmp(name, "center") == 0 || strcmp(name, "conflict_policy") == 0 ||
		 strcmp(name, "policy_epoch") == 0 || strcmp(name, "column_policy") == 0);
}

char *
mc_slot_name(char *buf, Oid dboid, CenterId target)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_%u", dboid, target);
	return buf;
}

char *
mc_origin_name(char *buf, Oid dboid, CenterId peer)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_%u", dboid, peer);
	return buf;
}

char *
mc_applier_origin_name(char *buf, Oid dboid, CenterId peer, int number)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_%u_apply_%d", dboid, peer, number);
	return buf;
}

char *
mc_horizon_slot_name(char *buf, Oid dboid)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_xmin", dboid);
	return buf;
}

char *
mc_kept_slot_name(char *buf, Oid dboid, char suffix)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_kept_%c", dboid, suffix);
	return buf;
}

char *
mc_rebuild_slot_name(char *buf, Oid dboid)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_rebuild", dboid);
	return buf;
}

char *
mc_marker_origin_name(char *buf, Oid dboid)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_center", dboid);
	return buf;
}

char *
mc_copy_origin_name(char *buf, Oid dboid)
{
	snprintf(buf, NAMEDATALEN, "multicenter_%u_copy", dboid);
	return buf;
}

bool
mc_database_is_center(Oid dboid)
{
	char		name[NAMEDATALEN];

	return replorigin_by_name(mc_marker_origin_name(name, dboid), true) !=
		InvalidRepOriginId;
}

/*
 * Look up the author behind an origin by the origin's name.  Origins of other
 * software count as local: their changes became part of this center here.
 */
static CenterId
look_up_author(uint16 origin, CenterId our_id)
{
	char		prefix[NAMEDATALEN];
	char		copy_name[NAMEDATALEN];
	char	   *name;
	unsigned int peer;
	char		extra;

	if (!replorigin_by_oid(origin, true, &name))
		return our_id;
	if (strcmp(name, mc_copy_origin_name(copy_name, MyDatabaseId)) == 0)
		return MC_NO_CENTER;
	snprintf(prefix, sizeof(prefix), "multicenter_%u_", MyDatabaseId);
	if (strncmp(name, prefix, strlen(prefix)) == 0 &&
		sscanf(name + strlen(prefix), "%u%c", &peer, &extra) == 1 &&
		peer <= MC_MAX_CENTER_ID)
		return (CenterId) peer;
	return our_id;
}

CenterId
mc_author_of_origin(uint16 origin, CenterId our_id)
{
	/* Indexed by origin; author + 1, 0 where not looked up yet. */
	static uint16 *authors = NULL;

	if (origin == InvalidRepOriginId || origin == DoNotReplicateId)
		return our_id;
	if (authors == NULL)
		authors = MemoryContextAllocZero(TopMemoryContext,
										 sizeof(uint16) * (PG_UINT16_MAX + 1));
	if (authors[origin] == 0)
		authors[origin] = look_up_author(origin, our_id) + 1;
	return authors[origin] - 1;
}
