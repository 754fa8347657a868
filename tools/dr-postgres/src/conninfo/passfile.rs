//! Which password does the password file hold for a connection? (PostgreSQL, "The Password File".)

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::default_socket_dirs;

/// Whom a password is looked up for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub host: &'a str,
    pub port: &'a str,
    pub database: &'a str,
    pub user: &'a str,
}

/// The password of the first line of `path` that fits. A file that is absent has none; one that others can read is ignored
/// with a warning, which is the error here.
pub(super) fn lookup(path: &Path, entry: Entry<'_>) -> Result<Option<String>, String> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(None) };
    let shown = path.display();
    if !metadata.is_file() {
        return Err(format!("password file \"{shown}\" is not a plain file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "password file \"{shown}\" has group or world access; permissions should be u=rw (0600) or less; it is ignored"
        ));
    }
    // libpq ignores a file that it cannot open without a word; we give the word.
    match std::fs::read(path) {
        Ok(text) => Ok(find(&String::from_utf8_lossy(&text), entry)),
        Err(error) => Err(format!("password file \"{shown}\" is ignored: {error}")),
    }
}

fn find(text: &str, entry: Entry<'_>) -> Option<String> {
    let is_default_socket = default_socket_dirs().contains(&entry.host);
    let host = if entry.host.is_empty() || is_default_socket { "localhost" } else { entry.host };
    text.split('\n').filter(|line| !line.starts_with('#')).find_map(|line| {
        let line = line.trim_end_matches('\r');
        let rest = fits(line, host)?;
        let rest = fits(rest, entry.port)?;
        let rest = fits(rest, entry.database)?;
        let rest = fits(rest, entry.user)?;
        Some(unescape(rest))
    })
}

/// What follows the first field of `line` if it is `*` or, its escapes undone, equals `token`.
fn fits<'a>(line: &'a str, token: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut wanted = token.chars();
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        let character = match character {
            ':' if wanted.as_str().is_empty() => return Some(&line[at + 1..]),
            '\\' => characters.next()?.1,
            other => other,
        };
        if wanted.next() != Some(character) {
            return None;
        }
    }
    None
}

/// The password: up to a colon that is not escaped, or the end of the line.
fn unescape(text: &str) -> String {
    let mut password = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => break,
            '\\' => password.push(characters.next().unwrap_or('\\')),
            other => password.push(other),
        }
    }
    password
}

/// A field as a password file spells it.
pub(super) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'_> = Entry { host: "db.example", port: "5432", database: "shop", user: "anna" };

    #[test]
    fn the_first_line_that_fits_holds_and_stars_fit_all() {
        assert_eq!(
            find("#db.example:5432:shop:anna:no\n*:*:*:bob:b\n*:*:shop:anna:first\n*:*:*:*:last", ENTRY).as_deref(),
            Some("first")
        );
        assert_eq!(find("db.example:5432:shop:anna:pass\r\n", ENTRY).as_deref(), Some("pass"));
        assert_eq!(find("db.example:5433:shop:anna:pass\n", ENTRY), None);
        assert_eq!(find("db.example:5432:shop:ann:pass\n\n:\n", ENTRY), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        assert_eq!(find(r"*:*:*:*:a\:b\\c\", ENTRY).as_deref(), Some(r"a:b\c\"));
        let entry = Entry { user: r"a:\b", ..ENTRY };
        let line = format!("*:*:*:{}:{}", escape(entry.user), escape(r"\p:"));
        assert_eq!(find(&line, entry).as_deref(), Some(r"\p:"));
    }

    #[test]
    fn localhost_stands_for_the_default_socket() {
        let entry = Entry { host: "/var/run/postgresql", ..ENTRY };
        assert_eq!(find("localhost:5432:shop:anna:x", entry).as_deref(), Some("x"));
        assert_eq!(find("/var/run/postgresql:5432:shop:anna:x", entry), None);
        assert_eq!(find("/elsewhere:5432:shop:anna:x", Entry { host: "/elsewhere", ..ENTRY }).as_deref(), Some("x"));
    }
}
