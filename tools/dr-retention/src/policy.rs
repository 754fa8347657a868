//! What is to be kept?

use std::str::FromStr;

use crate::scope::Tag;
use crate::{Age, Every, Scope};

/// How many rules there may be: each has its bit in a [`crate::Verdict`].
pub const MAX_RULES: usize = 48;

/// Fewest characters of the beginning of a name that pins it.
const PIN_CHARS: usize = 8;

/// All that is to be kept. Rules add up: what one of them keeps is kept.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The rules; at most [`MAX_RULES`].
    pub rules: Vec<Rule>,
    /// How far back WAL is kept; where none is about a cluster in a store, from every kept base on.
    pub windows: Vec<Window>,
    /// What is kept whatever the rules say.
    pub pins: Vec<Pin>,
    /// How many of the newest verified backups of each group are kept whatever the rules say.
    pub floor: u32,
}

/// A value, and what it is about: `30d`, or `dump+tag=monthly:30d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scoped<T> {
    /// What it is about.
    pub scope: Scope,
    /// The value.
    pub value: T,
    /// As it was written.
    pub text: String,
}

impl<T: FromStr<Err = String>> FromStr for Scoped<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A store may have colons in its name; a value has none.
        let (scope, value) = match text.rsplit_once(':') {
            Some((scope, value)) => (scope.parse()?, value),
            None => (Scope::default(), text),
        };
        Ok(Scoped { scope, value: value.parse()?, text: text.into() })
    }
}

/// A number of backups, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(u32);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if number > 0 => Ok(Count(number)),
            _ => Err("write how many, at least 1".into()),
        }
    }
}

/// What a rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The newest verified backup of each of the last so many that have any.
    Newest(Every, u32),
    /// All that are not older.
    Within(Age),
}

/// One rule, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) scope: Scope,
    pub(crate) keep: Keep,
    /// The rule in words, such as `keep-daily dump:30`.
    pub(crate) words: String,
}

impl Rule {
    /// Keeps the newest verified backup of each of the last `count` hours, days, weeks, months or years that have any.
    pub fn newest(every: Every, count: Scoped<Count>) -> Self {
        let flag = match every {
            Every::Backup => "keep-last",
            Every::Hour => "keep-hourly",
            Every::Day => "keep-daily",
            Every::Week => "keep-weekly",
            Every::Month => "keep-monthly",
            Every::Year => "keep-yearly",
        };
        Rule { scope: count.scope, keep: Keep::Newest(every, count.value.0), words: format!("{flag} {}", count.text) }
    }

    /// Keeps all that are not older than `age`.
    pub fn within(age: Scoped<Age>) -> Self {
        Rule { scope: age.scope, keep: Keep::Within(age.value), words: format!("keep-within {}", age.text) }
    }
}

/// How far back a cluster can be recovered to any moment, as far as its kept bases allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub(crate) scope: Scope,
    pub(crate) age: Age,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Scoped { scope, value, .. } = text.parse()?;
        if scope.fits_wal() {
            return Ok(Window { scope, age: value });
        }
        Err("WAL is that of a store and a cluster: write store=STORE or cluster=NAME before the age, or nothing".into())
    }
}

/// What is kept whatever the rules say: a backup by its name or the beginning of it, or all with a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(crate) what: Pinned,
    /// As it was written.
    pub(crate) words: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pinned {
    Name(String),
    Tag(Tag),
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let what = match text.strip_prefix("tag=") {
            Some(tag) => Tag::parse(tag).map(Pinned::Tag),
            None if text.chars().count() >= PIN_CHARS && !text.contains('=') => Some(Pinned::Name(text.into())),
            None => None,
        };
        match what {
            Some(what) => Ok(Pin { what, words: text.into() }),
            None => Err(format!("write a backup's name, at least {PIN_CHARS} characters of its beginning, or tag=KEY=VALUE")),
        }
    }
}
