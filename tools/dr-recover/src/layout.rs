//! Which file does each member of a base become?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::directory::MARKER;
use crate::server::LOG;
use crate::tablespaces::Placed;

/// The files that make a directory a cluster that starts: written last.
pub const LAST: [&str; 2] = ["backup_label", "global/pg_control"];

/// Files that are not written as the backup has them.
pub const ADAPTED: [&str; 3] = ["tablespace_map", "postgresql.auto.conf", "postgresql.conf"];

/// What a server has that was recovered itself, or is a standby: of its own past, and not for the one that is made here. An old log
/// would be taken for the new server's words; an old signal would keep it a standby.
const PAST: [&str; 4] = ["standby.signal", "recovery.signal", LOG, MARKER];

/// Members of configuration that lay outside the data directory.
pub const CONFIG: &str = "dr_config/";

/// Directories that a server needs, whether a backup has them or not: it backs up none of what is in them.
pub const NEEDED: [&str; 14] = [
    "global",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_tblspc",
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_twophase",
    "pg_commit_ts",
];

/// Where everything goes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The data directory.
    pub data: PathBuf,
    /// The tablespaces, by OID as it stands in paths.
    tablespaces: BTreeMap<String, PathBuf>,
    /// Whether configuration from outside goes into the data directory.
    config: bool,
}

impl Layout {
    /// Puts the cluster into `data`, and its tablespaces where they are placed.
    pub fn new(data: &Path, placed: &[Placed], config: bool) -> Self {
        let tablespaces = placed.iter().map(|placed| (placed.oid.to_string(), placed.to.clone())).collect();
        Layout { data: data.into(), tablespaces, config }
    }

    /// The file, or directory, that a member becomes; none for what is left out. The path of a member never leaves its archive,
    /// so neither does this leave the directories.
    pub fn of(&self, member: &str) -> Option<PathBuf> {
        let member = member.strip_suffix('/').unwrap_or(member);
        if let Some(file) = member.strip_prefix(CONFIG) {
            return self.config.then(|| self.data.join(file));
        }
        if member == CONFIG.trim_end_matches('/') || PAST.contains(&member) {
            return None;
        }
        if let Some(rest) = member.strip_prefix("pg_tblspc/") {
            let (oid, below) = rest.split_once('/').unwrap_or((rest, ""));
            if let Some(place) = self.tablespaces.get(oid) {
                return Some(if below.is_empty() { place.clone() } else { place.join(below) });
            }
        }
        Some(self.data.join(member))
    }

    /// The directories that are made or found first: that of the cluster, and those of tablespaces.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.data.as_path()).chain(self.tablespaces.values().map(PathBuf::as_path))
    }

    /// Whether `path` is the directory of a tablespace.
    pub fn is_tablespace(&self, path: &Path) -> bool {
        self.tablespaces.values().any(|place| place == path)
    }

    /// The links to tablespaces: each link, and where it leads.
    pub fn links(&self) -> impl Iterator<Item = (PathBuf, &Path)> {
        self.tablespaces.iter().map(|(oid, to)| (self.data.join("pg_tblspc").join(oid), to.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_its_place() {
        let placed = [Placed { oid: 16400, to: "/ts".into() }];
        let layout = |config| Layout::new(Path::new("/d"), &placed, config);
        let of = |member| layout(false).of(member).map(|path| path.display().to_string());
        assert_eq!(of("base/1/2").as_deref(), Some("/d/base/1/2"));
        assert_eq!(of("pg_notify/").as_deref(), Some("/d/pg_notify"));
        assert_eq!(of("pg_tblspc/16400/PG_15_2/1/2").as_deref(), Some("/ts/PG_15_2/1/2"));
        assert_eq!(of("pg_tblspc/16400/").as_deref(), Some("/ts"));
        assert_eq!(of("pg_tblspc/16401/PG_15_2/1").as_deref(), Some("/d/pg_tblspc/16401/PG_15_2/1"));
        assert_eq!((of("dr_config/pg_hba.conf"), of("standby.signal"), of("dr-recover.log")), (None, None, None));
        assert_eq!(layout(true).of("dr_config/pg_hba.conf"), Some("/d/pg_hba.conf".into()));
    }
}
