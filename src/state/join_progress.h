/*-------------------------------------------------------------------------
 *
 * join_progress.h
 *	  How far the join of a center has got, for the view join_progress.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_JOIN_PROGRESS_H
#define MC_JOIN_PROGRESS_H

#include "datatype/timestamp.h"
#include "c.h"

typedef enum JoinPhase
{
	JOIN_NONE,
	JOIN_CHECKING,
	JOIN_LOCKING,
	JOIN_CHECKING_TABLES,
	JOIN_REGISTERING,
	JOIN_DRAINING,
	JOIN_SLOTS,
	JOIN_READING_SCHEMA,
	JOIN_CREATING_TABLES,
	JOIN_COPYING_ROWS,
	JOIN_COPYING_GROUP,
	JOIN_CREATING_INDEXES,
	JOIN_COPYING_VERSIONS,
	JOIN_GOING_LIVE,
	JOIN_CATCHING_UP,			/* the operation itself has ended */
	JOIN_UNDOING,
} JoinPhase;

/* In SharedDatabase, whose mutex guards it. */
typedef struct SharedJoin
{
	JoinPhase	phase;
	TimestampTz phase_since;
	TimestampTz started_at;
	pid_t		pid;			/* 0: the operation has ended */
	NameData	peer;			/* the sponsor; '' : not known yet */
	char		relation[2 * NAMEDATALEN + 2];	/* '' : none */
	int			tables_total;	/* -1: not known, or nothing is copied */
	int			tables_copied;
	int64		rows_total;		/* an estimate; -1: not known */
	int64		rows_copied;	/* of tables that are done */
	int64		bytes_copied;
} SharedJoin;

/*
 * All of them are about the join of this database.  A join that fails after
 * mc_join_progress_begin() is forgotten by mc_join_progress_end(), which one
 * that goes on catching up survives.
 */
extern void mc_join_progress_begin(void);
extern void mc_join_progress_phase(JoinPhase phase);
extern void mc_join_progress_peer(const char *peer);
extern void mc_join_progress_total(int tables, int64 rows);
extern void mc_join_progress_table(const char *schema, const char *name);
extern void mc_join_progress_bytes(int bytes);
extern void mc_join_progress_copied(uint64 rows);
extern void mc_join_progress_end(Oid dboid);

#endif							/* MC_JOIN_PROGRESS_H */
