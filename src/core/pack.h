/*-------------------------------------------------------------------------
 *
 * pack.h
 *	  Frames whose body is compressed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_PACK_H
#define MC_PACK_H

#include "core/wire.h"

typedef enum PackMethod
{
	PACK_NONE,
	PACK_LZ4,
	PACK_ZSTD,
} PackMethod;

/*
 * Larger bodies, which is to say rows, are not compressed: the target takes
 * so much memory for a frame on the word of its sender, and not more.
 */
#define MC_PACK_MAX_BYTES		(16 * 1024 * 1024)

/* The name of a method in options, and the other way round; false: none. */
extern const char *mc_pack_name(PackMethod method);
extern bool mc_pack_from_name(const char *name, PackMethod *method);

/* Was the server built with it? */
extern bool mc_pack_is_built(PackMethod method);

/*
 * Append the frame that begins at the offset of frame to out, compressed, with
 * length and CRC.  If that does not make it shorter, out is left alone and
 * false is returned.  The frame needs no mc_wire_end_frame() before.
 */
extern bool mc_pack_frame(PackMethod method, StringInfo frame,
						  int frame_offset, uint16 flags, StringInfo out);

/*
 * Decompress the body of a frame with FRAME_COMPRESSED, as mc_wire_read_frame()
 * returned it, into buffer, which is overwritten; *body is then in that, and
 * the flag is gone from the header.  agreed is the method that is expected.
 * Nothing is trusted: no more memory is taken than MC_PACK_MAX_BYTES.
 */
extern WireStatus mc_unpack_frame(PackMethod agreed, FrameHeader *header,
								  WireCursor *body, StringInfo buffer,
								  const char **problem);

#endif							/* MC_PACK_H */
