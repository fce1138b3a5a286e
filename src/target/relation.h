/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  What the peer calls a table, mapped to the table of this center.
 *
 * NOTES
 *	  A RelationMap is made of a RELATION record and lives as long as the
 *	  applier.  Its local half (columns, identity index, scan keys) is looked
 *	  up when a transaction first uses the table, and again after anything
 *	  that it was derived from may have changed.  It holds no reference to a
 *	  relation, an index or a tuple descriptor of the relation cache.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MC_RELATION_H
#define MC_RELATION_H

#include "access/attnum.h"
#include "access/skey.h"
#include "access/tupdesc.h"
#include "core/image.h"
#include "core/wire.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* A column as the peer describes it, and where it goes here. */
typedef struct RemoteColumn
{
	char	   *name;
	char	   *type_schema;
	char	   *type_name;
	uint8		flags;			/* ATTRIBUTE_... */
	Oid			type_oid;		/* as the origin knows it */
	int32		typmod;
	int16		attlen;
	bool		attbyval;
	char		attalign;

	/* The local half, valid with the map. */
	AttrNumber	attnum;			/* column here; 0: its value is not used */
	bool		builtin;		/* type_oid is the same type on every server */
	bool		same_type;		/* no conversion, but for the type modifier */
	bool		same_typmod;	/* and not for that either */
	Oid			receive;		/* of the remote type, if built-in */
	Oid			receive_param;
	Oid			output;			/* of the remote type, if built-in */
	Oid			input;			/* of the local type */
	Oid			input_param;
	int32		local_typmod;
} RemoteColumn;

struct TargetTable;

typedef struct RelationMap
{
	uint32		remote_relid;	/* hash key */
	MemoryContext context;		/* of the remote half */
	char	   *schema;
	char	   *name;
	char		replident;
	int			ncolumns;
	RemoteColumn *columns;

	/* The local half. */
	bool		valid;
	MemoryContext local_context;
	Oid			relid;
	Oid			owner;
	bool		group_catalog;	/* a table of the group's own catalog */
	int			natts;
	int16	   *remote_index;	/* by local column: index of the remote one,
								 * or -1 */
	bool		has_local_columns;	/* some column here has no remote value */
	ImageColumn *image_columns;
	TupleDesc	image_desc;		/* NULL: raw images are not possible */
	bool		image_varies;	/* some column has no fixed length */
	bool		image_is_row;	/* columns are here what they are there: an
								 * image is what a row here looks like */
	Oid			index;			/* finds rows by key; InvalidOid: there is
								 * none */
	int			nkeys;
	AttrNumber *key_attnums;	/* columns of the table, in index order */
	ScanKeyData *scan_keys;		/* without arguments */

	/* What is known of notes about it; see note.c. */
	uint64		notes_generation;	/* 0: nothing is known */
	bool		has_notes;		/* about keys */
	bool		has_truncation;
	bool		has_quarantine; /* changes of it wait there */

	struct WriteKey *write_key; /* see writeset.c; NULL: not looked up */

	struct TargetTable *open;	/* used by the current transaction, or NULL */
	struct TargetTable *parked; /* by an earlier one, or NULL; it lives in
								 * local_context */
} RelationMap;

typedef struct RelationCache RelationCache;

/* Make the cache, in the current memory context; once in each process. */
extern RelationCache *mc_relation_cache_create(void);

/*
 * Remember what a RELATION record says.  Needs no transaction.  The table
 * must not be open in the current transaction.
 */
extern void mc_relation_store(RelationCache *cache, const WireRelation *record);

/* The map of a table that the peer has described, or NULL. */
extern RelationMap *mc_relation_find(RelationCache *cache, uint32 relid);

/*
 * Open the local table and bring the local half of the map up to date.  The
 * caller closes the relation before the end of the transaction.  Raises an
 * error if there is no such table or if it cannot take the peer's rows.
 */
extern Relation mc_relation_open(RelationMap *map, LOCKMODE lockmode);

#endif							/* MC_RELATION_H */
