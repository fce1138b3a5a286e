/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  Changes of tables whose columns are merged one by one.
 *
 * NOTES
 *	  core/column.h has the rules.  What has to be known of each key to follow
 *	  them are the changes that somebody may not have seen (column_log.h) and,
 *	  of each change that arrives, what its author had seen, which a trigger
 *	  there has told (column_trigger.c).
 *
 *	  A change is applied to the row that is here: the columns that it changes
 *	  get what becomes of its values and those of the changes that it had not
 *	  seen; the others stay as they are, because whatever the author had seen
 *	  of them has come before.  Then it is kept.
 *
 *	  What is known of a key, its row or its tombstone, has the greatest version
 *	  of all changes of the key, void ones too.  It is written whatever is
 *	  decided, so that a local write waits for us, or we for that, and has seen
 *	  the change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "state/policy.h"
#include "target/column_log.h"
#include "target/column_trigger.h"
#include "target/column_value.h"
#include "target/columns.h"
#include "target/conflict.h"
#include "target/outcome.h"
#include "target/quarantine.h"
#include "utils/rel.h"

#include "compat.h"

/* How the history calls what decides here. */
#define RESOLVER_NAME	"column_merge"

/* What is known while a change is merged. */
typedef struct Merger
{
	RemoteTransaction *transaction;
	TargetTable *table;
	MergeOp		op;
	const RemoteRow *key;
	LocalRow   *local;
	const ColumnPolicies *policies;
	RowKey		row_key;
	ColumnLog	log;
	LoggedChange incoming;
	const RemoteRow *old_row;	/* of the change */
	const RemoteRow *new_row;
	RemoteRow	row;			/* what is written */
	RemoteRow	here;			/* the row of this center */
	int			taken;			/* columns that get the change's own value */
	int			kept;			/* that stay as they are */
	int			made;			/* that get another one */
	bool		competes;		/* a change that its author had not seen is
								 * about the same column */
} Merger;

bool
mc_columns_possible(TargetTable *table)
{
	return table->index != NULL && !table->map->group_catalog &&
		mc_column_policies(RelationGetRelid(table->rel)) != NULL;
}

void
mc_columns_bury(TargetTable *table, TupleTableSlot *slot, RowVersion version)
{
	RemoteRow	row = {.present = true,.values = slot->tts_values,.isnull = slot->tts_isnull};
	KeyNote		note = {.kind = NOTE_TOMBSTONE,.version = version};

	mc_note_key(table, &row, &note.key);
	mc_note_add(&note);
}

RowVersion
mc_columns_incarnation(RemoteTransaction *transaction, TargetTable *table,
					   const List *notes, RowVersion row)
{
	ColumnLog	log;

	mc_column_log_read(transaction, table, notes, &row, &log);
	return log.state.incarnation;
}

/* Does the TRUNCATE of this transaction kill a displaced row?  As the owner. */
static bool
is_truncated(RemoteTransaction *transaction, TargetTable *table, const KeyNote *note)
{
	RowVersion	incarnation = mc_columns_incarnation(transaction, table,
													 mc_note_find(table, &note->key),
													 note->version);

	return mc_merge_truncates(transaction->version, incarnation, true);
}

void
mc_columns_truncate(RemoteTransaction *transaction, RelationMap *map)
{
	TargetTable *table = mc_table_open(transaction, map);
	ListCell   *cell;
	OwnerScope	scope;

	mc_owner_enter(map->owner, &scope);
	foreach(cell, mc_note_list(map->relid, NOTE_DISPLACED))
	{
		KeyNote    *note = lfirst(cell);
		KeyNote		tombstone = {.kind = NOTE_TOMBSTONE,.key = note->key,.version = note->version};

		if (!is_truncated(transaction, table, note))
			continue;
		mc_note_remove(note->id);
		if (mc_version_compare(note->version, transaction->version) > 0)
			mc_note_add(&tombstone);
	}
	mc_owner_leave(&scope);
	mc_table_close(transaction, table);
}

/* ---- what is known ---- */

/*
 * The version of the row that is here, or of its tombstone; the base version
 * where there is none, or it is lost.
 */
static RowVersion
version_here(const LocalRow *local)
{
	static const RowVersion none = {0};

	return local->state.knowledge == LOCAL_LIVE ||
		local->state.knowledge == LOCAL_TOMBSTONE ? local->state.version : none;
}

/*
 * What the author of the change had seen.  If it has not said so, because the
 * trigger did not fire, vectors know it of what is here.
 */
static ColumnCauses
find_causes(const Merger *merger, const char *told)
{
	RemoteTransaction *transaction = merger->transaction;
	ColumnCauses causes = {merger->log.state.incarnation};
	ListCell   *cell;

	if (told)
	{
		mc_column_causes_read(told, transaction->version, &causes);
		return causes;
	}
	causes.seen = palloc(sizeof(RowVersion) * (list_length(merger->log.changes) + 1));
	foreach(cell, merger->log.changes)
	{
		RowVersion	version = ((LoggedChange *) lfirst(cell))->change.version;

		if (mc_vector_saw(transaction->vector, transaction->peer,
						  transaction->our_id, version))
			causes.seen[causes.nseen++] = version;
	}
	return causes;
}

/* The row that is here, with all columns. */
static RemoteRow
read_here(const Merger *merger)
{
	RemoteRow	row = {0};
	TupleTableSlot *slot = merger->local->slot;

	if (merger->local->found)
	{
		slot_getallattrs(slot);
		row.present = true;
		row.values = slot->tts_values;
		row.isnull = slot->tts_isnull;
	}
	else if (merger->local->displaced)
	{
		mc_note_row_from_jsonb(merger->table, merger->local->displaced->row,
							   &merger->table->spare_row);
		row = merger->table->spare_row;
	}
	return row;
}

/* ---- columns ---- */

/* Had the author of the change that arrives seen a kept one? */
static bool
has_seen(const Merger *merger, const LoggedChange *logged)
{
	return mc_column_saw(&merger->incoming.change, logged->change.version);
}

/* Has a kept change seen another one?  Of one transaction the later one has. */
static bool
is_seen_by(const LoggedChange *logged, const LoggedChange *other)
{
	if (mc_version_compare(logged->change.version, other->change.version) == 0)
		return logged->note < other->note;
	return mc_column_saw(&other->change, logged->change.version);
}

/* A column, and the kept changes that are about it. */
typedef struct Column
{
	Form_pg_attribute attribute;
	int			i;
	ColumnMerge merge;
	List	   *changes;		/* LoggedChange * */
	List	   *values;			/* char *, what each says of it */
	bool		newest;			/* the change that arrives is newer */
	bool		competes;		/* and has not seen all of them */
} Column;

/* Find them. */
static Column
find_column(Merger *merger, int i)
{
	Column		column = {.i = i,.newest = true};
	ListCell   *cell;

	column.attribute = TupleDescAttr(RelationGetDescr(merger->table->rel), i);
	column.merge = merger->policies->merge[i];
	foreach(cell, merger->log.changes)
	{
		LoggedChange *logged = lfirst(cell);
		char	   *value;

		if (!mc_column_log_about(logged, NameStr(column.attribute->attname),
								 column.merge, &value))
			continue;
		column.changes = lappend(column.changes, logged);
		column.values = lappend(column.values, value);
		if (mc_version_compare(logged->change.version,
							   merger->incoming.change.version) > 0)
			column.newest = false;
		column.competes |= !has_seen(merger, logged);
	}
	merger->competes |= column.competes && column.merge != COLUMN_DELTA;
	return column;
}

/* The column keeps the value that is here. */
static void
keep_here(Merger *merger, int i)
{
	merger->row.unchanged[i] = true;
	merger->row.any_unchanged = true;
}

/* The column gets a value that is made of several. */
static void
set_made(Merger *merger, int i, bool isnull, Datum value)
{
	merger->row.values[i] = value;
	merger->row.isnull[i] = isnull;
	merger->made++;
}

/* The greatest version's value. */
static void
merge_last(Merger *merger, const Column *column)
{
	if (column->newest)
		merger->taken++;
	else
	{
		keep_here(merger, column->i);
		merger->kept++;
	}
}

/* Add up; a null is no number, and like any other value then. */
static void
merge_delta(Merger *merger, const Column *column)
{
	int			i = column->i;

	if (merger->here.isnull[i] || merger->old_row->isnull[i] ||
		merger->new_row->isnull[i])
		merge_last(merger, column);
	else
		set_made(merger, i, false,
				 mc_column_add_delta(column->attribute, merger->here.values[i],
									 merger->old_row->values[i],
									 merger->new_row->values[i]));
}

/* A value, and its version. */
typedef struct VersionedValue
{
	RowVersion	version;
	bool		isnull;
	Datum		value;
} VersionedValue;

/* Sort by version. */
static int
compare_values(const ListCell *a, const ListCell *b)
{
	const VersionedValue *left = lfirst(a);
	const VersionedValue *right = lfirst(b);

	return mc_version_compare(left->version, right->version);
}

/* Make an element of a list of values. */
static VersionedValue *
make_value(RowVersion version, bool isnull, Datum value)
{
	VersionedValue *result = palloc(sizeof(VersionedValue));

	result->version = version;
	result->isnull = isnull;
	result->value = value;
	return result;
}

/* The values of all changes that nobody has seen, oldest first. */
static List *
find_values(const Merger *merger, const Column *column)
{
	List	   *values = NIL;
	ListCell   *cell;
	ListCell   *text_cell;

	forboth(cell, column->changes, text_cell, column->values)
	{
		LoggedChange *logged = lfirst(cell);
		char	   *string = lfirst(text_cell);
		bool		seen = has_seen(merger, logged);
		ListCell   *other;

		foreach(other, column->changes)
			seen |= lfirst(other) != logged && is_seen_by(logged, lfirst(other));
		if (!seen)
			values = lappend(values,
							 make_value(logged->change.version, string == NULL,
										string ? mc_note_value_from_text(column->attribute, string) :
										(Datum) 0));
	}
	values = lappend(values, make_value(merger->incoming.change.version,
										merger->new_row->isnull[column->i],
										merger->new_row->values[column->i]));
	list_sort(values, compare_values);
	return values;
}

/* Make one of all values that nobody has seen together; nulls do not count. */
static void
merge_values(Merger *merger, const Column *column)
{
	List	   *values = find_values(merger, column);
	bool		isnull = true;
	Datum		value = (Datum) 0;
	ListCell   *cell;

	if (list_length(values) == 1)
	{
		merger->taken++;
		return;
	}
	foreach(cell, values)
	{
		const VersionedValue *next = lfirst(cell);

		if (next->isnull)
			continue;
		value = isnull ? next->value :
			mc_column_combine(merger->table, column->attribute, column->merge,
							  merger->policies->handler[column->i], value, next->value);
		isnull = false;
	}
	set_made(merger, column->i, isnull, value);
}

/* A column as jsonb; NULL: null. */
static Jsonb *
read_json(const RemoteRow *row, int i)
{
	return row->isnull[i] ? NULL : DatumGetJsonbP(row->values[i]);
}

/* The names in one list that are not in the other. */
static List *
names_without(List *names, const List *others)
{
	ListCell   *cell;
	const ListCell *other;

	foreach(cell, names)
	{
		foreach(other, others)
		{
			if (strcmp(lfirst(cell), lfirst(other)) == 0)
			{
				names = foreach_delete_current(names, cell);
				break;
			}
		}
	}
	return names;
}

/*
 * Each member has its last value.  Who writes a whole value removes all members
 * that are older.
 */
static void
merge_json(Merger *merger, const Column *column)
{
	int			i = column->i;
	char	   *members = mc_column_json_members(read_json(merger->old_row, i),
												 read_json(merger->new_row, i));
	List	   *newer = NIL;
	bool		lost = false;
	Jsonb	   *result;
	ListCell   *cell;
	ListCell   *text_cell;

	/* Without competitors it is what was written, to the last digit. */
	if (!column->competes)
	{
		merger->taken++;
		return;
	}
	forboth(cell, column->changes, text_cell, column->values)
	{
		const LoggedChange *logged = lfirst(cell);

		if (mc_version_compare(logged->change.version,
							   merger->incoming.change.version) <= 0)
			continue;
		lost |= mc_column_json_is_whole(lfirst(text_cell));
		newer = list_concat(newer, mc_column_json_names(lfirst(text_cell)));
	}
	if (lost)
	{
		keep_here(merger, i);
		merger->kept++;
		return;
	}
	if (mc_column_json_is_whole(members))
		result = mc_column_json_overlay(read_json(merger->new_row, i),
										read_json(&merger->here, i), newer);
	else
		result = mc_column_json_overlay(read_json(&merger->here, i),
										read_json(merger->new_row, i),
										names_without(mc_column_json_names(members), newer));
	set_made(merger, i, result == NULL, JsonbPGetDatum(result));
}

/* Put together the row that becomes of the one here and the change. */
static void
merge_row(Merger *merger)
{
	TupleDesc	desc = RelationGetDescr(merger->table->rel);
	char	   *unused;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Column		column;

		if (!mc_column_log_about(&merger->incoming, NameStr(attribute->attname),
								 merger->policies->merge[i], &unused))
		{
			keep_here(merger, i);
			continue;
		}
		column = find_column(merger, i);
		switch (column.merge)
		{
			case COLUMN_LAST_UPDATE_WINS:
				merge_last(merger, &column);
				break;
			case COLUMN_DELTA:
				merge_delta(merger, &column);
				break;
			case COLUMN_JSONB_MERGE:
				merge_json(merger, &column);
				break;
			default:
				merge_values(merger, &column);
				break;
		}
	}
}

/* ---- history ---- */

/* Put the conflict into the history; the row was written, if any is. */
static void
note_conflict(Merger *merger, McConflictType type, Verdict verdict,
			  const char *resolution)
{
	RemoteTransaction *transaction = merger->transaction;
	TargetTable *table = merger->table;
	MergeDecision decision = {verdict, type};
	Jsonb	   *result = NULL;
	ConflictRecord *record;

	if (type == CONFLICT_NONE)
		return;
	if (resolution)
		result = mc_note_row_to_jsonb(table, table->write_row);
	if (merger->op != MERGE_OP_DELETE)
		mc_outcome_fill(table, merger->local);
	mc_conflict_note(transaction, table, decision, merger->local, merger->key,
					 merger->op == MERGE_OP_DELETE ? NULL : table->write_row);
	record = llast(transaction->conflicts);
	record->resolver = RESOLVER_NAME;
	if (resolution == NULL)
		return;
	record->resolution = resolution;
	record->result_row_json = mc_conflict_jsonb_row(result);
}

/* The type of a conflict with the change of a row that is no more. */
static McConflictType
type_of_void(const Merger *merger)
{
	bool		alive = merger->log.state.alive;

	switch (merger->op)
	{
		case MERGE_OP_INSERT:
			return alive ? CONFLICT_INSERT_EXISTS : CONFLICT_INSERT_DELETED;
		case MERGE_OP_UPDATE:
			return alive ? CONFLICT_UPDATE_ORIGIN_DIFFERS : CONFLICT_UPDATE_DELETED;
		case MERGE_OP_DELETE:
			break;
	}
	return alive ? CONFLICT_DELETE_RECENTLY_UPDATED : CONFLICT_NONE;
}

/* ---- writing ---- */

/* Write what the key comes to: a row, table->new_row, or that it is deleted. */
static WriteResult
write_key(Merger *merger, bool deleted)
{
	RemoteTransaction *transaction = merger->transaction;
	RowVersion	saved = transaction->version;
	bool		restates = transaction->restates;
	WriteResult result;

	mc_note_forget_restated(merger->local->notes);
	if (mc_version_compare(merger->incoming.change.row, saved) != 0)
	{
		transaction->version = merger->incoming.change.row;
		transaction->restates = true;
	}
	result = deleted ?
		mc_outcome_delete(transaction, merger->table, merger->local) :
		mc_outcome_put(transaction, merger->table, merger->local);
	transaction->version = saved;
	transaction->restates = restates;
	return result;
}

/* Keep the change. */
static void
keep(Merger *merger)
{
	mc_column_log_add(&merger->row_key, &merger->log, &merger->incoming, false);
}

/* Copy a row, so that the other one can be changed. */
static RemoteRow
copy_row(const TargetTable *table, const RemoteRow *row)
{
	int			natts = Max(table->map->natts, 1);
	RemoteRow	copy = *row;

	copy.values = palloc(sizeof(Datum) * natts);
	copy.isnull = palloc(sizeof(bool) * natts);
	copy.unchanged = palloc(sizeof(bool) * natts);
	memcpy(copy.values, row->values, sizeof(Datum) * natts);
	memcpy(copy.isnull, row->isnull, sizeof(bool) * natts);
	memcpy(copy.unchanged, row->unchanged, sizeof(bool) * natts);
	return copy;
}

/* Write a row instead of table->new_row. */
static WriteResult
write_other_row(Merger *merger, const RemoteRow *row)
{
	RemoteRow	new_row = merger->table->new_row;
	WriteResult result;

	merger->table->new_row = *row;
	result = write_key(merger, false);
	merger->table->new_row = new_row;
	return result;
}

/* The row stays, or that there is none, with the version of a newer change. */
static WriteResult
raise_version(Merger *merger)
{
	RemoteRow	old_row = merger->table->old_row;
	WriteResult result;

	if (merger->log.state.alive)
	{
		merger->row = copy_row(merger->table, &merger->table->new_row);
		for (int i = 0; i < merger->table->map->natts; i++)
			keep_here(merger, i);
		result = write_other_row(merger, &merger->row);
		merger->incoming.change.causes.incarnation = merger->log.state.incarnation;
		merger->incoming.columns = NULL;
		if (result == WRITE_DONE)
			keep(merger);
		return result;
	}
	merger->table->old_row = *merger->key;
	result = write_key(merger, true);
	merger->table->old_row = old_row;
	return result;
}

/* The change is void. */
static WriteResult
leave(Merger *merger)
{
	if (mc_version_compare(merger->incoming.change.version,
						   version_here(merger->local)) > 0)
	{
		WriteResult result = raise_version(merger);

		if (result != WRITE_DONE)
			return result;
	}
	note_conflict(merger, type_of_void(merger), VERDICT_KEEP_LOCAL, NULL);
	return WRITE_DONE;
}

/* A new incarnation of the key, or the first that is known. */
static WriteResult
insert_row(Merger *merger)
{
	RowVersion	version = merger->incoming.change.version;
	bool		exists = merger->log.state.alive;
	WriteResult result;

	if (mc_version_compare(version, merger->log.state.incarnation) < 0)
		return leave(merger);
	result = write_key(merger, false);
	if (result != WRITE_DONE)
		return result;
	mc_column_log_forget(&merger->log);

	/* Where the version of the row does not tell of the INSERT. */
	if (mc_version_compare(merger->incoming.change.row, version) != 0)
	{
		merger->incoming.change.causes.incarnation = version;
		keep(merger);
	}
	note_conflict(merger, exists ? CONFLICT_INSERT_EXISTS : CONFLICT_NONE,
				  VERDICT_PUT, NULL);
	return WRITE_DONE;
}

/* A row that should be here: write all that its author had of it. */
static WriteResult
restore_row(Merger *merger)
{
	WriteResult result = write_key(merger, false);

	if (result != WRITE_DONE)
		return result;
	keep(merger);
	note_conflict(merger, CONFLICT_UPDATE_MISSING, VERDICT_PUT, NULL);
	return WRITE_DONE;
}

/* What was done, in the words of the history. */
static const char *
resolution_of(const Merger *merger)
{
	if (merger->made > 0 || (merger->taken > 0 && merger->kept > 0))
		return "row";
	return merger->kept > 0 ? "keep_local" : "apply_remote";
}

/* Merge the change into the row that is here. */
static WriteResult
update_row(Merger *merger)
{
	WriteResult result;

	merger->row = copy_row(merger->table, &merger->table->new_row);
	merger->here = read_here(merger);
	merge_row(merger);
	result = write_other_row(merger, &merger->row);
	if (result != WRITE_DONE)
		return result;
	keep(merger);
	if (merger->competes)
		note_conflict(merger, CONFLICT_UPDATE_ORIGIN_DIFFERS, VERDICT_PUT,
					  resolution_of(merger));
	return WRITE_DONE;
}

/* Delete the row that is here. */
static WriteResult
delete_row(Merger *merger)
{
	McConflictType type = CONFLICT_NONE;
	WriteResult result;
	ListCell   *cell;

	if (merger->log.state.deleted)
		return leave(merger);
	if (!merger->log.state.alive)
		type = CONFLICT_DELETE_MISSING;
	foreach(cell, merger->log.changes)
	{
		if (!has_seen(merger, lfirst(cell)))
			type = CONFLICT_DELETE_ORIGIN_DIFFERS;
	}
	result = write_key(merger, true);
	if (result != WRITE_DONE)
		return result;
	merger->incoming.change.deleted = true;
	keep(merger);
	note_conflict(merger, type, VERDICT_DELETE, NULL);
	return WRITE_DONE;
}

/* Raise an error unless it is known what a change has changed. */
static void
check_old_row(const Merger *merger)
{
	if (!merger->old_row->whole)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a change of table \"%s.%s\" does not say what it has changed",
						merger->table->map->schema, merger->table->map->name),
				 errdetail("Columns of the table are merged, and the row before the change is needed for that."),
				 errhint("The table needs REPLICA IDENTITY FULL at the center where the change was made.")));
}

WriteResult
mc_columns_write(RemoteTransaction *transaction, TargetTable *table,
				 MergeOp op, const RemoteRow *key, LocalRow *local)
{
	Merger		merger = {transaction, table, op, key, local};
	RowVersion	version = version_here(local);
	bool		exists = local->found || local->displaced;
	const char *told;

	merger.policies = mc_column_policies(RelationGetRelid(table->rel));
	merger.old_row = &table->old_row;
	merger.new_row = &table->new_row;
	mc_note_key(table, key, &merger.row_key);
	mc_column_log_read(transaction, table, local->notes, exists ? &version : NULL,
					   &merger.log);
	merger.incoming.change.version = merger.incoming.change.row = transaction->version;
	if (mc_version_compare(version, transaction->version) > 0)
		merger.incoming.change.row = version;

	/* Of an UPDATE that nobody tells of its author thinks as of an INSERT. */
	told = op == MERGE_OP_INSERT ? NULL : mc_column_told(transaction);
	if (op == MERGE_OP_INSERT || (op == MERGE_OP_UPDATE && told == NULL))
		return insert_row(&merger);

	merger.incoming.change.causes = find_causes(&merger, told);
	if (mc_column_is_void(&merger.log.state, &merger.incoming.change))
		return leave(&merger);

	/* From here on by one name: others may know it by none. */
	if (mc_version_compare(merger.incoming.change.causes.incarnation,
						   merger.log.state.incarnation) < 0)
		merger.incoming.change.causes.incarnation = merger.log.state.incarnation;
	if (op == MERGE_OP_DELETE)
		return delete_row(&merger);
	if (merger.log.state.deleted)
		return leave(&merger);
	check_old_row(&merger);
	merger.incoming.columns = mc_column_log_compare(table, merger.policies,
													&table->old_row, &table->new_row);
	return merger.log.state.alive ? update_row(&merger) : restore_row(&merger);
}
