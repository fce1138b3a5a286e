/*-------------------------------------------------------------------------
 *
 * membership.c
 *	  Create a group, leave it, and remove what is left of it here.
 *
 * NOTES
 *	  How a center leaves in order:
 *
 *	  ready -> parting	  the write gate closes; transactions that have begun
 *						  to write are waited for
 *	  parting			  wait until every peer has confirmed our last change
 *	  parting -> parted   recorded here and told to every peer directly, which
 *						  then ends its links with us and lets go of its WAL
 *	  (nothing)			  slots, origins and membership rows are removed here;
 *						  the tables keep their rows
 *
 *	  A failure before "parted" reopens the gate: the center is ready again.
 *	  Afterwards group_remove_local() finishes the work.
 *
 *	  A dead center is declared parted by the others: here, which spreads by
 *	  the stream, and directly at each one that can be reached.  That must be a
 *	  majority of those that stay, so that two halves of a group never remove
 *	  each other; in a group of two the caller's word has to do.
 *
 *	  Joining is in join.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "control/operation.h"
#include "control/peer.h"
#include "control/setup.h"
#include "control/workers.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "origin/heartbeat.h"
#include "pgstat.h"
#include "port/pg_bswap.h"
#include "replication/slot.h"
#include "state/clock.h"
#include "state/registry.h"
#include "state/shared.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"

/* How long a center that leaves waits for a peer that does not move. */
#define PART_PATIENCE_MS	30000

/* How long our own processes may take to end, or a slot to be dropped. */
#define STOP_PATIENCE_MS	15000

/* Centers of the group, and who we are, as read in one step. */
typedef struct Membership
{
	bool		found;
	Identity	identity;
	List	   *centers;		/* of Center *, not parted, this one included */
} Membership;

/* A center to be told something; see tell_parted(). */
typedef struct Notice
{
	const Membership *membership;
	const Center *to;
	const char *dsn;
	CenterId	about;
} Notice;

/* Read the membership in a step of its own. */
static void
read_membership(Membership *membership)
{
	MemoryContext context = CurrentMemoryContext;

	memset(membership, 0, sizeof(Membership));
	mc_step_begin();
	MemoryContextSwitchTo(context);
	membership->found = mc_registry_identity(&membership->identity);
	if (membership->found)
		membership->centers = mc_registry_centers();
	mc_step_end();
}

/* As above, for those who must be a member. */
static void
require_membership(Membership *membership)
{
	read_membership(membership);
	if (!membership->found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is in no group"),
				 errhint("Use group_create() or group_join().")));
	if (membership->identity.detached)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy of a center, not that center itself"),
				 errhint("Call group_remove_local(force => true), then join the group as a new center.")));
}

/* Our own row, NULL if we have parted. */
static Center *
own_center(const Membership *membership)
{
	ListCell   *lc;

	foreach(lc, membership->centers)
	{
		Center	   *center = lfirst(lc);

		if (center->id == membership->identity.center_id)
			return center;
	}
	return NULL;
}

/* Change the state of a center in the list, in a step of its own. */
static void
set_state(CenterId id, CenterState state)
{
	mc_step_begin();
	mc_registry_set_state(id, state);
	mc_step_end();
	mc_shared_reload(MyDatabaseId);
}

/* ---- group_create() ---- */

void
mc_require_no_group(void)
{
	Identity	identity;

	if (!mc_registry_identity(&identity))
		return;
	if (identity.detached)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy of a center of group \"%s\"",
						NameStr(identity.group_name)),
				 errhint("Call group_remove_local(force => true) first.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this database is already in group \"%s\"",
					NameStr(identity.group_name)),
			 errhint("Leave it with center_part(), or remove what is left of it with group_remove_local().")));
}

void
mc_create_group(Operation *operation)
{
	char		marker[NAMEDATALEN];
	const char *center_uuid;
	const char *row[7];
	const char *group[4];

	/* Another one may have ended since our session has asked. */
	mc_step_begin();
	mc_require_no_group();
	mc_setup_require();
	mc_step_end();
	mc_check_own_dsn(operation->dsn);

	/* The first commit of the center wants a place in the pool. */
	mc_clock_prepare();

	mc_step_begin();
	center_uuid = mc_step_sql("SELECT pg_catalog.gen_random_uuid()", 0, NULL);
	group[0] = NameStr(operation->group_name);
	group[1] = mc_step_sql("SELECT pg_catalog.gen_random_uuid()", 0, NULL);
	group[2] = "1";
	group[3] = center_uuid;
	mc_step_sql("SELECT multicenter.internal_identity_write($1::pg_catalog.name,"
				" $2::pg_catalog.uuid, $3::pg_catalog.int4, $4::pg_catalog.uuid)",
				4, group);
	row[0] = "1";
	row[1] = NameStr(operation->center_name);
	row[2] = center_uuid;
	row[3] = operation->site[0] ? operation->site : NULL;
	row[4] = "active";
	row[5] = mc_center_state_name(CENTER_READY);
	row[6] = operation->dsn;
	mc_step_sql("SELECT multicenter.peer_center_add(multicenter.internal_center_row("
				"$1::pg_catalog.int4, $2::pg_catalog.name, $3::pg_catalog.uuid,"
				" $4, $5, $6, $7))", 7, row);
	if (!mc_database_is_center(MyDatabaseId))
		replorigin_create(mc_marker_origin_name(marker, MyDatabaseId));
	mc_setup_enable_plugin();
	mc_step_end();

	mc_gate_set(MyDatabaseId, GATE_OPEN);
	mc_shared_wake_supervisor();
	operation->center_id = 1;
}

/* ---- center_part() ---- */

/* Tell one center that another has parted; for mc_operation_try(). */
static void
tell_parted(void *arg)
{
	Notice	   *notice = arg;
	PeerConnection *peer;

	peer = mc_peer_open(notice->to, notice->dsn, &notice->membership->identity);
	mc_peer_tell_state(peer, notice->about, CENTER_PARTED);
	mc_peer_close(peer);
}

/* The connection string for a peer, read in a step of its own. */
static const char *
dsn_of(const Center *center)
{
	MemoryContext context = CurrentMemoryContext;
	const char *dsn;

	mc_step_begin();
	MemoryContextSwitchTo(context);
	dsn = mc_peer_dsn(center);
	mc_step_end();
	return dsn;
}

/*
 * Tell every center but ourselves and the one it is about.  Returns how many
 * heard it; those who did not learn it from the stream of another center.
 */
static int
tell_all_parted(const Membership *membership, CenterId about)
{
	int			told = 0;
	ListCell   *lc;

	foreach(lc, membership->centers)
	{
		Center	   *center = lfirst(lc);
		Notice		notice = {membership, center, NULL, about};
		ErrorData  *error;

		if (center->id == membership->identity.center_id || center->id == about)
			continue;
		notice.dsn = dsn_of(center);
		error = mc_operation_try(tell_parted, &notice);
		if (error == NULL)
			told++;
		else
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not tell center \"%s\" that center %u has parted: %s",
							NameStr(center->name), about, error->message)));
	}
	return told;
}

/*
 * Transactions of this database that have written, prepared ones included, as
 * a list for people; NULL if there is none.  Our own workers do not count.
 */
static char *
list_writers(void)
{
	char	   *writers;

	mc_step_begin();
	writers = mc_step_sql("SELECT pg_catalog.string_agg(w.name, ', ') FROM ("
						  "SELECT pg_catalog.format('process %s', a.pid)"
						  " FROM pg_catalog.pg_stat_activity AS a"
						  " WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
						  "  AND a.backend_xid IS NOT NULL"
						  "  AND a.backend_type OPERATOR(pg_catalog.!~) '^(multicenter|autovacuum) '"
						  " UNION ALL SELECT pg_catalog.format('prepared transaction %L', p.gid)"
						  " FROM pg_catalog.pg_prepared_xacts AS p"
						  " WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
						  ") AS w(name)", 0, NULL);
	mc_step_end();
	return writers;
}

/* Wait until sessions that have begun to write here have ended. */
static void
wait_for_writers(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PART_PATIENCE_MS);
	char	   *writers;

	while ((writers = list_writers()) != NULL)
	{
		if (GetCurrentTimestamp() > end)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("transactions that have written here are still open"),
					 errdetail("They are: %s.", writers),
					 errhint("End them, then try again.")));
		mc_worker_wait(50, MC_WAIT_OPERATION);
	}
}

/*
 * A statement may have passed the gate long before it writes its first row,
 * and nobody sees until then that it will.  So the second wait is for those
 * that were about to commit when that became impossible.
 */
void
mc_drain_writers(void)
{
	wait_for_writers();
	mc_gate_seal(MyDatabaseId);
	wait_for_writers();
}

/*
 * Position that a peer has confirmed of our WAL, by our slot for it; 0 if the
 * slot is gone.
 */
static LocalLsn
confirmed_position(CenterId target)
{
	char		name[NAMEDATALEN];
	ReplicationSlot *slot;
	LocalLsn	confirmed = {InvalidXLogRecPtr};

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(mc_slot_name(name, MyDatabaseId, target), false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		confirmed.value = slot->data.confirmed_flush;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return confirmed;
}

/* Has a center left the group since we looked? */
static bool
has_parted(CenterId id)
{
	Center		center;
	bool		parted;

	mc_step_begin();
	parted = mc_registry_center(id, &center) && center.state == CENTER_PARTED;
	mc_step_end();
	return parted;
}

/*
 * Wait until a peer has confirmed our WAL up to a position, or does not need
 * it because it leaves the group itself.
 */
static void
wait_for_peer(const Center *peer, LocalLsn target)
{
	LocalLsn	last = confirmed_position(peer->id);
	TimestampTz last_move = GetCurrentTimestamp();

	for (;;)
	{
		LocalLsn	confirmed = confirmed_position(peer->id);

		if (confirmed.value >= target.value || has_parted(peer->id))
			return;
		if (confirmed.value != last.value)
			last_move = GetCurrentTimestamp();
		last = confirmed;
		if (TimestampDifferenceExceeds(last_move, GetCurrentTimestamp(), PART_PATIENCE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("center \"%s\" has not confirmed our last changes", NameStr(peer->name)),
					 errdetail("It has confirmed %X/%X of %X/%X.",
							   LSN_FORMAT_ARGS(confirmed.value), LSN_FORMAT_ARGS(target.value)),
					 errhint("Bring its link up again, see the view lag, or remove that center first. center_part(..., force => true) leaves without waiting and may lose changes.")));
		mc_worker_wait(50, MC_WAIT_OPERATION);
	}
}

/* Wait until every peer has everything that was written here. */
static void
hand_over(const Membership *membership)
{
	LocalLsn	target;
	ListCell   *lc;

	mc_drain_writers();

	/* The last promise, which covers everything that was committed here. */
	(void) mc_heartbeat_write(0);
	target.value = GetXLogInsertRecPtr();

	/* Something behind the target, so that an idle stream passes it soon. */
	mc_step_begin();
	mc_step_sql("SELECT multicenter.peer_marker()", 0, NULL);
	mc_step_end();

	foreach(lc, membership->centers)
	{
		Center	   *center = lfirst(lc);

		if (center->id != membership->identity.center_id)
			wait_for_peer(center, target);
	}
}

/* Leave the group ourselves. */
static void
part_self(const Membership *membership, bool force)
{
	CenterId	own_id = membership->identity.center_id;

	set_state(own_id, CENTER_PARTING);
	mc_gate_set(MyDatabaseId, GATE_PARTING);
	if (!force)
		hand_over(membership);
	set_state(own_id, CENTER_PARTED);
	tell_all_parted(membership, own_id);
	mc_remove_traces();
}

void
mc_part_clean_up(void)
{
	Membership	membership;
	Center	   *center;

	read_membership(&membership);
	center = membership.found ? own_center(&membership) : NULL;
	if (center == NULL || center->state != CENTER_PARTING)
		return;
	set_state(center->id, CENTER_READY);
	mc_gate_set(MyDatabaseId, GATE_OPEN);
}

/* Ask a live center to leave; for mc_operation_try(). */
static void
ask_to_part(void *arg)
{
	Notice	   *notice = arg;
	PeerConnection *peer;

	peer = mc_peer_open(notice->to, notice->dsn, &notice->membership->identity);
	(void) mc_peer_query(peer, "SELECT multicenter.peer_part()", 0, NULL, 0);
	mc_peer_close(peer);
}

/* Have another center leave in order. */
static void
part_peer(const Membership *membership, const Center *center)
{
	Notice		notice = {membership, center, dsn_of(center), center->id};
	ErrorData  *error = mc_operation_try(ask_to_part, &notice);

	if (error == NULL)
	{
		mc_shared_reload(MyDatabaseId);
		return;
	}
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 errmsg("center \"%s\" could not leave the group in order: %s",
					NameStr(center->name), error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("If that center is lost, remove it with center_part(center_name => '%s', force => true).",
					 NameStr(center->name))));
}

/* Is a center there?  For mc_operation_try(). */
static void
visit_center(void *arg)
{
	Notice	   *notice = arg;

	mc_peer_close(mc_peer_open(notice->to, notice->dsn, &notice->membership->identity));
}

/* Refuse to remove a center unless most of those that stay can be reached. */
static void
require_majority(const Membership *membership, CenterId dead)
{
	int			stay = 0;
	int			reached = 0;
	StringInfoData missing;
	ListCell   *lc;

	initStringInfo(&missing);
	foreach(lc, membership->centers)
	{
		Center	   *center = lfirst(lc);
		Notice		notice = {membership, center, NULL, dead};

		if (center->id == dead)
			continue;
		stay++;
		if (center->id == membership->identity.center_id)
		{
			reached++;
			continue;
		}
		notice.dsn = dsn_of(center);
		if (mc_operation_try(visit_center, &notice) == NULL)
			reached++;
		else
			appendStringInfo(&missing, "%s\"%s\"", missing.len ? ", " : "",
							 NameStr(center->name));
	}
	if (reached * 2 <= stay)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot remove a center while most of the others cannot be reached"),
				 errdetail("%d of the %d centers that would stay can be reached; not %s.",
						   reached, stay, missing.data),
				 errhint("Call center_part() on a center that reaches the majority.")));
}

/* Declare a dead center parted. */
static void
part_dead(const Membership *membership, const Center *center)
{
	require_majority(membership, center->id);
	set_state(center->id, CENTER_PARTED);
	tell_all_parted(membership, center->id);
	mc_shared_reload(MyDatabaseId);
}

void
mc_part_center(Operation *operation)
{
	Membership	membership;
	Center	   *target = NULL;
	StringInfoData names;
	ListCell   *lc;

	require_membership(&membership);
	initStringInfo(&names);
	foreach(lc, membership.centers)
	{
		Center	   *center = lfirst(lc);

		appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", NameStr(center->name));
		if (namestrcmp(&center->name, NameStr(operation->center_name)) == 0)
			target = center;
	}
	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the group has no center \"%s\"", NameStr(operation->center_name)),
				 errhint("Its centers are %s.", names.data)));

	operation->center_id = target->id;
	if (target->id == membership.identity.center_id)
		part_self(&membership, operation->force);
	else if (operation->force)
		part_dead(&membership, target);
	else
		part_peer(&membership, target);
}

/* ---- group_remove_local() ---- */

void
mc_remove_local(Operation *operation)
{
	Membership	membership;
	ListCell   *lc;

	read_membership(&membership);
	if (membership.found && !membership.identity.detached && !operation->force &&
		own_center(&membership) != NULL)
		foreach(lc, membership.centers)
	{
		Center	   *center = lfirst(lc);

		if (center->id != membership.identity.center_id)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("this database is still a center of group \"%s\"",
							NameStr(membership.identity.group_name)),
					 errdetail("Center \"%s\" and perhaps others replicate with it.",
							   NameStr(center->name)),
					 errhint("Leave the group with center_part(), or use force => true if that is not possible.")));
	}
	mc_remove_traces();
	mc_step_begin();
	mc_step_sql("SELECT multicenter.internal_forget_history()", 0, NULL);
	mc_step_end();
}

/* Does a process of this center, other than ourselves, still run? */
static bool
signal_workers(void)
{
	SharedDatabase *entry = mc_shared_database(MyDatabaseId, false);
	bool		any = false;
	pid_t		pid = 0;

	if (entry != NULL)
	{
		SpinLockAcquire(&entry->mutex);
		pid = entry->manager_pid;
		SpinLockRelease(&entry->mutex);
	}
	if (pid != 0 && pid != MyProcPid)
	{
		kill(pid, SIGTERM);
		any = true;
	}
	LWLockAcquire(mc_shared->lock, LW_SHARED);
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId)
			continue;
		SpinLockAcquire(&link->mutex);
		pid = link->pid;
		SpinLockRelease(&link->mutex);
		if (pid != 0)
		{
			kill(pid, SIGTERM);
			any = true;
		}
	}
	LWLockRelease(mc_shared->lock);
	return any;
}

/* End the manager, unless we are it, and all receivers of this center. */
static void
stop_workers(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), STOP_PATIENCE_MS);

	while (signal_workers())
	{
		if (GetCurrentTimestamp() > end)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("could not end the workers of this center"),
					 errhint("Call group_remove_local(force => true) again.")));
		mc_worker_wait(50, MC_WAIT_OPERATION);
	}
}

/* Drop all slots of this database that use our plugin. */
static void
drop_slots(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), STOP_PATIENCE_MS);

	for (;;)
	{
		char	   *left;

		mc_step_begin();
		left = mc_step_sql("SELECT multicenter.internal_drop_slots()", 0, NULL);
		mc_step_end();
		if (left == NULL || strcmp(left, "0") == 0)
			return;
		if (GetCurrentTimestamp() > end)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("could not drop the replication slots of this center, they are in use"),
					 errhint("Call group_remove_local(force => true) again.")));
		mc_worker_wait(50, MC_WAIT_OPERATION);
	}
}

/*
 * Drop all replication origins of this database.  A receiver that has just
 * ended may hold its own for a moment longer, which is waited for.
 */
static void
drop_origins(void)
{
	char		prefix[NAMEDATALEN];
	const char *params[] = {prefix};
	char	   *names;

	snprintf(prefix, sizeof(prefix), "multicenter_%u_", MyDatabaseId);
	names = mc_step_sql("SELECT pg_catalog.string_agg(roname, ' ')"
						" FROM pg_catalog.pg_replication_origin"
						" WHERE pg_catalog.starts_with(roname, $1)", 1, params);
	if (names == NULL)
		return;
	for (char *name = strtok(names, " "); name != NULL; name = strtok(NULL, " "))
		replorigin_drop_by_name(name, true, false);
}

/*
 * The marker goes first, or the supervisor would start the manager again.
 * From then on this database is no center; group_remove_local() can finish
 * what a crash interrupts.  Rows are deleted only when the slots are gone, so
 * that no peer hears of it.
 */
void
mc_remove_traces(void)
{
	char		name[NAMEDATALEN];
	SharedDatabase *entry;

	mc_step_begin();
	replorigin_drop_by_name(mc_marker_origin_name(name, MyDatabaseId), true, false);
	mc_step_end();

	stop_workers();
	drop_slots();

	mc_step_begin();
	drop_origins();
	mc_step_sql("SELECT multicenter.internal_forget_group()", 0, NULL);
	mc_step_end();

	entry = mc_shared_database(MyDatabaseId, false);
	if (entry != NULL)
		pg_atomic_write_u32(&entry->gate, GATE_NO_GROUP);
	mc_shared_reload(MyDatabaseId);
	mc_shared_wake_supervisor();
}
