/*-------------------------------------------------------------------------
 *
 * handler_value.h
 *	  Rows become arguments of a conflict handler, and its answer a row.
 *
 * NOTES
 *	  All of it may run code of users: call it as the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_HANDLER_VALUE_H
#define MC_HANDLER_VALUE_H

#include "target/handler.h"

/* What is known of a function that is called for a table. */
typedef struct HandlerSignature
{
	HandlerForm form;
	Oid			row_type;		/* jsonb, or a row type */
	Oid			info_type;		/* multicenter.conflict_info */
} HandlerSignature;

/* The names of the centers of a call; NULL: not known. */
typedef struct HandlerCenters
{
	const char *local;
	const char *remote;
} HandlerCenters;

/* mc_handler_check(), with all that it has learned. */
extern void mc_handler_signature(Oid relid, Oid function,
								 HandlerSignature *signature);

/* The qualified name of a function, for messages. */
extern char *mc_handler_name(Oid function);

/*
 * Read a row, in whatever form it is, into the layout of the table.  Of jsonb
 * numbers and so on are taken, too; a column that is not there is null.
 */
extern void mc_handler_load_row(TargetTable *table, const HandlerRow *source,
								RemoteRow *row);

/* Arguments; in the current memory context. */
extern Datum mc_handler_row_argument(TargetTable *table,
									 const HandlerSignature *signature,
									 const HandlerRow *row, bool *isnull);
extern Datum mc_handler_info_argument(TargetTable *table,
									  const HandlerSignature *signature,
									  const HandlerCall *call,
									  const HandlerCenters *centers);

/*
 * The answer of a handler: its action, and with HANDLER_ROW its row.  Raises
 * an error where it makes no sense, or the row has another key.
 */
extern HandlerAction mc_handler_answer(TargetTable *table,
									   const HandlerSignature *signature,
									   const HandlerCall *call, Datum answer,
									   RemoteRow *row);

#endif							/* MC_HANDLER_VALUE_H */
