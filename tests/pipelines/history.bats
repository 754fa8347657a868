#!/usr/bin/env bats
# What is known of backups, in a database: loaded once, however often it is given, and asked as people ask.

load pipelines

history() {
    "$PROJECT/scripts/history" "$@" watching
}

ask() {
    psql -AtX -c "$1" watching
}

setup_file() {
    createdb watching
}

teardown_file() {
    dropdb watching
}

teardown() {
    psql -qX -c "SET client_min_messages = warning" -c "DROP SCHEMA IF EXISTS dr CASCADE" watching
}

# A run, a drill and a check as the tools write them, with what is not of interest made up.
run_of() {
    jq -cn --arg job "$1" --arg at "$2" --argjson ok "$3" --arg run "$(</proc/sys/kernel/random/uuid)" '{type: "run", run: $run, cluster: "main", job: $job,
        host: "db1", started_at: $at, finished_at: $at, succeeded: $ok, exit_code: 0, message: "a \"word\"\\, \u00e9, \u0000 a\ttab"}'
}

check_of() {
    jq -cn --arg state "$1" --arg at "$2" '{type: "check", check: "dump-age", state: $state, cluster: "main", message: "it is old",
        value: 3, limit: 2.5, unit: "seconds", checked_at: $at}'
}

@test "a backup, its verification, runs, drills and checks are there once" {
    back_up
    dr-verify --json >verified || true
    run_of dump 2026-01-25T02:00:00Z true >runs
    run_of dump 2026-01-26T02:00:00.123456789Z false >>runs
    for _ in once twice; do
        (dr-list --json; cat verified runs; check_of ok 2026-01-25T02:00:00Z) | history
        (check_of ok 2026-01-25T02:05:00Z) | history
        check_of critical 2026-01-25T02:10:00Z | history
    done
    [ "$(ask "SELECT count(*), count(DISTINCT backup), max(message) FROM dr.runs")" = "2|0|a \"word\"\\, é,  a	tab" ]
    [ "$(ask "SELECT name, kind, database, signature, good, verified_at IS NOT NULL FROM dr.backups")" \
        = "$(dr-list --json | jq -r .name)|dump|shop|good|t|t" ]
    [ "$(ask "SELECT state, to_char(since_at AT TIME ZONE 'UTC', 'MI'), to_char(checked_at AT TIME ZONE 'UTC', 'MI'), value_limit FROM dr.checks
        ORDER BY since_at")" = $'ok|00|05|2.5\ncritical|10|10|2.5' ]
}

@test "the views tell what is late, also without their schema" {
    back_up
    dr-list --json | history --public
    [ "$(ask "SELECT kind, database, age < interval '1 hour', stores = ARRAY['$PWD/store'] FROM backup_status_dashboard")" = "dump|shop|t|t" ]
    [ "$(ask "SELECT * FROM backup_rpo_status WHERE rpo_status != 'OK'")" = "" ]
    ask "INSERT INTO dr.objectives (cluster, kind, max_age) VALUES ('main', 'dump', '-1 second')"
    [ "$(ask "SELECT rpo_status, target_rpo, current_rpo_minutes FROM dr.backup_rpo_status")" = "VIOLATED|-00:00:01|0" ]
    # The next version finds what is there, and what somebody has put there.
    echo | history
    [ "$(ask "SELECT count(*) FROM dr.objectives")" = 4 ]
}

@test "what is no record is not loaded, and the script says how it is used" {
    run -3 history <<<'{"type":'
    run -64 "$PROJECT/scripts/history" --publicly
    [[ $output == usage:* ]]
}
