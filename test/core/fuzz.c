/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *	  Random changes of frames, images and documents.
 *
 * NOTES
 *	  The checksum is made right after each change, so that the changes get
 *	  through to the decoder.  A crash is the failure: the input lies in front
 *	  of a page that cannot be read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <time.h>

#include "core/jsonb_image.h"
#include "guard.h"
#include "jsonb_sample.h"
#include "mb/pg_wchar.h"
#include "samples.h"
#include "tap.h"
#include "tests.h"

/* Values that lengths and counts like to break at. */
static const uint8 edges[] = {0, 1, 2, 3, 4, 5, 0x7E, 0x7F, 0x80, 0x81, 0xFE, 0xFF};

static uint64 random_state;

/* A random number below limit (xorshift64*). */
static uint32
pick(uint32 limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32) ((random_state * UINT64CONST(0x2545F4914F6CDD1D)) >> 32) % limit;
}

/* Change a few bytes; cut off, double or remove a piece now and then. */
static void
mutate(StringInfo data)
{
	int			changes = 1 + (int) pick(6);

	while (changes-- > 0 && data->len > 0)
	{
		uint32		at = pick(data->len);
		uint32		len = pick(Min(data->len - at, 64)) + 1;

		switch (pick(8))
		{
			case 0:
				data->data[at] ^= 1 << pick(8);
				break;
			case 1:
				data->data[at] = (char) pick(256);
				break;
			case 2:
				data->len = (int) at;
				break;
			case 3:
				if (data->len < 65536)
				{
					enlargeStringInfo(data, (int) len);
					memmove(data->data + at + len, data->data + at, data->len - at);
					data->len += (int) len;
				}
				break;
			case 4:
				memmove(data->data + at, data->data + at + len, data->len - at - len);
				data->len -= (int) len;
				break;
			default:
				data->data[at] = (char) edges[pick(lengthof(edges))];
				break;
		}
	}
}

/* Read one changed frame; true if the decoder has accepted it. */
static bool
fuzz_frame(StringInfo sample)
{
	StringInfoData frame;
	FrameCounts counts;
	char	   *copy;
	bool		accepted;

	initStringInfo(&frame);
	appendBinaryStringInfo(&frame, sample->data, sample->len);
	mutate(&frame);
	copy = guarded(frame.data, frame.len);
	if (frame.len >= 56)
	{
		memcpy(copy, sample->data, 5);	/* magic and version */
		repair_frame(copy, frame.len);
	}
	accepted = read_all(copy, frame.len, &counts) == NULL;
	pfree(frame.data);
	return accepted;
}

/* Check one changed image; false if a bad one was accepted. */
static bool
fuzz_image(int *accepted)
{
	static const int encodings[] = {PG_UTF8, PG_LATIN1, PG_SQL_ASCII, PG_EUC_JP, PG_EUC_TW};
	SampleImage image;
	bool		result = true;

	sample_image(&image);
	mutate(&image.data);
	if (pick(4) == 0)
		image.nulls[pick(2)] = (char) pick(256);
	if (pick(8) == 0)
		image.has_nulls = !image.has_nulls;
	if (image_check(&image, encodings[pick(lengthof(encodings))]) == NULL)
	{
		(*accepted)++;
		result = image_walk_stays_inside(&image);
	}
	pfree(image.data.data);
	return result;
}

/*
 * Check a random document, which is sound, and then a changed one; false if
 * the first was refused, or the second accepted without being sound.
 */
static bool
fuzz_jsonb(int *accepted)
{
	StringInfoData document;
	WireBytes	value;
	bool		result;

	initStringInfo(&document);
	json_write(&document, json_random(pick));
	value.data = guarded(document.data, document.len);
	value.len = document.len;
	result = mc_check_jsonb(value, PG_UTF8) == NULL &&
		json_is_canonical(value.data, value.len);

	mutate(&document);
	value.data = guarded(document.data, document.len);
	value.len = document.len;
	if (mc_check_jsonb(value, PG_UTF8) == NULL)
	{
		(*accepted)++;
		if (!json_is_canonical(value.data, value.len))
			result = false;
	}
	pfree(document.data);
	return result;
}

/* Change frames and images until the time is up. */
void
test_fuzz(unsigned int seed, int seconds)
{
	StringInfoData samples[4];
	int			nsamples = 0;
	time_t		end = time(NULL) + seconds;
	int64		rounds = 0;
	int			frames_accepted = 0;
	int			images_accepted = 0;
	int			documents_accepted = 0;
	bool		all_inside = true;
	bool		all_canonical = true;

	diag("seed %u (run with that number as the argument to repeat)", seed);
	random_state = ((uint64) seed << 1) | 1;
	initStringInfo(&samples[nsamples]);
	sample_transaction(&samples[nsamples++]);
	for (PackMethod method = PACK_LZ4; method <= PACK_ZSTD; method++)
	{
		if (!mc_pack_is_built(method))
			continue;
		initStringInfo(&samples[nsamples]);
		sample_packed(&samples[nsamples++], method);
	}
	initStringInfo(&samples[nsamples]);
	sample_heartbeat(&samples[nsamples]);
	while (all_inside && all_canonical && time(NULL) < end)
		for (int i = 0; i < 1000; i++)
		{
			frames_accepted += fuzz_frame(&samples[pick(16) == 0 ? nsamples : pick(nsamples)]);
			if (!fuzz_image(&images_accepted))
				all_inside = false;
			if (!fuzz_jsonb(&documents_accepted))
				all_canonical = false;
			rounds++;
		}
	ok(rounds > 0, "random changes do not crash the decoder");
	ok(all_inside, "no image that was accepted leads outside of itself");
	ok(all_canonical, "a jsonb is accepted if and only if it could have been written so");
	ok(frames_accepted > 0 && images_accepted > 0 && documents_accepted > 0,
	   "some changes are harmless");
	diag("%lld rounds, %d frames, %d images and %d documents accepted", (long long) rounds,
		 frames_accepted, images_accepted, documents_accepted);
}
