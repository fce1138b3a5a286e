/*-------------------------------------------------------------------------
 *
 * join.h
 *	  A join in progress, as join.c and join_copy.c share it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_JOIN_H
#define MC_JOIN_H

#include "control/operation.h"
#include "control/peer.h"
#include "nodes/pg_list.h"

/* A center of the group that we join. */
typedef struct Member
{
	CenterId	id;
	const char *name;
	const char *dsn;
	const char *state;
	PeerConnection *peer;		/* an ordinary session */
	PeerHello  *hello;
	OriginLsn	slot_start;		/* where its slot for us begins */
	OriginLsn	marker;			/* a position of it behind slot_start */
	OriginLsn	start;			/* where we shall begin to receive */
} Member;

/* A table of the sponsor that is replicated. */
typedef struct JoinTable
{
	const char *schema;
	const char *name;
	const char *owner;
	const char *columns;		/* quoted and comma-separated, '' : none */
	bool		readable;		/* by our role there */
	bool		filtered;		/* row-level security hides rows from it */
} JoinTable;

typedef struct GroupJoin
{
	Operation  *operation;
	MemoryContext context;		/* of all below, and of the connections */
	CenterId	id;				/* ours */
	const char *uuid;			/* ours, as a center */
	PeerConnection *entrance;	/* to the sponsor, by join_dsn */
	PeerHello  *sponsor_hello;
	Member	   *sponsor;		/* one of members */
	List	   *members;		/* of Member *, by id */
	PeerConnection *snapshot_holder;	/* idle while its snapshot is used */
	const char *snapshot;		/* as exported by the sponsor */
	const char *frontier;		/* of the sponsor, before we were a member */
} GroupJoin;

/* The tables of the sponsor, as the given session of it sees them: JoinTable. */
extern List *mc_join_tables(PeerConnection *peer);

/*
 * Raise an error unless those tables can be copied: all of them absent here,
 * or all present and empty.  Returns true if they are absent.  In a step.
 */
extern bool mc_join_check_tables(GroupJoin *join, List *tables);

/*
 * Copy schema and data of the sponsor under join->snapshot, in one local
 * transaction, and find out where each member's stream goes on.
 */
extern void mc_join_copy_data(GroupJoin *join);

/* Copy only the list of centers. */
extern void mc_join_copy_centers(GroupJoin *join);

/* Empty the tables that this process has copied for a join that failed. */
extern void mc_join_discard_data(void);

/* Let go of the copy origin, if this session writes under it. */
extern void mc_join_release_origin(void);

#endif							/* MC_JOIN_H */
