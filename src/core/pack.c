/*-------------------------------------------------------------------------
 *
 * pack.c
 *	  Frames whose body is compressed.
 *
 * NOTES
 *	  Body of a compressed frame, behind the header: uint8 method, three zero
 *	  bytes, uint32 length of what is compressed, and then that: the vector
 *	  deltas and records as the body of another frame has them.  The header is
 *	  as if nothing were compressed, but for flags, length and CRC, which is
 *	  that of the compressed bytes.
 *
 *	  The libraries are those that PostgreSQL itself was built with.  Their
 *	  headers do not come with PostgreSQL's, so the few functions that we need
 *	  are declared here; they are of the stable part of the interfaces, and
 *	  the server, which is linked with the libraries, brings them.  (See the
 *	  Makefile for systems where that is not enough.)
 *
 *	  What the methods need to work in is kept as long as the process.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/pack.h"
#include "port/pg_bswap.h"

/* uint8 method, three zero bytes, uint32 length. */
#define PACK_HEADER_BYTES		8

/* Of shorter bodies nothing can be gained. */
#define MIN_PACK_BYTES			128

/* A buffer that one large row has made grow is given back by the next frame. */
#define MAX_KEPT_BYTES			(16 * MC_CHUNK_BYTES)

/* The fastest of the usual levels; the higher ones cost more than they gain. */
#define ZSTD_LEVEL				1

#ifdef USE_LZ4
extern int	LZ4_sizeofState(void);
extern int	LZ4_compress_fast_extState(void *state, const char *src, char *dst,
									   int src_len, int dst_len, int acceleration);
extern int	LZ4_decompress_safe(const char *src, char *dst, int src_len, int dst_len);
#endif

#ifdef USE_ZSTD
typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct ZSTD_DCtx_s ZSTD_DCtx;

extern ZSTD_CCtx *ZSTD_createCCtx(void);
extern ZSTD_DCtx *ZSTD_createDCtx(void);
extern size_t ZSTD_compressCCtx(ZSTD_CCtx *context, void *dst, size_t dst_len,
								const void *src, size_t src_len, int level);
extern size_t ZSTD_decompressDCtx(ZSTD_DCtx *context, void *dst, size_t dst_len,
								  const void *src, size_t src_len);
extern unsigned ZSTD_isError(size_t code);
#endif

static const char *const method_names[] = {
	[PACK_NONE] = "none",
	[PACK_LZ4] = "lz4",
	[PACK_ZSTD] = "zstd",
};

const char *
mc_pack_name(PackMethod method)
{
	return method_names[method];
}

bool
mc_pack_from_name(const char *name, PackMethod *method)
{
	for (int i = 0; i < lengthof(method_names); i++)
	{
		if (strcmp(name, method_names[i]) == 0)
		{
			*method = (PackMethod) i;
			return true;
		}
	}
	return false;
}

bool
mc_pack_is_built(PackMethod method)
{
	switch (method)
	{
		case PACK_NONE:
			return true;
		case PACK_LZ4:
#ifdef USE_LZ4
			return true;
#else
			return false;
#endif
		case PACK_ZSTD:
#ifdef USE_ZSTD
			return true;
#else
			return false;
#endif
	}
	return false;
}

/*
 * Compress into no more than dst_len bytes.  Returns the number of bytes; 0 if
 * there is not enough room, or no memory for the method.
 */
static uint32
compress_bytes(PackMethod method, const char *src, uint32 src_len, char *dst,
			   uint32 dst_len)
{
#ifdef USE_LZ4
	if (method == PACK_LZ4)
	{
		static void *state = NULL;

		if (state == NULL)
			state = malloc(LZ4_sizeofState());
		return state == NULL ? 0 :
			(uint32) LZ4_compress_fast_extState(state, src, dst, (int) src_len,
												(int) dst_len, 1);
	}
#endif
#ifdef USE_ZSTD
	if (method == PACK_ZSTD)
	{
		static ZSTD_CCtx *context = NULL;
		size_t		len;

		if (context == NULL)
			context = ZSTD_createCCtx();
		if (context == NULL)
			return 0;
		len = ZSTD_compressCCtx(context, dst, dst_len, src, src_len, ZSTD_LEVEL);
		return ZSTD_isError(len) ? 0 : (uint32) len;
	}
#endif
	return 0;
}

/*
 * Decompress what must become dst_len bytes; false if it does not.  src is not
 * trusted: the libraries promise to stay within the two buffers.
 */
static bool
decompress_bytes(PackMethod method, const char *src, uint32 src_len, char *dst,
				 uint32 dst_len)
{
#ifdef USE_LZ4
	if (method == PACK_LZ4)
		return LZ4_decompress_safe(src, dst, (int) src_len, (int) dst_len) == (int) dst_len;
#endif
#ifdef USE_ZSTD
	if (method == PACK_ZSTD)
	{
		static ZSTD_DCtx *context = NULL;

		if (context == NULL)
			context = ZSTD_createDCtx();
		return context != NULL &&
			ZSTD_decompressDCtx(context, dst, dst_len, src, src_len) == dst_len;
	}
#endif
	return false;
}

bool
mc_pack_frame(PackMethod method, StringInfo frame, int frame_offset,
			  uint16 flags, StringInfo out)
{
	const char *start = frame->data + frame_offset;
	uint32		raw_len = (uint32) (frame->len - frame_offset) - MC_FRAME_HEADER_BYTES;
	int			offset = out->len;
	char		head[PACK_HEADER_BYTES] = {(char) method};
	uint32		len_field = pg_hton32(raw_len);
	uint32		len;

	if (raw_len < MIN_PACK_BYTES || raw_len > MC_PACK_MAX_BYTES)
		return false;
	memcpy(head + 4, &len_field, sizeof(len_field));

	/* With one byte less than it needs as it is, it has to shrink. */
	enlargeStringInfo(out, (int) (MC_FRAME_HEADER_BYTES + raw_len));
	appendBinaryStringInfo(out, start, MC_FRAME_HEADER_BYTES);
	appendBinaryStringInfo(out, head, PACK_HEADER_BYTES);
	len = compress_bytes(method, start + MC_FRAME_HEADER_BYTES, raw_len,
						 out->data + out->len, raw_len - PACK_HEADER_BYTES - 1);
	if (len == 0)
	{
		out->len = offset;
		out->data[offset] = '\0';
		return false;
	}
	out->len += (int) len;
	out->data[out->len] = '\0';
	mc_wire_end_frame(out, offset, flags | FRAME_COMPRESSED);
	return true;
}

WireStatus
mc_unpack_frame(PackMethod agreed, FrameHeader *header, WireCursor *body,
				StringInfo buffer, const char **problem)
{
	static const char zeroes[3] = {0};
	const char *head = body->data + body->pos;
	uint32		left = body->len - body->pos;
	uint32		raw_len;

	*problem = NULL;
	if (left <= PACK_HEADER_BYTES)
		*problem = "compressed frame without a body";
	else if (agreed == PACK_NONE || head[0] != (char) agreed)
		*problem = "compressed frame, which was not agreed on";
	else if (memcmp(head + 1, zeroes, sizeof(zeroes)) != 0)
		*problem = "reserved bytes of a compressed frame are not zero";
	if (*problem != NULL)
		return WIRE_MALFORMED;

	memcpy(&raw_len, head + 4, sizeof(raw_len));
	raw_len = pg_ntoh32(raw_len);
	if (raw_len > MC_PACK_MAX_BYTES)
		*problem = "compressed frame claims to be longer than is allowed";
	else if (raw_len <= left)
		*problem = "compressed frame claims to have grown by that";
	if (*problem != NULL)
		return WIRE_MALFORMED;

	resetStringInfo(buffer);
	if (buffer->maxlen > MAX_KEPT_BYTES && raw_len < MAX_KEPT_BYTES)
	{
		buffer->data = repalloc(buffer->data, MAX_KEPT_BYTES);
		buffer->maxlen = MAX_KEPT_BYTES;
	}
	enlargeStringInfo(buffer, (int) raw_len);
	if (!decompress_bytes(agreed, head + PACK_HEADER_BYTES, left - PACK_HEADER_BYTES,
						  buffer->data, raw_len))
	{
		*problem = "compressed frame is damaged, or not as long as it claims";
		return WIRE_MALFORMED;
	}
	buffer->len = (int) raw_len;
	return mc_wire_read_unpacked(header, buffer->data, raw_len, body, problem);
}
