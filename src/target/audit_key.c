/*-------------------------------------------------------------------------
 *
 * audit_key.c
 *	  The audit of each change, by its key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "state/audit.h"
#include "target/audit_key.h"
#include "target/conflict.h"
#include "utils/snapmgr.h"

#include "compat.h"

void
mc_audit_note_key(RemoteTransaction *transaction, RelationMap *map,
				  const char *operation)
{
	TargetTable *table = map->open;
	AuditKey	key = {0};
	OwnerScope	scope;

	key.peer = transaction->peer;
	key.schema = map->schema;
	key.table = map->name;
	key.operation = operation;
	key.version = transaction->version.commit_ts;
	key.remote_xid = transaction->remote_xid;
	key.remote_lsn = transaction->commit_lsn;
	if (table != NULL && map->nkeys > 0)
	{
		bool		deletes = !table->new_row.present;

		/* The types of users have output functions of their own. */
		PushActiveSnapshot(GetTransactionSnapshot());
		mc_owner_enter(map->owner, &scope);
		key.key_json = mc_conflict_key_json(table, deletes ? &table->old_row : &table->new_row);
		if (!deletes && table->old_row.present &&
			!mc_table_same_key(table, &table->old_row, &table->new_row))
			key.old_key_json = mc_conflict_key_json(table, &table->old_row);
		mc_owner_leave(&scope);
		PopActiveSnapshot();
	}
	mc_audit_key(&transaction->audit, transaction->context, &key);
}
