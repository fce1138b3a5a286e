/*-------------------------------------------------------------------------
 *
 * peer.h
 *	  What centers ask each other outside the stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_PEER_H
#define MC_PEER_H

#include "state/registry.h"
#include "target/connection.h"

/* The answer of multicenter.peer_hello(): who is at the other end. */
typedef struct PeerHello
{
	const char *group_uuid;		/* NULL: in no group; so the next four */
	const char *group_name;
	CenterId	center_id;		/* MC_NO_CENTER */
	const char *center_name;
	const char *state;			/* or 'detached' */
	uint64		system_identifier;
	Oid			dboid;
	int			release;		/* of PostgreSQL: 15 */
	const char *encoding;
	const char *extension_version;
	int			protocol_min;
	int			protocol_max;
	int			last_center_id; /* greatest id ever seen there, 0: none */
} PeerHello;

/* Ask a peer who it is; label is for messages. */
extern PeerHello *mc_peer_hello(PeerConnection *peer, const char *label);

/*
 * Connect with dsn and make sure that it leads to this very database, also for
 * replication.  Raises 22023 where it does not.
 */
extern void mc_check_own_dsn(const char *dsn);

/* How this center reaches a peer: the local override, or the peer's own dsn. */
extern const char *mc_peer_dsn(const Center *center);

/*
 * Open an ordinary session with a center that is known here and make sure that
 * it is that center.  Outside a transaction.
 */
extern PeerConnection *mc_peer_open(const Center *center, const char *dsn,
									const Identity *identity);

/* Tell a center which state another one is in: its peer_center_state(). */
extern void mc_peer_tell_state(PeerConnection *peer, CenterId id,
							   CenterState state);

/* An id as a parameter of a query. */
extern const char *mc_id_text(int id);

#endif							/* MC_PEER_H */
