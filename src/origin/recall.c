/*-------------------------------------------------------------------------
 *
 * recall.c
 *	  Read deletes back from our own WAL: the other use of the output plugin.
 *
 * NOTES
 *	  target/rebuild.c needs to know which keys were deleted here, by us or by
 *	  what peers had sent, when VACUUM has removed the rows that said so.  It
 *	  reads a slot of its own with the option "deletes" in the functions of
 *	  PostgreSQL, and gets the records that a peer would get, with the version
 *	  of each.
 *
 *	  Slots that serve peers cannot be read in this way, since reading moves
 *	  them on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "origin/encode.h"
#include "origin/recall.h"
#include "replication/output_plugin.h"
#include "replication/slot.h"
#include "state/registry.h"
#include "utils/rel.h"

#include "compat.h"

typedef struct RecallState
{
	RowEncoder *encoder;
	StringInfoData records;
} RecallState;

/* Transactions are of no interest. */
static void
begin_transaction(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

/* Nor are their ends. */
static void
commit_transaction(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				   XLogRecPtr commit_lsn)
{
}

/* Return a change that has deleted a row, or may have moved it to a new key. */
static void
change_row(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel,
		   ReorderBufferChange *change)
{
	RecallState *state = ctx->output_plugin_private;
	RecallHead	head = {0};

	if ((change->action != REORDER_BUFFER_CHANGE_DELETE &&
		 change->action != REORDER_BUFFER_CHANGE_UPDATE) ||
		mc_change_old_tuple(change) == NULL ||
		mc_encoder_route(state->encoder, rel) == ROUTE_NONE)
		return;
	head.commit_ts = mc_txn_commit_time(txn);
	head.xid = change->txn ? change->txn->xid : txn->xid;
	head.origin = txn->origin_id;

	resetStringInfo(&state->records);
	mc_encode_change(state->encoder, &state->records, rel, change);
	OutputPluginPrepareWrite(ctx, true);
	appendBinaryStringInfo(ctx->out, (const char *) &head, sizeof(head));
	appendBinaryStringInfo(ctx->out, state->records.data, state->records.len);
	OutputPluginWrite(ctx, true);
}

/* Is this the only option? */
static bool
is_requested(List *options)
{
	return list_length(options) == 1 &&
		strcmp(((DefElem *) linitial(options))->defname, MC_RECALL_OPTION) == 0;
}

bool
mc_recall_start(LogicalDecodingContext *ctx)
{
	RecallState *state;
	char		name[NAMEDATALEN];

	if (!is_requested(ctx->output_plugin_options))
		return false;
	if (strcmp(NameStr(ctx->slot->data.name),
			   mc_rebuild_slot_name(name, MyDatabaseId)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("replication slot \"%s\" cannot be read for deletes",
						NameStr(ctx->slot->data.name))));

	state = MemoryContextAllocZero(ctx->context, sizeof(RecallState));
	state->encoder = mc_encoder_create(ctx->context, GetDatabaseEncoding(), true);
	initStringInfo(&state->records);
	ctx->output_plugin_private = state;

	/* These are of this context alone. */
	ctx->callbacks.begin_cb = begin_transaction;
	ctx->callbacks.change_cb = change_row;
	ctx->callbacks.commit_cb = commit_transaction;
	ctx->callbacks.truncate_cb = NULL;
	ctx->callbacks.message_cb = NULL;
	ctx->callbacks.filter_by_origin_cb = NULL;
	ctx->callbacks.shutdown_cb = NULL;
	return true;
}
