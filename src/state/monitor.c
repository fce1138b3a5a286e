/*-------------------------------------------------------------------------
 *
 * monitor.c
 *	  How well links are: state, reason, lag, rates, from shared memory.
 *
 * NOTES
 *	  Lag says how old the newest change is of which it is known that
 *	  everything before it is applied at the target.  Of an incoming link that
 *	  is the heartbeat or commit that was applied last, by the peer's clock,
 *	  whose difference to ours is known from heartbeats in both directions.
 *	  Of an outgoing one it is our own heartbeat at the position that the peer
 *	  has confirmed.  As long as heartbeats arrive in time, lag is how long the
 *	  last one has taken; later it is its age, which grows.
 *
 *	  Reading takes spinlocks for the time of a copy, and no other lock that
 *	  apply ever waits for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "state/monitor.h"
#include "state/registry.h"
#include "state/settings.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"

#define SECOND_US			USECS_PER_SEC

/* Three heartbeats that are missing are a silence, if it is not too short. */
#define SILENCE_HEARTBEATS	3
#define SILENCE_MIN_US		(3 * SECOND_US)

/* What is older than this is behind. */
#define BEHIND_US			(2 * SECOND_US)

/* So long without a transaction is idle. */
#define IDLE_US				(10 * SECOND_US)

/* A transaction that takes so long is worth a look at what it waits for. */
#define LONG_APPLY_US		(1 * SECOND_US)

/* Rates are of so long a time, and those of rare events of a minute. */
#define RATE_US				(5 * SECOND_US)
#define RATE_MIN_US			(1500 * INT64CONST(1000))
#define MINUTE_US			(60 * SECOND_US)

/* Below that a wait event is none of the heavyweight locks. */
#define WAIT_CLASS_MASK		0xFF000000U

/* ---- what happens ---- */

void
mc_monitor_applying(SharedLink *link, XLogRecPtr commit_lsn)
{
	pg_atomic_write_u64(&link->applying_lsn, commit_lsn);
	pg_atomic_write_u64(&link->applying_since,
						commit_lsn ? (uint64) GetCurrentTimestamp() : 0);
}

void
mc_monitor_copy_link(SharedLink *copy, SharedLink *link)
{
	SpinLockAcquire(&link->mutex);
	memcpy(copy, link, offsetof(SharedLink, ring_count));
	SpinLockRelease(&link->mutex);
}

void
mc_monitor_copy_outlink(SharedOutLink *copy, SharedOutLink *link)
{
	SpinLockAcquire(&link->mutex);
	*copy = *link;
	SpinLockRelease(&link->mutex);
}

LinkHistory *
mc_monitor_history(const SharedLink *link)
{
	return &mc_shared->histories[link - mc_shared->links];
}

LinkHistory *
mc_monitor_out_history(const SharedOutLink *link)
{
	return &mc_shared->histories[mc_shared->nlinks + (link - mc_shared->outlinks)];
}

/* ---- our own heartbeats ---- */

/* How many heartbeats stand between two entries of a level. */
static uint64
level_step(int level)
{
	return UINT64CONST(1) << (4 * level);
}

void
mc_monitor_heartbeat(LocalLsn lsn, TimestampTz ts)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, true);
	HeartbeatLog *log = &database->heartbeats;
	HeartbeatEntry entry = {lsn, ts};

	SpinLockAcquire(&database->mutex);
	for (int level = 0; level < MC_HEARTBEAT_LEVELS; level++)
		if (log->count % level_step(level) == 0)
			log->entries[level][log->count / level_step(level) % MC_HEARTBEATS] = entry;
	log->count++;
	SpinLockRelease(&database->mutex);
}

/* What is known of a position in our WAL. */
typedef struct PositionTime
{
	TimestampTz ts;				/* everything before that is before it; 0:
								 * unknown */
	TimestampTz heartbeat_ts;	/* the newest heartbeat before it; 0: unknown */
	TimestampTz next_ts;		/* the heartbeat behind it; 0: none */
	TimestampTz newest_ts;		/* the newest heartbeat of all; 0: none */
} PositionTime;

/*
 * Look a position up in one level; false if all its entries are behind it.
 * The spinlock of the database is held.
 */
static bool
find_in_level(const HeartbeatLog *log, int level, XLogRecPtr lsn, PositionTime *found)
{
	uint64		end = (log->count + level_step(level) - 1) / level_step(level);
	uint64		low = end > MC_HEARTBEATS ? end - MC_HEARTBEATS : 0;
	uint64		high = end;
	const HeartbeatEntry *before;
	const HeartbeatEntry *behind;

	/* The first entry that is behind the position. */
	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;

		if (log->entries[level][middle % MC_HEARTBEATS].lsn.value <= lsn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || low + MC_HEARTBEATS == end)
		return false;
	before = &log->entries[level][(low - 1) % MC_HEARTBEATS];
	found->heartbeat_ts = before->ts;
	found->ts = before->ts;
	if (low == end)
		return true;
	behind = &log->entries[level][low % MC_HEARTBEATS];
	found->next_ts = behind->ts;
	if (behind->lsn.value > before->lsn.value)
		found->ts += (TimestampTz) ((double) (behind->ts - before->ts) *
									(double) (lsn - before->lsn.value) /
									(double) (behind->lsn.value - before->lsn.value));
	return true;
}

/* Turn a position of our WAL into times. */
static void
find_position(XLogRecPtr lsn, PositionTime *found)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);
	HeartbeatLog *log;

	memset(found, 0, sizeof(PositionTime));
	if (database == NULL)
		return;
	log = &database->heartbeats;
	SpinLockAcquire(&database->mutex);
	if (log->count > 0)
		found->newest_ts = log->entries[0][(log->count - 1) % MC_HEARTBEATS].ts;
	for (int level = 0; level < MC_HEARTBEAT_LEVELS; level++)
		if (find_in_level(log, level, lsn, found))
			break;
	SpinLockRelease(&database->mutex);
}

/* Position that the target of a slot of ours has confirmed; 0: no slot. */
static XLogRecPtr
confirmed_position(CenterId target)
{
	char		name[NAMEDATALEN];
	ReplicationSlot *slot;
	XLogRecPtr	confirmed = InvalidXLogRecPtr;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(mc_slot_name(name, MyDatabaseId, target), false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		confirmed = slot->data.confirmed_flush;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return confirmed;
}

bool
mc_monitor_look(void)
{
	bool		waits = false;

	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *link = &mc_shared->outlinks[i];
		XLogRecPtr	confirmed;
		PositionTime position;
		TimestampTz now;

		if (link->dboid != MyDatabaseId)
			continue;
		confirmed = confirmed_position(link->peer);
		find_position(confirmed, &position);
		now = GetCurrentTimestamp();
		SpinLockAcquire(&link->mutex);
		if (confirmed > link->confirmed_lsn.value)
		{
			link->confirmed_lsn.value = confirmed;
			link->moved_at = now;
		}
		/* Nobody has confirmed where a slot begins. */
		if (position.heartbeat_ts > link->confirmed_ts &&
			(link->connects > 0 || link->confirmed_ts != 0))
		{
			link->confirmed_ts = position.heartbeat_ts;
			link->confirmed_at = now;
			link->delay_us = Max(now - position.heartbeat_ts, 1);
		}
		if (link->walsender_pid != 0 && position.heartbeat_ts < position.newest_ts)
			waits = true;
		SpinLockRelease(&link->mutex);
	}
	return waits;
}

/* ---- state ---- */

/* How long nothing may be heard before that is a silence. */
static int64
silence_us(void)
{
	return Max(SILENCE_HEARTBEATS * mc_heartbeat_interval_ms * INT64CONST(1000),
			   SILENCE_MIN_US);
}

/* A heartbeat that has not come for this long is late. */
static int64
late_us(void)
{
	int64		interval_us = mc_heartbeat_interval_ms * INT64CONST(1000);

	return interval_us + Max(interval_us / 2, SECOND_US / 2);
}

/* For people. */
static int
whole_seconds(int64 us)
{
	return (int) (us / SECOND_US);
}

/* Does a process wait for a heavyweight lock? */
static bool
waits_for_lock(pid_t pid)
{
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	return proc != NULL && (proc->wait_event_info & WAIT_CLASS_MASK) == PG_WAIT_LOCK;
}

/* Is a receiver at work that has not failed? */
static bool
runs_well(const SharedLink *link)
{
	return link->pid != 0 &&
		(link->state == LINK_STREAMING || link->state == LINK_CATCHING_UP ||
		 (link->state == LINK_STALLED && link->error.at < link->state_since));
}

/* Has the peer said something recently? */
static bool
is_alive(const SharedLink *link, TimestampTz now)
{
	return link != NULL && link->pid != 0 && now - link->last_message_at < silence_us();
}

/* Show another state than the receiver or walsender has set. */
static void
set_state(LinkMeasure *measure, LinkState state, TimestampTz since)
{
	if (measure->state == state)
		return;
	measure->state = state;
	measure->state_since = since;
}

/* Why a link that does not run well does not. */
static void
explain_failure(const SharedLink *link, LinkMeasure *measure)
{
	const LinkError *error = &link->error;
	int			n;

	strlcpy(measure->reason, link->stall_reason, MC_REASON_BYTES);
	if (measure->state == LINK_PAUSED || error->at == 0 ||
		error->at < link->last_message_at)
		return;

	/* The error is what the state is about; where, and how often? */
	if (measure->reason[0] == '\0')
		strlcpy(measure->reason, error->message, MC_REASON_BYTES);
	n = (int) strlen(measure->reason);
	if (error->origin_lsn != InvalidXLogRecPtr)
		n += snprintf(measure->reason + n, MC_REASON_BYTES - n,
					  " (transaction at %X/%X of center \"%s\"%s%s)",
					  LSN_FORMAT_ARGS(error->origin_lsn), NameStr(link->peer_name),
					  error->relation[0] ? ", table " : "", error->relation);
	if (link->failures > 1 && n < MC_REASON_BYTES)
		snprintf(measure->reason + n, MC_REASON_BYTES - n, "; failed %d times",
				 link->failures);
}

/* The receiver is busy with a transaction, and has been for long. */
static void
judge_applying(const SharedLink *link, TimestampTz now, LinkMeasure *measure)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &link->applying_since));
	XLogRecPtr	lsn = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &link->applying_lsn));
	bool		flows = now - link->last_message_at < silence_us();
	pid_t		pid = link->applier_pid != 0 ? link->applier_pid : link->pid;

	if (waits_for_lock(pid))
	{
		measure->waits_for_lock = pid;
		set_state(measure, LINK_STALLED, since);
		snprintf(measure->reason, MC_REASON_BYTES,
				 "waits for a lock in transaction at %X/%X of center \"%s\" for %d s",
				 LSN_FORMAT_ARGS(lsn), NameStr(link->peer_name), whole_seconds(now - since));
	}
	else if (now - since >= silence_us())
	{
		set_state(measure, flows ? LINK_CATCHING_UP : LINK_STALLED, since);
		if (measure->reason[0] == '\0')
			snprintf(measure->reason, MC_REASON_BYTES,
					 "applies transaction at %X/%X of center \"%s\" for %d s",
					 LSN_FORMAT_ARGS(lsn), NameStr(link->peer_name), whole_seconds(now - since));
	}
}

/* The state of an incoming link whose receiver runs. */
static void
judge_running(const SharedLink *link, TimestampTz now, LinkMeasure *measure)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &link->applying_since));
	TimestampTz message_at = link->last_message_at;
	TimestampTz heard_at = Max(link->heard_at, link->state_since);
	TimestampTz busy_at = Max(link->last_xact_at, link->state_since);

	if (since != 0 && now - since > LONG_APPLY_US)
		judge_applying(link, now, measure);
	else if (now - message_at > silence_us())
	{
		measure->silent_us = now - message_at;
		set_state(measure, LINK_STALLED, message_at);
		snprintf(measure->reason, MC_REASON_BYTES, "no message from center \"%s\" for %d s",
				 NameStr(link->peer_name), whole_seconds(now - message_at));
	}
	else if (now - heard_at > silence_us() && measure->state == LINK_STREAMING)
	{
		set_state(measure, LINK_STALLED, heard_at);
		snprintf(measure->reason, MC_REASON_BYTES,
				 "center \"%s\" sends, but no heartbeat for %d s: its manager does not run",
				 NameStr(link->peer_name), whole_seconds(now - heard_at));
	}
	else if (measure->state == LINK_STREAMING && measure->lag_us > BEHIND_US)
		set_state(measure, LINK_CATCHING_UP, heard_at);
	else if (measure->state == LINK_STREAMING && now - busy_at > IDLE_US)
		set_state(measure, LINK_IDLE, busy_at + IDLE_US);
}

/* Lag of an incoming link. */
static void
measure_lag_in(const SharedLink *link, TimestampTz now, LinkMeasure *measure)
{
	int64		offset_us = 0;
	int64		delay_us;

	measure->lag_us = MC_UNKNOWN;
	measure->basis = "unknown";
	if (link->heard_ts == 0)
		return;

	/* Where it was measured one way only a small one is the way itself. */
	if (link->clock_known && (link->clock_error_us >= 0 ||
							  link->clock_offset_us > SECOND_US ||
							  link->clock_offset_us < -SECOND_US))
		offset_us = link->clock_offset_us;
	delay_us = link->heard_at + offset_us - link->heard_ts;
	if (!runs_well(link) || now - link->heard_at > late_us() || delay_us > BEHIND_US)
		delay_us = now + offset_us - link->heard_ts;
	measure->lag_us = Max(delay_us, 1);
	measure->basis = link->heard_by_heartbeat || link->heard_at == 0 ? "heartbeat" : "commit";
}

/* The state of an outgoing link to which a walsender is connected. */
static void
judge_connected(const SharedOutLink *link, const SharedLink *in, TimestampTz now,
				const PositionTime *position, LinkMeasure *measure)
{
	TimestampTz busy_at = Max(link->last_xact_at, link->state_since);
	TimestampTz moved_at = Max(link->moved_at, link->state_since);
	bool		behind = position->next_ts != 0 && now - position->next_ts > BEHIND_US;

	if (position->newest_ts != 0 && now - Max(position->newest_ts, link->state_since) > silence_us())
	{
		set_state(measure, LINK_STALLED, position->newest_ts);
		snprintf(measure->reason, MC_REASON_BYTES,
				 "the manager of this center has written no heartbeat for %d s",
				 whole_seconds(now - position->newest_ts));
	}
	else if (behind && now - moved_at > silence_us())
	{
		set_state(measure, LINK_STALLED, moved_at);
		if (is_alive(in, now))
			snprintf(measure->reason, MC_REASON_BYTES,
					 "center \"%s\" is alive, but has confirmed nothing beyond %X/%X for %d s: it waits for a lock, or an error repeats there; see the view lag there",
					 NameStr(in->peer_name), LSN_FORMAT_ARGS(measure->position),
					 whole_seconds(now - moved_at));
		else
			snprintf(measure->reason, MC_REASON_BYTES,
					 "center \"%s\" is connected, but has confirmed nothing beyond %X/%X for %d s, and sends nothing either",
					 in ? NameStr(in->peer_name) : "", LSN_FORMAT_ARGS(measure->position),
					 whole_seconds(now - moved_at));
	}
	else if (behind)
		set_state(measure, LINK_CATCHING_UP, position->next_ts);
	else if (now - busy_at > IDLE_US)
		set_state(measure, LINK_IDLE, busy_at + IDLE_US);
}

/* Why nobody fetches our changes. */
static void
explain_absence(const SharedLink *in, TimestampTz now, LinkMeasure *measure)
{
	const char *name = in ? NameStr(in->peer_name) : "";

	if (is_alive(in, now))
		snprintf(measure->reason, MC_REASON_BYTES,
				 "center \"%s\" is alive, but %s: the link may be paused there, wait for a lock, or fail; see the view lag there",
				 name, measure->state == LINK_NEVER_CONNECTED ?
				 "has not connected yet" : "is not connected");
	else
		snprintf(measure->reason, MC_REASON_BYTES, "center \"%s\" %s%s%s", name,
				 measure->state == LINK_NEVER_CONNECTED ?
				 "has not connected yet" : "is not connected",
				 in && in->stall_reason[0] ? "; the other direction: " : "",
				 in ? in->stall_reason : "");
}

/* Lag of an outgoing link, by our own clock. */
static void
measure_lag_out(const SharedOutLink *link, TimestampTz now,
				const PositionTime *position, LinkMeasure *measure)
{
	TimestampTz ts = position->ts != 0 ? position->ts : link->confirmed_ts;
	int64		delay_us = link->delay_us;

	/* The manager has not yet seen that this heartbeat was confirmed. */
	if (position->heartbeat_ts > link->confirmed_ts)
		delay_us = now - position->heartbeat_ts;

	measure->lag_us = MC_UNKNOWN;
	measure->basis = "unknown";
	if (ts == 0)
		return;
	measure->basis = "heartbeat";

	/* What was written since is on its way, or is late. */
	if (link->walsender_pid == 0 || position->ts == 0)
		measure->lag_us = now - ts;
	else if (position->next_ts != 0 && now - position->next_ts > BEHIND_US)
		measure->lag_us = now - ts;
	else if (position->next_ts != 0)
		measure->lag_us = Max(now - position->next_ts, delay_us);
	else if (now - position->newest_ts > silence_us())
		measure->lag_us = now - position->newest_ts;
	else
		measure->lag_us = delay_us;
	measure->lag_us = Max(measure->lag_us, 1);
}

/* ---- rates ---- */

/* The n-th sample before the newest one, which is number 0. */
static const RateSample *
rate_sample(const LinkHistory *history, uint64 count, uint64 n)
{
	return &history->rates[(count - 1 - n) % MC_RATE_SAMPLES];
}

/*
 * The oldest sample that is not older than the window.  Those of a link that
 * stood still before it began to move do not count, if skip is set.
 */
static const RateSample *
window_start(const LinkHistory *history, uint64 count, TimestampTz now,
			 int64 window_us, bool skip)
{
	const RateSample *start = NULL;
	uint64		limit = Min(count, MC_RATE_SAMPLES - 1);

	for (uint64 n = 0; n < limit; n++)
	{
		const RateSample *sample = rate_sample(history, count, n);

		if (now - sample->ts > window_us + SECOND_US / 2)
			break;
		if (skip && start != NULL && sample->position == start->position &&
			now - start->ts >= RATE_MIN_US)
			break;
		start = sample;
	}
	return start;
}

/* Events per minute since a sample; counters may have been reset. */
static double
per_minute(uint64 now_count, uint64 then_count, int64 us)
{
	if (now_count < then_count)
		return MC_UNKNOWN;
	return (double) (now_count - then_count) * MINUTE_US / (double) Max(us, MINUTE_US);
}

/*
 * Compute what needs an earlier sample.  write_rate: bytes per second by which
 * the origin's WAL grows.
 */
static void
measure_rates(const LinkHistory *history, const RateSample *now, double write_rate,
			  LinkMeasure *measure)
{
	uint64		count = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &history->count));
	const RateSample *then = window_start(history, count, now->ts, RATE_US, true);
	int64		us;
	double		net_rate;

	measure->bytes_rate = measure->xacts_rate = MC_UNKNOWN;
	measure->conflicts_per_minute = measure->errors_per_minute = MC_UNKNOWN;
	measure->catchup_us = measure->state == LINK_STREAMING || measure->state == LINK_IDLE ?
		0 : MC_UNKNOWN;
	pg_read_barrier();
	if (then != NULL && now->ts - then->ts >= RATE_MIN_US && now->position >= then->position &&
		now->xacts >= then->xacts)
	{
		us = now->ts - then->ts;
		measure->bytes_rate = (double) (now->position - then->position) * SECOND_US / us;
		measure->xacts_rate = (double) (now->xacts - then->xacts) * SECOND_US / us;
		net_rate = measure->bytes_rate - write_rate;
		if (measure->state == LINK_CATCHING_UP && now->behind_bytes >= 0 && net_rate > 0)
			measure->catchup_us = (int64) Min((double) now->behind_bytes / net_rate * SECOND_US, 1e15);
	}
	then = window_start(history, count, now->ts, MINUTE_US, false);
	if (then == NULL)
		return;
	us = now->ts - then->ts;
	measure->conflicts_per_minute = per_minute(now->conflicts, then->conflicts, us);
	measure->errors_per_minute = per_minute(now->errors, then->errors, us);
}

/* Bytes per second by which our own WAL has grown lately. */
static double
own_write_rate(void)
{
	SharedDatabase *database = mc_shared_database(MyDatabaseId, false);
	HeartbeatEntry newest = {{0}, 0};
	HeartbeatEntry before = {{0}, 0};
	uint64		n = (uint64) (RATE_US / 1000 / mc_heartbeat_interval_ms) + 1;

	if (database == NULL)
		return 0;
	SpinLockAcquire(&database->mutex);
	n = Min(Min(n, database->heartbeats.count - 1), MC_HEARTBEATS - 1);
	if (database->heartbeats.count > 1)
	{
		newest = database->heartbeats.entries[0][(database->heartbeats.count - 1) % MC_HEARTBEATS];
		before = database->heartbeats.entries[0][(database->heartbeats.count - 1 - n) % MC_HEARTBEATS];
	}
	SpinLockRelease(&database->mutex);
	if (newest.ts <= before.ts)
		return 0;
	return (double) (newest.lsn.value - before.lsn.value) * SECOND_US / (newest.ts - before.ts);
}

/* ---- links ---- */

void
mc_monitor_in(const SharedLink *link, const LinkHistory *history, LinkMeasure *measure)
{
	TimestampTz now = GetCurrentTimestamp();
	RateSample	sample;

	memset(measure, 0, sizeof(LinkMeasure));
	measure->state = link->state;
	if (link->state == LINK_NEVER_CONNECTED && link->heard_ts != 0)
		measure->state = LINK_DISCONNECTED;
	measure->state_since = link->state_since;
	measure->position = link->applied_lsn.value;
	measure->origin_end = Max(link->peer_insert_lsn.value, measure->position);
	measure->behind_bytes = MC_UNKNOWN;
	measure_lag_in(link, now, measure);
	if (runs_well(link))
	{
		strlcpy(measure->reason, link->stall_reason, MC_REASON_BYTES);
		judge_running(link, now, measure);
	}
	else
		explain_failure(link, measure);
	if (measure->state == LINK_DISCONNECTED || measure->state == LINK_NEVER_CONNECTED)
	{
		TimestampTz heard_at = Max(link->last_message_at, link->heard_ts);

		measure->silent_us = Max(now - (heard_at ? heard_at : link->stats_reset), 1);
	}

	/* How much the peer has written is known only while it tells us. */
	if (measure->position != InvalidXLogRecPtr && now - link->last_message_at < silence_us())
		measure->behind_bytes = (int64) (measure->origin_end - measure->position);

	sample.ts = now;
	sample.position = measure->position;
	sample.behind_bytes = measure->behind_bytes;
	sample.xacts = link->counters.xacts;
	sample.conflicts = link->counters.conflicts;
	sample.errors = link->counters.retries;
	measure_rates(history, &sample, link->write_rate, measure);
}

void
mc_monitor_out(const SharedOutLink *link, const SharedLink *in, const LinkHistory *history,
			   LinkMeasure *measure)
{
	XLogRecPtr	confirmed = confirmed_position(link->peer);
	TimestampTz now;
	PositionTime position;
	RateSample	sample;

	memset(measure, 0, sizeof(LinkMeasure));
	find_position(confirmed, &position);
	now = GetCurrentTimestamp();
	measure->position = confirmed;
	measure->silent_us = MC_UNKNOWN;
	measure->origin_end = RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetXLogInsertRecPtr();
	measure->behind_bytes = MC_UNKNOWN;
	if (confirmed != InvalidXLogRecPtr)
		measure->behind_bytes = (int64) (measure->origin_end - Min(confirmed, measure->origin_end));
	measure->state_since = link->state_since;
	measure_lag_out(link, now, &position, measure);
	measure->state = LINK_STREAMING;
	if (link->paused)
	{
		measure->state = LINK_PAUSED;
		strlcpy(measure->reason, "paused by link_pause()", MC_REASON_BYTES);
	}
	else if (link->walsender_pid == 0)
	{
		measure->state = link->connects > 0 || link->confirmed_ts != 0 ?
			LINK_DISCONNECTED : LINK_NEVER_CONNECTED;
		explain_absence(in, now, measure);
	}
	else
		judge_connected(link, in, now, &position, measure);

	sample.ts = now;
	sample.position = confirmed;
	sample.behind_bytes = measure->behind_bytes;
	sample.xacts = link->xacts;
	sample.conflicts = sample.errors = 0;
	measure_rates(history, &sample, own_write_rate(), measure);
}

/* ---- samples ---- */

/* Append a sample; only the manager does. */
static void
add_sample(LinkHistory *history, const LinkMeasure *measure, uint64 xacts,
		   uint64 conflicts, uint64 errors)
{
	uint64		count = pg_atomic_read_u64(&history->count);
	RateSample *rate = &history->rates[count % MC_RATE_SAMPLES];
	LagSample  *lag = &history->lags[count % MC_LAG_SAMPLES];
	TimestampTz now = GetCurrentTimestamp();

	rate->ts = now;
	rate->position = measure->position;
	rate->behind_bytes = measure->behind_bytes;
	rate->xacts = xacts;
	rate->conflicts = conflicts;
	rate->errors = errors;
	lag->ts = now;
	lag->behind_bytes = measure->behind_bytes;
	lag->lag_ms = measure->lag_us < 0 ? PG_UINT32_MAX :
		(uint32) Min((measure->lag_us + 999) / 1000, (int64) PG_UINT32_MAX - 1);
	lag->state = measure->state;
	pg_write_barrier();
	pg_atomic_write_u64(&history->count, count + 1);
}

/* The incoming link with a peer of this database, as a copy; false: none. */
static bool
copy_of_peer(CenterId peer, SharedLink *copy)
{
	SharedLink *link = mc_shared_link(MyDatabaseId, peer, false);

	if (link != NULL)
		mc_monitor_copy_link(copy, link);
	return link != NULL;
}

void
mc_monitor_sample(void)
{
	SharedLink *copy = palloc0(offsetof(SharedLink, ring_count));
	LinkMeasure *measure = palloc(sizeof(LinkMeasure));

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];
		LinkHistory *history = mc_monitor_history(link);

		if (link->dboid != MyDatabaseId)
			continue;
		mc_monitor_copy_link(copy, link);
		mc_monitor_in(copy, history, measure);
		add_sample(history, measure, copy->counters.xacts, copy->counters.conflicts,
				   copy->counters.retries);
	}
	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *link = &mc_shared->outlinks[i];
		LinkHistory *history = mc_monitor_out_history(link);
		SharedOutLink out;
		bool		has_in;

		if (link->dboid != MyDatabaseId)
			continue;
		mc_monitor_copy_outlink(&out, link);
		has_in = copy_of_peer(out.peer, copy);
		mc_monitor_out(&out, has_in ? copy : NULL, history, measure);
		add_sample(history, measure, out.xacts, 0, 0);
	}
	pfree(measure);
	pfree(copy);
}
