//! What does the server say of itself?

use std::collections::BTreeMap;
use std::path::Path;

use dr_pipe::Failure;
use dr_postgres::{Address, Session};

/// The settings that archiving and recovery depend on, and those that say where.
const SETTINGS: &str = "'archive_command', 'archive_library', 'archive_mode', 'archive_timeout', 'data_checksums', 'data_directory', \
     'fsync', 'full_page_writes', 'max_replication_slots', 'max_slot_wal_keep_size', 'max_wal_senders', 'max_wal_size', \
     'summarize_wal', 'wal_compression', 'wal_level'";

/// What decides which lines are printed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// As `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// The settings that this server has, and lets this role see.
    pub settings: BTreeMap<String, Setting>,
    /// What the archiver is at.
    pub archiver: Archiver,
    /// The file system of pg_wal; none where it is not on this host, or may not be looked at.
    pub disk: Option<Disk>,
    /// Whether the server runs on this host, as far as one can see.
    pub here: bool,
}

/// A setting, as pg_settings has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// In its own unit: archive_timeout in seconds.
    pub value: String,
    /// As SHOW says it: `1min`.
    pub shown: String,
    /// Whether only a restart changes it.
    pub restart: bool,
    /// Whether the configuration has another value already, which waits for a restart.
    pub pending: bool,
    /// What overrides postgresql.conf; none where nothing does.
    pub overridden_by: Option<String>,
    /// The values it may have, where it is a choice.
    pub choices: Vec<String>,
}

/// pg_stat_archiver, and what waits.
#[derive(Clone, Debug, Default)]
pub struct Archiver {
    /// The file that failed last, if nothing was archived since.
    pub failing: Option<String>,
    /// How often it has failed since statistics began.
    pub failures: u64,
    /// How many files wait; none where this role may not know.
    pub waiting: Option<u64>,
}

/// A file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// How large it is.
    pub total: u64,
    /// What the server's user can still write.
    pub free: u64,
}

/// Asks the server.
///
/// # Errors
/// As the server says.
pub fn read(session: &mut Session) -> Result<Facts, Failure> {
    session.execute("SET client_encoding = 'UTF8'; SET search_path = pg_catalog")?;
    let settings = settings(session)?;
    let directory = settings.get("data_directory").map(|setting| setting.value.clone());
    let socket = session.conninfo().hosts().iter().any(|host| matches!(host.address, Address::Socket(_)));
    let here = socket || directory.as_deref().is_some_and(|directory| Path::new(directory).is_dir());
    Ok(Facts {
        version: session.parameter("server_version").unwrap_or_default().to_owned(),
        archiver: archiver(session)?,
        disk: directory.filter(|_| here).and_then(|directory| disk(&Path::new(&directory).join("pg_wal"))),
        settings,
        here,
    })
}

fn settings(session: &mut Session) -> Result<BTreeMap<String, Setting>, Failure> {
    let rows = session.query(&format!(
        "SELECT name, setting, current_setting(name), context = 'postmaster', pending_restart, \
         CASE WHEN sourcefile LIKE '%/postgresql.auto.conf' THEN 'ALTER SYSTEM' WHEN source NOT IN ('default', 'configuration file') THEN source END, \
         array_to_string(enumvals, ',') FROM pg_settings WHERE name IN ({SETTINGS})"
    ))?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let setting = rows.iter().map(|row| {
        let setting = Setting {
            value: text(row.get(1)),
            shown: text(row.get(2)),
            restart: row.get(3) == Some("t"),
            pending: row.get(4) == Some("t"),
            overridden_by: row.get(5).map(str::to_owned),
            choices: row.get(6).map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        };
        (text(row.get(0)), setting)
    });
    Ok(setting.collect())
}

fn archiver(session: &mut Session) -> Result<Archiver, Failure> {
    let rows = session.query(
        "SELECT CASE WHEN last_failed_time > last_archived_time OR last_archived_time IS NULL THEN last_failed_wal END, failed_count, \
         has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE') FROM pg_stat_archiver",
    )?;
    let row = rows.iter().next();
    let value = |column| row.as_ref().and_then(|row| row.get(column));
    let may_count = value(2) == Some("t");
    let archiver = Archiver {
        failing: value(0).map(str::to_owned),
        failures: value(1).and_then(|count| count.parse().ok()).unwrap_or(0),
        waiting: None,
    };
    if !may_count {
        return Ok(archiver);
    }
    let rows = session.query("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")?;
    Ok(Archiver { waiting: rows.iter().next().and_then(|row| row.get(0)?.parse().ok()), ..archiver })
}

fn disk(path: &Path) -> Option<Disk> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(Disk { total: found.f_blocks * found.f_frsize, free: found.f_bavail * found.f_frsize })
}
