-- title: one transaction of 500,000 UPDATEs
-- link: {"logical_decoding_work_mem": "1GB"}
-- ceiling: 1.1
-- changes: 500000
-- section seed
CREATE TABLE item (id int PRIMARY KEY, k int, v int, note text);
INSERT INTO item SELECT i, i % 10000, i, repeat('x', 80) FROM generate_series(1, {changes}) i;
CREATE INDEX ON item (k);
-- section load
UPDATE item SET v = v + 1;
