//! The answer as plugins of Nagios and Icinga give it: one line, performance data, and 0 to 3.
//!
//! <https://nagios-plugins.org/doc/guidelines.html>

use std::sync::atomic::{AtomicU8, Ordering};

use dr_pipe::record::{Check, State};
use dr_pipe::table::printable;
use dr_pipe::{Ended, Exit, Failure};

use crate::print;

/// Checks of which less is worse: the guidelines write their limit with a colon.
const AT_LEAST: [&str; 5] = ["backups", "copies", "lock", "recipients", "verified"];

/// What a bad answer exits with. Exit codes of tools say no more than that it is bad.
static BAD: AtomicU8 = AtomicU8::new(3);

/// The exit code: 0 to 2 by what was found, and 3, unknown, for everything that kept it from being found.
pub fn code(ended: Ended) -> u8 {
    match ended {
        Ended::With(Exit::Good) => 0,
        Ended::With(Exit::Bad) => BAD.load(Ordering::Relaxed),
        Ended::With(_) | Ended::BySignal(_) => 3,
    }
}

/// Prints the answer, and remembers its exit code.
///
/// # Errors
/// As [`print::out`].
pub fn print(cluster: &str, checks: &[Check]) -> Result<(), Failure> {
    let (text, code) = text(cluster, checks);
    BAD.store(code, Ordering::Relaxed);
    print::out(|output| output.write_all(text.as_bytes()))
}

/// The lines, and the exit code.
fn text(cluster: &str, checks: &[Check]) -> (String, u8) {
    let mut bad: Vec<&Check> = checks.iter().filter(|check| check.state != State::Ok).collect();
    bad.sort_by_key(|check| print::severity(check.state));
    let Some(worst) = bad.first().map(|check| check.state) else {
        return (format!("DR OK - {cluster}: {} checks | {}\n", checks.len(), data(checks)), 0);
    };
    let first = bad.iter().take(3).map(|check| said(check)).collect::<Vec<_>>().join("; ");
    let count = format!("{} of {} checks", bad.len(), checks.len());
    let mut text = format!("DR {} - {cluster}: {count}: {first} | {}\n", print::word(worst), data(checks));
    for check in bad {
        let hint = check.hint.as_deref().map(|hint| format!(" ({})", plain(hint))).unwrap_or_default();
        text += &format!("{}: {}{hint}\n", print::word(check.state), said(check));
    }
    let code = match worst {
        State::Ok => 0,
        State::Warning => 1,
        State::Critical => 2,
        State::Unknown => 3,
    };
    (text, code)
}

fn said(check: &Check) -> String {
    let subject = check.subject.as_deref().map(|subject| format!(" {}", plain(subject))).unwrap_or_default();
    format!("{}{subject}: {}", check.check, plain(&check.message))
}

/// Text without what would end it: a bar begins the performance data.
fn plain(text: &str) -> String {
    printable(text).replace('|', "/")
}

/// `'label'=value[unit];warning;critical`, blank between them.
fn data(checks: &[Check]) -> String {
    let datum = |check: &Check| {
        let unit = match check.unit.as_deref() {
            Some("seconds") => "s",
            Some("bytes") => "B",
            Some("percent") => "%",
            _ => "",
        };
        let subject = check.subject.as_deref().map(|subject| format!(" {}", plain(subject))).unwrap_or_default();
        let label = format!("{}{subject}", check.check).replace(['\'', '='], "_");
        let colon = if AT_LEAST.contains(&check.check.as_str()) { ":" } else { "" };
        let limit = check.limit.map(|limit| format!(";;{}{colon}", rounded(limit))).unwrap_or_default();
        Some(format!("'{label}'={}{unit}{limit}", rounded(check.value?)))
    };
    checks.iter().filter_map(datum).collect::<Vec<_>>().join(" ")
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(name: &str, state: State) -> Check {
        Check {
            check: name.into(),
            state,
            cluster: Some("main".into()),
            subject: Some("it's=a|b".into()),
            message: "27 h | old\n".into(),
            hint: Some("look".into()),
            value: Some(97_200.123_456),
            limit: Some(93_600.0),
            unit: Some("seconds".into()),
            since_at: None,
            checked_at: "2026-01-25T02:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_first_line_says_the_worst_and_a_bar_begins_the_data_alone() {
        let (text, code) = text("main", &[check("a", State::Ok), check("b", State::Warning), check("c", State::Critical)]);
        assert_eq!(code, 2);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.starts_with("DR CRITICAL - main: 2 of 3 checks: c it's=a/b: 27 h / old?; b it's"), "{first}");
        assert_eq!(first.matches('|').count(), 1, "{first}");
        assert!(first.ends_with(" 'c it_s_a/b'=97200.123s;;93600"), "{first}");
        assert_eq!(rest.lines().count(), 2);
        assert!(rest.starts_with("CRITICAL: c it's=a/b: 27 h / old? (look)\nWARNING: b "), "{rest}");
    }

    #[test]
    fn what_is_unknown_is_worse_than_a_warning_and_better_than_what_is_critical() {
        let code = |states: &[State]| text("main", &states.iter().map(|state| check("x", *state)).collect::<Vec<_>>()).1;
        assert_eq!(code(&[State::Ok]), 0);
        assert_eq!(code(&[State::Ok, State::Warning]), 1);
        assert_eq!(code(&[State::Unknown, State::Warning]), 3);
        assert_eq!(code(&[State::Unknown, State::Critical]), 2);
    }

    #[test]
    fn whatever_keeps_the_answer_from_being_found_is_unknown() {
        assert_eq!(code(Ended::With(Exit::Usage)), 3);
        assert_eq!(code(Ended::BySignal(15)), 3);
        assert_eq!(code(Ended::With(Exit::Good)), 0);
    }
}
