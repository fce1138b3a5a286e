/*-------------------------------------------------------------------------
 *
 * image_test.c
 *	  Images that are sound, and those that are not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "catalog/pg_type_d.h"
#include "guard.h"
#include "mb/pg_wchar.h"
#include "samples.h"
#include "tap.h"
#include "tests.h"

/* Typmods as the catalog holds them. */
#define CHARACTERS(n)			((n) + 4)
#define NUMERIC_TYPMOD(p, s)	((((p) << 16) | (s)) + 4)

/* Check an image of one value of fixed length. */
static const char *
check_fixed(Oid type_oid, int32 typmod, int16 attlen, char attalign,
			const void *value)
{
	SampleImage image;

	image_begin(&image);
	image_add(&image, type_oid, typmod, attlen, attalign, value, attlen);
	return image_check(&image, PG_UTF8);
}

/* Check an image of one value of variable length. */
static const char *
check_varlena(Oid type_oid, int32 typmod, const void *value, int len,
			  int encoding)
{
	SampleImage image;

	image_begin(&image);
	image_add_short(&image, type_oid, typmod, value, len);
	return image_check(&image, encoding);
}

static const char *
check_text(Oid type_oid, int32 typmod, const char *text)
{
	return check_varlena(type_oid, typmod, text, (int) strlen(text), PG_UTF8);
}

/* Check a numeric of so many 16-bit words. */
static const char *
check_numeric(int32 typmod, int words, int a, int b, int c, int d)
{
	uint16		numeric[] = {(uint16) a, (uint16) b, (uint16) c, (uint16) d};

	return check_varlena(NUMERICOID, typmod, numeric, words * (int) sizeof(uint16), PG_UTF8);
}

/* Which types and typmods may travel. */
static void
test_portable(void)
{
	ok(strlen(mc_image_architecture()) == MC_ARCH_LEN, "architecture has %d characters: %s",
	   MC_ARCH_LEN, mc_image_architecture());
	ok(mc_image_portable(INT4OID, -1), "integer is portable");
	ok(mc_image_portable(VARCHAROID, CHARACTERS(10)), "varchar(10) is portable");
	ok(mc_image_portable(NUMERICOID, NUMERIC_TYPMOD(10, 2)), "numeric(10,2) is portable");
	ok(!mc_image_portable(NUMERICOID, NUMERIC_TYPMOD(2, 10)), "numeric(2,10) is not");
	ok(!mc_image_portable(NUMERICOID, NUMERIC_TYPMOD(2, 2047)), "numeric(2,-1) is not");
	ok(mc_image_portable(TIMESTAMPTZOID, 3), "timestamptz(3) is portable");
	ok(!mc_image_portable(INTERVALOID, 3), "interval(3) is not");
	ok(mc_image_portable(JSONBOID, -1), "jsonb is portable");
	ok(!mc_image_portable(JSONOID, -1), "json is not");
	ok(!mc_image_portable(INT4ARRAYOID, -1), "integer[] is not");
	ok(!mc_image_portable(16400, -1), "a user's type is not");
}

/* Values of fixed length. */
static void
test_fixed(void)
{
	const int64 noon = INT64CONST(43200000000);
	const int64 late = INT64CONST(86400000001);
	const int64 too_late = END_TIMESTAMP;
	const int64 infinity = PG_INT64_MAX;
	const int64 minus_infinity = PG_INT64_MIN;
	const int64 exact = -12000;
	const int64 inexact = 12001;
	const int32 today = 9000;
	const int32 date_infinity = PG_INT32_MAX;
	const int32 no_date = PG_INT32_MAX - 1;
	char		name[NAMEDATALEN];

	memset(name, 'x', sizeof(name));
	sound(check_fixed(BOOLOID, -1, 1, 'c', "\1"), "true");
	unsound(check_fixed(BOOLOID, -1, 1, 'c', "\2"), "malformed boolean in an image", "boolean 2");
	sound(check_fixed(TIMEOID, -1, 8, 'd', &noon), "time");
	unsound(check_fixed(TIMEOID, -1, 8, 'd', &late), "time out of range in an image", "late time");
	unsound(check_fixed(TIMEOID, -1, 8, 'd', &exact), "time out of range in an image",
			"negative time");
	sound(check_fixed(TIMESTAMPOID, -1, 8, 'd', &infinity), "infinity");
	sound(check_fixed(TIMESTAMPOID, 0, 8, 'd', &minus_infinity), "-infinity");
	unsound(check_fixed(TIMESTAMPOID, -1, 8, 'd', &too_late), "timestamp out of range in an image",
			"late timestamp");
	sound(check_fixed(TIMESTAMPTZOID, 3, 8, 'd', &exact), "timestamptz(3)");
	unsound(check_fixed(TIMESTAMPTZOID, 3, 8, 'd', &inexact),
			"time in an image has more digits than its column", "microseconds in timestamptz(3)");
	sound(check_fixed(DATEOID, -1, 4, 'i', &today), "date");
	sound(check_fixed(DATEOID, -1, 4, 'i', &date_infinity), "date infinity");
	unsound(check_fixed(DATEOID, -1, 4, 'i', &no_date), "date out of range in an image",
			"late date");
	unsound(check_fixed(NAMEOID, -1, NAMEDATALEN, 'c', name), "name in an image has no end",
			"endless name");
	name[3] = '\0';
	sound(check_fixed(NAMEOID, -1, NAMEDATALEN, 'c', name), "name");
	name[1] = '\377';
	unsound(check_fixed(NAMEOID, -1, NAMEDATALEN, 'c', name),
			"invalid byte sequence in a text of an image", "name in another encoding");
	unsound(check_fixed(INT4OID, -1, 8, 'd', &noon), "layout of a column is not the one of its type",
			"integer of 8 bytes");
	unsound(check_fixed(JSONOID, -1, 8, 'd', &noon),
			"type of a column cannot travel in an image", "json");
}

/* Text in several encodings, and its limits. */
static void
test_text(void)
{
	sound(check_text(TEXTOID, -1, ""), "empty text");
	sound(check_text(TEXTOID, -1, "Lisboa \342\202\254"), "text");
	unsound(check_text(TEXTOID, -1, "\342\202"), "invalid byte sequence in a text of an image",
			"half a character");
	unsound(check_varlena(TEXTOID, -1, "a\0b", 3, PG_UTF8),
			"invalid byte sequence in a text of an image", "zero byte in UTF-8");
	unsound(check_varlena(TEXTOID, -1, "a\0b", 3, PG_LATIN1),
			"invalid byte sequence in a text of an image", "zero byte in LATIN1");
	unsound(check_varlena(TEXTOID, -1, "a\0b", 3, PG_SQL_ASCII),
			"invalid byte sequence in a text of an image", "zero byte in SQL_ASCII");
	sound(check_varlena(TEXTOID, -1, "\344", 1, PG_LATIN1), "text in LATIN1");
	sound(check_varlena(BYTEAOID, -1, "a\0b\377", 4, PG_UTF8), "bytea");
	sound(check_text(VARCHAROID, CHARACTERS(2), "\303\244\303\266"), "varchar(2) of 4 bytes");
	unsound(check_text(VARCHAROID, CHARACTERS(2), "\303\244\303\266\303\274"),
			"text in an image does not have the length of its column", "3 characters in varchar(2)");
	sound(check_text(BPCHAROID, CHARACTERS(3), "\303\244  "), "char(3)");
	sound(check_text(BPCHAROID, -1, "abc"), "bpchar");
	unsound(check_text(BPCHAROID, CHARACTERS(3), "ab"),
			"text in an image does not have the length of its column", "2 characters in char(3)");
	unsound(check_text(BPCHAROID, CHARACTERS(3), "abcd"),
			"text in an image does not have the length of its column", "4 characters in char(3)");
}

/* Numerics: both headers, special values, precision and scale. */
static void
test_numeric(void)
{
	static const char *const bad = "malformed numeric in an image";
	static const char *const misfit = "numeric in an image does not fit its column";
	const int	two = 0x8000 | (2 << 7);	/* scale 2, weight 0 */

	sound(check_numeric(-1, 3, two, 12, 3400, 0), "12.34");
	sound(check_numeric(-1, 1, 0x8000, 0, 0, 0), "0");
	sound(check_numeric(-1, 2, 0xA000 | 1, 5, 0, 0), "-50000");
	sound(check_numeric(-1, 2, two | 0x7F, 100, 0, 0), "0.01");
	unsound(check_numeric(-1, 4, 4, -1, 1234, 0), bad, "trailing zero in the long form");
	sound(check_numeric(-1, 3, 4, -1, 1234, 0), "0.1234 in the long form");
	sound(check_numeric(-1, 1, 0xC000, 0, 0, 0), "NaN");
	sound(check_numeric(-1, 2, 0xC000, 0, 0, 0), "NaN of an old server");
	sound(check_numeric(-1, 1, 0xD000, 0, 0, 0), "infinity");
	sound(check_numeric(-1, 1, 0xF000, 0, 0, 0), "-infinity");
	sound(check_numeric(NUMERIC_TYPMOD(4, 2), 1, 0xC000, 0, 0, 0), "NaN in numeric(4,2)");
	unsound(check_numeric(NUMERIC_TYPMOD(4, 2), 1, 0xD000, 0, 0, 0), bad,
			"infinity in numeric(4,2)");
	unsound(check_numeric(-1, 1, 0xE000, 0, 0, 0), bad, "unknown special value");
	unsound(check_numeric(-1, 0, 0, 0, 0, 0), bad, "no header");
	unsound(check_numeric(-1, 1, 0, 0, 0, 0), bad, "half a long header");
	unsound(check_varlena(NUMERICOID, -1, "\0\201\1", 3, PG_UTF8), bad, "half a digit");
	unsound(check_numeric(-1, 2, 0x8000, 10000, 0, 0), bad, "digit 10000");
	unsound(check_numeric(-1, 2, 0x8000, 0xFFFF, 0, 0), bad, "digit -1");
	unsound(check_numeric(-1, 3, 0x8001, 0, 5, 0), bad, "leading zero");
	unsound(check_numeric(-1, 3, 0x8001, 5, 0, 0), bad, "trailing zero");
	unsound(check_numeric(-1, 3, two, 12, 3456, 0), bad, "digits behind the scale");
	sound(check_numeric(NUMERIC_TYPMOD(4, 2), 3, two, 12, 3400, 0), "12.34 in numeric(4,2)");
	unsound(check_numeric(NUMERIC_TYPMOD(4, 2), 3, two, 112, 3400, 0), misfit,
			"112.34 in numeric(4,2)");
	unsound(check_numeric(NUMERIC_TYPMOD(4, 1), 3, two, 12, 3400, 0), misfit,
			"12.34 in numeric(4,1)");
	unsound(check_numeric(NUMERIC_TYPMOD(4, 0), 2, 0x8001, 1, 0, 0), misfit,
			"10000 in numeric(4)");
	sound(check_numeric(NUMERIC_TYPMOD(4, 4), 2, 0x8000 | (4 << 7) | 0x7F, 1, 0, 0),
		  "0.0001 in numeric(4,4)");
}

/* Jsonb with either header; what is wrong with it comes through. */
static void
test_document(void)
{
	static const uint32 words[] = {0x40000001, 0x80000001}; /* ["a"] */
	char		array[sizeof(words) + 1];
	SampleImage image;

	memcpy(array, words, sizeof(words));
	array[sizeof(words)] = 'a';
	sound(check_varlena(JSONBOID, -1, array, sizeof(array), PG_UTF8), "jsonb with a short header");
	image_begin(&image);
	image_add_long(&image, JSONBOID, -1, array, sizeof(array));
	sound(image_check(&image, PG_UTF8), "jsonb with a long header");
	ok(image_walk_stays_inside(&image), "jsonb is walked");
	unsound(check_varlena(JSONBOID, -1, array, sizeof(array) - 1, PG_UTF8),
			"child of a jsonb in an image ends outside of its container", "jsonb that is too short");
	array[sizeof(words)] = '\344';
	unsound(check_varlena(JSONBOID, -1, array, sizeof(array), PG_UTF8),
			"invalid byte sequence in a text of an image", "jsonb in another encoding");
	sound(check_varlena(JSONBOID, -1, array, sizeof(array), PG_LATIN1), "jsonb in LATIN1");
}

/* Check the sample image after a change of one byte. */
static const char *
check_changed(uint32 offset, int value)
{
	SampleImage image;

	sample_image(&image);
	image.data.data[offset] = (char) value;
	return image_check(&image, PG_UTF8);
}

/* Alignment, padding and lengths of an image as a whole. */
static void
test_layout(void)
{
	WireBytes	bitmap = {"\1", 1};
	WireBytes	bytes;
	SampleImage image;
	bool		all_refused = true;
	int			len;

	sample_image(&image);
	sound(image_check(&image, PG_UTF8), "image with a column of each kind");
	ok(image_walk_stays_inside(&image), "image is walked as a tuple");
	len = image.data.len;
	for (image.data.len = 0; image.data.len < len; image.data.len++)
		if (image_check(&image, PG_UTF8) == NULL)
			all_refused = false;
	ok(all_refused, "image is refused wherever it is cut off");

	/* The boolean is followed by padding, the integer by a short header. */
	unsound(check_changed(1, 1), "padding of an image is not zero", "padding that is not zero");
	unsound(check_changed(8, 1), "image points to a value outside of it", "external value");
	unsound(check_changed(8, 0x21), "invalid byte sequence in a text of an image",
			"value that takes in the next one");
	image_begin(&image);
	image_add(&image, BOOLOID, -1, 1, 'c', "\1", 1);
	image_add_short(&image, TEXTOID, -1, "abcdefgh", 8);
	image.data.data[1] = 0x20;	/* a long header that is not aligned */
	unsound(image_check(&image, PG_UTF8), "value in an image is not aligned", "unaligned header");

	image_begin(&image);
	image_add_short(&image, TEXTOID, -1, "abcdefgh", 8);
	image.data.data[0] = (char) 0xFF;
	unsound(image_check(&image, PG_UTF8), "image ends within a value", "value that is too long");

	image_begin(&image);
	image_add_long(&image, TEXTOID, -1, "abcdefgh", 8);
	image.data.data[0] |= 2;
	unsound(image_check(&image, PG_UTF8), "compressed value in an image", "compressed value");

	image_begin(&image);
	image_add_long(&image, TEXTOID, -1, "", 0);
	image.data.data[0] = 8;
	unsound(image_check(&image, PG_UTF8), "impossible length of a value in an image",
			"length shorter than its header");

	image_begin(&image);
	image_add(&image, INT4OID, -1, 4, 'i', "\0\0\0\0", 4);
	appendBinaryStringInfo(&image.data, "\0\0\0\0", 4);
	sound(image_check(&image, PG_UTF8), "padding at the end");
	image.data.data[7] = 1;
	unsound(image_check(&image, PG_UTF8), "padding of an image is not zero", "dirty end");
	appendBinaryStringInfo(&image.data, "\0", 1);
	unsound(image_check(&image, PG_UTF8), "image is longer than its columns", "long image");

	/* image_check() gives a bitmap for the number of columns: ask ourselves. */
	bytes.data = image.data.data;
	bytes.len = 4;
	unsound(mc_image_validate(image.columns, 9, bitmap, bytes, PG_UTF8),
			"null bitmap does not fit the number of columns", "short null bitmap");
}

/* All tests of images. */
void
test_image(void)
{
	test_portable();
	test_fixed();
	test_text();
	test_numeric();
	test_document();
	test_layout();
}
