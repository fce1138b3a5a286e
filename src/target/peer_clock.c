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

#include "miscadmin.h"
#include "pgstat.h"
#include "state/settings.h"
#include "state/shared.h"
#include "target/peer_clock.h"
#include "utils/timestamp.h"

#include "compat.h"

/* A peer whose clock is further ahead is not followed. */
#define MAX_AHEAD_US	USECS_PER_HOUR

#define SAMPLE_AGE_US	(60 * USECS_PER_SEC)

/* How fast the peer writes is measured over this time. */
#define RATE_US			(2 * USECS_PER_SEC)

static TimestampTz clock_seen = 0;	/* ours has been past this */

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

bool
mc_peer_clock_is_past(TimestampTz ts)
{
	if (ts > clock_seen)
		clock_seen = GetCurrentTimestamp();
	return ts <= clock_seen;
}

void
mc_peer_clock_wait(const char *peer_name, TimestampTz commit_ts)
{
	int64		ahead_us;

	if (mc_peer_clock_is_past(commit_ts))
		return;
	ahead_us = commit_ts - clock_seen;
	if (ahead_us > MAX_AHEAD_US)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
				 errmsg("the clock of center \"%s\" is ahead by more than an hour",
						peer_name),
				 errdetail("Its transaction of %s is not applied before that hour.",
						   timestamptz_to_str(commit_ts)),
				 errhint("Correct the clocks. The link goes on by itself.")));
	while (ahead_us > 0 && ahead_us <= mc_max_apply_wait_ms * INT64CONST(1000))
	{
		CHECK_FOR_INTERRUPTS();
		pgstat_report_wait_start(mc_wait_event(MC_WAIT_APPLY_CLOCK));
		pg_usleep(ahead_us);
		pgstat_report_wait_end();
		ahead_us = commit_ts - GetCurrentTimestamp();
	}
}
