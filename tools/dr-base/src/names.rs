//! Which files of a data directory belong to a backup? Pure rules, after PostgreSQL's own (`src/backend/backup/basebackup.c`).

/// Directories at the top whose content the server makes anew when it starts. They are kept, empty.
const EMPTIED: [&str; 8] =
    ["pg_wal", "pg_stat_tmp", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans"];

/// Directories at the top that somebody may have moved to another disk, with a link in their place.
const MOVED: [&str; 10] =
    ["base", "global", "pg_xact", "pg_multixact", "pg_commit_ts", "pg_logical", "pg_twophase", "pg_stat", "log", "pg_log"];

/// Files that are of a running server, or of the backup it came from.
const LEFT_OUT: [&str; 9] = [
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "backup_manifest",
    "postmaster.pid",
    "postmaster.opts",
];

/// What such names begin with: files for sorting and hashing, and a cache that is rebuilt.
const LEFT_OUT_PREFIXES: [&str; 2] = ["pgsql_tmp", "pg_internal.init"];

/// A file of a relation, by its name: `16384_fsm.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationFile<'n> {
    /// The number of the relation's files.
    pub number: &'n str,
    /// Whether it is what an unlogged relation begins with after a crash.
    pub init: bool,
    /// Which segment of the relation it is, from 0.
    pub segment: u32,
}

/// Whether a directory at the top of a data directory goes into a backup without its content.
pub fn is_emptied(name: &str) -> bool {
    EMPTIED.contains(&name)
}

/// Whether a link at the top of a data directory is followed: a backup without what it leads to would be none.
pub fn is_followed(name: &str) -> bool {
    MOVED.contains(&name)
}

/// Whether a file or directory of this name is left out, wherever it lies.
pub fn is_left_out(name: &str) -> bool {
    LEFT_OUT.contains(&name) || LEFT_OUT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the directory at `path`, relative to the data directory, holds the relations of one database.
pub fn is_database(path: &str) -> bool {
    let Some((parent, name)) = path.rsplit_once('/') else { return false };
    let tablespace = || parent.strip_prefix("pg_tblspc/").is_some_and(|rest| rest.split_once("/PG_").is_some());
    is_number(name) && (parent == "base" || tablespace())
}

/// Whether a file of a database's directory is a temporary relation's: `t3_16384`, `t3_16384_fsm.1`.
pub fn is_temporary(name: &str) -> bool {
    let parts = name.strip_prefix('t').and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(backend, file)| is_number(backend) && relation_file(file).is_some())
}

/// The relation that a file of a directory of relations is of; none where it is something else.
pub fn relation_file(name: &str) -> Option<RelationFile<'_>> {
    let (stem, segment) = match name.split_once('.') {
        Some((stem, segment)) if is_number(segment) && !segment.starts_with('0') => (stem, segment.parse().ok()?),
        Some(_) => return None,
        None => (name, 0),
    };
    let (number, fork) = stem.split_once('_').unwrap_or((stem, "main"));
    let known = is_number(number) && ["main", "fsm", "vm", "init"].contains(&fork);
    known.then_some(RelationFile { number, init: fork == "init", segment })
}

fn is_number(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_told_by_their_names() {
        let file = |number, init, segment| Some(RelationFile { number, init, segment });
        assert_eq!(relation_file("16384"), file("16384", false, 0));
        assert_eq!(relation_file("16384.12"), file("16384", false, 12));
        assert_eq!(relation_file("16384_fsm"), file("16384", false, 0));
        assert_eq!(relation_file("16384_vm.1"), file("16384", false, 1));
        assert_eq!(relation_file("16384_init"), file("16384", true, 0));
        for other in ["PG_VERSION", "pg_filenode.map", "16384.", "16384.0", "16384.01", "16384_x", "t3_16384", "", "16384_fsm.x"] {
            assert_eq!(relation_file(other), None, "{other}");
        }
    }

    #[test]
    fn temporary_relations_are_told_by_their_names() {
        for name in ["t3_16384", "t12_16384.1", "t3_16384_fsm"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in ["16384", "t_16384", "t3", "t3_x", "table_1"] {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn databases_are_below_base_and_in_tablespaces() {
        for path in ["base/5", "pg_tblspc/16390/PG_15_202209061/16391"] {
            assert!(is_database(path), "{path}");
        }
        for path in ["base", "base/pgsql_tmp", "global", "pg_tblspc/16390", "pg_tblspc/16390/PG_15_202209061", "log/5", "5"] {
            assert!(!is_database(path), "{path}");
        }
    }

    #[test]
    fn what_a_running_server_has_for_itself_is_left_out() {
        for name in ["postmaster.pid", "pg_internal.init.123", "pgsql_tmp123.0", "backup_label.old"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["postgresql.conf", "postgresql.auto.conf", "pg_control", "16384", "current_logfiles", "log"] {
            assert!(!is_left_out(name), "{name}");
        }
        assert!(is_emptied("pg_wal") && !is_emptied("pg_xact") && !is_emptied("base"));
    }
}
