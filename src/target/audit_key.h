/*-------------------------------------------------------------------------
 *
 * audit_key.h
 *	  The audit of each change, by its key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_AUDIT_KEY_H
#define MC_AUDIT_KEY_H

#include "target/table.h"

/*
 * Note for the audit the change that was applied just now, while the table is
 * still open.  mc_audit_flush() writes what is in transaction->audit.
 */
extern void mc_audit_note_key(RemoteTransaction *transaction, RelationMap *map,
							  const char *operation);

#endif							/* MC_AUDIT_KEY_H */
