//! Does the server keep, hand out and make durable what recovery needs?

use dr_pipe::Failure;
use dr_postgres::Session;

use crate::args::Args;
use crate::facts::{Disk, Facts};
use crate::findings::{Finding, Findings, Name};
use crate::space::{nearly, too_full};

/// One for dr-wal-receive, two for a base backup over the wire.
const SENDERS: f64 = 3.0;

/// The lines that put most of this right.
const LINES: &str = "dr-doctor --archive-settings prints the lines for postgresql.conf";

/// Judges settings, archiver, slots and disk.
///
/// # Errors
/// As the server says.
pub fn check(args: &Args, session: &mut Session, facts: &Facts, found: &mut Findings) -> Result<(), Failure> {
    found.note(Name::WalLevel, None, level(facts));
    found.note(Name::Archiving, None, archiving(facts));
    if value(facts, "archive_mode") != "off" {
        found.note(Name::Archiver, None, archiver(facts));
    }
    found.note(Name::Durability, None, durability(facts));
    if found.want(&[Name::Slots]) {
        slots(args, session, facts, found)?;
    }
    found.note(Name::WalSenders, None, senders(facts));
    found.note(Name::Checksums, None, checksums(facts));
    if facts.settings.contains_key("summarize_wal") {
        found.note(Name::WalSummary, None, summary(facts));
    }
    if let Some(disk) = facts.disk {
        found.note(Name::WalSpace, None, space(disk, value(facts, "max_wal_size").parse().unwrap_or(0)));
    }
    Ok(())
}

fn value<'a>(facts: &'a Facts, name: &str) -> &'a str {
    facts.settings.get(name).map_or("", |setting| &setting.value)
}

fn level(facts: &Facts) -> Finding {
    match value(facts, "wal_level") {
        "minimal" => Finding::warning("wal_level is minimal: only dumps are possible, no base backup and no archiving", LINES),
        level => Finding::ok(format!("wal_level is {level}")),
    }
}

fn archiving(facts: &Facts) -> Finding {
    let (mode, command, library) = (value(facts, "archive_mode"), value(facts, "archive_command"), value(facts, "archive_library"));
    if mode == "off" {
        return Finding::warning("archive_mode is off: what was written since the last dump cannot be had back", LINES);
    }
    match (command, library) {
        ("", "") => Finding::critical("archive_mode is on, and there is no archive_command: WAL fills the disk", LINES),
        (command, "") if command.contains("dr-wal-push") => Finding::ok(format!("archive_mode is {mode}, by dr-wal-push")),
        (command, "") => Finding::warning(format!("archive_command runs no dr-wal-push: {command}"), LINES),
        (_, library) => Finding::warning(format!("archive_library {library} takes the place of archive_command"), LINES),
    }
}

fn archiver(facts: &Facts) -> Finding {
    let waiting = facts.archiver.waiting.map(|count| format!(", {count} files wait")).unwrap_or_default();
    match &facts.archiver.failing {
        Some(file) => {
            let message = format!("archiving fails: {file} last, {} failures so far{waiting}", facts.archiver.failures);
            Finding::critical(
                message,
                "the server's log has the words of archive_command; never remove anything from pg_wal by hand",
            )
        }
        None => Finding::ok(format!("the last file went well{waiting}")),
    }
}

fn durability(facts: &Facts) -> Finding {
    let off: Vec<_> = ["fsync", "full_page_writes"].into_iter().filter(|name| value(facts, name) == "off").collect();
    if off.is_empty() {
        return Finding::ok("fsync and full_page_writes are on");
    }
    let message = format!("{} is off: a crash of the host damages the database, and backups of it with it", off.join(" and "));
    Finding::critical(message, off.iter().map(|name| format!("ALTER SYSTEM SET {name} = on")).collect::<Vec<_>>().join("; "))
}

fn slots(args: &Args, session: &mut Session, facts: &Facts, found: &mut Findings) -> Result<(), Failure> {
    let rows = session.query(
        "SELECT slot_name, active, coalesce(wal_status, 'reserved'), \
         coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint >> 20 \
         FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name",
    )?;
    let mut names = Vec::new();
    for row in rows.iter() {
        let name = row.text(0)?.to_owned();
        found.note(Name::Slots, name.clone(), slot(row.flag(1)?, row.text(2)?, row.parse(3)?));
        names.push(name);
    }
    if let Some(missing) = args.slot.as_ref().filter(|slot| !names.contains(slot)) {
        let hint = "start dr-wal-receive with --create-slot, then take a base backup";
        found.note(Name::Slots, missing.clone(), Finding::critical("there is no such slot: the stream has no hold on WAL", hint));
    }
    if names.is_empty() && args.slot.is_none() {
        found.note(Name::Slots, None, Finding::ok("none"));
    }
    if !names.is_empty() && value(facts, "max_slot_wal_keep_size") == "-1" {
        let message = "max_slot_wal_keep_size has no limit: a slot that nobody uses fills the disk, and the server stops";
        found.note(Name::Slots, None, Finding::warning(message, LINES));
    }
    Ok(())
}

fn slot(active: bool, status: &str, kept_mib: i64) -> Finding {
    let start = "start what receives from it (systemctl status 'dr-wal-receive@*'), or, if it is of no use: SELECT pg_drop_replication_slot('NAME')";
    match (status, active) {
        ("lost", _) => Finding::critical(
            "lost: the server has removed WAL that it needed",
            "start dr-wal-receive with --create-slot, then take a base backup; the archive may have what is missing: dr-verify",
        ),
        ("unreserved", _) => Finding::critical("about to be lost: it has more WAL behind it than max_slot_wal_keep_size", start),
        (_, false) => {
            Finding::warning(format!("nobody receives from it, and the server keeps {kept_mib} MiB of WAL for it"), start)
        }
        (_, true) => Finding::ok(format!("in use, {kept_mib} MiB behind")),
    }
}

fn senders(facts: &Facts) -> Finding {
    let now: f64 = value(facts, "max_wal_senders").parse().unwrap_or(0.0);
    let finding = if now < SENDERS {
        let message = format!("max_wal_senders is {now}: dr-wal-receive and dr-base --remote need {SENDERS} together");
        Finding::warning(message, LINES)
    } else {
        Finding::ok(format!("max_wal_senders is {now}"))
    };
    finding.measured(now, SENDERS, "count")
}

fn checksums(facts: &Facts) -> Finding {
    match value(facts, "data_checksums") {
        "on" => Finding::ok("pages have checksums"),
        _ => Finding::warning(
            "pages have no checksums: damage of the disk is backed up unseen",
            "with the server stopped: pg_checksums --enable",
        ),
    }
}

fn summary(facts: &Facts) -> Finding {
    match value(facts, "summarize_wal") {
        "on" => Finding::ok("summarize_wal is on: increments read what has changed"),
        _ => Finding::warning(
            "summarize_wal is off: there are no increments, or they read everything",
            "ALTER SYSTEM SET summarize_wal = on",
        ),
    }
}

/// The disk of pg_wal; `wanted` is max_wal_size, in MiB.
fn space(Disk { total, free }: Disk, wanted: u64) -> Finding {
    let said = format!("{} MiB of {} free where pg_wal is", free >> 20, total >> 20);
    let hint = "make room, but never by hand in pg_wal: the server stops when it is full";
    let finding = if free < too_full(total) {
        Finding::critical(format!("only {said}"), hint)
    } else if free < nearly(total) || free >> 20 < wanted {
        Finding::warning(format!("only {said}, and max_wal_size is {wanted} MiB"), hint)
    } else {
        Finding::ok(said)
    };
    finding.measured(free as f64, nearly(total).max(wanted << 20) as f64, "bytes")
}

#[cfg(test)]
mod tests {
    use dr_pipe::record::State;

    use super::*;

    #[test]
    fn f53_room_for_wal_is_judged_before_it_is_gone() {
        let disk = |free_mib: u64| Disk { total: 100 << 30, free: free_mib << 20 };
        for (free, wanted, state) in [
            (50 << 10, 1024, State::Ok),
            (9 << 10, 1024, State::Warning),
            (11 << 10, 12 << 10, State::Warning),
            (1023, 64, State::Critical),
        ] {
            assert_eq!(space(disk(free), wanted).state(), state, "{free}");
        }
    }

    #[test]
    fn a_slot_is_judged_by_what_it_still_holds() {
        assert_eq!(slot(true, "reserved", 0).state(), State::Ok);
        assert_eq!(slot(true, "extended", 9).state(), State::Ok);
        assert_eq!(slot(false, "reserved", 0).state(), State::Warning);
        assert_eq!(slot(true, "unreserved", 0).state(), State::Critical);
        assert_eq!(slot(false, "lost", 0).state(), State::Critical);
    }
}
