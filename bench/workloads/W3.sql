-- title: one transaction of 2 million INSERTs
-- link: {"logical_decoding_work_mem": "1GB"}
-- ceiling: 0.9
-- changes: 2000000
-- section seed
CREATE TABLE item (id int PRIMARY KEY, k int, v bigint, note text);
-- section load
INSERT INTO item SELECT i, i % 1000, i, 'a note of some length, here forty letters' FROM generate_series(1, {changes}) i;
