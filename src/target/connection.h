/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  Connections to peers; the only file that knows libpq.
 *
 * NOTES
 *	  A PeerConnection is released by mc_peer_close(), by the end of the
 *	  process, and by the reset or deletion of the memory context that was
 *	  current when it was made (a reset callback), so an ERROR leaks nothing.
 *	  No function shows a connection string or a password.  Every wait is
 *	  interruptible, with a deadline.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_CONNECTION_H
#define MC_CONNECTION_H

#include "core/types.h"

typedef struct PeerConnection PeerConnection;

/* One result of a query: strings, NULL for a null. */
typedef struct PeerResult
{
	int			nrows;
	int			ncolumns;
	char	 ***rows;			/* rows[row][column] */
} PeerResult;

/*
 * Raise an error unless dsn is a connection string without a password.
 * what names it for the message, such as "dsn".  SQLSTATE 22023.
 */
extern void mc_dsn_check(const char *dsn, const char *what);

/*
 * Connect.  label stands for the peer in messages (a center's name).
 * replication: a walsender connection, with our wal_sender_timeout and this
 * database's encoding; otherwise an ordinary session with a pinned, empty
 * search_path.  Gives up after 10 s.  Raises 08001 with the peer's message.
 */
extern PeerConnection *mc_peer_connect(const char *dsn, const char *label,
									   const char *application_name,
									   bool replication);
extern void mc_peer_close(PeerConnection *peer);

/*
 * Run one SQL command (or replication command) and return its rows,
 * allocated in the current context.  params may be NULL with nparams 0; a
 * replication connection takes none.  A peer's error is raised here with its
 * SQLSTATE, message, detail and hint.  timeout_ms 0: none; when it has passed
 * the connection is closed, which makes the peer stop, and 57014 raised.
 */
extern PeerResult *mc_peer_query(PeerConnection *peer, const char *sql,
								 int nparams, const char *const *params,
								 int timeout_ms);

/* Begin COPY ... TO STDOUT; then read its data, 0 at the end. */
extern void mc_peer_copy_begin(PeerConnection *peer, const char *sql);
extern int	mc_peer_copy_read(PeerConnection *peer, void *out, int minread,
							  int maxread);

/* START_REPLICATION; afterwards the connection is in COPY BOTH mode. */
extern void mc_peer_start_replication(PeerConnection *peer, const char *sql);

/*
 * Next CopyData message of a replication stream without waiting.  Returns
 * its length (> 0) with *message set to bytes that stay valid until the next
 * call, 0 if none is there yet, -1 if the peer has ended the stream.
 */
extern int	mc_peer_receive(PeerConnection *peer, char **message);

/* Send one CopyData message and flush it. */
extern void mc_peer_send(PeerConnection *peer, const char *data, int len);

/*
 * For WaitLatchOrSocket().  Whoever waits for a replication stream must have
 * got 0 from mc_peer_receive() before: what libpq has buffered does not make
 * the socket readable.
 */
extern int	mc_peer_socket(PeerConnection *peer);

/* Milliseconds of a clock that nobody sets, for deadlines. */
extern int64 mc_monotonic_ms(void);

#endif							/* MC_CONNECTION_H */
