/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  Set-returning functions behind the views.
 *
 * NOTES
 *	  They read shared memory and never dial out.  What is not known is null.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/clock.h"
#include "state/monitor.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(mc_link_status);
PG_FUNCTION_INFO_V1(mc_link_samples);
PG_FUNCTION_INFO_V1(mc_link_conflicts);
PG_FUNCTION_INFO_V1(mc_clock_status_row);
PG_FUNCTION_INFO_V1(mc_check_since);
PG_FUNCTION_INFO_V1(mc_stat_reset);

/* Columns of link_status(), in order. */
enum
{
	COL_PEER_ID, COL_DIRECTION, COL_PID, COL_STATE, COL_STALL_REASON,
	COL_STATE_SINCE, COL_WAITS_FOR_LOCK, COL_LAG, COL_LAG_BASIS,
	COL_REPLAY_LAG_BYTES, COL_LAST_MESSAGE_AT, COL_LAST_COMMIT_AT,
	COL_ORIGIN_LSN, COL_SENT_LSN, COL_RECEIVED_LSN, COL_FLUSH_LSN,
	COL_REPLAY_LSN, COL_ROUND_TRIP, COL_CLOCK_OFFSET, COL_CLOCK_ERROR, COL_SILENT,
	COL_BYTES_RATE, COL_XACTS_RATE, COL_CATCHUP, COL_CONFLICT_RATE,
	COL_ERROR_RATE, COL_XACTS,
	COL_INSERTS, COL_UPDATES, COL_DELETES, COL_TRUNCATES, COL_DDL,
	COL_CONFLICTS, COL_QUARANTINED, COL_RETRIES, COL_CONNECTS, COL_BYTES,
	COL_BYTES_RAW,
	COL_ERROR,
	COL_ERROR_SQLSTATE, COL_ERROR_RELATION, COL_ERROR_LSN, COL_ERROR_AT,
	COL_STATS_RESET,
	NCOLUMNS
};

/* After this time a measured round trip is none of the present any more. */
#define ROUND_TRIP_AGE_US	(10 * USECS_PER_SEC)

typedef struct StatusRow
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];
} StatusRow;

/* Set a column; unknown (zero, empty) is null. */
static void
set_text(StatusRow *row, int column, const char *text)
{
	row->nulls[column] = text == NULL || text[0] == '\0';

	if (!row->nulls[column])
		row->values[column] = CStringGetTextDatum(text);
}

static void
set_time(StatusRow *row, int column, TimestampTz time)
{
	row->nulls[column] = time == 0;
	row->values[column] = TimestampTzGetDatum(time);
}

static void
set_lsn(StatusRow *row, int column, XLogRecPtr lsn)
{
	row->nulls[column] = lsn == InvalidXLogRecPtr;
	row->values[column] = LSNGetDatum(lsn);
}

static void
set_count(StatusRow *row, int column, uint64 count)
{
	row->nulls[column] = false;
	row->values[column] = Int64GetDatum((int64) count);
}

static void
set_interval(StatusRow *row, int column, int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	row->nulls[column] = false;
	row->values[column] = IntervalPGetDatum(interval);
}

static void
set_rate(StatusRow *row, int column, double rate)
{
	row->nulls[column] = rate < 0;
	row->values[column] = Float8GetDatum(rate);
}

static void
set_error(StatusRow *row, const LinkError *error)
{
	if (error->at == 0)
		return;
	set_text(row, COL_ERROR, error->message);
	set_text(row, COL_ERROR_SQLSTATE, unpack_sql_state(error->sqlstate));
	set_text(row, COL_ERROR_RELATION, error->relation);
	set_lsn(row, COL_ERROR_LSN, error->origin_lsn);
	set_time(row, COL_ERROR_AT, error->at);
}

/* A row with peer and direction, all else null. */
static void
init_row(StatusRow *row, CenterId peer, const char *direction, pid_t pid)
{
	memset(row->nulls, true, sizeof(row->nulls));
	row->nulls[COL_PEER_ID] = false;
	row->values[COL_PEER_ID] = Int32GetDatum(peer);
	set_text(row, COL_DIRECTION, direction);
	row->nulls[COL_PID] = pid == 0;
	row->values[COL_PID] = Int32GetDatum(pid);
}

/* What was measured. */
static void
set_measure(StatusRow *row, const LinkMeasure *measure)
{
	set_text(row, COL_STATE, mc_link_state_name(measure->state));
	set_text(row, COL_STALL_REASON, measure->reason);
	set_time(row, COL_STATE_SINCE, measure->state_since);
	row->nulls[COL_WAITS_FOR_LOCK] = measure->waits_for_lock == 0;
	row->values[COL_WAITS_FOR_LOCK] = Int32GetDatum(measure->waits_for_lock);
	if (measure->lag_us >= 0)
		set_interval(row, COL_LAG, measure->lag_us);
	set_text(row, COL_LAG_BASIS, measure->basis);
	row->nulls[COL_REPLAY_LAG_BYTES] = measure->behind_bytes < 0;
	row->values[COL_REPLAY_LAG_BYTES] = Int64GetDatum(measure->behind_bytes);
	set_lsn(row, COL_ORIGIN_LSN, measure->origin_end);
	set_lsn(row, COL_REPLAY_LSN, measure->position);
	set_rate(row, COL_BYTES_RATE, measure->bytes_rate);
	set_rate(row, COL_XACTS_RATE, measure->xacts_rate);
	if (measure->silent_us >= 0)
		set_interval(row, COL_SILENT, measure->silent_us);
	if (measure->catchup_us >= 0)
		set_interval(row, COL_CATCHUP, measure->catchup_us);
	set_rate(row, COL_CONFLICT_RATE, measure->conflicts_per_minute);
	set_rate(row, COL_ERROR_RATE, measure->errors_per_minute);
}

/*
 * The clocks of the two centers; link is the incoming one.  Old measurements
 * say nothing of the way any more.
 */
static void
set_clock(StatusRow *row, const SharedLink *link)
{
	TimestampTz now = GetCurrentTimestamp();

	if (link->measured_at != 0 && link->pid != 0 &&
		now - link->measured_at < ROUND_TRIP_AGE_US)
		set_interval(row, COL_ROUND_TRIP, Max(link->round_trip_us, 1));
	if (!link->clock_known)
		return;
	set_interval(row, COL_CLOCK_OFFSET, link->clock_offset_us);
	if (link->clock_error_us >= 0)
		set_interval(row, COL_CLOCK_ERROR, link->clock_error_us);
}

/* An incoming link; link is a copy, so no lock is held. */
static void
fill_incoming(StatusRow *row, const SharedLink *link, const LinkMeasure *measure)
{
	init_row(row, link->peer, "in", link->pid);
	set_measure(row, measure);
	set_clock(row, link);
	set_time(row, COL_LAST_MESSAGE_AT, link->last_message_at);
	set_time(row, COL_LAST_COMMIT_AT, link->last_commit_ts);
	set_lsn(row, COL_SENT_LSN, link->sent_lsn.value);
	set_lsn(row, COL_RECEIVED_LSN, link->received_lsn.value);
	set_lsn(row, COL_FLUSH_LSN, link->flush_lsn.value);
	set_count(row, COL_XACTS, link->counters.xacts);
	set_count(row, COL_INSERTS, link->counters.inserts);
	set_count(row, COL_UPDATES, link->counters.updates);
	set_count(row, COL_DELETES, link->counters.deletes);
	set_count(row, COL_TRUNCATES, link->counters.truncates);
	set_count(row, COL_DDL, link->counters.ddl);
	set_count(row, COL_CONFLICTS, link->counters.conflicts);
	set_count(row, COL_QUARANTINED, link->counters.quarantined);
	set_count(row, COL_RETRIES, link->counters.retries);
	set_count(row, COL_CONNECTS, link->counters.connects);
	set_count(row, COL_BYTES, link->counters.bytes);
	set_count(row, COL_BYTES_RAW, link->counters.bytes_raw);
	set_error(row, &link->error);
	set_time(row, COL_STATS_RESET, link->stats_reset);
}

/* An outgoing link.  Rows are counted where they are applied. */
static void
fill_outgoing(StatusRow *row, const SharedOutLink *link, const SharedLink *in,
			  const LinkMeasure *measure)
{
	init_row(row, link->peer, "out", link->walsender_pid);
	set_measure(row, measure);
	if (in != NULL)
		set_clock(row, in);
	set_time(row, COL_LAST_MESSAGE_AT, Max(link->moved_at, in ? in->last_message_at : 0));
	set_lsn(row, COL_SENT_LSN, link->sent_lsn.value);
	set_count(row, COL_XACTS, link->xacts);
	set_count(row, COL_CONNECTS, link->connects);
	set_count(row, COL_BYTES, link->bytes);
	set_count(row, COL_BYTES_RAW, link->bytes_raw);
	set_error(row, &link->error);
	set_time(row, COL_STATS_RESET, link->stats_reset);
}

/* Rows for the incoming links of this database. */
static void
put_incoming(ReturnSetInfo *rsinfo, SharedLink *copy, LinkMeasure *measure)
{
	StatusRow	row;

	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId)
			continue;
		mc_monitor_copy_link(copy, link);
		mc_monitor_in(copy, mc_monitor_history(link), measure);
		fill_incoming(&row, copy, measure);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
	}
}

/* Rows for the outgoing ones. */
static void
put_outgoing(ReturnSetInfo *rsinfo, SharedLink *copy, LinkMeasure *measure)
{
	StatusRow	row;

	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *link = &mc_shared->outlinks[i];
		SharedOutLink out;
		SharedLink *in;

		if (link->dboid != MyDatabaseId)
			continue;
		mc_monitor_copy_outlink(&out, link);
		in = mc_shared_link(MyDatabaseId, out.peer, false);
		if (in != NULL)
		{
			mc_monitor_copy_link(copy, in);
			in = copy;
		}
		mc_monitor_out(&out, in, mc_monitor_out_history(link), measure);
		fill_outgoing(&row, &out, in, measure);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
	}
}

/*
 * link_status(): what shared memory knows of each link of this database, one
 * row for each peer and direction.  No rows where multicenter is not loaded
 * or the database is in no group.
 */
Datum
mc_link_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedLink *copy = palloc0(offsetof(SharedLink, ring_count));
	LinkMeasure *measure = palloc(sizeof(LinkMeasure));

	InitMaterializedSRF(fcinfo, 0);
	if (mc_shared == NULL)
		return (Datum) 0;
	put_incoming(rsinfo, copy, measure);
	put_outgoing(rsinfo, copy, measure);
	return (Datum) 0;
}

/* The samples of one link that are still there. */
static void
put_samples(ReturnSetInfo *rsinfo, CenterId peer, const char *direction,
			const LinkHistory *history)
{
	pg_atomic_uint64 *counter = unconstify(pg_atomic_uint64 *, &history->count);
	uint64		end = pg_atomic_read_u64(counter);
	uint64		first = end > MC_LAG_SAMPLES ? end - MC_LAG_SAMPLES : 0;

	pg_read_barrier();
	for (uint64 i = first; i < end; i++)
	{
		LagSample	sample = history->lags[i % MC_LAG_SAMPLES];
		Datum		values[6];
		bool		nulls[6] = {false};
		Interval   *lag = palloc0(sizeof(Interval));

		/* The manager is perhaps writing the entry that is next. */
		pg_read_barrier();
		if (i + MC_LAG_SAMPLES <= pg_atomic_read_u64(counter))
			continue;
		lag->time = sample.lag_ms * INT64CONST(1000);
		values[0] = TimestampTzGetDatum(sample.ts);
		values[1] = Int32GetDatum(peer);
		values[2] = CStringGetTextDatum(direction);
		values[3] = IntervalPGetDatum(lag);
		nulls[3] = sample.lag_ms == PG_UINT32_MAX;
		values[4] = Int64GetDatum(sample.behind_bytes);
		nulls[4] = sample.behind_bytes < 0;
		values[5] = CStringGetTextDatum(mc_link_state_name((LinkState) sample.state));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		pfree(lag);
	}
}

/* link_samples(): the last hour of all links of this database. */
Datum
mc_link_samples(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (mc_shared == NULL)
		return (Datum) 0;
	for (int i = 0; i < mc_shared->nlinks; i++)
		if (mc_shared->links[i].dboid == MyDatabaseId)
			put_samples(rsinfo, mc_shared->links[i].peer, "in",
						mc_monitor_history(&mc_shared->links[i]));
	for (int i = 0; i < mc_shared->noutlinks; i++)
		if (mc_shared->outlinks[i].dboid == MyDatabaseId)
			put_samples(rsinfo, mc_shared->outlinks[i].peer, "out",
						mc_monitor_out_history(&mc_shared->outlinks[i]));
	return (Datum) 0;
}

/* link_conflicts(): conflicts by peer and type, those that have occurred. */
Datum
mc_link_conflicts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedLink *copy = palloc0(offsetof(SharedLink, ring_count));

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; mc_shared != NULL && i < mc_shared->nlinks; i++)
	{
		if (mc_shared->links[i].dboid != MyDatabaseId)
			continue;
		mc_monitor_copy_link(copy, &mc_shared->links[i]);
		for (int type = CONFLICT_NONE + 1; type <= MC_CONFLICT_TYPE_LAST; type++)
		{
			Datum		values[4];
			bool		nulls[4] = {false};

			if (copy->counters.conflicts_of[type] == 0)
				continue;
			values[0] = Int32GetDatum(copy->peer);
			values[1] = CStringGetTextDatum(mc_conflict_type_name((McConflictType) type));
			values[2] = Int64GetDatum((int64) copy->counters.conflicts_of[type]);
			values[3] = TimestampTzGetDatum(copy->stats_reset);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

/*
 * internal_check_since(): since when a check of an object has had a status, as
 * far as somebody has looked.  Where there is no room any more, what nobody has
 * looked at for longest is forgotten.
 */
Datum
mc_check_since(PG_FUNCTION_ARGS)
{
	char	   *check = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *object = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *status = text_to_cstring(PG_GETARG_TEXT_PP(2));
	TimestampTz now = GetCurrentTimestamp();
	CheckSince	wanted = {MyDatabaseId, 0, 0, now, now};
	CheckSince *entry = NULL;

	wanted.check = hash_bytes((unsigned char *) check, strlen(check)) * 31 +
		hash_bytes((unsigned char *) object, strlen(object));
	wanted.status = hash_bytes((unsigned char *) status, strlen(status));
	if (mc_shared == NULL)
		PG_RETURN_NULL();
	SpinLockAcquire(&mc_shared->checks_mutex);
	for (int i = 0; i < MC_CHECKS; i++)
	{
		CheckSince *candidate = &mc_shared->checks[i];

		if (candidate->dboid == MyDatabaseId && candidate->check == wanted.check)
		{
			entry = candidate;
			break;
		}
		if (entry == NULL || candidate->seen_at < entry->seen_at)
			entry = candidate;
		if (candidate->dboid == InvalidOid)
			break;
	}
	if (entry->dboid == MyDatabaseId && entry->check == wanted.check &&
		entry->status == wanted.status)
		wanted.since = entry->since;
	*entry = wanted;
	SpinLockRelease(&mc_shared->checks_mutex);
	PG_RETURN_TIMESTAMPTZ(wanted.since);
}

/* internal_stat_reset(): count the links with a peer anew; 0: with all. */
Datum
mc_stat_reset(PG_FUNCTION_ARGS)
{
	int32		peer = PG_GETARG_INT32(0);
	TimestampTz now = GetCurrentTimestamp();

	mc_shared_require();
	mc_table_stat_reset((CenterId) peer);
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId || (peer != 0 && link->peer != peer))
			continue;
		SpinLockAcquire(&link->mutex);
		memset(&link->counters, 0, sizeof(link->counters));
		link->stats_reset = now;
		SpinLockRelease(&link->mutex);
	}
	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *link = &mc_shared->outlinks[i];

		if (link->dboid != MyDatabaseId || (peer != 0 && link->peer != peer))
			continue;
		SpinLockAcquire(&link->mutex);
		link->xacts = link->connects = link->bytes = link->bytes_raw = 0;
		link->stats_reset = now;
		SpinLockRelease(&link->mutex);
	}
	PG_RETURN_VOID();
}

/* clock_status(): the floor of this server, and what it did to commits. */
Datum
mc_clock_status_row(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ClockStatus status;
	Datum		values[4];
	bool		nulls[4] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (mc_shared == NULL)
		return (Datum) 0;
	mc_clock_status(&status);
	values[0] = BoolGetDatum(status.ready);
	values[1] = TimestampTzGetDatum(status.floor);
	nulls[1] = status.floor == 0;
	values[2] = Int64GetDatum((int64) status.stamped);
	values[3] = Int64GetDatum((int64) status.waits);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}
