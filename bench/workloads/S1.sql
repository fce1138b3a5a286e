-- title: centers that have nothing to do, by the number of peers of each
-- kind: idle
-- compares: multicenter 1, multicenter 3, multicenter 7
-- base: multicenter 1
-- fit: cpu_ms, sender_ms, receiver_ms, manager_ms, wire_kb, wal_kb
-- unit: peers
-- conf: shared_buffers = 64MB
-- calm: 8!
-- seconds: 15!
-- section seed
CREATE TABLE item (id int PRIMARY KEY, note text);
INSERT INTO item SELECT i, 'a note of some length' FROM generate_series(1, 1000) i;
