/*-------------------------------------------------------------------------
 *
 * operation.h
 *	  Membership operations, each carried out by a background worker.
 *
 * NOTES
 *	  A slot cannot be created in a transaction that has written, and a
 *	  rollback cannot undo what a peer has done.  So group_create(),
 *	  group_join(), center_part() and group_remove_local() write nothing in
 *	  the caller's transaction: they start a worker that commits each step,
 *	  wait for it, and raise its error as their own.  One at a time in each
 *	  database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_OPERATION_H
#define MC_OPERATION_H

#include "core/types.h"

#define MC_OPERATION_TEXT_BYTES 2048

typedef enum OperationKind
{
	OPERATION_CREATE,
	OPERATION_JOIN,
	OPERATION_PART,
	OPERATION_REMOVE_LOCAL,
} OperationKind;

/* Arguments and outcome, in a dynamic shared memory segment. */
typedef struct Operation
{
	OperationKind kind;
	Oid			dboid;
	Oid			caller;			/* role that called the SQL function */
	NameData	group_name;		/* create */
	NameData	center_name;	/* create, join, part */
	char		dsn[MC_OPERATION_TEXT_BYTES];	/* create, join */
	char		join_dsn[MC_OPERATION_TEXT_BYTES];	/* join */
	char		site[MC_OPERATION_TEXT_BYTES];	/* '' : none */
	char		center_kind[NAMEDATALEN];	/* join */
	bool		copy_data;		/* join */
	bool		force;			/* part, remove_local */
	bool		wait;			/* part: false returns when it has begun */

	/* Written by the worker, read by the caller when finished is set. */
	volatile bool finished;
	bool		failed;
	int			center_id;
	int			sqlstate;
	char		message[MC_OPERATION_TEXT_BYTES];
	char		detail[MC_OPERATION_TEXT_BYTES];
	char		hint[MC_OPERATION_TEXT_BYTES];
} Operation;

/*
 * Run an operation in a worker and wait for its end; raises its error.
 * Returns center_id.  Raises an error at once if the caller's transaction has
 * an xid, or if another operation runs in this database.
 */
extern int	mc_operation_run(Operation *operation);

/* Entry point of the worker. */
extern PGDLLEXPORT void mc_operation_main(Datum arg);

/*
 * A step is one transaction of an operation, with a snapshot and SPI.  Its
 * end commits and goes back to the memory context of its begin.  An error
 * leaves it open; whoever catches that aborts, see mc_operation_try().
 */
extern void mc_step_begin(void);
extern void mc_step_end(void);

/*
 * Run SQL in a step; all parameters are strings, to be cast in the SQL, NULL
 * for a null.  Returns the first column of the first row, NULL if that is null
 * or there is none, in the memory context that the step began in.
 */
extern char *mc_step_sql(const char *sql, int nparams,
						 const char *const *params);

/*
 * Call a function outside a transaction and swallow its error, after aborting
 * what it had open.  Returns NULL, or the error in the current context.
 */
extern ErrorData *mc_operation_try(void (*function) (void *), void *arg);

/* Raise an error if this database belongs to a group.  Within a transaction. */
extern void mc_require_no_group(void);

/*
 * The four operations; each runs in its own worker outside a transaction and
 * commits its steps itself.  They set operation->center_id or raise an error;
 * then the worker calls mc_join_clean_up() or mc_part_clean_up(), which undo
 * by what is recorded, as after a crash.
 */
extern void mc_create_group(Operation *operation);
extern void mc_join_group(Operation *operation);
extern void mc_part_center(Operation *operation);
extern void mc_remove_local(Operation *operation);

/*
 * Undo a join that failed or died (crash, kill) before it was finished: called
 * by its worker, and by the manager when it finds the state joining or copying
 * and no operation runs.  Does nothing in any other state.  Returns false if
 * no member could be reached: then everything stays, to be tried again.
 */
extern bool mc_join_clean_up(void);

/*
 * With the gate shut: wait until sessions that have begun to write here have
 * ended, and let no other commit that was at the gate before.
 */
extern void mc_drain_writers(void);

/* Make a center that could not leave a full member again. */
extern void mc_part_clean_up(void);

/* Drop slots, origins and catalog rows of this database. */
extern void mc_remove_traces(void);

#endif							/* MC_OPERATION_H */
