-- Policies for conflicts.  Like the list of centers, their tables replicate by
-- themselves; src/state/policy.c reads them.

CREATE FUNCTION multicenter.internal_policy_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'mc_policy_changed' LANGUAGE C;
COMMENT ON FUNCTION multicenter.internal_policy_changed() IS
'Internal. Trigger function that makes every process read the policies again.';
REVOKE ALL ON FUNCTION multicenter.internal_policy_changed() FROM PUBLIC;

CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON multicenter.conflict_policy
	FOR EACH ROW EXECUTE FUNCTION multicenter.internal_policy_changed();
ALTER TABLE multicenter.conflict_policy ENABLE ALWAYS TRIGGER policy_changed;
CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON multicenter.policy_epoch
	FOR EACH ROW EXECUTE FUNCTION multicenter.internal_policy_changed();
ALTER TABLE multicenter.policy_epoch ENABLE ALWAYS TRIGGER policy_changed;

-- ---- for people ----

CREATE FUNCTION multicenter.conflict_policy_set(relation regclass, conflict_type text, resolver text,
	handler regprocedure DEFAULT NULL, options jsonb DEFAULT '{}')
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_conflict_policy_set' LANGUAGE C VOLATILE CALLED ON NULL INPUT;
COMMENT ON FUNCTION multicenter.conflict_policy_set(regclass, text, text, regprocedure, jsonb) IS
'Decides how conflicts of a table are resolved, on all centers; replicated. relation: the table, or a partitioned table for all its partitions; null for what holds where nothing else is set. conflict_type: one, which stands for its whole family, see conflict_policies; null means two rows, and a row and a delete. resolver: which write wins. handler: the function, with resolver ''handler''. options: {"sites": ["lisbon", ...]}, the best first, with ''site_priority''; {"allow_divergence": true} for what depends on the center. Where it is needed and not set, REPLICA IDENTITY FULL is set on all centers. For multicenter_admin, and the owner of the table if he may execute it. Errors: 22023 a wrong value; 0A000 not for this family; 55000 centers would differ, no group, or no replicated table; 42704 no such site; 42501 permission denied.';

CREATE FUNCTION multicenter.conflict_policy_reset(relation regclass, conflict_type text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'mc_sql_conflict_policy_reset' LANGUAGE C VOLATILE CALLED ON NULL INPUT;
COMMENT ON FUNCTION multicenter.conflict_policy_reset(regclass, text) IS
'Takes back what conflict_policy_set() has set for a table or, with a null relation, as default; replicated. conflict_type: of its family only; null means all. For multicenter_admin, and the owner of the table if he may execute it. Errors: 22023 no such type; 55000 no group; 42501 permission denied.';

CREATE FUNCTION multicenter.version_epoch(center name, version timestamptz)
RETURNS bigint LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id integer;
BEGIN
	SELECT c.center_id INTO id FROM multicenter.center AS c
	WHERE c.center_name = center ORDER BY c.state = 'parted', c.center_id DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the group has no center "%"', center USING ERRCODE = 'undefined_object',
			HINT = 'multicenter.centers lists them.';
	END IF;
	RETURN multicenter.internal_policy_epoch_of(id, version);
END $$;
COMMENT ON FUNCTION multicenter.version_epoch(name, timestamptz) IS
'The epoch of the conflict policies that a version is of: the same at every center that knows the version. center: its author. version: its commit timestamp. 0: before any policy was set. Errors: 42704 no such center.';

-- ---- what there is ----

CREATE FUNCTION multicenter.internal_conflict_types(OUT conflict_type text, OUT family text, OUT item integer)
RETURNS SETOF record LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	VALUES ('insert_exists', 'row', 1), ('update_origin_differs', 'row', 2),
		('update_deleted', 'delete', 3), ('insert_deleted', 'delete', 4),
		('delete_origin_differs', 'delete', 5), ('delete_recently_updated', 'delete', 6),
		('update_missing', 'missing', 7), ('delete_missing', 'missing', 8),
		('update_exists', 'unique', 9), ('multiple_unique_conflicts', 'unique', 10), ('exclusion_violation', 'unique', 11),
		('target_table_missing', 'apply', 12), ('target_column_missing', 'apply', 13),
		('foreign_key_violation', 'apply', 14), ('check_violation', 'apply', 15), ('apply_error', 'apply', 16);
$$;
COMMENT ON FUNCTION multicenter.internal_conflict_types() IS
'Internal. All conflict types with the families for which policies are set, in an order for people.';

CREATE FUNCTION multicenter.internal_policy_families(conflict_type text)
RETURNS text[] LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	families text[];
BEGIN
	SELECT array_agg(t.family) INTO families
	FROM multicenter.internal_conflict_types() AS t WHERE t.conflict_type = internal_policy_families.conflict_type;
	IF families IS NULL THEN
		RAISE EXCEPTION 'invalid value for conflict_type: "%"', conflict_type
			USING ERRCODE = 'invalid_parameter_value',
				HINT = (SELECT format('Allowed values are %s.', string_agg(format('"%s"', t.conflict_type), ', ' ORDER BY t.item))
						FROM multicenter.internal_conflict_types() AS t);
	END IF;
	RETURN families;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_families(text) IS
'Internal. The family of a conflict type. Errors: 22023 there is no such type.';

CREATE FUNCTION multicenter.internal_policy_epoch_of(center_id integer, version timestamptz)
RETURNS bigint AS 'MODULE_PATHNAME', 'mc_sql_policy_epoch_of' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_policy_epoch_of(integer, timestamptz) IS
'Internal. The epoch of a version, as apply sees it.';

CREATE FUNCTION multicenter.internal_policy_own_epoch()
RETURNS bigint AS 'MODULE_PATHNAME', 'mc_sql_policy_own_epoch' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_policy_own_epoch() IS
'Internal. The epoch that this center has taken over; 0: none.';

CREATE FUNCTION multicenter.internal_policy_resolver(relation regclass, epoch bigint, family text)
RETURNS text AS 'MODULE_PATHNAME', 'mc_sql_policy_resolver' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_policy_resolver(regclass, bigint, text) IS
'Internal. The resolver of a table in an epoch, as it is set; null where rows of the table never had a special one.';

CREATE FUNCTION multicenter.internal_policy_handler_of(relation regclass, epoch bigint, family text)
RETURNS regprocedure AS 'MODULE_PATHNAME', 'mc_sql_policy_handler' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_policy_handler_of(regclass, bigint, text) IS
'Internal. The handler of a table in an epoch, as it is set; null where there is none.';

CREATE FUNCTION multicenter.internal_policy_newest()
RETURNS bigint AS 'MODULE_PATHNAME', 'mc_sql_policy_newest' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION multicenter.internal_policy_newest() IS
'Internal. The greatest epoch that is known here with all that it builds on; 0: none.';

-- What holds in an epoch: for each table and family, of the epochs that it
-- covers the last.
CREATE FUNCTION multicenter.internal_policy_at(epoch bigint)
RETURNS SETOF multicenter.conflict_policy
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT ON (p.schema_name, p.table_name, p.family) p.*
	FROM multicenter.conflict_policy AS p
	WHERE p.family IS NOT NULL
		AND (p.epoch = $1 OR EXISTS (
			SELECT FROM (SELECT e.covers FROM multicenter.conflict_policy AS e WHERE e.epoch = $1 LIMIT 1) AS e,
				unnest(e.covers) AS c
			WHERE c % 1024 = p.epoch % 1024 AND c >= p.epoch))
	ORDER BY p.schema_name, p.table_name, p.family, p.epoch DESC;
$$;
COMMENT ON FUNCTION multicenter.internal_policy_at(bigint) IS
'Internal. The rows of conflict_policy that hold in an epoch; those without a resolver say that nothing is set.';

-- ---- setting ----

CREATE FUNCTION multicenter.internal_policy_next(OUT center_id integer, OUT epoch bigint, OUT covers bigint[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	SELECT i.center_id INTO internal_policy_next.center_id FROM multicenter.identity AS i;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'this database is in no group' USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Call multicenter.group_create() or multicenter.group_join() first.';
	END IF;
	SELECT (coalesce(max(k.epoch), 0) / 1024 + 1) * 1024 + internal_policy_next.center_id, coalesce(array_agg(k.epoch), '{}')
		INTO internal_policy_next.epoch, internal_policy_next.covers
	FROM (SELECT max(e.epoch) AS epoch
		  FROM (SELECT p.epoch FROM multicenter.conflict_policy AS p
				UNION ALL
				SELECT unnest(p.covers) FROM multicenter.conflict_policy AS p) AS e
		  GROUP BY e.epoch % 1024) AS k;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_next() IS
'Internal. A new epoch of this center, which covers all that are known here. Errors: 55000 the database is in no group.';

-- The rows are as before, but travel in our stream, too.  One by one, so that
-- centers that do so at once lock them in the same order.
CREATE FUNCTION multicenter.internal_policy_publish(epoch bigint, previous bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	made record;
BEGIN
	FOR made IN
		WITH part AS (
			SELECT e.epoch AS whole, e.epoch AS last FROM (VALUES (internal_policy_publish.epoch), (previous)) AS e(epoch)
			UNION
			SELECT p.epoch, unnest(p.covers) FROM multicenter.conflict_policy AS p
			WHERE p.epoch IN (internal_policy_publish.epoch, previous)
		)
		SELECT p.epoch, p.item
		FROM multicenter.conflict_policy AS p
		WHERE p.set_at_center <> (SELECT i.center_id FROM multicenter.identity AS i)
			AND EXISTS (SELECT FROM part AS t WHERE t.whole = internal_policy_publish.epoch
						AND t.last % 1024 = p.epoch % 1024 AND t.last >= p.epoch)
			AND NOT EXISTS (SELECT FROM part AS t WHERE t.whole = previous
							AND t.last % 1024 = p.epoch % 1024 AND t.last >= p.epoch)
		ORDER BY p.epoch, p.item
	LOOP
		UPDATE multicenter.conflict_policy AS p SET item = p.item WHERE p.epoch = made.epoch AND p.item = made.item;
	END LOOP;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_publish(bigint, bigint) IS
'Internal. Sends to the peers what other centers have set, as far as it is part of an epoch and not of a previous one.';

CREATE FUNCTION multicenter.internal_policy_join()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- A session that is about to set one joins them by that.
	IF pg_try_advisory_xact_lock(1296254513, 2) THEN
		INSERT INTO multicenter.conflict_policy (epoch, item, covers, set_by, set_at_center)
		SELECT n.epoch, 1, n.covers, current_user, n.center_id FROM multicenter.internal_policy_next() AS n;
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_join() IS
'Internal. Makes a new epoch that covers all that are known here and sets nothing.';

CREATE FUNCTION multicenter.internal_policy_options(resolver text, options jsonb, OUT site_ranks integer[], OUT forced boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	option text;
	unknown text;
BEGIN
	IF options IS NULL OR jsonb_typeof(options) <> 'object' THEN
		RAISE EXCEPTION 'options must be a JSON object' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example {"sites": ["lisbon", "oslo"]}.';
	END IF;
	FOR option IN SELECT jsonb_object_keys(options) LOOP
		IF option NOT IN ('sites', 'allow_divergence') THEN
			RAISE EXCEPTION 'unknown option "%" of a conflict policy', option USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Allowed options are "sites", "allow_divergence".';
		END IF;
	END LOOP;
	IF options ? 'allow_divergence' AND jsonb_typeof(options -> 'allow_divergence') <> 'boolean' THEN
		RAISE EXCEPTION 'invalid value for option "allow_divergence" of a conflict policy'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Allowed values are true, false.';
	END IF;
	forced := coalesce((options ->> 'allow_divergence')::boolean, false);
	IF (resolver = 'site_priority') <> (options ? 'sites') THEN
		RAISE EXCEPTION 'option "sites" belongs to resolver "site_priority"' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example resolver => ''site_priority'', options => ''{"sites": ["lisbon", "oslo"]}''.';
	END IF;
	IF NOT options ? 'sites' THEN
		RETURN;
	END IF;
	IF jsonb_typeof(options -> 'sites') <> 'array' OR jsonb_array_length(options -> 'sites') = 0
		OR EXISTS (SELECT FROM jsonb_array_elements(options -> 'sites') AS e WHERE jsonb_typeof(e) <> 'string') THEN
		RAISE EXCEPTION 'invalid value for option "sites" of a conflict policy' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It must be an array of names of sites, the best first.';
	END IF;
	SELECT string_agg(format('"%s"', s.site), ', ') INTO unknown
	FROM jsonb_array_elements_text(options -> 'sites') AS s(site)
	WHERE NOT EXISTS (SELECT FROM multicenter.center AS c
					  WHERE s.site IN (c.site, c.center_name::text) AND c.state <> 'parted');
	IF unknown IS NOT NULL THEN
		RAISE EXCEPTION 'no center of the group has site %', unknown USING ERRCODE = 'undefined_object',
			HINT = (SELECT format('There are %s.', string_agg(DISTINCT format('"%s"', coalesce(c.site, c.center_name)), ', '))
					FROM multicenter.center AS c WHERE c.state <> 'parted');
	END IF;
	-- A site counts before a center of the same name, and the first place in the list.
	SELECT array_agg(r.rank * 1024 + r.center_id ORDER BY r.rank, r.center_id) INTO site_ranks
	FROM (SELECT c.center_id, coalesce(min(s.rank) FILTER (WHERE s.site = c.site), min(s.rank))::integer AS rank
		  FROM jsonb_array_elements_text(options -> 'sites') WITH ORDINALITY AS s(site, rank)
			JOIN multicenter.center AS c ON s.site IN (c.site, c.center_name::text)
		  GROUP BY c.center_id) AS r;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_options(text, jsonb) IS
'Internal. Options of a policy for conflicts: ranks of centers, and whether centers may differ. Errors: 22023 a wrong value; 42704 no such site.';

CREATE FUNCTION multicenter.internal_policy_check(family text, resolver text, forced boolean)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	resolvers constant text[] := '{last_update_wins, first_update_wins, site_priority, insert_or_skip, skip, apply_remote, keep_local, quarantine, error, handler}';
	alike text[] := '{last_update_wins, first_update_wins, site_priority, handler}';
BEGIN
	IF resolver IS NULL OR resolver <> ALL (resolvers) THEN
		RAISE EXCEPTION 'invalid value for resolver: "%"', resolver USING ERRCODE = 'invalid_parameter_value',
			HINT = (SELECT format('Allowed values are %s.', string_agg(format('"%s"', r), ', ')) FROM unnest(resolvers) AS r);
	ELSIF family = 'unique' AND resolver <> 'last_update_wins' THEN
		RAISE EXCEPTION 'resolver "%" is not supported for rows that clash on a unique key or an exclusion constraint', resolver
			USING ERRCODE = 'feature_not_supported',
				HINT = 'Which of them is visible depends on their versions alone: use "last_update_wins".';
	ELSIF family = 'apply' AND resolver NOT IN ('error', 'quarantine') THEN
		RAISE EXCEPTION 'resolver "%" is not supported for changes that cannot be applied', resolver
			USING ERRCODE = 'feature_not_supported', HINT = 'Use "quarantine" or "error".';
	ELSIF family IN ('unique', 'apply') OR forced THEN
		RETURN;
	END IF;
	IF family = 'delete' THEN
		alike := alike || '{insert_or_skip, skip}'::text[];
	END IF;
	IF resolver <> ALL (alike)
		AND (SELECT count(*) FROM multicenter.center AS c WHERE c.kind = 'active' AND c.state <> 'parted') > 1 THEN
		RAISE EXCEPTION 'resolver "%" would let centers differ', resolver USING ERRCODE = 'object_not_in_prerequisite_state',
			DETAIL = 'What it decides depends on the center that decides, and more than one is written to.',
			HINT = (SELECT format('Use one of %s, or options => ''{"allow_divergence": true}''.', string_agg(format('"%s"', r), ', '))
					FROM unnest(alike) AS r);
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_check(text, text, boolean) IS
'Internal. Is a resolver allowed for a family of conflicts? Errors: 22023 no such resolver; 0A000 not for this family; 55000 centers would differ.';

CREATE FUNCTION multicenter.internal_policy_handler(relation regclass, resolver text, handler regprocedure)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	answer text;
BEGIN
	IF (resolver = 'handler') <> (handler IS NOT NULL) THEN
		RAISE EXCEPTION 'a handler belongs to resolver "handler"' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example resolver => ''handler'', handler => ''merge_stock(stock, stock, multicenter.conflict_info)''.';
	ELSIF handler IS NULL THEN
		RETURN NULL;
	END IF;
	PERFORM multicenter.internal_handler_check(relation, handler);
	IF relation IS NOT NULL THEN
		SELECT string_agg(p.problem, '; ') INTO answer FROM multicenter.internal_handler_probe(relation, handler) AS p;
	END IF;
	IF answer IS NOT NULL THEN
		RAISE WARNING 'conflict handler % was tried with rows of the table, and there are doubts', handler USING DETAIL = answer,
			HINT = 'Centers agree if its answer depends on its arguments alone.';
	END IF;
	SELECT p.identity INTO answer FROM pg_identify_object('pg_proc'::regclass, handler, 0) AS p;
	RETURN answer;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_handler(regclass, text, regprocedure) IS
'Internal. The signature of a conflict handler, after looking at what it answers. Errors: 22023 there is one without the resolver of that name, or the reverse; others if it cannot be a handler.';

-- Replicated tables that a policy is for; or of these only those whose old rows
-- are needed.  Partitions of a partitioned table stand for it.
CREATE FUNCTION multicenter.internal_policy_tables(relation regclass, large_values boolean)
RETURNS SETOF regclass LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT c.oid::regclass
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND n.nspname <> 'multicenter'
		AND (relation IS NULL OR c.oid = relation OR relation IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) AS a))
		AND multicenter.table_route(c.oid) IN ('keyed', 'full')
		AND (NOT large_values OR EXISTS (SELECT FROM pg_attribute AS a
					WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attlen = -1 AND a.attstorage <> 'p'));
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_tables(regclass, boolean) IS
'Internal. A table and its partitions, or all tables; with large_values only those with values that may be stored out of line.';

-- Whether a write had seen another one must be known for certain, and any of
-- several versions may be shown in the end, and must be whole.
CREATE FUNCTION multicenter.internal_policy_needs(relation regclass)
RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT format('CREATE OR REPLACE TRIGGER multicenter_seen BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION multicenter.seen()', t)
	FROM multicenter.internal_policy_tables(relation, false) AS t
	WHERE NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = t AND g.tgfoid = 'multicenter.seen()'::regprocedure)
	UNION ALL
	SELECT format('ALTER TABLE %s REPLICA IDENTITY FULL', t)
	FROM multicenter.internal_policy_tables(relation, true) AS t
	WHERE multicenter.table_route(t) <> 'full';
$$;
COMMENT ON FUNCTION multicenter.internal_policy_needs(regclass) IS
'Internal. The commands that give a table and its partitions, or all tables, what they lack for a policy.';

CREATE FUNCTION multicenter.internal_column_merged(relation regclass)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT FROM multicenter.column_policy AS p
		JOIN pg_namespace AS n ON n.nspname = p.schema_name
		JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.table_name
	WHERE c.oid = relation OR c.oid IN (SELECT a.relid FROM pg_partition_ancestors(relation) AS a));
$$;
COMMENT ON FUNCTION multicenter.internal_column_merged(regclass) IS
'Internal. Are columns of a table, or of a partitioned table that it belongs to, merged?';

CREATE FUNCTION multicenter.internal_policy_is_special(relation regclass)
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(bool_or(multicenter.internal_policy_resolver(relation, multicenter.internal_policy_newest(), f) <> 'last_update_wins'), false)
	FROM unnest('{row, delete}'::text[]) AS f;
$$;
COMMENT ON FUNCTION multicenter.internal_policy_is_special(regclass) IS
'Internal. Does anything but last_update_wins decide between rows of a table, or is going to?';

-- Every center does that by itself, for what changes there, so nothing of it
-- is sent to the others.
CREATE FUNCTION multicenter.internal_policy_complete(relations oid[])
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	tab regclass;
	command text;
BEGIN
	FOR tab IN
		SELECT DISTINCT t FROM unnest(relations) AS r, multicenter.internal_policy_tables(r, false) AS t
		WHERE multicenter.internal_policy_is_special(t)
	LOOP
		FOR command IN SELECT c FROM multicenter.internal_policy_needs(tab) AS c LOOP
			EXECUTE command;
		END LOOP;
	END LOOP;
	FOR tab IN
		SELECT DISTINCT t FROM unnest(relations) AS r, multicenter.internal_policy_tables(r, false) AS t
		WHERE multicenter.table_route(t) <> 'full' AND multicenter.internal_column_merged(t)
	LOOP
		EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', tab);
	END LOOP;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_complete(oid[]) IS
'Internal. Gives tables that were made or changed what their policies need.';

CREATE FUNCTION multicenter.complete_policies() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'mc_complete_policies' LANGUAGE C;
COMMENT ON FUNCTION multicenter.complete_policies() IS
'Event trigger function that gives new tables and partitions what their conflict policy needs: the trigger multicenter_seen, and REPLICA IDENTITY FULL.';
REVOKE ALL ON FUNCTION multicenter.complete_policies() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.complete_policies() TO multicenter_admin;

CREATE EVENT TRIGGER multicenter_complete_policies ON ddl_command_end
	WHEN tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA', 'ALTER TABLE')
	EXECUTE FUNCTION multicenter.complete_policies();
ALTER EVENT TRIGGER multicenter_complete_policies ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER multicenter_complete_policies IS 'Makes policies hold for new tables: see multicenter.complete_policies().';

-- Policies go by names, which replicate_ddl() may change: it asks before and
-- after its command.  In epochs from before, the table is known by the old one.
CREATE FUNCTION multicenter.internal_policy_named()
RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_agg(jsonb_build_object('relation', c.oid::bigint, 'schema_name', p.schema_name, 'table_name', p.table_name,
		'family', p.family, 'handler', multicenter.internal_policy_handler_of(c.oid, p.newest, p.family)::oid::bigint))
	FROM (SELECT n.newest, p.* FROM (SELECT multicenter.internal_policy_newest() AS newest) AS n,
			multicenter.internal_policy_at(n.newest) AS p) AS p
		JOIN pg_namespace AS n ON n.nspname = p.schema_name
		JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.table_name
	WHERE p.resolver IS NOT NULL;
$$;
COMMENT ON FUNCTION multicenter.internal_policy_named() IS
'Internal. The tables that policies are set for, by name, and their handlers.';

-- What is kept of changes has the names of their columns in it.
CREATE FUNCTION multicenter.internal_column_named()
RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_agg(jsonb_build_object('relation', c.oid::bigint, 'attnum', a.attnum,
		'schema_name', p.schema_name, 'table_name', p.table_name, 'column_name', p.column_name))
	FROM multicenter.column_policy AS p
		JOIN pg_namespace AS n ON n.nspname = p.schema_name
		JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.table_name
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = p.column_name AND NOT a.attisdropped;
$$;
COMMENT ON FUNCTION multicenter.internal_column_named() IS
'Internal. The columns that are merged, by name.';

CREATE FUNCTION multicenter.internal_column_follow(before jsonb)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	renamed record;
BEGIN
	SELECT b.* INTO renamed
	FROM jsonb_to_recordset(before) AS b(relation bigint, attnum integer, schema_name text, table_name text, column_name text)
		JOIN pg_class AS c ON c.oid = b.relation::oid
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = b.attnum AND NOT a.attisdropped
	WHERE (n.nspname, c.relname, a.attname) <> (b.schema_name::name, b.table_name::name, b.column_name::name)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'cannot rename table %.% or its column %, which is merged',
			quote_ident(renamed.schema_name), quote_ident(renamed.table_name), quote_ident(renamed.column_name)
			USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Call multicenter.column_policy_reset() before and multicenter.column_policy_set() after it.';
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_column_follow(jsonb) IS
'Internal. Refuses that a column which is merged has another name now, or its table. before: what internal_column_named() returned. Errors: 55000 it has.';

CREATE FUNCTION multicenter.internal_policy_follow(before jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	next record;
BEGIN
	IF NOT EXISTS (
		SELECT FROM jsonb_to_recordset(before) AS b(relation bigint, schema_name text, table_name text)
			LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace) ON c.oid = b.relation::oid
		WHERE (n.nspname, c.relname) IS DISTINCT FROM (b.schema_name::name, b.table_name::name)) THEN
		RETURN;
	END IF;
	PERFORM pg_advisory_xact_lock(1296254513, 2);
	SELECT * INTO next FROM multicenter.internal_policy_next();
	WITH moved AS (
		SELECT b.*, n.nspname AS new_schema, c.relname AS new_table
		FROM jsonb_to_recordset(before) AS b(relation bigint, schema_name text, table_name text, family text, handler bigint)
			LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace) ON c.oid = b.relation::oid
		WHERE (n.nspname, c.relname) IS DISTINCT FROM (b.schema_name::name, b.table_name::name)
	), made AS (
		SELECT m.new_schema AS schema_name, m.new_table AS table_name, p.family, p.resolver, p.site_ranks, p.options, p.set_by,
			coalesce((SELECT i.identity FROM pg_identify_object('pg_proc'::regclass, m.handler::oid, 0) AS i), p.handler) AS handler,
			m.schema_name AS former_schema, m.table_name AS former_table
		FROM moved AS m
			JOIN multicenter.internal_policy_at(multicenter.internal_policy_newest()) AS p
				ON p.schema_name = m.schema_name AND p.table_name = m.table_name AND p.family = m.family
		WHERE m.new_table IS NOT NULL
		UNION ALL
		SELECT m.schema_name, m.table_name, m.family, NULL, NULL, '{}', current_user, NULL, NULL, NULL
		FROM moved AS m
		WHERE NOT EXISTS (SELECT FROM moved AS o
						  WHERE (o.new_schema, o.new_table, o.family) = (m.schema_name::name, m.table_name::name, m.family))
	)
	INSERT INTO multicenter.conflict_policy (epoch, item, covers, schema_name, table_name, family, resolver,
		handler, site_ranks, options, set_by, set_at_center, former_schema, former_table)
	SELECT next.epoch, row_number() OVER (ORDER BY m.schema_name, m.table_name, m.family), next.covers, m.schema_name, m.table_name,
		m.family, m.resolver, m.handler, m.site_ranks, m.options, m.set_by, next.center_id, m.former_schema, m.former_table
	FROM made AS m;
	PERFORM multicenter.internal_links_changed();
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_follow(jsonb) IS
'Internal. Makes a new epoch in which policies go with tables that have another name now, and those of dropped tables are gone. before: what internal_policy_named() returned.';

CREATE FUNCTION multicenter.internal_policy_write(relation regclass, families text[], resolver text, handler text,
	site_ranks integer[], options jsonb, set_by text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	next record;
BEGIN
	PERFORM pg_advisory_xact_lock(1296254513, 2);
	SELECT * INTO next FROM multicenter.internal_policy_next();
	INSERT INTO multicenter.conflict_policy (epoch, item, covers, schema_name, table_name, family, resolver,
		handler, site_ranks, options, set_by, set_at_center)
	SELECT next.epoch, f.item, next.covers, n.nspname, c.relname, f.family, internal_policy_write.resolver,
		internal_policy_write.handler, internal_policy_write.site_ranks, internal_policy_write.options,
		internal_policy_write.set_by, next.center_id
	FROM unnest(families) WITH ORDINALITY AS f(family, item)
		LEFT JOIN pg_class AS c ON c.oid = relation
		LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace;
	PERFORM multicenter.internal_links_changed();
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_write(regclass, text[], text, text, integer[], jsonb, text) IS
'Internal. Makes a new epoch with a policy for a table; with a null resolver nothing is set for it any more. Errors: 55000 the database is in no group.';

CREATE FUNCTION multicenter.internal_policy_set(relation regclass, conflict_type text, resolver text,
	handler regprocedure, options jsonb, set_by text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	families text[] := CASE WHEN conflict_type IS NULL THEN '{row, delete}'
		ELSE multicenter.internal_policy_families(conflict_type) END;
	family text;
	checked record;
	signature text;
	command text;
BEGIN
	IF relation IS NOT NULL AND multicenter.table_route(relation) IS NOT DISTINCT FROM 'none' THEN
		RAISE EXCEPTION 'relation % is no replicated table', relation USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'multicenter.tables lists them.';
	END IF;
	FOREACH family IN ARRAY families LOOP
		PERFORM multicenter.internal_policy_check(family, resolver,
			coalesce(options -> 'allow_divergence' = 'true'::jsonb, false));
	END LOOP;
	SELECT * INTO checked FROM multicenter.internal_policy_options(resolver, options);
	signature := multicenter.internal_policy_handler(relation, resolver, handler);
	PERFORM multicenter.internal_policy_write(relation, families, resolver, signature, checked.site_ranks, options, set_by);
	IF families && '{row, delete}' AND resolver <> 'last_update_wins' THEN
		FOR command IN SELECT c FROM multicenter.internal_policy_needs(relation) AS c LOOP
			PERFORM multicenter.replicate_ddl(command);
		END LOOP;
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_set(regclass, text, text, regprocedure, jsonb, text) IS
'Internal. Carries out conflict_policy_set().';

CREATE FUNCTION multicenter.internal_policy_reset(relation regclass, conflict_type text, set_by text)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT multicenter.internal_policy_write(relation,
		CASE WHEN conflict_type IS NULL THEN '{row, delete, missing, unique, apply}'
			ELSE multicenter.internal_policy_families(conflict_type) END,
		NULL, NULL, NULL, '{}', set_by);
$$;
COMMENT ON FUNCTION multicenter.internal_policy_reset(regclass, text, text) IS
'Internal. Carries out conflict_policy_reset().';

-- ---- trying ----

CREATE FUNCTION multicenter.conflict_policy_test(relation regclass, conflict_type text, resolver text,
	since timestamptz DEFAULT now() - interval '1 day', handler regprocedure DEFAULT NULL, options jsonb DEFAULT '{}',
	OUT conflict_id bigint, OUT was text, OUT would_be text, OUT row_differs boolean)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	families text[] := CASE WHEN conflict_policy_test.conflict_type IS NULL THEN '{row, delete}'
		ELSE multicenter.internal_policy_families(conflict_policy_test.conflict_type) END;
	ranks integer[];
	h record;
	action text;
	new_row jsonb;
BEGIN
	PERFORM multicenter.internal_policy_check(f, resolver, true) FROM unnest(families) AS f;
	SELECT o.site_ranks INTO ranks FROM multicenter.internal_policy_options(resolver, options) AS o;
	IF (resolver = 'handler') <> (handler IS NOT NULL) THEN
		PERFORM multicenter.internal_policy_handler(relation, resolver, handler);
	END IF;
	FOR h IN
		SELECT c.conflict_id, c.conflict_type, c.relation, c.resolution, c.local_row::jsonb AS local_row,
			c.remote_row::jsonb AS remote_row, c.result_row::jsonb AS result_row,
			c.local_center_id, c.local_version, c.remote_center_id, c.remote_version,
			-- Of what has no known author nothing is older.
			(c.remote_version, c.remote_center_id) > (coalesce(c.local_version, '-infinity'), coalesce(c.local_center_id, 0)) AS remote_is_last,
			coalesce((SELECT min(r / 1024) FROM unnest(ranks) AS r WHERE r % 1024 = c.local_center_id), 2147483647) AS local_rank,
			coalesce((SELECT min(r / 1024) FROM unnest(ranks) AS r WHERE r % 1024 = c.remote_center_id), 2147483647) AS remote_rank
		FROM multicenter.conflict_history AS c
			JOIN multicenter.internal_conflict_types() AS t ON t.conflict_type = c.conflict_type
		WHERE t.family = ANY (families) AND c.detected_at >= since
			AND (conflict_policy_test.relation IS NULL OR c.relation = conflict_policy_test.relation
				OR conflict_policy_test.relation IN (SELECT a.relid FROM pg_partition_ancestors(c.relation) AS a))
		ORDER BY c.conflict_id
	LOOP
		conflict_id := h.conflict_id;
		was := h.resolution;
		would_be := CASE resolver
			WHEN 'last_update_wins' THEN CASE WHEN h.remote_is_last THEN 'apply_remote' ELSE 'keep_local' END
			WHEN 'first_update_wins' THEN CASE WHEN h.remote_is_last THEN 'keep_local' ELSE 'apply_remote' END
			WHEN 'site_priority' THEN CASE
				WHEN h.remote_rank < h.local_rank OR h.remote_rank = h.local_rank AND h.remote_is_last THEN 'apply_remote'
				ELSE 'keep_local' END
			WHEN 'insert_or_skip' THEN CASE WHEN h.remote_row IS NOT NULL THEN 'apply_remote' ELSE 'keep_local' END
			WHEN 'skip' THEN CASE WHEN h.remote_row IS NULL THEN 'apply_remote' ELSE 'keep_local' END
			ELSE resolver END;
		IF resolver = 'handler' THEN
			-- As apply does: the row of the lower version is the local one.
			IF h.remote_is_last THEN
				SELECT c.action, c.result_row INTO action, new_row FROM multicenter.internal_handler_call(h.relation, handler, h.conflict_type,
					CASE WHEN h.remote_row IS NULL THEN 'delete' ELSE 'update' END, h.local_row, h.remote_row,
					h.local_center_id, h.local_version, h.remote_center_id, h.remote_version) AS c;
			ELSE
				SELECT c.action, c.result_row INTO action, new_row FROM multicenter.internal_handler_call(h.relation, handler, h.conflict_type,
					CASE WHEN h.local_row IS NULL THEN 'delete' ELSE 'update' END, h.remote_row, h.local_row,
					h.remote_center_id, h.remote_version, h.local_center_id, h.local_version) AS c;
			END IF;
			would_be := CASE
				WHEN action = 'next' THEN CASE WHEN h.remote_is_last THEN 'apply_remote' ELSE 'keep_local' END
				WHEN action NOT IN ('apply_remote', 'keep_local') OR h.remote_is_last THEN action
				WHEN action = 'apply_remote' THEN 'keep_local'
				ELSE 'apply_remote' END;
		END IF;
		row_differs := CASE
			WHEN would_be = 'apply_remote' THEN h.remote_row IS DISTINCT FROM h.result_row
			WHEN would_be = 'keep_local' THEN h.local_row IS DISTINCT FROM h.result_row
			WHEN would_be = 'row' THEN new_row IS DISTINCT FROM multicenter.internal_handler_row(h.relation, h.result_row)
			WHEN would_be = 'skip' THEN h.result_row IS NOT NULL
		END;
		RETURN NEXT;
	END LOOP;
END $$;
COMMENT ON FUNCTION multicenter.conflict_policy_test(regclass, text, text, timestamptz, regprocedure, jsonb) IS
'Tells for each conflict in the history of this center what another policy would have made of it; changes nothing. relation, conflict_type, resolver, handler, options: as for conflict_policy_set(). since: from when on. was, would_be: which side stayed, or what a handler answers; row_differs: whether another row would be there, null where none would be decided on. Pairs are looked at one by one. Errors: 22023 and 0A000 as there; 42704 no such site.';

-- ---- for centers that join ----

CREATE FUNCTION multicenter.peer_policies(OUT is_epoch boolean, OUT policy_row jsonb)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT false, to_jsonb(p) FROM multicenter.conflict_policy AS p
	UNION ALL
	SELECT true, to_jsonb(e) FROM multicenter.policy_epoch AS e
	UNION ALL
	SELECT NULL, to_jsonb(c) FROM multicenter.column_policy AS c;
$$;
COMMENT ON FUNCTION multicenter.peer_policies() IS
'For other centers: the policies for conflicts, when each center took over each epoch of them, and with a null the columns that are merged.';

CREATE FUNCTION multicenter.internal_policy_add(is_epoch boolean, policy_row jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF is_epoch IS NULL THEN
		INSERT INTO multicenter.column_policy
		SELECT (jsonb_populate_record(NULL::multicenter.column_policy, policy_row)).* ON CONFLICT DO NOTHING;
	ELSIF is_epoch THEN
		INSERT INTO multicenter.policy_epoch
		SELECT (jsonb_populate_record(NULL::multicenter.policy_epoch, policy_row)).* ON CONFLICT DO NOTHING;
	ELSE
		INSERT INTO multicenter.conflict_policy
		SELECT (jsonb_populate_record(NULL::multicenter.conflict_policy, policy_row)).* ON CONFLICT DO NOTHING;
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.internal_policy_add(boolean, jsonb) IS
'Internal. Adds what peer_policies() has returned, unless it is there.';

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
			AND p.proname::pg_catalog.text OPERATOR(pg_catalog.~)
				'^((internal|peer)_polic|internal_conflict_types|version_epoch|conflict_policy_)'
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', fn);
		IF fn_name OPERATOR(pg_catalog.=) 'peer_policies' THEN
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO multicenter_peer, multicenter_admin', fn);
		ELSIF fn_name OPERATOR(pg_catalog.=) 'version_epoch' THEN
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO multicenter_admin, multicenter_monitor', fn);
		ELSIF fn_name OPERATOR(pg_catalog.!~) '^internal_' THEN
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO multicenter_admin', fn);
		END IF;
	END LOOP;
END $$;
