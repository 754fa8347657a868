#!/usr/bin/env bats
# What is damaged, forged, not there or in the way is refused, with the code and the two lines that dr(7) promises.

load pipelines

# Whether the last run said two lines, the second a hint, and left no database.
refused() {
    [ "$(grep -c ': error: ' <<<"$stderr")" = 1 ]
    [ "$(tail -1 <<<"$stderr" | grep -c ': hint: ')" = 1 ]
    [ "$(psql -AtXc "SELECT count(*) FROM pg_database WHERE datname LIKE 'back%'")" = 0 ]
}

@test "f73 an identity that cannot decrypt is 77, before any work" {
    back_up
    run -77 --separate-stderr dr-restore latest --identity "$KEYS/stranger" --into back
    refused
}

@test "f68 a damaged object is 65, and nothing of it is restored" {
    back_up
    chmod u+w "$(object .age)"
    damage "$(object .age)"
    run -65 --separate-stderr dr-restore latest --into back
    refused
    run -65 --separate-stderr bash -o pipefail -c 'dr-pull latest > bytes'
}

@test "f69 a truncated object is 65" {
    back_up
    chmod u+w "$(object .age)"
    truncate -s -1 "$(object .age)"
    run -65 --separate-stderr dr-restore latest --into back
    refused
}

@test "f70 two objects that changed places are 65" {
    back_up
    back_up
    mapfile -t objects < <(object .age)
    mv "${objects[0]}" aside
    mv "${objects[1]}" "${objects[0]}"
    mv aside "${objects[1]}"
    run -65 --separate-stderr dr-restore latest --into back
    refused
}

@test "f71 a manifest that was changed, or signed by another key, is 81" {
    back_up
    manifest=$(object .json store/main)
    chmod u+w "$manifest"
    sed -i 's/"cluster": "main"/"cluster": "mine"/' "$manifest"
    run -81 --separate-stderr dr-restore latest --into back
    refused
    chmod u+w "$manifest.minisig"
    minisign -S -W -s "$KEYS/forges.key" -m "$manifest" -x "$manifest.minisig"
    run -81 --separate-stderr dr-restore latest --into back
    refused
    run -81 --separate-stderr dr-list --json
}

@test "f06 what was pushed and not sealed is no backup" {
    dr-dump shop | dr-encrypt | dr-push
    [ -n "$(object .age)" ]
    [ "$(backups)" = 0 ]
    run -66 --separate-stderr dr-restore latest --into back
    refused
}

@test "f71 a manifest without its signature is not listed, and 81 for who asks for it" {
    back_up
    rm "$(object .minisig)"
    [ "$(backups)" = 0 ]
    run -81 --separate-stderr dr-restore latest --into back
    refused
}

@test "f22 a store that is not mounted is 78, and nothing is written in its place" {
    rm -r store
    mkdir store
    mount -t tmpfs -o size=64m,mode=700 none store || skip "this user may not mount a tmpfs"
    dr-push --init --to store
    back_up
    umount store
    run -78 --separate-stderr bash -o pipefail -c 'dr-dump shop | dr-encrypt | dr-push'
    [ -z "$(ls store)" ]
    run -78 --separate-stderr dr-list --json
}

@test "f21 f79 a database that exists is 73, and stays as it is" {
    back_up
    createdb other
    run -73 --separate-stderr dr-restore latest --into other
    [ "$(psql -AtXc "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace" other)" = 0 ]
    dropdb other
    refused
}

@test "f24 what is stored can be read by its owner only, whatever the umask" {
    umask 000
    back_up
    [ -z "$(find store -perm /077)" ]
}

@test "a swap puts the backup in the place of a database, and keeps that one" {
    createdb kassa
    psql -qXc "CREATE TABLE old ()" kassa
    back_up
    dr-restore latest --into kassa --swap --prove >restored.json
    kept=$(jq -r .kept restored.json)
    run -0 dr-fingerprint kassa --against <(dr-fingerprint shop)
    psql -qXc "TABLE old" "$kept"
    dropdb kassa
    dropdb "$kept"
}

@test "f20 a database that is not there is 69 or 66, and nothing is published" {
    dr-dump nowhere 2>said | dr-encrypt | dr-push || true
    [ "$(wc -l <said)" = 2 ]
    run -66 dr-seal <"$DR_RECEIPT"
}
