//! Do the alerts and the dashboard rest on metrics that there are, and does each alert fire and clear?
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// What others measure, and our alerts rest on.
const OTHERS: [&str; 1] = ["node_textfile_mtime_seconds"];

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(deployed(file)).unwrap()
}

/// The names of all metrics that dr-metrics can write.
fn written() -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-metrics"));
    let output = command.env_clear().write_stdin(include_str!("everything.jsonl")).output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    page.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())).collect()
}

/// The names of metrics in expressions.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metric = |word: &&str| ["pg_dr_", "backup_last_", "node_"].iter().any(|prefix| word.starts_with(prefix));
    words.filter(metric).filter(|word| *word != "node_exporter").map(str::to_owned).collect()
}

/// The names behind `alert: ` or `alertname: `.
fn alerts<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key)).collect()
}

fn none_lacks(names: &BTreeSet<String>) {
    let written = written();
    let lacking: Vec<_> = names.iter().filter(|name| !written.contains(*name) && !OTHERS.contains(&name.as_str())).collect();
    assert!(names.len() > 5 && lacking.is_empty(), "dr-metrics writes no {lacking:?}");
}

#[test]
fn f94_each_alert_fires_and_clears_and_silence_is_one_of_them() {
    let promtool = |args: &[&str], file: &str| {
        let mut promtool = Command::new("promtool");
        promtool.current_dir(deployed("prometheus")).args(args).arg(file).assert().success();
    };
    promtool(&["check", "rules"], "dr.rules.yml");
    promtool(&["test", "rules"], "dr.rules.test.yml");
    let (rules, tests) = (text("prometheus/dr.rules.yml"), text("prometheus/dr.rules.test.yml"));
    let alerts_of_rules = alerts(&rules, "alert: ");
    assert!(
        ["BackupMetricsMissing", "BackupMetricsStale", "BackupMetricsFileOld"]
            .iter()
            .all(|silence| alerts_of_rules.contains(silence))
    );
    for alert in &alerts_of_rules {
        let tested: Vec<&str> = tests.split("\n      - alertname: ").filter(|test| test.lines().next() == Some(*alert)).collect();
        let clearing = tested.iter().filter(|test| test.contains("exp_alerts: []")).count();
        assert!(clearing > 0 && clearing < tested.len(), "{alert} is not seen to fire and to clear");
    }
    let known: BTreeSet<_> = alerts_of_rules.iter().collect();
    assert_eq!(known.len(), alerts_of_rules.len(), "two alerts have one name");
    for key in ["severity: ", "summary: ", "runbook: "] {
        assert_eq!(alerts(&rules, key).len(), known.len(), "every alert has one {key}");
    }
}

#[test]
fn every_metric_of_an_alert_is_written() {
    none_lacks(&named(&text("prometheus/dr.rules.yml")));
}

#[test]
fn every_page_of_a_runbook_is_there() {
    let rules = text("prometheus/dr.rules.yml");
    for runbook in alerts(&rules, "runbook: ") {
        let words: Vec<&str> = runbook.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        let pages = words.windows(3).filter(|words| words[0] == "man").map(|words| format!("../man/{}.{}", words[2], words[1]));
        for page in pages {
            assert!(deployed(&page).exists(), "{runbook}: {page}");
        }
    }
}

/// What stands behind `.It` in a page.
fn items(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix(".It "))
}

#[test]
fn every_alert_stands_in_the_manual_with_checks_that_there_are() {
    let (rules, page, checks) = (text("prometheus/dr.rules.yml"), text("../man/dr-metrics.1"), text("../man/dr-check.1"));
    let known: BTreeSet<&str> = items(&checks).flat_map(|item| item.split(' ')).collect();
    let (_, section) = page.split_once(".Ss Alerts").unwrap();
    let (section, _) = section.split_once(".Sh").unwrap();
    assert_eq!(items(section).filter_map(|item| item.split(' ').next()).collect::<Vec<_>>(), alerts(&rules, "alert: "));
    for item in items(section) {
        let (_, checks) = item.split_once(" Pq ").unwrap_or_default();
        let named = checks.split(" , ").filter(|check| !check.is_empty() && !check.starts_with("any "));
        let lacking: Vec<_> = named.filter(|check| !known.contains(check)).collect();
        assert!(lacking.is_empty(), "{item}: dr-check(1) has no {lacking:?}");
    }
}

#[test]
fn the_dashboard_is_one_and_every_metric_of_it_is_written() {
    let dashboard: Value = serde_json::from_str(&text("grafana/dr.json")).unwrap();
    for field in ["uid", "title", "schemaVersion", "version", "time", "templating", "panels"] {
        assert!(!dashboard[field].is_null(), "{field}");
    }
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "cluster"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let mut queried = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = &panel["gridPos"];
        let side = |name: &str| place[name].as_u64().unwrap();
        assert!(!panel["title"].as_str().unwrap().is_empty() && side("x") + side("w") <= 24, "{panel}");
        for (x, y) in (side("x")..side("x") + side("w")).flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{} lies on another panel", panel["title"]);
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("$cluster") || expression.contains("build_info"), "{expression}");
            queried.extend(named(expression));
        }
    }
    queried.extend(named(dashboard["templating"]["list"][1]["definition"].as_str().unwrap()));
    none_lacks(&queried);
}
