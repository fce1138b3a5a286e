-- title: parallel apply of slow transactions: one INSERT each, a trigger that sleeps 2 ms
-- kind: parallel
-- like: W2
-- compares: multicenter 1, multicenter 2, multicenter 4, multicenter 8
-- base: multicenter 1
-- changes: 4000
-- section target
CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.002);
	RETURN NULL;
END $$;
CREATE TRIGGER nap AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION nap();
ALTER TABLE item ENABLE REPLICA TRIGGER nap;
