#!/usr/bin/env bats
# What scripts/install puts where. Nothing is built: cargo and the programs are stand-ins, which are as they are on the path.

load pipelines

# Installs with DESTDIR set to `image`:  installs [PREFIX]
installs() {
    mkdir -p bin target/release home
    printf '#!/bin/sh\n' >bin/cargo
    for tool in "$PROJECT"/tools/*/src/main.rs; do
        tool=$(basename "${tool%/src/main.rs}")
        printf '#!/bin/sh\nexec %s "$@"\n' "$(type -P "$tool")" >"target/release/$tool"
    done
    chmod +x bin/cargo target/release/*
    HOME=$PWD/home PATH=$PWD/bin:$PATH CARGO_TARGET_DIR=$PWD/target DESTDIR=$PWD/image "$PROJECT/scripts/install" "$@"
}

@test "an installation has tools, pages, completions, scripts and units, all below DESTDIR, and enables nothing" {
    installs
    cd image
    [ "$(ls)" = usr ]
    [ "$(ls usr)" = local ]
    [ "$(ls usr/local)" = "$(printf 'bin\nlib\nshare')" ]
    [ -x usr/local/bin/dr-dump ]
    [ -x usr/local/lib/dr/backup ]
    grep -q dr-dump usr/local/share/bash-completion/completions/dr-dump
    [ "$(find usr/local/share/man -type f -printf '%f\n' | sort)" = "$(find "$PROJECT/man" -type f -printf '%f\n' | sort)" ]
    # What units share, each has for itself.
    diff -r --exclude=shared "$PROJECT/systemd" usr/local/lib/systemd/system
    [ "$(find usr/local/lib/systemd usr/local/share -type f -printf '%m\n' | sort -u)" = 644 ]
    diff -r "$PROJECT/deploy/s3" usr/local/share/dr/s3 && diff "$PROJECT/cron/dr" usr/local/share/dr/cron/dr
    [ -e usr/local/share/dr/kubernetes/backup.yaml ]
    [ -e usr/local/lib/dr/sql/dr.sql ]
    [ -z "$(find . -type l)" ]
}

@test "every script is installed, but those of the workshop, which are named here" {
    printf '%s\n' bench bench-keeping bench-physical campaign demo faults fuzz install mutants package postgres-from-trixie postgres-from-wheel roundtrip scratch-postgres setup \
        test validators >workshop
    installs
    diff <(find "$PROJECT/scripts" -type f -printf '%f\n' | sort) \
        <(find image/usr/local/lib/dr -maxdepth 1 -type f -printf '%f\n' | sort - workshop)
}

@test "what is installed elsewhere knows nothing of /usr/local" {
    installs /opt/dr
    grep -q '^ExecStart=/opt/dr/bin/dr-wal-receive ' image/opt/dr/lib/systemd/system/dr-wal-receive@.service
    grep -q '^ExecStart=/opt/dr/bin/dr-heartbeat .* /opt/dr/lib/dr/backup ' image/opt/dr/lib/systemd/system/dr-backup@.service
    grep -q ' /opt/dr/lib/dr/backup main' image/opt/dr/share/dr/cron/dr
    # Cron looks for the tools where they are.
    grep -q '^PATH=/opt/dr/bin:' image/opt/dr/share/dr/cron/dr
    # A container has its own place for them.
    run ! grep -r --exclude-dir=kubernetes /usr/local image/opt/dr/lib/systemd image/opt/dr/share/dr
    [ -z "$(find image -path '*usr*')" ]
}
