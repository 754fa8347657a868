//! What a channel is told in one go, and in which words.

use chrono::{DateTime, Utc};
use dr_pipe::words::{moment, span};

use crate::TOOL;
use crate::condition::{Condition, Kind, Level};

/// What has become of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is bad, and that is news, or must be said again.
    Bad,
    /// It was bad, and is not any more.
    Cleared {
        /// Since when it was bad.
        since_at: DateTime<Utc>,
    },
    /// It is good.
    Good,
}

/// One thing that is told.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// What is known of it.
    pub condition: Condition,
    /// Why it is told.
    pub change: Change,
}

impl News {
    /// Its place among others: the worst first, then what is well again.
    pub fn rank(&self) -> u8 {
        match (self.change, self.condition.level) {
            (Change::Bad, Level::Critical) => 0,
            (Change::Bad, _) => 1,
            (Change::Cleared { .. }, _) => 2,
            (Change::Good, _) => 3,
        }
    }

    /// What has become of it, in a word.
    pub fn word(&self) -> &'static str {
        match self.change {
            Change::Bad | Change::Good => self.condition.state,
            Change::Cleared { .. } => "cleared",
        }
    }

    /// What it is about, in a few words.
    pub fn label(&self) -> String {
        let Condition { kind, name, subject, .. } = &self.condition;
        let prefix = match kind {
            Kind::Check | Kind::Finding | Kind::Test => "",
            Kind::Run => "job ",
            Kind::Drill => "drill ",
            Kind::Unit => "unit ",
            Kind::Input => "input of dr-notify: ",
        };
        match subject {
            Some(subject) => format!("{prefix}{name} ({subject})"),
            None => format!("{prefix}{name}"),
        }
    }

    /// All there is to say of it, line by line.
    pub fn lines(&self, now: DateTime<Utc>) -> Vec<String> {
        let condition = &self.condition;
        let ago = |at: DateTime<Utc>| format!("since {} UTC ({})", moment(at), span((now - at).as_seconds_f64()));
        let place = condition.cluster.iter().map(|cluster| format!("cluster {cluster}"));
        let place = place.chain([format!("host {}", condition.host)]).collect::<Vec<_>>().join(", ");
        let since = match self.change {
            Change::Cleared { since_at } => Some(format!("was bad {}", ago(since_at))),
            Change::Bad => condition.since_at.map(ago),
            Change::Good => None,
        };
        let mut lines = vec![condition.message.clone(), [Some(place), since].into_iter().flatten().collect::<Vec<_>>().join(", ")];
        // What is below a channel's minimum is cleared there, and yet not good.
        if matches!(self.change, Change::Cleared { .. }) && condition.level > Level::Good {
            lines.push(format!("now: {}", condition.state));
        }
        if condition.level > Level::Good {
            lines.extend(condition.hint.iter().map(|hint| format!("do: {hint}")));
            lines.push(format!("read: {}", manual(condition.manual)));
        }
        lines.retain(|line| !line.is_empty());
        lines
    }
}

/// How a page is called up: `man 7 dr` for `dr(7)`.
fn manual(page: &str) -> String {
    let (name, section) = page.trim_end_matches(')').split_once('(').unwrap_or((page, "1"));
    format!("man {section} {name}")
}

/// What a channel is told in one go: about one cluster, the worst first.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its own name, by which it is recognised where it arrives twice.
    pub id: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// The host that tells it.
    pub host: String,
    /// The cluster it is about.
    pub cluster: Option<String>,
    /// What is told: at least one thing.
    pub news: Vec<News>,
}

/// As many things are told in words; the rest is counted.
pub const LISTED: usize = 20;

impl Notice {
    /// The worst of it.
    pub fn worst(&self) -> &News {
        &self.news[0]
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        if self.worst().change == Change::Bad { self.worst().condition.level } else { Level::Good }
    }

    /// What kind of notice it is, for programs: `dr.check.failed`, `dr.check.cleared`, `dr.run.failed` and their like.
    pub fn kind(&self) -> String {
        let News { condition, change } = self.worst();
        match change {
            _ if condition.kind == Kind::Test => "dr.test".into(),
            Change::Bad => format!("dr.{}.failed", condition.kind.name()),
            Change::Cleared { .. } => format!("dr.{}.cleared", condition.kind.name()),
            Change::Good => format!("dr.{}.good", condition.kind.name()),
        }
    }

    /// Everything in a line.
    pub fn summary(&self) -> String {
        let worst = self.worst();
        let place = self.cluster.as_deref().unwrap_or(&self.host);
        let more = match self.news.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!("{place}: {}: {}{more}", worst.word(), worst.label())
    }

    /// What is listed, and what is said of the rest.
    pub fn listed(&self) -> (&[News], Option<String>) {
        let rest = self.news.len().saturating_sub(LISTED);
        let said = (rest > 0).then(|| format!("And {rest} more: dr-check(1) lists them."));
        (&self.news[..self.news.len() - rest], said)
    }

    /// Who tells it.
    pub fn sender(&self) -> String {
        format!("{TOOL} on {}, {} UTC", self.host, moment(self.at))
    }

    /// The whole of it, in plain text.
    pub fn text(&self) -> String {
        let (listed, rest) = self.listed();
        let mut text = String::new();
        for news in listed {
            text += &format!("{}: {}\n", news.word().to_uppercase(), news.label());
            for line in news.lines(self.at) {
                text += &format!("  {line}\n");
            }
            for line in &news.condition.last_words {
                text += &format!("  | {line}\n");
            }
            text.push('\n');
        }
        text += &rest.map(|rest| format!("{rest}\n\n")).unwrap_or_default();
        text + &format!("-- \n{}\n", self.sender())
    }
}
