#!/usr/bin/env bats
# A restore into staging: never into what may be production, and never in the place of what is not kept.

load pipelines
load drills

# A server of its own, which says that it is staging.
setup_file() {
    export STAGING=$SCRATCH/staging
    "$PROJECT/scripts/scratch-postgres" start "$STAGING" 3>&-
    configure "dr.environment = 'staging'"
    createdb -h "$STAGING" shop
    psql -h "$STAGING" -qXc "CREATE TABLE before ()" shop
}

teardown_file() {
    "$PROJECT/scripts/scratch-postgres" stop "$STAGING"
}

configure() {
    echo "$1" >"$STAGING/data/extra.conf"
    grep -q extra.conf "$STAGING/data/postgresql.conf" || echo "include 'extra.conf'" >>"$STAGING/data/postgresql.conf"
    psql -h "$STAGING" -qXc "SELECT pg_reload_conf()" postgres >/dev/null
    until [ "$(psql -h "$STAGING" -AtXc "SELECT current_setting('dr.environment', true)" postgres)" = "${2-staging}" ]; do :; done
}

staging() {
    psql -h "$STAGING" -XAtq "$@"
}

# Restores, where somebody says what is replaced.
restore() {
    back_up
    printf '%s\n' "PGHOST=$STAGING" PGUSER=postgres RESTORE_OPTIONS=--globals >etc/main.staging.env
    drill restore-to-staging main shop --confirm "$STAGING/shop"
}

# Whether a restore is refused, for a reason, and nothing is changed.
refused() {
    local before
    before=$(staging -c "SELECT oid, datname FROM pg_database ORDER BY 1" postgres)
    run -80 restore
    [[ $output == *"error: $1"*"nothing was changed"* ]]
    [ "$before" = "$(staging -c "SELECT oid, datname FROM pg_database ORDER BY 1" postgres)" ]
    [ -z "$(ls reports)" ]
    nothing_is_left
}

@test "restore-to-staging refuses what does not say that it is staging" {
    configure "dr.environment = 'production'" production
    refused "$STAGING: it does not say that it is staging"
    configure "dr.environment = 'staging'"
}

@test "restore-to-staging refuses what nobody has confirmed, by name" {
    printf '%s\n' "PGHOST=$STAGING" PGUSER=postgres >etc/main.staging.env
    for confirmed in "" "$STAGING" "$PGHOST/shop" YES; do
        run -80 drill restore-to-staging main shop --confirm "$confirmed"
        [[ $output == *"say --confirm $STAGING/shop; nothing was changed"* ]]
        CONFIRM=$confirmed run -80 drill restore-to-staging main shop
    done
    nothing_is_left
}

@test "restore-to-staging refuses the server that is backed up, by whatever name" {
    STAGING=$PGHOST refused "$PGHOST is the server that is backed up"
    ln -s "$PGHOST" other
    psql -qXc "ALTER DATABASE postgres SET dr.environment = 'staging'" postgres
    STAGING=$PWD/other refused "$PWD/other: it does not say that it is staging; it is what the backup is of, or a copy of its files"
    psql -qXc "ALTER DATABASE postgres RESET dr.environment" postgres
}

@test "restore-to-staging refuses what others replicate from, archives where we do, or is in use" {
    staging -c "SELECT FROM pg_create_physical_replication_slot('standby')" postgres
    refused "$STAGING: it has replication slots"
    staging -c "SELECT FROM pg_drop_replication_slot('standby')" postgres
    # Who says nothing for as long as its input is open.
    mkfifo open
    psql -h "$STAGING" -X shop <open 3>&- &
    exec 4>open
    until [ "$(staging -c "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'" postgres)" = 1 ]; do :; done
    refused "$STAGING: it is in use: somebody is connected to shop"
    exec 4>&-
    wait $!
    # The archiver is only asked how it is set.
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/archives"
    "$PROJECT/scripts/scratch-postgres" start "$SCRATCH/archives" -c archive_mode=on -c "archive_command='true $PWD/store'" \
        3>&-
    echo "dr.environment = 'staging'" >>"$SCRATCH/archives/data/postgresql.conf"
    STAGING=$SCRATCH/archives refused "$SCRATCH/archives: it archives into the stores of main"
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/archives"
}

@test "restore-to-staging refuses several servers, and services" {
    for setting in "PGHOST=$PGHOST,$STAGING" "PGHOST=$STAGING PGPORT=5432,5433" "PGHOST=$STAGING PGHOSTADDR=127.0.0.1,127.0.0.2" \
        "PGHOST=$STAGING PGSERVICE=production"; do
        xargs -n 1 <<<"$setting PGUSER=postgres" >etc/main.staging.env
        host=${setting%% *}
        run -80 drill restore-to-staging main shop --confirm "${host#PGHOST=}/shop"
        [[ $output == *"error: more than one server is named, or a service"*"nothing was changed"* ]]
    done
    nothing_is_left
}

@test "restore-to-staging asks again where it renames: what has begun to be in use meanwhile is left alone" {
    before=$(staging -c "SELECT oid, datname FROM pg_database ORDER BY 1" postgres)
    echo "SELECT FROM pg_create_physical_replication_slot('late', true)" >etc/mask.sql
    MASK=$PWD/etc/mask.sql run -1 restore
    staging -c "SELECT FROM pg_drop_replication_slot('late')" postgres
    [[ $(said '.steps[-1] | .name, .output') == "swap "*"it has replication slots"*"division by zero"* ]]
    [ "$before" = "$(staging -c "SELECT oid, datname FROM pg_database ORDER BY 1" postgres)" ]
    nothing_is_left
}

@test "restore-to-staging refuses where the name for what is kept is taken, and drops only what it made" {
    # A clock that stands still: the one of these scripts.
    mkdir bin && printf '#!/bin/sh\necho 20260101T000000Z\n' >bin/date && chmod 755 bin/date
    export PATH=$PWD/bin:$PATH
    createdb -h "$STAGING" shop_before_20260101T000000Z
    refused "$STAGING: it has a database of our name"
    dropdb -h "$STAGING" shop_before_20260101T000000Z
    # One that comes meanwhile is not renamed over, either.
    echo 'CREATE DATABASE "shop_before_20260101T000000Z"; SELECT true' >etc/main.shop.assertions.sql
    run -1 restore
    [[ $(said '.steps[-1] | .name, .output') == "swap "*"it has a database of our name"* ]]
    [ "$(staging -c "SELECT count(*) FROM pg_database WHERE datname IN ('shop', 'shop_before_20260101T000000Z')" postgres)" = 2 ]
    [ "$(staging -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'dr\_staging%'" postgres)" = 0 ]
    staging -c "TABLE before" shop
    dropdb -h "$STAGING" shop_before_20260101T000000Z
    nothing_is_left
}

@test "restore-to-staging hides what staging must not see, swaps, and keeps what was there" {
    echo "UPDATE hotel.guest SET name = 'nobody'" >etc/mask.sql
    echo "SELECT count(*) > 100 FROM hotel.reservation" >etc/main.assertions.sql
    MASK=$PWD/etc/mask.sql SMOKE_COMMAND='test "$(psql -AtXc "SELECT DISTINCT name FROM hotel.guest")" = nobody' run -0 restore
    [ "$(said '.passed, .environment, (.steps | map(.name) | join(" "))')" = "true staging restore close fingerprint assertions mask swap smoke" ]
    kept=$(staging -c "SELECT datname FROM pg_database WHERE datname LIKE 'shop\_before\_%'" postgres)
    staging -c "TABLE before" "$kept"
    [ "$(staging -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'" postgres)" = 2 ]
    nothing_is_left
}

@test "restore-to-staging leaves nothing unmasked where somebody is in the database that it drops" {
    cat >etc/mask.sql <<'END'
SELECT current_database() AS here \gset
\setenv PGDATABASE :here
\! (psql -Xc 'SELECT pg_sleep(60)' >/dev/null 2>&1 </dev/null 3>&- &) && until [ "$(psql -XAtc "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'")" = 1 ]; do :; done
SELECT 1 / 0;
END
    MASK=$PWD/etc/mask.sql run -1 restore
    [[ $(said '.issues[0]') == "step mask failed: "* ]]
    [ "$(staging -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'dr\_staging%'" postgres)" = 0 ]
    nothing_is_left
}

@test "restore-to-staging leaves everything as it was where the mask, or an assertion, fails" {
    before=$(staging -c "SELECT oid, datname FROM pg_database ORDER BY 1" postgres)
    echo "UPDATE hotel.guest SET nothing = 1" >etc/mask.sql
    MASK=$PWD/etc/mask.sql run -1 restore
    [[ $(said '.issues[0]') == "step mask failed: "* ]]
    rm -r reports
    echo "SELECT count(*) = 0 FROM hotel.reservation" >etc/main.assertions.sql
    run -1 restore
    [[ $(said '.issues[0]') == "step assertions failed: "* ]]
    [ "$before" = "$(staging -c "SELECT oid, datname FROM pg_database ORDER BY 1" postgres)" ]
    nothing_is_left
}
