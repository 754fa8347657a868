//! The report of one drill in Markdown. It is a function of the record alone.

use dr_pipe::record::{Drill, Phase, Step};
use indicatif::HumanBytes;

use crate::words::{lines, moment, one_line, shortened, span};

/// Where text of a check is longer than this, the table shows its beginning.
const SAID_CHARACTERS: usize = 80;

/// The report of a drill.
pub fn report(drill: &Drill) -> String {
    let title =
        format!("# Drill report: {}, {}, {}", text(&drill.cluster), text(&drill.drill), drill.started_at.format("%Y-%m-%d"));
    let mut parts = vec![title, verdict(drill), facts(drill), "## Objectives".into(), objectives(drill)];
    parts.extend(["## Time of a recovery, by phase".into(), phases(drill)]);
    parts.extend(["## Steps followed".into(), steps(drill, |step| step.phase != Phase::Check)]);
    parts.extend(["## Validation results".into(), steps(drill, |step| step.phase == Phase::Check)]);
    let failed: Vec<_> = drill.steps.iter().filter(|step| !step.passed).collect();
    if !failed.is_empty() {
        parts.push("## Output of failed steps".into());
        parts.extend(failed.iter().map(|step| output(step)));
    }
    parts.extend(["## Issues encountered".into(), list(&drill.issues, "None.")]);
    if !failed.is_empty() {
        parts.extend(["## Where to look".into(), guidance(&failed)]);
    }
    parts.extend(["## Follow-up actions".into(), list(&drill.next_actions, "None.")]);
    parts.extend(["## Review and sign-off".into(), SIGN_OFF.into()]);
    parts.join("\n\n") + "\n"
}

/// What no program can know.
const SIGN_OFF: &str = "\
| | |
|:--|:--|
| Other participants | |
| Secondary reviewer | |
| Lessons learned | |

Signed off by: \\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_ Date: \\_\\_\\_\\_\\_\\_\\_\\_\\_\\_";

fn verdict(drill: &Drill) -> String {
    let steps = drill.steps.len();
    match (drill.passed, drill.issues.len()) {
        (true, _) => format!("**PASSED.** All {steps} steps passed, and nothing speaks against it."),
        (false, 1) => "**NOT PASSED.** There is 1 issue.".into(),
        (false, issues) => format!("**NOT PASSED.** There are {issues} issues."),
    }
}

/// Rows of what was done, where, by whom, and with which backup.
fn facts(drill: &Drill) -> String {
    let unknown = || "not known".to_owned();
    let optional = |value: &Option<String>| value.as_deref().map_or_else(|| "none".into(), text);
    let size = |bytes: Option<u64>| bytes.map_or_else(unknown, |bytes| format!("{} ({bytes} bytes)", HumanBytes(bytes)));
    let mut rows = vec![
        ("Drill", text(&drill.name)),
        ("Date (UTC)", drill.started_at.format("%Y-%m-%d").to_string()),
        ("Primary operator", text(&drill.operator)),
        ("Environment", text(&drill.environment)),
        ("Host", text(&drill.host)),
        ("Cluster", text(&drill.cluster)),
        ("Scenario tested", text(&drill.what())),
        ("Backup used", optional(&drill.backup)),
        ("Moment that it shows (UTC)", drill.reached_at.map_or_else(unknown, moment)),
        ("Size of the backup in its store", size(drill.stored_bytes)),
        ("Size of what was restored", size(drill.restored_bytes)),
    ];
    if let Some(target) = &drill.target {
        rows.push(("Recovery target", text(target)));
        rows.push(("Target time (UTC)", drill.target_at.map_or_else(|| "not asked for".into(), moment)));
        let segments = drill.segments.map_or_else(unknown, |segments| format!("{segments} segments of {}", text(&drill.cluster)));
        rows.push(("WAL used", segments));
    }
    rows.push(("Backup of files (uploads)", optional(&drill.files)));
    let recipients = drill.recipients.iter().map(|key| text(key)).collect::<Vec<_>>().join(", ");
    rows.push(("Keys that can decrypt it", if recipients.is_empty() { unknown() } else { recipients }));
    rows.push(("Start time (UTC)", moment(drill.started_at)));
    rows.push(("End time (UTC)", moment(drill.finished_at)));
    rows.push(("Duration", span((drill.finished_at - drill.started_at).as_seconds_f64())));
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![format!("**{name}**"), value]).collect();
    table(&["Of the drill", ""], ":--|:--", &rows)
}

fn objectives(drill: &Drill) -> String {
    let row = |name: &str, target: Option<f64>, achieved: Option<f64>| {
        let met = match (target, achieved) {
            (None, _) => "no objective",
            (Some(target), Some(achieved)) if achieved <= target => "met",
            (Some(_), Some(_)) => "**missed**",
            (Some(_), None) => "**not proved**",
        };
        let said = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), span);
        vec![name.to_owned(), said(target), said(achieved), met.to_owned()]
    };
    let rows = [
        row("RTO: how long a recovery takes", drill.rto_objective_seconds, Some(drill.rto_seconds)),
        row("RPO: how much is lost", drill.rpo_objective_seconds, drill.rpo_seconds),
    ];
    table(&["Objective", "Target", "Achieved", "Verdict"], ":--|--:|--:|:--", &rows)
}

fn phases(drill: &Drill) -> String {
    let phases = [
        ("Fetch", drill.fetch_seconds),
        ("Restore", drill.restore_seconds),
        ("Replay of WAL", drill.replay_seconds),
        ("Check", drill.check_seconds),
        ("**All**", drill.rto_seconds),
    ];
    table(&["Phase", "Time"], ":--|--:", &phases.map(|(name, seconds)| vec![name.to_owned(), span(seconds)]))
}

/// The steps that `are` of a kind, each with its result.
fn steps(drill: &Drill, are: impl Fn(&Step) -> bool) -> String {
    let row = |step: &Step| {
        let last = step.output.as_deref().and_then(|output| output.lines().rfind(|line| !line.trim().is_empty()));
        vec![
            text(&step.name),
            phase(step.phase).to_owned(),
            if step.passed { "passed" } else { "**failed**" }.to_owned(),
            step.exit_code.map_or_else(|| "-".into(), |code| code.to_string()),
            step.started_at.format("%H:%M:%S").to_string(),
            span(step.duration_seconds),
            last.map_or_else(|| "-".into(), |line| text(&shortened(&one_line(line), SAID_CHARACTERS))),
        ]
    };
    let rows: Vec<_> = drill.steps.iter().filter(|step| are(step)).map(row).collect();
    if rows.is_empty() {
        return "None.".into();
    }
    let header = ["Step", "Phase", "Result", "Exit code", "Began (UTC)", "Took", "Said last"];
    table(&header, ":--|:--|:--|--:|:--|--:|:--", &rows)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Fetch => "fetch",
        Phase::Restore => "restore",
        Phase::Replay => "replay",
        Phase::Check => "check",
    }
}

/// What a step has said, between fences longer than any in it.
fn output(step: &Step) -> String {
    let said = lines(step.output.as_deref().unwrap_or("(it said nothing)"));
    let longest = said.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{}:\n\n{fence}text\n{}\n{fence}", text(&step.name), said.join("\n"))
}

/// Where to look, for each phase in which something failed.
fn guidance(failed: &[&Step]) -> String {
    let mut phases: Vec<_> = failed.iter().map(|step| step.phase).collect();
    phases.sort_unstable();
    phases.dedup();
    let of_phase = |phase| match phase {
        Phase::Prepare => "Prepare: the host of the drill itself: its disk space, its PostgreSQL programs, its settings.",
        Phase::Fetch => "Fetch: the store: `dr-list` shows which backups there are, and what is wrong with them.",
        Phase::Restore => "Restore: disk space, memory and the identity that decrypts; the last lines above name the object.",
        Phase::Replay => "Replay: the log of the recovered server, and `dr-recover --preflight` for WAL that is missing.",
        Phase::Check => "Check: what was restored is not what was expected. Keep it, try another backup, and find out since when.",
    };
    phases.into_iter().map(|phase| format!("- {}", of_phase(phase))).collect::<Vec<_>>().join("\n")
}

fn list(items: &[String], none: &str) -> String {
    if items.is_empty() {
        return none.into();
    }
    items.iter().map(|item| format!("- {}", text(item))).collect::<Vec<_>>().join("\n")
}

/// A table, after GitHub's extension to CommonMark; without it, lines of text.
fn table(header: &[&str], align: &str, rows: &[Vec<String>]) -> String {
    let row = |cells: &mut dyn Iterator<Item = &str>| format!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    let mut out = vec![row(&mut header.iter().copied()), format!("|{align}|")];
    out.extend(rows.iter().map(|cells| row(&mut cells.iter().map(String::as_str))));
    out.join("\n")
}

/// Text of a record as text, whatever stands in it: no markup, no HTML, no link, and always one line.
fn text(raw: &str) -> String {
    let line = one_line(raw);
    let mut out = String::with_capacity(line.len());
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    for (at, c) in line.char_indices() {
        // A list or a heading begins only at the start of a line; a link without markup only with these.
        let begins = at == 0 && matches!(c, '-' | '+' | '=' | ':') || at == digits && digits > 0 && matches!(c, '.' | ')');
        let links = c == '@' || c == ':' && line[at..].starts_with("://") || c == '.' && line[..at].to_lowercase().ends_with("www");
        // Within a word it is no markup, and names are full of it.
        let joins = c == '_' && is_word(line[..at].chars().next_back()) && is_word(line[at + 1..].chars().next());
        if begins
            || links
            || !joins && matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '&' | '~' | '#' | '$' | '!')
        {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_record_is_never_markup() {
        for (raw, escaped) in [
            ("plain, (text): 4 h", "plain, (text): 4 h"),
            ("a|b`c`<b>&lt;\\", "a\\|b\\`c\\`\\<b\\>\\&lt;\\\\"),
            ("1. one\n# two", "1\\. one \\# two"),
            ("- [x](y)", "\\- \\[x\\](y)"),
            ("main_dump_1 _a_ b_", "main_dump_1 \\_a\\_ b\\_"),
            ("http://x WWW.x a@b", "http\\://x WWW\\.x a\\@b"),
            ("![i](j) **b** _c_ ~~d~~", "\\!\\[i\\](j) \\*\\*b\\*\\* \\_c\\_ \\~\\~d\\~\\~"),
        ] {
            assert_eq!(text(raw), escaped);
        }
    }

    #[test]
    fn a_fence_is_longer_than_any_in_the_output() {
        let step = Step {
            name: "a".into(),
            phase: Phase::Check,
            passed: false,
            exit_code: Some(1),
            started_at: "2026-01-25T03:00:00Z".parse().unwrap(),
            duration_seconds: 1.0,
            output: Some("````\n<script>".into()),
        };
        assert_eq!(output(&step), "a:\n\n`````text\n````\n<script>\n`````");
    }
}
