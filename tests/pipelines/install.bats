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
    [ "$(ls)" = usr ] && [ "$(ls usr)" = local ] && [ "$(ls usr/local)" = "$(printf 'bin\nlib\nshare')" ]
    [ -x usr/local/bin/dr-dump ] && [ -x usr/local/lib/dr/backup ]
    grep -q dr-dump usr/local/share/bash-completion/completions/dr-dump
    [ "$(find usr/local/share/man -type f -printf '%f\n' | sort)" = "$(find "$PROJECT/man" -type f -printf '%f\n' | sort)" ]
    diff -r "$PROJECT/systemd" usr/local/lib/systemd/system
    [ "$(stat -c %a usr/local/lib/systemd/system/*)" = 644 ]
    [ -z "$(find . -type l)" ]
}

@test "a unit starts the tools where they are, and systemd has nothing to say against it" {
    installs /opt/dr
    unit=image/opt/dr/lib/systemd/system/dr-wal-receive@.service
    grep -q '^ExecStart=/opt/dr/bin/dr-wal-receive ' "$unit"
    run ! grep -q /usr/local "$unit"
    [ -z "$(find image -path '*usr*')" ]
    # It looks for the programs that units name; anybody knows where sh is.
    command -v systemd-analyze >/dev/null || skip "there is no systemd-analyze"
    sed 's|^ExecStart=[^ ]*|ExecStart=/bin/sh|' "$unit" >dr-wal-receive@main.service
    run -0 systemd-analyze verify --man=no ./dr-wal-receive@main.service
    [ -z "$output" ]
}
