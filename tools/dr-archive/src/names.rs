//! Which paths may members have? Those that unpack everywhere, below one directory, each to a file of its own.

use std::collections::HashSet;

use dr_pipe::Sha256;

/// Longest path of a member, in bytes: what Linux's `PATH_MAX` leaves room for.
pub const MAX_PATH_BYTES: usize = 4095;

/// Longest part of a path between two slashes, in bytes: Linux's `NAME_MAX`.
const MAX_PART_BYTES: usize = 255;

/// The member that holds the table of contents.
pub(crate) const TOC: &str = "toc.jsonl";

/// The member that ends an archive.
pub(crate) const END: &str = "end.json";

/// 128 bits of a path's SHA-256: a set of them stays small whatever the paths, and nobody can make two equal.
type Key = [u8; 16];

/// The paths taken so far.
pub(crate) struct Names {
    files: HashSet<Key>,
    directories: HashSet<Key>,
}

impl Names {
    /// Only the archive's own members are taken.
    pub fn new() -> Self {
        Names { files: HashSet::from([key(TOC), key(END)]), directories: HashSet::new() }
    }

    /// Takes `path`.
    ///
    /// # Errors
    /// The rule it breaks: as a path, or because it, one of its directories or a file below it is taken.
    pub fn take(&mut self, path: &str) -> Result<(), &'static str> {
        check(path)?;
        let file = key(path);
        if self.files.contains(&file) {
            return Err("there is such a member already");
        }
        if self.directories.contains(&file) {
            return Err("there are members below it already");
        }
        for (end, _) in path.rmatch_indices('/') {
            let directory = key(&path[..end]);
            if self.files.contains(&directory) {
                return Err("one of its directories is a member already");
            }
            if !self.directories.insert(directory) {
                // Taken together with all directories above it.
                break;
            }
        }
        self.files.insert(file);
        Ok(())
    }
}

fn key(path: &str) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&Sha256::of(path.as_bytes()).0[..16]);
    key
}

fn check(path: &str) -> Result<(), &'static str> {
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
    for part in path.split('/') {
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
        let hostile =
            ["", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\0", "a\nb", "\u{1b}[2J"];
        for path in hostile.into_iter().chain([&*long_part, &*long_path]) {
            assert!(Names::new().take(path).is_err(), "{path:?}");
        }
        for path in ["a", "...", "a/b.c", "..a/b..", "ä/ö", "a b", "-rf", &"a".repeat(255), &("a/".repeat(2047) + "a")] {
            assert_eq!(Names::new().take(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn f76_every_member_has_a_file_of_its_own() {
        let mut names = Names::new();
        names.take("data/a/b").unwrap();
        names.take("data/a/c").unwrap();
        for taken in ["data/a/b", "data", "data/a", "data/a/b/c", "toc.jsonl", "end.json", "end.json/a"] {
            assert!(names.take(taken).is_err(), "{taken:?}");
        }
        names.take("data/a-b").unwrap();
    }
}
