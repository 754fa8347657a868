#!/usr/bin/env bats
# Who reads the pages of the scripts learns of everything that they can be told.

# The variables that a script reads and has not made itself; the shell's own are not meant.
read_by() {
    local script=$PROJECT/scripts/$1
    comm -23 <(grep -v '^ *#' "$script" | grep -oE '\$\{?[A-Z][A-Z_0-9]+' | tr -d '${' | sort -u) \
        <({ grep -oE '^[A-Z_]+=' "$script" | tr -d '='; printf '%s\n' BASHPID ENCLOSE NF PATH PIPESTATUS PWD SECONDS; } | sort)
}

@test "every setting that a script of drills or of keeping reads is in its page" {
    pages="$PROJECT/man/dr-drills.7 $PROJECT/man/dr-keeping.7"
    for script in restore-test drill-pitr restore-to-staging drill drill-verdict enclose throwaway-server assertions counts verify prune copy-offsite; do
        for name in $(read_by "$script"); do
            # shellcheck disable=SC2086 # two files
            grep -qwE -- "$name" $pages || echo "$script: $name"
        done
    done >"$BATS_TEST_TMPDIR/missing"
    diff "$BATS_TEST_TMPDIR/missing" /dev/null
    [[ $(read_by prune | xargs) == *DR_FROM*PRUNE_LOG* ]]
}

@test "every setting that the page of keeping names is one that a script, or a tool, reads" {
    known=$(cat "$PROJECT"/man/dr-{prune,verify,delete,copy,list}.1 "$PROJECT"/scripts/{verify,prune,copy-offsite})
    sed -n 's/^\.It Ev //p' "$PROJECT/man/dr-keeping.7" | grep -oE '[A-Z][A-Z_]+' | while read -r name; do
        grep -qw "$name" <<<"$known" || echo "$name"
    done >"$BATS_TEST_TMPDIR/unknown"
    diff "$BATS_TEST_TMPDIR/unknown" /dev/null
}
