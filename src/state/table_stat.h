/*-------------------------------------------------------------------------
 *
 * table_stat.h
 *	  How many rows of which table each link has carried.
 *
 * NOTES
 *	  A process counts the rows of its current transaction in a tally of its
 *	  own, which is added to shared memory when the transaction is done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_TABLE_STAT_H
#define MC_TABLE_STAT_H

#include "core/types.h"
#include "c.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"

/* Tables of all links of the server; what is beyond is counted together. */
#define MC_TABLE_STATS		2048

/* What is counted. */
typedef enum TallyKind
{
	TALLY_XACT,
	TALLY_INSERT,
	TALLY_UPDATE,
	TALLY_DELETE,
	TALLY_TRUNCATE,
} TallyKind;

#define TALLY_KINDS			(TALLY_TRUNCATE + 1)

/* Which table of which link. */
typedef struct TableStatKey
{
	Oid			dboid;			/* InvalidOid: entry is free */
	CenterId	peer;
	bool		out;			/* from here to there */
	Oid			relid;			/* InvalidOid: all that found no place */
} TableStatKey;

/* What one table of one link has carried; in shared memory. */
typedef struct TableStat
{
	TableStatKey key;
	NameData	schema;			/* when it was counted last */
	NameData	name;
	pg_atomic_uint64 counts[TALLY_KINDS];	/* ever */
	pg_atomic_uint64 last_at;
	uint64		base[TALLY_KINDS];	/* counts at the last reset */
	uint64		audited[TALLY_KINDS];	/* counts that the audit has; the
										 * manager's own */
} TableStat;

/* The same in the file of statistics. */
typedef struct SavedTableStat
{
	TableStatKey key;
	NameData	schema;
	NameData	name;
	uint64		counts[TALLY_KINDS];
	TimestampTz last_at;
	uint64		base[TALLY_KINDS];
	uint64		audited[TALLY_KINDS];
} SavedTableStat;

/* A table in a tally. */
typedef struct TallyEntry
{
	Oid			relid;			/* hash key */
	struct TallyEntry *next;	/* of those that this transaction has used */
	bool		used;			/* it is one of them */
	TableStat  *stat;			/* NULL: not looked for yet */
	uint64		counts[TALLY_KINDS];
	NameData	schema;
	NameData	name;
} TallyEntry;

typedef struct TableTally
{
	CenterId	peer;
	bool		out;
	struct HTAB *entries;
	TallyEntry *first;			/* used by this transaction */
	TallyEntry *last;			/* used last */
} TableTally;

/* Make the tally of a link of this database, in the current memory context. */
extern TableTally *mc_tally_create(CenterId peer, bool out);

/*
 * Count a row, or a TRUNCATE, of the current transaction; false if the table
 * must be named first, with mc_tally_name().
 */
extern bool mc_tally_count(TableTally *tally, Oid relid, TallyKind kind);
extern void mc_tally_name(TableTally *tally, Oid relid, const char *schema,
						  const char *name);

/* The transaction is done; or what is in the tally is of one that was not. */
extern void mc_tally_commit(TableTally *tally);
extern void mc_tally_commit_at(TableTally *tally, TimestampTz now);
extern void mc_tally_forget(TableTally *tally);

/* Forget the tables of links that are no more; peer MC_NO_CENTER: of all. */
extern void mc_table_stat_forget(Oid dboid, CenterId peer);

/* Count anew from now on; peer 0: all. */
extern void mc_table_stat_reset(CenterId peer);

/* Copy what there is, for the file, and put it back after a start. */
extern uint32 mc_table_stat_save(SavedTableStat *saved);
extern void mc_table_stat_restore(const SavedTableStat *saved, uint32 count);

#endif							/* MC_TABLE_STAT_H */
