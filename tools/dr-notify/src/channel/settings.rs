//! A channel's file: a few TOML keys. What is wrong with it is said without its values, as any of them may be a secret.

use dr_pipe::{Exit, Failure};
use dr_post::Url;
use toml::de::{DeTable, DeValue};

/// What a file says, until it is taken.
#[derive(Debug)]
pub struct Settings<'a> {
    file: &'a str,
    entries: Vec<Entry<'a>>,
}

#[derive(Debug)]
struct Entry<'a> {
    key: String,
    line: usize,
    value: DeValue<'a>,
}

/// A text, and the line it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The line, from 1 on.
    pub line: usize,
}

impl<'a> Settings<'a> {
    /// Reads a file's text.
    ///
    /// # Errors
    /// 78 where it is no TOML.
    pub fn parse(file: &'a str, text: &'a str) -> Result<Self, Failure> {
        let line = |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line(span.start));
            wrong(file, line, &format!("this is no TOML: {}", error.message()), "write KEY = \"VALUE\", as dr-notify(1) has it")
        })?;
        let entries = table.into_inner().into_iter();
        let entries = entries.map(|(key, value)| Entry {
            line: line(key.span().start),
            key: key.into_inner().into_owned(),
            value: value.into_inner(),
        });
        Ok(Settings { file, entries: entries.collect() })
    }

    /// What is wrong in a line.
    pub fn wrong(&self, line: usize, why: &str, hint: &str) -> Failure {
        wrong(self.file, line, why, hint)
    }

    /// A text; none where it is not set.
    ///
    /// # Errors
    /// 78 where it is no text, or an empty one.
    pub fn take(&mut self, key: &str) -> Result<Option<Text>, Failure> {
        let Some(Entry { line, value, .. }) = self.remove(key) else { return Ok(None) };
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        let text =
            text.ok_or_else(|| self.wrong(line, &format!("{key} is no text, or an empty one"), "write it between quotes"))?;
        Ok(Some(Text { text: text.to_owned(), line }))
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// 78 where it is not.
    pub fn need(&mut self, key: &str, what: &str) -> Result<Text, Failure> {
        self.take(key)?.ok_or_else(|| self.wrong(1, &format!("{key} is not set"), &format!("set {key} = \"...\": {what}")))
    }

    /// A URL.
    ///
    /// # Errors
    /// 78 where it is none.
    pub fn url(&self, text: &Text) -> Result<Url, Failure> {
        text.text.parse().map_err(|why: String| self.wrong(text.line, &format!("url is {why}"), "write it as https://HOST/PATH"))
    }

    /// Several texts, or a single one; none where it is not set.
    ///
    /// # Errors
    /// 78 where there is anything else.
    pub fn take_list(&mut self, key: &str) -> Result<Vec<Text>, Failure> {
        let Some(Entry { line, value, .. }) = self.remove(key) else { return Ok(Vec::new()) };
        let texts: Option<Vec<&str>> = match &value {
            DeValue::Array(values) => values.iter().map(|value| value.get_ref().as_str()).collect(),
            value => value.as_str().map(|text| vec![text]),
        };
        let texts = texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.trim().is_empty()));
        let hint = format!("write {key} = [\"...\", \"...\"]");
        let texts = texts.ok_or_else(|| self.wrong(line, &format!("{key} is no list of texts, or an empty one"), &hint))?;
        Ok(texts.into_iter().map(|text| Text { text: text.to_owned(), line }).collect())
    }

    /// Sees to it that nothing is left.
    ///
    /// # Errors
    /// 78 for a key that means nothing: it is a mistyped one.
    pub fn end(self) -> Result<(), Failure> {
        match self.entries.iter().min_by_key(|entry| entry.line) {
            None => Ok(()),
            Some(entry) => {
                let why = format!("{} means nothing for this kind of channel", entry.key.escape_debug());
                Err(self.wrong(entry.line, &why, "is it mistyped? dr-notify(1) lists the keys of each kind"))
            }
        }
    }

    fn remove(&mut self, key: &str) -> Option<Entry<'a>> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }
}

fn wrong(file: &str, line: usize, why: &str, hint: &str) -> Failure {
    Failure::new(Exit::Config, format!("{file}: line {line}: {why}"), hint)
}
