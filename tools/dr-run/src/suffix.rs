//! What does the name of these bytes end in?

use std::ffi::OsStr;
use std::path::Path;

/// Checks a suffix that was typed: 1 to 32 of `a-z 0-9 .`, neither end a dot, as it becomes part of object keys.
pub fn check(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(legal) {
        return Err("a suffix has 1 to 32 lower-case letters, digits and dots".into());
    }
    if text.starts_with('.') || text.ends_with('.') || text.contains("..") {
        return Err("a suffix neither starts nor ends with a dot, nor has two in a row".into());
    }
    Ok(text.into())
}

/// The suffix that people know for what `command` writes to its standard output; `bin` where nobody can know.
pub fn guess<S: AsRef<OsStr>>(command: &[S]) -> &'static str {
    let words: Vec<_> = command.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    let words: Vec<_> = words.iter().map(|word| &**word).collect();
    let Some((program, rest)) = words.split_first() else { return "bin" };
    match Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default() {
        "pg_dump" => pg_dump(rest),
        "pg_dumpall" => "sql",
        "pg_basebackup" | "tar" => "tar",
        _ => "bin",
    }
}

/// pg_dump(1): custom and tar archives have formats of their own; plain text may be compressed with gzip (`-Z 1`, `-Z gzip`),
/// and from 16 on with lz4 or zstd.
fn pg_dump(words: &[&str]) -> &'static str {
    match option(words, "-F", "--format").and_then(|format| format.chars().next()) {
        Some('c') => return "dump",
        Some('t') => return "tar",
        _ => {}
    }
    match option(words, "-Z", "--compress") {
        None => "sql",
        Some(method) if method.starts_with("none") || method == "0" => "sql",
        Some(method) if method.starts_with("zstd") => "sql.zst",
        Some(method) if method.starts_with("lz4") => "sql.lz4",
        Some(_) => "sql.gz",
    }
}

/// The last value of an option, however it is written: `-Fc`, `-F c`, `--format=c`, `--format c`.
fn option<'a>(words: &[&'a str], short: &str, long: &str) -> Option<&'a str> {
    let value = |(place, word): (usize, &&'a str)| {
        if *word == short || *word == long {
            return words.get(place + 1).copied();
        }
        word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')).or_else(|| word.strip_prefix(short))
    };
    words.iter().enumerate().filter_map(value).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_of_pg_dump_are_known() {
        for (line, suffix) in [
            ("pg_dump shop", "sql"),
            ("pg_dump -Fc shop", "dump"),
            ("/usr/lib/postgresql/18/bin/pg_dump -F c shop", "dump"),
            ("pg_dump --format=custom -Z9 shop", "dump"),
            ("pg_dump --format tar shop", "tar"),
            ("pg_dump -Fc -Fp shop", "sql"),
            ("pg_dump -Z 5 shop", "sql.gz"),
            ("pg_dump -Z0 shop", "sql"),
            ("pg_dump --compress=zstd:3 shop", "sql.zst"),
            ("pg_dumpall --globals-only", "sql"),
            ("tar -C /srv -cf - uploads", "tar"),
            ("sh -c pg_dump", "bin"),
            ("mongodump", "bin"),
        ] {
            assert_eq!(guess(&line.split(' ').collect::<Vec<_>>()), suffix, "{line}");
        }
    }

    #[test]
    fn a_suffix_is_safe_in_a_key() {
        for good in ["sql", "sql.gz", "tar.zst", "7z"] {
            assert_eq!(check(good).as_deref(), Ok(good));
        }
        for bad in ["", ".sql", "sql.", "a..b", "SQL", "a/b", "a b", "sql\n", "../etc"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
