/*-------------------------------------------------------------------------
 *
 * column_probe.c
 *	  Try a function that is to merge the values of a column.
 *
 * NOTES
 *	  The probe cannot prove anything: among the first values of the column it
 *	  looks for two, or three, of which the function makes something else in
 *	  another order.  Every center merges in the order of versions, so one that
 *	  does not pass this converges nevertheless; only what it comes to depends
 *	  on which write came first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "target/column_value.h"
#include "target/local_map.h"
#include "target/note.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_sql_internal_column_probe);

/* Values of the column that the probe looks at. */
#define PROBE_VALUES	20

typedef struct ColumnProbe
{
	TargetTable *table;
	Form_pg_attribute attribute;
	Oid			function;
	int			nvalues;
	Datum		values[PROBE_VALUES];
	const char *failure;		/* what it said; NULL: nothing */
} ColumnProbe;

/* Copy the first values of the column. */
static void
read_values(ColumnProbe *probe)
{
	Relation	rel = probe->table->rel;
	TableScanDesc scan = table_beginscan_compat(rel, GetActiveSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	probe->nvalues = 0;
	while (probe->nvalues < PROBE_VALUES &&
		   table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, probe->attribute->attnum, &isnull);

		if (!isnull)
			probe->values[probe->nvalues++] = probe->attribute->attlen == -1 ?
				PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
				datumCopy(value, probe->attribute->attbyval, probe->attribute->attlen);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* What the function makes of two values; false if it has failed. */
static bool
call(ColumnProbe *probe, Datum older, Datum newer, Datum *result)
{
	ErrorData  *error;

	if (probe->failure)
		return false;
	error = mc_column_call(probe->table, probe->attribute, probe->function,
						   older, newer, result);
	if (error == NULL)
		return true;
	probe->failure = error->message;
	return false;
}

/* Are two values the same to whoever reads them? */
static bool
is_same(ColumnProbe *probe, Datum a, Datum b)
{
	return strcmp(mc_note_value_to_text(probe->attribute, a),
				  mc_note_value_to_text(probe->attribute, b)) == 0;
}

/* Is f(a, b) the same as f(b, a)?  True if there is no answer. */
static bool
is_symmetric(ColumnProbe *probe, Datum a, Datum b)
{
	Datum		one;
	Datum		other;

	return !call(probe, a, b, &one) || !call(probe, b, a, &other) ||
		is_same(probe, one, other);
}

/* Is f(f(a, b), c) the same as f(a, f(b, c))?  True if there is no answer. */
static bool
is_associative(ColumnProbe *probe, Datum a, Datum b, Datum c)
{
	Datum		inner;
	Datum		one;
	Datum		other;

	return !call(probe, a, b, &inner) || !call(probe, inner, c, &one) ||
		!call(probe, b, c, &inner) || !call(probe, a, inner, &other) ||
		is_same(probe, one, other);
}

/* What is to be said of a function; NULL: nothing. */
static const char *
find_problem(ColumnProbe *probe)
{
	const char *problem = NULL;
	int			n = probe->nvalues;

	for (int i = 0; n > 1 && i < n && problem == NULL && probe->failure == NULL; i++)
	{
		Datum		a = probe->values[i];
		Datum		b = probe->values[(i + 1) % n];
		Datum		c = probe->values[(i + 2) % n];

		CHECK_FOR_INTERRUPTS();
		if (!is_symmetric(probe, a, b))
			problem = "with two values exchanged its answer is different";
		else if (!is_associative(probe, a, b, c))
			problem = "of three values its answer depends on which two it gets first";
	}
	return probe->failure ? probe->failure : problem;
}

/* Try the function with a table, unless that has too few values. */
static const char *
probe_table(ColumnProbe *probe, Oid relid, const char *column)
{
	RemoteTransaction transaction = {0};
	Relation	rel = table_open(relid, RowExclusiveLock);
	RelationMap *map = mc_local_map(rel);
	const char *problem;

	table_close(rel, NoLock);
	if (map == NULL)
		return NULL;
	transaction.context = transaction.change_context = CurrentMemoryContext;
	probe->table = mc_table_open(&transaction, map);
	probe->attribute = TupleDescAttr(RelationGetDescr(probe->table->rel),
									 get_attnum(relid, column) - 1);
	read_values(probe);
	problem = find_problem(probe);
	mc_table_close_all(&transaction);
	return problem;
}

/* internal_column_probe(relation, column_name, function) */
Datum
mc_sql_internal_column_probe(PG_FUNCTION_ARGS)
{
	ColumnProbe probe = {.function = PG_GETARG_OID(2)};
	const char *problem = NULL;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(PG_GETARG_OID(0), AccessShareLock, NULL))
	{
		if (problem == NULL && probe.nvalues <= 1)
			problem = probe_table(&probe, lfirst_oid(cell), NameStr(*PG_GETARG_NAME(1)));
	}
	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
