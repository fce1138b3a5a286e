/*-------------------------------------------------------------------------
 *
 * jsonb_sample.c
 *	  Documents in the on-disk form of jsonb, written and read for tests.
 *
 * NOTES
 *	  The writer follows convertToJsonb(), the reader getJsonbOffset(),
 *	  getJsonbLength() and fillJsonbValue() of PostgreSQL, and none of them
 *	  the validator.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "jsonb_sample.h"

#define COUNT_MASK	0x0FFFFFFF
#define TYPE_MASK	0x70000000
#define STRIDE		32

/* Where nodes live until they are forgotten. */
static char arena[4 * 1024 * 1024];
static size_t arena_used = 0;

/* Give back all nodes. */
void
json_forget(void)
{
	arena_used = 0;
}

/* Get zeroed memory. */
static void *
allocate(size_t size)
{
	char	   *result = arena + arena_used;

	arena_used += MAXALIGN(size);
	if (arena_used > sizeof(arena))
		abort();
	memset(result, 0, size);
	return result;
}

/* A node with bytes of its own, or none. */
static JsonNode *
make_leaf(uint32 type, const char *bytes, uint32 len)
{
	JsonNode   *node = allocate(sizeof(JsonNode));

	node->type = type;
	node->len = len;
	if (len > 0)
		node->bytes = memcpy(allocate(len), bytes, len);
	return node;
}

/* An array or object without children yet. */
static JsonNode *
make_container(uint32 flags, uint32 count)
{
	JsonNode   *node = allocate(sizeof(JsonNode));

	node->type = JSON_CONTAINER;
	node->flags = flags;
	node->nkeys = (flags & JSON_OBJECT) ? count : 0;
	node->nchildren = node->nkeys + count;
	node->children = allocate(node->nchildren * sizeof(JsonNode *));
	return node;
}

/* ---- writing ---- */

/* Append zeroes up to an alignment of four. */
static void
pad(StringInfo out)
{
	while (out->len % 4 != 0)
		appendStringInfoCharMacro(out, '\0');
}

/* Append a value; returns how many bytes that are, with padding. */
static uint32
write_node(StringInfo out, const JsonNode *node)
{
	int			start = out->len;
	int			entries;
	uint32		total = 0;
	uint32		word = node->flags | (node->nchildren - node->nkeys);

	if (node->type == JSON_NUMERIC || node->type == JSON_CONTAINER)
		pad(out);
	if (node->type != JSON_CONTAINER)
	{
		if (node->len > 0)
			appendBinaryStringInfo(out, node->bytes, node->len);
		return out->len - start;
	}
	appendBinaryStringInfo(out, (const char *) &word, sizeof(word));
	entries = out->len;
	for (uint32 i = 0; i < node->nchildren; i++)
		appendBinaryStringInfo(out, "\0\0\0\0", sizeof(word));
	for (uint32 i = 0; i < node->nchildren; i++)
	{
		uint32		len = write_node(out, node->children[i]);

		total += len;
		word = node->children[i]->type | (i % STRIDE == 0 ? JSON_END | total : len);
		memcpy(out->data + entries + i * sizeof(word), &word, sizeof(word));
	}
	return out->len - start;
}

/* Write a document. */
void
json_write(StringInfo out, const JsonNode *root)
{
	write_node(out, root);
}

/* ---- reading ---- */

/* A word of a container. */
static uint32
child_word(const char *container, uint32 i)
{
	uint32		word;

	memcpy(&word, container + 4 * (i + 1), sizeof(word));
	return word;
}

/* Where a child begins, behind the words; see getJsonbOffset(). */
static uint32
child_offset(const char *container, uint32 index)
{
	uint32		offset = 0;

	for (int64 i = (int64) index - 1; i >= 0; i--)
	{
		offset += child_word(container, i) & COUNT_MASK;
		if (child_word(container, i) & JSON_END)
			break;
	}
	return offset;
}

/* How long a child is, with padding; see getJsonbLength(). */
static uint32
child_length(const char *container, uint32 index)
{
	uint32		word = child_word(container, index);

	if (word & JSON_END)
		return (word & COUNT_MASK) - child_offset(container, index);
	return word & COUNT_MASK;
}

/* Does a binary search find each key of an object? */
static bool
finds_all_keys(const JsonNode *node)
{
	for (uint32 i = 0; i < node->nkeys; i++)
	{
		const JsonNode *key = node->children[i];
		uint32		low = 0;
		uint32		high = node->nkeys;
		bool		found = false;

		while (low < high && !found)
		{
			uint32		middle = low + (high - low) / 2;
			const JsonNode *candidate = node->children[middle];
			int			difference = candidate->len != key->len ?
			(candidate->len > key->len ? 1 : -1) :
			key->len == 0 ? 0 : memcmp(candidate->bytes, key->bytes, key->len);

			if (difference == 0 && middle != i)
				return false;
			if (difference == 0)
				found = true;
			else if (difference < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (!found)
			return false;
	}
	return true;
}

static JsonNode *read_container(const char *data, uint32 start, uint32 end);

/* Read a child, by offsets from the start of the document. */
static JsonNode *
read_child(const char *data, uint32 type, uint64 start, uint64 len, uint32 limit)
{
	uint64		end = start + len;
	uint32		header;

	if (end > limit)
		return NULL;
	if (type == JSON_NUMERIC || type == JSON_CONTAINER)
		start = (start + 3) / 4 * 4;
	if (start > end)
		return NULL;
	if (type == JSON_CONTAINER)
		return read_container(data, (uint32) start, (uint32) end);
	if (type == JSON_NUMERIC)
	{
		/* Readers take its length from its own header. */
		if (start + sizeof(header) > limit)
			return NULL;
		memcpy(&header, data + start, sizeof(header));
#ifndef WORDS_BIGENDIAN
		header >>= 2;
#endif
		if (header < 6 || start + header > limit)
			return NULL;
		end = start + header;
	}
	return make_leaf(type, data + start, (uint32) (end - start));
}

/* Read a container. */
static JsonNode *
read_container(const char *data, uint32 start, uint32 end)
{
	const char *container = data + start;
	JsonNode   *node;
	uint32		header;
	uint64		children;

	if (end - start < sizeof(header))
		return NULL;
	memcpy(&header, container, sizeof(header));
	children = (uint64) (header & COUNT_MASK) * ((header & JSON_OBJECT) ? 2 : 1);
	if (sizeof(header) * (children + 1) > end - start)
		return NULL;
	node = make_container(header & ~COUNT_MASK, header & COUNT_MASK);
	for (uint32 i = 0; i < node->nchildren; i++)
	{
		uint64		at = start + sizeof(header) * (children + 1);

		node->children[i] = read_child(data, child_word(container, i) & TYPE_MASK,
									   at + child_offset(container, i),
									   child_length(container, i), end);
		if (node->children[i] == NULL)
			return NULL;
	}
	return finds_all_keys(node) ? node : NULL;
}

/* Read a document. */
JsonNode *
json_read(const char *data, uint32 len)
{
	return read_container(data, 0, len);
}

/* Read a document, write it again, and compare. */
bool
json_is_canonical(const char *data, uint32 len)
{
	JsonNode   *node;
	StringInfoData again;
	bool		result;

	json_forget();
	node = json_read(data, len);
	if (node == NULL)
		return false;
	initStringInfo(&again);
	json_write(&again, node);
	result = again.len == (int) len && memcmp(again.data, data, len) == 0;
	pfree(again.data);
	return result;
}

/* ---- making ---- */

/* Sort keys by length, and then by their bytes. */
static int
compare_keys(const void *a, const void *b)
{
	const JsonNode *left = *(JsonNode *const *) a;
	const JsonNode *right = *(JsonNode *const *) b;

	if (left->len != right->len)
		return left->len > right->len ? 1 : -1;
	return left->len == 0 ? 0 : memcmp(left->bytes, right->bytes, left->len);
}

/* A string of a few characters, or of more now and then. */
static JsonNode *
random_string(uint32 (*pick) (uint32))
{
	static const char *const letters[] = {"a", "b", "z", "\001", "\303\251", "\342\202\254",
	"\360\237\230\200"};
	char		bytes[256];
	uint32		len = 0;

	for (uint32 n = pick(pick(8) == 0 ? 50 : 6); n > 0; n--)
	{
		const char *letter = letters[pick(lengthof(letters))];

		memcpy(bytes + len, letter, strlen(letter));
		len += strlen(letter);
	}
	return make_leaf(JSON_STRING, bytes, len);
}

/* An integer below 10^8, in the short form. */
static JsonNode *
random_numeric(uint32 (*pick) (uint32))
{
	int16		digits[] = {(int16) (0x8001 | (pick(2) << 13)), (int16) (1 + pick(9999)),
	(int16) (1 + pick(9999))};
	char		bytes[4 + sizeof(digits)];
	uint32		len = 4 + (pick(2) == 0 ? sizeof(digits) : 2 * sizeof(int16));
#ifdef WORDS_BIGENDIAN
	uint32		header = len;
#else
	uint32		header = len << 2;
#endif

	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), digits, sizeof(digits));
	return make_leaf(JSON_NUMERIC, bytes, len);
}

static JsonNode *random_container(uint32 (*pick) (uint32), uint32 flags, int depth);

/* A value that is deeper than depth containers. */
static JsonNode *
random_value(uint32 (*pick) (uint32), int depth)
{
	switch (pick(depth < 6 ? 8 : 5))
	{
		case 0:
			return make_leaf(JSON_NULL, NULL, 0);
		case 1:
			return make_leaf(pick(2) == 0 ? JSON_TRUE : JSON_FALSE, NULL, 0);
		case 2:
			return random_numeric(pick);
		case 3:
		case 4:
			return random_string(pick);
		case 5:
			return random_container(pick, JSON_ARRAY, depth + 1);
		default:
			return random_container(pick, JSON_OBJECT, depth + 1);
	}
}

/* An array or object. */
static JsonNode *
random_container(uint32 (*pick) (uint32), uint32 flags, int depth)
{
	uint32		count = pick(pick(6) == 0 && depth < 3 ? 80 : 5);
	JsonNode   *node = make_container(flags, count);
	uint32		nkeys = 0;

	for (uint32 i = 0; i < node->nkeys; i++)
		node->children[i] = random_string(pick);
	if (node->nkeys > 1)
		qsort(node->children, node->nkeys, sizeof(JsonNode *), compare_keys);
	for (uint32 i = 0; i < node->nkeys; i++)
		if (nkeys == 0 || compare_keys(&node->children[nkeys - 1], &node->children[i]) != 0)
			node->children[nkeys++] = node->children[i];
	node->nkeys = nkeys;
	node->nchildren = nkeys + (flags & JSON_OBJECT ? nkeys : count);
	for (uint32 i = nkeys; i < node->nchildren; i++)
		node->children[i] = random_value(pick, depth);
	return node;
}

/* Make a document at random. */
JsonNode *
json_random(uint32 (*pick) (uint32))
{
	JsonNode   *node;

	json_forget();
	if (pick(8) != 0)
		return random_container(pick, pick(4) == 0 ? JSON_ARRAY : JSON_OBJECT, 1);
	node = make_container(JSON_ARRAY | JSON_SCALAR, 1);
	node->children[0] = pick(2) == 0 ? random_numeric(pick) : random_string(pick);
	return node;
}

/* Make containers within each other, arrays and objects in turns. */
JsonNode *
json_nested(int depth)
{
	JsonNode   *node = make_leaf(JSON_STRING, "deep", 4);

	while (depth-- > 0)
	{
		JsonNode   *container = make_container(depth % 2 ? JSON_OBJECT : JSON_ARRAY, 1);

		container->children[container->nkeys] = node;
		if (container->nkeys > 0)
			container->children[0] = make_leaf(JSON_STRING, "a", 1);
		node = container;
	}
	return node;
}
