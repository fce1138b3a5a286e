/*-------------------------------------------------------------------------
 *
 * message.c
 *	  Logical messages of multicenter in the WAL, with a proof of authorship.
 *
 * NOTES
 *	  A message is half an HMAC-SHA-256 and then the content.  Its key is the
 *	  authentication nonce in pg_control: random for each server, the same
 *	  after a restart and on a promoted standby, and out of reach of SQL.  The
 *	  code covers database, prefix and, for a transactional message, the xid,
 *	  so that a message that somebody has seen in the WAL is of no use in
 *	  another place.  (A heartbeat that is repeated says nothing new.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "origin/message.h"
#include "port/pg_bswap.h"
#include "utils/resowner.h"

#include "compat.h"

/* The first half of an HMAC-SHA-256, as in RFC 4868; each message has one. */
#define CODE_LENGTH		16

/* Where a message belongs; part of what the code covers. */
typedef struct MessagePlace
{
	uint32		dboid;
	uint32		xid;			/* 0: not transactional */
} MessagePlace;

/*
 * The state of the computation, which lives as long as the process: making it
 * anew costs more than using it.  So it has an owner of its own, too; a
 * walsender between two transactions has none.
 */
static pg_hmac_ctx *
get_hmac(void)
{
	static ResourceOwner owner = NULL;
	static pg_hmac_ctx *hmac = NULL;
	ResourceOwner caller_owner = CurrentResourceOwner;

	if (hmac != NULL)
		return hmac;
	if (owner == NULL)
		owner = ResourceOwnerCreate(NULL, "multicenter messages");
	CurrentResourceOwner = owner;
	hmac = pg_hmac_create(PG_SHA256);
	CurrentResourceOwner = caller_owner;
	return hmac;
}

/* Compute the code of a message into code[CODE_LENGTH]. */
static void
compute_code(const char *prefix, TransactionId xid, const char *content,
			 Size len, uint8 *code)
{
	pg_hmac_ctx *hmac = get_hmac();
	uint8		whole_code[PG_SHA256_DIGEST_LENGTH];
	MessagePlace place;

	place.dboid = pg_hton32((uint32) MyDatabaseId);
	place.xid = pg_hton32((uint32) xid);
	if (hmac == NULL ||
		pg_hmac_init(hmac, (const uint8 *) GetMockAuthenticationNonce(), MOCK_AUTH_NONCE_LEN) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) &place, sizeof(place)) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) prefix, strlen(prefix) + 1) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) content, len) < 0 ||
		pg_hmac_final(hmac, whole_code, sizeof(whole_code)) < 0)
		elog(ERROR, "could not compute the code of a message");
	memcpy(code, whole_code, CODE_LENGTH);
}

LocalLsn
mc_message_emit(const char *prefix, bool transactional, const char *content,
				uint32 len)
{
	uint8		code[CODE_LENGTH];
	TransactionId xid = InvalidTransactionId;
	StringInfoData message;
	LocalLsn	end;

	if (transactional)
		xid = GetTopTransactionId();
	compute_code(prefix, xid, content, len, code);

	initStringInfo(&message);
	appendBinaryStringInfo(&message, (const char *) code, sizeof(code));
	appendBinaryStringInfo(&message, content, (int) len);
	end.value = LogLogicalMessage_compat(prefix, message.data, message.len,
										 transactional, false);
	pfree(message.data);
	return end;
}

bool
mc_message_check(const char *prefix, bool transactional, TransactionId xid,
				 const char *message, Size size, WireBytes *content)
{
	uint8		code[CODE_LENGTH];
	uint8		difference = 0;

	if (size < sizeof(code))
		return false;
	content->data = message + sizeof(code);
	content->len = (uint32) (size - sizeof(code));
	compute_code(prefix, transactional ? xid : InvalidTransactionId,
				 content->data, content->len, code);

	/* In the same time for every wrong code. */
	for (int i = 0; i < sizeof(code); i++)
		difference |= code[i] ^ (uint8) message[i];
	return difference == 0;
}
