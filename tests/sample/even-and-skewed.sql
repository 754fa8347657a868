-- Eight tables for benchmarks, with :rows rows in all, of the types that most columns have.
-- :first of a hundred rows are in the first table; the others have the rest in even parts.
SELECT setseed(0.25) \g /dev/null
SELECT format($$
CREATE TABLE booking_%1$s AS
SELECT n AS booking_id, md5(n::text) AS code, (n %% 90000) * 1.37 AS price, timestamptz '2024-01-01 UTC' + n * interval '7 seconds' AS made_at,
       (ARRAY['asked', 'booked', 'left'])[n %% 3 + 1] AS state, n * 17 %% 1000 AS room_id, date '2024-01-01' + n %% 900 AS arrival,
       CASE WHEN n %% 4 > 0 THEN format('late arrival, %%s guests, please call +351 %%s', n %% 7, n::bigint * 7919 %% 1000000) END AS note,
       CASE WHEN n %% 2 = 0 THEN jsonb_build_object('n', n, 'tags', ARRAY['late', 'quiet']) END AS detail, random() AS score
FROM generate_series(1, %2$s) n;
ALTER TABLE booking_%1$s ADD PRIMARY KEY (booking_id);
CREATE INDEX ON booking_%1$s (code);
$$, n, (CASE n WHEN 1 THEN :rows * :first / 100 ELSE :rows * (100 - :first) / 700 END)::integer)
FROM generate_series(1, 8) n \gexec
VACUUM ANALYZE;
