//! Which paths may members have? Those that unpack everywhere, below one directory, each to a file of its own.

use std::collections::HashSet;

use dr_pipe::Sha256;

/// Longest path of a member, in bytes: what Linux's `PATH_MAX` leaves room for.
pub const MAX_PATH_BYTES: usize = 4095;

/// Longest part of a path between two slashes, in bytes: Linux's `NAME_MAX`.
const MAX_PART_BYTES: usize = 255;

/// Where an archive's own two members lie in its tar: in a place of their own among those of the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Own {
    /// `toc.jsonl` and `end.json`.
    #[default]
    AtRoot,
    /// `pg_wal/toc.jsonl` and `pg_wal/end.json`: for a tar that is a data directory of PostgreSQL, where nobody minds them.
    InPgWal,
}

impl Own {
    /// Every place that a reader looks at.
    pub(crate) const ALL: [Own; 2] = [Own::AtRoot, Own::InPgWal];

    /// The member that holds the table of contents.
    pub(crate) fn toc(self) -> &'static str {
        match self {
            Own::AtRoot => "toc.jsonl",
            Own::InPgWal => "pg_wal/toc.jsonl",
        }
    }

    /// The member that ends an archive.
    pub(crate) fn end(self) -> &'static str {
        match self {
            Own::AtRoot => "end.json",
            Own::InPgWal => "pg_wal/end.json",
        }
    }
}

/// 128 bits of a path's SHA-256: a set of them stays small whatever the paths, and nobody can make two equal.
type Key = [u8; 16];

/// The paths taken so far.
pub(crate) struct Names {
    /// All members; those of directories end in a slash.
    members: HashSet<Key>,
    /// All directories, be they members or only parts of paths.
    directories: HashSet<Key>,
}

impl Names {
    /// Only the archive's own members are taken.
    pub fn new(own: Own) -> Self {
        let mut names = Names { members: HashSet::new(), directories: HashSet::new() };
        for path in [own.toc(), own.end()] {
            names.take(path).expect("they are legal, and differ");
        }
        names
    }

    /// Takes `path`; one that ends in a slash is a directory's, and may come before or after those below it.
    ///
    /// # Errors
    /// The rule it breaks: as a path, or because it, one of its directories or a file below it is taken.
    pub fn take(&mut self, path: &str) -> Result<(), &'static str> {
        check(path)?;
        let member = key(path);
        if self.members.contains(&member) {
            return Err("there is such a member already");
        }
        if self.directories.contains(&member) {
            return Err("there are members below it already");
        }
        for (end, _) in path.rmatch_indices('/') {
            let directory = key(&path[..end]);
            if self.members.contains(&directory) {
                return Err("it, or one of its directories, is a file already");
            }
            if !self.directories.insert(directory) {
                // Taken together with all directories above it.
                break;
            }
        }
        self.members.insert(member);
        Ok(())
    }
}

fn key(path: &str) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&Sha256::of(path.as_bytes()).0[..16]);
    key
}

/// Whether a member may have the path at all; a directory's ends in one slash.
///
/// # Errors
/// The rule it breaks.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return Err("the path has more than 4095 bytes");
    }
    if path.starts_with('/') {
        return Err("the path is absolute");
    }
    if path.chars().any(char::is_control) {
        return Err("the path has a control character");
    }
    for part in path.strip_suffix('/').unwrap_or(path).split('/') {
        match part {
            "" => return Err("a part of the path is empty"),
            "." | ".." => return Err("a part of the path is . or .."),
            _ if part.len() > MAX_PART_BYTES => return Err("a part of the path has more than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f76_only_paths_that_stay_below_one_directory_are_taken() {
        let long_part = "a".repeat(256);
        let long_path = "a/".repeat(2048) + "a";
        let hostile = [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/./b",
            "a//b",
            "a//",
            "../",
            "a\0",
            "a\nb",
            "\u{1b}[2J",
        ];
        for path in hostile.into_iter().chain([&*long_part, &*long_path]) {
            assert!(Names::new(Own::AtRoot).take(path).is_err(), "{path:?}");
        }
        for path in
            ["a", "...", "a/b.c", "..a/b..", "ä/ö", "a b", "-rf", "a/", "a/b/", &"a".repeat(255), &("a/".repeat(2047) + "a")]
        {
            assert_eq!(Names::new(Own::AtRoot).take(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn f76_every_member_has_a_file_of_its_own() {
        let mut names = Names::new(Own::AtRoot);
        names.take("data/a/b").unwrap();
        names.take("data/a/c").unwrap();
        for taken in ["data/a/b", "data", "data/a", "data/a/b/c", "toc.jsonl", "end.json", "end.json/a"] {
            assert!(names.take(taken).is_err(), "{taken:?}");
        }
        names.take("data/a-b").unwrap();
    }

    #[test]
    fn directories_are_members_once_and_never_files() {
        let mut names = Names::new(Own::InPgWal);
        names.take("base/1/").unwrap();
        names.take("base/").unwrap();
        names.take("base/1/2").unwrap();
        names.take("pg_wal/").unwrap();
        for taken in ["base/", "base", "base/1/", "base/1", "base/1/2/", "base/1/2/3/", "pg_wal/toc.jsonl", "pg_wal/end.json/"] {
            assert!(names.take(taken).is_err(), "{taken:?}");
        }
        names.take("toc.jsonl").unwrap();
    }
}
