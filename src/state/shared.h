/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  Shared memory: what the processes of one server tell each other.
 *
 * NOTES
 *	  Three arrays: databases that are centers (one entry, owned by the
 *	  manager), incoming links (one entry, owned by the receiver while it
 *	  runs) and outgoing links (written by the walsender and the manager).
 *	  Entries outlive their processes, so that a view still shows the link
 *	  whose receiver has died, and why.
 *
 *	  Lock order: McShared->lock (an LWLock) before the spinlock of an entry.
 *	  The LWLock guards the assignment of entries; the spinlock of an entry
 *	  guards its fields, unless they are atomics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_SHARED_H
#define MC_SHARED_H

#include "core/merge.h"
#include "core/types.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "state/apply_order.h"
#include "state/audit.h"
#include "state/fence.h"
#include "state/join_progress.h"
#include "state/table_stat.h"
#include "state/wait_event.h"
#include "storage/spin.h"

/* Commits that a link remembers to find its progress under a snapshot. */
#define MC_RING_SIZE			4096

#define MC_ERROR_MESSAGE_BYTES	512

/* May ordinary sessions of this database write to replicated tables? */
typedef enum WriteGate
{
	GATE_NO_GROUP,				/* not a center: multicenter does nothing */
	GATE_OPEN,
	GATE_JOINING,				/* the join has not finished: refuse */
	GATE_PARTING,				/* the center is leaving: refuse */
} WriteGate;

/*
 * Promises that are remembered with their positions: of the last minute, some
 * of which are left out where they come often.
 */
#define MC_PROMISES				128
#define MC_PROMISE_SPACING_US	(500 * 1000)

/* Heartbeats of a center: it commits nothing <= promise behind its position. */
typedef struct SharedPromises
{
	TimestampTz newest;			/* 0: none yet */
	int			next;
	struct
	{
		TimestampTz promise;
		XLogRecPtr	at;			/* in the WAL of the center; 0: entry is free */
	}			entries[MC_PROMISES];
} SharedPromises;

/*
 * Heartbeats of a database, to turn positions of its own WAL into times: the
 * last ones all, older ones each 16th, still older ones each 256th.
 */
#define MC_HEARTBEATS			256
#define MC_HEARTBEAT_LEVELS		3

typedef struct HeartbeatEntry
{
	LocalLsn	lsn;
	TimestampTz ts;
} HeartbeatEntry;

typedef struct HeartbeatLog
{
	uint64		count;			/* since the start of the server */
	HeartbeatEntry entries[MC_HEARTBEAT_LEVELS][MC_HEARTBEATS];
} HeartbeatLog;

/* What the manager knows of changes in quarantine. */
typedef enum WaitingState
{
	WAITING_NONE,
	WAITING_SOME,
	WAITING_MOVED,				/* something was applied since it has looked */
} WaitingState;

/* One database of this server that is a center. */
typedef struct SharedDatabase
{
	slock_t		mutex;
	Oid			dboid;			/* InvalidOid: entry is free */
	pid_t		manager_pid;	/* 0: not running */
	Latch	   *manager_latch;	/* NULL: not running */
	bool		reload;			/* the registry has changed; manager clears */
	bool		operation;		/* a membership operation is running: see
								 * mc_shared_claim() */
	int64		start_after_ms; /* backoff of the manager; the supervisor's
								 * own */
	pg_atomic_uint32 horizon_xid;	/* dead rows matter from here on */
	pg_atomic_uint32 held_xid;	/* and are kept from here on: see hold.c */
	pg_atomic_uint32 hold_following;	/* HoldFollowing */
	pg_atomic_uint64 hold_sessions; /* see mc_hold_set_following() */
	pg_atomic_uint64 horizon_ts;	/* no older transaction is newer than this */
	pg_atomic_uint64 settled;	/* everything up to here may be forgotten */
	pg_atomic_uint64 forgotten; /* deletes up to here may be forgotten */
	pg_atomic_uint64 kept_floor;	/* newer deletes are in kept WAL; 0: none */
	pg_atomic_uint64 rebuilds;	/* forgotten was lowered so often */
	pg_atomic_uint64 horizon_at;	/* when the horizon was the present */
	pg_atomic_uint64 frontier;	/* of all peers' promises; 0: unknown */
	pg_atomic_uint32 slowest_peer;	/* the one to wait for */
	pg_atomic_uint64 columns_purged;	/* changes of columns up to here may
										 * be kept no more; 0: not known yet */
	pg_atomic_uint32 members_known; /* all links of the group are there */
	pg_atomic_uint32 waiting;	/* WaitingState of the quarantine */
	pg_atomic_uint64 decided;	/* nothing in quarantine is older, or as old;
								 * 0: not known yet */
	pg_atomic_uint32 conflicts; /* some were committed; the manager clears */
	SharedPromises promises;	/* what this center has promised */
	HeartbeatLog heartbeats;	/* that this center has written */
	pg_atomic_uint32 gate;		/* WriteGate; read without the mutex */
	pg_atomic_uint32 sealed;	/* not even a commit may pass the gate */
	SharedFences fences;
	SharedJoin	join;
	pg_atomic_uint32 audit_raw; /* which raw table is written to */
	pg_atomic_uint32 audit_rows;	/* that were written since it is this one */
	pg_atomic_uint32 audit_level;	/* AuditLevel + 1, as the manager has seen
									 * it last; 0: never */
} SharedDatabase;

typedef enum LinkState
{
	LINK_NEVER_CONNECTED,
	LINK_DISCONNECTED,
	LINK_CATCHING_UP,
	LINK_STREAMING,
	LINK_STALLED,
	LINK_PAUSED,
	LINK_IDLE,					/* only shown: streaming, and nothing to do */
} LinkState;

/* The last error of a link.  Never holds a connection string. */
typedef struct LinkError
{
	TimestampTz at;				/* 0: never */
	int			sqlstate;
	char		message[MC_ERROR_MESSAGE_BYTES];
	char		relation[2 * NAMEDATALEN + 2];
	XLogRecPtr	origin_lsn;
	bool		certain;		/* another attempt would end in the same way */
} LinkError;

typedef struct LinkCounters
{
	uint64		xacts;
	uint64		inserts;
	uint64		updates;
	uint64		deletes;
	uint64		truncates;
	uint64		ddl;
	uint64		conflicts;
	uint64		quarantined;
	uint64		retries;
	uint64		connects;
	uint64		bytes;
	uint64		bytes_raw;		/* before compression */
	uint64		conflicts_of[MC_CONFLICT_TYPE_LAST + 1];	/* of "conflicts" */
} LinkCounters;

/* Commit of a remote transaction here; see progress_in_snapshot() in peer.c. */
typedef struct RingEntry
{
	TransactionId xid;			/* InvalidTransactionId: visible to everybody */
	OriginLsn	end_lsn;
} RingEntry;

/* An incoming link: peer -> this center. */
typedef struct SharedLink
{
	slock_t		mutex;
	Oid			dboid;			/* InvalidOid: entry is free */
	CenterId	peer;
	NameData	peer_name;		/* for people; '' : not known yet */
	uint16		origin;			/* replication origin of the peer, 0: unknown */
	pid_t		pid;			/* of the receiver, 0: not running */
	LinkState	state;
	TimestampTz state_since;
	char		stall_reason[MC_ERROR_MESSAGE_BYTES];	/* '' : none */
	LinkError	error;
	bool		begun;			/* a receiver has applied since the start of
								 * the server */
	XLogRecPtr	failed_lsn;		/* commit of the transaction that failed last */
	int			failed_times;	/* that one, without a break */
	bool		options_changed;	/* the receiver should read them again */
	LinkCounters counters;
	TimestampTz stats_reset;	/* from when on it was counted */

	/* The transaction that is being applied; both are 0 between two of them. */
	pg_atomic_uint64 applying_lsn;	/* its commit */
	pg_atomic_uint64 applying_since;
	pid_t		applier_pid;	/* whose it is, if not the receiver's; else 0 */

	/* Positions in the peer's WAL. */
	OriginLsn	sent_lsn;		/* what the peer says it has sent */
	OriginLsn	received_lsn;
	OriginLsn	applied_lsn;	/* everything before it is applied here */
	OriginLsn	next_end;		/* no transaction ends between that and this */
	TimestampTz begun_ts;		/* nothing newer of the peer has a local
								 * transaction yet */
	OriginLsn	flush_lsn;		/* and is durable here up to this */
	OriginLsn	peer_insert_lsn;	/* end of the peer's WAL, as last told */
	double		write_rate;		/* bytes per second by which it grows */

	/* Times: *_at of the local clock, heard_ts of the peer's clock. */
	TimestampTz last_message_at;
	TimestampTz heard_ts;		/* heartbeat or commit that was applied last */
	TimestampTz heard_at;		/* when that was */
	TimestampTz last_commit_ts;
	TimestampTz last_xact_at;	/* when a transaction was applied last */
	bool		heard_by_heartbeat;
	SharedPromises promises;	/* of the peer; what they cover is applied */
	TimestampTz seen_ts;		/* the peer had seen everything that others
								 * have committed up to this; 0: unknown */

	/* The clocks: sent_* for the peer, which tells them back to itself. */
	TimestampTz sent_ts;		/* its last message was sent, by its clock */
	int64		sent_us;		/* when that came, see mc_monotonic_us() */
	int64		clock_offset_us;	/* how far the peer's clock is ahead */
	int64		clock_error_us; /* at most; -1: as much as the way takes */
	int64		round_trip_us;
	bool		clock_known;	/* clock_offset_us is */
	TimestampTz measured_at;	/* when round_trip_us was; 0: never */

	/* Restart of the receiver, kept by the manager. */
	int64		start_after_ms; /* backoff: not before */
	int			failures;		/* in a row */
	uint32		logged;			/* hash of the error that the log has, 0: none */
	TimestampTz logged_at;

	/* Last commits, oldest first from ring_next when full. */
	int			ring_count;
	int			ring_next;
	RingEntry	ring[MC_RING_SIZE];

	SharedOrder order;			/* of what is applied in parallel */
} SharedLink;

/* An outgoing link: this center -> peer. */
typedef struct SharedOutLink
{
	slock_t		mutex;
	Oid			dboid;			/* InvalidOid: entry is free */
	CenterId	peer;
	pid_t		walsender_pid;	/* 0: not connected */
	uint64		connects;
	uint64		xacts;
	uint64		bytes;
	uint64		bytes_raw;		/* before compression */
	LocalLsn	sent_lsn;
	bool		paused;			/* by link_pause() */
	TimestampTz state_since;	/* of connected or not connected */
	TimestampTz last_xact_at;	/* when a transaction was sent last */
	LocalLsn	confirmed_lsn;	/* by the peer, as the manager has seen it
								 * last */
	TimestampTz moved_at;		/* when it has moved */
	TimestampTz confirmed_ts;	/* heartbeat that the peer has confirmed */
	TimestampTz confirmed_at;	/* when we learnt that */
	int64		delay_us;		/* and how long it took */
	TimestampTz stats_reset;	/* from when on it was counted */
	LinkError	error;
} SharedOutLink;

/* The last samples of a link, one a second, for rates. */
#define MC_RATE_SAMPLES			128

typedef struct RateSample
{
	TimestampTz ts;
	XLogRecPtr	position;		/* applied, or confirmed by the peer */
	int64		behind_bytes;	/* -1: unknown */
	uint64		xacts;
	uint64		conflicts;
	uint64		errors;
} RateSample;

/* And those of the last hour, for the view lag_history. */
#define MC_LAG_SAMPLES			3600

typedef struct LagSample
{
	TimestampTz ts;
	int64		behind_bytes;	/* -1: unknown */
	uint32		lag_ms;			/* PG_UINT32_MAX: unknown */
	uint32		state;			/* LinkState */
} LagSample;

/*
 * Written by the manager only, and read without a lock: an entry is complete
 * before it is counted, and whoever reads the oldest ones looks afterwards
 * whether they were overwritten meanwhile.
 */
typedef struct LinkHistory
{
	pg_atomic_uint64 count;		/* ever written */
	RateSample	rates[MC_RATE_SAMPLES];
	LagSample	lags[MC_LAG_SAMPLES];
} LinkHistory;

/* Since when a check of health() has its status. */
#define MC_CHECKS				1024

typedef struct CheckSince
{
	Oid			dboid;			/* InvalidOid: entry is free */
	uint32		check;			/* hash of check and object */
	uint32		status;			/* hash of the status */
	TimestampTz since;
	TimestampTz seen_at;
} CheckSince;

typedef struct McShared
{
	LWLock	   *lock;
	pg_atomic_uint32 owners;	/* raised when an entry of databases gets or
								 * loses its database; never 0 */
	slock_t		checks_mutex;	/* for the next */
	CheckSince	checks[MC_CHECKS];
	pid_t		supervisor_pid;
	Latch	   *supervisor_latch;
	uint32		wait_events[MC_WAIT_EVENTS];	/* numbers of their names */
	pg_atomic_uint32 scanned;	/* the supervisor has found all centers once */
	pg_atomic_uint32 hold_tried;	/* the last transaction that was to move
									 * slots: see hold.c */
	int			ndatabases;		/* sizes of the arrays */
	int			nlinks;
	int			noutlinks;
	SharedDatabase *databases;
	SharedLink *links;
	SharedOutLink *outlinks;
	LinkHistory *histories;		/* of links, then of outlinks */
	void	   *saved_stats;	/* see stat_file.h */
	LWLock	   *stat_lock;		/* for what follows; after all others */
	int			ntable_stats;	/* that are not free */
	TableStat  *table_stats;	/* MC_TABLE_STATS of them */
	SharedAudit audit;			/* stat_lock guards it, too */
	bool		crashed;		/* the server was not shut down in order
								 * before its last start */
} McShared;

/* NULL where the library was not in shared_preload_libraries. */
extern McShared *mc_shared;

/* Request the memory and install the start-up hook; from _PG_init(). */
extern void mc_shared_init(void);

/* Raise an error with the line to add, unless mc_shared is there. */
extern void mc_shared_require(void);

/*
 * Find an entry; with create, make it.  NULL if it is not there; an error if
 * no entry is free.  A returned entry stays valid until it is released with
 * mc_shared_forget_database().
 */
extern SharedDatabase *mc_shared_database(Oid dboid, bool create);
extern SharedLink *mc_shared_link(Oid dboid, CenterId peer, bool create);
extern SharedOutLink *mc_shared_outlink(Oid dboid, CenterId peer, bool create);

/*
 * Free every entry of a database that is no center any more, unless a
 * membership operation runs: its end does so then.
 */
extern void mc_shared_forget_database(Oid dboid);

/*
 * Claim a database for one membership operation, or for undoing one; false if
 * another has it.  From then on the gate is the claimant's to set.
 */
extern bool mc_shared_claim(Oid dboid);
extern void mc_shared_release(Oid dboid);

/* What is known of this database; NULL if it is no center. */
extern SharedDatabase *mc_shared_my_database(void);

/*
 * The horizon of this database: dead rows matter from *xid on, and every
 * transaction before that has a commit timestamp up to the returned one.
 * Invalid and 0 where nothing is known yet.
 */
extern TimestampTz mc_shared_horizon(TransactionId *xid);

/*
 * Deletes up to this time may be forgotten although changes that are as old may
 * still arrive; 0: none.
 */
extern TimestampTz mc_shared_forgotten(void);

/*
 * Deletes that are newer than this stand in WAL that is kept, or are remembered
 * in notes; 0: no WAL is kept for that.
 */
extern TimestampTz mc_shared_kept_floor(void);
extern void mc_shared_set_kept_floor(TimestampTz floor);

/*
 * Deletes up to "forgotten" are remembered again, but for those up to kept:
 * lower what mc_shared_forgotten() returns, unless it has been raised.  Notes
 * of them are visible already.  Whoever looks for deletes reads the number of
 * such calls before and afterwards, and looks again if it has changed.
 */
extern bool mc_shared_remembered(TimestampTz forgotten, TimestampTz kept);
extern uint64 mc_shared_rebuilds(void);

/* Wake the manager of a database and make it read the registry again. */
extern void mc_shared_reload(Oid dboid);

/* And the receivers of the database, their options. */
extern void mc_shared_links_changed(Oid dboid);

/* Wake the supervisor, which looks for databases that became centers. */
extern void mc_shared_wake_supervisor(void);

/*
 * Changes wait in the quarantine of this database, or (in the manager) do not
 * any more.
 */
extern void mc_shared_set_waiting(WaitingState state);

/* Something was applied: if changes wait, let the manager try them at once. */
extern void mc_shared_applied(void);

/* Should the manager try them now? */
extern bool mc_shared_should_retry(void);

/*
 * Conflicts were committed to the history; and, for the manager, were any since
 * it has asked last?
 */
extern void mc_shared_set_conflicts(void);
extern bool mc_shared_conflicts_due(void);
extern void mc_shared_take_conflicts(void);

/* Set state of a link; keeps state_since where the state does not change. */
extern void mc_link_set_state(SharedLink *link, LinkState state,
							  const char *stall_reason);

/*
 * How many times a transaction of the peer has failed here in a row, and with
 * which error last; 0 if another one has failed since.
 */
extern int	mc_link_failures(SharedLink *link, OriginLsn commit_lsn,
							 LinkError *error);

/*
 * Record the error that the caller has caught or is about to report.  certain:
 * another attempt would end in the same way.
 */
extern void mc_link_set_error(SharedLink *link, int sqlstate,
							  const char *message, const char *relation,
							  OriginLsn origin_lsn, bool certain);

/* Remember that xid applies the remote transaction that ends at end_lsn. */
extern void mc_link_ring_add(SharedLink *link, TransactionId xid,
							 OriginLsn end_lsn);

/* SQL name of a link state. */
extern const char *mc_link_state_name(LinkState state);

/* What mc_gate() knows: our entry, or NULL; as of this value of "owners". */
extern SharedDatabase *mc_known_database;
extern uint32 mc_known_owners;

/* The same where that is not known, or not any more. */
extern WriteGate mc_gate_look(void);

/*
 * The write gate of this session's database; cheap enough for every query.
 * Needs a transaction in the first moments of a server, when the supervisor
 * has not yet looked which databases are centers.
 */
static inline WriteGate
mc_gate(void)
{
	if (mc_shared == NULL)
		return GATE_NO_GROUP;
	if (pg_atomic_read_u32(&mc_shared->owners) != mc_known_owners)
		return mc_gate_look();
	return mc_known_database == NULL ? GATE_NO_GROUP :
		(WriteGate) pg_atomic_read_u32(&mc_known_database->gate);
}

extern void mc_gate_set(Oid dboid, WriteGate gate);

/*
 * Let no transaction commit any more that has passed the gate before it was
 * shut; until the gate is set again.
 */
extern void mc_gate_seal(Oid dboid);
extern bool mc_gate_is_sealed(void);

#endif							/* MC_SHARED_H */
