# Words that the tests of pipelines are written in.

bats_require_minimum_version 1.5.0

# A place of its own for each test, and the settings that a cluster's file would have.
setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export DR_STATE=$PWD/state DR_CLUSTER=main DR_TO=$PWD/store DR_FROM=$PWD/store
    export DR_RECIPIENTS=$KEYS/recipients DR_SIGNING_KEY=$KEYS/signs.key DR_PUBLIC_KEY=$KEYS/signs.pub DR_IDENTITY=$KEYS/identity
    export DR_RECEIPT=$PWD/receipts.jsonl
    dr-push --init
}

# What a test that failed half-way has mounted.
teardown() {
    ! mountpoint -q store || umount store
}

# The pipe as people write it: no pipefail, no set -e, nothing looked at.
pipe() {
    echo 'dr-dump shop | dr-encrypt | dr-push; dr-seal < "$DR_RECEIPT"'
}

# A backup, made by bash.
back_up() {
    rm -f "$DR_RECEIPT"
    bash -c "$(pipe)" >/dev/null
}

# Runs a script in a shell, which may be several words; the exit code of a script that fails is no failure of the test.
in_shell() {
    rm -f "$DR_RECEIPT"
    # shellcheck disable=SC2086 # the words of a shell
    $1 -c "$2" || true
}

# How many backups there are; fails where the store cannot be read.
backups() {
    dr-list --json >list && wc -l <list
}

# Whether the newest backup comes back whole, into a database that is removed again.
restores() {
    dr-restore latest --into back --prove "$@" >/dev/null
    dropdb back
}

# Runs what follows, where the kernel kills it at the Nth call of some kind:  killed_at KIND N COMMAND…
killed_at() {
    strace -f -qq -o /dev/null -e trace="$1" -e inject="$1:signal=KILL:when=$2" "${@:3}"
}
export -f killed_at

# The one object of a store whose name ends so.
object() {
    find "${2:-store}" -type f -name "*$1"
}

# Replaces one byte in the middle of a file by another.
damage() {
    local middle=$(($(stat -c %s "$1") / 2)) byte
    byte=$(od -An -tu1 -j "$middle" -N 1 "$1")
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$middle" conv=notrunc status=none
}

# Starts s3s-fs on a free port; sets AWS_ENDPOINT_URL. The bucket is a directory of the server's.
start_s3() {
    mkdir -p s3/acme-dr
    local port
    for port in $(shuf -i 20000-30000 -n 20); do
        s3s-fs --host 127.0.0.1 --port "$port" --access-key test --secret-key testtest s3 >>s3.log 2>&1 3>&- &
        S3_PID=$!
        # Until it listens, or has ended because somebody else does.
        while kill -0 "$S3_PID" 2>/dev/null; do
            if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest AWS_REGION=us-east-1
                export AWS_EC2_METADATA_DISABLED=true AWS_ENDPOINT_URL=http://127.0.0.1:$port
                return
            fi
        done
    done
    return 1
}

# A script that works for a cluster says how it is used where a call is wrong, and that there are no settings:  misused SCRIPT CALL…
misused() {
    local call
    for call in "${@:2}"; do
        # shellcheck disable=SC2086 # a list of words
        run -64 "$PROJECT/scripts/$1" $call
        [[ $output == usage:* ]]
    done
    DR_ETC=$PWD/nowhere run -78 "$PROJECT/scripts/$1" main
    [[ $output == *"there is no $PWD/nowhere/main.env"* ]]
}
