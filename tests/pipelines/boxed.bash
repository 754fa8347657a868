# A host in a box, for the tests of units: what scripts/install puts there, a PostgreSQL that archives, keys that only root reads.
# It is run inside, by tests/pipelines/booted; $box is the directory that is the same outside.

# Shows the tools where they would be installed, as copies of them would fill the memory; and installs the rest.
set_up_programs() {
    mount --bind "$TOOLS" /usr/local/bin
    cp -r "$box/image/usr/local/lib" "$box/image/usr/local/share" /usr/local/
    rm -rf /etc/dr
    systemctl daemon-reload
}

# Sets up the host, with all that a cluster needs to be backed up.
set_up_host() {
    set_up_programs
    mkdir -p /etc/dr /srv/dr /var/backups
    install -d -o postgres -m 700 /var/backups/dr /srv/offsite
    cp "$KEYS/recipients" /etc/dr/main.recipients
    cat "$KEYS/signs.pub" >/etc/dr/main.pub && cat "$KEYS/forges.pub" >/etc/dr/main.delete.pub
    install -m 600 "$KEYS/signs.key" /etc/dr/main.key
    install -m 600 "$KEYS/forges.key" /etc/dr/main.delete.key
    install -m 600 "$KEYS/identity" /etc/dr/main.identity
    cat >/etc/dr/main.env <<END
PGHOST=/srv/pg
PGUSER=postgres
DATABASES=shop
DR_TO=/var/backups/dr
DR_FROM=/var/backups/dr
DR_RECIPIENTS=/etc/dr/main.recipients
DR_PUBLIC_KEY=/etc/dr/main.pub,/etc/dr/main.delete.pub
DR_COPY_TO=/srv/offsite
DR_KEEP_DAILY=30
DR_STATE=/var/lib/dr
END
    # Outside of units there are no credentials: WAL is pushed by the server itself, with a key that it may read.
    install -o postgres -m 600 "$KEYS/signs.key" /srv/dr/archives.key
    export PATH=$PATH:/usr/lib/postgresql/15/bin
    rm -rf /var/lib/dr && install -d -o postgres /var/lib/dr
    runuser -u postgres -- env DR_STATE=/var/lib/dr dr-push --init --to /var/backups/dr
    runuser -u postgres -- env DR_STATE=/var/lib/dr dr-push --init --to /srv/offsite
    "$PROJECT/scripts/scratch-postgres" start /srv/pg -c archive_mode=on -c "archive_command='set -a; . /etc/dr/main.env; \
        DR_SIGNING_KEY=/srv/dr/archives.key dr-wal-push --cluster main %p'"
    export PGHOST=/srv/pg PGUSER=postgres
    createdb shop
    psql -qXc "CREATE TABLE booking AS SELECT generate_series(1, 1000) n; CREATE INDEX ON booking (n)" shop
    # A store that is not where the unit knows one to be.
    mkdir -p /etc/systemd/system/dr-copy-offsite@.service.d
    printf '[Service]\nReadWritePaths=/srv/offsite\n' >/etc/systemd/system/dr-copy-offsite@.service.d/stores.conf
    systemctl daemon-reload
}

# Starts a unit, and says how it ended.
start() {
    local outcome=0
    systemctl start "$1" || outcome=$?
    echo "$1 $(systemctl show -P Result "$1") $(systemctl show -P ExecMainStatus "$1")"
    return $outcome
}

as_postgres() {
    runuser -u postgres -- env DR_STATE=/var/lib/dr DR_CLUSTER=main DR_PUBLIC_KEY=/etc/dr/main.pub "$@"
}

# Looks again and again for a secret in what every process was called with, and in its environment.
watch_for_secrets() {
    sed -n 2p /etc/dr/main.key | cut -c 40-80 >"$box/secrets"
    sed -n 2p /etc/dr/main.delete.key | cut -c 40-80 >>"$box/secrets"
    grep -o 'AGE-SECRET-KEY-.*' /etc/dr/main.identity >>"$box/secrets"
    [ "$(wc -l <"$box/secrets")" = 3 ]
    : >"$box/seen" && : >"$box/looked"
    # It does not find itself: the words come from a file.
    while :; do
        grep -laFf "$box/secrets" /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>"$box/seen" 2>/dev/null || true
        echo >>"$box/looked"
    done &
    watcher=$!
}

# What was seen; fails if nobody looked.
secrets_seen() {
    kill "$watcher"
    [ "$(wc -l <"$box/looked")" -gt 20 ]
    if [ -s "$box/seen" ]; then cat "$box/seen"; else echo none; fi
}
