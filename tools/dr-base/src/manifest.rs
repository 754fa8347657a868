//! `backup_manifest`: each file of the backup with its SHA-256, in PostgreSQL's format (`src/backend/backup/backup_manifest.c`), so that
//! the server's own pg_verifybackup proves what is restored.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use dr_pipe::{Failure, Sha256, Tally};
use dr_wal::{Lsn, Timeline};

/// The file's path in a backup.
pub const PATH: &str = "backup_manifest";

/// The first major version that names the system in it.
const NAMES_SYSTEM: u32 = 17;

/// A manifest that is being written, by any thread, into a temporary file: memory does not grow with it.
pub struct Manifest {
    spool: Mutex<Spool>,
}

struct Spool {
    file: BufWriter<File>,
    tally: Tally,
    files: u64,
}

impl Manifest {
    /// Begins one for a server of this major version, in a file in `directory`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(directory: &Path, major: u32, system_identifier: &str) -> Result<Self, Failure> {
        let file = tempfile::tempfile_in(directory).map_err(failed)?;
        let mut spool = Spool { file: BufWriter::new(file), tally: Tally::default(), files: 0 };
        let version = if major >= NAMES_SYSTEM { 2 } else { 1 };
        let mut head = format!("{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n");
        if version == 2 {
            head.push_str(&format!("\"System-Identifier\": {system_identifier},\n"));
        }
        spool.write(&(head + "\"Files\": [")).map_err(failed)?;
        Ok(Manifest { spool: Mutex::new(spool) })
    }

    /// Lists a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&self, path: &str, bytes: u64, modified: SystemTime, sha256: Sha256) -> Result<(), Failure> {
        let path = serde_json::Value::from(path);
        let modified = DateTime::<Utc>::from(modified).format("%Y-%m-%d %H:%M:%S");
        let entry = format!(
            "{{ \"Path\": {path}, \"Size\": {bytes}, \"Last-Modified\": \"{modified} GMT\", \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{sha256}\" }}"
        );
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let between = if spool.files == 0 { "\n" } else { ",\n" };
        spool.files += 1;
        spool.write(&(between.to_owned() + &entry)).map_err(failed)
    }

    /// Ends it with the WAL that the backup needs; gives its text, to be read from the first byte, its size, and how many files
    /// it lists.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self, timeline: Timeline, start: Lsn, stop: Lsn) -> Result<(File, u64, u64), Failure> {
        let mut spool = self.spool.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Timeline(timeline) = timeline;
        let range = format!("{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{stop}\" }}");
        spool.write(&format!("\n],\n\"WAL-Ranges\": [\n{range}\n],\n")).map_err(failed)?;
        let sum = spool.tally.extent().sha256;
        spool.write(&format!("\"Manifest-Checksum\": \"{sum}\"}}\n")).map_err(failed)?;
        let (bytes, files) = (spool.tally.bytes(), spool.files);
        let mut file = spool.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok((file, bytes, files))
    }
}

impl Spool {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.tally.update(text.as_bytes());
        self.file.write_all(text.as_bytes())
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::io("temporary file for backup_manifest (TMPDIR)", &error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use super::*;

    fn written(major: u32, files: &[&str]) -> String {
        let manifest = Manifest::new(&std::env::temp_dir(), major, "7").unwrap();
        for path in files {
            manifest.add(path, 3, SystemTime::UNIX_EPOCH, Sha256::of(b"abc")).unwrap();
        }
        let (mut file, bytes, count) = manifest.finish(Timeline(10), Lsn(0x28), Lsn(1 << 32)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.len() as u64, count), (bytes, files.len() as u64));
        text
    }

    #[test]
    fn it_is_written_as_postgresql_does() {
        let text = written(18, &["base/1/2", "a\"b"]);
        let (before, sum) = text.rsplit_once("\"Manifest-Checksum\": ").unwrap();
        assert_eq!(sum, format!("\"{}\"}}\n", Sha256::of(before.as_bytes())));
        let digest = Sha256::of(b"abc");
        assert_eq!(
            before,
            format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7,\n\"Files\": [\n\
                {{ \"Path\": \"base/1/2\", \"Size\": 3, \"Last-Modified\": \"1970-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{digest}\" }},\n\
                {{ \"Path\": \"a\\\"b\", \"Size\": 3, \"Last-Modified\": \"1970-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{digest}\" }}\n\
                ],\n\"WAL-Ranges\": [\n{{ \"Timeline\": 10, \"Start-LSN\": \"0/28\", \"End-LSN\": \"1/0\" }}\n],\n"
            )
        );
        assert!(written(16, &[]).starts_with("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n],\n"));
    }
}
