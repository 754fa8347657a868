//! PostgreSQL's own list of the files of a base (`backup_manifest`; "Backup Manifest Format" in its documentation).

use std::collections::HashMap;

use dr_pipe::{Exit, Failure, Sha256};
use serde::Deserialize;

/// Largest list that is read: ten million files.
pub const MAX_BYTES: u64 = 4 << 30;

/// A file: its size and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Files")]
    files: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    path: Option<String>,
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    checksum: Option<String>,
}

/// Reads the list, by path. Files whose path is no UTF-8, or that have another digest than SHA-256, are left out: nobody can tell
/// whether they have changed.
///
/// # Errors
/// 65 where it is no such list.
pub fn parse(text: &[u8]) -> Result<HashMap<String, Listed>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Damaged, format!("backup_manifest: {why}"), "restore without --delta; nothing was written")
    };
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| wrong(&error))?;
    let mut files = HashMap::with_capacity(manifest.files.len());
    for Entry { path, size, algorithm, checksum } in manifest.files {
        if let (Some(path), Some("SHA256"), Some(checksum)) = (path, algorithm.as_deref(), checksum) {
            let sha256 = Sha256::try_from(checksum.to_ascii_lowercase()).map_err(|error| wrong(&error))?;
            files.insert(path, Listed { bytes: size, sha256 });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_list_is_read_as_postgresql_writes_it() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = format!(
            r#"{{ "PostgreSQL-Backup-Manifest-Version": 2, "System-Identifier": 7, "Files": [
            {{ "Path": "base/1/2", "Size": 3, "Last-Modified": "2026-01-01 00:00:00 GMT", "Checksum-Algorithm": "SHA256", "Checksum": "{digest}" }},
            {{ "Encoded-Path": "ff", "Size": 3, "Last-Modified": "x", "Checksum-Algorithm": "SHA256", "Checksum": "{digest}" }},
            {{ "Path": "b", "Size": 3, "Last-Modified": "x", "Checksum-Algorithm": "CRC32C", "Checksum": "00" }} ],
            "WAL-Ranges": [], "Manifest-Checksum": "x"}}"#
        );
        let files = parse(text.as_bytes()).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files["base/1/2"], Listed { bytes: 3, sha256: Sha256::of(b"abc") });
        assert_eq!(parse(b"{}").unwrap_err().exit, Exit::Damaged);
    }
}
