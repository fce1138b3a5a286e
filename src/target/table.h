/*-------------------------------------------------------------------------
 *
 * table.h
 *	  A table that the current remote transaction writes to.
 *
 * NOTES
 *	  A TargetTable is opened once in each transaction and relation, with
 *	  everything that the executor needs to write rows, and is closed before
 *	  the commit and before a schema change.  Of one without code of users the
 *	  greater part is kept, parked, from one transaction of a peer to the next.
 *
 *	  Whatever may run code of users (type input, index expressions, checks,
 *	  defaults, triggers) runs between mc_owner_enter() and mc_owner_leave().
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_TABLE_H
#define MC_TABLE_H

#include "access/genam.h"
#include "nodes/execnodes.h"
#include "state/history.h"
#include "state/shared.h"
#include "state/vector.h"
#include "target/relation.h"
#include "utils/typcache.h"

/* A remote transaction while it is being applied. */
typedef struct RemoteTransaction
{
	CenterId	our_id;
	CenterId	peer;
	RowVersion	version;		/* of everything that it writes */
	const RowVersion *settles;	/* whose changes in quarantine it makes void;
								 * NULL: its own */
	OriginLsn	commit_lsn;
	OriginLsn	end_lsn;
	TransactionId remote_xid;
	MemoryContext context;		/* lives as long as the transaction */
	MemoryContext change_context;	/* is reset after each record */
	List	   *tables;			/* TargetTable *, those that are open */
	struct TargetTable *batched;	/* rows of it wait in a batch; or NULL */
	uint32		more;			/* bytes of the frame after this record */
	List	   *rechecks;		/* UniqueRecheck *, in context */
	List	   *clashes;		/* what displace.c has to settle, in context */
	List	   *touched;		/* tables whose displaced rows may come back */
	List	   *conflicts;		/* ConflictRecord *, in change_context */
	HistoryBatch *history;		/* those of the records before, in context */
	struct AuditBatch *audit;	/* keys for the audit, in context */
	const DependencyVector *vector; /* what its author had applied before */
	bool		overtook;		/* some of that has not arrived here yet */
	TimestampTz since;			/* deletes from this time on may matter to it */
	LinkCounters counters;		/* of this transaction */
	bool		catalog_changed;	/* the list of centers was written */
	bool		newest;			/* newer than all before it, at its beginning */
	uint64		late_count;		/* see mc_lookup_begin() */
	bool		claims;			/* others may be applying to the same keys */
	bool		parks;			/* never aborts: see mc_table_park_all() */
	const struct LinkError *aside;	/* why its changes are not applied but put
									 * into quarantine */
	struct QuarantineEntry *retried;	/* the change that is tried again */
	bool		restates;		/* what it writes has not the version of its
								 * own commit */
	bool		derived;		/* it has something to say to the group */
	List	   *seen;			/* SeenVersions *, in context; see seen.h */
	struct ToldCauses *told;	/* in context; see column_trigger.h */
} RemoteTransaction;

/* A row of the peer in the layout of the local table. */
typedef struct RemoteRow
{
	bool		present;		/* the record has such a row */
	Datum	   *values;			/* by local column */
	bool	   *isnull;
	bool	   *unchanged;		/* out-of-line value that was not sent */
	bool		any_unchanged;
	bool		moved;			/* its key was changed by the update */
	bool		whole;			/* of an old row: it has more than the key */
} RemoteRow;

/* Functions that make values of one remote column. */
typedef struct ColumnFunctions
{
	bool		receive_ready;
	bool		output_ready;
	bool		input_ready;
	FmgrInfo	receive;
	FmgrInfo	output;
	FmgrInfo	input;
} ColumnFunctions;

typedef struct RowBatch RowBatch;

typedef struct TargetTable
{
	RelationMap *map;
	MemoryContext context;
	Relation	rel;
	EState	   *estate;
	EPQState	epqstate;
	ResultRelInfo *relinfo;
	bool		fires_triggers; /* it has triggers that run on apply */
	bool		displaces;		/* rows may clash besides by their key */
	bool		plain;			/* it runs no code of users, nor any that
								 * keeps a state */
	bool		parkable;		/* see mc_table_park_all() */
	Oid		   *indexes;		/* then */
	dlist_node	parked_node;	/* while it is parked */
	Size		parked_memory;	/* then */

	/* Search by key. */
	Relation	index;			/* one of relinfo's; NULL: compare whole rows */
	IndexScanDesc scan;			/* NULL: not begun */
	MemoryContext scan_context;
	int			searches;		/* with this scan */
	SnapshotData dirty;
	ScanKeyData *scan_keys;
	List	   *arbiters;		/* the index again, for insertions */
	TypeCacheEntry **equality;	/* by local column, for whole rows */

	/* Slots and rows, used for one record after the other. */
	TupleTableSlot *local_row;	/* found by the key, or by the old key */
	TupleTableSlot *other_row;	/* found by the new key */
	TupleTableSlot *write_row;	/* virtual: what is written */
	RemoteRow	old_row;
	RemoteRow	new_row;
	RemoteRow	spare_row;
	ColumnFunctions *functions; /* by remote column */
	Datum	   *image_values;	/* by remote column */
	bool	   *image_isnull;
	RowBatch   *batch;			/* see batch.c; NULL: none yet */

	/* Defaults of columns that only this center has. */
	bool		defaults_ready;
	int			ndefaults;
	AttrNumber *default_attnums;
	ExprState **defaults;
} TargetTable;

/* Who was the user before; see mc_owner_enter(). */
typedef struct OwnerScope
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} OwnerScope;

/*
 * Become the owner of a table, in a security-restricted operation, and go
 * back, undoing settings that were changed meanwhile.  An error undoes both
 * by aborting the transaction.
 */
extern void mc_owner_enter(Oid owner, OwnerScope *scope);
extern void mc_owner_leave(const OwnerScope *scope);

/* Is a trigger one of those that run while changes of a peer are applied? */
extern bool mc_trigger_fires(const Trigger *trigger);

/* Open a table for this transaction; the same one again if it is open. */
extern TargetTable *mc_table_open(RemoteTransaction *transaction,
								  RelationMap *map);

/* Close one table, or all of them. */
extern void mc_table_close(RemoteTransaction *transaction, TargetTable *table);
extern void mc_table_close_all(RemoteTransaction *transaction);

/*
 * The same before the commit of a transaction that parks: what does not depend
 * on the transaction is kept for the next one that opens the table, because it
 * costs as much as writing a row.  Whoever may abort a transaction and go on
 * must not park.
 */
extern void mc_table_park_all(RemoteTransaction *transaction);

/*
 * Find the row with the same key (or, without an index, an equal row) and
 * store it in slot.  Waits for transactions that are changing it.  A search
 * that finds nothing is certain only if it is thorough: it costs a second
 * look, which is not needed where a unique index is going to check anyway.
 */
extern bool mc_table_find(TargetTable *table, const RemoteRow *row,
						  TupleTableSlot *slot, bool thorough);

/* Find the row of a key that a snapshot sees; needs an index. */
extern bool mc_table_find_visible(TargetTable *table, const RemoteRow *row,
								  TupleTableSlot *slot, Snapshot snapshot);

/*
 * Call a function for every tuple of a key, dead ones and those of aborted
 * transactions too, until it returns false.  Needs an index.
 */
typedef bool (*TupleVisitor) (TupleTableSlot *slot, void *arg);

extern void mc_table_visit_all(TargetTable *table, const RemoteRow *row,
							   TupleTableSlot *slot, TupleVisitor visitor,
							   void *arg);

/* Have two rows the same key, by the rules of the index? */
extern bool mc_table_same_key(TargetTable *table, const RemoteRow *a,
							  const RemoteRow *b);

/* Does a row lack a column of the key, so that nothing can be equal? */
extern bool mc_table_key_has_null(TargetTable *table, const RemoteRow *row);

#endif							/* MC_TABLE_H */
