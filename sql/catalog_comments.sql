-- Goal: everything that the extension makes is described and private where it
-- must be.  Method: ask the catalogs; each query expects no row.
CREATE EXTENSION IF NOT EXISTS multicenter;
SET search_path = pg_catalog;

-- Objects without a comment.
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'multicenter')
	AND d.deptype = 'e'
	AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_event_trigger'::regclass)
	AND NOT EXISTS (SELECT FROM pg_class WHERE oid = d.objid AND d.classid = 'pg_class'::regclass AND relkind NOT IN ('r', 'v'))
	AND NOT EXISTS (SELECT FROM pg_description WHERE objoid = d.objid AND classoid = d.classid AND objsubid = 0)
ORDER BY 1;

-- Functions that everybody may call.
SELECT p.oid::regprocedure AS callable_by_public
FROM pg_proc p
WHERE p.pronamespace = 'multicenter'::regnamespace
	AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0))
ORDER BY 1;

-- Tables that anybody but the owner may use.
SELECT c.oid::regclass AS not_private
FROM pg_class c
WHERE c.relnamespace = 'multicenter'::regnamespace AND c.relkind IN ('r', 'S')
	AND EXISTS (SELECT FROM aclexplode(c.relacl) WHERE grantee <> c.relowner)
ORDER BY 1;

-- Functions with the owner's rights and a search_path that the caller chooses.
SELECT p.oid::regprocedure AS unpinned
FROM pg_proc p
WHERE p.pronamespace = 'multicenter'::regnamespace AND p.prosecdef
	AND NOT EXISTS (SELECT FROM unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%')
ORDER BY 1;

-- Settings, as people see them.
SELECT name, unit, context, boot_val FROM pg_settings WHERE name LIKE 'multicenter.%' ORDER BY 1;
