#!/usr/bin/env bats
# The scripts for whole clusters, where the bad day of dr-recover's tests does not take them.

load pipelines

teardown() {
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/damaged"
}

# A program of PostgreSQL on the server of this test, as somebody it accepts.
server() {
    local words=("/usr/lib/postgresql/15/bin/$1" -D "$SCRATCH/damaged/data" "${@:2}")
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "${words[@]}"; else "${words[@]}"; fi </dev/null >>server.log 2>&1 3>&-
}

@test "f65 a base with damaged pages is published, and backup-base ends with 65" {
    at=$SCRATCH/damaged
    "$PROJECT/scripts/scratch-postgres" start "$at"
    psql -h "$at" -qX -c "CREATE TABLE t AS SELECT generate_series(1, 10000) n" -c CHECKPOINT postgres
    table=$at/data/$(psql -h "$at" -AtXc "SELECT pg_relation_filepath('t')" postgres)
    touch server.log && chmod 666 server.log
    server pg_ctl stop -w -m fast
    server pg_checksums --enable
    damage "$table"
    server pg_ctl start -w -o "-k $at -c listen_addresses="
    mkdir etc
    echo "PGHOST=$at" >etc/main.env
    export DR_ETC=$PWD/etc TMPDIR=$PWD
    unset DR_RECEIPT DR_FROM
    run -65 "$PROJECT/scripts/backup-base" main --with-wal
    [ "$(DR_FROM=$PWD/store dr-list --kind base --json | jq .produced.base.damaged_pages)" = 1 ]
    [ "$(find . -name 'tmp.*' | wc -l)" = 0 ]
}

@test "backup-base and recover say how they are used, and which settings are missing" {
    for call in "backup-base" "backup-base --with-wal" "recover" "recover --start" "recover main --start"; do
        # shellcheck disable=SC2086 # a list of words
        run -64 "$PROJECT/scripts/"$call
        [[ $output == usage:* ]]
    done
    for call in "backup-base main" "recover main"; do
        # shellcheck disable=SC2086 # a list of words
        DR_ETC=$PWD/nowhere run -78 "$PROJECT/scripts/"$call
        [[ $output == *"there is no $PWD/nowhere/main.env"* ]]
    done
}

@test "recover --preflight looks at all that the recovery itself would use, the server's programs included" {
    mkdir etc fake
    : >etc/main.env
    printf '#!/bin/sh\necho "$*"\n' >fake/dr-recover
    chmod +x fake/dr-recover
    export DR_ETC=$PWD/etc PATH=$PWD/fake:$PATH
    run -0 --separate-stderr "$PROJECT/scripts/recover" main back '2026-01-25 09:30:00 UTC' --preflight
    [ "$output" = "--into back --start --wait --target-time 2026-01-25 09:30:00 UTC --preflight" ]
}
