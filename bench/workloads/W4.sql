-- title: transactions of one UPDATE, of an indexed column; two secondary indexes
-- ceiling: 1.5
-- changes: 200000
-- rows: 1000000
-- section seed
CREATE TABLE item (id int PRIMARY KEY, k int, v int, note text);
INSERT INTO item SELECT i, i % 10000, i, repeat('x', 80) FROM generate_series(0, {rows} - 1) i;
CREATE INDEX ON item (k);
CREATE INDEX ON item (v);
-- section load
DO $$ BEGIN
	FOR i IN 1 .. {changes} LOOP
		UPDATE item SET v = v + 1 + i % 100 WHERE id = (i::bigint * 7919 * 31) % {rows};
		COMMIT;
	END LOOP;
END $$;
