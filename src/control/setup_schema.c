/*-------------------------------------------------------------------------
 *
 * setup_schema.c
 *	  check_setup(): what is in this database that cannot be replicated, or
 *	  not as its users may expect.
 *
 * NOTES
 *	  Which tables are replicated is asked of mc_route_table(), the same that
 *	  the output plugin asks.  A table whose lock somebody else holds is not
 *	  waited for; the report says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "control/setup.h"
#include "origin/routing.h"
#include "state/registry.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"

/* Tables that a user made; ours and those of extensions are left out later. */
#define USER_TABLES \
	" FROM pg_catalog.pg_class c" \
	" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace" \
	" WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', '" MC_SCHEMA "')" \
	"  AND n.nspname !~ '^pg_(toast|temp)'"

/* Not a member of an extension. */
#define NO_MEMBER \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e" \
	"  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass" \
	"   AND e.objid = c.oid AND e.deptype = 'e')"

/* Schema-qualified, quoted name of the relation c in n. */
#define QUALIFIED_NAME "format('%I.%I', n.nspname, c.relname)"

/*
 * A unique index that could be the replica identity: complete, immediate, on
 * columns that are not null.  NULL if there is none.
 */
static const char *
find_identity_index(Oid relid)
{
	SetupRows	rows;

	rows = mc_setup_query("SELECT quote_ident(ic.relname)"
						  " FROM pg_catalog.pg_index i"
						  " JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid"
						  " WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid"
						  "  AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"
						  "  AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a"
						  "   WHERE a.attrelid = i.indrelid AND NOT a.attnotnull"
						  "    AND a.attnum = ANY (i.indkey))"
						  " ORDER BY i.indnkeyatts, ic.relname LIMIT 1",
						  list_make1_oid(relid));
	return rows.nrows > 0 ? rows.values[0][0] : NULL;
}

/* Report a table whose rows cannot be found again at a peer. */
static void
add_no_identity(SetupReport *report, Oid relid, const char *name)
{
	const char *index = find_identity_index(relid);
	char	   *fix;

	if (index != NULL)
		fix = psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s;",
					   name, index);
	else
		fix = psprintf("ALTER TABLE %s ADD PRIMARY KEY (...);"
					   "  -- or: ALTER TABLE %s REPLICA IDENTITY FULL;",
					   name, name);
	mc_setup_add(report, "replica_identity", SETUP_WARNING, name,
				 "the table has no replica identity: only INSERT and TRUNCATE are possible",
				 fix);
}

/*
 * Ask the router about one table, and report what its rows lack.  Returns
 * whether it is replicated.
 */
static bool
check_table(SetupReport *report, Oid relid, const char *name)
{
	Relation	rel;
	TableRoute	route;
	bool		partitioned;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
	{
		mc_setup_add(report, "replica_identity", SETUP_WARNING, name,
					 "the table could not be examined because it is locked",
					 "SELECT * FROM multicenter.check_setup();  -- again, later");
		return false;
	}
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
	{
		UnlockRelationOid(relid, AccessShareLock);
		return false;
	}
	route = mc_route_table(rel);
	partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	relation_close(rel, AccessShareLock);

	/* The rows are in the partitions, which are looked at themselves. */
	if (route == ROUTE_INSERT_ONLY && !partitioned)
		add_no_identity(report, relid, name);
	return route != ROUTE_NONE;
}

/* Check each table; returns the oids of those that are replicated. */
static List *
check_tables(SetupReport *report)
{
	List	   *replicated = NIL;
	SetupRows	rows;

	rows = mc_setup_query("SELECT c.oid, " QUALIFIED_NAME USER_TABLES
						  " AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'"
						  " ORDER BY n.nspname, c.relname", NIL);
	for (int i = 0; i < rows.nrows; i++)
	{
		Oid			relid = (Oid) strtoul(rows.values[i][0], NULL, 10);

		if (check_table(report, relid, rows.values[i][1]))
			replicated = lappend_oid(replicated, relid);
	}
	mc_setup_add_if_none(report, "replica_identity", NULL);
	return replicated;
}

/*
 * Add a finding for each row (object, fix) of a query, or one that all is
 * well.  relations may be NIL only where the query needs none of them.
 */
static void
add_query(SetupReport *report, const char *check_name, SetupStatus status,
		  const char *problem, List *relations, const char *sql)
{
	SetupRows	rows = mc_setup_query(sql, relations);

	for (int i = 0; i < rows.nrows; i++)
		mc_setup_add(report, check_name, status, rows.values[i][0], problem,
					 rows.values[i][1]);
	mc_setup_add_if_none(report, check_name, NULL);
}

/* Checks of the properties of replicated tables; there is at least one. */
static void
check_replicated_tables(SetupReport *report, List *tables)
{
	add_query(report, "deferred_trigger", SETUP_ERROR,
			  "an initially deferred trigger that fires for replicated changes makes every one of them fail",
			  tables,
			  "SELECT format('trigger %I on %I.%I', t.tgname, n.nspname, c.relname),"
			  "  format('ALTER TABLE %I.%I ENABLE TRIGGER %I;', n.nspname, c.relname, t.tgname)"
			  " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
			  " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
			  " WHERE t.tgrelid = ANY ($1) AND t.tginitdeferred AND t.tgenabled IN ('R', 'A')"
			  " ORDER BY n.nspname, c.relname, t.tgname");
	add_query(report, "row_security", SETUP_ERROR,
			  "row-level security is forced on the owner, with whose rights changes are applied",
			  tables,
			  "SELECT " QUALIFIED_NAME ","
			  "  format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY;', n.nspname, c.relname)"
			  " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
			  " JOIN pg_catalog.pg_roles r ON r.oid = c.relowner"
			  " WHERE c.oid = ANY ($1) AND c.relrowsecurity AND c.relforcerowsecurity"
			  "  AND NOT r.rolsuper AND NOT r.rolbypassrls"
			  " ORDER BY n.nspname, c.relname");
	add_query(report, "table_owner", SETUP_WARNING,
			  "replicated tables belong to a superuser, so their triggers and expressions run as superuser for replicated changes",
			  tables,
			  "SELECT format('role %I', r.rolname),"
			  "  format('ALTER TABLE %s OWNER TO ...;  -- and %s more tables, to an ordinary role',"
			  "   min(" QUALIFIED_NAME " COLLATE \"C\"), count(*) - 1)"
			  " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
			  " JOIN pg_catalog.pg_roles r ON r.oid = c.relowner"
			  " WHERE c.oid = ANY ($1) AND r.rolsuper GROUP BY r.rolname ORDER BY r.rolname");

	/*
	 * A sequence that counts by more than one is taken to be arranged for
	 * several centers.
	 */
	add_query(report, "sequence", SETUP_WARNING,
			  "every center counts this sequence for itself, so two centers take the same numbers",
			  tables,
			  "SELECT q.oid::pg_catalog.regclass::text,"
			  "  format('ALTER SEQUENCE %s INCREMENT BY 16 RESTART WITH ...;"
			  "  -- on each center: a multiple of 16 above all values, plus the center''s number',"
			  "   q.oid::pg_catalog.regclass)"
			  " FROM pg_catalog.pg_class q"
			  " JOIN pg_catalog.pg_sequence s ON s.seqrelid = q.oid"
			  " JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
			  "  AND d.objid = q.oid AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')"
			  " JOIN pg_catalog.pg_class c ON c.oid = d.refobjid"
			  " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
			  " WHERE c.oid = ANY ($1) AND abs(s.seqincrement) = 1"
			  " ORDER BY n.nspname, c.relname, d.refobjsubid");
}

void
mc_setup_check_schema(SetupReport *report)
{
	List	   *tables = check_tables(report);

	if (tables != NIL)
		check_replicated_tables(report, tables);
	mc_setup_add_if_none(report, "deferred_trigger", NULL);
	mc_setup_add_if_none(report, "row_security", NULL);
	mc_setup_add_if_none(report, "table_owner", NULL);
	mc_setup_add_if_none(report, "sequence", NULL);

	add_query(report, "not_replicated", SETUP_WARNING,
			  "unlogged and foreign tables are not replicated", NIL,
			  "SELECT " QUALIFIED_NAME ", CASE WHEN c.relkind <> 'f' THEN"
			  "  format('ALTER TABLE %I.%I SET LOGGED;  -- if other centers need it',"
			  "   n.nspname, c.relname) END" USER_TABLES NO_MEMBER
			  " AND (c.relkind = 'f' OR c.relkind = 'r' AND c.relpersistence = 'u')"
			  " ORDER BY n.nspname, c.relname");
	add_query(report, "foreign_slot", SETUP_WARNING,
			  "a slot of other software in this database: a subscription with origin = none may miss changes of this center",
			  NIL,
			  "SELECT s.slot_name, format('SELECT pg_drop_replication_slot(%L);"
			  "  -- after its subscription is gone', s.slot_name)"
			  " FROM pg_catalog.pg_replication_slots s"
			  " WHERE s.database = current_database() AND s.plugin = 'pgoutput'"
			  " ORDER BY s.slot_name");
	mc_setup_add(report, "ddl", SETUP_OK, NULL,
				 "changes of the schema reach other centers only through replicate_ddl()",
				 "SELECT multicenter.replicate_ddl('ALTER TABLE ...');");
}
