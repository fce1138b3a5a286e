/*-------------------------------------------------------------------------
 *
 * encode.h
 *	  Changes of rows, decoded from the WAL, as records of a frame.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ENCODE_H
#define MC_ENCODE_H

#include "core/wire.h"
#include "origin/routing.h"
#include "replication/reorderbuffer.h"

typedef struct RowEncoder RowEncoder;

/*
 * Make an encoder in a memory context, which ends with it; one at a time in a
 * process.  encoding: of the target's database, in which all text travels.
 * images: the target can read our raw tuples.
 */
extern RowEncoder *mc_encoder_create(MemoryContext context, int encoding,
									 bool images);

/* What may be sent of a table: mc_route_table(), cached. */
extern TableRoute mc_encoder_route(RowEncoder *encoder, Relation rel);

/*
 * The name of a table's schema, for statistics; NULL if the table is of the
 * group's own catalog, of which there are none.  Cached too.
 */
extern const char *mc_encoder_schema(RowEncoder *encoder, Relation rel);

/*
 * Append a RELATION record, unless the target has the definition already.
 * The table is a replicated one.
 */
extern void mc_encode_relation(RowEncoder *encoder, StringInfo out,
							   Relation rel);

/* Append an INSERT, UPDATE or DELETE, with the RELATION before it. */
extern void mc_encode_change(RowEncoder *encoder, StringInfo out,
							 Relation rel, ReorderBufferChange *change);

/*
 * Append a message whose content is strings, each ended by a zero byte.
 */
extern void mc_encode_message(RowEncoder *encoder, StringInfo out,
							  const char *prefix, WireBytes content);

#endif							/* MC_ENCODE_H */
