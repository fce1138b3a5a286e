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

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/clock.h"
#include "state/registry.h"
#include "state/settings.h"
#include "state/shared.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(mc_link_status);
PG_FUNCTION_INFO_V1(mc_clock_status_row);

/* Columns of link_status(), in order. */
enum
{
	COL_PEER_ID, COL_DIRECTION, COL_PID, COL_STATE, COL_STALL_REASON,
	COL_STATE_SINCE, COL_POSITION_TS, COL_POSITION_AT, COL_BY_HEARTBEAT,
	COL_LAST_MESSAGE_AT, COL_LAST_COMMIT_AT, COL_SENT_LSN, COL_RECEIVED_LSN,
	COL_FLUSH_LSN, COL_REPLAY_LSN, COL_PEER_INSERT_LSN, COL_XACTS,
	COL_INSERTS, COL_UPDATES, COL_DELETES, COL_TRUNCATES, COL_DDL,
	COL_CONFLICTS, COL_QUARANTINED, COL_RETRIES, COL_CONNECTS, COL_BYTES,
	COL_ERROR,
	COL_ERROR_SQLSTATE, COL_ERROR_RELATION, COL_ERROR_LSN, COL_ERROR_AT,
	COL_CLOCK_OFFSET,
	NCOLUMNS
};

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

/* An incoming link; link is a copy, so no lock is held. */
static void
fill_incoming(StatusRow *row, const SharedLink *link)
{
	const char *reason = link->stall_reason;

	init_row(row, link->peer, "in", link->pid);
	set_text(row, COL_STATE, mc_link_state_name(link->state));
	if (reason[0] == '\0' && link->error.at > link->heard_at &&
		link->state != LINK_STREAMING && link->state != LINK_CATCHING_UP)
		reason = link->error.message;
	set_text(row, COL_STALL_REASON, reason);
	set_time(row, COL_STATE_SINCE, link->state_since);
	set_time(row, COL_POSITION_TS, link->heard_ts);
	set_time(row, COL_POSITION_AT, link->heard_at);
	row->nulls[COL_BY_HEARTBEAT] = link->heard_ts == 0;
	row->values[COL_BY_HEARTBEAT] = BoolGetDatum(link->heard_by_heartbeat);
	set_time(row, COL_LAST_MESSAGE_AT, link->last_message_at);
	set_time(row, COL_LAST_COMMIT_AT, link->last_commit_ts);
	set_lsn(row, COL_SENT_LSN, link->sent_lsn.value);
	set_lsn(row, COL_RECEIVED_LSN, link->received_lsn.value);
	set_lsn(row, COL_FLUSH_LSN, link->flush_lsn.value);
	set_lsn(row, COL_REPLAY_LSN, link->applied_lsn.value);
	set_lsn(row, COL_PEER_INSERT_LSN, link->peer_insert_lsn.value);
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
	set_error(row, &link->error);
	row->nulls[COL_CLOCK_OFFSET] = !link->clock_known;
	row->values[COL_CLOCK_OFFSET] = Float8GetDatum(link->clock_offset_us / 1000000.0);
}

/* An outgoing link.  Rows are counted where they are applied. */
static void
fill_outgoing(StatusRow *row, const SharedOutLink *link)
{
	LinkState	state = LINK_NEVER_CONNECTED;

	if (link->walsender_pid != 0)
		state = LINK_STREAMING;
	else if (link->connects > 0 || link->confirmed_ts != 0)
		state = LINK_DISCONNECTED;
	init_row(row, link->peer, "out", link->walsender_pid);
	set_text(row, COL_STATE, mc_link_state_name(state));
	set_time(row, COL_STATE_SINCE, link->state_since);
	set_time(row, COL_POSITION_TS, link->confirmed_ts);
	set_time(row, COL_POSITION_AT, link->confirmed_at);
	row->nulls[COL_BY_HEARTBEAT] = link->confirmed_ts == 0;
	row->values[COL_BY_HEARTBEAT] = BoolGetDatum(true);
	set_lsn(row, COL_SENT_LSN, link->sent_lsn.value);
	set_count(row, COL_XACTS, link->xacts);
	set_count(row, COL_CONNECTS, link->connects);
	set_count(row, COL_BYTES, link->bytes);
	set_error(row, &link->error);
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
	SharedLink *copy = palloc(offsetof(SharedLink, ring_count));
	StatusRow	row;

	InitMaterializedSRF(fcinfo, 0);
	if (mc_shared == NULL)
		return (Datum) 0;
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];

		if (link->dboid != MyDatabaseId)
			continue;

		/* The ring at the end is not needed here, and large. */
		SpinLockAcquire(&link->mutex);
		memcpy(copy, link, offsetof(SharedLink, ring_count));
		SpinLockRelease(&link->mutex);
		fill_incoming(&row, copy);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 row.values, row.nulls);
	}
	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *link = &mc_shared->outlinks[i];
		SharedOutLink copy;

		if (link->dboid != MyDatabaseId)
			continue;
		SpinLockAcquire(&link->mutex);
		copy = *link;
		SpinLockRelease(&link->mutex);
		fill_outgoing(&row, &copy);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 row.values, row.nulls);
	}
	return (Datum) 0;
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
