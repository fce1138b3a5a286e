/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  Open the stream of a peer: connect, check its slot, start.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_STREAM_H
#define MC_STREAM_H

#include "core/pack.h"
#include "state/registry.h"
#include "state/shared.h"
#include "target/connection.h"

/* What a stream is opened with, and what was learnt by that. */
typedef struct PeerStream
{
	const char *dsn;
	const Center *peer;
	const Identity *identity;	/* who we are */
	OriginLsn	progress;		/* what is applied here; the stream starts
								 * there */
	bool		patient;		/* the peer must bear a long silence of ours */
	PackMethod	compression;	/* of what the peer sends */
	const char *work_mem;		/* logical_decoding_work_mem; NULL: leave it */
	int			appliers;		/* that were to be started for it */

	/* Set by mc_stream_open(). */
	PeerConnection *connection;
	OriginLsn	confirmed;		/* what the peer's slot knows as flushed */
	OriginLsn	wal_end;		/* where the peer's WAL ended */
} PeerStream;

/*
 * Connect to the peer, make sure that it still has all that follows our
 * progress, and start the stream; afterwards mc_peer_receive() returns its
 * messages.  Everything is allocated in the current context.  Raises an error
 * that says what to do where the link cannot go on.
 */
extern void mc_stream_open(PeerStream *stream);

/* How the peer is to compress; an error if this server cannot read that. */
extern PackMethod mc_stream_compression(const LinkOptions *options);

/* How many processes are to apply what comes, beside the receiver. */
extern int	mc_stream_appliers(const LinkOptions *options);

/*
 * Has somebody changed options of links, or settings, since this was asked
 * last?  And are those of a stream that was opened others than they were?  The
 * second reads the registry, in a transaction of its own.
 */
extern bool mc_stream_options_changed(SharedLink *link);
extern void mc_stream_look_again(SharedLink *link);
extern bool mc_stream_is_outdated(const PeerStream *stream);

/*
 * Does an error mean that the peer cannot be reached just now, rather than
 * that something has to be repaired?
 */
extern bool mc_stream_is_unreachable(int sqlstate);

/* The process ends, and with it its stream, if it had one: for the audit. */
extern void mc_stream_audit_end(CenterId peer, const char *reason);

/* Raise the error of a link that a receiver has stopped for good. */
extern void mc_stream_raise_stopped(const char *reason);

#endif							/* MC_STREAM_H */
