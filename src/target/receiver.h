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
#include "target/schedule.h"

/*
 * Claim the link for this process, connect to its peer and apply what arrives
 * until this process is ended or something fails.  Does not return.
 *
 * The caller is a background worker, connected to the link's database with
 * the settings of our workers, outside a transaction.  If the link has a
 * receiver already the process exits and leaves the link alone.
 */
/*
 * Settings on which the meaning of received text depends, or that could end a
 * transaction which waits for its next chunk, beyond those of all our workers.
 */
extern void mc_receiver_pin_settings(void);

extern void mc_receiver_run(SharedLink *link, ApplierStarter starter);

#endif							/* MC_RECEIVER_H */
