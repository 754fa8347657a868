//! `fingerprint`: the content of a database, one line per table, in a form that can be compared.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// What a fingerprint is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One table's rows; `name` is its quoted, schema-qualified name.
    Table,
    /// One sequence: `rows` is 1, the digest is of the line `last_value TAB is_called`.
    Sequence,
    /// All large objects, in pieces of 256 KiB: rows of `oid TAB offset TAB \x…`.
    LargeObjects,
}

/// Row count and order-independent digest of one subject.
///
/// The digest is the sum, modulo 2^256, of the SHA-256 of every row, read as a big-endian number. A row is its line of
/// `COPY … TO STDOUT` in text format without the newline, its columns in the byte order of their names, generated columns
/// left out, under the settings named in dr-records(5). No rows: all zeroes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// What it is of.
    pub subject: Subject,
    /// Its name, quoted where SQL would need it.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// The sum of the rows' digests, 64 hexadecimal characters.
    pub digest: Sha256,
}
