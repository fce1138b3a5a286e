/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  Parallel apply: is a backlog done sooner with appliers, or by the
 *	  receiver alone?
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "core/pace.h"

/* So many that wait are a backlog, until nothing has come for so long. */
#define MUCH			16
#define IDLE_US			20000

/* One of the ways is measured for so long, and the other one tried again. */
#define PERIOD_US		50000
#define RETRY_US		5000000

/* Where it is so much worse than the other, it is seen sooner. */
#define SHORT_US		20000
#define MUCH_WORSE		3.0

/* How much better the other way must be. */
#define BETTER			1.05

/*
 * What one measurement counts beside those before it.  The process may have had
 * no processor for a while.
 */
#define WEIGHT			0.25

void
mc_pace_idle(Pace *pace, int64 now_us)
{
	if (pace->idle_us == 0)
		pace->idle_us = now_us;
}

void
mc_pace_done(Pace *pace, int64 now_us, uint32 bytes, bool alone)
{
	if (!pace->backlog || alone != pace->alone)
		return;

	/* What was on its way when this began does not count. */
	if (pace->begun_us == 0)
	{
		pace->begun_us = now_us;
		pace->bytes = 0;
		return;
	}
	pace->bytes += bytes;
}

/* Was the other way measured not long ago? */
static bool
knows(const Pace *pace, bool alone, int64 now_us)
{
	const PaceRate *rate = &pace->rates[alone];

	return rate->measured_us != 0 && now_us - rate->measured_us < RETRY_US;
}

/* Is it the better one? */
static bool
is_better(const Pace *pace, bool alone, double than)
{
	return pace->rates[alone].bytes_per_us > than;
}

/* Is what is being measured over?  If so, take it into account. */
static bool
is_measured(Pace *pace, int64 now_us)
{
	PaceRate   *rate = &pace->rates[pace->alone];
	int64		us = now_us - pace->begun_us;
	double		measured;

	if (pace->begun_us == 0 || us < SHORT_US)
		return false;
	measured = (double) pace->bytes / us;
	if (us < PERIOD_US && !(knows(pace, !pace->alone, now_us) &&
							is_better(pace, !pace->alone, MUCH_WORSE * measured)))
		return false;
	if (knows(pace, pace->alone, now_us))
		measured = WEIGHT * measured + (1 - WEIGHT) * rate->bytes_per_us;
	rate->bytes_per_us = measured;
	rate->measured_us = now_us;
	pace->begun_us = 0;
	return true;
}

bool
mc_pace_alone(Pace *pace, int64 now_us, uint64 waiting)
{
	bool		was = pace->alone;

	if (pace->idle_us != 0 && now_us - pace->idle_us > IDLE_US)
		pace->backlog = pace->alone = false;
	pace->idle_us = 0;
	if (!pace->backlog)
	{
		if (waiting < MUCH)
			return false;
		pace->backlog = true;
		pace->begun_us = 0;

		/* As it was best a moment ago. */
		pace->alone = knows(pace, true, now_us) && knows(pace, false, now_us) &&
			is_better(pace, true, pace->rates[false].bytes_per_us);
		return pace->alone;
	}
	if (is_measured(pace, now_us) &&
		(!knows(pace, !was, now_us) ||
		 is_better(pace, !was, BETTER * pace->rates[was].bytes_per_us)))
		pace->alone = !was;
	return pace->alone;
}
