-- title: 200 transactions of 1,000 wide rows (20 columns, 1.6 kB)
-- ceiling: 1.3
-- changes: 200000
-- rows: 1000
-- section seed
CREATE TABLE item (id int PRIMARY KEY, n1 numeric(20,4), n2 numeric(20,4), n3 numeric, n4 numeric,
	t1 timestamptz, t2 timestamptz, t3 timestamptz, t4 date, j1 jsonb, j2 jsonb, b1 bigint, b2 bigint, b3 bigint,
	f1 float8, f2 float8, u uuid, s1 text, s2 varchar(100), body text);
ALTER TABLE item ALTER body SET STORAGE PLAIN;
-- section load
DO $$ BEGIN
	FOR i IN 0 .. 199 LOOP
		INSERT INTO item SELECT n, n * 1.25, n / 7.0, n * 1000.001, -n, timestamptz '2026-01-01' + n * interval '1 s',
			timestamptz '2026-01-01' + n * interval '1 min', '2026-06-01', date '2026-01-01' + n % 1000,
			jsonb_build_object('number', n, 'name', 'name of ' || n, 'tags', jsonb_build_array('a', 'b', n)),
			jsonb_build_object('x', n / 3.0), n, n * 1000, -n, n / 3.0, sqrt(n), md5(n::text)::uuid, 'some text', 'a name', repeat(md5(n::text), 32)
		FROM generate_series(i * {rows} + 1, (i + 1) * {rows}) n;
		COMMIT;
	END LOOP;
END $$;
