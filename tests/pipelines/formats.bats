#!/usr/bin/env bats
# What earlier releases have written: every folder of tests/formats is a store that one of them has made.

load pipelines

# Each test runs for each format; its store is a copy, as strict about its rights as one that was just made.
each() {
    local format count=0
    for format in "$PROJECT"/tests/formats/*/; do
        rm -rf store state && cp -r "$format/store" store && chmod -R go= store
        export DR_PUBLIC_KEY=$format/signs.pub DR_IDENTITY=$PWD/identity
        install -m 600 "$format/identity" identity
        "$@" "$format"
        count=$((count + 1))
    done
    [ "$count" -gt 0 ]
}

teardown() {
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/old"
}

@test "f100 a store of an earlier release is listed and verified to the last byte" {
    verified() {
        [ "$(dr-list --json | jq -r .kind | sort | xargs)" = "base dump" ]
        dr-verify --content --json >verified
        [ "$(jq -s 'map(select(.type == "verified" and .good and .depth == "content")) | length' verified)" = 2 ]
    }
    each verified
}

@test "f100 a dump of an earlier release is restored, row for row" {
    restored() {
        dr-restore latest --into back --prove | jq -e .proved
        dr-fingerprint back --against "$1/fingerprints.jsonl"
        [ "$(psql -AtXc 'SELECT lo_get(4711)' back)" = '\x6c61726765206f626a656374' ]
        dropdb back
    }
    each restored
}

@test "f100 a base and the WAL of an earlier release are recovered, to the last transaction" {
    recovered() {
        local at=$SCRATCH/old words
        "$PROJECT/scripts/scratch-postgres" stop "$at"
        mkdir -m 700 "$at" && cp -r store identity "$DR_PUBLIC_KEY" "$(command -v dr-recover)" "$(command -v dr-wal-fetch)" "$at"
        words=(env -C / DR_STATE="$at/state" DR_FROM="$at/store" DR_PUBLIC_KEY="$at/signs.pub" DR_IDENTITY="$at/identity" PATH="$at:$PATH"
            "$at/dr-recover" --into "$at/data" --target latest --start --wait --isolated --socket-dir "$at")
        # The server's user cannot reach what is root's.
        if [ "$(id -u)" = 0 ]; then chown -R postgres: "$at" && words=(runuser -u postgres -- "${words[@]}"); fi
        "${words[@]}" >recovered 3>&-
        dr-fingerprint -h "$at" template1 --against "$1/fingerprints.jsonl"
    }
    each recovered
}
