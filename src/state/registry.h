/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  The tables of multicenter, and the names of its slots and origins.
 *
 * NOTES
 *	  Nothing else names a column of our tables in C.  Functions that read or
 *	  write need a transaction and use SPI; they run with the rights of the
 *	  extension's owner only where the caller has switched to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_REGISTRY_H
#define MC_REGISTRY_H

#include "core/types.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

#define MC_SCHEMA			"multicenter"
#define MC_PLUGIN			"multicenter"
#define MC_MESSAGE_PREFIX	"multicenter"	/* heartbeats */
#define MC_DDL_PREFIX		"multicenter_ddl"	/* replicate_ddl() */
#define MC_FENCE_PREFIX		"multicenter_fence" /* rewrites of tables */
#define MC_DERIVED_PREFIX	"multicenter_derived"	/* requests and refreshes */
#define MC_SEEN_PREFIX		"multicenter_s" /* what a write replaces */
#define MC_COLUMNS_PREFIX	"multicenter_c" /* what a change has seen */

typedef enum CenterState
{
	CENTER_JOINING,
	CENTER_COPYING,
	CENTER_CATCHING_UP,
	CENTER_READY,
	CENTER_PARTING,
	CENTER_PARTED,
} CenterState;

/* A row of multicenter.center, the replicated list of members. */
typedef struct Center
{
	CenterId	id;
	NameData	name;
	pg_uuid_t	uuid;
	char	   *site;			/* NULL: none */
	char	   *kind;			/* 'active' | 'read_only' | 'witness' */
	CenterState state;
	char	   *dsn;			/* how peers reach it; holds no password */
	int64		epoch;
	int			server_version;
	char	   *extension_version;
} Center;

/* The row of multicenter.identity: who this database is.  Local. */
typedef struct Identity
{
	NameData	group_name;
	pg_uuid_t	group_uuid;
	CenterId	center_id;
	pg_uuid_t	center_uuid;
	bool		detached;		/* the identity belongs to another database */
} Identity;

/* A row of multicenter.link, options of this center for one peer.  Local. */
typedef struct LinkOptions
{
	char	   *dsn;			/* override, NULL: the center's */
	char	   *compression;	/* NULL: multicenter.compression */
	char	   *work_mem;		/* logical_decoding_work_mem of the peer's
								 * walsender, NULL: as it is set there */
	int			workers;		/* -1: multicenter.apply_workers */
	bool		paused_in;
	bool		paused_out;
	char	   *stopped;		/* why it must never run again, NULL: it may */
	TimestampTz heard_ts;		/* last known times, 0: none */
	TimestampTz confirmed_ts;
} LinkOptions;

/* Read the identity; false if this database is in no group. */
extern bool mc_registry_identity(Identity *identity);

/*
 * Only the number of this center, MC_NO_CENTER if this database is in no
 * group: costs 2 us, where a query costs 20.
 */
extern CenterId mc_registry_own_id(void);

/* Read one center; false if there is none.  Allocated in the caller's context. */
extern bool mc_registry_center(CenterId id, Center *center);

/* All centers that have not parted, this one included, by id: List of Center *. */
extern List *mc_registry_centers(void);

/* Options for a peer; defaults where there is no row. */
extern void mc_registry_link(CenterId peer, LinkOptions *options);

/* Stop the links with a peer for good; the caller raises the error. */
extern void mc_registry_stop_link(CenterId peer, const char *reason);

/* Change the state of a center in the replicated list; raises its epoch. */
extern void mc_registry_set_state(CenterId id, CenterState state);

extern const char *mc_center_state_name(CenterState state);

/* Is the OID a table of the group's own replicated catalog? */
extern bool mc_registry_is_group_catalog(Oid relid);

/* Oid of the extension's owner, who owns our tables. */
extern Oid	mc_registry_owner(void);

/*
 * Names.  A slot lives at its origin and serves one peer; an origin (in
 * pg_replication_origin) lives at the target and stands for one peer.
 * buf has NAMEDATALEN bytes.  Returns buf.
 */
extern char *mc_slot_name(char *buf, Oid dboid, CenterId target);
extern char *mc_origin_name(char *buf, Oid dboid, CenterId peer);

/* The origin that an applier has while it does not commit; it tags nothing. */
extern char *mc_applier_origin_name(char *buf, Oid dboid, CenterId peer,
									int number);

/* The slot that keeps dead rows; it has no position in WAL. */
extern char *mc_horizon_slot_name(char *buf, Oid dboid);

/* The slots that keep WAL for target/rebuild.c, and the one that it reads. */
extern char *mc_kept_slot_name(char *buf, Oid dboid, char suffix);
extern char *mc_rebuild_slot_name(char *buf, Oid dboid);

/* Marks the database as a center; found by the supervisor and by hooks. */
extern char *mc_marker_origin_name(char *buf, Oid dboid);

/* Tags rows that a join has copied: their version is the base version. */
extern char *mc_copy_origin_name(char *buf, Oid dboid);

/* Is the database marked as a center?  Needs a transaction. */
extern bool mc_database_is_center(Oid dboid);

/*
 * The author behind a replication origin found on a row of this database:
 * our_id for local writes, MC_NO_CENTER for copied rows.  Cached for the life
 * of the process; needs a transaction for an origin seen first.
 */
extern CenterId mc_author_of_origin(uint16 origin, CenterId our_id);

#endif							/* MC_REGISTRY_H */
