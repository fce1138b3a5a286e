/*-------------------------------------------------------------------------
 *
 * image.h
 *	  Raw tuple images: which types may travel so, and their validator.
 *
 * NOTES
 *	  The image of a heap tuple means the same on every server of the same
 *	  byte order and alignment as long as all columns are of types whose
 *	  on-disk form is stable and can be checked in one walk.  No byte from a
 *	  peer becomes a Datum before that walk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_IMAGE_H
#define MC_IMAGE_H

#include "core/types.h"
#include "core/wire.h"

/* Physical layout and check of one column of an image. */
typedef struct ImageColumn
{
	Oid			type_oid;
	int32		typmod;
	int16		attlen;
	char		attalign;

	/* By mc_image_resolve(). */
	uint8		alignment;		/* in bytes */
	uint8		check;			/* a ValueCheck of image.c; 0: none yet */
} ImageColumn;

/* 16 bytes that must be equal on both sides: byte order, alignment, sizes. */
#define MC_ARCH_LEN 16
extern const char *mc_image_architecture(void);

/* Is a column of this (built-in) type and typmod allowed in a raw image? */
extern bool mc_image_portable(Oid type_oid, int32 typmod);

/* Bytes that an alignment code (attalign, typalign) stands for. */
extern uint8 mc_alignment_bytes(char attalign);

/*
 * Look the type of a column up, once for all images.  Returns NULL, or a
 * constant message if its values cannot travel in an image, or not with this
 * layout.
 */
extern const char *mc_image_resolve(ImageColumn *column);

/*
 * Walk an image and check everything that a reader of the datums relies on:
 * lengths and alignment within the image, no out-of-line and no compressed
 * values, text valid in the given server encoding, numerics well formed,
 * booleans 0 or 1.  image.data must be aligned to MAXALIGN, all columns
 * resolved.  Returns NULL if it is sound, otherwise a constant message.
 */
extern const char *mc_image_validate(const ImageColumn *columns, int ncolumns,
									 WireBytes null_bitmap, WireBytes image,
									 int encoding);

#endif							/* MC_IMAGE_H */
