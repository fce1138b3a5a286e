/*-------------------------------------------------------------------------
 *
 * message_kind.h
 *	  Who carries out which messages of a peer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_MESSAGE_KIND_H
#define MC_MESSAGE_KIND_H

#include "core/wire.h"

/*
 * Carries out a message with this prefix, which a peer has written in its
 * transaction.  It belongs to a lower layer, which registers it before the
 * first frame.  All tables are closed, and a snapshot is active.
 */
struct RemoteTransaction;
typedef void (*MessageApplyFunction) (struct RemoteTransaction *transaction,
									  const char *content, uint32 len);

extern void mc_message_register(const char *prefix,
								MessageApplyFunction function);

/* Has a message this prefix? */
extern bool mc_message_is(WireBytes prefix, const char *name);

/* Who carries out a message with this prefix; NULL: nobody. */
extern MessageApplyFunction mc_message_function(WireBytes prefix);

#endif							/* MC_MESSAGE_KIND_H */
