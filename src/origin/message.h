/*-------------------------------------------------------------------------
 *
 * message.h
 *	  Logical messages of multicenter in the WAL, with a proof of authorship.
 *
 * NOTES
 *	  Everybody who can connect may call pg_logical_emit_message() with any
 *	  prefix, ours included.  Peers run DDL that arrives in a message and
 *	  trust the time in a heartbeat, so a message counts only if it carries a
 *	  code that no SQL user can compute: write with mc_message_emit(), and the
 *	  output plugin passes on nothing else.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_MESSAGE_H
#define MC_MESSAGE_H

#include "core/types.h"
#include "core/wire.h"

/*
 * Write a logical message.  A transactional one is decoded with the current
 * transaction, which gets an xid; another one at once.  Returns the end of its
 * WAL record, which is not flushed yet.
 */
extern LocalLsn mc_message_emit(const char *prefix, bool transactional,
								const char *content, uint32 len);

/*
 * Does the message that was decoded come from mc_message_emit()?  xid: of its
 * top transaction, ignored for a message that is not transactional.  Sets
 * *content to what was given there, within message.
 */
extern bool mc_message_check(const char *prefix, bool transactional,
							 TransactionId xid, const char *message,
							 Size size, WireBytes *content);

#endif							/* MC_MESSAGE_H */
