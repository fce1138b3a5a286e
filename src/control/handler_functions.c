/*-------------------------------------------------------------------------
 *
 * handler_functions.c
 *	  Check and try conflict handlers, as SQL calls it.
 *
 * NOTES
 *	  The probe cannot prove anything: it looks for a counterexample.  Of two
 *	  neighbours among the first rows of the table it makes three versions of
 *	  one row: the first; the second under the key of the first; and one with
 *	  every other column of the second.  A handler of which nothing bad is to
 *	  be found gives the same answer for any order of two, and of three.
 *
 *	  Every center calls a handler in the same order, so one that does not
 *	  pass this converges nevertheless; only its answers depend on which write
 *	  came first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/own.h"
#include "state/registry.h"
#include "target/handler_value.h"
#include "target/local_map.h"
#include "target/note.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_sql_internal_handler_check);
PG_FUNCTION_INFO_V1(mc_sql_internal_handler_call);
PG_FUNCTION_INFO_V1(mc_sql_internal_handler_row);
PG_FUNCTION_INFO_V1(mc_sql_internal_handler_probe);

/* Rows of the table that the probe looks at. */
#define PROBE_ROWS		20

/* Versions of one row, and the ways in which their order matters. */
#define PROBE_VERSIONS	3

typedef enum ProbeProblem
{
	PROBE_FAILS,
	PROBE_ASYMMETRIC,
	PROBE_NOT_ASSOCIATIVE,
	PROBE_PROBLEMS,
} ProbeProblem;

/* One version of a row, or what a handler has made of two. */
typedef struct ProbeVersion
{
	HandlerAction action;		/* HANDLER_ROW: there is a row */
	TupleTableSlot *slot;
	RowVersion	version;
} ProbeVersion;

typedef struct Probe
{
	ReturnSetInfo *result;
	RemoteTransaction transaction;
	TargetTable *table;
	Oid			function;
	CenterId	centers[PROBE_VERSIONS];
	MemoryContext context;		/* of one pair of rows */
	int			nrows;
	TupleTableSlot *rows[PROBE_ROWS];
	bool		found[PROBE_PROBLEMS];
} Probe;

/* internal_handler_check(relation, handler) */
Datum
mc_sql_internal_handler_check(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	HandlerForm form;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("handler must not be null")));
	form = mc_handler_check(relid, PG_GETARG_OID(1));
	PG_RETURN_TEXT_P(cstring_to_text(form == HANDLER_JSONB ? "jsonb" : "typed"));
}

/* Open a table as apply does; NULL if it is not replicated. */
static TargetTable *
open_table(RemoteTransaction *transaction, Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	RelationMap *map = mc_local_map(rel);

	table_close(rel, NoLock);
	if (map == NULL)
		return NULL;
	transaction->context = CurrentMemoryContext;
	transaction->change_context = CurrentMemoryContext;
	return mc_table_open(transaction, map);
}

/*
 * A slot with the layout of the table, for a row that lives on its own.  It
 * goes with its memory context: a copied descriptor needs no pin.
 */
static TupleTableSlot *
make_slot(TargetTable *table)
{
	return MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(table->rel)),
									&TTSOpsVirtual);
}

/* ---- one call ---- */

/* An argument as text; NULL for null. */
static char *
text_argument(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/*
 * Read a row as the history has it into a slot.  PostgreSQL has made it JSON,
 * arrays and rows within it too, and knows the way back.
 */
static void
read_history_row(TargetTable *table, Datum row, TupleTableSlot *slot)
{
	Oid			types[] = {JSONBOID};
	HeapTupleData tuple = {0};
	Datum		composite;
	bool		isnull;
	char	   *command;

	command = psprintf("SELECT pg_catalog.jsonb_populate_record(NULL::%s, $1)",
					   format_type_be_qualified(table->rel->rd_rel->reltype));
	SPI_connect();
	if (SPI_execute_with_args(command, 1, types, &row, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a row of the conflict history");
	composite = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	composite = SPI_datumTransfer(composite, false, -1);
	SPI_finish();
	tuple.t_data = DatumGetHeapTupleHeader(composite);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	heap_deform_tuple(&tuple, slot->tts_tupleDescriptor, slot->tts_values,
					  slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
}

/* Read an argument that is a row into a slot; NULL for null. */
static TupleTableSlot *
row_argument(FunctionCallInfo fcinfo, int arg, TargetTable *table)
{
	TupleTableSlot *slot;
	HandlerRow	source = {0};
	RemoteRow	row;
	OwnerScope	scope;

	if (PG_ARGISNULL(arg))
		return NULL;
	slot = make_slot(table);
	source.slot = make_slot(table);
	mc_owner_enter(table->map->owner, &scope);
	read_history_row(table, PG_GETARG_DATUM(arg), source.slot);
	mc_handler_load_row(table, &source, &row);
	mc_owner_leave(&scope);
	memcpy(slot->tts_values, row.values,
		   sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	memcpy(slot->tts_isnull, row.isnull,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	return ExecStoreVirtualTuple(slot);
}

/* Read a version from two arguments. */
static RowVersion
version_argument(FunctionCallInfo fcinfo, int arg)
{
	RowVersion	version = {0};

	if (!PG_ARGISNULL(arg))
		version.center = (CenterId) PG_GETARG_INT32(arg);
	if (!PG_ARGISNULL(arg + 1))
		version.commit_ts = PG_GETARG_TIMESTAMPTZ(arg + 1);
	return version;
}

/* A row as the handler of a conflict would see it. */
static Jsonb *
row_to_jsonb(TargetTable *table, TupleTableSlot *slot)
{
	OwnerScope	scope;
	Jsonb	   *row;

	mc_owner_enter(table->map->owner, &scope);
	row = mc_note_row_to_jsonb(table, slot);
	mc_owner_leave(&scope);
	return row;
}

/*
 * internal_handler_call(relation, handler, conflict_type, operation,
 * local_row, remote_row, local_center, local_version, remote_center,
 * remote_version)
 */
Datum
mc_sql_internal_handler_call(PG_FUNCTION_ARGS)
{
	RemoteTransaction transaction = {0};
	TargetTable *table;
	HandlerCall call = {0};
	TupleTableSlot *result;
	ErrorData  *error;
	HandlerAction action;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		isnull[3] = {true, true, true};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation and handler must not be null")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is not a row");
	table = open_table(&transaction, PG_GETARG_OID(0));
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is not a replicated table", get_rel_name(PG_GETARG_OID(0)))));

	call.function = PG_GETARG_OID(1);
	call.conflict_type = text_argument(fcinfo, 2);
	call.operation = text_argument(fcinfo, 3);
	call.local.slot = row_argument(fcinfo, 4, table);
	call.remote.slot = row_argument(fcinfo, 5, table);
	call.local_version = version_argument(fcinfo, 6);
	call.local_center = call.local_version.center;
	call.remote_version = version_argument(fcinfo, 8);
	call.remote_center = call.remote_version.center;
	call.concurrent = true;
	result = make_slot(table);
	action = mc_handler_call(table, &call, result, &error);

	isnull[0] = false;
	values[0] = CStringGetTextDatum(mc_handler_action_name(action));
	isnull[1] = action != HANDLER_ROW;
	if (action == HANDLER_ROW)
		values[1] = JsonbPGetDatum(row_to_jsonb(table, result));
	isnull[2] = error == NULL;
	if (error)
		values[2] = CStringGetTextDatum(error->message);
	mc_table_close_all(&transaction);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, isnull)));
}

/*
 * internal_handler_row(relation, row): a row of the conflict history as
 * handlers answer with one.
 */
Datum
mc_sql_internal_handler_row(PG_FUNCTION_ARGS)
{
	RemoteTransaction transaction = {0};
	TargetTable *table = open_table(&transaction, PG_GETARG_OID(0));
	Jsonb	   *row;

	if (table == NULL)
		PG_RETURN_NULL();
	row = row_to_jsonb(table, row_argument(fcinfo, 1, table));
	mc_table_close_all(&transaction);
	PG_RETURN_JSONB_P(row);
}

/* ---- the probe ---- */

/* Tell about a problem, the first of its kind. */
static void
add_problem(Probe *probe, ProbeProblem problem, const char *message)
{
	Datum		values[1];
	bool		isnull[1] = {false};

	if (probe->found[problem])
		return;
	probe->found[problem] = true;
	values[0] = CStringGetTextDatum(message);
	tuplestore_putvalues(probe->result->setResult, probe->result->setDesc,
						 values, isnull);
}

/* Copy the first rows of the table. */
static void
read_rows(Probe *probe)
{
	TableScanDesc scan = table_beginscan_compat(probe->table->rel,
												GetActiveSnapshot());
	TupleTableSlot *slot = table_slot_create(probe->table->rel, NULL);

	while (probe->nrows < PROBE_ROWS &&
		   table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		TupleTableSlot *copy = make_slot(probe->table);

		ExecCopySlot(copy, slot);
		probe->rows[probe->nrows++] = copy;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Is a column part of the key? */
static bool
is_key_column(TargetTable *table, int attno)
{
	for (int i = 0; i < table->map->nkeys; i++)
	{
		if (table->map->key_attnums[i] == attno + 1)
			return true;
	}
	return false;
}

/*
 * A version of the first row with columns of the second: every stride-th of
 * those that are not its key.
 */
static void
mix_rows(Probe *probe, ProbeVersion *mixed, TupleTableSlot *first,
		 TupleTableSlot *second, int stride)
{
	int			natts = first->tts_tupleDescriptor->natts;
	int			n = 0;

	mixed->action = HANDLER_ROW;
	mixed->slot = make_slot(probe->table);
	for (int i = 0; i < natts; i++)
	{
		TupleTableSlot *source = is_key_column(probe->table, i) ||
		n++ % stride != 0 ? first : second;

		mixed->slot->tts_values[i] = source->tts_values[i];
		mixed->slot->tts_isnull[i] = source->tts_isnull[i];
	}
	ExecStoreVirtualTuple(mixed->slot);
}

/*
 * Let the handler decide between two versions, of which one may be a decision
 * itself.  false: there is no row to go on with.
 */
static bool
decide(Probe *probe, const ProbeVersion *local, const ProbeVersion *remote,
	   ProbeVersion *decision)
{
	HandlerCall call = {0};
	ErrorData  *error;

	if (local->action != HANDLER_ROW || remote->action != HANDLER_ROW ||
		probe->found[PROBE_FAILS])
		return false;
	call.function = probe->function;
	call.conflict_type = "update_origin_differs";
	call.operation = "update";
	call.local.slot = local->slot;
	call.local_version = local->version;
	call.local_center = local->version.center;
	call.remote.slot = remote->slot;
	call.remote_version = remote->version;
	call.remote_center = remote->version.center;
	call.concurrent = true;

	decision->slot = make_slot(probe->table);
	decision->version = local->version.commit_ts > remote->version.commit_ts ?
		local->version : remote->version;
	decision->action = mc_handler_call(probe->table, &call, decision->slot, &error);
	if (error)
	{
		add_problem(probe, PROBE_FAILS, error->message);
		return false;
	}
	if (decision->action == HANDLER_KEEP_LOCAL)
		decision->slot = local->slot;
	else if (decision->action == HANDLER_APPLY_REMOTE)
		decision->slot = remote->slot;
	else
		return true;
	decision->action = HANDLER_ROW;
	return true;
}

/* Of two decisions: what is different about them; NULL if nothing is. */
static const char *
difference(Probe *probe, const ProbeVersion *a, const ProbeVersion *b)
{
	TupleDesc	desc = RelationGetDescr(probe->table->rel);
	Jsonb	   *a_row;
	Jsonb	   *b_row;

	if (a->action != b->action)
		return "the action";
	if (a->action != HANDLER_ROW)
		return NULL;
	a_row = row_to_jsonb(probe->table, a->slot);
	b_row = row_to_jsonb(probe->table, b->slot);
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(desc, i)->attname);
		bool		present;
		char	   *a_text = mc_note_text(a_row, name, &present);
		char	   *b_text = mc_note_text(b_row, name, &present);

		if ((a_text == NULL) != (b_text == NULL) ||
			(a_text && strcmp(a_text, b_text) != 0))
			return psprintf("column \"%s\"", name);
	}
	return NULL;
}

/* Is f(a, b) the same as f(b, a)? */
static void
probe_symmetry(Probe *probe, const ProbeVersion *a, const ProbeVersion *b)
{
	ProbeVersion one;
	ProbeVersion other;
	const char *what;

	if (!decide(probe, a, b, &one) || !decide(probe, b, a, &other))
		return;
	what = difference(probe, &one, &other);
	if (what)
		add_problem(probe, PROBE_ASYMMETRIC,
					psprintf("with the two rows exchanged %s of its answer is different", what));
}

/* Is f(f(a, b), c) the same as f(a, f(b, c))? */
static void
probe_associativity(Probe *probe, const ProbeVersion *versions)
{
	ProbeVersion inner;
	ProbeVersion one;
	ProbeVersion other;
	const char *what;

	if (!decide(probe, &versions[0], &versions[1], &inner) ||
		!decide(probe, &inner, &versions[2], &one) ||
		!decide(probe, &versions[1], &versions[2], &inner) ||
		!decide(probe, &versions[0], &inner, &other))
		return;
	what = difference(probe, &one, &other);
	if (what)
		add_problem(probe, PROBE_NOT_ASSOCIATIVE,
					psprintf("of three rows %s of its answer depends on which two it gets first", what));
}

/* Try the handler with versions made of two rows. */
static void
probe_pair(Probe *probe, TupleTableSlot *first, TupleTableSlot *second)
{
	MemoryContext old_context = MemoryContextSwitchTo(probe->context);
	ProbeVersion versions[PROBE_VERSIONS];

	mix_rows(probe, &versions[0], first, first, 1);
	mix_rows(probe, &versions[1], first, second, 1);
	mix_rows(probe, &versions[2], first, second, 2);
	for (int i = 0; i < PROBE_VERSIONS; i++)
	{
		versions[i].version.commit_ts = GetCurrentTransactionStartTimestamp() + i;
		versions[i].version.center = probe->centers[i];
	}
	for (int i = 0; i < PROBE_VERSIONS; i++)
		probe_symmetry(probe, &versions[i], &versions[(i + 1) % PROBE_VERSIONS]);
	probe_associativity(probe, versions);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(probe->context);
}

/* Who may have written the versions: centers of the group. */
static void
choose_centers(Probe *probe)
{
	OwnScope	scope;
	List	   *centers;

	mc_own_begin(&scope);
	centers = mc_registry_centers();
	for (int i = 0; i < PROBE_VERSIONS && centers != NIL; i++)
	{
		Center	   *center = list_nth(centers, i % list_length(centers));

		probe->centers[i] = center->id;
	}
	mc_own_end(&scope);
}

/* Try the handler with the rows of one table, unless it has too few. */
static void
probe_table(Probe *probe, Oid relid)
{
	probe->table = open_table(&probe->transaction, relid);
	if (probe->table == NULL)
		return;
	probe->nrows = 0;
	read_rows(probe);
	for (int i = 0; i < probe->nrows && probe->nrows > 1 && !probe->found[PROBE_FAILS]; i++)
	{
		CHECK_FOR_INTERRUPTS();
		probe_pair(probe, probe->rows[i], probe->rows[(i + 1) % probe->nrows]);
	}
	mc_table_close_all(&probe->transaction);
}

/* internal_handler_probe(relation, handler) */
Datum
mc_sql_internal_handler_probe(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Probe	   *probe = palloc0(sizeof(Probe));
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	probe->result = (ReturnSetInfo *) fcinfo->resultinfo;
	probe->function = PG_GETARG_OID(1);
	probe->context = AllocSetContextCreate(CurrentMemoryContext,
										   "multicenter handler probe",
										   ALLOCSET_DEFAULT_SIZES);
	(void) mc_handler_check(relid, probe->function);
	choose_centers(probe);
	foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		if (probe->nrows <= 1)
			probe_table(probe, lfirst_oid(cell));
	}
	if (probe->nrows <= 1)
		ereport(NOTICE,
				(errmsg("conflict handler %s was not tried, because the table has fewer than two rows",
						mc_handler_name(probe->function))));
	return (Datum) 0;
}
