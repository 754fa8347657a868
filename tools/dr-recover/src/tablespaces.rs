//! Where does each tablespace go? At its old place, or where the operator says; never among the files of others.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use dr_pipe::record::Tablespace;
use dr_pipe::{Exit, Failure};

/// `FROM=DIR`: where one tablespace goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    from: From,
    to: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    Oid(u32),
    Path(String),
}

/// A tablespace, and where its files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its OID, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Its directory.
    pub to: PathBuf,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "write OID=DIR or OLDPATH=DIR, with absolute paths";
        let (from, to) = text.split_once('=').ok_or(wrong)?;
        let from = match from.parse() {
            Ok(oid) => From::Oid(oid),
            Err(_) if from.starts_with('/') => From::Path(from.trim_end_matches('/').into()),
            Err(_) => return Err(wrong.into()),
        };
        if to.starts_with('/') { Ok(Mapping { from, to: to.into() }) } else { Err(wrong.into()) }
    }
}

/// Where each tablespace of a base goes: where a mapping says, else below `below`, else where it was.
///
/// # Errors
/// 64 for a mapping of none of them, and for two that go to one place, or into the data directory.
pub fn place(tablespaces: &[Tablespace], mappings: &[Mapping], below: Option<&Path>, data: &Path) -> Result<Vec<Placed>, Failure> {
    let is_of = |mapping: &Mapping, tablespace: &Tablespace| match &mapping.from {
        From::Oid(oid) => *oid == tablespace.oid,
        From::Path(path) => path == tablespace.path.trim_end_matches('/'),
    };
    if let Some(lost) = mappings.iter().find(|mapping| !tablespaces.iter().any(|tablespace| is_of(mapping, tablespace))) {
        let there: Vec<_> = tablespaces.iter().map(|tablespace| format!("{} at {}", tablespace.oid, tablespace.path)).collect();
        let there = if there.is_empty() { "no tablespaces".into() } else { format!("tablespaces {}", there.join(", ")) };
        let message = format!("--tablespace to {}: the backup has no such tablespace", lost.to.display());
        return Err(Failure::new(Exit::Usage, message, format!("it has {there}; nothing was written")));
    }
    let mut placed: Vec<Placed> = Vec::new();
    for tablespace in tablespaces {
        let mapped = mappings.iter().find(|mapping| is_of(mapping, tablespace)).map(|mapping| mapping.to.clone());
        let below = || below.map(|below| below.join(tablespace.oid.to_string()));
        let to = mapped.or_else(below).unwrap_or_else(|| PathBuf::from(&tablespace.path));
        let apart = |other: &Path| !to.starts_with(other) && !other.starts_with(&to);
        if !apart(data) || placed.iter().any(|other| !apart(&other.to)) || to.parent().is_none() {
            let message = format!("tablespace {} would go to {}, among other files", tablespace.oid, to.display());
            let hint = "give it a directory of its own: --tablespace OID=DIR, or --tablespaces-below DIR; nothing was written";
            return Err(Failure::new(Exit::Usage, message, hint));
        }
        placed.push(Placed { oid: tablespace.oid, to });
    }
    Ok(placed)
}

/// The file `tablespace_map`, by which PostgreSQL makes the links anew when it begins to recover. Escaped as it escapes.
pub fn map(placed: &[Placed]) -> String {
    let mut text = String::new();
    for Placed { oid, to } in placed {
        text.push_str(&format!("{oid} "));
        for char in to.to_string_lossy().chars() {
            if matches!(char, '\n' | '\r' | '\\') {
                text.push('\\');
            }
            text.push(char);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn placed(mappings: &[&str], below: Option<&str>) -> Result<Vec<(u32, String)>, String> {
        let tablespaces = [(16400, "/ts/a"), (16401, "/ts/b")].map(|(oid, path)| Tablespace { oid, path: path.into() });
        let mappings: Vec<Mapping> = mappings.iter().map(|text| text.parse().unwrap()).collect();
        let placed = place(&tablespaces, &mappings, below.map(Path::new), Path::new("/data"));
        let shown = |placed: Vec<Placed>| placed.into_iter().map(|it| (it.oid, it.to.display().to_string())).collect();
        placed.map(shown).map_err(|failure| failure.message)
    }

    #[test]
    fn a_tablespace_goes_where_it_is_told_else_where_it_was() {
        let at = |a: &str, b: &str| Ok(vec![(16400, a.to_owned()), (16401, b.to_owned())]);
        assert_eq!(placed(&[], None), at("/ts/a", "/ts/b"));
        assert_eq!(placed(&["16400=/x"], None), at("/x", "/ts/b"));
        assert_eq!(placed(&["/ts/b/=/y=1"], Some("/new")), at("/new/16400", "/y=1"));
        for wrong in [&["1=/x"][..], &["16400=/ts/b"], &["16400=/data/x"], &["16400=/"], &["16400=/ts/b/c"]] {
            assert!(placed(wrong, None).is_err(), "{wrong:?}");
        }
        for wrong in ["x=/y", "/a", "16400=x", "=/x"] {
            assert!(wrong.parse::<Mapping>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_map_is_escaped_as_postgresql_reads_it() {
        let placed = [Placed { oid: 1, to: "/a b".into() }, Placed { oid: 2, to: "/a\nb\\c".into() }];
        assert_eq!(map(&placed), "1 /a b\n2 /a\\\nb\\\\c\n");
    }
}
