/*-------------------------------------------------------------------------
 *
 * siblings.c
 *	  Concurrent versions of a key, where a policy decides between them.
 *
 * NOTES
 *	  What a center knows of a key is the set of its siblings: the versions,
 *	  rows or deletes, that no write has seen.  A change that arrives replaces
 *	  those that its author had seen, and stays beside the others.  Links are
 *	  causal where there is any policy (see causes.c), so nothing that is here
 *	  can have seen the change.  The row that SQL sees is a function of the
 *	  set, in the order of versions, so it is the same at all centers that
 *	  have the same changes.  Only versions of the greatest epoch count.
 *
 *	  Where the set has one element there is nothing to keep: the row of the
 *	  table, or its tombstone, says it all.  Otherwise each element is a note.
 *	  What is written has the greatest of their versions, and the notes hold
 *	  only as long as what is known of the key has just that version: a local
 *	  write, which has seen them all, makes them void by itself.
 *
 *	  A TRUNCATE is no element of any set: it kills what is older.  In the order
 *	  of versions epochs come first, for a TRUNCATE, too (mc_policy_compare()).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "state/policy.h"
#include "state/registry.h"
#include "target/conflict.h"
#include "target/handler.h"
#include "target/outcome.h"
#include "target/quarantine.h"
#include "target/seen.h"
#include "target/siblings.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/* What is known while a change is decided. */
typedef struct Decider
{
	RemoteTransaction *transaction;
	TargetTable *table;
	MergeOp		op;
	const RemoteRow *key;
	Jsonb	   *key_values;
	const LocalRow *local;
	RowVersion	truncated;		/* the newest TRUNCATE by somebody else; 0:
								 * none */
	bool		truncating;		/* it is being carried out */
	bool		withdrawn;		/* the change only takes back what was put
								 * after a TRUNCATE in its own transaction */
	const TablePolicy *policy;
	int64		epoch;			/* the greatest of the set */
	SiblingRow *incoming;
	bool		outdated;		/* its author has written the key since */
	List	   *rows;			/* SiblingRow *, by ascending version */
	Resolution *resolution;
} Decider;

/* Make an element. */
static SiblingRow *
make_row(const Decider *decider, RowVersion version, Jsonb *row)
{
	SiblingRow *result = palloc0(sizeof(SiblingRow));

	result->sibling.version = version;
	result->sibling.deleted = row == NULL;
	result->sibling.epoch = mc_policy_rank(RelationGetRelid(decider->table->rel), version);
	result->row = row;
	return result;
}

/* Sort by version. */
static int
compare_rows(const ListCell *a, const ListCell *b)
{
	const SiblingRow *left = lfirst(a);
	const SiblingRow *right = lfirst(b);

	return mc_version_compare(left->sibling.version, right->sibling.version);
}

/*
 * Does the newest TRUNCATE kill a version?  Of its own transaction it kills
 * what came before it, and that is all there is while it is carried out.
 */
static bool
is_truncated(const Decider *decider, RowVersion version)
{
	int			order;

	if (decider->truncated.commit_ts == 0)
		return false;
	order = mc_policy_compare(RelationGetRelid(decider->table->rel), version,
							  decider->truncated);
	return order < 0 || (order == 0 && decider->truncating);
}

/* The set of siblings that is here. */
static List *
find_siblings(const Decider *decider)
{
	TargetTable *table = decider->table;
	const LocalRow *local = decider->local;
	List	   *rows = NIL;
	Jsonb	   *row = NULL;
	ListCell   *cell;

	if (local->state.knowledge == LOCAL_NOTHING)
		return NIL;
	if (mc_siblings_hold(local->notes, local->state.version))
	{
		foreach(cell, local->notes)
		{
			const KeyNote *note = lfirst(cell);

			if (note->kind == NOTE_SIBLING && !is_truncated(decider, note->version))
				rows = lappend(rows, make_row(decider, note->version, note->row));
		}
		return rows;
	}

	/* What a TRUNCATE has killed is nobody's to decide; nor is that itself. */
	if (is_truncated(decider, local->state.version) ||
		(local->state.knowledge == LOCAL_TOMBSTONE &&
		 mc_version_compare(local->state.version, decider->truncated) == 0))
		return NIL;
	if (local->found)
		row = mc_note_row_to_jsonb(table, local->slot);
	else if (local->displaced)
		row = local->displaced->row;
	return list_make1(make_row(decider, local->state.version, row));
}

/* Versions as an array for the pure functions. */
static Sibling *
to_array(const List *rows)
{
	Sibling    *siblings = palloc(sizeof(Sibling) * (list_length(rows) + 1));
	int			n = 0;
	const ListCell *cell;

	foreach(cell, rows)
	{
		siblings[n++] = ((SiblingRow *) lfirst(cell))->sibling;
	}
	return siblings;
}

/* Had the author of the change seen a version? */
static bool
was_seen(const RemoteTransaction *transaction, const SeenVersions *seen,
		 RowVersion version)
{
	return (seen && mc_seen_has(seen, version)) ||
		mc_vector_saw(transaction->vector, transaction->peer,
					  transaction->our_id, version);
}

/*
 * Has this center written a version after the change came, which had to wait?
 * To everybody else that counts as having seen it.
 */
static bool
came_before(const RemoteTransaction *transaction, RowVersion version)
{
	return transaction->retried && version.center == transaction->our_id &&
		version.commit_ts > transaction->retried->held_at;
}

/* What waits of the key, and was seen by the change, is void. */
static void
settle_seen(const Decider *decider, const SeenVersions *seen)
{
	RemoteTransaction *transaction = decider->transaction;
	ListCell   *cell;

	if (!mc_note_quarantine_possible(decider->table))
		return;
	foreach(cell, mc_quarantine_find(decider->table, decider->key))
	{
		const QuarantineEntry *entry = lfirst(cell);

		if (mc_version_compare(entry->version, transaction->version) < 0 &&
			was_seen(transaction, seen, entry->version))
			mc_quarantine_remove(entry->id);
	}
}

/*
 * Is a TRUNCATE here that is newer than the change, and of a lower epoch?  The
 * merge table would let it win.
 */
static bool
outranks(const Decider *decider)
{
	RowVersion	version = decider->transaction->version;
	RowVersion	known = decider->local->state.version;

	return !decider->withdrawn && mc_version_compare(known, version) > 0 &&
		mc_policy_compare(RelationGetRelid(decider->table->rel), known, version) < 0;
}

/* Collect the set, without what the change replaces; with the change itself. */
static void
collect(Decider *decider, Jsonb *new_row)
{
	RemoteTransaction *transaction = decider->transaction;
	const SeenVersions *seen = mc_seen_find(transaction, decider->table, decider->key);
	int64		epoch;
	ListCell   *cell;

	settle_seen(decider, seen);
	decider->incoming = make_row(decider, transaction->version, new_row);
	decider->incoming->incoming = true;
	foreach(cell, find_siblings(decider))
	{
		SiblingRow *row = lfirst(cell);

		if (came_before(transaction, row->sibling.version))
			decider->outdated = true;
		else if (!was_seen(transaction, seen, row->sibling.version))
			decider->rows = lappend(decider->rows, row);

		/* A change that had to wait comes after what its author did then. */
		else if (row->sibling.version.center == transaction->version.center &&
				 mc_version_compare(row->sibling.version, transaction->version) > 0)
			decider->outdated = true;
	}
	if (decider->rows == NIL && !outranks(decider))
		return;
	if (!decider->withdrawn)
		decider->rows = lappend(decider->rows, decider->incoming);
	epoch = mc_sibling_epoch(to_array(decider->rows), list_length(decider->rows));
	decider->epoch = epoch;
	foreach(cell, decider->rows)
	{
		if (((SiblingRow *) lfirst(cell))->sibling.epoch < epoch)
			decider->rows = foreach_delete_current(decider->rows, cell);
	}
	list_sort(decider->rows, compare_rows);
	decider->policy = mc_policy_table(RelationGetRelid(decider->table->rel), epoch);
}

/* ---- handlers ---- */

/* A handler does not want to decide. */
static void
report_handler(const Decider *decider)
{
	ereport(LOG,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("the conflict handler of table \"%s.%s\" has not decided, it asks for quarantine",
					decider->table->map->schema, decider->table->map->name),
			 errdetail("The newer of the two versions counts; the other one is in the history.")));
}

/*
 * The type that a handler is told: not the one by which the change was met
 * here, because that is not the same everywhere.
 */
static McConflictType
type_of_pair(const Jsonb *older, const Jsonb *newer)
{
	if (newer == NULL)
		return CONFLICT_DELETE_ORIGIN_DIFFERS;
	return older == NULL ? CONFLICT_UPDATE_DELETED : CONFLICT_UPDATE_ORIGIN_DIFFERS;
}

/*
 * Let a handler decide between what it has made of the older versions and the
 * next one.  Returns the row, NULL where it is deleted.
 */
static Jsonb *
call_handler(Decider *decider, Oid handler, const SiblingRow *older,
			 Jsonb *older_row, const SiblingRow *newer)
{
	TargetTable *table = decider->table;
	HandlerCall call = {0};
	ErrorData  *error = NULL;

	if (!OidIsValid(handler))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the conflict handler of table \"%s.%s\" does not exist in this center",
						table->map->schema, table->map->name),
				 errhint("Create it as it is in the other centers, see the view conflict_policies.")));

	call.function = handler;
	call.local.values = older_row;
	call.remote.values = newer->row;
	call.conflict_type = mc_conflict_type_name(type_of_pair(older_row, newer->row));
	call.operation = newer->row ? "update" : "delete";
	call.key = decider->key_values;
	call.local_center = older->sibling.version.center;
	call.local_version = older->sibling.version;
	call.remote_center = newer->sibling.version.center;
	call.remote_version = newer->sibling.version;
	call.concurrent = true;
	switch (mc_handler_call(table, &call, table->write_row, &error))
	{
		case HANDLER_ROW:
			return mc_note_row_to_jsonb(table, table->write_row);
		case HANDLER_KEEP_LOCAL:
		case HANDLER_SKIP:
			return older_row;
		case HANDLER_QUARANTINE:

			/* It may fail here only: time, memory, another function. */
			if (error)
				ReThrowError(error);
			report_handler(decider);
			return newer->row;
		case HANDLER_APPLY_REMOTE:
		case HANDLER_NEXT:
			break;
	}
	return newer->row;
}

/* The row that a handler makes of all puts of the set, oldest first. */
static Jsonb *
fold_puts(Decider *decider, Oid handler, const SiblingRow **last)
{
	Jsonb	   *row = NULL;
	ListCell   *cell;

	*last = NULL;
	foreach(cell, decider->rows)
	{
		const SiblingRow *next = lfirst(cell);

		if (next->sibling.deleted)
			continue;
		row = *last ? call_handler(decider, handler, *last, row, next) : next->row;
		*last = next;
	}
	return row;
}

/* ---- decisions ---- */

/* The row that is the best of all puts; NULL where there is none. */
static Jsonb *
choose_put(Decider *decider)
{
	const FamilyPolicy *policy = &decider->policy->family[FAMILY_ROW];
	const SiblingRow *last;
	int			best;

	if (policy->resolver == RESOLVER_HANDLER)
		return fold_puts(decider, policy->handler, &last);
	best = mc_sibling_best(to_array(decider->rows), list_length(decider->rows),
						   policy, true);
	return best < 0 ? NULL : ((SiblingRow *) list_nth(decider->rows, best))->row;
}

/* What is visible of the set: a row, or NULL. */
static Jsonb *
choose(Decider *decider)
{
	const FamilyPolicy *policy = &decider->policy->family[FAMILY_DELETE];
	Jsonb	   *row = choose_put(decider);
	const SiblingRow *put = NULL;
	const SiblingRow *tombstone = NULL;
	SiblingRow	made;
	ListCell   *cell;

	foreach(cell, decider->rows)
	{
		const SiblingRow *next = lfirst(cell);

		if (next->sibling.deleted)
			tombstone = next;
		else
			put = next;
	}
	if (put == NULL || tombstone == NULL)
		return row;
	if (policy->resolver != RESOLVER_HANDLER)
		return mc_sibling_deleted(to_array(decider->rows),
								  list_length(decider->rows), policy) ? NULL : row;

	/* The greatest put, with what was made of all, against the delete. */
	made = *put;
	made.row = row;
	if (mc_version_compare(put->sibling.version, tombstone->sibling.version) < 0)
		return call_handler(decider, policy->handler, &made, row, tombstone);
	return call_handler(decider, policy->handler, tombstone, NULL, &made);
}

/* Does what is decided depend on which center does so? */
static bool
is_local_resolver(McResolver resolver, McConflictFamily family)
{
	switch (resolver)
	{
		case RESOLVER_APPLY_REMOTE:
		case RESOLVER_KEEP_LOCAL:
		case RESOLVER_QUARANTINE:
		case RESOLVER_ERROR:
			return true;
		case RESOLVER_SKIP:
		case RESOLVER_INSERT_OR_SKIP:
			return family != FAMILY_DELETE;
		default:
			return false;
	}
}

/* Keep what is here, and say that the change was not applied. */
static void
keep_local(Resolution *resolution)
{
	resolution->decision.verdict = VERDICT_KEEP_LOCAL;
	resolution->resolution = "keep_local";
}

/* Decide where the group has allowed its centers to differ. */
static void
decide_locally(Decider *decider, McResolver resolver)
{
	Resolution *resolution = decider->resolution;

	switch (resolver)
	{
		case RESOLVER_ERROR:
			ereport(ERROR,
					(errcode(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION),
					 errmsg("conflict %s in table \"%s.%s\"",
							mc_conflict_type_name(resolution->decision.conflict),
							decider->table->map->schema, decider->table->map->name),
					 errdetail("The policy for such conflicts is \"error\".")));
			break;
		case RESOLVER_QUARANTINE:
			resolution->decision.verdict = VERDICT_QUARANTINE;
			resolution->resolution = "quarantine";
			break;
		case RESOLVER_APPLY_REMOTE:
			resolution->row = decider->incoming->row;
			resolution->decision.verdict = resolution->row ? VERDICT_PUT : VERDICT_DELETE;
			resolution->resolution = "apply_remote";
			break;
		default:
			keep_local(resolution);
			resolution->resolution = "skip";
			break;
	}
}

/* Which family of policies decides on the set? */
static McConflictFamily
family_of(const Decider *decider)
{
	const SiblingRow *first = linitial(decider->rows);
	ListCell   *cell;

	foreach(cell, decider->rows)
	{
		if (((SiblingRow *) lfirst(cell))->sibling.deleted != first->sibling.deleted)
			return FAMILY_DELETE;
	}
	return FAMILY_ROW;
}

/* Decide on a set of several versions. */
static void
decide_set(Decider *decider)
{
	Resolution *resolution = decider->resolution;
	McConflictFamily family = family_of(decider);
	McResolver	resolver = decider->policy ?
	decider->policy->family[family].resolver : RESOLVER_LAST_UPDATE_WINS;
	const SiblingRow *greatest = llast(decider->rows);
	ListCell   *cell;

	resolution->resolver = mc_resolver_name(resolver);
	resolution->version = greatest->sibling.version;
	resolution->siblings = decider->rows;
	if (is_local_resolver(resolver, family))
	{
		resolution->siblings = NIL;
		decide_locally(decider, resolver);
		return;
	}
	foreach(cell, decider->rows)
	{
		const SiblingRow *row = lfirst(cell);

		if (row->row)
			resolution->any_row = row->row;
	}
	resolution->row = choose(decider);
	resolution->decision.verdict = resolution->row ? VERDICT_PUT : VERDICT_DELETE;
	resolution->resolution = resolution->row == decider->incoming->row ?
		"apply_remote" : "row";
	foreach(cell, decider->rows)
	{
		const SiblingRow *row = lfirst(cell);

		if (!row->incoming && row->row == resolution->row)
			resolution->resolution = "keep_local";
	}
}

/* Nothing is here, but an update or a delete arrives. */
static void
decide_missing(Decider *decider, McResolver resolver)
{
	Resolution *resolution = decider->resolution;

	resolution->decided = true;
	resolution->resolver = mc_resolver_name(resolver);
	resolution->version = decider->transaction->version;
	decider->incoming = make_row(decider, decider->transaction->version,
								 resolution->any_row);
	decide_locally(decider, resolver);
}

/* The type of a conflict that the merge table sees as none. */
static McConflictType
type_of(MergeOp op, const LocalRow *local, McConflictType type)
{
	if (type != CONFLICT_NONE)
		return type;
	if (local->state.knowledge == LOCAL_TOMBSTONE)
		return op == MERGE_OP_INSERT ? CONFLICT_INSERT_DELETED :
			op == MERGE_OP_UPDATE ? CONFLICT_UPDATE_DELETED : CONFLICT_DELETE_MISSING;
	return op == MERGE_OP_INSERT ? CONFLICT_INSERT_EXISTS :
		op == MERGE_OP_UPDATE ? CONFLICT_UPDATE_ORIGIN_DIFFERS : CONFLICT_DELETE_ORIGIN_DIFFERS;
}

bool
mc_siblings_possible(RemoteTransaction *transaction, TargetTable *table)
{
	return table->index != NULL && !table->map->group_catalog &&
		mc_policy_table(RelationGetRelid(table->rel),
						mc_policy_epoch_of(transaction->version)) != NULL;
}

void
mc_siblings_resolve(RemoteTransaction *transaction, TargetTable *table,
					MergeOp op, const RemoteRow *key, const LocalRow *local,
					MergeDecision otherwise, Resolution *resolution)
{
	Decider		decider = {0};
	Jsonb	   *new_row = NULL;
	TruncationNote truncation;
	RowKey		row_key;

	memset(resolution, 0, sizeof(Resolution));
	decider.policy = mc_policy_table(RelationGetRelid(table->rel),
									 mc_policy_epoch_of(transaction->version));
	if (decider.policy == NULL || table->index == NULL ||
		mc_table_key_has_null(table, key))
		return;
	if (mc_note_truncation(transaction, table, &truncation))
	{
		if (truncation.own)
			decider.withdrawn = op == MERGE_OP_DELETE;
		else
			decider.truncated = truncation.version;
	}
	decider.transaction = transaction;
	decider.table = table;
	if (is_truncated(&decider, transaction->version))
	{
		/* What is here is of a greater epoch, and may have a smaller version. */
		resolution->decided = mc_version_compare(transaction->version,
												 local->state.version) > 0;
		resolution->resolver = "policy_epoch";
		resolution->decision.conflict = type_of(op, local, otherwise.conflict);
		keep_local(resolution);
		return;
	}
	decider.op = op;
	decider.key = key;
	decider.local = local;
	decider.resolution = resolution;
	mc_note_key(table, key, &row_key);
	decider.key_values = row_key.values;
	resolution->decision.conflict = type_of(op, local, otherwise.conflict);
	if (op != MERGE_OP_DELETE)
	{
		new_row = mc_note_change_to_jsonb(table, &table->new_row);
		resolution->incomplete = table->new_row.any_unchanged;
	}
	resolution->any_row = new_row;
	if (local->state.knowledge == LOCAL_NOTHING)
	{
		McResolver	missing = decider.policy->family[FAMILY_MISSING].resolver;

		if (op != MERGE_OP_INSERT && !resolution->incomplete &&
			is_local_resolver(missing, FAMILY_MISSING))
			decide_missing(&decider, missing);
		return;
	}
	collect(&decider, new_row);
	resolution->seen_all = decider.rows == NIL && !decider.outdated;
	if (decider.outdated)
	{
		resolution->decided = true;
		resolution->resolver = mc_resolver_name(RESOLVER_LAST_UPDATE_WINS);
		keep_local(resolution);
		return;
	}

	/* Where nothing special was set yet the merge table decides. */
	if (resolution->seen_all || decider.epoch == 0)
		return;
	resolution->decided = true;
	resolution->epoch = decider.epoch;
	if (!decider.withdrawn && !list_member_ptr(decider.rows, decider.incoming))
	{
		resolution->resolver = "policy_epoch";
		keep_local(resolution);
		return;
	}
	if (resolution->incomplete)
		resolution->decision.verdict = VERDICT_QUARANTINE;
	else
		decide_set(&decider);
}

/* ---- after a TRUNCATE ---- */

/* Decide again on a key of whose siblings the TRUNCATE has killed some. */
static void
decide_again(RemoteTransaction *transaction, TargetTable *table,
			 const KeyNote *note)
{
	RemoteRow	key = mc_siblings_make_row(table, note->key.values);
	Decider		decider = {0};
	Resolution	resolution = {0};
	LocalRow	local;
	List	   *notes;
	ListCell   *cell;

	mc_lookup(transaction, table, &key, table->local_row, true, &local);
	decider.truncated = transaction->version;
	decider.truncating = true;
	decider.transaction = transaction;
	decider.table = table;
	decider.key = &key;
	decider.key_values = note->key.values;
	decider.local = &local;
	decider.resolution = &resolution;
	decider.rows = find_siblings(&decider);
	notes = list_copy(local.notes);
	if (decider.rows != NIL)
	{
		list_sort(decider.rows, compare_rows);
		decider.incoming = llast(decider.rows);
		foreach(cell, decider.rows)
		{
			decider.epoch = Max(decider.epoch,
								((SiblingRow *) lfirst(cell))->sibling.epoch);
		}
		decider.policy = mc_policy_table(RelationGetRelid(table->rel), decider.epoch);
		decide_set(&decider);
		if (resolution.siblings != NIL &&
			mc_siblings_write_outcome(transaction, table, &key, &local,
									  &resolution) != WRITE_DONE)
			elog(ERROR, "a row of a locked table was changed");
	}
	mc_siblings_forget(notes);
	mc_siblings_remember(table, &key, &resolution);
	CommandCounterIncrement();
}

void
mc_siblings_truncate(RemoteTransaction *transaction, TargetTable *table)
{
	List	   *done = NIL;
	ListCell   *cell;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	table->estate->es_snapshot = GetActiveSnapshot();
	mc_write_begin_record(table);
	foreach(cell, mc_note_list(RelationGetRelid(table->rel), NOTE_SIBLING))
	{
		const KeyNote *note = lfirst(cell);
		bool		again = false;
		ListCell   *other;

		foreach(other, done)
		{
			const KeyNote *before = lfirst(other);

			again |= before->key.hash == note->key.hash &&
				mc_note_same_key(table, before->key.values, note->key.values);
		}
		if (again || mc_policy_compare(RelationGetRelid(table->rel), note->version,
									   transaction->version) > 0)
			continue;
		done = lappend(done, unconstify(KeyNote *, note));
		decide_again(transaction, table, note);
	}
	mc_write_end_record(table);
	table->estate->es_snapshot = InvalidSnapshot;
	PopActiveSnapshot();
}
