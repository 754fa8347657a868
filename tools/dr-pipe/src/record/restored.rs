//! `restored`: what dr-restore has done, and what proves it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A restore that is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// The database that now holds the data.
    pub database: String,
    /// The database dumped, as the archive names it; absent for foreign dumps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_database: Option<String>,
    /// The backup's name, where it came from a store.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup: Option<String>,
    /// The moment the backup shows; absent for foreign dumps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken_at: Option<DateTime<Utc>>,
    /// When the restore began.
    pub started_at: DateTime<Utc>,
    /// When it was complete.
    pub finished_at: DateTime<Utc>,
    /// Time taken.
    pub duration_seconds: f64,
    /// Tables loaded; absent for foreign dumps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tables: Option<u64>,
    /// Rows loaded, each COPY held against the archive; absent for foreign dumps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<u64>,
    /// Whether every fingerprint of the restored database was compared with the archive's, and equal.
    pub proved: bool,
    /// Definitions that the server refused, and that are not there (`--keep-going`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<u64>,
    /// The name the database that was there before is kept under (`--swap`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept: Option<String>,
}
