/*-------------------------------------------------------------------------
 *
 * history.c
 *	  The conflict history: one row for each conflict that was decided.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "state/history.h"
#include "state/own.h"
#include "state/registry.h"
#include "state/settings.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define HISTORY_COLUMNS 15

static const char insert_command[] =
"INSERT INTO multicenter.conflict_history (peer_id, conflict_type, resolver,"
" resolution, relation, key, local_row, remote_row, result_row,"
" local_center_id, local_version, remote_center_id, remote_version,"
" remote_lsn, remote_xid, index_name)"
" VALUES ($1, $2, 'last_update_wins', $3, $4, $5::pg_catalog.jsonb,"
" $6::pg_catalog.json, $7::pg_catalog.json, $8::pg_catalog.json,"
" $9, $10, $11, $12, $13, $14, $15)";

/* Set a text parameter, null for NULL. */
static void
set_text(Datum *value, char *null, const char *text)
{
	*null = text ? ' ' : 'n';
	*value = text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* Set author and commit time of a version; null where it is not known. */
static void
set_version(Datum *values, char *nulls, RowVersion version)
{
	nulls[0] = version.center == MC_NO_CENTER ? 'n' : ' ';
	values[0] = Int32GetDatum(version.center);
	nulls[1] = version.commit_ts == 0 ? 'n' : ' ';
	values[1] = TimestampTzGetDatum(version.commit_ts);
}

void
mc_history_add(const ConflictRecord *conflict)
{
	Datum		values[HISTORY_COLUMNS];
	char		nulls[HISTORY_COLUMNS];
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {
		INT4OID, TEXTOID, TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		INT4OID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, LSNOID, INT8OID,
		TEXTOID
	};
	OwnScope	scope;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(conflict->peer);
	values[1] = CStringGetTextDatum(mc_conflict_type_name(conflict->type));
	values[2] = CStringGetTextDatum(conflict->resolution);
	values[3] = ObjectIdGetDatum(conflict->relid);
	set_text(&values[4], &nulls[4], conflict->key_json);
	set_text(&values[5], &nulls[5], conflict->local_row_json);
	set_text(&values[6], &nulls[6], conflict->remote_row_json);
	set_text(&values[7], &nulls[7], conflict->result_row_json);
	set_version(&values[8], &nulls[8], conflict->local);
	set_version(&values[10], &nulls[10], conflict->remote);
	values[12] = LSNGetDatum(conflict->remote_lsn.value);
	values[13] = Int64GetDatum(conflict->remote_xid);
	set_text(&values[14], &nulls[14], conflict->index_name);

	mc_own_begin(&scope);
	(void) mc_own_execute(&plan, insert_command, lengthof(types), types, values,
						  nulls, SPI_OK_INSERT);
	mc_own_end(&scope);
}

uint64
mc_history_purge(void)
{
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[1];
	uint64		purged;

	values[0] = TimestampTzGetDatum(GetCurrentTimestamp() -
									(int64) mc_conflict_retention_min * SECS_PER_MINUTE * USECS_PER_SEC);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute_with_args("DELETE FROM multicenter.conflict_history"
						  " WHERE detected_at OPERATOR(pg_catalog.<) $1",
						  1, types, values, NULL, false, 0);
	purged = SPI_processed;
	PopActiveSnapshot();
	SPI_finish();
	return purged;
}
