//! Which backup is meant? A pure choice among those there are.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use dr_pipe::record::{Backup, Kind};

use crate::Error;

/// As many names are said where there may be many.
const FEW: usize = 5;

/// Among which backups is chosen. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only those of this cluster.
    pub cluster: Option<String>,
    /// Only those of this kind.
    pub kind: Option<Kind>,
    /// Only dumps of this database.
    pub database: Option<String>,
}

impl Scope {
    /// Whether `backup` is among them.
    pub fn holds(&self, backup: &Backup) -> bool {
        let manifest = &backup.manifest;
        self.cluster.as_ref().is_none_or(|cluster| *cluster == manifest.cluster)
            && self.kind.is_none_or(|kind| kind == manifest.kind)
            && self.database.as_ref().is_none_or(|database| Some(database) == manifest.produced.database.as_ref())
    }
}

/// Which one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest: the one taken last.
    Latest,
    /// The newest taken at this moment or before it.
    At(DateTime<Utc>),
    /// The one of this name, or the only one whose name begins so.
    Name(String),
}

impl Selector {
    /// The one backup that is meant.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Ambiguous`] for a name that several begin with.
    pub fn choose<'a>(&self, backups: impl IntoIterator<Item = &'a Backup>) -> Result<&'a Backup, Error> {
        let backups = backups.into_iter();
        let found = match self {
            Selector::Latest => backups.max_by(|a, b| order(a).cmp(&order(b))),
            Selector::At(moment) => {
                backups.filter(|backup| backup.manifest.taken_at <= *moment).max_by(|a, b| order(a).cmp(&order(b)))
            }
            Selector::Name(name) => return by_name(name, backups),
        };
        found.ok_or_else(|| Error::NotFound(self.to_string()))
    }
}

impl FromStr for Selector {
    type Err = Infallible;

    /// `latest`, else a name.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "latest" { Selector::Latest } else { Selector::Name(text.into()) })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Latest => f.write_str("is there"),
            Selector::At(moment) => {
                write!(f, "was taken at {} or before", moment.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
            }
            Selector::Name(name) => write!(f, "is named {name}, or begins so"),
        }
    }
}

/// What backups are sorted by: when they were taken, then when they were stored, then their names.
pub fn order(backup: &Backup) -> (DateTime<Utc>, u64, &str) {
    (backup.manifest.taken_at, backup.manifest.sequence, &backup.manifest.name)
}

fn by_name<'a>(name: &str, backups: impl Iterator<Item = &'a Backup>) -> Result<&'a Backup, Error> {
    let fitting: Vec<_> = backups.filter(|backup| backup.manifest.name.starts_with(name)).collect();
    if let Some(exact) = fitting.iter().find(|backup| backup.manifest.name == name) {
        return Ok(exact);
    }
    match fitting.as_slice() {
        [] => Err(Error::NotFound(Selector::Name(name.into()).to_string())),
        [only] => Ok(only),
        several => {
            let names = few(several.iter().map(|backup| backup.manifest.name.as_str()));
            Err(Error::Ambiguous { prefix: name.into(), names })
        }
    }
}

/// The first of these names, and how many more there are.
pub(crate) fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let some = names[..names.len().min(FEW)].join(", ");
    if names.len() > FEW { format!("{some} and {} more", names.len() - FEW) } else { some }
}
