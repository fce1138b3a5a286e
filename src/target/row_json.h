/*-------------------------------------------------------------------------
 *
 * row_json.h
 *	  Rows as JSON text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_ROW_JSON_H
#define MC_ROW_JSON_H

#include "access/tupdesc.h"

/*
 * An object of some columns of a row, attnums, or of all if that is NULL; what
 * row_to_json() makes of it, palloc'd.  values and isnull have all columns.
 * Runs output functions: call it as the table's owner.
 */
extern char *mc_row_json(TupleDesc desc, const Datum *values,
						 const bool *isnull, const AttrNumber *attnums,
						 int ncolumns);

#endif							/* MC_ROW_JSON_H */
