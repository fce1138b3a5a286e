/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  An applier's place in the order of commits.
 *
 * NOTES
 *	  The progress of a link is one position, so the transactions of a peer
 *	  are committed in the peer's order, whoever applies them.  The replication
 *	  origin of the peer belongs to who is committing: PostgreSQL then moves
 *	  the progress in the very moment in which it writes the commit record,
 *	  and no checkpoint can have the one without the other.  Before that an
 *	  applier has an origin of its own, which tags nothing: without one the
 *	  abort of a subtransaction would have none to move.
 *
 *	  Who waits for its turn holds locks.  If one that comes before needs
 *	  them, by whatever detour, the later one gives way: it is aborted, and
 *	  applied again when its turn has come.  The deadlock detector does not see
 *	  who waits for a turn; so who does looks, from time to time, whom those
 *	  before him wait for: for locks, and for turns of other links.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "state/column_policy.h"
#include "state/fence.h"
#include "state/monitor.h"
#include "state/policy.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "target/connection.h"
#include "target/turn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"

/* How often to look whether somebody before waits for us. */
#define LOOK_MS			10

/* So many processes are asked whom they wait for. */
#define MAX_WAITERS		128

/* Somebody may wait for what has changed in the order: wake him. */
static void
wake(SharedOrder *order)
{
	uint64		committed;
	uint64		wanted;

	/* See the head of apply_order.h. */
	pg_memory_barrier();
	committed = pg_atomic_read_u64(&order->committed);
	for (int i = 0; i < order->nworkers; i++)
	{
		wanted = pg_atomic_read_u64(&order->appliers[i].waits_for);
		if (wanted != 0 && wanted <= committed && order->appliers[i].latch != NULL)
			SetLatch(order->appliers[i].latch);
	}
	wanted = pg_atomic_read_u64(&order->leader_waits_for);
	if (wanted != 0 && wanted <= committed && order->leader_latch != NULL)
		SetLatch(order->leader_latch);
}

bool
mc_turn_has_come(const Turn *turn)
{
	return pg_atomic_read_u64(&turn->link->order.committed) >= turn->number - 1;
}

/* Does a process wait for a lock? */
static bool
waits_for_lock(int pid)
{
	PGPROC	   *proc = pid == 0 ? NULL : BackendPidGetProc(pid);

	return proc != NULL && proc->waitStatus == PROC_WAIT_STATUS_WAITING;
}

/* Processes, each of which waits for others in the list, or does not wait. */
typedef struct Chain
{
	int			npids;
	int			pids[MAX_WAITERS];
} Chain;

/* Add a process to the list. */
static void
add_process(Chain *chain, int pid)
{
	for (int i = 0; i < chain->npids; i++)
		if (chain->pids[i] == pid)
			return;
	if (pid != 0 && chain->npids < MAX_WAITERS)
		chain->pids[chain->npids++] = pid;
}

/*
 * If a process is an applier that waits for its turn, add those of its link
 * that come before it.
 */
static void
add_predecessors(Chain *chain, int pid)
{
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedOrder *order = &mc_shared->links[i].order;
		uint64		number = 0;

		for (int j = 0; j < order->nworkers; j++)
			if ((int) pg_atomic_read_u32(&order->appliers[j].pid) == pid &&
				pg_atomic_read_u64(&order->appliers[j].waits_for) != 0)
				number = pg_atomic_read_u64(&order->appliers[j].applying);
		for (int j = 0; number != 0 && j < order->nworkers; j++)
		{
			uint64		other = pg_atomic_read_u64(&order->appliers[j].applying);

			if (other != 0 && other < number)
				add_process(chain, (int) pg_atomic_read_u32(&order->appliers[j].pid));
		}
	}
}

/*
 * Add those to the list whose locks a process waits for; true if we are one of
 * them.
 */
static bool
add_blockers(Chain *chain, int pid)
{
	ArrayType  *blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
																  Int32GetDatum(pid)));
	int32	   *blocker = (int32 *) ARR_DATA_PTR(blockers);
	int			count = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));

	for (int i = 0; i < count; i++)
	{
		if (blocker[i] == MyProcPid)
			return true;
		add_process(chain, blocker[i]);
	}
	return false;
}

/*
 * Does an applier of a transaction before ours wait for us, directly or
 * through others?
 */
static bool
is_in_the_way(const Turn *turn)
{
	SharedOrder *order = &turn->link->order;
	Chain		chain;

	chain.npids = 0;
	for (int i = 0; i < order->nworkers; i++)
	{
		uint64		number = pg_atomic_read_u64(&order->appliers[i].applying);
		int			pid = (int) pg_atomic_read_u32(&order->appliers[i].pid);

		if (number != 0 && number < turn->number && waits_for_lock(pid))
			add_process(&chain, pid);
	}
	for (int i = 0; i < chain.npids; i++)
	{
		if (add_blockers(&chain, chain.pids[i]))
			return true;
		add_predecessors(&chain, chain.pids[i]);
	}
	return false;
}

/* Have the transaction applied again. */
pg_noreturn static void
give_way(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("a transaction is applied again: %s", reason)));
}

void
mc_turn_wait(Turn *turn, uint64 committed)
{
	SharedOrder *order = &turn->link->order;
	int64		looked_ms;

	if (pg_atomic_read_u64(&order->committed) >= committed)
		return;
	looked_ms = mc_monotonic_ms();
	pg_atomic_fetch_add_u64(&turn->self->waits, 1);
	pg_atomic_write_u64(&turn->self->waits_for, committed);
	pg_memory_barrier();
	while (pg_atomic_read_u64(&order->committed) < committed)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, mc_wait_event(MC_WAIT_APPLY_TURN));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (!IsTransactionState() || mc_monotonic_ms() - looked_ms < LOOK_MS)
			continue;
		if (is_in_the_way(turn))
			give_way("one before it waits for it");
		looked_ms = mc_monotonic_ms();
	}
	pg_atomic_write_u64(&turn->self->waits_for, 0);
}

void
mc_turn_begin(const Turn *turn)
{
	/*
	 * Who waits for a fence knows of the receiver only; and where policies
	 * decide, all that a change has seen must be here before it.
	 */
	if (mc_fence_any())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a table is being rewritten")));
	if (!turn->alone && (mc_policies_any() || mc_column_policies_any()))
		give_way("a policy decides");
}

void
mc_turn_take(Turn *turn, const LinkCounters *counters)
{
	/* Perhaps it is none, had it been applied after those before. */
	if (!turn->alone && (counters->conflicts > 0 || counters->quarantined > 0))
		give_way("it had a conflict");
	mc_turn_wait(turn, turn->number - 1);
	replorigin_session_reset();
	replorigin_session_setup_compat(turn->origin, 0);
	turn->taken = true;
}

/* Give the peer's origin back. */
static void
release_origin(Turn *turn)
{
	replorigin_session_reset();
	turn->taken = false;
	replorigin_session_setup_compat(turn->own_origin, 0);
}

void
mc_turn_done(Turn *turn, LocalLsn commit_end)
{
	SharedOrder *order = &turn->link->order;

	release_origin(turn);
	pg_atomic_write_u64(&order->commit_ends[turn->number % MC_ORDER_SIZE],
						commit_end.value);
	pg_write_barrier();
	pg_atomic_write_u64(&order->committed, turn->number);
	pg_atomic_write_u64(&turn->self->applying, 0);
	pg_atomic_fetch_add_u64(&turn->self->xacts, 1);
	wake(order);
}

void
mc_turn_aborted(Turn *turn)
{
	pg_atomic_write_u64(&turn->self->waits_for, 0);
	if (turn->taken)
		release_origin(turn);
}
