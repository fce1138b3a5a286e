/*-------------------------------------------------------------------------
 *
 * handshake.c
 *	  May this peer have our changes, and how does it want them?
 *
 * NOTES
 *	  The options of START_REPLICATION say who asks (group, origin_id,
 *	  target_id), from where on (position), what it understands (proto_min,
 *	  proto_max) and what its server is like (architecture, encoding).  All of them must be there, so
 *	  that nobody reads a slot of ours by mistake and moves it on.  One that
 *	  wants frames to be compressed says by which method (compression).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/image.h"
#include "core/wire.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "origin/handshake.h"
#include "replication/snapbuild.h"
#include "state/registry.h"
#include "state/vector.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/uuid.h"

#include "compat.h"

/* The options, as they are numbered in option_names. */
typedef enum StartOption
{
	OPTION_PROTO_MIN,
	OPTION_PROTO_MAX,
	OPTION_GROUP,
	OPTION_ORIGIN_ID,
	OPTION_TARGET_ID,
	OPTION_ARCHITECTURE,
	OPTION_ENCODING,
	OPTION_POSITION,
	OPTION_COMPRESSION,			/* the only one that may be left out */
} StartOption;

#define REQUIRED_OPTIONS (OPTION_POSITION + 1)
#define OPTION_COUNT (OPTION_COMPRESSION + 1)

static const char *const option_names[OPTION_COUNT] = {
	[OPTION_PROTO_MIN] = "proto_min",
	[OPTION_PROTO_MAX] = "proto_max",
	[OPTION_GROUP] = "group",
	[OPTION_ORIGIN_ID] = "origin_id",
	[OPTION_TARGET_ID] = "target_id",
	[OPTION_ARCHITECTURE] = "architecture",
	[OPTION_ENCODING] = "encoding",
	[OPTION_POSITION] = "position",
	[OPTION_COMPRESSION] = "compression",
};

/* The same, read. */
typedef struct PeerOptions
{
	int			proto_min;
	int			proto_max;
	pg_uuid_t	group;
	CenterId	origin_id;
	CenterId	target_id;
	const char *architecture;
	int			encoding;
	XLogRecPtr	position;		/* as in START_REPLICATION itself */
	PackMethod	compression;
} PeerOptions;

/* What own_transaction_end() has to give back. */
typedef struct OwnTransaction
{
	bool		started;
	MemoryContext caller_context;
} OwnTransaction;

/* Sort the options into values[], an array by StartOption. */
static void
collect_options(List *options, const char **values)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);
		int			i = 0;

		while (i < OPTION_COUNT && strcmp(option_names[i], option->defname) != 0)
			i++;
		if (i == OPTION_COUNT)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized option \"%s\" for output plugin \"%s\"",
							option->defname, MC_PLUGIN)));
		if (values[i] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("option \"%s\" is given twice", option->defname)));
		values[i] = option->arg ? strVal(option->arg) : "";
	}
}

/* An error that says who may read the slot, unless all options are there. */
static void
require_options(const char *slot_name, const char **values)
{
	for (int i = 0; i < REQUIRED_OPTIONS; i++)
		if (values[i] == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("replication slot \"%s\" is only for centers of its multicenter group",
							slot_name),
					 errdetail("Option \"%s\" of output plugin \"%s\" is missing.",
							   option_names[i], MC_PLUGIN),
					 errhint("To read changes with other software, create a slot with another"
							 " output plugin, such as pgoutput or test_decoding.")));
}

/* An option that is a number. */
static int
read_number(const char **values, StartOption option, int min, int max)
{
	const char *value = values[option];
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || number < min || number > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option_names[option], value)));
	return (int) number;
}

/* How frames are to be compressed; an error if this server cannot do that. */
static PackMethod
read_compression(const char *value)
{
	PackMethod	method = PACK_NONE;

	if (value != NULL && !mc_pack_from_name(value, &method))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option_names[OPTION_COMPRESSION], value)));
	if (!mc_pack_is_built(method))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server was built without support for compression by %s",
						mc_pack_name(method)),
				 errhint("Choose another method at the center that receives, by"
						 " multicenter.link_alter() or multicenter.compression.")));
	return method;
}

/* Read all options; errors where they are not what a peer would send. */
static void
read_options(LogicalDecodingContext *ctx, PeerOptions *peer)
{
	const char *values[OPTION_COUNT] = {NULL};

	collect_options(ctx->output_plugin_options, values);
	require_options(NameStr(ctx->slot->data.name), values);

	peer->proto_min = read_number(values, OPTION_PROTO_MIN, 1, PG_UINT8_MAX);
	peer->proto_max = read_number(values, OPTION_PROTO_MAX, peer->proto_min, PG_UINT8_MAX);
	peer->origin_id = (CenterId) read_number(values, OPTION_ORIGIN_ID, 1, MC_MAX_CENTER_ID);
	peer->target_id = (CenterId) read_number(values, OPTION_TARGET_ID, 1, MC_MAX_CENTER_ID);
	peer->group = *DatumGetUUIDP(DirectFunctionCall1(uuid_in,
													 CStringGetDatum(values[OPTION_GROUP])));
	peer->architecture = values[OPTION_ARCHITECTURE];
	peer->position = DatumGetLSN(DirectFunctionCall1(pg_lsn_in,
													 CStringGetDatum(values[OPTION_POSITION])));
	peer->compression = read_compression(values[OPTION_COMPRESSION]);
	peer->encoding = pg_char_to_encoding(values[OPTION_ENCODING]);
	if (!PG_VALID_BE_ENCODING(peer->encoding))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option_names[OPTION_ENCODING], values[OPTION_ENCODING])));
}

/*
 * Where the stream starts: at the position that the peer asks for, but not
 * before what it has confirmed.  PostgreSQL does not tell the plugin, so the
 * peer says it once more; dependency vectors would be wrong if it were not so.
 */
static LocalLsn
start_position(LogicalDecodingContext *ctx, const PeerOptions *peer)
{
	LocalLsn	start = {Max(peer->position, ctx->slot->data.confirmed_flush)};

	if (SnapBuildXactNeedsSkip(ctx->snapshot_builder, start.value) ||
		(start.value > 0 &&
		 !SnapBuildXactNeedsSkip(ctx->snapshot_builder, start.value - 1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is not the position where the stream starts",
						option_names[OPTION_POSITION])));
	return start;
}

/* The greatest version of the protocol that both sides speak. */
static uint8
choose_version(const PeerOptions *peer)
{
	if (peer->proto_max < MC_PROTOCOL_MIN || peer->proto_min > MC_PROTOCOL_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("peer speaks protocol versions %d to %d, but this center speaks versions %d to %d",
						peer->proto_min, peer->proto_max, MC_PROTOCOL_MIN, MC_PROTOCOL_MAX),
				 errhint("Update the older one of the two installations of multicenter.")));
	return (uint8) Min(peer->proto_max, MC_PROTOCOL_MAX);
}

/*
 * Say whether this process is a decoding one whose snapshots do not count.
 * The walsender has declared so when the plugin starts.
 */
static void
set_decoding_flag(bool decoding)
{
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	if (decoding)
		MyProc->statusFlags |= PROC_IN_LOGICAL_DECODING;
	else
		MyProc->statusFlags &= ~PROC_IN_LOGICAL_DECODING;
	ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
	LWLockRelease(ProcArrayLock);
}

/*
 * Make sure that we are in a transaction whose snapshot holds back VACUUM: the
 * registry is ordinary tables.  The SQL functions that read a slot are in one;
 * a walsender is not.  After an error in between, the flag of the walsender is
 * set again by its next START_REPLICATION.
 */
static void
own_transaction_begin(OwnTransaction *own)
{
	own->started = !IsTransactionState();
	own->caller_context = CurrentMemoryContext;
	if (!own->started)
		return;
	set_decoding_flag(false);
	StartTransactionCommand();
}

static void
own_transaction_end(OwnTransaction *own)
{
	if (!own->started)
		return;
	CommitTransactionCommand();
	set_decoding_flag(true);
	MemoryContextSwitchTo(own->caller_context);
}

/* Check that the peer means this database. */
static void
check_identity(const PeerOptions *peer)
{
	Identity	identity;

	if (!mc_registry_identity(&identity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is in no multicenter group"),
				 errhint("Check the connection string of this center.")));
	if (identity.detached)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy of center %u of group \"%s\"",
						identity.center_id, NameStr(identity.group_name)),
				 errhint("Let the links use the original, or remove the copy's identity with"
						 " multicenter.group_remove_local().")));
	if (memcmp(&identity.group_uuid, &peer->group, sizeof(pg_uuid_t)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a member of another group, \"%s\"",
						NameStr(identity.group_name)),
				 errhint("Check the connection string of this center.")));
	if (identity.center_id != peer->origin_id)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is center %u of group \"%s\", not center %u",
						identity.center_id, NameStr(identity.group_name), peer->origin_id),
				 errhint("Check the connection strings of these two centers.")));
}

/* Check that the peer is a member that may have our changes now. */
static void
check_target(const PeerOptions *peer)
{
	Center		target;
	LinkOptions options;

	if (!mc_registry_center(peer->target_id, &target))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("center %u is not known in this group", peer->target_id)));
	if (target.state == CENTER_PARTED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("center \"%s\" has parted from the group", NameStr(target.name)),
				 errhint("To take part again, the center must join anew.")));
	mc_registry_link(peer->target_id, &options);
	if (options.stopped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("link to center \"%s\" was stopped for good: %s",
						NameStr(target.name), options.stopped),
				 errhint("Part the center that has gone back in time from the group and join it again.")));
	if (options.paused_out)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("link to center \"%s\" is paused at the origin", NameStr(target.name)),
				 errhint("Call multicenter.link_resume() at the origin.")));
}

/* Check that this is the slot that serves the peer. */
static void
check_slot(LogicalDecodingContext *ctx, const PeerOptions *peer)
{
	char		name[NAMEDATALEN];

	mc_slot_name(name, MyDatabaseId, peer->target_id);
	if (strcmp(NameStr(ctx->slot->data.name), name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("replication slot \"%s\" does not serve center %u",
						NameStr(ctx->slot->data.name), peer->target_id),
				 errdetail("The slot of that center is \"%s\".", name)));
}

/* Send functions convert text to the client's encoding by themselves. */
static void
check_encoding(const PeerOptions *peer)
{
	if (pg_get_client_encoding() != peer->encoding)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("client_encoding \"%s\" is not the encoding of the peer's database, \"%s\"",
						pg_get_client_encoding_name(),
						pg_encoding_to_char(peer->encoding))));
}

/*
 * Can the target read the images of our tuples?  Its architecture comes in
 * hexadecimal, which needs no quoting whatever is in it.
 */
static bool
reads_images(const PeerOptions *peer)
{
	char		ours[2 * MC_ARCH_LEN + 1];

	hex_encode(mc_image_architecture(), MC_ARCH_LEN, ours);
	ours[2 * MC_ARCH_LEN] = '\0';
	return strcmp(peer->architecture, ours) == 0 &&
		peer->encoding == GetDatabaseEncoding();
}

void
mc_handshake(LogicalDecodingContext *ctx, Handshake *result)
{
	PeerOptions peer;
	OwnTransaction own;

	read_options(ctx, &peer);
	result->target = peer.target_id;
	result->version = choose_version(&peer);
	result->encoding = peer.encoding;
	result->images = reads_images(&peer);
	result->compression = peer.compression;
	result->position = start_position(ctx, &peer);

	own_transaction_begin(&own);
	check_identity(&peer);
	check_slot(ctx, &peer);
	check_target(&peer);
	check_encoding(&peer);
	mc_vector_set_members(mc_registry_centers(), peer.origin_id);
	own_transaction_end(&own);
}
