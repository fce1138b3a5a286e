/*-------------------------------------------------------------------------
 *
 * wire_test.c
 *	  Round trips of frames, and every way to break one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "guard.h"
#include "port/pg_bswap.h"
#include "samples.h"
#include "tap.h"
#include "tests.h"

/* Are some bytes this string? */
static bool
is(WireBytes bytes, const char *string)
{
	return bytes.len == strlen(string) && memcmp(bytes.data, string, bytes.len) == 0;
}

/* Header and vector come back as they were. */
static void
test_header(StringInfo frame, WireCursor *body)
{
	FrameHeader header;
	VectorDelta delta;
	const char *problem = NULL;

	ok(mc_wire_read_frame(frame->data, frame->len, &header, body, &problem) == WIRE_OK,
	   "a frame is read");
	ok(header.type == FRAME_TRANSACTION && header.version == 1 &&
	   header.flags == (FRAME_FIRST | FRAME_LAST) && header.length == frame->len &&
	   header.xid == 742 && header.commit_lsn == 0x1A2B3C8 && header.end_lsn == 0x1A2B3F8 &&
	   header.commit_ts == 800000000123456LL && header.prev_end_lsn == 0x1A2B000 &&
	   header.nvector == 2, "header comes back");
	ok(mc_wire_next_vector(body, &delta, &problem) == WIRE_OK && delta.center == 2 &&
	   delta.lsn == 0x100000002ULL && delta.promise == 700000000000000LL,
	   "first vector delta comes back");
	ok(mc_wire_next_vector(body, &delta, &problem) == WIRE_OK &&
	   delta.center == MC_MAX_CENTER_ID && delta.lsn == 1 && delta.promise == -1,
	   "second vector delta comes back");
}

/* So does what a heartbeat says in the WAL, which is not a frame yet. */
static void
test_heartbeat(void)
{
	static const VectorDelta vector[] = {
		{3, 0x100000002ULL, 700000000000000LL},
		{MC_MAX_CENTER_ID, 1, 0},
	};
	Heartbeat	heartbeat = {800000000123456LL, 800000000123455LL, 800000000123000LL, 800000000122000LL, 0x1A2B3C8, 2};
	Heartbeat	back;
	StringInfoData content;
	WireBytes	bytes;
	VectorDelta delta;
	const char *problem = NULL;
	uint32		refused = 0;

	initStringInfo(&content);
	mc_wire_put_heartbeat(&content, &heartbeat, vector);
	bytes.data = content.data;
	bytes.len = (uint32) content.len;
	ok(mc_wire_read_heartbeat(bytes, &back, &problem) == WIRE_OK &&
	   back.promise == heartbeat.promise && back.floor == heartbeat.floor &&
	   back.written == heartbeat.written && back.decided == heartbeat.decided && back.since == heartbeat.since && back.nvector == 2, "a heartbeat comes back");
	ok(mc_wire_next_vector(&back.vector, &delta, &problem) == WIRE_OK && delta.center == 3 &&
	   delta.lsn == vector[0].lsn && delta.promise == vector[0].promise &&
	   mc_wire_next_vector(&back.vector, &delta, &problem) == WIRE_OK &&
	   delta.center == MC_MAX_CENTER_ID && delta.lsn == 1 && delta.promise == 0 &&
	   back.vector.pos == back.vector.len, "and its vector");

	for (bytes.len = 0; bytes.len < (uint32) content.len; bytes.len++)
		refused += mc_wire_read_heartbeat(bytes, &back, &problem) == WIRE_MALFORMED;
	ok(refused == (uint32) content.len, "a heartbeat that is cut off is refused");
	appendStringInfoChar(&content, 'x');
	bytes.data = content.data;
	bytes.len = (uint32) content.len;
	ok(mc_wire_read_heartbeat(bytes, &back, &problem) == WIRE_MALFORMED, "so is one that is too long");
	content.data[32] = '\377';
	ok(mc_wire_read_heartbeat(bytes, &back, &problem) == WIRE_MALFORMED &&
	   strcmp(problem, "length of a heartbeat does not fit its vector") == 0, "and one with too many entries");
}

/* So does the definition of a table. */
static void
test_relation(WireCursor *body)
{
	WireRecord	record;
	WireAttribute attribute;
	WireCursor	cursor;
	const char *problem = NULL;

	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_RELATION && record.relation.relid == 16400 &&
	   is(record.relation.schema, "public") && is(record.relation.name, "orders") &&
	   record.relation.replident == 'd' && record.relation.natts == 2,
	   "RELATION comes back");
	cursor = mc_wire_cursor(record.relation.attributes);
	ok(mc_wire_next_attribute(&cursor, &attribute, &problem) == WIRE_OK &&
	   is(attribute.name, "id") && is(attribute.type_schema, "pg_catalog") &&
	   is(attribute.type_name, "int4") && attribute.flags == ATTRIBUTE_KEY &&
	   attribute.type_oid == 23 && attribute.typmod == -1 && attribute.attlen == 4 &&
	   attribute.attbyval && attribute.attalign == 'i', "first attribute comes back");
	ok(mc_wire_next_attribute(&cursor, &attribute, &problem) == WIRE_OK &&
	   is(attribute.name, "name") && attribute.flags == ATTRIBUTE_GENERATED &&
	   attribute.typmod == 24 && attribute.attlen == -1 && !attribute.attbyval,
	   "second attribute comes back");
	ok(mc_wire_next_attribute(&cursor, &attribute, &problem) == WIRE_END,
	   "there are two attributes");
}

/* So do rows. */
static void
test_rows(WireCursor *body)
{
	WireRecord	record;
	WireColumn	column;
	WireCursor	cursor;
	const char *problem = NULL;

	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_INSERT && record.relid == 16400 &&
	   record.new_row.format == TUPLE_RAW && record.new_row.ncolumns == 2 &&
	   record.new_row.null_bitmap.len == 0 && record.new_row.image.len == 9,
	   "INSERT of an image comes back");
	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_INSERT && record.new_row.format == TUPLE_COLUMNS,
	   "INSERT by columns comes back");
	cursor = mc_wire_cursor(record.new_row.image);
	ok(mc_wire_next_column(&cursor, &column, &problem) == WIRE_OK &&
	   column.kind == COLUMN_BINARY && column.value.len == 4, "binary value comes back");
	ok(mc_wire_next_column(&cursor, &column, &problem) == WIRE_OK &&
	   column.kind == COLUMN_TEXT && is(column.value, "seven"), "text value comes back");
	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_UPDATE && record.old_kind == OLD_ROW_KEY &&
	   record.old_row.format == TUPLE_RAW && record.old_row.null_bitmap.len == 1 &&
	   record.new_row.format == TUPLE_COLUMNS, "UPDATE with the old key comes back");
	cursor = mc_wire_cursor(record.new_row.image);
	mc_wire_next_column(&cursor, &column, &problem);
	ok(mc_wire_next_column(&cursor, &column, &problem) == WIRE_OK &&
	   column.kind == COLUMN_UNCHANGED, "unchanged value comes back");
	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_UPDATE && record.old_kind == OLD_ROW_NONE,
	   "UPDATE without an old row comes back");
	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_DELETE && record.old_kind == OLD_ROW_FULL &&
	   record.old_row.ncolumns == 2, "DELETE comes back");
}

/* So do the other records. */
static void
test_rest(WireCursor *body)
{
	WireRecord	record;
	const char *problem = NULL;

	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_TRUNCATE && record.nrelids == 2 &&
	   record.truncate_flags == TRUNCATE_FLAG_RESTART_SEQS &&
	   mc_wire_relid(&record, 0) == 16400 && mc_wire_relid(&record, 1) == 4000000000U,
	   "TRUNCATE comes back");
	ok(mc_wire_next_record(body, &record, &problem) == WIRE_OK &&
	   record.type == RECORD_MESSAGE && is(record.prefix, "multicenter_ddl") &&
	   record.content.len == 4 && memcmp(record.content.data, "a\0b", 4) == 0,
	   "MESSAGE comes back");
	ok(mc_wire_next_record(body, &record, &problem) == WIRE_END, "the frame ends");
}

/* A frame cut off anywhere is refused, with its CRC as it was or made right. */
static void
test_truncation(StringInfo frame, const char *name)
{
	FrameCounts counts;
	FrameCounts whole;
	bool		all_refused = true;
	bool		all_shorter = true;

	read_all(frame->data, frame->len, &whole);
	for (uint32 len = 0; len < frame->len; len++)
	{
		char	   *copy = guarded(frame->data, len);

		if (read_all(copy, len, &counts) == NULL)
			all_refused = false;
		if (len < 56)
			continue;
		repair_frame(copy, len);
		if (read_all(copy, len, &counts) == NULL &&
			counts.records + counts.vectors >= whole.records + whole.vectors)
			all_shorter = false;
	}
	ok(all_refused, "%s is refused wherever it is cut off", name);
	ok(all_shorter, "%s cut off with the right checksum shows only whole records", name);
}

/* A frame with one bit flipped is refused; with its CRC made right, readable. */
static void
test_flips(StringInfo frame, const char *name)
{
	FrameCounts counts;
	bool		all_refused = true;
	int			refused = 0;

	for (uint32 i = 0; i < frame->len * 8; i++)
	{
		char	   *copy = guarded(frame->data, frame->len);

		copy[i / 8] ^= 1 << (i % 8);
		if (read_all(copy, frame->len, &counts) == NULL)
			all_refused = false;
		repair_frame(copy, frame->len);
		refused += read_all(copy, frame->len, &counts) != NULL;
	}
	ok(all_refused, "%s is refused with any bit flipped", name);
	diag("%s: %d of %u flips are refused with the right checksum", name, refused,
		 frame->len * 8);
	for (uint32 i = 0; i < frame->len; i++)
		for (int value = 0; value < 256; value++)
		{
			char	   *copy = guarded(frame->data, frame->len);

			copy[i] = (char) value;
			repair_frame(copy, frame->len);
			read_all(copy, frame->len, &counts);
		}
	ok(true, "%s with any value of any byte is read safely", name);
}

/* Change len bytes of the sample and expect a problem. */
static void
test_change(StringInfo frame, uint32 offset, const char *bytes, uint32 len,
			bool repair, const char *expected)
{
	char	   *copy = guarded(frame->data, frame->len);
	FrameCounts counts;

	memcpy(copy + offset, bytes, len);
	if (repair)
		repair_frame(copy, frame->len);
	unsound(read_all(copy, frame->len, &counts), expected, expected);
}

/* Frames with particular faults. */
static void
test_faults(void)
{
	StringInfoData frame;
	StringInfoData heartbeat;
	const uint32 body = 56 + 2 * 18;	/* first record: RELATION */
	const uint32 schema = body + 5 + 4;

	initStringInfo(&frame);
	initStringInfo(&heartbeat);
	sample_transaction(&frame);
	sample_heartbeat(&heartbeat);

	test_change(&frame, 0, "X", 1, true, "frame does not start with the magic number");
	test_change(&frame, 4, "\2", 1, true, "unknown version of the protocol");
	test_change(&frame, 4, "\0", 1, true, "unknown version of the protocol");
	test_change(&frame, 11, "\0", 1, false, "length of the frame is not the one in its header");
	test_change(&frame, 12, "\0\0\0\0", 4, false, "wrong checksum");
	test_change(&frame, 5, "X", 1, true, "unknown type of frame");
	test_change(&frame, 5, "H", 1, true, "length of a heartbeat does not fit its vector");
	test_change(&frame, 6, "\1", 1, true, "unknown flag in the header of a frame");
	test_change(&frame, 7, "\7", 1, true, "compressed frame, which was not agreed on");
	test_change(&heartbeat, 7, "\7", 1, true, "compressed heartbeat");
	test_change(&frame, 55, "\1", 1, true, "reserved bytes of a frame are not zero");
	test_change(&frame, 52, "\4\0", 2, true, "too many vector entries");
	test_change(&frame, 52, "\3\377", 2, true, "frame ends within its vector");
	test_change(&heartbeat, 53, "\1", 1, true, "length of a heartbeat does not fit its vector");
	test_change(&frame, 56, "\0\0", 2, true, "impossible center in a vector");
	test_change(&frame, 56, "\4\0", 2, true, "impossible center in a vector");
	test_change(&frame, body, "X", 1, true, "unknown type of record");
	test_change(&frame, body + 1, "\377\377\377\377", 4, true, "frame ends within a record");
	test_change(&frame, schema, "\377\377", 2, true, "malformed name of a table");
	test_change(&frame, schema, "\0\0", 2, true, "malformed name of a table");
	test_change(&frame, schema + 2, "\0", 1, true, "malformed name of a table");
	test_change(&frame, schema + 16, "x", 1, true, "unknown replica identity");
	test_change(&frame, schema + 17, "\377\377", 2, true, "table has too many columns");
	test_change(&frame, schema + 17, "\0\3", 2, true, "too few column definitions");
	test_change(&frame, schema + 17, "\0\1", 2, true, "record is longer than its contents");
}

/* All tests of frames. */
void
test_wire(void)
{
	StringInfoData frame;
	StringInfoData heartbeat;
	WireCursor	body;
	FrameCounts counts;

	initStringInfo(&frame);
	initStringInfo(&heartbeat);
	sample_transaction(&frame);
	sample_heartbeat(&heartbeat);

	test_heartbeat();
	test_header(&frame, &body);
	test_relation(&body);
	test_rows(&body);
	test_rest(&body);
	sound(read_all(heartbeat.data, heartbeat.len, &counts), "heartbeat");
	ok(counts.records == 0, "heartbeat has no records");

	test_faults();
	test_truncation(&frame, "transaction");
	test_truncation(&heartbeat, "heartbeat");
	test_flips(&frame, "transaction");
	test_flips(&heartbeat, "heartbeat");
	ok(GUARD_BYTES > MC_CHUNK_BYTES, "guarded memory holds a chunk");
}
