#!/usr/bin/env bats
# The pipe, as people write it, in the shells that people have.

load pipelines

@test "the pipe makes a backup that restores, proved, in each shell" {
    n=0
    for shell in bash "bash -euo pipefail" dash sh; do
        in_shell "$shell" "$(pipe)"
        n=$((n + 1))
        [ "$(backups)" = "$n" ]
        restores
    done
}

@test "a restore works as a pipe too" {
    back_up
    dr-pull latest | dr-decrypt | dr-restore --into back --prove
    run -0 dr-fingerprint back --against <(dr-fingerprint shop)
    dropdb back
}

@test "the receipts of an earlier run in the same file do no harm" {
    back_up
    bash -c "$(pipe)" >/dev/null
    [ "$(backups)" = 2 ]
}

@test "f01 whichever stage is killed, at whichever write, in dash: a whole backup or none, and a rerun works" {
    for stage in dr-dump dr-encrypt dr-push; do
        for n in 1 2 3 5 9; do
            before=$(backups)
            in_shell dash "$(pipe | sed "s/$stage/strace -f -qq -o trace -e trace=write,pwrite64 -e inject=write,pwrite64:signal=KILL:when=$n &/")"
            after=$(backups)
            [ "$after" = "$before" ] || { [ "$after" = $((before + 1)) ] && restores; }
        done
        before=$(backups)
        in_shell dash "$(pipe)"
        [ "$(backups)" = $((before + 1)) ]
    done
    restores
}

@test "f02 a dump killed after its last byte and before its receipt publishes nothing" {
    # Receipts are made durable one by one: the first fsync follows dr-dump's start, the second its receipt.
    in_shell dash 'killed_at fsync 1 dr-dump shop | dr-encrypt | dr-push; dr-seal < "$DR_RECEIPT"' || true
    run grep -c '"type":"receipt","tool":"dr-dump"' "$DR_RECEIPT"
    [ "$output" = 0 ]
    [ "$(backups)" = 0 ]
}

@test "f02 dr-seal names the stage whose receipt is missing" {
    dr-dump shop | head -c 100000 | dr-encrypt | dr-push || true
    run -66 dr-seal <"$DR_RECEIPT"
    [[ $output == *"dr-dump"* ]]
    [ "$(backups)" = 0 ]
}

@test "f01 killing dr-seal leaves a backup or none, and sealing again publishes it" {
    dr-dump shop | dr-encrypt | dr-push
    for n in 1 2 3 4 5 6; do
        killed_at write,fsync,linkat,renameat2 "$n" dr-seal <"$DR_RECEIPT" >/dev/null || true
        [ "$(backups)" -le 1 ]
    done
    dr-seal <"$DR_RECEIPT" >/dev/null
    [ "$(backups)" = 1 ]
    restores
}

@test "f03 a reader that leaves early ends the dump with 74, and no session stays behind" {
    run -0 bash -c 'dr-dump shop 2> said | head -c 1 > byte; echo ${PIPESTATUS[0]}'
    [ "$output" = 74 ]
    [ "$(wc -l <said)" = 2 ]
    [ "$(psql -AtXc "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'")" = 0 ]
}

@test "f04 empty input is 66 for every filter" {
    for filter in dr-encrypt dr-decrypt dr-push dr-seal "dr-restore --into back"; do
        # shellcheck disable=SC2086 # the words of a command
        run -66 $filter </dev/null
    done
    [ ! -e store/main ]
}

@test "any other program can make the backup, and is vouched for only if it succeeds" {
    dr-run -- pg_dump -Fc shop | dr-encrypt | dr-push
    dr-seal <"$DR_RECEIPT" >/dev/null
    [ "$(backups)" = 1 ]
    rm "$DR_RECEIPT"
    dr-run -- sh -c 'pg_dump -Fc shop; exit 3' | dr-encrypt | dr-push || true
    run -66 dr-seal <"$DR_RECEIPT"
    [ "$(backups)" = 1 ]
    dr-pull latest | dr-decrypt | dr-restore --into back
    run -0 dr-fingerprint back --against <(dr-fingerprint shop)
    dropdb back
}

@test "the scripts that people copy back up every database they are told of, and restore" {
    createdb kasse
    psql -qXc "CREATE TABLE till AS SELECT 1 AS cent" kasse
    createdb -T kasse "Zweite Kasse"
    mkdir etc
    cat >etc/main.env <<END
DATABASES="shop kasse"
DR_TO=$PWD/store
DR_FROM=$PWD/store
DR_RECIPIENTS=$KEYS/recipients
DR_SIGNING_KEY=$KEYS/signs.key
DR_PUBLIC_KEY=$KEYS/signs.pub
DR_IDENTITY=$KEYS/identity
END
    export DR_ETC=$PWD/etc TMPDIR=$PWD
    unset DR_TO DR_FROM DR_RECIPIENTS DR_SIGNING_KEY DR_PUBLIC_KEY DR_IDENTITY DR_CLUSTER DR_RECEIPT
    "$PROJECT/scripts/backup" main
    [ "$("$PROJECT/scripts/restore" main | wc -l)" = 2 ]
    # One that is not there fails, and does not keep the next from being backed up.
    run -66 "$PROJECT/scripts/backup" main nowhere "Zweite Kasse"
    [ "$("$PROJECT/scripts/restore" main | wc -l)" = 3 ]
    # Without the key that signs all is stored, and what is said publishes it.
    sed -i "s|^DR_SIGNING_KEY=.*|DR_SIGNING_KEY=$PWD/none|" etc/main.env
    run ! "$PROJECT/scripts/backup" main shop
    [[ $output == *"backup: hint: all is stored: once that is mended, dr-seal --cluster main < $PWD/tmp."* ]]
    sed -i "s|^DR_SIGNING_KEY=.*|DR_SIGNING_KEY=$KEYS/signs.key|" etc/main.env
    # shellcheck source=/dev/null
    (set -a && . etc/main.env && dr-seal --cluster main <"$(echo tmp.*)") && rm tmp.*
    [ "$("$PROJECT/scripts/restore" main | wc -l)" = 4 ]
    "$PROJECT/scripts/restore" main latest back --database shop
    dropdb back
    dropdb kasse
    dropdb "Zweite Kasse"
    # The exit code is that of what has failed, not of what then had nothing to read.
    PGPORT=1 run -69 "$PROJECT/scripts/backup" main shop
    run -64 "$PROJECT/scripts/backup" main --jobs 2
    sed -i /DATABASES/d etc/main.env
    run -78 "$PROJECT/scripts/backup" main
    [[ $output == "backup: error: no database is named"* ]]
    [ "$(find . -name 'tmp.*' | wc -l)" = 0 ]
}

@test "a variable that is empty is one that is not set" {
    back_up
    [ "$(DR_PUBLIC_KEY='' DR_AS_OF='' dr-list --json | wc -l)" = 1 ]
    [ "$(DR_RECIPIENT='' DR_RECEIPT='' dr-encrypt <"$DR_RECEIPT" | head -c 7)" = age-enc ]
    DR_JOB='' dr-heartbeat run --job dump -- true
}
