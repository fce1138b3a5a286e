/*-------------------------------------------------------------------------
 *
 * rules.h
 *	  The questions of a simulated center to core/merge.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RULES_H
#define RULES_H

#include "simulate.h"

extern RowVersion sim_version(Stamp stamp);
extern Stamp sim_stamp(RowVersion version);
extern CenterId sim_center_id(int center);
extern MergeState rule_look_up(const SimCenter *center, int key);
extern Verdict rule_decide(MergeInput input, int decider);
extern bool rule_truncates(Stamp truncation, Stamp row);
extern bool rule_may_forget(const SimState *state, int center, Stamp version);
extern MarkerVerdict rule_decide_marker(MarkerInput input);
extern RefreshVerdict rule_decide_refresh(Stamp version, const MergeState *local, bool pending);
extern bool rule_drops_pending(Stamp written, Stamp pending);
extern bool rule_answers_request(const MergeState *local, int center);
extern bool rule_owes_refresh(const MergeState *local, int center, Stamp lost);
extern void rule_find_visible(SimCenter *center, int nkeys);

#endif							/* RULES_H */
