//! Which files of a data directory hold pages of relations? Told by their names alone.

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

/// Whether the directory at `path`, relative to the data directory, holds the relations of one database.
pub fn is_database(path: &str) -> bool {
    let Some((parent, name)) = path.rsplit_once('/') else { return false };
    let tablespace = || parent.strip_prefix("pg_tblspc/").is_some_and(|rest| rest.split_once("/PG_").is_some());
    is_number(name) && (parent == "base" || tablespace())
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

/// The relation that the file at `path`, relative to the data directory, is of.
pub fn relation_at(path: &str) -> Option<RelationFile<'_>> {
    let (directory, name) = path.rsplit_once('/')?;
    if directory == "global" || is_database(directory) { relation_file(name) } else { None }
}

/// Whether a text is a number as such names have it.
pub fn is_number(text: &str) -> bool {
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
    fn databases_are_below_base_and_in_tablespaces() {
        for path in ["base/5", "pg_tblspc/16390/PG_15_202209061/16391"] {
            assert!(is_database(path), "{path}");
        }
        for path in ["base", "base/pgsql_tmp", "global", "pg_tblspc/16390", "pg_tblspc/16390/PG_15_202209061", "log/5", "5"] {
            assert!(!is_database(path), "{path}");
        }
    }
}
