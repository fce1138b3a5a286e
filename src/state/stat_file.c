/*-------------------------------------------------------------------------
 *
 * stat_file.c
 *	  Cumulative statistics of links from one start of the server to the next.
 *
 * NOTES
 *	  As PostgreSQL does with its own: they are written to a file when the
 *	  server is shut down, the file is removed when it has been read, and so
 *	  after a crash they begin anew.  A file that cannot be read is none.
 *
 *	  What was read waits for the managers, which make the entries of the links
 *	  some moments later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "replication/slot.h"
#include "state/stat_file.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define STAT_FILE		"pg_stat/multicenter.stat"
#define STAT_TEMP_FILE	STAT_FILE ".tmp"
#define STAT_MAGIC		0x4D435333	/* changes with the layout */

typedef struct StatHeader
{
	uint32		magic;
	uint32		entry_bytes;
	uint32		count;
	pg_crc32c	crc;			/* of the entries */
	uint32		table_bytes;	/* the same of the entries of tables */
	uint32		table_count;
	pg_crc32c	table_crc;
} StatHeader;

/* In shared memory; as many as there can be links in both directions. */
static SavedStats *saved_stats = NULL;

/* How many. */
static int
saved_count(void)
{
	return mc_shared->nlinks + mc_shared->noutlinks;
}

Size
mc_stat_file_size(void)
{
	return mul_size(add_size(max_worker_processes, max_replication_slots), sizeof(SavedStats));
}

/* The checksum of entries. */
static pg_crc32c
entries_crc(const void *entries, size_t bytes)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, entries, bytes);
	FIN_CRC32C(crc);
	return crc;
}

/* Read the entries of tables, and put them where they belong. */
static bool
read_tables(FILE *file, const StatHeader *header)
{
	SavedTableStat *tables;
	bool		valid;

	if (header->table_bytes != sizeof(SavedTableStat) || header->table_count > MC_TABLE_STATS)
		return false;
	tables = malloc(sizeof(SavedTableStat) * MC_TABLE_STATS);
	if (tables == NULL)
		return false;
	valid = fread(tables, sizeof(SavedTableStat), header->table_count, file) == header->table_count &&
		entries_crc(tables, header->table_count * sizeof(SavedTableStat)) == header->table_crc;
	if (valid)
		mc_table_stat_restore(tables, header->table_count);
	free(tables);
	return valid;
}

/* Read the file; false if there is none, or it is none of ours. */
static bool
read_file(void)
{
	FILE	   *file = AllocateFile(STAT_FILE, PG_BINARY_R);
	StatHeader	header;
	bool		valid;

	if (file == NULL)
		return errno == ENOENT;
	valid = fread(&header, sizeof(header), 1, file) == 1 &&
		header.magic == STAT_MAGIC && header.entry_bytes == sizeof(SavedStats) &&
		header.count <= (uint32) saved_count() &&
		fread(saved_stats, sizeof(SavedStats), header.count, file) == header.count &&
		entries_crc(saved_stats, header.count * sizeof(SavedStats)) == header.crc &&
		read_tables(file, &header);
	FreeFile(file);
	if (!valid)
		memset(saved_stats, 0, saved_count() * sizeof(SavedStats));
	return valid;
}

/* Gather what is to be kept, in place of what was read. */
static uint32
gather(SavedStats *entries)
{
	uint32		count = 0;

	memset(entries, 0, saved_count() * sizeof(SavedStats));
	for (int i = 0; i < mc_shared->nlinks; i++)
	{
		SharedLink *link = &mc_shared->links[i];
		SavedStats *entry = &entries[count];

		if (link->dboid == InvalidOid)
			continue;
		entry->dboid = link->dboid;
		entry->peer = link->peer;
		entry->stats_reset = link->stats_reset;
		entry->counters = link->counters;
		entry->error = link->error;
		count++;
	}
	for (int i = 0; i < mc_shared->noutlinks; i++)
	{
		SharedOutLink *link = &mc_shared->outlinks[i];
		SavedStats *entry = &entries[count];

		if (link->dboid == InvalidOid)
			continue;
		entry->dboid = link->dboid;
		entry->peer = link->peer;
		entry->out = true;
		entry->stats_reset = link->stats_reset;
		entry->counters.xacts = link->xacts;
		entry->counters.connects = link->connects;
		entry->counters.bytes = link->bytes;
		entry->counters.bytes_raw = link->bytes_raw;
		entry->error = link->error;
		count++;
	}

	/* What no manager has asked for may be asked for next time. */
	for (int i = 0; i < saved_count() && count < (uint32) saved_count(); i++)
		if (saved_stats[i].dboid != InvalidOid)
			entries[count++] = saved_stats[i];
	return count;
}

/* Was the last checkpoint that of a shutdown?  An immediate one has none. */
static bool
is_shut_down(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	return crc_ok && (control->state == DB_SHUTDOWNED ||
					  control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

/* Write the file. */
static void
write_entries(SavedStats *entries, SavedTableStat *tables)
{
	StatHeader	header = {STAT_MAGIC, sizeof(SavedStats), gather(entries), 0,
	sizeof(SavedTableStat), mc_table_stat_save(tables), 0};
	FILE	   *file;
	bool		written;

	header.crc = entries_crc(entries, header.count * sizeof(SavedStats));
	header.table_crc = entries_crc(tables, header.table_count * sizeof(SavedTableStat));
	file = header.count > 0 ? AllocateFile(STAT_TEMP_FILE, PG_BINARY_W) : NULL;
	if (file == NULL)
		return;
	written = fwrite(&header, sizeof(header), 1, file) == 1 &&
		fwrite(entries, sizeof(SavedStats), header.count, file) == header.count &&
		fwrite(tables, sizeof(SavedTableStat), header.table_count, file) == header.table_count;
	written = FreeFile(file) == 0 && written;
	if (!written || durable_rename(STAT_TEMP_FILE, STAT_FILE, LOG) != 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", STAT_FILE)));
		unlink(STAT_TEMP_FILE);
	}
}

/* The postmaster ends: write the file, if that is in order. */
static void
write_file(int code, Datum arg)
{
	SavedStats *entries;
	SavedTableStat *tables;

	if (code != 0 || mc_shared == NULL || saved_stats == NULL || !is_shut_down())
		return;
	entries = malloc(saved_count() * sizeof(SavedStats));
	tables = malloc(sizeof(SavedTableStat) * MC_TABLE_STATS);
	if (entries != NULL && tables != NULL)
		write_entries(entries, tables);
	free(entries);
	free(tables);
}

void
mc_stat_file_startup(SavedStats *saved)
{
	saved_stats = saved;
	if (IsUnderPostmaster)
		return;
	mc_shared->crashed = !is_shut_down();
	memset(saved_stats, 0, saved_count() * sizeof(SavedStats));
	if (!read_file())
		ereport(LOG,
				(errmsg("ignored invalid statistics file \"%s\"", STAT_FILE)));

	/* So that a crash does not bring back what is old. */
	unlink(STAT_FILE);
	on_shmem_exit(write_file, (Datum) 0);
}

/* The entry that was kept of a link, or NULL. */
static SavedStats *
find_saved(Oid dboid, CenterId peer, bool out)
{
	for (int i = 0; saved_stats != NULL && i < saved_count(); i++)
	{
		SavedStats *saved = &saved_stats[i];

		if (saved->dboid == dboid && saved->peer == peer && saved->out == out)
			return saved;
	}
	return NULL;
}

void
mc_stat_file_take(SharedLink *link)
{
	SavedStats *saved = find_saved(link->dboid, link->peer, false);

	if (saved == NULL)
		return;
	link->stats_reset = saved->stats_reset;
	link->counters = saved->counters;
	link->error = saved->error;
	saved->dboid = InvalidOid;
}

void
mc_stat_file_take_out(SharedOutLink *link)
{
	SavedStats *saved = find_saved(link->dboid, link->peer, true);

	if (saved == NULL)
		return;
	link->stats_reset = saved->stats_reset;
	link->xacts = saved->counters.xacts;
	link->connects = saved->counters.connects;
	link->bytes = saved->counters.bytes;
	link->bytes_raw = saved->counters.bytes_raw;
	link->error = saved->error;
	saved->dboid = InvalidOid;
}
