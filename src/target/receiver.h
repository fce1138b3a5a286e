/*-------------------------------------------------------------------------
 *
 * receiver.h
 *	  The receiver of a link: from the peer's stream to the applier.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RECEIVER_H
#define MC_RECEIVER_H

#include "state/shared.h"

/*
 * Claim the link for this process, connect to its peer and apply what arrives
 * until this process is ended or something fails.  Does not return.
 *
 * The caller is a background worker, connected to the link's database with
 * the settings of our workers, outside a transaction.  If the link has a
 * receiver already the process exits and leaves the link alone.
 */
extern void mc_receiver_run(SharedLink *link);

#endif							/* MC_RECEIVER_H */
