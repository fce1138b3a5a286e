/*-------------------------------------------------------------------------
 *
 * row_json.c
 *	  Rows as JSON text.
 *
 * NOTES
 *	  row_to_json() looks up for each value of each row what its type is and how
 *	  that is written.  For a conflict that is as much as to write the row, so
 *	  the common types are written here; a row with another one goes to
 *	  row_to_json() as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "target/row_json.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "compat.h"

/* Append an integer. */
static void
append_integer(StringInfo out, int64 value)
{
	char		buffer[MAXINT8LEN + 1];

	appendBinaryStringInfo(out, buffer, pg_lltoa(value, buffer));
}

/* Append a number; "NaN" and the like are no numbers in JSON. */
static void
append_number(StringInfo out, const char *number)
{
	if (IsValidJsonNumber(number, strlen(number)))
		appendStringInfoString(out, number);
	else
		escape_json(out, number);
}

/* The text that an output function makes of a value. */
static char *
output(PGFunction function, Datum value)
{
	return DatumGetCString(DirectFunctionCall1(function, value));
}

/* Append a value; false if its type is not one of those known here. */
static bool
append_value(StringInfo out, Oid type, Datum value)
{
	char		buffer[MAXDATELEN + 1];
	Jsonb	   *jsonb;

	switch (type)
	{
		case BOOLOID:
			appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
			return true;
		case INT2OID:
			append_integer(out, DatumGetInt16(value));
			return true;
		case INT4OID:
			append_integer(out, DatumGetInt32(value));
			return true;
		case INT8OID:
			append_integer(out, DatumGetInt64(value));
			return true;
		case FLOAT4OID:
			append_number(out, output(float4out, value));
			return true;
		case FLOAT8OID:
			append_number(out, output(float8out, value));
			return true;
		case NUMERICOID:
			append_number(out, output(numeric_out, value));
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			escape_json(out, TextDatumGetCString(value));
			return true;
		case UUIDOID:
			escape_json(out, output(uuid_out, value));
			return true;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			JsonEncodeDateTime(buffer, value, type, NULL);
			appendStringInfo(out, "\"%s\"", buffer);
			return true;
		case JSONOID:
			appendStringInfoString(out, TextDatumGetCString(value));
			return true;
		case JSONBOID:
			jsonb = DatumGetJsonbP(value);
			(void) JsonbToCString(out, &jsonb->root, VARSIZE(jsonb));
			return true;
	}
	return false;
}

/* Do it here; NULL if there is a column of another type. */
static char *
make_json(TupleDesc desc, const Datum *values, const bool *isnull,
		  const AttrNumber *attnums, int ncolumns)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < ncolumns; i++)
	{
		int			column = attnums[i] - 1;
		Form_pg_attribute attribute = TupleDescAttr(desc, column);

		appendStringInfoChar(&out, i == 0 ? '{' : ',');
		escape_json(&out, NameStr(attribute->attname));
		appendStringInfoChar(&out, ':');
		if (isnull[column])
			appendStringInfoString(&out, "null");
		else if (!append_value(&out, attribute->atttypid, values[column]))
		{
			pfree(out.data);
			return NULL;
		}
	}
	if (ncolumns == 0)
		appendStringInfoChar(&out, '{');
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* Let row_to_json() do it, with a row of just those columns. */
static char *
call_row_to_json(TupleDesc desc, const Datum *values, const bool *isnull,
				 const AttrNumber *attnums, int ncolumns)
{
	TupleDesc	some = CreateTemplateTupleDesc(ncolumns);
	Datum	   *some_values = palloc(sizeof(Datum) * ncolumns);
	bool	   *some_isnull = palloc(sizeof(bool) * ncolumns);
	HeapTuple	tuple;
	Datum		row;

	for (int i = 0; i < ncolumns; i++)
	{
		TupleDescCopyEntry(some, i + 1, desc, attnums[i]);
		some_values[i] = values[attnums[i] - 1];
		some_isnull[i] = isnull[attnums[i] - 1];
	}
	tuple = heap_form_tuple(BlessTupleDesc(TupleDescFinalize_compat(some)),
							some_values, some_isnull);
	row = heap_copy_tuple_as_datum(tuple, some);
	return TextDatumGetCString(DirectFunctionCall1(row_to_json, row));
}

char *
mc_row_json(TupleDesc desc, const Datum *values, const bool *isnull,
			const AttrNumber *attnums, int ncolumns)
{
	AttrNumber	all[MaxTupleAttributeNumber];
	char	   *json;

	if (attnums == NULL)
	{
		attnums = all;
		ncolumns = 0;
		for (int i = 0; i < desc->natts; i++)
			if (!TupleDescAttr(desc, i)->attisdropped)
				all[ncolumns++] = i + 1;
	}
	json = make_json(desc, values, isnull, attnums, ncolumns);
	return json ? json : call_row_to_json(desc, values, isnull, attnums, ncolumns);
}
