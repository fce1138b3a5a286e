/*-------------------------------------------------------------------------
 *
 * tuple.c
 *	  Rows of the peer become values of the local table's columns.
 *
 * NOTES
 *	  No byte of the peer is used as a Datum before it was checked.  A raw
 *	  image passes mc_image_validate(); the other formats go through the
 *	  receive and input functions, which check for themselves, after their
 *	  text was verified in the encoding of this database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "target/tuple.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"

/* Report bytes that the protocol does not allow. */
static void
reject_row(TargetTable *table, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("invalid row for table \"%s.%s\"",
					table->map->schema, table->map->name),
			 errdetail_internal("%s", detail)));
}

/*
 * The functions of a column, looked up when a transaction first needs them:
 * what they cache must not outlive a change of the types they use.
 */
static FmgrInfo *
receive_function(TargetTable *table, int i)
{
	ColumnFunctions *functions = &table->functions[i];

	if (!functions->receive_ready)
	{
		fmgr_info_cxt(table->map->columns[i].receive, &functions->receive,
					  table->context);
		functions->receive_ready = true;
	}
	return &functions->receive;
}

/* As above, for the output function of the remote type. */
static FmgrInfo *
output_function(TargetTable *table, int i)
{
	ColumnFunctions *functions = &table->functions[i];

	if (!functions->output_ready)
	{
		fmgr_info_cxt(table->map->columns[i].output, &functions->output,
					  table->context);
		functions->output_ready = true;
	}
	return &functions->output;
}

/* As above, for the input function of the local type. */
static FmgrInfo *
input_function(TargetTable *table, int i)
{
	ColumnFunctions *functions = &table->functions[i];

	if (!functions->input_ready)
	{
		fmgr_info_cxt(table->map->columns[i].input, &functions->input,
					  table->context);
		functions->input_ready = true;
	}
	return &functions->input;
}

/* Make a value of the local type from its text. */
static Datum
input_text(TargetTable *table, int i, char *text)
{
	RemoteColumn *column = &table->map->columns[i];

	return InputFunctionCall(input_function(table, i), text,
							 column->input_param, column->local_typmod);
}

/* Convert a value of the remote type to the local type through its text. */
static Datum
convert_value(TargetTable *table, int i, Datum value)
{
	return input_text(table, i,
					  OutputFunctionCall(output_function(table, i), value));
}

/* Decode a value in the binary format of its type. */
static Datum
decode_binary(TargetTable *table, int i, WireBytes bytes)
{
	RemoteColumn *column = &table->map->columns[i];
	StringInfoData buffer;
	Datum		value;

	if (!column->builtin || !OidIsValid(column->receive))
		reject_row(table, "A value of a type that is not built in is in binary format.");

	/* A copy with a terminator, which receive functions may rely on. */
	buffer.data = palloc(bytes.len + 1);
	memcpy(buffer.data, bytes.data, bytes.len);
	buffer.data[bytes.len] = '\0';
	buffer.len = bytes.len;
	buffer.maxlen = bytes.len + 1;
	buffer.cursor = 0;

	value = ReceiveFunctionCall(receive_function(table, i), &buffer,
								column->receive_param,
								column->same_type ? column->local_typmod : -1);
	if (buffer.cursor != buffer.len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("incorrect binary data format in column \"%s\"",
						column->name)));
	if (!column->same_type)
		value = convert_value(table, i, value);
	return value;
}

/* Decode a value in text format. */
static Datum
decode_text(TargetTable *table, int i, WireBytes bytes)
{
	char	   *text;

	if (bytes.len > 0 && memchr(bytes.data, '\0', bytes.len) != NULL)
		reject_row(table, "A value in text format contains a zero byte.");
	(void) pg_verify_mbstr(GetDatabaseEncoding(), bytes.data, bytes.len, false);
	text = palloc(bytes.len + 1);

	memcpy(text, bytes.data, bytes.len);
	text[		bytes.len] = '\0';

	return input_text(table, i, text);
}

/*
 * Set a column to null.  A domain's NOT NULL or CHECK is not asked: the row's
 * own constraints are checked when it is written, and an old row has nulls
 * that are none.
 */
static void
set_null(RemoteRow *row, int attno)
{
	row->values[attno] = (Datum) 0;
	row->isnull[attno] = true;
}

/* Has a row as many columns as the peer has described? */
static void
check_ncolumns(TargetTable *table, const WireTuple *tuple)
{
	if (tuple->ncolumns != table->map->ncolumns)
		reject_row(table, "The number of columns is not that of the table's description.");
}

/* Decode a row that travels as one value after the other. */
static void
decode_columns(TargetTable *table, const WireTuple *tuple,
			   bool allow_unchanged, RemoteRow *row)
{
	WireCursor	cursor = mc_wire_cursor(tuple->image);
	const char *problem = NULL;
	WireColumn	value;

	check_ncolumns(table, tuple);
	for (int i = 0; i < table->map->ncolumns; i++)
	{
		int			attno = table->map->columns[i].attnum - 1;

		if (mc_wire_next_column(&cursor, &value, &problem) != WIRE_OK)
			reject_row(table, problem ? problem : "A column is missing.");
		if (attno < 0)
			continue;
		row->isnull[attno] = false;
		switch (value.kind)
		{
			case COLUMN_NULL:
				set_null(row, attno);
				break;
			case COLUMN_UNCHANGED:
				if (!allow_unchanged)
					reject_row(table, "A value that is needed was not sent.");
				set_null(row, attno);
				row->unchanged[attno] = true;
				row->any_unchanged = true;
				break;
			case COLUMN_BINARY:
				row->values[attno] = decode_binary(table, i, value.value);
				break;
			case COLUMN_TEXT:
				row->values[attno] = decode_text(table, i, value.value);
				break;
			default:
				reject_row(table, "A value has an unknown format.");
		}
	}
	if (mc_wire_next_column(&cursor, &value, &problem) != WIRE_END)
		reject_row(table, problem ? problem : "There are more values than columns.");
}

/*
 * Build a heap tuple around an image, at an aligned address.  It has what
 * heap_form_tuple() would put into the header.
 */
static HeapTuple
make_heap_tuple(TargetTable *table, const WireTuple *tuple)
{
	int			natts = tuple->ncolumns;
	bool		has_nulls = tuple->null_bitmap.len > 0;
	int			header_bytes = SizeofHeapTupleHeader;
	HeapTuple	heap_tuple;
	HeapTupleHeader header;

	if (has_nulls && tuple->null_bitmap.len != BITMAPLEN(natts))
		reject_row(table, "The null bitmap has the wrong length.");
	if (has_nulls)
		header_bytes += BITMAPLEN(natts);
	header_bytes = MAXALIGN(header_bytes);

	heap_tuple = palloc(HEAPTUPLESIZE + header_bytes + tuple->image.len);
	memset(heap_tuple, 0, HEAPTUPLESIZE + header_bytes);
	header = (HeapTupleHeader) ((char *) heap_tuple + HEAPTUPLESIZE);
	heap_tuple->t_len = header_bytes + tuple->image.len;
	heap_tuple->t_data = header;
	ItemPointerSetInvalid(&heap_tuple->t_self);
	ItemPointerSetInvalid(&header->t_ctid);
	header->t_hoff = header_bytes;
	HeapTupleHeaderSetNatts(header, natts);
	if (table->map->image_varies)
		header->t_infomask |= HEAP_HASVARWIDTH;
	if (has_nulls)
	{
		header->t_infomask |= HEAP_HASNULL;
		memcpy(header->t_bits, tuple->null_bitmap.data, tuple->null_bitmap.len);

		/* Bits of no column are zero. */
		if (natts % BITS_PER_BYTE != 0)
			header->t_bits[natts / BITS_PER_BYTE] &= (1 << (natts % BITS_PER_BYTE)) - 1;
	}
	memcpy((char *) header + header_bytes, tuple->image.data, tuple->image.len);
	return heap_tuple;
}

HeapTuple
mc_tuple_from_image(TargetTable *table, const WireTuple *tuple)
{
	RelationMap *map = table->map;
	HeapTuple	heap_tuple;
	WireBytes	image;
	const char *problem;

	check_ncolumns(table, tuple);
	if (map->image_desc == NULL)
		reject_row(table, "A row with a column of a type that is not portable came as a raw image.");
	heap_tuple = make_heap_tuple(table, tuple);
	image.data = (char *) heap_tuple->t_data + heap_tuple->t_data->t_hoff;
	image.len = tuple->image.len;
	problem = mc_image_validate(map->image_columns, map->ncolumns,
								tuple->null_bitmap, image,
								GetDatabaseEncoding());
	if (problem)
		reject_row(table, problem);
	return heap_tuple;
}

/* Decode a row that travels as the image of its heap tuple. */
static void
decode_image(TargetTable *table, const WireTuple *tuple, RemoteRow *row)
{
	RelationMap *map = table->map;
	HeapTuple	heap_tuple = mc_tuple_from_image(table, tuple);

	heap_deform_tuple(heap_tuple, map->image_desc, table->image_values,
					  table->image_isnull);
	for (int i = 0; i < map->ncolumns; i++)
	{
		RemoteColumn *column = &map->columns[i];
		int			attno = column->attnum - 1;

		if (attno < 0)
			continue;
		if (table->image_isnull[i])
			set_null(row, attno);
		else
		{
			row->isnull[attno] = false;
			row->values[attno] = column->same_type && column->same_typmod ?
				table->image_values[i] :
				convert_value(table, i, table->image_values[i]);
		}
	}
}

void
mc_tuple_decode(TargetTable *table, const WireTuple *tuple,
				bool allow_unchanged, RemoteRow *row)
{
	RelationMap *map = table->map;

	memset(row->values, 0, sizeof(Datum) * map->natts);
	memset(row->isnull, true, sizeof(bool) * map->natts);
	memset(row->unchanged, false, sizeof(bool) * map->natts);
	row->any_unchanged = false;
	row->present = true;

	if (tuple->format == TUPLE_RAW)
		decode_image(table, tuple, row);
	else
		decode_columns(table, tuple, allow_unchanged, row);
}
