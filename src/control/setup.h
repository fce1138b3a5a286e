/*-------------------------------------------------------------------------
 *
 * setup.h
 *	  What has to be configured before a database can be a center.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SETUP_H
#define MC_SETUP_H

#include "nodes/pg_list.h"
#include "utils/palloc.h"

typedef enum SetupStatus
{
	SETUP_OK,
	SETUP_WARNING,
	SETUP_ERROR,
} SetupStatus;

/* One row of check_setup(); NULL where there is nothing to say. */
typedef struct SetupFinding
{
	const char *check_name;
	SetupStatus status;
	char	   *object;
	char	   *problem;
	char	   *fix;
} SetupFinding;

/* Findings in the order of the checks, in a context of their own. */
typedef struct SetupReport
{
	MemoryContext context;
	List	   *findings;		/* of SetupFinding * */
} SetupReport;

/* The rows of a query as strings, NULL for a null. */
typedef struct SetupRows
{
	int			nrows;
	char	 ***values;			/* values[row][column] */
} SetupRows;

/* Add a finding; the strings are copied.  check_name is a constant. */
extern void mc_setup_add(SetupReport *report, const char *check_name,
						 SetupStatus status, const char *object,
						 const char *problem, const char *fix);

/* Add the row that tells that a check has found nothing, if it has not. */
extern void mc_setup_add_if_none(SetupReport *report, const char *check_name,
								 const char *object);

/*
 * Run a query on the catalogs of this database; relations is $1, an array of
 * oids (NIL: no parameter).  The caller has pinned the search_path.  The rows
 * are in the current context.
 */
extern SetupRows mc_setup_query(const char *sql, List *relations);

/* The tables and other objects of this database (setup_schema.c). */
extern void mc_setup_check_schema(SetupReport *report);

/* A peer that this database is about to join (setup_peer.c). */
extern void mc_setup_check_peer(SetupReport *report, const char *dsn);

/*
 * Raise an error for the first thing that keeps this server from being a
 * center, with the line that corrects it as hint.  Leaves out the list of
 * output plugins, which mc_setup_enable_plugin() sees to.  Needs a
 * transaction.
 */
extern void mc_setup_require(void);

/*
 * Let walsenders of this database use our output plugin, in the current
 * transaction and with the rights of the current user, if the server has such
 * a list and we are not on it.  Effective for connections made later.
 */
extern void mc_setup_enable_plugin(void);

#endif							/* MC_SETUP_H */
