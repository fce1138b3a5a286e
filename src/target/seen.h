/*-------------------------------------------------------------------------
 *
 * seen.h
 *	  Which versions of a row a local write replaces, told to the peers.
 *
 * NOTES
 *	  Where a policy decides, everything depends on whether a write had seen
 *	  another one.  Dependency vectors know that for what was committed
 *	  recently, and otherwise by the second.  So on such tables a trigger,
 *	  multicenter.seen(), writes before each UPDATE and DELETE of a row, and
 *	  before a row gets a key that was deleted, a message with the versions that
 *	  are here at that moment.  It is decoded with the transaction, so it is as
 *	  durable as the change; where that waits in quarantine it is kept with it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SEEN_H
#define MC_SEEN_H

#include "target/table.h"

/* The versions of a key that the author of a change had. */
typedef struct SeenVersions
{
	uint64		key;			/* the hash of table and key */
	bool		used;			/* its change was applied */
	int			nversions;
	RowVersion *versions;
} SeenVersions;

/*
 * For triggers that tell something of a local write: the number of this center,
 * MC_NO_CENTER if it is none; and the settings under which keys are written as
 * text, whatever the user's session has set, until the end of the GUC nest
 * level.
 */
extern CenterId mc_seen_our_id(void);
extern void mc_seen_pin_settings(void);

/* Take a message of the trigger; raises an error if it is malformed. */
extern void mc_seen_message(RemoteTransaction *transaction,
							const char *content, uint32 len);

/* The content of such a message; and what it says, in the current context. */
extern char *mc_seen_to_text(const SeenVersions *seen);
extern SeenVersions *mc_seen_from_text(char *message);

/*
 * What the author of the change of a key that comes now has said; NULL if
 * nothing: it knew nothing of the key, or the trigger did not fire.
 */
extern const SeenVersions *mc_seen_find(RemoteTransaction *transaction,
										TargetTable *table,
										const RemoteRow *key);

/* Does it name a version? */
extern bool mc_seen_has(const SeenVersions *seen, RowVersion version);

#endif							/* MC_SEEN_H */
