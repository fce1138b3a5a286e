/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Schema changes: replicate_ddl(), and what it does at the peers.
 *
 * NOTES
 *	  replicate_ddl() writes the command into the WAL as a transactional
 *	  logical message and runs it, in the caller's transaction and with the
 *	  caller's rights.  The message travels in the stream of the rows and is
 *	  carried out in its place among them, by a role of the same name.
 *
 *	  Nobody else can write such a message: see origin/message.c.
 *
 *	  A peer is not trusted: what it sends is checked here against the same
 *	  list of refusals, and runs only as a role that may call replicate_ddl()
 *	  here too.  Whoever may call it as a superuser at one center is a superuser
 *	  at all of them.
 *
 *	  Refused is what is no schema change (rows replicate by themselves), what
 *	  cannot run in a transaction, what concerns the whole server (other
 *	  databases may live there), what carries a password, and multicenter's
 *	  own objects.  A rewrite of a table waits for a fence around it on all
 *	  centers: see rewrite.c.
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
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "control/ddl.h"
#include "control/policy_tables.h"
#include "control/rewrite.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "origin/message.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "state/registry.h"
#include "target/message_kind.h"
#include "target/table.h"
#include "tcop/cmdtag.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/varlena.h"

#include "compat.h"

/* The parts of a message; they point into it. */
typedef struct SchemaChange
{
	const char *role;
	const char *search_path;
	const char *command;
} SchemaChange;

static object_access_hook_type prev_object_access = NULL;

/* Is a replicated command running, here or for a peer? */
static bool running = false;
static bool applied = false;	/* for a peer */

/* What the attempt to run a command has found that it would rewrite. */
static Oid	wants_rewrite = InvalidOid;

PG_FUNCTION_INFO_V1(mc_replicate_ddl);

static const char *const hint_rows =
"Changes of rows replicate by themselves: run the command directly.";
static const char *const hint_transaction =
"It cannot run inside a transaction: run it on each center directly.";
static const char *const hint_cluster_wide =
"It concerns the whole server, or holds a password: run it on each center directly.";
static const char *const hint_native =
"Publications and subscriptions belong to one center: run it there directly.";
static const char *const hint_own =
"Objects of multicenter are changed by its own functions only.";
static const char *const hint_temporary =
"A temporary object exists in one session only.";
static const char *const hint_query =
"Create the table or view without data, then INSERT the rows.";
static const char *const hint_local =
"It changes no definition: run it on each center directly.";

/* Do objects of this kind belong to the whole server? */
static bool
is_cluster_wide_kind(ObjectType kind)
{
	return kind == OBJECT_DATABASE || kind == OBJECT_ROLE ||
		kind == OBJECT_TABLESPACE || kind == OBJECT_PARAMETER_ACL ||
		kind == OBJECT_USER_MAPPING;
}

bool
mc_ddl_is_cluster_wide(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
		case T_AlterDatabaseRefreshCollStmt:
		case T_AlterDatabaseSetStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
		case T_AlterTableSpaceOptionsStmt:
		case T_AlterTableMoveAllStmt:
		case T_AlterSystemStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
		case T_GrantRoleStmt:
		case T_DropOwnedStmt:
		case T_ReassignOwnedStmt:
		case T_CreateUserMappingStmt:
		case T_AlterUserMappingStmt:
		case T_DropUserMappingStmt:
			return true;
		case T_RenameStmt:
			return is_cluster_wide_kind(((RenameStmt *) stmt)->renameType);
		case T_AlterOwnerStmt:
			return is_cluster_wide_kind(((AlterOwnerStmt *) stmt)->objectType);
		case T_GrantStmt:
			return is_cluster_wide_kind(((GrantStmt *) stmt)->objtype);
		case T_CommentStmt:
			return is_cluster_wide_kind(((CommentStmt *) stmt)->objtype);
		case T_SecLabelStmt:
			return is_cluster_wide_kind(((SecLabelStmt *) stmt)->objtype);
		default:
			return false;
	}
}

/* Does a statement belong to native logical replication? */
static bool
is_native_replication(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreatePublicationStmt:
		case T_AlterPublicationStmt:
		case T_CreateSubscriptionStmt:
		case T_AlterSubscriptionStmt:
		case T_DropSubscriptionStmt:
			return true;
		case T_DropStmt:
			return ((DropStmt *) stmt)->removeType == OBJECT_PUBLICATION;
		default:
			return false;
	}
}

/* Is a statement of a kind that cannot run inside a transaction? */
static bool
is_concurrent(Node *stmt)
{
	ListCell   *lc;

	if (IsA(stmt, IndexStmt))
		return ((IndexStmt *) stmt)->concurrent;
	if (IsA(stmt, DropStmt))
		return ((DropStmt *) stmt)->concurrent;
	if (!IsA(stmt, AlterTableStmt))
		return false;
	foreach(lc, ((AlterTableStmt *) stmt)->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_DetachPartition &&
			((PartitionCmd *) cmd->def)->concurrent)
			return true;
	}
	return false;
}

RangeVar *
mc_ddl_target_relation(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateStmt:
			return ((CreateStmt *) stmt)->relation;
		case T_CreateForeignTableStmt:
			return ((CreateForeignTableStmt *) stmt)->base.relation;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) stmt)->into->rel;
		case T_ViewStmt:
			return ((ViewStmt *) stmt)->view;
		case T_CreateSeqStmt:
			return ((CreateSeqStmt *) stmt)->sequence;
		case T_AlterSeqStmt:
			return ((AlterSeqStmt *) stmt)->sequence;
		case T_CompositeTypeStmt:
			return ((CompositeTypeStmt *) stmt)->typevar;
		case T_AlterTableStmt:
			return ((AlterTableStmt *) stmt)->relation;
		case T_IndexStmt:
			return ((IndexStmt *) stmt)->relation;
		case T_RuleStmt:
			return ((RuleStmt *) stmt)->relation;
		case T_CreateTrigStmt:
			return ((CreateTrigStmt *) stmt)->relation;
		case T_CreatePolicyStmt:
			return ((CreatePolicyStmt *) stmt)->table;
		case T_AlterPolicyStmt:
			return ((AlterPolicyStmt *) stmt)->table;
		case T_RenameStmt:
			return ((RenameStmt *) stmt)->relation;
		case T_AlterObjectSchemaStmt:
			return ((AlterObjectSchemaStmt *) stmt)->relation;
		default:
			return NULL;
	}
}

/* Name of the schema that a statement makes an object in; NULL: not named. */
static const char *
named_schema(Node *stmt)
{
	List	   *name = NIL;

	if (mc_ddl_target_relation(stmt) != NULL)
		return mc_ddl_target_relation(stmt)->schemaname;
	if (IsA(stmt, CreateSchemaStmt))
		return ((CreateSchemaStmt *) stmt)->schemaname;
	if (IsA(stmt, CreateFunctionStmt))
		name = ((CreateFunctionStmt *) stmt)->funcname;
	else if (IsA(stmt, DefineStmt))
		name = ((DefineStmt *) stmt)->defnames;
	else if (IsA(stmt, CreateDomainStmt))
		name = ((CreateDomainStmt *) stmt)->domainname;
	else if (IsA(stmt, CreateEnumStmt))
		name = ((CreateEnumStmt *) stmt)->typeName;
	else if (IsA(stmt, CreateRangeStmt))
		name = ((CreateRangeStmt *) stmt)->typeName;
	return list_length(name) > 1 ? strVal(linitial(name)) : NULL;
}

/*
 * Does a statement concern a relation of ours, our schema or our extension?
 * What it changes otherwise is seen by object_access() when it runs.
 */
static bool
names_our_objects(Node *stmt)
{
	const char *schema = named_schema(stmt);
	RangeVar   *relation = mc_ddl_target_relation(stmt);
	Oid			relid = InvalidOid;

	if (schema != NULL && strcmp(schema, MC_SCHEMA) == 0)
		return true;
	if (relation != NULL)
		relid = RangeVarGetRelid(relation, NoLock, true);
	if (OidIsValid(relid) &&
		get_rel_namespace(relid) == get_namespace_oid(MC_SCHEMA, false))
		return true;
	if (IsA(stmt, AlterObjectSchemaStmt))
		return strcmp(((AlterObjectSchemaStmt *) stmt)->newschema, MC_SCHEMA) == 0;
	if (IsA(stmt, CreateExtensionStmt))
		return strcmp(((CreateExtensionStmt *) stmt)->extname, "multicenter") == 0;
	if (IsA(stmt, AlterExtensionStmt))
		return strcmp(((AlterExtensionStmt *) stmt)->extname, "multicenter") == 0;
	if (IsA(stmt, AlterExtensionContentsStmt))
		return strcmp(((AlterExtensionContentsStmt *) stmt)->extname, "multicenter") == 0;
	return false;
}

/* Does a statement make or change a temporary object? */
static bool
is_temporary(Node *stmt)
{
	RangeVar   *relation = mc_ddl_target_relation(stmt);

	if (relation == NULL)
		return false;
	return relation->relpersistence == RELPERSISTENCE_TEMP ||
		(relation->schemaname != NULL &&
		 strncmp(relation->schemaname, "pg_temp", 7) == 0);
}

/* Does a statement fill a relation by a query? */
static bool
is_query_result(Node *stmt)
{
	if (IsA(stmt, SelectStmt))
		return ((SelectStmt *) stmt)->intoClause != NULL;
	if (IsA(stmt, CreateTableAsStmt))
		return !((CreateTableAsStmt *) stmt)->into->skipData;
	return IsA(stmt, RefreshMatViewStmt);
}

/* Why a statement is not replicated, as a hint; NULL if it may be. */
static const char *
why_refused(Node *stmt)
{
	if (IsA(stmt, TransactionStmt))
		return "The command belongs to the transaction that calls replicate_ddl().";
	if (mc_ddl_is_cluster_wide(stmt))
		return hint_cluster_wide;
	if (is_native_replication(stmt))
		return hint_native;
	if (is_concurrent(stmt))
		return hint_transaction;
	if (is_query_result(stmt))
		return hint_query;
	if (is_temporary(stmt))
		return hint_temporary;
	if (names_our_objects(stmt))
		return hint_own;
	switch (nodeTag(stmt))
	{
		case T_InsertStmt:
		case T_UpdateStmt:
		case T_DeleteStmt:
		case T_MergeStmt:
		case T_SelectStmt:
		case T_CopyStmt:
		case T_TruncateStmt:
		case T_DoStmt:
		case T_CallStmt:
			return hint_rows;

			/* Some of these count as DDL by what is inside them. */
		case T_ClusterStmt:
		case T_ExplainStmt:
		case T_ExecuteStmt:
		case T_PrepareStmt:
			return hint_local;
		default:
			return GetCommandLogLevel(stmt) == LOGSTMT_DDL ? NULL : hint_local;
	}
}

/* The expression by which ALTER COLUMN TYPE converts; NULL: cannot be told. */
static Node *
conversion(Relation rel, AlterTableCmd *cmd)
{
	ColumnDef  *column = (ColumnDef *) cmd->def;
	ParseState *pstate = make_parsestate(NULL);
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), cmd->name);
	Oid			type;
	int32		typmod;
	Node	   *expr;

	if (attnum == InvalidAttrNumber)
		return NULL;
	typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
	if (column->raw_default != NULL)
	{
		addNSItemToQuery(pstate,
						 addRangeTableEntryForRelation(pstate, rel, AccessShareLock,
													   NULL, false, true),
						 false, true, true);
		expr = transformExpr(pstate, copyObject(column->raw_default),
							 EXPR_KIND_ALTER_COL_TRANSFORM);
	}
	else
		expr = (Node *) makeVar(1, attnum, get_atttype(RelationGetRelid(rel), attnum),
								-1, InvalidOid, 0);
	return coerce_to_target_type(pstate, expr, exprType(expr), type, typmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
}

/*
 * Refuse to convert the values of a column by an expression that may give
 * another result on each center.
 */
static void
check_conversions(AlterTableStmt *stmt)
{
	Relation	rel = relation_openrv_extended(stmt->relation, AccessShareLock, true);
	ListCell   *lc;

	if (rel == NULL)
		return;					/* the command will say so */
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_AlterColumnType &&
			contain_mutable_functions(conversion(rel, cmd)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot replicate a conversion of column \"%s\" that is not immutable",
							cmd->name),
					 errdetail("It could give other values on other centers."),
					 errhint("Use only immutable functions in USING, or fill a new column by an UPDATE.")));
	}

	/* A session that waits for a fence must not keep the table from apply. */
	relation_close(rel, AccessShareLock);
}

/* Refuse a statement, or one inside it, that must not be replicated. */
static void
check_statement(Node *stmt)
{
	const char *hint = why_refused(stmt);
	ListCell   *lc;

	if (hint != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate command %s", CreateCommandName(stmt)),
				 errhint("%s", hint)));
	if (IsA(stmt, AlterTableStmt))
		check_conversions((AlterTableStmt *) stmt);
	if (!IsA(stmt, CreateSchemaStmt))
		return;
	foreach(lc, ((CreateSchemaStmt *) stmt)->schemaElts)
	{
		check_statement(lfirst(lc));
	}
}

/*
 * Error context of the parser: the position of a syntax error is moved to the
 * command, since it is none in the query that the client has sent.
 */
static void
parse_context(void *arg)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery((const char *) arg);
}

/*
 * Parse a command and refuse what must not be replicated.  Its search_path is
 * in force.
 */
static void
check_command(const char *command)
{
	ErrorContextCallback callback;
	List	   *schemas = fetch_search_path(false);
	List	   *statements;
	ListCell   *lc;

	callback.callback = parse_context;
	callback.arg = unconstify(char *, command);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	statements = pg_parse_query(command);
	error_context_stack = callback.previous;

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("command is empty"),
				 errhint("Give one or more schema changes, such as ALTER TABLE.")));
	foreach(lc, statements)
		check_statement(lfirst_node(RawStmt, lc)->stmt);

	/* New objects would go there. */
	if (schemas != NIL && linitial_oid(schemas) == get_namespace_oid(MC_SCHEMA, false))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate a command whose search_path begins with multicenter"),
				 errhint("%s", hint_own)));
}

/*
 * Send a command to the peers, in its place in the WAL: before it runs, so
 * that rows which it brings about itself, through an event trigger say, follow
 * it at the peers as they do here.
 */
static void
send_change(const SchemaChange *change)
{
	StringInfoData message;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, change->role, strlen(change->role) + 1);
	appendBinaryStringInfo(&message, change->search_path,
						   strlen(change->search_path) + 1);
	appendBinaryStringInfo(&message, change->command, strlen(change->command) + 1);
	(void) mc_message_emit(MC_DDL_PREFIX, true, message.data, (uint32) message.len);
	pfree(message.data);
}

/* Run a command that was checked. */
static void
execute_command(const char *command)
{
	running = true;

	/* The flag must not outlive the command, whatever way that ends. */
	PG_TRY();
	{
		SPI_connect();
		if (SPI_execute(command, false, 0) < 0)
			elog(ERROR, "could not run a replicated command");
		SPI_finish();
	}
	PG_FINALLY();
	{
		running = false;
	}
	PG_END_TRY();
}

/*
 * Send and run a command in a subtransaction.  Returns the table that it
 * wanted to rewrite, and then has not done and sent anything; InvalidOid: it
 * is done.
 */
static Oid
try_command(const SchemaChange *change)
{
	MemoryContext caller_context = CurrentMemoryContext;
	ResourceOwner caller_owner = CurrentResourceOwner;

	wants_rewrite = InvalidOid;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller_context);

	/* Caught because only the attempt tells what a command rewrites. */
	PG_TRY();
	{
		send_change(change);
		execute_command(change->command);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/*
		 * Our caller may catch it too, and would then roll back this
		 * subtransaction instead of its own.
		 */
		MemoryContextSwitchTo(caller_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller_context);
		CurrentResourceOwner = caller_owner;
		if (!OidIsValid(wants_rewrite))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller_context);
	CurrentResourceOwner = caller_owner;
	return wants_rewrite;
}

/*
 * Check and run a command under a search_path, as the current user.  send:
 * also send it to the peers, behind a fence around a table that it rewrites.
 */
static void
run_command(const SchemaChange *change, const char *search_path, bool send)
{
	int			guc_level = NewGUCNestLevel();
	bool		has_written = TransactionIdIsValid(GetTopTransactionIdIfAny());
	Datum		named;
	Oid			relid;

	(void) set_config_option("search_path", search_path,
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	check_command(change->command);
	applied = !send;			/* a process does only one of the two */
	if (!send)
		execute_command(change->command);
	else
	{
		named = mc_policy_named();
		while (OidIsValid(relid = try_command(change)))
		{
			/* The changes that the fence waits for could wait for us. */
			if (has_written)
				ereport(ERROR,
						(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						 errmsg("cannot rewrite a table in a transaction that has written before"),
						 errhint("Run the command in a transaction of its own.")));
			mc_rewrite_fence(relid);
		}
		mc_policy_follow(named);
	}
	AtEOXact_GUC(false, guc_level);
}

void
mc_ddl_want_rewrite(Oid relid)
{
	wants_rewrite = relid;
}

bool
mc_ddl_is_running(void)
{
	return running;
}

bool
mc_ddl_is_applied(void)
{
	return applied;
}

/*
 * The caller's search_path with temporary objects last: no peer has them, so
 * they must not hide a table of the same name here.  Where the path leads to
 * no schema at all it stays as it is, or objects would become temporary.
 */
static const char *
local_search_path(const char *path)
{
	List	   *names;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(path), ',', &names))
		elog(ERROR, "invalid search_path \"%s\"", path);
	foreach(lc, names)
	{
		if (strncmp(lfirst(lc), "pg_temp", 7) != 0)
			continue;
		if (foreach_current_index(lc) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot replicate a command whose search_path begins with pg_temp"),
					 errhint("%s", hint_temporary)));
		return path;
	}
	if (fetch_search_path(false) == NIL)
		return path;
	return psprintf("%s, pg_temp", path);
}

/* replicate_ddl(command): change the schema here and at every peer. */
Datum
mc_replicate_ddl(PG_FUNCTION_ARGS)
{
	SchemaChange change;
	const char *search_path;

	if (!mc_database_is_center(MyDatabaseId))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is in no group"),
				 errhint("Run the command directly; it has nobody to go to.")));
	if (running)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate a command inside another one")));
	change.role = GetUserNameFromId(GetUserId(), false);
	change.search_path = pstrdup(GetConfigOption("search_path", false, false));
	change.command = text_to_cstring(PG_GETARG_TEXT_PP(0));
	search_path = local_search_path(change.search_path);
	run_command(&change, search_path, true);
	PG_RETURN_VOID();
}

/*
 * Read one string of a message.  Returns it and moves *at behind its end; an
 * error if it has none, or is not valid text.
 */
static const char *
read_string(const char **at, const char *end)
{
	const char *start = *at;
	const char *zero = memchr(start, '\0', end - start);

	if (zero == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a replicated command from a peer is malformed")));
	pg_verify_mbstr(GetDatabaseEncoding(), start, zero - start, false);
	*at = zero + 1;
	return start;
}

/* Take a message apart. */
static void
read_change(SchemaChange *change, const char *content, uint32 len)
{
	const char *at = content;
	const char *end = content + len;

	change->role = read_string(&at, end);
	change->search_path = read_string(&at, end);
	change->command = read_string(&at, end);
	if (at != end || strlen(change->role) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a replicated command from a peer is malformed")));
}

/* The local role of that name; an error if it may not do this here. */
static Oid
find_role(const char *name)
{
	Oid			role = get_role_oid(name, true);
	Oid			types[] = {TEXTOID};
	Oid			function;

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", name),
				 errdetail("A replicated command runs as the role that issued it."),
				 errhint("Create the role on this center; the link tries again by itself.")));
	function = LookupFuncName(list_make2(makeString(MC_SCHEMA), makeString("replicate_ddl")),
							  1, types, false);
	if (!DatumGetBool(OidFunctionCall3(F_HAS_FUNCTION_PRIVILEGE_OID_OID_TEXT,
									   ObjectIdGetDatum(role),
									   ObjectIdGetDatum(function),
									   CStringGetTextDatum("EXECUTE"))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not replicate commands to this center", name),
				 errhint("Grant it multicenter_admin on this center; the link tries again by itself.")));
	return role;
}

/* Run a schema change that a peer has sent, in the applier's transaction. */
static void
apply_change(RemoteTransaction *transaction, const char *content, uint32 len)
{
	SchemaChange change;
	Oid			role;
	Oid			save_userid;
	int			save_sec_context;

	read_change(&change, content, len);
	role = find_role(change.role);

	/*
	 * Restricted, so that code which the command calls cannot leave something
	 * behind that would run after it with our rights, a deferred trigger say.
	 */
	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(role, save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	run_command(&change, change.search_path, false);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	transaction->counters.ddl++;
}

/* Is an object of our extension or in our schema? */
static bool
is_our_object(Oid class_id, Oid object_id)
{
	Oid			schema = get_namespace_oid(MC_SCHEMA, true);

	if (class_id == NamespaceRelationId)
		return object_id == schema;
	if (class_id == ExtensionRelationId)
		return object_id == get_extension_oid("multicenter", true);
	if (class_id == RelationRelationId)
		return get_rel_namespace(object_id) == schema;
	return getExtensionOfObject(class_id, object_id) ==
		get_extension_oid("multicenter", true);
}

/*
 * Hook: keep a replicated command away from our own objects.  A new column
 * counts as an object that is created.
 */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (running &&
		(access == OAT_DROP || access == OAT_POST_ALTER ||
		 (access == OAT_POST_CREATE && sub_id != 0)) &&
		is_our_object(class_id, object_id))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change an object of multicenter by a replicated command"),
				 errhint("%s", hint_own)));
}

void
mc_ddl_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	mc_message_register(MC_DDL_PREFIX, apply_change);
}
