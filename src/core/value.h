/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Checks of single values that raw tuple images and jsonb share.
 *
 * NOTES
 *	  Varlena headers are read byte by byte, because the macros of PostgreSQL
 *	  15 are not for programs without a server, such as the fuzzer of images.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_VALUE_H
#define MC_VALUE_H

#include "core/wire.h"

/* Bytes of a varlena header. */
#define LONG_HEADER_BYTES		4
#define SHORT_HEADER_BYTES		1

/*
 * Length, with itself, in a varlena header of four bytes: two flag bits and
 * the length, in the order of the machine.  False: it marks something else
 * than a plain value.
 */
static inline bool
mc_read_long_header(const char *data, uint32 *len)
{
	uint32		header;

	memcpy(&header, data, sizeof(header));
#ifdef WORDS_BIGENDIAN
	*len = header & 0x3FFFFFFF;
	return (header & 0xC0000000) == 0;
#else
	*len = header >> 2;
	return (header & 0x03) == 0;
#endif
}

/*
 * Check that bytes are text in a server encoding, without a zero byte.  All
 * checks return NULL, or a constant message.
 */
extern const char *mc_check_text(const char *data, uint32 len, int encoding);

/*
 * Are bytes nothing but ASCII, without a zero byte?  They are as many characters
 * then, in any server encoding.
 */
extern bool mc_is_ascii(const char *data, uint32 len);

/* Can a numeric be checked against this typmod? */
extern bool mc_numeric_typmod_checkable(int32 typmod);

/* Check a numeric, without its varlena header; typmod -1: of any size. */
extern const char *mc_check_numeric(WireBytes value, int32 typmod);

/*
 * Is a numeric that was found sound in the one form in which PostgreSQL writes
 * a number of JSON?  It is neither NaN nor infinite, zero has no sign and no
 * weight, and the header is short where it can be.
 */
extern bool mc_numeric_is_json(WireBytes value);

#endif							/* MC_VALUE_H */
