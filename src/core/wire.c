/*-------------------------------------------------------------------------
 *
 * wire.c
 *	  The frames that travel between centers: the only place that knows the
 *	  bytes.
 *
 * NOTES
 *	  All integers are in network byte order.  "name" is a uint16 length and
 *	  so many bytes, without a zero among them, 1 to NAMEDATALEN - 1 of them.
 *
 *	  Frame: uint32 magic, uint8 version, uint8 type, uint16 flags, uint32
 *	  length of the whole frame, uint32 CRC-32C (of the frame with this field
 *	  zero), uint32 xid, uint64 commit LSN, uint64 end LSN, int64 commit
 *	  timestamp, uint64 previous end LSN, uint16 number of vector deltas,
 *	  uint16 zero; then the deltas (uint16 center, uint64 LSN, int64 promise);
 *	  then records up to the end; in a heartbeat instead: int64 time of its
 *	  writing, int64 time of the sender's last message from the reader, int64
 *	  microseconds since that came, uint64 end of the sender's WAL.  pack.c has
 *	  the layout of compressed ones.
 *
 *	  Content of a heartbeat's message in the WAL: int64 promise, int64 floor,
 *	  int64 time, uint64 position, uint16 number of vector entries, entries as above.
 *
 *	  Record: uint8 type, uint32 length of what follows, and then
 *	  R	uint32 relid, name schema, name table, uint8 replica identity,
 *		uint16 number of attributes; each: uint8 flags, uint32 type OID, int32
 *		typmod, int16 length, uint8 by value, uint8 alignment, name column,
 *		name type schema, name type
 *	  I	uint32 relid, row
 *	  U	uint32 relid, uint8 kind of the old row or 0, [old row,] new row
 *	  D	uint32 relid, uint8 kind of the old row, old row
 *	  T	uint8 flags, uint16 number of tables, uint32 relid of each
 *	  M	uint16 length and bytes of the prefix, uint32 length and bytes of the
 *		content
 *
 *	  Row: uint8 format, uint16 number of columns, and then
 *	  R	uint16 length of the null bitmap (0: no nulls), uint32 length of the
 *		image, null bitmap, image
 *	  C	uint32 length of the values; each: uint8 kind, and for kinds b and t
 *		uint32 length and bytes
 *
 *	  A record must use up its length to the byte.  mc_wire_next_record() has
 *	  walked over the attributes and values of what it returns, so their number
 *	  is right and the iterators cannot fail on them.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/wire.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

/* Offsets in the header of a frame that are patched or checked by position. */
#define HEADER_FLAGS_OFFSET		6
#define HEADER_LENGTH_OFFSET	8
#define HEADER_CRC_OFFSET		12
#define HEADER_BYTES			MC_FRAME_HEADER_BYTES

/* What follows the vector of a heartbeat's frame. */
#define PULSE_BYTES				40

#define VECTOR_DELTA_BYTES		18

/* uint8 type and uint32 length of a record. */
#define RECORD_HEADER_BYTES		5

/* uint8 format, uint16 number of columns and uint32 length. */
#define COLUMNS_HEADER_BYTES	7

#define KNOWN_FRAME_FLAGS		(FRAME_FIRST | FRAME_LAST | FRAME_COMPRESSED)
#define KNOWN_ATTRIBUTE_FLAGS	(ATTRIBUTE_KEY | ATTRIBUTE_GENERATED)
#define KNOWN_TRUNCATE_FLAGS	(TRUNCATE_FLAG_CASCADE | TRUNCATE_FLAG_RESTART_SEQS)

/* ---- decoding ---- */

/*
 * Take len bytes from the cursor.  NULL if there are not so many; the cursor
 * then stays where it is.
 */
static inline const char *
take(WireCursor *cursor, uint32 len)
{
	const char *bytes = cursor->data + cursor->pos;

	if (len > cursor->len - cursor->pos)
		return NULL;
	cursor->pos += len;
	return bytes;
}

/* Take an integer from the cursor; false if too few bytes are left. */
static inline bool
take_uint8(WireCursor *cursor, uint8 *value)
{
	const char *bytes = take(cursor, sizeof(*value));

	if (bytes == NULL)
		return false;
	*value = (uint8) *bytes;
	return true;
}

static inline bool
take_uint16(WireCursor *cursor, uint16 *value)
{
	const char *bytes = take(cursor, sizeof(*value));

	if (bytes == NULL)
		return false;
	memcpy(value, bytes, sizeof(*value));
	*value = pg_ntoh16(*value);
	return true;
}

static inline bool
take_uint32(WireCursor *cursor, uint32 *value)
{
	const char *bytes = take(cursor, sizeof(*value));

	if (bytes == NULL)
		return false;
	memcpy(value, bytes, sizeof(*value));
	*value = pg_ntoh32(*value);
	return true;
}

static inline bool
take_uint64(WireCursor *cursor, uint64 *value)
{
	const char *bytes = take(cursor, sizeof(*value));

	if (bytes == NULL)
		return false;
	memcpy(value, bytes, sizeof(*value));
	*value = pg_ntoh64(*value);
	return true;
}

/* Take so many bytes as value. */
static inline bool
take_bytes(WireCursor *cursor, uint32 len, WireBytes *value)
{
	value->data = take(cursor, len);
	value->len = len;
	return value->data != NULL;
}

/* Take a name: short enough for NameData, not empty, no zero byte. */
static bool
take_name(WireCursor *cursor, WireBytes *name)
{
	uint16		len;

	return take_uint16(cursor, &len) &&
		len > 0 && len < NAMEDATALEN &&
		take_bytes(cursor, len, name) &&
		memchr(name->data, '\0', len) == NULL;
}

/* Report what is wrong; for the end of a decoding function. */
static inline WireStatus
malformed(const char **problem, const char *what)
{
	*problem = what;
	return WIRE_MALFORMED;
}

WireCursor
mc_wire_cursor(WireBytes bytes)
{
	WireCursor	cursor = {bytes.data, bytes.len, 0};

	return cursor;
}

/*
 * CRC-32C of a frame as if its CRC field were zero, so that the frame need
 * not be written to while it is checked.
 */
static uint32
frame_crc(const char *data, uint32 len)
{
	const uint32 zero = 0;
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, HEADER_CRC_OFFSET);
	COMP_CRC32C(crc, &zero, sizeof(zero));
	COMP_CRC32C(crc, data + HEADER_CRC_OFFSET + sizeof(zero),
				len - HEADER_CRC_OFFSET - sizeof(zero));
	FIN_CRC32C(crc);
	return (uint32) crc;
}

/* Take the fields of a frame's header in their order; the bytes are there. */
static void
take_header(WireCursor *cursor, FrameHeader *header, uint16 *reserved)
{
	uint8		type = 0;
	uint64		commit_lsn = 0;
	uint64		end_lsn = 0;
	uint64		commit_ts = 0;
	uint64		prev_end_lsn = 0;

	cursor->pos += sizeof(uint32);	/* the magic has been checked */
	take_uint8(cursor, &header->version);
	take_uint8(cursor, &type);
	take_uint16(cursor, &header->flags);
	take_uint32(cursor, &header->length);
	take_uint32(cursor, &header->crc);
	take_uint32(cursor, &header->xid);
	take_uint64(cursor, &commit_lsn);
	take_uint64(cursor, &end_lsn);
	take_uint64(cursor, &commit_ts);
	take_uint64(cursor, &prev_end_lsn);
	take_uint16(cursor, &header->nvector);
	take_uint16(cursor, reserved);

	header->type = (FrameType) type;
	header->commit_lsn = commit_lsn;
	header->end_lsn = end_lsn;
	header->commit_ts = (TimestampTz) commit_ts;
	header->prev_end_lsn = prev_end_lsn;
}

/* Is a header whose CRC is right also sensible?  NULL if it is. */
static const char *
check_header(const FrameHeader *header, uint16 reserved)
{
	if (header->type != FRAME_TRANSACTION && header->type != FRAME_HEARTBEAT)
		return "unknown type of frame";
	if (header->flags & ~KNOWN_FRAME_FLAGS)
		return "unknown flag in the header of a frame";
	if (reserved != 0)
		return "reserved bytes of a frame are not zero";
	if (header->nvector > MC_MAX_VECTOR_ENTRIES)
		return "too many vector entries";
	if (header->flags & FRAME_COMPRESSED)
		return header->type == FRAME_TRANSACTION ? NULL : "compressed heartbeat";
	if (header->nvector > (header->length - HEADER_BYTES) / VECTOR_DELTA_BYTES)
		return "frame ends within its vector";
	if (header->type == FRAME_HEARTBEAT &&
		header->length != HEADER_BYTES + header->nvector * VECTOR_DELTA_BYTES + PULSE_BYTES)
		return "length of a heartbeat does not fit its vector";
	return NULL;
}

WireStatus
mc_wire_read_frame(const char *data, uint32 len, FrameHeader *header,
				   WireCursor *body, const char **problem)
{
	WireCursor	cursor = {data, len, 0};
	uint32		magic;
	uint16		reserved;
	const char *what;

	if (len < HEADER_BYTES)
		return malformed(problem, "frame is shorter than its header");
	if (len > MC_FRAME_MAX_BYTES)
		return malformed(problem, "frame is too long");
	memcpy(&magic, data, sizeof(magic));
	if (pg_ntoh32(magic) != MC_FRAME_MAGIC)
		return malformed(problem, "frame does not start with the magic number");
	memset(header, 0, sizeof(FrameHeader));
	take_header(&cursor, header, &reserved);
	if (header->version < MC_PROTOCOL_MIN || header->version > MC_PROTOCOL_MAX)
		return malformed(problem, "unknown version of the protocol");
	if (header->length != len)
		return malformed(problem, "length of the frame is not the one in its header");
	if (header->crc != frame_crc(data, len))
		return malformed(problem, "wrong checksum");

	what = check_header(header, reserved);
	if (what != NULL)
		return malformed(problem, what);
	*body = cursor;
	return WIRE_OK;
}

WireStatus
mc_wire_read_unpacked(FrameHeader *header, const char *data, uint32 len,
					  WireCursor *body, const char **problem)
{
	if (header->nvector > len / VECTOR_DELTA_BYTES)
		return malformed(problem, "frame ends within its vector");
	header->flags &= ~FRAME_COMPRESSED;
	body->data = data;
	body->len = len;
	body->pos = 0;
	return WIRE_OK;
}

WireStatus
mc_wire_next_vector(WireCursor *body, VectorDelta *delta, const char **problem)
{
	uint16		center;
	uint64		lsn;
	uint64		promise;

	if (!take_uint16(body, &center) ||
		!take_uint64(body, &lsn) ||
		!take_uint64(body, &promise))
		return malformed(problem, "frame ends within its vector");
	if (center == MC_NO_CENTER || center > MC_MAX_CENTER_ID)
		return malformed(problem, "impossible center in a vector");
	delta->center = center;
	delta->lsn = lsn;
	delta->promise = (TimestampTz) promise;
	return WIRE_OK;
}

WireStatus
mc_wire_read_pulse(WireCursor *body, Pulse *pulse, const char **problem)
{
	uint64		written;
	uint64		decided;
	uint64		echo;
	uint64		held_us;

	if (!take_uint64(body, &written) ||
		!take_uint64(body, &decided) ||
		!take_uint64(body, &echo) ||
		!take_uint64(body, &held_us) ||
		!take_uint64(body, &pulse->wal_end))
		return malformed(problem, "heartbeat is too short");
	pulse->written = (TimestampTz) written;
	pulse->decided = (TimestampTz) decided;
	pulse->echo = (TimestampTz) echo;
	pulse->held_us = (int64) held_us;
	return WIRE_OK;
}

WireStatus
mc_wire_read_heartbeat(WireBytes content, Heartbeat *heartbeat,
					   const char **problem)
{
	WireCursor	cursor = mc_wire_cursor(content);
	uint64		promise;
	uint64		floor;
	uint64		written;
	uint64		decided;
	uint64		since;

	if (!take_uint64(&cursor, &promise) ||
		!take_uint64(&cursor, &floor) ||
		!take_uint64(&cursor, &written) ||
		!take_uint64(&cursor, &decided) ||
		!take_uint64(&cursor, &since) ||
		!take_uint16(&cursor, &heartbeat->nvector))
		return malformed(problem, "heartbeat is too short");
	if (heartbeat->nvector > MC_MAX_VECTOR_ENTRIES ||
		cursor.len - cursor.pos != heartbeat->nvector * VECTOR_DELTA_BYTES)
		return malformed(problem, "length of a heartbeat does not fit its vector");
	heartbeat->promise = (TimestampTz) promise;
	heartbeat->floor = (TimestampTz) floor;
	heartbeat->written = (TimestampTz) written;
	heartbeat->decided = (TimestampTz) decided;
	heartbeat->since = since;
	heartbeat->vector = cursor;
	return WIRE_OK;
}

WireStatus
mc_wire_next_attribute(WireCursor *attributes, WireAttribute *attribute,
					   const char **problem)
{
	uint32		type_oid;
	uint32		typmod;
	uint16		attlen;
	uint8		by_value;
	uint8		align;

	if (attributes->pos == attributes->len)
		return WIRE_END;
	if (!take_uint8(attributes, &attribute->flags) ||
		!take_uint32(attributes, &type_oid) ||
		!take_uint32(attributes, &typmod) ||
		!take_uint16(attributes, &attlen) ||
		!take_uint8(attributes, &by_value) ||
		!take_uint8(attributes, &align))
		return malformed(problem, "record ends within a column definition");
	if (!take_name(attributes, &attribute->name) ||
		!take_name(attributes, &attribute->type_schema) ||
		!take_name(attributes, &attribute->type_name))
		return malformed(problem, "malformed name in a column definition");

	attribute->type_oid = type_oid;
	attribute->typmod = (int32) typmod;
	attribute->attlen = (int16) attlen;
	attribute->attbyval = by_value == 1;
	attribute->attalign = (char) align;
	if (attribute->flags & ~KNOWN_ATTRIBUTE_FLAGS)
		return malformed(problem, "unknown flag of a column");
	if (by_value > 1 || align == 0 || strchr("csid", align) == NULL ||
		attribute->attlen < -2 || attribute->attlen == 0)
		return malformed(problem, "impossible layout of a column");
	return WIRE_OK;
}

WireStatus
mc_wire_next_column(WireCursor *columns, WireColumn *column,
					const char **problem)
{
	uint8		kind;
	uint32		len;

	if (!take_uint8(columns, &kind))
		return WIRE_END;
	column->kind = (ColumnKind) kind;
	column->value.data = NULL;
	column->value.len = 0;
	switch (column->kind)
	{
		case COLUMN_NULL:
		case COLUMN_UNCHANGED:
			return WIRE_OK;
		case COLUMN_BINARY:
		case COLUMN_TEXT:
			if (take_uint32(columns, &len) &&
				take_bytes(columns, len, &column->value))
				return WIRE_OK;
			return malformed(problem, "row ends within a value");
	}
	return malformed(problem, "unknown kind of a value");
}

/*
 * Walk over the values of a row.  Only the new row of an update may have a
 * value that is left unchanged.
 */
static WireStatus
check_columns(const WireTuple *tuple, bool may_be_unchanged,
			  const char **problem)
{
	WireCursor	cursor = mc_wire_cursor(tuple->image);
	WireColumn	column;

	for (uint16 i = 0; i < tuple->ncolumns; i++)
	{
		WireStatus	status = mc_wire_next_column(&cursor, &column, problem);

		if (status == WIRE_END)
			return malformed(problem, "row has too few values");
		if (status != WIRE_OK)
			return status;
		if (column.kind == COLUMN_UNCHANGED && !may_be_unchanged)
			return malformed(problem, "unchanged value outside the new row of an update");
	}
	if (cursor.pos != cursor.len)
		return malformed(problem, "row has too many values");
	return WIRE_OK;
}

/* Take a row from the record. */
static WireStatus
take_tuple(WireCursor *cursor, WireTuple *tuple, bool may_be_unchanged,
		   const char **problem)
{
	uint8		format;
	uint16		bitmap_len;
	uint32		len;

	if (!take_uint8(cursor, &format) ||
		!take_uint16(cursor, &tuple->ncolumns))
		return malformed(problem, "record ends within a row");
	if (tuple->ncolumns > MC_MAX_COLUMNS)
		return malformed(problem, "row has too many columns");
	tuple->format = (TupleFormat) format;

	if (tuple->format == TUPLE_RAW)
	{
		if (!take_uint16(cursor, &bitmap_len) ||
			!take_uint32(cursor, &len) ||
			!take_bytes(cursor, bitmap_len, &tuple->null_bitmap) ||
			!take_bytes(cursor, len, &tuple->image))
			return malformed(problem, "record ends within a row");
		if (bitmap_len != 0 && bitmap_len != (tuple->ncolumns + 7) / 8)
			return malformed(problem, "null bitmap does not fit the number of columns");
		return WIRE_OK;
	}
	if (tuple->format == TUPLE_COLUMNS)
	{
		if (!take_uint32(cursor, &len) ||
			!take_bytes(cursor, len, &tuple->image))
			return malformed(problem, "record ends within a row");
		return check_columns(tuple, may_be_unchanged, problem);
	}
	return malformed(problem, "unknown format of a row");
}

/* Take the body of an INSERT, UPDATE or DELETE. */
static WireStatus
take_change(WireCursor *cursor, WireRecord *record, const char **problem)
{
	uint8		kind = OLD_ROW_NONE;
	WireStatus	status;

	if (!take_uint32(cursor, &record->relid) ||
		(record->type != RECORD_INSERT && !take_uint8(cursor, &kind)))
		return malformed(problem, "record is too short");
	if (kind != OLD_ROW_NONE && kind != OLD_ROW_KEY && kind != OLD_ROW_FULL)
		return malformed(problem, "unknown kind of an old row");
	if (kind == OLD_ROW_NONE && record->type == RECORD_DELETE)
		return malformed(problem, "delete without the old row");
	record->old_kind = (OldRow) kind;

	if (kind != OLD_ROW_NONE)
	{
		status = take_tuple(cursor, &record->old_row, false, problem);
		if (status != WIRE_OK)
			return status;
	}
	if (record->type == RECORD_DELETE)
		return WIRE_OK;
	return take_tuple(cursor, &record->new_row,
					  record->type == RECORD_UPDATE, problem);
}

/* Take the body of a RELATION and walk over its attributes. */
static WireStatus
take_relation(WireCursor *cursor, WireRelation *relation, const char **problem)
{
	WireAttribute attribute;
	uint8		replident;
	uint32		first;

	if (!take_uint32(cursor, &relation->relid))
		return malformed(problem, "record is too short");
	if (!take_name(cursor, &relation->schema) ||
		!take_name(cursor, &relation->name))
		return malformed(problem, "malformed name of a table");
	if (!take_uint8(cursor, &replident) ||
		!take_uint16(cursor, &relation->natts))
		return malformed(problem, "record is too short");
	if (replident == 0 || strchr("dfin", replident) == NULL)
		return malformed(problem, "unknown replica identity");
	if (relation->natts > MC_MAX_COLUMNS)
		return malformed(problem, "table has too many columns");
	relation->replident = (char) replident;

	first = cursor->pos;
	for (uint16 i = 0; i < relation->natts; i++)
	{
		WireStatus	status;

		status = mc_wire_next_attribute(cursor, &attribute, problem);
		if (status == WIRE_END)
			return malformed(problem, "too few column definitions");
		if (status != WIRE_OK)
			return status;
	}
	relation->attributes.data = cursor->data + first;
	relation->attributes.len = cursor->pos - first;
	return WIRE_OK;
}

/* Take the body of a TRUNCATE. */
static WireStatus
take_truncate(WireCursor *cursor, WireRecord *record, const char **problem)
{
	if (!take_uint8(cursor, &record->truncate_flags) ||
		!take_uint16(cursor, &record->nrelids) ||
		!take_bytes(cursor, record->nrelids * sizeof(uint32), &record->relids))
		return malformed(problem, "record is too short");
	if (record->truncate_flags & ~KNOWN_TRUNCATE_FLAGS)
		return malformed(problem, "unknown flag of a truncate");
	return WIRE_OK;
}

/* Take the body of a MESSAGE. */
static WireStatus
take_message(WireCursor *cursor, WireRecord *record, const char **problem)
{
	uint16		prefix_len;
	uint32		len;

	if (!take_uint16(cursor, &prefix_len) ||
		!take_bytes(cursor, prefix_len, &record->prefix) ||
		!take_uint32(cursor, &len) ||
		!take_bytes(cursor, len, &record->content))
		return malformed(problem, "record is too short");
	if (memchr(record->prefix.data, '\0', prefix_len) != NULL)
		return malformed(problem, "malformed prefix of a message");
	return WIRE_OK;
}

/* Take the body of a record by its type. */
static WireStatus
take_record(WireCursor *cursor, WireRecord *record, const char **problem)
{
	switch (record->type)
	{
		case RECORD_RELATION:
			return take_relation(cursor, &record->relation, problem);
		case RECORD_INSERT:
		case RECORD_UPDATE:
		case RECORD_DELETE:
			return take_change(cursor, record, problem);
		case RECORD_TRUNCATE:
			return take_truncate(cursor, record, problem);
		case RECORD_MESSAGE:
			return take_message(cursor, record, problem);
	}
	return malformed(problem, "unknown type of record");
}

WireStatus
mc_wire_next_record(WireCursor *body, WireRecord *record, const char **problem)
{
	uint8		type;
	uint32		len;
	WireBytes	bytes;
	WireCursor	cursor;
	WireStatus	status;

	if (body->pos == body->len)
		return WIRE_END;
	if (!take_uint8(body, &type) ||
		!take_uint32(body, &len) ||
		!take_bytes(body, len, &bytes))
		return malformed(problem, "frame ends within a record");

	memset(record, 0, sizeof(WireRecord));
	record->type = (RecordType) type;
	cursor = mc_wire_cursor(bytes);
	status = take_record(&cursor, record, problem);
	if (status == WIRE_OK && cursor.pos != cursor.len)
		return malformed(problem, "record is longer than its contents");
	return status;
}

uint32
mc_wire_relid(const WireRecord *record, uint16 i)
{
	uint32		relid;

	memcpy(&relid, record->relids.data + i * sizeof(relid), sizeof(relid));
	return pg_ntoh32(relid);
}

/* ---- encoding ---- */

/* appendBinaryStringInfo(), but inline: a row has ten of these. */
static inline void
put_bytes(StringInfo buf, const void *bytes, int len)
{
	if (buf->len + len >= buf->maxlen)
		enlargeStringInfo(buf, len);
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

static inline void
put_uint8(StringInfo buf, uint8 value)
{
	put_bytes(buf, &value, sizeof(value));
}

static inline void
put_uint16(StringInfo buf, uint16 value)
{
	value = pg_hton16(value);
	put_bytes(buf, &value, sizeof(value));
}

static inline void
put_uint32(StringInfo buf, uint32 value)
{
	value = pg_hton32(value);
	put_bytes(buf, &value, sizeof(value));
}

static inline void
put_uint64(StringInfo buf, uint64 value)
{
	value = pg_hton64(value);
	put_bytes(buf, &value, sizeof(value));
}

/* A string with a uint16 length before it. */
static void
put_string(StringInfo buf, const char *string)
{
	size_t		len = strlen(string);

	Assert(len <= PG_UINT16_MAX);
	put_uint16(buf, (uint16) len);
	appendBinaryStringInfo(buf, string, (int) len);
}

/* Overwrite an integer that was appended before its value was known. */
static inline void
patch_uint16(StringInfo buf, int offset, uint16 value)
{
	value = pg_hton16(value);
	memcpy(buf->data + offset, &value, sizeof(value));
}

static inline void
patch_uint32(StringInfo buf, int offset, uint32 value)
{
	value = pg_hton32(value);
	memcpy(buf->data + offset, &value, sizeof(value));
}

/* Append the entries of a vector. */
static void
put_vector(StringInfo buf, uint16 nvector, const VectorDelta *vector)
{
	for (uint16 i = 0; i < nvector; i++)
	{
		put_uint16(buf, vector[i].center);
		put_uint64(buf, vector[i].lsn);
		put_uint64(buf, (uint64) vector[i].promise);
	}
}

int
mc_wire_begin_frame(StringInfo buf, const FrameHeader *header,
					const VectorDelta *vector)
{
	int			offset = buf->len;

	put_uint32(buf, MC_FRAME_MAGIC);
	put_uint8(buf, header->version);
	put_uint8(buf, (uint8) header->type);
	put_uint16(buf, 0);			/* flags: mc_wire_end_frame() */
	put_uint32(buf, 0);			/* length: likewise */
	put_uint32(buf, 0);			/* CRC: likewise */
	put_uint32(buf, header->xid);
	put_uint64(buf, header->commit_lsn);
	put_uint64(buf, header->end_lsn);
	put_uint64(buf, (uint64) header->commit_ts);
	put_uint64(buf, header->prev_end_lsn);
	put_uint16(buf, header->nvector);
	put_uint16(buf, 0);			/* reserved */
	Assert(buf->len - offset == HEADER_BYTES);

	put_vector(buf, header->nvector, vector);
	return offset;
}

void
mc_wire_end_frame(StringInfo buf, int frame_offset, uint16 flags)
{
	uint32		len = (uint32) (buf->len - frame_offset);
	uint32		crc;

	patch_uint16(buf, frame_offset + HEADER_FLAGS_OFFSET, flags);
	patch_uint32(buf, frame_offset + HEADER_LENGTH_OFFSET, len);
	crc = frame_crc(buf->data + frame_offset, len);
	patch_uint32(buf, frame_offset + HEADER_CRC_OFFSET, crc);
}

void
mc_wire_put_pulse(StringInfo buf, const Pulse *pulse)
{
	put_uint64(buf, (uint64) pulse->written);
	put_uint64(buf, (uint64) pulse->decided);
	put_uint64(buf, (uint64) pulse->echo);
	put_uint64(buf, (uint64) pulse->held_us);
	put_uint64(buf, pulse->wal_end);
}

void
mc_wire_put_heartbeat(StringInfo buf, const Heartbeat *heartbeat,
					  const VectorDelta *vector)
{
	put_uint64(buf, (uint64) heartbeat->promise);
	put_uint64(buf, (uint64) heartbeat->floor);
	put_uint64(buf, (uint64) heartbeat->written);
	put_uint64(buf, (uint64) heartbeat->decided);
	put_uint64(buf, heartbeat->since);
	put_uint16(buf, heartbeat->nvector);
	put_vector(buf, heartbeat->nvector, vector);
}

int
mc_wire_begin_record(StringInfo buf, RecordType type)
{
	int			offset = buf->len;

	put_uint8(buf, (uint8) type);
	put_uint32(buf, 0);
	return offset;
}

void
mc_wire_end_record(StringInfo buf, int record_offset)
{
	patch_uint32(buf, record_offset + 1,
				 (uint32) (buf->len - record_offset - RECORD_HEADER_BYTES));
}

void
mc_wire_put_relation(StringInfo buf, uint32 relid, const char *schema,
					 const char *name, char replident, uint16 natts)
{
	put_uint32(buf, relid);
	put_string(buf, schema);
	put_string(buf, name);
	put_uint8(buf, (uint8) replident);
	put_uint16(buf, natts);
}

void
mc_wire_put_attribute(StringInfo buf, const char *name,
					  const char *type_schema, const char *type_name,
					  const WireAttribute *rest)
{
	put_uint8(buf, rest->flags);
	put_uint32(buf, rest->type_oid);
	put_uint32(buf, (uint32) rest->typmod);
	put_uint16(buf, (uint16) rest->attlen);
	put_uint8(buf, rest->attbyval ? 1 : 0);
	put_uint8(buf, (uint8) rest->attalign);
	put_string(buf, name);
	put_string(buf, type_schema);
	put_string(buf, type_name);
}

void
mc_wire_put_relid(StringInfo buf, uint32 relid)
{
	put_uint32(buf, relid);
}

void
mc_wire_put_old_kind(StringInfo buf, OldRow kind)
{
	put_uint8(buf, (uint8) kind);
}

void
mc_wire_put_raw_tuple(StringInfo buf, uint16 natts, WireBytes null_bitmap,
					  WireBytes image)
{
	put_uint8(buf, TUPLE_RAW);
	put_uint16(buf, natts);
	put_uint16(buf, (uint16) null_bitmap.len);
	put_uint32(buf, image.len);
	if (null_bitmap.len > 0)
		appendBinaryStringInfo(buf, null_bitmap.data, (int) null_bitmap.len);
	appendBinaryStringInfo(buf, image.data, (int) image.len);
}

int
mc_wire_begin_columns(StringInfo buf, uint16 ncolumns)
{
	int			offset = buf->len;

	put_uint8(buf, TUPLE_COLUMNS);
	put_uint16(buf, ncolumns);
	put_uint32(buf, 0);
	return offset;
}

void
mc_wire_put_column(StringInfo buf, ColumnKind kind, const char *value,
				   uint32 len)
{
	put_uint8(buf, (uint8) kind);
	if (kind == COLUMN_BINARY || kind == COLUMN_TEXT)
	{
		put_uint32(buf, len);
		appendBinaryStringInfo(buf, value, (int) len);
	}
}

void
mc_wire_end_columns(StringInfo buf, int columns_offset)
{
	patch_uint32(buf, columns_offset + COLUMNS_HEADER_BYTES - sizeof(uint32),
				 (uint32) (buf->len - columns_offset - COLUMNS_HEADER_BYTES));
}

void
mc_wire_put_truncate(StringInfo buf, uint8 flags, uint16 nrelids,
					 const uint32 *relids)
{
	put_uint8(buf, flags);
	put_uint16(buf, nrelids);
	for (uint16 i = 0; i < nrelids; i++)
		put_uint32(buf, relids[i]);
}

void
mc_wire_put_message(StringInfo buf, const char *prefix, const char *content,
					uint32 len)
{
	put_string(buf, prefix);
	put_uint32(buf, len);
	appendBinaryStringInfo(buf, content, (int) len);
}
