/*-------------------------------------------------------------------------
 *
 * jsonb_image.h
 *	  Validator of the on-disk form of jsonb, as it lies in a raw tuple image.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_JSONB_IMAGE_H
#define MC_JSONB_IMAGE_H

#include "core/wire.h"

/* Containers within each other that the validator follows. */
#define MC_JSONB_MAX_DEPTH 64

/*
 * Check a jsonb, without its varlena header: nothing is accepted but what
 * PostgreSQL writes for a document that jsonb_recv() reads, in a server with
 * this encoding, and that is at most so deep.  The bytes need not be aligned.
 * Returns NULL, or a constant message.
 */
extern const char *mc_check_jsonb(WireBytes value, int encoding);

#endif							/* MC_JSONB_IMAGE_H */
