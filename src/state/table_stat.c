/*-------------------------------------------------------------------------
 *
 * table_stat.c
 *	  How many rows of which table each link has carried.
 *
 * NOTES
 *	  The table in shared memory has open addresses, and its entries stay where
 *	  they are, so that a process finds each of them once and adds to it
 *	  without a lock afterwards.  One that belongs to a link that is no more is
 *	  free, but does not end a search.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/shared.h"
#include "state/table_stat.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(mc_table_stats);

/* Places that are kept for the entries of what finds no place. */
#define RESERVED_STATS		256

/* ---- the table in shared memory ---- */

/* Are these the same? */
static bool
same_key(const TableStatKey *a, const TableStatKey *b)
{
	return a->dboid == b->dboid && a->peer == b->peer && a->out == b->out &&
		a->relid == b->relid;
}

/*
 * Find an entry, or make it; NULL if there is no place.  The lock is held, or
 * nobody else is there yet.
 */
static TableStat *
find_or_make(const TableStatKey *key)
{
	uint32		hash = hash_combine(murmurhash32(key->dboid + key->peer * 2 + key->out),
									murmurhash32(key->relid));
	TableStat  *unused = NULL;
	int			limit = OidIsValid(key->relid) ? MC_TABLE_STATS - RESERVED_STATS : MC_TABLE_STATS;

	for (int i = 0; i < MC_TABLE_STATS; i++)
	{
		TableStat  *stat = &mc_shared->table_stats[(hash + i) % MC_TABLE_STATS];

		if (same_key(&stat->key, key))
			return stat;
		if (stat->key.dboid == InvalidOid && unused == NULL)
			unused = stat;

		/* Nothing was ever here: what is looked for cannot be behind it. */
		if (stat->key.dboid == InvalidOid && stat->key.relid == InvalidOid)
			break;
	}
	if (unused == NULL || mc_shared->ntable_stats >= limit)
		return NULL;
	for (int kind = 0; kind < TALLY_KINDS; kind++)
	{
		pg_atomic_init_u64(&unused->counts[kind], 0);
		unused->base[kind] = 0;
		unused->audited[kind] = 0;
	}
	pg_atomic_init_u64(&unused->last_at, 0);
	unused->key = *key;
	mc_shared->ntable_stats++;
	return unused;
}

/* The entry of a table of a link, with its names as they are now. */
static TableStat *
find_stat(const TableTally *tally, const TallyEntry *entry)
{
	TableStatKey key = {MyDatabaseId, tally->peer, tally->out, entry->relid};
	TableStat  *stat;

	LWLockAcquire(mc_shared->stat_lock, LW_EXCLUSIVE);
	stat = find_or_make(&key);
	if (stat == NULL)
	{
		key.relid = InvalidOid;
		stat = find_or_make(&key);
	}
	if (stat != NULL && OidIsValid(key.relid))
	{
		stat->schema = entry->schema;
		stat->name = entry->name;
	}
	LWLockRelease(mc_shared->stat_lock);
	return stat;
}

void
mc_table_stat_forget(Oid dboid, CenterId peer)
{
	LWLockAcquire(mc_shared->stat_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MC_TABLE_STATS; i++)
	{
		TableStat  *stat = &mc_shared->table_stats[i];

		if (stat->key.dboid != dboid ||
			(peer != MC_NO_CENTER && stat->key.peer != peer))
			continue;
		stat->key.dboid = InvalidOid;
		stat->key.relid = FirstNormalObjectId;	/* see find_or_make() */
		mc_shared->ntable_stats--;
	}
	LWLockRelease(mc_shared->stat_lock);
}

void
mc_table_stat_reset(CenterId peer)
{
	LWLockAcquire(mc_shared->stat_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MC_TABLE_STATS; i++)
	{
		TableStat  *stat = &mc_shared->table_stats[i];

		if (stat->key.dboid != MyDatabaseId || (peer != 0 && stat->key.peer != peer))
			continue;
		for (int kind = 0; kind < TALLY_KINDS; kind++)
			stat->base[kind] = pg_atomic_read_u64(&stat->counts[kind]);
	}
	LWLockRelease(mc_shared->stat_lock);
}

uint32
mc_table_stat_save(SavedTableStat *saved)
{
	uint32		count = 0;

	memset(saved, 0, sizeof(SavedTableStat) * MC_TABLE_STATS);
	for (int i = 0; i < MC_TABLE_STATS; i++)
	{
		TableStat  *stat = &mc_shared->table_stats[i];
		SavedTableStat *copy = &saved[count];

		if (stat->key.dboid == InvalidOid)
			continue;
		copy->key = stat->key;
		copy->schema = stat->schema;
		copy->name = stat->name;
		for (int kind = 0; kind < TALLY_KINDS; kind++)
			copy->counts[kind] = pg_atomic_read_u64(&stat->counts[kind]);
		copy->last_at = (TimestampTz) pg_atomic_read_u64(&stat->last_at);
		memcpy(copy->base, stat->base, sizeof(copy->base));
		memcpy(copy->audited, stat->audited, sizeof(copy->audited));
		count++;
	}
	return count;
}

void
mc_table_stat_restore(const SavedTableStat *saved, uint32 count)
{
	for (uint32 i = 0; i < count; i++)
	{
		TableStat  *stat = find_or_make(&saved[i].key);

		if (stat == NULL)
			continue;
		stat->schema = saved[i].schema;
		stat->name = saved[i].name;
		for (int kind = 0; kind < TALLY_KINDS; kind++)
			pg_atomic_write_u64(&stat->counts[kind], saved[i].counts[kind]);
		pg_atomic_write_u64(&stat->last_at, (uint64) saved[i].last_at);
		memcpy(stat->base, saved[i].base, sizeof(stat->base));
		memcpy(stat->audited, saved[i].audited, sizeof(stat->audited));
	}
}

/* ---- tallies ---- */

TableTally *
mc_tally_create(CenterId peer, bool out)
{
	TableTally *tally = palloc0(sizeof(TableTally));
	HASHCTL		control = {0};

	tally->peer = peer;
	tally->out = out;
	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(TallyEntry);
	control.hcxt = CurrentMemoryContext;
	tally->entries = hash_create("multicenter tally", 32, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return tally;
}

bool
mc_tally_count(TableTally *tally, Oid relid, TallyKind kind)
{
	TallyEntry *entry = tally->last;

	if (entry == NULL || entry->relid != relid)
	{
		entry = hash_search(tally->entries, &relid, HASH_FIND, NULL);
		if (entry == NULL || !entry->used)
			return false;
		tally->last = entry;
	}
	entry->counts[kind]++;
	return true;
}

void
mc_tally_name(TableTally *tally, Oid relid, const char *schema, const char *name)
{
	bool		found;
	TallyEntry *entry = hash_search(tally->entries, &relid, HASH_ENTER, &found);

	if (!found)
	{
		entry->stat = NULL;
		entry->used = false;
	}
	if (entry->used)
		return;

	/* A table that has got another name is looked for again. */
	if (!found || strcmp(NameStr(entry->schema), schema) != 0 ||
		strcmp(NameStr(entry->name), name) != 0)
	{
		namestrcpy(&entry->schema, schema);
		namestrcpy(&entry->name, name);
		entry->stat = NULL;
	}
	memset(entry->counts, 0, sizeof(entry->counts));
	entry->used = true;
	entry->next = tally->first;
	tally->first = entry;
}

void
mc_tally_forget(TableTally *tally)
{
	for (TallyEntry *entry = tally->first; entry != NULL; entry = entry->next)
		entry->used = false;
	tally->first = NULL;
	tally->last = NULL;
}

void
mc_tally_commit(TableTally *tally)
{
	if (tally->first != NULL)
		mc_tally_commit_at(tally, GetCurrentTimestamp());
}

void
mc_tally_commit_at(TableTally *tally, TimestampTz now)
{
	for (TallyEntry *entry = tally->first; entry != NULL; entry = entry->next)
	{
		if (entry->stat == NULL)
			entry->stat = find_stat(tally, entry);
		if (entry->stat == NULL)
			continue;
		entry->counts[TALLY_XACT] = 1;
		for (int kind = 0; kind < TALLY_KINDS; kind++)
			if (entry->counts[kind] > 0)
				pg_atomic_fetch_add_u64(&entry->stat->counts[kind], (int64) entry->counts[kind]);
		pg_atomic_write_u64(&entry->stat->last_at, (uint64) now);
	}
	mc_tally_forget(tally);
}

/* ---- for the view stat_tables ---- */

/* table_stats(): a row for each table of each link of this database. */
Datum
mc_table_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; mc_shared != NULL && i < MC_TABLE_STATS; i++)
	{
		TableStat	copy;
		TimestampTz last_at;
		Datum		values[11];
		bool		nulls[11] = {false};

		LWLockAcquire(mc_shared->stat_lock, LW_SHARED);
		copy = mc_shared->table_stats[i];
		LWLockRelease(mc_shared->stat_lock);
		if (copy.key.dboid != MyDatabaseId)
			continue;
		last_at = (TimestampTz) pg_atomic_read_u64(&copy.last_at);
		values[0] = Int32GetDatum(copy.key.peer);
		values[1] = CStringGetTextDatum(copy.key.out ? "out" : "in");
		values[2] = ObjectIdGetDatum(copy.key.relid);
		values[3] = NameGetDatum(&copy.schema);
		values[4] = NameGetDatum(&copy.name);
		nulls[2] = nulls[3] = nulls[4] = !OidIsValid(copy.key.relid);
		for (int kind = 0; kind < TALLY_KINDS; kind++)
			values[5 + kind] = Int64GetDatum((int64) (pg_atomic_read_u64(&copy.counts[kind]) - copy.base[kind]));
		values[10] = TimestampTzGetDatum(last_at);
		nulls[10] = last_at == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
