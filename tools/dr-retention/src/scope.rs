//! What is a rule about?

use std::str::FromStr;

use dr_pipe::record::Kind;

use crate::catalogue::Group;

/// What a rule is about: all backups, or those of a kind, store, cluster or database, or with a tag. All that it names must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Kind(Kind),
    Store(String),
    Cluster(String),
    Database(String),
    Tag(Tag),
}

/// A tag as it is asked for: a key, with any value or with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    key: String,
    value: Option<String>,
}

impl Tag {
    /// A key alone.
    pub(crate) fn key(key: &str) -> Self {
        Tag { key: key.into(), value: None }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value.to_owned())));
        (!key.is_empty()).then(|| Tag { key: key.into(), value })
    }

    /// Whether one of `tags`, each `key=value`, is it.
    pub(crate) fn is_among(&self, tags: &[String]) -> bool {
        tags.iter().any(|tag| {
            let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
            key == self.key && self.value.as_deref().is_none_or(|wanted| wanted == value)
        })
    }
}

impl Scope {
    /// Whether all that it names of stores, clusters, kinds and databases fits.
    pub(crate) fn has_group(&self, group: &Group, store: &str, cluster: &str) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Kind(kind) => *kind == group.kind,
            Term::Database(name) => group.database.as_ref() == Some(name),
            Term::Store(name) => name == store,
            Term::Cluster(name) => name == cluster,
            Term::Tag(_) => true,
        })
    }

    /// Whether all tags that it names are there.
    pub(crate) fn has_tags(&self, tags: &[String]) -> bool {
        self.terms.iter().all(|term| if let Term::Tag(tag) = term { tag.is_among(tags) } else { true })
    }

    /// Whether WAL of this store and cluster is meant.
    pub(crate) fn has_place(&self, store: &str, cluster: &str) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Store(name) => name == store,
            Term::Cluster(name) => name == cluster,
            _ => false,
        })
    }

    /// Whether it names nothing but stores and clusters, which is all that WAL has.
    pub fn fits_wal(&self) -> bool {
        self.terms.iter().all(|term| matches!(term, Term::Store(_) | Term::Cluster(_)))
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |word: &str| match word.split_once('=') {
            None if word == "dump" => Some(Term::Kind(Kind::Dump)),
            None if word == "base" => Some(Term::Kind(Kind::Base)),
            None if word == "files" => Some(Term::Kind(Kind::Files)),
            Some(("tag", tag)) => Tag::parse(tag).map(Term::Tag),
            Some((_, "")) => None,
            Some(("store", name)) => Some(Term::Store(name.into())),
            Some(("cluster", name)) => Some(Term::Cluster(name.into())),
            Some(("database", name)) => Some(Term::Database(name.into())),
            _ => None,
        };
        let wrong = |word: &str| {
            format!(
                "{word:?} is no scope: write dump, base, files, store=STORE, cluster=NAME, database=NAME or tag=KEY=VALUE, joined by +"
            )
        };
        let terms = text.split('+').map(|word| term(word).ok_or_else(|| wrong(word))).collect::<Result<_, _>>()?;
        Ok(Scope { terms })
    }
}
