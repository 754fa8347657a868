# What Prometheus makes of the metrics that a host has left while it was well, while something was wrong, and once that was mended.

# As many minutes as are left of those in which somebody must be told, where a check has only just been made when it happens, and
# Prometheus takes one to read a file and to judge it.
left_of() {
    local between
    between=$(sed -n 's|^\*/\([0-9]*\) .*--job check .*|\1|p' "$PROJECT/cron/dr")
    # Both schedules are the same.
    grep -q "^OnCalendar=.* \*:00/$between:00 " "$PROJECT/systemd/dr-check@.timer" && echo $(($1 - between - 1))
}

# Holds the alerts against the three phases, one after the other: nothing is even pending while all is well, before and after, and this
# one has begun to fire so many minutes after the fault was seen:  fires ALERT MINUTES
fires() {
    local fault=5 firing=$((5 + ${2:?})) mended=$((5 + $2 + 2)) end=$((5 + $2 + 2 + 5))
    # How full this disk is, is not what is tested.
    local any="count(ALERTS{alertname!=\"BackupStorageFull\"} or ALERTS{alertname=\"$1\"})"
    {
        echo "rule_files: [$PROJECT/deploy/prometheus/dr.rules.yml]"
        printf '%s\n' "evaluation_interval: 1m" "tests:" "  - interval: 1m" "    input_series:"
        series "0 $fault $mended" "5 $((mended - fault)) 5"
        echo "    promql_expr_test:"
        printf '      - {expr: %s, eval_time: %sm, exp_samples: [%s]}\n' \
            "'$any'" $((fault - 1)) "" \
            "'count(ALERTS{alertname=\"$1\",alertstate=\"firing\",cluster=\"main\"})'" $firing "{labels: '{}', value: 1}" \
            "'$any'" $((end - 1)) ""
    } >"$1.test.yml"
    promtool test rules "$1.test.yml"
}

# The metrics of the three phases as series of promtool, a value each minute:  series "BEGIN…" "MINUTES…"
# Time begins at 0 there: a moment is as long ago when its phase begins as it was when it was looked at.
series() {
    awk -v begins="$1" -v minutes="$2" -v at="$(cat healthy.at fault.at mended.at | xargs)" '
        BEGIN { split(begins, begin); split(minutes, minute); split(at, looked) }
        FNR == 1 { phase++ }
        /^#/ { next }
        {
            name = substr($0, 1, length($0) - length($NF) - 1)
            is_moment = name ~ /^[a-z_]*_timestamp(_seconds)?[{]/
            value[name, phase] = is_moment ? sprintf("%.3f", $NF - looked[phase] + 60 * begin[phase]) : $NF
            gsub("\047", "\047\047", name)
            names[name]
        }
        END {
            for (name in names) {
                printf "      - series: \047%s\047\n        values: \047", name
                for (phase = 1; phase <= 3; phase++)
                    printf "%s%s ", (name, phase) in value ? value[name, phase] "x" : "stale _x", minute[phase] - 1
                print "\047"
            }
        }' healthy.prom fault.prom mended.prom
}
