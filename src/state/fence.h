/*-------------------------------------------------------------------------
 *
 * fence.h
 *	  Fences around tables, as the processes of one database see them.
 *
 * NOTES
 *	  control/rewrite.c has the protocol.  Here is what sessions must see at
 *	  every write, and how one asks its manager for a fence.  dboid is always
 *	  a center; functions that a session of another database may call say so.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_FENCE_H
#define MC_FENCE_H

#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "storage/lock.h"

/* How many tables can be fenced one by one; if there are more, all are. */
#define MC_MAX_FENCED			64

typedef enum FenceOutcome
{
	FENCE_PENDING,
	FENCE_GRANTED,				/* it stands on all centers */
	FENCE_DENIED,				/* another one was first */
	FENCE_BLOCKING,				/* replication waits for the session */
} FenceOutcome;

/* A session that wants to rewrite a table. */
typedef struct FenceRequest
{
	int64		token;			/* 0: nobody wants to */
	VirtualTransactionId session;
	int			pid;			/* its process */
	Oid			relid;
	FenceOutcome outcome;
} FenceRequest;

typedef struct SharedFences
{
	pg_atomic_uint32 known;		/* the manager has published, see below */
	pg_atomic_uint32 count;		/* above MC_MAX_FENCED: all tables */
	pg_atomic_uint32 changes;	/* of the array, so that readers notice */
	Oid			relids[MC_MAX_FENCED];
	FenceRequest request;		/* guarded by the database's mutex */
} SharedFences;

typedef enum FenceAnswer
{
	FENCE_NONE,
	FENCE_STANDS,
	FENCE_UNKNOWN,				/* the manager has not looked since the start */
} FenceAnswer;

/* Nothing is known of a database yet. */
extern void mc_fence_init(SharedFences *fences);

/* Is a table of this session's database fenced?  Cheap; in any database. */
extern FenceAnswer mc_fence(Oid relid);

/* May any table of this session's database be fenced? */
extern bool mc_fence_any(void);

/* The manager: these tables are fenced, and no others. */
extern void mc_fence_publish(Oid dboid, List *relids);

/*
 * A session asks for a fence; false if another session has.  token is unique
 * at this center; 0 withdraws the request.  Wakes the manager.
 */
extern bool mc_fence_request(Oid dboid, int64 token, Oid relid);

/* Who asks, for what, and what became of it; token 0: nobody. */
extern void mc_fence_requested(Oid dboid, FenceRequest *request);

/* The manager decides on the request with this token. */
extern void mc_fence_decide(Oid dboid, int64 token, FenceOutcome outcome);

#endif							/* MC_FENCE_H */
