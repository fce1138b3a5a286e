/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Hooks that refuse what would damage a center.
 *
 * NOTES
 *	  Refused while the database is a center:
 *
 *	  - UPDATE and DELETE on a replicated table without replica identity: no
 *		peer could find the row (executor_start);
 *	  - every write to a replicated table, and every change of the schema,
 *		while the center joins or leaves its group: a joining one would lose
 *		it, a leaving one would not send it any more;
 *	  - dropping the database or the extension: slots at the peers would
 *		keep their WAL for ever;
 *	  - rewriting a replicated table without a fence around it, and writing
 *		to a fenced table: see rewrite.c.
 *
 *	  And what changes the key of a row by an UPDATE is noted for the search for
 *	  dead rows (state/deletes.c).
 *
 *	  In a database that is no center each hook costs one look at shared
 *	  memory.  In a center a statement that writes also costs a look at a
 *	  table of this process for each table that it writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "control/ddl.h"
#include "control/guard.h"
#include "control/rewrite.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "nodes/plannodes.h"
#include "origin/routing.h"
#include "parser/parsetree.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/recent.h"
#include "state/registry.h"
#include "state/shared.h"
#include "target/truncate.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"

/* What a table needs a guard for, remembered until its definition changes. */
typedef struct GuardedTable
{
	Oid			relid;			/* hash key */
	TableRoute	route;
	bool		partitioned;	/* holds no rows itself */
	Bitmapset  *key;			/* attributes by which rows are found; NULL:
								 * none, or they change by more than UPDATEs */
	bool		catalog;		/* of the group itself */
} GuardedTable;

static ExecutorStart_hook_type prev_executor_start = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* Is this one of our workers? */
static bool exempt = false;

/* Has this transaction passed the gate to write a replicated table? */
static bool has_passed = false;

/* Tables that the TRUNCATE which is being carried out has reached. */
static List *truncated = NIL;

/* Known tables, and a count, never 0, of what has made us forget some. */
static HTAB *guarded_tables = NULL;
static uint64 forgotten = 1;

/* Some of them at hand, by the last bits of the table; good for a count. */
#define NEAR_TABLES 16			/* a power of 2 */

static struct
{
	Oid			relid;
	uint64		forgotten;
	GuardedTable *table;
}			near_tables[NEAR_TABLES];

PG_FUNCTION_INFO_V1(mc_refuse_rewrite);

void
mc_guard_exempt(void)
{
	exempt = true;
}

/* Forget a known table. */
static void
forget_known(GuardedTable *table)
{
	bms_free(table->key);
	hash_search(guarded_tables, &table->relid, HASH_REMOVE, NULL);
}

/* Relcache callback: forget a table, or all for InvalidOid. */
static void
forget_table(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	GuardedTable *table;

	forgotten++;
	if (OidIsValid(relid))
	{
		table = hash_search(guarded_tables, &relid, HASH_FIND, NULL);
		if (table != NULL)
			forget_known(table);
		return;
	}
	hash_seq_init(&status, guarded_tables);
	while ((table = hash_seq_search(&status)) != NULL)
		forget_known(table);
}

/* Make the table of known tables, once in a process. */
static void
init_guarded_tables(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(GuardedTable);
	guarded_tables = hash_create("multicenter guarded tables", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
}

/* A copy that lasts. */
static Bitmapset *
copy_for_ever(const Bitmapset *set)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	Bitmapset  *copy = bms_copy(set);

	MemoryContextSwitchTo(old_context);
	return copy;
}

/*
 * The attributes by which rows of a table are found: those of its identity, and
 * of its primary key (see choose_index() in target/relation.c), and of unique
 * indexes that may become its identity.  NULL if there are none, or if they may
 * change although no UPDATE names them.
 */
static Bitmapset *
find_key(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *key;
	int			attribute = -1;

	if (rel->trigdesc && rel->trigdesc->trig_update_before_row)
		return NULL;
	key = bms_union(RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY),
					RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY));
	if (key == NULL)
		return NULL;
	key = bms_join(key, RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_KEY));
	while ((attribute = bms_next_member(key, attribute)) >= 0)
	{
		AttrNumber	attnum = attribute + FirstLowInvalidHeapAttributeNumber;

		if (TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
			return NULL;
	}
	return key;
}

/*
 * Find out what is to be guarded of a table.  The answer is kept only if nothing
 * was forgotten while it was looked for, since that may have been this table.
 */
static GuardedTable *
examine_table(Oid relid)
{
	static GuardedTable unkept;
	GuardedTable table;
	GuardedTable *known = &unkept;
	Relation	rel;
	uint64		forgotten_before;

	table.relid = relid;
	table.route = ROUTE_NONE;
	table.partitioned = false;
	table.catalog = false;
	table.key = NULL;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
	{
		unkept = table;
		return &unkept;
	}
	forgotten_before = forgotten;
	table.route = mc_route_table(rel);
	table.partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	table.catalog = mc_registry_is_group_catalog(relid);
	table.key = find_key(rel);
	relation_close(rel, AccessShareLock);
	if (forgotten == forgotten_before)
	{
		table.key = copy_for_ever(table.key);
		known = hash_search(guarded_tables, &relid, HASH_ENTER, NULL);
	}
	*known = table;
	return known;
}

/*
 * What is to be guarded of a table?  The answer is good until the caller does
 * something by which he may hear of changed definitions.
 */
static const GuardedTable *
look_up_table(Oid relid)
{
	int			place = relid & (NEAR_TABLES - 1);
	GuardedTable *known;

	if (near_tables[place].relid == relid && near_tables[place].forgotten == forgotten)
		return near_tables[place].table;
	if (guarded_tables == NULL)
		init_guarded_tables();
	known = hash_search(guarded_tables, &relid, HASH_FIND, NULL);
	if (known == NULL)
		return examine_table(relid);
	near_tables[place].relid = relid;
	near_tables[place].forgotten = forgotten;
	near_tables[place].table = known;
	return known;
}

/* Does the gate keep ordinary sessions from writing? */
static bool
gate_is_shut(WriteGate gate)
{
	return gate == GATE_JOINING || gate == GATE_PARTING;
}

/* Refuse an action, described by a verb phrase, because the gate is shut. */
static void
refuse_at_gate(WriteGate gate, const char *action)
{
	if (gate == GATE_JOINING)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot %s because this center is joining its group", action),
				 errhint("Wait until SELECT multicenter.wait_until_ready() returns.")));
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot %s because this center is leaving its group", action),
			 errhint("Use another center, or wait until this one has left.")));
}

/*
 * Refuse a write to a table if the gate is shut for it.  The list of members
 * is written by peers, in ordinary sessions, at any time.
 */
static void
check_gate(WriteGate gate, Oid relid)
{
	const GuardedTable *table;

	if (gate == GATE_NO_GROUP)
		return;
	table = look_up_table(relid);
	if (table->route == ROUTE_NONE || table->catalog)
		return;
	if (gate_is_shut(gate))
		refuse_at_gate(gate, psprintf("write to table \"%s\"", get_rel_name(relid)));
	mc_rewrite_check_write(relid);
	has_passed = true;
}

/*
 * Callback: a transaction ends.  One that has passed the gate before it was
 * shut, but wrote only when nobody waited for it any more, must not commit.
 */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
	{
		has_passed = false;
		truncated = NIL;
	}
	else if (has_passed && TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
			 mc_gate_is_sealed())
		refuse_at_gate(mc_gate(), "commit");
}

/* Refuse to update or delete rows that no peer could find. */
static void
check_identity(Oid relid, const char *verb)
{
	const GuardedTable *table = look_up_table(relid);

	if (table->route != ROUTE_INSERT_ONLY || table->partitioned)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot %s table \"%s\" because it has no replica identity",
					verb, get_rel_name(relid)),
			 errdetail("Other centers could not find its rows."),
			 errhint("Add a primary key with multicenter.replicate_ddl(), or set REPLICA IDENTITY by ALTER TABLE on every center.")));
}

/* May a plan update rows, or delete them? */
static bool
changes_rows(const ModifyTable *plan, CmdType how)
{
	ListCell   *lc;
	ListCell   *lc2;

	if (plan->operation == how)
		return true;
	if (plan->operation == CMD_INSERT)
		return how == CMD_UPDATE && plan->onConflictAction == ONCONFLICT_UPDATE;
	foreach(lc, plan->mergeActionLists)
	{
		foreach(lc2, (List *) lfirst(lc))
		{
			if (((MergeAction *) lfirst(lc2))->commandType == how)
				return true;
		}
	}
	return false;
}

/*
 * May a plan that updates rows change their keys?  Where a row may move to
 * another table nobody looks that closely.
 */
static bool
may_change_keys(const PlannedStmt *stmt, const ModifyTable *plan)
{
	RangeTblEntry *entry;
	const GuardedTable *table;
	TableRoute	route;
	Bitmapset  *updated;

	if (plan->rootRelation != 0 || list_length(plan->resultRelations) != 1)
		return true;
	entry = rt_fetch(linitial_int(plan->resultRelations), stmt->rtable);
	table = look_up_table(entry->relid);
	route = table->route;
	updated = updated_columns_compat(stmt, entry);
	if (table->key != NULL && !table->partitioned && updated != NULL &&
		!bms_overlap(updated, table->key))
		return false;
	return route != ROUTE_NONE || get_rel_persistence(entry->relid) != RELPERSISTENCE_TEMP;
}

/* Check the tables that one plan node writes; others write none. */
static void
check_plan(WriteGate gate, PlannedStmt *stmt, Plan *plan)
{
	bool		updates;
	bool		deletes;
	ListCell   *lc;

	if (plan == NULL)
		return;
	if (!IsA(plan, ModifyTable))
	{
		/* Other extensions do so in their own way. */
		if (IsA(plan, CustomScan))
			mc_deletes_keys_unknown();
		return;
	}
	updates = changes_rows((ModifyTable *) plan, CMD_UPDATE);
	deletes = changes_rows((ModifyTable *) plan, CMD_DELETE);
	foreach(lc, ((ModifyTable *) plan)->resultRelations)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), stmt->rtable)->relid;

		check_gate(gate, relid);
		if (updates || deletes)
			check_identity(relid, updates ? "update" : "delete from");
	}
	if (updates && may_change_keys(stmt, (ModifyTable *) plan))
		mc_deletes_keys_unknown();
}

/*
 * Hook: a statement begins.  A plan that writes is at the top, or at the top
 * of a subplan where it comes from a WITH clause.
 */
static void
executor_start(QueryDesc *query, int eflags)
{
	PlannedStmt *stmt = query->plannedstmt;

	/* Of a SELECT, too: what it opens stays uncounted for others. */
	if (!pgstat_track_counts && mc_gate() != GATE_NO_GROUP)
		mc_deletes_uncounted();
	if ((stmt->commandType != CMD_SELECT || stmt->hasModifyingCTE) && !exempt &&
		(eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
	{
		WriteGate	gate = mc_gate();
		ListCell   *lc;

		if (gate != GATE_NO_GROUP)
		{
			check_plan(gate, stmt, stmt->planTree);
			foreach(lc, stmt->subplans)
				check_plan(gate, stmt, lfirst(lc));
		}
		else
			mc_deletes_keys_unknown();	/* it may be one at the commit */
	}
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* Refuse to drop a database that peers still replicate with. */
static void
check_drop_database(const DropdbStmt *stmt)
{
	Oid			dboid = get_database_oid(stmt->dbname, true);

	if (OidIsValid(dboid) && mc_database_is_center(dboid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot drop database \"%s\" because it is a center of a group",
						stmt->dbname),
				 errhint("In that database, run SELECT multicenter.center_part(...) with its center's name, or SELECT multicenter.group_remove_local(force => true) if the group does not exist any more.")));
}

/* Does a name stand for a temporary relation? */
static bool
is_temporary(const RangeVar *relation)
{
	Oid			relid;

	if (relation->relpersistence == RELPERSISTENCE_TEMP)
		return true;
	relid = RangeVarGetRelid(relation, NoLock, true);
	return OidIsValid(relid) && get_rel_persistence(relid) == RELPERSISTENCE_TEMP;
}

/* Are all objects that a DROP names temporary relations? */
static bool
drops_temporary(const DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE && stmt->removeType != OBJECT_VIEW &&
		stmt->removeType != OBJECT_INDEX && stmt->removeType != OBJECT_SEQUENCE)
		return false;
	foreach(lc, stmt->objects)
	{
		if (!is_temporary(makeRangeVarFromNameList((List *) lfirst(lc))))
			return false;
	}
	return true;
}

/* Is a schema change of no concern to the group? */
static bool
is_private_change(Node *stmt)
{
	RangeVar   *relation = mc_ddl_target_relation(stmt);

	if (relation != NULL)
		return is_temporary(relation);
	if (IsA(stmt, DropStmt))
		return drops_temporary((DropStmt *) stmt);
	return nodeTag(stmt) == T_ClusterStmt || IsA(stmt, RefreshMatViewStmt) ||
		mc_ddl_is_cluster_wide(stmt);
}

/* Refuse COPY FROM, and schema changes, while the gate is shut. */
static void
check_utility(WriteGate gate, Node *stmt)
{
	if (IsA(stmt, CopyStmt))
	{
		CopyStmt   *copy = (CopyStmt *) stmt;

		if (copy->is_from && copy->relation != NULL)
		{
			Oid			relid = RangeVarGetRelid(copy->relation, RowExclusiveLock, true);

			if (OidIsValid(relid))
				check_gate(gate, relid);
		}
	}
	else if (gate_is_shut(gate) && GetCommandLogLevel(stmt) == LOGSTMT_DDL &&
			 !is_private_change(stmt))
		refuse_at_gate(gate, "change the schema");
}

/* Refuse to drop our extension, by whatever command. */
static void
check_drop_extension(Oid extension)
{
	if (!OidIsValid(extension) ||
		extension != get_extension_oid("multicenter", true) ||
		!mc_database_is_center(MyDatabaseId))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("cannot drop extension \"multicenter\" because this database is a center of a group"),
			 errhint("Run SELECT multicenter.center_part(...) with this center's name, or SELECT multicenter.group_remove_local(force => true) if the group does not exist any more.")));
}

/*
 * Refuse DROP EXTENSION before it takes its locks: it would wait for our
 * workers, and they for it, before the extension itself is its turn.
 */
static void
check_drop_statement(const DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_EXTENSION)
		return;
	foreach(lc, stmt->objects)
		check_drop_extension(get_extension_oid(strVal(lfirst(lc)), true));
}

/* Call the next hook, or what a utility command does without any. */
static void
run_next_utility(PlannedStmt *pstmt, const char *query_string,
				 bool read_only_tree, ProcessUtilityContext context,
				 ParamListInfo params, QueryEnvironment *query_env,
				 DestReceiver *dest, QueryCompletion *completion)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, query_string, read_only_tree, context,
							 params, query_env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, completion);
}

/* The same; around it what callbacks of transactions do not do. */
static void
run_utility(PlannedStmt *pstmt, const char *query_string,
			bool read_only_tree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *query_env,
			DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *stmt = pstmt->utilityStmt;

	if (!IsA(stmt, TransactionStmt) ||
		((TransactionStmt *) stmt)->kind != TRANS_STMT_COMMIT_PREPARED)
	{
		run_next_utility(pstmt, query_string, read_only_tree, context, params,
						 query_env, dest, completion);
		return;
	}

	/* Its commit record is written outside of all callbacks. */
	PG_TRY();
	{
		mc_clock_begin_prepared();
		run_next_utility(pstmt, query_string, read_only_tree, context, params,
						 query_env, dest, completion);
		mc_recent_commit_prepared();
	}
	PG_FINALLY();
	{
		mc_clock_end_prepared();
	}
	PG_END_TRY();
}

/* Run a TRUNCATE and remember which tables it has emptied. */
static void
run_truncate(PlannedStmt *pstmt, const char *query_string,
			 bool read_only_tree, ProcessUtilityContext context,
			 ParamListInfo params, QueryEnvironment *query_env,
			 DestReceiver *dest, QueryCompletion *completion)
{
	List	   *outer = truncated;
	List	   *volatile ours = NIL;

	/*
	 * A trigger of one TRUNCATE may run another one, and may catch its error.
	 * Ours must not end up with the tables of that.
	 */
	PG_TRY();
	{
		truncated = NIL;
		run_next_utility(pstmt, query_string, read_only_tree, context, params,
						 query_env, dest, completion);
		ours = truncated;
	}
	PG_FINALLY();
	{
		truncated = outer;
	}
	PG_END_TRY();

	/* Now the tables are locked, with those that CASCADE has found. */
	mc_truncate_remember(ours);
}

/* Hook: a utility command begins. */
static void
process_utility(PlannedStmt *pstmt, const char *query_string,
				bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *query_env,
				DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *stmt = pstmt->utilityStmt;
	WriteGate	gate = GATE_NO_GROUP;

	if (!exempt)
	{
		if (!IsA(stmt, TransactionStmt))
			gate = mc_gate();
		if (IsA(stmt, DropdbStmt))
			check_drop_database((DropdbStmt *) stmt);
		else if (IsA(stmt, DropStmt))
			check_drop_statement((DropStmt *) stmt);
		if (gate != GATE_NO_GROUP)
			check_utility(gate, stmt);
	}
	if (gate != GATE_NO_GROUP && IsA(stmt, TruncateStmt))
		run_truncate(pstmt, query_string, read_only_tree, context, params,
					 query_env, dest, completion);
	else
		run_utility(pstmt, query_string, read_only_tree, context, params,
					query_env, dest, completion);
}

/* A TRUNCATE reaches a table, which it may not have locked yet. */
static void
note_truncated(Oid relid)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopTransactionContext);

	truncated = list_append_unique_oid(truncated, relid);
	MemoryContextSwitchTo(old_context);
}

/* Hook: an object is dropped or, one of several in one command, truncated. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (exempt)
		return;
	if (access == OAT_DROP && class_id == ExtensionRelationId)
		check_drop_extension(object_id);
	else if (access == OAT_TRUNCATE && class_id == RelationRelationId)
	{
		WriteGate	gate = mc_gate();

		check_gate(gate, object_id);
		if (gate != GATE_NO_GROUP)
			note_truncated(object_id);
	}
}

void
mc_guard_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(transaction_ends, NULL);
}

/*
 * Event trigger: a table is about to be rewritten.  A table that was made in
 * this very transaction has no versions to lose.
 */
Datum
mc_refuse_rewrite(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Oid			relid;
	int			reason;
	bool		replicated;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("refuse_rewrite() can only be called as an event trigger")));
	if (!mc_database_is_center(MyDatabaseId))
		PG_RETURN_NULL();

	relid = DatumGetObjectId(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_OID));
	reason = DatumGetInt32(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_REASON));
	rel = relation_open(relid, AccessShareLock);
	replicated = rel->rd_createSubid == InvalidSubTransactionId &&
		mc_route_table(rel) != ROUTE_NONE;
	relation_close(rel, NoLock);
	if (replicated)
		mc_rewrite_check(relid, reason);
	PG_RETURN_NULL();
}
