//! What was promised of a cluster: limits, read from a file that dr-objectives(5) describes.

use std::path::{Path, PathBuf};

use dr_pipe::record::{Job, Kind};
use dr_pipe::{Exit, Failure};
use serde::Deserialize;

/// Where the objectives of a cluster lie unless a flag says otherwise.
const DIRECTORY: &str = "/etc/dr";

/// What was promised. A limit of 0 is none: what it is about is not watched.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objectives {
    /// What may be lost at most.
    pub rpo: Span,
    /// How long a recovery may take.
    pub rto: Span,
    /// How old the newest of each thing may be.
    pub age: Ages,
    /// The databases that are dumped; empty: those of which there are dumps.
    pub databases: Vec<String>,
    /// Without that list: a database whose newest dump is older than this was dropped.
    pub forget: Span,
    /// Verified backups of each kind, at least.
    pub verified: Option<u32>,
    /// Stores that hold each backup, at least.
    pub copies: Option<u32>,
    /// How old a backup is before its copies are counted.
    pub copies_after: Span,
    /// How old it is when they are not any more.
    pub copies_within: Span,
    /// For how long the stores in S3 lock a backup, at least.
    pub lock: Span,
    /// Those who can decrypt each backup, at least.
    pub recipients: u32,
    /// By how much a backup may be larger or smaller than the one before it, in percent.
    pub size_change: f64,
    /// How full a store may be, in percent.
    pub storage_used: f64,
    /// For how long a failure to archive WAL is told after archiving goes on.
    pub archive_failure: Span,
    /// Segments that may wait to be archived.
    pub waiting_segments: u32,
    /// How far a standby may be behind.
    pub replication_lag: Size,
    /// The standbys that are to be connected, by application_name.
    pub standbys: Vec<String>,
    /// For how long one of them, or the receiver of a slot, may be away.
    pub standby_away: Span,
    /// WAL that a slot may keep back.
    pub slot_kept: Size,
    /// By how much clocks may differ.
    pub clock: Span,
    /// How old what servers and stores have said may be when it is judged.
    pub facts: Span,
    /// What is promised of single stores.
    pub store: Vec<Tier>,
}

/// How old the newest of each thing may be; absent: the default, and only of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ages {
    dump: Option<Span>,
    base: Option<Span>,
    files: Option<Span>,
    wal: Option<Span>,
    verify: Option<Span>,
    prune: Option<Span>,
    copy: Option<Span>,
    drill: Option<Span>,
    check: Option<Span>,
}

/// What is promised of one store.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tier {
    /// The store, as it is named with --from.
    pub name: String,
    /// How old its newest dump may be.
    pub dump: Span,
    /// How old its newest base may be.
    pub base: Span,
    /// How old its newest backup of files may be.
    pub files: Span,
    /// How old its newest WAL may be.
    pub wal: Span,
    /// For how long it locks a backup, at least.
    pub lock: Option<Span>,
}

/// A limit on an age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Age {
    /// The limit, in seconds.
    pub seconds: f64,
    /// Whether somebody asked for it: then the thing must be there.
    pub asked: bool,
}

impl Default for Objectives {
    fn default() -> Self {
        Objectives {
            rpo: Span(0.0),
            rto: Span(0.0),
            age: Ages::default(),
            databases: Vec::new(),
            forget: Span(30.0 * 86400.0),
            verified: None,
            copies: None,
            copies_after: Span(26.0 * 3600.0),
            copies_within: Span(7.0 * 86400.0),
            lock: Span(0.0),
            recipients: 2,
            size_change: 50.0,
            storage_used: 80.0,
            archive_failure: Span(300.0),
            waiting_segments: 16,
            replication_lag: Size(100 << 20),
            standbys: Vec::new(),
            standby_away: Span(300.0),
            slot_kept: Size(0),
            clock: Span(300.0),
            facts: Span(3600.0),
            store: Vec::new(),
        }
    }
}

impl Objectives {
    /// Those in `path`, else in the usual place of `cluster`, else the defaults.
    ///
    /// # Errors
    /// 66 where a file that was named is not there; 78 where one says what cannot be understood; as reading says.
    pub fn load(path: Option<&Path>, cluster: &str) -> Result<Self, Failure> {
        let usual = || Path::new(DIRECTORY).join(format!("{cluster}.objectives.toml"));
        let file = path.map_or_else(usual, PathBuf::from);
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => return Ok(Objectives::default()),
            text => text.map_err(|error| Failure::io(file.display(), &error))?,
        };
        Objectives::parse(&text)
            .map_err(|why| Failure::new(Exit::Config, format!("{}: {why}", file.display()), "see `man 5 dr-objectives`"))
    }

    /// Reads them from the text of such a file.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let objectives: Objectives = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            format!("{place}{}", error.message())
        })?;
        match objectives.store.iter().find(|tier| tier.name.is_empty()) {
            Some(_) => Err("a [[store]] has no name".into()),
            None => Ok(objectives),
        }
    }

    /// The tier of a store, if something is promised of it.
    pub fn tier(&self, store: &str) -> Option<&Tier> {
        self.store.iter().find(|tier| tier.name == store)
    }
}

impl Ages {
    /// How old the newest backup of a kind may be.
    pub fn of(&self, kind: Kind) -> Age {
        match kind {
            Kind::Dump => age(self.dump, 26.0 * 3600.0),
            Kind::Base => age(self.base, 26.0 * 3600.0),
            Kind::Files => age(self.files, 26.0 * 3600.0),
        }
    }

    /// How long ago a job may have succeeded last; those that make backups are known by these.
    pub fn of_job(&self, job: Job) -> Age {
        match job {
            Job::Dump => self.of(Kind::Dump),
            Job::Base => self.of(Kind::Base),
            Job::Files => self.of(Kind::Files),
            Job::Wal => age(self.wal, 600.0),
            Job::Verify => age(self.verify, 8.0 * 86400.0),
            Job::Drill => age(self.drill, 8.0 * 86400.0),
            Job::Prune => age(self.prune, 0.0),
            Job::Copy => age(self.copy, 0.0),
            Job::Check => age(self.check, 0.0),
        }
    }
}

impl Tier {
    /// How old its newest backup of a kind may be.
    pub fn of(&self, kind: Kind) -> Span {
        match kind {
            Kind::Dump => self.dump,
            Kind::Base => self.base,
            Kind::Files => self.files,
        }
    }
}

fn age(asked: Option<Span>, default: f64) -> Age {
    Age { seconds: asked.map_or(default, |span| span.0), asked: asked.is_some_and(|span| span.0 > 0.0) }
}

/// A while, in seconds; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "Given")]
pub struct Span(pub f64);

/// A size, in bytes; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Given")]
pub struct Size(pub u64);

/// A value as it is written: a number, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a number, or a text with a unit")]
enum Given {
    Number(u32),
    Text(String),
}

impl TryFrom<Given> for Span {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        match given {
            Given::Number(seconds) => Ok(Span(seconds.into())),
            Given::Text(text) if text == "0" => Ok(Span(0.0)),
            Given::Text(text) => dr_pipe::args::seconds(&text).map(Span).map_err(|why| format!("{text:?}: {why}")),
        }
    }
}

impl TryFrom<Given> for Size {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        let text = match given {
            Given::Number(bytes) => return Ok(Size(bytes.into())),
            Given::Text(text) => text,
        };
        let wrong = || format!("{text:?}: write 100MB (or kB, GB, TB)");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        // As in postgresql.conf: units are powers of 1024.
        let unit: u64 = match text[digits..].trim_start() {
            "" => 1,
            "kB" => 1 << 10,
            "MB" => 1 << 20,
            "GB" => 1 << 30,
            "TB" => 1 << 40,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(Size).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_said_is_the_default_and_what_is_said_is_expected() {
        let objectives = Objectives::parse("").unwrap();
        assert_eq!(objectives, Objectives::default());
        assert_eq!(objectives.age.of(Kind::Dump), Age { seconds: 93_600.0, asked: false });
        let said = Objectives::parse("rpo = \"5m\"\n[age]\nbase = \"8d\"\ndrill = 0\n").unwrap();
        assert_eq!((said.rpo, said.age.of(Kind::Base)), (Span(300.0), Age { seconds: 691_200.0, asked: true }));
        assert_eq!(said.age.of_job(Job::Drill), Age { seconds: 0.0, asked: false });
    }

    #[test]
    fn sizes_have_the_units_of_postgresql() {
        for (text, bytes) in [("100MB", 100 << 20), ("16 kB", 16 << 10), ("2GB", 2 << 30), ("7", 7)] {
            assert_eq!(Objectives::parse(&format!("slot_kept = \"{text}\"")).unwrap().slot_kept, Size(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_never_passed_over() {
        for (text, place, word) in [
            ("rpo = \"5m\"\nropo = \"5m\"", "line 2", "ropo"),
            ("[age]\ndumps = \"26h\"", "line 2", "dumps"),
            ("rpo = \"5 minutes\"", "line 1", "5 minutes"),
            ("replication_lag = \"100 megabytes\"", "line 1", "100MB"),
            ("recipients = \"two\"", "line 1", "two"),
            ("[[store]]\ndump = \"1d\"", "no name", ""),
            ("rpo = ", "line 1", ""),
        ] {
            let why = Objectives::parse(text).unwrap_err();
            assert!(why.contains(place) && why.contains(word), "{text:?}: {why}");
        }
    }

    #[test]
    fn stores_have_limits_of_their_own() {
        let text = "[[store]]\nname = \"s3://acme-dr/pg\"\ndump = \"2d\"\nlock = \"30d\"\n";
        let objectives = Objectives::parse(text).unwrap();
        let tier = objectives.tier("s3://acme-dr/pg").unwrap();
        assert_eq!((tier.of(Kind::Dump), tier.of(Kind::Base), tier.lock), (Span(172_800.0), Span(0.0), Some(Span(2_592_000.0))));
        assert_eq!(objectives.tier("/var/backups/dr"), None);
    }
}
