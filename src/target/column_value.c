/*-------------------------------------------------------------------------
 *
 * column_value.c
 *	  Values of columns that are merged.
 *
 * NOTES
 *	  Whatever is made of several values is a function of them in the order of
 *	  their versions, so it is the same at all centers.  Where two values are
 *	  equal but look different (1.0 and 1.00), the newer one is taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "target/column_value.h"
#include "target/handler.h"
#include "target/note.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "compat.h"

/* The list of members that stands for the whole value. */
#define WHOLE_VALUE		"*"

bool
mc_column_changed(Form_pg_attribute attribute, const RemoteRow *old_row,
				  const RemoteRow *new_row)
{
	int			i = attribute->attnum - 1;

	if (old_row->isnull[i] || new_row->isnull[i])
		return old_row->isnull[i] != new_row->isnull[i];
	return !datum_image_eq(old_row->values[i], new_row->values[i],
						   attribute->attbyval, attribute->attlen);
}

/* ---- numbers ---- */

Datum
mc_column_add_delta(Form_pg_attribute attribute, Datum value, Datum old_value,
					Datum new_value)
{
	PGFunction	from = NULL;
	PGFunction	to = NULL;
	Datum		sum;

	/* Without competitors it is what was written, to the last digit. */
	if (datum_image_eq(value, old_value, attribute->attbyval, attribute->attlen))
		return new_value;
	switch (attribute->atttypid)
	{
		case INT2OID:
			from = int2_numeric;
			to = numeric_int2;
			break;
		case INT4OID:
			from = int4_numeric;
			to = numeric_int4;
			break;
		case INT8OID:
			from = int8_numeric;
			to = numeric_int8;
			break;
		case NUMERICOID:
			break;
		default:
			elog(ERROR, "column \"%s\" has no type that can be added up",
				 NameStr(attribute->attname));
	}
	if (from)
	{
		value = DirectFunctionCall1(from, value);
		old_value = DirectFunctionCall1(from, old_value);
		new_value = DirectFunctionCall1(from, new_value);
	}
	sum = DirectFunctionCall2(numeric_add, value,
							  DirectFunctionCall2(numeric_sub, new_value, old_value));
	if (to)
		return DirectFunctionCall1(to, sum);
	return DirectFunctionCall2(numeric, sum, Int32GetDatum(attribute->atttypmod));
}

/* Compare two values of a column by the order of its type. */
static int
compare_values(Oid type_oid, Oid collation, Datum a, Datum b)
{
	TypeCacheEntry *type = lookup_type_cache(type_oid, TYPECACHE_CMP_PROC_FINFO);

	if (!OidIsValid(type->cmp_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no order", format_type_be(type_oid))));
	return DatumGetInt32(FunctionCall2Coll(&type->cmp_proc_finfo, collation, a, b));
}

/* ---- arrays ---- */

/* Elements of arrays, in their order. */
typedef struct ElementSet
{
	TypeCacheEntry *type;
	Oid			collation;
	Datum	   *values;
	int			n;
	bool		has_null;
} ElementSet;

/* Add an element at its place, instead of an equal one. */
static void
add_element(ElementSet *set, Datum value)
{
	int			low = 0;
	int			high = set->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = compare_values(set->type->type_id, set->collation,
										   set->values[middle], value);

		if (order == 0)
		{
			set->values[middle] = value;
			return;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	memmove(set->values + low + 1, set->values + low, sizeof(Datum) * (set->n - low));
	set->values[low] = value;
	set->n++;
}

/* Add the elements of an array. */
static void
add_elements(ElementSet *set, const ArrayType *array)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(unconstify(ArrayType *, array), set->type->type_id,
					  set->type->typlen, set->type->typbyval,
					  set->type->typalign, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			set->has_null = true;
		else
			add_element(set, values[i]);
	}
}

/* The elements of two arrays, in order and each once. */
static Datum
unite_arrays(Oid collation, const ArrayType *older, const ArrayType *newer)
{
	ElementSet	set = {0};
	int			size = ArrayGetNItems(ARR_NDIM(older), ARR_DIMS(older)) +
	ArrayGetNItems(ARR_NDIM(newer), ARR_DIMS(newer)) + 1;
	bool	   *nulls = palloc0(sizeof(bool) * size);
	int			lower = 1;

	set.type = lookup_type_cache(ARR_ELEMTYPE(newer), 0);
	set.collation = collation;
	set.values = palloc0(sizeof(Datum) * size);
	add_elements(&set, older);
	add_elements(&set, newer);
	if (set.has_null)
		nulls[set.n++] = true;
	if (set.n == 0)
		return PointerGetDatum(construct_empty_array(set.type->type_id));
	return PointerGetDatum(construct_md_array(set.values, nulls, 1, &set.n, &lower,
											  set.type->type_id, set.type->typlen,
											  set.type->typbyval, set.type->typalign));
}

/* ---- functions of users ---- */

/* A call of a handler. */
typedef struct ValueHandler
{
	Oid			function;
	Form_pg_attribute attribute;
	Datum		older;
	Datum		newer;
	MemoryContext caller;
	Datum		result;
} ValueHandler;

/* Call it and copy what it returns; for mc_handler_guard(). */
static void
run_value_handler(void *arg)
{
	ValueHandler *handler = arg;
	MemoryContext old_context;
	Datum		result;

	mc_handler_check_rights(handler->attribute->attrelid, handler->function);
	result = OidFunctionCall2Coll(handler->function, handler->attribute->attcollation,
								  handler->older, handler->newer);
	old_context = MemoryContextSwitchTo(handler->caller);
	handler->result = handler->attribute->attlen == -1 ?
		PointerGetDatum(PG_DETOAST_DATUM_COPY(result)) :
		datumCopy(result, handler->attribute->attbyval, handler->attribute->attlen);
	MemoryContextSwitchTo(old_context);
}

ErrorData *
mc_column_call(TargetTable *table, Form_pg_attribute attribute, Oid function,
			   Datum older, Datum newer, Datum *result)
{
	ValueHandler handler = {function, attribute, older, newer, CurrentMemoryContext};
	ErrorData  *error = mc_handler_guard(table, function, run_value_handler, &handler);

	*result = handler.result;
	return error;
}

/* What a handler makes of two values. */
static Datum
call_handler(TargetTable *table, Form_pg_attribute attribute, Oid function,
			 Datum older, Datum newer)
{
	ErrorData  *error;
	Datum		result;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the handler that merges column \"%s\" of table \"%s\" does not exist at this center",
						NameStr(attribute->attname), RelationGetRelationName(table->rel)),
				 errhint("Create it, with the signature that multicenter.column_policies shows.")));
	error = mc_column_call(table, attribute, function, older, newer, &result);
	if (error)
		ReThrowError(error);
	return result;
}

Datum
mc_column_combine(TargetTable *table, Form_pg_attribute attribute,
				  ColumnMerge merge, Oid handler, Datum older, Datum newer)
{
	int			order;

	switch (merge)
	{
		case COLUMN_MIN:
		case COLUMN_MAX:
			order = compare_values(attribute->atttypid, attribute->attcollation,
								   older, newer);
			return (merge == COLUMN_MIN ? order < 0 : order > 0) ? older : newer;
		case COLUMN_SET_UNION:
			return unite_arrays(attribute->attcollation,
								DatumGetArrayTypeP(older), DatumGetArrayTypeP(newer));
		case COLUMN_HANDLER:
			return call_handler(table, attribute, handler, older, newer);
		default:
			elog(ERROR, "column \"%s\" does not keep its values",
				 NameStr(attribute->attname));
	}
	return newer;				/* keep the compiler quiet */
}

/* ---- objects ---- */

/* Is a value an object? */
static bool
is_object(const Jsonb *value)
{
	return value != NULL && JB_ROOT_IS_OBJECT(value);
}

/* A member of a value; NULL where it has none. */
static JsonbValue *
find_member(const Jsonb *value, const char *name, int len, JsonbValue *buffer)
{
	if (!is_object(value))
		return NULL;
	return getKeyJsonValueFromContainer((JsonbContainer *) &value->root, name, len,
										buffer);
}

/* Is a member of one object another one in the other, or not there? */
static bool
member_differs(const Jsonb *a, const Jsonb *b, const char *name, int len)
{
	JsonbValue	a_buffer;
	JsonbValue	b_buffer;
	JsonbValue *a_value = find_member(a, name, len, &a_buffer);
	JsonbValue *b_value = find_member(b, name, len, &b_buffer);

	if (a_value == NULL || b_value == NULL)
		return a_value != b_value;
	return compareJsonbContainers(&JsonbValueToJsonb(a_value)->root,
								  &JsonbValueToJsonb(b_value)->root) != 0;
}

/* The names of an object's members, or the strings of an array, char *. */
static List *
names_of(const Jsonb *value)
{
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) &value->root);
	JsonbIteratorToken wanted = is_object(value) ? WJB_KEY : WJB_ELEM;
	JsonbIteratorToken token;
	JsonbValue	item;
	List	   *names = NIL;

	/* Once into the value itself, but not into what it holds. */
	token = JsonbIteratorNext(&it, &item, false);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == wanted && item.type == jbvString)
			names = lappend(names, pnstrdup(item.val.string.val, item.val.string.len));
	}
	return names;
}

/* Is a name in a list? */
static bool
has_name(const List *names, const char *name)
{
	const ListCell *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

char *
mc_column_json_members(const Jsonb *old_value, const Jsonb *new_value)
{
	List	   *names;
	ListCell   *cell;
	JsonbInState state = {0};
	JsonbValue	buffer;
	Jsonb	   *result;

	if (!is_object(old_value) || !is_object(new_value))
		return pstrdup(WHOLE_VALUE);
	names = names_of(old_value);
	foreach(cell, names_of(new_value))
	{
		if (find_member(old_value, lfirst(cell), strlen(lfirst(cell)), &buffer) == NULL)
			names = lappend(names, lfirst(cell));
	}
	pushJsonbValue_compat(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, names)
	{
		char	   *name = lfirst(cell);
		JsonbValue	item = {.type = jbvString};

		if (!member_differs(old_value, new_value, name, strlen(name)))
			continue;
		item.val.string.val = name;
		item.val.string.len = strlen(name);
		pushJsonbValue_compat(&state, WJB_ELEM, &item);
	}
	pushJsonbValue_compat(&state, WJB_END_ARRAY, NULL);
	result = JsonbValueToJsonb(state.result);
	return JsonbToCString(NULL, &result->root, VARSIZE(result));
}

List *
mc_column_json_names(const char *members)
{
	if (strcmp(members, WHOLE_VALUE) == 0)
		return NIL;
	return names_of(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(members))));
}

bool
mc_column_json_is_whole(const char *members)
{
	return strcmp(members, WHOLE_VALUE) == 0;
}

bool
mc_column_json_covers(const char *members, const char *others)
{
	List	   *names;
	ListCell   *cell;

	if (mc_column_json_is_whole(members))
		return true;
	if (mc_column_json_is_whole(others))
		return false;
	names = mc_column_json_names(members);
	foreach(cell, mc_column_json_names(others))
	{
		if (!has_name(names, lfirst(cell)))
			return false;
	}
	return true;
}

/* Put a member of an object into one that is being made. */
static void
push_member(JsonbInState *state, const char *name, JsonbValue *value)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue_compat(state, WJB_KEY, &key);
	pushJsonbValue_compat(state, WJB_VALUE, value);
}

Jsonb *
mc_column_json_overlay(const Jsonb *value, const Jsonb *source, const List *names)
{
	JsonbInState state = {0};
	JsonbValue	buffer;
	JsonbValue *member;
	const ListCell *cell;

	if (names == NIL)
		return unconstify(Jsonb *, value);
	pushJsonbValue_compat(&state, WJB_BEGIN_OBJECT, NULL);
	foreach(cell, is_object(value) ? names_of(value) : NIL)
	{
		char	   *name = lfirst(cell);

		if (!has_name(names, name))
			push_member(&state, name, find_member(value, name, strlen(name), &buffer));
	}
	foreach(cell, names)
	{
		char	   *name = lfirst(cell);

		member = find_member(source, name, strlen(name), &buffer);
		if (member != NULL)
			push_member(&state, name, member);
	}
	pushJsonbValue_compat(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}
