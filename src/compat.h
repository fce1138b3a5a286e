/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between PostgreSQL 15 and 19: the only file that tests
 *	  PG_VERSION_NUM.
 *
 * NOTES
 *	  Shims are static inline functions with the newest signature and the
 *	  suffix _compat, or macros where a type differs.  Include it last, from
 *	  .c files only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COMPAT_H
#define MC_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "multicenter needs PostgreSQL 15 to 19"
#endif

#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xlogreader.h"
#include "catalog/pg_proc.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "replication/message.h"
#include "replication/origin.h"
#include "replication/reorderbuffer.h"
#include "replication/slot.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

/* Written in front of a function since PostgreSQL 18. */
#ifndef pg_noreturn
#define pg_noreturn __attribute__((noreturn))
#endif

/* Renamed in PostgreSQL 19. */
#if PG_VERSION_NUM >= 190000
typedef ReplOriginId RepOriginId;
#define InvalidRepOriginId	InvalidReplOriginId
#endif

/* Signal dispositions are of a type of their own since PostgreSQL 19. */
#if PG_VERSION_NUM >= 190000
#define MC_SIG_IGN	PG_SIG_IGN
#else
#define MC_SIG_IGN	SIG_IGN
#endif

/* The catalog caches are numbered by an enum since PostgreSQL 19. */
#if PG_VERSION_NUM >= 190000
typedef SysCacheIdentifier SysCacheIdentifier_compat;
#else
typedef int SysCacheIdentifier_compat;
#endif

/* The parts of a qualified name; an error where it is none. */
static inline List *
stringToQualifiedNameList_compat(const char *string)
{
#if PG_VERSION_NUM >= 160000
	return stringToQualifiedNameList(string, NULL);
#else
	return stringToQualifiedNameList(string);
#endif
}

/* The table that statistics of a transaction are about. */
#if PG_VERSION_NUM >= 160000
#define mc_stat_table_oid(status)	((status)->id)
#else
#define mc_stat_table_oid(status)	((status)->t_id)
#endif

/* Tuples of a decoded change: a wrapper struct before PostgreSQL 17. */
static inline HeapTuple
mc_change_old_tuple(ReorderBufferChange *change)
{
#if PG_VERSION_NUM >= 170000
	return change->data.tp.oldtuple;
#else
	return change->data.tp.oldtuple ? &change->data.tp.oldtuple->tuple : NULL;
#endif
}

static inline HeapTuple
mc_change_new_tuple(ReorderBufferChange *change)
{
#if PG_VERSION_NUM >= 170000
	return change->data.tp.newtuple;
#else
	return change->data.tp.newtuple ? &change->data.tp.newtuple->tuple : NULL;
#endif
}

static inline TimestampTz
mc_txn_commit_time(ReorderBufferTXN *txn)
{
#if PG_VERSION_NUM >= 190000
	return txn->commit_time;
#else
	return txn->xact_time.commit_time;
#endif
}

/* The oldest transaction whose outcome is known; hold XactTruncationLock. */
static inline TransactionId
mc_oldest_clog_xid(void)
{
#if PG_VERSION_NUM >= 170000
	return TransamVariables->oldestClogXid;
#else
	return ShmemVariableCache->oldestClogXid;
#endif
}

/* What is built of a jsonb value is part of the state since PostgreSQL 19. */
#if PG_VERSION_NUM < 190000
typedef struct JsonbInState
{
	JsonbValue *result;
	JsonbParseState *parseState;
} JsonbInState;
#endif

/* A descriptor that was built has to be completed since PostgreSQL 19. */
static inline TupleDesc
TupleDescFinalize_compat(TupleDesc desc)
{
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(desc);
#endif
	return desc;
}

static inline void
pushJsonbValue_compat(JsonbInState *state, JsonbIteratorToken seq,
					  JsonbValue *value)
{
#if PG_VERSION_NUM >= 190000
	pushJsonbValue(state, seq, value);
#else
	state->result = pushJsonbValue(&state->parseState, seq, value);
#endif
}

static inline XLogRecPtr
LogLogicalMessage_compat(const char *prefix, const char *message, size_t size,
						 bool transactional, bool flush)
{
#if PG_VERSION_NUM >= 170000
	return LogLogicalMessage(prefix, message, size, transactional, flush);
#else
	return LogLogicalMessage(prefix, message, size, transactional);
#endif
}

/* Slots have got more properties from release to release. */
static inline void
ReplicationSlotCreate_compat(const char *name, bool db_specific,
							 ReplicationSlotPersistency persistency)
{
#if PG_VERSION_NUM >= 190000
	ReplicationSlotCreate(name, db_specific, persistency, false, false, false,
						  false);
#elif PG_VERSION_NUM >= 170000
	ReplicationSlotCreate(name, db_specific, persistency, false, false, false);
#else
	ReplicationSlotCreate(name, db_specific, persistency, false);
#endif
}

static inline void
ReplicationSlotAcquire_compat(const char *name, bool nowait)
{
#if PG_VERSION_NUM >= 180000
	ReplicationSlotAcquire(name, nowait, true);
#else
	ReplicationSlotAcquire(name, nowait);
#endif
}

/*
 * Does ReplicationSlotsComputeRequiredXmin() of the server that runs, which may
 * be older than the one for which this was compiled, hold its lock until what
 * it has read is set?  Since 15.16, 16.12, 17.8 and 18.2.
 */
static inline bool
slots_locked_once_compat(void)
{
	int			version = atoi(GetConfigOption("server_version_num", false, false));

#if PG_VERSION_NUM >= 190000
	return version >= 190000;
#elif PG_VERSION_NUM >= 180000
	return version >= 180002;
#elif PG_VERSION_NUM >= 170000
	return version >= 170008;
#elif PG_VERSION_NUM >= 160000
	return version >= 160012;
#else
	return version >= 150016;
#endif
}

/* Remove dead rows of a page, if it is worth it and nobody else has it. */
static inline void
heap_page_prune_opt_compat(Relation rel, Buffer buffer)
{
#if PG_VERSION_NUM >= 190000
	Buffer		map_buffer = InvalidBuffer;

	heap_page_prune_opt(rel, buffer, &map_buffer, false);
	if (BufferIsValid(map_buffer))
		ReleaseBuffer(map_buffer);
#else
	heap_page_prune_opt(rel, buffer);
#endif
}

/* The columns of a table that a statement updates; NULL: not known. */
static inline Bitmapset *
updated_columns_compat(const PlannedStmt *stmt, const RangeTblEntry *entry)
{
#if PG_VERSION_NUM >= 160000
	if (entry->perminfoindex == 0)
		return NULL;
	return list_nth_node(RTEPermissionInfo, stmt->permInfos,
						 entry->perminfoindex - 1)->updatedCols;
#else
	return entry->updatedCols;
#endif
}

/* The oldest transaction with an id that is running on this server. */
static inline TransactionId
GetOldestActiveTransactionId_compat(void)
{
#if PG_VERSION_NUM >= 190000
	return GetOldestActiveTransactionId(false, true);
#else
	return GetOldestActiveTransactionId();
#endif
}

static inline void
replorigin_session_setup_compat(RepOriginId node, int acquired_by)
{
#if PG_VERSION_NUM >= 160000
	replorigin_session_setup(node, acquired_by);
#else
	replorigin_session_setup(node);
#endif
}

/* May a role call a function? */
static inline bool
mc_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role,
						   ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* The relation and executor interface that apply uses. */
#if PG_VERSION_NUM < 160000
typedef enum TU_UpdateIndexes
{
	TU_None,
	TU_All,
	TU_Summarizing,
} TU_UpdateIndexes;
#endif

static inline TM_Result
table_tuple_update_compat(Relation rel, ItemPointer otid, TupleTableSlot *slot,
						  CommandId cid, Snapshot snapshot,
						  TM_FailureData *tmfd, LockTupleMode *lockmode,
						  TU_UpdateIndexes *update_indexes)
{
#if PG_VERSION_NUM >= 190000
	return table_tuple_update(rel, otid, slot, cid, 0, snapshot,
							  InvalidSnapshot, true, tmfd, lockmode,
							  update_indexes);
#elif PG_VERSION_NUM >= 160000
	return table_tuple_update(rel, otid, slot, cid, snapshot, InvalidSnapshot,
							  true, tmfd, lockmode, update_indexes);
#else
	bool		update_all;
	TM_Result	result;

	result = table_tuple_update(rel, otid, slot, cid, snapshot,
								InvalidSnapshot, true, tmfd, lockmode,
								&update_all);
	*update_indexes = update_all ? TU_All : TU_None;
	return result;
#endif
}

static inline TM_Result
table_tuple_delete_compat(Relation rel, ItemPointer tid, CommandId cid,
						  Snapshot snapshot, TM_FailureData *tmfd)
{
#if PG_VERSION_NUM >= 190000
	return table_tuple_delete(rel, tid, cid, 0, snapshot, InvalidSnapshot,
							  true, tmfd);
#else
	return table_tuple_delete(rel, tid, cid, snapshot, InvalidSnapshot, true,
							  tmfd, false);
#endif
}

static inline List *
ExecInsertIndexTuples_compat(ResultRelInfo *relinfo, EState *estate,
							 bool update, bool only_summarizing,
							 TupleTableSlot *slot, bool no_error,
							 List *arbiters, bool *conflict)
{
#if PG_VERSION_NUM >= 190000
	uint32		flags = 0;

	if (update)
		flags |= EIIT_IS_UPDATE;
	if (no_error)
		flags |= EIIT_NO_DUPE_ERROR;
	if (only_summarizing)
		flags |= EIIT_ONLY_SUMMARIZING;
	return ExecInsertIndexTuples(relinfo, estate, flags, slot, arbiters,
								 conflict);
#elif PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(relinfo, slot, estate, update, no_error,
								 conflict, arbiters, only_summarizing);
#else
	return ExecInsertIndexTuples(relinfo, slot, estate, update, no_error,
								 conflict, arbiters);
#endif
}

static inline bool
ExecBRUpdateTriggers_compat(EState *estate, EPQState *epqstate,
							ResultRelInfo *relinfo, ItemPointer tid,
							TupleTableSlot *slot)
{
#if PG_VERSION_NUM >= 180000
	return ExecBRUpdateTriggers(estate, epqstate, relinfo, tid, NULL, slot,
								NULL, NULL, false);
#elif PG_VERSION_NUM >= 160000
	return ExecBRUpdateTriggers(estate, epqstate, relinfo, tid, NULL, slot,
								NULL, NULL);
#else
	return ExecBRUpdateTriggers(estate, epqstate, relinfo, tid, NULL, slot,
								NULL);
#endif
}

static inline bool
ExecBRDeleteTriggers_compat(EState *estate, EPQState *epqstate,
							ResultRelInfo *relinfo, ItemPointer tid)
{
#if PG_VERSION_NUM >= 180000
	return ExecBRDeleteTriggers(estate, epqstate, relinfo, tid, NULL, NULL,
								NULL, NULL, false);
#elif PG_VERSION_NUM >= 160000
	return ExecBRDeleteTriggers(estate, epqstate, relinfo, tid, NULL, NULL,
								NULL, NULL);
#else
	return ExecBRDeleteTriggers(estate, epqstate, relinfo, tid, NULL, NULL);
#endif
}

static inline void
EvalPlanQualInit_compat(EPQState *epqstate, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1);
#endif
}

/* Make rel the only entry of the range table, with these updated columns. */
static inline void
mc_init_range_table(EState *estate, Relation rel, Bitmapset *updated_columns)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = AccessShareLock;
#if PG_VERSION_NUM >= 160000
	{
		List	   *permissions = NIL;

		addRTEPermissionInfo(&permissions, rte)->updatedCols = updated_columns;
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(estate, list_make1(rte), permissions,
						   bms_make_singleton(1));
#else
		ExecInitRangeTable(estate, list_make1(rte), permissions);
#endif
	}
#else
	rte->updatedCols = updated_columns;
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

static inline IndexScanDesc
index_beginscan_compat(Relation heap, Relation index, Snapshot snapshot,
					   int nkeys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0);
#elif PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

static inline struct IndexFetchTableData *
table_index_fetch_begin_compat(Relation rel)
{
#if PG_VERSION_NUM >= 190000
	return table_index_fetch_begin(rel, 0);
#else
	return table_index_fetch_begin(rel);
#endif
}

static inline TableScanDesc
table_beginscan_compat(Relation rel, Snapshot snapshot)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan(rel, snapshot, 0, NULL, 0);
#else
	return table_beginscan(rel, snapshot, 0, NULL);
#endif
}

/* The primary key's index, unless it is deferrable. */
static inline Oid
RelationGetPrimaryKeyIndex_compat(Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(rel, false);
#else
	return RelationGetPrimaryKeyIndex(rel);
#endif
}

static inline void
ExecuteTruncateGuts_compat(List *rels, List *relids, List *relids_logged,
						   bool restart_seqs)
{
#if PG_VERSION_NUM >= 160000
	ExecuteTruncateGuts(rels, relids, relids_logged, DROP_RESTRICT,
						restart_seqs, false);
#else
	ExecuteTruncateGuts(rels, relids, relids_logged, DROP_RESTRICT,
						restart_seqs);
#endif
}

/* Tag what this transaction writes from now on, and its commit. */
static inline void
mc_session_origin_set(uint16 node, XLogRecPtr lsn, TimestampTz timestamp)
{
#if PG_VERSION_NUM >= 190000
	replorigin_xact_state.origin = node;
	replorigin_xact_state.origin_lsn = lsn;
	replorigin_xact_state.origin_timestamp = timestamp;
#else
	replorigin_session_origin = node;
	replorigin_session_origin_lsn = lsn;
	replorigin_session_origin_timestamp = timestamp;
#endif
}

/* What tags the writes of this transaction, and its commit timestamp then. */
static inline uint16
mc_session_origin(TimestampTz *timestamp)
{
#if PG_VERSION_NUM >= 190000
	*timestamp = replorigin_xact_state.origin_timestamp;
	return replorigin_xact_state.origin;
#else
	*timestamp = replorigin_session_origin_timestamp;
	return replorigin_session_origin;
#endif
}

static inline XLogRecPtr
XLogFindNextRecord_compat(XLogReaderState *reader, XLogRecPtr position)
{
#if PG_VERSION_NUM >= 190000
	char	   *problem;

	return XLogFindNextRecord(reader, position, &problem);
#else
	return XLogFindNextRecord(reader, position);
#endif
}

/* This process's place among all that can have a transaction; -1: none. */
static inline int
mc_my_proc_number(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc ? MyProc->pgprocno : -1;
#endif
}

/* The oldest transaction whose commit timestamp may be known. */
static inline TransactionId
mc_oldest_commit_ts_xid(void)
{
#if PG_VERSION_NUM >= 170000
	return TransamVariables->oldestCommitTsXid;
#else
	return ShmemVariableCache->oldestCommitTsXid;
#endif
}

/* Lives as long as the process where resowner is NULL. */
static inline WaitEventSet *
CreateWaitEventSet_compat(ResourceOwner resowner, int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(resowner, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* What extensions wait for has a name of its own since PostgreSQL 17. */
static inline uint32
mc_wait_event_extension(void)
{
	return PG_WAIT_EXTENSION;
}

static inline uint32
mc_wait_event_new(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return mc_wait_event_extension();
#endif
}

/* CLUSTER is a form of REPACK since PostgreSQL 19. */
#if PG_VERSION_NUM >= 190000
#define T_ClusterStmt T_RepackStmt
#endif

/*
 * Releases whose decode.c does nothing with the record of a row any more once
 * the plugin has filtered it out; see origin/ahead.c.
 */
#define MC_DECODES_AHEAD (PG_VERSION_NUM < 190000)

/* What the callback of a syscache is told first. */
#if PG_VERSION_NUM >= 190000
#define SysCacheIdentifier_compat SysCacheIdentifier
#else
#define SysCacheIdentifier_compat int
#endif

#endif							/* MC_COMPAT_H */
