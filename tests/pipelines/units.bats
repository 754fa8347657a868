#!/usr/bin/env bats
# The units of systemd and the lines of cron, run for real: by a systemd of their own, as the users they name, with the files that a
# host would have. See tests/pipelines/booted.

load pipelines

setup_file() {
    export BOX=$BATS_FILE_TMPDIR/box TOOLS
    TOOLS=$(dirname "$(type -P dr-push)")
    mkdir -p "$BOX/image"
    install_image "$BOX/image"
}

setup() {
    [ "$(id -u)" = 0 ] || skip "a systemd of its own takes root"
    cd "$BATS_TEST_TMPDIR" || return
}

# What scripts/install puts on a host, but for the programs, which are only shown there.
install_image() {
    cd "$BATS_FILE_TMPDIR" || return
    mkdir -p bin target/release home
    printf '#!/bin/sh\n' >bin/cargo
    local tool
    for tool in "$PROJECT"/tools/*/src/main.rs; do
        tool=$(basename "${tool%/src/main.rs}")
        printf '#!/bin/sh\n' >"target/release/$tool"
    done
    chmod +x bin/cargo target/release/*
    # No other home, as a real cargo in it would build.
    HOME=$PWD/home PATH=$PWD/bin:$PATH CARGO_TARGET_DIR=$PWD/target DESTDIR=$1 "$PROJECT/scripts/install"
}

# Runs commands on a host in a box:  in_box COMMANDS
in_box() {
    {
        printf '%s\n' "set -euo pipefail" "box=$BOX PROJECT=$PROJECT KEYS=$KEYS TOOLS=$TOOLS"
        cat "$BATS_TEST_DIRNAME/boxed.bash"
        echo "$1"
    } >"$BOX/commands"
    "$BATS_TEST_DIRNAME/booted" "$BOX/commands" "$BOX" "$PROJECT" "$KEYS" "$TOOLS" 3>&-
}

@test "systemd has nothing to say against any unit" {
    run -0 in_box '
set_up_programs
cd /usr/local/lib/systemd/system
for unit in dr-*.*; do
    case $unit in *.d) ;; *@.*) systemd-analyze verify --man=no "${unit/@/@main}" ;; *) systemd-analyze verify --man=no "$unit" ;; esac
done'
    [ "$output" = "" ]
}

@test "no unit is more exposed than it has to be" {
    run -0 in_box '
set_up_programs
cd /usr/local/lib/systemd/system
for unit in dr-*.service; do
    case $unit in dr-restore-test@* | dr-drill-pitr@*) least=25 ;; *) least=15 ;; esac
    systemd-analyze security --offline=true --no-pager --threshold=$least "${unit/@/@main}" | tail -n 1
done'
    [ "$(grep -c "Overall exposure level" <<<"$output")" = "$(find "$PROJECT/systemd" -name 'dr-*.service' | wc -l)" ]
}

@test "f95 every timer goes by UTC, makes up for what was missed, and is there for a service" {
    for timer in "$PROJECT"/systemd/*.timer; do
        time=$(sed -n 's/^OnCalendar=//p' "$timer")
        [[ $time == *" UTC" ]]
        systemd-analyze calendar "$time" >/dev/null
        [ -e "${timer%.timer}.service" ]
        grep -qx Persistent=true "$timer" || [[ $timer == */dr-check@.timer ]]
        # It ends, and says when it has taken too long.
        grep -q '^TimeoutStartSec=[0-9]' "${timer%.timer}.service"
    done
}

@test "every job does its work under its unit, and the server it works for does not notice" {
    run -0 in_box '
set_up_host
watch_for_secrets
for job in backup backup-base verify copy-offsite prune restore-test drill-pitr; do start dr-$job@main; done
# The same user as that of the server: had its unit taken the shared memory away, this would fail.
psql -qXc "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET min_parallel_table_scan_size = 0; SELECT sum(n) FROM booking" shop >/dev/null
as_postgres dr-list --from /srv/offsite --json | grep -o "\"kind\":\"[a-z]*\",\"name\"" | sort
cut -d , -f 1-9 /var/lib/dr/runs-main.jsonl | grep -c "\"succeeded\":true"
grep -l "\"passed\":true" /var/lib/dr/reports/*.json | wc -l
secrets_seen'
    echo "$output"
    for job in backup backup-base verify copy-offsite prune restore-test drill-pitr; do
        [[ $output == *"dr-$job@main success 0"* ]]
    done
    [ "$(tail -n 5 <<<"$output" | paste -sd ' ')" = '"kind":"base","name" "kind":"dump","name" 7 2 none' ]
}

@test "a job that fails is told to somebody, with the name of its unit, and that it succeeds again" {
    run -0 in_box '
set_up_host
mkdir /etc/dr/channels
printf "#!/bin/sh\nexec cat >>/var/lib/dr-notify/mail\n" >/usr/local/lib/mailer && chmod +x /usr/local/lib/mailer
printf "%s\n" "kind = \"email\"" "from = \"dr@example.org\"" "to = [\"ops@example.org\"]" "sendmail = \"/usr/local/lib/mailer\"" >/etc/dr/channels/ops.toml
chmod 600 /etc/dr/channels/ops.toml
echo "DATABASES=nowhere" >>/etc/dr/main.env
! start dr-backup@main
timeout 20 sh -c "until [ -s /var/lib/dr-notify/mail ]; do sleep 0.1; done"
cat /var/lib/dr-notify/mail
sed -i "\$d" /etc/dr/main.env
start dr-backup@main
timeout 20 sh -c "until grep -q ^Subject:.*cleared /var/lib/dr-notify/mail; do sleep 0.1; done"
grep -c "\"succeeded\":false" /var/lib/dr/runs-main.jsonl'
    [[ $output == *"dr-backup@main exit-code 66"* ]]
    [[ $output == *"To: ops@example.org"*dr-backup@main.service*"its command exited with 66"* ]]
    [ "${lines[-1]}" = 1 ]
}

@test "a job that finds no server is run again by itself" {
    run -0 in_box '
set_up_host
mkdir -p /etc/systemd/system/dr-backup@main.service.d
printf "[Service]\nRestartSec=1s\n" >/etc/systemd/system/dr-backup@main.service.d/soon.conf
systemctl daemon-reload
echo "PGPORT=1" >>/etc/dr/main.env
! start dr-backup@main
sed -i "\$d" /etc/dr/main.env
timeout 60 sh -c "until grep -q \"\\\"succeeded\\\":true\" /var/lib/dr/runs-main.jsonl; do sleep 0.1; done"'
    echo "$output"
    [[ $output == *"dr-backup@main exit-code 69"* ]]
}

@test "what runs all the time says itself when it does" {
    run -0 in_box '
set_up_host
mkdir -p /etc/systemd/system/dr-wal-receive@main.service.d
printf "[Service]\nDynamicUser=no\nUser=postgres\nReadWritePaths=/var/backups/dr\nLoadCredential=dr.key:/etc/dr/main.key\n" >/etc/systemd/system/dr-wal-receive@main.service.d/user.conf
systemctl daemon-reload
for unit in dr-wal-receive dr-heartbeat-commit; do
    systemctl start $unit@main
    systemctl stop $unit@main
    echo $unit "$(systemctl show -P Result $unit@main)"
done
psql -XAtqc "SELECT count(*) FROM pg_replication_slots" -c "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET min_parallel_table_scan_size = 0; SELECT sum(n) FROM booking" shop'
    [ "$output" = $'dr-wal-receive success\ndr-heartbeat-commit success\n1\n500500' ]
}

@test "the lines of dr-recovery(7) bring a recovered directory under the service of Debian, on a new host" {
    # For a cluster of another name, so that none of this host is meant.
    sed -n '/^\.Ss On Debian$/,/^\.Sh/p' "$PROJECT/man/dr-recovery.7" | sed -n '/^\.Bd/,/^\.Ed/p' | sed '1d;$d; s/\\e$/\\/; s/main/try/g' >"$BOX/lines"
    [ "$(grep -c systemctl "$BOX/lines")" = 3 ]
    run -0 in_box '
set_up_programs
mkdir /etc/dr && install -d -o postgres -m 700 /var/backups/dr && install -d -o postgres -m 2775 /run/postgresql
rm -rf /var/lib/dr && install -d -o postgres /var/lib/dr
cp "$KEYS/recipients" /etc/dr/try.recipients && cat "$KEYS/signs.pub" >/etc/dr/try.pub
install -o postgres -m 600 "$KEYS/signs.key" /etc/dr/try.key && install -o postgres -m 600 "$KEYS/identity" /etc/dr/try.identity
export DR_CLUSTER=try DR_TO=/var/backups/dr DR_FROM=/var/backups/dr DR_STATE=/var/lib/dr DR_RECIPIENTS=/etc/dr/try.recipients \
    DR_PUBLIC_KEY=/etc/dr/try.pub DR_IDENTITY=/etc/dr/try.identity PGHOST=/run/postgresql PGPORT=5777 PGUSER=postgres
env | grep -E "^(DR|PG)_?" >/etc/dr/try.env
as() { su postgres -c "$1"; }
asked() { as "psql -XAtqc \"$1\" shop"; }
{
    pg_createcluster 15 try -p 5777 && systemctl daemon-reload && systemctl start postgresql@15-try
    as "dr-push --init && dr-doctor --archive-settings --env-file /etc/dr/try.env" >>/etc/postgresql/15/try/postgresql.conf
    printf "%s\n" "max_connections = 150" "work_mem = 7MB" >>/etc/postgresql/15/try/postgresql.conf
    systemctl restart postgresql@15-try
    as "createdb shop" && asked "CREATE TABLE booking AS SELECT generate_series(1, 1000) n"
    as "/usr/local/lib/dr/backup-base try" && asked "INSERT INTO booking VALUES (0)" && as "psql -Xqc \"SELECT pg_switch_wal()\""
    # It archives what it has before it stops; then the host is lost, and on the new one is what its package has made.
    systemctl stop postgresql@15-try && rm -r /etc/postgresql/15/try /var/lib/postgresql/15/try
    pg_createcluster 15 try -p 5777 && systemctl start postgresql@15-try
    as "dr-recover --into /var/lib/postgresql/15/back --start --wait"
    bash -e "$box/lines"
} >"$box/said" 2>&1 || { cat "$box/said"; exit 1; }
systemctl show -P ActiveState postgresql@15-try
for what in data_directory config_file hba_file archive_mode work_mem; do asked "SHOW $what"; done
asked "SELECT count(*) FROM booking"
as "dr-list --kind base --json" | wc -l'
    [ "$output" = "active
/var/lib/postgresql/15/try
/etc/postgresql/15/try/postgresql.conf
/etc/postgresql/15/try/pg_hba.conf
on
7MB
1001
2" ]
}

# The lines of the schedule, as they stand behind their times: user and command.
lines_of_cron() {
    sed -n 's/^[0-9*][^ ]*  *[^ ]*  *[^ ]*  *[^ ]*  *[^ ]*  *//p' "$1"
}

@test "every line of cron does its work and says nothing, where there is no systemd; and nothing where there is one" {
    lines_of_cron "$PROJECT/cron/dr" >"$BOX/lines"
    [ "$(wc -l <"$BOX/lines")" = 8 ]
    run -0 in_box '
set_up_host
for key in key delete.key identity; do chown postgres /etc/dr/main.$key; done
echo DR_IDENTITY=/etc/dr/main.identity >>/etc/dr/main.env
# What cron gives a command: the variables of the file, a home, and nothing else.
mapfile -t given < <(grep "^[A-Z_]*=" "$box/image/usr/local/share/dr/cron/dr" | grep -v "^MAILTO")
all() {
    while read -r user command; do
        case $command in *"/dr/prune "*) command="export DR_SIGNING_KEY=/etc/dr/main.delete.key; $command" ;; esac
        echo "cd; $command" | runuser -u "$user" -- env -i HOME=/var/lib/postgresql "${given[@]}" /bin/sh || [[ $? = 1 && $command == */dr/check* ]] || echo "$command failed"
    done <"$box/lines"
}
watch_for_secrets
all
ls /var/lib/dr/runs-main.jsonl 2>/dev/null || echo nothing was done
export box given && unshare --mount bash -c "mount -t tmpfs none /run/systemd; $(declare -p given); $(declare -f all); all"
grep -vc "\"job\":\"wal\"" /var/lib/dr/runs-main.jsonl || true
secrets_seen'
    echo "$output"
    # While drill-pitr waits for WAL, it says that it is not there yet; and a check that finds something says it.
    [ "$(grep -v '^dr-recover: \|^{"type":"check"' <<<"$output")" = $'nothing was done\n8\nnone' ]
}
