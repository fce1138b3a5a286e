-- title: TPC-B transactions: three updates and an insert each
-- ceiling: 2.2
-- transactions: 100000
-- changes: 400000
-- accounts: 1000000
-- section seed
CREATE TABLE branch (id int PRIMARY KEY, balance int NOT NULL, filler char(88));
CREATE TABLE teller (id int PRIMARY KEY, branch int NOT NULL, balance int NOT NULL, filler char(84));
CREATE TABLE account (id int PRIMARY KEY, branch int NOT NULL, balance int NOT NULL, filler char(84));
CREATE TABLE history (id int PRIMARY KEY, teller int, branch int, account int, delta int, at timestamp, filler char(22));
INSERT INTO branch SELECT i, 0, '' FROM generate_series(0, 9) i;
INSERT INTO teller SELECT i, i % 10, 0, '' FROM generate_series(0, 99) i;
INSERT INTO account SELECT i, i % 10, 0, '' FROM generate_series(0, {accounts} - 1) i;
-- section load
SELECT setseed(0.5);
DO $$ BEGIN
	FOR i IN 1 .. {transactions} LOOP
		DECLARE
			a int := (random() * ({accounts} - 1))::int;
			d int := (random() * 1000)::int;
		BEGIN
			UPDATE account SET balance = balance + d WHERE id = a;
			UPDATE teller SET balance = balance + d WHERE id = a % 100;
			UPDATE branch SET balance = balance + d WHERE id = a % 10;
			INSERT INTO history VALUES (i, a % 100, a % 10, a, d, clock_timestamp(), '');
		END;
		COMMIT;
	END LOOP;
END $$;
