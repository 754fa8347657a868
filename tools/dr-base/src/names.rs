//! Which files of a data directory belong to a backup? Pure rules, after PostgreSQL's own (`src/backend/backup/basebackup.c`).

use dr_postgres::relation_files::is_number;
pub use dr_postgres::relation_files::{is_database, relation_at, relation_file};

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

/// What such names begin with: files for sorting and hashing, a cache that is rebuilt, and the lock of a socket that lies in the data
/// directory, which PostgreSQL's own backups have: where another process has that number, no server would start there.
const LEFT_OUT_PREFIXES: [&str; 3] = ["pgsql_tmp", "pg_internal.init", ".s.PGSQL."];

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

/// Whether a file of a database's directory is a temporary relation's: `t3_16384`, `t3_16384_fsm.1`.
pub fn is_temporary(name: &str) -> bool {
    let parts = name.strip_prefix('t').and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(backend, file)| is_number(backend) && relation_file(file).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_a_running_server_has_for_itself_is_left_out() {
        for name in ["postmaster.pid", "pg_internal.init.123", "pgsql_tmp123.0", "backup_label.old", ".s.PGSQL.5432.lock"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["postgresql.conf", "postgresql.auto.conf", "pg_control", "16384", "current_logfiles", "log"] {
            assert!(!is_left_out(name), "{name}");
        }
        assert!(is_emptied("pg_wal") && !is_emptied("pg_xact") && !is_emptied("base"));
    }
}
