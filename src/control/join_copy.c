/*-------------------------------------------------------------------------
 *
 * join_copy.c
 *	  Copy schema and data of the sponsor to a center that joins.
 *
 * NOTES
 *	  Everything is read under one snapshot, that of the sponsor's slot for us,
 *	  and written in one transaction here:
 *
 *	  pre-data	  tables, types and functions, by our own pg_dump
 *	  rows		  COPY of each table, written as the table's owner in a
 *				  security-restricted operation, because index expressions,
 *				  checks and column defaults are the owner's code
 *	  centers	  the group's list of centers, and its policies for conflicts
 *	  sequences	  set to the sponsor's values
 *	  post-data	  indexes, constraints, triggers
 *
 *	  If all tables are here already, and empty, only rows, centers and
 *	  sequences are copied.
 *
 *	  The transaction runs under the copy origin.  So the rows have the base
 *	  version, and our own slots, made later, would not send them anyway; see
 *	  join_state.c for rows that changes in flight can compete with.
 *
 *	  The sponsor's superuser can make us run anything by the schema that it
 *	  sends: joining a group is to trust its superusers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <signal.h>
#include <unistd.h>

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "control/join.h"
#include "control/join_state.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "state/column_policy.h"
#include "state/join_progress.h"
#include "state/settings.h"
#include "state/shared.h"
#include "state/wait_event.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "compat.h"

/* How long an answer to a small question may take. */
#define ANSWER_MS			60000

/* Bytes of pg_dump's messages that are kept. */
#define DUMP_MESSAGE_BYTES	1000

/* Where the rows of the COPY in progress come from; its callback has no argument. */
static PeerConnection *copy_source = NULL;

/* Does this session write under the copy origin? */
static bool holds_origin = false;

/* Qualified names of tables that this process has filled and committed. */
static List *copied_tables = NIL;

/* ---- which tables ---- */

List *
mc_join_tables(PeerConnection *peer)
{
	PeerResult *result;
	List	   *tables = NIL;

	result = mc_peer_query(peer, "SELECT schema_name, table_name, owner, columns, readable, filtered"
						   " FROM multicenter.peer_tables()", 0, NULL, ANSWER_MS);
	for (int i = 0; i < result->nrows; i++)
	{
		JoinTable  *table = palloc0(sizeof(JoinTable));

		table->schema = result->rows[i][0];
		table->name = result->rows[i][1];
		table->owner = result->rows[i][2];
		table->columns = result->rows[i][3];
		table->readable = strcmp(result->rows[i][4], "t") == 0;
		table->filtered = strcmp(result->rows[i][5], "t") == 0;
		tables = lappend(tables, table);
	}
	return tables;
}

/* The name of a table as SQL wants it. */
static char *
quoted_name(const JoinTable *table)
{
	return quote_qualified_identifier(table->schema, table->name);
}

/* Names as a list in a message. */
static char *
list_names(List *names)
{
	StringInfoData list;
	ListCell   *lc;

	initStringInfo(&list);
	foreach(lc, names)
		appendStringInfo(&list, "%s%s", list.len ? ", " : "", strVal(lfirst(lc)));
	return list.data;
}

/* Our role at the sponsor must be able to read, the owners must exist here. */
static void
check_rights(List *tables)
{
	List	   *unreadable = NIL;
	List	   *filtered = NIL;
	List	   *roles = NIL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		JoinTable  *table = lfirst(lc);

		if (!table->readable)
			unreadable = lappend(unreadable, makeString(quoted_name(table)));
		if (table->filtered)
			filtered = lappend(filtered, makeString(quoted_name(table)));
		if (!OidIsValid(get_role_oid(table->owner, true)))
			roles = list_append_unique(roles, makeString(pstrdup(table->owner)));
	}
	if (unreadable != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the role in join_dsn may not read all tables of the sponsor"),
				 errdetail("It may not read %s.", list_names(unreadable)),
				 errhint("GRANT pg_read_all_data to that role on the sponsor.")));
	if (filtered != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the role in join_dsn does not see all rows of the sponsor"),
				 errdetail("Row-level security hides rows of %s.", list_names(filtered)),
				 errhint("ALTER ROLE ... BYPASSRLS for that role on the sponsor.")));
	if (roles != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("roles that own tables of the sponsor do not exist here"),
				 errdetail("Missing are %s.", list_names(roles)),
				 errhint("Create them first, for example from pg_dumpall --roles-only; roles are not replicated.")));
}

/*
 * Raise an error unless a relation of ours is a table, as it is at the sponsor.
 * A view must not be read with our rights: it may call anybody's functions.
 */
static void
require_table(char relkind, const JoinTable *table)
{
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is a table at the sponsor but not here",
						table->schema, table->name),
				 errhint("Drop or rename it.")));
}

/* Is there a row in a table of ours? */
static bool
has_rows(const JoinTable *table)
{
	char	   *found;

	found = mc_step_sql(psprintf("SELECT EXISTS (SELECT FROM ONLY %s)", quoted_name(table)),
						0, NULL);
	return found != NULL && strcmp(found, "t") == 0;
}

bool
mc_join_check_tables(GroupJoin *join, List *tables)
{
	List	   *absent = NIL;
	List	   *filled = NIL;
	ListCell   *lc;

	check_rights(tables);
	foreach(lc, tables)
	{
		JoinTable  *table = lfirst(lc);
		RangeVar   *name = makeRangeVar(pstrdup(table->schema), pstrdup(table->name), -1);
		Oid			relid = RangeVarGetRelid(name, AccessShareLock, true);

		if (!OidIsValid(relid))
		{
			absent = lappend(absent, makeString(quoted_name(table)));
			continue;
		}
		require_table(get_rel_relkind(relid), table);
		if (has_rows(table))
			filled = lappend(filled, makeString(quoted_name(table)));
	}
	if (filled != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tables of the group are not empty in this database"),
				 errdetail("There are rows in %s.", list_names(filled)),
				 errhint("Empty or drop them, or use copy => 'none' if they hold the same rows as on the sponsor.")));
	if (absent != NIL && list_length(absent) < list_length(tables))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("some tables of the group exist in this database, others do not"),
				 errdetail("Missing are %s.", list_names(absent)),
				 errhint("Drop those that exist, so that the schema is copied, or create all of them.")));
	return list_length(absent) == list_length(tables);
}

/* ---- schema ---- */

/* Append an argument for the shell; nothing in single quotes is special. */
static void
append_argument(StringInfo command, const char *argument)
{
	appendStringInfoString(command, " '");
	for (const char *c = argument; *c; c++)
	{
		if (*c == '\'')
			appendStringInfoString(command, "'\"'\"'");
		else
			appendStringInfoChar(command, *c);
	}
	appendStringInfoChar(command, '\'');
}

/* pg_dump of this server, beside its other programs. */
static char *
find_pg_dump(void)
{
	char	   *path = pstrdup(my_exec_path);
	char	   *slash = strrchr(path, '/');

	if (slash != NULL)
		*slash = '\0';
	path = psprintf("%s/pg_dump", path);
	if (access(path, X_OK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("could not find pg_dump at \"%s\"", path),
				 errhint("Install the client programs of PostgreSQL %d on this server.",
						 PG_MAJORVERSION_NUM)));
	return path;
}

/*
 * Read the first line that a program prints, its process id.  The shell has
 * written it before the program begins, so it does not take long.
 */
static pid_t
read_pid(FILE *pipe)
{
	char		line[16];
	int			len = 0;

	while (len < sizeof(line) - 1 && read(fileno(pipe), line + len, 1) == 1 &&
		   line[len] != '\n')
		len++;
	line[len] = '\0';
	return (pid_t) atoi(line);
}

/*
 * Let this session be interrupted.  The pipe is closed then, which waits for
 * the program behind it, and that may wait for a lock or for a server that
 * does not answer any more: so it is killed first.
 */
static void
check_interrupts(pid_t program)
{
	if ((QueryCancelPending || ProcDiePending) && program > 0)
		kill(program, SIGKILL);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Read what a program prints until it ends; stays interruptible.  Keeps the
 * first bytes of it.
 */
static void
drain_pipe(FILE *pipe, StringInfo message)
{
	pid_t		program = read_pid(pipe);
	char		buf[512];
	ssize_t		len;

	for (;;)
	{
		check_interrupts(program);
		(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE |
								 WL_EXIT_ON_PM_DEATH, fileno(pipe), 0, mc_wait_event(MC_WAIT_DUMP));
		ResetLatch(MyLatch);
		check_interrupts(program);
		len = read(fileno(pipe), buf, sizeof(buf));
		if (len == 0)
			return;
		if (len > 0 && message->len < DUMP_MESSAGE_BYTES)
			appendBinaryStringInfo(message, buf, len);
	}
}

/* Run pg_dump, with its output in a file. */
static void
run_pg_dump(GroupJoin *join, const char *section, const char *file)
{
	StringInfoData command;
	StringInfoData message;
	FILE	   *pipe;
	int			status;

	initStringInfo(&command);
	initStringInfo(&message);
	appendStringInfoString(&command, "echo $$; exec");
	append_argument(&command, find_pg_dump());
	append_argument(&command, psprintf("--section=%s", section));
	append_argument(&command, psprintf("--snapshot=%s", join->snapshot));
	append_argument(&command, psprintf("--encoding=%s", GetDatabaseEncodingName()));
	append_argument(&command, psprintf("--exclude-schema=%s", MC_SCHEMA));
	append_argument(&command, psprintf("--file=%s", file));
	append_argument(&command, psprintf("--dbname=%s", join->operation->join_dsn));
	appendStringInfoString(&command, " --no-password --no-subscriptions --no-publications"
						   " --no-tablespaces --lock-wait-timeout=60s </dev/null 2>&1");

	fflush(NULL);
	pipe = OpenPipeStream(command.data, "r");
	if (pipe == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not run pg_dump: %m")));
	drain_pipe(pipe, &message);
	status = ClosePipeStream(pipe);
	if (status != 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("pg_dump could not read the schema of the sponsor"),
				 errdetail_internal("%s", message.len ? pchomp(message.data) : wait_result_to_str(status))));
}

/* Read a whole file. */
static char *
read_text(const char *file)
{
	StringInfoData text;
	char		buf[8192];
	size_t		len;
	FILE	   *stream = AllocateFile(file, PG_BINARY_R);

	if (stream == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", file)));
	initStringInfo(&text);
	while ((len = fread(buf, 1, sizeof(buf), stream)) > 0)
		appendBinaryStringInfo(&text, buf, len);
	if (ferror(stream))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", file)));
	FreeFile(stream);
	return text.data;
}

/* Blank out every line that is equal to the given one. */
static void
blank_lines(char *text, const char *line)
{
	size_t		len = strlen(line);

	for (char *found = strstr(text, line); found != NULL; found = strstr(found + len, line))
		if ((found == text ||found[-1] == '\n') &&
			(found[len] == '\n' || found[len] == '\0'))
			memset(found, ' ', len);
}

/*
 * Since August 2025 a dump is bracketed by psql commands with a random key,
 * \restrict and \unrestrict.  They are no SQL; nothing else can be equal to
 * them, because nobody knew the key.
 */
static void
blank_psql_commands(char *text)
{
	static const char command[] = "\\restrict ";
	char	   *found = strstr(text, command);
	char	   *key;

	if (found == NULL || (found != text &&found[-1] != '\n'))
		return;
	found += strlen(command);
	key = pnstrdup(found, strcspn(found, "\n"));
	blank_lines(text, psprintf("%s%s", command, key));
	blank_lines(text, psprintf("\\un%s%s", command + 1, key));
}

/* The text of a statement, without the comments that pg_dump puts before it. */
static char *
statement_text(const char *text, const RawStmt *statement)
{
	const char *start = text +statement->stmt_location;
	const char *end = statement->stmt_len == 0 ? start + strlen(start) :
	start + statement->stmt_len;

	for (;;)
	{
		while (start < end && isspace((unsigned char) *start))
			start++;
		if (end - start < 2 || start[0] != '-' || start[1] != '-')
			return pnstrdup(start, end - start);
		while (start < end && *start != '\n')
			start++;
	}
}

/* Run the statements of a dump one by one, so that an error shows only its own. */
static void
run_dump(char *text)
{
	List	   *statements = pg_parse_query(text);
	ListCell   *lc;

	foreach(lc, statements)
	{
		char	   *sql = statement_text(text, lfirst_node(RawStmt, lc));

		CHECK_FOR_INTERRUPTS();
		if (SPI_execute(sql, false, 0) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot run a statement of the sponsor's schema"),
					 errdetail_internal("%s", sql)));
		SPI_freetuptable(SPI_tuptable);
		pfree(sql);
	}
}

/* Error context of make_schema(). */
static void
schema_context(void *arg)
{
	errcontext("copying the schema of center \"%s\"", (const char *) arg);
}

/* Read a section of the sponsor's schema, as SQL. */
static char *
dump_schema(GroupJoin *join, const char *section)
{
	File		file = OpenTemporaryFile(false);
	char	   *text;

	run_pg_dump(join, section, FilePathName(file));
	text = read_text(FilePathName(file));

	FileClose(file);
	blank_psql_commands(text);
	return text;
}

/* Make here what a section of the sponsor's schema has.  In a step. */
static void
make_schema(GroupJoin *join, char *text)
{
	ErrorContextCallback context;
	int			nest_level;

	context.callback = schema_context;
	context.arg = unconstify(char *, join->sponsor->name);
	context.previous = error_context_stack;
	error_context_stack = &context;

	/* A dump begins with settings; they must not outlive it. */
	nest_level = NewGUCNestLevel();
	run_dump(text);
	AtEOXact_GUC(false, nest_level);
	error_context_stack = context.previous;
}

/* ---- rows ---- */

/* Callback of COPY FROM. */
static int
read_rows(void *buf, int minread, int maxread)
{
	int			bytes;

	CHECK_FOR_INTERRUPTS();
	bytes = mc_peer_copy_read(copy_source, buf, minread, maxread);
	mc_join_progress_bytes(bytes);
	return bytes;
}

/* The columns of a table as COPY wants them: a list of strings. */
static List *
column_names(const JoinTable *table)
{
	List	   *names = NIL;
	List	   *strings = NIL;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(table->columns), ',', &names))
		elog(ERROR, "invalid list of columns of table \"%s\"", table->name);
	foreach(lc, names)
		strings = lappend(strings, makeString(lfirst(lc)));
	return strings;
}

/*
 * Write the rows of the COPY in progress into a table, as its owner.  Returns
 * how many.
 */
static uint64
write_rows(Relation rel, const JoinTable *table)
{
	Oid			userid;
	int			sec_context;
	int			nest_level;
	ParseState *pstate;
	CopyFromState copy;
	uint64		rows;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   sec_context | SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();

	pstate = make_parsestate(NULL);
	(void) addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	copy = BeginCopyFrom(pstate, rel, NULL, NULL, false, read_rows,
						 column_names(table), NIL);
	rows = CopyFrom(copy);
	EndCopyFrom(copy);
	free_parsestate(pstate);

	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(userid, sec_context);
	return rows;
}

/* Copy the rows of one table.  In a step. */
static void
copy_table(PeerConnection *peer, CenterId sponsor, const JoinTable *table)
{
	RangeVar   *name = makeRangeVar(pstrdup(table->schema), pstrdup(table->name), -1);
	Relation	rel;
	uint64		rows;

	mc_join_progress_table(table->schema, table->name);
	rel = table_openrv(name, RowExclusiveLock);
	require_table(rel->rd_rel->relkind, table);
	if (table->columns[0] == '\0')
		mc_peer_copy_begin(peer, psprintf("COPY %s TO STDOUT", quoted_name(table)));
	else
		mc_peer_copy_begin(peer, psprintf("COPY %s (%s) TO STDOUT",
										  quoted_name(table), table->columns));
	copy_source = peer;
	PushActiveSnapshot(GetTransactionSnapshot());
	rows = write_rows(rel, table);
	PopActiveSnapshot();
	copy_source = NULL;
	mc_join_progress_copied(rows);
	if (mc_audit != AUDIT_OFF)
		mc_audit_copied(sponsor, table->schema, table->name, rows);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Take over what the sponsor has of the policies for conflicts.  In a step. */
static void
copy_policies(GroupJoin *join)
{
	PeerResult *result;

	result = mc_peer_query(join->entrance,
						   "SELECT is_epoch, policy_row FROM multicenter.peer_policies()",
						   0, NULL, ANSWER_MS);
	for (int i = 0; i < result->nrows; i++)
		mc_step_sql("SELECT multicenter.internal_policy_add($1::pg_catalog.bool,"
					" $2::pg_catalog.jsonb)",
					2, (const char *const *) result->rows[i]);
}

/* Replace our list of centers by the sponsor's, which has us in it.  In a step. */
static void
copy_centers(GroupJoin *join)
{
	PeerResult *result;

	result = mc_peer_query(join->entrance,
						   "SELECT center_row FROM multicenter.peer_centers()",
						   0, NULL, ANSWER_MS);
	mc_step_sql("SELECT multicenter.internal_forget_centers()", 0, NULL);
	for (int i = 0; i < result->nrows; i++)
		mc_step_sql("SELECT multicenter.peer_center_add($1::pg_catalog.jsonb)",
					1, (const char *const *) result->rows[i]);
}

/*
 * Set sequences to what they have at the sponsor now, which is not before the
 * snapshot.  One that does not exist here belongs to a table that was made by
 * other means.
 */
static void
copy_sequences(GroupJoin *join)
{
	PeerResult *result;

	result = mc_peer_query(join->entrance,
						   "SELECT sequence_name, last_value, is_called"
						   " FROM multicenter.peer_sequences()", 0, NULL, ANSWER_MS);
	for (int i = 0; i < result->nrows; i++)
		mc_step_sql("SELECT pg_catalog.setval(pg_catalog.to_regclass($1),"
					" $2::pg_catalog.int8, $3::pg_catalog.bool)"
					" WHERE pg_catalog.to_regclass($1) IS NOT NULL",
					3, (const char *const *) result->rows[i]);
}

/* ---- the whole ---- */

/* Tag everything that this session writes with the copy origin. */
static void
take_origin(void)
{
	char		name[NAMEDATALEN];
	RepOriginId origin;

	origin = replorigin_by_name(mc_copy_origin_name(name, MyDatabaseId), false);
	replorigin_session_setup_compat(origin, 0);
	holds_origin = true;
	mc_session_origin_set(origin, 1, GetCurrentTimestamp());
}

void
mc_join_release_origin(void)
{
	if (!holds_origin)
		return;
	holds_origin = false;
	replorigin_session_reset();
	mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
}

/*
 * Let the sponsor's session see what its slot's snapshot sees, and ask where
 * the streams of the others go on from there.
 */
static void
import_snapshot(GroupJoin *join)
{
	PeerConnection *peer = join->entrance;
	PeerResult *result;

	/* Since PostgreSQL 17. */
	(void) mc_peer_query(peer, "SELECT pg_catalog.set_config(name, '0', false)"
						 " FROM pg_catalog.pg_settings"
						 " WHERE name OPERATOR(pg_catalog.=) 'transaction_timeout'",
						 0, NULL, ANSWER_MS);
	(void) mc_peer_query(peer, "SET row_security = off", 0, NULL, ANSWER_MS);
	(void) mc_peer_query(peer, psprintf("SET client_encoding = %s",
										quote_literal_cstr(GetDatabaseEncodingName())),
						 0, NULL, ANSWER_MS);
	(void) mc_peer_query(peer, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
						 0, NULL, ANSWER_MS);
	(void) mc_peer_query(peer, psprintf("SET TRANSACTION SNAPSHOT %s",
										quote_literal_cstr(join->snapshot)),
						 0, NULL, ANSWER_MS);
	result = mc_peer_query(peer, "SELECT center_id, applied_lsn FROM multicenter.peer_progress()"
						   " WHERE applied_lsn IS NOT NULL", 0, NULL, ANSWER_MS);
	for (int i = 0; i < result->nrows; i++)
	{
		ListCell   *lc;

		foreach(lc, join->members)
		{
			Member	   *member = lfirst(lc);
			XLogRecPtr	lsn;

			if (member->id != atoi(result->rows[i][0]))
				continue;
			lsn = DatumGetLSN(DirectFunctionCall1(pg_lsn_in,
												  CStringGetDatum(result->rows[i][1])));
			/* Nothing that the sponsor lacks is before the slot's start. */
			member->start.value = Max(lsn, member->slot_start.value);
		}
	}
}

/* Remember what was copied, beyond the end of the operation itself. */
static void
remember_copied(List *tables)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ListCell   *lc;

	foreach(lc, tables)
		copied_tables = lappend(copied_tables, pstrdup(quoted_name(lfirst(lc))));
	MemoryContextSwitchTo(old);
}

/*
 * The sponsor's tables as its snapshot has them, without keeping their locks.
 */
static List *
peek_at_tables(GroupJoin *join)
{
	List	   *tables;

	(void) mc_peer_query(join->entrance, "SAVEPOINT tables", 0, NULL, ANSWER_MS);
	tables = mc_join_tables(join->entrance);
	(void) mc_peer_query(join->entrance, "ROLLBACK TO SAVEPOINT tables", 0, NULL, ANSWER_MS);
	return tables;
}

/*
 * Say how much is to be copied.  How many rows is known only as far as the
 * sponsor has analyzed all tables.
 */
static void
announce_total(GroupJoin *join, List *tables)
{
	PeerResult *result;
	int64		rows = -1;

	result = mc_peer_query(join->entrance,
						   "SELECT pg_catalog.sum(c.reltuples::pg_catalog.float8)::pg_catalog.int8"
						   " FROM multicenter.peer_tables() AS t"
						   " JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) t.schema_name"
						   " JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid"
						   "  AND c.relname OPERATOR(pg_catalog.=) t.table_name"
						   " HAVING pg_catalog.min(c.reltuples) OPERATOR(pg_catalog.>=) 0::pg_catalog.float4",
						   0, NULL, ANSWER_MS);
	if (result->nrows == 1 && result->rows[0][0] != NULL)
		rows = strtoll(result->rows[0][0], NULL, 10);
	mc_join_progress_total(list_length(tables), rows);
}

/*
 * Both sections of the schema are read before our session at the sponsor keeps
 * locks on its tables: pg_dump has a session of its own, and a TRUNCATE there
 * that waits for ours would let pg_dump wait behind it, and us for pg_dump.
 */
void
mc_join_copy_data(GroupJoin *join)
{
	List	   *tables;
	char	   *pre_data = NULL;
	char	   *post_data = NULL;
	MemoryContext step_context;
	ListCell   *lc;

	mc_join_progress_phase(JOIN_READING_SCHEMA);
	import_snapshot(join);
	tables = peek_at_tables(join);

	mc_step_begin();
	if (mc_join_check_tables(join, tables))
	{
		pre_data = dump_schema(join, "pre-data");
		post_data = dump_schema(join, "post-data");
	}
	step_context = MemoryContextSwitchTo(join->context);
	tables = mc_join_tables(join->entrance);
	MemoryContextSwitchTo(step_context);
	announce_total(join, tables);
	take_origin();
	mc_join_progress_phase(JOIN_CREATING_TABLES);
	if (pre_data != NULL)
		make_schema(join, pre_data);
	mc_join_progress_phase(JOIN_COPYING_ROWS);
	foreach(lc, tables)
		copy_table(join->entrance, join->sponsor->id, lfirst(lc));
	mc_join_progress_phase(JOIN_COPYING_GROUP);
	copy_centers(join);
	copy_policies(join);
	mc_join_progress_phase(JOIN_CREATING_INDEXES);
	if (post_data != NULL)
		make_schema(join, post_data);
	mc_join_progress_phase(JOIN_COPYING_VERSIONS);
	mc_join_copy_state(join, tables);
	copy_sequences(join);
	mc_step_end();
	remember_copied(tables);
	mc_join_release_origin();
	(void) mc_peer_query(join->entrance, "COMMIT", 0, NULL, ANSWER_MS);
}

void
mc_join_copy_centers(GroupJoin *join)
{
	mc_step_begin();
	take_origin();
	copy_centers(join);
	copy_policies(join);

	/* Rows that are said to be the same everywhere are known to everybody. */
	mc_column_purge(GetCurrentTimestamp());
	mc_step_end();
	mc_join_release_origin();
}

/*
 * Empty the tables; for mc_operation_try().  TRUNCATE wants all of them in one
 * command, because of foreign keys, but they may have several owners.  So it
 * runs with our rights, and must not run a trigger of theirs.
 */
static void
empty_tables(void *arg)
{
	StringInfoData list;
	StringInfoData oids;
	char	   *trigger;
	ListCell   *lc;

	initStringInfo(&list);
	initStringInfo(&oids);
	foreach(lc, copied_tables)
	{
		char	   *name = lfirst(lc);

		appendStringInfo(&list, "%sONLY %s", list.len ? ", " : "", name);
		appendStringInfo(&oids, "%s%s::pg_catalog.regclass", oids.len ? ", " : "",
						 quote_literal_cstr(name));
	}
	mc_step_begin();
	trigger = mc_step_sql(psprintf("SELECT pg_catalog.quote_ident(tgname) FROM pg_catalog.pg_trigger"
								   " WHERE tgrelid IN (%s)"
								   "  AND tgtype OPERATOR(pg_catalog.&) 32::pg_catalog.int2"
								   "   OPERATOR(pg_catalog.<>) 0::pg_catalog.int2"
								   "  AND tgenabled IN ('A', 'R')", oids.data), 0, NULL);
	if (trigger != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger %s would run with the rights of a superuser", trigger)));
	mc_step_sql(psprintf("TRUNCATE %s", list.data), 0, NULL);
	mc_step_end();
}

void
mc_join_discard_data(void)
{
	ErrorData  *error = NULL;

	if (copied_tables != NIL)
		error = mc_operation_try(empty_tables, NULL);
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not empty the tables that a failed join has copied: %s",
						error->message)));
	copied_tables = NIL;
}
