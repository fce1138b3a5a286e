/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  Conflict handlers in C, good and bad ones.
 *
 * NOTES
 *	  For tests only; see test/lib/Multicenter/Handler.pm.  They need nothing
 *	  of multicenter but the form of their arguments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(handler_remote);
PG_FUNCTION_INFO_V1(handler_swapped);
PG_FUNCTION_INFO_V1(handler_info_as_row);
PG_FUNCTION_INFO_V1(handler_subtransactions);
PG_FUNCTION_INFO_V1(handler_loop);

/* Answer with a row and an action, as the function is declared. */
static Datum
answer(FunctionCallInfo fcinfo, Datum row, const char *action)
{
	TupleDesc	desc;
	Datum		values[2];
	bool		isnull[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is not a row");
	values[0] = row;
	values[1] = CStringGetTextDatum(action);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

/* The remote row. */
Datum
handler_remote(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, PG_GETARG_DATUM(1), "row");
}

/* A row with something else in it than the function is declared to return. */
Datum
handler_swapped(PG_FUNCTION_ARGS)
{
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	Datum		values[2] = {Int32GetDatum(1), Int32GetDatum(2)};
	bool		isnull[2] = {false, false};

	TupleDescInitEntry(desc, 1, "a", 23, -1, 0);
	TupleDescInitEntry(desc, 2, "b", 23, -1, 0);
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(desc);
#endif
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

/* A row of another type. */
Datum
handler_info_as_row(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, PG_GETARG_DATUM(2), "row");
}

/* Leave subtransactions open, and fail. */
Datum
handler_subtransactions(PG_FUNCTION_ARGS)
{
	BeginInternalSubTransaction(NULL);
	BeginInternalSubTransaction(NULL);
	ereport(ERROR, (errmsg("left three subtransactions")));
}

/* Never end. */
Datum
handler_loop(PG_FUNCTION_ARGS)
{
	for (;;)
		CHECK_FOR_INTERRUPTS();
}
