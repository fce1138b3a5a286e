/*-------------------------------------------------------------------------
 *
 * message_kind.c
 *	  Who carries out which messages of a peer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target/message_kind.h"

#define MAX_MESSAGE_KINDS	8

typedef struct MessageKind
{
	const char *prefix;
	MessageApplyFunction function;
} MessageKind;

static MessageKind message_kinds[MAX_MESSAGE_KINDS];
static int	nmessage_kinds = 0;

void
mc_message_register(const char *prefix, MessageApplyFunction function)
{
	Assert(nmessage_kinds < MAX_MESSAGE_KINDS);
	message_kinds[nmessage_kinds].prefix = prefix;
	message_kinds[nmessage_kinds].function = function;
	nmessage_kinds++;
}

bool
mc_message_is(WireBytes prefix, const char *name)
{
	return prefix.len == strlen(name) && memcmp(prefix.data, name, prefix.len) == 0;
}

MessageApplyFunction
mc_message_function(WireBytes prefix)
{
	for (int i = 0; i < nmessage_kinds; i++)
		if (mc_message_is(prefix, message_kinds[i].prefix))
			return message_kinds[i].function;
	return NULL;
}
