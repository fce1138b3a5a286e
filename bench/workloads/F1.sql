-- title: one to four peers: 20 transactions of 25,000 INSERTs
-- kind: fanout
-- compares: multicenter 1, native 1, multicenter 2, native 2, multicenter 4, native 4
-- base: native 1
-- changes: 500000
-- rows: 25000
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
