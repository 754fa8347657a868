//! A unit of systemd that has failed, or succeeded again: what systemd and its journal say, where they are there to be asked.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use dr_pipe::args::cluster_name;

use crate::condition::{Condition, Kind, Level, Reader};
use crate::program;

/// How long systemd and its journal may take to answer: the notice is more urgent than its details.
const LIMIT: Duration = Duration::from_secs(5);

/// What systemd tells the unit of OnFailure=, by the end of the variable's name, and what `systemctl show` calls it.
const TOLD: [(&str, &str); 4] =
    [("SERVICE_RESULT", "Result"), ("EXIT_CODE", "ExitCode"), ("EXIT_STATUS", "ExecMainStatus"), ("INVOCATION_ID", "InvocationID")];

/// That it succeeded: who says so, knows.
pub fn success(unit: &str, reader: &Reader) -> Condition {
    let mut condition = reader.bare(Kind::Unit, unit, None, (Level::Good, "succeeded"));
    condition.cluster = condition.cluster.or_else(|| cluster(unit));
    condition.message = "the unit succeeded".into();
    condition.manual = "dr(7)";
    condition
}

/// What is known of the failure. Every part of it may be missing.
pub fn failure(unit: &str, result: Option<&str>, reader: &Reader) -> Condition {
    let mut facts = facts(unit);
    facts.extend(result.map(|result| ("Result".to_owned(), result.to_owned())));
    let fact = |name: &str| facts.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut condition = reader.bare(Kind::Unit, unit, None, (Level::Critical, "failed"));
    condition.cluster = condition.cluster.or_else(|| cluster(unit));
    let result = fact("Result").filter(|result| *result != "success");
    let status = fact("ExecMainStatus").filter(|status| *status != "0");
    condition.message = match (result, status) {
        (Some("exit-code"), Some(status)) => format!("the unit failed: its command exited with {status}"),
        (Some(result), Some(status)) => format!("the unit failed: {result}, status {status}"),
        (Some(result), None) => format!("the unit failed: {result}"),
        (None, _) => "the unit failed".into(),
    };
    condition.message = reader.text(&condition.message);
    condition.event = fact("InvocationID").map(|id| reader.name(id));
    condition.last_words = reader.last_words(&journal(unit, condition.event.as_deref()));
    condition.hint = Some(format!("systemctl status {unit}; journalctl -u {unit}; dr(7) has the exit codes"));
    condition.manual = "dr(7)";
    condition
}

/// The cluster that stands after the @ of a unit's name.
fn cluster(unit: &str) -> Option<String> {
    let instance = unit.split_once('@')?.1;
    let instance = instance.rsplit_once('.').map_or(instance, |(instance, _)| instance);
    cluster_name(instance).ok()
}

/// What systemctl(1) says, and, as it was then, what systemd has told us.
fn facts(unit: &str) -> BTreeMap<String, String> {
    let said = output(Command::new("systemctl").args(["show", "--property=Result,ExecMainStatus,InvocationID", "--", unit]));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut facts: BTreeMap<_, _> = said.lines().filter_map(pair).collect();
    let told = |name: &str| std::env::var(format!("MONITOR_{name}")).ok();
    if told("UNIT").is_some_and(|told| told == unit) {
        facts.extend(TOLD.iter().filter_map(|(name, fact)| Some(((*fact).to_owned(), told(name)?))));
    }
    facts
}

/// The last lines of the unit's journal, of this one run where its id is known.
fn journal(unit: &str, invocation: Option<&str>) -> String {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=cat", "--lines=10", &format!("--unit={unit}")]);
    let hexadecimal = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    output(command.args(invocation.filter(hexadecimal).map(|id| format!("_SYSTEMD_INVOCATION_ID={id}"))))
}

/// What a command prints; nothing where it is not there, or fails.
fn output(command: &mut Command) -> String {
    match program::run(command.env("LC_ALL", "C"), Vec::new(), LIMIT) {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_of_a_unit_is_its_cluster() {
        for (unit, name) in [
            ("dr-backup@main.service", Some("main")),
            ("dr-wal-receive@eu.west.service", Some("eu.west")),
            ("dr-check.service", None),
            ("x@\\x2d.service", None),
            ("x@.service", None),
        ] {
            assert_eq!(cluster(unit).as_deref(), name, "{unit}");
        }
    }
}
