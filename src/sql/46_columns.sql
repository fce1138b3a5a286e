-- Columns that are merged one by one; src/target/columns.c.

CREATE FUNCTION multicenter.keep_change() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'mc_keep_change';
COMMENT ON FUNCTION multicenter.keep_change() IS
'Trigger function: keeps what an UPDATE or DELETE changes in a table whose columns are merged, and tells the other centers what it had seen. column_policy_set() creates the trigger, BEFORE UPDATE OR DELETE, FOR EACH ROW, with a name that comes last. Errors: 39P01 it is used otherwise.';
REVOKE ALL ON FUNCTION multicenter.keep_change() FROM PUBLIC;

CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON multicenter.column_policy
	FOR EACH ROW EXECUTE FUNCTION multicenter.internal_policy_changed();
ALTER TABLE multicenter.column_policy ENABLE ALWAYS TRIGGER policy_changed;

-- ---- for people ----

CREATE FUNCTION multicenter.column_policy_set(relation regclass, column_name name, merge text, handler regprocedure DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_column_policy_set' LANGUAGE C VOLATILE CALLED ON NULL INPUT;
COMMENT ON FUNCTION multicenter.column_policy_set(regclass, name, text, regprocedure) IS
'Merges concurrent changes of a table column by column, on all centers; replicated. relation: the table, with a primary key, or a partitioned table for all its partitions. column_name: no column of the key. merge: last_update_wins, delta (smallint, integer, bigint, numeric; NOT NULL), min, max, set_union (arrays), jsonb_merge (jsonb; by the members of the object) or handler. handler: with that, a function (T, T) returning T of the type of the column. Columns for which nothing is set have last_update_wins. Waits until all centers have applied each other''s changes of the table, which cannot be written meanwhile; lock_timeout limits that. Sets REPLICA IDENTITY FULL. For multicenter_admin, and the owner of the table if he may execute it. Errors: 22023 a wrong value; 42703 no such column; 55000 no group, or no such table; 55006 another table is being changed; 55P03 a center was not reached in time; 42501 permission denied.';

CREATE FUNCTION multicenter.column_policy_reset(relation regclass, column_name name DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_column_policy_reset' LANGUAGE C VOLATILE CALLED ON NULL INPUT;
COMMENT ON FUNCTION multicenter.column_policy_reset(regclass, name) IS
'Takes back what column_policy_set() has set; replicated. column_name: null means all columns; after the last one rows of the table are decided on as a whole again. Waits as column_policy_set() does. REPLICA IDENTITY FULL stays. For multicenter_admin, and the owner of the table if he may execute it. Errors: 55000 nothing is set, or no group; 55006 and 55P03 as there; 42501 permission denied.';

-- ---- inside ----

CREATE FUNCTION multicenter.internal_column_fence(relation regclass)
RETURNS void AS 'MODULE_PATHNAME', 'mc_sql_column_fence' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.internal_column_fence(regclass) IS
'Internal. Keeps a table from being written on all centers until the end of the transaction. Errors: 55006 another table is; 55P03 a center was not reached within lock_timeout.';

CREATE FUNCTION multicenter.internal_column_check(relation regclass, column_name name, merge text, handler regprocedure)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	merges constant text[] := '{last_update_wins, delta, min, max, set_union, jsonb_merge, handler}';
	col pg_attribute;
	fn pg_proc;
BEGIN
	IF merge IS NULL OR merge <> ALL (merges) THEN
		RAISE EXCEPTION 'invalid value for merge: "%"', merge USING ERRCODE = 'invalid_parameter_value',
			HINT = (SELECT format('Allowed values are %s.', string_agg(format('"%s"', m), ', ')) FROM unnest(merges) AS m);
	END IF;
	SELECT * INTO col FROM pg_attribute AS a
	WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'column "%" of relation % does not exist', column_name, relation USING ERRCODE = 'undefined_column';
	ELSIF col.attgenerated <> '' OR EXISTS (SELECT FROM pg_index AS i
			WHERE i.indrelid = relation AND (i.indisprimary OR i.indisreplident) AND col.attnum = ANY (i.indkey)) THEN
		RAISE EXCEPTION 'column "%" of relation % cannot be merged', column_name, relation USING ERRCODE = 'invalid_parameter_value',
			DETAIL = 'It is generated, or belongs to the key by which rows are found.';
	END IF;
	CASE merge
		WHEN 'delta' THEN
			IF col.atttypid <> ALL ('{int2, int4, int8, numeric}'::regtype[]) OR NOT col.attnotnull THEN
				RAISE EXCEPTION 'column "%" of relation % cannot be added up', column_name, relation USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Merge "delta" needs a column of type smallint, integer, bigint or numeric that is NOT NULL.';
			END IF;
		WHEN 'min', 'max' THEN
			IF NOT multicenter.internal_column_is_ordered(col.atttypid) THEN
				RAISE EXCEPTION 'type % has no order for merge "%"', format_type(col.atttypid, NULL), merge USING ERRCODE = 'invalid_parameter_value';
			END IF;
		WHEN 'set_union' THEN
			IF NOT EXISTS (SELECT FROM pg_type AS t WHERE t.oid = col.atttypid AND t.typcategory = 'A' AND t.typelem <> 0
						   AND multicenter.internal_column_is_ordered(t.typelem)) THEN
				RAISE EXCEPTION 'column "%" of relation % is no array of an ordered type', column_name, relation
					USING ERRCODE = 'invalid_parameter_value', HINT = 'Merge "set_union" needs one.';
			END IF;
		WHEN 'jsonb_merge' THEN
			IF col.atttypid <> 'jsonb'::regtype THEN
				RAISE EXCEPTION 'column "%" of relation % is not of type jsonb', column_name, relation
					USING ERRCODE = 'invalid_parameter_value', HINT = 'Merge "jsonb_merge" needs that.';
			END IF;
		ELSE
			NULL;
	END CASE;
	IF (merge = 'handler') <> (handler IS NOT NULL) THEN
		RAISE EXCEPTION 'a handler belongs to merge "handler"' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example merge => ''handler'', handler => ''merge_score(integer, integer)''.';
	ELSIF handler IS NULL THEN
		RETURN;
	END IF;
	SELECT * INTO fn FROM pg_proc AS p WHERE p.oid = handler;
	IF NOT FOUND OR fn.prokind <> 'f' OR fn.proretset OR fn.prorettype <> col.atttypid
		OR fn.pronargs <> 2
		OR fn.proargtypes[0] <> col.atttypid OR fn.proargtypes[1] <> col.atttypid THEN
		RAISE EXCEPTION 'function % cannot merge column "%"', handler, column_name USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It must be a function (%1$s, %1$s) returning %1$s.', format_type(col.atttypid, NULL));
	ELSIF fn.provolatile = 'v' THEN
		RAISE EXCEPTION 'function % cannot merge column "%"', handler, column_name USING ERRCODE = 'invalid_parameter_value',
			DETAIL = 'It is VOLATILE, so its answer may differ from center to center.',
			HINT = 'Declare it IMMUTABLE, or STABLE, if that is what it is.';
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_column_check(regclass, name, text, regprocedure) IS
'Internal. Can a column be merged so? Errors: 22023 no; 42703 no such column.';

CREATE FUNCTION multicenter.internal_column_is_ordered(type_oid oid)
RETURNS boolean AS 'MODULE_PATHNAME', 'mc_sql_column_is_ordered' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_column_is_ordered(oid) IS
'Internal. Has a type an order, by a default B-tree operator class?';

CREATE FUNCTION multicenter.internal_column_probe(relation regclass, column_name name, handler regprocedure)
RETURNS text AS 'MODULE_PATHNAME', 'mc_sql_internal_column_probe' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION multicenter.internal_column_probe(regclass, name, regprocedure) IS
'Internal. Calls a function that is to merge a column with sample values of it in different orders, as the owner of the table, and tells where the answers differ or there is none; null: nowhere.';

-- The tables that rows of are merged: a table, or the partitions of one.
CREATE FUNCTION multicenter.internal_column_tables(relation regclass)
RETURNS SETOF regclass LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	tab regclass;
BEGIN
	IF NOT EXISTS (SELECT FROM multicenter.identity) THEN
		RAISE EXCEPTION 'this database is in no group' USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Call multicenter.group_create() or multicenter.group_join() first.';
	ELSIF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relkind IN ('r', 'p'))
		OR NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = relation AND i.indisprimary) THEN
		RAISE EXCEPTION 'relation % is no table with a primary key', relation USING ERRCODE = 'object_not_in_prerequisite_state';
	ELSIF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relispartition) THEN
		RAISE EXCEPTION 'relation % is a partition', relation USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = format('Use the partitioned table, %s.', pg_partition_root(relation));
	END IF;
	FOR tab IN SELECT t FROM multicenter.internal_policy_tables(relation, false) AS t LOOP
		RETURN NEXT tab;
	END LOOP;
	IF NOT FOUND AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relkind = 'r') THEN
		RAISE EXCEPTION 'relation % is no replicated table', relation USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'multicenter.tables lists them.';
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_column_tables(regclass) IS
'Internal. A table whose columns can be merged, or its partitions. Errors: 55000 they cannot, or no group.';

CREATE FUNCTION multicenter.internal_column_set(relation regclass, column_name name, merge text, handler regprocedure, set_by text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	tables regclass[];
	tab regclass;
	problem text;
BEGIN
	SELECT array_agg(t) INTO tables FROM multicenter.internal_column_tables(relation) AS t;
	PERFORM multicenter.internal_column_check(relation, column_name, merge, handler);
	problem := multicenter.internal_column_probe(relation, column_name, handler);
	IF problem IS NOT NULL THEN
		RAISE WARNING 'function % was tried with values of column "%", and there are doubts', handler, column_name USING DETAIL = problem,
			HINT = 'Centers agree if its answer depends on its arguments alone.';
	END IF;
	PERFORM multicenter.internal_column_fence(relation);
	-- What a change has changed must be known.
	FOREACH tab IN ARRAY coalesce(tables, '{}') LOOP
		IF multicenter.table_route(tab) <> 'full' THEN
			PERFORM multicenter.replicate_ddl(format('ALTER TABLE %s REPLICA IDENTITY FULL', tab));
			RAISE NOTICE 'table % has REPLICA IDENTITY FULL now, on all centers', tab;
		END IF;
	END LOOP;
	-- After all other triggers, which may change the row.
	IF NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = relation AND g.tgfoid = 'multicenter.keep_change()'::regprocedure) THEN
		PERFORM multicenter.replicate_ddl(format(
			'CREATE TRIGGER "~multicenter_keep_change" BEFORE UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION multicenter.keep_change()', relation));
	END IF;
	INSERT INTO multicenter.column_policy AS p (schema_name, table_name, column_name, merge, handler, set_by)
	SELECT n.nspname, c.relname, internal_column_set.column_name, internal_column_set.merge,
		(SELECT i.identity FROM pg_identify_object('pg_proc'::regclass, internal_column_set.handler, 0) AS i), internal_column_set.set_by
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation
	ON CONFLICT ON CONSTRAINT column_policy_pkey DO UPDATE
		SET merge = excluded.merge, handler = excluded.handler, set_by = excluded.set_by, set_at = excluded.set_at;
END $$;
COMMENT ON FUNCTION multicenter.internal_column_set(regclass, name, text, regprocedure, text) IS
'Internal. Carries out column_policy_set().';

CREATE FUNCTION multicenter.internal_column_reset(relation regclass, column_name name, set_by text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM multicenter.internal_column_tables(relation);
	PERFORM multicenter.internal_column_fence(relation);
	DELETE FROM multicenter.column_policy AS p USING pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.oid = relation AND p.schema_name = n.nspname AND p.table_name = c.relname
		AND (internal_column_reset.column_name IS NULL OR p.column_name = internal_column_reset.column_name);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no column of relation % is merged', relation USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'multicenter.column_policies lists those that are.';
	ELSIF NOT EXISTS (SELECT FROM multicenter.column_policy AS p, pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
					  WHERE c.oid = relation AND p.schema_name = n.nspname AND p.table_name = c.relname) THEN
		PERFORM multicenter.replicate_ddl(format('DROP TRIGGER IF EXISTS "~multicenter_keep_change" ON %s', relation));
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_column_reset(regclass, name, text) IS
'Internal. Carries out column_policy_reset().';

-- ---- what there is ----

CREATE FUNCTION multicenter.column_status(OUT relation regclass, OUT column_name name, OUT merge text, OUT handler text,
	OUT set_by text, OUT set_at timestamptz, OUT problem text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.oid::regclass, p.column_name::name, p.merge, p.handler, p.set_by, p.set_at,
		CASE
			WHEN c.oid IS NULL THEN format('there is no table %I.%I', p.schema_name, p.table_name)
			WHEN a.attnum IS NULL THEN 'there is no such column'
			WHEN p.handler IS NOT NULL AND to_regprocedure(p.handler) IS NULL THEN 'there is no such function'
			WHEN g.oid IS NULL THEN 'the trigger that keeps changes is missing'
			WHEN g.tgenabled <> 'O' THEN 'the trigger that keeps changes is not enabled for local writes only'
			ELSE coalesce(
				(SELECT format('table %s has not REPLICA IDENTITY FULL', t)
				 FROM multicenter.internal_policy_tables(c.oid, false) AS t WHERE multicenter.table_route(t) <> 'full' LIMIT 1),
				(SELECT format('trigger %I comes after the one that keeps changes, and may change what they are', l.tgname)
				 FROM pg_trigger AS l WHERE l.tgrelid = c.oid AND l.tgname > g.tgname AND NOT l.tgisinternal
					AND l.tgenabled <> 'D' AND l.tgtype & 3 = 3 AND l.tgtype & 24 <> 0 LIMIT 1))
		END
	FROM multicenter.column_policy AS p
		LEFT JOIN pg_namespace AS n ON n.nspname = p.schema_name
		LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.table_name
		LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = p.column_name AND NOT a.attisdropped
		LEFT JOIN pg_trigger AS g ON g.tgrelid = c.oid AND g.tgfoid = 'multicenter.keep_change()'::regprocedure
	ORDER BY p.schema_name, p.table_name, p.column_name;
$$;
COMMENT ON FUNCTION multicenter.column_status() IS
'Which columns are merged one by one, and how; the source of the view column_policies.';
REVOKE ALL ON FUNCTION multicenter.column_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.column_status() TO multicenter_monitor;

CREATE VIEW multicenter.column_policies AS
SELECT relation, column_name, merge, handler, set_by, set_at, problem FROM multicenter.column_status();
COMMENT ON VIEW multicenter.column_policies IS 'Which columns are merged one by one, and how; problem: why they are not.';
GRANT SELECT ON multicenter.column_policies TO multicenter_monitor;

-- ---- who may call them ----

DO $$
DECLARE
	fn regprocedure;
	fn_name text;
BEGIN
	FOR fn, fn_name IN
		SELECT p.oid, p.proname
		FROM pg_catalog.pg_proc AS p
		WHERE p.pronamespace OPERATOR(pg_catalog.=) 'multicenter'::pg_catalog.regnamespace
			AND p.proname::pg_catalog.text OPERATOR(pg_catalog.~) '^(internal_column_|column_policy_)'
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', fn);
		IF fn_name OPERATOR(pg_catalog.!~) '^internal_' THEN
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO multicenter_admin', fn);
		END IF;
	END LOOP;
END $$;
