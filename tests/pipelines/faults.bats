#!/usr/bin/env bats
# What a host does to a run: its scripts are replaced, its limits are met, its disk takes what it does not keep.

load pipelines

teardown() {
    ! mountpoint -q disk || umount disk
    ! mountpoint -q memory || umount memory
}

@test "f08 a script that is replaced while it runs goes on as it was" {
    mkdir bin etc
    cp "$PROJECT/scripts/backup" bin/backup
    printf '%s\n' "DR_TO=$DR_TO" "DR_RECIPIENTS=$DR_RECIPIENTS" "DR_SIGNING_KEY=$DR_SIGNING_KEY" >etc/main.env
    # It is overwritten in place, by one of the programs that it runs.
    printf '#!/bin/sh\nyes "touch %s; exit 0" | head -c 20000 >%s\nexec %s "$@"\n' \
        "$PWD/spliced" "$PWD/bin/backup" "$(command -v dr-dump)" >bin/dr-dump
    chmod 755 bin/dr-dump
    PATH=$PWD/bin:$PATH DR_ETC=$PWD/etc bin/backup main shop
    head -c 5 bin/backup | grep -q touch
    [ ! -e spliced ]
    [ "$(backups)" = 1 ]
    restores
}

@test "f10 whatever a limit is, a backup is whole or not there, and the code is a documented one" {
    dr-dump shop >dump
    for limit in nofile={3..16} nproc=1 as={96,128,192,256}000000; do
        before=$(backups)
        rm -f "$DR_RECEIPT"
        outcome=0
        dr-run -- cat dump | prlimit "--$limit" dr-push 2>said || outcome=$?
        case $outcome in
        0) dr-seal <"$DR_RECEIPT" >/dev/null ;;
        # Where the loader of programs has no memory or no file, it says so itself.
        127) grep -q "error while loading shared libraries" said ;;
        69 | 70 | 74 | 75) [ "$(grep -c '^dr-push: error: ' said)" = 1 ] || return 1 ;;
        *) echo "$limit: $outcome: $(cat said)" && return 1 ;;
        esac
        [ "$(backups)" = $((before + (outcome == 0))) ]
    done
    [ "$(backups)" -gt 0 ]
}

@test "f16 a disk that takes every byte and keeps none of them is no store" {
    [ "$(id -u)" = 0 ] || skip "only root mounts file systems"
    mkdir memory disk
    mount -t tmpfs -o size=12M none memory
    truncate -s 64M memory/image
    mkfs.ext4 -q -O ^has_journal -E nodiscard,lazy_itable_init=1 memory/image
    mount -o loop memory/image disk
    dr-push --init --to "$PWD/disk/store"
    head -c 30M /dev/urandom >bytes
    # It is the sync that fails: without it, all of them are written.
    cp bytes disk/copied
    rm disk/copied
    run -74 --separate-stderr bash -c 'dr-run -- cat bytes | dr-push --to "$PWD/disk/store"'
    [[ $stderr == *"dr-push: error: "* ]]
    [ -z "$(find disk/store -name '*.bin')" ]
    run -66 dr-seal <"$DR_RECEIPT"
}

@test "each row of the faults is provoked by a test" {
    run -0 "$PROJECT/scripts/faults"
    [[ ${lines[-1]} == "100 rows, 0 without a test" ]]
    run -64 "$PROJECT/scripts/faults" --seed
}
