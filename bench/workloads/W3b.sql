-- title: 20 transactions of 100,000 INSERTs
-- ceiling: 0.8
-- changes: 2000000
-- rows: 100000
-- section seed
CREATE TABLE item (id int PRIMARY KEY, k int, v bigint, note text);
-- section load
DO $$ BEGIN
	FOR i IN 0 .. 19 LOOP
		INSERT INTO item SELECT n, n % 1000, n, 'a note of some length, here forty letters'
		FROM generate_series(i * {rows} + 1, (i + 1) * {rows}) n;
		COMMIT;
	END LOOP;
END $$;
