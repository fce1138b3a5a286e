/*-------------------------------------------------------------------------
 *
 * wire.h
 *	  The frames that travel between centers.
 *
 * NOTES
 *	  This is the only place that knows the bytes.  A frame is the payload of
 *	  one CopyData message: a fixed header, the vector deltas, then records.
 *	  All integers are in network byte order.  docs/architecture.md has the
 *	  layout.
 *
 *	  The decoding half is pure: no allocation, no ereport, no backend state.
 *	  Everything it returns points into the caller's buffer, every length is
 *	  checked against the bytes that are there, and a malformed frame is
 *	  reported as a constant message.  So it can be fuzzed without a server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_WIRE_H
#define MC_WIRE_H

#include "core/types.h"
#include "lib/stringinfo.h"

#define MC_FRAME_MAGIC			0x4D434631	/* "MCF1" */

/* Versions of the protocol that this build speaks. */
#define MC_PROTOCOL_MIN			1
#define MC_PROTOCOL_MAX			1

/* A transaction is cut into chunks of about this many bytes. */
#define MC_CHUNK_BYTES			65536

/* The fixed header of a frame. */
#define MC_FRAME_HEADER_BYTES	56

/* No frame may be larger than what PostgreSQL can hold in one allocation. */
#define MC_FRAME_MAX_BYTES		0x3fffffff

#define MC_MAX_COLUMNS			1664
#define MC_MAX_VECTOR_ENTRIES	1023

typedef enum FrameType
{
	FRAME_TRANSACTION = 'T',	/* a chunk of one transaction */
	FRAME_HEARTBEAT = 'H',		/* a promise of the origin; no transaction */
} FrameType;

/* Flags of a frame. */
#define FRAME_FIRST				0x0001	/* first chunk of its transaction */
#define FRAME_LAST				0x0002	/* last chunk of its transaction */
#define FRAME_COMPRESSED		0x0004	/* body is compressed: core/pack.h */

/*
 * Header of a frame.  Every chunk of a transaction carries all of it, so that
 * the target can decide on rows before the last chunk has arrived.
 */
typedef struct FrameHeader
{
	FrameType	type;
	uint8		version;
	uint16		flags;
	uint32		length;			/* bytes of the whole frame */
	uint32		crc;			/* CRC-32C of the frame with this field zero */
	uint32		xid;			/* transaction at the origin; 0: heartbeat */
	XLogRecPtr	commit_lsn;		/* of the commit record or of the message */
	XLogRecPtr	end_lsn;		/* first byte behind it */
	TimestampTz commit_ts;		/* commit time, or time of the heartbeat */
	XLogRecPtr	prev_end_lsn;	/* end_lsn of the transaction sent before in
								 * this session, 0: none.  Heartbeats repeat
								 * it and do not change it. */
	uint16		nvector;		/* vector deltas that follow the header */
} FrameHeader;

/* One entry of a dependency vector; see design section 2.4. */
typedef struct VectorDelta
{
	CenterId	center;
	XLogRecPtr	lsn;
	TimestampTz promise;
} VectorDelta;

/* A position while reading. */
typedef struct WireCursor
{
	const char *data;
	uint32		len;
	uint32		pos;
} WireCursor;

/*
 * What a center writes into its own WAL from time to time, as the content of a
 * message; targets get it as a frame.
 */
typedef struct Heartbeat
{
	TimestampTz promise;		/* it commits nothing <= this any more */
	TimestampTz floor;			/* greatest commit timestamp it knows */
	TimestampTz written;		/* by its clock */
	TimestampTz decided;		/* of what is in the vector all up to here is
								 * applied, and not in quarantine */
	XLogRecPtr	since;			/* commits before it are in the vector */
	uint16		nvector;		/* what it has applied of others */
	WireCursor	vector;			/* for mc_wire_next_vector() */
} Heartbeat;

/*
 * What the frame of a heartbeat says besides its header and vector: times of
 * the two clocks, from which lag, round trip and offset of the clocks are known.
 */
typedef struct Pulse
{
	TimestampTz written;		/* the heartbeat was, by the sender's clock */
	TimestampTz decided;		/* as there */
	TimestampTz echo;			/* by the reader's clock: when it has sent the
								 * message that the sender got last; 0: none */
	int64		held_us;		/* and how long ago that message came */
	XLogRecPtr	wal_end;		/* end of the sender's WAL at this moment */
} Pulse;

typedef enum RecordType
{
	RECORD_RELATION = 'R',
	RECORD_INSERT = 'I',
	RECORD_UPDATE = 'U',
	RECORD_DELETE = 'D',
	RECORD_TRUNCATE = 'T',
	RECORD_MESSAGE = 'M',
} RecordType;

/* Bytes in the frame; not terminated by a zero. */
typedef struct WireBytes
{
	const char *data;
	uint32		len;
} WireBytes;

/* How one column value travels. */
typedef enum ColumnKind
{
	COLUMN_NULL = 'n',
	COLUMN_UNCHANGED = 'u',		/* out-of-line value that the update left */
	COLUMN_BINARY = 'b',		/* by the type's send function */
	COLUMN_TEXT = 't',			/* by the type's output function */
} ColumnKind;

typedef enum TupleFormat
{
	TUPLE_RAW = 'R',			/* image of the heap tuple */
	TUPLE_COLUMNS = 'C',		/* one value after the other */
} TupleFormat;

/*
 * A row.  As columns: ncolumns values in the order of the RELATION record,
 * read with mc_wire_next_column().  As an image: null_bitmap (NULL where no
 * column is null) and image, the data part of the heap tuple.
 */
typedef struct WireTuple
{
	TupleFormat format;
	uint16		ncolumns;
	WireBytes	null_bitmap;	/* TUPLE_RAW only; len 0: no nulls */
	WireBytes	image;			/* TUPLE_RAW: data; TUPLE_COLUMNS: values */
} WireTuple;

typedef struct WireColumn
{
	ColumnKind	kind;
	WireBytes	value;
} WireColumn;

/* Flags of a column in a RELATION record. */
#define ATTRIBUTE_KEY			0x01	/* part of the replica identity */
#define ATTRIBUTE_GENERATED		0x02	/* value is computed by the target */

typedef struct WireAttribute
{
	WireBytes	name;
	WireBytes	type_schema;
	WireBytes	type_name;
	uint8		flags;
	Oid			type_oid;		/* as the origin knows it */
	int32		typmod;
	int16		attlen;
	bool		attbyval;
	char		attalign;
} WireAttribute;

typedef struct WireRelation
{
	uint32		relid;			/* as the origin knows it */
	WireBytes	schema;
	WireBytes	name;
	char		replident;		/* pg_class.relreplident, 'n' if unusable */
	uint16		natts;
	WireBytes	attributes;		/* for mc_wire_next_attribute() */
} WireRelation;

/* Flags of a TRUNCATE record; same meaning as in the statement. */
#define TRUNCATE_FLAG_CASCADE			0x01
#define TRUNCATE_FLAG_RESTART_SEQS		0x02

typedef enum OldRow
{
	OLD_ROW_NONE,				/* update that left the key alone */
	OLD_ROW_KEY = 'K',			/* only the key columns are set */
	OLD_ROW_FULL = 'O',			/* REPLICA IDENTITY FULL */
} OldRow;

/* One record of a frame, decoded. */
typedef struct WireRecord
{
	RecordType	type;
	uint32		relid;			/* I, U, D */
	OldRow		old_kind;		/* U, D */
	WireTuple	old_row;		/* U, D */
	WireTuple	new_row;		/* I, U */
	WireRelation relation;		/* R */
	uint8		truncate_flags; /* T */
	uint16		nrelids;		/* T */
	WireBytes	relids;			/* T: mc_wire_relid() */
	WireBytes	prefix;			/* M */
	WireBytes	content;		/* M */
} WireRecord;

typedef enum WireStatus
{
	WIRE_OK,
	WIRE_END,					/* nothing is left */
	WIRE_MALFORMED,				/* *problem says what is wrong */
} WireStatus;

/* ---- decoding: pure ---- */

/*
 * Check magic, version, length and CRC of the frame in data[0..len) and
 * return its header; *body is set to its vector deltas and records.  If the
 * flag FRAME_COMPRESSED is set, mc_unpack_frame() has to get them out of it.
 */
extern WireStatus mc_wire_read_frame(const char *data, uint32 len,
									 FrameHeader *header, WireCursor *body,
									 const char **problem);

/*
 * Take the body of a frame that was compressed, once it is not any more: what
 * mc_wire_read_frame() could not check yet is checked here.
 */
extern WireStatus mc_wire_read_unpacked(FrameHeader *header, const char *data,
										uint32 len, WireCursor *body,
										const char **problem);

/* Read the next vector delta; call it header->nvector times, first. */
extern WireStatus mc_wire_next_vector(WireCursor *body, VectorDelta *delta,
									  const char **problem);

/* Read what follows the vector of a heartbeat's frame. */
extern WireStatus mc_wire_read_pulse(WireCursor *body, Pulse *pulse,
									 const char **problem);

/* Take the content of a heartbeat's message apart. */
extern WireStatus mc_wire_read_heartbeat(WireBytes content,
										 Heartbeat *heartbeat,
										 const char **problem);

/* Read the next record of a transaction. */
extern WireStatus mc_wire_next_record(WireCursor *body, WireRecord *record,
									  const char **problem);

/* Iterate over the attributes of a RELATION record; start with pos 0. */
extern WireStatus mc_wire_next_attribute(WireCursor *attributes,
										 WireAttribute *attribute,
										 const char **problem);

/* Iterate over the values of a TUPLE_COLUMNS row; start with pos 0. */
extern WireStatus mc_wire_next_column(WireCursor *columns, WireColumn *column,
									  const char **problem);

/* A cursor over some bytes, for the two functions above. */
extern WireCursor mc_wire_cursor(WireBytes bytes);

/* The i-th relid of a TRUNCATE record, i < nrelids. */
extern uint32 mc_wire_relid(const WireRecord *record, uint16 i);

/* ---- encoding: appends to a StringInfo ---- */

/*
 * Start a frame at the end of buf; length and crc are filled in by
 * mc_wire_end_frame(), which takes the offset that this function returns.
 */
extern int	mc_wire_begin_frame(StringInfo buf, const FrameHeader *header,
								const VectorDelta *vector);
extern void mc_wire_end_frame(StringInfo buf, int frame_offset, uint16 flags);

/* Append what follows the vector of a heartbeat's frame. */
extern void mc_wire_put_pulse(StringInfo buf, const Pulse *pulse);

/* Append the content of a heartbeat's message; vector has nvector entries. */
extern void mc_wire_put_heartbeat(StringInfo buf, const Heartbeat *heartbeat,
								  const VectorDelta *vector);

/*
 * Records are bracketed too: begin returns an offset for end, which fills in
 * the length.  Between them the caller appends the parts of the record in the
 * order of docs/architecture.md, with the helpers below.
 */
extern int	mc_wire_begin_record(StringInfo buf, RecordType type);
extern void mc_wire_end_record(StringInfo buf, int record_offset);

extern void mc_wire_put_relation(StringInfo buf, uint32 relid,
								 const char *schema, const char *name,
								 char replident, uint16 natts);
extern void mc_wire_put_attribute(StringInfo buf, const char *name,
								  const char *type_schema,
								  const char *type_name,
								  const WireAttribute *rest);
extern void mc_wire_put_relid(StringInfo buf, uint32 relid);
extern void mc_wire_put_old_kind(StringInfo buf, OldRow kind);
extern void mc_wire_put_raw_tuple(StringInfo buf, uint16 natts,
								  WireBytes null_bitmap, WireBytes image);
extern int	mc_wire_begin_columns(StringInfo buf, uint16 ncolumns);
extern void mc_wire_put_column(StringInfo buf, ColumnKind kind,
							   const char *value, uint32 len);
extern void mc_wire_end_columns(StringInfo buf, int columns_offset);
extern void mc_wire_put_truncate(StringInfo buf, uint8 flags, uint16 nrelids,
								 const uint32 *relids);
extern void mc_wire_put_message(StringInfo buf, const char *prefix,
								const char *content, uint32 len);

#endif							/* MC_WIRE_H */
