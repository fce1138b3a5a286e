/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Open the stream of a peer: connect, check its slot, start.
 *
 * NOTES
 *	  A slot that was lost, or a peer that was restored from a backup, must
 *	  not be answered by starting somewhere else: changes would be missing and
 *	  nobody would know.  So what the peer has is compared with what we have
 *	  before the stream starts, and the error says how to go on.
 *
 *	  Whether the peer is a center of our group at all is checked by its
 *	  output plugin, which gets our ids with START_REPLICATION.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "core/image.h"
#include "core/wire.h"
#include "state/audit.h"
#include "state/settings.h"
#include "target/stream.h"

#include "compat.h"

/* Answers are small and need no lock. */
#define QUERY_TIMEOUT_MS		10000

/* How long a patient peer waits for a sign of life. */
#define PATIENT_SENDER_TIMEOUT	"'10min'"

/*
 * Raise an error about an answer that no PostgreSQL server would give.
 */
pg_noreturn static void
raise_bad_answer(const PeerStream *stream, const char *question)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("center \"%s\" gave an invalid answer to %s",
					NameStr(stream->peer->name), question)));
}

/*
 * Ask the peer something.
 */
static PeerResult *
ask(const PeerStream *stream, const char *command)
{
	return mc_peer_query(stream->connection, command, 0, NULL,
						 QUERY_TIMEOUT_MS);
}

/*
 * Read a position from an answer; a null is 0.
 */
static OriginLsn
parse_lsn(const PeerStream *stream, const char *text, const char *question)
{
	OriginLsn	lsn = {InvalidXLogRecPtr};
	uint32		high;
	uint32		low;

	if (text == NULL)
		return lsn;
	if (sscanf(text, "%X/%X", &high, &low) != 2)
		raise_bad_answer(stream, question);
	lsn.value = ((uint64) high << 32) | low;
	return lsn;
}

/*
 * One of the two centers has lost a part of its history.  The error alone would
 * not last: new WAL soon reaches the old positions, and would be taken for what
 * was there before.  So this is written down, durably, and stops the links in
 * both directions until one of the two has parted.
 */
static void
raise_back_in_time(const PeerStream *stream, const char *reason)
{
	StartTransactionCommand();
	mc_registry_stop_link(stream->peer->id, reason);
	ForceSyncCommit();
	CommitTransactionCommand();
	mc_stream_raise_stopped(reason);
}

/*
 * Ask the peer where its WAL ends.  A peer whose WAL is behind what we have
 * applied was restored from an old backup or is a standby that had not
 * everything: it will write other changes at the same positions.
 */
static void
check_position(PeerStream *stream)
{
	PeerResult *answer = ask(stream, "IDENTIFY_SYSTEM");

	if (answer->nrows != 1 || answer->ncolumns < 4 ||
		answer->rows[0][2] == NULL || answer->rows[0][3] == NULL)
		raise_bad_answer(stream, "IDENTIFY_SYSTEM");
	stream->wal_end = parse_lsn(stream, answer->rows[0][2],
								"IDENTIFY_SYSTEM");

	if (stream->wal_end.value < stream->progress.value)
		raise_back_in_time(stream,
						   psprintf("center \"%s\" has gone back in time: its WAL ends at %X/%X, but changes up to %X/%X were applied here",
									NameStr(stream->peer->name),
									LSN_FORMAT_ARGS(stream->wal_end.value),
									LSN_FORMAT_ARGS(stream->progress.value)));
}

/*
 * Check that we are as far as the peer has seen us: a center whose WAL ends
 * before what the peer has applied of it was restored from a backup.  It has
 * then also lost changes of the peer whose receipt it has confirmed, and nobody
 * else would notice.  Our position is read after the answer has arrived, for
 * the peer applies our changes meanwhile.
 */
static void
check_own_position(const PeerStream *stream)
{
	const char *question = "a query for what it has applied";
	PeerResult *answer;
	OriginLsn	applied;
	LocalLsn	end;

	answer = ask(stream, psprintf("SELECT multicenter.peer_applied(%u)",
								  stream->identity->center_id));
	if (answer->nrows != 1 || answer->ncolumns != 1)
		raise_bad_answer(stream, question);
	applied = parse_lsn(stream, answer->rows[0][0], question);
	end.value = GetFlushRecPtr(NULL);
	if (end.value < applied.value)
		raise_back_in_time(stream,
						   psprintf("this center has gone back in time: its WAL ends at %X/%X, but center \"%s\" has applied its changes up to %X/%X",
									LSN_FORMAT_ARGS(end.value),
									NameStr(stream->peer->name),
									LSN_FORMAT_ARGS(applied.value)));
}

/*
 * Find the name of the slot that serves us, into slot; it has the OID of the
 * peer's database in it, which nobody but the peer knows.
 */
static void
find_slot_name(const PeerStream *stream, char *slot)
{
	PeerResult *answer;
	unsigned long dboid;
	char	   *end;

	answer = ask(stream,
				 "SELECT oid FROM pg_catalog.pg_database"
				 " WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()");
	if (answer->nrows != 1 || answer->ncolumns != 1 ||
		answer->rows[0][0] == NULL)
		raise_bad_answer(stream, "a query for its database");
	errno = 0;
	dboid = strtoul(answer->rows[0][0], &end, 10);
	if (errno != 0 || *end != '\0' || dboid == 0 || dboid > PG_UINT32_MAX)
		raise_bad_answer(stream, "a query for its database");
	mc_slot_name(slot, (Oid) dboid, stream->identity->center_id);
}

/*
 * A walsender that serves an earlier receiver of ours, which is gone, may not
 * have noticed that: end it, so that the slot is free for us.  Nobody else
 * may use the slot, and only a process of our own role is ended.
 */
static void
take_over_slot(const PeerStream *stream, const char *slot)
{
	ask(stream,
		psprintf("SELECT pg_catalog.pg_terminate_backend(s.active_pid, 2000)"
				 " FROM pg_catalog.pg_replication_slots s"
				 " JOIN pg_catalog.pg_stat_activity a"
				 " ON a.pid OPERATOR(pg_catalog.=) s.active_pid"
				 " WHERE s.slot_name OPERATOR(pg_catalog.=) %s"
				 " AND a.usename OPERATOR(pg_catalog.=) current_user"
				 " AND a.backend_type OPERATOR(pg_catalog.=) 'walsender'",
				 quote_literal_cstr(slot)));
}

/*
 * Check that the slot is there and still has all the WAL that we need.
 */
static void
check_slot(PeerStream *stream, const char *slot)
{
	PeerResult *answer;

	answer = ask(stream,
				 psprintf("SELECT wal_status, confirmed_flush_lsn"
						  " FROM pg_catalog.pg_replication_slots"
						  " WHERE slot_name OPERATOR(pg_catalog.=) %s",
						  quote_literal_cstr(slot)));
	if (answer->nrows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("center \"%s\" has no replication slot \"%s\" for this center",
						NameStr(stream->peer->name), slot),
				 errhint("The changes for this center are not kept any more: part this center from the group and join it again.")));
	if (answer->nrows != 1 || answer->ncolumns != 2)
		raise_bad_answer(stream, "a query for its slot");
	if (answer->rows[0][0] != NULL && strcmp(answer->rows[0][0], "lost") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("center \"%s\" has removed WAL that this center still needs",
						NameStr(stream->peer->name)),
				 errdetail("Its replication slot \"%s\" is invalid.", slot),
				 errhint("Part this center from the group and join it again.  A greater max_slot_wal_keep_size on the other center keeps more WAL.")));
	stream->confirmed = parse_lsn(stream, answer->rows[0][1],
								  "a query for its slot");
}

/*
 * Tell the peer that our join is done, if it has just been.  The join has tried
 * to, but if that failed the peer would never ask for our changes, and so never
 * hear of it.
 */
static void
tell_catching_up(const PeerStream *stream)
{
	MemoryContext caller = CurrentMemoryContext;
	Center		own;
	bool		catching_up;

	StartTransactionCommand();
	catching_up = mc_registry_center(stream->identity->center_id, &own) &&
		own.state == CENTER_CATCHING_UP;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	if (catching_up)
		ask(stream, psprintf("SELECT multicenter.peer_center_state(%u, 'catching_up')",
							 stream->identity->center_id));
}

/*
 * The command that starts the stream.
 */
static char *
start_command(const PeerStream *stream, const char *slot)
{
	char		architecture[2 * MC_ARCH_LEN + 1];
	Datum		group_uuid = UUIDPGetDatum(&stream->identity->group_uuid);

	hex_encode(mc_image_architecture(), MC_ARCH_LEN, architecture);
	architecture[2 * MC_ARCH_LEN] = '\0';

	return psprintf("START_REPLICATION SLOT %s LOGICAL %X/%X"
					" (proto_min '%d', proto_max '%d', group '%s',"
					" origin_id '%u', target_id '%u',"
					" architecture '%s', encoding '%s', position '%X/%X'%s)",
					quote_identifier(slot),
					LSN_FORMAT_ARGS(stream->progress.value),
					MC_PROTOCOL_MIN, MC_PROTOCOL_MAX,
					DatumGetCString(DirectFunctionCall1(uuid_out, group_uuid)),
					stream->peer->id, stream->identity->center_id,
					architecture, GetDatabaseEncodingName(),
					LSN_FORMAT_ARGS(stream->progress.value),
					stream->compression == PACK_NONE ? "" :
					psprintf(", compression '%s'", mc_pack_name(stream->compression)));
}

/* ---- options of the link ---- */

bool
mc_stream_options_changed(SharedLink *link)
{
	bool		changed;

	SpinLockAcquire(&link->mutex);
	changed = link->options_changed;
	link->options_changed = false;
	SpinLockRelease(&link->mutex);
	return changed;
}

void
mc_stream_look_again(SharedLink *link)
{
	SpinLockAcquire(&link->mutex);
	link->options_changed = true;
	SpinLockRelease(&link->mutex);
}

PackMethod
mc_stream_compression(const LinkOptions *options)
{
	PackMethod	method = (PackMethod) mc_compression;

	if (options->compression != NULL)
		(void) mc_pack_from_name(options->compression, &method);
	if (!mc_pack_is_built(method))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server was built without support for compression by %s",
						mc_pack_name(method)),
				 errhint("Choose another method by multicenter.link_alter().")));
	return method;
}

int
mc_stream_appliers(const LinkOptions *options)
{
	return options->workers >= 0 ? options->workers : mc_apply_workers;
}

bool
mc_stream_is_outdated(const PeerStream *stream)
{
	MemoryContext caller = CurrentMemoryContext;
	LinkOptions options;
	bool		same;

	StartTransactionCommand();
	mc_registry_link(stream->peer->id, &options);
	same = mc_stream_compression(&options) == stream->compression &&
		mc_stream_appliers(&options) == stream->appliers &&
		strcmp(options.work_mem ? options.work_mem : "",
			   stream->work_mem ? stream->work_mem : "") == 0;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return !same;
}

/*
 * Raise the error of a link that was stopped for good.
 */
void
mc_stream_raise_stopped(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s", reason),
			 errhint("It was probably restored from a backup: part it from the group and join it again.")));
}

/* As whom and with which address we are connected, for the audit; or NULL. */
static const char *audited_user = NULL;
static const char *audited_address = NULL;

/* Text from the peer, if it is text. */
static char *
checked_text(const char *from_peer)
{
	return from_peer == NULL || !pg_verifymbstr(from_peer, strlen(from_peer), true) ?
		pstrdup("") : pstrdup(from_peer);
}

/*
 * Ask the peer for what the audit wants to know of this connection.
 */
static void
ask_for_audit(const PeerStream *stream)
{
	PeerResult *result = ask(stream, "SELECT session_user, coalesce(pg_catalog.host(pg_catalog.inet_server_addr())"
							 " OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) pg_catalog.inet_server_port(), '[local]')");

	if (result->nrows != 1)
		raise_bad_answer(stream, "as whom we are connected");
	audited_user = checked_text(result->rows[0][0]);
	audited_address = checked_text(result->rows[0][1]);
}

void
mc_stream_audit_end(CenterId peer, const char *reason)
{
	if (audited_user != NULL)
		mc_audit_event(peer, false, "disconnect", audited_user, audited_address, reason);
}

/*
 * Connect and start; see stream.h.
 */
void
mc_stream_open(PeerStream *stream)
{
	char		slot[NAMEDATALEN];

	stream->connection = mc_peer_connect(stream->dsn,
										 NameStr(stream->peer->name),
										 "multicenter", true);
	check_position(stream);
	check_own_position(stream);
	find_slot_name(stream, slot);

	/* synchronous_standby_names knows a link by the name of its slot. */
	ask(stream, psprintf("SET application_name = %s",
						 quote_literal_cstr(slot)));
	take_over_slot(stream, slot);
	check_slot(stream, slot);
	tell_catching_up(stream);
	if (stream->patient)
		ask(stream, "SET wal_sender_timeout = " PATIENT_SENDER_TIMEOUT);
	if (stream->work_mem != NULL)
		ask(stream, psprintf("SET logical_decoding_work_mem = %s",
							 quote_literal_cstr(stream->work_mem)));

	if (mc_audit != AUDIT_OFF)
		ask_for_audit(stream);
	mc_peer_start_replication(stream->connection, start_command(stream, slot));
	if (audited_user != NULL)
		mc_audit_event(stream->peer->id, false, "connect", audited_user, audited_address, NULL);
}

bool
mc_stream_is_unreachable(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_PROTOCOL_VIOLATION:
			return false;
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_CANNOT_CONNECT_NOW:
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_OBJECT_IN_USE: /* its last walsender has not ended yet */
			return true;
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) ==
				ERRCODE_CONNECTION_EXCEPTION;
	}
}
