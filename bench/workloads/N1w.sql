-- title: bytes for a million rows with 1 kB of words at random
-- kind: wire
-- compares: multicenter, multicenter lz4, multicenter zstd, native
-- changes: 20000
-- rows: 400
-- section seed
CREATE TABLE item (id int PRIMARY KEY, at timestamptz, price numeric(20,4), properties jsonb, body text);
ALTER TABLE item ALTER body SET STORAGE PLAIN;
-- section load
DO $$ BEGIN
	FOR i IN 0 .. 49 LOOP
		INSERT INTO item SELECT n, timestamptz '2026-01-01' + n * interval '1 s', n * 1.25,
			jsonb_build_object('number', n, 'name', 'name of ' || n), (SELECT string_agg(left(md5(w::text), 3 + w % 7), ' ')
				FROM (SELECT (hashint4(n * 200 + j) & 1023) AS w FROM generate_series(1, 145) j) AS words)
		FROM generate_series(i * {rows} + 1, (i + 1) * {rows}) n;
		COMMIT;
	END LOOP;
END $$;
