/*-------------------------------------------------------------------------
 *
 * pace_test.c
 *	  Parallel apply: the better way is found, and not left without need.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "core/pace.h"
#include "tap.h"
#include "tests.h"

#define XACT_BYTES	100

/* A link with a backlog, whose transactions take so long either way. */
typedef struct Link
{
	Pace		pace;
	int64		now_us;
	int			alone_us;
	int			given_us;
	int			stall_us;		/* that a process has no processor ... */
	int			stalls_us;		/* ... each time it has had it for so long */
	int64		stalled_us;
	int			switches;
	int64		spent_us[2];	/* by alone */
} Link;

/* Apply transactions for so long. */
static void
work(Link *link, int64 us)
{
	int64		end_us = link->now_us + us;

	while (link->now_us < end_us)
	{
		bool		was = link->pace.alone;
		bool		alone = mc_pace_alone(&link->pace, link->now_us, was ? 0 : 100);
		int			took_us = alone ? link->alone_us : link->given_us;

		if (link->stalls_us > 0 && link->now_us - link->stalled_us > link->stalls_us)
		{
			took_us += link->stall_us;
			link->stalled_us = link->now_us + took_us;
		}

		link->switches += alone != was;
		link->now_us += took_us;
		link->spent_us[alone] += took_us;
		mc_pace_done(&link->pace, link->now_us, XACT_BYTES, alone);
	}
}

/* Nothing comes for so long. */
static void
rest(Link *link, int64 us)
{
	mc_pace_idle(&link->pace, link->now_us);
	link->now_us += us;
}

/* A new link. */
static Link
make_link(int alone_us, int given_us)
{
	Link		link = {.now_us = 1,.alone_us = alone_us,.given_us = given_us};

	return link;
}

/* Of a minute, a few parts in a hundred are spent in the worse way at most. */
static void
test_choice(int alone_us, int given_us)
{
	Link		link = make_link(alone_us, given_us);
	bool		better = alone_us < given_us;

	work(&link, 60000000);
	ok(link.spent_us[better] > 0.97 * 60000000 && link.switches >= 10,
	   "%d us alone, %d us with appliers: the better way goes on, the other one is tried", alone_us, given_us);
	diag("%.1f %% in the better way, %d switches",
		 link.spent_us[better] / 600000.0, link.switches);
}

/* All of it. */
void
test_pace(void)
{
	Link		link = make_link(10, 25);

	test_choice(10, 11);
	test_choice(10, 25);
	test_choice(25, 10);
	test_choice(2000, 250);
	test_choice(20000, 10);

	/* Others have the processor. */
	link = make_link(10, 25);
	link.stall_us = 8000;
	link.stalls_us = 6000;
	work(&link, 60000000);
	ok(link.spent_us[true] > 0.95 * 60000000, "it is found on a busy processor");
	link = make_link(10, 25);
	link.stall_us = 200000;
	link.stalls_us = 3000000;
	work(&link, 60000000);
	ok(link.spent_us[true] > 0.95 * 60000000, "and not forgotten when all stands still for a moment");

	/* About the same. */
	link = make_link(100, 102);
	work(&link, 60000000);
	ok(link.switches <= 4 * 12, "where both are as good, it seldom changes");

	/* Without a backlog transactions are given away. */
	link = make_link(10, 25);
	for (int i = 0; i < 1000; i++)
	{
		if (mc_pace_alone(&link.pace, link.now_us, 3))
			break;
		link.now_us += 25;
		mc_pace_done(&link.pace, link.now_us, XACT_BYTES, false);
	}
	ok(!link.pace.alone && !link.pace.backlog, "without a backlog transactions are given away");

	/* A gap in what comes is no end, silence is. */
	work(&link, 1000000);
	ok(link.pace.alone, "a backlog is applied in the better way");
	rest(&link, 5000);
	ok(mc_pace_alone(&link.pace, link.now_us, 0), "after some milliseconds still");
	rest(&link, 30000);
	ok(!mc_pace_alone(&link.pace, link.now_us, 0), "not after thirty");
	ok(mc_pace_alone(&link.pace, link.now_us, 50), "the next backlog begins in the better way");
	rest(&link, 10000000);
	(void) mc_pace_alone(&link.pace, link.now_us, 0);
	ok(!mc_pace_alone(&link.pace, link.now_us, 50), "ten seconds later it is tried again");

	/* What it was becomes wrong. */
	link = make_link(10, 25);
	work(&link, 10000000);
	link.alone_us = 2000;
	link.spent_us[0] = link.spent_us[1] = 0;
	work(&link, 10000000);
	ok(link.spent_us[true] < 1000000, "when transactions get slow appliers soon have them");
}
