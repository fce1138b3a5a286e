-- title: both servers update the same 1,000 rows 50,000 times, cut off; then they heal
-- kind: heal
-- only: multicenter, pglogical
-- base: pglogical
-- changes: 50000
-- section seed
CREATE TABLE hot (id int PRIMARY KEY, v int, note text);
INSERT INTO hot SELECT i, 0, 'a note of some length' FROM generate_series(0, 999) i;
-- section load
DO $$ BEGIN
	FOR i IN 1 .. {changes} LOOP
		UPDATE hot SET v = v + 1 WHERE id = (i::bigint * 7919) % 1000;
		COMMIT;
	END LOOP;
END $$;
