-- title: latency from commit to visible, 200 transactions a second
-- kind: latency
-- rate: 200!
-- seconds: 20
-- changes: 4000
-- section seed
CREATE TABLE bench_latency (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
-- section load
INSERT INTO bench_latency (note) VALUES ('a note of some length');
