-- title: a server joins one with 5 GB: four tables with two indexes each
-- kind: join
-- most: 0.1
-- changes: 20000000
-- rows: 5000000
-- section seed
CREATE TABLE one (id int PRIMARY KEY, k int, v bigint, at timestamptz, note text);
CREATE TABLE two (LIKE one INCLUDING ALL);
CREATE TABLE three (LIKE one INCLUDING ALL);
CREATE TABLE four (LIKE one INCLUDING ALL);
DO $$ DECLARE t text; BEGIN
	FOREACH t IN ARRAY ARRAY['one', 'two', 'three', 'four'] LOOP
		EXECUTE format('INSERT INTO %I SELECT i, i %% 10000, i, timestamptz ''2026-01-01'' + i * interval ''1 s'', md5(i::text) || repeat(''x'', 120) FROM generate_series(1, {rows}) i', t);
		EXECUTE format('CREATE INDEX ON %I (k)', t);
	END LOOP;
END $$;
