/*-------------------------------------------------------------------------
 *
 * pace.h
 *	  Parallel apply: is a backlog done sooner with appliers, or by the
 *	  receiver alone?
 *
 * NOTES
 *	  To give a transaction away costs about as much as to apply a small one,
 *	  and appliers take none of the receiver's shortcuts; but they wait beside
 *	  each other, and use processors that are idle.  Which of that weighs more
 *	  depends on the machine, what else it does, and the transactions.  So both
 *	  are tried for a moment, and what has got more done goes on, until it is
 *	  time to try again.
 *
 *	  Without a backlog transactions are given away: then one that has to wait
 *	  stops no other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_PACE_H
#define MC_PACE_H

/* What was measured in one of the two ways. */
typedef struct PaceRate
{
	int64		measured_us;	/* when; 0: never */
	double		bytes_per_us;
} PaceRate;

/* All zeroes to begin with. */
typedef struct Pace
{
	bool		alone;			/* the receiver applies what comes */
	bool		backlog;
	int64		idle_us;		/* since when nothing is left; 0: something is */
	int64		begun_us;		/* of what is being measured; 0: nothing yet */
	uint64		bytes;			/* since then */
	PaceRate	rates[2];		/* by alone */
} Pace;

/* Nothing is left to be read at this time, in microseconds of any clock. */
extern void mc_pace_idle(Pace *pace, int64 now_us);

/*
 * A transaction of so many bytes is committed: the receiver has applied it, or an
 * applier.  Not for those that no applier could have got.
 */
extern void mc_pace_done(Pace *pace, int64 now_us, uint32 bytes, bool alone);

/*
 * A transaction has come; so many before it were given to appliers and are not
 * committed yet.  Shall the receiver apply it?
 */
extern bool mc_pace_alone(Pace *pace, int64 now_us, uint64 waiting);

#endif							/* MC_PACE_H */
