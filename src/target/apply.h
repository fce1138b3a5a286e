/*-------------------------------------------------------------------------
 *
 * apply.h
 *	  Apply the transactions of one peer: begin, rows, commit, progress.
 *
 * NOTES
 *	  One struct Applier for each receiver.  The protocol of a transaction:
 *
 *	  FRAME_FIRST		start a transaction here
 *	  records			find, decide, write, record (apply_row.c)
 *	  FRAME_LAST		commit it with the origin's commit timestamp and
 *						end LSN: progress is atomic with the data
 *
 *	  Any error leaves through ereport(ERROR); the receiver then exits and a
 *	  new one starts at the last committed position, so nothing is skipped
 *	  and nothing is applied twice.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_APPLY_H
#define MC_APPLY_H

#include "core/wire.h"
#include "state/shared.h"

typedef struct Applier Applier;
struct DependencyVector;
struct RelationCache;

/* What the error context and the link's last_error say; see mc_apply_position(). */
typedef struct ApplyPosition
{
	const char *operation;		/* 'INSERT', ...; NULL: between records */
	char		relation[2 * NAMEDATALEN + 2];	/* '' : none */
	uint32		remote_xid;
	OriginLsn	commit_lsn;		/* 0: no transaction */
} ApplyPosition;

/*
 * Make the applier of a link and take over its replication origin, in the
 * current memory context, outside a transaction.  Everything of the peer up
 * to the returned applier's mc_apply_progress() is already applied.
 * our_id: this center.  peer_name: for messages.
 */
extern Applier *mc_apply_create(SharedLink *link, CenterId our_id,
								const char *peer_name);

/*
 * The same for a process that applies single transactions beside the
 * receiver; turn is its place in their order.
 */
struct Turn;
extern Applier *mc_apply_create_beside(struct Turn *turn, CenterId our_id,
									   const char *peer_name);

/* End of the last remote transaction that was applied; 0: none yet. */
extern OriginLsn mc_apply_progress(const Applier *applier);

/*
 * Apply one FRAME_TRANSACTION, whose header and body were read with
 * mc_wire_read_frame().  A transaction that ends at or before the progress is
 * passed over.  Returns true if the frame ended a transaction.
 */
extern bool mc_apply_frame(Applier *applier, const FrameHeader *header,
						   WireCursor *body);

/*
 * Take over what a FRAME_HEARTBEAT says of the stream; no transaction is open.
 * *pulse is for the receiver.  Then, when everything before it is applied, what
 * it says of that; vector is the one that it has brought.
 */
extern void mc_apply_heartbeat(Applier *applier, const FrameHeader *header,
							   WireCursor *body, Pulse *pulse);
extern void mc_apply_promised(Applier *applier,
							  const struct DependencyVector *vector,
							  TimestampTz promise, OriginLsn at,
							  TimestampTz decided);

/*
 * Have something done between two records of a frame: applying one may take
 * long, and many of them certainly do.  It is called for each, so it must be
 * quick where there is nothing to do.
 */
typedef void (*BetweenRecords) (void *arg);

extern void mc_apply_between_records(Applier *applier, BetweenRecords function,
									 void *arg);

/*
 * For the receiver, where others apply: a whole transaction has come and is
 * going to be applied by another process; take over what its frame says of the
 * stream.  Then that it was committed here.
 */
extern void mc_apply_hand_over(Applier *applier, const FrameHeader *header,
							   WireCursor *body);
extern void mc_apply_committed(Applier *applier, OriginLsn end_lsn,
							   LocalLsn commit_end);

/* What the stream says of the next transaction; and of tables. */
extern const struct DependencyVector *mc_apply_vector(const Applier *applier);
extern struct RelationCache *mc_apply_relations(Applier *applier);

/*
 * For those others: what the receiver has taken over, since it has told them
 * last; and a transaction, which is applied or raises an error.  After an
 * error the local transaction is aborted, then this forgets it, too.
 */
extern void mc_apply_learn(Applier *applier, const VectorDelta *vector,
						   int nvector);
extern void mc_apply_describe(Applier *applier, const WireRecord *record);
extern void mc_apply_assigned(Applier *applier, const FrameHeader *header,
							  WireCursor *body);
extern void mc_apply_aborted(Applier *applier);

/*
 * The receiver owns the peer's replication origin, except while others commit
 * under it.
 */
extern void mc_apply_own_origin(Applier *applier, bool own);

/* Is a transaction open, waiting for its next chunk? */
extern bool mc_apply_in_transaction(const Applier *applier);

/*
 * The greatest position of the peer up to which everything applied is also
 * durable here.  With flush, make it so first.
 */
extern OriginLsn mc_apply_flushed(Applier *applier, bool flush);

/*
 * For tests (test/modules/step): a library that is preloaded besides us puts
 * the address of such a struct into the rendezvous variable of this name, and
 * hears of each remote transaction that is applied here: before it begins,
 * outside a local transaction, where it may wait; and after its commit.
 */
#define MC_APPLY_OBSERVER	"multicenter_apply_observer"

typedef struct ApplyObserver
{
	void		(*before) (const char *peer_name);
	void		(*committed) (const char *peer_name);
} ApplyObserver;

/* Where the applier is, for reports. */
extern const ApplyPosition *mc_apply_position(Applier *applier);

#endif							/* MC_APPLY_H */
