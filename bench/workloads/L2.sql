-- title: most TPC-B transactions in a second with which the other server keeps up
-- kind: sustained
-- like: W1
-- start: 2000!
-- seconds: 5!
-- steps: 7!
-- lag_ms: 1000!
-- accounts: 100000!
-- section load
SELECT setseed(0.5);
DO $$ DECLARE
	begun timestamptz := clock_timestamp();
	ahead float8;
BEGIN
	FOR i IN 1 .. {rate} * {seconds} LOOP
		DECLARE
			a int := (random() * ({accounts} - 1))::int;
			d int := (random() * 1000)::int;
		BEGIN
			UPDATE account SET balance = balance + d WHERE id = a;
			UPDATE teller SET balance = balance + d WHERE id = a % 100;
			UPDATE branch SET balance = balance + d WHERE id = a % 10;
			INSERT INTO history VALUES ({from} + i, a % 100, a % 10, a, d, clock_timestamp(), '');
		END;
		COMMIT;
		IF i % 20 = 0 THEN
			ahead := i / {rate}::float8 - extract(epoch FROM clock_timestamp() - begun);
			IF ahead > 0 THEN
				PERFORM pg_sleep(ahead);
			END IF;
		END IF;
	END LOOP;
END $$;
