/*-------------------------------------------------------------------------
 *
 * policy_tables.h
 *	  Policies for conflicts stay with tables, and hold for new ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_POLICY_TABLES_H
#define MC_POLICY_TABLES_H

/*
 * Which tables and columns policies are set for, by name.  After a command that
 * may have changed names, mc_policy_follow() sets the policies for the new
 * ones, and none for tables that are gone; columns that are merged must keep
 * theirs, or it raises an error.
 */
extern Datum mc_policy_named(void);
extern void mc_policy_follow(Datum named);

#endif							/* MC_POLICY_TABLES_H */
