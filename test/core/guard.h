/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Memory whose next byte cannot be read.
 *
 * NOTES
 *	  Bytes are placed so that they end where a page without access begins: a
 *	  decoder that reads on crashes, whatever the compiler's checks make of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GUARD_H
#define GUARD_H

#include "lib/stringinfo.h"

#define GUARD_BYTES (1024 * 1024)

/*
 * Copy bytes to the end of guarded memory.  There is one such place: the next
 * call writes over it.  At most GUARD_BYTES.
 */
extern char *guarded(const char *data, uint32 len);

#endif							/* GUARD_H */
