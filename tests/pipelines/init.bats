#!/usr/bin/env bats
# init: a host that backs up, from nothing to a backup that comes back. As root, and as a plain user.

load pipelines

# A server that dr-doctor has nothing against, unlike the one of the other tests.
setup_file() {
    export PGHOST=$SCRATCH/sound
    "$PROJECT/scripts/scratch-postgres" start "$PGHOST" -c fsync=on
    createdb shop
    psql -qXc "CREATE TABLE booking AS SELECT generate_series(1, 1000) AS id" shop
}

teardown_file() {
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/sound"
}

# A host with the tools as scripts/install puts them: $HOST/bin and $HOST/lib/dr.
setup() {
    cd "$BATS_TEST_TMPDIR" || return
    HOST=$(mktemp -d /tmp/dr-init.XXXXXX)
    mkdir -p "$HOST/bin" "$HOST/lib" "$HOST/run" "$HOST/home" "$HOST/stick"
    cp -r "$PROJECT/scripts" "$HOST/lib/dr"
    for tool in dr-doctor dr-notify dr-push dr-dump dr-encrypt dr-seal dr-restore; do
        ln "$(type -P $tool)" "$HOST/bin/$tool" 2>/dev/null || cp "$(type -P $tool)" "$HOST/bin/$tool"
    done
    chmod -R a+rX "$HOST"
    [ "$(id -u)" != 0 ] || chown postgres "$HOST/run" "$HOST/home" "$HOST/stick"
}

teardown() {
    rm -rf "$HOST"
}

# A command with the environment of that host, and nothing else.
on_host() {
    env -i PATH="$HOST/bin:/usr/lib/postgresql/15/bin:$PATH" HOME="$HOST/home" DR_ETC="$HOST/run/etc" DR_STATE="$HOST/run/state" \
        PGHOST="$PGHOST" TMPDIR=/tmp "$@"
}

# The same as a plain user, whom the server lets in.
as_plain() {
    if [ "$(id -u)" = 0 ]; then on_host runuser -u postgres -- "$@"; else on_host "$@"; fi
}

# What init was to make, for this owner of the key.
all_is_made() {
    cd "$HOST/run/etc" || return
    [ "$(stat -c '%a %U' main.key)" = "600 $1" ]
    [ "$(stat -c %a main.env main.pub main.recipients | sort -u)" = 644 ]
    [ "$(grep -c '^age1' main.recipients)" = 2 ]
    # Each setting has a comment on the line before it.
    [ -z "$(awk '/^[^#]/ && previous !~ /^# ./; { previous = $0 }' main.env)" ]
    # What decrypts is not among them.
    run ! grep -rq AGE-SECRET-KEY .
    [ "$(stat -c %a "$HOST"/stick/*)" = "$(printf '600\n600')" ]
}

# Whether a backup of this host comes back, read with what init has put aside.
comes_back() {
    dr-restore latest --from "$HOST/run/store" --cluster main --public-key "$HOST/run/etc/main.pub" --identity "$1" --into back --prove
    [ "$(psql -AtXc "SELECT count(*) FROM booking" back)" = 1000 ]
    dropdb back
}

@test "as root: init makes a host whose backups come back, and dr-doctor is content with it" {
    [ "$(id -u)" = 0 ] || skip "not root"
    run -0 on_host "$HOST/lib/dr/init" main --to "$HOST/run/store" --databases shop --user postgres --key-dir "$HOST/stick"
    [[ $output == *"systemctl enable --now dr-backup@main.timer"* && $output == *"runuser -u postgres -- $HOST/lib/dr/backup main"* ]]
    [[ $output == *'"check":"create-only","state":"ok"'* ]]
    all_is_made postgres
    [ "$(stat -c '%a %U' "$HOST/run/store")" = "700 postgres" ]
    run -0 on_host runuser -u postgres -- "$HOST/lib/dr/backup" main
    [ -z "$output" ]
    comes_back "$HOST/stick/main-restore.txt"
    comes_back "$HOST/stick/main-safe.txt"
}

@test "as a plain user: the same, in a directory of one's own" {
    run -0 as_plain env PGUSER=postgres "$HOST/lib/dr/init" main --to "$HOST/run/store" --databases shop --key-dir "$HOST/stick"
    all_is_made "$(as_plain id -un)"
    run -0 as_plain "$HOST/lib/dr/backup" main
    comes_back "$HOST/stick/main-restore.txt"
}

@test "run again, init changes nothing, and makes what is missing" {
    init() { as_plain env PGUSER=postgres "$HOST/lib/dr/init" main --key-dir "$HOST/stick" "$@"; }
    run -0 init --to "$HOST/run/store" --databases "shop postgres"
    before=$(cd "$HOST" && sha256sum run/etc/* stick/*)
    cp "$HOST/run/etc/main.pub" "$HOST"
    run -0 init
    [[ $output == *"kept:  $HOST/run/etc/main.env"* ]]
    [ "$(cd "$HOST" && sha256sum run/etc/* stick/*)" = "$before" ]
    # Stopped before it had written the public key, it has the same from the secret one.
    rm "$HOST/run/etc/main.pub"
    run -0 init
    [ "$(cd "$HOST" && sha256sum run/etc/* stick/* | grep -v main.pub)" = "$(grep -v main.pub <<<"$before")" ]
    grep -qxF "$(tail -n 1 "$HOST/run/etc/main.pub")" "$HOST/main.pub"
    cp "$HOST/main.pub" "$HOST/run/etc/main.pub"
    # What it reads out of the settings is what it wrote.
    rm "$HOST/run/etc/main.recipients"
    sed 's/DATABASES=.*/DATABASES="mine"/' "$HOST/run/etc/main.env" >changed && cat changed >"$HOST/run/etc/main.env"
    run -0 init
    [[ $output == *"wrote: $HOST/run/etc/main.recipients"* ]]
    [ "$(cd "$HOST" && sha256sum run/etc/* stick/* | grep -v main.env)" = "$(grep -v main.env <<<"$before")" ]
    grep -q '^DATABASES="mine"$' "$HOST/run/etc/main.env"
}

@test "root has no home and runs no settings that others can write, and the state is where they say" {
    [ "$(id -u)" = 0 ] || skip "not root"
    from_cron() { on_host env -u HOME "$HOST/lib/dr/init" main --to "$HOST/run/store" --databases shop --user postgres --key-dir "$HOST/stick"; }
    run -0 from_cron
    [ -e "$HOST/run/state/stores.json" ]
    echo '[ "$(id -u)" != 0 ] || touch "$HOST/root-was-here"' | sed "s:\$HOST:$HOST:" >>"$HOST/run/etc/main.env"
    from_cron
    [ -e "$HOST/root-was-here" ] && rm "$HOST/root-was-here"
    chmod 666 "$HOST/run/etc/main.env"
    run from_cron
    [[ $output == *"others can write it"* ]]
    [ ! -e "$HOST/root-was-here" ]
}

@test "on a terminal it asks, and shows the identities once, and nowhere keeps them" {
    answers=$HOST/answers
    printf '\nshop\n%s\n' "$HOST/run/store" >"$answers"
    as_plain env PGUSER=postgres script -qefc "$HOST/lib/dr/init main" "$HOST/run/screen" <"$answers" >/dev/null
    [ "$(grep -c AGE-SECRET-KEY "$HOST/run/screen")" = 2 ]
    # What to do with them is said once, and the three lines of each come right after it.
    [ "$(grep -c "this host keeps neither" "$HOST/run/screen")" = 1 ]
    [[ $(grep -A 4 "a file identity.txt on the host that restores" "$HOST/run/screen" | tail -n 1) == AGE-SECRET-KEY-* ]]
    [[ $(grep -A 4 "into a safe, on paper" "$HOST/run/screen" | tail -n 1) == AGE-SECRET-KEY-* ]]
    sed -n 's/\r$//; s/^AGE-SECRET-KEY/&/p' "$HOST/run/screen" >identities && chmod 600 identities
    rm "$HOST/run/screen"
    run ! grep -rq AGE-SECRET-KEY "$HOST/run" "$HOST/home"
    grep -qx 'DATABASES="shop"' "$HOST/run/etc/main.env" && grep -qx "DR_TO=\"$HOST/run/store\"" "$HOST/run/etc/main.env"
    as_plain "$HOST/lib/dr/backup" main
    comes_back identities
}

@test "on a terminal it asks for nothing that is said" {
    words="--to $HOST/run/store --databases shop --host $PGHOST --user postgres --key-dir $HOST/stick"
    # Nobody answers.
    run -0 on_host env -u PGHOST script -qefc "$HOST/lib/dr/init main $words" "$HOST/run/screen" </dev/null
    [[ $output != *"[/var/run/postgresql]"* && $output != *"[postgres]"* ]]
    grep -qx "PGHOST=\"$PGHOST\"" "$HOST/run/etc/main.env" && grep -qx 'PGUSER="postgres"' "$HOST/run/etc/main.env"
}

@test "recipients that are given are those, and no identity is made" {
    init() { as_plain env PGUSER=postgres setsid -w "$HOST/lib/dr/init" main --to "$HOST/run/store" --databases shop "$@"; }
    # Nowhere to show one, and nowhere to keep it.
    run -73 init
    [ -z "$(ls "$HOST/run/etc")" ]
    mapfile -t given <"$KEYS/recipients"
    run -0 init --recipient "${given[0]}" --recipient "${given[1]}"
    cmp "$KEYS/recipients" "$HOST/run/etc/main.recipients"
    [ -z "$(ls "$HOST/stick")" ]
}

@test "init says how it is used, and refuses what cannot be written down" {
    for call in "" "--to /store" "../x" "main --to" "main --nonsense x" "main --to store"; do
        # shellcheck disable=SC2086 # a list of words
        run -64 as_plain "$HOST/lib/dr/init" $call
        [[ $output == "usage: init CLUSTER "* ]]
    done
    run -64 as_plain "$HOST/lib/dr/init" main --to "$HOST/run/store" --databases 'shop $(reboot)'
    run -64 as_plain "$HOST/lib/dr/init" main --to "$HOST/run/store" --recipient age1foo
    [[ $output == *'recipient "age1foo": neither an age nor an ssh public key'* ]]
    [ "$(id -u)" != 0 ] || run -78 on_host "$HOST/lib/dr/init" main --to "$HOST/run/store" --user nobody-of-that-name
    [ ! -e "$HOST/run/etc" ]
}
