-- title: transactions of one INSERT
-- ceiling: 1.5
-- changes: 200000
-- section seed
CREATE TABLE item (id int PRIMARY KEY, k int, v int, note text);
-- section load
DO $$ BEGIN
	FOR i IN 1 .. {changes} LOOP
		INSERT INTO item VALUES (i, i % 1000, i, 'a note of some length');
		COMMIT;
	END LOOP;
END $$;
