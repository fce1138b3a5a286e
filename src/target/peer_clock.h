/*-------------------------------------------------------------------------
 *
 * peer_clock.h
 *	  What the heartbeats of a peer tell of its clock, and of its WAL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_PEER_CLOCK_H
#define MC_PEER_CLOCK_H

#include "core/types.h"
#include "core/wire.h"

/* The clocks are compared by the quickest round trip of so many. */
#define CLOCK_SAMPLES			16

/* A round trip, and how far the peer's clock was ahead by it. */
typedef struct ClockSample
{
	TimestampTz at;				/* 0: none */
	int64		round_trip_us;
	int64		offset_us;
} ClockSample;

/* Begins with zeroes. */
typedef struct PeerClock
{
	TimestampTz echo;			/* last one that came back */
	ClockSample samples[CLOCK_SAMPLES];
	int			nsamples;		/* ever taken */
	OriginLsn	end;			/* of the peer's WAL, as it has told last */
	OriginLsn	rate_end;		/* the same when this was its time */
	TimestampTz rate_ts;
	double		write_rate;		/* bytes per second between the two */
} PeerClock;

/* A heartbeat has come that was sent at this time by the peer's clock. */
extern void mc_peer_clock_heard(PeerClock *clock, const Pulse *pulse,
								TimestampTz sent_at);

/* The quickest of the last round trips; NULL: none lately. */
extern const ClockSample *mc_peer_clock_best(const PeerClock *clock,
											 TimestampTz now);

/* Has our clock been past a time?  Looks at it only if need be. */
extern bool mc_peer_clock_is_past(TimestampTz ts);

/*
 * The time of a remote transaction is ahead of our clock: let a small
 * difference pass, so that local commits need no stamp.  A greater one is
 * applied at once, and local commits are stamped past it; but one beyond all
 * reason would lead every center astray until real time has caught up.
 */
extern void mc_peer_clock_wait(const char *peer_name, TimestampTz commit_ts);

#endif							/* MC_PEER_CLOCK_H */
