/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Checks of single values that raw tuple images and jsonb share.
 *
 * NOTES
 *	  Pure: no allocation, no ereport, no backend state.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/value.h"
#include "mb/pg_wchar.h"

/* The parts of a numeric's header; see numeric.c of PostgreSQL. */
#define NUMERIC_KIND_MASK		0xC000
#define NUMERIC_KIND_SHORT		0x8000
#define NUMERIC_KIND_NEGATIVE	0x4000
#define NUMERIC_KIND_SPECIAL	0xC000
#define NUMERIC_SHORT_NEGATIVE	0x2000
#define NUMERIC_SHORT_MAX		0x3F	/* scale, and weight */
#define NUMERIC_NAN				0xC000
#define NUMERIC_PLUS_INFINITY	0xD000
#define NUMERIC_MINUS_INFINITY	0xF000
#define NUMERIC_LONG_SCALE_MASK 0x3FFF
#define NUMERIC_BASE			10000
#define NUMERIC_BASE_DIGITS		4

/* A numeric, taken apart; digits are int16 in the order of the machine. */
typedef struct NumericParts
{
	int			weight;
	int			scale;			/* digits behind the point that are shown */
	const char *digits;
	int			ndigits;
} NumericParts;

/*
 * Eight bytes with the highest bit of each set, and with all others set: added
 * to a byte without its highest bit, these set that unless the byte is zero.
 */
#define HIGH_BITS	UINT64CONST(0x8080808080808080)
#define LOW_BITS	UINT64CONST(0x7F7F7F7F7F7F7F7F)

/*
 * Are all bytes ASCII other than zero?  Such a text is valid in every encoding
 * of a server.  Most keys and many values are, and are short: asking the
 * encoding would cost more than the rest of their check.
 */
bool
mc_is_ascii(const char *data, uint32 len)
{
	uint64		any_bits = 0;
	uint64		no_zero = HIGH_BITS;
	uint64		chunk;
	uint32		pos = 0;

	for (; len - pos >= sizeof(chunk); pos += sizeof(chunk))
	{
		memcpy(&chunk, data + pos, sizeof(chunk));
		any_bits |= chunk;
		no_zero &= chunk + LOW_BITS;
	}
	if ((any_bits & HIGH_BITS) != 0 || no_zero != HIGH_BITS)
		return false;
	for (; pos < len; pos++)
		if (data[pos] == '\0' || ((uint8) data[pos] & 0x80))
			return false;
	return true;
}

const char *
mc_check_text(const char *data, uint32 len, int encoding)
{
	if (!mc_is_ascii(data, len) &&
		pg_encoding_verifymbstr(encoding, data, (int) len) != (int) len)
		return "invalid byte sequence in a text of an image";
	return NULL;
}

/* Precision and scale in the typmod of a numeric, as numeric.c packs them. */
static inline int
typmod_precision(int32 typmod)
{
	return ((typmod - (int32) LONG_HEADER_BYTES) >> 16) & 0xffff;
}

static inline int
typmod_scale(int32 typmod)
{
	return (((typmod - (int32) LONG_HEADER_BYTES) & 0x7ff) ^ 1024) - 1024;
}

bool
mc_numeric_typmod_checkable(int32 typmod)
{
	/* A scale below 0 or above the precision rounds in its own way. */
	return typmod >= (int32) LONG_HEADER_BYTES &&
		typmod_scale(typmod) >= 0 &&
		typmod_scale(typmod) <= typmod_precision(typmod);
}

/* One digit, base 10000, of a numeric. */
static inline int
numeric_digit(const NumericParts *parts, int i)
{
	int16		digit;

	memcpy(&digit, parts->digits + i * sizeof(digit), sizeof(digit));
	return digit;
}

/* Take a numeric apart that is not special; false if it is too short. */
static bool
read_numeric(const WireBytes *value, uint16 header, NumericParts *parts)
{
	uint32		header_len = sizeof(uint16);

	if ((header & NUMERIC_KIND_MASK) == NUMERIC_KIND_SHORT)
	{
		parts->scale = (header >> 7) & 0x3F;
		parts->weight = (header & 0x3F) - ((header & 0x40) ? 0x40 : 0);
	}
	else
	{
		int16		weight;

		header_len += sizeof(weight);
		if (value->len < header_len)
			return false;
		memcpy(&weight, value->data + sizeof(uint16), sizeof(weight));
		parts->scale = header & NUMERIC_LONG_SCALE_MASK;
		parts->weight = weight;
	}
	if ((value->len - header_len) % sizeof(int16) != 0)
		return false;
	parts->digits = value->data + header_len;
	parts->ndigits = (int) ((value->len - header_len) / sizeof(int16));
	return true;
}

/*
 * Does a numeric show all digits that it holds?  The last of its digits may
 * reach at most to its scale.
 */
static bool
scale_covers_digits(const NumericParts *parts)
{
	int			last = numeric_digit(parts, parts->ndigits - 1);
	int			fraction;

	fraction = (parts->ndigits - 1 - parts->weight) * NUMERIC_BASE_DIGITS;
	while (last % 10 == 0)
	{
		last /= 10;
		fraction--;
	}
	return fraction <= parts->scale;
}

/* Does a numeric that is not 0 fit the precision and scale of its column? */
static bool
fits_precision(const NumericParts *parts, int32 typmod)
{
	int			first = numeric_digit(parts, 0);
	int			before_point = (parts->weight + 1) * NUMERIC_BASE_DIGITS;

	if (first < 10)
		before_point -= 3;
	else if (first < 100)
		before_point -= 2;
	else if (first < 1000)
		before_point -= 1;
	return before_point <= typmod_precision(typmod) - typmod_scale(typmod);
}

/*
 * Check a numeric: known header, digits in range, none of them zero at the
 * start or end, since comparisons and abbreviated sort keys rely on that.
 */
const char *
mc_check_numeric(WireBytes value, int32 typmod)
{
	static const char *const bad = "malformed numeric in an image";
	uint16		header;
	NumericParts parts;

	if (value.len < sizeof(header))
		return bad;
	memcpy(&header, value.data, sizeof(header));
	if ((header & NUMERIC_KIND_MASK) == NUMERIC_KIND_SPECIAL)
	{
		/* Servers before PostgreSQL 9.1 wrote a NaN with four bytes. */
		if (header == NUMERIC_NAN)
			return value.len == 2 || value.len == 4 ? NULL : bad;
		if (value.len != 2 || typmod != -1)
			return bad;
		return header == NUMERIC_PLUS_INFINITY ||
			header == NUMERIC_MINUS_INFINITY ? NULL : bad;
	}

	if (!read_numeric(&value, header, &parts))
		return bad;
	for (int i = 0; i < parts.ndigits; i++)
		if (numeric_digit(&parts, i) < 0 || numeric_digit(&parts, i) >= NUMERIC_BASE)
			return bad;
	if (typmod != -1 && parts.scale > typmod_scale(typmod))
		return "numeric in an image does not fit its column";
	if (parts.ndigits == 0)
		return NULL;
	if (numeric_digit(&parts, 0) == 0 ||
		numeric_digit(&parts, parts.ndigits - 1) == 0 ||
		!scale_covers_digits(&parts))
		return bad;
	if (typmod != -1 && !fits_precision(&parts, typmod))
		return "numeric in an image does not fit its column";
	return NULL;
}

bool
mc_numeric_is_json(WireBytes value)
{
	uint16		header;
	NumericParts parts;
	bool		is_short;
	bool		negative;

	memcpy(&header, value.data, sizeof(header));
	if ((header & NUMERIC_KIND_MASK) == NUMERIC_KIND_SPECIAL ||
		!read_numeric(&value, header, &parts))
		return false;
	is_short = (header & NUMERIC_KIND_MASK) == NUMERIC_KIND_SHORT;
	negative = is_short ? (header & NUMERIC_SHORT_NEGATIVE) != 0 :
		(header & NUMERIC_KIND_MASK) == NUMERIC_KIND_NEGATIVE;
	if (parts.ndigits == 0 && (negative || parts.weight != 0))
		return false;
	return is_short || parts.scale > NUMERIC_SHORT_MAX ||
		parts.weight > NUMERIC_SHORT_MAX || parts.weight < -NUMERIC_SHORT_MAX - 1;
}
