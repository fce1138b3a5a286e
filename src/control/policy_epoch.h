/*-------------------------------------------------------------------------
 *
 * policy_epoch.h
 *	  Taking over the epochs of the policies for conflicts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_POLICY_EPOCH_H
#define MC_POLICY_EPOCH_H

/*
 * Take over the greatest epoch that is known here, if this center has not yet.
 * Everything that it commits after that is of this epoch.  Outside a
 * transaction, in a process of ours.
 */
extern void mc_policy_take_over(void);

#endif							/* MC_POLICY_EPOCH_H */
