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

#include "target/table.h"

/* What the author of the change that follows had seen of its key. */
typedef struct ToldCauses
{
	int64		hash;			/* of the key */
	char	   *causes;			/* see mc_column_causes_read() */
} ToldCauses;

/* Take a message of the trigger; raises an error if it is malformed. */
extern void mc_column_message(RemoteTransaction *transaction,
							  const char *content, uint32 len);

/* What was told about the change of a key, NULL if nothing.  As the owner. */
extern const char *mc_column_told(RemoteTransaction *transaction,
								  TargetTable *table, const RemoteRow *key);

/* The same, whatever the change is about; and forget it: it was applied. */
extern const char *mc_column_told_last(const RemoteTransaction *transaction);
extern void mc_column_told_used(RemoteTransaction *transaction);

#endif							/* MC_COLUMN_TRIGGER_H */
