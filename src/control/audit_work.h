/*-------------------------------------------------------------------------
 *
 * audit_work.h
 *	  What the manager does for the audit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_AUDIT_WORK_H
#define MC_AUDIT_WORK_H

#include "core/types.h"

/* Write and summarize what is due. */
extern void mc_audit_work(CenterId our_id);

#endif							/* MC_AUDIT_WORK_H */
