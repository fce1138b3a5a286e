-- title: a session's own writes: INSERT, UPDATE and DELETE of one row each
-- kind: local
-- compares: plain, native with a peer, loaded, alone, one peer, two peers
-- base: plain
-- transactions: 600000
-- changes: 600000
-- rows: 100000!
-- section seed
CREATE TABLE item (id int PRIMARY KEY, k int, v int, note text);
INSERT INTO item SELECT -i, i % 1000, i, 'a note of some length' FROM generate_series(1, {rows}) i;
CREATE INDEX ON item (k);
-- section load
DO $$ BEGIN
	FOR i IN 1 .. 500 LOOP
		INSERT INTO item VALUES (i, i % 1000, i, 'a note of some length');
		COMMIT;
	END LOOP;
END $$;
DO $$ BEGIN
	FOR i IN 501 .. 500 + {transactions} / 3 LOOP
		INSERT INTO item VALUES (i, i % 1000, i, 'a note of some length');
		COMMIT;
		UPDATE item SET v = v + 1 WHERE id = -1 - i % {rows};
		COMMIT;
		DELETE FROM item WHERE id = i - 400;
		COMMIT;
	END LOOP;
END $$;
