# Words that the tests of alerts are written in: a host that is watched, whose clock is a file, and a listener, whom it tells.

load prometheus

# The host while all is well: two dumps that are verified, a drill that has passed. It is made once; each test has it anew, in one place,
# as the host knows its store by that.
setup_file() {
    export HOST=$SCRATCH/host DR_ETC=$SCRATCH/host/etc DR_STATE=$SCRATCH/host/state DR_CHANNELS=$SCRATCH/channels DR_CLUSTER=main
    export TOLD=$SCRATCH/told DRILL_DIR=$SCRATCH/drills PGHOST=$SCRATCH/watched AMCHECK=no
    start_clock
    "$PROJECT/scripts/scratch-postgres" start "$PGHOST" 3>&-
    createdb till
    psql -qXc "CREATE TABLE sale AS SELECT n, md5(n::text) AS receipt FROM generate_series(1, 3000) n" till
    mkdir -m 777 "$DRILL_DIR" && mkdir -p "$DR_ETC" "$DR_CHANNELS" && cd "$HOST" || return
    start_listener
    cp -r "$KEYS" keys
    printf '%s\n' PGHOST="$PGHOST" PGUSER=postgres DATABASES=till DR_{TO,FROM,REPORT_TO}="$HOST/store" DR_RECIPIENTS="$HOST/keys/recipients" \
        {DR,DRILL}_SIGNING_KEY="$HOST/keys/signs.key" DR_PUBLIC_KEY="$HOST/keys/signs.pub" DR_IDENTITY="$HOST/keys/identity" \
        DRILL_REPORTS="$HOST/reports" DR_METRICS="$HOST/dr.prom" >etc/main.env
    # How full this disk is, is not what is tested.
    promise "storage_used = 0"
    dr-push --init --to store
    cron dump && cron dump && cron verify && cron drill
    look healthy
    is_well
    nobody_is_told
    cp -a "$HOST" "$HOST.well"
    cd "$SCRATCH" || return
}

teardown_file() {
    [ ! -e "$SCRATCH/listener.pid" ] || kill "$(<"$SCRATCH/listener.pid")"
    "$PROJECT/scripts/scratch-postgres" stop "$PGHOST"
    unset LD_PRELOAD
    rm -f /dev/shm/*faketime_*_"${FAKETIME_SHARED##*_}"
    # The directory of scratch is that of all files.
    rm -rf "$DRILL_DIR" "$HOST" "$HOST.well" "$DR_CHANNELS" "$TOLD" "$SCRATCH/listener.pid"
}

setup() {
    clock +0
    rm -rf "$HOST" && cp -a "$HOST.well" "$HOST" && cd "$HOST" || return
    : >"$TOLD"
}

# What a test that failed half-way has left.
teardown() {
    clock +0
    ! mountpoint -q "$HOST/store" || umount "$HOST/store"
    [ -z "${FOLLOWS:-}" ] || kill -KILL "$FOLLOWS" 2>/dev/null || true
    [ -z "${S3_PID:-}" ] || kill "$S3_PID"
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/archives"
    psql -qXc "DELETE FROM sale WHERE n > 3000" till
    # Until the server has seen that who used it is gone.
    timeout 30 sh -c "until psql -qXAtc 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots' postgres 2>/dev/null; do :; done"
}

# All that begins from here on sees the time that a file says: servers and tools. What a program needs to share that clock with others is
# there before, as each would leave it behind in /dev/shm where it becomes another program.
start_clock() {
    export LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1
    export FAKETIME_TIMESTAMP_FILE=$SCRATCH/clock FAKETIME_NO_CACHE=1 FAKETIME_SHARED
    clock +0
    FAKETIME_SHARED=$(unset FAKETIME_SHARED && exec bash -c 'exec printenv FAKETIME_SHARED')
    chmod 666 /dev/shm/*faketime_*_"${FAKETIME_SHARED##*_}"
}

# Asks a server, by default the one that is watched.
ask() {
    psql ${2:+-h "$2"} -qXAtc "$1" postgres
}

# Waits until a command says t, as a server does; not for ever.
wait_until() {
    local _
    for _ in {1..3000}; do [ "$("$@")" != t ] || return 0; done
    return 1
}

# Ends a segment of WAL in which there is something.
switch() {
    ask "SELECT pg_logical_emit_message(true, '', repeat('x', 10000)); SELECT pg_switch_wal()" "$@" >/dev/null
}

# What the server has flushed: under a clock that was set back it may write more, and flush that no sooner than the clock is there again.
ALL_IS_FLUSHED="SELECT state = 'streaming' AND pg_current_wal_flush_lsn() = flush_lsn FROM pg_stat_replication"

# Starts what follows the server as its standby b, and sets FOLLOWS.
follow() {
    ask "SELECT pg_create_physical_replication_slot('b', true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots)"
    mkdir -p received
    pg_receivewal --synchronous --no-loop --status-interval 1 -S b -D received -d "host=$PGHOST application_name=b" 2>/dev/null 3>&- &
    FOLLOWS=$!
    wait_until ask "$ALL_IS_FLUSHED"
}

# Starts what brings the server's WAL into the store, and waits until it is there; sets FOLLOWS.
receive() {
    with_settings dr-wal-receive --create-slot --slot wal --every 1 2>receiver.log 3>&- &
    FOLLOWS=$!
    switch
    wait_until is_stored
}

is_stored() {
    ! with_settings dr-check --json | grep '"check":"wal-lag","state":"ok"' >/dev/null || echo t
}

# Becomes a command, with the settings of the cluster.
with_settings() {
    set -a
    # shellcheck source=/dev/null
    . etc/main.env
    exec "$@"
}

# Starts another server, which archives its own WAL with a key of its own, and has the host watch that one.
start_archiving() {
    mkdir archiver && cp keys/signs.key archiver
    cp "$(command -v dr-wal-push)" "$SCRATCH"
    [ "$(id -u)" != 0 ] || chown -R postgres: archiver store keys
    sed -i "s|^PGHOST=.*|PGHOST=$1|" etc/main.env
    "$PROJECT/scripts/scratch-postgres" start "$1" -c archive_mode=on -c "archive_command='set -a; . $HOST/etc/main.env; \
        DR_STATE=$HOST/archiver DR_SIGNING_KEY=$HOST/archiver/signs.key $SCRATCH/dr-wal-push %p'" 3>&-
    switch "$1"
    archived "$1"
}

# Waits until all that was to be archived is.
archived() {
    wait_until ask "SELECT count(*) = 0 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'" "$1"
}

# How long ago a moment is, in seconds.
since() {
    echo $(($(date +%s) - $(date -d "${1:?}" +%s)))
}

# Sets the clock, such as +26.5h from now.
clock() {
    echo "$1" >"$SCRATCH/clock.new" && mv "$SCRATCH/clock.new" "$SCRATCH/clock"
}

# Starts a listener, and makes it two channels: a webhook, whose notices are signed, and a telephone.
start_listener() {
    "$BATS_TEST_DIRNAME/listener" top-secret "$SCRATCH/port" "$TOLD" 2>/dev/null 3>&- &
    echo $! >"$SCRATCH/listener.pid"
    until [ -e "$SCRATCH/port" ]; do kill -0 $!; done
    local listener
    listener=http://127.0.0.1:$(<"$SCRATCH/port")
    printf '%s\n' 'kind = "webhook"' "url = \"$listener/webhook\"" 'secret = "top-secret"' >"$DR_CHANNELS/ops.toml"
    printf '%s\n' 'kind = "ntfy"' "url = \"$listener/phone\"" >"$DR_CHANNELS/phone.toml"
    echo "$listener/ping" >"$SCRATCH/pings"
    chmod 600 "$DR_CHANNELS"/* "$SCRATCH/pings"
    : >"$TOLD"
}

# What is promised of the cluster, besides what is by default.
promise() {
    printf '%s\n' "$@" >"$DR_ETC/main.objectives.toml"
}

# Runs a job by its line in the schedule of cron, with the scripts where they are here.
cron() {
    local line
    line=$(sed -n "s/.*|| \(dr-heartbeat run --job $1 .*\)/\1/p" "$PROJECT/cron/dr" | head -n 1)
    sh -c "${line//\/usr\/local\/lib\/dr/$PROJECT/scripts}" </dev/null
}

# Checks as cron does, and keeps what Prometheus would read as that of a phase: healthy, fault or mended. Before that it checks where no
# channel is, which prints the records of what is not as it should be.
look() {
    DR_CHANNELS=$HOST/none cron check >records || true
    : >"$TOLD"
    CODE=0
    cron check || CODE=$?
    promtool check metrics <dr.prom >&2
    cp dr.prom "$1.prom"
    date +%s >"$1.at"
}

# The value of a metric, by the beginning of its line.
metric() {
    grep -F "$1" dr.prom | sed 's/.* //'
}

is_well() {
    cat records "$TOLD" >&2
    echo "check exited with $CODE" >&2
    [ "$CODE" = 0 ]
    [ ! -s records ]
    ! grep '^pg_dr_check_state{.* [^0]$' dr.prom
}

nobody_is_told() {
    [ ! -s "$TOLD" ]
}

# Whether both channels have heard of a check, with this word for how it is:  told STATUS CHECK[/SUBJECT] STATE
told() {
    jq -se --arg status "$1" --arg key "check/$2" --arg state "$3" '
        ([.[] | select(.path == "/webhook" and .signed) | .body | fromjson | .problems[] | select(.key == $key) | [.status, .state]]
            == [[$status, $state]]) and
        ([.[] | select(.path == "/phone") | .body | contains($key[6:] | split("/")[0])] == [true])' "$TOLD" >/dev/null ||
        { cat records "$TOLD" >&2 && return 1; }
}

# A fault is seen: in a record, in its metric, and by whoever listens:  is_ill CHECK[/SUBJECT] STATE
is_ill() {
    local subject=${1#"${1%%/*}"} states=(ok warning critical unknown) number
    number=$(metric "pg_dr_check_state{cluster=\"main\",check=\"${1%%/*}\",subject=\"${subject#/}\"}")
    [ "$CODE" = 1 ]
    [ "$(jq -r --arg check "${1%%/*}" --arg subject "${subject#/}" 'select(.check == $check and (.subject // "") == $subject).state' records)" = "$2" ]
    [ "${states[number]}" = "$2" ]
    told failed "$1" "$2"
}

# What was ill is well, and so is all else, and whoever was told hears of it:  is_mended CHECK[/SUBJECT]
is_mended() {
    is_well
    told cleared "$1" ok
}
