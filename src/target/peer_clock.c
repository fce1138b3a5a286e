/*-------------------------------------------------------------------------
 *
 * peer_clock.c
 *	  What the heartbeats of a peer tell of its clock, and of its WAL.
 *
 * NOTES
 *	  A heartbeat brings back the time, by our clock, at which we have sent a
 *	  message to the peer, and how long the peer has had it: what is left of
 *	  the time since then is the way there and back.  In the middle of it the
 *	  peer's clock was what the heartbeat says, give or take half of the way.
 *	  A heartbeat that has waited somewhere makes the way longer, never
 *	  shorter, so the quickest one is the best.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target/peer_clock.h"
#include "utils/timestamp.h"

#define SAMPLE_AGE_US	(60 * USECS_PER_SEC)

/* How fast the peer writes is measured over this time. */
#define RATE_US			(2 * USECS_PER_SEC)

/* Take a round trip. */
static void
note_round_trip(PeerClock *clock, const Pulse *pulse, TimestampTz sent_at)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		round_trip_us;
	ClockSample *sample;

	/* One that comes again says nothing new; and the peer may say anything. */
	if (pulse->echo == 0 || pulse->echo == clock->echo ||
		!IS_VALID_TIMESTAMP(pulse->echo) ||
		pulse->held_us < 0 || pulse->held_us > USECS_PER_DAY)
		return;

	/* A clock may have stepped. */
	round_trip_us = now - pulse->echo - pulse->held_us;
	if (round_trip_us < 0)
		return;
	clock->echo = pulse->echo;
	sample = &clock->samples[clock->nsamples++ % CLOCK_SAMPLES];
	sample->at = now;
	sample->round_trip_us = round_trip_us;
	sample->offset_us = sent_at - now + round_trip_us / 2;
}

void
mc_peer_clock_heard(PeerClock *clock, const Pulse *pulse, TimestampTz sent_at)
{
	note_round_trip(clock, pulse, sent_at);
	clock->end.value = Max(clock->end.value, pulse->wal_end);
	if (sent_at < clock->rate_ts)
		clock->rate_ts = 0;
	if (clock->rate_ts != 0 && sent_at - clock->rate_ts < RATE_US)
		return;
	if (clock->rate_ts != 0)
		clock->write_rate = (double) (clock->end.value - clock->rate_end.value) *
			USECS_PER_SEC / (double) (sent_at - clock->rate_ts);
	clock->rate_ts = sent_at;
	clock->rate_end = clock->end;
}

const ClockSample *
mc_peer_clock_best(const PeerClock *clock, TimestampTz now)
{
	const ClockSample *best = NULL;

	for (int i = 0; i < CLOCK_SAMPLES; i++)
	{
		const ClockSample *sample = &clock->samples[i];

		if (sample->at != 0 && now - sample->at <= SAMPLE_AGE_US &&
			(best == NULL || sample->round_trip_us < best->round_trip_us))
			best = sample;
	}
	return best;
}
