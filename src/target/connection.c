/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  Connections to peers; the only file that knows libpq.
 *
 * NOTES
 *	  A connection is in libpq's non-blocking mode from its first moment.  We
 *	  wait on our latch and its socket together, so that a session that asked
 *	  for something can be cancelled and a worker can be stopped whatever the
 *	  peer does or does not do.  (Looking up a host name is the exception:
 *	  libpq does that by the C library, which cannot be interrupted.)
 *
 *	  Nothing of libpq's is left behind by an ERROR: the PGconn, the result in
 *	  work and the last CopyData message hang on the PeerConnection, whose
 *	  memory context closes it when it is reset.  So there is no PG_TRY here.
 *
 *	  A peer is not trusted with our memory or our log: what it says is used
 *	  as text only, and only after it was found valid in our encoding.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "state/wait_event.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "target/connection.h"

#include "compat.h"

#define CONNECT_TIMEOUT_MS	10000
#define COMMAND_TIMEOUT_MS	20000	/* START_REPLICATION */
#define SEND_TIMEOUT_MS		10000

/* Settings of a session on which the text of a value depends. */
#define TEXT_OPTIONS \
	"-c search_path= -c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3"

/*
 * How long something may take is ours to say.  A session of a join waits for
 * the copy, whatever the defaults of the peer's role or database are.
 */
#define NO_TIMEOUTS \
	"-c statement_timeout=0 -c lock_timeout=0" \
	" -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0"

/*
 * Make the peer notice soon that we are gone: a walsender gives up its slot,
 * an ordinary session what it waits for or computes.
 */
#define SENDER_OPTIONS "-c wal_sender_timeout=10s"
#define SESSION_OPTIONS "-c client_connection_check_interval=1s " NO_TIMEOUTS

#define MAX_CONNECTION_PARAMETERS 16

struct PeerConnection
{
	PGconn	   *conn;			/* NULL: closed */
	bool		owns_fd;		/* we have called AcquireExternalFD() */
	char	   *label;			/* the peer in messages */
	PGresult   *result;			/* in work; NULL: none */
	char	   *message;		/* last CopyData message, libpq's memory */
	int			message_len;
	int			message_pos;	/* how far mc_peer_copy_read() has got */
	bool		copy_ended;
	MemoryContextCallback closer;
};

/*
 * Milliseconds of a clock that is never set, for deadlines.
 */
int64
mc_monotonic_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/*
 * Copy text that a peer (or libpq) gave us for use in our own messages, as one
 * line of what is valid in the server's encoding: our messages end up in the
 * log, where a peer must not write lines of its own, and in views.
 */
static char *
clean_text(const char *text)
{
	char	   *copy = pstrdup(text);
	bool		valid = pg_verifymbstr(copy, strlen(copy), true);
	int			len = 0;

	for (const char *c = copy; *c; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			copy[len++] = valid ? *c : '?';
		else if ((unsigned char) *c > ' ')
			copy[len++] = *c;
		else if (len > 0 && copy[len - 1] != ' ')
			copy[len++] = ' ';
	}
	if (len > 0 && copy[len - 1] == ' ')
		len--;
	copy[len] = '\0';
	return copy;
}

/*
 * Does the text contain the word, in whatever case?
 */
static bool
mentions(const char *text, const char *word)
{
	size_t		len = strlen(word);

	for (; *text; text ++)
	{
		if (pg_strncasecmp(text, word, len) == 0)
			return true;
	}
	return false;
}

/* ---- connection strings ---- */

/*
 * Parse a connection string; the caller frees the result with
 * PQconninfoFree().  libpq's message may quote a part of the string, so it is
 * shown only where that cannot be a secret.
 */
static PQconninfoOption *
parse_dsn(const char *dsn, const char *what)
{
	PQconninfoOption *options = NULL;
	char	   *problem = NULL;
	bool		may_tell;

	if (dsn != NULL && dsn[0] != '\0')
		options = PQconninfoParse(dsn, &problem);
	if (options != NULL)
		return options;

	may_tell = problem != NULL && !mentions(dsn, "pass") &&
		!mentions(dsn, "secret") && !mentions(dsn, "_key") &&
		strstr(dsn, "://") == NULL;
	if (may_tell)
	{
		char	   *copy = clean_text(problem);

		PQfreemem(problem);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a valid connection string", what),
				 errdetail_internal("%s", copy)));
	}
	if (problem)
		PQfreemem(problem);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is not a valid connection string", what),
			 errhint("A connection string looks like \"host=db1.example.com dbname=shop user=replicator\".")));
}

/*
 * Is this option of a connection string a secret?  libpq says so by
 * dispchar, except for the keys of SCRAM pass-through.
 */
static bool
option_is_secret(const PQconninfoOption *option)
{
	return strchr(option->dispchar, '*') != NULL ||
		strcmp(option->keyword, "scram_client_key") == 0 ||
		strcmp(option->keyword, "scram_server_key") == 0;
}

/*
 * Raise an error unless dsn is a connection string without a password.
 */
void
mc_dsn_check(const char *dsn, const char *what)
{
	PQconninfoOption *options = parse_dsn(dsn, what);
	bool		has_secret = false;

	for (PQconninfoOption *option = options; option->keyword; option++)
	{
		if (option->val && option->val[0] && option_is_secret(option))
			has_secret = true;
	}
	PQconninfoFree(options);

	if (has_secret)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not contain a password", what),
				 errdetail("Every center of the group stores it."),
				 errhint("Put the password into a passfile, or name a service, on each server that connects.")));
}

/*
 * The value of "options" for a connection: those of the dsn, then ours, of
 * which the server takes the last.  How soon a walsender gives up may be said
 * in the dsn.
 */
static char *
session_options(const char *dsn, bool replication)
{
	PQconninfoOption *options = parse_dsn(dsn, "connection string");
	const char *given = NULL;

	for (PQconninfoOption *option = options; option->keyword; option++)
	{
		if (strcmp(option->keyword, "options") == 0 && option->val)
			given = pstrdup(option->val);
	}
	PQconninfoFree(options);

	if (given == NULL)
		given = "";
	if (!replication)
		return psprintf("%s " TEXT_OPTIONS " " SESSION_OPTIONS, given);
	return psprintf("%s " TEXT_OPTIONS " %s", given,
					strstr(given, "wal_sender_timeout") ? "" : SENDER_OPTIONS);
}

/* ---- life of a connection ---- */

/*
 * Forget the result in work, if there is one.
 */
static void
clear_result(PeerConnection *peer)
{
	PQclear(peer->result);
	peer->result = NULL;
}

/*
 * Forget the last CopyData message.
 */
static void
clear_message(PeerConnection *peer)
{
	if (peer->message)
		PQfreemem(peer->message);
	peer->message = NULL;
	peer->message_len = 0;
	peer->message_pos = 0;
}

/*
 * Close a connection.  Closing one that is closed already does nothing.
 */
void
mc_peer_close(PeerConnection *peer)
{
	clear_result(peer);
	clear_message(peer);
	if (peer->conn)
		PQfinish(peer->conn);
	peer->conn = NULL;
	if (peer->owns_fd)
		ReleaseExternalFD();
	peer->owns_fd = false;
}

/*
 * The memory context of a connection goes away: close what its user forgot,
 * or could not close because of an error.
 */
static void
close_with_context(void *arg)
{
	mc_peer_close((PeerConnection *) arg);
}

/*
 * Notices and warnings of the peer are its own business.  (By default libpq
 * writes them to stderr, so into our log.)
 */
static void
ignore_notice(void *arg, const char *message)
{
}

/*
 * The connection was closed by mc_peer_close(), or after a time-out: a
 * mistake of the caller.
 */
static void
require_open(PeerConnection *peer)
{
	if (peer->conn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_DOES_NOT_EXIST),
				 errmsg("the connection to center \"%s\" is closed",
						peer->label)));
}

/*
 * The connection broke: raise libpq's explanation.
 */
pg_noreturn static void
raise_broken(PeerConnection *peer)
{
	char	   *problem = clean_text(PQerrorMessage(peer->conn));

	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("lost the connection to center \"%s\"%s%s", peer->label,
					problem[0] ? ": " : "", problem)));
}

/*
 * Has the deadline passed?  0 is none.
 */
static bool
is_past(int64 deadline_ms)
{
	return deadline_ms != 0 && mc_monotonic_ms() >= deadline_ms;
}

/*
 * Wait for events of the socket, our latch or the deadline, whichever comes
 * first; returns those events of the socket that have come.
 */
static int
wait_for_socket(PeerConnection *peer, int events, int64 deadline_ms)
{
	int			wake = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | events;
	long		timeout_ms = -1;
	int			occurred;

	if (deadline_ms != 0)
	{
		wake |= WL_TIMEOUT;
		timeout_ms = (long) (deadline_ms - mc_monotonic_ms());
		timeout_ms = Max(timeout_ms, 0);
	}
	if (PQsocket(peer->conn) < 0)
		raise_broken(peer);

	occurred = WaitLatchOrSocket(MyLatch, wake, PQsocket(peer->conn),
								 timeout_ms, mc_wait_event(MC_WAIT_PEER_ANSWER));
	if (occurred & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return occurred & events;
}

/*
 * Raise the failure of a connection attempt.  Closes the attempt.
 */
pg_noreturn static void
raise_not_connected(PeerConnection *peer, bool timed_out)
{
	char	   *problem = clean_text(PQerrorMessage(peer->conn));

	mc_peer_close(peer);
	if (timed_out)
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to center \"%s\" within %d s",
						peer->label, CONNECT_TIMEOUT_MS / 1000),
				 problem[0] ? errdetail_internal("%s", problem) : 0,
				 errhint("Check that its server is running and that the host and port of its connection string can be reached from here.")));
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to center \"%s\": %s", peer->label,
					problem[0] ? problem : "no reason given"),
			 errhint("Check its connection string, its pg_hba.conf and, where a password is needed, the passfile on this server.")));
}

/*
 * Drive a connection attempt to its end.
 */
static void
finish_connecting(PeerConnection *peer)
{
	int64		deadline_ms = mc_monotonic_ms() + CONNECT_TIMEOUT_MS;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(peer->conn) == CONNECTION_BAD)
		raise_not_connected(peer, false);

	while (status != PGRES_POLLING_OK)
	{
		int			events = (status == PGRES_POLLING_READING) ?
		WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;

		if (is_past(deadline_ms))
			raise_not_connected(peer, true);
		if (PQsocket(peer->conn) < 0)
			raise_not_connected(peer, false);
		if (wait_for_socket(peer, events, deadline_ms))
			status = PQconnectPoll(peer->conn);
		if (status == PGRES_POLLING_FAILED)
			raise_not_connected(peer, false);
	}
}

/*
 * Start a connection attempt.  libpq takes the last value of each parameter:
 * what stands before "dbname", which is where the dsn is expanded, can be
 * overridden by the dsn, what stands behind it cannot.
 */
static void
start_connecting(PeerConnection *peer, const char *dsn,
				 const char *application_name, bool replication)
{
	const char *keywords[MAX_CONNECTION_PARAMETERS];
	const char *values[MAX_CONNECTION_PARAMETERS];
	char	   *options = session_options(dsn, replication);
	int			n = 0;

	/* A vanished host is noticed after 10 to 15 s, not after two hours. */
	keywords[n] = "keepalives_idle";
	values[n++] = "5";
	keywords[n] = "keepalives_interval";
	values[n++] = "3";
	keywords[n] = "keepalives_count";
	values[n++] = "3";
	keywords[n] = "tcp_user_timeout";
	values[n++] = "15000";

	keywords[n] = "dbname";
	values[n++] = dsn;

	keywords[n] = "application_name";
	values[n++] = application_name;
	keywords[n] = "replication";
	values[n++] = replication ? "database" : "false";
	keywords[n] = "client_encoding";
	values[n++] = GetDatabaseEncodingName();
	keywords[n] = "options";
	values[n++] = options;
	keywords[n] = NULL;
	values[n++] = NULL;
	Assert(n <= MAX_CONNECTION_PARAMETERS);

	peer->conn = PQconnectStartParams(keywords, values, true);
	if (peer->conn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PQsetNoticeProcessor(peer->conn, ignore_notice, NULL);
	pfree(options);
}

/*
 * Connect to a peer; see connection.h.
 */
PeerConnection *
mc_peer_connect(const char *dsn, const char *label,
				const char *application_name, bool replication)
{
	PeerConnection *peer = palloc0(sizeof(PeerConnection));

	peer->label = pstrdup(label);
	peer->closer.func = close_with_context;
	peer->closer.arg = peer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &peer->closer);

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not connect to center \"%s\": too many open files",
						label),
				 errhint("Raise max_files_per_process and the operating system's limit of open files.")));
	peer->owns_fd = true;

	start_connecting(peer, dsn, application_name, replication);
	finish_connecting(peer);

	if (PQsetnonblocking(peer->conn, 1) != 0)
		raise_broken(peer);
	return peer;
}

/*
 * The socket, to wait on.
 */
int
mc_peer_socket(PeerConnection *peer)
{
	require_open(peer);
	return PQsocket(peer->conn);
}

/* ---- commands ---- */

/*
 * Raise the error that the result in work reports, as if it had happened
 * here.  What follows it on the connection is read by the next command.
 */
pg_noreturn static void
raise_result(PeerConnection *peer)
{
	const char *sqlstate = PQresultErrorField(peer->result, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(peer->result,
											 PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(peer->result,
											PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(peer->result, PG_DIAG_MESSAGE_HINT);
	int			code;

	/* Without a SQLSTATE it is libpq that speaks: the connection is gone. */
	if (sqlstate == NULL || strlen(sqlstate) != 5)
		raise_broken(peer);

	/* An "error" of the success or warning class would hide itself. */
	code = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2],
						 sqlstate[3], sqlstate[4]);
	if (strspn(sqlstate, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
		strncmp(sqlstate, "00", 2) == 0 || strncmp(sqlstate, "01", 2) == 0)
		code = ERRCODE_PROTOCOL_VIOLATION;

	primary = clean_text(primary ? primary : "no message");
	detail = detail ? clean_text(detail) : NULL;
	hint = hint ? clean_text(hint) : NULL;
	clear_result(peer);

	ereport(ERROR,
			(errcode(code),
			 errmsg_internal("%s", primary),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 errcontext("center \"%s\"", peer->label)));
}

/*
 * The peer did not answer in time.  Close the connection, whose state is not
 * known any more; thereby the peer stops what it does, see SESSION_OPTIONS.
 * PQcancel() would do that too, but waits for the peer for any time, and that
 * one has just shown that it may not answer.
 */
pg_noreturn static void
raise_timeout(PeerConnection *peer)
{
	mc_peer_close(peer);
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("center \"%s\" did not answer in time", peer->label)));
}

/*
 * Send what libpq has buffered.  The peer may want us to read before it reads
 * on, so read as well.  Raises an error once the deadline has passed.
 */
static void
flush_output(PeerConnection *peer, int64 deadline_ms)
{
	for (;;)
	{
		int			pending = PQflush(peer->conn);
		int			ready;

		if (pending == 0)
			return;
		if (pending < 0)
			raise_broken(peer);
		if (is_past(deadline_ms))
			raise_timeout(peer);
		ready = wait_for_socket(peer,
								WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE,
								deadline_ms);
		if ((ready & WL_SOCKET_READABLE) && !PQconsumeInput(peer->conn))
			raise_broken(peer);
	}
}

/*
 * Wait for the next result of the command that was sent and make it the
 * result in work.  Returns false after the last.
 */
static bool
next_result(PeerConnection *peer, int64 deadline_ms)
{
	clear_result(peer);
	flush_output(peer, deadline_ms);
	while (PQisBusy(peer->conn))
	{
		if (is_past(deadline_ms))
			raise_timeout(peer);

		/*
		 * Where reading fails PQgetResult() does not wait but returns an
		 * error, possibly the last words of the peer.
		 */
		if (wait_for_socket(peer, WL_SOCKET_READABLE, deadline_ms) &&
			!PQconsumeInput(peer->conn))
			break;
	}
	peer->result = PQgetResult(peer->conn);
	return peer->result != NULL;
}

/*
 * Is the connection within a COPY, as far as the result in work tells?
 */
static bool
result_is_copy(PeerConnection *peer)
{
	ExecStatusType status = PQresultStatus(peer->result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT ||
		status == PGRES_COPY_BOTH;
}

/*
 * Send a command, after what an earlier one has left behind was read.
 */
static void
send_command(PeerConnection *peer, const char *sql, int nparams,
			 const char *const *params, int64 deadline_ms)
{
	int			sent;

	require_open(peer);
	clear_message(peer);
	while (PQtransactionStatus(peer->conn) == PQTRANS_ACTIVE &&
		   next_result(peer, deadline_ms))
	{
		if (result_is_copy(peer))
			elog(ERROR, "connection to center \"%s\" is within a COPY",
				 peer->label);
	}

	/* Only the simple protocol knows replication commands. */
	if (nparams == 0)
		sent = PQsendQuery(peer->conn, sql);
	else
		sent = PQsendQueryParams(peer->conn, sql, nparams, NULL, params,
								 NULL, NULL, 0);
	if (!sent)
		raise_broken(peer);
}

/*
 * Copy the rows of the result in work.
 */
static PeerResult *
copy_rows(PeerConnection *peer)
{
	PeerResult *copy = palloc0(sizeof(PeerResult));

	copy->nrows = PQntuples(peer->result);
	copy->ncolumns = PQnfields(peer->result);
	copy->rows = palloc0_array(char **, Max(copy->nrows, 1));
	for (int row = 0; row < copy->nrows; row++)
	{
		copy->rows[row] = palloc0_array(char *, Max(copy->ncolumns, 1));
		for (int column = 0; column < copy->ncolumns; column++)
		{
			const char *value = PQgetvalue(peer->result, row, column);

			if (PQgetisnull(peer->result, row, column))
				continue;
			if (!pg_verifymbstr(value, strlen(value), true))
				ereport(ERROR,
						(errcode(ERRCODE_PROTOCOL_VIOLATION),
						 errmsg("center \"%s\" sent text that is not valid in encoding %s",
								peer->label, GetDatabaseEncodingName())));
			copy->rows[row][column] = pstrdup(value);
		}
	}
	return copy;
}

/*
 * Run a command and return the rows of its last result.
 */
PeerResult *
mc_peer_query(PeerConnection *peer, const char *sql, int nparams,
			  const char *const *params, int timeout_ms)
{
	int64		deadline_ms = timeout_ms > 0 ?
	mc_monotonic_ms() + timeout_ms : 0;
	PeerResult *rows = palloc0(sizeof(PeerResult));

	send_command(peer, sql, nparams, params, deadline_ms);
	while (next_result(peer, deadline_ms))
	{
		switch (PQresultStatus(peer->result))
		{
			case PGRES_COMMAND_OK:
			case PGRES_TUPLES_OK:
			case PGRES_EMPTY_QUERY:
				rows = copy_rows(peer);
				break;
			case PGRES_COPY_IN:
			case PGRES_COPY_OUT:
			case PGRES_COPY_BOTH:
				mc_peer_close(peer);
				ereport(ERROR,
						(errcode(ERRCODE_PROTOCOL_VIOLATION),
						 errmsg("center \"%s\" began an unexpected COPY",
								peer->label)));
				break;
			default:
				raise_result(peer);
		}
	}
	return rows;
}

/*
 * Send a command that begins a COPY and wait until it has begun.
 */
static void
begin_copy(PeerConnection *peer, const char *sql, ExecStatusType expected,
		   int timeout_ms)
{
	int64		deadline_ms = timeout_ms > 0 ?
	mc_monotonic_ms() + timeout_ms : 0;

	send_command(peer, sql, 0, NULL, deadline_ms);
	if (!next_result(peer, deadline_ms))
		raise_broken(peer);
	if (PQresultStatus(peer->result) == PGRES_FATAL_ERROR)
		raise_result(peer);
	if (PQresultStatus(peer->result) != expected)
	{
		mc_peer_close(peer);
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("center \"%s\" did not begin the expected COPY",
						peer->label)));
	}
	clear_result(peer);
	peer->copy_ended = false;
}

/*
 * The peer has ended the COPY: raise its error, if that is why.
 */
static void
end_copy(PeerConnection *peer)
{
	int64		deadline_ms = mc_monotonic_ms() + COMMAND_TIMEOUT_MS;

	peer->copy_ended = true;
	clear_message(peer);
	while (next_result(peer, deadline_ms))
	{
		if (PQresultStatus(peer->result) == PGRES_FATAL_ERROR)
			raise_result(peer);

		/* It ended its half of a COPY BOTH only: there is no more to read. */
		if (result_is_copy(peer))
			break;
	}
	clear_result(peer);
}

/*
 * Fetch the next CopyData message that libpq has, or can get without waiting.
 * The result is that of mc_peer_receive().
 *
 * A message that is already in libpq's buffer costs no system call, which is
 * most of what receiving costs: recv() is called only when there is none.  A
 * TLS layer may keep back a part of what it has read where the socket does
 * not show it, so it is asked more than once.
 */
static int
fetch_message(PeerConnection *peer)
{
	int			attempts = PQsslInUse(peer->conn) ? 3 : 1;
	bool		readable = true;
	int			len;

	clear_message(peer);
	for (;;)
	{
		len = PQgetCopyData(peer->conn, &peer->message, 1);
		if (len != 0)
			break;
		if (!readable)
			raise_broken(peer);
		if (attempts-- == 0)
			return 0;
		readable = PQconsumeInput(peer->conn) != 0;
	}

	if (len == -2)
		raise_broken(peer);
	if (len == -1)
	{
		end_copy(peer);
		return -1;
	}
	peer->message_len = len;
	return len;
}

/*
 * Begin COPY ... TO STDOUT.  The peer may have to wait for locks first.
 */
void
mc_peer_copy_begin(PeerConnection *peer, const char *sql)
{
	begin_copy(peer, sql, PGRES_COPY_OUT, 0);
}

/*
 * Read data of a COPY ... TO STDOUT: at least minread bytes, except at the
 * end, and at most maxread.  Fits the data source of BeginCopyFrom().
 */
int
mc_peer_copy_read(PeerConnection *peer, void *out, int minread, int maxread)
{
	int			done = 0;

	require_open(peer);
	for (;;)
	{
		int			chunk = Min(peer->message_len - peer->message_pos,
								maxread - done);

		if (chunk > 0)
		{
			memcpy((char *) out + done, peer->message + peer->message_pos,
				   chunk);
			peer->message_pos += chunk;
			done += chunk;
		}
		if (done >= maxread || done >= Max(minread, 1) || peer->copy_ended)
			return done;

		CHECK_FOR_INTERRUPTS();
		if (fetch_message(peer) == 0)
			(void) wait_for_socket(peer, WL_SOCKET_READABLE, 0);
	}
}

/*
 * Send START_REPLICATION and wait until the stream has begun.
 */
void
mc_peer_start_replication(PeerConnection *peer, const char *sql)
{
	begin_copy(peer, sql, PGRES_COPY_BOTH, COMMAND_TIMEOUT_MS);
}

/*
 * Next message of the stream, without waiting; see connection.h.  When it
 * returns 0 everything that had arrived is read, so the caller may sleep
 * until the socket is readable.
 */
int
mc_peer_receive(PeerConnection *peer, char **message)
{
	int			len;

	require_open(peer);
	if (peer->copy_ended)
		return -1;
	len = fetch_message(peer);
	*message = peer->message;
	return len;
}

/*
 * Send one message of the stream.
 */
void
mc_peer_send(PeerConnection *peer, const char *data, int len)
{
	int64		deadline_ms = mc_monotonic_ms() + SEND_TIMEOUT_MS;
	int			queued;

	require_open(peer);
	while ((queued = PQputCopyData(peer->conn, data, len)) == 0)
		flush_output(peer, deadline_ms);
	if (queued < 0)
		raise_broken(peer);
	flush_output(peer, deadline_ms);
}
