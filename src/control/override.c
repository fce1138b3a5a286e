/*-------------------------------------------------------------------------
 *
 * override.c
 *	  conflict_override(): decide a conflict anew, by hand.
 *
 * NOTES
 *	  What is chosen is written by an ordinary statement of the caller, with
 *	  his rights and under his row-level security, triggers and all.  So it has
 *	  a version of its own, greater than all that is known here, and wins
 *	  everywhere, without a rule of its own.  Only the history is written with
 *	  the rights of the owner of our tables.
 *
 *	  The conflict is read through the view, as the caller: what he may not see
 *	  does not exist.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "state/history.h"
#include "state/own.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_sql_conflict_override);

/* What is to become of a conflict. */
typedef struct Override
{
	int64		conflict_id;
	Oid			relid;
	bool		not_applied;	/* it is about a change that could not be */
	char	   *index_name;		/* NULL: it is about the key */
	char	   *key;			/* json of the columns of the key */
	char	   *image;			/* json of the row to write; NULL: delete it */
	bool		recorded;		/* that is from the history */
	const char *resolution;
	List	   *keys;			/* names in key, char * */
	List	   *columns;		/* names in image, char * */
	char	   *table;			/* quoted name */
	char	   *before;			/* json of the row that stood here, or NULL */
	char	   *after;			/* json of the row that stands now, or NULL */
} Override;

/* A column of a row of the result as text; NULL for null. */
static char *
result_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* Run a statement with text parameters, as the caller. */
static uint64
run(const char *command, int nargs, const char *first, const char *second)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[2];
	char		nulls[] = {first ? ' ' : 'n', second ? ' ' : 'n'};

	values[0] = first ? CStringGetTextDatum(first) : (Datum) 0;
	values[1] = second ? CStringGetTextDatum(second) : (Datum) 0;
	if (SPI_execute_with_args(command, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", command);
	return SPI_processed;
}

/* Read the conflict; choose: 'local' or 'remote'. */
static void
read_conflict(Override *override, const char *choose)
{
	char	   *id = psprintf(INT64_FORMAT, override->conflict_id);

	if (run("SELECT c.relation::pg_catalog.oid, c.error_message IS NOT NULL"
			" OR c.conflict_type OPERATOR(pg_catalog.=) 'apply_error', c.index_name,"
			" c.key, c.local_row, c.remote_row FROM multicenter.conflicts AS c"
			" WHERE c.conflict_id OPERATOR(pg_catalog.=) $1::pg_catalog.int8",
			1, id, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there is no conflict %s", id),
				 errhint("It may be older than multicenter.conflict_retention, or be about a table that you may not read. See the view multicenter.conflicts.")));
	override->relid = DatumGetObjectId(DirectFunctionCall1(oidin,
														   CStringGetDatum(result_text(0, 1))));
	override->not_applied = strcmp(result_text(0, 2), "t") == 0;
	override->index_name = result_text(0, 3);
	override->key = result_text(0, 4);
	override->image = result_text(0, strcmp(choose, "local") == 0 ? 5 : 6);
}

/* The names of the members of a json object. */
static List *
member_names(const char *object)
{
	List	   *names = NIL;
	uint64		n = run("SELECT pg_catalog.json_object_keys($1::pg_catalog.json)",
						1, object, NULL);

	for (uint64 i = 0; i < n; i++)
		names = lappend(names, result_text(i, 1));
	return names;
}

/* Is a name among these? */
static bool
has_name(const List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

/* Raise an error unless this conflict can be decided anew. */
static void
check_conflict(const Override *override, Relation rel, bool local)
{
	const char *name = RelationGetRelationName(rel);

	if (override->index_name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot override conflict %lld, which is about the unique index or constraint \"%s\"",
						(long long) override->conflict_id, override->index_name),
				 errhint("Change or delete the row that has the value in table \"%s\"; the other one, which is in the view multicenter.displaced, then comes back by itself.",
						 name)));
	if (override->key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot override conflict %lld, because the key of its row is not known",
						(long long) override->conflict_id),
				 errdetail("Table \"%s\" had no key, or a whole transaction failed.", name),
				 errhint("Write the row by an ordinary statement.")));
	if (override->recorded && local && override->not_applied)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conflict %lld has no local row, because its change could not be applied",
						(long long) override->conflict_id),
				 errhint("To keep the row as it is, call multicenter.quarantine_discard().")));
	if (override->recorded && has_name(override->columns, MC_OMITTED_ROW))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the %s row of conflict %lld is not in the history, because it was too large",
						local ? "local" : "remote", (long long) override->conflict_id),
				 errhint("Pass the row as new_row. Larger rows are kept from now on if multicenter.conflict_max_row_bytes is raised.")));
}

/* Use the row that the caller has passed. */
static void
take_new_row(Override *override, const char *new_row)
{
	const char *key = override->key ? override->key : "{}";

	if (run("SELECT pg_catalog.jsonb_typeof($1::pg_catalog.jsonb)", 1, new_row, NULL) != 1 ||
		strcmp(result_text(0, 1), "object") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("new_row is not an object"),
				 errhint("Pass the columns by name, such as {\"id\": 1, \"v\": \"text\"}.")));
	(void) run("SELECT ($1::pg_catalog.jsonb OPERATOR(pg_catalog.||) $2::pg_catalog.jsonb)::pg_catalog.text,"
			   " ($1::pg_catalog.jsonb OPERATOR(pg_catalog.||) $2::pg_catalog.jsonb)"
			   " OPERATOR(pg_catalog.=) ($2::pg_catalog.jsonb OPERATOR(pg_catalog.||) $1::pg_catalog.jsonb)",
			   2, key, new_row);
	if (strcmp(result_text(0, 2), "t") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("new_row has another key than conflict %lld",
						(long long) override->conflict_id),
				 errdetail("The key of the conflict is %s.", key),
				 errhint("Leave the key out, or write the row by an ordinary statement.")));
	override->image = result_text(0, 1);
	override->recorded = false;
	override->resolution = "new_row";
}

/* Raise an error if the names are none of columns of the table. */
static void
check_columns(const Override *override, const List *names)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (get_attnum(override->relid, lfirst(cell)) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table %s does not exist",
							(char *) lfirst(cell), override->table),
					 errhint("Pass the row as new_row, or write it by an ordinary statement, if the table was changed after the conflict.")));
	}
}

/* Raise an error if a row of the key is displaced by another one. */
static void
check_not_displaced(const Override *override)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(override->relid),
	CStringGetTextDatum(override->key)};
	uint64		found;
	OwnScope	scope;

	mc_own_begin(&scope);
	found = mc_own_execute(&plan,
						   "SELECT 1 FROM multicenter.key_note AS n"
						   " WHERE n.relation OPERATOR(pg_catalog.=) $1"
						   " AND n.kind OPERATOR(pg_catalog.=) 'd'::\"char\""
						   " AND n.key OPERATOR(pg_catalog.=) (SELECT pg_catalog.jsonb_object_agg(k.key, k.value)"
						   " FROM pg_catalog.jsonb_each_text($2::pg_catalog.jsonb) AS k)",
						   lengthof(types), types, values, NULL, SPI_OK_SELECT);
	mc_own_end(&scope);
	if (found > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row of conflict %lld is displaced by another one",
						(long long) override->conflict_id),
				 errhint("Change or delete that one first; see the view multicenter.displaced.")));
}

/*
 * The equality operator of a column, by name and schema: the search_path of the
 * caller may lead to one that somebody else has made.
 */
static const char *
equality(const Override *override, const char *column)
{
	Oid			type = get_atttype(override->relid,
								   get_attnum(override->relid, column));
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	const char *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s",
						format_type_be(type))));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* " WHERE t.a = r.a AND ..." of the key. */
static void
append_key_condition(StringInfo command, const Override *override)
{
	ListCell   *cell;
	const char *separator = " WHERE ";

	foreach(cell, override->keys)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(command, "%st.%s %s r.%s", separator, name,
						 equality(override, lfirst(cell)), name);
		separator = " AND ";
	}
}

/* The first parameter as a row of the table, named r. */
static char *
source(const Override *override)
{
	return psprintf("pg_catalog.json_populate_record(NULL::%s, $1::pg_catalog.json) AS r",
					override->table);
}

/* May a column be written, by an UPDATE or by an INSERT? */
static bool
is_writable(const Override *override, Form_pg_attribute attribute, bool update)
{
	return !attribute->attisdropped && attribute->attgenerated == '\0' &&
		has_name(override->columns, NameStr(attribute->attname)) &&
		!(update && (attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ||
					 has_name(override->keys, NameStr(attribute->attname))));
}

/* Delete the row. */
static void
delete_row(Override *override)
{
	StringInfoData command;

	initStringInfo(&command);
	appendStringInfo(&command, "DELETE FROM %s AS t USING %s", override->table,
					 source(override));
	append_key_condition(&command, override);
	appendStringInfoString(&command, " RETURNING pg_catalog.row_to_json(t)");
	if (run(command.data, 1, override->key, NULL) > 0)
		override->before = result_text(0, 1);
}

/* Lock the row that stands here; false if there is none that he may change. */
static bool
lock_row(Override *override)
{
	StringInfoData command;

	initStringInfo(&command);
	appendStringInfo(&command, "SELECT pg_catalog.row_to_json(t) FROM %s AS t, %s",
					 override->table, source(override));
	append_key_condition(&command, override);
	appendStringInfoString(&command, " FOR UPDATE OF t");
	if (run(command.data, 1, override->key, NULL) == 0)
		return false;
	override->before = result_text(0, 1);
	return true;
}

/* Replace the row that stands here. */
static uint64
update_row(Override *override, TupleDesc desc)
{
	StringInfoData command;
	const char *separator = "";

	initStringInfo(&command);
	appendStringInfo(&command, "UPDATE %s AS t SET ", override->table);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *name = quote_identifier(NameStr(attribute->attname));

		if (!is_writable(override, attribute, true))
			continue;
		appendStringInfo(&command, "%s%s = r.%s", separator, name, name);
		separator = ", ";
	}

	/* Of a row that is nothing but a key, only the version is new. */
	if (*separator == '\0')
	{
		const char *name = quote_identifier(linitial(override->keys));

		appendStringInfo(&command, "%s = r.%s", name, name);
	}
	appendStringInfo(&command, " FROM %s", source(override));
	append_key_condition(&command, override);
	appendStringInfoString(&command, " RETURNING pg_catalog.row_to_json(t)");
	return run(command.data, 1, override->image, NULL);
}

/* Insert the row. */
static uint64
insert_row(Override *override, TupleDesc desc)
{
	StringInfoData command;
	StringInfoData columns;
	const char *separator = "";

	initStringInfo(&command);
	initStringInfo(&columns);
	appendStringInfo(&command, "INSERT INTO %s AS t (", override->table);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *name = quote_identifier(NameStr(attribute->attname));

		if (override->recorded && !attribute->attisdropped &&
			attribute->attgenerated == '\0' &&
			!has_name(override->columns, NameStr(attribute->attname)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the row of conflict %lld has no value for column \"%s\"",
							(long long) override->conflict_id,
							NameStr(attribute->attname)),
					 errhint("Pass the row as new_row.")));
		if (!is_writable(override, attribute, false))
			continue;
		appendStringInfo(&command, "%s%s", separator, name);
		appendStringInfo(&columns, "%sr.%s", separator, name);
		separator = ", ";
	}
	appendStringInfo(&command, ") OVERRIDING SYSTEM VALUE SELECT %s FROM %s"
					 " RETURNING pg_catalog.row_to_json(t)",
					 columns.data, source(override));
	return run(command.data, 1, override->image, NULL);
}

/* Write the row. */
static void
write_row(Override *override, TupleDesc desc)
{
	uint64		written = lock_row(override) ? update_row(override, desc) :
	insert_row(override, desc);

	if (written == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row of conflict %lld was not written",
						(long long) override->conflict_id),
				 errhint("A trigger or a policy of table %s may have suppressed it.",
						 override->table)));
	override->after = result_text(0, 1);
}

/* Tell the history; returns the number of the new row. */
static int64
write_history(const Override *override)
{
	static SPIPlanPtr mark_plan = NULL;
	static SPIPlanPtr add_plan = NULL;
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];
	char		nulls[] = {' ', ' ', override->before ? ' ' : 'n', override->after ? ' ' : 'n'};
	int64		id;
	bool		isnull;
	OwnScope	scope;

	values[0] = Int64GetDatum(override->conflict_id);
	values[1] = CStringGetTextDatum(override->resolution);
	values[2] = override->before ? CStringGetTextDatum(override->before) : (Datum) 0;
	values[3] = override->after ? CStringGetTextDatum(override->after) : (Datum) 0;
	mc_own_begin(&scope);
	(void) mc_own_execute(&mark_plan,
						  "UPDATE multicenter.conflict_history SET reviewed_at = pg_catalog.clock_timestamp()"
						  " WHERE conflict_id OPERATOR(pg_catalog.=) $1",
						  1, types, values, nulls, SPI_OK_UPDATE);
	(void) mc_own_execute(&add_plan,
						  "INSERT INTO multicenter.conflict_history (peer_id, conflict_type, resolver,"
						  " resolution, relation, key, local_row, remote_row, result_row,"
						  " local_center_id, remote_center_id, remote_version, remote_lsn, remote_xid,"
						  " reviewed_at, override_of)"
						  " SELECT h.peer_id, h.conflict_type, 'override', $2, h.relation, h.key,"
						  " $3::pg_catalog.json, h.remote_row, $4::pg_catalog.json,"
						  " (SELECT i.center_id FROM multicenter.identity AS i),"
						  " h.remote_center_id, h.remote_version, h.remote_lsn, h.remote_xid,"
						  " pg_catalog.clock_timestamp(), h.conflict_id"
						  " FROM multicenter.conflict_history AS h"
						  " WHERE h.conflict_id OPERATOR(pg_catalog.=) $1 RETURNING conflict_id",
						  lengthof(types), types, values, nulls,
						  SPI_OK_INSERT_RETURNING);
	if (SPI_processed != 1)
		elog(ERROR, "conflict %lld is gone", (long long) override->conflict_id);
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									 SPI_tuptable->tupdesc, 1, &isnull));
	mc_own_end(&scope);
	return id;
}

/* Decide the conflict anew; returns the number of the new row of the history. */
static int64
carry_out(Override *override, bool local, const char *new_row)
{
	Relation	rel = try_relation_open(override->relid, AccessShareLock);
	int64		id;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of conflict %lld does not exist any more",
						(long long) override->conflict_id),
				 errhint("The rows are in the view multicenter.conflicts.")));
	override->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												 RelationGetRelationName(rel));
	if (new_row != NULL)
		take_new_row(override, new_row);
	if (override->image != NULL)
		override->columns = member_names(override->image);
	check_conflict(override, rel, local);
	override->keys = member_names(override->key);
	check_columns(override, override->keys);
	if (!override->recorded)
		check_columns(override, override->columns);
	check_not_displaced(override);
	if (override->image != NULL)
		write_row(override, RelationGetDescr(rel));
	else
		delete_row(override);
	id = write_history(override);
	table_close(rel, NoLock);
	return id;
}

/* conflict_override(conflict_id, choose, new_row) */
Datum
mc_sql_conflict_override(PG_FUNCTION_ARGS)
{
	Override	override = {.recorded = true};
	const char *choose = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *new_row = NULL;
	bool		local = strcmp(choose, "local") == 0;
	int64		id;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("conflict_id must not be null")));
	if (!PG_ARGISNULL(2))
		new_row = DatumGetCString(DirectFunctionCall1(jsonb_out, PG_GETARG_DATUM(2)));
	if (!local && strcmp(choose, "remote") != 0 &&
		(new_row == NULL || !PG_ARGISNULL(1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for choose: \"%s\"", choose),
				 errhint("Allowed values are \"local\" and \"remote\".")));
	override.conflict_id = PG_GETARG_INT64(0);
	override.resolution = local ? "keep_local" : "apply_remote";
	SPI_connect();
	read_conflict(&override, choose);
	id = carry_out(&override, local, new_row);
	SPI_finish();
	PG_RETURN_INT64(id);
}
