//! What cannot work, or soon will not?

use std::path::Path;

use crate::conf::Line;
use crate::facts::{Disk, Facts};

/// A disk with less than this part of it free is nearly full.
const NEARLY_FULL: u64 = 10;

/// The warnings, most severe first. `push` is the dr-wal-push that archive_command would run.
pub fn warnings(facts: &Facts, lines: &[Line], push: &Path) -> Vec<String> {
    let is = |name: &str, value: &str| facts.settings.get(name).is_some_and(|now| now.value == value);
    let mut said = Vec::new();
    said.extend(full(facts));
    said.extend(failing(facts));
    if is("fsync", "off") {
        said.push("fsync is off: a crash of the host can damage the database, and no backup of it is sure to be sound".into());
    }
    if is("wal_level", "minimal") {
        said.push("wal_level is minimal: nothing can be archived, and no base backup taken, before a restart".into());
    }
    if let Some(library) = facts.settings.get("archive_library").filter(|now| !now.value.is_empty()) {
        said.push(format!("archive_library is {}: archive_command is not run", library.shown));
    }
    if !push.is_file() {
        said.push(format!("there is no {}: install it beside this program, and where the server runs", push.display()));
    } else if !facts.here {
        said.push("the server is on another host: the paths in archive_command are those of this one".into());
    }
    said.extend(lines.iter().filter_map(|line| overridden(facts, line)));
    said
}

fn full(facts: &Facts) -> Option<String> {
    let Disk { total, free } = facts.disk?;
    let wanted = facts.settings.get("max_wal_size").and_then(|now| now.value.parse::<u64>().ok()).unwrap_or(0) << 20;
    (free < total / NEARLY_FULL || free < wanted).then(|| {
        let (free, total, wanted) = (free >> 20, total >> 20, wanted >> 20);
        format!(
            "the disk of pg_wal has {free} MiB free of {total}, and max_wal_size is {wanted}: the server stops when it is full; make room, but never by hand in pg_wal"
        )
    })
}

fn failing(facts: &Facts) -> Option<String> {
    let file = facts.archiver.failing.as_ref()?;
    let waiting = facts.archiver.waiting.map(|count| format!(", {count} files wait")).unwrap_or_default();
    let failures = facts.archiver.failures;
    Some(format!(
        "archiving fails: {file} last, {failures} failures so far{waiting}; the server's log has the words of archive_command"
    ))
}

/// postgresql.conf has no say in what is set in a place that comes after it.
fn overridden(facts: &Facts, line: &Line) -> Option<String> {
    let (name, _) = (line.name, line.value.as_ref()?);
    let place = facts.settings.get(name)?.overridden_by.as_ref()?;
    let remedy = if place == "ALTER SYSTEM" { format!("ALTER SYSTEM RESET {name}") } else { format!("remove it from the {place}") };
    Some(format!("{name} is set by {place}, which overrides postgresql.conf: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Archiver, Setting};

    fn said(facts: &Facts, lines: &[Line]) -> Vec<String> {
        let mut said = warnings(facts, lines, Path::new("/nowhere/dr-wal-push"));
        assert!(said.iter().any(|warning| warning.starts_with("there is no /nowhere")));
        said.retain(|warning| !warning.starts_with("there is no /nowhere"));
        said
    }

    #[test]
    fn f53_a_disk_that_fills_and_an_archiver_that_fails_are_said() {
        let facts = Facts {
            disk: Some(Disk { total: 100 << 20, free: 9 << 20 }),
            archiver: Archiver { failing: Some("000000010000000000000001".into()), failures: 7, waiting: Some(3) },
            ..Facts::default()
        };
        let said = said(&facts, &[]);
        assert_eq!(said.len(), 2);
        assert!(said[0].contains("9 MiB free of 100"), "{}", said[0]);
        assert!(said[1].contains("000000010000000000000001 last, 7 failures so far, 3 files wait"), "{}", said[1]);
    }

    #[test]
    fn what_overrides_the_file_is_named() {
        let mut facts = Facts::default();
        let setting = Setting { overridden_by: Some("ALTER SYSTEM".into()), ..Setting::default() };
        facts.settings.insert("archive_mode".into(), setting);
        let line = Line { name: "archive_mode", value: Some("on".into()), why: "", needed: true };
        let expected = "archive_mode is set by ALTER SYSTEM, which overrides postgresql.conf: ALTER SYSTEM RESET archive_mode";
        assert_eq!(said(&facts, &[line]), [expected]);
    }
}
