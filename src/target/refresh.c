/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  Whole rows for those who could not complete an update.
 *
 * NOTES
 *	  An update without its unchanged out-of-line values can be completed from
 *	  the local row only if that is the one which its author has updated
 *	  (mc_merge_marker()).  Otherwise the change waits in quarantine, and a
 *	  request goes to the author, who answers all with a refresh: the row as a
 *	  whole, at its own version.  Authors also send one unasked where others
 *	  may have completed a row that they had not seen (design section 2.5).
 *
 *	  Both are messages of the transaction that applies what made them
 *	  necessary (derived.c), so none is lost or sent without reason:
 *
 *	  {"op": "request", "schema", "table", "author": 1, "key": {...}}
 *	  {"op": "refresh", "schema", "table", "author": 1, "version": "µs",
 *	   "row": {...}}
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "origin/derived.h"
#include "state/clock.h"
#include "state/registry.h"
#include "storage/lmgr.h"
#include "target/apply_row.h"
#include "target/conflict.h"
#include "target/local_map.h"
#include "target/message_kind.h"
#include "target/refresh.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Larger rows are not sent. */
#define MAX_REFRESH_BYTES	(100 * 1024 * 1024)

/* Begin a message about a table. */
static void
begin_message(StringInfo out, const char *op, const TargetTable *table,
			  CenterId author)
{
	initStringInfo(out);
	appendStringInfo(out, "{\"op\": \"%s\", \"schema\": ", op);
	escape_json(out, table->map->schema);
	appendStringInfoString(out, ", \"table\": ");
	escape_json(out, table->map->name);
	appendStringInfo(out, ", \"author\": \"%d\"", author);
}

/* Add an object to a message, and send it. */
static void
send_message(RemoteTransaction *transaction, StringInfo out, const char *name,
			 Jsonb *object)
{
	appendStringInfo(out, ", \"%s\": ", name);
	(void) JsonbToCString(out, &object->root, VARSIZE(object));
	appendStringInfoChar(out, '}');
	mc_derived_emit(out->data);
	transaction->derived = true;
	pfree(out->data);
}

void
mc_refresh_request(RemoteTransaction *transaction, TargetTable *table)
{
	StringInfoData out;
	RowKey		key;

	mc_note_key(table, &table->new_row, &key);
	begin_message(&out, "request", table, transaction->version.center);
	send_message(transaction, &out, "key", key.values);
}

void
mc_refresh_send(RemoteTransaction *transaction, TargetTable *table,
				const LocalRow *local)
{
	StringInfoData out;

	/* As text it must fit in one message; a bytea has twice its size there. */
	if (local->found && mc_conflict_row_bytes(local->slot) > MAX_REFRESH_BYTES)
	{
		ereport(LOG,
				(errmsg("a row of table \"%s.%s\" is too large to be sent to a center that waits for it",
						table->map->schema, table->map->name),
				 errhint("Write it again, with all its columns.")));
		return;
	}
	begin_message(&out, "refresh", table, local->state.version.center);
	appendStringInfo(&out, ", \"version\": \"" INT64_FORMAT "\"",
					 local->state.version.commit_ts);
	send_message(transaction, &out, "row", local->found ?
				 mc_note_row_to_jsonb(table, local->slot) : local->displaced->row);
}

void
mc_refresh_owed(RemoteTransaction *transaction, TargetTable *table,
				const LocalRow *local)
{
	/* What has lost was complete nowhere when our row was written. */
	if (mc_merge_owes_refresh(&local->state, transaction->our_id,
							  transaction->version, false))
		mc_refresh_send(transaction, table, local);
}

/* ---- what peers say ---- */

/* A message that no peer of ours sends. */
static void
reject(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("invalid request or refresh: %s", problem)));
}

/* A string of a message. */
static char *
get_string(const Jsonb *message, const char *name)
{
	bool		present;
	char	   *value = mc_note_text(message, name, &present);

	if (value == NULL)
		reject("something is missing");
	return value;
}

/* An object of a message. */
static Jsonb *
get_object(const Jsonb *message, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value;

	value = getKeyJsonValueFromContainer((JsonbContainer *) &message->root, name,
										 strlen(name), &buffer);
	if (value == NULL || value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		reject("an object is missing");
	return JsonbValueToJsonb(value);
}

/*
 * The map of the table that a message is about; NULL if there is none here any
 * more, or if its rows have no key: then nobody waits for the row.
 */
static RelationMap *
find_table(const Jsonb *message)
{
	RangeVar   *name = makeRangeVar(get_string(message, "schema"),
									get_string(message, "table"), -1);
	Oid			relid = RangeVarGetRelid(name, RowExclusiveLock, true);
	RelationMap *map;
	Relation	rel;

	if (!OidIsValid(relid))
		return NULL;
	rel = relation_open(relid, NoLock);
	map = mc_registry_is_group_catalog(relid) ? NULL : mc_local_map(rel);
	relation_close(rel, NoLock);
	return map;
}

/* A peer asks for a row of ours. */
static void
apply_request(RemoteTransaction *transaction, const Jsonb *message)
{
	RelationMap *map;

	if (atoi(get_string(message, "author")) != transaction->our_id)
		return;
	map = find_table(message);
	if (map == NULL)
		return;
	mc_apply_request(transaction, map, get_object(message, "key"));
}

/* The author of a row sends it as a whole. */
static void
apply_refresh(RemoteTransaction *transaction, const Jsonb *message)
{
	RowVersion	version = transaction->version;
	RelationMap *map;
	Jsonb	   *row = get_object(message, "row");

	if (atoi(get_string(message, "author")) != transaction->peer)
		reject("it is not from the author of the row");
	map = find_table(message);
	if (map == NULL)
		return;
	transaction->version.commit_ts =
		pg_strtoint64(get_string(message, "version"));
	if (!IS_VALID_TIMESTAMP(transaction->version.commit_ts) ||
		transaction->version.commit_ts > GetCurrentTimestamp() + USECS_PER_HOUR)
		reject("its version is no time that can be");

	/* Whoever sees the row writes a greater version. */
	mc_clock_raise(transaction->version.commit_ts);
	transaction->restates = true;
	mc_apply_refresh(transaction, map, row);
	transaction->restates = false;
	transaction->version = version;
}

/* Carry out a message; see apply.h. */
static void
apply_message(RemoteTransaction *transaction, const char *content, uint32 len)
{
	char	   *string = pnstrdup(content, len);
	Jsonb	   *message;
	char	   *op;

	/* Its strings become values, and functions for objects check nothing. */
	(void) pg_verify_mbstr(GetDatabaseEncoding(), string, (int) strlen(string), false);
	message = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string)));
	if (!JB_ROOT_IS_OBJECT(message))
		reject("it is no object");
	op = get_string(message, "op");
	if (strcmp(op, "request") == 0)
		apply_request(transaction, message);
	else if (strcmp(op, "refresh") == 0)
		apply_refresh(transaction, message);
	else
		reject("it is neither");
}

void
mc_refresh_register(void)
{
	mc_message_register(MC_DERIVED_PREFIX, apply_message);
}
