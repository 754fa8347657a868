//! What is an object's key? A relative path whose every part could be a file name.

use crate::Error;

/// Names of unfinished files start so; no object's does.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Name of the file that marks a directory as a store.
pub const MARKER: &str = "dr-store.json";

/// Passes what is a key: at most 900 bytes in parts of 1 to 240 bytes.
///
/// # Errors
/// [`Error::Key`].
pub(crate) fn check(key: &str) -> Result<(), Error> {
    let wrong = |why| Err(Error::Key { key: key.into(), why });
    if key.len() > 900 {
        return wrong("longer than 900 bytes");
    }
    if key == MARKER {
        return wrong("it is the marker of the store");
    }
    for part in key.split('/') {
        match part {
            "" => return wrong("an empty part"),
            "." | ".." => return wrong("a . or .. part"),
            _ if part.len() > 240 => return wrong("a part longer than 240 bytes"),
            _ if part.starts_with(TEMPORARY) => return wrong("a part that names a temporary file"),
            _ if part.bytes().any(|byte| byte.is_ascii_control()) => return wrong("a control character"),
            _ => {}
        }
    }
    Ok(())
}

/// Passes what keys can start with; the empty text is among them.
///
/// # Errors
/// [`Error::Key`].
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    match prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.starts_with('/') {
        true => Err(Error::Key { key: prefix.into(), why: "no key starts so" }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_store() {
        for key in ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a\0b", "a/.tmp-1", "dr-store.json"] {
            assert!(check(key).is_err(), "{key:?}");
        }
        for prefix in ["/", "../", "a/../b", "a/.."] {
            assert!(check_prefix(prefix).is_err(), "{prefix:?}");
        }
        for prefix in ["", "a", "a/", "a/b.", "a/..b"] {
            assert!(check_prefix(prefix).is_ok(), "{prefix:?}");
        }
        for key in ["a", "main/dump/x.tar.zst.age", "main/.hidden", "a..b"] {
            assert!(check(key).is_ok(), "{key:?}");
        }
    }
}
