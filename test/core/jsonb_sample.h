/*-------------------------------------------------------------------------
 *
 * jsonb_sample.h
 *	  Documents in the on-disk form of jsonb, written and read for tests.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSONB_SAMPLE_H
#define JSONB_SAMPLE_H

#include "lib/stringinfo.h"

/* What the word of a child says. */
#define JSON_STRING		0x00000000
#define JSON_NUMERIC	0x10000000
#define JSON_FALSE		0x20000000
#define JSON_TRUE		0x30000000
#define JSON_NULL		0x40000000
#define JSON_CONTAINER	0x50000000
#define JSON_END		0x80000000

/* What the header of a container says. */
#define JSON_SCALAR		0x10000000
#define JSON_OBJECT		0x20000000
#define JSON_ARRAY		0x40000000

/* A value in a document. */
typedef struct JsonNode
{
	uint32		type;
	const char *bytes;			/* string, or numeric with its header */
	uint32		len;
	uint32		flags;			/* of a container */
	uint32		nkeys;
	uint32		nchildren;		/* keys of an object among them, first */
	struct JsonNode **children;
} JsonNode;

/* Give back all nodes. */
extern void json_forget(void);

/* A document at random; pick(n) is a random number below n. */
extern JsonNode *json_random(uint32 (*pick) (uint32));

/* Containers within each other, so many, and a string in the innermost. */
extern JsonNode *json_nested(int depth);

/* Write a document as convertToJsonb() does. */
extern void json_write(StringInfo out, const JsonNode *root);

/*
 * Read a document with the arithmetic of PostgreSQL's readers, from places that
 * need not be aligned.  NULL if that leads outside of it, or if an object does
 * not find one of its keys by a binary search.
 */
extern JsonNode *json_read(const char *data, uint32 len);

/* Is it what json_write() makes of what json_read() reads? */
extern bool json_is_canonical(const char *data, uint32 len);

#endif							/* JSONB_SAMPLE_H */
