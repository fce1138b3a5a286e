/*-------------------------------------------------------------------------
 *
 * samples.h
 *	  Frames and images to test with, and readers that touch all of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SAMPLES_H
#define SAMPLES_H

#include "core/image.h"
#include "core/pack.h"
#include "core/wire.h"

/* Number of records, attributes and values that a reader has met. */
typedef struct FrameCounts
{
	int			vectors;
	int			records;
	int			attributes;
	int			values;
	int			relids;
} FrameCounts;

/* A transaction with one record of each type and format; a heartbeat. */
extern void sample_transaction(StringInfo buf);
extern void sample_heartbeat(StringInfo buf);

/* The same changes many times, compressed, with a vector. */
extern void sample_packed(StringInfo buf, PackMethod method);

/* Make length and CRC of a frame right again after it was changed. */
extern void repair_frame(char *data, uint32 len);

/*
 * Read a frame to the end, and every byte that the decoder returns.  NULL, or
 * what is wrong.  A compressed one is expected to be so by the method that it
 * names.
 */
extern const char *read_all(const char *data, uint32 len, FrameCounts *counts);

/* An image that is being built, with its columns. */
typedef struct SampleImage
{
	ImageColumn columns[16];
	int			ncolumns;
	char		nulls[2];		/* bit set: not null */
	bool		has_nulls;
	StringInfoData data;
} SampleImage;

/* Start an image; add a column with a value or a null. */
extern void image_begin(SampleImage *image);
extern void image_add(SampleImage *image, Oid type_oid, int32 typmod,
					  int16 attlen, char attalign, const void *value, int len);
extern void image_add_null(SampleImage *image, Oid type_oid, int16 attlen,
						   char attalign);

/* Add a value of variable length with a short or with a long header. */
extern void image_add_short(SampleImage *image, Oid type_oid, int32 typmod,
							const void *value, int len);
extern void image_add_long(SampleImage *image, Oid type_oid, int32 typmod,
						   const void *value, int len);

/* Validate it in guarded memory. */
extern const char *image_check(SampleImage *image, int encoding);

/* An image with a column of each kind. */
extern void sample_image(SampleImage *image);

/*
 * Walk over an image that was found sound as heap_deform_tuple() does; false
 * if that leaves the image.
 */
extern bool image_walk_stays_inside(const SampleImage *image);

#endif							/* SAMPLES_H */
