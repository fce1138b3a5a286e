/*-------------------------------------------------------------------------
 *
 * join.c
 *	  Join a group while it goes on working.
 *
 * NOTES
 *	  The states of a join, as the row of the new center shows them:
 *
 *	  (none)	  Configuration, both connection strings, the sponsor, every
 *				  member, names, tables and roles are checked.  Nothing is
 *				  written anywhere; a failure leaves nothing.
 *	  joining	  With a lock on every member, in the order of their ids, the
 *				  greatest id ever seen + 1 is taken.  Identity, the list of
 *				  members and the replication origins are written here first,
 *				  so that a crash can be undone, then our row everywhere.
 *				  Then each member P gets a slot for us, writes a marker behind
 *				  the slot's start, and the sponsor S applies up to it: S lacks
 *				  nothing that is before the start of any slot.
 *	  copying	  (copy => 'data' only; written at S before its slot is made, so
 *				  that neither the copy nor the stream brings back an older
 *				  state.)  S's slot exports a snapshot.  For every P, S tells
 *				  how far P's changes are visible in that snapshot: that is
 *				  where P's stream goes on here, so nothing is lost and nothing
 *				  comes twice.  Schema, rows, the list of centers and sequences
 *				  are written in one transaction, tagged with the copy origin:
 *				  their version is the base version, older than any change.
 *	  catching_up Our own slots exist, for every member, made before the first
 *				  local write is allowed, and the epoch of the policies for
 *				  conflicts has been taken over.  The gate opens; the manager starts
 *				  receivers, the members start theirs.
 *	  ready		  Written by the manager once every link has caught up.
 *
 *	  From "joining" until "catching_up" the write gate is closed.  A failure
 *	  in that time is undone by mc_join_clean_up(), which works by what is
 *	  recorded and so also after a crash: our row becomes "parted" everywhere
 *	  (the id stays used up), slots for us are dropped, and here everything
 *	  goes but the schema that was copied; its rows go too, unless it was a
 *	  crash between the commit of the copy and the next state.
 *
 *	  Locks on members are advisory locks of sessions; they end with the
 *	  connection, whatever happens.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "control/departed.h"
#include "control/join.h"
#include "control/join_state.h"
#include "control/policy_epoch.h"
#include "control/setup.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "core/wire.h"
#include "replication/slot.h"
#include "state/clock.h"
#include "state/join_progress.h"
#include "state/shared.h"
#include "storage/lmgr.h"
#include "catalog/namespace.h"
#include "catalog/pg_replication_origin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "compat.h"

/* How long an answer to a small question may take. */
#define ANSWER_MS			20000

/* How often the list of members may change while we take our locks. */
#define LOCK_ATTEMPTS		5

/* The sponsor may stand still that long behind another member. */
#define MARKER_PATIENCE_MS	60000
#define MARKER_POLL_MS		5000

/* ---- checks ---- */

/* Is a conversion of text between two encodings possible?  In a step. */
static bool
can_convert(int from, int to)
{
	return from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII ||
		(OidIsValid(FindDefaultConversionProc(from, to)) &&
		 OidIsValid(FindDefaultConversionProc(to, from)));
}

/* Can a center with these properties replicate with us? */
static void
check_compatible(const PeerHello *hello, const char *label)
{
	bool		convertible;

	if (Max(hello->protocol_min, MC_PROTOCOL_MIN) > Min(hello->protocol_max, MC_PROTOCOL_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("no protocol version in common with center \"%s\"", label),
				 errdetail("It speaks versions %d to %d, this center %d to %d.",
						   hello->protocol_min, hello->protocol_max,
						   MC_PROTOCOL_MIN, MC_PROTOCOL_MAX),
				 errhint("Install a newer version of multicenter on the older one.")));

	mc_step_begin();
	convertible = can_convert(pg_char_to_encoding(hello->encoding), GetDatabaseEncoding());
	mc_step_end();
	if (!convertible)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot convert text between the encoding %s of center \"%s\" and %s of this database",
						hello->encoding, label, GetDatabaseEncodingName()),
				 errhint("Use a database with the same encoding, best UTF8.")));
}

/* Is there room for the slots of our changes and the one of dead rows? */
static void
check_room(int needed)
{
	int			used = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
		if (ReplicationSlotCtl->replication_slots[i].in_use)
			used++;
	LWLockRelease(ReplicationSlotControlLock);
	if (used + needed > max_replication_slots)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("not enough replication slots are free here: %d are needed, %d of %d are in use",
						needed, used, max_replication_slots),
				 errhint("Set max_replication_slots = %d or more in postgresql.conf and restart the server.",
						 used + needed)));
}

/* Meet the sponsor and see whether we can join through it. */
static void
meet_sponsor(GroupJoin *join)
{
	Operation  *operation = join->operation;
	PeerHello  *hello;

	join->entrance = mc_peer_connect(operation->join_dsn, "sponsor (join_dsn)",
									 "multicenter join", false);
	hello = mc_peer_hello(join->entrance, "sponsor (join_dsn)");
	join->sponsor_hello = hello;
	if (hello->system_identifier == GetSystemIdentifier() &&
		hello->dboid == MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a center cannot join itself"),
				 errdetail("join_dsn leads to this very database."),
				 errhint("Give the connection string of a center that is in the group.")));
	if (hello->group_uuid == NULL || strcmp(hello->state, "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the database at join_dsn cannot be the sponsor of a join"),
				 hello->group_uuid == NULL ?
				 errdetail("It is in no group.") :
				 errdetail("Its state is \"%s\".", hello->state),
				 hello->group_uuid == NULL ?
				 errhint("Create a group there with group_create(), or give another join_dsn.") :
				 errhint("Wait until it is ready, or give another join_dsn.")));
	if (operation->copy_data && hello->release > PG_MAJORVERSION_NUM)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot copy from PostgreSQL %d to %d",
						hello->release, PG_MAJORVERSION_NUM),
				 errdetail("The schema is dumped by pg_dump of this server, which must not be older."),
				 errhint("Join through a center with an older release, or copy the tables by other means and use copy => 'none'.")));
	check_compatible(hello, hello->center_name);

	/* Once it counts us as a member, it waits for our promises, too. */
	join->frontier = mc_peer_query(join->entrance,
								   "SELECT coalesce(multicenter.peer_frontier(), '-infinity')",
								   0, NULL, ANSWER_MS)->rows[0][0];
}

/* Read the list of members from the sponsor. */
static List *
read_members(GroupJoin *join)
{
	PeerResult *result;
	List	   *members = NIL;

	result = mc_peer_query(join->entrance, "SELECT center_id, center_name, dsn, state"
						   " FROM multicenter.peer_centers()"
						   " WHERE state OPERATOR(pg_catalog.<>) 'parted' ORDER BY center_id",
						   0, NULL, ANSWER_MS);
	for (int i = 0; i < result->nrows; i++)
	{
		Member	   *member = palloc0(sizeof(Member));

		member->id = (CenterId) atoi(result->rows[i][0]);
		member->name = result->rows[i][1];
		member->dsn = result->rows[i][2];
		member->state = result->rows[i][3];
		members = lappend(members, member);
	}
	return members;
}

/* Can we become a member beside these? */
static void
check_members(GroupJoin *join)
{
	ListCell   *lc;

	foreach(lc, join->members)
	{
		Member	   *member = lfirst(lc);

		if (strcmp(member->name, NameStr(join->operation->center_name)) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("group \"%s\" already has a center \"%s\"",
							join->sponsor_hello->group_name, member->name),
					 errhint("Choose another center_name, or remove that center with center_part() first.")));
		if (strcmp(member->state, "ready") != 0 && strcmp(member->state, "catching_up") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot join while center \"%s\" is %s", member->name, member->state),
					 errhint("Wait until it has finished. If it never will, remove it with center_part(center_name => '%s', force => true).",
							 member->name)));
	}
	check_room(list_length(join->members) + 1);
}

/*
 * Connect to a member by its own connection string, which is the one that our
 * receiver will use, and make sure that it is that member.
 */
static void
connect_member(GroupJoin *join, Member *member)
{
	member->peer = mc_peer_connect(member->dsn, member->name, "multicenter join", false);
	member->hello = mc_peer_hello(member->peer, member->name);
	if (member->hello->group_uuid == NULL ||
		strcmp(member->hello->group_uuid, join->sponsor_hello->group_uuid) != 0 ||
		member->hello->center_id != member->id)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the database at the dsn of center \"%s\" is not that center", member->name),
				 member->hello->group_name == NULL ?
				 errdetail("It is in no group.") :
				 errdetail("It is center \"%s\" of group \"%s\".",
						   member->hello->center_name ? member->hello->center_name : "",
						   member->hello->group_name),
				 errhint("Correct its dsn with center_alter(), or remove it with center_part(center_name => '%s', force => true).",
						 member->name)));
	check_compatible(member->hello, member->name);
	if (member->id == join->sponsor_hello->center_id)
		join->sponsor = member;
}

/* Tables and roles, as far as they can be checked before anything is done. */
static void
check_data(GroupJoin *join)
{
	List	   *tables = mc_join_tables(join->entrance);

	mc_step_begin();
	mc_join_check_tables(join, tables);
	mc_step_end();
}

/* ---- the lock on all members, and our id ---- */

/* Are these the same centers? */
static bool
same_members(List *a, List *b)
{
	ListCell   *la;
	ListCell   *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
		if (((Member *) lfirst(la))->id != ((Member *) lfirst(lb))->id)
		return false;
	return true;
}

/* Close the sessions with all members, and so give up their locks. */
static void
close_members(GroupJoin *join)
{
	ListCell   *lc;

	foreach(lc, join->members)
	{
		Member	   *member = lfirst(lc);

		if (member->peer != NULL)
			mc_peer_close(member->peer);
		member->peer = NULL;
	}
	join->sponsor = NULL;
}

/*
 * Connect to the members and lock them.  Returns false if the list of members
 * had changed when all were locked: another center was quicker.
 */
static bool
try_lock_members(GroupJoin *join)
{
	ListCell   *lc;

	join->members = read_members(join);
	check_members(join);
	foreach(lc, join->members)
		connect_member(join, lfirst(lc));
	if (join->sponsor == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the sponsor is not in its own list of centers")));
	foreach(lc, join->members)
		(void) mc_peer_query(((Member *) lfirst(lc))->peer,
							 "SELECT multicenter.peer_lock()", 0, NULL, ANSWER_MS);
	return same_members(join->members, read_members(join));
}

/* Lock every member, in the order of their ids. */
static void
lock_members(GroupJoin *join)
{
	for (int i = 0; i < LOCK_ATTEMPTS; i++)
	{
		if (try_lock_members(join))
			return;
		close_members(join);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("the members of group \"%s\" kept changing", join->sponsor_hello->group_name),
			 errhint("Try again.")));
}

/* Take the id after the greatest that any member has ever seen. */
static void
choose_id(GroupJoin *join)
{
	int			last = 0;
	ListCell   *lc;

	foreach(lc, join->members)
	{
		Member	   *member = lfirst(lc);
		PeerResult *result;
		int			seen;

		result = mc_peer_query(member->peer, "SELECT last_center_id FROM multicenter.peer_hello()",
							   0, NULL, ANSWER_MS);
		seen = atoi(result->rows[0][0]);
		last = Max(last, seen);
	}
	if (last >= MC_MAX_CENTER_ID)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("group \"%s\" has used up its %d center ids",
						join->sponsor_hello->group_name, MC_MAX_CENTER_ID),
				 errdetail("Ids of centers that have parted are never used again.")));
	join->id = (CenterId) (last + 1);
	join->operation->center_id = join->id;
}

/* ---- writing down the new center ---- */

/* The origins that stand for the peers, for copied rows, and for the center. */
static void
create_origins(GroupJoin *join)
{
	char		name[NAMEDATALEN];
	ListCell   *lc;

	replorigin_create(mc_copy_origin_name(name, MyDatabaseId));
	foreach(lc, join->members)
		replorigin_create(mc_origin_name(name, MyDatabaseId, ((Member *) lfirst(lc))->id));
	replorigin_create(mc_marker_origin_name(name, MyDatabaseId));
}

/*
 * Write identity, members and our own row here.  Returns our row, as JSON.
 * The rows of the members are replaced by the copy, but needed to undo.
 */
static const char *
register_here(GroupJoin *join)
{
	Operation  *operation = join->operation;
	const char *group[4] = {join->sponsor_hello->group_name,
		join->sponsor_hello->group_uuid,
	mc_id_text(join->id)};
	const char *row[7] = {mc_id_text(join->id), NameStr(operation->center_name)};
	const char *result;
	PeerResult *centers;

	centers = mc_peer_query(join->sponsor->peer,
							"SELECT center_row FROM multicenter.peer_centers()",
							0, NULL, ANSWER_MS);

	/* The first commit of the center wants a place in the pool. */
	mc_clock_prepare();

	mc_step_begin();
	join->uuid = mc_step_sql("SELECT pg_catalog.gen_random_uuid()", 0, NULL);
	group[3] = join->uuid;
	mc_step_sql("SELECT multicenter.internal_identity_write($1::pg_catalog.name,"
				" $2::pg_catalog.uuid, $3::pg_catalog.int4, $4::pg_catalog.uuid)",
				4, group);
	for (int i = 0; i < centers->nrows; i++)
		mc_step_sql("SELECT multicenter.peer_center_add($1::pg_catalog.jsonb)",
					1, (const char *const *) centers->rows[i]);
	row[2] = join->uuid;
	row[3] = operation->site[0] ? operation->site : NULL;
	row[4] = operation->center_kind;
	row[5] = mc_center_state_name(CENTER_JOINING);
	row[6] = operation->dsn;
	result = mc_step_sql("SELECT multicenter.internal_center_row($1::pg_catalog.int4,"
						 " $2::pg_catalog.name, $3::pg_catalog.uuid, $4, $5, $6, $7)",
						 7, row);
	mc_step_sql("SELECT multicenter.peer_center_add($1::pg_catalog.jsonb)", 1, &result);
	create_origins(join);
	mc_setup_enable_plugin();
	mc_step_end();
	return result;
}

/* Become a member in state joining, here and everywhere. */
static void
register_center(GroupJoin *join)
{
	const char *row;
	ListCell   *lc;

	mc_gate_set(MyDatabaseId, GATE_JOINING);
	row = register_here(join);
	foreach(lc, join->members)
		(void) mc_peer_query(((Member *) lfirst(lc))->peer,
							 "SELECT multicenter.peer_center_add($1::pg_catalog.jsonb)",
							 1, &row, ANSWER_MS);
	foreach(lc, join->members)
		(void) mc_peer_query(((Member *) lfirst(lc))->peer,
							 "SELECT multicenter.peer_unlock()", 0, NULL, ANSWER_MS);
	mc_shared_wake_supervisor();
}

/* ---- slots for us at the members ---- */

static OriginLsn
parse_lsn(const char *text)
{
	OriginLsn	lsn;

	lsn.value = DatumGetLSN(DirectFunctionCall1(pg_lsn_in, CStringGetDatum(text)));
	return lsn;
}

/*
 * Make the slot at a member that serves us.  With exporting, the connection is
 * kept, because its end is the end of the snapshot.
 */
static void
create_slot(GroupJoin *join, Member *member, bool exporting)
{
	char		name[NAMEDATALEN];
	PeerConnection *peer;
	PeerResult *result;

	mc_slot_name(name, member->hello->dboid, join->id);
	peer = mc_peer_connect(member->dsn, member->name, name, true);
	result = mc_peer_query(peer, psprintf("CREATE_REPLICATION_SLOT \"%s\" LOGICAL %s (SNAPSHOT '%s')",
										  name, MC_PLUGIN, exporting ? "export" : "nothing"),
						   0, NULL, 0);
	member->slot_start = parse_lsn(result->rows[0][1]);
	member->start = member->slot_start;
	if (!exporting)
	{
		mc_peer_close(peer);
		return;
	}
	join->snapshot = result->rows[0][2];
	join->snapshot_holder = peer;
}

/* Write a marker into a member's stream, behind the start of its slot. */
static void
write_marker(Member *member)
{
	PeerResult *result;

	result = mc_peer_query(member->peer, "SELECT multicenter.peer_marker()", 0, NULL, ANSWER_MS);
	member->marker = parse_lsn(result->rows[0][0]);
}

/* Wait until the sponsor has applied a member's marker. */
static void
await_marker(GroupJoin *join, Member *member)
{
	const char *params[3] = {mc_id_text(member->id)};
	OriginLsn	last = {0};
	TimestampTz last_move = GetCurrentTimestamp();

	params[1] = psprintf("%X/%X", LSN_FORMAT_ARGS(member->marker.value));
	params[2] = mc_id_text(MARKER_POLL_MS);
	for (;;)
	{
		PeerResult *result;
		OriginLsn	applied = {0};

		result = mc_peer_query(join->sponsor->peer,
							   "SELECT multicenter.peer_wait_applied($1::pg_catalog.int4,"
							   " $2::pg_catalog.pg_lsn, $3::pg_catalog.int4)",
							   3, params, MARKER_POLL_MS + ANSWER_MS);
		if (result->rows[0][0] != NULL)
			applied = parse_lsn(result->rows[0][0]);
		if (applied.value >= member->marker.value)
			return;
		if (applied.value != last.value)
			last_move = GetCurrentTimestamp();
		last = applied;
		if (TimestampDifferenceExceeds(last_move, GetCurrentTimestamp(), MARKER_PATIENCE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the sponsor \"%s\" does not receive the changes of center \"%s\"",
							join->sponsor->name, member->name),
					 errhint("See the view lag on the sponsor, or join through another center.")));
	}
}

/*
 * Slots at all members but the sponsor, and what the sponsor must have seen:
 * without a copy, still the list of centers.
 */
static void
create_member_slots(GroupJoin *join)
{
	ListCell   *lc;

	foreach(lc, join->members)
	{
		Member	   *member = lfirst(lc);

		if (member == join->sponsor)
			continue;
		create_slot(join, member, false);
		write_marker(member);
	}
	foreach(lc, join->members)
		if (lfirst(lc) != join->sponsor)
		await_marker(join, lfirst(lc));
}

/* ---- going live ---- */

/* Every origin begins where the copy ends. */
static void
set_positions(GroupJoin *join)
{
	char		name[NAMEDATALEN];
	ListCell   *lc;

	mc_step_begin();
	LockRelationOid(ReplicationOriginRelationId, RowExclusiveLock);
	foreach(lc, join->members)
	{
		Member	   *member = lfirst(lc);
		RepOriginId origin;

		origin = replorigin_by_name(mc_origin_name(name, MyDatabaseId, member->id), false);
		replorigin_advance(origin, member->start.value, InvalidXLogRecPtr, true, true);
	}

	/* Nothing more is copied: do not let the copy occupy a place. */
	mc_origin_retire(mc_copy_origin_name(name, MyDatabaseId));
	mc_step_end();
}

/* Our own slots, one for each member, each in a transaction without an xid. */
static void
create_own_slots(GroupJoin *join)
{
	ListCell   *lc;

	foreach(lc, join->members)
	{
		char		name[NAMEDATALEN];
		const char *params[1];

		params[0] = mc_slot_name(name, MyDatabaseId, ((Member *) lfirst(lc))->id);
		mc_step_begin();
		mc_step_sql("SELECT pg_catalog.pg_create_logical_replication_slot("
					"$1::pg_catalog.name, '" MC_PLUGIN "')", 1, params);
		mc_step_end();
	}
}

/* A member to be told our new state; for mc_operation_try(). */
typedef struct Announcement
{
	GroupJoin  *join;
	Member	   *member;
} Announcement;

/*
 * Tell one member that we are catching up.  Its session may have ended during
 * the copy, so a new one is used.
 */
static void
announce(void *arg)
{
	Announcement *announcement = arg;
	Member	   *member = announcement->member;
	PeerConnection *peer;

	peer = mc_peer_connect(member->dsn, member->name, "multicenter join", false);
	mc_peer_tell_state(peer, announcement->join->id, CENTER_CATCHING_UP);
	mc_peer_close(peer);
}

/*
 * From here on the join is done.  A member that cannot be told now learns it
 * from the stream of another.
 */
static void
go_live(GroupJoin *join)
{
	ListCell   *lc;

	mc_step_begin();
	mc_registry_set_state(join->id, CENTER_CATCHING_UP);
	mc_step_end();
	mc_gate_set(MyDatabaseId, GATE_OPEN);

	foreach(lc, join->members)
	{
		Announcement announcement = {join, lfirst(lc)};
		ErrorData  *error = mc_operation_try(announce, &announcement);

		if (error != NULL)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not tell center \"%s\" that the join is done: %s",
							announcement.member->name, error->message)));
	}
	mc_shared_reload(MyDatabaseId);
	mc_shared_wake_supervisor();
}

void
mc_join_group(Operation *operation)
{
	GroupJoin  *join = palloc0(sizeof(GroupJoin));

	join->operation = operation;
	join->context = CurrentMemoryContext;
	mc_join_progress_begin();

	mc_step_begin();
	mc_setup_require();
	mc_step_end();
	mc_check_own_dsn(operation->dsn);
	meet_sponsor(join);
	mc_join_progress_phase(JOIN_LOCKING);
	lock_members(join);
	mc_join_progress_peer(join->sponsor->name);
	mc_join_progress_phase(JOIN_CHECKING_TABLES);
	if (operation->copy_data)
		check_data(join);

	mc_join_progress_phase(JOIN_REGISTERING);
	choose_id(join);
	register_center(join);

	/*
	 * What they write would be in no slot of ours; empty tables are counted
	 * on.
	 */
	mc_join_progress_phase(JOIN_DRAINING);
	mc_drain_writers();
	mc_join_progress_phase(JOIN_SLOTS);
	create_member_slots(join);
	if (operation->copy_data)
	{
		mc_peer_tell_state(join->sponsor->peer, join->id, CENTER_COPYING);
		create_slot(join, join->sponsor, true);
		mc_join_copy_data(join);
		mc_peer_close(join->snapshot_holder);
	}
	else
	{
		create_slot(join, join->sponsor, false);
		mc_join_copy_centers(join);
	}
	mc_join_progress_phase(JOIN_GOING_LIVE);
	set_positions(join);
	create_own_slots(join);
	mc_join_raise_floor(join);
	mc_policy_take_over();
	go_live(join);
	mc_join_progress_phase(JOIN_CATCHING_UP);
}

/* ---- undoing ---- */

/* One member at which a join is undone; for mc_operation_try(). */
typedef struct Undo
{
	const Identity *identity;
	const Center *member;
} Undo;

/* Make a member forget us: our row has parted, no slot serves us. */
static void
undo_at_member(void *arg)
{
	Undo	   *undo = arg;
	const char *params[] = {mc_id_text(undo->identity->center_id)};
	PeerConnection *peer;

	peer = mc_peer_open(undo->member, undo->member->dsn, undo->identity);
	mc_peer_tell_state(peer, undo->identity->center_id, CENTER_PARTED);
	(void) mc_peer_query(peer, "SELECT multicenter.peer_slot_drop($1::pg_catalog.int4)",
						 1, params, ANSWER_MS);
	mc_peer_close(peer);
}

/* Read who we are and who was told; false if no join is to be undone. */
static bool
read_unfinished_join(Identity *identity, List **centers)
{
	MemoryContext context = CurrentMemoryContext;
	bool		unfinished = false;

	mc_step_begin();
	MemoryContextSwitchTo(context);
	if (mc_registry_identity(identity) && !identity->detached)
	{
		Center		own;

		unfinished = mc_registry_center(identity->center_id, &own) &&
			(own.state == CENTER_JOINING || own.state == CENTER_COPYING);
		*centers = mc_registry_centers();
	}
	mc_step_end();
	return unfinished;
}

bool
mc_join_clean_up(void)
{
	Identity	identity;
	List	   *centers = NIL;
	ListCell   *lc;
	SharedDatabase *entry;
	int			told = 0;

	mc_join_release_origin();
	if (!read_unfinished_join(&identity, &centers))
	{
		bool		is_center;

		/* It failed before it was written down: there is only the gate. */
		mc_step_begin();
		is_center = mc_database_is_center(MyDatabaseId);
		mc_step_end();
		entry = mc_shared_database(MyDatabaseId, false);
		if (!is_center && entry != NULL &&
			pg_atomic_read_u32(&entry->gate) == GATE_JOINING)
			pg_atomic_write_u32(&entry->gate, GATE_NO_GROUP);
		return true;
	}
	mc_join_progress_phase(JOIN_UNDOING);
	foreach(lc, centers)
	{
		Center	   *center = lfirst(lc);
		Undo		undo = {&identity, center};
		ErrorData  *error;

		if (center->id == identity.center_id)
			continue;
		error = mc_operation_try(undo_at_member, &undo);
		if (error == NULL ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_CONNECTION_EXCEPTION)
			told++;
		if (error != NULL)
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("could not undo the join at center \"%s\": %s",
							NameStr(center->name), error->message),
					 errhint("It drops the slot for this center itself when it learns from another center that the join has failed.")));
	}
	mc_join_discard_data();

	/* One member tells the others; if there is none, somebody must come back. */
	if (told == 0 && list_length(centers) > 1)
		return false;
	mc_remove_traces();
	mc_join_progress_end(MyDatabaseId);
	return true;
}
