//! The history of all drills as one page. It is a function of the records alone, and asks nothing from elsewhere.

use std::collections::BTreeMap;

use dr_pipe::record::Drill;

use crate::chart;
use crate::words::{moment, one_line, span};

/// The page about `drills`, oldest first.
pub fn page(drills: &[Drill]) -> String {
    let mut histories: BTreeMap<(&str, String), Vec<&Drill>> = BTreeMap::new();
    for drill in drills {
        histories.entry((&drill.cluster, drill.what())).or_default().push(drill);
    }
    let title = format!("Drills of {}", clusters(drills));
    let summary: String = histories.iter().map(|((cluster, kind), history)| state(cluster, kind, history)).collect();
    let charts: String = histories.iter().map(|((cluster, kind), history)| charts(cluster, kind, history)).collect();
    let rows: String = drills.iter().rev().map(row).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<ul class=\"state\">\n{summary}</ul>\n{charts}\
         <h2>All drills, newest first</h2>\n<div class=\"wide\">\n<table>\n<thead><tr>{HEADER}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table>\n</div>\n</body>\n</html>\n"
    )
}

const HEADER: &str = "<th>Began (UTC)</th><th>Cluster</th><th>Drill</th><th>Verdict</th><th>RTO</th><th>of at most</th><th>RPO</th>\
                      <th>of at most</th><th>Backup</th><th>Environment</th><th>Operator</th><th>Issues</th>";

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --line: #d5dae0; --page: #ffffff; --card: #f6f8fa;
  --good: #1a7f37; --bad: #c0262d; --mark: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #3a424b; --page: #14181c; --card: #1d2329;
  --good: #4ac26b; --bad: #ff7b72; --mark: #79b8ff; } }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.state { list-style: none; padding: 0; }
.state li { padding: .4rem .8rem; margin: .3rem 0; background: var(--card); border-left: .3rem solid var(--line); }
.state li.good { border-color: var(--good); } .state li.bad { border-color: var(--bad); }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 1 1 28rem; background: var(--card); padding: .6rem; }
figcaption { color: var(--soft); font-size: .9rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; } .axis { stroke: var(--line); }
.course { fill: none; stroke: var(--mark); stroke-width: 1.5; } .limit { fill: none; stroke: var(--bad); stroke-dasharray: 5 4; }
.pass { fill: var(--good); } .fail { stroke: var(--bad); stroke-width: 2.5; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line); } th { color: var(--soft); font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .state li { color: var(--ink); }
td ul { margin: 0; padding-left: 1.1rem; }
";

fn clusters(drills: &[Drill]) -> String {
    let mut names: Vec<_> = drills.iter().map(|drill| escape(&drill.cluster)).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// One line: how the last drill of a kind and database ended, and when one passed last.
fn state(cluster: &str, kind: &str, history: &[&Drill]) -> String {
    let last = history.last().expect("a history has drills");
    let passed = history.iter().rev().find(|drill| drill.passed);
    let (class, words) = match (last.passed, passed) {
        (true, _) => ("good", format!("passed at {}", moment(last.finished_at))),
        (false, Some(drill)) => ("bad", format!("not passed; passed last at {}", moment(drill.finished_at))),
        (false, None) => ("bad", "not passed, and never before".into()),
    };
    let count = history.iter().filter(|drill| drill.passed).count();
    format!(
        "<li class=\"{class}\"><strong>{} {}</strong>: {words} ({count} of {} passed)</li>\n",
        escape(cluster),
        escape(kind),
        history.len()
    )
}

/// RTO and RPO of one kind of drill of one database, over time.
fn charts(cluster: &str, kind: &str, history: &[&Drill]) -> String {
    let points = |value: fn(&Drill) -> Option<f64>, limit: fn(&Drill) -> Option<f64>| -> Vec<_> {
        let point = |drill: &&Drill| {
            let label = format!("{}: {}", escape(&drill.name), if drill.passed { "passed" } else { "not passed" });
            Some(chart::Point { at: drill.started_at, value: value(drill)?, limit: limit(drill), passed: drill.passed, label })
        };
        history.iter().filter_map(point).collect()
    };
    let rto = points(|drill| Some(drill.rto_seconds), |drill| drill.rto_objective_seconds);
    let rpo = points(|drill| drill.rpo_seconds, |drill| drill.rpo_objective_seconds);
    let figure = |what: &str, points: &[chart::Point]| {
        let drawn = if points.is_empty() { "<p>No drill has measured it.</p>\n".into() } else { chart::draw(points) };
        format!("<figure>\n{drawn}<figcaption>{what}</figcaption>\n</figure>\n")
    };
    format!(
        "<h2>{} {}</h2>\n<div class=\"charts\">\n{}{}</div>\n",
        escape(cluster),
        escape(kind),
        figure("RTO: how long a recovery takes. Dashed: the objective", &rto),
        figure("RPO: how much would be lost. Dashed: the objective", &rpo)
    )
}

fn row(drill: &Drill) -> String {
    let optional = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), span);
    let (class, verdict) = if drill.passed { ("good", "passed") } else { ("bad", "not passed") };
    let issues: String = drill.issues.iter().map(|issue| format!("<li>{}</li>", escape(issue))).collect();
    let issues = if issues.is_empty() { "-".into() } else { format!("<ul>{issues}</ul>") };
    let cells = [
        moment(drill.started_at),
        escape(&drill.cluster),
        escape(&drill.what()),
        format!("<span class=\"{class}\">{verdict}</span>"),
        span(drill.rto_seconds),
        optional(drill.rto_objective_seconds),
        optional(drill.rpo_seconds),
        optional(drill.rpo_objective_seconds),
        drill.backup.as_deref().map_or_else(|| "-".into(), escape),
        escape(&drill.environment),
        format!("{} on {}", escape(&drill.operator), escape(&drill.host)),
        issues,
    ];
    format!("<tr id=\"{}\">{}</tr>\n", escape(&drill.name), cells.map(|cell| format!("<td>{cell}</td>")).concat())
}

/// Text of a record as text, in an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_record_is_never_an_element_or_an_attribute() {
        assert_eq!(escape("<b a='\"'>&\n\u{1b}"), "&lt;b a=&#39;&quot;&#39;&gt;&amp; \u{fffd}");
    }
}
