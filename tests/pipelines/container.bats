#!/usr/bin/env bats
# The Containerfile, as far as it can be told without building it: what it copies is there, and is all that an installation takes.

load pipelines

@test "every path that is copied is there, and scripts/install needs no other" {
    file=$PROJECT/deploy/container/Containerfile
    mkdir src
    sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' "$file" | tr ' ' '\n' >copied
    while read -r path; do cp -r "$PROJECT/$path" src/; done <copied
    # Installed from that alone, with a stand-in for cargo and for each program.
    mkdir -p bin home target/release
    printf '#!/bin/sh\n' >bin/cargo
    for tool in "$PROJECT"/tools/*/src/main.rs; do printf '#!/bin/sh\n' >"target/release/$(basename "${tool%/src/main.rs}")"; done
    chmod +x bin/cargo target/release/*
    HOME=$PWD/home PATH=$PWD/bin:$PATH CARGO_TARGET_DIR=$PWD/target DESTDIR=$PWD/image src/scripts/install
    [ -x image/usr/local/lib/dr/restore ]
    [ -e image/usr/local/share/dr/kubernetes/restore.yaml ]
    # The members of the workspace come with it.
    for member in $(sed -n 's/^members = \[\(.*\)\]$/\1/p' "$PROJECT/Cargo.toml" | tr -d '",'); do compgen -G "src/$member" >/dev/null; done
}

@test "hadolint has nothing to say" {
    run -0 "$HOME/.cache/dr/venv/bin/hadolint" "$PROJECT/deploy/container/Containerfile"
    [ -z "$output" ]
}

@test "it runs as the user that deploy/kubernetes runs it as, and has the version of the workspace" {
    file=$PROJECT/deploy/container/Containerfile
    [ "$(sed -n 's/^USER \([0-9]*\):.*/\1/p' "$file")" = "$(sed -n 's/ *runAsUser: //p' "$PROJECT"/deploy/kubernetes/*.yaml | sort -u)" ]
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$PROJECT/Cargo.toml" | head -n 1)
    [ "$(grep -ho 'ghcr.io/dr-postgres/dr:[^ ]*' "$file" "$PROJECT"/deploy/kubernetes/*.yaml | sort -u)" = "ghcr.io/dr-postgres/dr:$version" ]
    grep -q "^FROM docker.io/library/rust:$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$PROJECT/Cargo.toml")-" "$file"
    grep -q "newTag: $version$" "$PROJECT/deploy/kubernetes/kustomization.yaml"
}
