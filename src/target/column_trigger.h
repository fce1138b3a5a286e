/*-------------------------------------------------------------------------
 *
 * column_trigger.h
 *	  What a local change had seen of its key, kept here and told to peers.
 *
 * NOTES
 *	  In tables whose columns are merged the trigger multicenter.keep_change()
 *	  keeps each UPDATE and DELETE (column_log.h), and writes a message with
 *	  what it had seen in front of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COLUMN_TRIGGER_H
#define MC_COLUMN_TRIGGER_H

#include "target/note.h"

/* What the author of the change that follows had seen of its key. */
typedef struct ToldCauses
{
	char	   *causes;			/* see mc_column_causes_read(); NULL: nothing */
} ToldCauses;

/*
 * Keep a DELETE of a row that is in no table, only displaced, and tell what it
 * has seen; nothing else may be sent before it.  notes, of its key, and version:
 * what is known of the row.
 */
extern void mc_column_keep_delete(RemoteTransaction *transaction,
								  TargetTable *table, const RowKey *key,
								  const List *notes, RowVersion version);

/* Take a message of the trigger. */
extern void mc_column_message(RemoteTransaction *transaction,
							  const char *content, uint32 len);

/* What was told about the change that is applied now, NULL if nothing. */
extern const char *mc_column_told(const RemoteTransaction *transaction);

/* Forget it: the change was applied. */
extern void mc_column_told_used(RemoteTransaction *transaction);

#endif							/* MC_COLUMN_TRIGGER_H */
