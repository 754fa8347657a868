#!/usr/bin/env bats
# The drill of a recovery to a moment: a server that archives, damage after the moment, and proof that it is not there.

load pipelines
load drills

# A server that is backed up, with a first base. Who runs it cannot reach what is root's: the tools, keys and reports are in its reach.
setup_file() {
    export LIVE=$SCRATCH/live BIN=$SCRATCH/bin
    mkdir -p "$BIN" "$LIVE.d/etc"
    local tool
    for tool in base drill encrypt list push recover report seal wal-fetch wal-push; do
        tool=$(command -v "dr-$tool")
        cp -l "$tool" "$BIN" 2>/dev/null || cp "$tool" "$BIN"
    done
    cp -r "$PROJECT/scripts" "$KEYS" "$LIVE.d"
    cat >"$LIVE.d/etc/main.env" <<END
PGHOST=$LIVE
PGUSER=postgres
DR_TO=$LIVE.d/store
DR_FROM=$LIVE.d/store
DR_STATE=$LIVE.d/state
DR_RECIPIENTS=$LIVE.d/keys/recipients
DR_SIGNING_KEY=$LIVE.d/keys/signs.key
DR_PUBLIC_KEY=$LIVE.d/keys/signs.pub
DR_IDENTITY=$LIVE.d/keys/identity
DRILL_REPORTS=$LIVE.d/reports
DATABASES=shop
END
    [ "$(id -u)" != 0 ] || chown -R postgres: "$LIVE.d"
    as_server "$BIN/dr-push" --init --to "$LIVE.d/store"
    "$PROJECT/scripts/scratch-postgres" start "$LIVE" -c archive_mode=on -c "archive_command='set -a; . $LIVE.d/etc/main.env; \
        $BIN/dr-wal-push --cluster main %p'" 3>&-
    createdb -h "$LIVE" shop
    psql -h "$LIVE" -qXc "CREATE TABLE booking AS SELECT generate_series(1, 1000) n; CREATE INDEX ON booking (n)" shop
    as_server "$LIVE.d/scripts/backup-base" main
}

teardown_file() {
    "$PROJECT/scripts/scratch-postgres" stop "$LIVE"
    rm -rf "$LIVE.d"
}

# Becomes a command, as the user of the servers, in an environment of its own.
become() {
    local words=(env -i HOME="$LIVE.d" PATH="$BIN:/usr/lib/postgresql/15/bin:/usr/bin:/bin" DR_ETC="$LIVE.d/etc" "$@")
    [ "$(id -u)" != 0 ] || words=(setpriv --reuid=postgres --regid=postgres --init-groups "${words[@]}")
    exec "${words[@]}" 3>&-
}

as_server() {
    (become "$@")
}

setup() {
    export DRILL_DIR=$SCRATCH/drills
    mkdir -m 777 "$DRILL_DIR"
    cd "$LIVE.d" && rm -rf reports run far behind etc/main.assertions.sql
}

# Runs the drill, with settings before its options.
drill() {
    local settings=(DRILL_DIR="$DRILL_DIR")
    while [[ ${1:-} == [A-Z]*=* ]]; do settings+=("$1") && shift; done
    as_server "${settings[@]}" "$LIVE.d/scripts/drill-pitr" main "$@"
}

@test "f85 drill-pitr finds its marker, all rows and no damage" {
    echo "SELECT count(*) >= 1000 FROM booking" >etc/main.assertions.sql
    run -0 drill TAKE_BASE=yes DR_RUN="$PWD/run" SMOKE_COMMAND='test "$(psql -AtXc "SHOW archive_mode")" = off && test "$PGDATABASE" = shop'
    [ "$(said '.passed, .drill, (.steps | map(.name) | join(" "))')" = "true pitr base table before mark damage after switch archived \
bases reached marker absence counts open amcheck assertions smoke" ]
    [ "$(psql -h "$LIVE" -AtXc "SELECT string_agg(note, ' ' ORDER BY at) FROM dr.drill_marker" shop)" = "marker damage" ]
    [[ $(said '.replay_seconds > 0, .restore_seconds > 0, .check_seconds > 0, .recipients[0]') == "true true true age1"* ]]
    grep -q '^\*\*PASSED' reports/*.md
    # The base that was taken is told there as well.
    grep '^{"type":"drill"' run | cmp - reports/*.json
    nothing_is_left
}

@test "f85 drill-pitr does not pass where a check fails, or WAL does not come" {
    run -1 drill SMOKE_COMMAND=false AMCHECK=no
    [ "$(said '.passed, .issues[]')" = "false step smoke failed: exit code 1" ]
    rm -r reports
    # A store that was left behind: the base is there, and what is archived from now on is not.
    cp -rp store behind && mkdir -p far
    sed "s|^DR_FROM=.*|DR_FROM=$PWD/behind|" etc/main.env >far/main.env
    run -1 drill DR_ETC="$PWD/far" ARCHIVE_TIMEOUT=1
    [[ $(said '.passed, .issues[0]') == "false step archived failed: "* ]]
    [[ $(said '.issues[]') == *"required step reached did not run"*"required step marker did not run"* ]]
    nothing_is_left
}

@test "f85 drill-pitr finds damage in a database that nobody can connect to" {
    createdb -h "$LIVE" shut
    psql -h "$LIVE" -qXc "CREATE TABLE t WITH (autovacuum_enabled = off) AS SELECT generate_series(1, 1000) n" shut
    file=$(psql -h "$LIVE" -AtXc "SELECT pg_relation_filepath('t')" -c "CHECKPOINT" shut | head -n 1)
    psql -h "$LIVE" -qXc "ALTER DATABASE shut ALLOW_CONNECTIONS false" postgres
    # The first row of the page lies behind its end.
    printf '\xf8\xff\xc8\x00' | dd of="$LIVE/data/$file" bs=1 seek=24 conv=notrunc status=none
    run -1 drill TAKE_BASE=yes
    psql -h "$LIVE" -qXc "ALTER DATABASE shut ALLOW_CONNECTIONS true" postgres
    dropdb -h "$LIVE" --force shut
    [ "$(said '.issues[]')" = "step amcheck failed: exit code 2" ]
    [[ $(said '.steps[] | select(.name == "amcheck").output') == *'heap table "shut.public.t"'* ]]
    nothing_is_left
}

@test "drill-pitr without a source goes to the moment that is named, and asks for assertions" {
    moment=$(psql -h "$LIVE" -AtXc "SELECT now()" postgres)
    psql -h "$LIVE" -qXc "CREATE TABLE later ()" -c "SELECT pg_switch_wal()" shop
    as_server timeout 60 bash -c 'until "$@"; do sleep 0.2; done' - dr-recover --from store --cluster main -i keys/identity \
        --into /tmp/x --preflight --target-time "$moment"
    mkdir -p far && sed 's|^PGHOST=.*|PGHOST=/nowhere|' etc/main.env >far/main.env
    run -1 drill DR_ETC="$PWD/far" --target-time "$moment"
    [[ $(said '.issues[]') == *"required step assertions did not run"* ]]
    rm -r reports
    echo "SELECT to_regclass('later') IS NULL" >far/main.assertions.sql
    run -0 drill DR_ETC="$PWD/far" --target-time "$moment"
    [ "$(said '.passed, (.steps | map(.name) | join(" "))')" = "true bases reached open amcheck assertions" ]
    nothing_is_left
}

@test "f84 drill-pitr that is stopped leaves no server and no directory" {
    for until in server/data/PG_VERSION server/data/.s.PGSQL.5432; do
        stop_at "$until" become DRILL_DIR="$DRILL_DIR" "$LIVE.d/scripts/drill-pitr" main
        nothing_is_left
    done
    [ -z "$(ls reports)" ]
}
