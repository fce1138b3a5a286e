-- title: many tables in a group
-- kind: tables
-- compares: multicenter 100, multicenter 1000, native 1000, multicenter 10000, native 10000
-- base: native 1000
-- fit: join_cpu_s, first_cpu_us, next_cpu_us, sender_mb, apply_mb, start_cpu_s, idle_ms, health_ms, views_ms
-- unit: tables
-- conf: max_locks_per_transaction = 512
-- calm: 3!
-- seconds: 8!
-- section seed
DO $$ BEGIN
	FOR i IN 1 .. {tables} LOOP
		EXECUTE format('CREATE TABLE item_%s (id int PRIMARY KEY, k int, note varchar(80))', i);
		IF i % 100 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
-- section touch
DO $$ BEGIN
	FOR i IN 1 .. {tables} LOOP
		EXECUTE format('INSERT INTO item_%s VALUES ({id}, 1, ''a note'')', i);
		COMMIT;
	END LOOP;
END $$;
