/*-------------------------------------------------------------------------
 *
 * manager.c
 *	  The manager of one center: links, heartbeats, and what is due in time.
 *
 * NOTES
 *	  One for each database that is a center, started by the supervisor.  In
 *	  each round it
 *
 *	  - reads the registry, if it has changed;
 *	  - undoes a join that died half-way;
 *	  - sets the write gate by the center's own state;
 *	  - starts receivers for peers, stops those that are not wanted;
 *	  - drops the slots of centers that have parted;
 *	  - takes over new policies for conflicts;
 *	  - declares the center ready once every link has caught up;
 *	  - writes a heartbeat, when it is due;
 *	  - turns the positions that peers have confirmed into times;
 *	  - lets go of dead rows that nothing can need any more;
 *	  - keeps the last known times of the links, and takes samples of them;
 *	  - looks at the health of the center;
 *	  - announces new conflicts, and purges their history;
 *	  - writes the audit.
 *
 *	  Anyone wakes it through its latch, see mc_shared_reload().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/extension.h"
#include "control/announce.h"
#include "control/audit_work.h"
#include "control/departed.h"
#include "control/guard.h"
#include "control/health.h"
#include "control/horizon.h"
#include "control/operation.h"
#include "control/policy_epoch.h"
#include "control/rewrite.h"
#include "control/workers.h"
#include "executor/spi.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "origin/heartbeat.h"
#include "pgstat.h"
#include "replication/slot.h"
#include "state/clock.h"
#include "state/hold.h"
#include "state/monitor.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "state/vector.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "target/connection.h"
#include "target/displace.h"
#include "target/retry.h"
#include "target/stale.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

#define REGISTRY_CHECK_MS	10000	/* read the registry without being told */
#define KEEP_TIMES_MS		10000	/* write the links' last known times */
#define FIRST_TIMES_MS		1000	/* the same while some are not known yet */
#define LOOK_MS			500

/*
 * Where somebody deletes, dead rows are kept from heartbeat to heartbeat
 * (state/hold.c).  Where so many transactions write in a second there are more
 * of them, so that hot rows do not get slow; and without peers, for whom alone
 * dead rows are kept, hardly any are.
 */
#define BUSY_RATE			300
#define BUSY_HEARTBEATS		20
#define BUSY_LEAST_MS		20	/* unless the setting is less */
#define BUSY_ALONE_MS		10
#define RATE_MS			200

/*
 * Where sessions have not written for so long, all that is of peers, and the
 * heartbeats promise ahead: see multicenter.promise_ahead.
 */
#define QUIET_US			INT64CONST(1000000)
#define FAILED_LOOK_MS	60000
#define STALE_MS			10000
#define RETRY_MS			500
#define RETRY_PAUSE_MS		20	/* between two of them in any case */
#define SAMPLE_MS			1000	/* take samples of the links */
#define CONFIRMED_PAUSE_MS	4	/* first look after a heartbeat */
#define UNDO_MS				3000	/* after no peer could be reached */

/* A center as the registry tells it, and our options for it. */
typedef struct Member
{
	Center	   *center;
	LinkOptions options;
} Member;

typedef struct Manager
{
	SharedDatabase *database;
	Identity	identity;
	List	   *members;		/* of Member *, in registry_context */
	CenterState state;			/* our own */
	MemoryContext registry_context;
	MemoryContext round_context;
	TimestampTz catching_up_since;	/* 0: not catching up */
	bool		told_detached;
	bool		no_extension;	/* dropped while the library was not loaded */
	bool		fencing;		/* a fence around a table exists */

	/* When what is due next; not by the wall clock, which may step. */
	int64		next_heartbeat_ms;
	int64		heartbeat_pause_ms; /* before the next one */
	int64		next_noted_ms;	/* the next one that lag is measured by */
	int64		next_horizon_ms;	/* without peers, and a heartbeat */
	int64		next_rate_ms;	/* see watch_rate() */
	int64		last_rate_ms;
	uint64		last_xid;		/* that was given out before that */
	bool		busy;			/* many transactions write */
	int64		next_registry_check_ms;
	int64		next_keep_times_ms;
	bool		times_known;	/* of all links */
	int64		next_look_ms;	/* at displaced rows */
	int64		next_stale_ms;	/* look at notes about rows */
	int64		next_retry_ms;	/* of changes in quarantine */
	int64		retried_ms;		/* when that had ended */
	int64		next_undo_ms;	/* of an operation that did not finish */

	int64		next_confirmed_ms;	/* look whether peers have confirmed */
	int64		confirmed_pause_ms; /* until the next such look */
	int64		next_sample_ms; /* of the links */
} Manager;

/* Has this process claimed its database to undo an operation? */
static bool undoing = false;

/* The manager ends: nobody may set its latch any more. */
static void
manager_exit(int code, Datum arg)
{
	SharedDatabase *database = (SharedDatabase *) DatumGetPointer(arg);

	if (undoing)
		mc_shared_release(MyDatabaseId);
	undoing = false;
	SpinLockAcquire(&database->mutex);
	database->manager_pid = 0;
	database->manager_latch = NULL;
	SpinLockRelease(&database->mutex);
	mc_shared_wake_supervisor();
}

/* Announce this manager; false if there is one already. */
static bool
announce(Manager *manager)
{
	bool		first;

	manager->database = mc_shared_database(MyDatabaseId, true);
	SpinLockAcquire(&manager->database->mutex);
	first = manager->database->manager_pid == 0;
	if (first)
	{
		manager->database->manager_pid = MyProcPid;
		manager->database->manager_latch = MyLatch;
		manager->database->reload = true;
	}
	SpinLockRelease(&manager->database->mutex);
	if (first)
		before_shmem_exit(manager_exit, PointerGetDatum(manager->database));
	return first;
}

/* Is a peer in a state in which data flows between it and us? */
static bool
is_linked(const Manager *manager, const Center *peer)
{
	return peer->id != manager->identity.center_id &&
		manager->state >= CENTER_CATCHING_UP && manager->state < CENTER_PARTED &&
		peer->state >= CENTER_CATCHING_UP && peer->state < CENTER_PARTED;
}

/* Has the registry changed, or is it time to look? */
static bool
registry_is_due(Manager *manager, int64 now_ms)
{
	bool		due;

	SpinLockAcquire(&manager->database->mutex);
	due = manager->database->reload;
	manager->database->reload = false;
	SpinLockRelease(&manager->database->mutex);
	if (!due && now_ms < manager->next_registry_check_ms)
		return false;
	manager->next_registry_check_ms = now_ms + REGISTRY_CHECK_MS;
	return true;
}

/*
 * Read who we are and who the others are.  Returns false if this database is
 * no center any more.
 */
static bool
read_registry(Manager *manager)
{
	MemoryContext old;
	List	   *centers = NIL;
	ListCell   *lc;
	bool		found;

	MemoryContextReset(manager->registry_context);
	manager->members = NIL;
	manager->state = CENTER_PARTED;

	/* There may be a member whose link nothing was written of yet. */
	manager->next_keep_times_ms = 0;

	StartTransactionCommand();
	old = MemoryContextSwitchTo(manager->registry_context);
	found = mc_database_is_center(MyDatabaseId);
	manager->no_extension = found &&
		!OidIsValid(get_extension_oid("multicenter", true));
	if (manager->no_extension)
		manager->identity.detached = true;
	else
		found = found && mc_registry_identity(&manager->identity);
	if (found && !manager->no_extension)
		centers = mc_registry_centers();
	foreach(lc, centers)
	{
		Member	   *member = palloc(sizeof(Member));

		member->center = lfirst(lc);
		mc_registry_link(member->center->id, &member->options);
		manager->members = lappend(manager->members, member);
		if (member->center->id == manager->identity.center_id)
			manager->state = member->center->state;
	}
	MemoryContextSwitchTo(old);
	if (centers != NIL && !manager->identity.detached)
		mc_vector_set_members(centers, manager->identity.center_id);
	CommitTransactionCommand();
	return found;
}

/*
 * The gate follows our own state; but as long as an operation changes that,
 * the gate is the operation's, which is ahead of what we have read.
 */
static void
set_gate(Manager *manager)
{
	WriteGate	gate = GATE_OPEN;
	bool		operation;

	SpinLockAcquire(&manager->database->mutex);
	operation = manager->database->operation;
	SpinLockRelease(&manager->database->mutex);
	if (operation)
		return;
	if (manager->state == CENTER_JOINING || manager->state == CENTER_COPYING)
		gate = GATE_JOINING;
	else if (manager->state == CENTER_PARTING)
		gate = GATE_PARTING;
	mc_gate_set(MyDatabaseId, gate);
}

/* End the receiver of a link, if one runs. */
static void
stop_receiver(SharedLink *link)
{
	pid_t		pid;

	SpinLockAcquire(&link->mutex);
	pid = link->pid;
	SpinLockRelease(&link->mutex);
	if (pid != 0)
		kill(pid, SIGTERM);
}

/* Start the receiver of a link if none runs and its backoff is over. */
static void
start_receiver(SharedLink *link, const char *peer_name)
{
	int64		now_ms = mc_monotonic_ms();
	pid_t		pid;
	int64		start_after_ms;
	OriginLsn	nowhere = {InvalidXLogRecPtr};
	int			failures;

	SpinLockAcquire(&link->mutex);
	pid = link->pid;
	start_after_ms = link->start_after_ms;
	failures = ++link->failures;
	SpinLockRelease(&link->mutex);
	if (pid != 0 || now_ms < start_after_ms)
	{
		SpinLockAcquire(&link->mutex);
		link->failures--;
		SpinLockRelease(&link->mutex);
		return;
	}

	start_after_ms = now_ms + mc_worker_backoff_ms(failures);
	SpinLockAcquire(&link->mutex);
	link->start_after_ms = start_after_ms;
	SpinLockRelease(&link->mutex);

	if (!mc_worker_start("mc_receiver_main", "multicenter receiver", peer_name,
						 Int32GetDatum((int) (link - mc_shared->links)), NULL))
		mc_link_set_error(link, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
						  "no background worker is free: raise max_worker_processes",
						  NULL, nowhere, false);
}

/* Tell shared memory what the registry knows of a link. */
static void
describe_link(SharedLink *link, SharedOutLink *outlink, const Member *member)
{
	SpinLockAcquire(&link->mutex);
	link->peer_name = member->center->name;
	if (link->heard_ts == 0)
		link->heard_ts = member->options.heard_ts;
	SpinLockRelease(&link->mutex);
	SpinLockAcquire(&outlink->mutex);
	outlink->paused = member->options.paused_out;
	if (outlink->confirmed_ts == 0)
		outlink->confirmed_ts = member->options.confirmed_ts;
	SpinLockRelease(&outlink->mutex);
}

/* Start or stop the receiver of one peer. */
static void
manage_link(Manager *manager, const Member *member)
{
	const Center *peer = member->center;
	SharedLink *link = mc_shared_link(MyDatabaseId, peer->id, true);

	SharedOutLink *outlink;

	/* Listed even before a slot exists, so that a view misses no peer. */
	outlink = mc_shared_outlink(MyDatabaseId, peer->id, true);
	describe_link(link, outlink, member);

	if (!is_linked(manager, peer))
		stop_receiver(link);
	else if (member->options.paused_in)
	{
		stop_receiver(link);
		mc_link_set_state(link, LINK_PAUSED, "paused by link_pause()");
		SpinLockAcquire(&link->mutex);
		link->failures = 0;
		link->start_after_ms = 0;
		SpinLockRelease(&link->mutex);
	}
	else
	{
		if (link->state == LINK_PAUSED)
			mc_link_set_state(link, LINK_DISCONNECTED, NULL);
		start_receiver(link, NameStr(peer->name));
	}
}

/* Is this center still a member? */
static bool
is_member(const Manager *manager, CenterId id)
{
	ListCell   *lc;

	foreach(lc, manager->members)
		if (((Member *) lfirst(lc))->center->id == id)
		return true;
	return false;
}

/*
 * Drop our slot for a center that has parted.  If it is in use, its walsender
 * is ended, and the slot dropped in a later round.
 */
static void
drop_slot(CenterId target)
{
	char		name[NAMEDATALEN];
	const char *params[1];

	params[0] = mc_slot_name(name, MyDatabaseId, target);
	mc_step_begin();
	mc_step_sql("SELECT multicenter.internal_drop_slot($1::pg_catalog.name)", 1, params);
	mc_step_end();
}

/* Does a slot of ours for that center exist? */
static bool
slot_exists(CenterId target)
{
	char		name[NAMEDATALEN];

	return SearchNamedReplicationSlot(mc_slot_name(name, MyDatabaseId, target), true) != NULL;
}

/* End the links of centers that have left, and let their WAL go. */
static void
forget_parted(Manager *manager)
{
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId || is_member(manager, link->peer))
			continue;
		stop_receiver(link);
		if (slot_exists(link->peer))
			drop_slot(link->peer);
		else if (link->pid == 0)
		{
			SharedOutLink *outlink = mc_shared_outlink(MyDatabaseId, link->peer, false);

			LWLockAcquire(mc_shared->lock, LW_EXCLUSIVE);
			if (outlink != NULL)
				outlink->dboid = InvalidOid;
			link->dboid = InvalidOid;
			LWLockRelease(mc_shared->lock);
			mc_table_stat_forget(MyDatabaseId, link->peer);
		}
	}
}

/* Have all links heard from their peers since we began to catch up? */
static bool
has_caught_up(Manager *manager)
{
	ListCell   *lc;

	foreach(lc, manager->members)
	{
		Center	   *peer = ((Member *) lfirst(lc))->center;
		SharedLink *link;
		bool		caught_up;

		if (!is_linked(manager, peer))
			continue;
		link = mc_shared_link(MyDatabaseId, peer->id, true);
		SpinLockAcquire(&link->mutex);
		caught_up = link->state == LINK_STREAMING && link->heard_by_heartbeat &&
			link->heard_at > manager->catching_up_since;
		SpinLockRelease(&link->mutex);
		if (!caught_up)
			return false;
	}
	return true;
}

/*
 * Undo an operation that died half-way, unless one is at work.  Our claim
 * keeps another from beginning meanwhile.
 */
static void
undo_operation(Manager *manager)
{
	bool		changed;

	if (mc_monotonic_ms() < manager->next_undo_ms || !mc_shared_claim(MyDatabaseId))
		return;
	undoing = true;

	/* An operation that has just ended told us so before it let go. */
	SpinLockAcquire(&manager->database->mutex);
	changed = manager->database->reload;
	SpinLockRelease(&manager->database->mutex);

	if (!changed && manager->state == CENTER_PARTING)
	{
		ereport(LOG,
				(errmsg("this center did not finish leaving group \"%s\" and goes on as a member",
						NameStr(manager->identity.group_name))));
		mc_part_clean_up();
	}
	else if (!changed)
	{
		ereport(LOG,
				(errmsg("the join of this center to group \"%s\" did not finish and is undone",
						NameStr(manager->identity.group_name))));
		if (!mc_join_clean_up())
			manager->next_undo_ms = mc_monotonic_ms() + UNDO_MS;
	}
	undoing = false;
	mc_shared_release(MyDatabaseId);
	mc_shared_reload(MyDatabaseId);
}

/* Our own progress through the states of a member. */
static void
advance_state(Manager *manager, TimestampTz now)
{
	if (manager->state == CENTER_JOINING || manager->state == CENTER_COPYING ||
		manager->state == CENTER_PARTING)
		undo_operation(manager);
	if (manager->state != CENTER_CATCHING_UP)
		manager->catching_up_since = 0;
	else if (manager->catching_up_since == 0)
		manager->catching_up_since = now;
	else if (has_caught_up(manager))
	{
		StartTransactionCommand();
		mc_registry_set_state(manager->identity.center_id, CENTER_READY);
		CommitTransactionCommand();
		mc_shared_reload(MyDatabaseId);
		ereport(LOG,
				(errmsg("center %u of group \"%s\" is ready",
						manager->identity.center_id,
						NameStr(manager->identity.group_name))));
	}
}

/*
 * A clone or a restored copy starts nothing, and says so once.  Nor does a
 * center without our extension, whose tables are gone.
 */
static void
tell_detached(Manager *manager)
{
	if (manager->told_detached)
		return;
	manager->told_detached = true;
	if (manager->no_extension)
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"multicenter\" is missing in a database that is a center of a group"),
				 errdetail("Its replication slots keep their WAL."),
				 errhint("Create the extension and call multicenter.group_remove_local(force => true); part the center from the group on another one.")));
	else
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy of center %u of group \"%s\" and starts no link",
						manager->identity.center_id,
						NameStr(manager->identity.group_name)),
				 errhint("Call multicenter.group_remove_local(force => true), then join the group as a new center.")));
}

/* Has the group no other center? */
static bool
is_alone(const Manager *manager)
{
	return list_length(manager->members) <= 1;
}

/*
 * Look how many transactions write, if that matters.  Where that begins, the heartbeat before
 * was a long one.
 */
static void
watch_rate(Manager *manager, int64 now_ms)
{
	uint64		xid = U64FromFullTransactionId(ReadNextFullTransactionId());
	bool		busy = !mc_hold_is_following() && (xid - manager->last_xid) * 1000 >=
	BUSY_RATE * (uint64) (now_ms - manager->last_rate_ms);

	if (busy && !manager->busy)
		manager->next_heartbeat_ms = Min(manager->next_heartbeat_ms, now_ms);
	manager->busy = busy;
	manager->last_xid = xid;
	manager->last_rate_ms = now_ms;
	manager->next_rate_ms = now_ms + RATE_MS;
}

/* Are all centers past their join? */
static bool
all_ready(const Manager *manager)
{
	ListCell   *lc;

	foreach(lc, manager->members)
		if (((Member *) lfirst(lc))->center->state != CENTER_READY)
		return false;
	return true;
}

/* How far is the next heartbeat to promise ahead of the clock?  In microseconds. */
static int64
promise_ahead(const Manager *manager, TimestampTz now)
{
	TimestampTz written_at = mc_clock_written_at();

	return manager->busy && !is_alone(manager) && all_ready(manager) &&
		now > written_at && now - written_at >= QUIET_US ?
		mc_promise_ahead_ms * INT64CONST(1000) : 0;
}

/*
 * Write a heartbeat: a message in the stream that needs no transaction, so
 * that it works on a center that refuses writes, and is flushed, because the
 * walsender sends only what is.
 */
static void
write_heartbeat(Manager *manager, TimestampTz now)
{
	LocalLsn	end = mc_heartbeat_write(promise_ahead(manager, now));
	int64		now_ms = mc_monotonic_ms();

	manager->heartbeat_pause_ms = mc_heartbeat_interval_ms;
	if (manager->busy && !is_alone(manager))
		manager->heartbeat_pause_ms = Max(Min(manager->heartbeat_pause_ms, BUSY_LEAST_MS),
										  manager->heartbeat_pause_ms / BUSY_HEARTBEATS);
	manager->next_heartbeat_ms = now_ms + manager->heartbeat_pause_ms;
	manager->next_horizon_ms = manager->busy && is_alone(manager) ?
		now_ms + BUSY_ALONE_MS : manager->next_heartbeat_ms;
	if (now_ms < manager->next_noted_ms)
		return;
	mc_monitor_heartbeat(end, now);
	manager->next_noted_ms = now_ms + mc_heartbeat_interval_ms;
	manager->confirmed_pause_ms = CONFIRMED_PAUSE_MS;
}

/* Write one link's times, where they are newer than what is written. */
static void
keep_link_times(CenterId peer, TimestampTz heard, TimestampTz confirmed)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {Int32GetDatum(peer), TimestampTzGetDatum(heard),
	TimestampTzGetDatum(confirmed)};
	char		nulls[] = {' ', heard ? ' ' : 'n', confirmed ? ' ' : 'n'};

	SPI_execute_with_args("INSERT INTO multicenter.link AS l (peer_id, heard_ts, confirmed_ts)"
						  " VALUES ($1, $2, $3) ON CONFLICT (peer_id) DO UPDATE SET"
						  " heard_ts = GREATEST(l.heard_ts, excluded.heard_ts),"
						  " confirmed_ts = GREATEST(l.confirmed_ts, excluded.confirmed_ts)",
						  3, types, values, nulls, false, 0);
}

/*
 * Keep the times of the links in a table, so that lag is known, and growing,
 * even where this server has restarted and the peer has not come back.  For
 * mc_attempt(): a session may have the rows, for as long as it likes.
 */
static void
keep_times(RemoteTransaction *transaction, void *arg)
{
	Manager    *manager = arg;
	ListCell   *lc;

	/* Who writes nothing else still promises ahead. */
	mc_clock_private();
	manager->times_known = true;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	foreach(lc, manager->members)
	{
		Center	   *peer = ((Member *) lfirst(lc))->center;
		SharedLink *link = mc_shared_link(MyDatabaseId, peer->id, false);
		SharedOutLink *outlink = mc_shared_outlink(MyDatabaseId, peer->id, false);

		if (link == NULL || outlink == NULL)
			continue;
		if (link->heard_ts == 0 || outlink->confirmed_ts == 0)
			manager->times_known = false;
		if (link->heard_ts != 0 || outlink->confirmed_ts != 0)
			keep_link_times(peer->id, link->heard_ts, outlink->confirmed_ts);
	}
	SPI_finish();
	PopActiveSnapshot();
}

/* Look at displaced rows. */
static void
look_at_displaced(Manager *manager, int64 now_ms)
{
	TimestampTz frontier = mc_horizon_frontier();
	AttemptResult result = mc_displace_look(manager->identity.center_id);
	int64		end_ms = mc_monotonic_ms();

	if (result == ATTEMPT_DONE)
		mc_horizon_displaced_seen(frontier);

	/* Most of the time is for other work, however many rows there are. */
	manager->next_look_ms = end_ms + 10 * (end_ms - now_ms) +
		(result == ATTEMPT_FAILED ? FAILED_LOOK_MS : Min(LOOK_MS, manager->heartbeat_pause_ms));
}

/* When to try the changes in quarantine: soon after something was applied. */
static int64
next_retry_ms(const Manager *manager)
{
	return mc_shared_should_retry() ?
		manager->retried_ms + RETRY_PAUSE_MS : manager->next_retry_ms;
}

/* Try them. */
static void
retry(Manager *manager)
{
	int64		began_ms = mc_monotonic_ms();

	mc_retry_look(manager->identity.center_id);

	/* Most of the time is for other work, however many there are. */
	manager->retried_ms = mc_monotonic_ms();
	manager->retried_ms += manager->retried_ms - began_ms;
	manager->next_retry_ms = manager->retried_ms + RETRY_MS;
}

/*
 * See how far peers have confirmed, again and again until they have confirmed
 * the last heartbeat, so that it is known how long that took; and take samples.
 */
static void
watch_links(Manager *manager, int64 now_ms)
{
	manager->next_confirmed_ms = INT64CONST(0x7FFFFFFFFFFFFFFF);
	if (mc_monitor_look() && manager->confirmed_pause_ms < LOOK_MS)
	{
		manager->next_confirmed_ms = now_ms + manager->confirmed_pause_ms;
		manager->confirmed_pause_ms *= 4;
	}
	if (now_ms < manager->next_sample_ms)
		return;
	mc_monitor_sample();
	manager->next_sample_ms += SAMPLE_MS;
	if (manager->next_sample_ms <= now_ms)
		manager->next_sample_ms = now_ms + SAMPLE_MS;
}

/* What is due by the clock rather than by a change. */
static void
do_timed_work(Manager *manager, TimestampTz now)
{
	int64		now_ms = mc_monotonic_ms();
	bool		heartbeat;
	bool		alone = is_alone(manager);

	if (now_ms >= manager->next_rate_ms)
		watch_rate(manager, now_ms);
	heartbeat = now_ms >= manager->next_heartbeat_ms;
	if (heartbeat || now_ms >= manager->next_horizon_ms)
	{
		mc_horizon_look(alone);
		if (heartbeat)
			write_heartbeat(manager, now);
		else
			manager->next_horizon_ms = now_ms + BUSY_ALONE_MS;
		mc_horizon_work(alone);
	}
	watch_links(manager, now_ms);
	if (now_ms >= manager->next_keep_times_ms)
		manager->next_keep_times_ms = now_ms +
			(mc_attempt(manager->identity.center_id, keep_times, manager, NULL) == ATTEMPT_DONE &&
			 manager->times_known ? KEEP_TIMES_MS : FIRST_TIMES_MS);
	if (now_ms >= manager->next_look_ms)
		look_at_displaced(manager, now_ms);
	if (now_ms >= next_retry_ms(manager))
		retry(manager);
	if (now_ms >= manager->next_stale_ms)
	{
		mc_stale_look(manager->identity.center_id);
		manager->next_stale_ms = now_ms + STALE_MS;
	}
	mc_announce_work(manager->identity.center_id);
	mc_health_work(manager->identity.center_id);
	mc_audit_work(manager->identity.center_id);
}

/* See to the fences around tables.  look: the registry has changed. */
static void
manage_fences(Manager *manager, bool look)
{
	List	   *centers = NIL;
	ListCell   *lc;

	foreach(lc, manager->members)
		centers = lappend_int(centers, ((Member *) lfirst(lc))->center->id);
	manager->fencing = mc_rewrite_work(manager->identity.center_id, centers, look);

	/* A transaction may have left us in a context that is never reset. */
	list_free(centers);
}

/* When the next round has something to do if nobody wakes us. */
static long
next_round_ms(Manager *manager)
{
	int64		now_ms = mc_monotonic_ms();
	int64		retry_ms = next_retry_ms(manager);
	int64		announce_ms = mc_announce_next_ms();
	int64		next_ms = Min(Min(Min(manager->next_heartbeat_ms, manager->next_horizon_ms),
								  Min(manager->next_rate_ms, manager->next_look_ms)),
							  Min(manager->next_registry_check_ms, retry_ms));
	ListCell   *lc;

	if (!manager->identity.detached)
		next_ms = Min(next_ms, Min(manager->next_confirmed_ms, manager->next_sample_ms));
	foreach(lc, manager->members)
	{
		Center	   *peer = ((Member *) lfirst(lc))->center;
		SharedLink *link = mc_shared_link(MyDatabaseId, peer->id, false);

		if (link != NULL && link->pid == 0 && link->start_after_ms > now_ms)
			next_ms = Min(next_ms, link->start_after_ms);
	}
	if (!manager->identity.detached)
		next_ms = Min(next_ms, announce_ms);
	if (manager->fencing)
		next_ms = Min(next_ms, now_ms + MC_FENCE_POLL_MS);
	return (long) Max(1, next_ms - now_ms);
}

/* One round; false if this database is no center any more. */
static bool
manage(Manager *manager)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		now_ms = mc_monotonic_ms();
	bool		look = registry_is_due(manager, now_ms);
	ListCell   *lc;

	if (look)
	{
		if (!read_registry(manager))
			return false;
		if (!manager->identity.detached)
		{
			set_gate(manager);
			mc_departed_release();
		}
	}
	if (manager->identity.detached)
	{
		tell_detached(manager);
		manager->next_heartbeat_ms = now_ms + REGISTRY_CHECK_MS;
		manager->next_horizon_ms = manager->next_heartbeat_ms;
		manager->next_rate_ms = manager->next_heartbeat_ms;
		manager->next_look_ms = manager->next_heartbeat_ms;
		manager->next_retry_ms = manager->next_heartbeat_ms;
		return true;
	}
	mc_horizon_begin();
	advance_state(manager, now);
	foreach(lc, manager->members)
	{
		Member	   *member = lfirst(lc);

		if (member->center->id != manager->identity.center_id)
			manage_link(manager, member);
	}
	forget_parted(manager);

	/*
	 * What was promised does not count any more where policies begin to
	 * decide.
	 */
	if (look)
		mc_hold_keep_deletes();
	manage_fences(manager, look);
	if (look && manager->state >= CENTER_CATCHING_UP)
		mc_policy_take_over();
	do_timed_work(manager, now);
	return true;
}

void
mc_manager_main(Datum arg)
{
	Manager    *manager;

	mc_worker_begin(DatumGetObjectId(arg));
	mc_guard_exempt();
	manager = MemoryContextAllocZero(TopMemoryContext, sizeof(Manager));
	manager->registry_context = AllocSetContextCreate(TopMemoryContext,
													  "multicenter registry",
													  ALLOCSET_SMALL_SIZES);
	manager->round_context = AllocSetContextCreate(TopMemoryContext,
												   "multicenter manager round",
												   ALLOCSET_SMALL_SIZES);
	if (!announce(manager))
		proc_exit(1);

	MemoryContextSwitchTo(manager->round_context);
	while (manage(manager))
	{
		MemoryContextReset(manager->round_context);
		pgstat_report_stat(false);
		mc_worker_wait(next_round_ms(manager), MC_WAIT_MANAGER);
	}

	/* The database has left its group. */
	cancel_before_shmem_exit(manager_exit, PointerGetDatum(manager->database));
	manager_exit(0, PointerGetDatum(manager->database));
	mc_shared_forget_database(MyDatabaseId);
	proc_exit(1);
}
