/*-------------------------------------------------------------------------
 *
 * column_value.h
 *	  Values of columns that are merged.
 *
 * NOTES
 *	  All functions may run code of users: call them as the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_COLUMN_VALUE_H
#define MC_COLUMN_VALUE_H

#include "state/column_policy.h"
#include "target/table.h"
#include "utils/jsonb.h"

/* Has a column another value in the new row, byte by byte? */
extern bool mc_column_changed(Form_pg_attribute attribute,
							  const RemoteRow *old_row,
							  const RemoteRow *new_row);

/*
 * What a change from an old to a new value makes of another one: that is added
 * which was added.  Raises an error if the result is out of range.
 */
extern Datum mc_column_add_delta(Form_pg_attribute attribute, Datum value,
								 Datum old_value, Datum new_value);

/*
 * What becomes of two values that nobody has seen together; the second one has
 * the greater version.
 */
extern Datum mc_column_combine(TargetTable *table, Form_pg_attribute attribute,
							   ColumnMerge merge, Oid handler,
							   Datum older, Datum newer);

/*
 * The members of an object that a change is about: "*" if it replaces the
 * whole value, otherwise a JSON array.  NULL stands for null.
 */
extern char *mc_column_json_members(const Jsonb *old_value,
									const Jsonb *new_value);

/* Is it the whole value? */
extern bool mc_column_json_is_whole(const char *members);

/* Is all of the second such list in the first one? */
extern bool mc_column_json_covers(const char *members, const char *others);

/* The names in such a list, char *; NIL for "*". */
extern List *mc_column_json_names(const char *members);

/*
 * Take the members with these names, or that there is none, from one object
 * into another value, which becomes an object if there are any names.  NULL
 * stands for null.
 */
extern Jsonb *mc_column_json_overlay(const Jsonb *value, const Jsonb *source,
									 const List *names);

/*
 * What a function of the user's makes of two values, in *result; returns its
 * error, if it fails.
 */
extern ErrorData *mc_column_call(TargetTable *table, Form_pg_attribute attribute,
								 Oid function, Datum older, Datum newer,
								 Datum *result);

#endif							/* MC_COLUMN_VALUE_H */
