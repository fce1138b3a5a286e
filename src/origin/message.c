/*-------------------------------------------------------------------------
 *
 * message.c
 *	  Logical messages of multicenter in the WAL, with a proof of authorship.
 *
 * NOTES
 *	  A message is an HMAC-SHA-256 and then the content.  Its key is the
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

/* Where a message belongs; part of what the code covers. */
typedef struct MessagePlace
{
	uint32		dboid;
	uint32		xid;			/* 0: not transactional */
} MessagePlace;

/* Compute the code of a message into code[PG_SHA256_DIGEST_LENGTH]. */
static void
compute_code(const char *prefix, TransactionId xid, const char *content,
			 Size len, uint8 *code)
{
	ResourceOwner caller_owner = CurrentResourceOwner;
	MessagePlace place;
	pg_hmac_ctx *hmac;

	/* A walsender between two transactions has no owner, but HMAC needs one. */
	if (caller_owner == NULL)
		CurrentResourceOwner = ResourceOwnerCreate(NULL, "multicenter message");

	place.dboid = pg_hton32((uint32) MyDatabaseId);
	place.xid = pg_hton32((uint32) xid);
	hmac = pg_hmac_create(PG_SHA256);
	if (hmac == NULL ||
		pg_hmac_init(hmac, (const uint8 *) GetMockAuthenticationNonce(), MOCK_AUTH_NONCE_LEN) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) &place, sizeof(place)) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) prefix, strlen(prefix) + 1) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) content, len) < 0 ||
		pg_hmac_final(hmac, code, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute the code of a message");
	pg_hmac_free(hmac);

	if (caller_owner == NULL)
	{
		ResourceOwner owner = CurrentResourceOwner;

		/* The current owner must not be deleted. */
		CurrentResourceOwner = NULL;
		ResourceOwnerDelete(owner);
	}
}

LocalLsn
mc_message_emit(const char *prefix, bool transactional, const char *content,
				uint32 len)
{
	uint8		code[PG_SHA256_DIGEST_LENGTH];
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
	uint8		code[PG_SHA256_DIGEST_LENGTH];
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
