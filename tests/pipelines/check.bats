#!/usr/bin/env bats
# check: quiet while all is well, and heard when it is not; metrics either way.

load pipelines

# The settings of a cluster that is watched; objectives are given as arguments.
watch() {
    mkdir -p etc
    printf '%s\n' "DR_FROM=$PWD/store" "DR_PUBLIC_KEY=$KEYS/signs.pub" "DR_METRICS=$PWD/dr.prom" "DR_CHANNELS=$PWD/etc/channels" >etc/main.env
    # How full this disk is, is not what is tested.
    printf '%s\n' "storage_used = 0" "$@" >etc/main.objectives.toml
}

# A channel whose mails come into the file mails.
mail_to_a_file() {
    mkdir -p etc/channels
    printf '#!/bin/sh\ncat >>%s/mails\n' "$PWD" >mailer && chmod +x mailer
    printf '%s\n' 'kind = "email"' 'to = ["dba@example.com"]' 'from = "dr@example.com"' "sendmail = \"$PWD/mailer\"" >etc/channels/ops.toml
    chmod 600 etc/channels/ops.toml
}

# Runs a script as cron does, with nothing but the settings.
run_script() {
    env -u DR_FROM -u DR_TO -u DR_RECEIPT -u DR_PUBLIC_KEY DR_ETC="$PWD/etc" "$PROJECT/scripts/$1" "${@:2}" </dev/null
}

# The value of a metric, by the beginning of its line.
metric() {
    promtool check metrics <dr.prom >&2
    grep -F "$1" dr.prom | sed 's/.* //'
}

@test "check is quiet while all is well, and tells what is wrong until it is mended" {
    back_up && back_up
    watch '[age]' 'drill = 0'
    run -0 run_script verify main
    run -0 run_script check main
    [ -z "$output" ]
    [ "$(metric 'pg_dr_backups{cluster="main",state="verified"}')" = 2 ]
    [ "$(metric 'pg_dr_check_state{cluster="main",check="store"')" = 0 ]
    [ "$(metric "pg_dr_check_state{cluster=\"main\",check=\"server\"")" = 0 ]

    mv store gone
    run -1 --separate-stderr run_script check main
    [ "$(jq -r 'select(.check == "store") | .state' <<<"$output")" = critical ]
    [ "$(metric 'pg_dr_check_state{cluster="main",check="store"')" = 2 ]
    mv gone store
    run -0 run_script check main
    [ -z "$output" ]
    [ "$(metric 'pg_dr_check_state{cluster="main",check="store"')" = 0 ]
}

@test "what verify has found is told by check, too" {
    back_up && back_up
    watch '[age]' 'drill = 0'
    damage "$(object .age | head -n 1)"
    run -1 run_script verify main
    run -1 run_script check main
    [ "$(jq -r 'select(.check == "findings") | .state' <<<"$output")" = critical ]
}

@test "objectives that cannot be understood stop it, and the metrics grow old" {
    back_up
    watch 'rpo = "soon"'
    run -78 run_script check main
    [[ $output == *"main.objectives.toml: line 2"* ]]
    [ ! -e dr.prom ]
}

@test "a check that found something is not found to be wrong itself" {
    back_up && back_up
    watch '[age]' 'drill = "8d"'
    run -0 run_script verify main
    run -1 dr-heartbeat run --job check --cluster main -- env DR_ETC="$PWD/etc" "$PROJECT/scripts/check" main
    watch '[age]' 'drill = 0' 'check = "1h"'
    run -0 run_script check main
    [ "$(metric 'pg_dr_last_attempt_exit_code{cluster="main",kind="check"}')" = 1 ]
}

@test "where a channel tells what is wrong, and when it is over, cron has nothing to say" {
    back_up && back_up
    watch '[age]' 'drill = 0'
    run_script verify main
    mail_to_a_file
    run -0 run_script check main
    [ -z "$output" ]
    [ ! -e mails ]
    mv store gone
    run -1 run_script check main
    [ -z "$output" ]
    grep -q "^Subject: .*main" mails
    grep -q "store" mails
    run -1 run_script check main
    local told
    told=$(grep -c ^Subject: mails)
    mv gone store
    run -0 run_script check main
    [ "$(grep -c ^Subject: mails)" -gt "$told" ]
}

@test "metrics that cannot be written keep nobody from being told" {
    back_up && back_up
    watch '[age]' 'drill = 0'
    mail_to_a_file
    sed -i "s|^DR_METRICS=.*|DR_METRICS=$PWD/nowhere/dr.prom|" etc/main.env
    mv store gone
    run -66 run_script check main
    grep -q "store" mails
}

@test "without settings, or with more than a name, nothing is checked" {
    run -64 "$PROJECT/scripts/check"
    run -64 "$PROJECT/scripts/check" main more
    DR_ETC=$PWD run -78 "$PROJECT/scripts/check" main
}

@test "a host that backs up is watched by its directories, and a channel that is broken hides nothing" {
    back_up && back_up
    watch 'verified = 0' '[age]' 'drill = 0' 'verify = 0'
    sed -i "s|^DR_FROM=.*|DR_TO=$PWD/store,s3://acme-dr/pg|" etc/main.env
    run -0 run_script check main
    [ "$(metric 'pg_dr_check_state{cluster="main",check="dump-age"')" = 0 ]
    mail_to_a_file && rm mailer
    mv store gone
    run ! run_script check main
    [[ $output == *"ops.toml"* ]]
    [ "$(grep '^{' <<<"$output" | jq -r 'select(.check == "store") | .state')" = critical ]
}
