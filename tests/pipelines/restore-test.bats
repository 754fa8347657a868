#!/usr/bin/env bats
# The weekly restore test: it passes only if what was restored is what was dumped, and it leaves nothing but its report.

load pipelines
load drills

@test "f85 restore-test proves the newest dump of a database, and reports it" {
    back_up
    echo "SELECT count(*) > 100 FROM hotel.reservation; SELECT 'ok: ' || count(*) FROM hotel.guest;" >etc/main.assertions.sql
    run -0 drill restore-test main latest --database shop
    [[ ${lines[-2]} == PASSED* ]]
    [[ ${lines[-1]} == "$PWD/reports/main_drill_"*.md ]]
    grep -q '^\*\*PASSED' reports/*.md
    [ "$(said '.passed, (.steps | map(.name) | join(" "))')" = "true backup server restore fingerprint amcheck assertions" ]
    [ "$(said '.backup, .environment')" = "$(dr-list --latest --json | jq -r .name) throw-away" ]
    nothing_is_left
}

@test "f85 what is empty, or asserts nothing, does not pass" {
    createdb hollow
    psql -qXc "CREATE TABLE booking (at timestamptz)" hollow
    dr-dump hollow | dr-encrypt | dr-push
    dr-seal <"$DR_RECEIPT" >/dev/null
    dropdb hollow
    for assertion in "SELECT count(*) > 0 FROM booking" "SELECT max(at) > now() - interval '1 day' FROM booking" "SELECT FROM booking" "SELECT NULL" \
        "SELECT true; SELECT true WHERE false" "SELECT true, true" "SELECT 'okay'" "DO 'BEGIN END'"; do
        echo "$assertion" >etc/main.assertions.sql
        run -1 drill restore-test main
        [ "$(said '.passed, .issues[]')" = "false step assertions failed: exit code 1" ]
        rm -r reports
    done
    nothing_is_left
}

@test "f68 restore-test fails where one bit in the store is another, and where there is nothing to restore" {
    run -1 drill restore-test main
    [[ $(said '.issues[0]') == "step backup failed: "* ]]
    rm -r reports
    back_up
    damage "$(object .tar.zst.age)"
    run -1 drill restore-test main
    [[ $(said '.database, .passed, .issues[]') == "shop false step restore failed: exit code "*" required step fingerprint did not run"* ]]
    grep -q '^\*\*NOT PASSED' reports/*.md
    nothing_is_left
}

@test "any dump of a week, or one that is named, can be taken; and the server can be kept" {
    back_up
    first=$(dr-list --latest --json | jq -r .name)
    export AMCHECK=no
    run -0 drill restore-test main "$first"
    [ "$(said .backup)" = "$first" ]
    rm -r reports
    KEEP=yes run -0 drill restore-test main --random
    [ "$(said '.backup, (.steps | map(.name) | join(" "))')" = "$first backup server restore fingerprint" ]
    kept=$(echo "$DRILL_DIR"/*)
    [[ $output == *"drill: kept: $kept"* ]]
    [ "$(psql -h "$kept/server/socket" -AtXc "SELECT count(*) > 0 FROM hotel.guest" restored)" = t ]
    "$PROJECT/scripts/throwaway-server" stop "$kept/server"
    rm -r "$kept"
}

# A dump of one more database.
back_up_other() {
    createdb other && psql -qXc "CREATE TABLE guest AS SELECT 1 n" other
    bash -c 'dr-dump other | dr-encrypt | dr-push' && dr-seal <"$DR_RECEIPT" >/dev/null
    dropdb other
}

@test "f85 the newest dump of every database is proved, each by its own assertions, and one that fails is told" {
    back_up
    rm "$DR_RECEIPT"
    back_up_other
    export AMCHECK=no DR_RUN=$PWD/run
    echo "SELECT to_regclass('hotel.guest') IS NOT NULL" >etc/main.assertions.sql
    echo "SELECT to_regclass('guest') IS NOT NULL" >etc/main.other.assertions.sql
    run -0 drill restore-test main --all
    [ "$(jq -r '.database, .backup, .passed' reports/*.json | paste -sd ' ')" = "other $(dr-list --database other --latest --json | jq -r .name) true \
shop $(dr-list --database shop --latest --json | jq -r .name) true" ]
    # What a run has done is told to who runs it.
    [ "$(jq -r '.name, .passed' run)" = "$(jq -r '.name, .passed' reports/*.json)" ]
    rm -r reports run
    rm etc/main.other.assertions.sql
    run -1 drill restore-test main --all
    [ "$(jq -r '.passed' reports/*.json | paste -sd ' ')" = "false true" ]
    [ "$(jq -r '.passed' run | paste -sd ' ')" = "false true" ]
    rm -r reports
    # One that nobody dumps any more is not forgotten.
    echo "DATABASES='shop lost'" >etc/main.env
    run -1 drill restore-test main --all
    [[ $(said .passed) == *true* && $(said .passed) == *false* && $(said '.issues[]') == *"step backup failed: "* ]]
    [ "$(said 'select(.passed | not).database')" = lost ]
    nothing_is_left
}

@test "a database may have any name, and is proved by its own assertions" {
    odd="a \"b\" \\ é"
    createdb "$odd" && psql -qXc "CREATE TABLE guest AS SELECT 1 n" "$odd"
    dr-dump "$odd" | dr-encrypt | dr-push && dr-seal <"$DR_RECEIPT" >/dev/null
    dropdb "$odd"
    export AMCHECK=no
    echo "SELECT true" >"etc/main.$odd.assertions.sql"
    run -0 drill restore-test main --all
    [ "$(said '.passed, (.steps | map(.name) | join(" "))')" = "true backup server restore fingerprint assertions" ]
    rm -r reports
    echo "SELECT false" >"etc/main.$odd.assertions.sql"
    run -1 drill restore-test main
    [ "$(said '.issues[]')" = "step assertions failed: exit code 1" ]
}

# A store that does not answer dr-list once, the first time it is asked with these words, and then does.
silent_once() {
    mkdir -p bin && rm -f bin/asked
    printf '#!/bin/bash\nif [[ "$*" == "%s" && ! -e %q ]]; then touch %q; exit 69; fi\nexec %q "$@"\n' \
        "$1" "$PWD/bin/asked" "$PWD/bin/asked" "$(command -v dr-list)" >bin/dr-list && chmod 755 bin/dr-list
}

@test "f85 a store that was silent when it was asked what there is to prove lets no restore test pass" {
    back_up
    export AMCHECK=no
    echo "SELECT false" >etc/main.shop.assertions.sql
    silent_once "$(dr-list --latest --json | jq -r .name) --kind dump --json"
    PATH=$PWD/bin:$PATH run -1 drill restore-test main
    [ -e bin/asked ]
    [[ $(said '.issues[]') == *"required step assertions did not run"* ]]
    rm -r reports etc/main.shop.assertions.sql
    # Nor is one database all of them.
    silent_once "--kind dump --json"
    PATH=$PWD/bin:$PATH run -69 drill restore-test main --all
    [ -e bin/asked ]
    nothing_is_left
}

@test "f85 restore-test of all databases fails where there is none, or no settings, and ends with a signal" {
    run -1 drill restore-test main --all
    [[ $(said '.issues[0]') == "step backup failed: "* ]]
    DR_ETC=$PWD/nowhere run -78 drill restore-test main --all
    rm -r reports
    back_up
    stop_at server/data/PG_VERSION "$PROJECT/scripts/restore-test" main --all
    nothing_is_left
    [ -z "$(ls reports)" ]
}

@test "f84 restore-test that is stopped leaves no server and no directory" {
    back_up
    for until in server/data/PG_VERSION server/socket/.s.PGSQL.5432 restored; do
        stop_at "$until" "$PROJECT/scripts/restore-test" main
        nothing_is_left
    done
    [ -z "$(ls reports)" ]
}

# What functions of a database on that server reach: whether the suite's own server, and how many interfaces of a network.
reach() {
    psql -h "$1" -XAtq -c "CREATE TEMP TABLE said (line text)" -c "COPY said FROM PROGRAM
        'psql -h $PGHOST -Atc ''SELECT 1'' 2>&1 | grep -c ^1; grep -c : /proc/net/dev'" -c "TABLE said" postgres | paste -sd ' '
}

@test "f84 a throw-away server reaches nothing, and is removed only where it was made" {
    server=$DRILL_DIR/server
    "$PROJECT/scripts/throwaway-server" start "$server" 15
    [[ $(reach "$PGHOST") == "1 "[2-9]* ]]
    [ "$(reach "$server/socket")" = "0 1" ]
    [ "$(psql -h "$server/socket" -AtXc "SELECT string_agg(setting, ',' ORDER BY name) FROM pg_settings
        WHERE name IN ('archive_mode', 'listen_addresses', 'shared_preload_libraries')" postgres)" = "off,," ]
    run -80 "$PROJECT/scripts/throwaway-server" stop "$SCRATCH/pg"
    run -73 "$PROJECT/scripts/throwaway-server" start "$server" 15
    run -78 "$PROJECT/scripts/throwaway-server" start "$DRILL_DIR/other" 99
    "$PROJECT/scripts/throwaway-server" stop "$server"
    nothing_is_left
}

@test "a throw-away server's user says neither what is run nor what is removed" {
    server=$DRILL_DIR/server
    "$PROJECT/scripts/throwaway-server" start "$server" 15
    [ "$(stat -c %u "$server" "$server"/{process,throwaway-programs,log} | sort -u)" = "$(id -u)" ]
    run psql -h "$server/socket" -XqAtc "COPY (SELECT 1) TO PROGRAM 'mv $server/data $server/other'" postgres
    [ -d "$server/data" ]
    run psql -h "$server/socket" -XqAtc "COPY (SELECT 1) TO PROGRAM 'echo /tmp > $server/throwaway-programs'" postgres
    [ "$(<"$server/throwaway-programs")" = /usr/lib/postgresql/15/bin ]
    # What a caller would have made itself is not believed either, where it leads elsewhere.
    mkdir -p -m 700 linked kept && touch linked/throwaway-programs kept/file && ln -s "$PWD/kept" linked/data
    run -80 "$PROJECT/scripts/throwaway-server" stop "$PWD/linked"
    [ -e kept/file ]
    "$PROJECT/scripts/throwaway-server" stop "$server"
    nothing_is_left
}

@test "a throw-away server is removed however little of it there is, and whatever it has forbidden" {
    server=$DRILL_DIR/server
    mkdir -m 711 "$server"
    "$PROJECT/scripts/throwaway-server" stop "$server"
    nothing_is_left
    # Only for a user without rights of root a directory is closed.
    install -d -o postgres -m 700 "$DRILL_DIR/own" 2>/dev/null || return 0
    cp -r "$PROJECT/scripts" "$DRILL_DIR/own" && chmod -R a+rX "$DRILL_DIR/own/scripts"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups env -i -C / "PATH=$PATH" "$DRILL_DIR/own/scripts/throwaway-server")
    "${as[@]}" start "$DRILL_DIR/own/server" 15 3>&-
    psql -h "$DRILL_DIR/own/server/socket" -Xqc "COPY (SELECT) TO PROGRAM 'mkdir -p closed/closed && chmod 0 closed/closed closed'" postgres
    "${as[@]}" stop "$DRILL_DIR/own/server"
    [ ! -e "$DRILL_DIR/own/server" ]
    rm -r "$DRILL_DIR/own"
    nothing_is_left
}

@test "a throw-away server that never starts is not waited for without end" {
    mkdir -m 755 "$SCRATCH/stuck"
    ln -s /usr/lib/postgresql/15/bin/* "$SCRATCH/stuck" && rm "$SCRATCH/stuck/postgres"
    printf '#!/bin/sh\ncase "$*" in *unix_socket_directories*) exec sleep 1000 ;; esac\nexec /usr/lib/postgresql/15/bin/postgres "$@"\n' >"$SCRATCH/stuck/postgres"
    chmod 755 "$SCRATCH/stuck/postgres"
    # It has waited for 595 of 600 seconds.
    SECONDS=595 DR_PG_BINDIRS=$SCRATCH/stuck run -78 timeout 60 "$PROJECT/scripts/throwaway-server" start "$DRILL_DIR/server" 15
    [[ $output == *"it does not start"* ]]
    "$PROJECT/scripts/throwaway-server" stop "$DRILL_DIR/server"
    nothing_is_left
}

@test "a verdict is not written over what somebody has laid in its place" {
    touch kept && ln -s "$PWD/kept" steps.json
    DR_DRILL_RECORD=$PWD/steps run ! drill drill-verdict restore-test restore
    [ ! -s kept ] && [ ! -e reports ]
}

@test "counts fails where there is nothing to count, and where a name is no table" {
    createdb hollow
    run -1 drill counts hollow
    [[ $output == *"there is no table to count"* ]]
    dropdb hollow
    COUNT_TABLES="hotel.guest hotel.gest" run -1 drill counts shop
    [[ $output == *"hotel.gest is no table"* ]]
    COUNT_TABLES="hotel.guest" run -0 drill counts
    [[ $output == shop$'\t'hotel.guest$'\t'* ]]
}

@test "restore-test fails where its assertions lead nowhere, and does nothing where no report can be written" {
    back_up
    ln -s /nowhere etc/main.assertions.sql
    run -1 drill restore-test main
    [[ $(said '.issues[]') == "step assertions failed: "* ]]
    touch file
    DRILL_REPORTS=$PWD/file/reports run -73 drill restore-test main
    nothing_is_left
}

@test "the scripts of drills say how they are used, and which settings are missing" {
    for call in restore-test "restore-test --random" drill-pitr restore-to-staging "restore-to-staging main" drill-verdict assertions \
        "counts --between x" "drill main" "restore-test main --randomly" "restore-test main latest other" \
        "restore-test main --random latest" "restore-test main --all latest" "restore-test main --random --all" enclose throwaway-server "throwaway-server start x"; do
        # shellcheck disable=SC2086 # a list of words
        run -64 "$PROJECT/scripts/"$call
        [[ $output == usage:* ]]
    done
    for call in "restore-test main" "drill-pitr main" "restore-to-staging main shop"; do
        # shellcheck disable=SC2086 # a list of words
        DR_ETC=$PWD/nowhere run -78 "$PROJECT/scripts/"$call
        [[ $output == *"there is no $PWD/nowhere/main.env"* ]]
    done
}
