/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  What centers ask each other outside the stream: both sides of it.
 *
 * NOTES
 *	  The peer_* functions are called over ordinary connections by members of
 *	  the role multicenter_peer.  Most of them are SQL, see 30_membership.sql;
 *	  here are those that need shared memory or the write-ahead log.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "control/operation.h"
#include "control/peer.h"
#include "core/wire.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "origin/heartbeat.h"
#include "origin/routing.h"
#include "pgstat.h"
#include "state/shared.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "compat.h"

/* How long an answer to a small question may take. */
#define ANSWER_MS	10000

PG_FUNCTION_INFO_V1(mc_sql_peer_marker);
PG_FUNCTION_INFO_V1(mc_sql_peer_wait_applied);
PG_FUNCTION_INFO_V1(mc_sql_peer_progress);
PG_FUNCTION_INFO_V1(mc_sql_peer_replicates);
PG_FUNCTION_INFO_V1(mc_sql_protocol);
PG_FUNCTION_INFO_V1(mc_sql_slot_name);
PG_FUNCTION_INFO_V1(mc_sql_origin_name);

const char *
mc_id_text(int id)
{
	return psprintf("%d", id);
}

/* The extension must be there, and ours to use, before it can be asked. */
static void
require_extension(PeerConnection *peer, const char *label)
{
	PeerResult *result;

	result = mc_peer_query(peer, "SELECT pg_catalog.has_schema_privilege(extnamespace, 'USAGE'),"
						   " current_user FROM pg_catalog.pg_extension"
						   " WHERE extname OPERATOR(pg_catalog.=) 'multicenter'",
						   0, NULL, ANSWER_MS);
	if (result->nrows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"multicenter\" is not installed in the database of center \"%s\"", label),
				 errhint("Run CREATE EXTENSION multicenter there.")));
	if (strcmp(result->rows[0][0], "t") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not act as a peer at center \"%s\"",
						result->rows[0][1], label),
				 errhint("Run GRANT multicenter_peer TO %s there.",
						 quote_identifier(result->rows[0][1]))));
}

PeerHello *
mc_peer_hello(PeerConnection *peer, const char *label)
{
	PeerHello  *hello = palloc0(sizeof(PeerHello));
	PeerResult *result;
	char	  **row;

	require_extension(peer, label);
	result = mc_peer_query(peer, "SELECT group_uuid, group_name, center_id, center_name,"
						   " state, system_identifier, database_oid, server_version_num,"
						   " encoding, extension_version, protocol_min, protocol_max,"
						   " last_center_id FROM multicenter.peer_hello()",
						   0, NULL, ANSWER_MS);
	if (result->nrows != 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("center \"%s\" did not say who it is", label)));
	row = result->rows[0];
	hello->group_uuid = row[0];
	hello->group_name = row[1];
	hello->center_id = row[2] ? atoi(row[2]) : MC_NO_CENTER;
	hello->center_name = row[3];
	hello->state = row[4] ? row[4] : "";
	hello->system_identifier = (uint64) strtoll(row[5], NULL, 10);
	hello->dboid = (Oid) strtoul(row[6], NULL, 10);
	hello->release = atoi(row[7]) / 10000;
	hello->encoding = row[8];
	hello->extension_version = row[9];
	hello->protocol_min = atoi(row[10]);
	hello->protocol_max = atoi(row[11]);
	hello->last_center_id = atoi(row[12]);
	return hello;
}

void
mc_check_own_dsn(const char *dsn)
{
	PeerConnection *peer;
	PeerHello  *hello;

	mc_dsn_check(dsn, "dsn");
	peer = mc_peer_connect(dsn, "this database (dsn)", "multicenter check", false);
	hello = mc_peer_hello(peer, "this database (dsn)");
	mc_peer_close(peer);
	if (hello->system_identifier != GetSystemIdentifier() ||
		hello->dboid != MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dsn does not lead to this database"),
				 errdetail("It leads to the database with OID %u of system " UINT64_FORMAT ", this is %u of " UINT64_FORMAT ".",
						   hello->dboid, hello->system_identifier,
						   MyDatabaseId, GetSystemIdentifier()),
				 errhint("Give the connection string with which the other centers reach this database.")));

	/* The peers will want to stream: the role and pg_hba.conf must allow it. */
	peer = mc_peer_connect(dsn, "this database (dsn), for replication",
						   "multicenter check", true);
	(void) mc_peer_query(peer, "IDENTIFY_SYSTEM", 0, NULL, ANSWER_MS);
	mc_peer_close(peer);
}

const char *
mc_peer_dsn(const Center *center)
{
	LinkOptions options;

	mc_registry_link(center->id, &options);
	return options.dsn ? options.dsn : center->dsn;
}

PeerConnection *
mc_peer_open(const Center *center, const char *dsn, const Identity *identity)
{
	PeerConnection *peer;
	PeerHello  *hello;
	char	   *group_uuid;

	peer = mc_peer_connect(dsn, NameStr(center->name), "multicenter membership", false);
	hello = mc_peer_hello(peer, NameStr(center->name));
	group_uuid = DatumGetCString(DirectFunctionCall1(uuid_out,
													 UUIDPGetDatum(&identity->group_uuid)));
	if (hello->group_uuid == NULL || strcmp(hello->group_uuid, group_uuid) != 0 ||
		hello->center_id != center->id)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the database at the dsn of center \"%s\" is not that center",
						NameStr(center->name)),
				 hello->group_name == NULL ?
				 errdetail("It is in no group.") :
				 errdetail("It is center \"%s\" of group \"%s\".",
						   hello->center_name ? hello->center_name : "",
						   hello->group_name)));
	return peer;
}

void
mc_peer_tell_state(PeerConnection *peer, CenterId id, CenterState state)
{
	const char *params[] = {mc_id_text(id), mc_center_state_name(state)};

	(void) mc_peer_query(peer, "SELECT multicenter.peer_center_state($1::pg_catalog.int4,"
						 " $2::pg_catalog.text)", 2, params, ANSWER_MS);
}

/* protocol(): the versions that this build speaks. */
Datum
mc_sql_protocol(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[] = {Int32GetDatum(MC_PROTOCOL_MIN), Int32GetDatum(MC_PROTOCOL_MAX)};
	bool		nulls[] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * peer_marker(): put a heartbeat into the stream.  Returns a position of ours
 * that the target has passed as soon as it has received the heartbeat; every
 * change before the call is before it.
 */
Datum
mc_sql_peer_marker(PG_FUNCTION_ARGS)
{
	XLogRecPtr	before = GetXLogInsertRecPtr();

	mc_shared_require();
	(void) mc_heartbeat_write(0);
	PG_RETURN_LSN(before);
}

/*
 * peer_wait_applied(center_id, lsn, wait_ms): wait until everything of that
 * center before lsn is applied here.  Returns the position that is applied at
 * the end of the wait, NULL if nothing is known of that center.
 */
Datum
mc_sql_peer_wait_applied(PG_FUNCTION_ARGS)
{
	CenterId	peer = (CenterId) PG_GETARG_INT32(0);
	XLogRecPtr	lsn = PG_GETARG_LSN(1);
	TimestampTz end;
	XLogRecPtr	applied;

	mc_shared_require();
	end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(2));
	for (;;)
	{
		SharedLink *link = mc_shared_link(MyDatabaseId, peer, false);

		if (link == NULL)
			PG_RETURN_NULL();
		SpinLockAcquire(&link->mutex);
		applied = link->applied_lsn.value;
		SpinLockRelease(&link->mutex);
		if (applied >= lsn || GetCurrentTimestamp() >= end)
			break;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 20, mc_wait_event(MC_WAIT_PEER_APPLY));
		ResetLatch(MyLatch);
	}
	PG_RETURN_LSN(applied);
}

/*
 * Did the transaction of a ring's entry commit?  The link of a quiet peer may
 * remember one that is so old that its outcome is forgotten.  Then applied, the
 * link's progress, tells: had it failed, a later entry would be of its repetition.
 */
static bool
did_commit(const RingEntry *entry, XLogRecPtr applied)
{
	bool		committed;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdPrecedes(entry->xid, mc_oldest_clog_xid()))
		committed = entry->end_lsn.value <= applied;
	else
		committed = TransactionIdDidCommit(entry->xid);
	LWLockRelease(XactTruncationLock);
	return committed;
}

/*
 * Find how far a peer's changes are visible in a snapshot: the end of the
 * newest transaction in the ring that is.  Transactions of a peer commit in
 * the order of the ring, so all before it are visible too.  Sets *lsn to 0 if
 * nothing was applied at all; returns false if the ring does not reach back
 * far enough to tell.
 */
static bool
progress_in_snapshot(SharedLink *link, RingEntry *ring, Snapshot snapshot,
					 XLogRecPtr *lsn)
{
	XLogRecPtr	applied;
	int			count;
	int			next;

	SpinLockAcquire(&link->mutex);
	applied = link->applied_lsn.value;
	count = link->ring_count;
	next = link->ring_next;
	memcpy(ring, link->ring, sizeof(link->ring));
	SpinLockRelease(&link->mutex);

	for (int i = 1; i <= count; i++)
	{
		RingEntry  *entry = &ring[(next - i + MC_RING_SIZE) % MC_RING_SIZE];

		if (!TransactionIdIsValid(entry->xid) ||
			(!XidInMVCCSnapshot(entry->xid, snapshot) &&
			 did_commit(entry, applied)))
		{
			*lsn = entry->end_lsn.value;
			return true;
		}
	}
	*lsn = InvalidXLogRecPtr;
	return count < MC_RING_SIZE;
}

/* The links of this database: copies of the peers' ids, at most max. */
static int
list_peers(CenterId *peers, int max)
{
	int			npeers = 0;

	LWLockAcquire(mc_shared->lock, LW_SHARED);
	for (int i = 0; i < mc_shared->nlinks && npeers < max; i++)
		if (mc_shared->links[i].dboid == MyDatabaseId)
			peers[npeers++] = mc_shared->links[i].peer;
	LWLockRelease(mc_shared->lock);
	return npeers;
}

/*
 * peer_progress(): for each peer, how far its changes are visible in the
 * snapshot of this transaction, which a joining center has imported.
 */
Datum
mc_sql_peer_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot	snapshot = GetActiveSnapshot();
	RingEntry  *ring = palloc(sizeof(RingEntry) * MC_RING_SIZE);
	CenterId	peers[MC_MAX_CENTER_ID];
	int			npeers;

	mc_shared_require();
	InitMaterializedSRF(fcinfo, 0);
	npeers = list_peers(peers, lengthof(peers));
	for (int i = 0; i < npeers; i++)
	{
		SharedLink *link = mc_shared_link(MyDatabaseId, peers[i], false);
		XLogRecPtr	lsn;
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if (link == NULL)
			continue;
		if (!progress_in_snapshot(link, ring, snapshot, &lsn))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not tell how far center %d is applied in the snapshot of the copy", peers[i]),
					 errdetail("More than %d transactions of it were applied since the snapshot was begun.", MC_RING_SIZE),
					 errhint("Long transactions delay the snapshot. Try again when they have ended.")));
		values[0] = Int32GetDatum(peers[i]);
		values[1] = LSNGetDatum(lsn);
		nulls[1] = lsn == InvalidXLogRecPtr;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * peer_replicates(relation): is anything of this relation replicated?  Keeps
 * its lock until the end of the transaction, so that a center that joins finds
 * the table as its snapshot has it.
 */
Datum
mc_sql_peer_replicates(PG_FUNCTION_ARGS)
{
	Relation	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	bool		replicates;

	if (rel == NULL)
		PG_RETURN_BOOL(false);	/* it was dropped meanwhile */
	replicates = mc_route_table(rel) != ROUTE_NONE;
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(replicates);
}

/* internal_slot_name(center_id): name of the slot of this center for another. */
Datum
mc_sql_slot_name(PG_FUNCTION_ARGS)
{
	Name		name = palloc0(sizeof(NameData));

	mc_slot_name(NameStr(*name), MyDatabaseId, (CenterId) PG_GETARG_INT32(0));
	PG_RETURN_NAME(name);
}

/* internal_origin_name(center_id): name of this center's origin for another. */
Datum
mc_sql_origin_name(PG_FUNCTION_ARGS)
{
	Name		name = palloc0(sizeof(NameData));

	mc_origin_name(NameStr(*name), MyDatabaseId, (CenterId) PG_GETARG_INT32(0));
	PG_RETURN_NAME(name);
}
