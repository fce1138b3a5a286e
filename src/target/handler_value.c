/*-------------------------------------------------------------------------
 *
 * handler_value.c
 *	  Rows become arguments of a conflict handler, and its answer a row.
 *
 * NOTES
 *	  Generated columns are null in what a handler gets, on every center, and
 *	  are not read from what it answers: they are computed on the write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupconvert.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "target/handler_value.h"
#include "target/note.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"

/* Columns of multicenter.conflict_info. */
typedef enum InfoColumn
{
	INFO_CONFLICT_TYPE,
	INFO_OPERATION,
	INFO_RELATION,
	INFO_KEY,
	INFO_LOCAL_CENTER,
	INFO_LOCAL_VERSION,
	INFO_REMOTE_CENTER,
	INFO_REMOTE_VERSION,
	INFO_REMOTE_LSN,
	INFO_CONCURRENT,
	INFO_CONSTRAINT_NAME,
	INFO_COLUMNS,
} InfoColumn;

static const char *const action_names[] = {
	[HANDLER_ROW] = "row",
	[HANDLER_KEEP_LOCAL] = "keep_local",
	[HANDLER_APPLY_REMOTE] = "apply_remote",
	[HANDLER_SKIP] = "skip",
	[HANDLER_QUARANTINE] = "quarantine",
	[HANDLER_NEXT] = "next",
};

const char *
mc_handler_action_name(HandlerAction action)
{
	return action_names[action];
}

/* ---- rows ---- */

/* Raise the error that an answer makes no sense. */
pg_noreturn static void
raise_answer(int sqlstate, const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate), errmsg("%s", problem), errhint("%s", hint)));
}

/* A value of an object as the text of a column; NULL for null. */
static char *
json_to_text(Form_pg_attribute attribute, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvBinary:
			if (attribute->atttypid == JSONBOID || attribute->atttypid == JSONOID)
				return JsonbToCString(NULL, value->val.binary.data,
									  value->val.binary.len);
			break;
		default:
			break;
	}
	raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
				 psprintf("the value of column \"%s\" is an array or an object",
						  NameStr(attribute->attname)),
				 "Give values as text, such as '{1,2}' for an array.");
}

/* Read one column of the row of a jsonb handler; false: it is not there. */
static bool
read_member(const Jsonb *object, Form_pg_attribute attribute, Datum *result,
			bool *isnull)
{
	JsonbValue	buffer;
	JsonbValue *value;
	char	   *string;
	Oid			input;
	Oid			param;

	value = getKeyJsonValueFromContainer((JsonbContainer *) &object->root,
										 NameStr(attribute->attname),
										 strlen(NameStr(attribute->attname)),
										 &buffer);
	if (value == NULL)
		return false;
	string = json_to_text(attribute, value);
	*isnull = string == NULL;
	if (string)
	{
		getTypeInputInfo(attribute->atttypid, &input, &param);
		*result = OidInputFunctionCall(input, string, param, attribute->atttypmod);
	}
	return true;
}

/* Make an empty row in the layout of the table. */
static void
make_row(TargetTable *table, RemoteRow *row)
{
	int			natts = Max(RelationGetDescr(table->rel)->natts, 1);

	memset(row, 0, sizeof(RemoteRow));
	row->values = palloc0(sizeof(Datum) * natts);
	row->isnull = palloc0(sizeof(bool) * natts);
	row->unchanged = palloc0(sizeof(bool) * natts);
}

void
mc_handler_load_row(TargetTable *table, const HandlerRow *source, RemoteRow *row)
{
	TupleDesc	desc = RelationGetDescr(table->rel);

	make_row(table, row);
	if (source->slot)
	{
		slot_getallattrs(source->slot);
		memcpy(row->values, source->slot->tts_values, sizeof(Datum) * desc->natts);
		memcpy(row->isnull, source->slot->tts_isnull, sizeof(bool) * desc->natts);
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || attribute->attgenerated)
			row->isnull[i] = true;
		else if (source->slot == NULL &&
				 !read_member(source->values, attribute, &row->values[i],
							  &row->isnull[i]))
			row->isnull[i] = true;
	}
}

/* ---- arguments ---- */

/* A tuple of the table as a value of its row type, or of a parent's. */
static Datum
make_composite(TargetTable *table, const HandlerSignature *signature,
			   HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	TupleDesc	type_desc;
	TupleConversionMap *map;
	Datum		value;

	if (desc->tdtypeid == signature->row_type)
		return heap_copy_tuple_as_datum(tuple, desc);
	type_desc = lookup_rowtype_tupdesc(signature->row_type, -1);
	map = convert_tuples_by_name(desc, type_desc);
	if (map)
		tuple = execute_attr_map_tuple(tuple, map);
	value = heap_copy_tuple_as_datum(tuple, type_desc);
	ReleaseTupleDesc(type_desc);
	return value;
}

Datum
mc_handler_row_argument(TargetTable *table, const HandlerSignature *signature,
						const HandlerRow *source, bool *isnull)
{
	RemoteRow	row;

	*isnull = source->slot == NULL && source->values == NULL;
	if (*isnull)
		return (Datum) 0;
	if (signature->form == HANDLER_JSONB)
		return JsonbPGetDatum(source->slot ?
							  mc_note_row_to_jsonb(table, source->slot) :
							  source->values);
	mc_handler_load_row(table, source, &row);
	return make_composite(table, signature,
						  heap_form_tuple(RelationGetDescr(table->rel),
										  row.values, row.isnull));
}

/* A string as a column of the information; null without one. */
static void
set_text(Datum *values, bool *isnull, InfoColumn column, const char *string)
{
	isnull[column] = string == NULL;
	if (string)
		values[column] = CStringGetTextDatum(string);
}

/* A name as a column of the information; null without one. */
static void
set_name(Datum *values, bool *isnull, InfoColumn column, const char *name)
{
	isnull[column] = name == NULL;
	if (name)
		values[column] = DirectFunctionCall1(namein, CStringGetDatum(name));
}

/* A time as a column of the information; null where it is not known. */
static void
set_time(Datum *values, bool *isnull, InfoColumn column, RowVersion version)
{
	isnull[column] = version.commit_ts == 0;
	values[column] = TimestampTzGetDatum(version.commit_ts);
}

Datum
mc_handler_info_argument(TargetTable *table, const HandlerSignature *signature,
						 const HandlerCall *call, const HandlerCenters *centers)
{
	Datum		values[INFO_COLUMNS];
	bool		isnull[INFO_COLUMNS] = {false};
	TupleDesc	desc = lookup_rowtype_tupdesc(signature->info_type, -1);
	Datum		info;

	if (desc->natts != INFO_COLUMNS)
		elog(ERROR, "multicenter.conflict_info has %d columns, not %d",
			 desc->natts, INFO_COLUMNS);
	set_text(values, isnull, INFO_CONFLICT_TYPE, call->conflict_type);
	set_text(values, isnull, INFO_OPERATION, call->operation);
	values[INFO_RELATION] = ObjectIdGetDatum(RelationGetRelid(table->rel));
	isnull[INFO_KEY] = call->key == NULL;
	values[INFO_KEY] = JsonbPGetDatum(call->key);
	set_name(values, isnull, INFO_LOCAL_CENTER, centers->local);
	set_time(values, isnull, INFO_LOCAL_VERSION, call->local_version);
	set_name(values, isnull, INFO_REMOTE_CENTER, centers->remote);
	set_time(values, isnull, INFO_REMOTE_VERSION, call->remote_version);
	isnull[INFO_REMOTE_LSN] = call->remote_lsn.value == 0;
	values[INFO_REMOTE_LSN] = LSNGetDatum(call->remote_lsn.value);
	values[INFO_CONCURRENT] = BoolGetDatum(call->concurrent);
	set_name(values, isnull, INFO_CONSTRAINT_NAME, call->constraint_name);
	info = heap_copy_tuple_as_datum(heap_form_tuple(desc, values, isnull), desc);
	ReleaseTupleDesc(desc);
	return info;
}

/* ---- the answer ---- */

/* Take a tuple of some row type apart. */
static void
deform_datum(HeapTupleHeader header, TupleDesc desc, Datum *values, bool *isnull)
{
	HeapTupleData tuple = {0};

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, isnull);
}

/* The row of a typed handler. */
static void
read_composite(TargetTable *table, const HandlerSignature *signature,
			   Datum value, RemoteRow *row)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = RelationGetDescr(table->rel);
	TupleDesc	type_desc;
	TupleConversionMap *map;
	HeapTupleData tuple = {0};

	if (HeapTupleHeaderGetTypeId(header) != signature->row_type)
		raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
					 psprintf("the row is of type %s",
							  format_type_be(HeapTupleHeaderGetTypeId(header))),
					 psprintf("Return a row of type %s.",
							  format_type_be(signature->row_type)));
	if (desc->tdtypeid == signature->row_type)
	{
		deform_datum(header, desc, row->values, row->isnull);
		return;
	}
	type_desc = lookup_rowtype_tupdesc(signature->row_type, -1);
	map = convert_tuples_by_name(type_desc, desc);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_data = header;
	heap_deform_tuple(map ? execute_attr_map_tuple(&tuple, map) : &tuple,
					  desc, row->values, row->isnull);
	ReleaseTupleDesc(type_desc);
}

/* Raise an error if the row has something that is no column of the table. */
static void
check_members(TargetTable *table, Jsonb *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		if (get_attnum(RelationGetRelid(table->rel), name) <= 0)
			raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
						 psprintf("the table has no column \"%s\"", name),
						 "Return a row with the columns of the table.");
	}
}

/* The row of a jsonb handler. */
static void
read_object(TargetTable *table, Datum value, RemoteRow *row)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	Jsonb	   *object = DatumGetJsonbP(value);

	if (!JB_ROOT_IS_OBJECT(object))
		raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
					 "the row is not a jsonb object",
					 "Return the row as an object of column names and values.");
	check_members(table, object);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		row->isnull[i] = true;
		if (attribute->attisdropped || attribute->attgenerated)
			continue;
		if (!read_member(object, attribute, &row->values[i], &row->isnull[i]))
			raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
						 psprintf("the row lacks column \"%s\"",
								  NameStr(attribute->attname)),
						 "Return all columns, such as local_row || jsonb_build_object(...).");
	}
}

/* Raise an error if the row of the answer has another key than those given. */
static void
check_key(TargetTable *table, const HandlerCall *call, const RemoteRow *row)
{
	const HandlerRow *given = call->local.slot || call->local.values ?
	&call->local : &call->remote;
	RemoteRow	given_row;
	bool		same = true;

	if (table->map->nkeys == 0 || (given->slot == NULL && given->values == NULL))
		return;
	mc_handler_load_row(table, given, &given_row);
	for (int i = 0; i < table->map->nkeys; i++)
		same &= !row->isnull[table->map->key_attnums[i] - 1];
	if (!same || !mc_table_same_key(table, row, &given_row))
		raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
					 "the row has another key",
					 "A handler must leave the key columns as they are.");
}

/* Which action is it? */
static HandlerAction
read_action(const char *word)
{
	for (int i = 0; i < lengthof(action_names); i++)
	{
		if (strcmp(word, action_names[i]) == 0)
			return (HandlerAction) i;
	}
	raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
				 psprintf("unknown action \"%s\"", word),
				 "Actions are row, keep_local, apply_remote, skip, quarantine and next.");
}

/* Take the two OUT arguments apart. */
static void
split_answer(const HandlerSignature *signature, Datum answer, Datum *values,
			 bool *isnull)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(answer);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));

	if (desc->natts != 2 ||
		TupleDescAttr(desc, 0)->atttypid != signature->row_type ||
		TupleDescAttr(desc, 1)->atttypid != TEXTOID)
		raise_answer(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
					 "the answer is not a row and an action",
					 "Return what the OUT arguments are declared as.");
	deform_datum(header, desc, values, isnull);
	ReleaseTupleDesc(desc);
}

HandlerAction
mc_handler_answer(TargetTable *table, const HandlerSignature *signature,
				  const HandlerCall *call, Datum answer, RemoteRow *row)
{
	Datum		values[2];
	bool		isnull[2];
	HandlerAction action;

	split_answer(signature, answer, values, isnull);
	if (isnull[1])
		raise_answer(ERRCODE_E_R_I_E_NULL_VALUE_NOT_ALLOWED,
					 "the action is null",
					 "Actions are row, keep_local, apply_remote, skip, quarantine and next.");
	action = read_action(TextDatumGetCString(values[1]));
	if (action != HANDLER_ROW)
		return action;
	if (isnull[0])
		raise_answer(ERRCODE_E_R_I_E_NULL_VALUE_NOT_ALLOWED,
					 "the action is \"row\", and the row is null",
					 "Assign result_row, or return another action.");

	make_row(table, row);
	if (signature->form == HANDLER_JSONB)
		read_object(table, values[0], row);
	else
		read_composite(table, signature, values[0], row);
	check_key(table, call, row);
	return action;
}
