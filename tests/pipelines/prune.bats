#!/usr/bin/env bats
# verify and prune: what a policy does not keep goes, of all stores together, and only what was proved.

load pipelines

# The settings of a cluster that is kept; more are given as arguments. Who deletes has a key of his own.
keep() {
    mkdir -p etc
    [ -e etc/delete.key ] || minisign -GW -p etc/delete.pub -s etc/delete.key >/dev/null
    printf '%s\n' "DR_PUBLIC_KEY=$KEYS/signs.pub,$PWD/etc/delete.pub" "DR_SIGNING_KEY=$PWD/etc/delete.key" "$@" >etc/main.env
}

kept() {
    DR_ETC="$PWD/etc" "$PROJECT/scripts/$1" main "${@:2}"
}

# So many small backups, each of another second, into all stores of DR_TO.
make() {
    local number
    for ((number = 0; number < $1; number++)); do
        rm -f "$DR_RECEIPT"
        dr-run --database shop -- echo "dump $number" | dr-push
        dr-seal <"$DR_RECEIPT" >/dev/null
    done
}

@test "prune marks what the policy does not keep, once it is verified" {
    make 6
    keep "DR_FROM=$PWD/store" DR_KEEP_LAST=5
    run -0 --separate-stderr kept prune
    [[ $stderr == *"none of 6 backups is verified"* ]]
    run -0 kept verify
    [ -z "$output" ]
    mkdir work && TMPDIR=$PWD/work run -0 kept prune --show
    rmdir work
    [ "$(grep -c '^delete' <<<"$output")" = 1 ]
    [ "$(grep -c '^keep' <<<"$output")" = 5 ]
    # Where it could not be told, nothing is marked.
    PRUNE_LOG=$PWD/nowhere/log run -74 kept prune
    DR_RUN=$PWD/nowhere/run run -74 kept prune
    [ "$(backups)" = 6 ]
    DR_RUN=$PWD/run PRUNE_LOG=$PWD/log kept prune
    [ "$(jq -r .state log)" = marked ]
    cmp log run
    export DR_PUBLIC_KEY=$KEYS/signs.pub,$PWD/etc/delete.pub
    [ "$(backups)" = 5 ]
    [ "$(dr-list --deleted --json | jq -r .name)" = "$(jq -r .name log)" ]
}

@test "prune decides about all stores together, and stops where one cannot be read" {
    mkdir far && dr-push --init --to "$PWD/far"
    DR_TO=$PWD/store,$PWD/far make 6
    keep "DR_FROM=$PWD/store,$PWD/far" "DR_KEEP_LAST=store=$PWD/store:5,store=$PWD/far:6"
    DR_FROM=$PWD/store,$PWD/far kept verify
    PRUNE_LOG=$PWD/log kept prune
    [ "$(jq -r .store log)" = "$PWD/store" ]
    mv far gone
    run -78 kept prune
}

@test "prune says how it is used, and which settings are missing" {
    misused prune "" "--help" "main --confirm"
    keep
    unset DR_FROM
    run -78 kept prune
    [ "$output" = "prune: error: no store is named: set DR_FROM in $PWD/etc/main.env" ]
}

@test "before the first backup verify says that there is none, and a store that is still empty stops no prune" {
    mkdir far && dr-push --init --to "$PWD/far"
    keep "DR_FROM=$PWD/store,$PWD/far" DR_KEEP_LAST=5
    run -66 --separate-stderr kept verify
    [ -z "$output" ]
    [[ $stderr == "dr-verify: error: no backup is there"* ]]
    run -66 kept prune
    make 6
    run -0 --separate-stderr kept verify
    [ -z "$output" ]
    [ "$stderr" = "dr-verify: warning: $PWD/far: nothing of main is there" ]
    PRUNE_LOG=$PWD/log run -0 kept prune
    [ "$(jq -r .state log)" = marked ]
}

@test "verify says what is wrong, and only that" {
    make 3
    keep "DR_FROM=$PWD/store"
    damage "$(object .bin | head -n 1)"
    DR_RUN=$PWD/run run -1 kept verify
    [[ ${#lines[@]} = 1 && $output == *'"code":"digest"'* ]]
    # All that was found, and nothing else, is told to who runs it.
    [ "$(jq -r .type run | sort -u)" = finding ]
    grep -qxF "$output" run
}
