/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Apply the transactions of one peer: begin, rows, commit, progress.
 *
 * NOTES
 *	  Progress is the replication origin's: the commit record of the local
 *	  transaction names the origin and the end of the remote transaction, so
 *	  that data and progress become durable together and are recovered
 *	  together.  For that each remote transaction gets a transaction id here,
 *	  even one that changed nothing.
 *
 *	  The process must end by any error: it never aborts a transaction and
 *	  goes on, so that before_shmem_exit() is the place to guard progress.
 *
 *	  Commits are not flushed one by one (the receiver sets
 *	  synchronous_commit = off).  A queue of pairs (end at the origin, end of
 *	  the commit record here) tells later what has become durable.  A local
 *	  synchronous physical standby is not asked; until it is, the peer may
 *	  forget a transaction that only this server has.
 *
 *	  Records of a transaction that is passed over, because it was applied
 *	  before, are read nevertheless for the descriptions of tables among
 *	  them, which the peer sends once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "state/audit.h"
#include "state/clock.h"
#include "state/deletes.h"
#include "state/monitor.h"
#include "state/recent.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/vector.h"
#include "storage/ipc.h"
#include "target/apply.h"
#include "target/apply_row.h"
#include "target/aside.h"
#include "target/audit_key.h"
#include "target/batch.h"
#include "target/column_trigger.h"
#include "target/causes.h"
#include "target/displace.h"
#include "target/durable.h"
#include "target/lookup.h"
#include "target/message_kind.h"
#include "target/peer_clock.h"
#include "target/place.h"
#include "target/probation.h"
#include "target/rebuild.h"
#include "target/seen.h"
#include "target/truncate.h"
#include "target/turn.h"
#include "target/write.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

struct Applier
{
	SharedLink *link;
	CenterId	our_id;
	char	   *peer_name;
	uint16		origin;			/* replication origin of the peer */
	MemoryContext context;		/* lives as long as the applier */
	MemoryContext transaction_context;
	MemoryContext change_context;
	RelationCache *relations;
	TableTally *tally;			/* rows of the current transaction, by table */
	ApplyPosition position;		/* without the name of the relation */
	const RelationMap *position_map;	/* that relation; NULL: none */

	/* The transaction whose chunks are arriving. */
	bool		in_transaction;
	bool		passing_over;	/* it was applied before */
	FrameHeader header;			/* of its first chunk */
	RemoteTransaction transaction;
	LinkError	aside;			/* why its changes go into quarantine */

	/* What the peer had applied at this place of its stream. */
	DependencyVector vector;
	bool		covered;		/* all of that is applied here too */

	/* Progress. */
	OriginLsn	progress;
	bool		seen_transaction;	/* in this session */
	OriginLsn	last_end_lsn;	/* of the transaction seen last */
	DurableQueue commits;		/* of this session */

	BetweenRecords between;		/* NULL: nothing */
	void	   *between_arg;

	const ApplyObserver *observer;	/* NULL: this is no test */
	Turn	   *turn;			/* NULL: this process is the receiver */
	bool		owns_origin;	/* that of the peer */
};

/* The replication origin of a peer; made if it is missing. */
static uint16
find_origin(CenterId peer)
{
	char		name[NAMEDATALEN];
	uint16		origin;

	mc_origin_name(name, MyDatabaseId, peer);
	StartTransactionCommand();
	origin = replorigin_by_name(name, true);
	if (origin == 0)
		origin = replorigin_create(name);
	CommitTransactionCommand();
	return origin;
}

/*
 * The process ends, perhaps by an error in the middle of a commit: the abort
 * that follows must not count as progress.  See begin_transaction().
 */
static void
clear_origin(int code, Datum arg)
{
	mc_session_origin_set(0, InvalidXLogRecPtr, 0);
}

/* The first entry of a link's ring: everything up to here is visible. */
static void
set_ring_floor(Applier *applier)
{
	bool		empty;

	SpinLockAcquire(&applier->link->mutex);
	empty = applier->link->ring_count == 0;
	SpinLockRelease(&applier->link->mutex);
	if (empty)
		mc_link_ring_add(applier->link, InvalidTransactionId,
						 applier->progress);
}

/* Make an applier that knows no progress yet. */
static Applier *
make_applier(SharedLink *link, CenterId our_id, const char *peer_name)
{
	MemoryContext context = CurrentMemoryContext;
	Applier    *applier = palloc0(sizeof(Applier));

	/* Without it rows have no version, and what is written gets none. */
	if (!track_commit_timestamp)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("track_commit_timestamp is off, so conflicts cannot be decided"),
				 errhint("Set track_commit_timestamp = on in postgresql.conf and restart the server.")));

	/* Otherwise the triggers of users would run for the changes of a peer. */
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		elog(ERROR, "session_replication_role must be replica to apply changes");

	applier->link = link;
	applier->our_id = our_id;
	applier->peer_name = pstrdup(peer_name);
	applier->context = context;
	applier->transaction_context = AllocSetContextCreate(context,
														 "multicenter transaction",
														 ALLOCSET_DEFAULT_SIZES);
	applier->change_context = AllocSetContextCreate(context,
													"multicenter change",
													ALLOCSET_DEFAULT_SIZES);
	applier->relations = mc_relation_cache_create();
	applier->tally = mc_tally_create(link->peer, false);
	applier->observer = *find_rendezvous_variable(MC_APPLY_OBSERVER);
	before_shmem_exit(clear_origin, (Datum) 0);
	mc_deletes_exact();
	mc_clock_applies();
	return applier;
}

Applier *
mc_apply_create(SharedLink *link, CenterId our_id, const char *peer_name)
{
	MemoryContext context = CurrentMemoryContext;
	Applier    *applier = make_applier(link, our_id, peer_name);

	applier->origin = find_origin(link->peer);
	MemoryContextSwitchTo(context);
	mc_apply_own_origin(applier, true);

	/* What an earlier receiver has applied is made durable here and now. */
	applier->progress.value = replorigin_session_get_progress(true);
	applier->commits.durable = applier->progress;
	set_ring_floor(applier);
	mc_vector_set_origin(link, applier->origin);
	mc_probation_begin(link);
	MemoryContextSwitchTo(context);
	return applier;
}

Applier *
mc_apply_create_beside(Turn *turn, CenterId our_id, const char *peer_name)
{
	Applier    *applier = make_applier(turn->link, our_id, peer_name);

	applier->origin = turn->origin;
	applier->turn = turn;
	return applier;
}

void
mc_apply_own_origin(Applier *applier, bool own)
{
	if (applier->owns_origin == own)
		return;
	if (own)
		replorigin_session_setup_compat(applier->origin, 0);
	else
		replorigin_session_reset();
	applier->owns_origin = own;
}

OriginLsn
mc_apply_progress(const Applier *applier)
{
	return applier->progress;
}

bool
mc_apply_in_transaction(const Applier *applier)
{
	return applier->in_transaction;
}

/* Names are put together only here, because every row has a position. */
const ApplyPosition *
mc_apply_position(Applier *applier)
{
	const RelationMap *map = applier->position_map;

	applier->position.relation[0] = '\0';
	if (map)
		snprintf(applier->position.relation,
				 sizeof(applier->position.relation), "%s.%s",
				 map->schema, map->name);
	return &applier->position;
}

/* Say what was being applied when an error occurred. */
static void
apply_error_context(void *arg)
{
	Applier    *applier = arg;
	const ApplyPosition *position = mc_apply_position(applier);

	if (position->commit_lsn.value == InvalidXLogRecPtr)
		return;
	if (position->operation && position->relation[0] != '\0')
		errcontext("applying %s to table \"%s\" from center \"%s\", transaction %u, origin LSN %X/%X",
				   position->operation, position->relation,
				   applier->peer_name, position->remote_xid,
				   LSN_FORMAT_ARGS(position->commit_lsn.value));
	else
		errcontext("applying %s from center \"%s\", transaction %u, origin LSN %X/%X",
				   position->operation ? position->operation : "changes",
				   applier->peer_name, position->remote_xid,
				   LSN_FORMAT_ARGS(position->commit_lsn.value));
}

/* Report frames or records that the protocol does not allow. */
static void
reject(const Applier *applier, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("invalid message from center \"%s\": %s",
					applier->peer_name, problem)));
}

/* Note which operation on which table is at work. */
static void
set_position(Applier *applier, const char *operation, const RelationMap *map)
{
	applier->position.operation = operation;
	applier->position_map = map;
}

/* Check that the first chunk of a transaction may come now. */
static void
check_first_chunk(Applier *applier, const FrameHeader *header)
{
	if (applier->in_transaction)
		reject(applier, "a transaction begins within another one");
	if (header->end_lsn == InvalidXLogRecPtr ||
		header->commit_lsn == InvalidXLogRecPtr ||
		!IS_VALID_TIMESTAMP(header->commit_ts))
		reject(applier, "a transaction has no position or time");

	/* A gap would be a transaction that was lost on the way. */
	if (header->prev_end_lsn != (applier->seen_transaction ?
								 applier->last_end_lsn.value :
								 InvalidXLogRecPtr))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("gap in the stream from center \"%s\"",
						applier->peer_name),
				 errdetail("The transaction before should end at %X/%X, but ended at %X/%X.",
						   LSN_FORMAT_ARGS(header->prev_end_lsn),
						   LSN_FORMAT_ARGS(applier->last_end_lsn.value))));
	if (applier->seen_transaction &&
		header->end_lsn <= applier->last_end_lsn.value)
		reject(applier, "transactions are not in the order of their commits");
}

/* Check that a chunk belongs to the transaction that is open. */
static void
check_next_chunk(Applier *applier, const FrameHeader *header)
{
	if (!applier->in_transaction)
		reject(applier, "a chunk of a transaction has no beginning");
	if (header->xid != applier->header.xid ||
		header->commit_lsn != applier->header.commit_lsn ||
		header->end_lsn != applier->header.end_lsn ||
		header->commit_ts != applier->header.commit_ts)
		reject(applier, "a chunk belongs to another transaction");
}

/* Remember deletes that may matter to a transaction, if some were forgotten. */
static void
remember_deletes(Applier *applier)
{
	RemoteTransaction *transaction = &applier->transaction;
	MemoryContext caller = CurrentMemoryContext;

	transaction->since = transaction->version.commit_ts;
	if (likely(mc_shared_forgotten() == 0))
		return;
	StartTransactionCommand();
	transaction->since = mc_causes_since(transaction);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	mc_rebuild_before(applier->link, applier->our_id, transaction->since);
}

/* Begin a remote transaction, unless it was applied before. */
static void
begin_transaction(Applier *applier, const FrameHeader *header)
{
	RemoteTransaction *transaction = &applier->transaction;
	CenterId	missing;

	applier->in_transaction = true;
	applier->header = *header;
	applier->seen_transaction = true;
	applier->last_end_lsn.value = header->end_lsn;
	applier->passing_over = header->end_lsn <= applier->progress.value;
	applier->position.remote_xid = header->xid;
	applier->position.commit_lsn.value = header->commit_lsn;
	if (applier->passing_over)
		return;

	mc_vector_begun(applier->link, header->commit_ts);
	mc_recent_fetch(header->commit_ts);

	/* Others may still be applying what comes before. */
	if (applier->turn == NULL || applier->turn->alone)
	{
		mc_vector_next(applier->link, applier->last_end_lsn);
		mc_monitor_applying(applier->link, header->commit_lsn);
	}
	if (applier->observer)
		applier->observer->before(applier->peer_name);
	mc_peer_clock_wait(applier->peer_name, header->commit_ts);
	memset(transaction, 0, sizeof(RemoteTransaction));
	transaction->our_id = applier->our_id;
	transaction->peer = applier->link->peer;
	transaction->version.commit_ts = header->commit_ts;
	transaction->version.center = applier->link->peer;
	transaction->commit_lsn.value = header->commit_lsn;
	transaction->end_lsn.value = header->end_lsn;
	transaction->vector = &applier->vector;
	if (!applier->covered)
		applier->covered = mc_vector_covered(&applier->vector, transaction->peer,
											 applier->our_id, &missing);
	transaction->overtook = !applier->covered;
	transaction->remote_xid = header->xid;
	transaction->parks = applier->turn == NULL;
	transaction->context = applier->transaction_context;
	transaction->change_context = applier->change_context;
	remember_deletes(applier);
	if (mc_aside_wanted(applier->link, applier->position.commit_lsn, &applier->aside))
		transaction->aside = &applier->aside;
	mc_lookup_begin(transaction);
	transaction->claims |= applier->turn != NULL;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (applier->turn)
		mc_turn_begin(applier->turn);
	mc_causes_wait(transaction, applier->link);

	/* Whatever the defaults of this database are. */
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;

	/*
	 * The position is set at the commit, not here: since PostgreSQL 16 the
	 * abort of a transaction or of a subtransaction moves the progress there
	 * as well, and the transaction would be passed over next time.
	 */
	mc_session_origin_set(applier->origin, InvalidXLogRecPtr, 0);
}

void
mc_apply_committed(Applier *applier, OriginLsn end_lsn, LocalLsn commit_end)
{
	applier->progress = end_lsn;
	mc_durable_add(&applier->commits, end_lsn, commit_end);
}

/* Count what was applied.  The receiver publishes times and positions. */
static void
update_link(Applier *applier)
{
	SharedLink *link = applier->link;
	LinkCounters *counters = &applier->transaction.counters;

	SpinLockAcquire(&link->mutex);
	link->applied_lsn = applier->progress;
	link->counters.xacts++;
	link->counters.inserts += counters->inserts;
	link->counters.updates += counters->updates;
	link->counters.deletes += counters->deletes;
	link->counters.truncates += counters->truncates;
	link->counters.ddl += counters->ddl;
	link->counters.conflicts += counters->conflicts;
	for (int type = 0; counters->conflicts > 0 && type <= MC_CONFLICT_TYPE_LAST; type++)
		link->counters.conflicts_of[type] += counters->conflicts_of[type];
	link->counters.quarantined += counters->quarantined;
	SpinLockRelease(&link->mutex);
	mc_monitor_applying(link, InvalidXLogRecPtr);
}

/* Commit what was applied, and the progress with it. */
static void
commit_transaction(Applier *applier)
{
	RemoteTransaction *transaction = &applier->transaction;
	OriginLsn	end_lsn = {applier->header.end_lsn};
	LocalLsn	commit_end;

	set_position(applier, "COMMIT", NULL);

	/* What follows, and closing tables, asks what is known by then. */
	if (applier->turn)
		mc_turn_take(applier->turn, &transaction->counters);
	mc_table_park_all(transaction);
	mc_write_check_deferred(transaction);
	mc_displace_settle(transaction, true);
	(void) mc_history_flush(&transaction->history);
	if (mc_audit != AUDIT_OFF)
		mc_audit_received(applier->tally);
	mc_audit_flush(&transaction->audit);

	/* Known before it is visible: a snapshot never sees more than the ring. */
	mc_link_ring_add(applier->link, GetTopTransactionId(), end_lsn);
	if (transaction->overtook)
		mc_vector_remember(&applier->vector, transaction->peer, applier->our_id,
						   applier->header.commit_ts, end_lsn);
	else
		mc_recent_add(transaction->peer, applier->header.commit_ts,
					  transaction->peer, end_lsn.value);

	/* Nobody else remembers a time that our clock has not reached. */
	if (!mc_peer_clock_is_past(applier->header.commit_ts))
		mc_clock_save(applier->header.commit_ts);

	/* The tag too: an error that a trigger caught may have undone it. */
	mc_session_origin_set(applier->origin, end_lsn.value,
						  applier->header.commit_ts);
	CommitTransactionCommand();
	commit_end.value = XactLastCommitEnd;

	/* What this process writes otherwise is its own. */
	mc_session_origin_set(0, InvalidXLogRecPtr, 0);

	mc_apply_committed(applier, end_lsn, commit_end);
	update_link(applier);
	if (applier->turn)
		mc_turn_done(applier->turn, commit_end);
	mc_tally_commit(applier->tally);
	mc_probation_after();
	mc_shared_applied();
	if (transaction->catalog_changed)
		mc_shared_reload(MyDatabaseId);
	MemoryContextReset(applier->transaction_context);
	(void) pgstat_report_stat(false);
	if (applier->observer)
		applier->observer->committed(applier->peer_name);
}

/* End the transaction whose last chunk was read. */
static void
end_transaction(Applier *applier)
{
	if (!applier->passing_over)
		commit_transaction(applier);
	applier->in_transaction = false;
	set_position(applier, NULL, NULL);
	applier->position.remote_xid = 0;
	applier->position.commit_lsn.value = InvalidXLogRecPtr;
}

/* The map of the table that a record is about. */
static RelationMap *
find_map(Applier *applier, uint32 relid)
{
	RelationMap *map = mc_relation_find(applier->relations, relid);

	if (map == NULL)
		reject(applier, "a change of a table that was not described");
	return map;
}

/* Write the rows that were collected. */
static void
flush_batch(Applier *applier)
{
	const TargetTable *table = applier->transaction.batched;

	if (table == NULL)
		return;
	set_position(applier, "INSERT", table->map);
	mc_batch_flush(&applier->transaction);
}

/* Take over the description of a table. */
static void
store_relation(Applier *applier, const WireRecord *record)
{
	RelationMap *map = mc_relation_find(applier->relations,
										record->relation.relid);

	flush_batch(applier);
	if (map && map->open)
		mc_table_close(&applier->transaction, map->open);
	set_position(applier, NULL, NULL);
	mc_relation_store(applier->relations, &record->relation);
}

/* A transaction that is put into quarantine may only change rows. */
static void
check_not_aside(Applier *applier)
{
	const LinkError *aside = applier->transaction.aside;

	if (aside)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot put a transaction with a TRUNCATE or a schema change into quarantine"),
				 errdetail("Before that it failed with: %s", aside->message)));
}

/* A record about this table was applied: count it. */
static void
count_record(Applier *applier, const RelationMap *map, TallyKind kind)
{
	if (map->group_catalog || mc_tally_count(applier->tally, map->relid, kind))
		return;
	mc_tally_name(applier->tally, map->relid, map->schema, map->name);
	(void) mc_tally_count(applier->tally, map->relid, kind);
}

/* Apply a TRUNCATE record. */
static void
apply_truncate(Applier *applier, const WireRecord *record)
{
	List	   *maps = NIL;
	ListCell   *lc;

	check_not_aside(applier);
	flush_batch(applier);

	for (int i = 0; i < record->nrelids; i++)
	{
		RelationMap *map = find_map(applier, mc_wire_relid(record, i));

		set_position(applier, "TRUNCATE", map);
		maps = lappend(maps, map);
	}
	if (maps == NIL)
		return;
	set_position(applier, "TRUNCATE", linitial(maps));
	mc_truncate_apply(&applier->transaction, maps,
					  (record->truncate_flags & TRUNCATE_FLAG_RESTART_SEQS) != 0);
	applier->transaction.counters.truncates++;
	foreach(lc, maps)
	{
		count_record(applier, lfirst(lc), TALLY_TRUNCATE);
	}
}

/* Apply a message: a schema change, or what a peer tells us. */
static void
apply_message(Applier *applier, const WireRecord *record)
{
	MessageApplyFunction function;

	/* These belong to the change that follows. */
	if (mc_message_is(record->prefix, MC_SEEN_PREFIX))
	{
		mc_seen_message(&applier->transaction, record->content.data,
						record->content.len);
		return;
	}
	if (mc_message_is(record->prefix, MC_COLUMNS_PREFIX))
	{
		mc_column_message(&applier->transaction, record->content.data,
						  record->content.len);
		return;
	}
	function = mc_message_function(record->prefix);
	if (function == NULL)
		reject(applier, "a message with an unknown prefix");
	check_not_aside(applier);
	flush_batch(applier);
	set_position(applier, "MESSAGE", NULL);

	/* It cannot change tables that are in use, and may give rows new places. */
	mc_table_close_all(&applier->transaction);
	mc_write_check_deferred(&applier->transaction);
	mc_displace_settle(&applier->transaction, false);

	/* It may be a command that fires triggers of users. */
	mc_deletes_keys_unknown();
	PushActiveSnapshot(GetTransactionSnapshot());
	function(&applier->transaction, record->content.data, record->content.len);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* Apply a row. */
static void
apply_row(Applier *applier, const char *operation, TallyKind kind,
		  const WireRecord *record)
{
	RelationMap *map = find_map(applier, record->relid);
	const TargetTable *batched = applier->transaction.batched;

	if (batched != NULL && (batched->map != map || kind != TALLY_INSERT))
		flush_batch(applier);
	set_position(applier, operation, map);
	mc_apply_row(&applier->transaction, map, record);
	count_record(applier, map, kind);
	if (mc_audit == AUDIT_FULL && !map->group_catalog)
		mc_audit_note_key(&applier->transaction, map, operation);
}

/* Apply one record of the transaction. */
static void
apply_record(Applier *applier, const WireRecord *record)
{
	if (record->type == RECORD_RELATION)
	{
		store_relation(applier, record);
		return;
	}
	if (applier->passing_over)
		return;

	switch (record->type)
	{
		case RECORD_INSERT:
			apply_row(applier, "INSERT", TALLY_INSERT, record);
			break;
		case RECORD_UPDATE:
			apply_row(applier, "UPDATE", TALLY_UPDATE, record);
			break;
		case RECORD_DELETE:
			apply_row(applier, "DELETE", TALLY_DELETE, record);
			break;
		case RECORD_TRUNCATE:
			apply_truncate(applier, record);
			break;
		case RECORD_MESSAGE:
			apply_message(applier, record);
			break;
		default:
			reject(applier, "a record of an unknown type");
	}
	applier->position.operation = NULL;
}

/*
 * Take over what has changed in the peer's vector since the frame before.  The
 * first frame of a session, so the first one that this process gets, has all of
 * it.  It goes on from there: what was applied stays applied.
 */
static void
take_vector(Applier *applier, const FrameHeader *header, WireCursor *body)
{
	const char *problem = "the vector is malformed";
	VectorDelta delta;

	if (header->nvector > 0 && (header->flags & FRAME_FIRST) == 0)
		reject(applier, "a vector within a transaction");
	for (int i = 0; i < header->nvector; i++)
	{
		const VectorDelta *entry;

		if (mc_wire_next_vector(body, &delta, &problem) != WIRE_OK)
			reject(applier, problem);
		entry = mc_vector_entry(&applier->vector, delta.center);
		if (delta.center == applier->link->peer)
			reject(applier, "its vector has an entry for itself");
		if (entry != NULL &&
			(delta.lsn < entry->lsn || delta.promise < entry->promise))
			reject(applier, "its vector goes back");
		mc_vector_raise(&applier->vector, delta.center, delta.lsn, delta.promise);
		applier->covered = false;
	}
}

void
mc_apply_between_records(Applier *applier, BetweenRecords function, void *arg)
{
	applier->between = function;
	applier->between_arg = arg;
}

/* Apply the records of a frame. */
static void
apply_records(Applier *applier, WireCursor *body)
{
	const char *problem = "a record is malformed";
	WireRecord	record;
	WireStatus	status;

	while ((status = mc_wire_next_record(body, &record, &problem)) == WIRE_OK)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(applier->change_context);
		applier->transaction.more = body->len - body->pos;
		apply_record(applier, &record);
		MemoryContextReset(applier->change_context);
		if (applier->between != NULL)
			applier->between(applier->between_arg);
	}
	if (status != WIRE_END)
		reject(applier, problem);
	MemoryContextSwitchTo(applier->change_context);
	flush_batch(applier);
	MemoryContextReset(applier->change_context);
}

bool
mc_apply_frame(Applier *applier, const FrameHeader *header, WireCursor *body)
{
	MemoryContext caller_context = CurrentMemoryContext;
	ErrorContextCallback callback;
	bool		ended = (header->flags & FRAME_LAST) != 0;

	callback.callback = apply_error_context;
	callback.arg = applier;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	if (header->type != FRAME_TRANSACTION)
		reject(applier, "a frame of an unknown type");
	if (header->flags & FRAME_COMPRESSED)
		reject(applier, "a compressed frame, which was not agreed on");
	if (header->flags & FRAME_FIRST)
	{
		check_first_chunk(applier, header);
		take_vector(applier, header, body);
		begin_transaction(applier, header);
	}
	else
	{
		check_next_chunk(applier, header);
		take_vector(applier, header, body);
	}

	apply_records(applier, body);
	if (ended)
		end_transaction(applier);

	error_context_stack = callback.previous;
	MemoryContextSwitchTo(caller_context);
	return ended;
}

void
mc_apply_hand_over(Applier *applier, const FrameHeader *header, WireCursor *body)
{
	check_first_chunk(applier, header);
	take_vector(applier, header, body);
	applier->seen_transaction = true;
	applier->last_end_lsn.value = header->end_lsn;
}

const DependencyVector *
mc_apply_vector(const Applier *applier)
{
	return &applier->vector;
}

RelationCache *
mc_apply_relations(Applier *applier)
{
	return applier->relations;
}

void
mc_apply_learn(Applier *applier, const VectorDelta *vector, int nvector)
{
	for (int i = 0; i < nvector; i++)
		mc_vector_raise(&applier->vector, vector[i].center, vector[i].lsn,
						vector[i].promise);
	applier->covered = false;
}

void
mc_apply_describe(Applier *applier, const WireRecord *record)
{
	store_relation(applier, record);
}

void
mc_apply_assigned(Applier *applier, const FrameHeader *header, WireCursor *body)
{
	/* The receiver has checked that nothing is missing. */
	applier->seen_transaction = header->prev_end_lsn != InvalidXLogRecPtr;
	applier->last_end_lsn.value = header->prev_end_lsn;
	(void) mc_apply_frame(applier, header, body);
}

void
mc_apply_aborted(Applier *applier)
{
	applier->in_transaction = false;
	set_position(applier, NULL, NULL);
	applier->position.remote_xid = 0;
	applier->position.commit_lsn.value = InvalidXLogRecPtr;
	mc_tally_forget(applier->tally);
	memset(&applier->transaction, 0, sizeof(RemoteTransaction));
	mc_place_forget();
	MemoryContextReset(applier->change_context);
	MemoryContextReset(applier->transaction_context);
	mc_turn_aborted(applier->turn);
}

void
mc_apply_heartbeat(Applier *applier, const FrameHeader *header, WireCursor *body,
				   Pulse *pulse)
{
	const char *problem = "no times";

	take_vector(applier, header, body);
	if (mc_wire_read_pulse(body, pulse, &problem) != WIRE_OK)
		reject(applier, problem);
	if (!IS_VALID_TIMESTAMP(pulse->written))
		reject(applier, "a heartbeat has no time");
}

void
mc_apply_promised(Applier *applier, const DependencyVector *vector,
				  TimestampTz promise, OriginLsn at, TimestampTz decided)
{
	mc_vector_promised(applier->link, promise, at);
	mc_vector_heard(applier->link, vector, decided, applier->our_id);
}

OriginLsn
mc_apply_flushed(Applier *applier, bool flush)
{
	return mc_durable_end(&applier->commits, flush);
}
