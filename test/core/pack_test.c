/*-------------------------------------------------------------------------
 *
 * pack_test.c
 *	  Compressed frames: what goes in comes out, and nothing is believed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "guard.h"
#include "port/pg_bswap.h"
#include "samples.h"
#include "tap.h"
#include "tests.h"

/* Where the header of a compressed body is, and the compressed bytes. */
#define PACK_AT		MC_FRAME_HEADER_BYTES
#define BYTES_AT	(PACK_AT + 8)

/* A transaction with so many bytes, random ones or all the same. */
static void
make_frame(StringInfo frame, uint32 bytes, bool random_bytes)
{
	FrameHeader header = {.type = FRAME_TRANSACTION,.version = 1,.xid = 7,.end_lsn = 9};
	uint64		state = 42;

	initStringInfo(frame);
	mc_wire_begin_frame(frame, &header, NULL);
	enlargeStringInfo(frame, (int) bytes);
	for (uint32 i = 0; i < bytes; i++)
	{
		state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
		appendStringInfoCharMacro(frame, random_bytes ? (char) (state >> 56) : 'x');
	}
}

/* Compress and decompress a body of so many equal bytes. */
static void
test_round_trip(PackMethod method, uint32 bytes)
{
	StringInfoData frame;
	StringInfoData packed;
	StringInfoData buffer;
	FrameHeader header;
	WireCursor	body;
	const char *problem = NULL;
	bool		same;

	make_frame(&frame, bytes, false);
	initStringInfo(&packed);
	initStringInfo(&buffer);
	appendStringInfoString(&packed, "before");
	same = mc_pack_frame(method, &frame, 0, FRAME_FIRST, &packed) &&
		packed.len < frame.len / 2 &&
		mc_wire_read_frame(packed.data + 6, packed.len - 6, &header, &body, &problem) == WIRE_OK &&
		(header.flags & FRAME_COMPRESSED) != 0 &&
		mc_unpack_frame(method, &header, &body, &buffer, &problem) == WIRE_OK;
	ok(same && header.flags == FRAME_FIRST && header.xid == 7 && header.end_lsn == 9 &&
	   body.pos == 0 && body.len == bytes &&
	   memcmp(body.data, frame.data + PACK_AT, bytes) == 0,
	   "%s: %u bytes come back from %d", mc_pack_name(method), bytes, packed.len - 6);
	pfree(frame.data);
	pfree(packed.data);
	pfree(buffer.data);
}

/* What is not compressed: it leaves the output alone. */
static void
test_left_alone(PackMethod method, uint32 bytes, bool random_bytes, const char *name)
{
	StringInfoData frame;
	StringInfoData packed;

	make_frame(&frame, bytes, random_bytes);
	initStringInfo(&packed);
	appendStringInfoString(&packed, "before");
	ok(!mc_pack_frame(method, &frame, 0, FRAME_FIRST, &packed) &&
	   strcmp(packed.data, "before") == 0 && packed.len == 6,
	   "%s: %s", mc_pack_name(method), name);
	pfree(frame.data);
	pfree(packed.data);
}

/* Change the sample and expect a problem, and no memory to be taken. */
static void
test_fault(PackMethod method, PackMethod agreed, uint32 offset, const char *bytes,
		   uint32 len, const char *expected)
{
	StringInfoData sample;
	StringInfoData buffer;
	FrameHeader header;
	WireCursor	body;
	const char *problem = NULL;
	char	   *copy;

	initStringInfo(&sample);
	initStringInfo(&buffer);
	sample_packed(&sample, method);
	copy = guarded(sample.data, sample.len);
	memcpy(copy + offset, bytes, len);
	repair_frame(copy, sample.len);
	if (mc_wire_read_frame(copy, sample.len, &header, &body, &problem) == WIRE_OK &&
		mc_unpack_frame(agreed, &header, &body, &buffer, &problem) == WIRE_OK)
		problem = NULL;
	unsound(problem, expected, expected);
	pfree(sample.data);
	pfree(buffer.data);
}

/* A length that is wrong by a few bytes, or by a lot. */
static void
test_lengths(PackMethod method)
{
	StringInfoData sample;
	uint32		length;
	uint32		wrong;

	initStringInfo(&sample);
	sample_packed(&sample, method);
	memcpy(&length, sample.data + PACK_AT + 4, sizeof(length));
	length = pg_ntoh32(length);
	for (int i = -1; i <= 1; i += 2)
	{
		wrong = pg_hton32(length + i);
		test_fault(method, method, PACK_AT + 4, (char *) &wrong, sizeof(wrong),
				   "compressed frame is damaged, or not as long as it claims");
	}
	wrong = pg_hton32(MC_PACK_MAX_BYTES);
	test_fault(method, method, PACK_AT + 4, (char *) &wrong, sizeof(wrong),
			   "compressed frame is damaged, or not as long as it claims");
	wrong = pg_hton32(MC_PACK_MAX_BYTES + 1);
	test_fault(method, method, PACK_AT + 4, (char *) &wrong, sizeof(wrong),
			   "compressed frame claims to be longer than is allowed");
	test_fault(method, method, PACK_AT + 4, "\377\377\377\377", 4,
			   "compressed frame claims to be longer than is allowed");
	wrong = pg_hton32((uint32) sample.len - PACK_AT);
	test_fault(method, method, PACK_AT + 4, (char *) &wrong, sizeof(wrong),
			   "compressed frame claims to have grown by that");
	test_fault(method, method, PACK_AT + 4, "\0\0\0\0", 4,
			   "compressed frame claims to have grown by that");
	pfree(sample.data);
}

/* All tests of one method. */
static void
test_method(PackMethod method)
{
	PackMethod	other = method == PACK_LZ4 ? PACK_ZSTD : PACK_LZ4;
	StringInfoData sample;
	FrameCounts counts;
	bool		all_refused = true;

	test_round_trip(method, 128);
	test_round_trip(method, MC_CHUNK_BYTES);
	test_round_trip(method, MC_PACK_MAX_BYTES);
	test_left_alone(method, 127, false, "a short body is left alone");
	test_left_alone(method, MC_PACK_MAX_BYTES + 1, false, "so is one above the limit");
	test_left_alone(method, MC_CHUNK_BYTES, true, "so is one that does not shrink");

	test_fault(method, PACK_NONE, 0, "M", 1, "compressed frame, which was not agreed on");
	test_fault(method, other, 0, "M", 1, "compressed frame, which was not agreed on");
	test_fault(method, method, PACK_AT, "\0", 1, "compressed frame, which was not agreed on");
	test_fault(method, method, PACK_AT + 1, "\1", 1,
			   "reserved bytes of a compressed frame are not zero");
	test_fault(method, method, 5, "H", 1, "compressed heartbeat");
	test_fault(method, method, 52, "\3\377", 2, "frame ends within its vector");
	test_lengths(method);

	initStringInfo(&sample);
	sample_packed(&sample, method);
	for (int len = PACK_AT; len < sample.len; len++)
	{
		char	   *copy = guarded(sample.data, len);

		repair_frame(copy, len);
		if (read_all(copy, len, &counts) == NULL)
			all_refused = false;
	}
	ok(all_refused, "%s: a frame that is cut off is refused", mc_pack_name(method));
	ok(read_all(sample.data, sample.len, &counts) == NULL && counts.records == 1 + 20 * 5 &&
	   counts.vectors == 1, "%s: a whole one is read", mc_pack_name(method));
	pfree(sample.data);
}

/* All tests of compressed frames. */
void
test_pack(void)
{
	PackMethod	method;

	ok(mc_pack_from_name("zstd", &method) && method == PACK_ZSTD &&
	   mc_pack_from_name("none", &method) && method == PACK_NONE &&
	   !mc_pack_from_name("ZSTD", &method), "methods have names");
	ok(mc_pack_is_built(PACK_NONE), "none is built");
	for (method = PACK_LZ4; method <= PACK_ZSTD; method++)
	{
		if (mc_pack_is_built(method))
			test_method(method);
		else
			diag("the server is built without %s", mc_pack_name(method));
	}
}
