//! Which lines does postgresql.conf lack?

use crate::facts::{Facts, Setting};

/// Archiving waits no longer than this until it closes a segment, in seconds: what is lost at most if the disk is.
const TIMEOUT_S: u64 = 60;
/// What PostgreSQL itself allows of senders and slots, where there are too few.
const ENOUGH: &str = "10";
/// One for dr-wal-receive, two for pg_basebackup.
const SENDERS: u64 = 3;

/// A line of postgresql.conf that would change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The setting.
    pub name: &'static str,
    /// What it should be; none where postgresql.conf cannot change it.
    pub value: Option<String>,
    /// Why; a sentence.
    pub why: &'static str,
    /// Whether archiving or recovery fails without it; the others are advice.
    pub needed: bool,
}

/// The lines that are missing for this `archive_command`, in the order in which one reads them. Nothing is said of a setting that
/// this server does not have.
pub fn lines(facts: &Facts, archive_command: &str) -> Vec<Line> {
    needed(facts, archive_command).into_iter().chain(advised(facts)).flatten().collect()
}

/// The lines as text for postgresql.conf, each with why and what it is now; nothing for no lines.
pub fn print(lines: &[Line], facts: &Facts) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("# For archiving and recovery, as dr-doctor says to PostgreSQL {}.\n", facts.version);
    for line in lines {
        let now = &facts.settings[line.name];
        let advice = if line.needed { "" } else { "Advice: " };
        let waits = if now.pending { ", and another value waits for a restart" } else { "" };
        text.push_str(&format!("\n# {advice}{}\n# Now: {}{waits}.", line.why, shown(&now.shown)));
        text.push_str(match &line.value {
            Some(_) if now.restart => " A restart changes it.\n",
            Some(_) => " A reload changes it.\n",
            None => "\n",
        });
        if let Some(value) = &line.value {
            text.push_str(&format!("{} = {}\n", line.name, quoted(value)));
        }
    }
    text
}

fn needed(facts: &Facts, archive_command: &str) -> Vec<Option<Line>> {
    let need = |name, is_wrong: &dyn Fn(&str) -> bool, value: &str, why| {
        let now: &Setting = facts.settings.get(name)?;
        is_wrong(&now.value).then(|| Line { name, value: Some(value.into()), why, needed: true })
    };
    vec![
        need("wal_level", &|now| now == "minimal", "replica", "WAL must hold what recovery needs."),
        need("archive_mode", &|now| now == "off", "on", "Each segment of WAL is handed to archive_command."),
        need("archive_library", &|now| !now.is_empty(), "", "A library would take the place of archive_command."),
        need(
            "archive_command",
            &|now| now != archive_command,
            archive_command,
            "Stores a segment; succeeds only once the stores have it.",
        ),
        need("archive_timeout", &|now| now == "0", "60s", "Or an idle server's last changes wait for ever to be archived."),
        need("fsync", &|now| now == "off", "on", "Or a crash damages the database, and backups with it."),
        need("full_page_writes", &|now| now == "off", "on", "Or pages torn by a crash or a backup cannot be repaired."),
    ]
}

fn advised(facts: &Facts) -> Vec<Option<Line>> {
    let advise = |name, is_wrong: &dyn Fn(&str) -> bool, value: Option<String>, why| {
        let now: &Setting = facts.settings.get(name)?;
        is_wrong(&now.value).then_some(Line { name, value, why, needed: false })
    };
    let below = |now: &str, least: u64| now.parse::<u64>().is_ok_and(|now| now < least);
    vec![
        advise(
            "archive_timeout",
            &|now| now.parse::<u64>().is_ok_and(|now| now > TIMEOUT_S),
            Some("60s".into()),
            "What was written since the last segment is lost with the disk, unless dr-wal-receive streams it.",
        ),
        advise(
            "max_wal_senders",
            &|now| below(now, SENDERS),
            Some(ENOUGH.into()),
            "dr-wal-receive and dr-base --remote each need some.",
        ),
        advise("max_replication_slots", &|now| below(now, 1), Some(ENOUGH.into()), "dr-wal-receive needs one."),
        slots(facts),
        advise("wal_compression", &|now| now == "off", Some(compression(facts)), "Less WAL to write, to store and to replay."),
        advise(
            "summarize_wal",
            &|now| now == "off",
            Some("on".into()),
            "Increments can then read what has changed, not all there is.",
        ),
        advise(
            "data_checksums",
            &|now| now == "off",
            None,
            "Page checksums find damage on the disk before it is backed up. With the server stopped: pg_checksums --enable",
        ),
    ]
}

/// A slot whose receiver is away keeps WAL for ever: half of what the disk has free now is a good end, as the archive has it all.
fn slots(facts: &Facts) -> Option<Line> {
    let name = "max_slot_wal_keep_size";
    let half_gib = facts.disk?.free >> 31;
    let unlimited = facts.settings.get(name).is_some_and(|now| now.value == "-1");
    let why = "Or the slot of a receiver that is away fills the disk. This is half of what is free now; the archive has the rest.";
    (unlimited && half_gib > 0).then(|| Line { name, value: Some(format!("{half_gib}GB")), why, needed: false })
}

/// The best method that this server was built with.
fn compression(facts: &Facts) -> String {
    let choices = facts.settings.get("wal_compression").map(|now| &now.choices[..]).unwrap_or_default();
    ["lz4", "zstd"].into_iter().find(|method| choices.iter().any(|choice| choice == method)).unwrap_or("on").into()
}

/// A value as the configuration file reads it (guc-file.l): a backslash begins an escape there.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

/// A value within a comment, which ends with its line.
fn shown(value: &str) -> String {
    if value.is_empty() { "(nothing)".into() } else { value.replace(['\n', '\r'], " ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Disk;

    /// A server right after initdb, of 17 or 18.
    fn facts() -> Facts {
        let values = [
            ("archive_command", ""),
            ("archive_library", ""),
            ("archive_mode", "off"),
            ("archive_timeout", "0"),
            ("data_checksums", "on"),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("max_replication_slots", "10"),
            ("max_slot_wal_keep_size", "-1"),
            ("max_wal_senders", "10"),
            ("summarize_wal", "off"),
            ("wal_compression", "off"),
            ("wal_level", "replica"),
        ];
        let setting = |value: &str| Setting { value: value.into(), shown: value.into(), ..Setting::default() };
        let settings = values.into_iter().map(|(name, value)| (name.to_owned(), setting(value)));
        Facts { version: "18.3".into(), settings: settings.collect(), ..Facts::default() }
    }

    fn change(facts: &mut Facts, name: &str, value: &str) {
        facts.settings.get_mut(name).unwrap().value = value.into();
    }

    fn names(facts: &Facts, needed: bool) -> Vec<&'static str> {
        lines(facts, "push %p").iter().filter(|line| line.needed == needed).map(|line| line.name).collect()
    }

    #[test]
    fn a_new_server_needs_three_lines() {
        assert_eq!(names(&facts(), true), ["archive_mode", "archive_command", "archive_timeout"]);
        assert_eq!(names(&facts(), false), ["wal_compression", "summarize_wal"]);
    }

    #[test]
    fn everything_that_can_be_wrong_has_its_line() {
        let mut facts = facts();
        for (name, value) in [
            ("wal_level", "minimal"),
            ("archive_library", "basic_archive"),
            ("archive_timeout", "300"),
            ("data_checksums", "off"),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("max_wal_senders", "2"),
            ("max_replication_slots", "0"),
        ] {
            change(&mut facts, name, value);
        }
        facts.disk = Some(Disk { total: 100 << 30, free: 41 << 30 });
        let needed = ["wal_level", "archive_mode", "archive_library", "archive_command", "fsync", "full_page_writes"];
        assert_eq!(names(&facts, true), needed);
        let advised = [
            "archive_timeout",
            "max_wal_senders",
            "max_replication_slots",
            "max_slot_wal_keep_size",
            "wal_compression",
            "summarize_wal",
            "data_checksums",
        ];
        assert_eq!(names(&facts, false), advised);
        let slots = lines(&facts, "push %p").into_iter().find(|line| line.name == "max_slot_wal_keep_size").unwrap();
        assert_eq!(slots.value.unwrap(), "20GB");
    }

    #[test]
    fn a_server_that_is_right_gets_no_line() {
        let mut facts = facts();
        for (name, value) in [
            ("archive_mode", "always"),
            ("archive_command", "push %p"),
            ("archive_timeout", "60"),
            ("summarize_wal", "on"),
            ("wal_compression", "lz4"),
            ("wal_level", "logical"),
        ] {
            change(&mut facts, name, value);
        }
        assert_eq!(lines(&facts, "push %p"), []);
        assert_eq!(print(&[], &facts), "");
    }

    #[test]
    fn a_value_is_quoted_as_the_file_is_read() {
        let mut facts = facts();
        facts.settings.get_mut("archive_mode").unwrap().restart = true;
        let text = print(&lines(&facts, r"'a'\''b' %p")[..2], &facts);
        assert_eq!(
            text,
            r"# For archiving and recovery, as dr-doctor says to PostgreSQL 18.3.

# Each segment of WAL is handed to archive_command.
# Now: off. A restart changes it.
archive_mode = 'on'

# Stores a segment; succeeds only once the stores have it.
# Now: (nothing). A reload changes it.
archive_command = '''a''\\''''b'' %p'
"
        );
    }
}
