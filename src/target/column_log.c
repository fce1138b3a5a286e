/*-------------------------------------------------------------------------
 *
 * column_log.c
 *	  The changes of a key that somebody may not have seen yet, in tables
 *	  whose columns are merged.
 *
 * NOTES
 *	  A change is a note of kind 'c'.  Its version is that of the transaction
 *	  which wrote the note, unless it says otherwise.  The jsonb object holds
 *
 *	  "causes"		what its author had seen, see mc_column_causes_write()
 *	  "deleted"		if it is the DELETE
 *	  "row"			the version that the row got, if that is another one:
 *					commit timestamp and author, in decimal digits
 *	  "=name"		for each column that it changes: the new value where
 *					values are kept (mc_column_keeps_values()), the members
 *					that it changes with jsonb_merge, otherwise ""
 *
 *	  Causes are hexadecimal numbers with blanks between them: the incarnation,
 *	  up to when all was seen, then for each center the last change that was.
 *	  A version is its commit timestamp and its author.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <inttypes.h>

#include "access/commit_ts.h"
#include "access/transam.h"
#include "access/xact.h"
#include "state/registry.h"
#include "target/column_log.h"
#include "target/column_value.h"
#include "utils/rel.h"

#include "compat.h"

#define UINT64_HEX		"%" PRIx64

/* The author of the version of the transaction itself, in a text. */
#define OWN_AUTHOR		0xffff

/* ---- causes ---- */

/* Write a version. */
static void
write_version(StringInfo buffer, RowVersion version)
{
	appendStringInfo(buffer, " " UINT64_HEX " %x", (uint64) version.commit_ts,
					 version.center);
}

void
mc_column_causes_write(StringInfo buffer, const ColumnCauses *causes,
					   RowVersion own)
{
	RowVersion	incarnation = causes->incarnation;

	if (incarnation.commit_ts != 0 && mc_version_compare(incarnation, own) == 0)
	{
		incarnation.commit_ts = 0;
		incarnation.center = OWN_AUTHOR;
	}
	write_version(buffer, incarnation);
	appendStringInfo(buffer, " " UINT64_HEX, (uint64) causes->all);
	for (int i = 0; i < causes->nseen; i++)
		write_version(buffer, causes->seen[i]);
}

/* The next number of a text. */
static uint64
read_number(const char **next)
{
	char	   *end;
	uint64		number;

	errno = 0;
	number = strtoull(*next, &end, 16);
	if (end == *next || errno != 0 || (*end != ' ' && *end != '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("invalid message about what a change had seen")));
	*next = end;
	return number;
}

/* The next version of a text. */
static RowVersion
read_version(const char **next)
{
	RowVersion	version;

	version.commit_ts = (TimestampTz) read_number(next);
	version.center = (CenterId) read_number(next);
	return version;
}

void
mc_column_causes_read(const char *text_form, RowVersion own,
					  ColumnCauses *causes)
{
	const char *next = text_form;

	causes->incarnation = read_version(&next);
	if (causes->incarnation.center == OWN_AUTHOR)
		causes->incarnation = own;
	causes->all = (TimestampTz) read_number(&next);
	causes->nseen = 0;
	causes->seen = palloc(sizeof(RowVersion) * (strlen(next) / 4 + 1));
	while (*next != '\0')
		causes->seen[causes->nseen++] = read_version(&next);
}

ColumnCauses
mc_column_log_causes(const ColumnLog *log, CenterId author)
{
	ColumnCauses causes = {log->state.incarnation, log->all};
	ListCell   *cell;

	causes.seen = palloc(sizeof(RowVersion) * (list_length(log->changes) + 1));
	foreach(cell, log->changes)
	{
		RowVersion	version = ((LoggedChange *) lfirst(cell))->change.version;
		int			i = 0;

		if (version.center == author)
			continue;
		while (i < causes.nseen && causes.seen[i].center != version.center)
			i++;
		if (i == causes.nseen)
			causes.seen[causes.nseen++] = version;
		else if (mc_version_compare(causes.seen[i], version) < 0)
			causes.seen[i] = version;
	}
	return causes;
}

/* The sign before the name of a column. */
static char
merge_sign(ColumnMerge merge)
{
	return merge == COLUMN_JSONB_MERGE ? '~' : '=';
}

/* ---- reading ---- */

/* The version of the row, if a note has it. */
static RowVersion
read_row_version(const Jsonb *object, RowVersion version)
{
	bool		present;
	char	   *string = mc_note_text(object, "row", &present);
	char	   *end;

	if (string == NULL)
		return version;
	version.commit_ts = (TimestampTz) strtoll(string, &end, 10);
	version.center = (CenterId) strtoul(end, NULL, 10);
	return version;
}

/* Make a change of a note; NULL if its transaction's version is lost. */
static LoggedChange *
read_change(RemoteTransaction *transaction, const KeyNote *note)
{
	LoggedChange *logged = palloc0(sizeof(LoggedChange));
	RowVersion *version = &logged->change.version;
	bool		present;
	uint16		origin;

	logged->note = note->id;
	logged->columns = note->row;
	*version = note->version;
	if (version->center != MC_NO_CENTER)
		 /* written down */ ;
	else if (TransactionIdIsCurrentTransactionId(note->xid))
		*version = transaction->version;
	else if (TransactionIdGetCommitTsData(note->xid, &version->commit_ts, &origin))
		version->center = mc_author_of_origin(origin, transaction->our_id);
	else
		return NULL;
	(void) mc_note_text(note->row, "deleted", &logged->change.deleted);
	mc_column_causes_read(mc_note_text(note->row, "causes", &present), *version,
						  &logged->change.causes);
	logged->change.row = read_row_version(note->row, *version);
	return logged;
}

void
mc_column_log_read(RemoteTransaction *transaction, TargetTable *table,
				   const List *notes, const RowVersion *row, ColumnLog *log)
{
	ColumnChange **changes = palloc(sizeof(ColumnChange *) * (list_length(notes) + 1));
	const ColumnPolicies *policies = mc_column_policies(RelationGetRelid(table->rel));
	TruncationNote truncation;
	TimestampTz purged;
	List	   *all = NIL;
	int			n = 0;
	const ListCell *cell;

	memset(log, 0, sizeof(ColumnLog));

	/* After the notes: what is gone meanwhile everybody has seen. */
	purged = mc_column_purged();
	log->all = Max(purged, policies ? policies->since : 0);
	(void) mc_note_truncation(transaction, table, &truncation);
	foreach(cell, notes)
	{
		const KeyNote *note = lfirst(cell);
		LoggedChange *logged;

		if (note->kind != NOTE_CHANGE)
			continue;
		logged = read_change(transaction, note);
		if (logged == NULL)
			continue;
		all = lappend(all, logged);
		changes[n++] = &logged->change;
	}
	log->state = mc_column_state(changes, n, truncation.version, row, log->all);
	foreach(cell, all)
	{
		LoggedChange *logged = lfirst(cell);

		if (!log->state.fresh && !mc_column_is_void(&log->state, &logged->change))
			log->changes = lappend(log->changes, logged);
		else
			log->obsolete = lappend(log->obsolete, logged);
	}
}

bool
mc_column_log_about(const LoggedChange *logged, const char *column,
					ColumnMerge merge, char **value)
{
	char		name[NAMEDATALEN + 1];
	bool		present;

	snprintf(name, sizeof(name), "%c%s", merge_sign(merge), column);
	*value = mc_note_text(logged->columns, name, &present);
	return present;
}

/* ---- writing ---- */

/* Put a string, or a null, into an object. */
static void
push_pair(JsonbInState *state, const char *name, const char *value)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = unconstify(char *, name);
	item.val.string.len = strlen(name);
	pushJsonbValue_compat(state, WJB_KEY, &item);
	if (value == NULL)
		item.type = jbvNull;
	else
	{
		item.val.string.val = unconstify(char *, value);
		item.val.string.len = strlen(value);
	}
	pushJsonbValue_compat(state, WJB_VALUE, &item);
}

/* What is kept of the new value of a column. */
static char *
keep_value(Form_pg_attribute attribute, ColumnMerge merge,
		   const RemoteRow *old_row, const RemoteRow *new_row)
{
	int			i = attribute->attnum - 1;

	if (merge == COLUMN_JSONB_MERGE)
		return mc_column_json_members(old_row->isnull[i] ? NULL : DatumGetJsonbP(old_row->values[i]),
									  new_row->isnull[i] ? NULL : DatumGetJsonbP(new_row->values[i]));
	if (!mc_column_keeps_values(merge))
		return pstrdup("");
	return new_row->isnull[i] ? NULL :
		mc_note_value_to_text(attribute, new_row->values[i]);
}

Jsonb *
mc_column_log_compare(TargetTable *table, const ColumnPolicies *policies,
					  const RemoteRow *old_row, const RemoteRow *new_row)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	JsonbInState state = {0};

	pushJsonbValue_compat(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || attribute->attgenerated ||
			table->map->remote_index[i] < 0 || new_row->unchanged[i] ||
			!mc_column_changed(attribute, old_row, new_row))
			continue;
		push_pair(&state, psprintf("%c%s", merge_sign(policies->merge[i]),
								   NameStr(attribute->attname)),
				  keep_value(attribute, policies->merge[i], old_row, new_row));
	}
	pushJsonbValue_compat(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/* Is all that a change says of columns said by a later one? */
static bool
is_covered(const Jsonb *columns, const Jsonb *later)
{
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) &columns->root);
	JsonbValue	item;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		JsonbValue	buffer;
		JsonbValue *later_value;
		char		sign;

		if (token != WJB_KEY || item.val.string.len == 0)
			continue;
		sign = item.val.string.val[0];
		if (sign != '=' && sign != '~')
			continue;
		if (later == NULL)
			return false;
		later_value = getKeyJsonValueFromContainer((JsonbContainer *) &later->root,
												   item.val.string.val,
												   item.val.string.len, &buffer);
		if (later_value == NULL)
			return false;
		(void) JsonbIteratorNext(&it, &item, true);
		if (sign == '~' &&
			!mc_column_json_covers(pnstrdup(later_value->val.string.val, later_value->val.string.len),
								   pnstrdup(item.val.string.val, item.val.string.len)))
			return false;
	}
	return true;
}

/* Does nothing depend on a change any more when another one is kept? */
static bool
makes_useless(const LoggedChange *later, const LoggedChange *logged)
{
	if (later->change.deleted)
		return true;
	return !logged->change.deleted &&
		logged->change.version.center == later->change.version.center &&
		mc_version_compare(logged->change.version, later->change.version) <= 0 &&
		is_covered(logged->columns, later->columns);
}

/* The object that is kept of a change. */
static Jsonb *
to_object(const LoggedChange *logged, RowVersion own)
{
	JsonbInState state = {0};
	StringInfoData causes;

	initStringInfo(&causes);
	mc_column_causes_write(&causes, &logged->change.causes, own);
	pushJsonbValue_compat(&state, WJB_BEGIN_OBJECT, NULL);
	push_pair(&state, "causes", causes.data);
	if (logged->change.deleted)
		push_pair(&state, "deleted", "");
	if (mc_version_compare(logged->change.row, logged->change.version) != 0)
		push_pair(&state, "row", psprintf(INT64_FORMAT " %u", logged->change.row.commit_ts,
										  logged->change.row.center));
	if (logged->columns)
	{
		JsonbIterator *it = JsonbIteratorInit(&logged->columns->root);
		JsonbValue	item;
		JsonbIteratorToken token;

		while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
		{
			if (token == WJB_KEY || token == WJB_VALUE)
				pushJsonbValue_compat(&state, token, &item);
		}
	}
	pushJsonbValue_compat(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/* Forget changes of a list, unless another one is given that needs them. */
static void
forget(List **changes, const LoggedChange *later)
{
	ListCell   *cell;

	foreach(cell, *changes)
	{
		LoggedChange *logged = lfirst(cell);

		if (later != NULL && !makes_useless(later, logged))
			continue;
		mc_note_remove(logged->note);
		*changes = foreach_delete_current(*changes, cell);
	}
}

void
mc_column_log_forget(ColumnLog *log)
{
	forget(&log->changes, NULL);
	forget(&log->obsolete, NULL);
}

void
mc_column_log_add(const RowKey *key, ColumnLog *log, LoggedChange *logged,
				  bool own)
{
	KeyNote		note = {.kind = NOTE_CHANGE,.key = *key};

	forget(&log->obsolete, NULL);
	forget(&log->changes, logged);
	if (!own)
		note.version = logged->change.version;
	note.row = to_object(logged, logged->change.version);
	mc_note_add(&note);
}
