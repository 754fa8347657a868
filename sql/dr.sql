-- The history of backups in a database, for dashboards and for those who like to ask in SQL. Nothing needs it in order to restore.
--   psql -v ON_ERROR_STOP=1 -f dr.sql              creates what is missing in the schema dr, or loads what history gives it
--   psql … -v public=yes -f dr.sql                 and shows the two views in the schema public, too
-- May be repeated; what is there stays. Columns are the fields of dr-records(5); all the others are in `record`.

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS dr;

CREATE TABLE IF NOT EXISTS dr.runs (
    run uuid PRIMARY KEY,
    cluster text NOT NULL,
    job text NOT NULL,
    host text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    succeeded boolean NOT NULL,
    exit_code int,
    signal text,
    backup text,
    stored_bytes bigint,
    message text,
    record jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_of_job ON dr.runs (cluster, job, finished_at);

-- One row for each store that has it. What was deleted since stays here, as history.
CREATE TABLE IF NOT EXISTS dr.backups (
    cluster text NOT NULL,
    name text NOT NULL,
    store text NOT NULL,
    kind text NOT NULL,
    database text,
    taken_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL,
    plain_bytes bigint,
    stored_bytes bigint NOT NULL,
    signature text NOT NULL,
    good boolean,
    verified_at timestamptz,
    record jsonb NOT NULL,
    PRIMARY KEY (cluster, name, store)
);
CREATE INDEX IF NOT EXISTS backups_of_kind ON dr.backups (cluster, kind, database, taken_at);

CREATE TABLE IF NOT EXISTS dr.drills (
    name text PRIMARY KEY,
    drill text NOT NULL,
    cluster text NOT NULL,
    backup text,
    passed boolean NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    rto_seconds double precision NOT NULL,
    rpo_seconds double precision,
    issues text[] NOT NULL,
    record jsonb NOT NULL
);

-- One row for as long as a check stays in one state.
CREATE TABLE IF NOT EXISTS dr.checks (
    cluster text NOT NULL DEFAULT '',
    check_name text NOT NULL,
    subject text NOT NULL DEFAULT '',
    state text NOT NULL,
    since_at timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    message text NOT NULL,
    value double precision,
    value_limit double precision,
    unit text,
    record jsonb NOT NULL,
    PRIMARY KEY (cluster, check_name, subject, state, since_at)
);

-- How old the newest backup of a kind may be; yours go in here, for one cluster or, with '', for all.
CREATE TABLE IF NOT EXISTS dr.objectives (
    cluster text NOT NULL DEFAULT '',
    kind text NOT NULL,
    max_age interval NOT NULL,
    PRIMARY KEY (cluster, kind)
);
INSERT INTO dr.objectives (kind, max_age) VALUES ('dump', '26 hours'), ('base', '8 days'), ('files', '26 hours') ON CONFLICT DO NOTHING;

-- What is shown of each thing that is backed up: its newest backup, how it is, and how the last run and the last drill went.
CREATE OR REPLACE VIEW dr.backup_status_dashboard AS
SELECT newest.cluster, newest.kind, newest.database, newest.name AS last_backup, newest.taken_at AS last_backup_at,
       date_trunc('second', now() - newest.taken_at) AS age, newest.stored_bytes, newest.stores, newest.signature, newest.verified_at,
       newest.good, run.finished_at AS last_run_at, run.succeeded AS last_run_succeeded, run.message AS last_run_message,
       (SELECT count(*) FROM dr.runs failed WHERE failed.cluster = newest.cluster AND failed.job = newest.kind AND NOT failed.succeeded
           AND failed.finished_at > now() - interval '7 days') AS failures_7_days,
       drill.finished_at AS last_drill_at, drill.passed AS last_drill_passed, drill.rto_seconds AS last_rto_seconds,
       drill.rpo_seconds AS last_rpo_seconds
FROM (
    SELECT DISTINCT ON (cluster, kind, database) cluster, kind, database, name, taken_at, stored_bytes, signature, verified_at, good,
           array_agg(store) OVER (PARTITION BY cluster, name) AS stores
    FROM dr.backups ORDER BY cluster, kind, database, taken_at DESC, verified_at DESC NULLS LAST
) newest
LEFT JOIN LATERAL (
    SELECT * FROM dr.runs WHERE cluster = newest.cluster AND job = newest.kind ORDER BY finished_at DESC LIMIT 1
) run ON true
LEFT JOIN LATERAL (
    SELECT * FROM dr.drills WHERE cluster = newest.cluster
        AND drill = CASE newest.kind WHEN 'base' THEN 'pitr' ELSE 'restore-test' END ORDER BY finished_at DESC LIMIT 1
) drill ON true;

-- What would be lost now, by the age of the newest backup alone: OK, or VIOLATED. With WAL in the stores it is less. Where nothing is
-- loaded any more, it becomes VIOLATED by itself.
CREATE OR REPLACE VIEW dr.backup_rpo_status AS
SELECT shown.cluster, shown.kind, shown.database, shown.last_backup, shown.last_backup_at, shown.age AS current_rpo,
       round(extract(epoch FROM shown.age) / 60) AS current_rpo_minutes, objective.max_age AS target_rpo,
       CASE WHEN objective.max_age IS NULL THEN 'UNKNOWN' WHEN shown.age <= objective.max_age AND shown.good IS NOT FALSE THEN 'OK'
            ELSE 'VIOLATED' END AS rpo_status
FROM dr.backup_status_dashboard shown
LEFT JOIN LATERAL (
    SELECT max_age FROM dr.objectives WHERE kind = shown.kind AND cluster IN (shown.cluster, '') ORDER BY cluster DESC LIMIT 1
) objective ON true;

\if :{?public}
CREATE OR REPLACE VIEW public.backup_status_dashboard AS SELECT * FROM dr.backup_status_dashboard;
CREATE OR REPLACE VIEW public.backup_rpo_status AS SELECT * FROM dr.backup_rpo_status;
\endif
COMMIT;
