/*-------------------------------------------------------------------------
 *
 * causes.c
 *	  Wait for what a remote transaction depends on, where policies decide.
 *
 * NOTES
 *	  With last_update_wins a change that overtakes its cause on another link
 *	  does no harm: versions are ordered, and the order respects causes.  A
 *	  policy asks instead whether a write had seen another one, and the answer
 *	  must be the same everywhere: so whatever a change has seen comes first.
 *
 *	  Nobody waits in a circle: a transaction waits for such as came before it.
 *	  It holds no lock while it waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "state/clock.h"
#include "state/column_policy.h"
#include "state/fence.h"
#include "state/policy.h"
#include "state/registry.h"
#include "storage/latch.h"
#include "target/causes.h"
#include "target/connection.h"

#include "compat.h"

/* The peer ends a connection that does not answer for a minute. */
#define WAIT_LIMIT_MS	10000
#define SHOW_AFTER_MS	500
#define PAUSE_MS		5

/* What a transaction waits for. */
typedef struct Wait
{
	CenterId	missing;		/* whose link has to advance; MC_NO_CENTER:
								 * policies are missing */
} Wait;

/* Does a transaction have to wait? */
static bool
has_to_wait(RemoteTransaction *transaction, Wait *wait)
{
	TimestampTz since;
	int64		epoch;

	/* A policy for columns may be on its way behind a fence. */
	if (!mc_policies_any() && !mc_column_policies_any() && !mc_fence_any())
		return false;
	wait->missing = MC_NO_CENTER;
	if (transaction->overtook)
	{
		if (!mc_vector_covered(transaction->vector, transaction->peer,
							   transaction->our_id, &wait->missing))
			return true;
		transaction->overtook = false;
	}
	wait->missing = MC_NO_CENTER;
	epoch = mc_policy_epoch_of(transaction->version);
	if (epoch == 0)
		return false;
	if (!mc_policy_epoch_known(epoch) || mc_policy_own_epoch(&since) < epoch)
		return true;

	/* What is committed here from now on is of that epoch, too. */
	mc_clock_raise(since);
	return false;
}

/* Say in the link what is waited for. */
static void
show_wait(SharedLink *link, const Wait *wait)
{
	SharedLink *other = NULL;
	NameData	name = {{0}};
	char		reason[MC_ERROR_MESSAGE_BYTES];

	if (wait->missing == MC_NO_CENTER)
		strlcpy(reason, "policy_epoch", sizeof(reason));
	else
	{
		other = mc_shared_link(MyDatabaseId, wait->missing, false);
		if (other != NULL)
		{
			SpinLockAcquire(&other->mutex);
			name = other->peer_name;
			SpinLockRelease(&other->mutex);
		}
		snprintf(reason, sizeof(reason),
				 "causes: waits for changes of center \"%s\", which the transaction had seen",
				 NameStr(name));
	}
	mc_link_set_state(link, LINK_STALLED, reason);
}

/* It has taken too long. */
static void
give_up(const Wait *wait)
{
	Center		center;

	if (wait->missing != MC_NO_CENTER && mc_registry_center(wait->missing, &center))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("waiting for changes of center \"%s\"", NameStr(center.name)),
				 errdetail("The transaction had seen them, and a conflict policy decides in this group."),
				 errhint("It is applied when the link from that center is up to date.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("waiting for conflict policies that are on their way"),
			 errhint("They come with the changes of the center where they were set.")));
}

TimestampTz
mc_causes_since(const RemoteTransaction *transaction)
{
	TimestampTz since = transaction->version.commit_ts;
	TimestampTz seen;

	if (mc_shared_forgotten() == 0 ||
		!(mc_policies_any() || mc_column_policies_any()))
		return since;
	seen = mc_vector_saw_until(transaction->vector, transaction->peer, transaction->our_id);
	return Min(since, seen + 1);
}

void
mc_causes_wait(RemoteTransaction *transaction, SharedLink *link)
{
	int64		began_ms = 0;
	bool		shown = false;
	Wait		wait;

	while (has_to_wait(transaction, &wait))
	{
		int64		now_ms = mc_monotonic_ms();
		int64		waited_ms;

		if (began_ms == 0)
			began_ms = now_ms;
		waited_ms = now_ms - began_ms;

		CommitTransactionCommand();
		if (!shown && waited_ms > SHOW_AFTER_MS)
		{
			show_wait(link, &wait);
			shown = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PAUSE_MS, mc_wait_event(MC_WAIT_APPLY_CAUSES));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		StartTransactionCommand();
		if (waited_ms > WAIT_LIMIT_MS)
			give_up(&wait);
	}
	if (shown)
		mc_link_set_state(link, LINK_STREAMING, NULL);
}
