/*-------------------------------------------------------------------------
 *
 * segment.c
 *	  Tables of ours that grow, and are emptied a segment at a time.
 *
 * NOTES
 *	  Such a table has a fixed number of partitions, the segments, which are
 *	  made with the extension.  All write to one of them, and the manager moves
 *	  on from time to time; one whose last row is too old is truncated, however
 *	  many rows it has.  So a row stays for up to 1/(count - 2) longer than it
 *	  must.  Were there a partition for each day, making and dropping them would
 *	  need a lock on all of them, and wait for every transaction that is being
 *	  applied.  If the manager is away for long, nothing is lost: the segment
 *	  that is written to grows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "state/own.h"
#include "state/registry.h"
#include "state/segment.h"
#include "utils/timestamp.h"

/* A process asks that often which segment is to be written to. */
#define SEGMENT_CHECK_US	INT64CONST(1000000)

/* One is being filled, and one is being emptied. */
#define NOT_RETAINED		2

/* Ask which segment is to be written to. */
static int16
read_segment(SegmentedTable *table)
{
	int16		segment = 0;
	OwnScope	scope;

	mc_own_begin(&scope);
	if (mc_own_execute(&table->current_plan,
					   psprintf("SELECT segment FROM " MC_SCHEMA ".%s"
								" WHERE since IS NOT NULL AND until IS NULL",
								table->control),
					   0, NULL, NULL, NULL, SPI_OK_SELECT) > 0)
	{
		bool		isnull;

		segment = DatumGetInt16(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1, &isnull));
	}
	mc_own_end(&scope);
	return segment;
}

int16
mc_segment_current(SegmentedTable *table)
{
	TimestampTz now = GetCurrentTimestamp();

	if (table->read_at == 0 || now < table->read_at ||
		now - table->read_at > SEGMENT_CHECK_US)
	{
		table->segment = read_segment(table);
		table->read_at = now;
	}
	return table->segment;
}

/* Empty the segments that were left before a time. */
static void
empty_segments(SegmentedTable *table, TimestampTz before)
{
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(before)};
	Oid			mark_types[] = {INT2OID};
	uint64		n = mc_own_execute(&table->expired_plan,
								   psprintf("SELECT segment FROM " MC_SCHEMA ".%s"
											" WHERE until OPERATOR(pg_catalog.<) $1",
											table->control),
								   lengthof(types), types, values, NULL,
								   SPI_OK_SELECT);
	SPITupleTable *expired = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		segment = SPI_getbinval(expired->vals[i], expired->tupdesc,
											1, &isnull);
		char	   *command = psprintf("TRUNCATE " MC_SCHEMA ".%s_%d", table->table,
									   DatumGetInt16(segment));

		if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not execute \"%s\"", command);
		(void) mc_own_execute(&table->mark_plan,
							  psprintf("UPDATE " MC_SCHEMA ".%s"
									   " SET since = NULL, until = NULL"
									   " WHERE segment OPERATOR(pg_catalog.=) $1",
									   table->control),
							  lengthof(mark_types), mark_types, &segment, NULL,
							  SPI_OK_UPDATE);
	}
}

/*
 * Leave the segment that is written to, if that was begun before a time and
 * the next one is empty.
 */
static void
begin_segment(SegmentedTable *table, TimestampTz before)
{
	Oid			types[] = {TIMESTAMPTZOID, INT4OID};
	Datum		values[] = {TimestampTzGetDatum(before), Int32GetDatum(table->count)};

	(void) mc_own_execute(&table->begin_plan,
						  psprintf("WITH next AS (SELECT c.segment AS old, n.segment AS new"
								   " FROM " MC_SCHEMA ".%s AS c"
								   " JOIN " MC_SCHEMA ".%s AS n ON n.segment OPERATOR(pg_catalog.=)"
								   " ((c.segment OPERATOR(pg_catalog.+) 1) OPERATOR(pg_catalog.%%) $2)"
								   " WHERE c.since OPERATOR(pg_catalog.<) $1"
								   " AND c.until IS NULL AND n.since IS NULL)"
								   " UPDATE " MC_SCHEMA ".%s AS s"
								   " SET since = CASE WHEN s.segment OPERATOR(pg_catalog.=) next.new"
								   " THEN pg_catalog.clock_timestamp() ELSE s.since END,"
								   " until = CASE WHEN s.segment OPERATOR(pg_catalog.=) next.old"
								   " THEN pg_catalog.clock_timestamp() END"
								   " FROM next WHERE s.segment OPERATOR(pg_catalog.=) next.old"
								   " OR s.segment OPERATOR(pg_catalog.=) next.new",
								   table->control, table->control, table->control),
						  lengthof(types), types, values, NULL, SPI_OK_UPDATE);
}

void
mc_segment_rotate(SegmentedTable *table, int64 retention_us)
{
	TimestampTz now = GetCurrentTimestamp();
	OwnScope	scope;

	mc_own_begin(&scope);
	empty_segments(table, now - retention_us);
	begin_segment(table, now - retention_us / (table->count - NOT_RETAINED));
	mc_own_end(&scope);
}
