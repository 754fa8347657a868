-- Loads records, a line each, from standard input into the schema dr: see dr.sql. The same record twice is there once.
BEGIN;
SET LOCAL TimeZone = 'UTC';
CREATE TEMPORARY TABLE line (text text) ON COMMIT DROP;
-- No line of JSON has these characters in it, so each is taken as it is.
\copy line FROM pstdin WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
-- A null character, which PostgreSQL has no place for, is dropped.
CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT replace(text, '\u0000', '')::jsonb AS record FROM line WHERE text <> '';

INSERT INTO dr.runs
SELECT (record->>'run')::uuid, record->>'cluster', record->>'job', record->>'host', (record->>'started_at')::timestamptz,
       (record->>'finished_at')::timestamptz, (record->>'succeeded')::boolean, (record->>'exit_code')::int, record->>'signal',
       record->>'backup', (record->>'stored_bytes')::bigint, record->>'message', record
FROM incoming WHERE record->>'type' = 'run' ON CONFLICT DO NOTHING;

INSERT INTO dr.backups AS known
SELECT DISTINCT ON (record->>'cluster', record->>'name', record->>'store')
       record->>'cluster', record->>'name', record->>'store', record->>'kind', record->'produced'->>'database',
       (record->>'taken_at')::timestamptz, (record->>'stored_at')::timestamptz, (record->'produced'->>'plain_bytes')::bigint,
       (record->>'bytes')::bigint, record->>'signature', (record->>'good')::boolean, (record->>'verified_at')::timestamptz, record
FROM incoming WHERE record->>'type' IN ('backup', 'verified')
ORDER BY record->>'cluster', record->>'name', record->>'store', record->>'verified_at' DESC NULLS LAST
ON CONFLICT (cluster, name, store) DO UPDATE
SET signature = excluded.signature, good = excluded.good, verified_at = excluded.verified_at, record = excluded.record
WHERE excluded.verified_at > known.verified_at OR known.verified_at IS NULL;

INSERT INTO dr.drills
SELECT record->>'name', record->>'drill', record->>'cluster', record->>'backup', (record->>'passed')::boolean,
       (record->>'started_at')::timestamptz, (record->>'finished_at')::timestamptz, (record->>'rto_seconds')::double precision,
       (record->>'rpo_seconds')::double precision, ARRAY(SELECT jsonb_array_elements_text(record->'issues')), record
FROM incoming WHERE record->>'type' = 'drill' ON CONFLICT DO NOTHING;

-- The row of the state that it is in grows older; another state begins another row.
WITH seen AS (
    SELECT DISTINCT ON (cluster, check_name, subject) *
    FROM (SELECT coalesce(record->>'cluster', '') AS cluster, record->>'check' AS check_name, coalesce(record->>'subject', '') AS subject,
                 record->>'state' AS state, (record->>'since_at')::timestamptz AS since_at,
                 (record->>'checked_at')::timestamptz AS checked_at, record
          FROM incoming WHERE record->>'type' = 'check') checked
    ORDER BY cluster, check_name, subject, checked_at DESC
)
INSERT INTO dr.checks
SELECT cluster, check_name, subject, seen.state, coalesce(seen.since_at, CASE WHEN newest.state = seen.state THEN newest.since_at END,
       seen.checked_at), seen.checked_at, record->>'message', (record->>'value')::double precision,
       (record->>'limit')::double precision, record->>'unit', record
FROM seen
LEFT JOIN LATERAL (
    SELECT before.state, before.since_at, before.checked_at FROM dr.checks AS before
    WHERE (before.cluster, before.check_name, before.subject) = (seen.cluster, seen.check_name, seen.subject)
    ORDER BY before.checked_at DESC LIMIT 1
) newest ON true
WHERE newest.checked_at IS NULL OR seen.checked_at > newest.checked_at
ON CONFLICT (cluster, check_name, subject, state, since_at) DO UPDATE
SET checked_at = excluded.checked_at, message = excluded.message, value = excluded.value, value_limit = excluded.value_limit,
    unit = excluded.unit, record = excluded.record;
COMMIT;
