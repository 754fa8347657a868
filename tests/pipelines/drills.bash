# Words that the tests of drills are written in, besides those of all pipelines.

eval "$(declare -f setup | sed '1s/setup/set_up_pipeline/')"

# What a drill leaves is seen: it works in a directory of this test's.
setup() {
    set_up_pipeline
    export DR_ETC=$PWD/etc DRILL_REPORTS=$PWD/reports DRILL_DIR=$SCRATCH/drills
    mkdir -m 777 "$DRILL_DIR" && mkdir etc && touch etc/main.env
}

teardown() {
    local server
    for server in "$DRILL_DIR"/*/server "$DRILL_DIR"/server; do "$PROJECT/scripts/throwaway-server" stop "$server" || true; done
    rm -rf "$DRILL_DIR"
}

# Runs one of the scripts.
drill() {
    "$PROJECT/scripts/$1" "${@:2}"
}

# Runs a command until there is a file in the drill's directory, and stops it then:  stop_at FILE COMMAND…
stop_at() {
    local outcome=0
    "${@:2}" 3>&- &
    until compgen -G "$DRILL_DIR/*/$1" >/dev/null; do kill -0 $!; done
    kill -TERM $!
    wait $! || outcome=$?
    [ $outcome = 75 ]
}

# What the only report says, its lines joined.
said() {
    jq -r "$1" reports/*.json | paste -sd ' '
}

nothing_is_left() {
    local process
    [ -z "$(ls "$DRILL_DIR")" ]
    for process in /proc/[0-9]*; do
        [[ $(readlink "$process/cwd") != "$DRILL_DIR"* ]]
    done
}
