/*-------------------------------------------------------------------------
 *
 * audit.h
 *	  The audit of access between centers: what was sent and received, and who
 *	  was connected.
 *
 * NOTES
 *	  Rows that were received are written by the transaction that applies
 *	  them; rows that were sent, and connections, come from shared memory, and
 *	  the manager writes them.
 *
 *	  With multicenter.audit = off none of these functions is to be called but
 *	  those of the manager.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_AUDIT_H
#define MC_AUDIT_H

#include "core/types.h"
#include "c.h"
#include "datatype/timestamp.h"
#include "state/table_stat.h"

#define MC_AUDIT_ADDRESS_BYTES	64
#define MC_AUDIT_DETAIL_BYTES	192

/* Connections that wait to be written; what is beyond is lost, and counted. */
#define MC_AUDIT_EVENTS			256

/* A connection that was made or has ended, or the like. */
typedef struct AuditEvent
{
	uint64		serial;
	Oid			dboid;
	TimestampTz at;
	CenterId	peer;
	bool		out;			/* we send to the peer */
	char		event[16];		/* 'connect' ... */
	char		user_name[NAMEDATALEN]; /* '' : not known */
	char		address[MC_AUDIT_ADDRESS_BYTES];	/* likewise */
	char		detail[MC_AUDIT_DETAIL_BYTES];
} AuditEvent;

/* In shared memory; stat_lock guards it. */
typedef struct SharedAudit
{
	uint64		last_serial;
	int			count;
	uint64		lost;
	AuditEvent	events[MC_AUDIT_EVENTS];
} SharedAudit;

/* One change that was received, for multicenter.audit = full. */
typedef struct AuditKey
{
	CenterId	peer;
	const char *schema;
	const char *table;
	const char *operation;
	const char *key_json;		/* NULL: the table has no key */
	const char *old_key_json;	/* of a row that got another key; else NULL */
	TimestampTz version;
	TransactionId remote_xid;
	OriginLsn	remote_lsn;
} AuditKey;

typedef struct AuditBatch AuditBatch;

/* Write what this transaction has received, by table; before its commit. */
extern void mc_audit_received(const TableTally *tally);

/*
 * Add a change that this transaction has received.  It is copied into *batch,
 * which is made in the context if it is NULL; rows are written when there are
 * many, and by mc_audit_flush(), which must be called before the commit.
 */
extern void mc_audit_key(AuditBatch **batch, MemoryContext context,
						 const AuditKey *key);
extern void mc_audit_flush(AuditBatch **batch);

/* Write that this transaction has copied the rows of a table from a peer. */
extern void mc_audit_copied(CenterId peer, const char *schema, const char *table,
							uint64 rows);

/*
 * Something has happened to a connection with a peer: remember it, for the
 * manager.  user_name, address, detail: may be NULL.  Any process may call it
 * at any time, also when it ends.
 */
extern void mc_audit_event(CenterId peer, bool out, const char *event,
						   const char *user_name, const char *address,
						   const char *detail);

/* The same about the client of this session. */
extern void mc_audit_client(CenterId peer, bool out, const char *event,
							const char *detail);

/*
 * For the manager, each in a transaction: write what was sent since the last
 * time, and all events; summarize what was written, which does nothing if that
 * would have to wait; empty segments that are older than
 * multicenter.audit_retention.
 */
extern void mc_audit_write(void);
extern void mc_audit_fold(void);
extern void mc_audit_rotate(void);

/* The transaction of mc_audit_write() has been committed. */
extern void mc_audit_written(void);

/* What was sent until now is none of the audit's business: it was off. */
extern void mc_audit_skip(void);

/* Has so much been written that it should be summarized at once? */
extern bool mc_audit_should_fold(void);

#endif							/* MC_AUDIT_H */
