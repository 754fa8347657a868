//! What kind of cluster is this? The facts that a backup needs, as the server tells them.

use std::io::IsTerminal;
use std::path::PathBuf;

use dr_pipe::Failure;
use dr_pipe::record::Settings;
use dr_postgres::Session;
use dr_wal::SegmentSize;

use crate::copy::Segment;

/// The facts of a cluster.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The server's version, as 150018.
    pub server_version: u32,
    /// The system identifier, an unsigned number.
    pub system_identifier: String,
    /// The version of the catalogue.
    pub catalog_version: u32,
    /// How relations are cut into files.
    pub segment: Segment,
    /// The size of WAL segments.
    pub wal_segment: SegmentSize,
    /// Whether pages have checksums.
    pub page_checksums: bool,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// Whether it archives its own WAL, as far as its settings say.
    pub archives: bool,
    /// What a recovering server must not fall below.
    pub settings: Settings,
    /// Where its files are; none where the role may not know.
    pub data_directory: Option<PathBuf>,
    /// When its postmaster began, in seconds since 1970.
    pub started_unix_seconds: i64,
    /// The files of its configuration; empty where the role may not know.
    pub configuration: Vec<PathBuf>,
    /// How large all tablespaces are, in bytes; none where the role may not know, or nobody is looking.
    pub bytes: Option<u64>,
}

/// One row. pg_settings hides what a role may not know, where SHOW would fail.
const FACTS: &str = "SELECT c.system_identifier, c.catalog_version_no, s.values->>'block_size' AS page_bytes, s.values->>'segment_size' AS pages, \
     s.values->>'wal_segment_size' AS wal_segment, s.values->>'data_checksums' = 'on' AS checksums, pg_catalog.pg_is_in_recovery() AS standby, \
     s.values->>'archive_mode' AS archive_mode, \
     coalesce(s.values->>'archive_command', '?') NOT IN ('', '(disabled)') OR coalesce(s.values->>'archive_library', '') <> '' AS archiver, \
     s.values->>'max_connections' AS max_connections, s.values->>'max_worker_processes' AS max_worker_processes, \
     s.values->>'max_wal_senders' AS max_wal_senders, s.values->>'max_prepared_transactions' AS max_prepared_transactions, \
     s.values->>'max_locks_per_transaction' AS max_locks_per_transaction, s.values->>'data_directory' AS data_directory, \
     s.values->>'config_file' AS config_file, s.values->>'hba_file' AS hba_file, s.values->>'ident_file' AS ident_file, \
     floor(extract(epoch FROM pg_catalog.pg_postmaster_start_time()))::int8 AS started \
     FROM pg_catalog.pg_control_system() c, (SELECT json_object_agg(name, setting) AS values FROM pg_catalog.pg_settings) s";

impl Facts {
    /// Asks the server.
    ///
    /// # Errors
    /// As it says; 76 where it answers nonsense.
    pub fn read(session: &mut Session) -> Result<Facts, Failure> {
        let rows = session.query(FACTS)?;
        let row = rows.one()?;
        let wal_segment = row.parse::<u64>("wal_segment")?;
        let in_recovery = row.flag("standby")?;
        let archive_mode = row.text("archive_mode")?;
        let files = ["config_file", "hba_file", "ident_file"].iter().filter_map(|name| row.get(*name));
        Ok(Facts {
            server_version: session.server_version(),
            // The server shows the 64 bits as a signed number.
            system_identifier: row.parse::<i64>("system_identifier")?.cast_unsigned().to_string(),
            catalog_version: row.parse("catalog_version_no")?,
            segment: Segment { pages: row.parse("pages")?, page_bytes: row.parse("page_bytes")? },
            wal_segment: SegmentSize::try_from(wal_segment)?,
            page_checksums: row.flag("checksums")?,
            in_recovery,
            archives: row.flag("archiver")? && (archive_mode == "always" || archive_mode == "on" && !in_recovery),
            settings: Settings {
                max_connections: row.parse("max_connections")?,
                max_worker_processes: row.parse("max_worker_processes")?,
                max_wal_senders: row.parse("max_wal_senders")?,
                max_prepared_transactions: row.parse("max_prepared_transactions")?,
                max_locks_per_transaction: row.parse("max_locks_per_transaction")?,
            },
            data_directory: row.get("data_directory").map(PathBuf::from),
            started_unix_seconds: row.parse("started")?,
            configuration: files.map(PathBuf::from).collect(),
            bytes: None,
        }
        .with_files(session))
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.server_version / 10_000
    }

    /// Adds what not every role may know, and no backup fails without.
    fn with_files(mut self, session: &mut Session) -> Self {
        let included = session.query("SELECT DISTINCT sourcefile FROM pg_catalog.pg_file_settings ORDER BY 1");
        if let Ok(rows) = included {
            self.configuration.extend(rows.iter().filter_map(|row| row.get(0).map(PathBuf::from)));
        }
        if !std::io::stderr().is_terminal() {
            // The server looks at every file to know it, and nobody would see it.
            return self;
        }
        let sizes = session.query("SELECT pg_catalog.sum(pg_catalog.pg_tablespace_size(oid))::int8 FROM pg_catalog.pg_tablespace");
        self.bytes = sizes.ok().and_then(|rows| rows.value().ok()?.parse().ok());
        self
    }
}

/// The tablespaces that there are now, besides the two of every cluster.
///
/// # Errors
/// As the server says.
pub fn tablespaces(session: &mut Session) -> Result<Vec<u32>, Failure> {
    let rows =
        session.query("SELECT oid FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1")?;
    Ok(rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?)
}
