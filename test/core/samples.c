/*-------------------------------------------------------------------------
 *
 * samples.c
 *	  Frames and images to test with, and readers that touch all of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "catalog/pg_type_d.h"
#include "guard.h"
#include "jsonb_sample.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"
#include "samples.h"

/* ---- frames ---- */

/* Append a RELATION record of two columns. */
static void
put_sample_relation(StringInfo buf)
{
	WireAttribute id = {.flags = ATTRIBUTE_KEY,.type_oid = INT4OID,.typmod = -1,
	.attlen = 4,.attbyval = true,.attalign = 'i'};
	WireAttribute name = {.flags = ATTRIBUTE_GENERATED,.type_oid = VARCHAROID,.typmod = 24,
	.attlen = -1,.attbyval = false,.attalign = 'i'};
	int			record = mc_wire_begin_record(buf, RECORD_RELATION);

	mc_wire_put_relation(buf, 16400, "public", "orders", 'd', 2);
	mc_wire_put_attribute(buf, "id", "pg_catalog", "int4", &id);
	mc_wire_put_attribute(buf, "name", "pg_catalog", "varchar", &name);
	mc_wire_end_record(buf, record);
}

/* Append a row column by column, with two values. */
static void
put_sample_columns(StringInfo buf, ColumnKind second)
{
	int			row = mc_wire_begin_columns(buf, 2);

	mc_wire_put_column(buf, COLUMN_BINARY, "\0\0\0\7", 4);
	mc_wire_put_column(buf, second, "seven", 5);
	mc_wire_end_columns(buf, row);
}

/* Append a row as an image. */
static void
put_sample_raw(StringInfo buf, bool with_nulls)
{
	WireBytes	bitmap = {"\1", with_nulls ? 1 : 0};
	WireBytes	image = {"\7\0\0\0\13five", with_nulls ? 4 : 9};

	mc_wire_put_raw_tuple(buf, 2, bitmap, image);
}

/* Append INSERT, UPDATE and DELETE in both formats. */
static void
put_sample_changes(StringInfo buf)
{
	int			record = mc_wire_begin_record(buf, RECORD_INSERT);

	mc_wire_put_relid(buf, 16400);
	put_sample_raw(buf, false);
	mc_wire_end_record(buf, record);

	record = mc_wire_begin_record(buf, RECORD_INSERT);
	mc_wire_put_relid(buf, 16400);
	put_sample_columns(buf, COLUMN_TEXT);
	mc_wire_end_record(buf, record);

	record = mc_wire_begin_record(buf, RECORD_UPDATE);
	mc_wire_put_relid(buf, 16400);
	mc_wire_put_old_kind(buf, OLD_ROW_KEY);
	put_sample_raw(buf, true);
	put_sample_columns(buf, COLUMN_UNCHANGED);
	mc_wire_end_record(buf, record);

	record = mc_wire_begin_record(buf, RECORD_UPDATE);
	mc_wire_put_relid(buf, 16400);
	mc_wire_put_old_kind(buf, OLD_ROW_NONE);
	put_sample_raw(buf, false);
	mc_wire_end_record(buf, record);

	record = mc_wire_begin_record(buf, RECORD_DELETE);
	mc_wire_put_relid(buf, 16400);
	mc_wire_put_old_kind(buf, OLD_ROW_FULL);
	put_sample_columns(buf, COLUMN_NULL);
	mc_wire_end_record(buf, record);
}

/* Build the sample transaction. */
void
sample_transaction(StringInfo buf)
{
	static const VectorDelta vector[] = {
		{.center = 2,.lsn = 0x100000002ULL,.promise = 700000000000000LL},
		{.center = MC_MAX_CENTER_ID,.lsn = 1,.promise = -1},
	};
	static const uint32 relids[] = {16400, 4000000000U};
	FrameHeader header = {.type = FRAME_TRANSACTION,.version = 1,.xid = 742,
		.commit_lsn = 0x1A2B3C8,.end_lsn = 0x1A2B3F8,.commit_ts = 800000000123456LL,
	.prev_end_lsn = 0x1A2B000,.nvector = lengthof(vector)};
	int			frame = mc_wire_begin_frame(buf, &header, vector);
	int			record;

	put_sample_relation(buf);
	put_sample_changes(buf);
	record = mc_wire_begin_record(buf, RECORD_TRUNCATE);
	mc_wire_put_truncate(buf, TRUNCATE_FLAG_RESTART_SEQS, lengthof(relids), relids);
	mc_wire_end_record(buf, record);
	record = mc_wire_begin_record(buf, RECORD_MESSAGE);
	mc_wire_put_message(buf, "multicenter_ddl", "a\0b", 4);
	mc_wire_end_record(buf, record);
	mc_wire_end_frame(buf, frame, FRAME_FIRST | FRAME_LAST);
}

/* Build a compressed transaction. */
void
sample_packed(StringInfo buf, PackMethod method)
{
	static const VectorDelta vector[] = {{.center = 2,.lsn = 1,.promise = 1}};
	FrameHeader header = {.type = FRAME_TRANSACTION,.version = 1,.xid = 742,
		.commit_lsn = 0x1A2B3C8,.end_lsn = 0x1A2B3F8,.commit_ts = 800000000123456LL,
	.prev_end_lsn = 0x1A2B000,.nvector = lengthof(vector)};
	StringInfoData plain;
	int			frame;

	initStringInfo(&plain);
	frame = mc_wire_begin_frame(&plain, &header, vector);
	put_sample_relation(&plain);
	for (int i = 0; i < 20; i++)
		put_sample_changes(&plain);
	if (!mc_pack_frame(method, &plain, frame, FRAME_FIRST | FRAME_LAST, buf))
		abort();
	pfree(plain.data);
}

/* Build the sample heartbeat. */
void
sample_heartbeat(StringInfo buf)
{
	FrameHeader header = {.type = FRAME_HEARTBEAT,.version = 1,.commit_lsn = 0x2000,
	.end_lsn = 0x2000,.commit_ts = 42,.prev_end_lsn = 0x1000};

	Pulse		pulse = {800000000123456LL, 800000000123000LL, 800000000123455LL, 1500, 0x1A2B3C8};
	int			frame = mc_wire_begin_frame(buf, &header, NULL);

	mc_wire_put_pulse(buf, &pulse);
	mc_wire_end_frame(buf, frame, FRAME_FIRST | FRAME_LAST);
}

/* Write the length of a frame and the CRC that fits it. */
void
repair_frame(char *data, uint32 len)
{
	uint32		value = pg_hton32(len);
	pg_crc32c	crc;

	memcpy(data + 8, &value, sizeof(value));
	memset(data + 12, 0, sizeof(value));
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, len);
	FIN_CRC32C(crc);
	value = pg_hton32((uint32) crc);
	memcpy(data + 12, &value, sizeof(value));
}

/* Read each byte, so that one outside of the frame is noticed. */
static void
touch(WireBytes bytes)
{
	for (uint32 i = 0; i < bytes.len; i++)
		(void) *(const volatile char *) (bytes.data + i);
}

/* Read a row to the end. */
static const char *
read_row(const WireTuple *tuple, FrameCounts *counts)
{
	const char *problem = NULL;
	WireCursor	cursor = mc_wire_cursor(tuple->image);
	WireColumn	column;
	int			n = 0;

	if (tuple->format == TUPLE_RAW)
	{
		touch(tuple->null_bitmap);
		touch(tuple->image);
		return NULL;
	}
	while (mc_wire_next_column(&cursor, &column, &problem) == WIRE_OK)
	{
		touch(column.value);
		n++;
	}
	counts->values += n;
	return problem == NULL && n != tuple->ncolumns ? "number of values" : problem;
}

/* Read what a record holds to the end. */
static const char *
read_record(const WireRecord *record, FrameCounts *counts)
{
	const char *problem = NULL;
	WireCursor	cursor;
	WireAttribute attribute;
	int			n = 0;

	switch (record->type)
	{
		case RECORD_RELATION:
			cursor = mc_wire_cursor(record->relation.attributes);
			while (mc_wire_next_attribute(&cursor, &attribute, &problem) == WIRE_OK)
			{
				touch(attribute.name);
				touch(attribute.type_schema);
				touch(attribute.type_name);
				n++;
			}
			counts->attributes += n;
			return problem == NULL && n != record->relation.natts ? "number of attributes" : problem;
		case RECORD_INSERT:
			return read_row(&record->new_row, counts);
		case RECORD_UPDATE:
			if (record->old_kind != OLD_ROW_NONE)
				problem = read_row(&record->old_row, counts);
			return problem ? problem : read_row(&record->new_row, counts);
		case RECORD_DELETE:
			return read_row(&record->old_row, counts);
		case RECORD_TRUNCATE:
			for (uint16 i = 0; i < record->nrelids; i++)
				counts->relids += mc_wire_relid(record, i) != 0;
			return NULL;
		case RECORD_MESSAGE:
			touch(record->prefix);
			touch(record->content);
			return NULL;
	}
	return "type of record";
}

/* Decompress a body, as the method that it names. */
static const char *
unpack(FrameHeader *header, WireCursor *body)
{
	static StringInfoData buffer = {NULL};
	const char *problem = NULL;
	PackMethod	method = PACK_NONE;

	if (buffer.data == NULL)
		initStringInfo(&buffer);
	if (body->pos < body->len)
		method = (PackMethod) (uint8) body->data[body->pos];
	mc_unpack_frame(method, header, body, &buffer, &problem);
	if (buffer.maxlen > 2 * MC_PACK_MAX_BYTES)
		abort();
	return problem;
}

/* Read a frame to its end. */
const char *
read_all(const char *data, uint32 len, FrameCounts *counts)
{
	FrameHeader header;
	WireCursor	body;
	VectorDelta delta;
	WireRecord	record;
	Pulse		pulse;
	const char *problem = NULL;

	memset(counts, 0, sizeof(*counts));
	if (mc_wire_read_frame(data, len, &header, &body, &problem) != WIRE_OK)
		return problem;
	if ((header.flags & FRAME_COMPRESSED) && (problem = unpack(&header, &body)) != NULL)
		return problem;
	for (uint16 i = 0; i < header.nvector; i++)
	{
		if (mc_wire_next_vector(&body, &delta, &problem) != WIRE_OK)
			return problem;
		counts->vectors++;
	}
	if (header.type == FRAME_HEARTBEAT &&
		mc_wire_read_pulse(&body, &pulse, &problem) != WIRE_OK)
		return problem;
	while (mc_wire_next_record(&body, &record, &problem) == WIRE_OK)
	{
		problem = read_record(&record, counts);

		/* What the walk has let through must not fail in the iterators. */
		if (problem != NULL)
			abort();
		counts->records++;
	}
	return problem;
}

/* ---- images ---- */

/* Start an image without columns. */
void
image_begin(SampleImage *image)
{
	memset(image, 0, sizeof(*image));
	initStringInfo(&image->data);
}

/* Bytes of an alignment code. */
static int
alignment_bytes(char attalign)
{
	return attalign == 'c' ? 1 : attalign == 's' ? 2 : attalign == 'i' ? 4 : ALIGNOF_DOUBLE;
}

/* Append zeroes up to an alignment. */
static void
pad(SampleImage *image, char attalign)
{
	while (image->data.len % alignment_bytes(attalign) != 0)
		appendStringInfoCharMacro(&image->data, '\0');
}

/* Add a column without a value. */
static void
add_column(SampleImage *image, Oid type_oid, int32 typmod, int16 attlen,
		   char attalign, bool not_null)
{
	ImageColumn *column = &image->columns[image->ncolumns];

	column->type_oid = type_oid;
	column->typmod = typmod;
	column->attlen = attlen;
	column->attalign = attalign;
	if (not_null)
		image->nulls[image->ncolumns / 8] |= 1 << (image->ncolumns % 8);
	else
		image->has_nulls = true;
	image->ncolumns++;
}

/* Add a value of fixed length. */
void
image_add(SampleImage *image, Oid type_oid, int32 typmod, int16 attlen,
		  char attalign, const void *value, int len)
{
	add_column(image, type_oid, typmod, attlen, attalign, true);
	pad(image, attalign);
	appendBinaryStringInfo(&image->data, value, len);
}

/* Add a null. */
void
image_add_null(SampleImage *image, Oid type_oid, int16 attlen, char attalign)
{
	add_column(image, type_oid, -1, attlen, attalign, false);
}

/* Add a value with a header of one byte. */
void
image_add_short(SampleImage *image, Oid type_oid, int32 typmod,
				const void *value, int len)
{
#ifdef WORDS_BIGENDIAN
	char		header = (char) (0x80 | (len + 1));
#else
	char		header = (char) (((len + 1) << 1) | 1);
#endif

	add_column(image, type_oid, typmod, -1, 'i', true);
	appendStringInfoCharMacro(&image->data, header);
	appendBinaryStringInfo(&image->data, value, len);
}

/* Add a value with a header of four bytes. */
void
image_add_long(SampleImage *image, Oid type_oid, int32 typmod,
			   const void *value, int len)
{
#ifdef WORDS_BIGENDIAN
	uint32		header = len + 4;
#else
	uint32		header = (len + 4) << 2;
#endif

	add_column(image, type_oid, typmod, -1, 'i', true);
	pad(image, 'i');
	appendBinaryStringInfo(&image->data, (const char *) &header, sizeof(header));
	appendBinaryStringInfo(&image->data, value, len);
}

/* Validate a copy that lies in guarded memory. */
const char *
image_check(SampleImage *image, int encoding)
{
	WireBytes	bitmap = {image->nulls, image->has_nulls ? (image->ncolumns + 7) / 8 : 0};
	WireBytes	bytes = {guarded(image->data.data, image->data.len), image->data.len};

	for (int i = 0; i < image->ncolumns; i++)
	{
		const char *problem = mc_image_resolve(&image->columns[i]);

		if (problem != NULL)
			return problem;
	}
	return mc_image_validate(image->columns, image->ncolumns, bitmap, bytes, encoding);
}

/* Build the sample image. */
void
sample_image(SampleImage *image)
{
	const int64 big = 800000000123456LL;
	const int32 small = 7;
	const int16 numeric[] = {(int16) (0x8000 | (2 << 7)), 12, 3400};	/* 12.34 */
	const char	name[NAMEDATALEN] = "orders";
	StringInfoData document;

	image_begin(image);
	image_add(image, BOOLOID, -1, 1, 'c', "\1", 1);
	image_add(image, INT4OID, -1, 4, 'i', &small, 4);
	image_add_short(image, TEXTOID, -1, "short", 5);
	image_add(image, INT8OID, -1, 8, 'd', &big, 8);
	image_add_null(image, UUIDOID, 16, 'c');
	image_add_short(image, NUMERICOID, -1, numeric, sizeof(numeric));
	image_add_long(image, VARCHAROID, 24, "\303\244\303\266", 4);
	image_add(image, TIMESTAMPTZOID, -1, 8, 'd', &big, 8);
	image_add(image, NAMEOID, -1, NAMEDATALEN, 'c', name, NAMEDATALEN);
	image_add_short(image, BPCHAROID, 8, "ab  ", 4);
	image_add(image, DATEOID, -1, 4, 'i', &small, 4);
	image_add_long(image, BYTEAOID, -1, "\0\377", 2);
	json_forget();
	initStringInfo(&document);
	json_write(&document, json_nested(3));
	image_add_short(image, JSONBOID, -1, document.data, document.len);
	image_add_long(image, JSONBOID, -1, document.data, document.len);
	pfree(document.data);
}

/*
 * Header and whole length of a varlena by its bytes; 0 for one whose header
 * leads elsewhere.
 */
static uint64
varlena_len(const char *data, uint64 len, int *header_len)
{
	uint8		first = (uint8) data[0];
	uint32		header;

#ifndef WORDS_BIGENDIAN
	*header_len = first & 1 ? 1 : 4;
	if (first & 1)
		return first >> 1;
#else
	*header_len = first & 0x80 ? 1 : 4;
	if (first & 0x80)
		return first & 0x7F;
#endif
	if (len < 4)
		return 0;
	memcpy(&header, data, sizeof(header));
#ifndef WORDS_BIGENDIAN
	header >>= 2;
#endif
	return header;
}

/* Walk over the columns by what their bytes say. */
bool
image_walk_stays_inside(const SampleImage *image)
{
	const char *data = image->data.data;
	uint64		pos = 0;
	uint64		len = image->data.len;

	for (int i = 0; i < image->ncolumns; i++)
	{
		const ImageColumn *column = &image->columns[i];
		uint64		align = alignment_bytes(column->attalign);
		uint64		value_len = column->attlen;
		int			header_len = 0;

		if (image->has_nulls && !(image->nulls[i / 8] & (1 << (i % 8))))
			continue;
		if (column->attlen != -1 || pos >= len || data[pos] == 0)
			pos = (pos + align - 1) / align * align;
		if (column->attlen == -1)
		{
			if (pos >= len)
				return false;
			value_len = varlena_len(data + pos, len - pos, &header_len);
			if (value_len < header_len || (header_len == 4 && pos % align != 0))
				return false;
		}
		if (pos + value_len > len)
			return false;
		if (column->type_oid == JSONBOID &&
			!json_is_canonical(data + pos + header_len, (uint32) value_len - header_len))
			return false;
		pos += value_len;
	}
	return true;
}
