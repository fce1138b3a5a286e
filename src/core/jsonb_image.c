/*-------------------------------------------------------------------------
 *
 * jsonb_image.c
 *	  Validator of the on-disk form of jsonb, as it lies in a raw tuple image.
 *
 * NOTES
 *	  A container is a header with the number of its children and what it is,
 *	  one word per child, and the children.  The word tells the type of the
 *	  child and its length or, for every 32nd, where it ends.  The children of
 *	  an object are its keys, in their order, and then the values.  Numerics
 *	  and containers are aligned within the document, and zeroes before them
 *	  count as part of them.  See utils/jsonb.h of PostgreSQL.
 *
 *	  Its functions trust what they read: lengths and ends lead them to other
 *	  bytes, the order of the keys is what they search by, types decide what
 *	  they call.  So we accept what convertToJsonb() writes and nothing else,
 *	  also where a reader would not mind.  That is not more work, and leaves
 *	  one form for each document: equal ones stay equal in a hash or an index.
 *
 *	  The origin asks the same function before it sends a document so: what is
 *	  refused here, say because it is too deep, then travels as text.
 *
 *	  Pure: no allocation, no ereport, no backend state.  The bytes can lie at
 *	  any address, since a short varlena header has no alignment.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/jsonb_image.h"
#include "core/value.h"

/* Header of a container: its flags, and the number of elements or pairs. */
#define CONTAINER_COUNT_MASK	0x0FFFFFFF
#define CONTAINER_FLAGS_MASK	0xF0000000
#define CONTAINER_SCALAR		0x10000000
#define CONTAINER_OBJECT		0x20000000
#define CONTAINER_ARRAY			0x40000000

/* What the server can have in memory when it makes a document. */
#define MAX_ELEMENTS			(1 << 24)
#define MAX_PAIRS				(1 << 23)

/* The word of a child. */
#define ENTRY_LENGTH_MASK		0x0FFFFFFF	/* or its end */
#define ENTRY_TYPE_MASK			0x70000000
#define ENTRY_IS_END			0x80000000
#define ENTRY_STRING			0x00000000
#define ENTRY_NUMERIC			0x10000000
#define ENTRY_FALSE				0x20000000
#define ENTRY_TRUE				0x30000000
#define ENTRY_NULL				0x40000000
#define ENTRY_CONTAINER			0x50000000

/* Every how many children there is an end, and not a length. */
#define END_STRIDE				32

/* A document that is being checked. */
typedef struct JsonbWalk
{
	const char *data;
	int			encoding;
} JsonbWalk;

/* A piece of the document, by offsets from its start. */
typedef struct JsonbSpan
{
	uint32		start;
	uint32		end;
} JsonbSpan;

/* Header of a container, taken apart. */
typedef struct JsonbContainerParts
{
	bool		scalar;			/* not an array, but its only element */
	uint32		nkeys;			/* children that are keys */
	uint32		nchildren;		/* with them */
	uint32		entries;		/* where the words are */
} JsonbContainerParts;

static const char *check_container(const JsonbWalk *walk, JsonbSpan span,
								   int depth);

/* A word of the document. */
static inline uint32
read_word(const JsonbWalk *walk, uint32 offset)
{
	uint32		word;

	memcpy(&word, walk->data + offset, sizeof(word));
	return word;
}

/* Leave out the zeroes in front of a child that is aligned. */
static const char *
skip_padding(const JsonbWalk *walk, JsonbSpan *span)
{
	uint32		aligned = INTALIGN(span->start);

	if (aligned > span->end)
		return "child of a jsonb in an image is too short";
	while (span->start < aligned)
		if (walk->data[span->start++] != 0)
			return "padding of a jsonb in an image is not zero";
	return NULL;
}

/* Check a numeric, which has a varlena header of its own. */
static const char *
check_numeric(const JsonbWalk *walk, JsonbSpan span)
{
	const char *problem = skip_padding(walk, &span);
	WireBytes	value;
	uint32		len;

	if (problem != NULL)
		return problem;
	if (span.end - span.start < LONG_HEADER_BYTES)
		return "child of a jsonb in an image is too short";
	if (!mc_read_long_header(walk->data + span.start, &len) ||
		len != span.end - span.start)
		return "numeric in a jsonb of an image does not have its length";
	value.data = walk->data + span.start + LONG_HEADER_BYTES;
	value.len = len - LONG_HEADER_BYTES;
	problem = mc_check_numeric(value, -1);
	if (problem == NULL && !mc_numeric_is_json(value))
		return "numeric in a jsonb of an image is not a number of JSON";
	return problem;
}

/* Check a string. */
static inline const char *
check_string(const JsonbWalk *walk, JsonbSpan span)
{
	return mc_check_text(walk->data + span.start, span.end - span.start,
						 walk->encoding);
}

/*
 * Check a key: by length, and then by its bytes, it comes after the one before
 * it, if there is one.
 */
static const char *
check_key(const JsonbWalk *walk, uint32 type, const JsonbSpan *before,
		  JsonbSpan span)
{
	uint32		len = span.end - span.start;

	if (type != ENTRY_STRING)
		return "key in a jsonb of an image is not a string";
	if (before != NULL)
	{
		uint32		len_before = before->end - before->start;

		if (len_before > len ||
			(len_before == len &&
			 memcmp(walk->data + before->start, walk->data + span.start, len) >= 0))
			return "keys in a jsonb of an image are not in their order";
	}
	return check_string(walk, span);
}

/* Check an element of an array or a value of an object. */
static const char *
check_child(const JsonbWalk *walk, uint32 type, JsonbSpan span, int depth)
{
	const char *problem;

	switch (type)
	{
		case ENTRY_STRING:
			return check_string(walk, span);
		case ENTRY_NUMERIC:
			return check_numeric(walk, span);
		case ENTRY_FALSE:
		case ENTRY_TRUE:
		case ENTRY_NULL:
			if (span.start != span.end)
				return "constant in a jsonb of an image has a value";
			return NULL;
		case ENTRY_CONTAINER:
			if (depth >= MC_JSONB_MAX_DEPTH)
				return "jsonb in an image is nested too deep";
			problem = skip_padding(walk, &span);
			if (problem != NULL)
				return problem;
			return check_container(walk, span, depth + 1);
		default:
			return "unknown type in a jsonb of an image";
	}
}

/* Take the header of a container apart; its words are within the span. */
static const char *
read_container(const JsonbWalk *walk, JsonbSpan span, int depth,
			   JsonbContainerParts *parts)
{
	uint32		header;
	uint32		count;

	if (span.end - span.start < sizeof(header))
		return "container in a jsonb of an image is too short";
	header = read_word(walk, span.start);
	count = header & CONTAINER_COUNT_MASK;
	parts->entries = span.start + sizeof(header);
	parts->scalar = false;
	parts->nkeys = 0;
	switch (header & CONTAINER_FLAGS_MASK)
	{
		case CONTAINER_ARRAY | CONTAINER_SCALAR:
			if (depth != 1 || count != 1)
				return "scalar in a jsonb of an image is not one";
			parts->scalar = true;
			break;
		case CONTAINER_ARRAY:
			break;
		case CONTAINER_OBJECT:
			parts->nkeys = count;
			break;
		default:
			return "unknown container in a jsonb of an image";
	}
	if (count > (parts->nkeys > 0 ? MAX_PAIRS : MAX_ELEMENTS))
		return "container in a jsonb of an image has too many children";
	parts->nchildren = parts->nkeys + count;
	if (parts->nchildren > (span.end - parts->entries) / sizeof(uint32))
		return "container in a jsonb of an image is too short";
	return NULL;
}

/* Check the array or object that a span, which is aligned, consists of. */
static const char *
check_container(const JsonbWalk *walk, JsonbSpan span, int depth)
{
	JsonbContainerParts parts;
	JsonbSpan	child;
	JsonbSpan	before;
	uint32		base;
	const char *problem = read_container(walk, span, depth, &parts);

	if (problem != NULL)
		return problem;
	base = parts.entries + parts.nchildren * sizeof(uint32);
	child.end = base;
	for (uint32 i = 0; i < parts.nchildren; i++)
	{
		uint32		entry = read_word(walk, parts.entries + i * sizeof(uint32));
		uint32		type = entry & ENTRY_TYPE_MASK;
		bool		is_end = (entry & ENTRY_IS_END) != 0;

		if (is_end != (i % END_STRIDE == 0))
			return "child of a jsonb in an image has not its kind of length";
		before = child;
		child.start = before.end;
		child.end = (is_end ? base : child.start) + (entry & ENTRY_LENGTH_MASK);
		if (child.end < child.start || child.end > span.end)
			return "child of a jsonb in an image ends outside of its container";
		if (i < parts.nkeys)
			problem = check_key(walk, type, i == 0 ? NULL : &before, child);
		else if (parts.scalar && type == ENTRY_CONTAINER)
			problem = "scalar in a jsonb of an image is not one";
		else
			problem = check_child(walk, type, child, depth);
		if (problem != NULL)
			return problem;
	}
	if (child.end != span.end)
		return "container in a jsonb of an image is longer than its children";
	return NULL;
}

const char *
mc_check_jsonb(WireBytes value, int encoding)
{
	JsonbWalk	walk = {value.data, encoding};
	JsonbSpan	root = {0, value.len};

	/* Offsets within a container do not reach further. */
	if (value.len > ENTRY_LENGTH_MASK)
		return "jsonb in an image is too long";
	return check_container(&walk, root, 1);
}
