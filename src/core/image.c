/*-------------------------------------------------------------------------
 *
 * image.c
 *	  Raw tuple images: which types may travel so, and their validator.
 *
 * NOTES
 *	  The validator accepts exactly what heap_deform_tuple() reads without
 *	  leaving the image and what the receive functions of the types would
 *	  have accepted.  It knows the layout of each type itself: what a peer
 *	  says about it must agree.
 *
 *	  Pure: no allocation, no ereport, no backend state.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "catalog/pg_type_d.h"
#include "core/image.h"
#include "core/jsonb_image.h"
#include "core/value.h"
#include "mb/pg_wchar.h"

/* A position in the image that is being walked. */
typedef struct ImageWalk
{
	const char *data;
	uint32		len;
	uint32		pos;
} ImageWalk;

/* How the values of a type are checked. */
typedef enum ValueCheck
{
	CHECK_UNKNOWN,				/* the type has not been looked up */
	CHECK_NOTHING,				/* any bytes are a value */
	CHECK_BOOL,
	CHECK_DATE,
	CHECK_TIME,
	CHECK_TIMESTAMP,
	CHECK_NAME,
	CHECK_TEXT,
	CHECK_VARCHAR,
	CHECK_BPCHAR,
	CHECK_NUMERIC,
	CHECK_JSONB,
} ValueCheck;

/* A type that may travel in an image. */
typedef struct PortableType
{
	Oid			type_oid;
	int16		attlen;
	char		attalign;
	ValueCheck	check;
} PortableType;

static const PortableType portable_types[] = {
	{INT4OID, 4, TYPALIGN_INT, CHECK_NOTHING},
	{INT8OID, 8, TYPALIGN_DOUBLE, CHECK_NOTHING},
	{TEXTOID, -1, TYPALIGN_INT, CHECK_TEXT},
	{VARCHAROID, -1, TYPALIGN_INT, CHECK_VARCHAR},
	{TIMESTAMPTZOID, 8, TYPALIGN_DOUBLE, CHECK_TIMESTAMP},
	{NUMERICOID, -1, TYPALIGN_INT, CHECK_NUMERIC},
	{BOOLOID, 1, TYPALIGN_CHAR, CHECK_BOOL},
	{BPCHAROID, -1, TYPALIGN_INT, CHECK_BPCHAR},
	{UUIDOID, 16, TYPALIGN_CHAR, CHECK_NOTHING},
	{TIMESTAMPOID, 8, TYPALIGN_DOUBLE, CHECK_TIMESTAMP},
	{DATEOID, 4, TYPALIGN_INT, CHECK_DATE},
	{FLOAT8OID, 8, TYPALIGN_DOUBLE, CHECK_NOTHING},
	{BYTEAOID, -1, TYPALIGN_INT, CHECK_NOTHING},
	{INT2OID, 2, TYPALIGN_SHORT, CHECK_NOTHING},
	{FLOAT4OID, 4, TYPALIGN_INT, CHECK_NOTHING},
	{TIMEOID, 8, TYPALIGN_DOUBLE, CHECK_TIME},
	{INTERVALOID, 16, TYPALIGN_DOUBLE, CHECK_NOTHING},
	{OIDOID, 4, TYPALIGN_INT, CHECK_NOTHING},
	{CHAROID, 1, TYPALIGN_CHAR, CHECK_NOTHING},
	{NAMEOID, NAMEDATALEN, TYPALIGN_CHAR, CHECK_NAME},
	{JSONBOID, -1, TYPALIGN_INT, CHECK_JSONB},
	{CASHOID, 8, TYPALIGN_DOUBLE, CHECK_NOTHING},
};

/* Alignment of a C type within a struct, as a character. */
#define ALIGNMENT_DIGIT(type) \
	('0' + (char) offsetof(struct { char before; type value; }, value))

#ifdef WORDS_BIGENDIAN
#define BYTE_ORDER_LETTER	'B'
#else
#define BYTE_ORDER_LETTER	'L'
#endif

/*
 * Stands for the portable types: another letter whenever they become more, so
 * that a center that does not have them yet gets no images.
 */
#define PORTABLE_SET_LETTER 'j'

const char *
mc_image_architecture(void)
{
	static const char architecture[MC_ARCH_LEN + 1] = {
		BYTE_ORDER_LETTER,
		'a', '0' + MAXIMUM_ALIGNOF,
		's', ALIGNMENT_DIGIT(short),
		'i', ALIGNMENT_DIGIT(int),
		'l', ALIGNMENT_DIGIT(long),
		'd', ALIGNMENT_DIGIT(double),
		PORTABLE_SET_LETTER,
		'0' + NAMEDATALEN / 1000 % 10,
		'0' + NAMEDATALEN / 100 % 10,
		'0' + NAMEDATALEN / 10 % 10,
		'0' + NAMEDATALEN % 10,
		'\0'
	};

	return architecture;
}

/* The entry of a type, NULL if it is not portable. */
static const PortableType *
find_type(Oid type_oid)
{
	for (int i = 0; i < lengthof(portable_types); i++)
		if (portable_types[i].type_oid == type_oid)
			return &portable_types[i];
	return NULL;
}

/* Can the values of a portable type be checked against a typmod? */
static bool
typmod_checkable(const PortableType *type, int32 typmod)
{
	if (typmod == -1)
		return true;
	switch (type->check)
	{
		case CHECK_VARCHAR:
		case CHECK_BPCHAR:
			return typmod >= (int32) LONG_HEADER_BYTES;
		case CHECK_TIME:
		case CHECK_TIMESTAMP:
			return typmod >= 0 && typmod <= MAX_TIMESTAMP_PRECISION;
		case CHECK_NUMERIC:
			return mc_numeric_typmod_checkable(typmod);
		default:
			/* The typmod of an interval can cut off fields. */
			return false;
	}
}

bool
mc_image_portable(Oid type_oid, int32 typmod)
{
	const PortableType *type = find_type(type_oid);

	return type != NULL && typmod_checkable(type, typmod);
}

uint8
mc_alignment_bytes(char attalign)
{
	switch (attalign)
	{
		case TYPALIGN_CHAR:
			return 1;
		case TYPALIGN_SHORT:
			return ALIGNOF_SHORT;
		case TYPALIGN_INT:
			return ALIGNOF_INT;
		default:
			return ALIGNOF_DOUBLE;
	}
}

const char *
mc_image_resolve(ImageColumn *column)
{
	const PortableType *type = find_type(column->type_oid);

	column->check = CHECK_UNKNOWN;
	if (type == NULL || !typmod_checkable(type, column->typmod))
		return "type of a column cannot travel in an image";
	if (column->attlen != type->attlen || column->attalign != type->attalign)
		return "layout of a column is not the one of its type";
	column->alignment = mc_alignment_bytes(type->attalign);
	column->check = type->check;
	return NULL;
}

/* Go to the next aligned position; the bytes passed over must be zero. */
static inline const char *
skip_padding(ImageWalk *walk, uint32 alignment)
{
	uint32		end = TYPEALIGN(alignment, walk->pos);

	if (end > walk->len)
		return "image ends before a value";
	while (walk->pos < end)
		if (walk->data[walk->pos++] != 0)
			return "padding of an image is not zero";
	return NULL;
}

/* Take len bytes; the image need not have so many. */
static const char *
take_value(ImageWalk *walk, uint32 len, WireBytes *value)
{
	if (len > walk->len - walk->pos)
		return "image ends within a value";
	value->data = walk->data + walk->pos;
	value->len = len;
	walk->pos += len;
	return NULL;
}

/*
 * Take a value with a short header: one byte that holds a flag and the length
 * with the header.  Length zero marks a pointer to elsewhere.
 */
static const char *
take_short_varlena(ImageWalk *walk, WireBytes *value)
{
	uint8		header = (uint8) walk->data[walk->pos];
#ifdef WORDS_BIGENDIAN
	uint32		len = header & 0x7F;
#else
	uint32		len = (header >> 1) & 0x7F;
#endif

	if (len < SHORT_HEADER_BYTES)
		return "image points to a value outside of it";
	walk->pos += SHORT_HEADER_BYTES;
	return take_value(walk, len - SHORT_HEADER_BYTES, value);
}

/* Take a value with a long header. */
static const char *
take_long_varlena(ImageWalk *walk, WireBytes *value)
{
	uint32		len;

	if (walk->len - walk->pos < LONG_HEADER_BYTES)
		return "image ends within the header of a value";
	if (!mc_read_long_header(walk->data + walk->pos, &len))
		return "compressed value in an image";
	if (len < LONG_HEADER_BYTES)
		return "impossible length of a value in an image";
	walk->pos += LONG_HEADER_BYTES;
	return take_value(walk, len - LONG_HEADER_BYTES, value);
}

/*
 * Take a value of variable length where att_align_pointer() would look for
 * it: a byte that is not zero is a short header or starts a long one here, a
 * zero byte is padding or starts a long header behind the padding.
 */
static const char *
take_varlena(ImageWalk *walk, uint32 alignment, WireBytes *value)
{
	const char *problem;
	uint8		first;
	bool		is_short;

	if (walk->pos >= walk->len)
		return "image ends before a value";
	first = (uint8) walk->data[walk->pos];
#ifdef WORDS_BIGENDIAN
	is_short = (first & 0x80) != 0;
#else
	is_short = (first & 0x01) != 0;
#endif
	if (is_short)
		return take_short_varlena(walk, value);
	if (first == 0)
	{
		problem = skip_padding(walk, alignment);
		if (problem != NULL)
			return problem;
	}
	else if (walk->pos != TYPEALIGN(alignment, walk->pos))
		return "value in an image is not aligned";
	return take_long_varlena(walk, value);
}

/* Is a timestamp or time a multiple of what its typmod keeps? */
static bool
precision_kept(int64 usecs, int32 typmod)
{
	static const int64 scales[MAX_TIMESTAMP_PRECISION + 1] = {
		1000000, 100000, 10000, 1000, 100, 10, 1
	};

	return typmod < 0 || typmod > MAX_TIMESTAMP_PRECISION ||
		usecs % scales[typmod] == 0;
}

/* Check a date, time or timestamp. */
static const char *
check_datetime(ValueCheck check, const WireBytes *value, int32 typmod)
{
	int64		usecs;
	int32		date;

	if (check == CHECK_DATE)
	{
		memcpy(&date, value->data, sizeof(date));
		if (date != PG_INT32_MIN && date != PG_INT32_MAX && !IS_VALID_DATE(date))
			return "date out of range in an image";
		return NULL;
	}

	memcpy(&usecs, value->data, sizeof(usecs));
	if (check == CHECK_TIME)
	{
		if (usecs < 0 || usecs > USECS_PER_DAY)
			return "time out of range in an image";
	}
	else
	{
		if (TIMESTAMP_NOT_FINITE(usecs))
			return NULL;
		if (!IS_VALID_TIMESTAMP(usecs))
			return "timestamp out of range in an image";
	}
	if (!precision_kept(usecs, typmod))
		return "time in an image has more digits than its column";
	return NULL;
}

/* Number of characters of a text that mc_check_text() has accepted. */
static uint32
count_characters(const WireBytes *value, int encoding)
{
	uint32		characters = 0;
	uint32		pos = 0;

	if (pg_encoding_max_length(encoding) == 1 || mc_is_ascii(value->data, value->len))
		return value->len;
	while (pos < value->len)
	{
		pos += (uint32) pg_encoding_mblen(encoding, value->data + pos);
		characters++;
	}
	return characters;
}

/* Check a varchar(n), of at most n characters, or char(n), of exactly n. */
static const char *
check_limited_text(const WireBytes *value, int32 typmod, bool exact,
				   int encoding)
{
	const char *problem = mc_check_text(value->data, value->len, encoding);
	uint32		limit;

	if (problem != NULL || typmod < (int32) LONG_HEADER_BYTES)
		return problem;
	limit = (uint32) typmod - LONG_HEADER_BYTES;
	if (!exact && value->len <= limit)
		return NULL;
	if (exact ? count_characters(value, encoding) != limit :
		count_characters(value, encoding) > limit)
		return "text in an image does not have the length of its column";
	return NULL;
}

/* Check a name: a zero byte ends it within its fixed length. */
static const char *
check_name(const WireBytes *value, int encoding)
{
	const char *end = memchr(value->data, '\0', value->len);

	if (end == NULL)
		return "name in an image has no end";
	return mc_check_text(value->data, (uint32) (end - value->data), encoding);
}

/* Check one value. */
static const char *
check_value(ValueCheck check, const WireBytes *value, int32 typmod,
			int encoding)
{
	switch (check)
	{
		case CHECK_UNKNOWN:
			break;
		case CHECK_NOTHING:
			return NULL;
		case CHECK_BOOL:
			return (uint8) value->data[0] <= 1 ? NULL : "malformed boolean in an image";
		case CHECK_DATE:
		case CHECK_TIME:
		case CHECK_TIMESTAMP:
			return check_datetime(check, value, typmod);
		case CHECK_NAME:
			return check_name(value, encoding);
		case CHECK_TEXT:
			return mc_check_text(value->data, value->len, encoding);
		case CHECK_VARCHAR:
			return check_limited_text(value, typmod, false, encoding);
		case CHECK_BPCHAR:
			return check_limited_text(value, typmod, true, encoding);
		case CHECK_NUMERIC:
			return mc_check_numeric(*value, typmod);
		case CHECK_JSONB:
			return mc_check_jsonb(*value, encoding);
	}
	return "unknown check";		/* not reached */
}

/* Take the value of a column and check it. */
static const char *
walk_column(ImageWalk *walk, const ImageColumn *column, int encoding)
{
	WireBytes	value;
	const char *problem;

	if (column->check == CHECK_UNKNOWN)
		return "type of a column cannot travel in an image";
	if (column->attlen == -1)
		problem = take_varlena(walk, column->alignment, &value);
	else
	{
		problem = skip_padding(walk, column->alignment);
		if (problem == NULL)
			problem = take_value(walk, (uint32) column->attlen, &value);
	}
	if (problem != NULL)
		return problem;
	return check_value((ValueCheck) column->check, &value, column->typmod,
					   encoding);
}

const char *
mc_image_validate(const ImageColumn *columns, int ncolumns,
				  WireBytes null_bitmap, WireBytes image, int encoding)
{
	ImageWalk	walk = {image.data, image.len, 0};

	if (null_bitmap.len != 0 && null_bitmap.len != (uint32) (ncolumns + 7) / 8)
		return "null bitmap does not fit the number of columns";
	for (int i = 0; i < ncolumns; i++)
	{
		const char *problem;

		/* A bit that is set means that the column is not null. */
		if (null_bitmap.len != 0 &&
			!((uint8) null_bitmap.data[i / 8] & (1 << (i % 8))))
			continue;
		problem = walk_column(&walk, &columns[i], encoding);
		if (problem != NULL)
			return problem;
	}
	if (MAXALIGN(walk.pos) < walk.len)
		return "image is longer than its columns";
	while (walk.pos < walk.len)
		if (walk.data[walk.pos++] != 0)
			return "padding of an image is not zero";
	return NULL;
}
