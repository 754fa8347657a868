# Words that the benchmarks are written in: a row of a table is one comparison, best of three, in turns, whole processes.
# shellcheck shell=bash
# Whoever reads this file sets $project and $work, directories, and may define `as_user LINE` anew: how a line of shell is run in there.

as_user() {
    (cd "$work" && bash -euo pipefail -c "$1")
}

# Builds what scripts/bench and scripts/bench-physical compare, in one go: how a library is built depends on what is built beside it.
build() {
    "$project/scripts/setup" bench
    cargo build --quiet --release --locked --package=dr-{base,dump,encrypt,push,recover,restore,run,seal,wal-fetch,wal-push} \
        --manifest-path "$project/Cargo.toml"
}

# Adds to a file the seconds that a line of shell takes, and its largest process in KiB:  measure FILE LINE
measure() {
    echo "$2" >"$work/line"
    as_user "command time -ao $1 -f '%e %M' bash -euo pipefail line" &>>"$work/log" || { tail "$work/log" >&2 && return 1; }
}

# Prints what the columns of rows are.
head_of_rows() {
    printf '\n| | ours, s | theirs, s | ratio | goal | peak, MiB |\n|---|--:|--:|--:|--:|--:|\n'
}

# Prints how one way compares with another:  row NAME GOAL PREPARATION OURS THEIRS [PREPARATION OF THEIRS]
row() {
    rm -f "$work"/time.*
    for _ in 1 2 3; do
        as_user "$3" &>>"$work/log"
        measure time.ours "$4"
        as_user "${6:-$3}" &>>"$work/log"
        measure time.theirs "$5"
    done
    sort -n "$work/time.ours" | head -1 | paste -d ' ' - <(sort -n "$work/time.theirs" | head -1) |
        awk -v name="$1" -v goal="$2" '{ printf "| %s | %.2f | %.2f | %.2f | %s | %d |\n", name, $1, $3, $1 / $3, goal, $2 / 1024 }'
}

# Prints how the bytes compare that both have stored:  stored NAME GOAL OURS THEIRS   (files or directories)
stored() {
    as_user "du -sb $3 $4 | cut -f 1 | xargs" | awk -v name="$1" -v goal="$2" '{ printf "| bytes stored: %s | | | %.2f | %s | |\n", name, $1 / $2, goal }'
}
