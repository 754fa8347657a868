#!/usr/bin/env bats
# What a restored database runs reaches nothing: no server, no store, no file and no process of anybody else's.

load pipelines
load drills

# A server that is in use: it listens on a port, and on sockets whose directory is named in words that only it understands.
setup_file() {
    export PRODUCTION=$SCRATCH/production PORT=$((20000 + RANDOM % 10000)) OPEN=$SCRATCH/open
    "$PROJECT/scripts/scratch-postgres" start "$PRODUCTION" -c listen_addresses=127.0.0.1 -c "port=$PORT" \
        -c "unix_socket_directories=$PRODUCTION,." 3>&-
    # All that follows may be read by whoever finds it.
    mkdir -m 755 "$OPEN" && echo '{"id":"store"}' >"$OPEN/dr-store.json" && cp -r "$PROJECT/scripts" "$OPEN"
}

teardown_file() {
    "$PROJECT/scripts/scratch-postgres" stop "$PRODUCTION"
}

eval "$(declare -f teardown | sed '1s/teardown/tear_down_drill/')"

teardown() {
    as_server throwaway-server stop "$DRILL_DIR/server" 2>/dev/null || true
    tear_down_drill
}

# What a hostile database does, one command on each line.
attacks() {
    local server
    server=$(head -n 1 "$PRODUCTION/data/postmaster.pid")
    cat <<END
psql -h $PRODUCTION -p $PORT -c 'SELECT 1' postgres
psql -h $PRODUCTION/data -p $PORT -c 'SELECT 1' postgres
psql -h 127.0.0.1 -p $PORT -c 'SELECT 1' postgres
bash -c ': </dev/tcp/127.0.0.1/$PORT'
cat $OPEN/dr-store.json
cat $PRODUCTION/data/postgresql.conf
touch $PRODUCTION/data/was-here
cat $(grep -o -m 1 '/dev/shm/PostgreSQL[.0-9]*' "/proc/$server/maps")
ls /proc/$server/cwd
kill -0 $server
END
}

# The same as SQL, which says `ok` for each that fails.
hostile() {
    echo "CREATE TEMP TABLE said (line text);"
    attacks | while read -r attack; do
        echo "COPY said FROM PROGRAM \$attack\$if ($attack) >/dev/null 2>&1 </dev/null; then echo 'reached by: ${attack//\'/}'; else echo ok; fi\$attack\$;"
    done
    echo "SELECT line FROM said;"
}

# How many of the attacks succeed against a server's surroundings.
reached() {
    psql -h "$1" -XAtq -v ON_ERROR_STOP=1 -f hostile.sql postgres | grep -c '^reached by'
}

# Runs a script of drills as the user of the servers, who cannot reach what is root's.
as_server() {
    local words=(env -i -C / PATH="/usr/lib/postgresql/15/bin:/usr/bin:/bin" "$OPEN/scripts/$1" "${@:2}")
    [ "$(id -u)" != 0 ] || words=(setpriv --reuid=postgres --regid=postgres --init-groups "${words[@]}")
    "${words[@]}" 3>&-
}

@test "f77 f84 a hostile database that restore-test restores reaches nothing" {
    back_up
    hostile >etc/main.shop.assertions.sql
    cp etc/main.shop.assertions.sql hostile.sql
    [ "$(reached "$PGHOST")" = "$(attacks | wc -l)" ]
    AMCHECK=no run -0 drill restore-test main
    [[ $output != *warning* ]]
    [ "$(said '.steps | map(.name) | join(" ")')" = "backup server restore fingerprint assertions" ]
    nothing_is_left
}

@test "f77 f84 nor does one that is restored by a user without rights" {
    hostile >hostile.sql
    server=$DRILL_DIR/server
    run -0 as_server throwaway-server start "$server" 15
    [ -z "$output" ]
    [ "$(reached "$server/socket" || true)" = 0 ]
    [ "$(psql -h "$server/socket" -XAtqc "CREATE TEMP TABLE said (line text)" \
        -c "COPY said FROM PROGRAM 'sed -n s/^Cap[EPI].*:.//p /proc/self/status'" -c "SELECT DISTINCT line FROM said" postgres)" = 0000000000000000 ]
    as_server throwaway-server stop "$server"
    nothing_is_left
}

@test "f84 where nothing can be enclosed, that is said once, and the test goes on" {
    back_up
    mkdir bin && printf '#!/bin/sh\necho "unshare: not permitted" >&2\nexit 1\n' >bin/unshare && chmod 755 bin/unshare
    PATH=$PWD/bin:$PATH AMCHECK=no run -0 drill restore-test main
    [ "$(grep -c warning <<<"$output")" = 1 ]
    [[ $output == *"throwaway-server: warning: it is not enclosed (unshare: not permitted): what the database runs may reach"* ]]
    nothing_is_left
}

# How many processes run a command.
processes() {
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -o "$1" | wc -l
}

@test "what the database has started ends with its server, wherever it works" {
    server=$DRILL_DIR/server
    "$PROJECT/scripts/throwaway-server" start "$server" 15
    psql -h "$server/socket" -Xqc "COPY (SELECT) TO PROGRAM 'cd / && (trap \"\" QUIT TERM; setsid sleep 98.7654321 >/dev/null 2>&1 </dev/null &)'" postgres
    [ "$(processes '[s]leep 98.7654321')" = 1 ]
    "$PROJECT/scripts/throwaway-server" stop "$server"
    [ "$(processes '[s]leep 98.7654321')" = 0 ]
    nothing_is_left
}

@test "a server that does not stop is killed, and so is a drill that does not hear" {
    server=$DRILL_DIR/server
    "$PROJECT/scripts/throwaway-server" start "$server" 15 3>&-
    for process in /proc/[0-9]*; do
        [ ! "$process/cwd" -ef "$server/data" ] || [ ! "$process/exe" -ef /usr/lib/postgresql/15/bin/postgres ] || kill -STOP "${process#/proc/}"
    done
    timeout 30 "$PROJECT/scripts/throwaway-server" stop "$server"
    nothing_is_left
    SECONDS=0
    # shellcheck disable=SC2016 # it is for the drill's shell
    stop_at deaf "$PROJECT/scripts/drill" main bash -c 'trap "" TERM; touch "$DRILL_WORK/deaf"; while :; do sleep 1; done'
    [ $SECONDS -lt 30 ]
    nothing_is_left
}

@test "enclose shows its command what is its own, and can be asked for no more" {
    mkdir own seen && touch own/file seen/file
    run -0 "$PROJECT/scripts/enclose" --own "$PWD/own" --see "$PWD/seen" bash -c "ls '$PWD'; touch own/new; touch '$PWD/seen/new'; echo \$\$"
    [ "$(paste -sd ' ' <<<"$output")" = "own seen touch: cannot touch '$PWD/seen/new': Read-only file system 1" ]
    [ -e own/new ]
    run -0 "$PROJECT/scripts/enclose" --same-pids --own "$PWD/own" bash -c "touch '$PWD/own/new'; ls /proc '$PWD/own'"
    [ "$(paste -sd ' ' <<<"$output")" = "/proc:  $PWD/own: file new" ]
    for wide in --own --see; do
        run -64 "$PROJECT/scripts/enclose" $wide / true
        [[ $output == *"whoever sees / is not enclosed"* ]]
    done
    # Libraries are seen where they are meant to be, and are not everything.
    (cd seen && LD_LIBRARY_PATH=:. run -0 "$PROJECT/scripts/enclose" --own "$PWD/../own" ls "$PWD" && [ "$output" = file ])
    LD_LIBRARY_PATH=/usr/lib:/ run -64 "$PROJECT/scripts/enclose" --own "$PWD/own" true
    [ ! -e /sys. ]
    # Where it cannot be hidden, nothing runs.
    run ! "$PROJECT/scripts/enclose" --own "$PWD/nowhere" touch "$PWD/ran"
    [ ! -e ran ]
}
