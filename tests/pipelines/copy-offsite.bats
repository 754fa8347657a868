#!/usr/bin/env bats
# copy-offsite: what a cluster has goes to another place, and comes back from there.

load pipelines

# What `setup` does, and the settings of a cluster that is copied; $1 is added to them.
offsite() {
    mkdir -p etc
    printf '%s\n' "DR_FROM=$PWD/store" "DR_COPY_TO=$PWD/offsite" "DR_PUBLIC_KEY=$KEYS/signs.pub" "$@" >etc/main.env
    env -u DR_FROM -u DR_TO -u DR_RECEIPT DR_ETC="$PWD/etc" "$PROJECT/scripts/copy-offsite" main
}

teardown() {
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/monthly"
}

# Runs a command with these settings as the user of the servers, who cannot reach what is root's.
as_server() (
    words=(env -C / "$@")
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "${words[@]}"; else "${words[@]}"; fi 3>&-
)

# A base backup of the cluster, by default with the WAL that it needs; and the segment of WAL that the server ends with.
back_up_cluster() {
    rm -f "$DR_RECEIPT"
    dr-base "${@:---with-wal}" | dr-encrypt | dr-push
    dr-seal <"$DR_RECEIPT" >/dev/null
    rm -f "$DR_RECEIPT"
    SEGMENT=$(psql -AtXc "SELECT pg_walfile_name(pg_current_wal_lsn())" -c "SELECT pg_switch_wal()" postgres | head -n 1)
    # The server recycles its own before long.
    cp "$PGHOST/data/pg_wal/$SEGMENT" .
    dr-wal-push "$SEGMENT"
}

# Runs a command by a clock that is ahead. The program faketime leaves a semaphore behind where it is killed, and fails by it later.
in_33_days() {
    LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME=+33d DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 "$@"
}

# Whether all that is in a store's folder is in another one, byte for byte.
holds() {
    (cd "$1" && find main -type f ! -name RECOVERY.txt) | while read -r file; do cmp "$1/$file" "$2/$file"; done
}

@test "WAL is copied, too, where a store was silent when it was asked whether there is a base" {
    back_up_cluster
    mkdir bin && printf '#!/bin/bash\nif [ ! -e %q ]; then touch %q; exit 69; fi\nexec %q "$@"\n' \
        "$PWD/asked" "$PWD/asked" "$(command -v dr-list)" >bin/dr-list && chmod 755 bin/dr-list
    PATH=$PWD/bin:$PATH offsite
    [ -e asked ]
    holds store offsite
}

@test "backups and WAL are copied, without the key, and the database comes back from the copy" {
    back_up
    back_up_cluster
    DR_IDENTITY=/nowhere offsite
    holds store offsite
    holds offsite store
    mv store gone
    export DR_FROM=$PWD/offsite
    restores
    dr-pull --kind base latest >pulled
    [ "$(sha256sum <pulled | cut -d' ' -f1)" = "$(dr-list --kind base --json | jq -r .sha256)" ]
    dr-wal-fetch "$SEGMENT" fetched
    cmp "$SEGMENT" fetched
    mv gone store
    # What was copied is told to who runs it; what was there before is, too.
    DR_RUN=$PWD/run run offsite
    [ "$status $output" = "0 " ]
    [ "$(jq -r '.type, .state' run | sort -u | xargs)" = "copied present" ]
}

@test "f68 what is damaged is not copied, is told of, and keeps nothing else from being copied" {
    back_up
    damage "$(object .age)"
    back_up
    run -65 offsite
    [[ $output == *"dr-copy: error: main_dump_"*"it must be"* ]]
    [[ $output == *"copy-offsite: error: everything failed, exit code 65" ]]
    [ "$(DR_FROM=$PWD/offsite backups)" = 1 ]
    DR_FROM=$PWD/offsite restores
}

@test "the newest backup of each kind goes to the monthly store, once a month" {
    back_up
    back_up_cluster
    offsite "MONTHLY_TO=$PWD/monthly" "DATABASES=shop" "MONTHLY_STORAGE_CLASS=DEEP_ARCHIVE"
    export DR_FROM=$PWD/monthly
    [ "$(dr-list --json | jq -r .kind | sort | xargs)" = "base dump" ]
    first=$(dr-list --json | jq -r .name)
    [ ! -d monthly/main/wal ]
    DR_FROM=$PWD/store back_up
    offsite "MONTHLY_TO=$PWD/monthly"
    [ "$(dr-list --json | jq -r .name)" = "$first" ]
    [ "$(DR_FROM=$PWD/offsite backups)" = 3 ]
    # A month later there is one of this month again, but no new base.
    DR_FROM=$PWD/store in_33_days bash -c "$(declare -f back_up pipe); back_up"
    in_33_days bash -c "$(declare -f offsite); offsite MONTHLY_TO=$PWD/monthly"
    [ "$(dr-list --json | jq -r .kind | sort | xargs)" = "base dump dump" ]
    restores
}

@test "a base that has no WAL inside takes its own along to the monthly store, and is recovered from there alone" {
    at=$SCRATCH/monthly
    mkdir "$at"
    psql -qXc "CREATE TABLE proof AS SELECT 42 n" postgres
    dr-wal-receive --create-slot --slot monthly --every 1 2>receiver.log 3>&- &
    receiver=$!
    until [ "$(psql -AtXc "SELECT active FROM pg_replication_slots WHERE slot_name = 'monthly'" postgres)" = t ]; do kill -0 $receiver; done
    back_up_cluster --from store
    kill $receiver
    wait $receiver || true
    psql -qXc "SELECT pg_drop_replication_slot('monthly')" postgres
    offsite "MONTHLY_TO=$at/store" "MONTHLY_STORAGE_CLASS=DEEP_ARCHIVE"
    [ "$(dr-list --json | jq -r .produced.base.wal)" = verified ]
    # The WAL from its start to its stop, and no other.
    needs=$(dr-list --json | jq -r '.produced.base | "SELECT pg_walfile_name(\u0027\(.start_lsn, .stop_lsn)\u0027);"' | psql -AtX postgres | sort -u)
    [ "$(object .zst.age "$at/store/main/wal" | xargs -n 1 basename -s .zst.age | sort)" = "$needs" ]
    [ "$(object .zst.age offsite/main/wal | wc -l)" -gt 1 ]
    rm -r store offsite
    cp "$(command -v dr-recover)" "$(command -v dr-wal-fetch)" "$KEYS/identity" "$KEYS/signs.pub" "$at"
    [ "$(id -u)" != 0 ] || chown -R postgres: "$at"
    as_server DR_FROM="$at/store" DR_IDENTITY="$at/identity" DR_PUBLIC_KEY="$at/signs.pub" DR_STATE="$at/state" PATH="$at:$PATH" \
        dr-recover --into "$at/data" --target immediate --start --wait --socket-dir "$at" >/dev/null
    [ "$(psql -h "$at" -AtXc "SELECT n FROM proof" postgres)" = 42 ]
}

@test "one place that is missing keeps the other from nothing" {
    back_up
    mkdir place && touch place/file
    run -74 offsite "DR_COPY_TO=$PWD/place/file,$PWD/offsite" "MONTHLY_TO=$PWD/monthly"
    [ "$(DR_FROM=$PWD/offsite backups)$(DR_FROM=$PWD/monthly backups)" = 11 ]
    run -66 offsite "DR_COPY_FROM=$PWD/offsite" "DR_COPY_TO=$PWD/third" "DR_CLUSTER=other"
    [[ $output == *"standard input is empty"* ]]
}

@test "what backup stores its own way is not asked of copies, and what is asked of copies is" {
    back_up
    export DR_LOCK_UNTIL=+30d
    offsite
    run -64 offsite "DR_COPY_OPTIONS='--lock-until +30d'"
    [[ $output == *"no store that could lock"* ]]
}

@test "copy-offsite says how it is used, and which settings are missing" {
    misused copy-offsite "" "--help" "main other"
    mkdir etc && touch etc/main.env
    unset DR_FROM
    DR_ETC=$PWD/etc run -78 "$PROJECT/scripts/copy-offsite" main
    [[ $output == *"no store is named"* ]]
}
