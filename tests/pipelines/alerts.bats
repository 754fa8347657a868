#!/usr/bin/env bats
# Every row of the tables of alerts that people keep, from the fault to its end: each is caused, is a record, a metric, a notice and an
# alert of Prometheus, and is mended and cleared everywhere.

load pipelines
load alerts

@test "BackupMissing: no successful backup in 24 hours" {
    promise "storage_used = 0" '[age]' 'dump = "24h"'
    clock +24.1h
    look fault
    is_ill dump-age/till critical
    [ "$(since "@$(metric 'backup_last_success_timestamp{cluster="main",kind="dump"}')")" -gt 86400 ]
    cron dump
    look mended
    is_mended dump-age/till
    # An hour is forgiven, for the run of the night.
    fires BackupMissing 60
}

@test "BackupFailed: the last backup failed, which is told within 15 minutes" {
    echo DATABASES=nowhere >>etc/main.env
    run -66 cron dump
    look fault
    is_ill job/dump critical
    [ "$(metric 'backup_last_status{cluster="main",kind="dump"}')" = 0 ]
    # Where there is systemd, its unit tells it at once.
    grep -qhx 'OnFailure=dr-notify@%n.service' "$PROJECT"/systemd/dr-backup@.service.d/*
    : >"$TOLD"
    local unit=dr-backup@main.service notify
    read -ra notify <<<"$(sed -n 's|^ExecStart=/usr/local/bin/\(.*\)%i$|\1|p' "$PROJECT/systemd/dr-notify@.service")"
    MONITOR_UNIT=$unit MONITOR_SERVICE_RESULT=exit-code MONITOR_EXIT_STATUS=66 "${notify[@]}" "$unit"
    [ "$(jq -r 'select(.path == "/webhook" and .signed) | .body | fromjson | .cluster, (.problems[] | .key, .message)' "$TOLD" | xargs)" \
        = "main unit/$unit the unit failed: its command exited with 66" ]
    sed -i '$d' etc/main.env
    cron dump
    look mended
    is_mended job/dump
    fires BackupFailed "$(left_of 15)"
}

@test "BackupTooOld: no backup in 26 hours" {
    clock +26.1h
    look fault
    is_ill dump-age/till critical
    [ "$(since "@$(metric 'pg_dr_last_success_timestamp_seconds{cluster="main",kind="dump"}')")" -gt 93600 ]
    cron dump
    look mended
    is_mended dump-age/till
    fires BackupTooOld 0
}

@test "BackupSizeChanged: the size changed by more than 50 %" {
    psql -qXc "INSERT INTO sale SELECT n, md5(n::text) FROM generate_series(3001, 6000) n" till
    cron dump
    look fault
    is_ill size/till warning
    [[ $(metric 'pg_dr_backup_size_change_ratio{cluster="main",subject="till"}') == @(0.[6-9]*|[1-9].*) ]]
    # The next one has as much.
    cron dump
    look mended
    is_mended size/till
    fires BackupSizeChanged 0
}

@test "BackupCopyFailed: the upload to S3 failed" {
    start_s3
    echo DR_COPY_TO=s3://acme-dr/pg >>etc/main.env
    AWS_SECRET_ACCESS_KEY=wrong run -77 cron copy
    look fault
    is_ill job/copy warning
    [ "$(metric 'pg_dr_last_attempt_exit_code{cluster="main",kind="copy"}')" = 77 ]
    cron copy
    look mended
    is_mended job/copy
    fires BackupCopyFailed 0
}

@test "BackupStorageFull: more than 80 % of the storage are used" {
    mv store kept && mkdir store
    mount -t tmpfs -o size=64m,mode=755 none store || skip "this user may not mount a tmpfs"
    cp -a kept/. store
    promise "storage_used = 80"
    look healthy
    is_well
    head -c 52m /dev/zero >store/filled
    look fault
    is_ill "storage-used/$PWD/store" warning
    [[ $(metric "pg_dr_storage_used_ratio{cluster=\"main\",store=\"$PWD/store\"}") == 0.8[1-9]* ]]
    rm store/filled
    look mended
    is_mended "storage-used/$PWD/store"
    fires BackupStorageFull 15
}

@test "ReplicationLag: a standby is more than 100 MB behind" {
    follow
    look healthy
    is_well
    kill -STOP "$FOLLOWS"
    for _ in {1..7}; do psql -qXc "SELECT pg_logical_emit_message(false, '', '')" -c "SELECT pg_switch_wal()" postgres >/dev/null; done
    look fault
    is_ill replication-lag/b critical
    [ "$(metric 'pg_dr_replication_lag_bytes{cluster="main",standby="b"}')" -gt $((100 << 20)) ]
    kill -CONT "$FOLLOWS"
    wait_until ask "$ALL_IS_FLUSHED"
    look mended
    is_mended replication-lag/b
    fires ReplicationLag 0
}

@test "StandbyAway: a standby is disconnected for more than 5 minutes" {
    promise "storage_used = 0" 'standbys = ["b"]'
    follow
    look healthy
    is_well
    kill -KILL "$FOLLOWS"
    wait_until ask "SELECT count(*) = 0 FROM pg_stat_replication"
    look fault
    is_well
    clock +6m
    look fault
    is_ill standby/b critical
    [ "$(metric 'pg_dr_standby_away_seconds{cluster="main",standby="b"}' | cut -d . -f 1)" -gt 300 ]
    follow
    look mended
    is_mended standby/b
    fires StandbyAway 0
}

@test "WalArchiveFailing: archiving WAL fails, which is told within 5 minutes" {
    archives=$SCRATCH/archives
    start_archiving "$archives"
    look healthy
    is_well
    mv archiver/signs.key archiver/away
    switch "$archives"
    wait_until ask "SELECT failed_count > 0 FROM pg_stat_archiver" "$archives"
    look fault
    is_ill archive-failure critical
    [ "$(metric 'pg_dr_archive_failures_total{')" -gt 0 ]
    mv archiver/away archiver/signs.key
    switch "$archives"
    archived "$archives"
    # That it has failed is told for a while.
    clock +6m
    look mended
    is_mended archive-failure
    fires WalArchiveFailing "$(left_of 5)"
}

@test "BaseBackupStale: LAST_BASEBACKUP is older than 26 hours" {
    export DR_WITH_WAL=yes
    cron base && cron base && cron verify
    look healthy
    is_well
    clock +26.1h
    cron dump
    look fault
    is_ill base-age critical
    [ "$(since "$(head -n 1 state/LAST_BASEBACKUP.txt)")" -gt 93600 ]
    cron base
    look mended
    is_mended base-age
    fires BaseBackupStale 0
}

@test "WalNotStored: wal_sync_last_ok is older than 10 minutes" {
    receive
    look healthy
    is_well
    kill -KILL "$FOLLOWS"
    switch
    clock +10.1m
    look fault
    is_ill wal-lag critical
    [ "$(since "$(head -n 1 state/wal_sync_last_ok.txt)")" -gt 600 ]
    [ "$(metric 'pg_dr_wal_lag_seconds{cluster="main"}' | cut -d . -f 1)" -gt 600 ]
    receive
    look mended
    is_mended wal-lag
    [ "$(since "$(head -n 1 state/wal_sync_last_ok.txt)")" -lt 600 ]
    fires WalNotStored 0
}

@test "DrillFailed: the restore drill failed" {
    echo "SELECT count(*) > 3000 FROM sale" >etc/main.assertions.sql
    run -1 cron drill
    look fault
    is_ill 'drill/restore-test of till' critical
    [ "$(metric 'pg_dr_drill_passed{cluster="main",drill="restore-test",database="till"}')" = 0 ]
    echo "SELECT count(*) = 3000 FROM sale" >etc/main.assertions.sql
    cron drill
    look mended
    is_mended 'drill/restore-test of till'
    fires DrillFailed 0
}

@test "DrillMissing: no restore drill has passed for 8 days" {
    clock +8.1d
    cron dump && cron verify
    look fault
    is_ill drill-age warning
    [ "$(since "@$(metric 'pg_dr_last_success_timestamp_seconds{cluster="main",kind="drill"}')")" -gt $((8 * 86400)) ]
    cron drill
    look mended
    is_mended drill-age
    fires DrillMissing 0
}

@test "BackupMetricsStale: nobody checks any more" {
    export DR_PING_FILE=$SCRATCH/pings
    cp dr.prom fault.prom
    promise 'rpo = "soon"'
    clock +31m
    : >"$TOLD"
    run -78 cron check
    # Who waits for its pings hears that it fails; who reads its metrics, nothing.
    [ "$(jq -r .path "$TOLD" | cut -d '?' -f 1 | xargs)" = "/ping/start /ping/78" ]
    cmp dr.prom fault.prom
    date +%s >fault.at
    [[ $(printf 'GET /healthz/backup HTTP/1.0\r\n\r\n' | dr-heartbeat health --cluster main --max-age check=30m) == "HTTP/1.1 503 "* ]]
    promise "storage_used = 0"
    # The first that can, tells of the one that could not.
    run -1 cron check
    told failed job/check warning
    look mended
    is_mended job/check
    [ "$(jq -r .path "$TOLD" | cut -d '?' -f 1 | grep ping | xargs)" = "/ping/start /ping" ]
    [[ $(printf 'GET /healthz/backup HTTP/1.0\r\n\r\n' | dr-heartbeat health --cluster main --max-age check=30m) == "HTTP/1.1 200 "* ]]
    fires BackupMetricsStale 0
}
