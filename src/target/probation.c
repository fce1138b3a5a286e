/*-------------------------------------------------------------------------
 *
 * probation.c
 *	  Notice a transaction that makes the server crash when it is applied.
 *
 * NOTES
 *	  A crash leaves nothing in shared memory.  So after each start of the
 *	  server a receiver writes down, durably, which transaction it applies
 *	  first, and takes that back when it has lived for a while.  If it finds
 *	  such a mark of before the start it is on probation: until it has lived for
 *	  a while, each transaction is written down before and made durable
 *	  afterwards, so that the one that is found after the next crash is the one
 *	  that has caused it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "state/own.h"
#include "target/connection.h"
#include "target/probation.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#include "compat.h"

/* Who has lived for so long has not crashed by what it applied first. */
#define PROBATION_MS	10000

static CenterId peer;
static XLogRecPtr marked_lsn;	/* what is written down; 0: nothing is */
static int	attempts;			/* at that, each but this one a crash */
static bool on_probation;		/* it was found at the start */
static bool marks;				/* write down the next one */
static int64 until_ms;

/* Read the mark of before the start. */
static void
read_mark(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(peer)};
	OwnScope	scope;

	mc_own_begin(&scope);
	if (mc_own_execute(&plan,
					   "SELECT attempt_lsn, attempts FROM multicenter.link"
					   " WHERE peer_id OPERATOR(pg_catalog.=) $1"
					   " AND attempt_lsn IS NOT NULL",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT) == 1)
	{
		bool		isnull;

		marked_lsn = DatumGetLSN(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1, &isnull));
		attempts = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 2, &isnull));
	}
	mc_own_end(&scope);
}

/* Write the mark, in a transaction of its own, durably. */
static void
write_mark(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[] = {INT4OID, LSNOID, INT4OID};
	Datum		values[] = {Int32GetDatum(peer), LSNGetDatum(marked_lsn),
	Int32GetDatum(attempts)};
	const char *nulls = marked_lsn == InvalidXLogRecPtr ? " n " : "   ";
	OwnScope	scope;

	/*
	 * Nobody else needs it, so its time does not matter: a process that has
	 * the origin of its peer could not stamp it.
	 */
	StartTransactionCommand();
	mc_session_origin_set(DoNotReplicateId, InvalidXLogRecPtr, 0);
	mc_own_begin(&scope);
	(void) mc_own_execute(&plan,
						  "INSERT INTO multicenter.link (peer_id, attempt_lsn, attempts)"
						  " VALUES ($1, $2, $3) ON CONFLICT (peer_id) DO UPDATE"
						  " SET attempt_lsn = excluded.attempt_lsn, attempts = excluded.attempts",
						  lengthof(types), types, values, nulls, SPI_OK_INSERT);
	mc_own_end(&scope);
	CommitTransactionCommand();
	mc_session_origin_set(InvalidRepOriginId, InvalidXLogRecPtr, 0);
	XLogFlush(XactLastCommitEnd);
	MemoryContextSwitchTo(context);
}

void
mc_probation_begin(SharedLink *link)
{
	MemoryContext context = CurrentMemoryContext;
	bool		first;

	SpinLockAcquire(&link->mutex);
	first = !link->begun;
	link->begun = true;
	SpinLockRelease(&link->mutex);

	peer = link->peer;
	until_ms = mc_monotonic_ms() + PROBATION_MS;
	StartTransactionCommand();
	read_mark();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	/* In this life of the server a receiver has ended, and said why. */
	if (!first)
		attempts = 0;
	on_probation = first && marked_lsn != InvalidXLogRecPtr;
	marks = first;
}

int
mc_probation_before(OriginLsn commit_lsn)
{
	if (marked_lsn != InvalidXLogRecPtr && mc_monotonic_ms() >= until_ms)
	{
		marked_lsn = InvalidXLogRecPtr;
		attempts = 0;
		on_probation = marks = false;
		write_mark();
	}
	if (!marks)
		return 0;
	attempts = marked_lsn == commit_lsn.value ? attempts + 1 : 1;
	marked_lsn = commit_lsn.value;
	marks = on_probation;
	write_mark();
	return attempts - 1;
}

bool
mc_probation_wants_alone(void)
{
	return marks || (marked_lsn != InvalidXLogRecPtr && mc_monotonic_ms() >= until_ms);
}

void
mc_probation_after(void)
{
	if (on_probation)
		XLogFlush(XactLastCommitEnd);
}
