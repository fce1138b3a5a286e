/*-------------------------------------------------------------------------
 *
 * column_log.h
 *	  The changes of a key that somebody may not have seen yet, in tables
 *	  whose columns are merged.
 *
 * NOTES
 *	  Every UPDATE and DELETE of such a table is kept as a note of its key
 *	  (note.h), by a trigger where it is made and by apply elsewhere, until all
 *	  centers have seen it; of one center no more than there are columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COLUMN_LOG_H
#define MC_COLUMN_LOG_H

#include "lib/stringinfo.h"
#include "state/column_policy.h"
#include "target/note.h"

/* A change that is kept. */
typedef struct LoggedChange
{
	ColumnChange change;
	int64		note;			/* 0: not written yet */
	Jsonb	   *columns;		/* see column_log.c */
} LoggedChange;

typedef struct ColumnLog
{
	ColumnState state;
	List	   *changes;		/* LoggedChange *, of this incarnation */
	List	   *obsolete;		/* and of others */
	TimestampTz all;			/* everybody has seen what is up to here */
} ColumnLog;

/*
 * Read what is kept of a key.  row: the version of its row, NULL if it has
 * none.  Of this very transaction's changes the version is that of transaction.
 */
extern void mc_column_log_read(RemoteTransaction *transaction,
							   TargetTable *table, const List *notes,
							   const RowVersion *row, ColumnLog *log);

/* What a change that is made here and now has seen of the key. */
extern ColumnCauses mc_column_log_causes(const ColumnLog *log, CenterId author);

/* A change from an old to a new row: which columns it is about, and how. */
extern Jsonb *mc_column_log_compare(TargetTable *table,
									const ColumnPolicies *policies,
									const RemoteRow *old_row,
									const RemoteRow *new_row);

/*
 * Keep a change, and forget those that it makes useless.  own: its version is
 * that of the commit of this transaction.  Not as the table's owner.
 */
extern void mc_column_log_add(const RowKey *key, ColumnLog *log,
							  LoggedChange *logged, bool own);

/* Forget all that is kept of a key. */
extern void mc_column_log_forget(ColumnLog *log);

/*
 * Is a change about a column that is merged so?  Sets *value to what is kept of
 * it.
 */
extern bool mc_column_log_about(const LoggedChange *logged, const char *column,
								ColumnMerge merge, char **value);

/*
 * Causes as text, and back.  own: the version of this transaction, which may
 * not be known yet.  Reading raises an error if they are malformed.
 */
extern void mc_column_causes_write(StringInfo buffer, const ColumnCauses *causes,
								   RowVersion own);
extern void mc_column_causes_read(const char *text_form, RowVersion own,
								  ColumnCauses *causes);

#endif							/* MC_COLUMN_LOG_H */
