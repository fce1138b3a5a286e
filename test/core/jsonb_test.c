/*-------------------------------------------------------------------------
 *
 * jsonb_test.c
 *	  Documents that are sound, and those that are not.
 *
 * NOTES
 *	  Documents are given as the words at their start and the bytes that
 *	  follow.  They lie in front of a page that cannot be read, so most of them
 *	  are not aligned.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "core/jsonb_image.h"
#include "guard.h"
#include "jsonb_sample.h"
#include "mb/pg_wchar.h"
#include "tap.h"
#include "tests.h"

/* Entries: type with a length, or with the end of every 32nd. */
#define LENGTH(type, n)	(JSON_##type | (n))
#define END(type, n)	(JSON_END | JSON_##type | (n))

/* A varlena header of so many bytes, itself among them. */
#ifdef WORDS_BIGENDIAN
#define VARLENA(n)		(n)
#define FLAG(n)			((uint32) (n) << 30)
#else
#define VARLENA(n)		((n) << 2)
#define FLAG(n)			(n)
#endif

/* Two digits of 16 bits in the order of the machine. */
#ifdef WORDS_BIGENDIAN
#define SHORTS(a, b)	((uint32) (a) << 16 | (b))
#else
#define SHORTS(a, b)	((uint32) (b) << 16 | (a))
#endif

static const char *const bad_type = "unknown type in a jsonb of an image";
static const char *const bad_container = "unknown container in a jsonb of an image";
static const char *const bad_scalar = "scalar in a jsonb of an image is not one";
static const char *const short_container = "container in a jsonb of an image is too short";
static const char *const long_container =
"container in a jsonb of an image is longer than its children";
static const char *const bad_length = "child of a jsonb in an image has not its kind of length";
static const char *const outside =
"child of a jsonb in an image ends outside of its container";
static const char *const short_child = "child of a jsonb in an image is too short";
static const char *const bad_padding = "padding of a jsonb in an image is not zero";
static const char *const bad_constant = "constant in a jsonb of an image has a value";
static const char *const bad_key = "key in a jsonb of an image is not a string";
static const char *const bad_order = "keys in a jsonb of an image are not in their order";
static const char *const bad_text = "invalid byte sequence in a text of an image";
static const char *const bad_size = "numeric in a jsonb of an image does not have its length";
static const char *const too_many = "container in a jsonb of an image has too many children";
static const char *const no_number = "numeric in a jsonb of an image is not a number of JSON";
static const char *const too_deep = "jsonb in an image is nested too deep";

/* Check a document in guarded memory. */
static const char *
check_bytes(const char *data, uint32 len, int encoding)
{
	WireBytes	value = {guarded(data, len), len};

	return mc_check_jsonb(value, encoding);
}

/* Check words and the bytes that follow them. */
static const char *
check(const uint32 *words, int nwords, const char *tail, uint32 len)
{
	char		data[512];

	memcpy(data, words, nwords * sizeof(uint32));
	memcpy(data + nwords * sizeof(uint32), tail, len);
	return check_bytes(data, nwords * sizeof(uint32) + len, PG_UTF8);
}

/* Test a document of these words and of a string literal. */
#define REFUSED(problem, name, tail, ...) \
	do { \
		const uint32 words_[] = {__VA_ARGS__}; \
		unsound(check(words_, lengthof(words_), tail, sizeof(tail) - 1), problem, name); \
	} while (0)
#define ACCEPTED(name, tail, ...) \
	do { \
		const uint32 words_[] = {__VA_ARGS__}; \
		sound(check(words_, lengthof(words_), tail, sizeof(tail) - 1), name); \
	} while (0)

/* Headers of containers, and how many children they have. */
static void
test_containers(void)
{
	WireBytes	too_long = {guarded("", 1), 0x10000000};

	ACCEPTED("empty array", "", JSON_ARRAY);
	ACCEPTED("empty object", "", JSON_OBJECT);
	ACCEPTED("array", "ab", JSON_ARRAY | 2, END(STRING, 1), LENGTH(STRING, 1));
	ACCEPTED("scalar", "ab", JSON_ARRAY | JSON_SCALAR | 1, END(STRING, 2));
	ACCEPTED("array in an array", "", JSON_ARRAY | 1, END(CONTAINER, 4), JSON_ARRAY);
	unsound(check_bytes("", 0, PG_UTF8), short_container, "no document");
	unsound(check_bytes("\0\0\0", 3, PG_UTF8), short_container, "three bytes");
	unsound(mc_check_jsonb(too_long, PG_UTF8), "jsonb in an image is too long",
			"longer than any entry can say");
	REFUSED(bad_container, "neither array nor object", "", 0);
	REFUSED(bad_container, "array and object", "", JSON_ARRAY | JSON_OBJECT);
	REFUSED(bad_container, "unknown flag", "", 0x80000000 | JSON_ARRAY);
	REFUSED(bad_container, "scalar without an array", "", JSON_SCALAR | 1, END(NULL, 0));
	REFUSED(bad_container, "scalar object", "", JSON_SCALAR | JSON_OBJECT);
	REFUSED(bad_scalar, "scalar of nothing", "", JSON_ARRAY | JSON_SCALAR);
	REFUSED(bad_scalar, "two scalars", "", JSON_ARRAY | JSON_SCALAR | 2, END(NULL, 0),
			LENGTH(NULL, 0));
	REFUSED(bad_scalar, "container as a scalar", "", JSON_ARRAY | JSON_SCALAR | 1,
			END(CONTAINER, 4), JSON_ARRAY);
	REFUSED(bad_scalar, "scalar in an array", "", JSON_ARRAY | 1, END(CONTAINER, 8),
			JSON_ARRAY | JSON_SCALAR | 1, END(NULL, 0));
	REFUSED(short_container, "element without an entry", "", JSON_ARRAY | 1);
	REFUSED(short_container, "elements without end", "", JSON_ARRAY | 0x01000000);
	REFUSED(short_container, "pairs without end", "", JSON_OBJECT | 0x00800000);
	REFUSED(too_many, "more elements than the server can make", "", JSON_ARRAY | 0x01000001);
	REFUSED(too_many, "more pairs than the server can make", "", JSON_OBJECT | 0x00800001);
	REFUSED(short_container, "pair with one entry", "", JSON_OBJECT | 1, END(STRING, 0));
	REFUSED(short_container, "half a container in an array", "\0\0", JSON_ARRAY | 1,
			END(CONTAINER, 2));
	REFUSED(long_container, "byte behind an empty array", "\0", JSON_ARRAY);
	REFUSED(long_container, "byte behind the elements", "ab", JSON_ARRAY | 1, END(STRING, 1));
	REFUSED(long_container, "word behind a nested array", "", JSON_ARRAY | 1,
			END(CONTAINER, 8), JSON_ARRAY, 0);
}

/* Lengths and ends of children. */
static void
test_lengths(void)
{
	uint32		words[36] = {JSON_ARRAY | 34, END(STRING, 1)};
	const uint32 *sample = words;

	for (int i = 2; i < 35; i++)
		words[i] = LENGTH(NULL, 0);
	words[33] = END(NULL, 1);
	sound(check(sample, 35, "a", 1), "array of 34");
	words[33] = LENGTH(NULL, 0);
	unsound(check(sample, 35, "a", 1), bad_length, "33rd element has a length");
	words[33] = END(NULL, 0);
	unsound(check(sample, 35, "a", 1), outside, "33rd element ends before it begins");
	words[33] = END(NULL, 1);
	words[32] = END(NULL, 1);
	unsound(check(sample, 35, "a", 1), bad_length, "32nd element has an end");
	REFUSED(bad_length, "first element has a length", "a", JSON_ARRAY | 1, LENGTH(STRING, 1));
	REFUSED(bad_length, "second element has an end", "ab", JSON_ARRAY | 2, END(STRING, 1),
			END(STRING, 2));
	REFUSED(outside, "element ends too late", "a", JSON_ARRAY | 1, END(STRING, 2));
	REFUSED(outside, "element is too long", "ab", JSON_ARRAY | 2, END(STRING, 1),
			LENGTH(STRING, 2));
	REFUSED(outside, "element leaves a nested array", "a", JSON_ARRAY | 2, END(CONTAINER, 8),
			LENGTH(STRING, 1), JSON_ARRAY | 1, END(STRING, 1));
	REFUSED(outside, "longest element", "a", JSON_ARRAY | 2, END(STRING, 1),
			LENGTH(STRING, 0x0FFFFFFF));
}

/* Types of children that are neither numerics nor containers. */
static void
test_scalars(void)
{
	ACCEPTED("constants", "", JSON_ARRAY | 3, END(NULL, 0), LENGTH(TRUE, 0), LENGTH(FALSE, 0));
	REFUSED(bad_type, "type 6", "", JSON_ARRAY | 1, 0x60000000 | JSON_END);
	REFUSED(bad_type, "type 7", "", JSON_ARRAY | 1, 0x70000000 | JSON_END);
	REFUSED(bad_constant, "null with a value", "a", JSON_ARRAY | 1, END(NULL, 1));
	REFUSED(bad_constant, "true with a value", "a", JSON_ARRAY | 2, END(NULL, 0),
			LENGTH(TRUE, 1));
	REFUSED(bad_constant, "false with a value", "a", JSON_ARRAY | 1, END(FALSE, 1));
	REFUSED(bad_text, "zero byte in a string", "a\0b", JSON_ARRAY | 1, END(STRING, 3));
	REFUSED(bad_text, "zero byte early in a long string", "\0bcdefghabcdefgh", JSON_ARRAY | 1,
			END(STRING, 16));
	REFUSED(bad_text, "zero byte late in a long string", "abcdefgh\0bcdefgh", JSON_ARRAY | 1,
			END(STRING, 16));
	REFUSED(bad_text, "invalid byte early in a long string", "\200bcdefghabcdefgh",
			JSON_ARRAY | 1, END(STRING, 16));
	ACCEPTED("character of two bytes", "\303\244", JSON_ARRAY | 1, END(STRING, 2));
	REFUSED(bad_text, "character in two strings", "\303\244", JSON_ARRAY | 2,
			END(STRING, 1), LENGTH(STRING, 1));
	REFUSED(bad_text, "invalid byte in a long string", "abcdefg\200", JSON_ARRAY | 1,
			END(STRING, 8));
	REFUSED(bad_text, "invalid byte in a key", "\377", JSON_OBJECT | 1, END(STRING, 1),
			LENGTH(NULL, 0));
}

/* Order of keys. */
static void
test_keys(void)
{
	ACCEPTED("object", "abaa", JSON_OBJECT | 3, END(STRING, 1), LENGTH(STRING, 1),
			 LENGTH(STRING, 2), LENGTH(NULL, 0), LENGTH(TRUE, 0), LENGTH(FALSE, 0));
	ACCEPTED("empty key", "", JSON_OBJECT | 1, END(STRING, 0), LENGTH(NULL, 0));
	REFUSED(bad_key, "null as a key", "", JSON_OBJECT | 1, END(NULL, 0), LENGTH(NULL, 0));
	REFUSED(bad_key, "container as a key", "", JSON_OBJECT | 1, END(CONTAINER, 4),
			LENGTH(NULL, 0), JSON_ARRAY);
	REFUSED(bad_order, "keys in descending order", "ba", JSON_OBJECT | 2, END(STRING, 1),
			LENGTH(STRING, 1), LENGTH(NULL, 0), LENGTH(NULL, 0));
	REFUSED(bad_order, "long key before a short one", "aab", JSON_OBJECT | 2, END(STRING, 2),
			LENGTH(STRING, 1), LENGTH(NULL, 0), LENGTH(NULL, 0));
	REFUSED(bad_order, "the same key twice", "aa", JSON_OBJECT | 2, END(STRING, 1),
			LENGTH(STRING, 1), LENGTH(NULL, 0), LENGTH(NULL, 0));
	REFUSED(bad_order, "the empty key twice", "", JSON_OBJECT | 2, END(STRING, 0),
			LENGTH(STRING, 0), LENGTH(NULL, 0), LENGTH(NULL, 0));
	REFUSED(bad_order, "keys with bytes below and above 128", "\303\251bb", JSON_OBJECT | 2,
			END(STRING, 2), LENGTH(STRING, 2), LENGTH(NULL, 0), LENGTH(NULL, 0));
}

/* Numerics, and what is in front of them. */
static void
test_numbers(void)
{
	const uint32 five = SHORTS(0x8000, 5);

	ACCEPTED("number", "", JSON_ARRAY | 1, END(NUMERIC, 8), VARLENA(8), five);
	ACCEPTED("zero", "\0\200", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
	REFUSED(short_child, "number of nothing", "", JSON_ARRAY | 1, END(NUMERIC, 0));
	REFUSED(short_child, "half a header", "\0\0", JSON_ARRAY | 1, END(NUMERIC, 2));
	REFUSED(short_child, "number that ends in its padding", "a\0", JSON_ARRAY | 2,
			END(STRING, 1), LENGTH(NUMERIC, 1));
	REFUSED(bad_size, "number is longer than its header says", "", JSON_ARRAY | 1,
			END(NUMERIC, 12), VARLENA(8), five, 0);
	REFUSED(bad_size, "number is shorter than its header says", "", JSON_ARRAY | 1,
			END(NUMERIC, 8), VARLENA(12), five);
	REFUSED(bad_size, "compressed number", "", JSON_ARRAY | 1, END(NUMERIC, 8),
			VARLENA(8) | FLAG(2), five);
	REFUSED(bad_size, "number with a short header", "", JSON_ARRAY | 1, END(NUMERIC, 8),
			VARLENA(8) | FLAG(1), five);
	REFUSED("malformed numeric in an image", "number without a header", "", JSON_ARRAY | 1,
			END(NUMERIC, 4), VARLENA(4));
	REFUSED("malformed numeric in an image", "digit 10000", "", JSON_ARRAY | 1,
			END(NUMERIC, 8), VARLENA(8), SHORTS(0x8000, 10000));
	REFUSED(no_number, "NaN of an old server", "", JSON_ARRAY | 1, END(NUMERIC, 8), VARLENA(8),
			SHORTS(0xC000, 0));
	REFUSED(no_number, "NaN", "\0\300", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
	ACCEPTED("zero", "\0\200", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
	REFUSED(no_number, "zero with a weight", "\1\200", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
	REFUSED(no_number, "negative zero", "\0\240", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
	REFUSED(no_number, "long zero with a weight", "\0\0\377\177", JSON_ARRAY | 1, END(NUMERIC, 8),
			VARLENA(8));
	REFUSED(no_number, "long negative zero", "\100\100\0\0", JSON_ARRAY | 1, END(NUMERIC, 8), VARLENA(8));
	ACCEPTED("weight that needs a long header", "\0\0\100\0\5\0", JSON_ARRAY | 1, END(NUMERIC, 10),
			 VARLENA(10));
	ACCEPTED("scale that needs a long header", "\100\0\0\0\5\0", JSON_ARRAY | 1, END(NUMERIC, 10),
			 VARLENA(10));
	REFUSED(no_number, "long header of a small number", "\0\0\0\0\5\0", JSON_ARRAY | 1, END(NUMERIC, 10),
			VARLENA(10));
	REFUSED(no_number, "infinity", "\0\320", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
	REFUSED(no_number, "-infinity", "\0\360", JSON_ARRAY | 1, END(NUMERIC, 6), VARLENA(6));
}

/* Padding, which is in the third of these words. */
static void
test_padding(void)
{
	static const char aligned[] = "a\0\0\0";
	static const char dirty[] = "a\0\1\0";
	uint32		number[] = {JSON_ARRAY | 2, END(STRING, 1), LENGTH(NUMERIC, 11), 0, VARLENA(8),
	SHORTS(0x8000, 5)};
	uint32		container[] = {JSON_ARRAY | 2, END(STRING, 1), LENGTH(CONTAINER, 7), 0, JSON_ARRAY};

	memcpy(&number[3], aligned, 4);
	memcpy(&container[3], aligned, 4);
	sound(check(number, lengthof(number), "", 0), "number behind padding");
	sound(check(container, lengthof(container), "", 0), "array behind padding");
	memcpy(&number[3], dirty, 4);
	memcpy(&container[3], dirty, 4);
	unsound(check(number, lengthof(number), "", 0), bad_padding, "number behind dirty padding");
	unsound(check(container, lengthof(container), "", 0), bad_padding,
			"array behind dirty padding");
	memcpy(&container[3], aligned, 4);
	container[2] = LENGTH(CONTAINER, 4);
	unsound(check(container, 4, "", 0), outside, "array is longer than its container");
	container[2] = LENGTH(CONTAINER, 3);
	unsound(check(container, 4, "", 0), short_container, "array of nothing but padding");
	container[2] = LENGTH(CONTAINER, 2);
	unsound(check(container, 3, "a\0\0", 3), short_child, "array that ends in its padding");
}

/* Containers within each other; encodings. */
static void
test_whole(void)
{
	const uint32 latin[] = {JSON_ARRAY | 1, END(STRING, 1)};
	StringInfoData document;

	for (int depth = MC_JSONB_MAX_DEPTH; depth <= MC_JSONB_MAX_DEPTH + 1; depth++)
	{
		const char *problem;

		initStringInfo(&document);
		json_forget();
		json_write(&document, json_nested(depth));
		problem = check_bytes(document.data, document.len, PG_UTF8);
		if (depth == MC_JSONB_MAX_DEPTH)
			sound(problem, "deepest document");
		else
			unsound(problem, too_deep, "too deep a document");
		ok(json_is_canonical(document.data, document.len), "document %d deep is read", depth);
	}
	json_forget();
	initStringInfo(&document);
	appendBinaryStringInfo(&document, (const char *) latin, sizeof(latin));
	appendStringInfoChar(&document, '\344');
	sound(check_bytes(document.data, document.len, PG_LATIN1), "string in LATIN1");
	sound(check_bytes(document.data, document.len, PG_SQL_ASCII), "string in no encoding");
	unsound(check_bytes(document.data, document.len, PG_UTF8), bad_text,
			"string in another encoding");
}

/* All tests of jsonb. */
void
test_jsonb(void)
{
	test_containers();
	test_lengths();
	test_scalars();
	test_keys();
	test_numbers();
	test_padding();
	test_whole();
}
